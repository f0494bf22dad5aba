// RUN: ns-opt %s --rt-to-llvm='metadata=about' | FileCheck %s
// RUN: ns-opt %s --rt-to-llvm=vector-bits=256 | FileCheck %s --check-prefix=AVX2

#point = affine_map<(r, k, c) -> (r, c)>
#inner = affine_map<(r, k, c) -> (r * 17 + k, c)>
#row = affine_map<(r, k, c) -> (r, 0)>

module attributes {rt.layout = {
  params = [], params_bytes = 0 : i64, state = [], state_bytes = 0 : i64,
  io = [{name = "x", offset = 0 : i64, type = tensor<68x20xf32>}, {name = "y", offset = 5440 : i64, type = tensor<68x20xf32>},
        {name = "wide", offset = 10880 : i64, type = tensor<4x300xf32>}, {name = "long", offset = 15680 : i64, type = tensor<4x300xf32>}],
  io_bytes = 20480 : i64}} {

// Two programs that differ in their operands only: one kernel, launched twice. Twenty columns are one vector of 16 and a masked one of 4; nothing between them.
// CHECK-LABEL: llvm.func internal @entry_equal_programs(%arg0: !llvm.ptr, %arg1: !llvm.ptr) -> i32
// CHECK: llvm.mlir.addressof @kernel_0_task
// CHECK: llvm.call
// CHECK: llvm.mlir.addressof @kernel_0_task
// CHECK: llvm.call
// CHECK: llvm.return %{{.*}} : i32
// CHECK-LABEL: llvm.func internal @kernel_0(
// CHECK-SAME: %arg0: !llvm.ptr, %arg1: !llvm.ptr {llvm.noalias}, %arg2: i64, %arg3: i64)
// CHECK: scf.for
// CHECK-NOT: scf.for
// CHECK: llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr -> vector<16xf32>
// CHECK: math.exp %{{.*}} : vector<16xf32>
// CHECK: llvm.store %{{.*}} {alignment = 4 : i64} : vector<16xf32>, !llvm.ptr
// CHECK: arith.constant dense<[true, true, true, true, false, false, false, false, false, false, false, false, false, false, false, false]> : vector<16xi1>
// CHECK: llvm.intr.masked.load
// CHECK: math.exp
// CHECK: llvm.intr.masked.store
// CHECK-LABEL: llvm.func internal @kernel_0_task(%arg0: !llvm.ptr, %arg1: i64, %arg2: i64)
// CHECK: llvm.call @kernel_0(
// AVX2-LABEL: llvm.func internal @kernel_0(
// AVX2-COUNT-2: llvm.store %{{.*}} {alignment = 4 : i64} : vector<8xf32>, !llvm.ptr
// AVX2: llvm.intr.masked.store
func.func @equal_programs() {
  %x = rt.slot io "x" : tensor<68x20xf32>
  %y = rt.slot io "y" : tensor<68x20xf32>
  %0 = rt.fused [68, 1, 20] ins(%x : tensor<68x20xf32>) maps [#point] -> [#point] {rt.offsets = array<i64: 0>} : tensor<68x20xf32> {
  ^bb0(%a: f32):
    %e = math.exp %a : f32
    rt.yield %e : f32
  }
  %1 = rt.fused [68, 1, 20] ins(%0 : tensor<68x20xf32>) into(%y : tensor<68x20xf32>) [0] maps [#point] -> [#point] {rt.offsets = array<i64: -1>} : tensor<68x20xf32> {
  ^bb0(%b: f32):
    %e = math.exp %b : f32
    rt.yield %e : f32
  }
  return
}

// A result over its own input's bytes makes another kernel: its pointers may alias.
// CHECK-LABEL: llvm.func internal @entry_in_place
// CHECK-LABEL: llvm.func internal @kernel_1(%arg0: !llvm.ptr, %arg1: !llvm.ptr, %arg2: i64, %arg3: i64)
func.func @in_place() {
  %x = rt.slot io "x" : tensor<68x20xf32>
  %0 = rt.fused [68, 1, 20] ins(%x : tensor<68x20xf32>) into(%x : tensor<68x20xf32>) [0] maps [#point] -> [#point] {rt.offsets = array<i64: -1>} : tensor<68x20xf32> {
  ^bb0(%a: f32):
    %e = math.exp %a : f32
    rt.yield %e : f32
  }
  return
}

// More than 16 vectors to a row: a loop over vectors in each pass; the exponentials, read in both passes, wait on the stack.
// CHECK-LABEL: llvm.func internal @entry_loop_form
// CHECK-LABEL: llvm.func internal @kernel_2(
// CHECK: llvm.alloca %{{.*}} x !llvm.array<304 x f32> {alignment = 64 : i64}
// CHECK: scf.for
// CHECK: scf.for {{.*}} iter_args(
// CHECK: math.exp %{{.*}} : vector<16xf32>
// CHECK: llvm.store
// CHECK: arith.addf
// CHECK: scf.yield
// CHECK: scf.for
// CHECK-NOT: math.exp
// CHECK: arith.divf
// CHECK: llvm.return
func.func @loop_form() {
  %x = rt.slot io "wide" : tensor<4x300xf32>
  %y = rt.slot io "long" : tensor<4x300xf32>
  %0 = rt.fused [4, 1, 300] ins(%x : tensor<4x300xf32>) into(%y : tensor<4x300xf32>) [0] maps [#point] -> [#point] {rt.offsets = array<i64: -1>} : tensor<4x300xf32> {
  ^bb0(%a: f32):
    %e = math.exp %a : f32
    %s = rt.row_reduce add %e : f32
    %d = arith.divf %e, %s : f32
    rt.yield %d : f32
  }
  return
}

// A result that does not depend on k: summed over k in order, in registers, in blocks of sqrt(17) rows with sums of their own.
// CHECK-LABEL: llvm.func internal @entry_sum_over_k
// CHECK-LABEL: llvm.func internal @kernel_3(
// CHECK-NOT: llvm.alloca
// CHECK: scf.for
// CHECK: %[[STEP:.*]] = arith.constant 5 : i64
// CHECK: %[[TOTALS:.*]]:2 = scf.for {{.*}} step %[[STEP]] iter_args(
// CHECK: scf.for {{.*}} iter_args(
// CHECK: llvm.load
// CHECK: arith.addf
// CHECK: llvm.intr.masked.load
// CHECK: arith.addf
// CHECK-NOT: llvm.store
// CHECK: scf.yield
// CHECK: arith.addf
// CHECK: arith.addf
// CHECK: scf.yield
// CHECK: llvm.store %[[TOTALS]]#0
// CHECK: llvm.intr.masked.store %[[TOTALS]]#1
func.func @sum_over_k() {
  %x = rt.slot io "x" : tensor<68x20xf32>
  %0 = rt.fused [4, 17, 20] ins(%x : tensor<68x20xf32>) maps [#inner] -> [#point] {rt.offsets = array<i64: 0>} : tensor<4x20xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return
}

// Neutral elements stand in for the columns that a masked vector lacks; a result for each row is one scalar store.
// CHECK-LABEL: llvm.func internal @entry_row_maximum
// CHECK-LABEL: llvm.func internal @kernel_4(
// CHECK: arith.constant dense<0xFF800000> : vector<16xf32>
// CHECK: arith.select
// CHECK: vector.extract_strided_slice {{.*}} : vector<16xf32> to vector<8xf32>
// CHECK: vector.extract {{.*}}[0] : f32 from vector<1xf32>
// CHECK: llvm.store %{{.*}} : f32, !llvm.ptr
func.func @row_maximum() {
  %x = rt.slot io "x" : tensor<68x20xf32>
  %0 = rt.fused [68, 1, 20] ins(%x : tensor<68x20xf32>) maps [#point] -> [#row] {rt.offsets = array<i64: 0>} : tensor<68xf32> {
  ^bb0(%a: f32):
    %s = rt.row_reduce max %a : f32
    rt.yield %s : f32
  }
  return
}

// The same beside a result for each point: cleared, then summed in memory.
// CHECK-LABEL: llvm.func internal @entry_sum_beside_points
// CHECK-LABEL: llvm.func internal @kernel_5(
// CHECK: %[[BLOCK:.*]] = llvm.alloca %{{.*}} x !llvm.array<32 x f32> {alignment = 64 : i64}
// CHECK: scf.for
// CHECK: "llvm.intr.memset"
// CHECK: %[[STEP:.*]] = arith.constant 5 : i64
// CHECK: scf.for {{.*}} step %[[STEP]]
// CHECK: "llvm.intr.memset"(%[[BLOCK]],
// CHECK: scf.for
// CHECK: llvm.load
// CHECK: arith.addf
// CHECK: llvm.store
// CHECK: scf.for
// CHECK: llvm.getelementptr %[[BLOCK]]
// CHECK: arith.addf
// CHECK: llvm.store
func.func @sum_beside_points() {
  %x = rt.slot io "x" : tensor<68x20xf32>
  %0:2 = rt.fused [4, 17, 20] ins(%x : tensor<68x20xf32>) maps [#inner] -> [#inner, #point] {rt.offsets = array<i64: 0, 5440>} : tensor<68x20xf32>, tensor<4x20xf32> {
  ^bb0(%a: f32):
    %n = arith.negf %a : f32
    rt.yield %n, %n : f32, f32
  }
  return
}

// Tiles are one task of blocks: scratch once, then the loop, with a product of the block's rows and a kernel that counts rows from unit 0.
// CHECK-LABEL: llvm.func internal @entry_tiles
// CHECK: llvm.mlir.addressof @tiles_0
// CHECK-LABEL: llvm.func internal @tiles_0(%arg0: !llvm.ptr, %arg1: i64, %arg2: i64)
// CHECK: arith.constant 1600 : i64
// CHECK: scf.for %[[I:.*]] = %arg1 to %arg2
// CHECK: %[[LO:.*]] = arith.muli %[[I]], %{{.*}} : i64
// CHECK: %[[HI:.*]] = arith.minsi
// CHECK: arith.subi %[[HI]], %[[LO]]
// CHECK: llvm.call
// CHECK: llvm.call @kernel_{{[0-9]+}}(
func.func @tiles() {
  %x = rt.slot io "x" : tensor<68x20xf32>
  %y = rt.slot io "y" : tensor<68x20xf32>
  %w = rt.view %x offset 0 : tensor<68x20xf32> -> tensor<20x20xf32>
  rt.tiles [68] height 20 attributes {rt.scratch_bytes = 1600 : i64} {
    %0 = rt.gemm [68, 20, 20] %x, %w {rt.offsets = array<i64: 0>} : (tensor<68x20xf32>, tensor<20x20xf32>) -> tensor<68x20xf32>
    %1 = rt.fused [68, 1, 20] ins(%0 : tensor<68x20xf32>) into(%y : tensor<68x20xf32>) [0] maps [#point] -> [#point] {rt.offsets = array<i64: -1>} : tensor<68x20xf32> {
    ^bb0(%a: f32):
      %e = math.exp %a : f32
      rt.yield %e : f32
    }
    rt.yield
  }
  return
}

// The table: names and functions of the entries, metadata, and one exported function.
// CHECK: llvm.mlir.global internal constant @metadata("about\00")
// CHECK: llvm.mlir.global internal constant @entries() {{.*}} : !llvm.array<7 x struct<(ptr, ptr)>>
// CHECK: llvm.mlir.addressof @name_equal_programs
// CHECK: llvm.mlir.addressof @entry_equal_programs
// CHECK: llvm.mlir.global internal constant @artifact()
// CHECK-LABEL: llvm.func @nsrt_artifact_query(%arg0: i32, %arg1: i32) -> !llvm.ptr
// CHECK-NOT: llvm.func @
}
