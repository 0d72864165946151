#include "tools/sim_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "core/check.h"
#include "core/history.h"
#include "sim/capsule.h"
#include "tally_commit.h"
#include "tools/sim_load.h"
#include "tools/sim_output.h"

namespace tally::tools {
namespace {

using sim::ReplayOutcome;
using sim::RunResult;
using sim::RunSpec;
using WallClock = std::chrono::steady_clock;

// Says what came of a run and returns the exit code. For a run that failed a CHECK, too.
using Finish = std::function<int(RunResult& result, uint64_t wall_ns)>;

// For the CHECK handler: what is running, and how to report it.
sim::World* current_world = nullptr;
const Finish* current_finish = nullptr;

void report_failed_check(const std::string& message) {
  if (current_world == nullptr) {
    fmt::print(stderr, "{}\n", message);
    std::abort();
  }
  RunResult result = current_world->result_of_failed_check(message);
  const int code = (*current_finish)(result, 0);
  std::fflush(stdout);
  _exit(code);
}

int run_here(const RunSpec& spec, const Finish& finish) {
  const auto began = WallClock::now();
  sim::World world(spec);
  current_world = &world;
  current_finish = &finish;
  set_check_handler(report_failed_check);
  RunResult result = world.run();
  current_world = nullptr;
  const int code = finish(result, static_cast<uint64_t>((WallClock::now() - began).count()));
  std::fflush(stdout);
  return code;
}

uint64_t seed_of(const RunOptions& options, const sim::Scenario& scenario) {
  if (options.seed_given) return options.seed;
  return scenario.has_seed() ? static_cast<uint64_t>(scenario.seed()) : 1;
}

bool write_history(const std::string& path, const History& history) {
  std::string text;
  for (const Operation& operation : history) write_history_line(operation, text);
  return write_text_file(path, text);
}

// The whole run as a scenario, ready to be run, edited and kept.
bool write_plan(const std::string& path, const RunSpec& spec, const sim::Scenario& from) {
  sim::Scenario scenario = sim::spelled_out(spec);
  scenario.set_name(from.has_name() ? from.name() : fmt::format("seed-{}", spec.seed));
  scenario.set_story(from.has_story() ? from.story()
                                      : fmt::format("All that seed {} draws.", spec.seed));
  *scenario.mutable_expect() = from.expect();
  return write_text_file(path, sim::scenario_text(scenario));
}

// Reads what the options name, prints its identity.
int prepare(const RunOptions& options, Loaded& loaded, RunSpec& spec) {
  std::string error = load(options.scenario, loaded);
  if (!error.empty()) return usage_error(error);
  const uint64_t seed = seed_of(options, loaded.scenario);
  error = spec_of(loaded, seed, options.assignments, spec);
  if (!error.empty()) return usage_error(error);
  spec.trace = options.trace == "text" ? (options.json ? stderr : stdout) : nullptr;
  spec.trail = options.trail ? stdout : nullptr;
  spec.trail_first = options.trail_first;
  spec.trail_last = options.trail_last;
  if (!options.emit_plan.empty() && !write_plan(options.emit_plan, spec, loaded.scenario)) {
    return kExitEnvironment;
  }
  fmt::print("{}", options.json ? identity_json(spec) : identity_text(spec));
  std::fflush(stdout);
  return kExitOk;
}

// Every event of a run in words, as far as capsules tell events apart.
class EventTexts {
 public:
  explicit EventTexts(RunSpec& spec) : file_(open_memstream(&text_, &size_)) {
    CHECK(file_ != nullptr, "no memory for the run's events");
    spec.trail = file_;
    spec.trail_first = 1;
    spec.trail_last = sim::Digest::kMarkCountMax;
  }
  ~EventTexts() {
    std::fclose(file_);
    std::free(text_);
  }
  EventTexts(const EventTexts&) = delete;
  EventTexts& operator=(const EventTexts&) = delete;

  // Empty when the run has no such event.
  std::string of(uint64_t event) {
    std::fflush(file_);
    const std::string_view all(text_, size_);
    const std::string start = fmt::format("trail {} ", event);
    size_t begin = all.rfind(start, 0) == 0 ? 0 : all.find("\n" + start);
    if (begin == std::string_view::npos) return {};
    begin = std::min(all.size(), begin + (begin > 0 ? 1 : 0) + start.size() + 17);
    return std::string(all.substr(begin, all.find('\n', begin) - begin));
  }

