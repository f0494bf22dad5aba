// RUN: ns-opt %s --split-input-file --nn-fold-frozen | FileCheck %s

// The last block of a ViT after nn-sink-token-select: queries of one token by a range of the packed weight's rows, a second entry with the same layers. The bias
// is computed from the weight before gamma is in it.
nn.param @g no_decay : tensor<8xf32>
nn.param @b no_decay : tensor<8xf32>
nn.param @w : tensor<24x8xf32>
nn.param @c no_decay : tensor<24xf32>
// CHECK-LABEL: func.func @norm
// CHECK-SAME: (%[[X:.*]]: tensor<4x17x8xf32>)
func.func @norm(%x: tensor<4x17x8xf32>) -> (tensor<4x1x8xf32>, tensor<4x17x16xf32>) attributes {ns.entry} {
  // CHECK-NOT: nn.load_param @{{[gb] }}
  // CHECK: %[[N:.*]] = nn.layer_norm %[[X]] eps 1.000000e-05 {nn.layer = "norm"} : tensor<4x17x8xf32>
  // CHECK: %[[N0:.*]] = nn.slice_tokens %[[N]] from 0
  // CHECK: nn.linear %[[N0]],
  // CHECK: nn.linear %[[N]],
  %g = nn.load_param @g : tensor<8xf32>
  %b = nn.load_param @b : tensor<8xf32>
  %w = nn.load_param @w : tensor<24x8xf32>
  %c = nn.load_param @c : tensor<24xf32>
  %n = nn.layer_norm %x, %g, %b eps 1.0e-05 {nn.layer = "norm"} : tensor<4x17x8xf32>, tensor<8xf32>, tensor<8xf32>
  %n0 = nn.slice_tokens %n from 0 : tensor<4x17x8xf32> -> tensor<4x1x8xf32>
  %wq = nn.slice_rows %w from 0 : tensor<24x8xf32> -> tensor<8x8xf32>
  %cq = nn.slice_rows %c from 0 : tensor<24xf32> -> tensor<8xf32>
  %q = nn.linear %n0, %wq, %cq : (tensor<4x1x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x1x8xf32>
  %wk = nn.slice_rows %w from 8 : tensor<24x8xf32> -> tensor<16x8xf32>
  %ck = nn.slice_rows %c from 8 : tensor<24xf32> -> tensor<16xf32>
  %k = nn.linear %n, %wk, %ck : (tensor<4x17x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<4x17x16xf32>
  return %q, %k : tensor<4x1x8xf32>, tensor<4x17x16xf32>
}

// CHECK-LABEL: func.func @norm_again
// CHECK: nn.layer_norm %{{.*}} eps 1.000000e-05 : tensor<4x17x8xf32>
func.func @norm_again(%x: tensor<4x17x8xf32>) -> tensor<4x24xf32> attributes {ns.entry} {
  %g = nn.load_param @g : tensor<8xf32>
  %b = nn.load_param @b : tensor<8xf32>
  %w = nn.load_param @w : tensor<24x8xf32>
  %c = nn.load_param @c : tensor<24xf32>
  %n = nn.layer_norm %x, %g, %b eps 1.0e-05 : tensor<4x17x8xf32>, tensor<8xf32>, tensor<8xf32>
  %n0 = nn.select_token %n[0] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  %y = nn.linear %n0, %w, %c : (tensor<4x8xf32>, tensor<24x8xf32>, tensor<24xf32>) -> tensor<4x24xf32>
  return %y : tensor<4x24xf32>
}

// CHECK-LABEL: func.func @prepare() attributes {ns.entry}
// CHECK-DAG: %[[G:.*]] = nn.load_param @g
// CHECK-DAG: %[[B:.*]] = nn.load_param @b
// CHECK-DAG: %[[W:.*]] = nn.load_param @w
// CHECK-DAG: %[[C:.*]] = nn.load_param @c
// CHECK: %[[C1:.*]] = nn.fold_norm_bias %[[C]], %[[W]], %[[B]] : tensor<24xf32>, tensor<24x8xf32>, tensor<8xf32>
// CHECK-NEXT: %[[W1:.*]] = nn.fold_norm_weight %[[W]], %[[G]] : tensor<24x8xf32>, tensor<8xf32>
// CHECK-NEXT: nn.store_param @c, %[[C1]] : tensor<24xf32>
// CHECK-NEXT: nn.store_param @w, %[[W1]] : tensor<24x8xf32>
// CHECK-NEXT: return

// -----

// A weight between a norm and a layer scale takes both over; a layer scale needs no bias.
nn.param @g no_decay : tensor<8xf32>
nn.param @b no_decay : tensor<8xf32>
nn.param @w : tensor<8x8xf32>
nn.param @c no_decay : tensor<8xf32>
nn.param @s no_decay : tensor<8xf32>
nn.param @w2 : tensor<8x8xf32>
nn.param @s2 no_decay : tensor<8xf32>
// CHECK-LABEL: func.func @scale
// CHECK: %[[N:.*]] = nn.layer_norm %{{.*}} eps 1.000000e-05 : tensor<4x8xf32>
// CHECK: %[[Y:.*]] = nn.linear %[[N]]
// CHECK-NEXT: %[[Z:.*]] = nn.linear %[[Y]]
// CHECK-NEXT: return %[[Z]]
func.func @scale(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {ns.entry} {
  %g = nn.load_param @g : tensor<8xf32>
  %b = nn.load_param @b : tensor<8xf32>
  %w = nn.load_param @w : tensor<8x8xf32>
  %c = nn.load_param @c : tensor<8xf32>
  %s = nn.load_param @s : tensor<8xf32>
  %w2 = nn.load_param @w2 : tensor<8x8xf32>
  %s2 = nn.load_param @s2 : tensor<8xf32>
  %n = nn.layer_norm %x, %g, %b eps 1.0e-05 : tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>
  %y = nn.linear %n, %w, %c : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %ys = nn.layer_scale %y, %s : tensor<4x8xf32>, tensor<8xf32>
  %z = nn.linear %ys, %w2 : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %zs = nn.layer_scale %z, %s2 : tensor<4x8xf32>, tensor<8xf32>
  return %zs : tensor<4x8xf32>
}
// CHECK-LABEL: func.func @prepare
// CHECK: %[[C1:.*]] = nn.fold_norm_bias
// CHECK-NEXT: %[[W1:.*]] = nn.fold_norm_weight
// CHECK-NEXT: %[[C2:.*]] = nn.fold_scale_bias %[[C1]], %{{.*}} : tensor<8xf32>
// CHECK-NEXT: %[[W2:.*]] = nn.fold_scale_weight %[[W1]], %{{.*}} : tensor<8x8xf32>, tensor<8xf32>
// CHECK-NEXT: %[[V:.*]] = nn.fold_scale_weight
// CHECK-NEXT: nn.store_param @c, %[[C2]]
// CHECK-NEXT: nn.store_param @w, %[[W2]]
// CHECK-NEXT: nn.store_param @w2, %[[V]]

// -----

// Parameters that an entry trains stay.
nn.param @g no_decay : tensor<8xf32>
nn.param @b no_decay : tensor<8xf32>
nn.param @w : tensor<8x8xf32>
nn.param @c no_decay : tensor<8xf32>
// CHECK-LABEL: func.func @trained
// CHECK: nn.layer_norm %{{.*}}, %{{.*}}, %{{.*}} eps
// CHECK-NOT: @prepare
func.func @trained(%x: tensor<4x8xf32>, %dw: tensor<8x8xf32>, %acc: tensor<f32>) -> tensor<4x8xf32> attributes {ns.entry} {
  %g = nn.load_param @g : tensor<8xf32>
  %b = nn.load_param @b : tensor<8xf32>
  %w = nn.load_param @w : tensor<8x8xf32>
  %c = nn.load_param @c : tensor<8xf32>
  %n = nn.layer_norm %x, %g, %b eps 1.0e-05 : tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>
  %y = nn.linear %n, %w, %c : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  ns.store_grad @w, %dw accumulate %acc : tensor<8x8xf32>, tensor<f32>
  return %y : tensor<4x8xf32>
}

// -----

// Uses that a fold would not account for: a norm with another reader, a weight read elsewhere, a norm per head, no bias, two norms of one weight, a layer scale of a
// value with another reader.
nn.param @g no_decay : tensor<8xf32>
nn.param @b no_decay : tensor<8xf32>
nn.param @h no_decay : tensor<4xf32>
nn.param @w : tensor<8x8xf32>
nn.param @w2 : tensor<8x8xf32>
nn.param @w3 : tensor<8x8xf32>
nn.param @c no_decay : tensor<8xf32>
nn.param @g2 no_decay : tensor<8xf32>
nn.param @g3 no_decay : tensor<8xf32>
nn.param @g4 no_decay : tensor<8xf32>
nn.param @g5 no_decay : tensor<8xf32>
// CHECK-LABEL: func.func @kept
// CHECK-COUNT-6: nn.layer_norm %{{.*}}, %{{.*}}, %{{.*}} eps
// CHECK: nn.layer_scale
// CHECK-NOT: @prepare
func.func @kept(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) attributes {ns.entry} {
  %g = nn.load_param @g : tensor<8xf32>
  %b = nn.load_param @b : tensor<8xf32>
  %h = nn.load_param @h : tensor<4xf32>
  %w = nn.load_param @w : tensor<8x8xf32>
  %w2 = nn.load_param @w2 : tensor<8x8xf32>
  %w3 = nn.load_param @w3 : tensor<8x8xf32>
  %c = nn.load_param @c : tensor<8xf32>
  %g2 = nn.load_param @g2 : tensor<8xf32>
  %g3 = nn.load_param @g3 : tensor<8xf32>
  %g4 = nn.load_param @g4 : tensor<8xf32>
  %g5 = nn.load_param @g5 : tensor<8xf32>
  %n0 = nn.layer_norm %x, %g, %b eps 1.0e-05 : tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>
  %a0 = nn.gelu %n0 approximate none : tensor<4x8xf32>
  %n1 = nn.layer_norm %a0, %g2, %b eps 1.0e-05 : tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>
  %y1 = nn.linear %n1, %w, %c : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %z1 = nn.linear %x, %w, %c : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %n2 = nn.layer_norm %x, %h, %h eps 1.0e-05 : tensor<4x8xf32>, tensor<4xf32>, tensor<4xf32>
  %y2 = nn.linear %n2, %w2, %c : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %n3 = nn.layer_norm %x, %g3, %g3 eps 1.0e-05 : tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>
  %y3 = nn.linear %n3, %w3 : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %n4 = nn.layer_norm %x, %g4, %g4 eps 1.0e-05 : tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>
  %y4 = nn.linear %n4, %w2, %c : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %n5 = nn.layer_norm %x, %g5, %g5 eps 1.0e-05 : tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>
  %y5 = nn.linear %n5, %w2, %c : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %s = nn.layer_scale %y3, %c : tensor<4x8xf32>, tensor<8xf32>
  return %y1, %z1, %y2, %y3, %y4, %y5, %s : tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>
}
