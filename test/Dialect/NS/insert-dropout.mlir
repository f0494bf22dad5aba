// RUN: ns-opt %inputs/tiny-vit.mlir --ns-insert-noise --ns-insert-finetune-loss --ns-insert-finetune-loss=arm=noised --ns-insert-dropout="dropout=0.1 drop-path=0.2" | FileCheck %s
// RUN: ns-opt %inputs/tiny-vit.mlir --ns-insert-finetune-loss --ns-insert-dropout | FileCheck %s --check-prefix=NONE
// RUN: ns-opt %inputs/tiny-vit.mlir --ns-insert-finetune-loss --ns-insert-dropout=drop-path=0.3 | FileCheck %s --check-prefix=PATH
// RUN: not ns-opt %inputs/tiny-vit.mlir --ns-insert-finetune-loss --ns-insert-dropout=dropout=1 2>&1 | FileCheck %s --check-prefix=RATE

// RATE: error: expected option dropout to be in [0, 1), but got 1

// Without rates nothing changes: no argument, no op.
// NONE-NOT: dropout

// Only branches, and none in the first block, whose rate is 0.
// PATH-LABEL: func.func @finetune_step(
// PATH-NOT: nn.dropout element
// PATH: %[[P:.*]] = nn.linear {{.*}}"blocks.1.attn.proj"
// PATH: nn.dropout image %[[P]], %{{.*}} rate 3.000000e-01 stream 0
// PATH: %[[M:.*]] = nn.linear {{.*}}"blocks.1.mlp.fc2"
// PATH: nn.dropout image %[[M]], %{{.*}} rate 3.000000e-01 stream 1
// PATH-NOT: nn.dropout

// What evaluation and synthesis run is left alone.
// CHECK-LABEL: func.func @forward(
// CHECK-NOT: nn.dropout
// CHECK-LABEL: func.func @finetune_step(
// CHECK-SAME: %[[SEED:[^:]*]]: tensor<1xi32> {ns.name = "dropout_seed"}
// CHECK: %[[POS:.*]] = nn.add %{{.*}}, %{{.*}} : tensor<?x17x64xf32>, tensor<1x17x64xf32>
// CHECK: %[[X:.*]] = nn.dropout element %[[POS]], %[[SEED]] rate 1.000000e-01 stream 0
// CHECK: nn.layer_norm %[[X]]
// CHECK: %[[PROJ:.*]] = nn.linear {{.*}}"blocks.0.attn.proj"
// CHECK-NEXT: %[[A:.*]] = nn.dropout element %[[PROJ]], %[[SEED]] rate 1.000000e-01 stream 1
// CHECK-NEXT: nn.add %[[X]], %[[A]]
// CHECK: %[[H:.*]] = nn.gelu
// CHECK-NEXT: nn.dropout element %[[H]], %[[SEED]] rate 1.000000e-01 stream 2
// CHECK: nn.linear {{.*}}"blocks.0.mlp.fc2"
// CHECK-NEXT: nn.dropout element %{{.*}}, %[[SEED]] rate 1.000000e-01 stream 3
// CHECK-NEXT: nn.add
// CHECK: nn.linear {{.*}}"blocks.1.attn.proj"
// CHECK-NEXT: %[[B:.*]] = nn.dropout element %{{.*}}, %[[SEED]] rate 1.000000e-01 stream 4
// CHECK-NEXT: %[[C:.*]] = nn.dropout image %[[B]], %[[SEED]] rate 2.000000e-01 stream 5
// CHECK-NEXT: nn.add %{{.*}}, %[[C]]
// CHECK-LABEL: func.func @finetune_step_noised(
// CHECK: nn.dropout image %{{.*}} rate 2.000000e-01 stream 8
