// tallysim: the testbed. Runs seeds and scenarios in the simulated world, sweeps over many, judges
// histories. `tallysim --help` lists what it can do.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "sim/plan.h"
#include "tally_commit.h"
#include "tools/dump_paths.h"
#include "tools/sim_check.h"
#include "tools/sim_diverge.h"
#include "tools/sim_explain.h"
#include "tools/sim_load.h"
#include "tools/sim_output.h"
#include "tools/sim_run.h"
#include "tools/sim_seeds.h"
#include "tools/sim_shrink.h"
#include "tools/sim_sweep.h"

namespace tally::tools {
namespace {

namespace fs = std::filesystem;
// "90", "90s", "10m", "2h" to nanoseconds. Empty, or what is wrong.
std::string parse_duration(const std::string& text, uint64_t& ns) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  uint64_t seconds = 0;
  if (unit.empty() || unit == "s") seconds = 1;
  if (unit == "m") seconds = 60;
  if (unit == "h") seconds = 3600;
  if (code != std::errc() || seconds == 0 || value == 0 || value > 1'000'000) {
    return fmt::format("--for {}: give a time such as 60s, 10m or 2h", text);
  }
  ns = value * seconds * 1'000'000'000;
  return {};
}

// A variable of a script that is not set must not make another run of it.
const CLI::Validator is_named(
    [](std::string& text) -> std::string {
      return text.empty() ? "'' names nothing; leave it out for a run of the swarm" : "";
    },
    "");

// CLI11 would read 010 as eight and 1e3 as one.
const CLI::Validator is_seed(
    [](std::string& text) -> std::string {
      uint64_t seed = 0;
      const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), seed);
      const bool decimal = code == std::errc() && end == text.data() + text.size() &&
                           (text.size() == 1 || text[0] != '0');
      if (decimal && seed <= kSeedMax) return {};
      return fmt::format("'{}': a seed is a decimal number from 0 to {}", text, kSeedMax);
    },
    "SEED");

struct SweepFlags {
  std::string seeds;
  std::string shard;
  std::string duration;
  std::string scenario;
};

int sweep_command(const SweepFlags& flags, SweepOptions& options) {
  SeedRange range;
  std::string error = parse_seeds(flags.seeds, range);
  options.whole_first_seed = range.first;
  options.whole_last_seed = range.last;
  options.shard = flags.shard;
  if (error.empty() && !options.shard.empty()) error = take_shard(options.shard, range);
  if (!error.empty()) return usage_error(error);
  options.first_seed = range.first;
  options.last_seed = range.last;
  if (!flags.duration.empty()) {
    error = parse_duration(flags.duration, options.wall_ns_max);
    if (!error.empty()) return usage_error(error);
  }
  options.scenario_name = flags.scenario;
  Loaded loaded;
  error = load(flags.scenario, loaded);
  if (!error.empty()) return usage_error(error);
  options.scenario = loaded.scenario;
  sim::RunSpec spec;  // whether the options fit together shows at any seed
  error = spec_of(loaded, options.first_seed, options.assignments, spec);
  if (!error.empty()) return usage_error(error);
  return sweep(options);
}

std::string list_json(const std::string& name, const std::string& group,
                      const sim::Scenario& scenario) {
  std::string catches;
  for (const std::string& bug : scenario.catches()) {
    catches += (catches.empty() ? "" : ",") + json_string(bug);
  }
  return fmt::format(R"({{"name":{},"group":{},"story":{},"catches":[{}]}})", json_string(name),
                     json_string(group), json_string(scenario.story()), catches);
}

int list_command(bool json) {
  std::vector<fs::path> paths;
  std::error_code code;
  const fs::path directory = scenario_directory();
  for (const auto& entry : fs::directory_iterator(directory, code)) {
    if (entry.path().extension() == ".txtpb") paths.push_back(entry.path());
  }
  if (code) {
    fmt::print(stderr, "tallysim: {}: {}\n", directory.string(), code.message());
    return kExitEnvironment;
  }
  std::sort(paths.begin(), paths.end());
  int exit = kExitOk;
  std::map<std::string, std::vector<std::string>> lines;  // by group, in order of their names
  for (const fs::path& path : paths) {
    Loaded loaded;
    const std::string error = load(path.string(), loaded);
    if (!error.empty()) {
      exit = usage_error(error);
      continue;
    }
    const sim::Scenario& scenario = loaded.scenario;
    const std::string group = scenario.has_group() ? sim::group_name(scenario.group()) : "other";
    lines[group].push_back(
        json ? list_json(path.stem().string(), group, scenario)
             : fmt::format("  {:<40} {}", path.stem().string(), scenario.story()));
  }
  for (const auto& [group, all] : lines) {
    if (!json) fmt::print("{}\n", group);
    for (const std::string& line : all) fmt::print("{}\n", line);
  }
  return exit;
}

