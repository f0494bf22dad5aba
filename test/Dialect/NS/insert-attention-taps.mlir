// RUN: ns-opt %s --split-input-file --ns-insert-attention-taps | FileCheck %s
// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-attention-taps --ns-select-entries="entries=attention_received optional=attention_received" | FileCheck %s --check-prefix=NONE

// Four layers of attention over a class token and four patches, one of each form of inputs, and pooling by a learned query: the loss is that of layer 1.
// CHECK: module @mixed attributes {ns.attention = {layers = 4 : i64, loss_layers = array<i64: 1>, patch = array<i64: 4, 4>, prefix = 1 : i64, tokens = 5 : i64}}

// CHECK-LABEL: func.func @attention_received(
// CHECK-SAME: %[[IMAGE:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[WEIGHTS:.*]]: tensor<?x5xf32> {ns.name = "query_weights"}) -> (tensor<?x20xf32> {ns.name = "attention"}) attributes {ns.entry}
// CHECK: nn.attention %[[QKV0:.*]] heads 2
// CHECK: %[[DO0:.*]] = ns.expand_channels %[[WEIGHTS]]
// CHECK: %[[D0:.*]] = nn.attention_grad %[[DO0]], %[[QKV0]] heads 2
// CHECK: %[[DV0:.*]] = nn.slice_channels %[[D0]] from 16 {nn.layer = "blocks.0.attn"} : tensor<?x5x24xf32> -> tensor<?x5x8xf32>
// CHECK: %[[R0:.*]] = ns.mean_channels %[[DV0]]
// CHECK: nn.attention %[[Q1:.*]], %[[KV1:.*]] bias
// CHECK: %[[D1:.*]]:2 = nn.attention_grad %{{.*}}, %[[Q1]], %[[KV1]] bias
// CHECK: %[[DV1:.*]] = nn.slice_channels %[[D1]]#1 from 8
// CHECK: %[[R1:.*]] = ns.mean_channels %[[DV1]]
// CHECK: %[[D2:.*]]:3 = nn.attention_grad
// CHECK: %[[R2:.*]] = ns.mean_channels %[[D2]]#2
// CHECK: %[[R3:.*]] = ns.mean_channels
// CHECK-NOT: nn.attention
// CHECK: %[[A:.*]] = nn.concat_channels %[[R0]], %[[R1]], %[[R2]], %[[R3]]
// CHECK: return %[[A]]

