// RUN: ns-opt %s --load-pass-plugin=%plugin --pass-pipeline='builtin.module(parameter-share{min-share=0.1})' --verify-diagnostics

// A layer's weight and bias are counted together; the remark is at the first of them.
// expected-remark @below {{layer 'fc1' has 72 of 100 parameters, 72.00%}}
nn.param @fc1.weight : tensor<8x8xf32>
nn.param @fc1.bias : tensor<8xf32>
// expected-remark @below {{layer 'fc2' has 24 of 100 parameters, 24.00%}}
nn.param @fc2.weight : tensor<3x8xf32>
// Below min-share: no remark.
nn.param @gain : tensor<4xf32>
