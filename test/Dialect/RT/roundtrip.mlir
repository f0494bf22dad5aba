// RUN: ns-opt %s --verify-roundtrip | FileCheck %s

#point = affine_map<(r, k, c) -> (r, c)>
#column = affine_map<(r, k, c) -> (0, c)>
#row = affine_map<(r, k, c) -> (r, 0)>
#inner = affine_map<(r, k, c) -> (r * 17 + k, c)>

// CHECK-LABEL: func.func @places
func.func @places() -> tensor<4x8xf32> {
  // CHECK: %[[W:.*]] = rt.slot params "head.weight" : tensor<16x8xf32>
  %w = rt.slot params "head.weight" : tensor<16x8xf32>
  // CHECK: rt.slot state "noise.grad" : tensor<1x4x8xf32>
  %g = rt.slot state "noise.grad" : tensor<1x4x8xf32>
  // CHECK: rt.slot io "labels" : tensor<4xi32>
  %l = rt.slot io "labels" : tensor<4xi32>
  // CHECK: rt.view %[[W]] offset 32 : tensor<16x8xf32> -> tensor<4x8xf32>
  %v = rt.view %w offset 32 : tensor<16x8xf32> -> tensor<4x8xf32>
  return %v : tensor<4x8xf32>
}

// CHECK-LABEL: func.func @gemm
func.func @gemm(%x: tensor<4x17x8xf32>, %w: tensor<16x8xf32>, %d: tensor<4x17x16xf32>, %acc: tensor<f32>) {
  // CHECK: rt.gemm [68, 16, 8] %{{.*}}, %{{.*}} trans_b : (tensor<4x17x8xf32>, tensor<16x8xf32>) -> tensor<4x17x16xf32>
  %0 = rt.gemm [68, 16, 8] %x, %w trans_b : (tensor<4x17x8xf32>, tensor<16x8xf32>) -> tensor<4x17x16xf32>
  // CHECK: rt.gemm [68, 8, 16] %{{.*}}, %{{.*}} : (tensor<4x17x16xf32>, tensor<16x8xf32>) -> tensor<4x17x8xf32>
  %1 = rt.gemm [68, 8, 16] %d, %w : (tensor<4x17x16xf32>, tensor<16x8xf32>) -> tensor<4x17x8xf32>
  // CHECK: rt.gemm [16, 8, 68] %{{.*}} trans_a, %{{.*}} into %{{.*}} accumulate %{{.*}} : (tensor<4x17x16xf32>, tensor<4x17x8xf32>, tensor<16x8xf32>, tensor<f32>) -> tensor<16x8xf32>
  %2 = rt.gemm [16, 8, 68] %d trans_a, %x into %w accumulate %acc : (tensor<4x17x16xf32>, tensor<4x17x8xf32>, tensor<16x8xf32>, tensor<f32>) -> tensor<16x8xf32>
  return
}

// Scores of six heads, keys in 24 rows of which the products read 20; one B for all; results of bf16, and a bias.
// CHECK-LABEL: func.func @batched_gemm
func.func @batched_gemm(%q: tensor<6x17x8xf32>, %k: tensor<6x24x8xf32>, %w: tensor<8x4xf32>, %x: tensor<68x8xbf16>, %v: tensor<16x8xbf16>, %b: tensor<16xbf16>) {
  // CHECK: rt.gemm [17, 20, 8] %{{.*}}, %{{.*}} trans_b batch [6, 136, 192] : (tensor<6x17x8xf32>, tensor<6x24x8xf32>) -> tensor<6x17x20xf32>
  %0 = rt.gemm [17, 20, 8] %q, %k trans_b batch [6, 136, 192] : (tensor<6x17x8xf32>, tensor<6x24x8xf32>) -> tensor<6x17x20xf32>
  // CHECK: rt.gemm [17, 4, 8] %{{.*}}, %{{.*}} batch [6, 136, 0] : (tensor<6x17x8xf32>, tensor<8x4xf32>) -> tensor<6x17x4xf32>
  %1 = rt.gemm [17, 4, 8] %q, %w batch [6, 136, 0] : (tensor<6x17x8xf32>, tensor<8x4xf32>) -> tensor<6x17x4xf32>
  // CHECK: rt.gemm [68, 16, 8] %{{.*}}, %{{.*}} trans_b bias %{{.*}} : (tensor<68x8xbf16>, tensor<16x8xbf16>, tensor<16xbf16>) -> tensor<68x16xbf16>
  %2 = rt.gemm [68, 16, 8] %x, %v trans_b bias %b : (tensor<68x8xbf16>, tensor<16x8xbf16>, tensor<16xbf16>) -> tensor<68x16xbf16>
  return
}

