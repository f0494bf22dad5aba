//===- RaiseGrid.cpp - feature maps, windows and convolutions -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A feature map B x C x H x W, or B x H x W x C, is a view of tokens B x (H * W) x C: what a model
// permutes between the two leaves no op. Ops on channels find the tokens below the view (`rowsOf`)
// and show their result in the same layout (`defineRows`). Only where the order of tokens itself
// differs, which is what windows and patch merging do, does a view become an op; its digits are
// read off the map.
//
//===----------------------------------------------------------------------===//

#include "Raiser.h"

using namespace llvm;
using namespace mlir;
using namespace ns;
using namespace ns::pt2;
using llvm::Error;

/// Extents of kernels, strides and paddings above this are rejected, so that sums of them and of
/// extents never overflow.
static constexpr int64_t kMaxWindow = 1 << 20;

//===----------------------------------------------------------------------===//
// Tokens below a view
//===----------------------------------------------------------------------===//

static bool isZero(int64_t number) { return number == 0; }
static bool isOne(int64_t number) { return number == 1; }

/// Dimension `dim` last, the others in order.
static SmallVector<int64_t> lastOrder(unsigned rank, unsigned dim) {
  SmallVector<int64_t> order;
  for (unsigned i = 0; i < rank; ++i)
    if (i != dim)
      order.push_back(i);
  order.push_back(dim);
  return order;
}

static SmallVector<int64_t> inverse(ArrayRef<int64_t> order) {
  SmallVector<int64_t> result(order.size());
  for (auto [i, dim] : enumerate(order))
    result[dim] = i;
  return result;
}

bool Raiser::isWhole(const View &view) {
  return view.map.isBijection(countElements(shapeOf(view.root)).value_or(0));
}

Value Raiser::makePermutation(const View &view, const Node &node) {
  SmallVector<int64_t> root = shapeOf(view.root), shape = view.map.shape();
  if (!typeOf(view.root).isDynamicDim(0) || shape.size() != 3 || shape[0] != root[0] ||
      !isWhole(view))
    return nullptr;
  auto type = typeOf(view.root).clone({ShapedType::kDynamic, shape[1], shape[2]});
  if (root.size() == 4) {
    const int64_t channels = root[1], pixels = root[2] * root[3];
    if (view.map != IndexMap({{root[0], channels * pixels}, {pixels, 1}, {channels, pixels}}))
      return nullptr;
    Node named = node;
    named.name = "pixels";
    return emit<nn::ImageToTokensOp>(named, type, view.root);
  }
  if (root.size() != 3)
    return nullptr;
  std::optional<IndexMap> map = view.map.reshape(root);
  if (!map)
    return nullptr;
  Value result = view.root;
  if (*map != IndexMap::identity(root)) {
    std::optional<IndexMap> rows = map->withRows(root[2], 1); // of whole tokens
    if (!rows || !llvm::equal(rows->dimension(0), ArrayRef<IndexMap::Factor>{{root[0], root[1]}}))
      return nullptr; // the images, too, are in another order
    IndexMap::Dimension digits(rows->dimension(1)), sorted = digits;
    llvm::stable_sort(sorted, [](auto a, auto b) { return a.stride > b.stride; });
    SmallVector<int64_t> extents, order;
    for (IndexMap::Factor factor : sorted)
      extents.push_back(factor.extent);
    for (IndexMap::Factor factor : digits)
      order.push_back(llvm::find(sorted, factor) - sorted.begin());
    result = emit<nn::PermuteTokensOp>(node, view.root.getType(), view.root, extents, order);
  }
  if (typeOf(result) != type)
    result = emit<nn::ReshapeTokensOp>(node, type, result);
  return result;
}

