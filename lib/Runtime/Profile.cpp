//===- Profile.cpp - where the time of a run went -------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Profile.h"

#include <nlohmann/json.hpp>

#include <chrono>

using namespace ns::runtime;
using nlohmann::json;

static constexpr size_t kMaxEvents = 500'000; // of one thread; some 60 MB of trace

static int64_t clockNow() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

static Profile::Item readOp(const json &item, int entry, int position) {
  Profile::Item read{.entry = entry, .position = position};
  read.op = {item.value("layer", ""),         item.value("kind", ""),
             item.value("shape", ""),         item.value("kernel", ""),
             item.value("flops", int64_t(0)), item.value("bytes", int64_t(0))};
  read.name = read.op.layer.empty() ? read.op.kind : read.op.layer;
  return read;
}

Profile::Profile(const Metadata &metadata)
    : start(clockNow()), title(metadata.model.name + " " + metadata.emit) {
  json facts = json::parse(metadata.json);
  for (const json &entry : facts["entries"]) {
    int entryItem = static_cast<int>(items.size());
    items.push_back({.name = entry["name"], .isEntry = true});
    entryItems[items.back().name] = entryItem;
    json ops = entry.value("ops", json::array());
    for (const json &op : ops)
      items.push_back(readOp(op, entryItem, static_cast<int>(items.size()) - entryItem - 1));
    for (size_t i = 0; i < ops.size(); ++i) { // members stand behind all ops of the entry
      int group = entryItem + 1 + static_cast<int>(i), first = static_cast<int>(items.size());
      json members = ops[i].value("members", json::array());
      items[group].firstMember = members.empty() ? -1 : first;
      for (const json &member : members) {
        items.push_back(readOp(member, entryItem, static_cast<int>(items.size()) - first));
        items.back().group = group;
      }
    }
  }
}

int64_t Profile::now() const { return clockNow() - start; }

void Profile::open(int item, int threads) {
  while (static_cast<int>(lanes.size()) < threads)
    lanes.push_back(std::make_unique<Lane>());
  for (auto &lane : lanes)
    lane->busy.resize(items.size());
  stack.push_back({item, now()});
}

void Profile::close(int64_t end) {
  auto [index, begin] = stack.back();
  stack.pop_back();
  Item &item = items[index];
  ++item.calls;
  item.total += end - begin;
  if (!stack.empty())
    items[stack.back().item].inner += end - begin;
  keep(events, {index, begin, end});
}

void Profile::keep(std::vector<Event> &list, Event event) {
  if (list.size() < kMaxEvents)
    list.push_back(event);
}

void Profile::beginEntry(const std::string &name, int threads) {
  open(entryItems.at(name), threads);
}

void Profile::mark(int64_t op) {
  int64_t at = now();
  if (items[stack.back().item].entry >= 0)
    close(at);
  stack.push_back({stack.back().item + 1 + static_cast<int>(op), at});
}

void Profile::addOp(int64_t op, int64_t begin, int64_t end) {
  int index = stack.back().item + 1 + static_cast<int>(op);
  ++items[index].calls;
  items[index].total += end - begin;
  items[stack.back().item].inner += end - begin;
  keep(events, {index, begin, end});
}

void Profile::endEntry(int64_t at) {
  if (items[stack.back().item].entry >= 0)
    close(at);
  close(at);
}

void Profile::beginStretch(const std::string &name, int threads) {
  auto [known, isNew] = stretchItems.try_emplace(name, static_cast<int>(items.size()));
  if (isNew)
    items.push_back({.name = name});
  open(known->second, threads);
}

void Profile::endStretch() { close(now()); }

void Profile::Lane::endMember(int64_t at) {
  if (member >= 0) {
    busy[member] += at - memberBegin;
    keep(events, {member, memberBegin, at});
  }
  member = -1;
}

void Profile::markMember(int thread, int64_t member) {
  if (stack.empty() || thread >= static_cast<int>(lanes.size()))
    return;
  Lane &lane = *lanes[thread];
  int64_t at = now();
  lane.endMember(at);
  if (int first = items[stack.back().item].firstMember; first >= 0)
    lane.member = first + static_cast<int>(member);
  lane.memberBegin = at;
}

void Profile::piece(int thread, int64_t begin, int64_t end) {
  if (stack.empty() || thread >= static_cast<int>(lanes.size()))
    return; // outside of everything that is measured
  Lane &lane = *lanes[thread];
  lane.endMember(end);
  lane.busy[stack.back().item] += end - begin;
  keep(lane.events, {stack.back().item, begin, end});
}

void Profile::endParallel(int64_t begin, int64_t end) {
  if (!stack.empty())
    items[stack.back().item].offered += (end - begin) * static_cast<int64_t>(lanes.size());
}

int64_t Profile::busy(size_t item) const {
  int64_t sum = 0;
  for (auto &lane : lanes)
    sum += item < lane->busy.size() ? lane->busy[item] : 0;
  return sum;
}
