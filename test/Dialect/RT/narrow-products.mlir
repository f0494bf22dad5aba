// RUN: ns-opt %s --split-input-file --rt-narrow-products | FileCheck %s
// RUN: ns-opt %s --split-input-file --rt-narrow-products --rt-fuse | FileCheck %s --check-prefix=FUSED
// RUN: ns-opt %s --split-input-file --rt-narrow-products=entries=forward | FileCheck %s --check-prefix=CHOSEN
// RUN: ns-opt %s --split-input-file --rt-narrow-products=results=bf16 | FileCheck %s --check-prefix=RESULTS
// RUN: ns-opt %s --split-input-file --rt-narrow-products=results=rounded | FileCheck %s --check-prefix=ROUNDED
// RUN: not ns-opt %s --split-input-file --rt-narrow-products=results=f16 2>&1 | FileCheck %s --check-prefix=BAD
// BAD: error: expected results to be f32, bf16 or rounded, but got 'f16'

#point = affine_map<(r, k, c) -> (r, c)>

// Frozen weights: copied in prepare from what the entry makes of them, or from the file's. One copy serves all readers and views.
// CHECK: module attributes {rt.layout = {
// CHECK-SAME: {name = "w:bf16", offset = 4096 : i64, type = tensor<24x8xbf16>},
// CHECK-SAME: {name = "v:bf16", offset = 4480 : i64, type = tensor<8x8xbf16>}
// CHECK-SAME: params_bytes = 4608 : i64
// CHOSEN-NOT: rt.layout = {{.*}}w:bf16
module attributes {rt.layout = {
  params = [{name = "w", offset = 0 : i64, type = tensor<24x8xf32>}, {name = "v", offset = 768 : i64, type = tensor<8x8xf32>}], params_bytes = 4096 : i64,
  state = [], io = []}} {

// CHECK-LABEL: func.func @prepare()
// CHECK: %[[W:.*]] = rt.slot params "w" : tensor<24x8xf32>
// CHECK: %[[TWICE:.*]] = rt.fused [24, 1, 8] ins(%[[W]] : tensor<24x8xf32>) into(%[[W]] : tensor<24x8xf32>)
// CHECK: %[[PLACE:.*]] = rt.slot params "w:bf16" : tensor<24x8xbf16>
// CHECK-NEXT: rt.fused [24, 1, 8] ins(%[[TWICE]] : tensor<24x8xf32>) into(%[[PLACE]] : tensor<24x8xbf16>) [0]
// CHECK: %[[V:.*]] = rt.slot params "v" : tensor<8x8xf32>
// CHECK-NEXT: %[[PLACE:.*]] = rt.slot params "v:bf16" : tensor<8x8xbf16>
// CHECK-NEXT: rt.fused [8, 1, 8] ins(%[[V]] : tensor<8x8xf32>) into(%[[PLACE]] : tensor<8x8xbf16>) [0]
// CHECK-NEXT: ^bb0(%[[X:.*]]: f32):
// CHECK-NEXT: %[[Y:.*]] = arith.truncf %[[X]] : f32 to bf16
// CHECK-NEXT: rt.yield %[[Y]] : bf16
func.func @prepare() attributes {ns.entry} {
  %w = rt.slot params "w" : tensor<24x8xf32>
  %0 = rt.fused [24, 1, 8] ins(%w : tensor<24x8xf32>) into(%w : tensor<24x8xf32>) [0] maps [#point] -> [#point] : tensor<24x8xf32> {
  ^bb0(%x: f32):
    %y = arith.addf %x, %x : f32
    rt.yield %y : f32
  }
  return
}

// A value that only products read is made in bf16 alone; one that others read too is written twice.
// CHECK-LABEL: func.func @step(
// CHECK-SAME: %[[X:.*]]: tensor<4x8xf32>
// CHECK-DAG: %[[W16:.*]] = rt.slot params "w:bf16" : tensor<24x8xbf16>
// CHECK-DAG: %[[V16:.*]] = rt.slot params "v:bf16" : tensor<8x8xbf16>
// CHECK-DAG: %[[PART:.*]] = rt.view %[[W16]] offset 64 : tensor<24x8xbf16> -> tensor<8x8xbf16>
// CHECK: %[[TWICE:.*]] = rt.fused {{.*}} : tensor<4x8xf32>
// CHECK: %[[X16:.*]] = rt.fused [4, 1, 8] ins(%[[TWICE]] : tensor<4x8xf32>) {{.*}} : tensor<4x8xbf16>
// CHECK: rt.gemm [4, 8, 8] %[[X16]], %[[PART]] trans_b : (tensor<4x8xbf16>, tensor<8x8xbf16>) -> tensor<4x8xf32>
// CHECK: rt.gemm [4, 8, 8] %[[X16]], %[[V16]] : (tensor<4x8xbf16>, tensor<8x8xbf16>) -> tensor<4x8xf32>
// CHECK-NOT: rt.slot params "w" :
// FUSED-LABEL: func.func @step(
// FUSED: %[[X16:.*]] = rt.fused [4, 1, 8] ins(%{{.*}} : tensor<4x8xf32>) {{.*}} : tensor<4x8xbf16> {
// FUSED-NEXT: ^bb0(%[[X:.*]]: f32):
// FUSED-NEXT: %[[Y:.*]] = arith.addf %[[X]], %[[X]] : f32
// FUSED-NEXT: %[[Z:.*]] = arith.truncf %[[Y]] : f32 to bf16
// FUSED-NEXT: rt.yield %[[Z]] : bf16
// FUSED: %[[P:.*]] = rt.gemm [4, 8, 8] %[[X16]],
// FUSED: %[[BOTH:.*]]:2 = rt.fused [4, 1, 8] ins(%[[P]] : tensor<4x8xf32>) {{.*}} : tensor<4x8xf32>, tensor<4x8xbf16>
// CHOSEN-LABEL: func.func @step(
// CHOSEN-NOT: bf16
func.func @step(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) attributes {ns.entry} {
  %w = rt.slot params "w" : tensor<24x8xf32>
  %v = rt.slot params "v" : tensor<8x8xf32>
  %part = rt.view %w offset 64 : tensor<24x8xf32> -> tensor<8x8xf32>
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [#point] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    %y = arith.addf %a, %a : f32
    rt.yield %y : f32
  }
  %1 = rt.gemm [4, 8, 8] %0, %part trans_b : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %2 = rt.gemm [4, 8, 8] %0, %v : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %3 = rt.fused [4, 1, 8] ins(%1 : tensor<4x8xf32>) maps [#point] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    %y = arith.mulf %a, %a : f32
    rt.yield %y : f32
  }
  %4 = rt.gemm [4, 8, 8] %3, %v : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  return %3, %4 : tensor<4x8xf32>, tensor<4x8xf32>
}
}

