// RUN: ns-opt %s --split-input-file --verify-diagnostics

// Every message of the ns dialect's verifiers.

nn.param @w : tensor<4x12xf32>
// expected-error @below {{'ns.basis' op expected rank to be at least 0, but got -1}}
ns.basis @b of @w patch {cols = 12 : i64, nullity = 8 : i64, rank = -1 : i64, residual = 0.0 : f64, rows = 4 : i64, sigma_max = 3.0 : f64, sigma_min = 1.0 : f64, structural = 8 : i64, structural_residual = 0.0 : f64, tol = 1.0e-6 : f64}

// -----

nn.param @w : tensor<4x12xf32>
// expected-error @below {{'ns.basis' op expected structural to be at least 0, but got -1}}
ns.basis @b of @w patch {cols = 12 : i64, nullity = 8 : i64, rank = 4 : i64, residual = 0.0 : f64, rows = 4 : i64, sigma_max = 3.0 : f64, sigma_min = 1.0 : f64, structural = -1 : i64, structural_residual = 0.0 : f64, tol = 1.0e-6 : f64}

// -----

nn.param @w : tensor<4x12xf32>
// expected-error @below {{'ns.basis' op expected nullity to be at least 8, but got 7}}
ns.basis @b of @w patch {cols = 12 : i64, nullity = 7 : i64, rank = 5 : i64, residual = 0.0 : f64, rows = 4 : i64, sigma_max = 3.0 : f64, sigma_min = 1.0 : f64, structural = 8 : i64, structural_residual = 0.0 : f64, tol = 1.0e-6 : f64}

// -----

// expected-error @below {{'ns.basis' op expected @w to be an nn.param, but got none of that name}}
ns.basis @b of @w patch {cols = 12 : i64, nullity = 8 : i64, rank = 4 : i64, residual = 0.0 : f64, rows = 4 : i64, sigma_max = 3.0 : f64, sigma_min = 1.0 : f64, structural = 8 : i64, structural_residual = 0.0 : f64, tol = 1.0e-6 : f64}

// -----

nn.param @w : tensor<4x12xf32>
// expected-error @below {{'ns.basis' op expected rank + nullity to be 12, but got 11}}
ns.basis @b of @w patch {cols = 12 : i64, nullity = 8 : i64, rank = 3 : i64, residual = 0.0 : f64, rows = 4 : i64, sigma_max = 3.0 : f64, sigma_min = 1.0 : f64, structural = 8 : i64, structural_residual = 0.0 : f64, tol = 1.0e-6 : f64}

// -----

nn.param @w : tensor<4x12xf32>
// expected-error @below {{'ns.basis' op expected rows to be 4, but got 5}}
ns.basis @b of @w patch {cols = 12 : i64, nullity = 8 : i64, rank = 4 : i64, residual = 0.0 : f64, rows = 5 : i64, sigma_max = 3.0 : f64, sigma_min = 1.0 : f64, structural = 8 : i64, structural_residual = 0.0 : f64, tol = 1.0e-6 : f64}

// -----

nn.param @w : tensor<4x12xf32>
// expected-error @below {{'ns.basis' op expected cols to be 12, but got 13}}
ns.basis @b of @w patch {cols = 13 : i64, nullity = 8 : i64, rank = 5 : i64, residual = 0.0 : f64, rows = 4 : i64, sigma_max = 3.0 : f64, sigma_min = 1.0 : f64, structural = 8 : i64, structural_residual = 0.0 : f64, tol = 1.0e-6 : f64}

// -----

// expected-error @below {{'ns.noise' op expected the noise's shape to be static, but got 'tensor<?x16x64xf32>'}}
ns.noise @noise uniform lim 3.0 site "tokens" : tensor<?x16x64xf32>

// -----

// expected-error @below {{'ns.noise' op expected the noise's batch dimension to be 1, but got 4}}
ns.noise @noise uniform lim 3.0 site "tokens" : tensor<4x16x64xf32>

// -----

