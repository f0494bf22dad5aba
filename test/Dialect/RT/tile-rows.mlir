// RUN: ns-opt %s --split-input-file --rt-tile-rows='block-rows=32' | FileCheck %s

#point = affine_map<(r, k, c) -> (r, c)>
#column = affine_map<(r, k, c) -> (0, c)>

// Two products and the program between them run on 16 rows at a time; of what they make only the end is yielded.
// CHECK-LABEL: func.func @chain
// CHECK: %[[Y:.*]] = rt.tiles[128] height 16 : tensor<128x8xf32>
// CHECK-NEXT: %[[H:.*]] = rt.gemm [128, 32, 8]
// CHECK-NEXT: %[[A:.*]] = rt.fused [128, 1, 32] ins(%[[H]], %{{.*}}
// CHECK: %[[O:.*]] = rt.gemm [128, 8, 32] %[[A]]
// CHECK-NEXT: rt.yield %[[O]] : tensor<128x8xf32>
// CHECK: return %[[Y]]
func.func @chain(%x: tensor<128x8xf32>, %w: tensor<32x8xf32>, %b: tensor<32xf32>) -> tensor<128x8xf32> {
  %0 = rt.gemm [128, 32, 8] %x, %w trans_b : (tensor<128x8xf32>, tensor<32x8xf32>) -> tensor<128x32xf32>
  %1 = rt.fused [128, 1, 32] ins(%0, %b : tensor<128x32xf32>, tensor<32xf32>) maps [#point, #column] -> [#point] : tensor<128x32xf32> {
  ^bb0(%v: f32, %bias: f32):
    %s = arith.addf %v, %bias : f32
    rt.yield %s : f32
  }
  %2 = rt.gemm [128, 8, 32] %1, %w : (tensor<128x32xf32>, tensor<32x8xf32>) -> tensor<128x8xf32>
  return %2 : tensor<128x8xf32>
}

// -----

#point = affine_map<(r, k, c) -> (r, c)>
#next = affine_map<(r, k, c) -> ((r + 1) mod 128, c)>

