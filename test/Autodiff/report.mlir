// RUN: ns-opt %inputs/tiny-vit.mlir --ns-insert-noise --ns-insert-synthesis-loss --ns-insert-finetune-loss --nn-bind-batch=batch=4 --ns-differentiate=report=true -o %t 2>&1 | FileCheck %s

// With frozen weights the linear layers keep no input. Per block: the inputs of two norms (4 x 17 x 64 floats, 17408 bytes each), the
// packed projection (52224) and the pre-activation (69632); then the last norm's input (17408) and the logits (160).
// CHECK: remark: @synth_step: backward forms of 28 ops read 10 saved values, 330912 bytes
// Finetuning keeps the inputs of the linear layers, too: per block 3 x 17408 + 69632 bytes, the class tokens (1024), the normalised
// image (49152).
// CHECK: remark: @finetune_step: backward forms of 28 ops read 20 saved values, 624800 bytes
