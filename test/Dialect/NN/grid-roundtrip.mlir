// RUN: ns-opt %s --verify-roundtrip | FileCheck %s

// Every op of NNGridOps.td, and the activations, in their assembly form.

// CHECK-LABEL: func.func @images
func.func @images(%i: tensor<?x3x4x5xf32>) {
  // CHECK: nn.image_to_tokens %{{.*}} : tensor<?x3x4x5xf32> -> tensor<?x20x3xf32>
  %0 = nn.image_to_tokens %i : tensor<?x3x4x5xf32> -> tensor<?x20x3xf32>
  // CHECK: nn.tokens_to_image %{{.*}} : tensor<?x20x3xf32> -> tensor<?x3x4x5xf32>
  %1 = nn.tokens_to_image %0 : tensor<?x20x3xf32> -> tensor<?x3x4x5xf32>
  return
}

// CHECK-LABEL: func.func @conv
func.func @conv(%x: tensor<?x20x6xf32>, %w: tensor<8x6x3x3xf32>, %b: tensor<8xf32>, %d: tensor<6x1x3x2xf32>) {
  // CHECK: nn.conv %{{.*}}, %{{.*}}, %{{.*}} grid [4, 5] stride [2, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<?x20x6xf32>, tensor<8x6x3x3xf32>, tensor<8xf32>) -> tensor<?x10x8xf32>
  %0 = nn.conv %x, %w, %b grid [4, 5] stride [2, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<?x20x6xf32>, tensor<8x6x3x3xf32>, tensor<8xf32>) -> tensor<?x10x8xf32>
  // CHECK: nn.conv %{{.*}}, %{{.*}} grid [4, 5] stride [1, 1] padding [0, 2] dilation [1, 3] groups 6 {nn.layer = "dw"} : (tensor<?x20x6xf32>, tensor<6x1x3x2xf32>) -> tensor<?x12x6xf32>
  %1 = nn.conv %x, %d grid [4, 5] stride [1, 1] padding [0, 2] dilation [1, 3] groups 6 {nn.layer = "dw"} : (tensor<?x20x6xf32>, tensor<6x1x3x2xf32>) -> tensor<?x12x6xf32>
  // CHECK: nn.conv_grad_input %{{.*}}, %{{.*}} grid [4, 5] stride [2, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<?x10x8xf32>, tensor<8x6x3x3xf32>) -> tensor<?x20x6xf32>
  %2 = nn.conv_grad_input %0, %w grid [4, 5] stride [2, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<?x10x8xf32>, tensor<8x6x3x3xf32>) -> tensor<?x20x6xf32>
  // CHECK: nn.conv_grad_weight %{{.*}}, %{{.*}} grid [4, 5] stride [2, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<?x10x8xf32>, tensor<?x20x6xf32>) -> tensor<8x6x3x3xf32>
  %3 = nn.conv_grad_weight %0, %x grid [4, 5] stride [2, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<?x10x8xf32>, tensor<?x20x6xf32>) -> tensor<8x6x3x3xf32>
  return
}

// CHECK-LABEL: func.func @max_pool
func.func @max_pool(%x: tensor<?x20x6xf32>) {
  // CHECK: nn.max_pool %{{.*}} grid [4, 5] kernel [3, 2] stride [2, 2] padding [1, 0] : tensor<?x20x6xf32> -> tensor<?x4x6xf32>
  %0 = nn.max_pool %x grid [4, 5] kernel [3, 2] stride [2, 2] padding [1, 0] : tensor<?x20x6xf32> -> tensor<?x4x6xf32>
  // CHECK: nn.max_pool_grad %{{.*}}, %{{.*}} grid [4, 5] kernel [3, 2] stride [2, 2] padding [1, 0] : tensor<?x4x6xf32>, tensor<?x20x6xf32>
  %1 = nn.max_pool_grad %0, %x grid [4, 5] kernel [3, 2] stride [2, 2] padding [1, 0] : tensor<?x4x6xf32>, tensor<?x20x6xf32>
  return
}

