//===- Programs.h - row programs as text -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TEST_UNIT_KERNELS_PROGRAMS_H
#define NS_TEST_UNIT_KERNELS_PROGRAMS_H

#include "llvm/Support/FormatVariadic.h"

#include <cstring>
#include <string>

namespace ns::test {

/// A map (r, k, c) -> ...
inline std::string map(const char *results) {
  return llvm::formatv("affine_map<(r, k, c) -> ({0})>", results);
}

/// Replaces $R, $K, $C, $RC, $P (R K), $PC and $N, the entry's number.
inline std::string expand(std::string text, int64_t r, int64_t k, int64_t c) {
  static int number = 0;
  std::pair<const char *, int64_t> parameters[] = {
      {"$PC", r * k * c}, {"$RC", r * c}, {"$P", r * k},   {"$R", r},
      {"$K", k},          {"$C", c},      {"$N", number++}};
  for (auto [name, value] : parameters)
    for (size_t at; (at = text.find(name)) != std::string::npos;)
      text.replace(at, strlen(name), std::to_string(value));
  std::pair<const char *, std::string> maps[] = {
      {"#point", map("r, c")},
      {"#inner", "affine_map<(r, k, c) -> (r * " + std::to_string(k) + " + k, c)>"},
      {"#column", map("0, c")},
      {"#rows", map("r, 0")},
      {"#one", map("0, 0")}};
  for (auto &[name, value] : maps)
    for (size_t at; (at = text.find(name)) != std::string::npos;)
      text.replace(at, strlen(name), value);
  return text;
}

inline constexpr char kGelu[] = R"(
func.func @gelu_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$Cxf32>
  %b = rt.slot io "b$N" : tensor<$Cxf32>
  %s = rt.slot io "s$N" : tensor<f32>
  %y = rt.slot io "y$N" : tensor<$Rx$Cxf32>
  %0 = rt.fused [$R, 1, $C] ins(%x, %b, %s : tensor<$Rx$Cxf32>, tensor<$Cxf32>, tensor<f32>) into(%y : tensor<$Rx$Cxf32>) [0] maps [#point, #column, #one] -> [#point] : tensor<$Rx$Cxf32> {
  ^bb0(%a: f32, %bias: f32, %factor: f32):
    %h = arith.addf %a, %bias : f32
    %c = arith.constant -0.70710678 : f32
    %z = arith.mulf %h, %c : f32
    %e = math.erfc %z : f32
    %g = arith.mulf %h, %e : f32
    %r = arith.mulf %g, %factor : f32
    rt.yield %r : f32
  }
  return
}
)";

/// A residual and a layer norm in bf16: two results, and the mean of each row.
inline constexpr char kNorm[] = R"(
func.func @norm_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$CxTYPE>
  %h = rt.slot io "h$N" : tensor<$Rx$Cxf32>
  %g = rt.slot io "g$N" : tensor<$Cxf32>
  %y = rt.slot io "y$N" : tensor<$Rx$CxTYPE>
  %m = rt.slot io "m$N" : tensor<$Rxf32>
  %0:3 = rt.fused [$R, 1, $C] ins(%x, %h, %g : tensor<$Rx$CxTYPE>, tensor<$Rx$Cxf32>, tensor<$Cxf32>) into(%y, %m, %h : tensor<$Rx$CxTYPE>, tensor<$Rxf32>, tensor<$Rx$Cxf32>) [0, 1, 2]
      maps [#point, #point, #column] -> [#point, #rows, #point] : tensor<$Rx$CxTYPE>, tensor<$Rxf32>, tensor<$Rx$Cxf32> {
  ^bb0(%a0: TYPE, %res: f32, %gain: f32):
    WIDEN
    %s = arith.addf %a, %res : f32
    %sum = rt.row_reduce add %s : f32
    %n = arith.constant $C.0 : f32
    %mean = arith.divf %sum, %n : f32
    %d = arith.subf %s, %mean : f32
    %q = arith.mulf %d, %d : f32
    %qs = rt.row_reduce add %q : f32
    %var = arith.divf %qs, %n : f32
    %eps = arith.constant 1.0e-3 : f32
    %v = arith.addf %var, %eps : f32
    %sd = math.sqrt %v : f32
    %e = arith.divf %d, %sd : f32
    %o = arith.mulf %e, %gain : f32
    NARROW
    rt.yield %out, %mean, %s : TYPE, f32, f32
  }
  return
}
)";

