// RUN: ns-opt %S/Inputs/small.mlir --ns-mark-forward --ns-insert-noise --ns-insert-synthesis-loss --ns-select-entries=entries=stop_test,forward | FileCheck %s
// RUN: ns-opt %S/Inputs/small.mlir --ns-mark-forward --ns-insert-noise --ns-insert-attack-gradient --ns-select-entries=entries=forward,value_and_grad | FileCheck %s --check-prefix=CLEAN
// RUN: not ns-opt %S/Inputs/small.mlir --ns-mark-forward --ns-select-entries=entries=backward 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// In the order asked for, and no other.
// CHECK: ns.noise @noise
// CHECK: func.func @stop_test(
// CHECK: func.func @forward(
// CHECK-NOT: func.func

// A noise that nobody reads goes.
// CLEAN-NOT: ns.noise
// CLEAN: func.func @value_and_grad(

// UNKNOWN: error: expected the module to have an entry @backward, but got none
