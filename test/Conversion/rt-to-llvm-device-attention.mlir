// RUN: ns-opt --rt-to-llvm="device image-size=100" %s | FileCheck %s

// Attention and its gradient by the library, of 2 images of 16 tokens in windows of 4, 3 heads of 8 channels: queries apart, keys and values packed.
// Descriptions lie in static storage; the arguments are addresses of the parts of the inputs and of their gradients.

#layout = {
  params = [], state = [],
  io = [{name = "q", offset = 0 : i64, type = tensor<2x16x24xbf16>}, {name = "kv", offset = 4096 : i64, type = tensor<2x16x48xbf16>}]
}

module attributes {rt.layout = #layout} {
  gpu.module @kernels {
    gpu.func @flat_0(%a: memref<128xf32, 1>, %b: memref<128xf32, 1>) kernel {
      gpu.return
    }
  }

  func.func @step() {
    %q = rt.slot io "q" : tensor<2x16x24xbf16>
    %kv = rt.slot io "kv" : tensor<2x16x48xbf16>
    %o, %s = rt.attention %q, %kv heads 3 scale 0.25 window 4 {rt.offsets = array<i64: 8192, 16384>} : (tensor<2x16x24xbf16>, tensor<2x16x48xbf16>) -> (tensor<2x16x24xbf16>, tensor<8x3x4xf32>)
    %d:2 = rt.attention_grad %q, %q, %kv output %o statistics %s heads 3 scale 0.25 window 4 {rt.offsets = array<i64: 32768, 65536>} : (tensor<2x16x24xbf16>, tensor<2x16x24xbf16>, tensor<2x16x48xbf16>, tensor<2x16x24xbf16>, tensor<8x3x4xf32>) -> (tensor<2x16x24xbf16>, tensor<2x16x48xbf16>)
    %p, %t = rt.attention %q, %kv heads 3 scale 0.25 window 4 {rt.offsets = array<i64: 8192, 16384>} : (tensor<2x16x24xbf16>, tensor<2x16x48xbf16>) -> (tensor<2x16x24xbf16>, tensor<8x3x4xf32>)
    return
  }
}

// Values begin 24 channels, 48 bytes, after the keys.
// CHECK-LABEL: llvm.func internal @entry_step(
// CHECK-SAME: %[[HOST:.*]]: !llvm.ptr, %{{.*}}: !llvm.ptr) -> i32
// CHECK: llvm.alloca
// CHECK: %[[VALUES:.*]] = llvm.alloca {{.*}} x !llvm.array<9 x ptr>
// CHECK-DAG: arith.constant 4096
// CHECK-DAG: arith.constant 48 :
// CHECK-DAG: arith.constant 8192
// CHECK-DAG: arith.constant 16384
// CHECK: llvm.mlir.addressof @[[FORWARD:attention_[0-9]+]]
// CHECK: llvm.getelementptr %[[HOST]][0, 11]
// CHECK: llvm.call %{{.*}}(%{{.*}}, %{{.*}}, %[[VALUES]]) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
// CHECK: llvm.mlir.addressof @[[GRADIENT:attention_[0-9]+]]
// CHECK: llvm.mlir.addressof @[[FORWARD]]

// Index 0, forward, bf16; 8 windows, 3 heads, 4 queries, 4 keys, 8 channels; strides of window, head and token for q, k, v and o; the scale.
// CHECK: llvm.mlir.global internal constant @[[FORWARD]]() {{.*}} : !llvm.struct<(i64, i32, i32, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, f64)> {
// CHECK-DAG: llvm.mlir.constant(0 : i64)
// CHECK-DAG: llvm.mlir.constant(0 : i32)
// CHECK-DAG: llvm.mlir.constant(1 : i32)
// CHECK-DAG: llvm.mlir.constant(8 : i64)
// CHECK-DAG: llvm.mlir.constant(3 : i64)
// CHECK-DAG: llvm.mlir.constant(4 : i64)
// CHECK-DAG: llvm.mlir.constant(96 : i64)
// CHECK-DAG: llvm.mlir.constant(24 : i64)
// CHECK-DAG: llvm.mlir.constant(192 : i64)
// CHECK-DAG: llvm.mlir.constant(48 : i64)
// CHECK: llvm.mlir.constant(2.500000e-01 : f64)
// CHECK: llvm.return
// CHECK: llvm.mlir.global internal constant @[[GRADIENT]]()
// CHECK-NOT: llvm.mlir.global internal constant @attention_
