// RUN: ns-opt %s --verify-roundtrip | FileCheck %s

// Every op of the nn dialect, in its assembly form.

// CHECK: nn.param @weight : tensor<192x64xf32>
nn.param @weight : tensor<192x64xf32>
// CHECK: nn.param @norm.bias no_decay : tensor<64xf32>
nn.param @norm.bias no_decay : tensor<64xf32>
// CHECK: nn.param @mask buffer : tensor<1x17x64xf32>
nn.param @mask buffer : tensor<1x17x64xf32>

// CHECK-LABEL: func.func @parameters
func.func @parameters() {
  // CHECK: nn.load_param @weight
  %0 = nn.load_param @weight : tensor<192x64xf32>
  return
}

// CHECK-LABEL: func.func @patches
func.func @patches(%i: tensor<?x3x32x32xf32>, %w: tensor<64x3x8x8xf32>, %b: tensor<64xf32>) {
  // Numbers come back as the same doubles: CLIP's mean has eight digits, a third sixteen.
  // CHECK: nn.normalize %{{.*}} mean [0.48145466, 0.0, -1.0e-05] std [0.3333333333333333, 0.5, 1.0e+300]
  %0 = nn.normalize %i mean [0.48145466, 0.000000e+00, -1.0e-5] std [0.33333333333333331, 5.000000e-01, 1.0e300] : tensor<?x3x32x32xf32>
  // CHECK: nn.patch_embed %{{.*}}, %{{.*}}, %{{.*}} patch [8, 8]
  %1 = nn.patch_embed %i, %w, %b patch [8, 8] : (tensor<?x3x32x32xf32>, tensor<64x3x8x8xf32>, tensor<64xf32>) -> tensor<?x16x64xf32>
  // CHECK: nn.patch_embed %{{.*}}, %{{.*}} patch [8, 8]
  %2 = nn.patch_embed %i, %w patch [8, 8] : (tensor<?x3x32x32xf32>, tensor<64x3x8x8xf32>) -> tensor<?x16x64xf32>
  return
}

// CHECK-LABEL: func.func @layers
func.func @layers(%x: tensor<?x17x64xf32>, %w: tensor<192x64xf32>, %b: tensor<192xf32>, %g: tensor<64xf32>, %h: tensor<16xf32>) {
  // CHECK: nn.linear %{{.*}}, %{{.*}}, %{{.*}}
  %0 = nn.linear %x, %w, %b : (tensor<?x17x64xf32>, tensor<192x64xf32>, tensor<192xf32>) -> tensor<?x17x192xf32>
  // CHECK: nn.linear %{{.*}}, %{{.*}}
  %1 = nn.linear %x, %w : (tensor<?x17x64xf32>, tensor<192x64xf32>) -> tensor<?x17x192xf32>
  // CHECK: nn.layer_norm %{{.*}}, %{{.*}}, %{{.*}} eps 1.000000e-05 {nn.layer = "norm"}
  %2 = nn.layer_norm %x, %g, %g eps 1.000000e-05 {nn.layer = "norm"} : tensor<?x17x64xf32>, tensor<64xf32>, tensor<64xf32>
  // CHECK: nn.layer_norm %{{.*}}, %{{.*}}, %{{.*}} eps 1.000000e-05
  %3 = nn.layer_norm %x, %h, %h eps 1.000000e-05 : tensor<?x17x64xf32>, tensor<16xf32>, tensor<16xf32>
  // CHECK: nn.layer_norm %{{.*}} eps 1.000000e-05
  %4 = nn.layer_norm %x eps 1.000000e-05 : tensor<?x17x64xf32>
  // CHECK: nn.gelu %{{.*}} approximate none
  %5 = nn.gelu %x approximate none : tensor<?x17x64xf32>
  // CHECK: nn.gelu %{{.*}} approximate tanh
  %6 = nn.gelu %x approximate tanh : tensor<?x17x64xf32>
  // CHECK: nn.scale %{{.*}} by 5.000000e-01
  %7 = nn.scale %x by 5.000000e-01 : tensor<?x17x64xf32>
  // CHECK: nn.layer_scale %{{.*}}, %{{.*}}
  %8 = nn.layer_scale %x, %g : tensor<?x17x64xf32>, tensor<64xf32>
  return
}

