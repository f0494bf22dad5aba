// RUN: ns-opt %s --ns-verify-lowerable --split-input-file --verify-diagnostics

func.func @foreign_op() -> tensor<f32> {
  // expected-error @below {{'arith.constant' op expected an op that nn-to-rt lowers, but got this one}}
  // expected-note @below {{lowerings are in lib/Conversion}}
  %c = arith.constant dense<1.0> : tensor<f32>
  return %c : tensor<f32>
}

// -----

// expected-error @below {{'func.func' op expected values to be tensors of static shape, but got 'tensor<?x8xf32>'}}
func.func @dynamic(%x: tensor<?x8xf32>) {
  return
}

// -----

// expected-error @below {{'func.func' op expected element type to be f32 or f64, but got 'bf16'}}
// expected-note @below {{code generation has no other precision}}
func.func @half(%x: tensor<4x8xbf16>) {
  return
}

// -----

// expected-error @below {{'func.func' op expected one precision in the module, 'f32', but got 'f64'}}
func.func @mixed(%x: tensor<4x8xf32>, %y: tensor<4x8xf64>) {
  return
}

// -----

func.func @fine(%x: tensor<4x8xf64>, %y: tensor<4xi32>) -> tensor<4xf64> {
  %l = nn.cross_entropy %x, %y : (tensor<4x8xf64>, tensor<4xi32>) -> tensor<4xf64>
  return %l : tensor<4xf64>
}