// CHECK-LABEL: func.func @patchfool_grad(
// CHECK-SAME: %[[IMAGE:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[LABELS:.*]]: tensor<?xi32> {ns.name = "labels"}, %[[W:.*]]: tensor<?xf32> {ns.name = "weights"}, %[[PATCH:.*]]: tensor<?x5xf32> {ns.name = "patch"}) -> (tensor<?xf32> {ns.name = "losses"}, tensor<?x5xf32> {ns.name = "logits"}, tensor<?x3x8x8xf32> {ns.name = "image_grad"}, tensor<?xf32> {ns.name = "attention_loss_1"}, tensor<?x3x8x8xf32> {ns.name = "attention_grad_1"}) attributes {ns.entry}
// CHECK: nn.attention %[[Q:.*]], %[[KV:.*]] bias %[[BIAS:.*]] heads
// CHECK: %[[K:.*]] = nn.slice_channels %[[KV]] from 0
// CHECK: %[[V:.*]] = ns.expand_channels %[[PATCH]]
// CHECK: %[[O:.*]] = nn.attention %[[Q]], %[[K]], %[[V]] bias %[[BIAS]] heads 2
// CHECK: %[[PAID:.*]] = ns.mean_channels %[[O]]
// CHECK: %[[Z:.*]] = nn.linear {{.*}} -> tensor<?x5xf32>
// CHECK: %[[CE:.*]] = nn.cross_entropy %[[Z]], %[[LABELS]]
// CHECK: %[[L:.*]] = ns.attention_loss %[[PAID]]
// CHECK: %[[SL:.*]] = nn.weighted_sum %[[L]], %[[W]]
// CHECK: %[[DL:.*]] = ns.gradient %[[SL]] wrt %[[IMAGE]]
// CHECK: %[[SCE:.*]] = nn.weighted_sum %[[CE]], %[[W]]
// CHECK: %[[DCE:.*]] = ns.gradient %[[SCE]] wrt %[[IMAGE]]
// CHECK: return %[[CE]], %[[Z]], %[[DCE]], %[[L]], %[[DL]]
module @mixed {
  nn.param @w : tensor<8x3x4x4xf32>
  nn.param @cls : tensor<1x1x8xf32>
  nn.param @qkv : tensor<24x8xf32>
  nn.param @kv : tensor<16x8xf32>
  nn.param @q : tensor<8x8xf32>
  nn.param @head : tensor<5x8xf32>
  nn.param @bias : tensor<2x5x5xf32>
  func.func @forward(%image: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
    %w = nn.load_param @w : tensor<8x3x4x4xf32>
    %c = nn.load_param @cls : tensor<1x1x8xf32>
    %wqkv = nn.load_param @qkv : tensor<24x8xf32>
    %wkv = nn.load_param @kv : tensor<16x8xf32>
    %wq = nn.load_param @q : tensor<8x8xf32>
    %h = nn.load_param @head : tensor<5x8xf32>
    %b = nn.load_param @bias : tensor<2x5x5xf32>
    %u = nn.patch_embed %image, %w patch [4, 4] : (tensor<?x3x8x8xf32>, tensor<8x3x4x4xf32>) -> tensor<?x4x8xf32>
    %t = nn.prepend_tokens %u, %c : (tensor<?x4x8xf32>, tensor<1x1x8xf32>) -> tensor<?x5x8xf32>
    %p0 = nn.linear %t, %wqkv : (tensor<?x5x8xf32>, tensor<24x8xf32>) -> tensor<?x5x24xf32>
    %a0 = nn.attention %p0 heads 2 scale 5.0e-01 {nn.layer = "blocks.0.attn"} : (tensor<?x5x24xf32>) -> tensor<?x5x8xf32>
    %q1 = nn.linear %a0, %wq : (tensor<?x5x8xf32>, tensor<8x8xf32>) -> tensor<?x5x8xf32>
    %p1 = nn.linear %a0, %wkv : (tensor<?x5x8xf32>, tensor<16x8xf32>) -> tensor<?x5x16xf32>
    %a1 = nn.attention %q1, %p1 bias %b heads 2 scale 5.0e-01 {nn.layer = "blocks.1.attn"} : (tensor<?x5x8xf32>, tensor<?x5x16xf32>, tensor<2x5x5xf32>) -> tensor<?x5x8xf32>
    %a2 = nn.attention %a1, %q1, %a0 heads 2 scale 5.0e-01 {nn.layer = "blocks.2.attn"} : (tensor<?x5x8xf32>, tensor<?x5x8xf32>, tensor<?x5x8xf32>) -> tensor<?x5x8xf32>
    %p3 = nn.linear %a2, %wqkv : (tensor<?x5x8xf32>, tensor<24x8xf32>) -> tensor<?x5x24xf32>
    %a3 = nn.attention %p3 heads 2 scale 5.0e-01 {nn.layer = "blocks.3.attn"} : (tensor<?x5x24xf32>) -> tensor<?x5x8xf32>
    %q4 = nn.expand_batch %c like %a3 : (tensor<1x1x8xf32>, tensor<?x5x8xf32>) -> tensor<?x1x8xf32>
    %a4 = nn.attention %q4, %a3, %a3 heads 2 scale 5.0e-01 : (tensor<?x1x8xf32>, tensor<?x5x8xf32>, tensor<?x5x8xf32>) -> tensor<?x1x8xf32>
    %f = nn.select_token %a4 [0] : tensor<?x1x8xf32> -> tensor<?x8xf32>
    %z = nn.linear %f, %h : (tensor<?x8xf32>, tensor<5x8xf32>) -> tensor<?x5xf32>
    return %z : tensor<?x5xf32>
  }
}