// CHECK-LABEL: func.func @batch_norm
func.func @batch_norm(%x: tensor<?x20x6xf32>, %f: tensor<?x6xf32>, %v: tensor<6xf32>) {
  // CHECK: nn.batch_norm %{{.*}}, %{{.*}}, %{{.*}} running %{{.*}}, %{{.*}} eps 1.000000e-05 : tensor<?x20x6xf32>, tensor<6xf32>, tensor<6xf32>, tensor<6xf32>
  %0 = nn.batch_norm %x, %v, %v running %v, %v eps 1.0e-05 : tensor<?x20x6xf32>, tensor<6xf32>, tensor<6xf32>, tensor<6xf32>
  // CHECK: nn.batch_norm %{{.*}}, %{{.*}}, %{{.*}} eps 1.000000e-05 : tensor<?x6xf32>, tensor<6xf32>
  %1 = nn.batch_norm %f, %v, %v eps 1.0e-05 : tensor<?x6xf32>, tensor<6xf32>
  // CHECK: nn.batch_norm_grad %{{.*}}, %{{.*}}, %{{.*}} running %{{.*}}, %{{.*}} eps 1.000000e-05 : tensor<?x20x6xf32>, tensor<6xf32>, tensor<6xf32>, tensor<6xf32>
  %2 = nn.batch_norm_grad %x, %x, %v running %v, %v eps 1.0e-05 : tensor<?x20x6xf32>, tensor<6xf32>, tensor<6xf32>, tensor<6xf32>
  // CHECK: nn.batch_norm_grad %{{.*}}, %{{.*}}, %{{.*}} eps 1.000000e-05 : tensor<?x20x6xf32>, tensor<6xf32>
  %3 = nn.batch_norm_grad %x, %x, %v eps 1.0e-05 : tensor<?x20x6xf32>, tensor<6xf32>
  // CHECK: nn.batch_norm_grad_params %{{.*}}, %{{.*}} running %{{.*}}, %{{.*}} eps 1.000000e-05 : tensor<?x20x6xf32>, tensor<6xf32>, tensor<6xf32> -> tensor<6xf32>
  %4, %5 = nn.batch_norm_grad_params %x, %x running %v, %v eps 1.0e-05 : tensor<?x20x6xf32>, tensor<6xf32>, tensor<6xf32> -> tensor<6xf32>
  // CHECK: nn.batch_norm_grad_params %{{.*}}, %{{.*}} eps 1.000000e-05 : tensor<?x20x6xf32> -> tensor<6xf32>
  %6, %7 = nn.batch_norm_grad_params %x, %x eps 1.0e-05 : tensor<?x20x6xf32> -> tensor<6xf32>
  // CHECK: %{{.*}}, %{{.*}} = nn.batch_stats %{{.*}} : tensor<?x20x6xf32> -> tensor<6xf32>
  %8, %9 = nn.batch_stats %x : tensor<?x20x6xf32> -> tensor<6xf32>
  return
}

// CHECK-LABEL: func.func @moves
func.func @moves(%x: tensor<?x20x6xf32>) {
  // CHECK: nn.permute_tokens %{{.*}} digits [2, 2, 5] order [2, 0, 1] : tensor<?x20x6xf32>
  %0 = nn.permute_tokens %x digits [2, 2, 5] order [2, 0, 1] : tensor<?x20x6xf32>
  // CHECK: nn.roll_tokens %{{.*}} grid [4, 5] by [-1, 2] : tensor<?x20x6xf32>
  %1 = nn.roll_tokens %x grid [4, 5] by [-1, 2] : tensor<?x20x6xf32>
  // CHECK: nn.reshape_tokens %{{.*}} : tensor<?x20x6xf32> -> tensor<?x5x24xf32>
  %2 = nn.reshape_tokens %x : tensor<?x20x6xf32> -> tensor<?x5x24xf32>
  return
}

// CHECK-LABEL: func.func @activations
func.func @activations(%x: tensor<?x20x6xf32>, %f: tensor<?x6xf32>) {
  // CHECK: nn.activation relu %{{.*}} : tensor<?x20x6xf32>
  %0 = nn.activation relu %x : tensor<?x20x6xf32>
  // CHECK: nn.activation silu %{{.*}} : tensor<?x6xf32>
  %1 = nn.activation silu %f : tensor<?x6xf32>
  // CHECK: nn.activation sigmoid
  %2 = nn.activation sigmoid %x : tensor<?x20x6xf32>
  // CHECK: nn.activation tanh
  %3 = nn.activation tanh %x : tensor<?x20x6xf32>
  // CHECK: nn.activation quick_gelu
  %4 = nn.activation quick_gelu %x : tensor<?x20x6xf32>
  // CHECK: nn.activation_grad relu %{{.*}}, %{{.*}} : tensor<?x20x6xf32>
  %5 = nn.activation_grad relu %x, %x : tensor<?x20x6xf32>
  return
}
