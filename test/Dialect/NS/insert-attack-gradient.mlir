// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-attack-gradient | FileCheck %s

// CHECK-LABEL: func.func @value_and_grad(
// CHECK-SAME: %[[IMAGE:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[LABELS:.*]]: tensor<?xi32> {ns.name = "labels"}, %[[WEIGHTS:.*]]: tensor<?xf32> {ns.name = "weights"}) -> (tensor<?xf32> {ns.name = "losses"}, tensor<?x5xf32> {ns.name = "logits"}, tensor<?x3x8x8xf32> {ns.name = "image_grad"}) attributes {ns.entry}
// CHECK: %[[Z:.*]] = nn.linear
// CHECK: %[[L:.*]] = nn.cross_entropy %[[Z]], %[[LABELS]]
// CHECK: %[[LOSS:.*]] = nn.weighted_sum %[[L]], %[[WEIGHTS]]
// CHECK: %[[DX:.*]] = ns.gradient %[[LOSS]] wrt %[[IMAGE]]
// CHECK: return %[[L]], %[[Z]], %[[DX]]

// CHECK-LABEL: func.func @attack_grad(
// CHECK-SAME: %[[IMAGE:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[LABELS:.*]]: tensor<?xi32> {ns.name = "labels"}, %[[TARGETS:.*]]: tensor<?xi32> {ns.name = "targets"}, %[[OBJECTIVE:.*]]: tensor<?x6xf32> {ns.name = "objective"}, %[[WEIGHTS:.*]]: tensor<?xf32> {ns.name = "weights"}) -> (tensor<?xf32> {ns.name = "losses"}, tensor<?x5xf32> {ns.name = "logits"}, tensor<?x3x8x8xf32> {ns.name = "image_grad"}) attributes {ns.entry}
// CHECK: %[[Z:.*]] = nn.linear
// CHECK: %[[L:.*]] = ns.attack_loss %[[Z]], %[[LABELS]], %[[TARGETS]], %[[OBJECTIVE]]
// CHECK: %[[LOSS:.*]] = nn.weighted_sum %[[L]], %[[WEIGHTS]]
// CHECK: %[[DX:.*]] = ns.gradient %[[LOSS]] wrt %[[IMAGE]]
// CHECK: return %[[L]], %[[Z]], %[[DX]]
