// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-noise --ns-insert-synthesis-loss --ns-insert-synthesis-loss=objective=logit_l2 | FileCheck %s
// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-synthesis-loss 2>&1 | FileCheck %s --check-prefix=NO-NOISE
// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-noise --ns-insert-synthesis-loss=objective=l1 2>&1 | FileCheck %s --check-prefix=OBJECTIVE

// NO-NOISE: error: expected the module to declare a noise, but got none
// NO-NOISE: note: ns-insert-noise declares it
// OBJECTIVE: error: expected option objective to be logit_l2sq or logit_l2, but got l1

// CHECK-LABEL: func.func @synth_step(
// CHECK-SAME: %{{.*}}: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[CLEAN:.*]]: tensor<?x5xf32> {ns.name = "clean_logits"}, %[[WEIGHTS:.*]]: tensor<?xf32> {ns.name = "weights"}, %[[ACC:.*]]: tensor<f32> {ns.name = "accumulate"}) -> (tensor<f32> {ns.name = "loss"}) attributes {ns.entry}
// CHECK: %[[V:.*]] = ns.read_noise @noise
// CHECK: %[[Z:.*]] = nn.linear
// CHECK: %[[L:.*]] = ns.synthesis_loss %[[Z]], %[[CLEAN]] objective logit_l2sq : tensor<?x5xf32> -> tensor<?xf32>
// CHECK: %[[LOSS:.*]] = nn.weighted_sum %[[L]], %[[WEIGHTS]]
// CHECK: %[[DV:.*]] = ns.gradient %[[LOSS]] wrt %[[V]] : (tensor<f32>, tensor<1x4x8xf32>) -> tensor<1x4x8xf32>
// CHECK: ns.store_grad @noise, %[[DV]] accumulate %[[ACC]]
// CHECK: return %[[LOSS]]

// CHECK-LABEL: func.func @synth_update(
// CHECK-SAME: %[[HYPER:.*]]: tensor<9xf32> {ns.name = "noise_hyper"}) -> (tensor<f32> {ns.name = "noise_norm"}) attributes {ns.entry}
// CHECK: ns.adamw_noise @noise, %[[HYPER]] : tensor<9xf32> -> tensor<f32>

// CHECK-LABEL: func.func @stop_test(
// CHECK-SAME: -> (tensor<?xf32> {ns.name = "logit_sq"}, tensor<?xf32> {ns.name = "prob_sq"}, tensor<?xf32> {ns.name = "conf_diff"}, tensor<?xf32> {ns.name = "same_argmax"}) attributes {ns.entry}
// CHECK: ns.inject
// CHECK: ns.invariance %{{.*}}, %arg1 : tensor<?x5xf32> -> tensor<?xf32>
// CHECK-NOT: ns.gradient

// Forward once more, for products of another precision.
// CHECK-LABEL: func.func @clean_logits(
// CHECK-SAME: {ns.name = "image"}) -> (tensor<?x5xf32> {ns.name = "clean_logits"}) attributes {ns.entry}
// CHECK-NOT: ns.inject

// The second objective adds its step only.
// CHECK-LABEL: func.func @synth_step_l2(
// CHECK: ns.synthesis_loss %{{.*}} objective logit_l2 :
// CHECK-NOT: func.func
