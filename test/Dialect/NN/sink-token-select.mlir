// RUN: ns-opt %s --nn-sink-token-select | FileCheck %s

// A class token's way up: norm, second linear, GELU, first linear, both inputs of the residual add.
// CHECK-LABEL: func.func @mlp
// CHECK-SAME: (%[[X:.*]]: tensor<4x17x8xf32>, %[[G:.*]]: tensor<8xf32>, %[[W1:.*]]: tensor<32x8xf32>, %[[W2:.*]]: tensor<8x32xf32>)
func.func @mlp(%x: tensor<4x17x8xf32>, %g: tensor<8xf32>, %w1: tensor<32x8xf32>, %w2: tensor<8x32xf32>) -> tensor<4x8xf32> {
  // CHECK: %[[X0:.*]] = nn.slice_tokens %[[X]] from 0 : tensor<4x17x8xf32> -> tensor<4x1x8xf32>
  // CHECK: %[[H:.*]] = nn.linear %{{.*}}, %[[W1]] {nn.layer = "fc1"} : (tensor<4x1x8xf32>, tensor<32x8xf32>) -> tensor<4x1x32xf32>
  // CHECK: nn.gelu %[[H]] approximate tanh : tensor<4x1x32xf32>
  // CHECK: nn.linear %{{.*}}, %[[W2]] : (tensor<4x1x32xf32>, tensor<8x32xf32>) -> tensor<4x1x8xf32>
  // CHECK: nn.layer_scale %{{.*}}, %[[G]] : tensor<4x1x8xf32>, tensor<8xf32>
  // CHECK: nn.scale %{{.*}} by 5.000000e-01 : tensor<4x1x8xf32>
  // CHECK: nn.add %{{.*}}, %{{.*}} : tensor<4x1x8xf32>, tensor<4x1x8xf32>
  // CHECK: %[[N:.*]] = nn.layer_norm %{{.*}}, %[[G]], %[[G]] eps 1.000000e-05 : tensor<4x1x8xf32>
  // CHECK: nn.select_token %[[N]][0] : tensor<4x1x8xf32> -> tensor<4x8xf32>
  %h = nn.linear %x, %w1 {nn.layer = "fc1"} : (tensor<4x17x8xf32>, tensor<32x8xf32>) -> tensor<4x17x32xf32>
  %a = nn.gelu %h approximate tanh : tensor<4x17x32xf32>
  %f = nn.linear %a, %w2 : (tensor<4x17x32xf32>, tensor<8x32xf32>) -> tensor<4x17x8xf32>
  %s = nn.layer_scale %f, %g : tensor<4x17x8xf32>, tensor<8xf32>
  %t = nn.scale %s by 0.5 : tensor<4x17x8xf32>
  %r = nn.add %x, %t : tensor<4x17x8xf32>, tensor<4x17x8xf32>
  %n = nn.layer_norm %r, %g, %g eps 1.0e-05 : tensor<4x17x8xf32>, tensor<8xf32>, tensor<8xf32>
  %c = nn.select_token %n[0] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  return %c : tensor<4x8xf32>
}

// Queries of one token, keys and values of all: the packed projection splits by rows of its weight.
// CHECK-LABEL: func.func @packed_attention
// CHECK-SAME: (%[[X:.*]]: tensor<4x17x8xf32>, %[[W:.*]]: tensor<24x8xf32>, %[[B:.*]]: tensor<24xf32>)
func.func @packed_attention(%x: tensor<4x17x8xf32>, %w: tensor<24x8xf32>, %b: tensor<24xf32>) -> tensor<4x8xf32> {
  // CHECK: %[[X0:.*]] = nn.slice_tokens %[[X]] from 0 : tensor<4x17x8xf32> -> tensor<4x1x8xf32>
  // CHECK: %[[WQ:.*]] = nn.slice_rows %[[W]] from 0 : tensor<24x8xf32> -> tensor<8x8xf32>
  // CHECK: %[[BQ:.*]] = nn.slice_rows %[[B]] from 0 : tensor<24xf32> -> tensor<8xf32>
  // CHECK: %[[Q:.*]] = nn.linear %[[X0]], %[[WQ]], %[[BQ]] {nn.layer = "qkv"}
  // CHECK: %[[WK:.*]] = nn.slice_rows %[[W]] from 8 : tensor<24x8xf32> -> tensor<16x8xf32>
  // CHECK: %[[BK:.*]] = nn.slice_rows %[[B]] from 8 : tensor<24xf32> -> tensor<16xf32>
  // CHECK: %[[KV:.*]] = nn.linear %[[X]], %[[WK]], %[[BK]] {nn.layer = "qkv"}
  // CHECK: nn.attention %[[Q]], %[[KV]] heads 2 scale 5.000000e-01 {nn.layer = "attn"} : (tensor<4x1x8xf32>, tensor<4x17x16xf32>) -> tensor<4x1x8xf32>
  %p = nn.linear %x, %w, %b {nn.layer = "qkv"} : (tensor<4x17x8xf32>, tensor<24x8xf32>, tensor<24xf32>) -> tensor<4x17x24xf32>
  %o = nn.attention %p heads 2 scale 0.5 {nn.layer = "attn"} : (tensor<4x17x24xf32>) -> tensor<4x17x8xf32>
  %c = nn.select_token %o[0] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  return %c : tensor<4x8xf32>
}

