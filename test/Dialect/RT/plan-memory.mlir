// RUN: ns-opt %s --rt-plan-memory | FileCheck %s

#point = affine_map<(r, k, c) -> (r, c)>
#row = affine_map<(r, k, c) -> (r, 0)>
#other = affine_map<(r, k, c) -> (r mod 16, c)>

// A value takes 1024 bytes. The third product lies where the first one lay, which nobody reads any more.
// CHECK-LABEL: func.func @reuse
// CHECK-SAME: rt.work_bytes = 2048 : i64
func.func @reuse(%x: tensor<16x16xf32>) {
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
  %0 = rt.gemm [16, 16, 16] %x, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 1024>}
  %1 = rt.gemm [16, 16, 16] %0, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
  %2 = rt.gemm [16, 16, 16] %1, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  return
}

// A value that is still read later keeps its place to itself.
// CHECK-LABEL: func.func @no_overlap
// CHECK-SAME: rt.work_bytes = 3072 : i64
func.func @no_overlap(%x: tensor<16x16xf32>) {
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
  %0 = rt.gemm [16, 16, 16] %x, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 1024>}
  %1 = rt.gemm [16, 16, 16] %0, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 2048>}
  %2 = rt.gemm [16, 16, 16] %0, %1 : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  return
}

// A view keeps what it looks at alive.
// CHECK-LABEL: func.func @view_lives_on
// CHECK-SAME: rt.work_bytes = 2560 : i64
func.func @view_lives_on(%x: tensor<16x16xf32>) {
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
  %0 = rt.gemm [16, 16, 16] %x, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  %v = rt.view %0 offset 128 : tensor<16x16xf32> -> tensor<8x16xf32>
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 1024>}
  %1 = rt.gemm [16, 16, 16] %x, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 2048>}
  %2 = rt.gemm [8, 16, 16] %v, %1 : (tensor<8x16xf32>, tensor<16x16xf32>) -> tensor<8x16xf32>
  return
}

// A program of one pass writes over an input that dies in it.
// CHECK-LABEL: func.func @in_place
// CHECK-SAME: rt.work_bytes = 1024 : i64
func.func @in_place(%x: tensor<16x16xf32>) {
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
  %0 = rt.gemm [16, 16, 16] %x, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.fused {{.*}} {rt.offsets = array<i64: 0>}
  %1 = rt.fused [16, 1, 16] ins(%0 : tensor<16x16xf32>) maps [#point] -> [#point] : tensor<16x16xf32> {
  ^bb0(%a: f32):
    %s = arith.addf %a, %a : f32
    rt.yield %s : f32
  }
  return
}

// Not so where a reduction reads the row again, where the input is read at another point, and where it is read later.
// CHECK-LABEL: func.func @not_in_place
// CHECK-SAME: rt.work_bytes = 2112 : i64
func.func @not_in_place(%x: tensor<16x16xf32>) {
  %0 = rt.gemm [16, 16, 16] %x, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.fused {{.*}} {rt.offsets = array<i64: 1024>}
  %1 = rt.fused [16, 1, 16] ins(%0 : tensor<16x16xf32>) maps [#point] -> [#point] : tensor<16x16xf32> {
  ^bb0(%a: f32):
    %t = rt.row_reduce add %a : f32
    %s = arith.subf %a, %t : f32
    rt.yield %s : f32
  }
  // CHECK: rt.fused {{.*}} {rt.offsets = array<i64: 0>}
  %2 = rt.fused [16, 1, 16] ins(%1, %1 : tensor<16x16xf32>, tensor<16x16xf32>) maps [#point, #other] -> [#point] : tensor<16x16xf32> {
  ^bb0(%a: f32, %b: f32):
    %s = arith.subf %a, %b : f32
    rt.yield %s : f32
  }
  // CHECK: rt.fused {{.*}} {rt.offsets = array<i64: 1024>}
  %3 = rt.fused [16, 1, 16] ins(%2 : tensor<16x16xf32>) maps [#point] -> [#point] : tensor<16x16xf32> {
  ^bb0(%a: f32):
    %s = arith.negf %a : f32
    rt.yield %s : f32
  }
  // CHECK: rt.fused {{.*}} {rt.offsets = array<i64: 2048>}
  %4 = rt.fused [16, 1, 16] ins(%2, %3 : tensor<16x16xf32>, tensor<16x16xf32>) maps [#point, #point] -> [#row] : tensor<16xf32> {
  ^bb0(%a: f32, %b: f32):
    %s = arith.mulf %a, %b : f32
    %t = rt.row_reduce add %s : f32
    rt.yield %t : f32
  }
  return
}

// What is written into a slot needs no scratch; what is written into a value shares its place.
// CHECK-LABEL: func.func @destination
// CHECK-SAME: rt.work_bytes = 1024 : i64
func.func @destination(%x: tensor<16x16xf32>) {
  %slot = rt.slot io "logits" : tensor<16x16xf32>
  // CHECK: rt.gemm {{.*}} into {{.*}} {rt.offsets = array<i64: -1>}
  %0 = rt.gemm [16, 16, 16] %x, %x into %slot : (tensor<16x16xf32>, tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
  %1 = rt.gemm [16, 16, 16] %x, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.fused {{.*}} {rt.offsets = array<i64: 0>}
  %2 = rt.fused [4, 1, 16] ins(%x : tensor<16x16xf32>) into(%1 : tensor<16x16xf32>) [0] maps [#point] -> [#point] : tensor<16x16xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return
}

// Places are multiples of 64 bytes.
// CHECK-LABEL: func.func @alignment
// CHECK-SAME: rt.work_bytes = 128 : i64
func.func @alignment(%x: tensor<3x3xf32>) {
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
  %0 = rt.gemm [3, 3, 3] %x, %x : (tensor<3x3xf32>, tensor<3x3xf32>) -> tensor<3x3xf32>
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 64>}
  %1 = rt.gemm [3, 3, 3] %0, %x : (tensor<3x3xf32>, tensor<3x3xf32>) -> tensor<3x3xf32>
  return
}

// Of what is made inside and not yielded, four of sixteen rows lie in scratch: 256 bytes each, the third where the first one lay. What is yielded has its place in
// the arena, beside the input that the tiles still read.
// CHECK-LABEL: func.func @tiles
// CHECK-SAME: rt.work_bytes = 2048 : i64
func.func @tiles(%x: tensor<16x16xf32>) {
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
  %0 = rt.gemm [16, 16, 16] %x, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  // CHECK: rt.tiles[16] height 4 : tensor<16x16xf32> attributes {rt.offsets = array<i64: 1024>, rt.scratch_bytes = 512 : i64}
  %1 = rt.tiles [16] height 4 : tensor<16x16xf32> {
    // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
    %2 = rt.gemm [16, 16, 16] %0, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
    // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 256>}
    %3 = rt.gemm [16, 16, 16] %2, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
    // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
    %4 = rt.gemm [16, 16, 16] %3, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
    // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: -1>}
    %5 = rt.gemm [16, 16, 16] %4, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
    rt.yield %5 : tensor<16x16xf32>
  }
  // CHECK: rt.gemm {{.*}} {rt.offsets = array<i64: 0>}
  %6 = rt.gemm [16, 16, 16] %1, %x : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  return
}
