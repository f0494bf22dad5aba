// The last two phases, pinned.
// RUN: ns-opt %s --ns-plan-pipeline --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=PLAN
// RUN: ns-opt %s --ns-emit-pipeline="metadata=about vector-bits=256" --dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=EMIT

// PLAN: builtin.module(
// PLAN-NEXT: canonicalize{
// PLAN-NEXT: cse,
// PLAN-NEXT: nn-to-rt,
// PLAN-NEXT: func.func(
// PLAN-NEXT: rt-fuse
// PLAN-NEXT: ),
// PLAN-NEXT: func.func(
// PLAN-NEXT: rt-plan-memory
// PLAN-NEXT: )
// PLAN-NEXT: )

// EMIT: builtin.module(
// EMIT-NEXT: rt-to-llvm{metadata=about table= vector-bits=256},
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
