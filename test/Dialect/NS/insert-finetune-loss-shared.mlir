// RUN: ns-opt %s --ns-insert-finetune-loss | FileCheck %s

nn.param @w : tensor<5x3x8x8xf32>
nn.param @h : tensor<5x5xf32>

func.func @forward(%x: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
  %w = nn.load_param @w : tensor<5x3x8x8xf32>
  %u = nn.patch_embed %x, %w patch [8, 8] : (tensor<?x3x8x8xf32>, tensor<5x3x8x8xf32>) -> tensor<?x1x5xf32>
  %p = nn.select_token %u[0] : tensor<?x1x5xf32> -> tensor<?x5xf32>
  %h0 = nn.load_param @h : tensor<5x5xf32>
  %y = nn.linear %p, %h0 : (tensor<?x5xf32>, tensor<5x5xf32>) -> tensor<?x5xf32>
  %h1 = nn.load_param @h : tensor<5x5xf32>
  %z = nn.linear %y, %h1 : (tensor<?x5xf32>, tensor<5x5xf32>) -> tensor<?x5xf32>
  return %z : tensor<?x5xf32>
}

// A parameter used twice has one load and one gradient, the sum over its uses.
// CHECK-LABEL: func.func @finetune_step(
// CHECK: %[[H:.*]] = nn.load_param @h
// CHECK-NOT: nn.load_param @h
// CHECK: ns.gradient %{{.*}} wrt %{{.*}}, %[[H]] :
