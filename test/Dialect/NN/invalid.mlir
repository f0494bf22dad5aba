// RUN: ns-opt %s --split-input-file --verify-diagnostics

// Every message of the nn dialect's verifiers.

// expected-error @below {{'nn.param' op expected the parameter's shape to be static, but got 'tensor<?x4xf32>'}}
nn.param @w : tensor<?x4xf32>

// -----

func.func @load_of_nothing() {
  // expected-error @below {{'nn.load_param' op expected @w to be an nn.param, but got none of that name}}
  %0 = nn.load_param @w : tensor<4xf32>
  return
}

// -----

// expected-note @below {{declared here}}
nn.param @w : tensor<4xf32>
func.func @load_of_other_type() {
  // expected-error @below {{'nn.load_param' op expected the result type to be 'tensor<4xf32>', the parameter's, but got 'tensor<8xf32>'}}
  %0 = nn.load_param @w : tensor<8xf32>
  return
}

// -----

func.func @normalize_mean_count(%i: tensor<4x3x32x32xf32>) {
  // expected-error @below {{'nn.normalize' op expected the number of mean values to be 3, but got 1}}
  %0 = nn.normalize %i mean [0.5] std [0.5, 0.5, 0.5] : tensor<4x3x32x32xf32>
  return
}

// -----

func.func @normalize_std_count(%i: tensor<4x3x32x32xf32>) {
  // expected-error @below {{'nn.normalize' op expected the number of std values to be 3, but got 2}}
  %0 = nn.normalize %i mean [0.5, 0.5, 0.5] std [0.5, 0.5] : tensor<4x3x32x32xf32>
  return
}

// -----

func.func @normalize_std_zero(%i: tensor<4x3x32x32xf32>) {
  // expected-error @below {{'nn.normalize' op expected std to be positive, but got 0.000000e+00}}
  %0 = nn.normalize %i mean [0.5, 0.5, 0.5] std [0.5, 0.0, 0.5] : tensor<4x3x32x32xf32>
  return
}

// -----

func.func @normalize_grad_std_count(%i: tensor<4x3x32x32xf32>) {
  // expected-error @below {{'nn.normalize_grad' op expected the number of std values to be 3, but got 1}}
  %0 = nn.normalize_grad %i std [0.5] : tensor<4x3x32x32xf32>
  return
}

// -----

func.func @patch_rank(%i: tensor<4x3x32x32xf32>, %w: tensor<8x3x8x8xf32>) {
  // expected-error @below {{'nn.patch_embed' op expected the number of patch extents to be 2, but got 1}}
  %0 = nn.patch_embed %i, %w patch [8] : (tensor<4x3x32x32xf32>, tensor<8x3x8x8xf32>) -> tensor<4x16x8xf32>
  return
}

// -----

func.func @patch_zero(%i: tensor<4x3x32x32xf32>, %w: tensor<8x3x8x8xf32>) {
  // expected-error @below {{'nn.patch_embed' op expected patch extents to be at least 1, but got 0}}
  %0 = nn.patch_embed %i, %w patch [8, 0] : (tensor<4x3x32x32xf32>, tensor<8x3x8x8xf32>) -> tensor<4x16x8xf32>
  return
}

// -----

func.func @patch_kernel(%i: tensor<4x3x32x32xf32>, %w: tensor<8x1x8x8xf32>) {
  // expected-error @below {{'nn.patch_embed' op expected weight shape to be 8x3x8x8, but got 8x1x8x8}}
  %0 = nn.patch_embed %i, %w patch [8, 8] : (tensor<4x3x32x32xf32>, tensor<8x1x8x8xf32>) -> tensor<4x16x8xf32>
  return
}

// -----

func.func @patch_image_dynamic(%i: tensor<4x3x?x32xf32>, %w: tensor<8x3x8x8xf32>) {
  // expected-error @below {{'nn.patch_embed' op expected the image's height and width to be static, but got 4x3x?x32}}
  %0 = nn.patch_embed %i, %w patch [8, 8] : (tensor<4x3x?x32xf32>, tensor<8x3x8x8xf32>) -> tensor<4x16x8xf32>
  return
}

// -----

func.func @patch_larger_than_image(%i: tensor<4x3x4x32xf32>, %w: tensor<8x3x8x8xf32>) {
  // expected-error @below {{'nn.patch_embed' op expected the image's height to be at least 8, but got 4}}
  %0 = nn.patch_embed %i, %w patch [8, 8] : (tensor<4x3x4x32xf32>, tensor<8x3x8x8xf32>) -> tensor<4x16x8xf32>
  return
}