// -----

// CHECK: module @windowed attributes {ns.attention = "layer layers.0.attn attends within windows of 4 tokens, not over the image"}
// CHECK-NOT: ns.entry
module @windowed {
  nn.param @w : tensor<24x3x2x2xf32>
  nn.param @head : tensor<5x8xf32>
  func.func @forward(%image: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
    %w = nn.load_param @w : tensor<24x3x2x2xf32>
    %h = nn.load_param @head : tensor<5x8xf32>
    %u = nn.patch_embed %image, %w patch [2, 2] : (tensor<?x3x8x8xf32>, tensor<24x3x2x2xf32>) -> tensor<?x16x24xf32>
    %a = nn.attention %u heads 2 scale 5.0e-01 window 4 {nn.layer = "layers.0.attn"} : (tensor<?x16x24xf32>) -> tensor<?x16x8xf32>
    %p = nn.mean_tokens %a : tensor<?x16x8xf32> -> tensor<?x8xf32>
    %z = nn.linear %p, %h : (tensor<?x8xf32>, tensor<5x8xf32>) -> tensor<?x5xf32>
    return %z : tensor<?x5xf32>
  }
}

// -----

// CHECK: module @merging attributes {ns.attention = "a layer attends over 1 tokens, and the image has 4 patches"}
module @merging {
  nn.param @w : tensor<8x3x4x4xf32>
  nn.param @head : tensor<5x8xf32>
  func.func @forward(%image: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
    %w = nn.load_param @w : tensor<8x3x4x4xf32>
    %h = nn.load_param @head : tensor<5x8xf32>
    %u = nn.patch_embed %image, %w patch [4, 4] : (tensor<?x3x8x8xf32>, tensor<8x3x4x4xf32>) -> tensor<?x4x8xf32>
    %s = nn.slice_tokens %u from 0 : tensor<?x4x8xf32> -> tensor<?x1x8xf32>
    %a = nn.attention %s, %s, %s heads 2 scale 5.0e-01 : (tensor<?x1x8xf32>, tensor<?x1x8xf32>, tensor<?x1x8xf32>) -> tensor<?x1x8xf32>
    %p = nn.mean_tokens %a : tensor<?x1x8xf32> -> tensor<?x8xf32>
    %z = nn.linear %p, %h : (tensor<?x8xf32>, tensor<5x8xf32>) -> tensor<?x5xf32>
    return %z : tensor<?x5xf32>
  }
}

// -----

// One layer is too few for a loss.
// CHECK: module @shallow attributes {ns.attention = {layers = 1 : i64, loss_layers = array<i64>, patch = array<i64: 4, 4>, prefix = 0 : i64, tokens = 4 : i64}}
// CHECK: func.func @attention_received(
// CHECK-NOT: @patchfool_grad
module @shallow {
  nn.param @w : tensor<8x3x4x4xf32>
  nn.param @head : tensor<5x8xf32>
  func.func @forward(%image: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
    %w = nn.load_param @w : tensor<8x3x4x4xf32>
    %h = nn.load_param @head : tensor<5x8xf32>
    %u = nn.patch_embed %image, %w patch [4, 4] : (tensor<?x3x8x8xf32>, tensor<8x3x4x4xf32>) -> tensor<?x4x8xf32>
    %a = nn.attention %u, %u, %u heads 2 scale 5.0e-01 : (tensor<?x4x8xf32>, tensor<?x4x8xf32>, tensor<?x4x8xf32>) -> tensor<?x4x8xf32>
    %p = nn.mean_tokens %a : tensor<?x4x8xf32> -> tensor<?x8xf32>
    %z = nn.linear %p, %h : (tensor<?x8xf32>, tensor<5x8xf32>) -> tensor<?x5xf32>
    return %z : tensor<?x5xf32>
  }
}

// NONE: module attributes {ns.attention = "the network has no attention between its tokens"}
// NONE-NOT: func.func
