// RUN: ns-opt %s --rt-expand-math | FileCheck %s

// CHECK-DAG: func.func private @exp(f64) -> f64
// CHECK-DAG: func.func private @erfc(f64) -> f64

// f32: arithmetic on whole vectors.
// CHECK-LABEL: llvm.func @single(
// CHECK-NOT: math.{{exp|erfc|tanh|log}}
// CHECK-NOT: call
// CHECK: math.fma {{.*}} : vector<16xf32>
// CHECK-NOT: math.{{exp|erfc|tanh|log}}
// CHECK-NOT: call
// CHECK: llvm.return
llvm.func @single(%p: !llvm.ptr) {
  %x = llvm.load %p : !llvm.ptr -> vector<16xf32>
  %a = math.exp %x : vector<16xf32>
  %b = math.erfc %a : vector<16xf32>
  %c = math.tanh %b : vector<16xf32>
  %d = math.log %c : vector<16xf32>
  llvm.store %d, %p : vector<16xf32>, !llvm.ptr
  llvm.return
}

// What the processor has an instruction for stays.
// CHECK-LABEL: llvm.func @instructions(
// CHECK: math.sqrt
// CHECK: math.absf
llvm.func @instructions(%p: !llvm.ptr) {
  %x = llvm.load %p : !llvm.ptr -> vector<16xf32>
  %a = math.sqrt %x : vector<16xf32>
  %b = math.absf %a : vector<16xf32>
  llvm.store %b, %p : vector<16xf32>, !llvm.ptr
  llvm.return
}

// f64, for tests: libm, element by element.
// CHECK-LABEL: llvm.func @double(
// CHECK-COUNT-8: call @exp(%{{.*}}) : (f64) -> f64
// CHECK-COUNT-8: call @erfc(%{{.*}}) : (f64) -> f64
// CHECK-NOT: call
// CHECK: llvm.return
llvm.func @double(%p: !llvm.ptr) {
  %x = llvm.load %p : !llvm.ptr -> vector<8xf64>
  %a = math.exp %x : vector<8xf64>
  %b = math.erfc %a : vector<8xf64>
  llvm.store %b, %p : vector<8xf64>, !llvm.ptr
  llvm.return
}
