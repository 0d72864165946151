// tallysim: the testbed. Runs seeds and scenarios in the simulated world, sweeps over many, judges
// histories. `tallysim --help` lists what it can do.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "core/check.h"
#include "sim/scenario.h"
#include "tally_commit.h"
#include "tools/sim_check.h"
#include "tools/sim_output.h"
#include "tools/sim_sweep.h"

namespace tally::tools {
namespace {

namespace fs = std::filesystem;
using sim::RunResult;
using sim::RunSpec;
using sim::Scenario;

constexpr uint64_t kSeedMax = (uint64_t{1} << 53) - 1;

int usage_error(const std::string& message) {
  fmt::print(stderr, "tallysim: {}\n", message);
  return kExitUsage;
}

bool read_file(const fs::path& path, std::string& text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  text.assign(std::istreambuf_iterator<char>(file), {});
  return true;
}

// scenarios/ of the working directory, else of the tree this program was built from.
fs::path scenario_directory() {
  std::error_code error;
  if (fs::is_directory("scenarios", error)) return "scenarios";
  return fs::path(source_directory()) / "scenarios";
}

// A file, or the name of one in scenarios/. Empty, or what is wrong.
std::string load_scenario(const std::string& name_or_file, Scenario& scenario) {
  if (name_or_file.empty()) {
    scenario = sim::swarm_scenario();
    return {};
  }
  std::error_code error;
  fs::path path = name_or_file;
  if (!fs::is_regular_file(path, error)) {
    path = scenario_directory() / (name_or_file + ".txtpb");
  }
  std::string text;
  if (!fs::is_regular_file(path, error) || !read_file(path, text)) {
    return fmt::format("no scenario '{}': neither a file nor a name in {} (`tallysim list`)",
                       name_or_file, scenario_directory().string());
  }
  return sim::parse_scenario(text, path.string(), scenario);
}

struct RunOptions {
  uint64_t seed = 0;
  bool seed_given = false;
  std::string scenario;
  std::vector<std::string> assignments;
  std::string trace = "off";
  std::string history;
  bool json = false;
};

uint64_t seed_of(const RunOptions& options, const Scenario& scenario) {
  if (options.seed_given) return options.seed;
  return scenario.has_seed() ? static_cast<uint64_t>(scenario.seed()) : 1;
}

// For the CHECK handler: what is running, and how to report it.
sim::World* current_world = nullptr;
const Scenario* current_scenario = nullptr;
const RunOptions* current_options = nullptr;
std::string current_replay;

void print_result(const RunResult& result, const RunOptions& options, const std::string& replay,
                  uint64_t wall_ns) {
  fmt::print("{}", options.json ? result_json(result, replay, wall_ns)
                                : result_text(result, replay, wall_ns));
  std::fflush(stdout);
}

void report_failed_check(const std::string& message) {
  if (current_world == nullptr) {
    fmt::print(stderr, "{}\n", message);
    std::abort();
  }
  RunResult result = current_world->result_of_failed_check(message);
  sim::apply_expectations(*current_scenario, result);
  print_result(result, *current_options, current_replay, 0);
  _exit(exit_code(result.verdict));
}

int write_history(const RunOptions& options, const History& history) {
  if (options.history.empty()) return kExitOk;
  std::string text;
  for (const Operation& operation : history) write_history_line(operation, text);
  std::ofstream file(options.history, std::ios::binary);
  file << text;
  file.close();
  if (file) return kExitOk;
  fmt::print(stderr, "tallysim: --history {}: cannot be written\n", options.history);
  return kExitEnvironment;
}

int run_command(const RunOptions& options) {
  Scenario scenario;
  std::string error = load_scenario(options.scenario, scenario);
  if (!error.empty()) return usage_error(error);
  const uint64_t seed = seed_of(options, scenario);
  RunSpec spec;
  error = sim::make_run_spec(scenario, seed, options.assignments, spec);
  if (!error.empty()) {
    return usage_error(options.scenario.empty() ? error : options.scenario + ": " + error);
  }
  spec.trace = options.trace == "text" ? (options.json ? stderr : stdout) : nullptr;
  fmt::print("{}", options.json ? identity_json(spec) : identity_text(spec));
  std::fflush(stdout);

  const std::string replay = replay_command(seed, options.scenario, options.assignments);
  const auto began = std::chrono::steady_clock::now();
  sim::World world(spec);
  current_world = &world;
  current_scenario = &scenario;
  current_options = &options;
  current_replay = replay;
  set_check_handler(report_failed_check);
  RunResult result = world.run();
  current_world = nullptr;
  sim::apply_expectations(scenario, result);
  const auto wall = std::chrono::steady_clock::now() - began;
  const int written = write_history(options, result.history);
  print_result(result, options, replay, static_cast<uint64_t>(wall.count()));
  return written != kExitOk ? written : exit_code(result.verdict);
}

bool parse_seed(std::string_view text, uint64_t& seed) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), seed);
  return !text.empty() && code == std::errc() && end == text.data() + text.size() &&
         seed <= kSeedMax;
}

