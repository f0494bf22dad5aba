//===- ModelRecord.cpp - what belongs to a model and is not in its graph -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/Raise.h"

#include "mlir/IR/Builders.h"

#include <cmath>

using namespace llvm;
using namespace mlir;
using namespace ns::pt2;

/// JSON as an attribute; null and empty names are left out.
static Attribute toAttribute(const json::Value &value, Builder &builder) {
  if (auto flag = value.getAsBoolean())
    return builder.getBoolAttr(*flag);
  if (auto integer = value.getAsInteger())
    return builder.getI64IntegerAttr(*integer);
  if (auto number = value.getAsNumber())
    return builder.getF64FloatAttr(*number);
  if (auto text = value.getAsString())
    return builder.getStringAttr(*text);
  if (const json::Object *object = value.getAsObject()) {
    NamedAttrList list;
    for (const auto &member : *object)
      if (Attribute attribute = toAttribute(member.second, builder);
          attribute && !StringRef(member.first).empty())
        list.append(StringRef(member.first), attribute);
    return list.getDictionary(builder.getContext());
  }
  if (const json::Array *array = value.getAsArray()) {
    SmallVector<Attribute> items;
    for (const json::Value &item : *array)
      if (Attribute attribute = toAttribute(item, builder))
        items.push_back(attribute);
    return builder.getArrayAttr(items);
  }
  return {};
}

/// The list of numbers called `key`: the command line's, else the record's.
static Expected<std::vector<double>> channelNumbers(StringRef key, ArrayRef<double> given,
                                                    const json::Object &record, size_t channels) {
  std::vector<double> numbers(given);
  const json::Array *array = record.getArray(key);
  if (given.empty() && array)
    for (const json::Value &item : *array)
      numbers.push_back(item.getAsNumber().value_or(NAN));
  if (numbers.empty())
    return createStringError("the export has no " + key +
                             " of its pixels (no nullspace.json): give --" + key +
                             "=a,b,c, one number for each of its " + Twine(channels) + " channels");
  if (numbers.size() != channels)
    return createStringError(key + ": expected " + Twine(channels) +
                             " numbers, one for each channel, found " + Twine(numbers.size()));
  for (double number : numbers)
    if (!std::isfinite(number) || (key == "std" && number <= 0))
      return createStringError(key + ": expected finite" + (key == "std" ? " positive" : "") +
                               " numbers");
  return numbers;
}

/// An entry of the record that says what the graph says, too, must agree with it.
static Error checkAgainstGraph(const json::Object &record, ArrayRef<int64_t> image,
                               int64_t classes) {
  if (const json::Array *array = record.getArray("image")) {
    bool equal = array->size() == image.size();
    for (size_t i = 0; equal && i < image.size(); ++i)
      equal = (*array)[i].getAsInteger() == image[i];
    if (!equal)
      return createStringError("nullspace.json: its 'image' is not the graph's, " +
                               Twine(image[0]) + " x " + Twine(image[1]) + " x " + Twine(image[2]));
  }
  if (const json::Value *found = record.get("classes"); found && found->getAsInteger() != classes)
    return createStringError("nullspace.json: expected " + Twine(classes) +
                             " classes, as the graph has");
  return Error::success();
}

Expected<ModelRecord> ModelRecord::create(const Program &program, ArrayRef<double> mean,
                                          ArrayRef<double> std, MLIRContext &context) {
  auto input = program.values.find(program.imageName),
       logits = program.values.find(program.logitsName);
  if (input == program.values.end() || input->second.sizes.size() != 4)
    return createStringError("input '" + program.imageName +
                             "': expected an image, batch x channels x height x width");
  if (logits == program.values.end() || logits->second.sizes.size() != 2)
    return createStringError("result '" + program.logitsName +
                             "': expected logits, batch x classes");
  ArrayRef<int64_t> image = ArrayRef(input->second.sizes).drop_front();
  const int64_t classes = logits->second.sizes[1];
  const json::Object empty, &record = program.record ? *program.record : empty;
  if (Error error = checkAgainstGraph(record, image, classes))
    return error;

  ModelRecord result;
  Expected<std::vector<double>> numbers = channelNumbers("mean", mean, record, image[0]);
  if (!numbers)
    return numbers.takeError();
  result.mean = std::move(*numbers);
  numbers = channelNumbers("std", std, record, image[0]);
  if (!numbers)
    return numbers.takeError();
  result.std = std::move(*numbers);
  result.name = record.getString("name").value_or(program.stem).str();
  if (result.name.empty())
    result.name = "model";
  if (const json::Array *names = record.getArray("no_weight_decay"))
    for (const json::Value &name : *names)
      result.noWeightDecay.insert(name.getAsString().value_or(""));

  Builder builder(&context);
  NamedAttrList list;
  for (const auto &member : record)
    if (Attribute attribute = toAttribute(member.second, builder);
        attribute && !StringRef(member.first).empty())
      list.set(StringRef(member.first), attribute);
  list.set("name", builder.getStringAttr(result.name));
  list.set("image", builder.getI64ArrayAttr(image));
  list.set("classes", builder.getI64IntegerAttr(classes));
  list.set("mean", builder.getF64ArrayAttr(result.mean));
  list.set("std", builder.getF64ArrayAttr(result.std));
  if (std::optional<double> crop = record.getNumber("crop_pct"))
    list.set("crop_pct", builder.getF64FloatAttr(*crop));
  result.attributes = list.getDictionary(&context);
  return result;
}
