// A small network for the tests of the hardening passes: one normalisation as its only block, average pooling, a buffer.
nn.param @w : tensor<8x3x4x4xf32>
nn.param @g no_decay : tensor<8xf32>
nn.param @mean buffer : tensor<8xf32>
nn.param @head : tensor<5x8xf32>

func.func @forward(%image: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
  %w = nn.load_param @w : tensor<8x3x4x4xf32>
  %g = nn.load_param @g : tensor<8xf32>
  %h = nn.load_param @head : tensor<5x8xf32>
  %x = nn.normalize %image mean [0.5, 0.5, 0.5] std [0.5, 0.5, 0.5] : tensor<?x3x8x8xf32>
  %u = nn.patch_embed %x, %w patch [4, 4] : (tensor<?x3x8x8xf32>, tensor<8x3x4x4xf32>) -> tensor<?x4x8xf32>
  %a = nn.layer_scale %u, %g : tensor<?x4x8xf32>, tensor<8xf32>
  %n = nn.layer_norm %a, %g, %g eps 1.0e-05 {nn.layer = "blocks.0.norm1"} : tensor<?x4x8xf32>, tensor<8xf32>, tensor<8xf32>
  %r = nn.add %a, %n : tensor<?x4x8xf32>, tensor<?x4x8xf32>
  %p = nn.mean_tokens %r : tensor<?x4x8xf32> -> tensor<?x8xf32>
  %z = nn.linear %p, %h : (tensor<?x8xf32>, tensor<5x8xf32>) -> tensor<?x5xf32>
  return %z : tensor<?x5xf32>
}
