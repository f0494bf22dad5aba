//===- Parameters.cpp - the published tables ------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Kinds.h"

#include "ns/Runtime/Error.h"

#include <algorithm>
#include <map>

using namespace ns::runtime;
using namespace ns::runtime::corruptions;

/// For each kind the parameters at severities 1 to 5 of ImageNet-C, Tiny-ImageNet-C and CIFAR-10-C.
/// Noises: sigma, exposure or amount; defocus: radius, alias sigma; glass: sigma, reach, rounds;
/// motion: radius, sigma; zoom: end, step; snow: mean, sigma, zoom, threshold, radius, sigma,
/// blend; frost: weights of image and ice; fog: strength, decay; elastic: shift, its sigma, reach
/// of the affine map, in pixels; spatter: mean, sigma, blur, threshold, intensity, mud; saturate:
/// factor, offset.
struct KindTable {
  std::string name;
  std::vector<std::vector<double>> tables[3];
};
static const std::vector<KindTable> &table() {
  static const std::vector<KindTable> kTable = {
      {"gaussian_noise",
       {{{.08}, {.12}, {.18}, {.26}, {.38}},
        {{.04}, {.08}, {.12}, {.15}, {.18}},
        {{.04}, {.06}, {.08}, {.09}, {.10}}}},
      {"shot_noise",
       {{{60}, {25}, {12}, {5}, {3}},
        {{250}, {100}, {50}, {30}, {15}},
        {{500}, {250}, {100}, {75}, {50}}}},
      {"impulse_noise",
       {{{.03}, {.06}, {.09}, {.17}, {.27}},
        {{.01}, {.02}, {.05}, {.08}, {.14}},
        {{.01}, {.02}, {.03}, {.05}, {.07}}}},
      {"defocus_blur",
       {{{3, .1}, {4, .5}, {6, .5}, {8, .5}, {10, .5}},
        {{.5, .6}, {1, .1}, {1.5, .1}, {2.5, .01}, {3, .1}},
        {{.3, .4}, {.4, .5}, {.5, .6}, {1, .2}, {1.5, .1}}}},
      {"glass_blur",
       {{{.7, 1, 2}, {.9, 2, 1}, {1, 2, 3}, {1.1, 3, 2}, {1.5, 4, 2}},
        {{.1, 1, 1}, {.5, 1, 1}, {.6, 1, 2}, {.7, 2, 1}, {.9, 2, 2}},
        {{.05, 1, 1}, {.25, 1, 1}, {.4, 1, 1}, {.25, 1, 2}, {.4, 1, 2}}}},
      {"motion_blur",
       {{{10, 3}, {15, 5}, {15, 8}, {15, 12}, {20, 15}},
        {{10, 1}, {10, 1.5}, {10, 2}, {10, 2.5}, {12, 3}},
        {{6, 1}, {6, 1.5}, {6, 2}, {8, 2}, {9, 2.5}}}},
      {"zoom_blur",
       {{{1.11, .01}, {1.16, .01}, {1.21, .02}, {1.26, .02}, {1.31, .03}},
        {{1.06, .01}, {1.11, .01}, {1.16, .01}, {1.21, .01}, {1.26, .01}},
        {{1.06, .01}, {1.11, .01}, {1.16, .01}, {1.21, .01}, {1.26, .01}}}},
      {"snow",
       {{{.1, .3, 3, .5, 10, 4, .8},
         {.2, .3, 2, .5, 12, 4, .7},
         {.55, .3, 4, .9, 12, 8, .7},
         {.55, .3, 4.5, .85, 12, 8, .65},
         {.55, .3, 2.5, .85, 12, 12, .55}},
        {{.1, .2, 1, .6, 8, 3, .8},
         {.1, .2, 1, .5, 10, 4, .8},
         {.15, .3, 1.75, .55, 10, 4, .7},
         {.25, .3, 2.25, .6, 12, 6, .65},
         {.3, .3, 1.25, .65, 14, 12, .6}},
        {{.1, .2, 1, .6, 8, 3, .95},
         {.1, .2, 1, .5, 10, 4, .9},
         {.15, .3, 1.75, .55, 10, 4, .9},
         {.25, .3, 2.25, .6, 12, 6, .85},
         {.3, .3, 1.25, .65, 14, 12, .8}}}},
      {"frost",
       {{{1, .4}, {.8, .6}, {.7, .7}, {.65, .7}, {.6, .75}},
        {{1, .3}, {.9, .4}, {.8, .45}, {.75, .5}, {.7, .55}},
        {{1, .2}, {1, .3}, {.9, .4}, {.85, .4}, {.75, .45}}}},
      {"fog",
       {{{1.5, 2}, {2, 2}, {2.5, 1.7}, {2.5, 1.5}, {3, 1.4}},
        {{.4, 3}, {.7, 3}, {1, 2.5}, {1.5, 2}, {2, 1.75}},
        {{.2, 3}, {.5, 3}, {.75, 2.5}, {1, 2}, {1.5, 1.75}}}},
      {"brightness",
       {{{.1}, {.2}, {.3}, {.4}, {.5}},
        {{.1}, {.2}, {.3}, {.4}, {.5}},
        {{.05}, {.1}, {.15}, {.2}, {.3}}}},
      {"contrast",
       {{{.4}, {.3}, {.2}, {.1}, {.05}},
        {{.4}, {.3}, {.2}, {.1}, {.05}},
        {{.75}, {.5}, {.4}, {.3}, {.15}}}},
      {"elastic_transform",
       {{{488, 170.8, 24.4},
         {488, 19.52, 48.8},
         {12.2, 2.44, 4.88},
         {17.08, 2.44, 4.88},
         {29.28, 2.44, 4.88}},
        {{0, 0, 5.12},
         {3.2, 19.2, 3.84},
         {6.4, 5.12, 3.84},
         {6.4, 1.92, 1.92},
         {10.24, 1.92, 1.28}},
        {{0, 0, 2.56}, {1.6, 6.4, 2.24}, {2.56, 1.92, 1.92}, {3.2, 1.28, 1.6}, {3.2, .96, .96}}}},
      {"pixelate",
       {{{.6}, {.5}, {.4}, {.3}, {.25}},
        {{.9}, {.8}, {.7}, {.6}, {.5}},
        {{.95}, {.9}, {.85}, {.75}, {.65}}}},
      {"jpeg_compression",
       {{{25}, {18}, {15}, {10}, {7}},
        {{65}, {58}, {50}, {40}, {25}},
        {{80}, {65}, {58}, {50}, {40}}}},
      {"speckle_noise",
       {{{.15}, {.2}, {.35}, {.45}, {.6}},
        {{.15}, {.2}, {.25}, {.3}, {.35}},
        {{.06}, {.1}, {.12}, {.16}, {.2}}}},
      {"gaussian_blur",
       {{{1}, {2}, {3}, {4}, {6}},
        {{.5}, {.75}, {1}, {1.25}, {1.5}},
        {{.4}, {.6}, {.7}, {.8}, {1}}}},
      {"spatter",
       {{{.65, .3, 4, .69, .6, 0},
         {.65, .3, 3, .68, .6, 0},
         {.65, .3, 2, .68, .5, 0},
         {.65, .3, 1, .65, 1.5, 1},
         {.67, .4, 1, .65, 1.5, 1}},
        {{.62, .1, .7, .7, .6, 0},
         {.65, .1, .8, .7, .6, 0},
         {.65, .3, 1, .69, .6, 0},
         {.65, .1, .7, .68, .6, 1},
         {.65, .1, .5, .67, .6, 1}},
        {{.62, .1, .7, .7, .5, 0},
         {.65, .1, .8, .7, .5, 0},
         {.65, .3, 1, .69, .5, 0},
         {.65, .1, .7, .69, .6, 1},
         {.65, .1, .5, .68, .6, 1}}}},
      {"saturate",
       {{{.3, 0}, {.1, 0}, {2, 0}, {5, .1}, {20, .2}},
        {{.3, 0}, {.1, 0}, {2, 0}, {5, .1}, {30, .2}},
        {{.3, 0}, {.1, 0}, {1.5, 0}, {2, .1}, {2.5, .2}}}},
  };
  return kTable;
}

