// RUN: ns-opt %s --split-input-file --rt-pack-weights | FileCheck %s

// w has 20 columns, in panels 32: the parameter behind it moves, and region params grows. The parts of qkv lie one behind the other. A parameter that also a program reads stays.
// CHECK: module attributes {rt.layout = {
// CHECK-SAME: params = [{name = "w", offset = 0 : i64, type = tensor<20x8xf32>}, {name = "w:packed", offset = 0 : i64, type = tensor<8x32xf32>},
// CHECK-SAME: {name = "qkv", offset = 1024 : i64, type = tensor<48x16xf32>}, {name = "qkv:packed", offset = 1024 : i64, type = tensor<16x16xf32>}, {name = "qkv:packed:256", offset = 2048 : i64, type = tensor<16x32xf32>},
// CHECK-SAME: {name = "both", offset = 4096 : i64, type = tensor<16x8xf32>}]
// CHECK-SAME: params_bytes = 4608
module attributes {rt.layout = {params = [{name = "w", offset = 0 : i64, type = tensor<20x8xf32>}, {name = "qkv", offset = 640 : i64, type = tensor<48x16xf32>}, {name = "both", offset = 3712 : i64, type = tensor<16x8xf32>}], params_bytes = 4224 : i64, state = [], io = []}} {
// CHECK-LABEL: func.func @step
// CHECK-NOT: rt.slot params "w" :
// CHECK: %[[W:.*]] = rt.slot params "w:packed" : tensor<8x32xf32>
// CHECK: rt.gemm [4, 20, 8] %{{.*}}, %[[W]] packed
// CHECK: %[[P:.*]] = rt.slot params "w:packed" : tensor<8x32xf32>
// CHECK: rt.pack [8, 20] %[[P]] packed {nn.layer = "back"} : tensor<8x32xf32> -> tensor<20x16xf32>
// CHECK: rt.pack [16, 8] %{{.*}} trans_b : tensor<16x8xf32>
func.func @step() {
  %x = rt.slot io "x" : tensor<4x8xf32>
  %w = rt.slot params "w" : tensor<20x8xf32>
  %p = rt.pack [20, 8] %w trans_b : tensor<20x8xf32> -> tensor<8x32xf32>
  %0 = rt.gemm [4, 20, 8] %x, %p packed : (tensor<4x8xf32>, tensor<8x32xf32>) -> tensor<4x20xf32>
  %q = rt.pack [8, 20] %w {nn.layer = "back"} : tensor<20x8xf32> -> tensor<20x16xf32>
  %1 = rt.gemm [4, 8, 20] %0, %q packed : (tensor<4x20xf32>, tensor<20x16xf32>) -> tensor<4x8xf32>
  %b = rt.slot params "both" : tensor<16x8xf32>
  %r = rt.pack [16, 8] %b trans_b : tensor<16x8xf32> -> tensor<8x16xf32>
  %2 = rt.gemm [4, 16, 8] %1, %r packed : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
  %3 = rt.fused [16, 1, 8] ins(%b : tensor<16x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<16x8xf32> {
  ^bb0(%e: f32):
    rt.yield %e : f32
  }
  return
}
// CHECK-LABEL: func.func @parts
// CHECK: rt.slot params "qkv:packed" : tensor<16x16xf32>
// CHECK: rt.slot params "qkv:packed:256" : tensor<16x32xf32>
func.func @parts() {
  %x = rt.slot io "x" : tensor<4x16xf32>
  %w = rt.slot params "qkv" : tensor<48x16xf32>
  %a = rt.view %w offset 0 : tensor<48x16xf32> -> tensor<16x16xf32>
  %p = rt.pack [16, 16] %a trans_b : tensor<16x16xf32> -> tensor<16x16xf32>
  %0 = rt.gemm [4, 16, 16] %x, %p packed : (tensor<4x16xf32>, tensor<16x16xf32>) -> tensor<4x16xf32>
  %b = rt.view %w offset 256 : tensor<48x16xf32> -> tensor<32x16xf32>
  %q = rt.pack [32, 16] %b trans_b : tensor<32x16xf32> -> tensor<16x32xf32>
  %1 = rt.gemm [4, 32, 16] %x, %q packed : (tensor<4x16xf32>, tensor<16x32xf32>) -> tensor<4x32xf32>
  return
}
// What @prepare made of w is what it packs, into the arena first.
// CHECK-LABEL: func.func @prepare
// CHECK: %[[F:.*]] = rt.fused [20, 1, 8] {{.*}} into(
// CHECK: %[[PACKED:.*]] = rt.pack [20, 8] %[[F]] trans_b : tensor<20x8xf32> -> tensor<8x32xf32>
// CHECK: %[[PLACE:.*]] = rt.slot params "w:packed" : tensor<8x32xf32>
// CHECK: rt.fused [8, 1, 32] ins(%[[PACKED]] : tensor<8x32xf32>) into(%[[PLACE]] : tensor<8x32xf32>)
// CHECK: %[[QKV:.*]] = rt.slot params "qkv" : tensor<48x16xf32>
// CHECK: rt.pack [32, 16] %{{.*}} trans_b : tensor<32x16xf32> -> tensor<16x32xf32>
func.func @prepare() {
  %w = rt.slot params "w" : tensor<20x8xf32>
  %0 = rt.fused [20, 1, 8] ins(%w : tensor<20x8xf32>) into(%w : tensor<20x8xf32>) [0] maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<20x8xf32> {
  ^bb0(%e: f32):
    %s = arith.addf %e, %e : f32
    rt.yield %s : f32
  }
  return
}
}

// -----

// An entry reads another part of the weight than the others: it stays, and there is nothing to prepare.
// CHECK-LABEL: func.func @whole
// CHECK: rt.pack [32, 16] %{{.*}} trans_b
// CHECK-LABEL: func.func @first_rows
// CHECK: rt.pack [16, 16] %{{.*}} trans_b
// CHECK-NOT: func.func @prepare
module attributes {rt.layout = {params = [{name = "w", offset = 0 : i64, type = tensor<32x16xf32>}], params_bytes = 2048 : i64, state = [], io = []}} {
func.func @whole() {
  %x = rt.slot io "x" : tensor<4x16xf32>
  %w = rt.slot params "w" : tensor<32x16xf32>
  %p = rt.pack [32, 16] %w trans_b : tensor<32x16xf32> -> tensor<16x32xf32>
  %0 = rt.gemm [4, 32, 16] %x, %p packed : (tensor<4x16xf32>, tensor<16x32xf32>) -> tensor<4x32xf32>
  return
}
func.func @first_rows() {
  %x = rt.slot io "x" : tensor<4x16xf32>
  %w = rt.slot params "w" : tensor<32x16xf32>
  %a = rt.view %w offset 0 : tensor<32x16xf32> -> tensor<16x16xf32>
  %p = rt.pack [16, 16] %a trans_b : tensor<16x16xf32> -> tensor<16x16xf32>
  %0 = rt.gemm [4, 16, 16] %x, %p packed : (tensor<4x16xf32>, tensor<16x16xf32>) -> tensor<4x16xf32>
  return
}
}

// -----

// Trained weights stay, all of them.
// CHECK-LABEL: func.func @trained
// CHECK: rt.pack [32, 16] %{{.*}} trans_b
module attributes {rt.layout = {params = [{name = "w", offset = 0 : i64, type = tensor<32x16xf32>}], params_bytes = 2048 : i64, state = [], io = []}} {
func.func @trained() {
  %x = rt.slot io "x" : tensor<4x16xf32>
  %w = rt.slot params "w" : tensor<32x16xf32>
  %p = rt.pack [32, 16] %w trans_b : tensor<32x16xf32> -> tensor<16x32xf32>
  %0 = rt.gemm [4, 32, 16] %x, %p packed : (tensor<4x16xf32>, tensor<16x32xf32>) -> tensor<4x32xf32>
  return
}
func.func @update() {
  %w = rt.slot params "w" : tensor<32x16xf32>
  %0 = rt.fused [32, 1, 16] ins(%w : tensor<32x16xf32>) into(%w : tensor<32x16xf32>) [0] maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<32x16xf32> {
  ^bb0(%x: f32):
    rt.yield %x : f32
  }
  return
}
}
