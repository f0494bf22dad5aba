// RUN: ns-opt %s --split-input-file --rt-quantize-products | FileCheck %s
// RUN: ns-opt %s --split-input-file --rt-quantize-products=entries=other | FileCheck %s --check-prefix=CHOSEN
// RUN: ns-opt %s --split-input-file --rt-quantize-products --rt-narrow-products=results=bf16 --rt-fuse | FileCheck %s --check-prefix=NARROW

#point = affine_map<(r, k, c) -> (r, c)>

// CHECK-DAG: #[[$POINT:.*]] = affine_map<(d0, d1, d2) -> (d0, d2)>
// CHECK-DAG: #[[$ROW:.*]] = affine_map<(d0, d1, d2) -> (d0, 0)>
// CHECK-DAG: #[[$INROW:.*]] = affine_map<(d0, d1, d2) -> (d0 mod 4, d2)>
// CHECK-DAG: #[[$ROWS:.*]] = affine_map<(d0, d1, d2) -> (d0 floordiv 4, 0)>
// CHECK-DAG: #[[$TRANSPOSED:.*]] = affine_map<(d0, d1, d2) -> (d0, d2 * 16)>
// A weight as it lies in memory, and its transpose; each row of both has a scale.
// CHECK: module attributes {rt.layout = {
// CHECK-SAME: {name = "w:e4m3", offset = 8192 : i64, type = tensor<32x16xf8E4M3FN>}, {name = "w:e4m3:scale", offset = 8704 : i64, type = tensor<32xf32>}
// CHECK-SAME: {name = "w:e4m3t", offset = 8832 : i64, type = tensor<16x32xf8E4M3FN>}, {name = "w:e4m3t:scale", offset = 9344 : i64, type = tensor<16xf32>}
// CHECK-SAME: params_bytes = 9408 : i64
// CHOSEN-NOT: f8E4M3FN
module attributes {rt.layout = {
  params = [{name = "w", offset = 0 : i64, type = tensor<32x16xf32>}, {name = "h", offset = 2048 : i64, type = tensor<10x32xf32>}], params_bytes = 8192 : i64,
  state = [], io = []}} {

// CHECK-LABEL: func.func @step(
// CHECK-SAME: %[[X:.*]]: tensor<2x3x16xf32>
// CHECK: %[[Q:.*]]:2 = rt.fused [6, 1, 16] ins(%[[X]] : tensor<2x3x16xf32>) maps [#[[$POINT]]] -> [#[[$POINT]], #[[$ROW]]] : tensor<6x16xf8E4M3FN>, tensor<6xf32> {
// CHECK-NEXT: ^bb0(%[[A:.*]]: f32):
// CHECK: %[[ABS:.*]] = math.absf %[[A]]
// CHECK-NEXT: %[[MAX:.*]] = rt.row_reduce max %[[ABS]]
// CHECK: arith.bitcast %{{.*}} : f32 to i32
// CHECK: %[[POWER:.*]] = arith.andi
// CHECK: %[[FLIPPED:.*]] = arith.xori %[[POWER]],
// CHECK: %[[IBITS:.*]] = arith.addi %[[FLIPPED]],
// CHECK: %[[I:.*]] = arith.bitcast %[[IBITS]] : i32 to f32
// CHECK-NEXT: %[[B:.*]] = arith.mulf %[[A]], %[[I]]
// CHECK-NEXT: %[[R:.*]] = arith.truncf %[[B]] : f32 to f8E4M3FN
// CHECK-NEXT: %[[S:.*]] = arith.bitcast %[[POWER]] : i32 to f32
// CHECK-NEXT: rt.yield %[[R]], %[[S]]
// CHECK-DAG: %[[W:.*]] = rt.slot params "w:e4m3" : tensor<32x16xf8E4M3FN>
// CHECK-DAG: %[[WS:.*]] = rt.slot params "w:e4m3:scale" : tensor<32xf32>
// CHECK-DAG: %[[WT:.*]] = rt.slot params "w:e4m3t" : tensor<16x32xf8E4M3FN>
// CHECK-DAG: %[[WTS:.*]] = rt.slot params "w:e4m3t:scale" : tensor<16xf32>
// CHECK: %[[Y:.*]] = rt.gemm [6, 32, 16] %[[Q]]#0, %[[W]] trans_b : (tensor<6x16xf8E4M3FN>, tensor<32x16xf8E4M3FN>) -> tensor<2x3x32xf32>
// What products read is quantized once more, from the scaled numbers.
// CHECK: %[[P:.*]]:2 = rt.fused [6, 1, 32] ins(%[[Y]], %[[WS]], %[[Q]]#1 : {{.*}} tensor<6x32xf8E4M3FN>, tensor<6xf32>
// A program that reads parts of rows: four of its rows are one of the product's.
// CHECK: %[[PARTS:.*]] = rt.view %[[Y]] offset 0 : tensor<2x3x32xf32> -> tensor<24x8xf32>
// CHECK: %[[WSPARTS:.*]] = rt.view %[[WS]] offset 0 : tensor<32xf32> -> tensor<4x8xf32>
// CHECK: rt.fused [24, 1, 8] ins(%[[PARTS]], %[[WSPARTS]], %[[Q]]#1 : tensor<24x8xf32>, tensor<4x8xf32>, tensor<6xf32>) maps [#[[$POINT]], #[[$INROW]], #[[$ROWS]]]
// CHECK-NEXT: ^bb0(%[[E:.*]]: f32, %[[C:.*]]: f32, %[[D:.*]]: f32):
// CHECK-NEXT: %[[F:.*]] = arith.mulf %[[E]], %[[C]]
// CHECK-NEXT: %[[G:.*]] = arith.mulf %[[F]], %[[D]]
// CHECK-NEXT: arith.addf %[[G]], %[[G]]
// CHECK: %[[Z:.*]] = rt.gemm [6, 16, 32] %[[P]]#0, %[[WT]] trans_b :
// What is returned is scaled by a program.
// CHECK-NEXT: rt.fused [6, 1, 16] ins(%[[Z]], %[[WTS]], %[[P]]#1 :
// Ten classes are no multiple of 16.
// CHECK: rt.gemm [6, 10, 32] %{{.*}} : (tensor<2x3x32xf32>, tensor<10x32xf32>) -> tensor<2x3x10xf32>
// NARROW-LABEL: func.func @step(
// NARROW: %[[Y:.*]] = rt.gemm [6, 32, 16] {{.*}} -> tensor<2x3x32xbf16>
// NARROW: rt.fused [24, 1, 8] ins(%{{.*}} : tensor<24x8xbf16>, tensor<4x8xf32>, tensor<6xf32>)
// NARROW: rt.gemm [6, 10, 32] {{.*}} : (tensor<2x3x32xbf16>, tensor<10x32xbf16>)
func.func @step(%x: tensor<2x3x16xf32>) -> (tensor<24x8xf32>, tensor<2x3x16xf32>, tensor<2x3x10xf32>) attributes {ns.entry} {
  %w = rt.slot params "w" : tensor<32x16xf32>
  %h = rt.slot params "h" : tensor<10x32xf32>
  %0 = rt.gemm [6, 32, 16] %x, %w trans_b : (tensor<2x3x16xf32>, tensor<32x16xf32>) -> tensor<2x3x32xf32>
  %parts = rt.view %0 offset 0 : tensor<2x3x32xf32> -> tensor<24x8xf32>
  %1 = rt.fused [24, 1, 8] ins(%parts : tensor<24x8xf32>) maps [#point] -> [#point] : tensor<24x8xf32> {
  ^bb0(%a: f32):
    %y = arith.addf %a, %a : f32
    rt.yield %y : f32
  }
  %2 = rt.gemm [6, 16, 32] %0, %w : (tensor<2x3x32xf32>, tensor<32x16xf32>) -> tensor<2x3x16xf32>
  %twice = rt.fused [6, 1, 32] ins(%0 : tensor<2x3x32xf32>) maps [#point] -> [#point] : tensor<2x3x32xf32> {
  ^bb0(%a: f32):
    %y = arith.addf %a, %a : f32
    rt.yield %y : f32
  }
  %3 = rt.gemm [6, 10, 32] %twice, %h trans_b : (tensor<2x3x32xf32>, tensor<10x32xf32>) -> tensor<2x3x10xf32>
  return %1, %2, %3 : tensor<24x8xf32>, tensor<2x3x16xf32>, tensor<2x3x10xf32>
}
// CHECK-LABEL: func.func @prepare()
// CHECK: %[[W:.*]] = rt.slot params "w" : tensor<32x16xf32>
// CHECK: rt.fused [32, 1, 16] ins(%[[W]] : tensor<32x16xf32>) into(%{{.*}}, %{{.*}} : tensor<32x16xf8E4M3FN>, tensor<32xf32>) [0, 1]
// CHECK: %[[FLAT:.*]] = rt.view %[[W]] offset 0 : tensor<32x16xf32> -> tensor<512xf32>
// CHECK: rt.fused [16, 1, 32] ins(%[[FLAT]] : tensor<512xf32>) into(%{{.*}}, %{{.*}} : tensor<16x32xf8E4M3FN>, tensor<16xf32>) [0, 1] maps [#[[$TRANSPOSED]]]
}

// -----

// Trained weights, sums into a place and batches stay.
module attributes {rt.layout = {params = [{name = "w", offset = 0 : i64, type = tensor<16x16xf32>}], params_bytes = 1024 : i64, state = [], io = []}} {
// CHECK-LABEL: func.func @trained(
// CHECK-NOT: f8E4M3FN
func.func @trained(%x: tensor<4x16xf32>) -> tensor<4x16xf32> attributes {ns.entry} {
  %w = rt.slot params "w" : tensor<16x16xf32>
  %0 = rt.gemm [4, 16, 16] %x, %w : (tensor<4x16xf32>, tensor<16x16xf32>) -> tensor<4x16xf32>
  %1 = rt.gemm [16, 16, 4] %0 trans_a, %x into %w : (tensor<4x16xf32>, tensor<4x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32>
  return %0 : tensor<4x16xf32>
}
}