std::span<const std::string> ns::runtime::corruptionKinds() {
  static const std::vector<std::string> kinds = [] {
    std::vector<std::string> names;
    for (auto &[name, severities] : table())
      names.push_back(name);
    return names;
  }();
  return kinds;
}

Parameters corruptions::parameters(const Corruption &corruption, CorruptionTable which) {
  for (auto &[name, tables] : table())
    if (name == corruption.kind && corruption.severity >= 1 && corruption.severity <= 5)
      return tables[static_cast<int>(which)][corruption.severity - 1];
  fail("no corruption ", corruption.kind, " of severity ", corruption.severity);
}

CorruptionTable ns::runtime::corruptionTable(int width, int height) {
  int side = std::min(width, height);
  return side < 48    ? CorruptionTable::Cifar
         : side < 128 ? CorruptionTable::TinyImageNet
                      : CorruptionTable::ImageNet;
}

const char *ns::runtime::nameOf(CorruptionTable table) {
  static constexpr const char *kNames[] = {"imagenet-c", "tiny-imagenet-c", "cifar-10-c"};
  return kNames[static_cast<int>(table)];
}

std::vector<Corruption> ns::runtime::parseCorruption(const std::string &text) {
  size_t colon = text.find(':');
  std::string what = text.substr(0, colon),
              level = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (colon != std::string::npos && (level.size() != 1 || level[0] < '1' || level[0] > '5'))
    throw UsageError("--corruption " + text + ": expected a severity of 1 to 5, found '" + level +
                     "'");
  static const std::map<std::string, std::pair<int, int>> kGroups = {
      // ranges of the list of kinds
      {"all", {0, 15}},     {"noise", {0, 3}},     {"blur", {3, 7}},
      {"weather", {7, 11}}, {"digital", {11, 15}}, {"extra", {15, 19}}};
  std::span<const std::string> kinds = corruptionKinds();
  auto group = kGroups.find(what);
  auto single = std::find(kinds.begin(), kinds.end(), what);
  if (group == kGroups.end() && single == kinds.end()) {
    std::string known = "all, noise, blur, weather, digital, extra";
    for (const std::string &kind : kinds)
      known += ", " + kind;
    throw UsageError("--corruption " + text + ": expected one of " + known + "; found '" + what +
                     "'");
  }
  int from =
          group != kGroups.end() ? group->second.first : static_cast<int>(single - kinds.begin()),
      to = group != kGroups.end() ? group->second.second : from + 1;
  std::vector<Corruption> result;
  for (int kind = from; kind < to; ++kind)
    for (int severity = 1; severity <= 5; ++severity)
      if (level.empty() || severity == level[0] - '0')
        result.push_back({kinds[kind], severity});
  return result;
}

