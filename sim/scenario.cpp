#include "sim/scenario.h"

#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <set>

#include "sim/params.h"
#include "sim/plan.h"

namespace tally::sim {
namespace {

// Keeps the first error, with its place counted from 1.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(std::string_view name) : name_(name) {}
  void AddError(int line, int column, const std::string& message) override {
    if (!text_.empty()) return;
    text_ = line < 0 ? fmt::format("{}: {}", name_, message)
                     : fmt::format("{}:{}:{}: {}", name_, line + 1, column + 1, message);
  }
  void AddWarning(int line, int column, const std::string& message) override {
    AddError(line, column, message);
  }
  const std::string& text() const { return text_; }

 private:
  const std::string name_;
  std::string text_;
};

std::string core_error(const std::vector<int64_t>& core, int64_t nodes) {
  std::set<int64_t> seen;
  for (const int64_t node : core) {
    if (node < 1 || node > nodes) {
      return fmt::format("core names node {}; the cluster has nodes 1 .. {}", node, nodes);
    }
    if (!seen.insert(node).second) return fmt::format("core names node {} twice", node);
  }
  const auto quorum = static_cast<size_t>(nodes / 2 + 1);
  if (!core.empty() && core.size() < quorum) {
    return fmt::format("core has {} nodes; a quorum of {} is {}", core.size(), nodes, quorum);
  }
  return {};
}

// Who may fire in a run. (`crash` is a sweep's, `expectation` this file's.)
constexpr std::string_view kOracleNames[] = {
    "election safety", "log matching", "leader completeness",  "leader append-only",
    "monotone",        "durability",   "state machine safety", "linearizability",
    "exactly-once",    "liveness",     "convergence",          "hang",
    "codec",           "check"};

bool is_oracle(const std::string& name) {
  return std::find(std::begin(kOracleNames), std::end(kOracleNames), name) !=
         std::end(kOracleNames);
}

bool is_note(const std::string& name) {
  return std::find(std::begin(kNoteNames), std::end(kNoteNames), name) != std::end(kNoteNames);
}

std::string expect_error(const Scenario& scenario, int64_t nodes) {
  for (const Expect& expect : scenario.expect()) {
    if (expect.has_violation() && !is_oracle(expect.violation())) {
      return fmt::format("expect.violation names '{}', which is no oracle (one of: {})",
                         expect.violation(), fmt::join(kOracleNames, ", "));
    }
    if (expect.leader_within_ms() < 0) return "expect.leader_within_ms is below 0";
    if (expect.committed_min() < 0) return "expect.committed_min is below 0";
    for (const auto* notes : {&expect.seen(), &expect.never_seen()}) {
      for (const std::string& name : *notes) {
        if (!is_note(name)) {
          return fmt::format("expect names '{}', which is no note (core/note.h has them)", name);
        }
      }
    }
    for (const int64_t node : expect.leader_among()) {
      if (node < 1 || node > nodes) {
        return fmt::format("expect.leader_among names node {}; there are {}", node, nodes);
      }
    }
  }
  return {};
}

uint64_t note_count(const RunResult& result, const std::string& name) {
  const auto found = std::find(std::begin(kNoteNames), std::end(kNoteNames), name);
  return result.notes[static_cast<size_t>(found - std::begin(kNoteNames))];
}

// Empty when it holds.
std::string unmet(const Expect& expect, const RunResult& result) {
  for (const std::string& name : expect.seen()) {
    if (note_count(result, name) == 0) return fmt::format("note {} was never seen", name);
  }
  for (const std::string& name : expect.never_seen()) {
    if (note_count(result, name) > 0) {
      return fmt::format("note {} was seen {} times", name, note_count(result, name));
    }
  }
  if (expect.has_leader_within_ms() &&
      (result.first_leader_ms < 0 || result.first_leader_ms > expect.leader_within_ms())) {
    return fmt::format("the first leader came {}, not within {} ms",
                       result.first_leader_ms < 0 ? std::string("never")
                                                  : fmt::format("at {} ms", result.first_leader_ms),
                       expect.leader_within_ms());
  }
  if (expect.leader_among_size() > 0) {
    const auto leader = static_cast<int64_t>(result.safety_leader.value());
    const auto& among = expect.leader_among();
    if (std::find(among.begin(), among.end(), leader) == among.end()) {
      return leader == 0 ? "nobody led at the end of the safety phase"
                         : fmt::format("n{} led at the end of the safety phase", leader);
    }
  }
  if (expect.has_committed_min() &&
      result.committed_count < static_cast<uint64_t>(expect.committed_min())) {
    return fmt::format("only {} entries were committed, not {}", result.committed_count,
                       expect.committed_min());
  }
  return {};
}

}  // namespace

