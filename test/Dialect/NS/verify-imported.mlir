// RUN: ns-opt %S/Inputs/small.mlir --ns-verify-imported -o %t
// RUN: ns-opt %s --ns-verify-imported --split-input-file --verify-diagnostics

nn.param @w : tensor<5x3x8x8xf32>
// All that is wrong is reported, not just the first.
func.func @forward(%x: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
  %w = nn.load_param @w : tensor<5x3x8x8xf32>
  // expected-error @below {{'nn.normalize_grad' op expected @forward to hold forward ops of the nn dialect only, but got this one}}
  // expected-note @below {{in layer stem}}
  // expected-note @below {{the importer lacks a rule for it (lib/Import), or a pass ran too early}}
  %n = nn.normalize_grad %x std [0.5, 0.5, 0.5] {nn.layer = "stem"} : tensor<?x3x8x8xf32>
  %u = nn.patch_embed %n, %w patch [8, 8] : (tensor<?x3x8x8xf32>, tensor<5x3x8x8xf32>) -> tensor<?x1x5xf32>
  // expected-error @below {{'ns.sample_norm' op expected @forward to hold forward ops of the nn dialect only, but got this one}}
  // expected-note @below {{the importer lacks a rule for it (lib/Import), or a pass ran too early}}
  %s = ns.sample_norm %u : tensor<?x1x5xf32> -> tensor<?xf32>
  %z = nn.select_token %u[0] : tensor<?x1x5xf32> -> tensor<?x5xf32>
  return %z : tensor<?x5xf32>
}

// -----

nn.param @w : tensor<5x3x8x8xf32>
func.func @forward(%x: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
  %w = nn.load_param @w : tensor<5x3x8x8xf32>
  %u = nn.patch_embed %x, %w patch [8, 8] : (tensor<?x3x8x8xf32>, tensor<5x3x8x8xf32>) -> tensor<?x1x5xf32>
  // expected-error @below {{'nn.concat_batch' op expected shapes to be static but for the batch, but got 'tensor<?x?x5xf32>'}}
  %v = nn.concat_batch %u, %u : (tensor<?x1x5xf32>, tensor<?x1x5xf32>) -> tensor<?x?x5xf32>
  %z = nn.select_token %u[0] : tensor<?x1x5xf32> -> tensor<?x5xf32>
  return %z : tensor<?x5xf32>
}
