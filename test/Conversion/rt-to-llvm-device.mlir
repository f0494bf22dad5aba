// RUN: ns-opt --rt-to-llvm="device image-size=100" %s | FileCheck %s
// RUN: ns-opt --rt-to-llvm="device tf32" %s | FileCheck %s --check-prefix=TF32

// Every op is a call of the host with the device's addresses; descriptions lie in static storage, once where they are equal.

#layout = {
  params = [{name = "w", offset = 0 : i64, type = tensor<8x4xf32>}, {name = "b", offset = 128 : i64, type = tensor<8xf32>}],
  state = [{name = "g", offset = 64 : i64, type = tensor<8x4xf32>}],
  io = [{name = "x", offset = 256 : i64, type = tensor<16x4xf32>}, {name = "beta", offset = 512 : i64, type = tensor<f32>}]
}

module attributes {rt.layout = #layout} {
  gpu.module @kernels {
    gpu.func @flat_0(%a: memref<128xf32, 1>, %b: memref<128xf32, 1>) kernel {
      gpu.return
    }
    gpu.func @flat_1(%a: memref<128xf32, 1>, %b: memref<128xf32, 1>) kernel {
      gpu.return
    }
  }

  func.func @step() {
    %w = rt.slot params "w" : tensor<8x4xf32>
    %b = rt.slot params "b" : tensor<8xf32>
    %g = rt.slot state "g" : tensor<8x4xf32>
    %x = rt.slot io "x" : tensor<16x4xf32>
    %beta = rt.slot io "beta" : tensor<f32>
    %y = rt.gemm [16, 8, 4] %x, %w trans_b bias %b {rt.offsets = array<i64: 4096>} : (tensor<16x4xf32>, tensor<8x4xf32>, tensor<8xf32>) -> tensor<16x8xf32>
    %z = rt.launch @kernels::@flat_1 grid [2, 1, 1] block [64, 1, 1] ins(%y : tensor<16x8xf32>) {rt.offsets = array<i64: 8192>} : tensor<16x8xf32>
    %y2 = rt.gemm [16, 8, 4] %x, %w trans_b bias %b {rt.offsets = array<i64: 0>} : (tensor<16x4xf32>, tensor<8x4xf32>, tensor<8xf32>) -> tensor<16x8xf32>
    %d = rt.gemm [8, 4, 16] %z trans_a, %x into %g accumulate %beta {rt.offsets = array<i64: -1>} : (tensor<16x8xf32>, tensor<16x4xf32>, tensor<8x4xf32>, tensor<f32>) -> tensor<8x4xf32>
    %s = rt.gemm [4, 4, 4] %x, %x trans_b batch [4, 16, 16] {rt.offsets = array<i64: 12288>} : (tensor<16x4xf32>, tensor<16x4xf32>) -> tensor<4x4x4xf32>
    return
  }
}

// Regions come as addresses; nothing is read through them.
// CHECK-LABEL: llvm.func internal @entry_step(
// CHECK-SAME: %[[HOST:.*]]: !llvm.ptr, %{{.*}}: !llvm.ptr) -> i32
// CHECK-DAG: llvm.alloca
// CHECK: llvm.mlir.addressof @[[PRODUCT:product_[0-9]+]]
// CHECK: llvm.getelementptr %[[HOST]][0, 10]
// CHECK: llvm.call %{{.*}}(%{{.*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
// Kernel number 1, two arguments.
// CHECK: llvm.mlir.addressof @[[LAUNCH:launch_[0-9]+]]
// CHECK: llvm.getelementptr %[[HOST]][0, 9]
// CHECK: llvm.mlir.addressof @[[PRODUCT]]
// CHECK-NOT: vector<

// index 0; B transposed; 16 x 8 x 4; strides of rows; no batch; f32; the bias; 64 bytes divide all addresses.
// CHECK: llvm.mlir.global internal constant @[[PRODUCT]]() {{.*}} : !llvm.struct<(i64, i32, i32, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i32, i32, i32, i32)> {
// CHECK: llvm.mlir.global internal constant @[[LAUNCH]]() {{.*}} : !llvm.struct<(i64, i64, i64, i64, i64, i64)> {
// CHECK: llvm.mlir.constant(2 : i64)
// CHECK: llvm.mlir.constant(64 : i64)
// The weight's gradient and the batch are products of their own.
// CHECK: llvm.mlir.global internal constant @product_
// CHECK: llvm.mlir.global internal constant @product_
// CHECK-NOT: llvm.mlir.global internal constant @product_
// CHECK: llvm.mlir.global external hidden constant @nsrt_image() {{.*}} : !llvm.array<100 x i8>
// CHECK: llvm.mlir.global internal constant @kernel_flat_0("flat_0\00")
// CHECK: llvm.mlir.global internal constant @kernel_flat_1("flat_1\00")
// CHECK: llvm.mlir.global internal constant @artifact
// CHECK-NOT: gpu.

// TF32: llvm.mlir.constant(3 : i32)
