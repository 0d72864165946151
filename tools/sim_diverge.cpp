#include "tools/sim_diverge.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "sim/capsule.h"
#include "tools/sim_load.h"
#include "tools/sim_output.h"

namespace tally::tools {
namespace {

// One line of a trail.
struct Step {
  uint64_t event = 0;
  std::string digest;
  std::string text;
};

struct Trail {
  std::string error;
  std::vector<Step> steps;
};

bool parse_step(std::string_view line, Step& step) {
  constexpr std::string_view kStart = "trail ";
  if (line.rfind(kStart, 0) != 0) return false;
  line.remove_prefix(kStart.size());
  const auto [end, code] = std::from_chars(line.data(), line.data() + line.size(), step.event);
  const auto used = static_cast<size_t>(end - line.data());
  if (code != std::errc() || line.size() < used + 17) return false;
  step.digest = std::string(line.substr(used + 1, 16));
  step.text = std::string(line.substr(std::min(line.size(), used + 18)));
  return true;
}

// Runs the program without a shell and reads what it prints.
std::string output_of(const std::vector<std::string>& arguments, std::string& output) {
  int ends[2];
  if (pipe(ends) != 0) return fmt::format("no pipe: {}", std::strerror(errno));
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return fmt::format("no process: {}", std::strerror(errno));
  if (pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    std::vector<char*> words;
    for (const std::string& argument : arguments)
      words.push_back(const_cast<char*>(argument.c_str()));
    words.push_back(nullptr);
    execv(words[0], words.data());
    _exit(127);
  }
  close(ends[1]);
  char buffer[65536];
  for (;;) {
    const ssize_t count = read(ends[0], buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    output.append(buffer, static_cast<size_t>(count));
  }
  close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  if (code == kExitOk || code == kExitViolation || code == kExitUndecided) return {};
  return fmt::format("{} ended with {}", arguments[0],
                     WIFEXITED(status) ? fmt::format("exit code {}", code) : "a signal");
}

// The trail of a run by that program; every event of first .. last, checkpoints elsewhere.
Trail trail_of(const std::string& program, const DivergeOptions& options, uint64_t first,
               uint64_t last) {
  std::vector<std::string> arguments = {std::filesystem::absolute(program).string(), "run"};
  arguments.insert(arguments.end(), options.run_arguments.begin(), options.run_arguments.end());
  arguments.push_back("--trail");
  arguments.push_back(fmt::format("{}..{}", first, last));
  Trail trail;
  std::string output;
  trail.error = output_of(arguments, output);
  size_t begin = 0;
  while (begin < output.size()) {
    const size_t end = std::min(output.find('\n', begin), output.size());
    Step step;
    if (parse_step(std::string_view(output).substr(begin, end - begin), step)) {
      trail.steps.push_back(std::move(step));
    }
    begin = end + 1;
  }
  return trail;
}

// The position of the first step that differs. A running digest that differs stays different.
size_t first_difference(const std::vector<Step>& a, const std::vector<Step>& b) {
  size_t same = 0;
  size_t different = std::min(a.size(), b.size());
  while (same < different) {
    const size_t middle = same + (different - same) / 2;
    if (a[middle].digest == b[middle].digest) {
      same = middle + 1;
    } else {
      different = middle;
    }
  }
  return same;
}

void print_side(const char* side, const std::vector<Step>& steps, size_t position) {
  if (position >= steps.size()) {
    fmt::print("{}  ends before it\n", side);
    return;
  }
  fmt::print("{}  {}  {}\n", side, steps[position].digest, steps[position].text);
}

int compare_programs(const DivergeOptions& options) {
  if (options.run_arguments.empty()) {
    fmt::print(stderr, "of seed 1, as neither --seed nor --scenario names another run\n");
  }
  const Trail a = trail_of(options.a, options, 0, 0);
  const Trail b = trail_of(options.b, options, 0, 0);
  for (const Trail* trail : {&a, &b}) {
    if (!trail->error.empty()) {
      fmt::print(stderr, "tallysim: {}\n", trail->error);
      return kExitEnvironment;
    }
  }
  const size_t checkpoint = first_difference(a.steps, b.steps);
  const uint64_t first = checkpoint == 0 ? 1 : a.steps[checkpoint - 1].event + 1;
  const uint64_t last = first + sim::Digest::kCheckpointInterval;
  std::vector<Step> sides[2];
  for (int side = 0; side < 2; ++side) {
    for (Step& step : trail_of(side == 0 ? options.a : options.b, options, first, last).steps) {
      if (step.event >= first && step.event <= last) sides[side].push_back(std::move(step));
    }
  }
  for (int side = 0; side < 2; ++side) {
    if (first > 1 || !sides[side].empty()) continue;
    fmt::print(stderr, "tallysim: {} printed no trail: is it a tallysim of today's?\n",
               side == 0 ? options.a : options.b);
    return kExitEnvironment;
  }
  const size_t position = first_difference(sides[0], sides[1]);
  if (position >= sides[0].size() && position >= sides[1].size()) {
    fmt::print("no difference: {} checkpoints and all events after the last one are equal\n",
               a.steps.size());
    return kExitOk;
  }
  fmt::print("the first event that differs is {}\n", first + position);
  if (position > 0) {
    fmt::print("before it, in both: {}\n", sides[0][position - 1].text);
  }
  print_side("A", sides[0], position);
  print_side("B", sides[1], position);
  return kExitViolation;
}

// The first line that only one of them has, of what two runs were made of; empty: none.
std::string first_other_input(const sim::Capsule& a, const sim::Capsule& b) {
  const auto lines_of = [](const sim::Capsule& capsule) {
    sim::Scenario scenario = capsule.scenario();
    scenario.clear_story();
    scenario.clear_name();
    const std::string text = scenario_text(scenario);
    std::vector<std::string> lines;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      lines.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    return lines;
  };
  const std::vector<std::string> one = lines_of(a);
  const std::vector<std::string> other = lines_of(b);
  const auto [at, other_at] = std::mismatch(one.begin(), one.end(), other.begin(), other.end());
  if (at == one.end() && other_at == other.end()) return {};
  return fmt::format("not the same run:\n  A has {}\n  B has {}\n",
                     at == one.end() ? "nothing more" : *at,
                     other_at == other.end() ? "nothing more" : *other_at);
}

int compare_capsules(const sim::Capsule& a, const sim::Capsule& b) {
  fmt::print("{}", first_other_input(a, b));
  fmt::print("A: {} (commit {}, {} events)\nB: {} (commit {}, {} events)\n", fingerprint(a),
             a.commit(), a.events(), fingerprint(b), b.commit(), b.events());
  const sim::Parting parting = find_parting(trail_of(a), trail_of(b));
  if (parting.same) {
    fmt::print("no difference\n");
    return kExitOk;
  }
  if (parting.first == parting.last) {
    fmt::print("the first event that differs is {}\n", parting.first);
  } else {
    fmt::print("the first event that differs is one of {}..{}\n", parting.first, parting.last);
  }
  return kExitViolation;
}

}  // namespace

int diverge_command(const DivergeOptions& options) {
  Loaded loaded[2];
  const std::string* names[2] = {&options.a, &options.b};
  int capsules = 0;
  for (int side = 0; side < 2; ++side) {
    std::error_code code;
    if (!std::filesystem::is_regular_file(*names[side], code)) {
      return usage_error(
          fmt::format("no file '{}': give two programs or two capsules", *names[side]));
    }
    if (access(names[side]->c_str(), X_OK) == 0) continue;
    const std::string error = load(*names[side], loaded[side]);
    if (!error.empty()) return usage_error(error);
    if (!loaded[side].capsule) {
      return usage_error(*names[side] + ": neither a program nor a capsule");
    }
    ++capsules;
  }
  if (capsules == 1) return usage_error("give two programs or two capsules, not one of each");
  if (capsules == 2) return compare_capsules(*loaded[0].capsule, *loaded[1].capsule);
  return compare_programs(options);
}

}  // namespace tally::tools
