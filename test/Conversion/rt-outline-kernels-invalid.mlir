// RUN: ns-opt %s --rt-outline-kernels --split-input-file --verify-diagnostics
// RUN: not ns-opt %s --rt-outline-kernels=warp-size=24 --split-input-file 2>&1 | FileCheck %s

// CHECK: error: expected warp-size, max-threads and vector-bits (at least 64) to be powers of two, a warp no larger than a block

#point = affine_map<(r, k, c) -> (r, c)>
module attributes {rt.layout = {params = [], state = [], io = [{name = "x", offset = 0 : i64}]}} {
func.func @not_planned() {
  %x = rt.slot io "x" : tensor<4x8xf32>
  // expected-error @below {{'rt.fused' op expected 'rt.offsets'; run rt-plan-memory}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [#point] -> [#point] : tensor<4x8xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return
}
}

// -----

module attributes {rt.layout = {params = [], state = [], io = []}} {
func.func @no_slot() {
  // expected-error @below {{'rt.slot' op expected region io to have a slot 'x'}}
  %x = rt.slot io "x" : tensor<4x8xf32>
  return
}
}

// -----

#point = affine_map<(r, k, c) -> (r, c)>
module attributes {rt.layout = {params = [], state = [], io = [{name = "x", offset = 0 : i64}]}} {
func.func @tiles() {
  %x = rt.slot io "x" : tensor<4x8xf32>
  // expected-error @below {{'rt.tiles' op expected no tiles: a GPU runs one op at a time}}
  %0 = rt.tiles [4] height 2 : tensor<4x8xf32> attributes {rt.offsets = array<i64: 0>} {
    %1 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [#point] -> [#point] : tensor<4x8xf32> {
    ^bb0(%a: f32):
      rt.yield %a : f32
    }
    rt.yield %1 : tensor<4x8xf32>
  }
  return
}
}