// CHECK-LABEL: func.func @attention
func.func @attention(%qkv: tensor<4x17x24xf32>, %b: tensor<24xf32>, %d: tensor<4x17x8xf32>) {
  // CHECK: rt.attention %{{.*}} heads 2 scale 5.000000e-01 : (tensor<4x17x24xf32>) -> tensor<4x17x8xf32>
  %0 = rt.attention %qkv heads 2 scale 5.000000e-01 : (tensor<4x17x24xf32>) -> tensor<4x17x8xf32>
  // CHECK: rt.attention %{{.*}} bias %{{.*}} heads 2 scale 5.000000e-01 : (tensor<4x17x24xf32>, tensor<24xf32>) -> tensor<4x17x8xf32>
  %1 = rt.attention %qkv bias %b heads 2 scale 5.000000e-01 : (tensor<4x17x24xf32>, tensor<24xf32>) -> tensor<4x17x8xf32>
  // CHECK: rt.attention_grad %{{.*}}, %{{.*}} bias %{{.*}} heads 2 scale 5.000000e-01 : (tensor<4x17x8xf32>, tensor<4x17x24xf32>, tensor<24xf32>) -> tensor<4x17x24xf32>
  %2 = rt.attention_grad %d, %qkv bias %b heads 2 scale 5.000000e-01 : (tensor<4x17x8xf32>, tensor<4x17x24xf32>, tensor<24xf32>) -> tensor<4x17x24xf32>
  return
}

// CHECK-LABEL: func.func @attention_by_a_library
func.func @attention_by_a_library(%qkv: tensor<4x6x24xbf16>, %d: tensor<4x6x8xbf16>) {
  // CHECK: %[[O:.*]], %[[S:.*]] = rt.attention %{{.*}} heads 2 scale 5.000000e-01 : (tensor<4x6x24xbf16>) -> (tensor<4x6x8xbf16>, tensor<4x2x6xf32>)
  %o, %s = rt.attention %qkv heads 2 scale 5.000000e-01 : (tensor<4x6x24xbf16>) -> (tensor<4x6x8xbf16>, tensor<4x2x6xf32>)
  // CHECK: rt.attention_grad %{{.*}}, %{{.*}} output %[[O]] statistics %[[S]] heads 2 scale 5.000000e-01 : (tensor<4x6x8xbf16>, tensor<4x6x24xbf16>, tensor<4x6x8xbf16>, tensor<4x2x6xf32>) -> tensor<4x6x24xbf16>
  %0 = rt.attention_grad %d, %qkv output %o statistics %s heads 2 scale 5.000000e-01 : (tensor<4x6x8xbf16>, tensor<4x6x24xbf16>, tensor<4x6x8xbf16>, tensor<4x2x6xf32>) -> tensor<4x6x24xbf16>
  // CHECK: rt.attention %{{.*}} heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x24xbf16>) -> (tensor<4x6x8xbf16>, tensor<8x2x3xf32>)
  %p, %t = rt.attention %qkv heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x24xbf16>) -> (tensor<4x6x8xbf16>, tensor<8x2x3xf32>)
  return
}

// CHECK-LABEL: func.func @attention_of_windows
func.func @attention_of_windows(%qkv: tensor<4x6x24xf32>, %b: tensor<24xf32>, %s: tensor<2x3x3xf32>, %d: tensor<4x6x8xf32>) {
  // CHECK: rt.attention %{{.*}} bias %{{.*}} score_bias %{{.*}} mask %{{.*}} heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x24xf32>, tensor<24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> tensor<4x6x8xf32>
  %0 = rt.attention %qkv bias %b score_bias %s mask %s heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x24xf32>, tensor<24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> tensor<4x6x8xf32>
  // CHECK: rt.attention_grad %{{.*}}, %{{.*}} mask %{{.*}} heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>) -> tensor<4x6x24xf32>
  %1 = rt.attention_grad %d, %qkv mask %s heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>) -> tensor<4x6x24xf32>
  // CHECK: rt.attention_grad %{{.*}}, %{{.*}} score_bias %{{.*}} heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<8x6x3xf32>)
  %2:2 = rt.attention_grad %d, %qkv score_bias %s heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<8x6x3xf32>)
  return
}

// CHECK-LABEL: func.func @swapped_pairs
func.func @swapped_pairs(%x: tensor<4x8xf32>) {
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [#point] -> [#point] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    // CHECK: rt.swap_pairs %{{.*}} : f32
    %y = rt.swap_pairs %v : f32
    rt.yield %y : f32
  }
  return
}

// One query for each image, keys and values packed: the last block, where only the class token is read.
// CHECK-LABEL: func.func @attention_of_one_query
func.func @attention_of_one_query(%q: tensor<4x1x8xf32>, %kv: tensor<4x17x16xf32>) {
  // CHECK: rt.attention %{{.*}}, %{{.*}} heads 2 scale 5.000000e-01 : (tensor<4x1x8xf32>, tensor<4x17x16xf32>) -> tensor<4x1x8xf32>
  %0 = rt.attention %q, %kv heads 2 scale 5.000000e-01 : (tensor<4x1x8xf32>, tensor<4x17x16xf32>) -> tensor<4x1x8xf32>
  return
}

