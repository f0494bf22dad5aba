// RUN: ns-opt %s --split-input-file --pass-pipeline='builtin.module(rt-pack-operands)' | FileCheck %s --check-prefixes=CHECK,AUTO
// RUN: ns-opt %s --split-input-file --pass-pipeline='builtin.module(rt-pack-operands{products=generated})' | FileCheck %s --check-prefixes=CHECK,ALL
// RUN: ns-opt %s --split-input-file --pass-pipeline='builtin.module(rt-pack-operands{products=library})' | FileCheck %s --check-prefix=LIBRARY

// LIBRARY-NOT: packed
// LIBRARY-NOT: rt.pack

// Forward: the weight lies transposed. The layer's name goes with both ops.
// CHECK-LABEL: func.func @forward
// CHECK: %[[P:.*]] = rt.pack [65, 192] %{{.*}} trans_b {nn.layer = "fc"} : tensor<65x192xf32> -> tensor<192x80xf32>
// CHECK: rt.gemm [197, 65, 192] %{{.*}}, %[[P]] packed into %{{.*}} {nn.layer = "fc"} : (tensor<197x192xf32>, tensor<192x80xf32>, tensor<197x65xf32>) -> tensor<197x65xf32>
func.func @forward() {
  %x = rt.slot io "x" : tensor<197x192xf32>
  %w = rt.slot params "w" : tensor<65x192xf32>
  %y = rt.slot io "y" : tensor<197x65xf32>
  %0 = rt.gemm [197, 65, 192] %x, %w trans_b into %y {nn.layer = "fc"} : (tensor<197x192xf32>, tensor<65x192xf32>, tensor<197x65xf32>) -> tensor<197x65xf32>
  return
}

// The gradient of a weight and products of few rows stay with the library, unless all are wanted.
// CHECK-LABEL: func.func @gradients
// AUTO-NOT: packed
// ALL: rt.pack [192, 197] %{{.*}} : tensor<197x192xf32> -> tensor<197x192xf32>
// ALL: rt.gemm [64, 192, 197] %{{.*}} trans_a, %{{.*}} packed into %{{.*}} accumulate
// ALL: rt.gemm [2, 10, 192] %{{.*}}, %{{.*}} packed
func.func @gradients() {
  %x = rt.slot io "x" : tensor<197x192xf32>
  %g = rt.slot io "g" : tensor<197x64xf32>
  %d = rt.slot state "d" : tensor<64x192xf32>
  %beta = rt.slot io "beta" : tensor<f32>
  %0 = rt.gemm [64, 192, 197] %g trans_a, %x into %d accumulate %beta : (tensor<197x64xf32>, tensor<197x192xf32>, tensor<64x192xf32>, tensor<f32>) -> tensor<64x192xf32>
  %h = rt.slot io "h" : tensor<2x192xf32>
  %w = rt.slot params "head" : tensor<10x192xf32>
  %y = rt.slot io "logits" : tensor<2x10xf32>
  %1 = rt.gemm [2, 10, 192] %h, %w trans_b into %y : (tensor<2x192xf32>, tensor<10x192xf32>, tensor<2x10xf32>) -> tensor<2x10xf32>
  return
}

// Operands of bf16 are the library's in any case.
// CHECK-LABEL: func.func @narrow
// CHECK-NOT: packed
func.func @narrow() {
  %x = rt.slot io "x16" : tensor<197x192xbf16>
  %w = rt.slot params "w16" : tensor<64x192xbf16>
  %y = rt.slot io "y32" : tensor<197x64xf32>
  %0 = rt.gemm [197, 64, 192] %x, %w trans_b into %y : (tensor<197x192xbf16>, tensor<64x192xbf16>, tensor<197x64xf32>) -> tensor<197x64xf32>
  return
}

// What trains the parameters of the entries above.
func.func @update() {
  %w = rt.slot params "head" : tensor<10x192xf32>
  %0 = rt.fused [10, 1, 192] ins(%w : tensor<10x192xf32>) into(%w : tensor<10x192xf32>) [0] maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<10x192xf32> {
  ^bb0(%x: f32):
    rt.yield %x : f32
  }
  return
}

// -----

// Where nothing is trained products of few rows are generated too.
// CHECK-LABEL: func.func @frozen
// CHECK: rt.pack [10, 192]
// CHECK: rt.gemm [2, 10, 192] %{{.*}}, %{{.*}} packed
func.func @frozen() {
  %h = rt.slot io "h" : tensor<2x192xf32>
  %w = rt.slot params "head" : tensor<10x192xf32>
  %y = rt.slot io "logits" : tensor<2x10xf32>
  %1 = rt.gemm [2, 10, 192] %h, %w trans_b into %y : (tensor<2x192xf32>, tensor<10x192xf32>, tensor<2x10xf32>) -> tensor<2x10xf32>
  return
}