// A program that reads another row than its own needs the first chain whole, and begins the next one.
// CHECK-LABEL: func.func @other_rows
// CHECK: %[[T:.*]] = rt.tiles[128] height 16
// CHECK: rt.yield
// CHECK: rt.tiles[128] height 16
// CHECK-NEXT: %[[N:.*]] = rt.fused [128, 1, 8] ins(%[[T]]
// CHECK: rt.gemm [128, 8, 8] %[[N]]
func.func @other_rows(%x: tensor<128x8xf32>, %w: tensor<8x8xf32>) -> tensor<128x8xf32> {
  %0 = rt.gemm [128, 8, 8] %x, %w : (tensor<128x8xf32>, tensor<8x8xf32>) -> tensor<128x8xf32>
  %1 = rt.gemm [128, 8, 8] %0, %w : (tensor<128x8xf32>, tensor<8x8xf32>) -> tensor<128x8xf32>
  %2 = rt.fused [128, 1, 8] ins(%1 : tensor<128x8xf32>) maps [#next] -> [#point] : tensor<128x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  %3 = rt.gemm [128, 8, 8] %2, %w : (tensor<128x8xf32>, tensor<8x8xf32>) -> tensor<128x8xf32>
  return %3 : tensor<128x8xf32>
}

// -----

#point = affine_map<(r, k, c) -> (r, c)>
#inner = affine_map<(r, k, c) -> (k, c)>

// A weight's gradient and a sum over the rows wait behind the chain, in their order, where they keep no more than a quarter of the largest value alive; the chain
// does not stop at them.
// CHECK-LABEL: func.func @gradients_wait
// CHECK: %[[T:.*]]:2 = rt.tiles[128] height 16
// CHECK: rt.yield
// CHECK: rt.gemm [8, 8, 128] %{{.*}} trans_a, %[[T]]#0
// CHECK-NEXT: rt.fused [1, 128, 8] ins(%[[T]]#0
func.func @gradients_wait(%x: tensor<128x8xf32>, %w: tensor<8x8xf32>, %v: tensor<8x32xf32>) -> (tensor<8x8xf32>, tensor<1x8xf32>, tensor<128x32xf32>) {
  %0 = rt.gemm [128, 8, 8] %x, %w : (tensor<128x8xf32>, tensor<8x8xf32>) -> tensor<128x8xf32>
  %1 = rt.gemm [8, 8, 128] %x trans_a, %0 : (tensor<128x8xf32>, tensor<128x8xf32>) -> tensor<8x8xf32>
  %2 = rt.fused [1, 128, 8] ins(%0 : tensor<128x8xf32>) maps [#inner] -> [#point] : tensor<1x8xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  %3 = rt.gemm [128, 32, 8] %0, %v : (tensor<128x8xf32>, tensor<8x32xf32>) -> tensor<128x32xf32>
  return %1, %2, %3 : tensor<8x8xf32>, tensor<1x8xf32>, tensor<128x32xf32>
}

// -----

// Half of the largest value is too much to keep alive: the gradient ends the chain before it is one.
// CHECK-LABEL: func.func @gradient_ends
// CHECK-NOT: rt.tiles
func.func @gradient_ends(%x: tensor<128x8xf32>, %w: tensor<8x8xf32>, %v: tensor<8x16xf32>) -> (tensor<8x8xf32>, tensor<128x16xf32>) {
  %0 = rt.gemm [128, 8, 8] %x, %w : (tensor<128x8xf32>, tensor<8x8xf32>) -> tensor<128x8xf32>
  %1 = rt.gemm [8, 8, 128] %x trans_a, %0 : (tensor<128x8xf32>, tensor<128x8xf32>) -> tensor<8x8xf32>
  %2 = rt.gemm [128, 16, 8] %0, %v : (tensor<128x8xf32>, tensor<8x16xf32>) -> tensor<128x16xf32>
  return %1, %2 : tensor<8x8xf32>, tensor<128x16xf32>
}

// -----

#point = affine_map<(r, k, c) -> (r, c)>
#inserted = affine_map<(r, k, c) -> ((r floordiv 16) * 17 + r mod 16 + 1, c)>
#first = affine_map<(r, k, c) -> (r * 17, c)>

// Where rows are inserted the units are images, eight of them. Zeros that a member writes into are made inside; attention joins in.
// CHECK-LABEL: func.func @images
// CHECK: rt.tiles[8] height 1 : tensor<8x17x8xf32>
// CHECK-NEXT: rt.gemm [128, 8, 8]
// CHECK-NEXT: rt.fused [136, 1, 8] ins()
// CHECK: rt.fused [128, 1, 8] {{.*}} into
// CHECK: rt.fused [8, 1, 8] {{.*}} into
// CHECK: rt.gemm [136, 24, 8]
// CHECK-NEXT: rt.attention
// CHECK-NEXT: rt.yield
func.func @images(%x: tensor<8x16x8xf32>, %w: tensor<8x8xf32>, %t: tensor<8x8xf32>, %q: tensor<8x24xf32>) -> tensor<8x17x8xf32> {
  %0 = rt.gemm [128, 8, 8] %x, %w : (tensor<8x16x8xf32>, tensor<8x8xf32>) -> tensor<8x16x8xf32>
  %1 = rt.fused [136, 1, 8] ins() maps [] -> [#point] : tensor<8x17x8xf32> {
    %zero = arith.constant 0.0 : f32
    rt.yield %zero : f32
  }
  %2 = rt.fused [128, 1, 8] ins(%0 : tensor<8x16x8xf32>) into(%1 : tensor<8x17x8xf32>) [0] maps [#point] -> [#inserted] : tensor<8x17x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  %3 = rt.fused [8, 1, 8] ins(%t : tensor<8x8xf32>) into(%2 : tensor<8x17x8xf32>) [0] maps [#point] -> [#first] : tensor<8x17x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  %4 = rt.gemm [136, 24, 8] %3, %q : (tensor<8x17x8xf32>, tensor<8x24xf32>) -> tensor<8x17x24xf32>
  %5 = rt.attention %4 heads 2 scale 5.000000e-01 : (tensor<8x17x24xf32>) -> tensor<8x17x8xf32>
  return %5 : tensor<8x17x8xf32>
}

// -----

// Two images are fewer than min-units: attention is a border, and alone it is no chain.
// CHECK-LABEL: func.func @few_images
// CHECK-NOT: rt.tiles
func.func @few_images(%x: tensor<2x17x8xf32>, %q: tensor<8x24xf32>) -> tensor<2x17x8xf32> {
  %0 = rt.gemm [34, 24, 8] %x, %q : (tensor<2x17x8xf32>, tensor<8x24xf32>) -> tensor<2x17x24xf32>
  %1 = rt.attention %0 heads 2 scale 5.000000e-01 : (tensor<2x17x24xf32>) -> tensor<2x17x8xf32>
  return %1 : tensor<2x17x8xf32>
}

// -----

#point = affine_map<(r, k, c) -> (r, c)>

// What updates a value in place does not join where the old content waits to be read.
// CHECK-LABEL: func.func @old_content
// CHECK-NOT: rt.tiles
func.func @old_content(%x: tensor<128x8xf32>, %w: tensor<8x8xf32>) -> (tensor<8x8xf32>, tensor<128x8xf32>) {
  %0 = rt.gemm [128, 8, 8] %x, %w : (tensor<128x8xf32>, tensor<8x8xf32>) -> tensor<128x8xf32>
  %1 = rt.gemm [8, 8, 128] %x trans_a, %0 : (tensor<128x8xf32>, tensor<128x8xf32>) -> tensor<8x8xf32>
  %2 = rt.fused [128, 1, 8] ins(%0 : tensor<128x8xf32>) into(%0 : tensor<128x8xf32>) [0] maps [#point] -> [#point] : tensor<128x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return %1, %2 : tensor<8x8xf32>, tensor<128x8xf32>
}
