// RUN: ns-opt %s --split-input-file --rt-narrow-products | FileCheck %s
// RUN: ns-opt %s --split-input-file --rt-narrow-products --rt-fuse | FileCheck %s --check-prefix=FUSED
// RUN: ns-opt %s --split-input-file --rt-narrow-products=entries=forward | FileCheck %s --check-prefix=CHOSEN

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