 private:
  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* file_;
};

std::string event_range(const sim::Parting& parting) {
  return parting.first == parting.last ? fmt::format("event {}", parting.first)
                                       : fmt::format("events {}..{}", parting.first, parting.last);
}

std::string outcome_name(ReplayOutcome outcome) {
  switch (outcome) {
    case ReplayOutcome::kReproduced: return "reproduced";
    case ReplayOutcome::kGone: return "gone";
    case ReplayOutcome::kDiverged: return "diverged";
  }
  return "?";
}

// What the outcome means, in a sentence or two.
std::string outcome_text(ReplayOutcome outcome, const sim::Parting& parting,
                         const sim::Capsule& capsule, const RunResult& result) {
  const std::string differs =
      parting.same ? std::string()
                   : fmt::format("today's run differs from the recorded one from {} on",
                                 event_range(parting));
  switch (outcome) {
    case ReplayOutcome::kReproduced:
      return fmt::format("reproduced: {}{}", fingerprint(capsule),
                         differs.empty() ? ", event for event" : "; " + differs);
    case ReplayOutcome::kGone:
      return fmt::format(
          "gone: no {}{}", fingerprint(capsule),
          differs.empty() ? "; the run is the recorded one otherwise" : "; " + differs);
    case ReplayOutcome::kDiverged: break;
  }
  if (result.verdict != RunResult::Verdict::kOk) {
    return fmt::format("diverged: ends as {}, recorded was {}{}", fingerprint(result),
                       fingerprint(capsule), differs.empty() ? "" : "; " + differs);
  }
  const auto first_fault = static_cast<uint64_t>(capsule.first_fault_event());
  return fmt::format(
      "diverged at {}, {} (event {}): today's code makes another run of\n"
      "  this and ends it ok, which says nothing about {}",
      event_range(parting),
      parting.last < first_fault      ? "before the first fault"
      : parting.first == parting.last ? "in the first fault's own event"
                                      : "maybe before the first fault",
      first_fault, fingerprint(capsule));
}

int replay_exit_code(ReplayOutcome outcome) {
  switch (outcome) {
    case ReplayOutcome::kReproduced: return kExitViolation;
    case ReplayOutcome::kGone: return kExitOk;
    case ReplayOutcome::kDiverged: return kExitUndecided;
  }
  return kExitEnvironment;
}

// Where today's run parts from the recorded one: what happens there today. Of the recorded one, the
// digests are known and nothing else.
std::string parting_text(const sim::Parting& parting, const sim::Capsule& capsule,
                         const RunResult& result, EventTexts& events, const std::string& path) {
  const std::string run = "--scenario " + shell_word(path);
  if (parting.first != parting.last) {
    return fmt::format("  today's events there: tallysim run {} --trail {}..{}\n", run,
                       parting.first, parting.last);
  }
  const uint64_t event = parting.first;
  const auto recorded = static_cast<uint64_t>(capsule.events());
  std::string text;
  if (event > 1) text = fmt::format("  event {}, in both: {}\n", event - 1, events.of(event - 1));
  std::string today = events.of(event);
  if (event > result.event_count) today = "none: the run has ended";
  if (today.empty()) today = "the one in which a CHECK fails";  // before it could be told
  text += fmt::format("  event {}, today:   {}\n", event, today);
  if (event > recorded) return text + "  the recorded run had ended before it\n";
  return text +
         fmt::format("  both sides, with a build of commit {}: tallysim diverge OLD NEW {}\n",
                     capsule.commit(), run);
}

void print_replay(const RunOptions& options, const sim::Capsule& capsule, const RunResult& result,
                  ReplayOutcome outcome, const sim::Parting& parting, EventTexts& events) {
  if (!options.json) {
    if (result.violation) fmt::print("  {}\n", result.violation->message);
    fmt::print("{} events, digest {:016x}; recorded by commit {}, this is {}\n", result.event_count,
               result.digest, capsule.commit(), commit_id());
    fmt::print("{}\n", outcome_text(outcome, parting, capsule, result));
    if (!parting.same) {
      fmt::print("{}", parting_text(parting, capsule, result, events, options.scenario));
    }
    return;
  }
  const std::string range =
      parting.same ? "null" : fmt::format("[{},{}]", parting.first, parting.last);
  const std::string event =
      parting.same || parting.first != parting.last ? std::string() : events.of(parting.first);
  fmt::print(R"({{"outcome":"{}","seed":{},"fingerprint":{},"recorded":{},"differs_at":{},)"
             R"("differing_event":{},"events":{},"digest":"{:016x}","commit":{},"replay":{}}})"
             "\n",
             outcome_name(outcome), result.seed, json_string(fingerprint(result)),
             json_string(fingerprint(capsule)), range, event.empty() ? "null" : json_string(event),
             result.event_count, result.digest, json_string(capsule.commit()),
             json_string("tallysim replay " + shell_word(options.scenario)));
}

}  // namespace

int run_command(const RunOptions& options) {
  Loaded loaded;
  RunSpec spec;
  const int prepared = prepare(options, loaded, spec);
  if (prepared != kExitOk) return prepared;
  const std::string replay = run_command_line(spec.seed, options.scenario, options.assignments);
  return run_here(spec, [&](RunResult& result, uint64_t wall_ns) {
    sim::apply_expectations(loaded.scenario, result);
    const bool written = options.history.empty() || write_history(options.history, result.history);
    fmt::print("{}", options.json ? result_json(result, replay, wall_ns)
                                  : result_text(result, replay, wall_ns));
    return written ? exit_code(result.verdict) : kExitEnvironment;
  });
}

int replay_command(const std::string& what, RunOptions options) {
  if (what.empty()) return usage_error("replay takes a capsule, a scenario or a seed, not ''");
  const bool is_seed = what.find_first_not_of("0123456789") == std::string::npos;
  if (is_seed) {
    if (!parse_seed(what, options.seed)) {
      return usage_error(fmt::format("seed '{}' is not below 2^53", what));
    }
    options.seed_given = true;
    return run_command(options);
  }
  options.scenario = what;
  Loaded loaded;
  const std::string error = load(what, loaded);
  if (!error.empty()) return usage_error(error);
  if (!loaded.capsule) return run_command(options);
  if (!options.assignments.empty()) {
    return usage_error("--set changes what a capsule recorded; `tallysim run --scenario " +
                       shell_word(what) + "` takes it");
  }
  RunSpec spec;
  const int prepared = prepare(options, loaded, spec);
  if (prepared != kExitOk) return prepared;
  EventTexts events(spec);
  return run_here(spec, [&](RunResult& result, uint64_t) {
    sim::Parting parting;
    const ReplayOutcome outcome = judge_replay(*loaded.capsule, result, parting);
    if (!options.history.empty() && !write_history(options.history, result.history)) {
      return kExitEnvironment;
    }
    print_replay(options, *loaded.capsule, result, outcome, parting, events);
    return replay_exit_code(outcome);
  });
}

}  // namespace tally::tools