Raiser::View Raiser::rowsOf(const View &given, const Node &node) {
  View view = given;
  const unsigned rank = view.map.rank();
  view.root = view.root ? force(view.root, node) : Value();
  if (!view.root)
    return {};
  if (rank < 2) {
    Value value = materialize(view, node);
    return {value, value ? IndexMap::identity(shapeOf(value)) : IndexMap(), view.source};
  }
  SmallVector<int64_t> shape = view.map.shape(), root = shapeOf(view.root);
  const bool whole =
      isWhole(view) && !root.empty() && root.size() <= 3 && root.back() == shape.back();
  std::optional<IndexMap> flat = view.map.reshape(root);
  if (whole && flat && *flat == IndexMap::identity(root))
    return view;
  // An op makes the tokens in this order, where the images are outermost.
  const int64_t rows = *countElements(shape) / shape.back();
  if (typeOf(view.root).isDynamicDim(0) && rows % root[0] == 0) {
    SmallVector<int64_t> tokens{root[0], rows / root[0], shape.back()};
    if (rank == 2)
      tokens.erase(tokens.begin() + 1);
    if (std::optional<IndexMap> map = view.map.reshape(tokens))
      if (Value value = materialize({view.root, *map, view.source}, node))
        return {value, *IndexMap::identity(tokens).reshape(shape), view.source};
  }
  if (rank <= 3)
    if (Value value = materialize(view, node))
      return {value, IndexMap::identity(shapeOf(value)), view.source};
  if (whole && view.map.withRows(root.back(), root.back())) // rows in another order
    return view;
  return {};
}

Raiser::View Raiser::rowsAt(const View &view, unsigned dim, const Node &node) {
  SmallVector<int64_t> order = lastOrder(view.map.rank(), dim);
  View rows = rowsOf({view.root, view.map.permute(order), view.source}, node);
  if (rows.root && !isWhole(rows))
    return {};
  return rows;
}

Raiser::View Raiser::rowsAt(const Node &node, StringRef argument, unsigned dim) {
  View operand = view(node, argument);
  if (dim >= operand.map.rank()) {
    (void)!outside(node, "'" + argument + "' of " + describe(operand.map.shape()));
    return {};
  }
  View rows = rowsAt(operand, dim, node);
  if (!rows.root)
    (void)!outside(node, cannotMake(argument, operand));
  return rows;
}

void Raiser::defineRowsAt(const Node &node, Value value, const View &rows, unsigned dim) {
  IndexMap map = *rows.map.withRows(shapeOf(rows.root).back(), shapeOf(value).back());
  define(node, value, map.permute(inverse(lastOrder(map.rank(), dim))));
}

Raiser::View Raiser::elementsOf(const View &given, const Node &node) {
  View view = given;
  const unsigned rank = view.map.rank();
  view.root = view.root ? force(view.root, node) : Value();
  if (!view.root || rank < 2)
    return view.root ? rowsOf(view, node) : View();
  if (shapeOf(view.root).size() <= 3 && shapeOf(view.root).size() >= 2 && isWhole(view))
    return view;
  for (unsigned dim : {rank - 1, 1u})
    if (View rows = rowsAt(view, dim, node); rows.root) {
      rows.map = rows.map.permute(inverse(lastOrder(rank, dim)));
      return rows;
    }
  return {};
}

Raiser::View Raiser::elements(const Node &node, StringRef argument) {
  View operand = view(node, argument), found = elementsOf(operand, node);
  if (!found.root)
    (void)!outside(node, cannotMake(argument, operand));
  return found;
}

bool Raiser::alignRoots(View &a, View &b, const Node &node) {
  const unsigned rank = a.map.rank();
  if (!a.root || !b.root || rank < 2 || a.map.shape() != b.map.shape())
    return false;
  View x = elementsOf(a, node), y = elementsOf(b, node);
  auto agree = [&] {
    return x.root && y.root && x.map == y.map && x.root.getType() == y.root.getType();
  };
  for (unsigned dim : {rank - 1, 1u}) {
    if (agree())
      break;
    SmallVector<int64_t> back = inverse(lastOrder(rank, dim));
    x = rowsAt(a, dim, node), y = rowsAt(b, dim, node);
    for (View *view : {&x, &y})
      if (view->root)
        view->map = view->map.permute(back);
  }
  if (!agree())
    return false;
  a = x, b = y;
  return true;
}