// "A..B" with both ends within range. Empty, or what is wrong.
std::string parse_seeds(const std::string& text, uint64_t& first, uint64_t& last) {
  const size_t dots = text.find("..");
  const std::string_view view = text;
  if (dots == std::string::npos || !parse_seed(view.substr(0, dots), first) ||
      !parse_seed(view.substr(dots + 2), last) || first > last) {
    return fmt::format("--seeds {}: give A..B with 0 <= A <= B < 2^53, as in 1..1000", text);
  }
  return {};
}

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

struct SweepFlags {
  std::string seeds;
  std::string duration;
  std::string scenario;
};

int sweep_command(const SweepFlags& flags, SweepOptions& options) {
  std::string error = parse_seeds(flags.seeds, options.first_seed, options.last_seed);
  if (!error.empty()) return usage_error(error);
  if (!flags.duration.empty()) {
    error = parse_duration(flags.duration, options.wall_ns_max);
    if (!error.empty()) return usage_error(error);
  }
  options.scenario_name = flags.scenario;
  error = load_scenario(flags.scenario, options.scenario);
  if (!error.empty()) return usage_error(error);
  RunSpec spec;  // whether the options fit together shows at any seed
  error = sim::make_run_spec(options.scenario, options.first_seed, options.assignments, spec);
  if (!error.empty()) return usage_error(error);
  return sweep(options);
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
  for (const fs::path& path : paths) {
    Scenario scenario;
    const std::string error = load_scenario(path.string(), scenario);
    if (!error.empty()) {
      exit = usage_error(error);
      continue;
    }
    if (json) {
      fmt::print("{{\"name\":{},\"story\":{}}}\n", json_string(path.stem().string()),
                 json_string(scenario.story()));
    } else {
      fmt::print("{:<28} {}\n", path.stem().string(), scenario.story());
    }
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
  command.add_flag("--json", options.json, "Print JSON, one object per line");
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
                   ->check(CLI::Range(uint64_t{0}, kSeedMax));
  run_app.add_option("--scenario", run.scenario, "A file, or a name that `list` shows")
      ->type_name("NAME|FILE");
  add_run_flags(run_app, run);

  SweepFlags sweep_flags;
  SweepOptions sweep_options;
  sweep_options.jobs = std::max(1u, std::thread::hardware_concurrency());
  CLI::App& sweep_app = *app.add_subcommand("sweep", "Run many seeds and sum up");
  sweep_app.add_option("--seeds", sweep_flags.seeds, "First and last seed, inclusive")
      ->type_name("A..B")
      ->required();
  sweep_app.add_option("--scenario", sweep_flags.scenario, "Sweep this instead of the swarm")
      ->type_name("NAME|FILE");
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
  CLI::App& replay_app = *app.add_subcommand("replay", "Run a seed, or a file that a sweep wrote");
  replay_app.add_option("seed", replayed, "A seed or a file")->required()->type_name("SEED|FILE");
  add_run_flags(replay_app, run);

  bool list_json = false;
  CLI::App& list_app = *app.add_subcommand("list", "List the scenarios");
  list_app.add_flag("--json", list_json, "Print JSON, one object per line");

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
  if (list_app.parsed()) return list_command(list_json);
  if (check_app.parsed()) return check_command(check);
  run.seed_given = seed->count() > 0;
  if (replay_app.parsed()) {
    run.seed_given = replayed.find_first_not_of("0123456789") == std::string::npos;
    if (!run.seed_given) {
      run.scenario = replayed;
    } else if (!parse_seed(replayed, run.seed)) {
      return usage_error(fmt::format("seed '{}' is not below 2^53", replayed));
    }
  }
  return run_command(run);
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::main(argc, argv); }