// A reduction, a coordinate, and one result for each row.
// CHECK-LABEL: func.func @fused
func.func @fused(%x: tensor<68x8xf32>, %b: tensor<8xf32>) -> (tensor<68x8xf32>, tensor<68xf32>) {
  // CHECK: rt.fused [68, 1, 8] ins(%{{.*}}, %{{.*}} : tensor<68x8xf32>, tensor<8xf32>) maps [#{{.*}}, #{{.*}}] -> [#{{.*}}, #{{.*}}] : tensor<68x8xf32>, tensor<68xf32> {
  %0:2 = rt.fused [68, 1, 8] ins(%x, %b : tensor<68x8xf32>, tensor<8xf32>) maps [#point, #column] -> [#point, #row] : tensor<68x8xf32>, tensor<68xf32> {
  ^bb0(%v: f32, %bias: f32):
    %s = arith.addf %v, %bias : f32
    // CHECK: rt.row_reduce max %{{.*}} : f32
    %m = rt.row_reduce max %s : f32
    // CHECK: rt.row_reduce add %{{.*}} : f32
    %t = rt.row_reduce add %s : f32
    // CHECK: rt.row_reduce min %{{.*}} : f32
    %n = rt.row_reduce min %s : f32
    // CHECK: rt.index #{{.*}} : i32
    %i = rt.index affine_map<(r, k, c) -> (c)> : i32
    %f = arith.sitofp %i : i32 to f32
    %p = arith.mulf %f, %m : f32
    %q = arith.addf %t, %n : f32
    // CHECK: rt.yield %{{.*}}, %{{.*}} : f32, f32
    rt.yield %p, %q : f32, f32
  }
  return %0#0, %0#1 : tensor<68x8xf32>, tensor<68xf32>
}

// A sum over k, written into a destination.
// CHECK-LABEL: func.func @fused_sum
func.func @fused_sum(%x: tensor<68x8xf32>, %d: tensor<4x8xf32>) {
  // CHECK: rt.fused [4, 17, 8] ins(%{{.*}} : tensor<68x8xf32>) into(%{{.*}} : tensor<4x8xf32>) [0] maps [#{{.*}}] -> [#{{.*}}] : tensor<4x8xf32> {
  %0 = rt.fused [4, 17, 8] ins(%x : tensor<68x8xf32>) into(%d : tensor<4x8xf32>) [0] maps [#inner] -> [#point] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// A right operand in panels, and the product that reads it.
// CHECK-LABEL: func.func @packed
func.func @packed(%x: tensor<4x8xf32>, %w: tensor<20x8xf32>) -> tensor<4x20xf32> {
  // CHECK: rt.pack [20, 8] %{{.*}} trans_b : tensor<20x8xf32> -> tensor<8x32xf32>
  %p = rt.pack [20, 8] %w trans_b : tensor<20x8xf32> -> tensor<8x32xf32>
  // CHECK: rt.pack [8, 20] %{{.*}} packed : tensor<8x32xf32> -> tensor<20x16xf32>
  %q = rt.pack [8, 20] %p packed : tensor<8x32xf32> -> tensor<20x16xf32>
  // CHECK: rt.gemm [4, 20, 8] %{{.*}}, %{{.*}} packed : (tensor<4x8xf32>, tensor<8x32xf32>) -> tensor<4x20xf32>
  %0 = rt.gemm [4, 20, 8] %x, %p packed : (tensor<4x8xf32>, tensor<8x32xf32>) -> tensor<4x20xf32>
  return %0 : tensor<4x20xf32>
}

// Two products, block of rows by block of rows.
// CHECK-LABEL: func.func @tiles
func.func @tiles(%x: tensor<68x8xf32>, %w: tensor<8x8xf32>) -> tensor<68x8xf32> {
  // CHECK: rt.tiles[68] height 17 : tensor<68x8xf32>
  %0 = rt.tiles [68] height 17 : tensor<68x8xf32> {
    %1 = rt.gemm [68, 8, 8] %x, %w : (tensor<68x8xf32>, tensor<8x8xf32>) -> tensor<68x8xf32>
    %2 = rt.gemm [68, 8, 8] %1, %w : (tensor<68x8xf32>, tensor<8x8xf32>) -> tensor<68x8xf32>
    // CHECK: rt.yield %{{.*}} : tensor<68x8xf32>
    rt.yield %2 : tensor<68x8xf32>
  }
  return %0 : tensor<68x8xf32>
}
