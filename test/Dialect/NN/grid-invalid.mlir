// RUN: ns-opt %s --split-input-file --verify-diagnostics

// Every message of the verifiers of ops on grids.

func.func @image_dynamic(%i: tensor<4x6x?x5xf32>) {
  // expected-error @below {{'nn.image_to_tokens' op expected the image's height and width to be static, but got 4x6x?x5}}
  %0 = nn.image_to_tokens %i : tensor<4x6x?x5xf32> -> tensor<4x20x6xf32>
  return
}

// -----

func.func @image_tokens(%i: tensor<4x6x4x5xf32>) {
  // expected-error @below {{'nn.image_to_tokens' op expected tokens shape to be 4x20x6, but got 4x21x6}}
  %0 = nn.image_to_tokens %i : tensor<4x6x4x5xf32> -> tensor<4x21x6xf32>
  return
}

// -----

func.func @image_types(%i: tensor<4x6x4x5xf32>) {
  // expected-error @below {{'nn.image_to_tokens' op expected element types to be 'f32', as the first operand's, but got 'f64'}}
  %0 = nn.image_to_tokens %i : tensor<4x6x4x5xf32> -> tensor<4x20x6xf64>
  return
}

// -----

func.func @tokens_image(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.tokens_to_image' op expected tokens shape to be 4x24x5, but got 4x20x6}}
  %0 = nn.tokens_to_image %x : tensor<4x20x6xf32> -> tensor<4x5x4x6xf32>
  return
}

// -----

func.func @tokens_image_dynamic(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.tokens_to_image' op expected the image's height and width to be static, but got 4x6x4x?}}
  %0 = nn.tokens_to_image %x : tensor<4x20x6xf32> -> tensor<4x6x4x?xf32>
  return
}

// -----

func.func @conv_types(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected element types to be 'f32', as the first operand's, but got 'f64'}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf64>
  return
}

// -----

func.func @conv_grid_count(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected the number of grid extents to be 2, but got 1}}
  %0 = nn.conv %x, %w grid [20] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_grid_zero(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected grid extents to be at least 1, but got 0}}
  %0 = nn.conv %x, %w grid [0, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_kernel_zero(%x: tensor<4x20x6xf32>, %w: tensor<8x6x0x3xf32>) {
  // expected-error @below {{'nn.conv' op expected kernel extents to be at least 1, but got 0}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x0x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_stride_count(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected the number of stride extents to be 2, but got 3}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_stride_zero(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected stride extents to be at least 1, but got 0}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 0] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_padding_count(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected the number of padding extents to be 2, but got 4}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1, 1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_padding_negative(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected padding extents to be at least 0, but got -1}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [-1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_dilation_count(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected the number of dilation extents to be 2, but got 1}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_dilation_zero(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected dilation extents to be at least 1, but got 0}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [0, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_kernel_beyond_grid(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected the padded grid to be at least 9, but got 6}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [4, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_grid_tokens(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected the number of tokens on the grid to be 16, but got 20}}
  %0 = nn.conv %x, %w grid [4, 4] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_windows(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected windows shape to be 4x20x8, but got 4x16x8}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x16x8xf32>
  return
}

// -----

func.func @conv_groups(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected groups to be 1 or the number of input and of output channels, 6 and 8, but got 2}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 2 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_groups_depthwise(%x: tensor<4x20x6xf32>, %w: tensor<8x1x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected groups to be 1 or the number of input and of output channels, 6 and 8, but got 6}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 6 : (tensor<4x20x6xf32>, tensor<8x1x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_weight(%x: tensor<4x20x6xf32>, %w: tensor<8x5x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected weight shape to be 8x6x3x3, but got 8x5x3x3}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x5x3x3xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_weight_depthwise(%x: tensor<4x20x6xf32>, %w: tensor<6x6x3x3xf32>) {
  // expected-error @below {{'nn.conv' op expected weight shape to be 6x1x3x3, but got 6x6x3x3}}
  %0 = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 6 : (tensor<4x20x6xf32>, tensor<6x6x3x3xf32>) -> tensor<4x20x6xf32>
  return
}

// -----

func.func @conv_bias(%x: tensor<4x20x6xf32>, %w: tensor<8x6x3x3xf32>, %b: tensor<6xf32>) {
  // expected-error @below {{'nn.conv' op expected bias shape to be 8, but got 6}}
  %0 = nn.conv %x, %w, %b grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x6xf32>, tensor<8x6x3x3xf32>, tensor<6xf32>) -> tensor<4x20x8xf32>
  return
}

// -----

func.func @conv_grad_input_windows(%x: tensor<4x16x8xf32>, %w: tensor<8x6x3x3xf32>) {
  // expected-error @below {{'nn.conv_grad_input' op expected windows shape to be 4x20x8, but got 4x16x8}}
  %0 = nn.conv_grad_input %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x16x8xf32>, tensor<8x6x3x3xf32>) -> tensor<4x20x6xf32>
  return
}

