// A vision transformer of 2 blocks on 32 x 32 images, as `ns-import` writes one: patch 8, width 64, 4 heads, 10 classes.
// Input of many tests; it has no weights file.

module @tiny_vit attributes {nn.model = {classes = 10 : i64, image = [3, 32, 32], name = "tiny_vit"}} {
  nn.param @cls_token no_decay : tensor<1x1x64xf32>
  nn.param @pos_embed no_decay : tensor<1x17x64xf32>
  nn.param @patch_embed.proj.weight : tensor<64x3x8x8xf32>
  nn.param @patch_embed.proj.bias no_decay : tensor<64xf32>
  nn.param @blocks.0.norm1.weight no_decay : tensor<64xf32>
  nn.param @blocks.0.norm1.bias no_decay : tensor<64xf32>
  nn.param @blocks.0.attn.qkv.weight : tensor<192x64xf32>
  nn.param @blocks.0.attn.qkv.bias no_decay : tensor<192xf32>
  nn.param @blocks.0.attn.proj.weight : tensor<64x64xf32>
  nn.param @blocks.0.attn.proj.bias no_decay : tensor<64xf32>
  nn.param @blocks.0.norm2.weight no_decay : tensor<64xf32>
  nn.param @blocks.0.norm2.bias no_decay : tensor<64xf32>
  nn.param @blocks.0.mlp.fc1.weight : tensor<256x64xf32>
  nn.param @blocks.0.mlp.fc1.bias no_decay : tensor<256xf32>
  nn.param @blocks.0.mlp.fc2.weight : tensor<64x256xf32>
  nn.param @blocks.0.mlp.fc2.bias no_decay : tensor<64xf32>
  nn.param @blocks.1.norm1.weight no_decay : tensor<64xf32>
  nn.param @blocks.1.norm1.bias no_decay : tensor<64xf32>
  nn.param @blocks.1.attn.qkv.weight : tensor<192x64xf32>
  nn.param @blocks.1.attn.qkv.bias no_decay : tensor<192xf32>
  nn.param @blocks.1.attn.proj.weight : tensor<64x64xf32>
  nn.param @blocks.1.attn.proj.bias no_decay : tensor<64xf32>
  nn.param @blocks.1.norm2.weight no_decay : tensor<64xf32>
  nn.param @blocks.1.norm2.bias no_decay : tensor<64xf32>
  nn.param @blocks.1.mlp.fc1.weight : tensor<256x64xf32>
  nn.param @blocks.1.mlp.fc1.bias no_decay : tensor<256xf32>
  nn.param @blocks.1.mlp.fc2.weight : tensor<64x256xf32>
  nn.param @blocks.1.mlp.fc2.bias no_decay : tensor<64xf32>
  nn.param @norm.weight no_decay : tensor<64xf32>
  nn.param @norm.bias no_decay : tensor<64xf32>
  nn.param @head.weight : tensor<10x64xf32>
  nn.param @head.bias no_decay : tensor<10xf32>
  func.func @forward(%image: tensor<?x3x32x32xf32>) -> tensor<?x10xf32> {
    %x = nn.normalize %image mean [0.485, 0.456, 0.406] std [0.229, 0.224, 0.225] : tensor<?x3x32x32xf32>
    %patch_embed_proj_weight = nn.load_param @patch_embed.proj.weight : tensor<64x3x8x8xf32>
    %patch_embed_proj_bias = nn.load_param @patch_embed.proj.bias : tensor<64xf32>
    %u = nn.patch_embed %x, %patch_embed_proj_weight, %patch_embed_proj_bias patch [8, 8] {nn.layer = "patch_embed.proj"} : (tensor<?x3x32x32xf32>, tensor<64x3x8x8xf32>, tensor<64xf32>) -> tensor<?x16x64xf32>
    %cls_token = nn.load_param @cls_token : tensor<1x1x64xf32>
    %pos_embed = nn.load_param @pos_embed : tensor<1x17x64xf32>
    %t = nn.prepend_tokens %u, %cls_token : (tensor<?x16x64xf32>, tensor<1x1x64xf32>) -> tensor<?x17x64xf32>
    %r0 = nn.add %t, %pos_embed : tensor<?x17x64xf32>, tensor<1x17x64xf32>
    %b0_norm1_weight = nn.load_param @blocks.0.norm1.weight : tensor<64xf32>
    %b0_norm1_bias = nn.load_param @blocks.0.norm1.bias : tensor<64xf32>
    %n0 = nn.layer_norm %r0, %b0_norm1_weight, %b0_norm1_bias eps 1.0e-06 {nn.layer = "blocks.0.norm1"} : tensor<?x17x64xf32>, tensor<64xf32>, tensor<64xf32>
    %b0_attn_qkv_weight = nn.load_param @blocks.0.attn.qkv.weight : tensor<192x64xf32>
    %b0_attn_qkv_bias = nn.load_param @blocks.0.attn.qkv.bias : tensor<192xf32>
    %qkv0 = nn.linear %n0, %b0_attn_qkv_weight, %b0_attn_qkv_bias {nn.layer = "blocks.0.attn.qkv"} : (tensor<?x17x64xf32>, tensor<192x64xf32>, tensor<192xf32>) -> tensor<?x17x192xf32>
    %a0 = nn.attention %qkv0 heads 4 scale 0.25 {nn.layer = "blocks.0.attn"} : (tensor<?x17x192xf32>) -> tensor<?x17x64xf32>
    %b0_attn_proj_weight = nn.load_param @blocks.0.attn.proj.weight : tensor<64x64xf32>
    %b0_attn_proj_bias = nn.load_param @blocks.0.attn.proj.bias : tensor<64xf32>
    %p0 = nn.linear %a0, %b0_attn_proj_weight, %b0_attn_proj_bias {nn.layer = "blocks.0.attn.proj"} : (tensor<?x17x64xf32>, tensor<64x64xf32>, tensor<64xf32>) -> tensor<?x17x64xf32>
    %s0 = nn.add %r0, %p0 : tensor<?x17x64xf32>, tensor<?x17x64xf32>
    %b0_norm2_weight = nn.load_param @blocks.0.norm2.weight : tensor<64xf32>
    %b0_norm2_bias = nn.load_param @blocks.0.norm2.bias : tensor<64xf32>
    %m0 = nn.layer_norm %s0, %b0_norm2_weight, %b0_norm2_bias eps 1.0e-06 {nn.layer = "blocks.0.norm2"} : tensor<?x17x64xf32>, tensor<64xf32>, tensor<64xf32>
    %b0_mlp_fc1_weight = nn.load_param @blocks.0.mlp.fc1.weight : tensor<256x64xf32>
    %b0_mlp_fc1_bias = nn.load_param @blocks.0.mlp.fc1.bias : tensor<256xf32>
    %h0 = nn.linear %m0, %b0_mlp_fc1_weight, %b0_mlp_fc1_bias {nn.layer = "blocks.0.mlp.fc1"} : (tensor<?x17x64xf32>, tensor<256x64xf32>, tensor<256xf32>) -> tensor<?x17x256xf32>
    %g0 = nn.gelu %h0 approximate none {nn.layer = "blocks.0.mlp.act"} : tensor<?x17x256xf32>
    %b0_mlp_fc2_weight = nn.load_param @blocks.0.mlp.fc2.weight : tensor<64x256xf32>
    %b0_mlp_fc2_bias = nn.load_param @blocks.0.mlp.fc2.bias : tensor<64xf32>
    %f0 = nn.linear %g0, %b0_mlp_fc2_weight, %b0_mlp_fc2_bias {nn.layer = "blocks.0.mlp.fc2"} : (tensor<?x17x256xf32>, tensor<64x256xf32>, tensor<64xf32>) -> tensor<?x17x64xf32>
    %r1 = nn.add %s0, %f0 : tensor<?x17x64xf32>, tensor<?x17x64xf32>
    %b1_norm1_weight = nn.load_param @blocks.1.norm1.weight : tensor<64xf32>
    %b1_norm1_bias = nn.load_param @blocks.1.norm1.bias : tensor<64xf32>
    %n1 = nn.layer_norm %r1, %b1_norm1_weight, %b1_norm1_bias eps 1.0e-06 {nn.layer = "blocks.1.norm1"} : tensor<?x17x64xf32>, tensor<64xf32>, tensor<64xf32>
    %b1_attn_qkv_weight = nn.load_param @blocks.1.attn.qkv.weight : tensor<192x64xf32>
    %b1_attn_qkv_bias = nn.load_param @blocks.1.attn.qkv.bias : tensor<192xf32>
    %qkv1 = nn.linear %n1, %b1_attn_qkv_weight, %b1_attn_qkv_bias {nn.layer = "blocks.1.attn.qkv"} : (tensor<?x17x64xf32>, tensor<192x64xf32>, tensor<192xf32>) -> tensor<?x17x192xf32>
    %a1 = nn.attention %qkv1 heads 4 scale 0.25 {nn.layer = "blocks.1.attn"} : (tensor<?x17x192xf32>) -> tensor<?x17x64xf32>
    %b1_attn_proj_weight = nn.load_param @blocks.1.attn.proj.weight : tensor<64x64xf32>
    %b1_attn_proj_bias = nn.load_param @blocks.1.attn.proj.bias : tensor<64xf32>
    %p1 = nn.linear %a1, %b1_attn_proj_weight, %b1_attn_proj_bias {nn.layer = "blocks.1.attn.proj"} : (tensor<?x17x64xf32>, tensor<64x64xf32>, tensor<64xf32>) -> tensor<?x17x64xf32>
    %s1 = nn.add %r1, %p1 : tensor<?x17x64xf32>, tensor<?x17x64xf32>
    %b1_norm2_weight = nn.load_param @blocks.1.norm2.weight : tensor<64xf32>
    %b1_norm2_bias = nn.load_param @blocks.1.norm2.bias : tensor<64xf32>
    %m1 = nn.layer_norm %s1, %b1_norm2_weight, %b1_norm2_bias eps 1.0e-06 {nn.layer = "blocks.1.norm2"} : tensor<?x17x64xf32>, tensor<64xf32>, tensor<64xf32>
    %b1_mlp_fc1_weight = nn.load_param @blocks.1.mlp.fc1.weight : tensor<256x64xf32>
    %b1_mlp_fc1_bias = nn.load_param @blocks.1.mlp.fc1.bias : tensor<256xf32>
    %h1 = nn.linear %m1, %b1_mlp_fc1_weight, %b1_mlp_fc1_bias {nn.layer = "blocks.1.mlp.fc1"} : (tensor<?x17x64xf32>, tensor<256x64xf32>, tensor<256xf32>) -> tensor<?x17x256xf32>
    %g1 = nn.gelu %h1 approximate none {nn.layer = "blocks.1.mlp.act"} : tensor<?x17x256xf32>
    %b1_mlp_fc2_weight = nn.load_param @blocks.1.mlp.fc2.weight : tensor<64x256xf32>
    %b1_mlp_fc2_bias = nn.load_param @blocks.1.mlp.fc2.bias : tensor<64xf32>
    %f1 = nn.linear %g1, %b1_mlp_fc2_weight, %b1_mlp_fc2_bias {nn.layer = "blocks.1.mlp.fc2"} : (tensor<?x17x256xf32>, tensor<64x256xf32>, tensor<64xf32>) -> tensor<?x17x64xf32>
    %r2 = nn.add %s1, %f1 : tensor<?x17x64xf32>, tensor<?x17x64xf32>
    %norm_weight = nn.load_param @norm.weight : tensor<64xf32>
    %norm_bias = nn.load_param @norm.bias : tensor<64xf32>
    %y = nn.layer_norm %r2, %norm_weight, %norm_bias eps 1.0e-06 {nn.layer = "norm"} : tensor<?x17x64xf32>, tensor<64xf32>, tensor<64xf32>
    %c = nn.select_token %y [0] : tensor<?x17x64xf32> -> tensor<?x64xf32>
    %head_weight = nn.load_param @head.weight : tensor<10x64xf32>
    %head_bias = nn.load_param @head.bias : tensor<10xf32>
    %logits = nn.linear %c, %head_weight, %head_bias {nn.layer = "head"} : (tensor<?x64xf32>, tensor<10x64xf32>, tensor<10xf32>) -> tensor<?x10xf32>
    return %logits : tensor<?x10xf32>
  }
}
