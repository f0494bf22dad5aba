// RUN: ns-opt %s --ns-insert-finetune-loss --verify-diagnostics

nn.param @w buffer : tensor<5x3x8x8xf32>
nn.param @unread : tensor<5x5xf32>

// A parameter that no logit depends on is not trained, and no other is left.
// expected-error @below {{expected the logits to depend on a trained parameter, but got buffers only}}
func.func @forward(%x: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
  %w = nn.load_param @w : tensor<5x3x8x8xf32>
  %r = nn.load_param @unread : tensor<5x5xf32>
  %u = nn.patch_embed %x, %w patch [8, 8] : (tensor<?x3x8x8xf32>, tensor<5x3x8x8xf32>) -> tensor<?x1x5xf32>
  %p = nn.select_token %u[0] : tensor<?x1x5xf32> -> tensor<?x5xf32>
  return %p : tensor<?x5xf32>
}