// expected-error @below {{'ns.noise' op expected the noise's rank to be at least 1, but got 0}}
ns.noise @noise uniform lim 3.0 site "tokens" : tensor<f32>

// -----

// expected-error @below {{'ns.noise' op expected lim to be at least 0, but got -1.000000e+00}}
ns.noise @noise uniform lim -1.0 site "tokens" : tensor<1x16x64xf32>

// -----

func.func @read_of_nothing() {
  // expected-error @below {{'ns.read_noise' op expected @noise to be an ns.noise, but got none of that name}}
  %0 = ns.read_noise @noise : tensor<1x16x64xf32>
  return
}

// -----

// expected-note @below {{declared here}}
ns.noise @noise uniform lim 3.0 site "tokens" : tensor<1x16x64xf32>
func.func @read_of_other_type() {
  // expected-error @below {{'ns.read_noise' op expected the type to be 'tensor<1x16x64xf32>', the noise's, but got 'tensor<1x17x64xf32>'}}
  %0 = ns.read_noise @noise : tensor<1x17x64xf32>
  return
}

// -----

func.func @inject_noise(%u: tensor<4x16x64xf32>, %v: tensor<1x17x64xf32>) {
  // expected-error @below {{'ns.inject' op expected noise shape to be 1x16x64, but got 1x17x64}}
  %0 = ns.inject %u, %v site "tokens" : tensor<4x16x64xf32>, tensor<1x17x64xf32>
  return
}

// -----

func.func @inject_precision(%u: tensor<4x16x64xf32>, %v: tensor<1x16x64xf64>) {
  // expected-error @below {{'ns.inject' op expected element types to be 'f32', as the first operand's, but got 'f64'}}
  %0 = ns.inject %u, %v site "tokens" : tensor<4x16x64xf32>, tensor<1x16x64xf64>
  return
}

// -----

func.func @inject_scalar(%u: tensor<f32>) {
  // expected-error @below {{'ns.inject' op expected the rank to be at least 1, but got 0}}
  %0 = ns.inject %u, %u site "tokens" : tensor<f32>, tensor<f32>
  return
}

// -----

func.func @clip_grad_noise(%u: tensor<4x16x64xf32>) {
  // expected-error @below {{'ns.clip_grad' op expected noise shape to be 1x16x64, but got 4x16x64}}
  %0 = ns.clip_grad %u, %u, %u : tensor<4x16x64xf32>, tensor<4x16x64xf32>
  return
}

// -----

func.func @synthesis_loss_result(%z: tensor<4x10xf32>) {
  // expected-error @below {{'ns.synthesis_loss' op expected result shape to be 4, but got 10}}
  %0 = ns.synthesis_loss %z, %z objective logit_l2 : tensor<4x10xf32> -> tensor<10xf32>
  return
}

// -----

func.func @synthesis_loss_grad(%z: tensor<4x10xf32>, %g: tensor<5xf32>) {
  // expected-error @below {{'ns.synthesis_loss_grad' op expected grad shape to be 4, but got 5}}
  %0 = ns.synthesis_loss_grad %g, %z, %z objective logit_l2 : tensor<5xf32>, tensor<4x10xf32>
  return
}

// -----

func.func @trades_loss_rows(%z: tensor<4x10xf32>, %y: tensor<4xi32>, %beta: tensor<f32>) {
  // expected-error @below {{'ns.trades_loss' op expected two rows of logits for each of 4 labels, but got 4}}
  %0 = ns.trades_loss %z, %y, %beta : (tensor<4x10xf32>, tensor<4xi32>, tensor<f32>) -> tensor<4xf32>
  return
}

// -----

func.func @trades_loss_result(%z: tensor<4x10xf32>, %y: tensor<2xi32>, %beta: tensor<f32>) {
  // expected-error @below {{'ns.trades_loss' op expected result shape to be 4, but got 2}}
  %0 = ns.trades_loss %z, %y, %beta : (tensor<4x10xf32>, tensor<2xi32>, tensor<f32>) -> tensor<2xf32>
  return
}

