// RUN: ns-opt %s --rt-call-attention --mlir-print-local-scope | FileCheck %s
// RUN: ns-opt %s --rt-call-attention=entries=packed,other --mlir-print-local-scope | FileCheck %s --check-prefix=CHOSEN
// RUN: ns-opt %s --rt-call-attention --rt-expand-attention --rt-narrow-products=results=bf16 --rt-fuse --mlir-print-local-scope | FileCheck %s --check-prefix=NARROW
// RUN: ns-opt %s --rt-call-attention --rt-expand-attention --rt-narrow-products --mlir-print-local-scope | FileCheck %s --check-prefix=WIDE

// The product adds the bias; forward and gradient are calls, the gradient of what forward read and wrote.
// CHECK-LABEL: func.func @packed(
// CHECK-SAME: %[[X:.*]]: tensor<4x17x16xf32>, %[[W:.*]]: tensor<16x48xf32>, %[[B:.*]]: tensor<48xf32>, %[[D:.*]]: tensor<4x17x16xf32>
// CHECK: %[[QKV:.*]] = rt.gemm [68, 48, 16] %[[X]], %[[W]] bias %[[B]] :
// CHECK-NEXT: %[[O:.*]], %[[S:.*]] = rt.attention %[[QKV]] heads 2 scale 5.000000e-01 {nn.layer = "attn"} : (tensor<4x17x48xf32>) -> (tensor<4x17x16xf32>, tensor<4x2x17xf32>)
// CHECK-NEXT: %[[G:.*]] = rt.attention_grad %[[D]], %[[QKV]] output %[[O]] statistics %[[S]] heads 2 scale 5.000000e-01 {nn.layer = "attn"} : (tensor<4x17x16xf32>, tensor<4x17x48xf32>, tensor<4x17x16xf32>, tensor<4x2x17xf32>) -> tensor<4x17x48xf32>
// CHECK-NEXT: return %[[O]], %[[G]]
// CHOSEN-LABEL: func.func @packed(
// CHOSEN: rt.attention {{.*}} -> (tensor<4x17x16xf32>, tensor<4x2x17xf32>)
// CHOSEN-LABEL: func.func @three_inputs(
// CHOSEN: rt.attention {{.*}} bias {{.*}} -> tensor<4x17x16xf32>

// What a call reads and writes is bf16, with no program beside it: the product writes it, with a bias of that type. Who reads its results
// elsewhere widens them.
// NARROW-LABEL: func.func @packed(
// NARROW-SAME: %[[X:.*]]: tensor<4x17x16xf32>, %[[W:.*]]: tensor<16x48xf32>, %[[B:.*]]: tensor<48xf32>, %[[D:.*]]: tensor<4x17x16xf32>
// NARROW-DAG: %[[X16:.*]] = rt.fused [68, 1, 16] ins(%[[X]] : {{.*}} : tensor<4x17x16xbf16>
// NARROW-DAG: %[[W16:.*]] = rt.fused [16, 1, 48] ins(%[[W]] : {{.*}} : tensor<16x48xbf16>
// NARROW-DAG: %[[B16:.*]] = rt.fused {{.*}} ins(%[[B]] : {{.*}} : tensor<48xbf16>
// NARROW-DAG: %[[D16:.*]] = rt.fused [68, 1, 16] ins(%[[D]] : {{.*}} : tensor<4x17x16xbf16>
// NARROW: %[[QKV:.*]] = rt.gemm [68, 48, 16] %[[X16]], %[[W16]] bias %[[B16]] : {{.*}} -> tensor<4x17x48xbf16>
// NARROW-NOT: rt.fused
// NARROW: %[[O:.*]], %[[S:.*]] = rt.attention %[[QKV]] {{.*}} : (tensor<4x17x48xbf16>) -> (tensor<4x17x16xbf16>, tensor<4x2x17xf32>)
// NARROW: rt.attention_grad %[[D16]], %[[QKV]] output %[[O]] statistics %[[S]] {{.*}} : (tensor<4x17x16xbf16>, tensor<4x17x48xbf16>, tensor<4x17x16xbf16>, tensor<4x2x17xf32>) -> tensor<4x17x48xbf16>
// NARROW: arith.extf

// The library's products write f32: a program rounds what the call reads.
// WIDE-LABEL: func.func @packed(
// WIDE: %[[QKV:.*]] = rt.gemm {{.*}} bias {{.*}} -> tensor<4x17x48xf32>
// WIDE: %[[QKV16:.*]] = rt.fused {{.*}} ins(%[[QKV]] : {{.*}} : tensor<4x17x48xbf16>
// WIDE: rt.attention %[[QKV16]] heads
func.func @packed(%x: tensor<4x17x16xf32>, %w: tensor<16x48xf32>, %b: tensor<48xf32>, %d: tensor<4x17x16xf32>) -> (tensor<4x17x16xf32>, tensor<4x17x48xf32>) {
  %qkv = rt.gemm [68, 48, 16] %x, %w : (tensor<4x17x16xf32>, tensor<16x48xf32>) -> tensor<4x17x48xf32>
  %0 = rt.attention %qkv bias %b heads 2 scale 5.000000e-01 {nn.layer = "attn"} : (tensor<4x17x48xf32>, tensor<48xf32>) -> tensor<4x17x16xf32>
  %1 = rt.attention_grad %d, %qkv bias %b heads 2 scale 5.000000e-01 {nn.layer = "attn"} : (tensor<4x17x16xf32>, tensor<4x17x48xf32>, tensor<48xf32>) -> tensor<4x17x48xf32>
  return %0, %1 : tensor<4x17x16xf32>, tensor<4x17x48xf32>
}

