// RUN: ns-opt %inputs/tiny-vit.mlir --ns-harden-pipeline=emit=synth | grep func.func | FileCheck %s --check-prefix=SYNTH --match-full-lines
// RUN: ns-opt %inputs/tiny-vit.mlir --ns-harden-pipeline=emit=finetune | grep func.func | FileCheck %s --check-prefix=FINETUNE --match-full-lines
// RUN: ns-opt %inputs/tiny-vit.mlir --ns-harden-pipeline=emit=evaluate | grep func.func | FileCheck %s --check-prefix=EVALUATE --match-full-lines
// RUN: ns-opt %inputs/tiny-vit.mlir --ns-harden-pipeline=emit=library | grep func.func | FileCheck %s --check-prefix=LIBRARY --match-full-lines
// RUN: not ns-opt %inputs/tiny-vit.mlir --ns-harden-pipeline=emit=train 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// The entries of each artefact, as docs/abi.md lists them.
// SYNTH: {{.*}}@forward({{.*}}
// SYNTH-NEXT: {{.*}}@site_norm({{.*}}
// SYNTH-NEXT: {{.*}}@synth_step({{.*}}
// SYNTH-NEXT: {{.*}}@synth_step_l2({{.*}}
// SYNTH-NEXT: {{.*}}@synth_update({{.*}}
// SYNTH-NEXT: {{.*}}@stop_test({{.*}}
// SYNTH-NOT: func.func

// FINETUNE: {{.*}}@forward({{.*}}
// FINETUNE-NEXT: {{.*}}@site_norm({{.*}}
// FINETUNE-NEXT: {{.*}}@synth_step({{.*}}
// FINETUNE-NEXT: {{.*}}@synth_step_l2({{.*}}
// FINETUNE-NEXT: {{.*}}@synth_update({{.*}}
// FINETUNE-NEXT: {{.*}}@stop_test({{.*}}
// FINETUNE-NEXT: {{.*}}@finetune_step({{.*}}
// FINETUNE-NEXT: {{.*}}@finetune_step_noised({{.*}}
// FINETUNE-NEXT: {{.*}}@finetune_step_trades({{.*}}
// FINETUNE-NEXT: {{.*}}@finetune_update({{.*}}
// FINETUNE-NEXT: {{.*}}@value_and_grad({{.*}}
// FINETUNE-NEXT: {{.*}}@trades_grad({{.*}}
// FINETUNE-NEXT: {{.*}}@attack_update({{.*}}
// FINETUNE-NOT: func.func

// EVALUATE: {{.*}}@forward({{.*}}
// EVALUATE-NEXT: {{.*}}@forward_noised({{.*}}
// EVALUATE-NEXT: {{.*}}@stop_test({{.*}}
// EVALUATE-NEXT: {{.*}}@value_and_grad({{.*}}
// EVALUATE-NEXT: {{.*}}@attack_grad({{.*}}
// EVALUATE-NEXT: {{.*}}@attention_received({{.*}}
// EVALUATE-NEXT: {{.*}}@attack_update({{.*}}
// EVALUATE-NEXT: {{.*}}@attack_update_l2({{.*}}
// EVALUATE-NEXT: {{.*}}@attack_update_momentum({{.*}}
// EVALUATE-NOT: func.func

// LIBRARY-COUNT-18: {{.*}}func.func{{.*}}
// LIBRARY-NOT: func.func

// UNKNOWN: error: expected the module to have an entry @train, but got none
