// RUN: ns-opt --rt-verify-device --verify-diagnostics %s

// Each kind of op that a GPU cannot run is named once, all in one run.

func.func @forward() {
  %x = rt.slot io "x" : tensor<1x4x12xf32>
  // expected-error @+1 {{a GPU cannot run 'rt.attention' of entry 'forward', layer 'blocks.0.attn': it has no device code}}
  %a = rt.attention %x heads 2 scale 1.0 {nn.layer = "blocks.0.attn"} : (tensor<1x4x12xf32>) -> tensor<1x4x4xf32>
  %b = rt.attention %x heads 2 scale 1.0 {nn.layer = "blocks.1.attn"} : (tensor<1x4x12xf32>) -> tensor<1x4x4xf32>
  %h = rt.slot io "h" : tensor<1x4x12xbf16>
  %o, %s = rt.attention %h heads 2 scale 1.0 : (tensor<1x4x12xbf16>) -> (tensor<1x4x4xbf16>, tensor<1x2x4xf32>)
  // expected-error @+1 {{a GPU cannot run 'rt.attention' of entry 'forward': it is a call of a library, but not of bf16}}
  %p, %t = rt.attention %x heads 2 scale 1.0 : (tensor<1x4x12xf32>) -> (tensor<1x4x4xf32>, tensor<1x2x4xf32>)
  %w = rt.slot params "w" : tensor<16x4xf32>
  // expected-error @+1 {{a GPU cannot run 'rt.pack' of entry 'forward': it has no device code}}
  %packed = rt.pack [16, 4] %w trans_b : tensor<16x4xf32> -> tensor<4x16xf32>
  // expected-error @+1 {{a GPU cannot run 'rt.gemm' of entry 'forward', layer 'head': it reads a matrix packed for a CPU}}
  %y = rt.gemm [4, 16, 4] %a, %packed packed {nn.layer = "head"} : (tensor<1x4x4xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %d = rt.slot io "d" : tensor<4x4xf64>
  // expected-error @+1 {{a GPU cannot run 'rt.gemm' of entry 'forward': it is a product of neither f32, bf16 nor f8E4M3FN}}
  %e = rt.gemm [4, 4, 4] %d, %d : (tensor<4x4xf64>, tensor<4x4xf64>) -> tensor<4x4xf64>
  // expected-error @+1 {{a GPU cannot run 'rt.fused' of entry 'forward': it is no kernel yet; run rt-outline-kernels}}
  %f = rt.fused [4, 1, 16] ins(%y : tensor<4x16xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<4x16xf32> {
  ^bb0(%v: f32):
    rt.yield %v : f32
  }
  return
}
