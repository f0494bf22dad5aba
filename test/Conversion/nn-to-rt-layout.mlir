// RUN: ns-opt %s --nn-to-rt | FileCheck %s

// Region params holds the decayed parameters, then the others, each group padded to whole rows of 1024 elements (4096 bytes), then buffers; the gradient of
// a parameter lies at its offset in params.grad. The noise has its gradient and moments beside it. Entries share the slots of one name.

// CHECK: rt.layout = {
// CHECK-SAME: io = [{name = "hyper", offset = 0 : i64, type = tensor<7xf32>}, {name = "noise_hyper", offset = 64 : i64, type = tensor<9xf32>}, {name = "noise_norm", offset = 128 : i64, type = tensor<f32>}]
// CHECK-SAME: io_bytes = 192 : i64
// CHECK-SAME: params = [{name = "w", offset = 0 : i64, type = tensor<16x8xf32>}, {name = "v", offset = 512 : i64, type = tensor<16x8xf32>},
// CHECK-SAME: {name = "b", offset = 4096 : i64, type = tensor<3xf32>}, {name = "mean", offset = 8192 : i64, type = tensor<4xf32>}
// CHECK-SAME: params_bytes = 8256 : i64
// CHECK-SAME: state = [{name = "noise", offset = 0 : i64, type = tensor<1x16x8xf32>}, {name = "noise.grad", offset = 512 : i64, type = tensor<1x16x8xf32>}, {name = "noise.m", offset = 1024 : i64, type = tensor<1x16x8xf32>}, {name = "noise.v", offset = 1536 : i64, type = tensor<1x16x8xf32>},
// CHECK-SAME: {name = "params.grad", offset = 2048 : i64, type = tensor<2048xf32>}
// CHECK-SAME: {name = "params.grad:v", offset = 2560 : i64, type = tensor<16x8xf32>}
// CHECK-SAME: {name = "params.grad:b", offset = 6144 : i64, type = tensor<3xf32>}
// CHECK-SAME: trained_bytes = 8192 : i64
nn.param @w : tensor<16x8xf32>
nn.param @b no_decay : tensor<3xf32>
nn.param @mean buffer : tensor<4xf32>
nn.param @v : tensor<16x8xf32>
ns.noise @noise uniform lim 3.0 site "tokens" : tensor<1x16x8xf32>
func.func @finetune_update(%h: tensor<7xf32> {ns.name = "hyper"}) attributes {ns.entry} {
  ns.adamw_params %h : tensor<7xf32>
  return
}
func.func @synth_update(%h: tensor<9xf32> {ns.name = "noise_hyper"}) -> (tensor<f32> {ns.name = "noise_norm"}) attributes {ns.entry} {
  %n = ns.adamw_noise @noise, %h : tensor<9xf32> -> tensor<f32>
  return %n : tensor<f32>
}
