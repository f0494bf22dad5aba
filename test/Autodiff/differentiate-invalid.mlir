// RUN: ns-opt %s --ns-differentiate --split-input-file --verify-diagnostics

// expected-note @below {{this value, of type 'tensor<4x8xf32>'}}
func.func @independent(%x: tensor<4x8xf32>, %l: tensor<4xf32>, %w: tensor<4xf32>) -> tensor<4x8xf32> {
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  // expected-error @below {{'ns.gradient' op expected the loss to depend on every wanted value, but got one that it does not depend on}}
  %g = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %g : tensor<4x8xf32>
}

// -----

// Weights of samples are constants by declaration.
// expected-note @below {{this value, of type 'tensor<4xf32>'}}
func.func @inactive(%l: tensor<4xf32>, %w: tensor<4xf32>) -> tensor<4xf32> {
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  // expected-error @below {{'ns.gradient' op expected the loss to depend on every wanted value, but got one that it does not depend on}}
  %g = ns.gradient %s wrt %w : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  return %g : tensor<4xf32>
}

// -----

func.func @no_rule(%x: tensor<4x8xf32>, %w: tensor<4xf32>) -> tensor<4x8xf32> {
  // expected-error @below {{'ns.sample_norm' op expected an op between the loss and a wanted value to have a derivative rule, but got none}}
  // expected-note @below {{rules are external models of DifferentiableOpInterface, in lib/Autodiff/Rules}}
  %l = ns.sample_norm %x : tensor<4x8xf32> -> tensor<4xf32>
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %g : tensor<4x8xf32>
}

// -----

func.func @dynamic(%l: tensor<?xf32>, %w: tensor<?xf32>) -> tensor<?xf32> {
  %s = nn.weighted_sum %l, %w : (tensor<?xf32>, tensor<?xf32>) -> tensor<f32>
  // expected-error @below {{'ns.gradient' op expected static shapes, but got 'tensor<?xf32>'}}
  // expected-note @below {{nn-bind-batch makes the batch static}}
  %g = ns.gradient %s wrt %l : (tensor<f32>, tensor<?xf32>) -> tensor<?xf32>
  return %g : tensor<?xf32>
}
