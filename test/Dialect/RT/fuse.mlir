// RUN: ns-opt %s --rt-fuse | FileCheck %s
// RUN: ns-opt %s --rt-fuse="parallel-rows=40 parallel-elements=100" | FileCheck %s --check-prefix=ROWS
// RUN: ns-opt %s --rt-fuse=max-vectors=3 | FileCheck %s --check-prefix=VECTORS

#point = affine_map<(r, k, c) -> (r, c)>
#column = affine_map<(r, k, c) -> (0, c)>
#row = affine_map<(r, k, c) -> (r, 0)>
#inner = affine_map<(r, k, c) -> (r * 17 + k, c)>
#shifted = affine_map<(r, k, c) -> (r + 1, c)>

// CHECK-DAG: #[[$POINT:.*]] = affine_map<(d0, d1, d2) -> (d0, d2)>
// CHECK-DAG: #[[$COLUMN:.*]] = affine_map<(d0, d1, d2) -> (0, d2)>
// CHECK-DAG: #[[$INNER:.*]] = affine_map<(d0, d1, d2) -> (d0 * 17 + d1, d2)>
// CHECK-DAG: #[[$TOKEN:.*]] = affine_map<(d0, d1, d2) -> (d1 mod 17)>

// A limit of three values a column: input, residual and their sum are three; the norm's result would be a fourth. The bias, repeated, is not counted twice.
// VECTORS-LABEL: func.func @bias_residual_norm(
// VECTORS: rt.fused [68, 1, 8]
// VECTORS: rt.fused [68, 1, 8]
// VECTORS: rt.row_reduce

// Bias, residual and layer normalisation: one program with two results, since the sum is read later as well.
// CHECK-LABEL: func.func @bias_residual_norm(
// CHECK-SAME: %[[X:.*]]: tensor<68x8xf32>, %[[R:.*]]: tensor<68x8xf32>, %[[B:.*]]: tensor<8xf32>)
func.func @bias_residual_norm(%x: tensor<68x8xf32>, %res: tensor<68x8xf32>, %b: tensor<8xf32>) -> (tensor<68x8xf32>, tensor<68x8xf32>) {
  // CHECK-NEXT: %[[F:.*]]:2 = rt.fused [68, 1, 8] ins(%[[X]], %[[B]], %[[R]] : {{.*}}) maps [#[[$POINT]], #[[$COLUMN]], #[[$POINT]]] -> [#[[$POINT]], #[[$POINT]]]
  // CHECK-NEXT: ^bb0(%[[V:.*]]: f32, %[[BIAS:.*]]: f32, %[[OLD:.*]]: f32):
  // CHECK-NEXT: %[[P:.*]] = arith.addf %[[V]], %[[BIAS]]
  // CHECK-NEXT: %[[S:.*]] = arith.addf %[[OLD]], %[[P]]
  // CHECK-NEXT: %[[T:.*]] = rt.row_reduce add %[[S]]
  // CHECK-NEXT: %[[D:.*]] = arith.subf %[[S]], %[[T]]
  // CHECK-NEXT: rt.yield %[[S]], %[[D]]
  // CHECK-NEXT: }
  %0 = rt.fused [68, 1, 8] ins(%x, %b : tensor<68x8xf32>, tensor<8xf32>) maps [#point, #column] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32, %bias: f32):
    %p = arith.addf %v, %bias : f32
    rt.yield %p : f32
  }
  %1 = rt.fused [68, 1, 8] ins(%res, %0 : tensor<68x8xf32>, tensor<68x8xf32>) maps [#point, #point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%old: f32, %v: f32):
    %s = arith.addf %old, %v : f32
    rt.yield %s : f32
  }
  %2 = rt.fused [68, 1, 8] ins(%1 : tensor<68x8xf32>) maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32):
    %t = rt.row_reduce add %v : f32
    %d = arith.subf %v, %t : f32
    rt.yield %d : f32
  }
  // CHECK-NEXT: return %[[F]]#0, %[[F]]#1
  return %1, %2 : tensor<68x8xf32>, tensor<68x8xf32>
}

