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

// Everything the file makes happen, in the order of its times.
std::string course_text(const RunSpec& spec) {
  std::vector<std::pair<int64_t, std::string>> steps;  // microseconds
  for (const Fault& fault : spec.plan) {
    steps.emplace_back(fault.trigger().at_ms() * 1000,
                       capitalized(trigger_text(fault.trigger())) + ": " + fault_text(fault));
  }
  constexpr size_t kToldMax = 6;
  for (size_t i = 0; i < std::min(kToldMax, spec.operations.size()); ++i) {
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
  if (spec.operations.size() > kToldMax) {
    text += fmt::format("And {} operations more. ", spec.operations.size() - kToldMax);
  }
  if (spec.noise.size() > kToldMax) {
    text += fmt::format("And {} more such messages. ", spec.noise.size() - kToldMax);
  }
  return text;
}

std::string head_text(const ShrinkResult& result, const std::string& origin) {
  const RunSpec& spec = result.spec;
  std::string text =
      as_comment(fmt::format("Shrunken from {}: {} events there, {} here. {}Then: {} ({}).", origin,
                             result.before.events(), result.after.events(), course_text(spec),
                             result.after.message(), fingerprint(result.after)));
  text += "#\n";
  if (result.minimal) {
    text += "# 1-minimal: no fault, operation or piece of noise can be left out.\n";
  } else {
    text += "# Not minimal: the time was up.\n";
  }
  for (const Without& without : result.without) {
    text += fmt::format("#   without {}: {}\n", without.what, without.outcome);
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
