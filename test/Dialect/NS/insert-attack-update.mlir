// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-attack-update | FileCheck %s
// RUN: ns-opt %S/Inputs/small.mlir --ns-mark-forward --ns-insert-attack-gradient --ns-insert-attack-update --ns-verify-hardened -o %t
// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-attack-update --ns-insert-attack-update 2>&1 | FileCheck %s --check-prefix=TWICE

// Linf and L2: FGSM, BIM, PGD.
// CHECK-LABEL: func.func @attack_update(
// CHECK-SAME: %[[Y:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[X:.*]]: tensor<?x3x8x8xf32> {ns.name = "clean_image"}, %[[G:.*]]: tensor<?x3x8x8xf32> {ns.name = "image_grad"}, %[[H:.*]]: tensor<3xf32> {ns.name = "attack_hyper"}) -> (tensor<?x3x8x8xf32> {ns.name = "image"}) attributes {ns.entry}
// CHECK-NEXT: %[[R:.*]] = ns.ascend linf %[[Y]], %[[X]], %[[G]], %[[H]] :
// CHECK-NEXT: return %[[R]]

// CHECK-LABEL: func.func @attack_update_l2(
// CHECK: %[[R:.*]] = ns.ascend l2 %arg0, %arg1, %arg2, %arg3 :
// CHECK-NEXT: return %[[R]]

// MIM: the momentum is updated in place, too.
// CHECK-LABEL: func.func @attack_update_momentum(
// CHECK-SAME: %[[Y:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[X:.*]]: tensor<?x3x8x8xf32> {ns.name = "clean_image"}, %[[G:.*]]: tensor<?x3x8x8xf32> {ns.name = "image_grad"}, %[[H:.*]]: tensor<3xf32> {ns.name = "attack_hyper"}, %[[M:.*]]: tensor<?x3x8x8xf32> {ns.name = "momentum"}) -> (tensor<?x3x8x8xf32> {ns.name = "momentum"}, tensor<?x3x8x8xf32> {ns.name = "image"}) attributes {ns.entry}
// CHECK-NEXT: %[[D:.*]] = ns.momentum %[[M]], %[[G]], %[[H]] :
// CHECK-NEXT: %[[R:.*]] = ns.ascend linf %[[Y]], %[[X]], %[[D]], %[[H]] :
// CHECK-NEXT: return %[[D]], %[[R]]

// TWICE: error: expected the symbol @attack_update to be free for an entry, but got a definition