double ns::runtime::alexNetError(const std::string &kind, int severity) {
  static const std::map<std::string, std::array<double, 5>> kErrors = {
      {"gaussian_noise", {.69528, .82542, .93554, .98138, .99452}},
      {"shot_noise", {.71224, .85108, .93574, .98182, .99146}},
      {"impulse_noise", {.78374, .89808, .9487, .9872, .99548}},
      {"defocus_blur", {.65624, .73202, .85036, .91364, .94714}},
      {"glass_blur", {.64308, .75054, .88806, .91622, .93344}},
      {"motion_blur", {.5843, .70048, .82108, .8975, .92638}},
      {"zoom_blur", {.70008, .76992, .80784, .84198, .87198}},
      {"snow", {.71726, .88392, .86468, .9187, .94952}},
      {"frost", {.6139, .79734, .8879, .89942, .9343}},
      {"fog", {.67474, .7605, .84378, .8726, .945}},
      {"brightness", {.4514, .48502, .54048, .62166, .7244}},
      {"contrast", {.64548, .7615, .88874, .9776, .9927}},
      {"elastic_transform", {.52596, .70116, .55686, .64076, .80554}},
      {"pixelate", {.52218, .5462, .73728, .87092, .91262}},
      {"jpeg_compression", {.51002, .54718, .57294, .65458, .74778}},
  };
  return kErrors.at(kind).at(severity - 1);
}
