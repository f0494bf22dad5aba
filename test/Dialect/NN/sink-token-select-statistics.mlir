// REQUIRES: asserts
// RUN: ns-opt %s --nn-sink-token-select --mlir-pass-statistics 2>&1 >/dev/null | FileCheck %s

// CHECK: 1 num-sunk - Ops that compute fewer tokens
func.func @norm(%x: tensor<4x17x8xf32>) -> tensor<4x8xf32> {
  %n = nn.layer_norm %x eps 1.0e-05 : tensor<4x17x8xf32>
  %c = nn.select_token %n[0] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  return %c : tensor<4x8xf32>
}