// -----

#point = affine_map<(r, k, c) -> (r, c)>

// Trained weights are copied in the entry, and prepare is not made. Products of f64 stay.
// CHECK-NOT: :bf16
module attributes {rt.layout = {params = [{name = "w", offset = 0 : i64, type = tensor<8x8xf32>}], params_bytes = 256 : i64, state = [], io = []}} {
// CHECK-LABEL: func.func @step(
// CHECK: %[[W:.*]] = rt.slot params "w" {layer = "head"} : tensor<8x8xf32>
// CHECK-NEXT: %[[W16:.*]] = rt.fused [8, 1, 8] ins(%[[W]] : tensor<8x8xf32>) {{.*}} {layer = "head"} : tensor<8x8xbf16>
// CHECK: rt.gemm [4, 8, 8] %{{.*}}, %[[W16]] :
// CHECK: rt.gemm {{.*}} : (tensor<4x8xf64>, tensor<8x8xf64>) -> tensor<4x8xf64>
func.func @step(%x: tensor<4x8xf32>, %a: tensor<4x8xf64>, %b: tensor<8x8xf64>) -> (tensor<4x8xf32>, tensor<4x8xf64>) attributes {ns.entry} {
  %w = rt.slot params "w" {layer = "head"} : tensor<8x8xf32>
  %0 = rt.gemm [4, 8, 8] %x, %w : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %1 = rt.gemm [4, 8, 8] %a, %b : (tensor<4x8xf64>, tensor<8x8xf64>) -> tensor<4x8xf64>
  return %0, %1 : tensor<4x8xf32>, tensor<4x8xf64>
}
// CHECK-LABEL: func.func @update(
func.func @update() attributes {ns.entry} {
  %w = rt.slot params "w" : tensor<8x8xf32>
  %0 = rt.fused [8, 1, 8] ins(%w : tensor<8x8xf32>) into(%w : tensor<8x8xf32>) [0] maps [#point] -> [#point] : tensor<8x8xf32> {
  ^bb0(%x: f32):
    %y = arith.addf %x, %x : f32
    rt.yield %y : f32
  }
  return
}
// CHECK-NOT: @prepare
}

// -----