// -----

func.func @trades_loss_grad(%z: tensor<4x10xf32>, %g: tensor<2xf32>, %y: tensor<2xi32>, %beta: tensor<f32>) {
  // expected-error @below {{'ns.trades_loss_grad' op expected grad shape to be 4, but got 2}}
  %0 = ns.trades_loss_grad %g, %z, %y, %beta : tensor<2xf32>, tensor<4x10xf32>, tensor<2xi32>, tensor<f32>
  return
}

// -----

func.func @expand_channels(%w: tensor<4x17xf32>) {
  // expected-error @below {{'ns.expand_channels' op expected input shape to be 4x16, but got 4x17}}
  %0 = ns.expand_channels %w : tensor<4x17xf32> -> tensor<4x16x64xf32>
  return
}

// -----

func.func @mean_channels(%x: tensor<4x17x64xf32>) {
  // expected-error @below {{'ns.mean_channels' op expected result shape to be 4x17, but got 4x64}}
  %0 = ns.mean_channels %x : tensor<4x17x64xf32> -> tensor<4x64xf32>
  return
}

// -----

func.func @attention_loss(%x: tensor<4x17xf32>) {
  // expected-error @below {{'ns.attention_loss' op expected result shape to be 4, but got 17}}
  %0 = ns.attention_loss %x : tensor<4x17xf32> -> tensor<17xf32>
  return
}

// -----

func.func @attention_loss_grad(%g: tensor<4xf64>, %x: tensor<4x17xf32>) {
  // expected-error @below {{'ns.attention_loss_grad' op expected element types to be 'f64', as the first operand's, but got 'f32'}}
  %0 = ns.attention_loss_grad %g, %x : tensor<4xf64>, tensor<4x17xf32>
  return
}

// -----