// CHECK-LABEL: func.func @attention
func.func @attention(%p: tensor<?x17x192xf32>, %kv: tensor<?x17x128xf32>, %x: tensor<?x17x64xf32>, %q: tensor<?x1x64xf32>) {
  // CHECK: nn.attention %{{.*}} heads 4 scale 2.500000e-01
  %0 = nn.attention %p heads 4 scale 2.500000e-01 : (tensor<?x17x192xf32>) -> tensor<?x17x64xf32>
  // CHECK: nn.attention %{{.*}}, %{{.*}} heads 4 scale 2.500000e-01
  %1 = nn.attention %q, %kv heads 4 scale 2.500000e-01 : (tensor<?x1x64xf32>, tensor<?x17x128xf32>) -> tensor<?x1x64xf32>
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}} heads 4 scale 2.500000e-01
  %2 = nn.attention %q, %x, %x heads 4 scale 2.500000e-01 : (tensor<?x1x64xf32>, tensor<?x17x64xf32>, tensor<?x17x64xf32>) -> tensor<?x1x64xf32>
  return
}

// CHECK-LABEL: func.func @tokens
func.func @tokens(%u: tensor<?x16x64xf32>, %c: tensor<1x1x64xf32>, %x: tensor<?x17x64xf32>, %pos: tensor<1x17x64xf32>, %w: tensor<192x64xf32>) {
  // CHECK: nn.prepend_tokens %{{.*}}, %{{.*}}
  %0 = nn.prepend_tokens %u, %c : (tensor<?x16x64xf32>, tensor<1x1x64xf32>) -> tensor<?x17x64xf32>
  // CHECK: nn.add %{{.*}}, %{{.*}}
  %1 = nn.add %x, %pos : tensor<?x17x64xf32>, tensor<1x17x64xf32>
  // CHECK: nn.select_token %{{.*}}[0]
  %2 = nn.select_token %x[0] : tensor<?x17x64xf32> -> tensor<?x64xf32>
  // CHECK: nn.slice_tokens %{{.*}} from 1
  %3 = nn.slice_tokens %x from 1 : tensor<?x17x64xf32> -> tensor<?x16x64xf32>
  // CHECK: nn.slice_channels %{{.*}} from 32
  %4 = nn.slice_channels %x from 32 : tensor<?x17x64xf32> -> tensor<?x17x32xf32>
  // CHECK: nn.slice_rows %{{.*}} from 64
  %5 = nn.slice_rows %w from 64 : tensor<192x64xf32> -> tensor<128x64xf32>
  // CHECK: nn.mean_tokens %{{.*}}
  %6 = nn.mean_tokens %x : tensor<?x17x64xf32> -> tensor<?x64xf32>
  // CHECK: nn.concat_batch %{{.*}}, %{{.*}}
  %7 = nn.concat_batch %x, %x : (tensor<?x17x64xf32>, tensor<?x17x64xf32>) -> tensor<?x17x64xf32>
  return
}

// CHECK-LABEL: func.func @losses
func.func @losses(%z: tensor<8x10xf32>, %y: tensor<4xi32>, %w: tensor<4xf32>) {
  // CHECK: nn.cross_entropy %{{.*}}, %{{.*}}
  %l = nn.cross_entropy %z, %y : (tensor<8x10xf32>, tensor<4xi32>) -> tensor<8xf32>
  // CHECK: nn.weighted_sum %{{.*}}, %{{.*}}
  %0 = nn.weighted_sum %l, %w : (tensor<8xf32>, tensor<4xf32>) -> tensor<f32>
  return
}