// -----

func.func @patch_tokens(%i: tensor<4x3x32x32xf32>, %w: tensor<8x3x8x8xf32>) {
  // expected-error @below {{'nn.patch_embed' op expected tokens shape to be 4x16x8, but got 4x17x8}}
  %0 = nn.patch_embed %i, %w patch [8, 8] : (tensor<4x3x32x32xf32>, tensor<8x3x8x8xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @patch_bias(%i: tensor<4x3x32x32xf32>, %w: tensor<8x3x8x8xf32>, %b: tensor<3xf32>) {
  // expected-error @below {{'nn.patch_embed' op expected bias shape to be 8, but got 3}}
  %0 = nn.patch_embed %i, %w, %b patch [8, 8] : (tensor<4x3x32x32xf32>, tensor<8x3x8x8xf32>, tensor<3xf32>) -> tensor<4x16x8xf32>
  return
}

// -----

func.func @patch_grad_input(%d: tensor<4x15x8xf32>, %w: tensor<8x3x8x8xf32>) {
  // expected-error @below {{'nn.patch_embed_grad_input' op expected tokens shape to be 4x16x8, but got 4x15x8}}
  %0 = nn.patch_embed_grad_input %d, %w patch [8, 8] : (tensor<4x15x8xf32>, tensor<8x3x8x8xf32>) -> tensor<4x3x32x32xf32>
  return
}

// -----

func.func @patch_grad_weight(%d: tensor<4x16x8xf32>, %i: tensor<4x3x32x32xf32>) {
  // expected-error @below {{'nn.patch_embed_grad_weight' op expected tokens shape to be 4x16x9, but got 4x16x8}}
  %0 = nn.patch_embed_grad_weight %d, %i patch [8, 8] : (tensor<4x16x8xf32>, tensor<4x3x32x32xf32>) -> tensor<9x3x8x8xf32>
  return
}

// -----

func.func @linear_inner(%x: tensor<4x17x64xf32>, %w: tensor<8x32xf32>) {
  // expected-error @below {{'nn.linear' op expected weight dimension 1 to be 64, but got 32}}
  %0 = nn.linear %x, %w : (tensor<4x17x64xf32>, tensor<8x32xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @linear_bias(%x: tensor<4x17x64xf32>, %w: tensor<8x64xf32>, %b: tensor<9xf32>) {
  // expected-error @below {{'nn.linear' op expected bias shape to be 8, but got 9}}
  %0 = nn.linear %x, %w, %b : (tensor<4x17x64xf32>, tensor<8x64xf32>, tensor<9xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @linear_result(%x: tensor<4x17x64xf32>, %w: tensor<8x64xf32>) {
  // expected-error @below {{'nn.linear' op expected result shape to be 4x17x8, but got 4x16x8}}
  %0 = nn.linear %x, %w : (tensor<4x17x64xf32>, tensor<8x64xf32>) -> tensor<4x16x8xf32>
  return
}

// -----

func.func @linear_mixed_precision(%x: tensor<4x17x64xf32>, %w: tensor<8x64xf64>) {
  // expected-error @below {{'nn.linear' op expected element types to be 'f32', as the first operand's, but got 'f64'}}
  %0 = nn.linear %x, %w : (tensor<4x17x64xf32>, tensor<8x64xf64>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @layer_norm_eps(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.layer_norm' op expected eps to be at least 0, but got -1.000000e+00}}
  %0 = nn.layer_norm %x eps -1.0 : tensor<4x17x64xf32>
  return
}

// -----

func.func @layer_norm_groups(%x: tensor<4x17x64xf32>, %g: tensor<48xf32>) {
  // expected-error @below {{'nn.layer_norm' op expected the number of channels to be a multiple of 48, but got 64}}
  %0 = nn.layer_norm %x, %g, %g eps 0.0 : tensor<4x17x64xf32>, tensor<48xf32>, tensor<48xf32>
  return
}

// -----

func.func @layer_norm_beta(%x: tensor<4x17x64xf32>, %g: tensor<64xf32>, %b: tensor<32xf32>) {
  // expected-error @below {{'nn.layer_norm' op expected beta shape to be 64, but got 32}}
  %0 = nn.layer_norm %x, %g, %b eps 0.0 : tensor<4x17x64xf32>, tensor<64xf32>, tensor<32xf32>
  return
}

// -----

func.func @layer_norm_grad_groups(%x: tensor<4x17x64xf32>, %g: tensor<48xf32>) {
  // expected-error @below {{'nn.layer_norm_grad' op expected the number of channels to be a multiple of 48, but got 64}}
  %0 = nn.layer_norm_grad %x, %x, %g eps 0.0 : tensor<4x17x64xf32>, tensor<48xf32>
  return
}

// -----

func.func @layer_norm_grad_params_groups(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.layer_norm_grad_params' op expected the number of channels to be a multiple of 48, but got 64}}
  %0, %1 = nn.layer_norm_grad_params %x, %x eps 0.0 : tensor<4x17x64xf32> -> tensor<48xf32>
  return
}

// -----

func.func @attention_inputs(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.attention' op expected the number of inputs to be in [1, 4), but got 4}}
  %0 = nn.attention %x, %x, %x, %x heads 4 scale 1.0 : (tensor<4x17x64xf32>, tensor<4x17x64xf32>, tensor<4x17x64xf32>, tensor<4x17x64xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @attention_no_heads(%x: tensor<4x17x192xf32>) {
  // expected-error @below {{'nn.attention' op expected heads to be at least 1, but got 0}}
  %0 = nn.attention %x heads 0 scale 1.0 : (tensor<4x17x192xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @attention_packed(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.attention' op expected the number of packed channels to be a multiple of 3, but got 64}}
  %0 = nn.attention %x heads 4 scale 1.0 : (tensor<4x17x64xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @attention_heads(%x: tensor<4x17x192xf32>) {
  // expected-error @below {{'nn.attention' op expected the number of channels to be a multiple of 5, but got 64}}
  %0 = nn.attention %x heads 5 scale 1.0 : (tensor<4x17x192xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @attention_packed_key_value(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.attention' op expected packed key and value shape to be 4x17x128, but got 4x17x64}}
  %0 = nn.attention %x, %x heads 4 scale 1.0 : (tensor<4x17x64xf32>, tensor<4x17x64xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @attention_key(%x: tensor<4x17x64xf32>, %k: tensor<4x17x32xf32>) {
  // expected-error @below {{'nn.attention' op expected key shape to be 4x17x64, but got 4x17x32}}
  %0 = nn.attention %x, %k, %x heads 4 scale 1.0 : (tensor<4x17x64xf32>, tensor<4x17x32xf32>, tensor<4x17x64xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @attention_value(%x: tensor<4x17x64xf32>, %v: tensor<4x16x64xf32>) {
  // expected-error @below {{'nn.attention' op expected key shape to be 4x16x64, but got 4x17x64}}
  %0 = nn.attention %x, %x, %v heads 4 scale 1.0 : (tensor<4x17x64xf32>, tensor<4x17x64xf32>, tensor<4x16x64xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @attention_result(%x: tensor<4x17x192xf32>) {
  // expected-error @below {{'nn.attention' op expected result shape to be 4x17x64, but got 4x17x192}}
  %0 = nn.attention %x heads 4 scale 1.0 : (tensor<4x17x192xf32>) -> tensor<4x17x192xf32>
  return
}

// -----

func.func @attention_grad_count(%d: tensor<4x17x64xf32>, %x: tensor<4x17x192xf32>) {
  // expected-error @below {{'nn.attention_grad' op expected the number of results to be in [1, 2), but got 2}}
  %0:2 = nn.attention_grad %d, %x heads 4 scale 1.0 : (tensor<4x17x64xf32>, tensor<4x17x192xf32>) -> (tensor<4x17x64xf32>, tensor<4x17x64xf32>)
  return
}

// -----

func.func @attention_grad_result(%d: tensor<4x17x64xf32>, %x: tensor<4x17x192xf32>) {
  // expected-error @below {{'nn.attention_grad' op expected result shape to be 4x17x192, but got 4x17x64}}
  %0 = nn.attention_grad %d, %x heads 4 scale 1.0 : (tensor<4x17x64xf32>, tensor<4x17x192xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @add_shapes(%x: tensor<4x17x64xf32>, %y: tensor<2x17x64xf32>) {
  // expected-error @below {{'nn.add' op expected rhs shape to be 4x17x64, but got 2x17x64}}
  %0 = nn.add %x, %y : tensor<4x17x64xf32>, tensor<2x17x64xf32>
  return
}

// -----

func.func @layer_scale_gamma(%x: tensor<4x17x64xf32>, %g: tensor<32xf32>) {
  // expected-error @below {{'nn.layer_scale' op expected gamma shape to be 64, but got 32}}
  %0 = nn.layer_scale %x, %g : tensor<4x17x64xf32>, tensor<32xf32>
  return
}

// -----

func.func @layer_scale_grad_gamma(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.layer_scale_grad_gamma' op expected result shape to be 64, but got 32}}
  %0 = nn.layer_scale_grad_gamma %x, %x : tensor<4x17x64xf32> -> tensor<32xf32>
  return
}

// -----

func.func @prepend_nothing(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.prepend_tokens' op expected the number of operands to be at least 2, but got 1}}
  %0 = nn.prepend_tokens %x,  : (tensor<4x17x64xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @prepend_batched(%x: tensor<4x17x64xf32>, %c: tensor<4x1x64xf32>) {
  // expected-error @below {{'nn.prepend_tokens' op expected prepended tokens shape to be 1x1x64, but got 4x1x64}}
  %0 = nn.prepend_tokens %x, %c : (tensor<4x17x64xf32>, tensor<4x1x64xf32>) -> tensor<4x18x64xf32>
  return
}

// -----

func.func @prepend_result(%x: tensor<4x17x64xf32>, %c: tensor<1x2x64xf32>) {
  // expected-error @below {{'nn.prepend_tokens' op expected result shape to be 4x19x64, but got 4x18x64}}
  %0 = nn.prepend_tokens %x, %c : (tensor<4x17x64xf32>, tensor<1x2x64xf32>) -> tensor<4x18x64xf32>
  return
}

// -----

func.func @select_index(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.select_token' op expected index to be in [0, 17), but got 17}}
  %0 = nn.select_token %x[17] : tensor<4x17x64xf32> -> tensor<4x64xf32>
  return
}

// -----

func.func @select_result(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.select_token' op expected features shape to be 4x64, but got 4x32}}
  %0 = nn.select_token %x[0] : tensor<4x17x64xf32> -> tensor<4x32xf32>
  return
}

// -----

func.func @scatter_index(%x: tensor<4x64xf32>) {
  // expected-error @below {{'nn.scatter_token' op expected index to be in [0, 17), but got -1}}
  %0 = nn.scatter_token %x[-1] : tensor<4x64xf32> -> tensor<4x17x64xf32>
  return
}

// -----

func.func @mean_result(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.mean_tokens' op expected features shape to be 4x64, but got 4x17}}
  %0 = nn.mean_tokens %x : tensor<4x17x64xf32> -> tensor<4x17xf32>
  return
}

// -----

func.func @expand_input(%x: tensor<4x17xf32>) {
  // expected-error @below {{'nn.expand_tokens' op expected features shape to be 4x64, but got 4x17}}
  %0 = nn.expand_tokens %x : tensor<4x17xf32> -> tensor<4x17x64xf32>
  return
}

// -----

func.func @slice_tokens_range(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.slice_tokens' op expected the start of the range to be in [0, 10), but got 10}}
  %0 = nn.slice_tokens %x from 10 : tensor<4x17x64xf32> -> tensor<4x8x64xf32>
  return
}

// -----

func.func @slice_channels_range(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.slice_channels' op expected the start of the range to be in [0, 5), but got 10}}
  %0 = nn.slice_channels %x from 10 : tensor<4x17x64xf32> -> tensor<4x17x60xf32>
  return
}

// -----

func.func @slice_rows_range(%w: tensor<8x4xf32>) {
  // expected-error @below {{'nn.slice_rows' op expected the start of the range to be in [0, 5), but got -1}}
  %0 = nn.slice_rows %w from -1 : tensor<8x4xf32> -> tensor<4x4xf32>
  return
}

// -----

func.func @slice_batch_shape(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.slice_batch' op expected range shape to be 2x17x64, but got 2x17x32}}
  %0 = nn.slice_batch %x from 0 : tensor<4x17x64xf32> -> tensor<2x17x32xf32>
  return
}

// -----

func.func @slice_rank(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.slice_tokens' op expected the rank of the range to be 3, but got 2}}
  %0 = nn.slice_tokens %x from 0 : tensor<4x17x64xf32> -> tensor<4x64xf32>
  return
}

// -----

func.func @slice_of_vector(%x: tensor<8xf32>) {
  // expected-error @below {{'nn.slice_tokens' op expected the rank to be at least 2, but got 1}}
  %0 = nn.slice_tokens %x from 0 : tensor<8xf32> -> tensor<8xf32>
  return
}

// -----

func.func @slice_dynamic(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.slice_tokens' op expected the extent of the range to be static, but got 4x?x64}}
  %0 = nn.slice_tokens %x from 0 : tensor<4x17x64xf32> -> tensor<4x?x64xf32>
  return
}

// -----

func.func @pad_tokens_range(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.pad_tokens' op expected the start of the range to be in [0, 4), but got 4}}
  %0 = nn.pad_tokens %x from 4 : tensor<4x17x64xf32> -> tensor<4x20x64xf32>
  return
}

// -----

func.func @pad_channels_range(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.pad_channels' op expected the start of the range to be in [0, 1), but got 1}}
  %0 = nn.pad_channels %x from 1 : tensor<4x17x64xf32> -> tensor<4x17x64xf32>
  return
}

// -----

func.func @pad_rows_range(%x: tensor<8xf32>) {
  // expected-error @below {{'nn.pad_rows' op expected the start of the range to be in [0, 9), but got 9}}
  %0 = nn.pad_rows %x from 9 : tensor<8xf32> -> tensor<16xf32>
  return
}

// -----

func.func @concat_rank(%x: tensor<4x17x64xf32>, %y: tensor<4x64xf32>) {
  // expected-error @below {{'nn.concat_batch' op expected the rank of rhs to be 3, but got 2}}
  %0 = nn.concat_batch %x, %y : (tensor<4x17x64xf32>, tensor<4x64xf32>) -> tensor<8x17x64xf32>
  return
}

// -----

func.func @concat_shape(%x: tensor<4x17x64xf32>, %y: tensor<4x17x32xf32>) {
  // expected-error @below {{'nn.concat_batch' op expected rhs shape to be 4x17x64, but got 4x17x32}}
  %0 = nn.concat_batch %x, %y : (tensor<4x17x64xf32>, tensor<4x17x32xf32>) -> tensor<8x17x64xf32>
  return
}

// -----

func.func @concat_result(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.concat_batch' op expected result shape to be 8x17x64, but got 4x17x64}}
  %0 = nn.concat_batch %x, %x : (tensor<4x17x64xf32>, tensor<4x17x64xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @cross_entropy_labels(%z: tensor<8x10xf32>, %y: tensor<3xi32>) {
  // expected-error @below {{'nn.cross_entropy' op expected the number of rows to be a multiple of 3, but got 8}}
  %0 = nn.cross_entropy %z, %y : (tensor<8x10xf32>, tensor<3xi32>) -> tensor<8xf32>
  return
}

// -----

func.func @cross_entropy_losses(%z: tensor<8x10xf32>, %y: tensor<4xi32>) {
  // expected-error @below {{'nn.cross_entropy' op expected losses shape to be 8, but got 4}}
  %0 = nn.cross_entropy %z, %y : (tensor<8x10xf32>, tensor<4xi32>) -> tensor<4xf32>
  return
}

// -----

func.func @cross_entropy_grad_result(%g: tensor<8xf32>, %z: tensor<8x10xf32>, %y: tensor<4xi32>) {
  // expected-error @below {{'nn.cross_entropy_grad' op expected result shape to be 8x10, but got 8x9}}
  %0 = nn.cross_entropy_grad %g, %z, %y : (tensor<8xf32>, tensor<8x10xf32>, tensor<4xi32>) -> tensor<8x9xf32>
  return
}

// -----

func.func @weighted_sum_weights(%l: tensor<8xf32>, %w: tensor<5xf32>) {
  // expected-error @below {{'nn.weighted_sum' op expected the number of rows to be a multiple of 5, but got 8}}
  %0 = nn.weighted_sum %l, %w : (tensor<8xf32>, tensor<5xf32>) -> tensor<f32>
  return
}

// -----

func.func @weighted_sum_grad_weights(%w: tensor<5xf32>) {
  // expected-error @below {{'nn.weighted_sum_grad' op expected the number of rows to be a multiple of 5, but got 8}}
  %0 = nn.weighted_sum_grad %w : (tensor<5xf32>) -> tensor<8xf32>
  return
}

// -----

func.func @linear_grad_input_inner(%d: tensor<4x17x64xf32>, %w: tensor<32x8xf32>) {
  // expected-error @below {{'nn.linear_grad_input' op expected weight dimension 0 to be 64, but got 32}}
  %0 = nn.linear_grad_input %d, %w : (tensor<4x17x64xf32>, tensor<32x8xf32>) -> tensor<4x17x8xf32>
  return
}

// -----

func.func @linear_grad_input_result(%d: tensor<4x17x64xf32>, %w: tensor<64x8xf32>) {
  // expected-error @below {{'nn.linear_grad_input' op expected result shape to be 4x17x8, but got 4x17x64}}
  %0 = nn.linear_grad_input %d, %w : (tensor<4x17x64xf32>, tensor<64x8xf32>) -> tensor<4x17x64xf32>
  return
}

// -----

func.func @linear_grad_weight_rank(%d: tensor<4x17x64xf32>, %x: tensor<4x8xf32>) {
  // expected-error @below {{'nn.linear_grad_weight' op expected the rank of input to be 3, but got 2}}
  %0 = nn.linear_grad_weight %d, %x : (tensor<4x17x64xf32>, tensor<4x8xf32>) -> tensor<64x8xf32>
  return
}

// -----

func.func @linear_grad_weight_rows(%d: tensor<4x17x64xf32>, %x: tensor<4x16x8xf32>) {
  // expected-error @below {{'nn.linear_grad_weight' op expected input shape to be 4x17x8, but got 4x16x8}}
  %0 = nn.linear_grad_weight %d, %x : (tensor<4x17x64xf32>, tensor<4x16x8xf32>) -> tensor<64x8xf32>
  return
}

// -----

func.func @linear_grad_weight_result(%d: tensor<4x17x64xf32>, %x: tensor<4x17x8xf32>) {
  // expected-error @below {{'nn.linear_grad_weight' op expected result shape to be 64x8, but got 8x64}}
  %0 = nn.linear_grad_weight %d, %x : (tensor<4x17x64xf32>, tensor<4x17x8xf32>) -> tensor<8x64xf32>
  return
}

// -----

func.func @sum_rows_result(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.sum_rows' op expected result shape to be 64, but got 17}}
  %0 = nn.sum_rows %x : tensor<4x17x64xf32> -> tensor<17xf32>
  return
}

// -----

func.func @sum_batch_result(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'nn.sum_batch' op expected result shape to be 1x17x64, but got 17x64}}
  %0 = nn.sum_batch %x : tensor<4x17x64xf32> -> tensor<17x64xf32>
  return
}

// -----

func.func @sum_batch_scalar(%x: tensor<f32>) {
  // expected-error @below {{'nn.sum_batch' op expected the rank to be at least 1, but got 0}}
  %0 = nn.sum_batch %x : tensor<f32> -> tensor<1xf32>
  return
}

// -----

func.func @fold_norm_bias_weight(%b: tensor<16xf32>, %w: tensor<8x16xf32>, %beta: tensor<8xf32>) {
  // expected-error @below {{'nn.fold_norm_bias' op expected weight shape to be 16x8, but got 8x16}}
  %0 = nn.fold_norm_bias %b, %w, %beta : tensor<16xf32>, tensor<8x16xf32>, tensor<8xf32>
  return
}

// -----

func.func @fold_norm_weight_gamma(%w: tensor<16x8xf32>, %g: tensor<16xf32>) {
  // expected-error @below {{'nn.fold_norm_weight' op expected gamma shape to be 8, but got 16}}
  %0 = nn.fold_norm_weight %w, %g : tensor<16x8xf32>, tensor<16xf32>
  return
}

// -----

func.func @fold_scale_weight_gamma(%w: tensor<16x8xf32>, %g: tensor<8xf32>) {
  // expected-error @below {{'nn.fold_scale_weight' op expected gamma shape to be 16, but got 8}}
  %0 = nn.fold_scale_weight %w, %g : tensor<16x8xf32>, tensor<8xf32>
  return
}

// -----

func.func @store_param_unknown(%w: tensor<8xf32>) {
  // expected-error @below {{'nn.store_param' op expected @w to be an nn.param, but got none of that name}}
  nn.store_param @w, %w : tensor<8xf32>
  return
}

// -----

// expected-note @below {{declared here}}
nn.param @w : tensor<8x8xf32>
func.func @store_param_type(%w: tensor<8xf32>) {
  // expected-error @below {{'nn.store_param' op expected the value type to be 'tensor<8x8xf32>', the parameter's, but got 'tensor<8xf32>'}}
  nn.store_param @w, %w : tensor<8xf32>
  return
}
