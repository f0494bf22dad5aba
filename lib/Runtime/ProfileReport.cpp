//===- ProfileReport.cpp - a profile as a trace and as a table ------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Profile.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdarg>
#include <cstdio>

using namespace ns::runtime;
using nlohmann::json;

static std::string format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
static std::string format(const char *pattern, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

/// `rate` of an amount for each nanosecond: GFLOP/s or GB/s; "" for nothing.
static std::string rate(int64_t amount, int64_t nanoseconds) {
  return amount > 0 && nanoseconds > 0 ? format("%.1f", double(amount) / double(nanoseconds)) : "";
}

/// "blocks.11.mlp.fc1" as "blocks.*.mlp.fc1".
static std::string withoutNumbers(const std::string &layer) {
  std::string text;
  for (size_t at = 0; at <= layer.size();) {
    size_t dot = std::min(layer.find('.', at), layer.size());
    std::string part = layer.substr(at, dot - at);
    bool isNumber = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    if (at > 0)
      text += '.';
    text += isNumber ? "*" : part;
    at = dot + 1;
  }
  return text;
}

namespace {
/// Sums over ops that are alike.
struct Sum {
  std::string layer, kind, shape, kernel;
  int64_t ops = 0, calls = 0, total = 0, flops = 0, bytes = 0, offered = 0, busy = 0;

  void add(const Profile::Item &item, int64_t itemBusy) {
    ++ops;
    calls += item.calls;
    total += item.total - item.inner;
    flops += item.op.flops * item.calls;
    bytes += item.op.bytes * item.calls;
    offered += item.offered;
    busy += itemBusy;
  }
  std::string idle() const {
    return offered > 0 ? format("%.0f", 100.0 * double(offered - busy) / double(offered)) : "";
  }
  bool isProduct() const { return kind != "rows" || flops > 0; }
};
} // namespace

namespace ns::runtime {
/// Turns a profile into text.
class ProfileWriter {
public:
  explicit ProfileWriter(const Profile &profile);

  void trace(AtomicFile &file) const;
  std::string table() const;

private:
  json sums() const;
  json opSums(size_t index) const;
  void event(std::string &text, const Profile::Event &event, int lane) const;
  std::string whole() const;
  std::string entryTable(size_t entry) const;

  const Profile &profile;
  std::vector<Profile::Item> items;
  int64_t elapsed;
};
} // namespace ns::runtime

/// Members run inside pieces, on all threads at once: an even share of the wall clock is theirs,
/// the rest is the group's own.
ProfileWriter::ProfileWriter(const Profile &profile)
    : profile(profile), items(profile.items), elapsed(profile.now()) {
  for (size_t i = 0; i < items.size(); ++i)
    if (items[i].group >= 0) {
      Profile::Item &group = items[items[i].group];
      items[i].calls = group.calls;
      items[i].total = profile.busy(i) / std::max<int64_t>(1, profile.lanes.size());
      group.inner += items[i].total;
      group.op.flops = 0; // they are the members'
    }
}

//===----------------------------------------------------------------------===//
// The trace
//===----------------------------------------------------------------------===//

void ProfileWriter::event(std::string &text, const Profile::Event &event, int lane) const {
  const Profile::Item &item = items[event.item];
  int64_t length = event.end - event.begin;
  const char *category = item.isEntry ? "entry" : item.entry < 0 ? "host" : item.op.kind.c_str();
  text += ",\n{\"name\":" + json(item.name).dump() + ",\"cat\":\"" + category +
          format("\",\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f", lane,
                 double(event.begin) * 1e-3, double(length) * 1e-3);
  if (item.entry >= 0 && lane == 0) {
    json arguments = {{"op", item.position},
                      {"kind", item.op.kind},
                      {"shape", item.op.shape},
                      {"kernel", item.op.kernel},
                      {"GFLOP/s", rate(item.op.flops, length)},
                      {"GB/s", rate(item.op.bytes, length)}};
    if (item.op.kernel.empty())
      arguments.erase("kernel");
    text += ",\"args\":" + arguments.dump();
  }
  text += "}";
}

json ProfileWriter::opSums(size_t index) const {
  const Profile::Item &item = items[index];
  json sum = {{item.group < 0 ? "op" : "member", item.position},
              {"layer", item.op.layer},
              {"kind", item.op.kind},
              {"shape", item.op.shape},
              {"calls", item.calls},
              {"seconds", double(item.total) * 1e-9},
              {"flops", item.op.flops},
              {"bytes", item.op.bytes}};
  if (!item.op.kernel.empty())
    sum["kernel"] = item.op.kernel;
  if (item.group >= 0)
    sum["group"] = items[item.group].position;
  if (item.offered > 0)
    sum["idle_seconds"] = double(item.offered - profile.busy(index)) * 1e-9;
  return sum;
}

json ProfileWriter::sums() const {
  json entries = json::array(), stretches = json::array();
  for (size_t i = 0; i < items.size(); ++i) {
    const Profile::Item &item = items[i];
    if (item.calls == 0)
      continue;
    if (item.entry >= 0) {
      entries.back()["ops"].push_back(opSums(i));
      continue;
    }
    json sum = {{"name", item.name},
                {"calls", item.calls},
                {"seconds", double(item.total) * 1e-9},
                {"own_seconds", double(item.total - item.inner) * 1e-9}};
    if (item.isEntry)
      sum["ops"] = json::array();
    (item.isEntry ? entries : stretches).push_back(sum);
  }
  return {{"title", profile.title},
          {"threads", profile.lanes.size()},
          {"seconds", double(elapsed) * 1e-9},
          {"entries", entries},
          {"host", stretches}};
}

void ProfileWriter::trace(AtomicFile &file) const {
  file.write("{\"displayTimeUnit\":\"ms\",\"nullspace\":" + sums().dump() +
             ",\n\"traceEvents\":[\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":" +
             json{{"name", profile.title}}.dump() + "}");
  auto lane = [&](int number, const std::string &name, const std::vector<Profile::Event> &events) {
    std::string text =
        format(",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"args\":"
               "{\"name\":\"%s\"}},\n{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":1,"
               "\"tid\":%d,\"args\":{\"sort_index\":%d}}",
               number, name.c_str(), number, number);
    for (const Profile::Event &one : events) {
      event(text, one, number);
      if (text.size() > 1 << 20) {
        file.write(text);
        text.clear();
      }
    }
    file.write(text);
  };
  lane(0, "entries and ops", profile.events);
  for (size_t i = 0; i < profile.lanes.size(); ++i)
    lane(static_cast<int>(i) + 1, format("pieces on thread %zu", i), profile.lanes[i]->events);
  file.write("\n]}\n");
}

void Profile::writeTrace(const std::string &path) const {
  AtomicFile file(path);
  ProfileWriter(*this).trace(file);
  file.commit();
}

//===----------------------------------------------------------------------===//
// The table
//===----------------------------------------------------------------------===//

/// Seconds and shares of the run: ops by kind, what entries do between ops, stretches of the host,
/// and what is left.
std::string ProfileWriter::whole() const {
  std::vector<Sum> sums;
  auto sumOf = [&](const std::string &name) -> Sum & {
    auto known = std::find_if(sums.begin(), sums.end(), [&](Sum &s) { return s.layer == name; });
    return known != sums.end() ? *known : (sums.push_back({.layer = name}), sums.back());
  };
  int64_t left = elapsed, idle = 0, offered = 0;
  Sum between{.layer = "between ops"}, host{};
  for (size_t i = 0; i < items.size(); ++i) {
    const Profile::Item &item = items[i];
    if (item.calls == 0)
      continue;
    if (item.group < 0)
      left -= item.entry < 0 ? item.total - item.inner : item.total;
    if (item.isEntry) {
      between.total += item.total - item.inner;
      continue;
    }
    if (item.group >= 0) {
      sumOf(item.op.kind).add(item, 0);
      continue;
    }
    int64_t busy = profile.busy(i);
    bool isOp = item.entry >= 0;
    sumOf(isOp ? item.op.kind : item.name).add(item, busy);
    if (isOp && item.offered > 0) {
      offered += item.offered;
      idle += item.offered - busy;
    }
  }
  std::stable_sort(sums.begin(), sums.end(), [](auto &a, auto &b) { return a.total > b.total; });
  if (between.total > 0)
    sums.push_back(between);
  sums.push_back({.layer = "the host's loops", .total = left});
  std::string text = format("%-28s %10s %7s %9s %7s\n", "", "s", "%", "GFLOP/s", "GB/s");
  for (const Sum &sum : sums)
    text += format("%-28s %10.3f %7.1f %9s %7s\n", sum.layer.c_str(), double(sum.total) * 1e-9,
                   100 * double(sum.total) / double(elapsed), rate(sum.flops, sum.total).c_str(),
                   sum.layer == "rows" ? rate(sum.bytes, sum.total).c_str() : "");
  if (offered > 0)
    text += format("Threads were idle during %.1f %% of the work that ops shared out.\n",
                   100 * double(idle) / double(offered));
  return text;
}

std::string ProfileWriter::entryTable(size_t entry) const {
  const Profile::Item &run = items[entry];
  std::vector<Sum> sums;
  int64_t flops = 0;
  for (size_t i = entry + 1; i < items.size() && items[i].entry == int(entry); ++i) {
    const Profile::Op &op = items[i].op;
    std::string layer = withoutNumbers(op.layer);
    auto known = std::find_if(sums.begin(), sums.end(), [&](const Sum &s) {
      return s.layer == layer && s.kind == op.kind && s.shape == op.shape && s.kernel == op.kernel;
    });
    if (known == sums.end())
      known = sums.insert(sums.end(), {layer, op.kind, op.shape, op.kernel});
    known->add(items[i], items[i].group < 0 ? profile.busy(i) : 0);
    flops += op.flops;
  }
  std::string text =
      format("\n%s: %lld calls, %.3f ms each, %s GFLOP/s\n", run.name.c_str(),
             static_cast<long long>(run.calls), double(run.total) * 1e-6 / double(run.calls),
             flops ? rate(flops * run.calls, run.total).c_str() : "0");
  text += format("  %-28s %-18s %-22s %4s %9s %10s %6s %8s %7s %6s\n", "layer", "kind", "shape",
                 "ops", "ms an op", "ms a call", "%", "GFLOP/s", "GB/s", "idle %");
  std::stable_sort(sums.begin(), sums.end(), [](auto &a, auto &b) { return a.total > b.total; });
  for (const Sum &sum : sums)
    text += format("  %-28s %-18s %-22s %4lld %9.3f %10.3f %6.1f %8s %7s %6s\n", sum.layer.c_str(),
                   (sum.kernel.empty() ? sum.kind : sum.kernel).c_str(), sum.shape.c_str(),
                   static_cast<long long>(sum.ops), double(sum.total) * 1e-6 / double(sum.calls),
                   double(sum.total) * 1e-6 / double(run.calls),
                   100 * double(sum.total) / double(run.total), rate(sum.flops, sum.total).c_str(),
                   sum.isProduct() ? "" : rate(sum.bytes, sum.total).c_str(), sum.idle().c_str());
  return text;
}

std::string ProfileWriter::table() const {
  std::string text = format("profile of %s: %.3f s, %zu threads\n", profile.title.c_str(),
                            double(elapsed) * 1e-9, profile.lanes.size());
  text += whole();
  for (size_t i = 0; i < items.size(); ++i)
    if (items[i].isEntry && items[i].calls > 0)
      text += entryTable(i);
  return text;
}

std::string Profile::table() const { return ProfileWriter(*this).table(); }
