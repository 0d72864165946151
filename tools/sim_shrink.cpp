#include "tools/sim_shrink.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "sim/capsule.h"
#include "sim/shrink.h"
#include "tally_commit.h"
#include "tools/sim_child.h"
#include "tools/sim_load.h"
#include "tools/sim_output.h"

namespace tally::tools {
namespace {

using sim::RunSpec;
using sim::ShrinkResult;
using WallClock = std::chrono::steady_clock;

// A run takes milliseconds; one that takes this long will not end.
constexpr uint64_t kRunWallNsMax = 20'000'000'000;

// One line on a terminal that says how far it is; silent elsewhere.
class Progress {
 public:
  void show(std::string_view step, const RunSpec& best, uint64_t run_count) {
    if (!on_ || WallClock::now() < next_) return;
    next_ = WallClock::now() + std::chrono::milliseconds(200);
    fmt::print(stderr, "\r\x1b[K{} runs: {} faults, {} nodes, {} operations, {} noise; now {}",
               run_count, best.plan.size(), best.params.nodes(), best.operations.size(),
               best.noise.size(), step);
    std::fflush(stderr);
    shown_ = true;
  }
  void clear() {
    if (shown_) fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
  }

 private:
  const bool on_ = isatty(STDERR_FILENO) != 0;
  WallClock::time_point next_ = WallClock::now();
  bool shown_ = false;
};

// How large a run is, before and after.
struct Size {
  uint64_t faults = 0;
  int64_t nodes = 0;
  int64_t operations = 0;
  uint64_t noise = 0;
  int64_t events = 0;
};

Size size_before(const RunSpec& spec, const sim::SeedReport& report) {
  return {spec.plan.size(), spec.params.nodes(), report.record().operation_size(),
          static_cast<uint64_t>(report.record().noise_size()), report.events()};
}

Size size_after(const ShrinkResult& result) {
  const int64_t operations = result.spec.operations.empty()
                                 ? result.after.operations()
                                 : static_cast<int64_t>(result.spec.operations.size());
  return {result.spec.plan.size(), result.spec.params.nodes(), operations, result.spec.noise.size(),
          result.after.events()};
}

void print_text(const ShrinkResult& result, const Size& before, const Size& after,
                const ShrinkOptions& options, uint64_t cpu) {
  fmt::print("{}\n  {}\n", fingerprint(result.after), result.after.message());
  const auto row = [](const char* what, auto from, auto to) {
    fmt::print("  {:<11} {:>7} -> {}\n", what, from, to);
  };
  row("faults", before.faults, after.faults);
  row("nodes", before.nodes, after.nodes);
  row("operations", before.operations, after.operations);
  row("noise", before.noise, after.noise);
  row("events", before.events, after.events);
  for (const sim::Without& without : result.without) {
    fmt::print("  without {}: {}\n", without.what, without.outcome);
  }
  fmt::print("{} after {} runs, {}.{:01} s of CPU\n",
             result.minimal ? "1-minimal" : "not minimal, the time was up", result.run_count,
             cpu / 1'000'000'000, cpu / 100'000'000 % 10);
  fmt::print("written: {}\nreplay: tallysim run --scenario {}\n", options.out,
             shell_word(options.out));
}

void print_json(const ShrinkResult& result, const Size& before, const Size& after,
                const ShrinkOptions& options, uint64_t cpu) {
  const auto size_json = [](const Size& size) {
    return fmt::format(R"({{"faults":{},"nodes":{},"ops":{},"noise":{},"events":{}}})", size.faults,
                       size.nodes, size.operations, size.noise, size.events);
  };
  fmt::print(R"({{"fingerprint":{},"message":{},"before":{},"after":{},"minimal":{},"runs":{},)"
             R"("cpu_ns":{},"out":{},"replay":{}}})"
             "\n",
             json_string(fingerprint(result.after)), json_string(result.after.message()),
             size_json(before), size_json(after), result.minimal, result.run_count, cpu,
             json_string(options.out),
             json_string("tallysim run --scenario " + shell_word(options.out)));
}

}  // namespace

int shrink_command(const ShrinkOptions& options) {
  if (options.source.empty() == !options.seed_given) {
    return usage_error("shrink takes one of a file (CAPSULE) and --seed N");
  }
  if (!options.source.empty() && !options.scenario.empty()) {
    return usage_error("--scenario goes with --seed; a file says all by itself");
  }
  Loaded loaded;
  std::string error = load(options.source.empty() ? options.scenario : options.source, loaded);
  if (!error.empty()) return usage_error(error);
  const uint64_t seed =
      options.seed_given ? options.seed : static_cast<uint64_t>(loaded.scenario.seed());
  RunSpec spec;
  error = spec_of(loaded, seed, options.assignments, spec);
  if (!error.empty()) return usage_error(error);

  // Known before the work rather than after it.
  if (!may_write_file(options.out)) return kExitEnvironment;
  Progress progress;
  const auto until = WallClock::now() + std::chrono::nanoseconds(options.wall_ns_max);
  sim::ShrinkHooks hooks;
  hooks.run = [](const RunSpec& candidate) { return run_in_child(candidate, kRunWallNsMax); };
  hooks.out_of_time = [&] { return options.wall_ns_max > 0 && WallClock::now() >= until; };
  hooks.progress = [&](std::string_view step, const RunSpec& best, uint64_t run_count) {
    progress.show(step, best, run_count);
  };
  const std::string expected = loaded.capsule ? fingerprint(*loaded.capsule) : std::string();
  const ShrinkResult result = shrink(spec, expected, hooks);
  progress.clear();
  if (!result.error.empty()) {
    fmt::print(stderr, "tallysim: {}\n", result.error);
    return kExitUndecided;
  }
  const std::string origin = fmt::format("seed {} at commit {}", seed, commit_id());
  const std::string name = std::filesystem::path(options.out).stem().string();
  if (!write_text_file(options.out, story_text(result, name, origin))) return kExitEnvironment;
  const uint64_t cpu = cpu_ns(RUSAGE_SELF) + cpu_ns(RUSAGE_CHILDREN);
  const Size before = size_before(spec, result.before);
  (options.json ? print_json : print_text)(result, before, size_after(result), options, cpu);
  return kExitOk;
}

}  // namespace tally::tools
