// RUN: ns-opt %s --ns-compute-basis --split-input-file --verify-diagnostics | FileCheck %s

// Where the first layer is not linear in the pixels there is no exact nullspace: an answer, with its reason, and no error.
// CHECK-NOT: ns.basis

// expected-remark @below {{no linear map at the input, so no exact nullspace: the first layer, nn.max_pool in layer stem.pool, is neither a patch embedding nor a convolution}}
func.func @forward(%image: tensor<?x1x2x2xf32>) -> tensor<?x1xf32> {
  %t = nn.image_to_tokens %image : tensor<?x1x2x2xf32> -> tensor<?x4x1xf32>
  %u = nn.max_pool %t grid [2, 2] kernel [2, 2] stride [2, 2] padding [0, 0] {nn.layer = "stem.pool"} : tensor<?x4x1xf32> -> tensor<?x1x1xf32>
  %z = nn.select_token %u[0] : tensor<?x1x1xf32> -> tensor<?x1xf32>
  return %z : tensor<?x1xf32>
}

// -----

nn.param @w : tensor<2x1x2x2xf32>
// expected-remark @below {{the weight of nn.patch_embed is computed, not a parameter}}
func.func @forward(%image: tensor<?x1x2x2xf32>) -> tensor<?x1xf32> {
  %w = nn.load_param @w : tensor<2x1x2x2xf32>
  %v = nn.slice_rows %w from 1 : tensor<2x1x2x2xf32> -> tensor<1x1x2x2xf32>
  %u = nn.patch_embed %image, %v patch [2, 2] : (tensor<?x1x2x2xf32>, tensor<1x1x2x2xf32>) -> tensor<?x1x1xf32>
  %z = nn.select_token %u[0] : tensor<?x1x1xf32> -> tensor<?x1xf32>
  return %z : tensor<?x1xf32>
}

// -----

nn.param @w : tensor<1x1x2x2xf32>
// expected-remark @below {{the pixels are read by 2 ops}}
func.func @forward(%image: tensor<?x1x2x2xf32>) -> tensor<?x1xf32> {
  %w = nn.load_param @w : tensor<1x1x2x2xf32>
  %u = nn.patch_embed %image, %w patch [2, 2] : (tensor<?x1x2x2xf32>, tensor<1x1x2x2xf32>) -> tensor<?x1x1xf32>
  %v = nn.patch_embed %image, %w patch [2, 2] : (tensor<?x1x2x2xf32>, tensor<1x1x2x2xf32>) -> tensor<?x1x1xf32>
  %s = nn.add %u, %v : tensor<?x1x1xf32>, tensor<?x1x1xf32>
  %z = nn.select_token %s[0] : tensor<?x1x1xf32> -> tensor<?x1xf32>
  return %z : tensor<?x1xf32>
}