// Where no entry prepares anything, one is made.
module attributes {rt.layout = {params = [{name = "w", offset = 0 : i64, type = tensor<8x8xf32>}], params_bytes = 256 : i64, state = [], io = []}} {
// CHECK-LABEL: func.func @step(
func.func @step(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {ns.entry, rt.inputs = ["x"], rt.outputs = ["y"]} {
  %w = rt.slot params "w" : tensor<8x8xf32>
  %0 = rt.gemm [4, 8, 8] %x, %w : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}
// CHECK-LABEL: func.func @prepare() attributes {ns.entry, rt.inputs = [], rt.outputs = []}
// CHECK: rt.fused [8, 1, 8] ins(%{{.*}} : tensor<8x8xf32>) into(%{{.*}} : tensor<8x8xbf16>) [0]
// CHECK: return
}

// -----

#point = affine_map<(r, k, c) -> (r, c)>

// Results for tokens and heads are bf16: programs widen what they read, products and views take it as it is. What is not: a row for each image, a
// weight's gradient, what is written to a place.
module attributes {rt.layout = {params = [], params_bytes = 0 : i64, state = [], io = []}} {
// RESULTS-LABEL: func.func @results(
// ROUNDED-LABEL: func.func @results(
func.func @results(%x: tensor<4x17x8xf32>, %w: tensor<8x8xf32>, %d: tensor<4x17x8xf32>) -> (tensor<68x8xf32>, tensor<4x17x8xf32>, tensor<2x34x8xf32>, tensor<4x8xf32>, tensor<8x8xf32>) attributes {ns.entry} {
  // RESULTS: %[[Y:.*]] = rt.gemm [68, 8, 8] {{.*}} -> tensor<4x17x8xbf16>
  // RESULTS-NEXT: %[[V:.*]] = rt.view %[[Y]] offset 0 : tensor<4x17x8xbf16> -> tensor<68x8xbf16>
  // RESULTS-NEXT: rt.fused [68, 1, 8] ins(%[[V]] : tensor<68x8xbf16>) {{.*}} : tensor<68x8xf32> {
  // RESULTS-NEXT: ^bb0(%[[A:.*]]: bf16):
  // RESULTS-NEXT: %[[B:.*]] = arith.extf %[[A]] : bf16 to f32
  // RESULTS-NEXT: arith.addf %[[B]], %[[B]] : f32
  // RESULTS: rt.gemm [68, 8, 8] %[[V]], %{{.*}} into %{{.*}} : {{.*}} -> tensor<4x17x8xf32>
  // RESULTS-NEXT: rt.gemm [34, 8, 8] %[[V]], %{{.*}} batch [2, 272, 0] : {{.*}} -> tensor<2x34x8xf32>
  // RESULTS-NEXT: rt.gemm [4, 8, 8] {{.*}} -> tensor<4x8xf32>
  // RESULTS-NEXT: rt.gemm [8, 8, 68] {{.*}} -> tensor<8x8xf32>
  // ROUNDED: %[[Y:.*]] = rt.gemm [68, 8, 8] {{.*}} -> tensor<4x17x8xf32>
  // ROUNDED-NEXT: %[[R:.*]] = rt.fused [68, 1, 8] ins(%[[Y]] : tensor<4x17x8xf32>) {{.*}} : tensor<4x17x8xbf16>
  // ROUNDED: %[[V:.*]] = rt.view %[[R]] offset 0 : tensor<4x17x8xbf16> -> tensor<68x8xbf16>
  // ROUNDED: rt.fused [68, 1, 8] ins(%[[V]] : tensor<68x8xbf16>) {{.*}} : tensor<68x8xf32> {
  // ROUNDED: rt.gemm [68, 8, 8] %[[V]], %{{.*}} into
  %0 = rt.gemm [68, 8, 8] %x, %w : (tensor<4x17x8xf32>, tensor<8x8xf32>) -> tensor<4x17x8xf32>
  %rows = rt.view %0 offset 0 : tensor<4x17x8xf32> -> tensor<68x8xf32>
  %1 = rt.fused [68, 1, 8] ins(%rows : tensor<68x8xf32>) maps [#point] -> [#point] : tensor<68x8xf32> {
  ^bb0(%a: f32):
    %y = arith.addf %a, %a : f32
    rt.yield %y : f32
  }
  %2 = rt.gemm [68, 8, 8] %rows, %w into %d : (tensor<68x8xf32>, tensor<8x8xf32>, tensor<4x17x8xf32>) -> tensor<4x17x8xf32>
  %3 = rt.gemm [34, 8, 8] %rows, %w batch [2, 272, 0] : (tensor<68x8xf32>, tensor<8x8xf32>) -> tensor<2x34x8xf32>
  %first = rt.view %x offset 0 : tensor<4x17x8xf32> -> tensor<4x8xf32>
  %4 = rt.gemm [4, 8, 8] %first, %w : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %5 = rt.gemm [8, 8, 68] %rows trans_a, %rows : (tensor<68x8xf32>, tensor<68x8xf32>) -> tensor<8x8xf32>
  return %1, %2, %3, %4, %5 : tensor<68x8xf32>, tensor<4x17x8xf32>, tensor<2x34x8xf32>, tensor<4x8xf32>, tensor<8x8xf32>
}
// Written part by part: every part is rounded as it is written.
// RESULTS-LABEL: func.func @parts(
// CHECK-LABEL: func.func @parts(
func.func @parts(%x: tensor<2x8xf32>, %w: tensor<8x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) attributes {ns.entry} {
  // CHECK: rt.fused {{.*}} : tensor<4x8xf32> {
  // CHECK: rt.fused {{.*}} : tensor<4x8xf32> {
  // CHECK: rt.fused {{.*}} : tensor<4x8xbf16> {
  // RESULTS: %[[A:.*]] = rt.fused [2, 1, 8] {{.*}} : tensor<4x8xbf16> {
  // RESULTS-NEXT: ^bb0(%[[X:.*]]: f32):
  // RESULTS-NEXT: %[[Y:.*]] = arith.truncf %[[X]] : f32 to bf16
  // RESULTS-NEXT: rt.yield %[[Y]] : bf16
  // RESULTS: %[[B:.*]] = rt.fused [2, 1, 8] {{.*}} into(%[[A]] : tensor<4x8xbf16>) [0] {{.*}} : tensor<4x8xbf16> {
  // RESULTS: rt.gemm [4, 8, 8] %[[B]],
  // RESULTS: rt.fused [4, 1, 8] ins(%[[B]] : tensor<4x8xbf16>) {{.*}} : tensor<4x8xf32> {
  // RESULTS-NEXT: ^bb0(%[[X:.*]]: bf16):
  // RESULTS-NEXT: arith.extf %[[X]]
  %0 = rt.fused [2, 1, 8] ins(%x : tensor<2x8xf32>) maps [#point] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  %1 = rt.fused [2, 1, 8] ins(%x : tensor<2x8xf32>) into(%0 : tensor<4x8xf32>) [0] maps [#point] -> [affine_map<(r, k, c) -> (r + 2, c)>] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  %2 = rt.gemm [4, 8, 8] %1, %w : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %3 = rt.fused [4, 1, 8] ins(%1 : tensor<4x8xf32>) maps [#point] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    %y = arith.addf %a, %a : f32
    rt.yield %y : f32
  }
  return %2, %3 : tensor<4x8xf32>, tensor<4x8xf32>
}

// Probabilities: a program that reads them too reads what the product reads.
// RESULTS-LABEL: func.func @heads(
func.func @heads(%x: tensor<2x4x8xf32>, %v: tensor<2x8x8xf32>) -> (tensor<2x4x8xf32>, tensor<2x4x8xf32>) attributes {ns.entry} {
  // RESULTS: %[[P:.*]] = rt.fused [8, 1, 8] {{.*}} : tensor<2x4x8xbf16> {
  // RESULTS-NOT: tensor<2x4x8xf32>
  // RESULTS: rt.gemm [4, 8, 8] %[[P]], {{.*}} -> tensor<2x4x8xbf16>
  // RESULTS: rt.fused [8, 1, 8] ins(%[[P]] : tensor<2x4x8xbf16>)
  %0 = rt.fused [8, 1, 8] ins(%x : tensor<2x4x8xf32>) maps [#point] -> [#point] : tensor<2x4x8xf32> {
  ^bb0(%a: f32):
    %y = math.exp %a : f32
    rt.yield %y : f32
  }
  %1 = rt.gemm [4, 8, 8] %0, %v batch [2, 32, 64] : (tensor<2x4x8xf32>, tensor<2x8x8xf32>) -> tensor<2x4x8xf32>
  %2 = rt.fused [8, 1, 8] ins(%0 : tensor<2x4x8xf32>) maps [#point] -> [#point] : tensor<2x4x8xf32> {
  ^bb0(%a: f32):
    %y = arith.addf %a, %a : f32
    rt.yield %y : f32
  }
  %3 = rt.fused [8, 1, 8] ins(%1 : tensor<2x4x8xf32>) maps [#point] -> [#point] : tensor<2x4x8xf32> {
  ^bb0(%a: f32):
    %y = arith.addf %a, %a : f32
    rt.yield %y : f32
  }
  return %2, %3 : tensor<2x4x8xf32>, tensor<2x4x8xf32>
}
}