// A bias is added again in each of its readers, whatever lies between: the library call's own result is what lives on.
// CHECK-LABEL: func.func @cheap_producer_is_repeated(
// CHECK-SAME: %[[X:.*]]: tensor<68x8xf32>, %[[B:.*]]: tensor<8xf32>, %[[W:.*]]: tensor<8x8xf32>)
func.func @cheap_producer_is_repeated(%x: tensor<68x8xf32>, %b: tensor<8xf32>, %w: tensor<8x8xf32>) -> tensor<68x8xf32> {
  %h = rt.fused [68, 1, 8] ins(%x, %b : tensor<68x8xf32>, tensor<8xf32>) maps [#point, #column] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32, %bias: f32):
    %p = arith.addf %v, %bias : f32
    rt.yield %p : f32
  }
  // CHECK-NEXT: %[[G:.*]] = rt.fused [68, 1, 8] ins(%[[X]], %[[B]] :
  // CHECK-NEXT: ^bb0
  // CHECK-NEXT: arith.addf
  // CHECK-NEXT: math.erfc
  %g = rt.fused [68, 1, 8] ins(%h : tensor<68x8xf32>) maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32):
    %e = math.erfc %v : f32
    rt.yield %e : f32
  }
  // CHECK: %[[M:.*]] = rt.gemm [68, 8, 8] %[[G]], %[[W]]
  %m = rt.gemm [68, 8, 8] %g, %w : (tensor<68x8xf32>, tensor<8x8xf32>) -> tensor<68x8xf32>
  // CHECK-NEXT: rt.fused [68, 1, 8] ins(%[[X]], %[[B]], %[[M]] :
  // CHECK-NEXT: ^bb0
  // CHECK-NEXT: arith.addf
  // CHECK-NEXT: math.exp
  // CHECK-NEXT: arith.mulf
  %d = rt.fused [68, 1, 8] ins(%h, %m : tensor<68x8xf32>, tensor<68x8xf32>) maps [#point, #point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32, %dy: f32):
    %e = math.exp %v : f32
    %p = arith.mulf %e, %dy : f32
    rt.yield %p : f32
  }
  return %d : tensor<68x8xf32>
}

// A costly producer is computed once.
// CHECK-LABEL: func.func @costly_producer_is_kept
// CHECK-COUNT-1: math.exp
// CHECK-NOT: math.exp
func.func @costly_producer_is_kept(%x: tensor<68x8xf32>, %w: tensor<8x8xf32>) -> (tensor<68x8xf32>, tensor<68x8xf32>) {
  %h = rt.fused [68, 1, 8] ins(%x : tensor<68x8xf32>) maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32):
    %p = math.exp %v : f32
    rt.yield %p : f32
  }
  %a = rt.fused [68, 1, 8] ins(%h : tensor<68x8xf32>) maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32):
    %p = arith.negf %v : f32
    rt.yield %p : f32
  }
  %b = rt.fused [68, 1, 8] ins(%h, %x : tensor<68x8xf32>, tensor<68x8xf32>) maps [#point, #point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32, %u: f32):
    %p = arith.addf %v, %u : f32
    rt.yield %p : f32
  }
  return %a, %b : tensor<68x8xf32>, tensor<68x8xf32>
}

