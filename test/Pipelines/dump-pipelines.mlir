// The pipelines that the options make, pinned. The hardening runs fail: the module holds no network.
// RUN: not ns-opt %s --ns-harden-pipeline="emit=synth site=block.3 init=zero lim=0" --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=SYNTH
// RUN: not ns-opt %s --ns-harden-pipeline="emit=evaluate basis=true basis-file=b.safetensors" --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=BASIS
// RUN: ns-opt %s --ns-simplify-pipeline --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=SIMPLIFY
// RUN: ns-opt %s --ns-simplify-pipeline="batch=8 precision=f64" --ns-differentiate-pipeline --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=F64

// SYNTH: builtin.module(
// SYNTH-NEXT: ns-verify-imported,
// SYNTH-NEXT: ns-mark-forward,
// SYNTH-NEXT: ns-insert-noise{init=zero lim=0.000000e+00 site=block.3},
// SYNTH-NEXT: ns-insert-synthesis-loss{objective=logit_l2sq},
// SYNTH-NEXT: ns-insert-synthesis-loss{objective=logit_l2},
// SYNTH-NEXT: ns-insert-finetune-loss{arm=none separate=false},
// SYNTH-NEXT: ns-insert-finetune-loss{arm=noised separate=false},
// SYNTH-NEXT: ns-insert-finetune-loss{arm=trades separate=false},
// SYNTH-NEXT: ns-insert-dropout{drop-path=0.000000e+00 dropout=0.000000e+00},
// SYNTH-NEXT: ns-insert-attack-gradient,
// SYNTH-NEXT: ns-insert-attack-update,
// SYNTH-NEXT: ns-insert-attention-taps,
// SYNTH-NEXT: ns-select-entries{entries={forward,site_norm,synth_step,synth_step_l2,synth_update,stop_test} optional={attention_received,patchfool_grad}},
// SYNTH-NEXT: ns-verify-hardened
// SYNTH-NEXT: )

// BASIS: builtin.module(
// BASIS-NEXT: ns-verify-imported,
// BASIS-NEXT: ns-compute-basis{file=b.safetensors image= norm=0.000000e+00 steps=100 tol=0.000000e+00 weights-dir=},
// BASIS-NEXT: ns-mark-forward,
// BASIS-NEXT: ns-insert-noise{init=uniform lim=3.000000e+00 site=auto},
// BASIS-NEXT: ns-insert-synthesis-loss{objective=logit_l2sq},
// BASIS-NEXT: ns-insert-synthesis-loss{objective=logit_l2},
// BASIS-NEXT: ns-insert-finetune-loss{arm=none separate=false},
// BASIS-NEXT: ns-insert-finetune-loss{arm=noised separate=false},
// BASIS-NEXT: ns-insert-finetune-loss{arm=trades separate=false},
// BASIS-NEXT: ns-insert-dropout{drop-path=0.000000e+00 dropout=0.000000e+00},
// BASIS-NEXT: ns-insert-attack-gradient,
// BASIS-NEXT: ns-insert-attack-update,
// BASIS-NEXT: ns-insert-attention-taps,
// BASIS-NEXT: ns-select-entries{entries={forward,forward_noised,stop_test,value_and_grad,attack_grad,attention_received,patchfool_grad,attack_update,attack_update_l2,attack_update_momentum} optional={attention_received,patchfool_grad}},
// BASIS-NEXT: ns-verify-hardened
// BASIS-NEXT: )

// SIMPLIFY: builtin.module(
// SIMPLIFY-NEXT: nn-bind-batch{batch=16},
// SIMPLIFY-NEXT: nn-set-precision{precision=f32},
// SIMPLIFY-NEXT: nn-sink-token-select,
// SIMPLIFY-NEXT: nn-fold-frozen
// SIMPLIFY-NEXT: )

// F64: builtin.module(
// F64-NEXT: nn-bind-batch{batch=8},
// F64-NEXT: nn-set-precision{precision=f64},
// F64-NEXT: nn-sink-token-select,
// F64-NEXT: nn-fold-frozen,
// F64-NEXT: ns-differentiate{report=false},
// F64-NEXT: ns-verify-differentiated,
// F64-NEXT: ns-verify-lowerable
// F64-NEXT: )

module {
}
