// What shrinking ends in: a scenario file that a person reads from top to bottom.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "sim/params.h"
#include "sim/plan.h"
#include "sim/shrink.h"

namespace tally::sim {
namespace {

using google::protobuf::FieldDescriptor;
using ProtoMessage = google::protobuf::Message;

constexpr size_t kColumnsMax = 100;
// Of operations, and of noise, so many are told.
constexpr size_t kToldMax = 20;

// No list of them means that clients draw theirs.
bool draws_operations(const RunSpec& spec) {
  return spec.operations.empty() && spec.params.workload().clients() > 0;
}

// The fields whose values differ from those of `usual`.
void keep_differences(const ProtoMessage& usual, ProtoMessage& message) {
  const auto* descriptor = message.GetDescriptor();
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor& field = *descriptor->field(i);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      ProtoMessage& inner = *reflection.MutableMessage(&message, &field);
      keep_differences(reflection.GetMessage(usual, &field), inner);
      if (inner.ByteSizeLong() == 0) reflection.ClearField(&message, &field);
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
      if (reflection.GetBool(message, &field) == reflection.GetBool(usual, &field)) {
        reflection.ClearField(&message, &field);
      }
    } else if (reflection.GetInt64(message, &field) == reflection.GetInt64(usual, &field)) {
      reflection.ClearField(&message, &field);
    }
  }
}

// Text as comment lines of at most kColumnsMax columns.
std::string as_comment(const std::string& text) {
  std::string out;
  std::string line = "#";
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = text.find_first_of(" \n", begin);
    if (end == std::string::npos) end = text.size();
    const std::string word = text.substr(begin, end - begin);
    if (line.size() + 1 + word.size() > kColumnsMax) {
      out += line + "\n";
      line = "#";
    }
    line += " " + word;
    begin = end + 1;
  }
  return out + line + "\n";
}

std::string count_text(uint64_t count, const std::string& one) {
  return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

std::string capitalized(std::string text) {
  if (text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

// Positions of the operations to tell: all, or of many the first, and those that the message names.
std::vector<size_t> told_operations(const RunSpec& spec, const std::string& message) {
  std::vector<size_t> told;
  for (size_t i = 0; i < spec.operations.size(); ++i) {
    const bool named = message.find(operation_name(spec.operations[i])) != std::string::npos;
    if (i < kToldMax || named) told.push_back(i);
  }
  return told;
}

// Everything the file makes happen, in the order of its times.
std::string course_text(const RunSpec& spec, const std::string& message) {
  std::vector<std::pair<int64_t, std::string>> steps;  // microseconds
  for (const Fault& fault : spec.plan) {
    steps.emplace_back(fault.trigger().at_ms() * 1000,
                       capitalized(trigger_text(fault.trigger())) + ": " + fault_text(fault));
  }
  const std::vector<size_t> told = told_operations(spec, message);
  for (const size_t i : told) {
    const ClientOperation& operation = spec.operations[i];
    steps.emplace_back(operation.at_us(), fmt::format("At {} ms: {}", operation.at_us() / 1000,
                                                      operation_text(operation)));
  }
  for (size_t i = 0; i < std::min(kToldMax, spec.noise.size()); ++i) {
    steps.emplace_back(spec.noise[i].at_us(), capitalized(noise_text(spec.noise[i])));
  }
  std::stable_sort(steps.begin(), steps.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string text;
  for (const auto& [at_us, step] : steps) text += step + ". ";
  if (spec.operations.size() > told.size()) {
    text += "And " + count_text(spec.operations.size() - told.size(), "more operation") + ". ";
  }
  if (spec.noise.size() > kToldMax) {
    text += "And " + count_text(spec.noise.size() - kToldMax, "more such message") + ". ";
  }
  if (draws_operations(spec)) {
    text += "Clients: " + std::to_string(spec.params.workload().clients()) +
            ", whose operations are drawn. ";
  }
  return text;
}

std::string minimal_text(const RunSpec& spec) {
  if (draws_operations(spec)) {
    return "# 1-minimal: no fault or piece of noise can be left out, nor what clients draw.\n";
  }
  std::string text = "# 1-minimal: no fault, operation or piece of noise can be left out.\n";
  if (!spec.operations.empty()) {
    text +=
        "# (Without any operation clients draw their own, unless params says\n"
        "# `workload { clients: 0 }`.)\n";
  }
  return text;
}

std::string head_text(const ShrinkResult& result, const std::string& origin) {
  const RunSpec& spec = result.spec;
  std::string text = as_comment(fmt::format(
      "Shrunken from {}: {} events there, {} here. {}Then: {} ({}).", origin,
      result.before.events(), result.after.events(), course_text(spec, result.after.message()),
      result.after.message(), fingerprint(result.after)));
  text += "#\n";
  if (result.minimal) {
    text += minimal_text(spec);
  } else {
    text += "# Not minimal: the time was up.\n";
  }
  for (const Without& without : result.without) {
    text += fmt::format("#   without {}: {}\n", without.what, without.outcome);
  }
  if (spec.params.steady_ms() > 0) {
    text += as_comment(fmt::format(
        "steady_ms: {0}: what a link, disk or node drew for its delays holds for {0} ms "
        "of virtual time, whichever messages go by, so that leaving one out does not "
        "change the delays of the others.",
        spec.params.steady_ms()));
  }
  text +=
      "#\n# The run is ok for as long as the bug is there. Once it is mended, let `expect` say "
      "what\n"
      "# must be seen instead (every oracle is always on).\n\n";
  return text;
}

}  // namespace

std::string story_text(const ShrinkResult& result, const std::string& name,
                       const std::string& origin) {
  const RunSpec& spec = result.spec;
  Scenario scenario = spelled_out(spec);
  scenario.set_name(name);
  std::string faults;
  for (const Fault& fault : spec.plan) {
    const std::string kind = fault_name(fault.kind());
    if (faults.find(kind) == std::string::npos) faults += (faults.empty() ? "" : ", ") + kind;
  }
  std::string story = result.after.clause() + " (" + result.after.oracle() +
                      "): " + count_text(static_cast<uint64_t>(spec.params.nodes()), "node");
  if (!faults.empty()) story += ", " + faults;
  if (!spec.noise.empty()) story += ", " + count_text(spec.noise.size(), "piece") + " of noise";
  if (!spec.operations.empty()) story += ", " + count_text(spec.operations.size(), "operation");
  if (draws_operations(spec)) story += ", operations drawn";
  scenario.set_story(capitalized(story) + ".");
  keep_differences(calm_params(), *scenario.mutable_params());
  if (scenario.params().ByteSizeLong() == 0) scenario.clear_params();
  if (spec.core == draw_core(spec.seed, spec.params)) scenario.clear_core();
  Expect& expect = *scenario.add_expect();
  expect.set_violation(result.after.oracle());
  expect.set_clause(result.after.clause());
  return head_text(result, origin) + scenario_text(scenario);
}

}  // namespace tally::sim