std::optional<unsigned> Raiser::channelOf(const View &gamma, const View &x) {
  const unsigned rank = x.map.rank(), own = gamma.map.rank();
  std::optional<unsigned> channel;
  if (own > rank || own == 0)
    return std::nullopt;
  for (unsigned i = 0; i < own; ++i) {
    if (gamma.map.extent(i) == 1)
      continue;
    if (channel || gamma.map.extent(i) != x.map.extent(i + rank - own))
      return std::nullopt;
    channel = i + rank - own;
  }
  return channel;
}

bool Raiser::raiseChannelScale(const Node &node, const View &x, const View &gamma) {
  std::optional<unsigned> dim = channelOf(gamma, x);
  if (!dim || *dim == 0 || isDeferred(gamma.root) || shapeOf(gamma.root).size() != 1 ||
      !isWhole(gamma))
    return false;
  View rows = rowsAt(x, *dim, node);
  if (!rows.root)
    return false;
  defineRowsAt(node, emit<nn::LayerScaleOp>(node, rows.root.getType(), rows.root, gamma.root), rows,
               *dim);
  return true;
}

//===----------------------------------------------------------------------===//
// Convolution and pooling
//===----------------------------------------------------------------------===//

/// Two numbers of an argument, which may be given as one; `fallback` for both where it is absent.
/// Nothing where a number is not in [least, kMaxWindow].
static std::optional<SmallVector<int64_t, 2>> pair(const Node &node, StringRef argument,
                                                   int64_t fallback, int64_t least) {
  const Argument *given = node.find(argument);
  if (!given || (given->kind == Argument::Kind::Ints && given->ints.empty()))
    return SmallVector<int64_t, 2>{fallback, fallback};
  if (given->kind != Argument::Kind::Ints || given->ints.size() > 2)
    return std::nullopt;
  SmallVector<int64_t, 2> numbers{given->ints.front(), given->ints.back()};
  for (int64_t number : numbers)
    if (number < least || number > kMaxWindow)
      return std::nullopt;
  return numbers;
}