/// Softmax, its cross-entropy with a label, the place of the largest element.
inline constexpr char kLoss[] = R"(
func.func @loss_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$Cxf32>
  %t = rt.slot io "t$N" : tensor<$Rxi32>
  %y = rt.slot io "y$N" : tensor<$Rx$Cxf32>
  %l = rt.slot io "l$N" : tensor<$Rxf32>
  %p = rt.slot io "p$N" : tensor<$Rxf32>
  %0:3 = rt.fused [$R, 1, $C] ins(%x, %t : tensor<$Rx$Cxf32>, tensor<$Rxi32>) into(%y, %l, %p : tensor<$Rx$Cxf32>, tensor<$Rxf32>, tensor<$Rxf32>) [0, 1, 2]
      maps [#point, #rows] -> [#point, #rows, #rows] : tensor<$Rx$Cxf32>, tensor<$Rxf32>, tensor<$Rxf32> {
  ^bb0(%a: f32, %label: i32):
    %m = rt.row_reduce max %a : f32
    %d = arith.subf %a, %m : f32
    %e = math.exp %d : f32
    %s = rt.row_reduce add %e : f32
    %q = arith.divf %e, %s : f32
    %c = rt.index affine_map<(r, k, c) -> (c)> : i32
    %hit = arith.cmpi eq, %c, %label : i32
    %zero = arith.constant 0.0 : f32
    %one = arith.constant 1.0 : f32
    %hot = arith.select %hit, %one, %zero : f32
    %g = arith.subf %q, %hot : f32
    %at = arith.select %hit, %d, %zero : f32
    %chosen = rt.row_reduce add %at : f32
    %log = math.log %s : f32
    %loss = arith.subf %log, %chosen : f32
    %is = arith.cmpf oeq, %a, %m : f32
    %far = arith.constant 1.0e+09 : f32
    %cf = arith.sitofp %c : i32 to f32
    %w = arith.select %is, %cf, %far : f32
    %place = rt.row_reduce min %w : f32
    rt.yield %g, %loss, %place : f32, f32, f32
  }
  return
}
)";

/// Sums over k that take in what lies in their destination.
inline constexpr char kSums[] = R"(
func.func @sums_$N() {
  %x = rt.slot io "x$N" : tensor<$Px$Cxf32>
  %y = rt.slot io "y$N" : tensor<$Rx$Cxf32>
  %0 = rt.fused [$R, $K, $C] ins(%x, %y : tensor<$Px$Cxf32>, tensor<$Rx$Cxf32>) into(%y : tensor<$Rx$Cxf32>) [0] maps [#inner, #point] -> [#point] : tensor<$Rx$Cxf32> {
  ^bb0(%a: f32, %old: f32):
    %k = rt.index affine_map<(r, k, c) -> (k)> : i32
    %first = arith.constant 0 : i32
    %is = arith.cmpi eq, %k, %first : i32
    %zero = arith.constant 0.0 : f32
    %o = arith.select %is, %old, %zero : f32
    %s = arith.addf %a, %o : f32
    rt.yield %s : f32
  }
  return
}
)";

/// The gradient of a layer norm: a result for each point, three sums, one number for all columns.
inline constexpr char kNormGradient[] = R"(
func.func @norm_gradient_$N() {
  %x = rt.slot io "x$N" : tensor<$Px$Cxf32>
  %d = rt.slot io "d$N" : tensor<$Px$CxTYPE>
  %g = rt.slot io "g$N" : tensor<$Cxf32>
  %dx = rt.slot io "dx$N" : tensor<$Px$CxTYPE>
  %dg = rt.slot io "dg$N" : tensor<$Rx$Cxf32>
  %db = rt.slot io "db$N" : tensor<$Rx$Cxf32>
  %du = rt.slot io "du$N" : tensor<$Rxf32>
  %0:4 = rt.fused [$R, $K, $C] ins(%x, %d, %g : tensor<$Px$Cxf32>, tensor<$Px$CxTYPE>, tensor<$Cxf32>) into(%dx, %dg, %db, %du : tensor<$Px$CxTYPE>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rxf32>) [0, 1, 2, 3]
      maps [#inner, #inner, #column] -> [#inner, #point, #point, #rows] : tensor<$Px$CxTYPE>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rxf32> {
  ^bb0(%v: f32, %a0: TYPE, %gain: f32):
    WIDEN
    %n = arith.constant $C.0 : f32
    %s = rt.row_reduce add %v : f32
    %mean = arith.divf %s, %n : f32
    %c = arith.subf %v, %mean : f32
    %q = arith.mulf %c, %c : f32
    %qs = rt.row_reduce add %q : f32
    %var = arith.divf %qs, %n : f32
    %eps = arith.constant 1.0e-3 : f32
    %ve = arith.addf %var, %eps : f32
    %sd = math.sqrt %ve : f32
    %h = arith.divf %c, %sd : f32
    %t = arith.mulf %a, %gain : f32
    %ht = arith.mulf %h, %t : f32
    %p = rt.row_reduce add %ht : f32
    %pm = arith.divf %p, %n : f32
    %hp = arith.mulf %h, %pm : f32
    %o = arith.subf %t, %hp : f32
    NARROW
    %w = arith.mulf %a, %h : f32
    rt.yield %out, %w, %a, %mean : TYPE, f32, f32, f32
  }
  return
}
)";

