// REQUIRES: asserts
// RUN: ns-opt %inputs/tiny-vit.mlir --ns-insert-noise --ns-insert-synthesis-loss --nn-bind-batch=batch=4 --ns-differentiate --mlir-pass-statistics 2>&1 >/dev/null | FileCheck %s

// CHECK: 10 num-saved-values - Computed values that the backward ops read
// CHECK: 28 num-vjps - Ops that got a backward form