std::optional<SmallVector<int64_t, 2>> Raiser::Sliding::over(ArrayRef<int64_t> grid) const {
  SmallVector<int64_t, 2> result;
  for (unsigned i : {0, 1}) {
    const int64_t room = grid[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1;
    if (room < 0)
      return std::nullopt;
    result.push_back(room / stride[i] + 1);
  }
  return result;
}

IndexMap Raiser::channelsFirst(ArrayRef<int64_t> tokens, ArrayRef<int64_t> grid) {
  const int64_t channels = tokens[2];
  return IndexMap({{tokens[0], tokens[1] * channels},
                   {channels, 1},
                   {grid[0], grid[1] * channels},
                   {grid[1], channels}});
}

bool Raiser::claims(const Node &node, int64_t channels, ArrayRef<int64_t> grid) const {
  return claimedShape(node.outputs.front()) ==
         ArrayRef<int64_t>{kProbeBatch, channels, grid[0], grid[1]};
}

Value Raiser::gridOf(const Node &node, StringRef argument, SmallVectorImpl<int64_t> &grid) {
  View operand = view(node, argument);
  SmallVector<int64_t> shape = operand.map.shape();
  if (shape.size() != 4 || shape[0] != kProbeBatch) {
    (void)!outside(node, "'" + argument + "' of " + describe(shape) +
                             ", expected a feature map, batch x channels x height x width");
    return nullptr;
  }
  grid.assign({shape[2], shape[3]});
  View rows = rowsAt(node, argument, 1);
  if (!rows.root)
    return nullptr;
  SmallVector<int64_t> tokens{shape[0], shape[2] * shape[3], shape[1]};
  std::optional<IndexMap> map = rows.map.reshape(tokens);
  if (map && shapeOf(rows.root) == ArrayRef(tokens) && *map == IndexMap::identity(tokens))
    return rows.root;
  (void)!outside(node, "'" + argument + "' of " + describe(shape) + " that is no grid of tokens");
  return nullptr;
}

Error Raiser::raiseConvolution(const Node &node) {
  View input = view(node, "input");
  Value weight = operand(node, "weight"), bias = operand(node, "bias");
  if (!weight || (node.find("bias") && !bias))
    return Error::success();
  SmallVector<int64_t> image = input.map.shape(), kernel = shapeOf(weight);
  if (image.size() != 4 || kernel.size() != 4 || (bias && shapeOf(bias) != ArrayRef(kernel[0])))
    return malformed(node, "a convolution of " + describe(image) + " by " + describe(kernel));
  if (image[0] != kProbeBatch)
    return outside(node, "a convolution of " + describe(image) +
                             ", expected batch x channels x height x width");
  std::optional<int64_t> groups = node.find("groups") ? integer(node, "groups") : 1;
  const bool depthwise = groups == image[1] && kernel[0] == image[1] && kernel[1] == 1;
  if (!depthwise && groups == 1 && image[1] != kernel[1])
    return malformed(node, "a convolution of " + describe(image) + " by " + describe(kernel));
  if (!depthwise && groups != 1)
    return refuse(node, "a convolution in groups (" + Twine(groups.value_or(0)) + " for " +
                            Twine(image[1]) + " to " + Twine(kernel[0]) +
                            " channels), expected one group or as many as channels");
  auto stride = pair(node, "stride", 1, 1), padding = pair(node, "padding", 0, 0),
       dilation = pair(node, "dilation", 1, 1);
  Sliding window{{kernel[2], kernel[3]}, {}, {}, {}};
  if (stride && padding && dilation)
    window = {{kernel[2], kernel[3]}, *stride, *padding, *dilation};
  if (window.stride.empty() || kernel[2] > kMaxWindow || kernel[3] > kMaxWindow)
    return refuse(node, "a convolution with padding, stride or dilation that is not a number");
  auto extents = window.over(ArrayRef(image).drop_front(2));
  if (!extents)
    return malformed(node, "a kernel larger than its input, " + describe(image));
  if (!claims(node, kernel[0], *extents))
    return malformed(node, "another result than its kernel, stride and padding make");
  SmallVector<int64_t> result{kProbeBatch, (*extents)[0] * (*extents)[1], kernel[0]};
  auto type =
      RankedTensorType::get({ShapedType::kDynamic, result[1], result[2]}, builder.getF32Type());
  const bool onImage = shapeOf(input.root).size() == 4 &&
                       input.map == IndexMap::identity(shapeOf(input.root)) &&
                       typeOf(input.root).isDynamicDim(0);
  const bool patches = window.stride == window.kernel && llvm::all_of(*padding, isZero) &&
                       llvm::all_of(*dilation, isOne) && groups == 1;
  if (onImage && patches) {
    Value tokens = emit<nn::PatchEmbedOp>(node, type, input.root, weight, bias, window.kernel);
    define(node, tokens, channelsFirst(result, *extents));
    return Error::success();
  }
  SmallVector<int64_t> grid;
  if (Value tokens = gridOf(node, "input", grid))
    define(node,
           emit<nn::ConvOp>(node, type, tokens, weight, bias, grid, window.stride, window.padding,
                            window.dilation, *groups),
           channelsFirst(result, *extents));
  return Error::success();
}

Error Raiser::raiseMaxPool(const Node &node) {
  auto kernel = pair(node, "kernel_size", 0, 1), padding = pair(node, "padding", 0, 0),
       dilation = pair(node, "dilation", 1, 1);
  const Argument *ceil = node.find("ceil_mode");
  if (!kernel || !padding || !dilation || (*kernel)[0] == 0)
    return malformed(node, "expected its kernel, stride, padding and dilation as numbers");
  const Argument *given = node.find("stride");
  auto stride = given && !given->ints.empty() ? pair(node, "stride", 1, 1) : kernel;
  if (!stride)
    return malformed(node, "expected its stride as two numbers");
  if ((ceil && ceil->flag) || llvm::any_of(*dilation, std::not_fn(isOne)))
    return refuse(node, "a maximum over windows with dilation or rounded up");
  SmallVector<int64_t> grid;
  Value tokens = gridOf(node, "self", grid);
  if (!tokens)
    return Error::success();
  auto extents = Sliding{*kernel, *stride, *padding, *dilation}.over(grid);
  if (!extents)
    return malformed(node, "a window larger than its input, " + describe(grid));
  if (!claims(node, shapeOf(tokens)[2], *extents))
    return malformed(node, "another result than its kernel, stride and padding make");
  SmallVector<int64_t> result{kProbeBatch, (*extents)[0] * (*extents)[1], shapeOf(tokens)[2]};
  auto type = typeOf(tokens).clone({ShapedType::kDynamic, result[1], result[2]});
  define(node, emit<nn::MaxPoolOp>(node, type, tokens, grid, *kernel, *stride, *padding),
         channelsFirst(result, *extents));
  return Error::success();
}

/// The mean over every dimension but the batch and `channel`, in the shape that the archive claims.
Error Raiser::meanOverGrid(const Node &node, unsigned channel) {
  View rows = rowsAt(node, "self", channel);
  if (!rows.root)
    return Error::success();
  SmallVector<int64_t> shape = shapeOf(rows.root);
  const int64_t image = *countElements(shape) / shape[0];
  if (shape[0] != kProbeBatch || rows.map.rank() < 2 ||
      !llvm::equal(rows.map.dimension(0), ArrayRef<IndexMap::Factor>{{kProbeBatch, image}}))
    return outside(node, "a mean over more than the tokens of an image");
  Value mean = rows.root;
  if (shape.size() == 3)
    mean = emit<nn::MeanTokensOp>(
        node, typeOf(mean).clone({typeOf(mean).getDimSize(0), shape.back()}), mean);
  IndexMap map = IndexMap::identity(shapeOf(mean));
  std::optional<IndexMap> result = map.reshape(claimedShape(node.outputs.front()));
  if (!result)
    return malformed(node, "a mean of shape " + describe(claimedShape(node.outputs.front())));
  define(node, mean, *result);
  return Error::success();
}

Error Raiser::raiseMean(const Node &node) {
  const Argument *dims = node.find("dim");
  const int64_t rank = view(node, "self").map.rank();
  SmallVector<bool> kept(rank, true);
  for (int64_t dim : dims ? ArrayRef(dims->ints) : ArrayRef<int64_t>())
    if (dim >= -rank && dim < rank)
      kept[dim < 0 ? dim + rank : dim] = false;
  if (rank < 3 || !kept[0] || llvm::count(kept, true) != 2)
    return outside(node, "a mean other than over tokens");
  return meanOverGrid(node, std::find(kept.begin() + 1, kept.end(), true) - kept.begin());
}

Error Raiser::raiseAdaptivePool(const Node &node) {
  const Argument *size = node.find("output_size");
  if (!size || size->kind != Argument::Kind::Ints || size->ints.empty())
    return malformed(node, "expected its output_size as numbers");
  if (llvm::any_of(size->ints, std::not_fn(isOne)))
    return refuse(node, "adaptive pooling to " + describe(size->ints) + ", expected to one mean");
  if (view(node, "self").map.rank() != size->ints.size() + 2)
    return malformed(node, "pooling of " + describe(view(node, "self").map.shape()));
  return meanOverGrid(node, 1);
}

Error Raiser::raiseBatchNorm(const Node &node) {
  const Argument *training = node.find("training");
  if (training && training->flag)
    return refuse(node, "in training mode: export the model after .eval()");
  SmallVector<Value, 4> parameters;
  for (StringRef name : {"weight", "bias", "running_mean", "running_var"}) {
    if (!node.find(name))
      return refuse(node, "a batch normalisation without " + name);
    parameters.push_back(operand(node, name));
    if (!parameters.back())
      return Error::success();
  }
  View rows = rowsAt(node, "input", 1);
  if (!rows.root)
    return Error::success();
  for (Value parameter : parameters)
    if (shapeOf(parameter) != ArrayRef(shapeOf(rows.root).back()))
      return malformed(node, "a normalisation of " + describe(view(node, "input").map.shape()) +
                                 " with parameters of " + describe(shapeOf(parameter)));
  APFloat eps(number(node, "eps").value_or(1e-5));
  Value result = emit<nn::BatchNormOp>(node, rows.root.getType(), rows.root, parameters[0],
                                       parameters[1], parameters[2], parameters[3], eps);
  if (double momentum = number(node, "momentum").value_or(0.1); momentum != 0.1)
    result.getDefiningOp()->setAttr(nn::NNDialect::kMomentumAttr,
                                    builder.getF64FloatAttr(momentum));
  defineRowsAt(node, result, rows, 1);
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Padding and shifts
//===----------------------------------------------------------------------===//

Error Raiser::raisePad(const Node &node) {
  const Argument *pad = node.find("pad");
  if (!pad || pad->kind != Argument::Kind::Ints || !llvm::all_of(pad->ints, isZero))
    return refuse(node, "pads " + describe(view(node, "self").map.shape()) +
                            ": windows or patches that do not tile the grid");
  environment[node.outputs.front()] = view(node, "self"); // keeps its source
  return Error::success();
}

Error Raiser::raiseRoll(const Node &node) {
  View operand = view(node, "self");
  const Argument *shifts = node.find("shifts"), *dims = node.find("dims");
  if (!shifts || !dims || shifts->ints.size() != dims->ints.size())
    return refuse(node, "a shift of the flattened tensor");
  if (llvm::all_of(shifts->ints, isZero)) {
    environment[node.outputs.front()] = operand;
    return Error::success();
  }
  SmallVector<int64_t> shape = operand.map.shape(), by(shape.size(), 0);
  const int64_t rank = shape.size();
  for (auto [shift, dim] : zip_equal(shifts->ints, dims->ints)) {
    if (dim < -rank || dim >= rank || shift < -kMaxWindow || shift > kMaxWindow)
      return malformed(node, "shifts dimension " + Twine(dim) + " of " + describe(shape));
    by[dim < 0 ? dim + rank : dim] = shift;
  }
  const unsigned channel = rank == 4 && by[1] == 0 && by[3] != 0 ? 1 : 3;
  if (rank != 4 || by[0] != 0 || by[channel] != 0)
    return outside(node, "a shift other than of a grid of tokens");
  SmallVector<int64_t> grid, shift;
  for (unsigned dim : {1u, 2u, 3u})
    if (dim != channel)
      grid.push_back(shape[dim]), shift.push_back(by[dim]);
  View rows = rowsAt(node, "self", channel);
  if (!rows.root)
    return Error::success();
  SmallVector<int64_t> tokens{shape[0], grid[0] * grid[1], shape[channel]};
  std::optional<IndexMap> map = rows.map.reshape(tokens);
  if (shapeOf(rows.root) != ArrayRef(tokens) || !map || *map != IndexMap::identity(tokens))
    return outside(node, "a shift other than of a grid of tokens");
  defineRowsAt(node, emit<nn::RollTokensOp>(node, rows.root.getType(), rows.root, grid, shift),
               rows, channel);
  return Error::success();
}
