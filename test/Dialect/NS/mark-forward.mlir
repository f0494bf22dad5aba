// RUN: ns-opt %S/Inputs/small.mlir --ns-mark-forward | FileCheck %s

// CHECK: func.func @forward(%arg0: tensor<?x3x8x8xf32> {ns.name = "image"}) -> (tensor<?x5xf32> {ns.name = "logits"}) attributes {ns.entry}