std::string parse_scenario(std::string_view text, std::string_view name, Scenario& scenario) {
  FirstError error(name);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  scenario.Clear();
  const bool parsed = parser.ParseFromString(std::string(text), &scenario);
  if (!error.text().empty()) return error.text();
  return parsed ? std::string() : fmt::format("{}: does not parse", name);
}

std::string make_run_spec(const Scenario& scenario, uint64_t seed,
                          const std::vector<std::string>& assignments, RunSpec& spec) {
  constexpr int64_t kSeedMax = (int64_t{1} << 53) - 1;
  if (scenario.seed() < 0 || scenario.seed() > kSeedMax) {
    return fmt::format("seed is {}; it must lie within 0 .. {}", scenario.seed(), kSeedMax);
  }
  spec.seed = seed;
  spec.params = scenario.swarm() ? draw_params(seed) : calm_params();
  spec.params.MergeFrom(scenario.params());
  for (const std::string& assignment : assignments) {
    const std::string error = set_param(spec.params, assignment);
    if (!error.empty()) return error;
  }
  std::string error = params_error(spec.params);
  if (!error.empty()) return error;
  spec.plan = draw_plan(seed, spec.params);
  spec.plan.insert(spec.plan.end(), scenario.fault().begin(), scenario.fault().end());
  error = complete_plan(spec.plan, spec.params);
  if (!error.empty()) return error;
  spec.core.assign(scenario.core().begin(), scenario.core().end());
  error = core_error(spec.core, spec.params.nodes());
  if (!error.empty()) return error;
  return expect_error(scenario, spec.params.nodes());
}

Scenario swarm_scenario() {
  Scenario scenario;
  scenario.set_swarm(true);
  return scenario;
}

void apply_expectations(const Scenario& scenario, RunResult& result) {
  std::string expected_violation;
  for (const Expect& expect : scenario.expect()) {
    if (expect.has_violation()) expected_violation = expect.violation();
  }
  if (!expected_violation.empty()) {
    const bool fired = result.violation && result.violation->oracle == expected_violation;
    if (fired) {
      result.verdict = RunResult::Verdict::kOk;
      result.violation.reset();
    } else if (!result.violation) {
      result.verdict = RunResult::Verdict::kViolation;
      result.violation =
          Violation{"expectation", "an expected violation did not happen",
                    fmt::format("oracle {} did not fire", expected_violation), result.event_count};
    }
    return;
  }
  if (result.violation) return;
  for (const Expect& expect : scenario.expect()) {
    const std::string what = unmet(expect, result);
    if (what.empty()) continue;
    result.verdict = RunResult::Verdict::kViolation;
    result.violation =
        Violation{"expectation", "an expectation does not hold", what, result.event_count};
    return;
  }
}

Scenario spelled_out(const RunSpec& spec) {
  Scenario scenario;
  scenario.set_seed(static_cast<int64_t>(spec.seed));
  *scenario.mutable_params() = spec.params;
  // The plan is spelled out, so none is drawn again.
  scenario.mutable_params()->mutable_faults()->set_interval_ms(0);
  for (const Fault& fault : spec.plan) *scenario.add_fault() = fault;
  for (const int64_t node : spec.core) scenario.add_core(node);
  return scenario;
}

std::string scenario_text(const Scenario& scenario) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(scenario, &text);
  return text;
}

}  // namespace tally::sim