// A product that others read too, or that comes before its bias, and an input that no product makes: a program adds the bias.
// CHECK-LABEL: func.func @three_inputs(
// CHECK-SAME: %[[X:.*]]: tensor<4x17x16xf32>, %[[W:.*]]: tensor<16x16xf32>, %[[B:.*]]: tensor<16xf32>
// CHECK: %[[Q:.*]] = rt.gemm [68, 16, 16] %[[X]], %[[W]] : (tensor<4x17x16xf32>, tensor<16x16xf32>) -> tensor<4x17x16xf32>
// CHECK: %[[K:.*]] = rt.gemm [68, 16, 16] %[[X]], %[[W]] : (tensor<4x17x16xf32>, tensor<16x16xf32>) -> tensor<4x17x16xf32>
// CHECK: %[[LATE:.*]] = rt.slot params "late"
// CHECK: %[[Q1:.*]] = rt.fused [68, 1, 16] ins(%[[Q]], %[[B]] : {{.*}} maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>]
// CHECK: %[[K1:.*]] = rt.fused [68, 1, 16] ins(%[[K]], %[[LATE]] :
// CHECK: %[[V1:.*]] = rt.fused [68, 1, 16] ins(%[[X]], %[[B]] :
// CHECK: rt.attention %[[Q1]], %[[K1]], %[[V1]] heads 2
func.func @three_inputs(%x: tensor<4x17x16xf32>, %w: tensor<16x16xf32>, %b: tensor<16xf32>) -> (tensor<4x17x16xf32>, tensor<4x17x16xf32>) {
  %q = rt.gemm [68, 16, 16] %x, %w : (tensor<4x17x16xf32>, tensor<16x16xf32>) -> tensor<4x17x16xf32>
  %k = rt.gemm [68, 16, 16] %x, %w : (tensor<4x17x16xf32>, tensor<16x16xf32>) -> tensor<4x17x16xf32>
  %late = rt.slot params "late" : tensor<16xf32>
  %0 = rt.attention %q, %k, %x bias %b, %late, %b heads 2 scale 5.000000e-01 : (tensor<4x17x16xf32>, tensor<4x17x16xf32>, tensor<4x17x16xf32>, tensor<16xf32>, tensor<16xf32>, tensor<16xf32>) -> tensor<4x17x16xf32>
  return %0, %q : tensor<4x17x16xf32>, tensor<4x17x16xf32>
}

// A window's statistics are an image's. A gradient whose forward is not here calls it itself.
// CHECK-LABEL: func.func @windows(
// CHECK: %[[O:.*]], %[[S:.*]] = rt.attention %{{.*}} heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x48xf32>) -> (tensor<4x6x16xf32>, tensor<8x2x3xf32>)
// CHECK: rt.attention_grad %{{.*}}, %{{.*}} output %[[O]] statistics %[[S]] heads 2 scale 5.000000e-01 window 3
func.func @windows(%x: tensor<4x6x48xf32>, %d: tensor<4x6x16xf32>) -> tensor<4x6x48xf32> {
  %0 = rt.attention_grad %d, %x heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x16xf32>, tensor<4x6x48xf32>) -> tensor<4x6x48xf32>
  return %0 : tensor<4x6x48xf32>
}

// What cuDNN has not: widths of no multiple of 8, of more than 128, one query, something added to the scores.
// CHECK-LABEL: func.func @left(
// CHECK-NOT: ->{{.*}},
// CHECK: return
func.func @left(%narrow: tensor<4x17x24xf32>, %wide: tensor<4x17x408xf32>, %q: tensor<4x1x16xf32>, %kv: tensor<4x17x32xf32>, %x: tensor<4x3x48xf32>, %s: tensor<2x3x3xf32>) {
  %0 = rt.attention %narrow heads 2 scale 5.000000e-01 : (tensor<4x17x24xf32>) -> tensor<4x17x8xf32>
  %1 = rt.attention %wide heads 1 scale 5.000000e-01 : (tensor<4x17x408xf32>) -> tensor<4x17x136xf32>
  %2 = rt.attention %q, %kv heads 2 scale 5.000000e-01 : (tensor<4x1x16xf32>, tensor<4x17x32xf32>) -> tensor<4x1x16xf32>
  %3 = rt.attention %x score_bias %s heads 2 scale 5.000000e-01 : (tensor<4x3x48xf32>, tensor<2x3x3xf32>) -> tensor<4x3x16xf32>
  return
}
