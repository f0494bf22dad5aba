// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-finetune-loss | FileCheck %s --check-prefix=CLEAN
// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-noise --ns-insert-finetune-loss=arm=noised | FileCheck %s --check-prefix=NOISED
// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-noise --ns-insert-finetune-loss="arm=noised separate" | FileCheck %s --check-prefix=SEPARATE
// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-finetune-loss=arm=trades | FileCheck %s --check-prefix=TRADES
// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-finetune-loss="arm=trades separate" | FileCheck %s --check-prefix=APART
// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-finetune-loss=arm=noised 2>&1 | FileCheck %s --check-prefix=NO-NOISE
// RUN: not ns-opt %S/Inputs/small.mlir --ns-insert-finetune-loss=arm=gaussian 2>&1 | FileCheck %s --check-prefix=ARM

// NO-NOISE: error: expected the module to declare a noise, but got none
// ARM: error: expected option arm to be none, noised or trades, but got gaussian

// Every parameter that is read and no buffer gets a gradient, in the module's order.
// CLEAN-LABEL: func.func @finetune_step(
// CLEAN-SAME: {ns.name = "image"}, %[[LABELS:.*]]: tensor<?xi32> {ns.name = "labels"}, %[[WEIGHTS:.*]]: tensor<?xf32> {ns.name = "weights"}, %[[ACC:.*]]: tensor<f32> {ns.name = "accumulate"}) -> (tensor<f32> {ns.name = "loss"}) attributes {ns.entry}
// CLEAN: %[[W:.*]] = nn.load_param @w
// CLEAN: %[[G:.*]] = nn.load_param @g
// CLEAN: %[[HEAD:.*]] = nn.load_param @head
// CLEAN: %[[L:.*]] = nn.cross_entropy %{{.*}}, %[[LABELS]]
// CLEAN: %[[LOSS:.*]] = nn.weighted_sum %[[L]], %[[WEIGHTS]]
// CLEAN: %[[D:.*]]:3 = ns.gradient %[[LOSS]] wrt %[[W]], %[[G]], %[[HEAD]] :
// CLEAN: ns.store_grad @w, %[[D]]#0 accumulate %[[ACC]]
// CLEAN: ns.store_grad @g, %[[D]]#1 accumulate %[[ACC]]
// CLEAN: ns.store_grad @head, %[[D]]#2 accumulate %[[ACC]]
// CLEAN-NOT: ns.store_grad
// CLEAN: return %[[LOSS]]
// CLEAN-LABEL: func.func @finetune_update(
// CLEAN-SAME: %[[HYPER:.*]]: tensor<7xf32> {ns.name = "hyper"}) attributes {ns.entry}
// CLEAN: ns.adamw_params %[[HYPER]] : tensor<7xf32>

// Clean and noised images behind one patch embedding; they share labels.
// NOISED-LABEL: func.func @finetune_step_noised(
// NOISED: %[[U:.*]] = nn.patch_embed
// NOISED-NOT: nn.patch_embed
// NOISED: %[[UN:.*]] = ns.inject %[[U]]
// NOISED: %[[B:.*]] = nn.concat_batch %[[U]], %[[UN]] : (tensor<?x4x8xf32>, tensor<?x4x8xf32>) -> tensor<?x4x8xf32>
// NOISED: nn.layer_scale %[[B]]
// NOISED: nn.cross_entropy %{{.*}}, %arg1
// NOISED: ns.gradient

// Two passes of the network, the clean images first; one sum of losses, and one load of each parameter.
// SEPARATE-LABEL: func.func @finetune_step_noised(
// SEPARATE: nn.load_param @w
// SEPARATE: nn.patch_embed
// SEPARATE-NOT: ns.inject
// SEPARATE: nn.patch_embed
// SEPARATE-NOT: nn.load_param @w
// SEPARATE: ns.inject
// SEPARATE-NOT: nn.concat_batch
// SEPARATE: %[[LC:.*]] = nn.cross_entropy %{{.*}}, %arg1
// SEPARATE: %[[L0:.*]] = nn.weighted_sum %[[LC]], %arg2
// SEPARATE: %[[LN:.*]] = nn.cross_entropy %{{.*}}, %arg1
// SEPARATE: %[[L1:.*]] = nn.weighted_sum %[[LN]], %arg2
// SEPARATE: %[[L:.*]] = nn.add %[[L0]], %[[L1]] : tensor<f32>, tensor<f32>
// SEPARATE: ns.gradient %[[L]]
// SEPARATE: return %[[L]]

// Clean and adversarial images as one batch from the pixels on.
// TRADES-LABEL: func.func @finetune_step_trades(
// TRADES-SAME: %[[A:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[X:.*]]: tensor<?x3x8x8xf32> {ns.name = "clean_image"}, %[[Y:.*]]: tensor<?xi32> {ns.name = "labels"}, %[[W:.*]]: tensor<?xf32> {ns.name = "weights"}, %[[BETA:.*]]: tensor<f32> {ns.name = "beta"}, %[[ACC:.*]]: tensor<f32> {ns.name = "accumulate"}) -> (tensor<f32> {ns.name = "loss"}) attributes {ns.entry}
// TRADES: %[[B:.*]] = nn.concat_batch %[[X]], %[[A]]
// TRADES-NOT: %[[X]]
// TRADES: %[[Z:.*]] = nn.linear
// TRADES: %[[L:.*]] = ns.trades_loss %[[Z]], %[[Y]], %[[BETA]] :
// TRADES: %[[LOSS:.*]] = nn.weighted_sum %[[L]], %[[W]]
// TRADES: ns.gradient %[[LOSS]] wrt
// TRADES: ns.store_grad @w, %{{.*}} accumulate %[[ACC]]
// TRADES: return %[[LOSS]]
// TRADES-LABEL: func.func @finetune_update(
// TRADES-LABEL: func.func @trades_grad(
// TRADES-SAME: %[[X:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[C:.*]]: tensor<?x5xf32> {ns.name = "clean_logits"}, %[[Y:.*]]: tensor<?xi32> {ns.name = "labels"}, %[[W:.*]]: tensor<?xf32> {ns.name = "weights"}, %[[BETA:.*]]: tensor<f32> {ns.name = "beta"}) -> (tensor<f32> {ns.name = "loss"}, tensor<?x3x8x8xf32> {ns.name = "image_grad"}) attributes {ns.entry}
// TRADES: %[[Z:.*]] = nn.linear
// TRADES: %[[B:.*]] = nn.concat_batch %[[C]], %[[Z]]
// TRADES: %[[L:.*]] = ns.trades_loss %[[B]], %[[Y]], %[[BETA]] :
// TRADES: %[[LOSS:.*]] = nn.weighted_sum %[[L]], %[[W]]
// TRADES: %[[DX:.*]] = ns.gradient %[[LOSS]] wrt %[[X]] :
// TRADES: return %[[LOSS]], %[[DX]]

// Two passes of the network, the clean images first; their logits are stacked.
// APART-LABEL: func.func @finetune_step_trades(
// APART-SAME: %[[A:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}, %[[X:.*]]: tensor<?x3x8x8xf32> {ns.name = "clean_image"}
// APART: nn.normalize %[[X]]
// APART: %[[C:.*]] = nn.linear
// APART: nn.normalize %[[A]]
// APART: %[[Z:.*]] = nn.linear
// APART: %[[B:.*]] = nn.concat_batch %[[C]], %[[Z]]
// APART: ns.trades_loss %[[B]]
