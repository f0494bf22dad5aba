// RUN: ns-opt %s --rt-to-llvm | FileCheck %s

#point = affine_map<(r, k, c) -> (r, c)>

module attributes {rt.layout = {
  params = [], params_bytes = 0 : i64, state = [], state_bytes = 0 : i64,
  io = [{name = "x", offset = 0 : i64, type = tensor<12x20xf32>}, {name = "y", offset = 960 : i64, type = tensor<20x12xf32>},
        {name = "v", offset = 1920 : i64, type = tensor<12x20xf32>}],
  io_bytes = 2880 : i64}} {

// A transposed read: lanes 20 elements apart, and no read beyond the 12 columns.
// CHECK-LABEL: llvm.func internal @kernel_0(
// CHECK: %[[OFFSETS:.*]] = arith.constant dense<[0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220, 240, 260, 280, 300]> : vector<16xi64>
// CHECK: %[[LANES:.*]] = llvm.getelementptr %{{.*}}[%[[OFFSETS]]] : (!llvm.ptr, vector<16xi64>) -> vector<16x!llvm.ptr>, f32
// CHECK: %[[MASK:.*]] = arith.constant dense<[true, true, true, true, true, true, true, true, true, true, true, true, false, false, false, false]> : vector<16xi1>
// CHECK: llvm.intr.masked.gather %[[LANES]], %[[MASK]], %{{.*}} {alignment = 4 : i32}
func.func @transposed() {
  %x = rt.slot io "x" : tensor<12x20xf32>
  %flat = rt.view %x offset 0 : tensor<12x20xf32> -> tensor<240xf32>
  %y = rt.slot io "y" : tensor<20x12xf32>
  %0 = rt.fused [20, 1, 12] ins(%flat : tensor<240xf32>) into(%y : tensor<20x12xf32>) [0] maps [affine_map<(r, k, c) -> (r, c * 20)>] -> [#point] {rt.offsets = array<i64: -1>} : tensor<20x12xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return
}

// The first result lies over an input that only the second one reads: both are computed before either is stored.
// CHECK-LABEL: llvm.func internal @kernel_1(
// CHECK: arith.addf
// CHECK-NOT: llvm.store
// CHECK: arith.mulf
// CHECK: llvm.store
// CHECK: llvm.store
func.func @two_results() {
  %x = rt.slot io "x" : tensor<12x20xf32>
  %v = rt.slot io "v" : tensor<12x20xf32>
  %0:2 = rt.fused [12, 1, 20] ins(%x, %v : tensor<12x20xf32>, tensor<12x20xf32>) into(%v, %x : tensor<12x20xf32>, tensor<12x20xf32>) [0, 1] maps [#point, #point] -> [#point, #point] {rt.offsets = array<i64: -1, -1>} : tensor<12x20xf32>, tensor<12x20xf32> {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %a : f32
    %p = arith.mulf %b, %b : f32
    rt.yield %s, %p : f32, f32
  }
  return
}
}