// A sum over the rows of an image takes its producer in: the producer's row r becomes the reader's 17 r + k.
// CHECK-LABEL: func.func @sum_over_rows(
// CHECK-SAME: %[[X:.*]]: tensor<68x8xf32>, %[[Y:.*]]: tensor<68x8xf32>)
func.func @sum_over_rows(%x: tensor<68x8xf32>, %y: tensor<68x8xf32>) -> tensor<4x8xf32> {
  // CHECK-NEXT: rt.fused [4, 17, 8] ins(%[[X]], %[[Y]] : {{.*}}) maps [#[[$INNER]], #[[$INNER]]] -> [#[[$POINT]]] : tensor<4x8xf32>
  // CHECK-NEXT: ^bb0
  // CHECK-NEXT: arith.mulf
  // CHECK-NEXT: rt.yield
  %0 = rt.fused [68, 1, 8] ins(%x, %y : tensor<68x8xf32>, tensor<68x8xf32>) maps [#point, #point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    rt.yield %p : f32
  }
  %1 = rt.fused [4, 17, 8] ins(%0 : tensor<68x8xf32>) maps [#inner] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return %1 : tensor<4x8xf32>
}

// The coordinates of a producer follow: its row is the reader's too.
// CHECK-LABEL: func.func @coordinates_follow
func.func @coordinates_follow(%x: tensor<68x8xf32>) -> tensor<4x8xf32> {
  // CHECK-NEXT: rt.fused [4, 17, 8]
  // CHECK-NEXT: ^bb0
  // CHECK-NEXT: rt.index #[[$TOKEN]] : i32
  %0 = rt.fused [68, 1, 8] ins(%x : tensor<68x8xf32>) maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%a: f32):
    %i = rt.index affine_map<(r, k, c) -> (r mod 17)> : i32
    %f = arith.sitofp %i : i32 to f32
    %p = arith.mulf %a, %f : f32
    rt.yield %p : f32
  }
  %1 = rt.fused [4, 17, 8] ins(%0 : tensor<68x8xf32>) maps [#inner] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return %1 : tensor<4x8xf32>
}

// The library call between the two programs needs the first one's result.
// CHECK-LABEL: func.func @used_between
// CHECK: rt.fused
// CHECK: rt.gemm
// CHECK: rt.fused
func.func @used_between(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %0 = rt.fused [8, 1, 8] ins(%x, %x : tensor<8x8xf32>, tensor<8x8xf32>) maps [#point, #column] -> [#point] : tensor<8x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = math.exp %a : f32
    rt.yield %p : f32
  }
  %1 = rt.gemm [8, 8, 8] %0, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %2 = rt.fused [8, 1, 8] ins(%0, %1 : tensor<8x8xf32>, tensor<8x8xf32>) maps [#point, #point] -> [#point] : tensor<8x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.addf %a, %b : f32
    rt.yield %p : f32
  }
  return %2 : tensor<8x8xf32>
}

// An update in place stays by itself: its reader could see half of it.
// CHECK-LABEL: func.func @in_place
// CHECK-COUNT-2: rt.fused
func.func @in_place() -> tensor<68xf32> {
  %v = rt.slot state "noise" : tensor<68x8xf32>
  %0 = rt.fused [68, 1, 8] ins(%v : tensor<68x8xf32>) into(%v : tensor<68x8xf32>) [0] maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%a: f32):
    %p = arith.addf %a, %a : f32
    rt.yield %p : f32
  }
  %1 = rt.fused [68, 1, 8] ins(%0 : tensor<68x8xf32>) maps [#point] -> [#row] : tensor<68xf32> {
  ^bb0(%a: f32):
    %s = rt.row_reduce add %a : f32
    rt.yield %s : f32
  }
  return %1 : tensor<68xf32>
}

// Columns of another width, and reads at other rows of a value than one expression names, need the whole value first.
// CHECK-LABEL: func.func @other_points
// CHECK-COUNT-3: rt.fused
func.func @other_points(%x: tensor<68x8xf32>) -> (tensor<67x8xf32>, tensor<136x4xf32>) {
  %0 = rt.fused [68, 1, 8] ins(%x : tensor<68x8xf32>) maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%a: f32):
    %p = math.exp %a : f32
    rt.yield %p : f32
  }
  %1 = rt.fused [67, 1, 8] ins(%0, %0 : tensor<68x8xf32>, tensor<68x8xf32>) maps [#point, #shifted] -> [#point] : tensor<67x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.addf %a, %b : f32
    rt.yield %p : f32
  }
  %w = rt.view %0 offset 0 : tensor<68x8xf32> -> tensor<136x4xf32>
  %2 = rt.fused [136, 1, 4] ins(%w : tensor<136x4xf32>) maps [#point] -> [#point] : tensor<136x4xf32> {
  ^bb0(%a: f32):
    %p = arith.negf %a : f32
    rt.yield %p : f32
  }
  return %1, %2 : tensor<67x8xf32>, tensor<136x4xf32>
}

