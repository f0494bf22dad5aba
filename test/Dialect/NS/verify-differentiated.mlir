// RUN: ns-opt %s --ns-verify-differentiated --split-input-file --verify-diagnostics

func.func @request(%l: tensor<f32>, %x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // expected-error @below {{'ns.gradient' op expected no gradient request to be left, but got this one}}
  // expected-note @below {{ns-differentiate replaces it}}
  %g = ns.gradient %l wrt %x : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %g : tensor<4x8xf32>
}

// -----

func.func @dynamic(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // expected-error @below {{'nn.gelu' op expected static shapes, but got 'tensor<?x8xf32>'}}
  // expected-note @below {{nn-bind-batch makes the batch static}}
  %g = nn.gelu %x approximate none : tensor<?x8xf32>
  return %g : tensor<?x8xf32>
}

// -----

func.func @fine(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %g = nn.gelu %x approximate none : tensor<4x8xf32>
  return %g : tensor<4x8xf32>
}
