// RUN: ns-opt %s --rt-to-llvm --split-input-file --verify-diagnostics

func.func @no_layout() {
  // expected-error @below {{'rt.slot' op expected the module to have 'rt.layout'}}
  %x = rt.slot io "x" : tensor<68x8xf32>
  return
}

// -----

module attributes {rt.layout = {params = [], state = [], io = []}} {
func.func @unknown_slot() {
  // expected-error @below {{'rt.slot' op expected region io to have a slot 'x'}}
  %x = rt.slot io "x" : tensor<68x8xf32>
  return
}
}

// -----

module attributes {rt.layout = {params = [], state = [], io = [{name = "x", offset = 0 : i64, type = tensor<8x8xf32>}]}} {
func.func @not_planned() {
  %x = rt.slot io "x" : tensor<8x8xf32>
  // expected-error @below {{'rt.gemm' op expected 'rt.offsets'; run rt-plan-memory}}
  %y = rt.gemm [8, 8, 8] %x, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return
}
}

// -----

func.func @foreign_op() {
  // expected-error @below {{'arith.constant' op expected '}}
  %y = arith.constant 1 : i64
  return
}

// -----

// Epilogues are a GPU library's.
module attributes {rt.layout = {params = [], state = [], io = [{name = "x", offset = 0 : i64, type = tensor<8x8xf32>}]}} {
func.func @bias() {
  %x = rt.slot io "x" : tensor<8x8xf32>
  %b = rt.view %x offset 0 : tensor<8x8xf32> -> tensor<8xf32>
  // expected-error @below {{'rt.gemm' op expected no bias, no result of bf16 and no operands of f8E4M3FN: the CPU's library has none of them}}
  %y = rt.gemm [8, 8, 8] %x, %x bias %b {rt.offsets = array<i64: 0>} : (tensor<8x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<8x8xf32>
  return
}
}

// -----

module attributes {rt.layout = {params = [], state = [], io = [{name = "x", offset = 0 : i64, type = tensor<2x8x24xf32>}]}} {
func.func @attention_by_a_library() {
  %x = rt.slot io "x" : tensor<2x8x24xf32>
  // expected-error @below {{'rt.attention' op expected no statistics: they are of a GPU's library}}
  %o, %s = rt.attention %x heads 1 scale 1.0 {rt.offsets = array<i64: 0, 4096>} : (tensor<2x8x24xf32>) -> (tensor<2x8x8xf32>, tensor<2x1x8xf32>)
  return
}
}
