// RUN: ns-opt %s --rt-to-llvm | FileCheck %s
// RUN: ns-opt %s --rt-to-llvm=vector-bits=256 | FileCheck %s --check-prefix=AVX2

// 65 columns of 16 lanes: 5 vectors, a panel of 3 and one of 2, whose last vector has one column. Tiles of up to 8 and 13 rows.
// CHECK-LABEL: llvm.func internal @entry_product
// CHECK: llvm.mlir.addressof @gemm_pack_65x192_t192_f32_task
// CHECK: llvm.mlir.addressof @gemm_65x192_n192_65_f32_task
// CHECK-LABEL: llvm.func internal @gemm_pack_65x192_t192_f32(%arg0: !llvm.ptr, %arg1: !llvm.ptr, %arg2: i64, %arg3: i64)
// CHECK: llvm.call @gemm_pack_panel_3_16_t192_f32
// CHECK: llvm.call @gemm_pack_panel_2_1_t192_f32
// CHECK-LABEL: llvm.func internal @gemm_65x192_n192_65_f32(
// CHECK: scf.for
// CHECK: llvm.call @gemm_panel_3_192_1_f32
// CHECK: scf.if
// CHECK: llvm.call @gemm_panel_2_192_1_f32
// One row of three vectors: four steps of k in a round, one line of the next panel fetched, the sums carried by the loop.
// CHECK-LABEL: llvm.func internal @gemm_tile_1x3_192_1_f32
// CHECK: scf.for {{.*}} iter_args(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, !llvm.ptr)
// CHECK: llvm.intr.prefetch
// CHECK-COUNT-12: math.fma {{.*}} : vector<16xf32>
// CHECK: scf.yield
// CHECK: llvm.intr.masked.store
// CHECK: llvm.func internal @gemm_tile_8x3_192_1_f32
// CHECK-NOT: @gemm_tile_9x3
// CHECK: llvm.func internal @gemm_tile_13x2_192_1_f32
// CHECK-NOT: @gemm_tile_14x2
// With 8 lanes 65 columns are 9 vectors: panels of 2, the last of 3, so that none has one.
// AVX2: llvm.func internal @gemm_tile_6x2_192_1_f32
// AVX2: math.fma {{.*}} : vector<8xf32>
// AVX2: llvm.func internal @gemm_tile_4x3_192_1_f32
module attributes {rt.layout = {params = [{name = "w", offset = 0 : i64}], state = [], io = [{name = "x", offset = 0 : i64}, {name = "y", offset = 151296 : i64}]}} {
func.func @product() {
  %x = rt.slot io "x" : tensor<197x192xf32>
  %w = rt.slot params "w" : tensor<65x192xf32>
  %y = rt.slot io "y" : tensor<197x65xf32>
  %p = rt.pack [65, 192] %w trans_b {rt.offsets = array<i64: 0>} : tensor<65x192xf32> -> tensor<192x80xf32>
  %0 = rt.gemm [197, 65, 192] %x, %p packed into %y {rt.offsets = array<i64: -1>} : (tensor<197x192xf32>, tensor<192x80xf32>, tensor<197x65xf32>) -> tensor<197x65xf32>
  return
}
}
