// RUN: ns-opt %s --nn-bind-batch=batch=4 --split-input-file --verify-diagnostics

// expected-error @below {{expected only the leading dimension to be dynamic, but got 'tensor<?x?xf32>'}}
func.func @dynamic_width(%x: tensor<?x?xf32>) {
  return
}

// -----

func.func @already_differentiated(%w: tensor<?xf32>) {
  // expected-error @below {{'nn.weighted_sum_grad' op expected nn-bind-batch to run before ns-differentiate}}
  %0 = nn.weighted_sum_grad %w : (tensor<?xf32>) -> tensor<?xf32>
  return
}