/// The gradient of an activation with the sum for the bias before it.
inline constexpr char kActivationGradient[] = R"(
func.func @activation_gradient_$N() {
  %x = rt.slot io "x$N" : tensor<$Px$CxTYPE>
  %d = rt.slot io "d$N" : tensor<$Px$Cxf32>
  %db = rt.slot io "db$N" : tensor<$Rx$Cxf32>
  %0:2 = rt.fused [$R, $K, $C] ins(%x, %d : tensor<$Px$CxTYPE>, tensor<$Px$Cxf32>) into(%d, %db : tensor<$Px$Cxf32>, tensor<$Rx$Cxf32>) [0, 1] maps [#inner, #inner] -> [#inner, #point] : tensor<$Px$Cxf32>, tensor<$Rx$Cxf32> {
  ^bb0(%a0: TYPE, %g: f32):
    WIDEN
    %t = math.tanh %a : f32
    %y = arith.mulf %t, %g : f32
    rt.yield %y, %y : f32, f32
  }
  return
}
)";

/// Tokens moved, a matrix transposed.
inline constexpr char kMoves[] = R"(
func.func @moves_$N() {
  %x = rt.slot io "x$N" : tensor<$Px$Cxf32>
  %w = rt.slot io "w$N" : tensor<$Cx$Rxf32>
  %y = rt.slot io "y$N" : tensor<$Px$Cxf32>
  %v = rt.slot io "v$N" : tensor<$Rx$Cxf32>
  %0 = rt.fused [$P, 1, $C] ins(%x : tensor<$Px$Cxf32>) into(%y : tensor<$Px$Cxf32>) [0] maps [affine_map<(r, k, c) -> ((r mod $R) * $K + r floordiv $R, c)>] -> [#point] : tensor<$Px$Cxf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  %1 = rt.fused [1, $R, $C] ins(%w : tensor<$Cx$Rxf32>) into(%v : tensor<$Rx$Cxf32>) [0] maps [affine_map<(r, k, c) -> (0, c * $R)>] -> [affine_map<(r, k, c) -> (k, c)>] : tensor<$Rx$Cxf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return
}
)";

/// A hash of the coordinates chooses what stays; a view begins off the boundary of a vector.
inline constexpr char kDropout[] = R"(
func.func @dropout_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$Cxf32>
  %whole = rt.slot io "w$N" : tensor<$PCxf32>
  %y = rt.view %whole offset OFFSET : tensor<$PCxf32> -> tensor<$Rx$Cxf32>
  %0 = rt.fused [$R, 1, $C] ins(%x : tensor<$Rx$Cxf32>) into(%y : tensor<$Rx$Cxf32>) [0] maps [#point] -> [#point] : tensor<$Rx$Cxf32> {
  ^bb0(%a: f32):
    %r = rt.index affine_map<(r, k, c) -> (r)> : i32
    %c = rt.index affine_map<(r, k, c) -> (c)> : i32
    %n = arith.constant $C : i32
    %rn = arith.muli %r, %n : i32
    %at = arith.addi %rn, %c : i32
    %prime = arith.constant -1640531535 : i32
    %h = arith.muli %at, %prime : i32
    %bits = arith.constant 15 : i32
    %s = arith.shrui %h, %bits : i32
    %mixed = arith.xori %h, %s : i32
    %limit = arith.constant 1073741824 : i32
    %keep = arith.cmpi ult, %mixed, %limit : i32
    %zero = arith.constant 0.0 : f32
    %o = arith.select %keep, %zero, %a : f32
    rt.yield %o : f32
  }
  return
}
)";

/// A rotation of pairs.
inline constexpr char kRotation[] = R"(
func.func @rotation_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$CxTYPE>
  %s = rt.slot io "s$N" : tensor<$Cxf32>
  %y = rt.slot io "y$N" : tensor<$Rx$CxTYPE>
  %0 = rt.fused [$R, 1, $C] ins(%x, %s : tensor<$Rx$CxTYPE>, tensor<$Cxf32>) into(%y : tensor<$Rx$CxTYPE>) [0] maps [#point, #column] -> [#point] : tensor<$Rx$CxTYPE> {
  ^bb0(%a0: TYPE, %sine: f32):
    WIDEN
    %other = rt.swap_pairs %a : f32
    %o = math.fma %other, %sine, %a : f32
    NARROW
    rt.yield %out : TYPE
  }
  return
}
)";

