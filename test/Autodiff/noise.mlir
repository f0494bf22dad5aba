// RUN: ns-opt %s --ns-differentiate | FileCheck %s

ns.noise @noise uniform lim 3.0 site "tokens" : tensor<1x5x8xf32>
ns.noise @pixels uniform lim 3.0 site "image" : tensor<1x5x8xf32>

// A noise is shared by the batch; the loss's objective goes along, and no gradient flows into the clean logits.
// CHECK-LABEL: func.func @tokens(
// CHECK-SAME: %[[U:.*]]: tensor<4x5x8xf32>, %[[CLEAN:.*]]: tensor<4x8xf32>,
// CHECK: %[[Z:.*]] = nn.mean_tokens
// CHECK: %[[DZ:.*]] = ns.synthesis_loss_grad %{{.*}}, %[[Z]], %[[CLEAN]] objective logit_l2 :
// CHECK: %[[DU:.*]] = nn.expand_tokens %[[DZ]]
// CHECK: %[[DV:.*]] = nn.sum_batch %[[DU]] : tensor<4x5x8xf32> -> tensor<1x5x8xf32>
// CHECK: return %[[DU]], %[[DV]]
func.func @tokens(%u: tensor<4x5x8xf32>, %clean: tensor<4x8xf32>, %w: tensor<4xf32>) -> (tensor<4x5x8xf32>, tensor<1x5x8xf32>) {
  %v = ns.read_noise @noise : tensor<1x5x8xf32>
  %n = ns.inject %u, %v site "tokens" : tensor<4x5x8xf32>, tensor<1x5x8xf32>
  %z = nn.mean_tokens %n : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = ns.synthesis_loss %z, %clean objective logit_l2 : tensor<4x8xf32> -> tensor<4xf32>
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g:2 = ns.gradient %s wrt %u, %v : (tensor<f32>, tensor<4x5x8xf32>, tensor<1x5x8xf32>) -> (tensor<4x5x8xf32>, tensor<1x5x8xf32>)
  return %g#0, %g#1 : tensor<4x5x8xf32>, tensor<1x5x8xf32>
}

// The clamp at the image lets no gradient through where it binds.
// CHECK-LABEL: func.func @image(
// CHECK: %[[V:.*]] = ns.read_noise @pixels
// CHECK: %[[C:.*]] = ns.clip_grad %{{.*}}, %arg0, %[[V]]
// CHECK: nn.sum_batch %[[C]]
func.func @image(%u: tensor<4x5x8xf32>, %clean: tensor<4x8xf32>, %w: tensor<4xf32>) -> tensor<1x5x8xf32> {
  %v = ns.read_noise @pixels : tensor<1x5x8xf32>
  %n = ns.inject %u, %v site "image" clip : tensor<4x5x8xf32>, tensor<1x5x8xf32>
  %z = nn.mean_tokens %n : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = ns.synthesis_loss %z, %clean objective logit_l2sq : tensor<4x8xf32> -> tensor<4xf32>
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %v : (tensor<f32>, tensor<1x5x8xf32>) -> tensor<1x5x8xf32>
  return %g : tensor<1x5x8xf32>
}