// Of a producer's results only those that others read live on; the one that lost its only reader is gone.
// CHECK-LABEL: func.func @result_without_readers_is_dropped(
// CHECK-SAME: %[[X:.*]]: tensor<68x8xf32>, %[[Y:.*]]: tensor<68x8xf32>)
func.func @result_without_readers_is_dropped(%x: tensor<68x8xf32>, %y: tensor<68x8xf32>) -> (tensor<68x8xf32>, tensor<4x8xf32>) {
  // CHECK-NEXT: %[[F:.*]]:2 = rt.fused [4, 17, 8] ins(%[[X]], %[[Y]] : {{.*}}) maps [{{.*}}] -> [#[[$INNER]], #[[$POINT]]] : tensor<68x8xf32>, tensor<4x8xf32> {
  // CHECK: %[[P:.*]] = arith.mulf
  // CHECK-NEXT: %[[S:.*]] = arith.addf
  // CHECK-NEXT: rt.yield %[[S]], %[[P]]
  %0:2 = rt.fused [68, 1, 8] ins(%x, %y : tensor<68x8xf32>, tensor<68x8xf32>) maps [#point, #point] -> [#point, #point] : tensor<68x8xf32>, tensor<68x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    %s = arith.addf %a, %b : f32
    rt.yield %p, %s : f32, f32
  }
  %1 = rt.fused [4, 17, 8] ins(%0#0 : tensor<68x8xf32>) maps [#inner] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  // CHECK: return %[[F]]#0, %[[F]]#1
  return %0#1, %1 : tensor<68x8xf32>, tensor<4x8xf32>
}

// A permutation of the rows is followed: the producer's map takes it over, and what others read of it is written where it belongs.
// CHECK-LABEL: func.func @permuted(
// CHECK-SAME: %[[X:.*]]: tensor<68x8xf32>)
// CHECK-NEXT: %[[F:.*]]:2 = rt.fused [68, 1, 8] ins(%[[X]] : tensor<68x8xf32>) maps [#[[$SWAP:.*]]] -> [#[[$SWAP]], #[[$POINT]]]
// CHECK-NOT: rt.fused
// CHECK: return %[[F]]#0, %[[F]]#1
func.func @permuted(%x: tensor<68x8xf32>) -> (tensor<68x8xf32>, tensor<68x8xf32>) {
  %0 = rt.fused [68, 1, 8] ins(%x : tensor<68x8xf32>) maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32):
    %e = math.exp %v : f32
    rt.yield %e : f32
  }
  %1 = rt.fused [68, 1, 8] ins(%0 : tensor<68x8xf32>) maps [affine_map<(r, k, c) -> ((r mod 4) * 17 + r floordiv 4, c)>] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return %0, %1 : tensor<68x8xf32>, tensor<68x8xf32>
}

// As many reads as rows, but not of each row once: the producer would not write all of its own.
// CHECK-LABEL: func.func @not_each_row(
// CHECK: math.exp
// CHECK: rt.fused
// CHECK: return
func.func @not_each_row(%x: tensor<68x8xf32>) -> (tensor<68x8xf32>, tensor<68x8xf32>) {
  %0 = rt.fused [68, 1, 8] ins(%x : tensor<68x8xf32>) maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32):
    %e = math.exp %v : f32
    rt.yield %e : f32
  }
  %1 = rt.fused [68, 1, 8] ins(%0 : tensor<68x8xf32>) maps [affine_map<(r, k, c) -> ((r * 2) mod 68, c)>] -> [#point] : tensor<68x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return %0, %1 : tensor<68x8xf32>, tensor<68x8xf32>
}