// CHECK-LABEL: func.func @linear_backward
func.func @linear_backward(%d: tensor<4x17x192xf32>, %x: tensor<4x17x64xf32>, %w: tensor<192x64xf32>) {
  // CHECK: nn.linear_grad_input %{{.*}}, %{{.*}}
  %0 = nn.linear_grad_input %d, %w : (tensor<4x17x192xf32>, tensor<192x64xf32>) -> tensor<4x17x64xf32>
  // CHECK: nn.linear_grad_weight %{{.*}}, %{{.*}}
  %1 = nn.linear_grad_weight %d, %x : (tensor<4x17x192xf32>, tensor<4x17x64xf32>) -> tensor<192x64xf32>
  // CHECK: nn.sum_rows %{{.*}}
  %2 = nn.sum_rows %d : tensor<4x17x192xf32> -> tensor<192xf32>
  // CHECK: nn.sum_batch %{{.*}}
  %3 = nn.sum_batch %x : tensor<4x17x64xf32> -> tensor<1x17x64xf32>
  return
}

// CHECK-LABEL: func.func @layer_backward
func.func @layer_backward(%d: tensor<4x17x64xf32>, %x: tensor<4x17x64xf32>, %p: tensor<4x17x192xf32>, %g: tensor<64xf32>) {
  // CHECK: nn.layer_norm_grad %{{.*}}, %{{.*}}, %{{.*}} eps 1.000000e-05
  %0 = nn.layer_norm_grad %d, %x, %g eps 1.000000e-05 : tensor<4x17x64xf32>, tensor<64xf32>
  // CHECK: nn.layer_norm_grad %{{.*}}, %{{.*}} eps 1.000000e-05
  %1 = nn.layer_norm_grad %d, %x eps 1.000000e-05 : tensor<4x17x64xf32>
  // CHECK: nn.layer_norm_grad_params %{{.*}}, %{{.*}} eps 1.000000e-05
  %2, %3 = nn.layer_norm_grad_params %d, %x eps 1.000000e-05 : tensor<4x17x64xf32> -> tensor<64xf32>
  // CHECK: nn.attention_grad %{{.*}}, %{{.*}} heads 4 scale 2.500000e-01
  %4 = nn.attention_grad %d, %p heads 4 scale 2.500000e-01 : (tensor<4x17x64xf32>, tensor<4x17x192xf32>) -> tensor<4x17x192xf32>
  // CHECK: nn.gelu_grad %{{.*}}, %{{.*}} approximate tanh
  %5 = nn.gelu_grad %d, %x approximate tanh : tensor<4x17x64xf32>
  // CHECK: nn.layer_scale_grad_gamma %{{.*}}, %{{.*}}
  %6 = nn.layer_scale_grad_gamma %d, %x : tensor<4x17x64xf32> -> tensor<64xf32>
  return
}

// CHECK-LABEL: func.func @token_backward
func.func @token_backward(%x: tensor<4x1x64xf32>, %c: tensor<4x64xf32>, %w: tensor<64x64xf32>) {
  // CHECK: nn.pad_tokens %{{.*}} from 2
  %0 = nn.pad_tokens %x from 2 : tensor<4x1x64xf32> -> tensor<4x17x64xf32>
  // CHECK: nn.pad_channels %{{.*}} from 64
  %1 = nn.pad_channels %x from 64 : tensor<4x1x64xf32> -> tensor<4x1x192xf32>
  // CHECK: nn.pad_rows %{{.*}} from 128
  %2 = nn.pad_rows %w from 128 : tensor<64x64xf32> -> tensor<192x64xf32>
  // CHECK: nn.scatter_token %{{.*}}[0]
  %3 = nn.scatter_token %c[0] : tensor<4x64xf32> -> tensor<4x17x64xf32>
  // CHECK: nn.expand_tokens %{{.*}}
  %4 = nn.expand_tokens %c : tensor<4x64xf32> -> tensor<4x17x64xf32>
  // CHECK: nn.slice_batch %{{.*}} from 2
  %5 = nn.slice_batch %x from 2 : tensor<4x1x64xf32> -> tensor<2x1x64xf32>
  return
}