func.func @attack_loss_objective(%z: tensor<4x10xf32>, %y: tensor<4xi32>, %w: tensor<4x5xf32>) {
  // expected-error @below {{'ns.attack_loss' op expected objective shape to be 4x6, but got 4x5}}
  %0 = ns.attack_loss %z, %y, %y, %w : (tensor<4x10xf32>, tensor<4xi32>, tensor<4xi32>, tensor<4x5xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @attack_loss_labels(%z: tensor<4x10xf32>, %y: tensor<3xi32>, %w: tensor<4x6xf32>) {
  // expected-error @below {{'ns.attack_loss' op expected labels shape to be 4, but got 3}}
  %0 = ns.attack_loss %z, %y, %y, %w : (tensor<4x10xf32>, tensor<3xi32>, tensor<3xi32>, tensor<4x6xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @attack_loss_grad(%z: tensor<4x10xf32>, %y: tensor<4xi32>, %g: tensor<5xf32>, %w: tensor<4x6xf32>) {
  // expected-error @below {{'ns.attack_loss_grad' op expected grad shape to be 4, but got 5}}
  %0 = ns.attack_loss_grad %g, %z, %y, %y, %w : tensor<5xf32>, tensor<4x10xf32>, tensor<4xi32>, tensor<4x6xf32>
  return
}

// -----

func.func @ascend_hyper(%y: tensor<4x3x8x8xf32>, %h: tensor<2xf32>) {
  // expected-error @below {{'ns.ascend' op expected hyper shape to be 3, but got 2}}
  %0 = ns.ascend l2 %y, %y, %y, %h : tensor<4x3x8x8xf32>, tensor<2xf32>
  return
}

// -----

func.func @momentum_type(%g: tensor<4x3x8x8xf32>, %h: tensor<3xf64>) {
  // expected-error @below {{'ns.momentum' op expected element types to be 'f32', as the first operand's, but got 'f64'}}
  %0 = ns.momentum %g, %g, %h : tensor<4x3x8x8xf32>, tensor<3xf64>
  return
}

// -----

func.func @invariance_results(%z: tensor<4x10xf32>) {
  // expected-error @below {{'ns.invariance' op expected results shape to be 4, but got 3}}
  %0:4 = ns.invariance %z, %z : tensor<4x10xf32> -> tensor<3xf32>
  return
}

// -----

func.func @sample_norm_result(%z: tensor<4x10xf32>) {
  // expected-error @below {{'ns.sample_norm' op expected result shape to be 4, but got 10}}
  %0 = ns.sample_norm %z : tensor<4x10xf32> -> tensor<10xf32>
  return
}

// -----

func.func @gradient_of_nothing(%l: tensor<f32>) {
  // expected-error @below {{'ns.gradient' op expected the number of wanted values to be at least 1, but got 0}}
  ns.gradient %l wrt  : (tensor<f32>) -> ()
  return
}

// -----

func.func @gradient_count(%l: tensor<f32>, %v: tensor<4xf32>) {
  // expected-error @below {{'ns.gradient' op expected the number of results to be 1, but got 2}}
  %0:2 = ns.gradient %l wrt %v : (tensor<f32>, tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>)
  return
}

// -----

func.func @gradient_type(%l: tensor<f32>, %v: tensor<4xf32>) {
  // expected-error @below {{'ns.gradient' op expected the result type to be 'tensor<4xf32>', the wanted value's, but got 'tensor<5xf32>'}}
  %0 = ns.gradient %l wrt %v : (tensor<f32>, tensor<4xf32>) -> tensor<5xf32>
  return
}

// -----

func.func @store_of_nothing(%g: tensor<4xf32>, %a: tensor<f32>) {
  // expected-error @below {{'ns.store_grad' op expected @w to be an nn.param or ns.noise, but got none of that name}}
  ns.store_grad @w, %g accumulate %a : tensor<4xf32>, tensor<f32>
  return
}

// -----

nn.param @w buffer : tensor<4xf32>
func.func @store_of_buffer(%g: tensor<4xf32>, %a: tensor<f32>) {
  // expected-error @below {{'ns.store_grad' op expected @w to be a trained parameter, but got a buffer}}
  ns.store_grad @w, %g accumulate %a : tensor<4xf32>, tensor<f32>
  return
}

// -----

nn.param @w : tensor<5xf32>
func.func @store_of_other_type(%g: tensor<4xf32>, %a: tensor<f32>) {
  // expected-error @below {{'ns.store_grad' op expected the type to be 'tensor<5xf32>', the parameter's, but got 'tensor<4xf32>'}}
  ns.store_grad @w, %g accumulate %a : tensor<4xf32>, tensor<f32>
  return
}

// -----

// expected-note @below {{declared here}}
ns.noise @noise uniform lim 3.0 site "tokens" : tensor<1x16x64xf32>
func.func @store_of_noise_type(%g: tensor<4xf32>, %a: tensor<f32>) {
  // expected-error @below {{'ns.store_grad' op expected the type to be 'tensor<1x16x64xf32>', the noise's, but got 'tensor<4xf32>'}}
  ns.store_grad @noise, %g accumulate %a : tensor<4xf32>, tensor<f32>
  return
}

// -----

func.func @adamw_params_hyper(%h: tensor<6xf32>) {
  // expected-error @below {{'ns.adamw_params' op expected hyper shape to be 7, but got 6}}
  ns.adamw_params %h : tensor<6xf32>
  return
}

// -----

ns.noise @noise uniform lim 3.0 site "tokens" : tensor<1x16x64xf32>
func.func @adamw_noise_hyper(%h: tensor<7xf32>) {
  // expected-error @below {{'ns.adamw_noise' op expected hyper shape to be 9, but got 7}}
  %0 = ns.adamw_noise @noise, %h : tensor<7xf32> -> tensor<f32>
  return
}

// -----

func.func @adamw_noise_of_nothing(%h: tensor<9xf32>) {
  // expected-error @below {{'ns.adamw_noise' op expected @noise to be an ns.noise, but got none of that name}}
  %0 = ns.adamw_noise @noise, %h : tensor<9xf32> -> tensor<f32>
  return
}
