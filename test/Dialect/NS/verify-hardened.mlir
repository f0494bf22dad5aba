// RUN: ns-opt %S/Inputs/small.mlir --ns-mark-forward --ns-insert-noise --ns-insert-synthesis-loss --ns-verify-hardened -o %t
// RUN: ns-opt %s --ns-verify-hardened --split-input-file --verify-diagnostics

// expected-error @below {{expected the module to have an entry, but got none}}
module {
}

// -----

// expected-error @below {{'func.func' op expected every function to be an entry with a body, but got another}}
func.func @forward(%x: tensor<?x8xf32> {ns.name = "image"}) {
  return
}

// -----

// expected-error @below {{'func.func' op expected argument 1 of an entry to have a name, but got none}}
// expected-note @below {{the attribute ns.name names it for the runtime}}
func.func @forward(%x: tensor<?x8xf32> {ns.name = "image"}, %y: tensor<?x8xf32>) attributes {ns.entry} {
  return
}

// -----

// expected-error @below {{'func.func' op expected result 0 of an entry to have a name, but got none}}
// expected-note @below {{the attribute ns.name names it for the runtime}}
func.func @forward(%x: tensor<?x8xf32> {ns.name = "image"}) -> tensor<?x8xf32> attributes {ns.entry} {
  return %x : tensor<?x8xf32>
}

// -----

// A result updates the argument of its name, of whose type it is.
func.func @update(%x: tensor<?x8xf32> {ns.name = "image"}) -> (tensor<?x8xf32> {ns.name = "image"}) attributes {ns.entry} {
  %y = nn.scale %x by 2.0 : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// expected-error @below {{'func.func' op expected slot "image" to be 'tensor<?x8xf32>' as in the other entries, but got 'tensor<8xf32>'}}
func.func @update(%x: tensor<?x8xf32> {ns.name = "image"}, %z: tensor<8xf32> {ns.name = "z"}) -> (tensor<8xf32> {ns.name = "image"}) attributes {ns.entry} {
  return %z : tensor<8xf32>
}

// -----

// expected-error @below {{'func.func' op expected names to be unique, but got "image" twice}}
func.func @forward(%x: tensor<?x8xf32> {ns.name = "image"}, %y: tensor<?x8xf32> {ns.name = "image"}) attributes {ns.entry} {
  return
}

// -----

func.func @forward(%x: tensor<?x8xf32> {ns.name = "image"}) attributes {ns.entry} {
  return
}
// expected-error @below {{'func.func' op expected slot "image" to be 'tensor<?x8xf32>' as in the other entries, but got 'tensor<?x9xf32>'}}
func.func @other(%x: tensor<?x9xf32> {ns.name = "image"}) attributes {ns.entry} {
  return
}

// -----

func.func @step(%l: tensor<f32> {ns.name = "loss"}, %x: tensor<?x8xf32> {ns.name = "image"}) attributes {ns.entry} {
  // expected-error @below {{'ns.gradient' op expected every gradient to be stored or returned, but got an unused one}}
  %g = ns.gradient %l wrt %x : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}