// -----

func.func @conv_grad_input_weight(%x: tensor<4x20x8xf32>, %w: tensor<8x5x3x3xf32>) {
  // expected-error @below {{'nn.conv_grad_input' op expected weight shape to be 8x6x3x3, but got 8x5x3x3}}
  %0 = nn.conv_grad_input %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x8xf32>, tensor<8x5x3x3xf32>) -> tensor<4x20x6xf32>
  return
}

// -----

func.func @conv_grad_weight_windows(%x: tensor<4x16x8xf32>, %w: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.conv_grad_weight' op expected windows shape to be 4x20x8, but got 4x16x8}}
  %0 = nn.conv_grad_weight %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x16x8xf32>, tensor<4x20x6xf32>) -> tensor<8x6x3x3xf32>
  return
}

// -----

func.func @conv_grad_weight_result(%x: tensor<4x20x8xf32>, %w: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.conv_grad_weight' op expected weight shape to be 8x6x3x3, but got 8x5x3x3}}
  %0 = nn.conv_grad_weight %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x8xf32>, tensor<4x20x6xf32>) -> tensor<8x5x3x3xf32>
  return
}

// -----

func.func @pool_kernel_count(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.max_pool' op expected the number of kernel extents to be 2, but got 1}}
  %0 = nn.max_pool %x grid [4, 5] kernel [3] stride [2, 2] padding [1, 1] : tensor<4x20x6xf32> -> tensor<4x6x6xf32>
  return
}

// -----

func.func @pool_windows(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.max_pool' op expected windows shape to be 4x6x6, but got 4x4x6}}
  %0 = nn.max_pool %x grid [4, 5] kernel [3, 3] stride [2, 2] padding [1, 1] : tensor<4x20x6xf32> -> tensor<4x4x6xf32>
  return
}

// -----

func.func @pool_padding(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.max_pool' op expected padding to be at most half the kernel, 1, but got 2}}
  %0 = nn.max_pool %x grid [4, 5] kernel [3, 3] stride [1, 1] padding [2, 1] : tensor<4x20x6xf32> -> tensor<4x30x6xf32>
  return
}

// -----

func.func @pool_channels(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.max_pool' op expected the number of channels to be 6, but got 7}}
  %0 = nn.max_pool %x grid [4, 5] kernel [3, 3] stride [2, 2] padding [1, 1] : tensor<4x20x6xf32> -> tensor<4x6x7xf32>
  return
}

// -----

func.func @pool_grad_windows(%x: tensor<4x20x6xf32>, %y: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.max_pool_grad' op expected windows shape to be 4x6x6, but got 4x20x6}}
  %0 = nn.max_pool_grad %y, %x grid [4, 5] kernel [3, 3] stride [2, 2] padding [1, 1] : tensor<4x20x6xf32>, tensor<4x20x6xf32>
  return
}

// -----

func.func @batch_norm_gamma(%x: tensor<4x20x6xf32>, %g: tensor<5xf32>, %v: tensor<6xf32>) {
  // expected-error @below {{'nn.batch_norm' op expected gamma shape to be 6, but got 5}}
  %0 = nn.batch_norm %x, %g, %g eps 0.1 : tensor<4x20x6xf32>, tensor<5xf32>
  return
}

// -----

func.func @batch_norm_mean(%x: tensor<4x20x6xf32>, %g: tensor<5xf32>, %v: tensor<6xf32>) {
  // expected-error @below {{'nn.batch_norm' op expected mean shape to be 6, but got 5}}
  %0 = nn.batch_norm %x, %v, %v running %g, %v eps 0.1 : tensor<4x20x6xf32>, tensor<6xf32>, tensor<5xf32>, tensor<6xf32>
  return
}

// -----

func.func @batch_norm_var(%x: tensor<4x20x6xf32>, %g: tensor<5xf32>, %v: tensor<6xf32>) {
  // expected-error @below {{'nn.batch_norm' op expected var shape to be 6, but got 5}}
  %0 = nn.batch_norm %x, %v, %v running %v, %g eps 0.1 : tensor<4x20x6xf32>, tensor<6xf32>, tensor<6xf32>, tensor<5xf32>
  return
}

// -----

func.func @batch_norm_types(%x: tensor<4x20x6xf32>, %g: tensor<6xf64>) {
  // expected-error @below {{'nn.batch_norm' op expected element types to be 'f32', as the first operand's, but got 'f64'}}
  %0 = nn.batch_norm %x, %g, %g eps 0.1 : tensor<4x20x6xf32>, tensor<6xf64>
  return
}

// -----