// Sums over rows join the program that makes what they add up, though a product in between needs it too, and the program that reads the same.
// CHECK-LABEL: func.func @sums_join(
// CHECK-SAME: %[[X:.*]]: tensor<68x8xf32>, %[[DY:.*]]: tensor<68x8xf32>, %[[W:.*]]: tensor<8x8xf32>)
func.func @sums_join(%x: tensor<68x8xf32>, %dy: tensor<68x8xf32>, %w: tensor<8x8xf32>) -> (tensor<68x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) {
  // CHECK-NEXT: %[[F:.*]]:3 = rt.fused [4, 17, 8] ins(%[[X]], %[[DY]] : tensor<68x8xf32>, tensor<68x8xf32>) maps [#[[$INNER]], #[[$INNER]]] -> [#[[$POINT]], #[[$INNER]], #[[$POINT]]]
  // CHECK-NEXT: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32):
  // CHECK-NEXT: %[[P:.*]] = arith.mulf %[[A]], %[[B]] : f32
  // CHECK-NEXT: %[[E:.*]] = math.exp %[[P]] : f32
  // CHECK-NEXT: rt.yield %[[P]], %[[E]], %[[E]] : f32, f32, f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[G:.*]] = rt.gemm [68, 8, 8] %[[F]]#1, %[[W]]
  // CHECK-NEXT: return %[[G]], %[[F]]#2, %[[F]]#0
  %scale = rt.fused [4, 17, 8] ins(%x, %dy : tensor<68x8xf32>, tensor<68x8xf32>) maps [#inner, #inner] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    rt.yield %p : f32
  }
  %dx = rt.fused [68, 1, 8] ins(%x, %dy : tensor<68x8xf32>, tensor<68x8xf32>) maps [#point, #point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    %e = math.exp %p : f32
    rt.yield %e : f32
  }
  %g = rt.gemm [68, 8, 8] %dx, %w : (tensor<68x8xf32>, tensor<8x8xf32>) -> tensor<68x8xf32>
  %bias = rt.fused [4, 17, 8] ins(%dx : tensor<68x8xf32>) maps [#inner] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return %g, %bias, %scale : tensor<68x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>
}

// A program that would lose its parallelism stays alone: its rows are shared out among threads, the one row of the sum is not.
// Nor where more rows are asked for than the sum over 17 rows each leaves.
// ROWS-LABEL: func.func @sum_over_rows(
// ROWS: rt.fused [68, 1, 8]
// ROWS: rt.fused [4, 17, 8]
// ROWS-LABEL: func.func @one_row(
// CHECK-LABEL: func.func @one_row(
func.func @one_row(%x: tensor<50x1000xf32>) -> (tensor<50x1000xf32>, tensor<1000xf32>) {
  // CHECK-NEXT: rt.fused [50, 1, 1000]
  // CHECK: rt.fused [1, 50, 1000]
  %y = rt.fused [50, 1, 1000] ins(%x : tensor<50x1000xf32>) maps [#point] -> [#point] : tensor<50x1000xf32> {
  ^bb0(%a: f32):
    %e = math.exp %a : f32
    rt.yield %e : f32
  }
  %s = rt.fused [1, 50, 1000] ins(%y : tensor<50x1000xf32>) maps [affine_map<(r, k, c) -> (k, c)>] -> [affine_map<(r, k, c) -> (0, c)>] : tensor<1000xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return %y, %s : tensor<50x1000xf32>, tensor<1000xf32>
}

// What is made again stays late, though all that it reads is there when the first program runs.
// CHECK-LABEL: func.func @recomputed(
func.func @recomputed(%x: tensor<50x8xf32>, %w: tensor<8x8xf32>) -> (tensor<50x8xf32>, tensor<50x8xf32>, tensor<50x8xf32>) {
  // CHECK-NEXT: %[[A:.*]] = rt.fused
  // CHECK: %[[G:.*]] = rt.gemm {{.*}} %[[A]]
  // CHECK: %[[AGAIN:.*]] = rt.fused [50, 1, 8] ins(%[[A]]
  // CHECK: return %[[A]], %[[G]], %[[AGAIN]]
  %a = rt.fused [50, 1, 8] ins(%x : tensor<50x8xf32>) maps [#point] -> [#point] : tensor<50x8xf32> {
  ^bb0(%v: f32):
    %e = math.exp %v : f32
    rt.yield %e : f32
  }
  %g = rt.gemm [50, 8, 8] %a, %w : (tensor<50x8xf32>, tensor<8x8xf32>) -> tensor<50x8xf32>
  %again = rt.fused [50, 1, 8] ins(%a : tensor<50x8xf32>) maps [#point] -> [#point] {rt.recomputed} : tensor<50x8xf32> {
  ^bb0(%v: f32):
    %e = math.exp %v : f32
    rt.yield %e : f32
  }
  return %a, %g, %again : tensor<50x8xf32>, tensor<50x8xf32>, tensor<50x8xf32>
}