// CHECK-LABEL: func.func @image_backward
func.func @image_backward(%d: tensor<4x16x64xf32>, %i: tensor<4x3x32x32xf32>, %w: tensor<64x3x8x8xf32>) {
  // CHECK: nn.patch_embed_grad_input %{{.*}}, %{{.*}} patch [8, 8]
  %0 = nn.patch_embed_grad_input %d, %w patch [8, 8] : (tensor<4x16x64xf32>, tensor<64x3x8x8xf32>) -> tensor<4x3x32x32xf32>
  // CHECK: nn.patch_embed_grad_weight %{{.*}}, %{{.*}} patch [8, 8]
  %1 = nn.patch_embed_grad_weight %d, %i patch [8, 8] : (tensor<4x16x64xf32>, tensor<4x3x32x32xf32>) -> tensor<64x3x8x8xf32>
  // CHECK: nn.normalize_grad %{{.*}} std [0.5, 0.5, 0.5]
  %2 = nn.normalize_grad %i std [5.000000e-01, 5.000000e-01, 5.000000e-01] : tensor<4x3x32x32xf32>
  return
}

// CHECK-LABEL: func.func @loss_backward
func.func @loss_backward(%g: tensor<8xf32>, %z: tensor<8x10xf32>, %y: tensor<4xi32>, %w: tensor<4xf32>, %s: tensor<f32>) {
  // CHECK: nn.cross_entropy_grad %{{.*}}, %{{.*}}, %{{.*}}
  %0 = nn.cross_entropy_grad %g, %z, %y : (tensor<8xf32>, tensor<8x10xf32>, tensor<4xi32>) -> tensor<8x10xf32>
  // CHECK: nn.weighted_sum_grad %{{.*}}
  %1 = nn.weighted_sum_grad %w : (tensor<4xf32>) -> tensor<8xf32>
  // CHECK: nn.weighted_sum_grad %{{.*}}, %{{.*}}
  %2 = nn.weighted_sum_grad %w, %s : (tensor<4xf32>, tensor<f32>) -> tensor<8xf32>
  return
}

// CHECK-LABEL: func.func @other_precisions
func.func @other_precisions(%a: tensor<4x8xf64>, %b: tensor<4x8xbf16>) {
  // CHECK: nn.gelu %{{.*}} approximate none
  %0 = nn.gelu %a approximate none : tensor<4x8xf64>
  // CHECK: nn.gelu %{{.*}} approximate none
  %1 = nn.gelu %b approximate none : tensor<4x8xbf16>
  return
}

// CHECK-LABEL: func.func @folds
func.func @folds(%w: tensor<192x64xf32>, %b: tensor<192xf32>, %g: tensor<64xf32>, %s: tensor<192xf32>) {
  // CHECK: nn.fold_norm_bias %{{.*}}, %{{.*}}, %{{.*}} : tensor<192xf32>, tensor<192x64xf32>, tensor<64xf32>
  %0 = nn.fold_norm_bias %b, %w, %g : tensor<192xf32>, tensor<192x64xf32>, tensor<64xf32>
  // CHECK: nn.fold_norm_weight %{{.*}}, %{{.*}} : tensor<192x64xf32>, tensor<64xf32>
  %1 = nn.fold_norm_weight %w, %g : tensor<192x64xf32>, tensor<64xf32>
  // CHECK: nn.fold_scale_bias %{{.*}}, %{{.*}} : tensor<192xf32>
  %2 = nn.fold_scale_bias %0, %s : tensor<192xf32>
  // CHECK: nn.fold_scale_weight %{{.*}}, %{{.*}} : tensor<192x64xf32>, tensor<192xf32>
  %3 = nn.fold_scale_weight %1, %s : tensor<192x64xf32>, tensor<192xf32>
  // CHECK: nn.store_param @weight, %{{.*}} : tensor<192x64xf32>
  nn.store_param @weight, %3 : tensor<192x64xf32>
  return
}
