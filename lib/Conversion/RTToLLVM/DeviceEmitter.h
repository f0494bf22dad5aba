//===- DeviceEmitter.h - entries to launches on a device -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_DEVICEEMITTER_H
#define NS_CONVERSION_RTTOLLVM_DEVICEEMITTER_H

#include "EntryFrame.h"
#include "ns/Dialect/RT/IR/AttentionShape.h"

#include "llvm/ADT/StringMap.h"

#include <map>

namespace ns {

/// Entries of a GPU: every op is a launch of a kernel or a call of a library on the device. The
/// code computes addresses and calls the host, nothing else.
class DeviceEmitter : public EntryFrame {
public:
  /// `tf32`: products of float32 operands may round them to TF32.
  DeviceEmitter(mlir::ModuleOp module, bool tf32);

  /// Kernels by number.
  llvm::ArrayRef<std::string> kernels() const { return names; }

  int64_t numLaunches = 0;

private:
  void begin(mlir::func::FuncOp source) override;
  mlir::LogicalResult emitTimed(mlir::Operation *op) override;
  void emitGemm(rt::GemmOp op);
  void emitAttention(mlir::Operation *op);
  void emitLaunch(rt::LaunchOp op);
  /// Writes the arguments of a call to `values`.
  void storeArguments(mlir::Operation *op, mlir::ArrayRef<mlir::Value> arguments);

  /// A constant struct or array of integers, and of floats by their bits; equal contents share one.
  mlir::Value constant(llvm::StringRef name, llvm::ArrayRef<mlir::Type> fields,
                       llvm::ArrayRef<int64_t> values);
  /// The nsrt_gemm of a product.
  mlir::Value description(rt::GemmOp op);
  /// The nsrt_attention of a call.
  mlir::Value description(const rt::AttentionShape &shape, bool isGradient);
  /// What divides the addresses of all matrices of a product, at most 256 bytes.
  int64_t alignmentOf(rt::GemmOp op);

  bool tf32;
  std::vector<std::string> names;
  llvm::StringMap<int64_t> numbers; ///< of kernels
  std::map<std::vector<int64_t>, mlir::LLVM::GlobalOp> constants;
  std::map<std::vector<int64_t>, int64_t> products, attentions;
  mlir::Value values, addresses; ///< of the current call's arguments, and of those
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_DEVICEEMITTER_H
