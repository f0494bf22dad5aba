// RUN: ns-opt %s --rt-to-llvm | FileCheck %s
// RUN: ns-opt %s --ns-emit-pipeline=expand-bf16 | FileCheck %s --check-prefix=EXPANDED

#point = affine_map<(r, k, c) -> (r, c)>

module attributes {rt.layout = {
  params = [], params_bytes = 0 : i64, state = [], state_bytes = 0 : i64,
  io = [{name = "x", offset = 0 : i64, type = tensor<12x20xf32>}, {name = "y", offset = 960 : i64, type = tensor<12x20xbf16>},
        {name = "z", offset = 1440 : i64, type = tensor<12x12xf32>}],
  io_bytes = 2880 : i64}} {

// The product is the ninth field of the host.
// CHECK-LABEL: llvm.func internal @entry_step(
// CHECK: %[[HOST:.*]] = llvm.getelementptr %{{.*}}[0, 8]
// CHECK: llvm.call %{{.*}}(%{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, i32, i64, i64, i64, f32, !llvm.ptr, i64, !llvm.ptr, i64, f32, !llvm.ptr, i64) -> ()

// Vectors are those of f32; bf16 is loaded and stored as the integers that it is, and rounded by instructions of every processor where so asked.
// CHECK-LABEL: llvm.func internal @kernel_0(
// CHECK: %[[IN:.*]] = llvm.getelementptr %{{.*}}[%{{.*}}] : (!llvm.ptr, i64) -> !llvm.ptr, bf16
// CHECK: %[[BITS:.*]] = llvm.load %[[IN]] {alignment = 2 : i64} : !llvm.ptr -> vector<16xi16>
// CHECK: %[[NARROW:.*]] = arith.bitcast %[[BITS]] : vector<16xi16> to vector<16xbf16>
// CHECK: %[[WIDE:.*]] = arith.extf %[[NARROW]] : vector<16xbf16> to vector<16xf32>
// CHECK: %[[SUM:.*]] = arith.addf %[[WIDE]], %{{.*}} : vector<16xf32>
// CHECK: %[[ROUNDED:.*]] = arith.truncf %[[SUM]] : vector<16xf32> to vector<16xbf16>
// CHECK: %[[OUT:.*]] = llvm.getelementptr %{{.*}}[%{{.*}}] : (!llvm.ptr, i64) -> !llvm.ptr, bf16
// CHECK: %[[BITS:.*]] = arith.bitcast %[[ROUNDED]] : vector<16xbf16> to vector<16xi16>
// CHECK: llvm.store %[[BITS]], %[[OUT]] {alignment = 2 : i64} : vector<16xi16>, !llvm.ptr
// CHECK: llvm.intr.masked.store {{.*}} {alignment = 2 : i32} : vector<16xi16>, vector<16xi1> into !llvm.ptr
// EXPANDED-LABEL: llvm.func internal @kernel_0(
// EXPANDED-NOT: fptrunc
// EXPANDED-NOT: fpext
// EXPANDED: llvm.fcmp "une"
// EXPANDED: llvm.trunc %{{.*}} : vector<16xi32> to vector<16xi16>

func.func @step() {
  %x = rt.slot io "x" : tensor<12x20xf32>
  %y = rt.slot io "y" : tensor<12x20xbf16>
  %z = rt.slot io "z" : tensor<12x12xf32>
  %0 = rt.fused [12, 1, 20] ins(%y, %x : tensor<12x20xbf16>, tensor<12x20xf32>) into(%y : tensor<12x20xbf16>) [0] maps [#point, #point] -> [#point] {rt.offsets = array<i64: -1>} : tensor<12x20xbf16> {
  ^bb0(%a: bf16, %b: f32):
    %w = arith.extf %a : bf16 to f32
    %s = arith.addf %w, %b : f32
    %n = arith.truncf %s : f32 to bf16
    rt.yield %n : bf16
  }
  %1 = rt.gemm [12, 12, 20] %0, %0 trans_b into %z {rt.offsets = array<i64: -1>} : (tensor<12x20xbf16>, tensor<12x20xbf16>, tensor<12x12xf32>) -> tensor<12x12xf32>
  return
}
}