func.func @batch_norm_eps(%x: tensor<4x20x6xf32>, %g: tensor<5xf32>, %v: tensor<6xf32>) {
  // expected-error @below {{'nn.batch_norm' op expected eps to be at least 0, but got -5.000000e-01}}
  %0 = nn.batch_norm %x, %v, %v eps -0.5 : tensor<4x20x6xf32>, tensor<6xf32>
  return
}

// -----

func.func @batch_norm_grad_gamma(%x: tensor<4x20x6xf32>, %g: tensor<5xf32>, %v: tensor<6xf32>) {
  // expected-error @below {{'nn.batch_norm_grad' op expected gamma shape to be 6, but got 5}}
  %0 = nn.batch_norm_grad %x, %x, %g eps 0.1 : tensor<4x20x6xf32>, tensor<5xf32>
  return
}

// -----

func.func @batch_norm_grad_eps(%x: tensor<4x20x6xf32>, %g: tensor<5xf32>, %v: tensor<6xf32>) {
  // expected-error @below {{'nn.batch_norm_grad' op expected eps to be at least 0, but got -5.000000e-01}}
  %0 = nn.batch_norm_grad %x, %x, %v eps -0.5 : tensor<4x20x6xf32>, tensor<6xf32>
  return
}

// -----

func.func @batch_norm_grad_params_result(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.batch_norm_grad_params' op expected dgamma shape to be 6, but got 5}}
  %0, %1 = nn.batch_norm_grad_params %x, %x eps 0.1 : tensor<4x20x6xf32> -> tensor<5xf32>
  return
}

// -----

func.func @batch_norm_grad_params_eps(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.batch_norm_grad_params' op expected eps to be at least 0, but got -5.000000e-01}}
  %0, %1 = nn.batch_norm_grad_params %x, %x eps -0.5 : tensor<4x20x6xf32> -> tensor<6xf32>
  return
}

// -----

func.func @batch_stats_result(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.batch_stats' op expected mean shape to be 6, but got 5}}
  %0, %1 = nn.batch_stats %x : tensor<4x20x6xf32> -> tensor<5xf32>
  return
}

// -----

func.func @permute_order_length(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.permute_tokens' op expected the length of order to be 2, but got 1}}
  %0 = nn.permute_tokens %x digits [4, 5] order [0] : tensor<4x20x6xf32>
  return
}

// -----

func.func @permute_digit(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.permute_tokens' op expected digits to be at least 1, but got 0}}
  %0 = nn.permute_tokens %x digits [0, 20] order [0, 1] : tensor<4x20x6xf32>
  return
}

// -----

func.func @permute_order_range(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.permute_tokens' op expected order to be in [0, 2), but got 2}}
  %0 = nn.permute_tokens %x digits [4, 5] order [0, 2] : tensor<4x20x6xf32>
  return
}

// -----

func.func @permute_order_twice(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.permute_tokens' op expected order to be a permutation, but got 1 twice}}
  %0 = nn.permute_tokens %x digits [4, 5] order [1, 1] : tensor<4x20x6xf32>
  return
}

// -----

func.func @permute_tokens(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.permute_tokens' op expected the number of tokens to be 16, but got 20}}
  %0 = nn.permute_tokens %x digits [4, 4] order [1, 0] : tensor<4x20x6xf32>
  return
}

// -----

func.func @roll_grid_count(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.roll_tokens' op expected the number of grid extents to be 2, but got 1}}
  %0 = nn.roll_tokens %x grid [20] by [1, 1] : tensor<4x20x6xf32>
  return
}

// -----

func.func @roll_shifts(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.roll_tokens' op expected the number of shifts to be 2, but got 1}}
  %0 = nn.roll_tokens %x grid [4, 5] by [1] : tensor<4x20x6xf32>
  return
}

// -----

func.func @roll_tokens(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.roll_tokens' op expected the number of tokens to be 16, but got 20}}
  %0 = nn.roll_tokens %x grid [4, 4] by [1, 1] : tensor<4x20x6xf32>
  return
}

// -----

func.func @reshape_images(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.reshape_tokens' op expected the number of images to be 4, but got 2}}
  %0 = nn.reshape_tokens %x : tensor<4x20x6xf32> -> tensor<2x40x6xf32>
  return
}

// -----

func.func @reshape_elements(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.reshape_tokens' op expected the number of elements of an image to be 120, but got 140}}
  %0 = nn.reshape_tokens %x : tensor<4x20x6xf32> -> tensor<4x20x7xf32>
  return
}

// -----

func.func @reshape_types(%x: tensor<4x20x6xf32>) {
  // expected-error @below {{'nn.reshape_tokens' op expected element types to be 'f32', as the first operand's, but got 'f64'}}
  %0 = nn.reshape_tokens %x : tensor<4x20x6xf32> -> tensor<4x20x6xf64>
  return
}
