// RUN: ns-opt %s --rt-to-llvm | FileCheck %s

#point = affine_map<(r, k, c) -> (r, c)>

module attributes {rt.layout = {
  params = [], params_bytes = 0 : i64, state = [], state_bytes = 0 : i64,
  io = [{name = "x", offset = 0 : i64, type = tensor<4x6x24xf32>}, {name = "bias", offset = 2304 : i64, type = tensor<2x3x3xf32>},
        {name = "mask", offset = 2432 : i64, type = tensor<2x3x3xf32>}, {name = "d", offset = 2560 : i64, type = tensor<4x6x8xf32>},
        {name = "pairs", offset = 3328 : i64, type = tensor<4x20xf32>}],
  io_bytes = 4096 : i64}} {

// Four images of two windows of two heads: 16 tasks.
// CHECK-LABEL: llvm.func internal @entry_windows(
// CHECK: %[[COUNT:.*]] = arith.constant 16 : i64
// CHECK: %[[ADDRESS:.*]] = llvm.mlir.addressof @attention_0_task
// CHECK: llvm.call %{{.*}}(%{{.*}}, %[[ADDRESS]], %{{.*}}, %[[COUNT]], %{{.*}})
// The task: matrix h of the bias, matrix w of the mask, w the window within the image; both are added before the maximum is taken.
// CHECK-LABEL: llvm.func internal @attention_0_task(
// CHECK: scf.for
// CHECK: %[[IMAGE:.*]] = arith.divui
// CHECK: %[[HEAD:.*]] = arith.remui
// Keys in panels, transposed by pairs of rows; the scores' products; then the row kernel, which leaves exponentials and one factor for each row.
// CHECK: vector.shuffle {{.*}} [0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30]
// CHECK: math.fma
// CHECK: %[[WINDOW:.*]] = arith.remui %[[IMAGE]], %{{.*}} : i64
// CHECK: arith.muli %[[WINDOW]], %{{.*}} : i64
// CHECK: llvm.call @[[SOFTMAX:kernel_[0-9]+]](%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) : (!llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, i64, i64) -> ()
// The second product, times the factors.
// CHECK: math.fma
// CHECK: arith.mulf
// CHECK: llvm.intr.masked.store
// CHECK: llvm.func internal @[[SOFTMAX]](
// CHECK: %[[SCORES:.*]] = llvm.intr.masked.load
// CHECK: %[[BIAS:.*]] = llvm.intr.masked.load
// CHECK: %[[SUM:.*]] = arith.addf %[[SCORES]], %[[BIAS]]
// CHECK: %[[MASK:.*]] = llvm.intr.masked.load
// CHECK: arith.addf %[[SUM]], %[[MASK]]
// CHECK: math.exp
func.func @windows() {
  %x = rt.slot io "x" : tensor<4x6x24xf32>
  %b = rt.slot io "bias" : tensor<2x3x3xf32>
  %m = rt.slot io "mask" : tensor<2x3x3xf32>
  %0 = rt.attention %x score_bias %b mask %m heads 2 scale 0.5 window 3 {rt.offsets = array<i64: 0>} : (tensor<4x6x24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> tensor<4x6x8xf32>
  return
}

// One more result: the scores' gradients of each task stay in region work.
// CHECK-LABEL: llvm.func internal @entry_gradient(
// CHECK: llvm.mlir.addressof @attention_grad_1_task
// CHECK-LABEL: llvm.func internal @attention_grad_1_task(
// CHECK: %[[IMAGE:.*]] = arith.divui
// CHECK: %[[HEAD:.*]] = arith.remui
// CHECK: %[[TASKS:.*]] = arith.muli %[[IMAGE]], %c2_i64{{[_0-9]*}} : i64
// CHECK: %[[TASK:.*]] = arith.addi %[[TASKS]], %[[HEAD]] : i64
// CHECK: arith.muli %[[TASK]], %{{.*}} : i64
func.func @gradient() {
  %x = rt.slot io "x" : tensor<4x6x24xf32>
  %b = rt.slot io "bias" : tensor<2x3x3xf32>
  %d = rt.slot io "d" : tensor<4x6x8xf32>
  %0:2 = rt.attention_grad %d, %x score_bias %b heads 2 scale 0.5 window 3 {rt.offsets = array<i64: 0, 2304>} : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<8x6x3xf32>)
  return
}

// Neighbours change places within a vector, and within the tail's.
// CHECK-LABEL: llvm.func internal @entry_pairs(
// CHECK: vector.shuffle %[[V:.*]], %[[V]] [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14] : vector<16xf32>, vector<16xf32>
// CHECK: vector.shuffle %[[W:.*]], %[[W]] [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14] : vector<16xf32>, vector<16xf32>
// CHECK: llvm.intr.masked.store
func.func @pairs() {
  %x = rt.slot io "pairs" : tensor<4x20xf32>
  %0 = rt.fused [4, 1, 20] ins(%x : tensor<4x20xf32>) maps [#point] -> [#point] {rt.offsets = array<i64: 0>} : tensor<4x20xf32> {
  ^bb0(%a: f32):
    %y = rt.swap_pairs %a : f32
    rt.yield %y : f32
  }
  return
}
}
