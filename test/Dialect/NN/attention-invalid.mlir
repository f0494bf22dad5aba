// RUN: ns-opt %s --split-input-file --verify-diagnostics

// Messages of the verifiers of attention, positions, gates, concatenations and dropout.

func.func @attention_bias(%p: tensor<4x6x24xf32>, %b: tensor<2x6x5xf32>) {
  // expected-error @below {{'nn.attention' op expected bias shape to be 2x6x6, but got 2x6x5}}
  %0 = nn.attention %p bias %b heads 2 scale 1.0 : (tensor<4x6x24xf32>, tensor<2x6x5xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_bias_of_window(%p: tensor<4x6x24xf32>, %b: tensor<2x6x6xf32>) {
  // expected-error @below {{'nn.attention' op expected bias shape to be 2x3x3, but got 2x6x6}}
  %0 = nn.attention %p bias %b heads 2 scale 1.0 window 3 : (tensor<4x6x24xf32>, tensor<2x6x6xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_mask(%p: tensor<4x6x24xf32>, %m: tensor<2x6x6xf32>) {
  // expected-error @below {{'nn.attention' op expected mask shape to be 1x6x6, but got 2x6x6}}
  %0 = nn.attention %p mask %m heads 2 scale 1.0 : (tensor<4x6x24xf32>, tensor<2x6x6xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_mask_of_windows(%p: tensor<4x6x24xf32>, %m: tensor<1x3x3xf32>) {
  // expected-error @below {{'nn.attention' op expected mask shape to be 2x3x3, but got 1x3x3}}
  %0 = nn.attention %p mask %m heads 2 scale 1.0 window 3 : (tensor<4x6x24xf32>, tensor<1x3x3xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_bias_type(%p: tensor<4x6x24xf32>, %b: tensor<2x6x6xf64>) {
  // expected-error @below {{'nn.attention' op expected element types to be 'f32', as the first operand's, but got 'f64'}}
  %0 = nn.attention %p bias %b heads 2 scale 1.0 : (tensor<4x6x24xf32>, tensor<2x6x6xf64>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_window_zero(%p: tensor<4x6x24xf32>) {
  // expected-error @below {{'nn.attention' op expected window to be at least 1, but got 0}}
  %0 = nn.attention %p heads 2 scale 1.0 window 0 : (tensor<4x6x24xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_window_multiple(%p: tensor<4x6x24xf32>) {
  // expected-error @below {{'nn.attention' op expected the number of tokens to be a multiple of 4, but got 6}}
  %0 = nn.attention %p heads 2 scale 1.0 window 4 : (tensor<4x6x24xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @attention_window_queries(%q: tensor<4x3x8xf32>, %kv: tensor<4x6x16xf32>) {
  // expected-error @below {{'nn.attention' op expected the number of keys to be 3, but got 6}}
  %0 = nn.attention %q, %kv heads 2 scale 1.0 window 3 : (tensor<4x3x8xf32>, tensor<4x6x16xf32>) -> tensor<4x3x8xf32>
  return
}

// -----

func.func @attention_grad_bias(%d: tensor<4x6x8xf32>, %p: tensor<4x6x24xf32>, %b: tensor<2x6x6xf32>) {
  // expected-error @below {{'nn.attention_grad' op expected the gradient of the bias shape to be 2x6x6, but got 2x6x5}}
  %0:2 = nn.attention_grad %d, %p bias %b heads 2 scale 1.0 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x6x6xf32>) -> (tensor<4x6x24xf32>, tensor<2x6x5xf32>)
  return
}

// -----

func.func @attention_grad_count(%d: tensor<4x6x8xf32>, %p: tensor<4x6x24xf32>, %b: tensor<2x6x6xf32>) {
  // expected-error @below {{'nn.attention_grad' op expected the number of results to be in [1, 3), but got 3}}
  %0:3 = nn.attention_grad %d, %p bias %b heads 2 scale 1.0 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x6x6xf32>) -> (tensor<4x6x24xf32>, tensor<2x6x6xf32>, tensor<2x6x6xf32>)
  return
}

// -----

func.func @relative_bias_rows(%t: tensor<8x2xf32>) {
  // expected-error @below {{'nn.relative_bias' op expected the number of the table's rows to be 9, but got 8}}
  %0 = nn.relative_bias %t grid [2, 2] prefix 0 : tensor<8x2xf32> -> tensor<2x4x4xf32>
  return
}

// -----

func.func @relative_bias_rows_of_prefix(%t: tensor<9x2xf32>) {
  // expected-error @below {{'nn.relative_bias' op expected the number of the table's rows to be 12, but got 9}}
  %0 = nn.relative_bias %t grid [2, 2] prefix 1 : tensor<9x2xf32> -> tensor<2x5x5xf32>
  return
}

// -----

func.func @relative_bias_prefix(%t: tensor<15x2xf32>) {
  // expected-error @below {{'nn.relative_bias' op expected prefix to be in [0, 2), but got 2}}
  %0 = nn.relative_bias %t grid [2, 2] prefix 2 : tensor<15x2xf32> -> tensor<2x6x6xf32>
  return
}

// -----

func.func @relative_bias_grid(%t: tensor<9x2xf32>) {
  // expected-error @below {{'nn.relative_bias' op expected the number of grid extents to be 2, but got 1}}
  %0 = nn.relative_bias %t grid [4] prefix 0 : tensor<9x2xf32> -> tensor<2x4x4xf32>
  return
}

// -----

func.func @relative_bias_grid_zero(%t: tensor<9x2xf32>) {
  // expected-error @below {{'nn.relative_bias' op expected grid extents to be at least 1, but got 0}}
  %0 = nn.relative_bias %t grid [0, 4] prefix 0 : tensor<9x2xf32> -> tensor<2x4x4xf32>
  return
}

// -----

func.func @relative_bias_result(%t: tensor<9x2xf32>) {
  // expected-error @below {{'nn.relative_bias' op expected bias shape to be 2x4x4, but got 3x4x4}}
  %0 = nn.relative_bias %t grid [2, 2] prefix 0 : tensor<9x2xf32> -> tensor<3x4x4xf32>
  return
}

// -----

func.func @relative_bias_grad_result(%d: tensor<2x4x4xf32>) {
  // expected-error @below {{'nn.relative_bias_grad' op expected the number of the table's rows to be 9, but got 12}}
  %0 = nn.relative_bias_grad %d grid [2, 2] prefix 0 : tensor<2x4x4xf32> -> tensor<12x2xf32>
  return
}

// -----

func.func @rotary_heads(%x: tensor<4x6x8xf32>, %s: tensor<6x8xf32>) {
  // expected-error @below {{'nn.rotary' op expected heads to be at least 1, but got 0}}
  %0 = nn.rotary %x, %s, %s heads 0 prefix 0 : tensor<4x6x8xf32>, tensor<6x8xf32>
  return
}

// -----

func.func @rotary_odd(%x: tensor<4x6x8xf32>, %s: tensor<6x1xf32>) {
  // expected-error @below {{'nn.rotary' op expected the number of channels to be a multiple of 16, but got 8}}
  %0 = nn.rotary %x, %s, %s heads 8 prefix 0 : tensor<4x6x8xf32>, tensor<6x1xf32>
  return
}

// -----

func.func @rotary_prefix(%x: tensor<4x6x8xf32>, %s: tensor<1x8xf32>) {
  // expected-error @below {{'nn.rotary' op expected prefix to be in [0, 6), but got 6}}
  %0 = nn.rotary %x, %s, %s heads 1 prefix 6 : tensor<4x6x8xf32>, tensor<1x8xf32>
  return
}

// -----

func.func @rotary_tables(%x: tensor<4x6x8xf32>, %s: tensor<6x4xf32>) {
  // expected-error @below {{'nn.rotary' op expected sin and cos shape to be 5x4, but got 6x4}}
  %0 = nn.rotary %x, %s, %s heads 2 prefix 1 : tensor<4x6x8xf32>, tensor<6x4xf32>
  return
}

// -----

func.func @dropout_rate(%x: tensor<4x6x8xf32>, %s: tensor<1xi32>) {
  // expected-error @below {{'nn.dropout' op expected rate to be in [0, 1), but got 1.000000e+00}}
  %0 = nn.dropout element %x, %s rate 1.0 stream 0 : tensor<4x6x8xf32>, tensor<1xi32>
  return
}

// -----

func.func @dropout_seeds(%x: tensor<4x6x8xf32>, %s: tensor<2xi32>) {
  // expected-error @below {{'nn.dropout' op expected the number of seeds to be 1, but got 2}}
  %0 = nn.dropout image %x, %s rate 0.1 stream 0 : tensor<4x6x8xf32>, tensor<2xi32>
  return
}

// -----

func.func @dropout_stream(%x: tensor<4x6x8xf32>, %s: tensor<1xi32>) {
  // expected-error @below {{'nn.dropout' op expected stream to be at least 0, but got -1}}
  %0 = nn.dropout image %x, %s rate 0.1 stream -1 : tensor<4x6x8xf32>, tensor<1xi32>
  return
}

// -----

func.func @mul_shape(%x: tensor<4x6x8xf32>, %y: tensor<4x6x4xf32>) {
  // expected-error @below {{'nn.mul' op expected rhs shape to be 4x6x8, but got 4x6x4}}
  %0 = nn.mul %x, %y : tensor<4x6x8xf32>, tensor<4x6x4xf32>
  return
}

// -----

func.func @mul_type(%x: tensor<4x6x8xf32>, %y: tensor<4x6x8xf64>) {
  // expected-error @below {{'nn.mul' op expected element types to be 'f32', as the first operand's, but got 'f64'}}
  %0 = nn.mul %x, %y : tensor<4x6x8xf32>, tensor<4x6x8xf64>
  return
}

// -----

func.func @concat_channels_rank(%x: tensor<4x6x8xf32>, %z: tensor<4x8xf32>) {
  // expected-error @below {{'nn.concat_channels' op expected the rank of an operand to be 3, but got 2}}
  %0 = nn.concat_channels %x, %z : (tensor<4x6x8xf32>, tensor<4x8xf32>) -> tensor<4x6x16xf32>
  return
}

// -----

func.func @concat_channels_tokens(%x: tensor<4x6x8xf32>, %y: tensor<4x5x8xf32>) {
  // expected-error @below {{'nn.concat_channels' op expected operand shape to be 4x6x8, but got 4x5x8}}
  %0 = nn.concat_channels %x, %y : (tensor<4x6x8xf32>, tensor<4x5x8xf32>) -> tensor<4x6x16xf32>
  return
}

// -----

func.func @concat_channels_result(%x: tensor<4x6x8xf32>) {
  // expected-error @below {{'nn.concat_channels' op expected result shape to be 4x6x16, but got 4x6x24}}
  %0 = nn.concat_channels %x, %x : (tensor<4x6x8xf32>, tensor<4x6x8xf32>) -> tensor<4x6x24xf32>
  return
}

// -----

func.func @concat_channels_none() {
  // expected-error @below {{'nn.concat_channels' op expected the number of operands to be at least 1, but got 0}}
  %0 = nn.concat_channels : () -> tensor<4x6x8xf32>
  return
}

// -----

func.func @concat_rows_width(%a: tensor<4x8xf32>, %b: tensor<4x6xf32>) {
  // expected-error @below {{'nn.concat_rows' op expected operand shape to be 4x8, but got 4x6}}
  %0 = nn.concat_rows %a, %b : (tensor<4x8xf32>, tensor<4x6xf32>) -> tensor<8x8xf32>
  return
}

// -----

func.func @concat_rows_dynamic(%a: tensor<?x8xf32>) {
  // expected-error @below {{'nn.concat_rows' op expected the joined extents to be static, but got ?x8}}
  %0 = nn.concat_rows %a, %a : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @concat_rows_result(%a: tensor<4xf32>) {
  // expected-error @below {{'nn.concat_rows' op expected result shape to be 8, but got 4}}
  %0 = nn.concat_rows %a, %a : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @expand_batch_input(%x: tensor<4x6x8xf32>) {
  // expected-error @below {{'nn.expand_batch' op expected the batch of the input to be 1, but got 4}}
  %0 = nn.expand_batch %x like %x : (tensor<4x6x8xf32>, tensor<4x6x8xf32>) -> tensor<4x6x8xf32>
  return
}

// -----

func.func @expand_batch_result(%q: tensor<1x2x8xf32>, %x: tensor<4x6x8xf32>) {
  // expected-error @below {{'nn.expand_batch' op expected result shape to be 4x2x8, but got 5x2x8}}
  %0 = nn.expand_batch %q like %x : (tensor<1x2x8xf32>, tensor<4x6x8xf32>) -> tensor<5x2x8xf32>
  return
}

// -----

func.func @expand_batch_scalar(%q: tensor<f32>, %x: tensor<4x6x8xf32>) {
  // expected-error @below {{'nn.expand_batch' op expected the rank to be at least 1, but got 0}}
  %0 = nn.expand_batch %q like %x : (tensor<f32>, tensor<4x6x8xf32>) -> tensor<f32>
  return
}
