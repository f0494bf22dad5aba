// The last two phases, pinned.
// RUN: ns-opt %s --ns-plan-pipeline --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=PLAN
// RUN: ns-opt %s --ns-plan-pipeline=precision=bf16 --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=BF16
// RUN: ns-opt %s --ns-emit-pipeline=expand-bf16 --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=EXPAND
// RUN: ns-opt %s --ns-emit-pipeline="metadata=about vector-bits=256" --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=EMIT

// PLAN: builtin.module(
// PLAN-NEXT: canonicalize{
// PLAN-NEXT: cse,
// PLAN-NEXT: func.func(
// PLAN-NEXT: nn-recompute
// PLAN-NEXT: ),
// PLAN-NEXT: nn-to-rt{sum-rows=0},
// PLAN-NEXT: func.func(
// PLAN-NEXT: rt-fuse{max-vectors=0 parallel-elements=32768 parallel-rows=8}
// PLAN-NEXT: ),
// PLAN-NEXT: rt-pack-operands{products=auto},
// PLAN-NEXT: rt-pack-weights,
// PLAN-NEXT: func.func(
// PLAN-NEXT: rt-tile-rows{
// PLAN-NEXT: ),
// PLAN-NEXT: func.func(
// PLAN-NEXT: rt-plan-memory
// PLAN-NEXT: )
// PLAN-NEXT: )

// BF16: nn-to-rt{sum-rows=0},
// BF16-NEXT: rt-narrow-products{entries={{.}}clean_logits,synth_step,synth_step_l2,finetune_step,finetune_step_noised,finetune_step_trades,value_and_grad,trades_grad,attack_grad,patchfool_grad{{.}} results=f32},
// BF16-NEXT: func.func(
// BF16-NEXT: rt-fuse

// EXPAND: rt-expand-math,
// EXPAND-NEXT: arith-expand{{{.*}}include-bf16=true

// EMIT: builtin.module(
// EMIT-NEXT: rt-to-llvm{device=false image-size=0 metadata=about table= tf32=false vector-bits=256},
// EMIT-NEXT: rt-expand-math,
// EMIT-NEXT: cse,
// EMIT-NEXT: convert-scf-to-cf{
// EMIT-NEXT: convert-vector-to-llvm{{{.*}}reassociate-fp-reductions=false
// EMIT-NEXT: convert-math-to-llvm{
// EMIT-NEXT: convert-arith-to-llvm{
// EMIT-NEXT: convert-cf-to-llvm{
// EMIT-NEXT: convert-func-to-llvm{
// EMIT-NEXT: reconcile-unrealized-casts
// EMIT-NEXT: )

module attributes {rt.layout = {params = [], state = [], io = []}} {
}
