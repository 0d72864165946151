#include "tools/sim_output.h"

#include <fmt/format.h>

#include "core/text.h"
#include "sim/params.h"
#include "tally_commit.h"

namespace tally::tools {

using sim::RunResult;
using sim::RunSpec;
using sim::Violation;

int exit_code(RunResult::Verdict verdict) {
  switch (verdict) {
    case RunResult::Verdict::kOk: return kExitOk;
    case RunResult::Verdict::kViolation: return kExitViolation;
    case RunResult::Verdict::kVacuous:
    case RunResult::Verdict::kUndecided: return kExitUndecided;
  }
  return kExitEnvironment;
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(text, out);
  return out;
}

std::string shell_word(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string fingerprint(const Violation& violation) {
  return violation.oracle + ": " + violation.clause;
}

std::string identity_text(const RunSpec& spec) {
  std::string params = sim::params_text(spec.params);
  for (size_t end = params.find(" } "); end != std::string::npos; end = params.find(" } ", end)) {
    params.replace(end, 3, " }\n  ");  // a line for each group
  }
  return fmt::format("seed {}, commit {}, {} faults planned\n  {}\n", spec.seed, commit_id(),
                     spec.plan.size(), params);
}

std::string identity_json(const RunSpec& spec) {
  return fmt::format(R"({{"seed":{},"commit":{},"faults_planned":{},"parameters":{}}})"
                     "\n",
                     spec.seed, json_string(commit_id()), spec.plan.size(),
                     json_string(sim::params_text(spec.params)));
}

std::string result_text(const RunResult& result, const std::string& replay, uint64_t wall_ns) {
  uint64_t fired = 0;
  for (const uint64_t count : result.faults_fired) fired += count;
  std::string text = fmt::format(
      "{} events in {} ms of virtual time ({} ms real), {} faults{}, {} entries committed\n"
      "operations: {} ok, {} unknown, {} rejected, {} failed\n",
      result.event_count, result.sim_time.count() / 1'000'000, wall_ns / 1'000'000, fired,
      result.faults_idle == 0 ? std::string()
                              : fmt::format(" ({} more did nothing)", result.faults_idle),
      result.committed_count, result.ops.ok, result.ops.unknown, result.ops.rejected,
      result.ops.failed);
  if (result.violation) {
    const Violation& violation = *result.violation;
    text += fmt::format("VIOLATION of {} at event {}: {}\n  {}\n", violation.oracle,
                        violation.event, violation.clause, violation.message);
  }
  if (!result.reason.empty()) text += fmt::format("{}\n", result.reason);
  if (result.liveness_excused) text += "liveness excused: the core could not elect anybody\n";
  text += fmt::format("verdict {}, digest {:016x}\nreplay: {}\n", sim::to_string(result.verdict),
                      result.digest, replay);
  return text;
}

std::string result_json(const RunResult& result, const std::string& replay, uint64_t wall_ns) {
  std::string violation = "null";
  if (result.violation) {
    violation =
        fmt::format(R"({{"oracle":{},"message":{},"event":{},"fingerprint":{}}})",
                    json_string(result.violation->oracle), json_string(result.violation->message),
                    result.violation->event, json_string(fingerprint(*result.violation)));
  }
  uint64_t fired = 0;
  for (const uint64_t count : result.faults_fired) fired += count;
  return fmt::format(
      R"({{"verdict":"{}","seed":{},"digest":"{:016x}","events":{},"sim_ns":{},"wall_ns":{},)"
      R"("ops":{{"ok":{},"unknown":{},"rejected":{},"failed":{}}},"violation":{},"reason":{},)"
      R"("faults":{{"fired":{},"idle":{}}},"replay":{}}})"
      "\n",
      sim::to_string(result.verdict), result.seed, result.digest, result.event_count,
      result.sim_time.count(), wall_ns, result.ops.ok, result.ops.unknown, result.ops.rejected,
      result.ops.failed, violation, result.reason.empty() ? "null" : json_string(result.reason),
      fired, result.faults_idle, json_string(replay));
}

std::string run_flags(const std::string& scenario, const std::vector<std::string>& assignments) {
  std::string flags;
  if (!scenario.empty()) flags += " --scenario " + shell_word(scenario);
  for (const std::string& assignment : assignments) flags += " --set " + shell_word(assignment);
  return flags;
}

std::string run_command_line(uint64_t seed, const std::string& scenario,
                             const std::vector<std::string>& assignments) {
  return fmt::format("tallysim run --seed {}", seed) + run_flags(scenario, assignments);
}

}  // namespace tally::tools