// Separate queries are sliced; keys and values are not.
// CHECK-LABEL: func.func @separate_attention
// CHECK: nn.slice_tokens %arg0 from 0
// CHECK: nn.attention %{{.*}}, %arg1, %arg2 heads 2 {{.*}} : (tensor<4x1x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>) -> tensor<4x1x8xf32>
func.func @separate_attention(%q: tensor<4x17x8xf32>, %k: tensor<4x17x8xf32>, %v: tensor<4x17x8xf32>) -> tensor<4x8xf32> {
  %o = nn.attention %q, %k, %v heads 2 scale 0.5 : (tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>) -> tensor<4x17x8xf32>
  %c = nn.select_token %o[0] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  return %c : tensor<4x8xf32>
}

// A distilled model reads two tokens: one range.
// CHECK-LABEL: func.func @two_tokens
// CHECK: %[[N:.*]] = nn.layer_norm %{{.*}} eps 1.000000e-05 : tensor<4x2x8xf32>
// CHECK: nn.select_token %[[N]][0] : tensor<4x2x8xf32>
// CHECK: nn.select_token %[[N]][1] : tensor<4x2x8xf32>
func.func @two_tokens(%x: tensor<4x17x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %n = nn.layer_norm %x eps 1.0e-05 : tensor<4x17x8xf32>
  %c = nn.select_token %n[0] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  %d = nn.select_token %n[1] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  return %c, %d : tensor<4x8xf32>, tensor<4x8xf32>
}

// The position embedding is sliced, too, and a token other than the first keeps its place.
// CHECK-LABEL: func.func @broadcast_add
// CHECK: nn.slice_tokens %arg0 from 5 : tensor<4x17x8xf32> -> tensor<4x1x8xf32>
// CHECK: nn.slice_tokens %arg1 from 5 : tensor<1x17x8xf32> -> tensor<1x1x8xf32>
// CHECK: nn.select_token %{{.*}}[0]
func.func @broadcast_add(%x: tensor<4x17x8xf32>, %pos: tensor<1x17x8xf32>) -> tensor<4x8xf32> {
  %r = nn.add %x, %pos : tensor<4x17x8xf32>, tensor<1x17x8xf32>
  %c = nn.select_token %r[5] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  return %c : tensor<4x8xf32>
}

// A full reader needs every token: nothing to save.
// CHECK-LABEL: func.func @full_reader
// CHECK-NOT: nn.slice_tokens
func.func @full_reader(%x: tensor<4x17x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %n = nn.layer_norm %x eps 1.0e-05 : tensor<4x17x8xf32>
  %c = nn.select_token %n[0] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  %m = nn.mean_tokens %n : tensor<4x17x8xf32> -> tensor<4x8xf32>
  return %c, %m : tensor<4x8xf32>, tensor<4x8xf32>
}

// Average pooling reads all but one token: copying them would cost more than it saves.
// CHECK-LABEL: func.func @most_tokens
// CHECK: nn.layer_norm %arg0 eps 1.000000e-05 : tensor<4x17x8xf32>
// CHECK: nn.slice_tokens %{{.*}} from 1 : tensor<4x17x8xf32> -> tensor<4x16x8xf32>
func.func @most_tokens(%x: tensor<4x17x8xf32>) -> tensor<4x8xf32> {
  %n = nn.layer_norm %x eps 1.0e-05 : tensor<4x17x8xf32>
  %s = nn.slice_tokens %n from 1 : tensor<4x17x8xf32> -> tensor<4x16x8xf32>
  %m = nn.mean_tokens %s : tensor<4x16x8xf32> -> tensor<4x8xf32>
  return %m : tensor<4x8xf32>
}

// Whether an image is dropped does not depend on its tokens; which element is does.
// CHECK-LABEL: func.func @dropouts
// CHECK-SAME: %[[X:.*]]: tensor<4x17x8xf32>, %[[SEED:.*]]: tensor<1xi32>
// CHECK: %[[E:.*]] = nn.dropout element %[[X]], %[[SEED]] rate 1.000000e-01 stream 0 : tensor<4x17x8xf32>
// CHECK: %[[S:.*]] = nn.slice_tokens %[[E]] from 0 : tensor<4x17x8xf32> -> tensor<4x1x8xf32>
// CHECK: nn.dropout image %[[S]], %[[SEED]] rate 1.000000e-01 stream 1 : tensor<4x1x8xf32>
func.func @dropouts(%x: tensor<4x17x8xf32>, %seed: tensor<1xi32>) -> tensor<4x8xf32> {
  %e = nn.dropout element %x, %seed rate 0.1 stream 0 : tensor<4x17x8xf32>, tensor<1xi32>
  %i = nn.dropout image %e, %seed rate 0.1 stream 1 : tensor<4x17x8xf32>, tensor<1xi32>
  %c = nn.select_token %i[0] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  return %c : tensor<4x8xf32>
}