// Labels, targets and objective get no gradient.
// CHECK-LABEL: func.func @attack(
// CHECK-SAME: %[[Z:.*]]: tensor<4x8xf32>, %[[Y:.*]]: tensor<4xi32>, %[[T:.*]]: tensor<4xi32>, %[[OBJECTIVE:.*]]: tensor<4x6xf32>, %[[W:.*]]: tensor<4xf32>)
// CHECK: %[[DL:.*]] = nn.weighted_sum_grad
// CHECK: %[[DZ:.*]] = ns.attack_loss_grad %[[DL]], %[[Z]], %[[Y]], %[[T]], %[[OBJECTIVE]]
// CHECK: return %[[DZ]]
func.func @attack(%z: tensor<4x8xf32>, %y: tensor<4xi32>, %t: tensor<4xi32>, %o: tensor<4x6xf32>, %w: tensor<4xf32>) -> tensor<4x8xf32> {
  %l = ns.attack_loss %z, %y, %t, %o : (tensor<4x8xf32>, tensor<4xi32>, tensor<4xi32>, tensor<4x6xf32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %z : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %g : tensor<4x8xf32>
}

// Labels and beta get no gradient; the clean logits that are given get none either.
// CHECK-LABEL: func.func @trades(
// CHECK-SAME: %[[Z:.*]]: tensor<4x8xf32>, %[[C:.*]]: tensor<4x8xf32>, %[[Y:.*]]: tensor<4xi32>, %[[BETA:.*]]: tensor<f32>, %[[W:.*]]: tensor<4xf32>)
// CHECK: %[[B:.*]] = nn.concat_batch %[[C]], %[[Z]]
// CHECK: %[[DL:.*]] = nn.weighted_sum_grad
// CHECK: %[[DB:.*]] = ns.trades_loss_grad %[[DL]], %[[B]], %[[Y]], %[[BETA]]
// CHECK: %[[DZ:.*]] = nn.slice_batch %[[DB]] from 4
// CHECK: return %[[DZ]]
func.func @trades(%z: tensor<4x8xf32>, %c: tensor<4x8xf32>, %y: tensor<4xi32>, %beta: tensor<f32>, %w: tensor<4xf32>) -> tensor<4x8xf32> {
  %b = nn.concat_batch %c, %z : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
  %l = ns.trades_loss %b, %y, %beta : (tensor<8x8xf32>, tensor<4xi32>, tensor<f32>) -> tensor<8xf32>
  %s = nn.weighted_sum %l, %w : (tensor<8xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %z : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %g : tensor<4x8xf32>
}

// Attention to a patch: the mask gets no gradient, queries and keys do; the values of the tap are not the network's.
// CHECK-LABEL: func.func @attention_to_a_patch(
// CHECK-SAME: %[[Q:.*]]: tensor<4x5x8xf32>, %[[K:.*]]: tensor<4x5x8xf32>, %[[P:.*]]: tensor<4x5xf32>, %[[W:.*]]: tensor<4xf32>)
// CHECK: %[[V:.*]] = ns.expand_channels %[[P]]
// CHECK: %[[O:.*]] = nn.attention %[[Q]], %[[K]], %[[V]]
// CHECK: %[[A:.*]] = ns.mean_channels %[[O]]
// CHECK: %[[DL:.*]] = nn.weighted_sum_grad
// CHECK: %[[DA:.*]] = ns.attention_loss_grad %[[DL]], %[[A]]
// CHECK: %[[SHARE:.*]] = nn.scale %[[DA]] by 1.250000e-01
// CHECK: %[[DO:.*]] = ns.expand_channels %[[SHARE]]
// CHECK: %[[D:.*]]:3 = nn.attention_grad %[[DO]], %[[Q]], %[[K]], %[[V]]
// CHECK: return %[[D]]#0, %[[D]]#1
func.func @attention_to_a_patch(%q: tensor<4x5x8xf32>, %k: tensor<4x5x8xf32>, %p: tensor<4x5xf32>, %w: tensor<4xf32>) -> (tensor<4x5x8xf32>, tensor<4x5x8xf32>) {
  %v = ns.expand_channels %p : tensor<4x5xf32> -> tensor<4x5x8xf32>
  %o = nn.attention %q, %k, %v heads 2 scale 5.0e-01 : (tensor<4x5x8xf32>, tensor<4x5x8xf32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  %a = ns.mean_channels %o : tensor<4x5x8xf32> -> tensor<4x5xf32>
  %l = ns.attention_loss %a : tensor<4x5xf32> -> tensor<4xf32>
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g:2 = ns.gradient %s wrt %q, %k : (tensor<f32>, tensor<4x5x8xf32>, tensor<4x5x8xf32>) -> (tensor<4x5x8xf32>, tensor<4x5x8xf32>)
  return %g#0, %g#1 : tensor<4x5x8xf32>, tensor<4x5x8xf32>
}