/// Every row over a power of two, rounded to e4m3, with that power.
inline constexpr char kQuantize[] = R"(
func.func @quantize_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$Cxf32>
  %q = rt.slot io "q$N" : tensor<$Rx$Cxf8E4M3FN>
  %s = rt.slot io "s$N" : tensor<$Rxf32>
  %0:2 = rt.fused [$R, 1, $C] ins(%x : tensor<$Rx$Cxf32>) into(%q, %s : tensor<$Rx$Cxf8E4M3FN>, tensor<$Rxf32>) [0, 1] maps [#point] -> [#point, #rows] : tensor<$Rx$Cxf8E4M3FN>, tensor<$Rxf32> {
  ^bb0(%a: f32):
    %abs = math.absf %a : f32
    %max = rt.row_reduce max %abs : f32
    %inverse = arith.constant 0.00446428591 : f32
    %half = arith.mulf %max, %inverse : f32
    %least = arith.constant 7.88860905e-31 : f32
    %is = arith.cmpf ogt, %half, %least : f32
    %some = arith.select %is, %half, %least : f32
    %bits = arith.bitcast %some : f32 to i32
    %mask = arith.constant 2139095040 : i32
    %power = arith.andi %bits, %mask : i32
    %scale = arith.bitcast %power : i32 to f32
    %rest = arith.xori %power, %mask : i32
    %last = arith.constant -8388608 : i32
    %opposite = arith.addi %rest, %last : i32
    %factor = arith.bitcast %opposite : i32 to f32
    %b = arith.mulf %a, %factor : f32
    %r = arith.truncf %b : f32 to f8E4M3FN
    rt.yield %r, %scale : f8E4M3FN, f32
  }
  return
}
)";

/// Each number of `every` rounded to e4m3.
inline constexpr char kRoundToE4M3[] = R"(
func.func @round_$N() {
  %x = rt.slot io "every$N" : tensor<$Rx$Cxf32>
  %q = rt.slot io "q$N" : tensor<$Rx$Cxf8E4M3FN>
  %0 = rt.fused [$R, 1, $C] ins(%x : tensor<$Rx$Cxf32>) into(%q : tensor<$Rx$Cxf8E4M3FN>) [0] maps [#point] -> [#point] : tensor<$Rx$Cxf8E4M3FN> {
  ^bb0(%a: f32):
    %r = arith.truncf %a : f32 to f8E4M3FN
    rt.yield %r : f8E4M3FN
  }
  return
}
)";

/// AdamW in place, with numbers for all parameters.
inline constexpr char kAdam[] = R"(
func.func @adam_$N() {
  %p = rt.slot io "p$N" : tensor<$Rx$Cxf32>
  %m = rt.slot io "m$N" : tensor<$Rx$Cxf32>
  %v = rt.slot io "v$Npositive" : tensor<$Rx$Cxf32>
  %g = rt.slot io "g$N" : tensor<$Rx$Cxf32>
  %h = rt.slot io "h$Npositive" : tensor<3xf32>
  %0:3 = rt.fused [$R, 1, $C] ins(%p, %m, %v, %g, %h, %h : tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<3xf32>, tensor<3xf32>) into(%p, %m, %v : tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>) [0, 1, 2]
      maps [#point, #point, #point, #point, #one, affine_map<(r, k, c) -> (2, 0)>] -> [#point, #point, #point] : tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32> {
  ^bb0(%a: f32, %first: f32, %second: f32, %grad: f32, %rate: f32, %eps: f32):
    %b = arith.constant 0.9 : f32
    %c = arith.constant 0.1 : f32
    %gc = arith.mulf %grad, %c : f32
    %m1 = math.fma %first, %b, %gc : f32
    %gg = arith.mulf %grad, %gc : f32
    %v1 = math.fma %second, %b, %gg : f32
    %root = math.sqrt %v1 : f32
    %den = arith.addf %root, %eps : f32
    %num = arith.mulf %m1, %rate : f32
    %step = arith.divf %num, %den : f32
    %a1 = arith.subf %a, %step : f32
    rt.yield %a1, %m1, %v1 : f32, f32, f32
  }
  return
}
)";

/// With elements of f32 or bf16 for TYPE.
inline std::string typed(std::string text, bool narrow) {
  std::pair<const char *, const char *> parts[] = {
      {"WIDEN", narrow ? "%a = arith.extf %a0 : bf16 to f32"
                       : "%nil = arith.constant 0.0 : f32\n    %a = arith.addf %a0, %nil : f32"},
      {"NARROW", narrow
                     ? "%out = arith.truncf %o : f32 to bf16"
                     : "%unit = arith.constant 1.0 : f32\n    %out = arith.mulf %o, %unit : f32"},
      {"TYPE", narrow ? "bf16" : "f32"}};
  for (auto [name, value] : parts)
    for (size_t at; (at = text.find(name)) != std::string::npos;)
      text.replace(at, strlen(name), value);
  return text;
}

} // namespace ns::test

#endif // NS_TEST_UNIT_KERNELS_PROGRAMS_H
