// RUN: ns-opt %s --split-input-file --verify-diagnostics

// Every message of the rt dialect's verifiers.

func.func @view_type(%x: tensor<8xf32>) {
  // expected-error @below {{'rt.view' op expected element type to be 'f32', but got 'f64'}}
  %0 = rt.view %x offset 0 : tensor<8xf32> -> tensor<8xf64>
  return
}

// -----

func.func @view_past_the_end(%x: tensor<8xf32>) {
  // expected-error @below {{'rt.view' op expected elements 4 to 12 to lie in a source of 8 elements}}
  %0 = rt.view %x offset 4 : tensor<8xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @view_before_the_start(%x: tensor<8xf32>) {
  // expected-error @below {{'rt.view' op expected elements -1 to 3 to lie in a source of 8 elements}}
  %0 = rt.view %x offset -1 : tensor<8xf32> -> tensor<4xf32>
  return
}

// -----

func.func @gemm_extents(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>) {
  // expected-error @below {{'rt.gemm' op expected mnk to have 3 entries, but got 2}}
  %0 = rt.gemm [4, 2] %a, %b : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x2xf32>
  return
}

// -----

func.func @gemm_a(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>) {
  // expected-error @below {{'rt.gemm' op expected a to have 36 elements, but got 32}}
  %0 = rt.gemm [4, 2, 9] %a, %b : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x2xf32>
  return
}

// -----

func.func @gemm_b(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>) {
  // expected-error @below {{'rt.gemm' op expected b to have 24 elements, but got 16}}
  %0 = rt.gemm [4, 3, 8] %a, %b : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x2xf32>
  return
}

// -----

func.func @gemm_result(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>) {
  // expected-error @below {{'rt.gemm' op expected result to have 8 elements, but got 9}}
  %0 = rt.gemm [4, 2, 8] %a, %b : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<3x3xf32>
  return
}

// -----

func.func @gemm_dest(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>, %d: tensor<8xf32>) {
  // expected-error @below {{'rt.gemm' op expected dest type to be 'tensor<4x2xf32>', but got 'tensor<8xf32>'}}
  %0 = rt.gemm [4, 2, 8] %a, %b into %d : (tensor<4x8xf32>, tensor<8x2xf32>, tensor<8xf32>) -> tensor<4x2xf32>
  return
}

// -----

func.func @gemm_accumulates_nowhere(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>, %s: tensor<f32>) {
  // expected-error @below {{'rt.gemm' op expected a dest to accumulate into}}
  %0 = rt.gemm [4, 2, 8] %a, %b accumulate %s : (tensor<4x8xf32>, tensor<8x2xf32>, tensor<f32>) -> tensor<4x2xf32>
  return
}

// -----

func.func @gemm_batch_form(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>) {
  // expected-error @below {{'rt.gemm' op expected batch to be a positive count and two strides, but got [2, 0]}}
  %0 = rt.gemm [4, 2, 8] %a, %b batch [2, 0] : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<2x4x2xf32>
  return
}

// -----

func.func @gemm_batch_stride(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>) {
  // expected-error @below {{'rt.gemm' op expected batch to be a positive count and two strides, but got [2, -1, 0]}}
  %0 = rt.gemm [4, 2, 8] %a, %b batch [2, -1, 0] : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<2x4x2xf32>
  return
}

// -----

func.func @gemm_batch_past_the_end(%a: tensor<8x8xf32>, %b: tensor<8x2xf32>) {
  // expected-error @below {{'rt.gemm' op expected a to have 72 elements, but got 64}}
  %0 = rt.gemm [4, 2, 8] %a, %b batch [2, 40, 0] : (tensor<8x8xf32>, tensor<8x2xf32>) -> tensor<2x4x2xf32>
  return
}

// -----

func.func @gemm_batch_result(%a: tensor<8x8xf32>, %b: tensor<8x2xf32>) {
  // expected-error @below {{'rt.gemm' op expected result to have 16 elements, but got 24}}
  %0 = rt.gemm [4, 2, 8] %a, %b batch [2, 32, 0] : (tensor<8x8xf32>, tensor<8x2xf32>) -> tensor<3x4x2xf32>
  return
}

// -----

func.func @gemm_batch_packed(%a: tensor<8x8xf32>, %b: tensor<8x16xf32>) {
  // expected-error @below {{'rt.gemm' op expected no batch of products with a packed b}}
  %0 = rt.gemm [4, 2, 8] %a, %b packed batch [2, 32, 0] : (tensor<8x8xf32>, tensor<8x16xf32>) -> tensor<2x4x2xf32>
  return
}

// -----

func.func @gemm_bias_width(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>, %c: tensor<4xf32>) {
  // expected-error @below {{'rt.gemm' op expected bias to have 2 elements, but got 4}}
  %0 = rt.gemm [4, 2, 8] %a, %b bias %c : (tensor<4x8xf32>, tensor<8x2xf32>, tensor<4xf32>) -> tensor<4x2xf32>
  return
}

// -----

func.func @gemm_bias_packed(%a: tensor<4x8xf32>, %b: tensor<8x16xf32>, %c: tensor<2xf32>) {
  // expected-error @below {{'rt.gemm' op expected no bias beside a packed b}}
  %0 = rt.gemm [4, 2, 8] %a, %b packed bias %c : (tensor<4x8xf32>, tensor<8x16xf32>, tensor<2xf32>) -> tensor<4x2xf32>
  return
}

// -----

func.func @gemm_bias_type(%a: tensor<4x8xbf16>, %b: tensor<8x2xbf16>, %c: tensor<2xf32>) {
  // expected-error @below {{'rt.gemm' op expected bias to be of 'bf16', but got 'f32'}}
  %0 = rt.gemm [4, 2, 8] %a, %b bias %c : (tensor<4x8xbf16>, tensor<8x2xbf16>, tensor<2xf32>) -> tensor<4x2xbf16>
  return
}

// -----

func.func @attention_inputs(%q: tensor<4x17x8xf32>) {
  // expected-error @below {{'rt.attention' op expected 1 to 3 inputs, but got 4}}
  %0 = rt.attention %q, %q, %q, %q heads 2 scale 0.5 : (tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @attention_channels(%q: tensor<4x17x8xf32>) {
  // expected-error @below {{'rt.attention' op expected inputs to have 24 channels together, but got 16}}
  %0 = rt.attention %q, %q heads 2 scale 0.5 : (tensor<4x17x8xf32>, tensor<4x17x8xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @attention_heads(%x: tensor<4x17x24xf32>) {
  // expected-error @below {{'rt.attention' op expected heads to divide 8 channels, but got 3}}
  %0 = rt.attention %x heads 3 scale 0.5 : (tensor<4x17x24xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @attention_no_heads(%x: tensor<4x17x24xf32>) {
  // expected-error @below {{'rt.attention' op expected heads to divide 8 channels, but got 0}}
  %0 = rt.attention %x heads 0 scale 0.5 : (tensor<4x17x24xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @attention_bias_count(%q: tensor<4x17x8xf32>, %b: tensor<8xf32>) {
  // expected-error @below {{'rt.attention' op expected one bias for each input, but got 1}}
  %0 = rt.attention %q, %q, %q bias %b heads 2 scale 0.5 : (tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<8xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @attention_bias_width(%x: tensor<4x17x24xf32>, %b: tensor<8xf32>) {
  // expected-error @below {{'rt.attention' op expected bias to have 24 elements, but got 8}}
  %0 = rt.attention %x bias %b heads 2 scale 0.5 : (tensor<4x17x24xf32>, tensor<8xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @attention_grad_result(%d: tensor<4x17x8xf32>, %x: tensor<4x17x24xf32>) {
  // expected-error @below {{'rt.attention_grad' op expected one result of each input's type}}
  %0 = rt.attention_grad %d, %x heads 2 scale 0.5 : (tensor<4x17x8xf32>, tensor<4x17x24xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @attention_grad_heads(%d: tensor<4x17x8xf32>, %x: tensor<4x17x24xf32>) {
  // expected-error @below {{'rt.attention_grad' op expected heads to divide 8 channels, but got 5}}
  %0 = rt.attention_grad %d, %x heads 5 scale 0.5 : (tensor<4x17x8xf32>, tensor<4x17x24xf32>) -> tensor<4x17x24xf32>
  return
}

// -----

func.func @fused_space(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected space to be three positive extents}}
  %0 = rt.fused [4, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_space_empty(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected space to be three positive extents}}
  %0 = rt.fused [4, 0, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_input_maps(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected a map and a block argument for each of 1 inputs, but got 2 and 1}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>, affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_arguments(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected a map and a block argument for each of 1 inputs, but got 1 and 2}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32, %w: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_result_maps(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected a map and a yielded value for each of 1 results, but got 2 and 1}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>, affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_yields_too_much(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected a map and a yielded value for each of 1 results, but got 1 and 2}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v, %v : f32, f32
  }
  return
}

// -----

func.func @fused_map_form(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected input map 0 to be (r, k, c) -> (row, col), but got affine_map<(d0, d1) -> (d0, d1)>}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_row_by_column(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected the column of input map 0 to be c or a constant, but got affine_map<(d0, d1, d2) -> (d2, d2)>}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (c, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_transposed(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected the column of input map 0 to be c or a constant, but got affine_map<(d0, d1, d2) -> (0, d0)>}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (0, r)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_ceildiv(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected input map 0 without ceildiv, but got affine_map<(d0, d1, d2) -> (d0 ceildiv 2, d2)>}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r ceildiv 2, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @index_ceildiv(%x: tensor<4x8xf32>) {
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    // expected-error @below {{'rt.index' op expected an index without ceildiv, but got affine_map<(d0, d1, d2) -> (d0 ceildiv 2)>}}
    %i = rt.index affine_map<(r, k, c) -> (r ceildiv 2)> : i32
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_result_map(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected the column of result map 0 to be c or a constant, but got affine_map<(d0, d1, d2) -> (d0, d2 * 2)>}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c * 2)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

// A multiple of c is read, but not backwards.
func.func @fused_backwards(%x: tensor<80xf32>) {
  // expected-error @below {{'rt.fused' op expected the column of input map 0 to be c or a constant, but got affine_map<(d0, d1, d2) -> (d0, -d2)>}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<80xf32>) maps [affine_map<(r, k, c) -> (r, c * -1)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_argument_type(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected block argument 0 to be 'f32'}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f64):
    rt.yield %v : f64
  }
  return
}

// -----

func.func @fused_yielded_type(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected yielded value 0 to be 'f32'}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    %w = arith.extf %v : f32 to f64
    rt.yield %w : f64
  }
  return
}

// -----

func.func @fused_destination_count(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected a destination index for each of 1 results, but got 2}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) into(%x : tensor<4x8xf32>) [0, -1] maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_destination_index(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected destination index 0 to be below 1, but got 1}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) into(%x : tensor<4x8xf32>) [1] maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @fused_destination_size(%x: tensor<4x8xf32>, %d: tensor<8xf32>) {
  // expected-error @below {{'rt.fused' op expected destination of result 0 to have 32 elements}}
  %0 = rt.fused [4, 1, 8] ins(%x : tensor<4x8xf32>) into(%d : tensor<8xf32>) [0] maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x8xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}

// -----

func.func @index_form() {
  // expected-error @below {{'rt.index' op expected map to be (r, k, c) -> (i), but got affine_map<(d0) -> (d0)>}}
  %0 = rt.index affine_map<(c) -> (c)> : i32
  return
}

// -----

func.func @index_scaled_column() {
  // expected-error @below {{'rt.index' op expected the index to be c or an expression of r and k, but got affine_map<(d0, d1, d2) -> (d2 * 2)>}}
  %0 = rt.index affine_map<(r, k, c) -> (c * 2)> : i32
  return
}

// -----

func.func @yield_outside(%x: f32) {
  // expected-error @below {{'rt.yield' op expects parent op to be one of 'rt.fused, rt.tiles'}}
  "rt.yield"(%x) : (f32) -> ()
  return
}

// -----

func.func @attention_rank(%x: tensor<f32>) {
  // expected-error @below {{'rt.attention' op operand #0 must be variadic of 3D tensor of 32-bit float or 64-bit float or bfloat16 type values, but got 'tensor<f32>'}}
  %0 = rt.attention %x heads 1 scale 1.0 : (tensor<f32>) -> tensor<f32>
  return
}

// -----

func.func @attention_score_bias(%p: tensor<4x6x24xf32>, %s: tensor<2x6x3xf32>) {
  // expected-error @below {{'rt.attention' op expected score_bias to be 2x6x6, but got 'tensor<2x6x3xf32>'}}
  %0 = rt.attention %p score_bias %s heads 2 scale 1.0 : (tensor<4x6x24xf32>, tensor<2x6x3xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_mask(%p: tensor<4x6x24xf32>, %s: tensor<1x3x3xf32>) {
  // expected-error @below {{'rt.attention' op expected mask to be 2x3x3, but got 'tensor<1x3x3xf32>'}}
  %0 = rt.attention %p mask %s heads 2 scale 1.0 window 3 : (tensor<4x6x24xf32>, tensor<1x3x3xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_window(%p: tensor<4x6x24xf32>) {
  // expected-error @below {{'rt.attention' op expected window to divide the tokens, 6 queries and 6 keys, but got 4}}
  %0 = rt.attention %p heads 2 scale 1.0 window 4 : (tensor<4x6x24xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_grad_scores(%d: tensor<4x6x8xf32>, %p: tensor<4x6x24xf32>, %s: tensor<2x3x3xf32>) {
  // expected-error @below {{'rt.attention_grad' op expected the gradient of the scores to be 8x6x3, but got 'tensor<8x3x3xf32>'}}
  %0:2 = rt.attention_grad %d, %p score_bias %s heads 2 scale 1.0 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<8x3x3xf32>)
  return
}

// -----

func.func @attention_statistics(%p: tensor<4x6x24xf32>) {
  // expected-error @below {{'rt.attention' op expected statistics to be 8x2x3, but got 'tensor<4x2x6xf32>'}}
  %0, %s = rt.attention %p heads 2 scale 1.0 window 3 : (tensor<4x6x24xf32>) -> (tensor<4x6x8xf32>, tensor<4x2x6xf32>)
  return
}

// -----

func.func @attention_statistics_of_biased(%p: tensor<4x6x24xf32>, %b: tensor<24xf32>) {
  // expected-error @below {{'rt.attention' op expected no bias, score_bias or mask beside statistics}}
  %0, %s = rt.attention %p bias %b heads 2 scale 1.0 : (tensor<4x6x24xf32>, tensor<24xf32>) -> (tensor<4x6x8xf32>, tensor<4x2x6xf32>)
  return
}

// -----

func.func @attention_grad_output(%d: tensor<4x6x8xf32>, %p: tensor<4x6x24xf32>, %o: tensor<4x8x6xf32>, %s: tensor<4x2x6xf32>) {
  // expected-error @below {{'rt.attention_grad' op expected output to have the shape of grad, 'tensor<4x6x8xf32>', but got 'tensor<4x8x6xf32>'}}
  %0 = rt.attention_grad %d, %p output %o statistics %s heads 2 scale 1.0 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<4x8x6xf32>, tensor<4x2x6xf32>) -> tensor<4x6x24xf32>
  return
}

// -----

func.func @attention_grad_statistics(%d: tensor<4x6x8xf32>, %p: tensor<4x6x24xf32>, %s: tensor<4x2x5xf32>) {
  // expected-error @below {{'rt.attention_grad' op expected statistics to be 4x2x6, but got 'tensor<4x2x5xf32>'}}
  %0 = rt.attention_grad %d, %p output %d statistics %s heads 2 scale 1.0 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<4x6x8xf32>, tensor<4x2x5xf32>) -> tensor<4x6x24xf32>
  return
}

// -----

func.func @attention_grad_results(%d: tensor<4x6x8xf32>, %p: tensor<4x6x24xf32>) {
  // expected-error @below {{'rt.attention_grad' op expected one result of each input's type}}
  %0:3 = rt.attention_grad %d, %p heads 2 scale 1.0 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>) -> (tensor<4x6x24xf32>, tensor<4x6x24xf32>, tensor<4x6x24xf32>)
  return
}

// -----

func.func @gemm_mixed_operands(%x: tensor<4x8xbf16>, %w: tensor<8x6xf32>) {
  // expected-error @below {{'rt.gemm' op expected b to be of 'bf16', but got 'f32'}}
  %0 = rt.gemm [4, 6, 8] %x, %w : (tensor<4x8xbf16>, tensor<8x6xf32>) -> tensor<4x6xf32>
  return
}

// -----

func.func @gemm_narrow_result(%x: tensor<4x8xf32>, %w: tensor<8x6xf32>) {
  // expected-error @below {{'rt.gemm' op expected result to be of 'f32', but got 'bf16'}}
  %0 = rt.gemm [4, 6, 8] %x, %w : (tensor<4x8xf32>, tensor<8x6xf32>) -> tensor<4x6xbf16>
  return
}

// -----

func.func @gemm_wide_result(%x: tensor<4x8xbf16>, %w: tensor<8x6xbf16>) {
  // expected-error @below {{'rt.gemm' op expected result to be of 'f32', but got 'f64'}}
  %0 = rt.gemm [4, 6, 8] %x, %w : (tensor<4x8xbf16>, tensor<8x6xbf16>) -> tensor<4x6xf64>
  return
}

// -----

func.func @narrow_sum(%x: tensor<4x8xf32>) {
  // expected-error @below {{'rt.fused' op expected result 0, a sum over k, not to be of bf16, but got 'tensor<8xbf16>'}}
  %0 = rt.fused [1, 4, 8] ins(%x : tensor<4x8xf32>) maps [affine_map<(r, k, c) -> (k, c)>] -> [affine_map<(r, k, c) -> (0, c)>] : tensor<8xbf16> {
  ^bb0(%v: f32):
    %y = arith.truncf %v : f32 to bf16
    rt.yield %y : bf16
  }
  return
}

// -----

func.func @swap_pairs_columns(%x: tensor<4x7xf32>) {
  %0 = rt.fused [4, 1, 7] ins(%x : tensor<4x7xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x7xf32> {
  ^bb0(%v: f32):
    // expected-error @below {{'rt.swap_pairs' op expected an even number of columns, but got 7}}
    %y = rt.swap_pairs %v : f32
    rt.yield %y : f32
  }
  return
}

// -----

func.func @pack_extents(%w: tensor<20x8xf32>) {
  // expected-error @below {{'rt.pack' op expected nk to have 2 entries, but got 3}}
  %0 = rt.pack [20, 8, 1] %w : tensor<20x8xf32> -> tensor<8x32xf32>
  return
}

// -----

func.func @pack_source(%w: tensor<20x8xf32>) {
  // expected-error @below {{'rt.pack' op expected source to have 168 elements, but got 160}}
  %0 = rt.pack [21, 8] %w : tensor<20x8xf32> -> tensor<8x32xf32>
  return
}

// -----

func.func @pack_packed_source(%w: tensor<20x8xf32>) {
  // expected-error @below {{'rt.pack' op expected source to have 320 elements, but got 160}}
  %0 = rt.pack [20, 8] %w packed : tensor<20x8xf32> -> tensor<8x32xf32>
  return
}

// -----

func.func @pack_packed_transposed(%w: tensor<20x16xf32>) {
  // expected-error @below {{'rt.pack' op expected a packed source not to be transposed}}
  %0 = rt.pack [20, 8] %w trans_b packed : tensor<20x16xf32> -> tensor<8x32xf32>
  return
}

// -----

func.func @pack_result(%w: tensor<20x8xf32>) {
  // expected-error @below {{'rt.pack' op expected the result to be 8x32 of 'f32', but got 'tensor<8x20xf32>'}}
  %0 = rt.pack [20, 8] %w : tensor<20x8xf32> -> tensor<8x20xf32>
  return
}

// -----

func.func @gemm_packed_transposed(%x: tensor<4x8xf32>, %p: tensor<8x32xf32>) {
  // expected-error @below {{'rt.gemm' op expected a packed b not to be transposed}}
  %0 = rt.gemm [4, 20, 8] %x, %p trans_b packed : (tensor<4x8xf32>, tensor<8x32xf32>) -> tensor<4x20xf32>
  return
}

// -----

func.func @tiles_height(%x: tensor<8x8xf32>) {
  // expected-error @below {{'rt.tiles' op expected a height from 1 to 8 units, but got 9}}
  rt.tiles [8] height 9 {
    rt.yield
  }
  return
}

// -----

func.func @tiles_rows(%x: tensor<12x8xf32>, %w: tensor<8x8xf32>) {
  rt.tiles [8] height 2 {
    // expected-error @below {{'rt.gemm' op expected an op that runs on blocks of 8 units, but its rows are not a multiple of 8}}
    %0 = rt.gemm [12, 8, 8] %x, %w : (tensor<12x8xf32>, tensor<8x8xf32>) -> tensor<12x8xf32>
    rt.yield
  }
  return
}

// -----

func.func @tiles_whole_operand(%x: tensor<8x8xf32>) {
  rt.tiles [8] height 2 {
    %0 = rt.gemm [8, 8, 8] %x, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
    // expected-error @below {{'rt.gemm' op expected an op that runs on blocks of 8 units, but an operand made inside is needed in full}}
    %1 = rt.gemm [8, 8, 8] %x, %0 : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
    rt.yield
  }
  return
}

// -----

func.func @tiles_scale(%x: tensor<8x8xf32>, %d: tensor<8x8xf32>) {
  rt.tiles [1] height 1 {
    %0 = rt.fused [1, 1, 1] ins() maps [] -> [affine_map<(r, k, c) -> (0, 0)>] : tensor<f32> {
      %one = arith.constant 1.0 : f32
      rt.yield %one : f32
    }
    // expected-error @below {{'rt.gemm' op expected an op that runs on blocks of 1 units, but it scales by a value made inside}}
    %1 = rt.gemm [8, 8, 8] %x, %x into %d accumulate %0 : (tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>, tensor<f32>) -> tensor<8x8xf32>
    rt.yield
  }
  return
}

// -----

#point = affine_map<(r, k, c) -> (r, c)>
#next = affine_map<(r, k, c) -> ((r + 1) mod 8, c)>
func.func @tiles_read(%x: tensor<8x8xf32>) {
  rt.tiles [8] height 2 {
    %0 = rt.gemm [8, 8, 8] %x, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
    // expected-error @below {{'rt.fused' op expected an op that runs on blocks of 8 units, but input 0 is read outside of the block}}
    %1 = rt.fused [8, 1, 8] ins(%0 : tensor<8x8xf32>) maps [#next] -> [#point] : tensor<8x8xf32> {
    ^bb0(%v: f32):
      rt.yield %v : f32
    }
    rt.yield
  }
  return
}

// -----

#point = affine_map<(r, k, c) -> (r, c)>
#next = affine_map<(r, k, c) -> ((r + 1) mod 8, c)>
func.func @tiles_write(%x: tensor<8x8xf32>) {
  rt.tiles [8] height 2 {
    // expected-error @below {{'rt.fused' op expected an op that runs on blocks of 8 units, but result 0 is written outside of the block}}
    %0 = rt.fused [8, 1, 8] ins(%x : tensor<8x8xf32>) maps [#point] -> [#next] : tensor<8x8xf32> {
    ^bb0(%v: f32):
      rt.yield %v : f32
    }
    rt.yield
  }
  return
}

// -----

func.func @tiles_view(%x: tensor<8x8xf32>) {
  rt.tiles [8] height 2 {
    %0 = rt.gemm [8, 8, 8] %x, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
    // expected-error @below {{'rt.view' op expected an op that runs on blocks of 8 units, but the view is of a part of a value}}
    %1 = rt.view %0 offset 8 : tensor<8x8xf32> -> tensor<2x8xf32>
    rt.yield
  }
  return
}

// -----

func.func @tiles_images(%q: tensor<4x1x8xf32>, %kv: tensor<2x17x16xf32>) {
  rt.tiles [4] height 2 {
    // expected-error @below {{'rt.attention' op expected an op that runs on blocks of 4 units, but its operands differ in their images}}
    %0 = rt.attention %q, %kv heads 2 scale 5.000000e-01 : (tensor<4x1x8xf32>, tensor<2x17x16xf32>) -> tensor<4x1x8xf32>
    rt.yield
  }
  return
}

// -----

func.func @tiles_results(%x: tensor<8x8xf32>) {
  // expected-error @below {{'rt.tiles' op expected a yielded value of each result's type}}
  %0 = rt.tiles [8] height 2 : tensor<8x8xf32> {
    rt.yield
  }
  return
}

// -----

func.func @tiles_yield(%x: tensor<8x8xf32>) {
  // expected-error @below {{'rt.tiles' op expected yielded values to be made inside}}
  %0 = rt.tiles [8] height 2 : tensor<8x8xf32> {
    rt.yield %x : tensor<8x8xf32>
  }
  return
}

// -----

func.func @gemm_quantized_rows(%a: tensor<4x16xf8E4M3FN>, %b: tensor<16x16xf8E4M3FN>) {
  // expected-error @below {{'rt.gemm' op expected operands of f8E4M3FN to be rows along k: trans_b, no trans_a}}
  %0 = rt.gemm [4, 16, 16] %a, %b : (tensor<4x16xf8E4M3FN>, tensor<16x16xf8E4M3FN>) -> tensor<4x16xf32>
  return
}

// -----

func.func @gemm_quantized_into(%a: tensor<4x16xf8E4M3FN>, %b: tensor<16x16xf8E4M3FN>, %d: tensor<4x16xf32>) {
  // expected-error @below {{'rt.gemm' op expected a product of f8E4M3FN without a batch, dest or bias}}
  %0 = rt.gemm [4, 16, 16] %a, %b trans_b into %d : (tensor<4x16xf8E4M3FN>, tensor<16x16xf8E4M3FN>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return
}

// -----

func.func @gemm_quantized_extents(%a: tensor<4x16xf8E4M3FN>, %b: tensor<10x16xf8E4M3FN>) {
  // expected-error @below {{'rt.gemm' op expected n and k of a product of f8E4M3FN to be multiples of 16, but got 10 and 16}}
  %0 = rt.gemm [4, 10, 16] %a, %b trans_b : (tensor<4x16xf8E4M3FN>, tensor<10x16xf8E4M3FN>) -> tensor<4x10xf32>
  return
}

// -----

func.func @gemm_quantized_result(%a: tensor<4x16xf8E4M3FN>, %b: tensor<16x16xf8E4M3FN>) {
  // expected-error @below {{'rt.gemm' op expected result to be of 'f32', but got 'f8E4M3FN'}}
  %0 = rt.gemm [4, 16, 16] %a, %b trans_b : (tensor<4x16xf8E4M3FN>, tensor<16x16xf8E4M3FN>) -> tensor<4x16xf8E4M3FN>
  return
}
