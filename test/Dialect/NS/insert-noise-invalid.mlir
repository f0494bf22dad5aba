// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-noise=site=pixels 2>&1 | FileCheck %s --check-prefix=SITE
// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-noise=site=block.7 2>&1 | FileCheck %s --check-prefix=BLOCK
// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-noise=init=cauchy 2>&1 | FileCheck %s --check-prefix=INIT
// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-noise=lim=-1 2>&1 | FileCheck %s --check-prefix=LIM
// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-noise --ns-insert-noise 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: ns-opt %s --ns-insert-noise=site=tokens --split-input-file --verify-diagnostics

// SITE: error: expected noise site to be image, tokens, stem, block.K or auto, but got "pixels"
// BLOCK: error: expected noise site "block.7" to be in the network, but got 1 blocks
// INIT: error: expected option init to be uniform, normal or zero, but got cauchy
// LIM: error: expected option lim to be at least 0, but got -1.000000e+00
// TWICE: error: expected the symbol @noise to be free, but got a definition

// expected-error @below {{expected the module to define @forward, but got none}}
module {
}

// -----

// expected-error @below {{expected @forward to map one batch of images (B x c x H x W) to logits (B x K), but got '(tensor<?x8xf32>) -> tensor<?x8xf32>'}}
func.func @forward(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  return %x : tensor<?x8xf32>
}

// -----

// expected-error @below {{expected noise site "tokens" to be one nn.patch_embed, but got 0}}
func.func @forward(%x: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
  %c = nn.load_param @c : tensor<5x5xf32>
  %z = nn.slice_rows %c from 0 : tensor<5x5xf32> -> tensor<5x5xf32>
  %y = "nn.concat_batch"(%z, %z) : (tensor<5x5xf32>, tensor<5x5xf32>) -> tensor<?x5xf32>
  return %y : tensor<?x5xf32>
}
nn.param @c : tensor<5x5xf32>

// -----

// The name of an entry is taken.
// expected-error @below {{expected the symbol @forward_noised to be free for an entry, but got a definition}}
module {
  nn.param @w : tensor<5x3x8x8xf32>
  func.func @forward(%x: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
    %w = nn.load_param @w : tensor<5x3x8x8xf32>
    %u = nn.patch_embed %x, %w patch [8, 8] : (tensor<?x3x8x8xf32>, tensor<5x3x8x8xf32>) -> tensor<?x1x5xf32>
    %z = nn.select_token %u[0] : tensor<?x1x5xf32> -> tensor<?x5xf32>
    return %z : tensor<?x5xf32>
  }
  // expected-note @below {{defined here}}
  func.func private @forward_noised()
}
