// RUN: ns-opt %s --nn-to-rt --split-input-file --verify-diagnostics

func.func @one(%x: tensor<4x8xf32> {ns.name = "x"}) attributes {ns.entry} {
  return
}
// expected-error @below {{expected io 'x' to be 'tensor<4x8xf32>' in every entry, but got 'tensor<4x4xf32>'}}
func.func @two(%x: tensor<4x4xf32> {ns.name = "x"}) attributes {ns.entry} {
  return
}

// -----

func.func @patches_leave_a_margin(%x: tensor<2x3x9x8xf32> {ns.name = "image"}, %k: tensor<16x3x4x4xf32> {ns.name = "k"}) -> (tensor<2x4x16xf32> {ns.name = "tokens"}) attributes {ns.entry} {
  // expected-error @below {{'nn.patch_embed' op expected patches of 4x4 to tile an image of 9x8}}
  %y = nn.patch_embed %x, %k patch [4, 4] : (tensor<2x3x9x8xf32>, tensor<16x3x4x4xf32>) -> tensor<2x4x16xf32>
  return %y : tensor<2x4x16xf32>
}

// -----

func.func @foreign_op(%x: tensor<4x8xf32> {ns.name = "x"}) attributes {ns.entry} {
  // expected-error @below {{'math.exp' op expected no op without a lowering to rt}}
  %y = math.exp %x : tensor<4x8xf32>
  return
}

// -----

func.func @statistics_of_one_row(%x: tensor<1x8xf32> {ns.name = "x"}) -> (tensor<8xf32> {ns.name = "mean"}, tensor<8xf32> {ns.name = "var"}) attributes {ns.entry} {
  // expected-error @below {{'nn.batch_stats' op expected more than one value for each channel, but got 1}}
  %m, %v = nn.batch_stats %x : tensor<1x8xf32> -> tensor<8xf32>
  return %m, %v : tensor<8xf32>, tensor<8xf32>
}