void add_run_flags(CLI::App& command, RunOptions& options) {
  command
      .add_option("--set", options.assignments,
                  "Set one parameter, e.g. network.loss_ppm=1000; may be repeated")
      ->type_name("path=value")
      ->allow_extra_args(false);
  command.add_option("--trace", options.trace, "text: print what happens, in words")
      ->check(CLI::IsMember({"text", "off"}))
      ->capture_default_str();
  command.add_option("--history", options.history, "Write what the clients saw, as JSON lines")
      ->type_name("FILE");
  command
      .add_option("--emit-plan", options.emit_plan,
                  "Write the whole run as a scenario: parameters, faults, core, seed")
      ->type_name("FILE");
  command.add_flag("--json", options.json, "Print JSON, one object per line");
}

// The flags that name this run, for another program.
std::vector<std::string> run_arguments(const RunOptions& run, bool seed_given) {
  std::vector<std::string> arguments;
  if (seed_given) arguments.push_back(fmt::format("--seed={}", run.seed));
  if (!run.scenario.empty()) arguments.push_back("--scenario=" + run.scenario);
  for (const std::string& assignment : run.assignments) arguments.push_back("--set=" + assignment);
  return arguments;
}

int main(int argc, char** argv) {
  CLI::App app(
      "Tally's testbed: a Raft counter in a simulated world, broken on purpose and replayed "
      "by seed.");
  app.set_version_flag("--version", std::string("tallysim, commit ") + commit_id());
  app.require_subcommand(1);

  RunOptions run;
  CLI::App& run_app = *app.add_subcommand("run", "Run one seed or scenario to its verdict");
  auto* seed = run_app.add_option("--seed", run.seed, "Which run (default: the scenario's, or 1)")
                   ->check(is_seed);
  run_app.add_option("--scenario", run.scenario, "A file, or a name that `list` shows")
      ->type_name("NAME|FILE")
      ->check(is_named);
  std::string trail;
  run_app
      .add_option("--trail", trail, "Print the digest at checkpoints, and at every event of A..B")
      ->type_name("A..B");
  add_run_flags(run_app, run);

  SweepFlags sweep_flags;
  SweepOptions sweep_options;
  sweep_options.jobs = std::max(1u, std::thread::hardware_concurrency());
  CLI::App& sweep_app = *app.add_subcommand("sweep", "Run many seeds and sum up");
  sweep_app
      .add_option(
          "--seeds", sweep_flags.seeds,
          "First and last seed, inclusive; or ID+COUNT: that many that follow from a commit's "
          "id, or from `commit`, this program's own")
      ->type_name("A..B")
      ->required();
  sweep_app
      .add_option("--shard", sweep_flags.shard,
                  "Only part I of N of the seeds; auto/N, auto: as the variables of a Slurm array "
                  "job or (auto/N) a Kubernetes indexed job say")
      ->type_name("I/N");
  sweep_app.add_option("--scenario", sweep_flags.scenario, "Sweep this instead of the swarm")
      ->type_name("NAME|FILE")
      ->check(is_named);
  sweep_app.add_option("--set", sweep_options.assignments, "Set one parameter of every run")
      ->type_name("path=value")
      ->allow_extra_args(false);
  sweep_app.add_option("--jobs", sweep_options.jobs, "Processes")
      ->check(CLI::Range(1u, 256u))
      ->capture_default_str();
  sweep_app.add_option("--for", sweep_flags.duration, "Stop after this time, e.g. 60s, 10m")
      ->type_name("TIME");
  sweep_app.add_option("--out", sweep_options.out_directory, "Write one file per failure here")
      ->type_name("DIR");
  sweep_app.add_flag("--stop-at-first", sweep_options.stop_at_first, "Stop at the first violation");
  sweep_app.add_flag("--json", sweep_options.json, "Print JSON, one object per line");

  std::string replayed;
  CLI::App& replay_app = *app.add_subcommand(
      "replay", "Run a capsule again: 1 reproduced, 0 gone, 4 diverged; or a seed, as run does");
  replay_app.add_option("capsule", replayed, "What a sweep wrote, or a seed")
      ->required()
      ->type_name("CAPSULE|SEED");
  add_run_flags(replay_app, run);

  ShrinkOptions shrink;
  std::string shrink_time = "60s";
  CLI::App& shrink_app =
      *app.add_subcommand("shrink", "Make a failing run small: a scenario file to read and keep");
  shrink_app.add_option("capsule", shrink.source, "What a sweep wrote, or a failing scenario")
      ->type_name("CAPSULE");
  auto* shrink_seed =
      shrink_app.add_option("--seed", shrink.seed, "Instead of a file: this seed")->check(is_seed);
  shrink_app.add_option("--scenario", shrink.scenario, "With --seed: of this scenario")
      ->type_name("NAME|FILE")
      ->check(is_named);
  shrink_app.add_option("--set", shrink.assignments, "Set one parameter first")
      ->type_name("path=value")
      ->allow_extra_args(false);
  shrink_app.add_option("--out", shrink.out, "The scenario file to write")
      ->type_name("FILE")
      ->required();
  shrink_app.add_option("--for", shrink_time, "Stop after this time with what there is")
      ->type_name("TIME")
      ->capture_default_str();
  shrink_app.add_flag("--json", shrink.json, "Print JSON, one object per line");

  RunOptions explain;
  bool explain_all = false;
  CLI::App& explain_app = *app.add_subcommand("explain", "Tell what led to a violation");
  explain_app.add_option("capsule", explain.scenario, "A capsule, or a scenario")
      ->type_name("CAPSULE");
  auto* explain_seed =
      explain_app.add_option("--seed", explain.seed, "Instead of a file: this seed")
          ->check(is_seed);
  explain_app.add_option("--set", explain.assignments, "Set one parameter")
      ->type_name("path=value")
      ->allow_extra_args(false);
  explain_app.add_flag("--all", explain_all, "All lines of the past, however many");

  DivergeOptions diverge;
  CLI::App& diverge_app = *app.add_subcommand(
      "diverge", "Find the first event in which two programs, or two capsules, differ");
  diverge_app
      .add_option("a", diverge.a, "A program such as build/clang/bin/tallysim, or a capsule")
      ->required()
      ->type_name("A");
  diverge_app.add_option("b", diverge.b, "The other one")->required()->type_name("B");
  RunOptions diverge_run;
  auto* diverge_seed =
      diverge_app.add_option("--seed", diverge_run.seed, "Of programs: the run")->check(is_seed);
  diverge_app.add_option("--scenario", diverge_run.scenario, "Of programs: its scenario")
      ->type_name("NAME|FILE")
      ->check(is_named);
  diverge_app.add_option("--set", diverge_run.assignments, "Set one parameter")
      ->type_name("path=value")
      ->allow_extra_args(false);

  bool list_json = false;
  CLI::App& list_app = *app.add_subcommand("list", "List the scenarios");
  list_app.add_flag("--json", list_json, "Print JSON, one object per line");

  std::vector<std::string> dumped;
  CLI::App& dump_app = *app.add_subcommand(
      "dump", "Print log and snapshot files as text; what is wrong is marked !!");
  dump_app.add_option("path", dumped, "Data directories, or files of theirs")
      ->required()
      ->type_name("FILE...");

  CheckFlags check;
  const CLI::App& check_app = add_check_command(app, check);

  // CLI11 would only say that a subcommand is missing.
  const std::string first = argc > 1 ? argv[1] : "-";
  const auto is_first = [&](const CLI::App* command) { return command->get_name() == first; };
  if (first.rfind('-', 0) != 0 && app.get_subcommands(is_first).empty()) {
    return usage_error(fmt::format("no subcommand '{}' (`tallysim --help` lists them)", first));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (sweep_app.parsed()) return sweep_command(sweep_flags, sweep_options);
  if (diverge_app.parsed()) {
    diverge.run_arguments = run_arguments(diverge_run, diverge_seed->count() > 0);
    return diverge_command(diverge);
  }
  if (explain_app.parsed()) {
    explain.seed_given = explain_seed->count() > 0;
    if (explain.scenario.empty() == !explain.seed_given) {
      return usage_error("explain takes one of a file (CAPSULE) and --seed N");
    }
    return explain_command(explain, explain_all);
  }
  if (shrink_app.parsed()) {
    shrink.seed_given = shrink_seed->count() > 0;
    const std::string error = parse_duration(shrink_time, shrink.wall_ns_max);
    return error.empty() ? shrink_command(shrink) : usage_error(error);
  }
  if (list_app.parsed()) return list_command(list_json);
  if (check_app.parsed()) return check_command(check);
  if (dump_app.parsed()) {
    size_t wrong = 0;
    const std::string error = dump_paths(dumped, wrong);
    if (!error.empty()) return usage_error(error);
    return wrong == 0 ? kExitOk : kExitViolation;
  }
  run.seed_given = seed->count() > 0;
  if (!trail.empty()) {
    SeedRange events;
    if (!parse_seeds(trail, events).empty()) {
      return usage_error(fmt::format("--trail {}: give a range of events, as in 1..64", trail));
    }
    run.trail = true;
    run.trail_first = events.first;
    run.trail_last = events.last;
  }
  if (replay_app.parsed()) return replay_command(replayed, run);
  return run_command(run);
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) {
  int code = tally::tools::kExitEnvironment;
  bool written = true;
  try {
    code = tally::tools::main(argc, argv);
  } catch (const std::system_error&) {  // fmt's way to say it
    written = false;
  }
  // A result that nobody can read is none.
  if (written && std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  std::fputs("tallysim: stdout cannot be written: the result is lost\n", stderr);
  return tally::tools::kExitEnvironment;
}
