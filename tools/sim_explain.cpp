#include "tools/sim_explain.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "core/check.h"
#include "sim/explain.h"
#include "tools/sim_load.h"
#include "tools/sim_output.h"

namespace tally::tools {
namespace {

constexpr size_t kLineCountMax = 60;

// What is running, for the CHECK handler.
sim::World* explained_world = nullptr;
const sim::RunSpec* explained_spec = nullptr;
size_t line_count_max = kLineCountMax;
std::string shrink_hint;  // of what is not shrunk yet

int explain(const sim::RunResult& result) {
  if (!result.violation) {
    fmt::print(stderr, "tallysim: the run ends {}: there is nothing to explain\n",
               sim::to_string(result.verdict));
    return exit_code(result.verdict);
  }
  fmt::print("{}", explain_text(*explained_spec, result, explained_world->story(), line_count_max));
  fmt::print("{}", shrink_hint);
  std::fflush(stdout);
  return kExitViolation;
}

void explain_failed_check(const std::string& message) {
  _exit(explain(explained_world->result_of_failed_check(message)));
}

}  // namespace

int explain_command(const RunOptions& options, bool all) {
  Loaded loaded;
  std::string error = load(options.scenario, loaded);
  if (!error.empty()) return usage_error(error);
  const uint64_t seed = options.seed_given           ? options.seed
                        : loaded.scenario.has_seed() ? static_cast<uint64_t>(loaded.scenario.seed())
                                                     : 1;
  sim::RunSpec spec;
  error = spec_of(loaded, seed, options.assignments, spec);
  if (!error.empty()) return usage_error(error);
  spec.explain = true;
  fmt::print("seed {}: {}\n", seed,
             loaded.scenario.has_story() ? loaded.scenario.story()
             : loaded.scenario.swarm()   ? "a run of the swarm"
                                         : "a run of " + options.scenario);
  sim::World world(spec);
  explained_world = &world;
  explained_spec = &spec;
  if (all) line_count_max = 0;
  if (options.seed_given || loaded.capsule) {
    shrink_hint = fmt::format(
        "\nA far shorter story: tallysim shrink {}{} --out story.txtpb, then tallysim explain "
        "story.txtpb\n",
        options.seed_given ? fmt::format("--seed {}", seed) : shell_word(options.scenario),
        run_flags("", options.assignments));
  }
  set_check_handler(explain_failed_check);
  return explain(world.run());
}

}  // namespace tally::tools
