#include "tools/sim_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <mutex>
#include <new>
#include <thread>

#include "core/history_reader.h"
#include "sim/checker_explain.h"
#include "sim/checker_html.h"
#include "tools/sim_output.h"
#include "tools/sim_threads.h"

namespace tally::tools {
namespace {

using sim::CheckResult;
using Verdict = CheckResult::Verdict;

// "12,345,678"
std::string grouped(uint64_t number) {
  std::string digits = fmt::format("{}", number);
  for (size_t end = digits.size(); end > 3; end -= 3) digits.insert(end - 3, 1, ',');
  return digits;
}

std::string counted(uint64_t operation_count) {
  return fmt::format("{} operation{}", operation_count, operation_count == 1 ? "" : "s");
}

// One line on a terminal that is rewritten as the reading and then the judging go on, and wiped at
// the end. Nothing at all goes into a pipe or a file.
class Progress {
 public:
  Progress() : on_terminal_(isatty(STDERR_FILENO) == 1) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { wipe(); }

  // How much there is to read in all; 0 when that is not known.
  void expect(uint64_t input_bytes) { input_bytes_ = input_bytes; }

  void update(uint64_t line_count, uint64_t read_bytes) {
    if (!on_terminal_) return;
    const auto now = Clock::now();
    if (now < next_) return;
    next_ = now + std::chrono::milliseconds(200);
    const double seconds = std::chrono::duration<double>(now - began_).count();
    std::string text =
        fmt::format("reading: {} lines, {} a second", grouped(line_count),
                    grouped(static_cast<uint64_t>(static_cast<double>(line_count) / seconds)));
    if (input_bytes_ > read_bytes && read_bytes > 0) {
      text += time_left(seconds, read_bytes, input_bytes_);
    }
    show(text);
  }

  void judging(uint64_t operation_count) {
    operation_count_ = operation_count;
    judging_since_ = Clock::now();
    next_ = judging_since_ + std::chrono::milliseconds(200);
    if (on_terminal_) show(fmt::format("judging {} operations", grouped(operation_count)));
  }

  // So many more operations are judged, after so many more states. Called by several threads.
  void judged(uint64_t operation_count, uint64_t state_count) {
    if (!on_terminal_) return;
    const std::lock_guard<std::mutex> guard(mutex_);
    judged_count_ = std::min(operation_count_, judged_count_ + operation_count);
    state_count_ += state_count;
    const auto now = Clock::now();
    if (now < next_) return;
    next_ = now + std::chrono::milliseconds(200);
    const double seconds = std::chrono::duration<double>(now - judging_since_).count();
    const auto rate_of = [&](uint64_t count) {
      return grouped(static_cast<uint64_t>(static_cast<double>(count) / seconds));
    };
    std::string text =
        fmt::format("judging: {} of {} operations, {} a second", grouped(judged_count_),
                    grouped(operation_count_), rate_of(judged_count_));
    if (state_count_ > 0) {
      text += fmt::format(", {} states, {} a second", grouped(state_count_), rate_of(state_count_));
    }
    if (judged_count_ > 0) text += time_left(seconds, judged_count_, operation_count_);
    show(text);
  }

  void wipe() {
    if (shown_) fmt::print(stderr, "\r\033[K");
    shown_ = false;
  }

 private:
  using Clock = std::chrono::steady_clock;

  // At the rate of before, and rounded up.
  static std::string time_left(double seconds, uint64_t done, uint64_t all) {
    const double left_share = static_cast<double>(all - done) / static_cast<double>(done);
    return fmt::format(", {:.0f} s left", seconds * left_share + 0.5);
  }

  void show(const std::string& text) {
    fmt::print(stderr, "\r\033[K{}", text);
    std::fflush(stderr);
    shown_ = true;
  }

  uint64_t input_bytes_ = 0;
  uint64_t operation_count_ = 0;
  std::mutex mutex_;  // of what judging threads write: all below but began_
  uint64_t judged_count_ = 0;
  uint64_t state_count_ = 0;
  const bool on_terminal_;
  const Clock::time_point began_ = Clock::now();
  Clock::time_point judging_since_ = began_;
  Clock::time_point next_ = began_ + std::chrono::milliseconds(500);
  bool shown_ = false;
};

// Reads a history from a descriptor and parses each block of whole lines as it comes in. The text
// is kept: when a block is refused, or lines of different blocks contradict each other, the text so
// far is parsed again in one piece, which finds the line to blame.
class HistoryInput {
 public:
  HistoryInput(int descriptor, std::string name, uint64_t input_bytes)
      : descriptor_(descriptor), name_(std::move(name)), input_bytes_(input_bytes) {}

  // False with `error`, complete with the file's name, when there is no history to judge.
  bool read(Progress& progress, History& history, std::string& error) {
    text_.reserve(input_bytes_ + kReadBytes);
    for (;;) {
      const ssize_t got = read_some(error);
      if (got < 0) return false;
      const size_t parse_bytes = text_.size() - parsed_bytes_;
      if ((got == 0 || parse_bytes >= kBlockBytes) && !parse_block(got == 0, history)) {
        return blame(history, error);
      }
      progress.update(history.size(), text_.size());
      if (got == 0) break;
    }
    return sim::validate_history(history).empty() || blame(history, error);
  }

 private:
  static constexpr size_t kReadBytes = size_t{1} << 18;
  static constexpr size_t kBlockBytes = size_t{1} << 18;

  // How many bytes came: 0 at the end, -1 with `error` on failure.
  ssize_t read_some(std::string& error) {
    const size_t old_bytes = text_.size();
    text_.resize(old_bytes + kReadBytes);
    ssize_t got = -1;
    do {
      got = ::read(descriptor_, text_.data() + old_bytes, kReadBytes);
    } while (got < 0 && errno == EINTR);
    if (got < 0) error = fmt::format("{}: cannot be read: {}", name_, std::strerror(errno));
    text_.resize(old_bytes + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    return got;
  }

  // Parses up to the last line that is complete; at the end of the input, all.
  bool parse_block(bool at_end, History& history) {
    const std::string_view rest = std::string_view(text_).substr(parsed_bytes_);
    const size_t last = at_end ? std::string_view::npos : rest.rfind('\n');
    const std::string_view block = at_end ? rest : rest.substr(0, last + 1);  // npos + 1: none
    std::string unused;
    if (!parse_history(block, name_, block_, unused)) return false;
    parsed_bytes_ += block.size();
    if (history.empty() && !block_.empty()) {
      // What the first block is like, all are assumed to be.
      history.reserve(block_.size() * (input_bytes_ / block.size() + 1) + block_.size());
    }
    history.insert(history.end(), std::make_move_iterator(block_.begin()),
                   std::make_move_iterator(block_.end()));
    return true;
  }

  bool blame(History& history, std::string& error) const {
    if (parse_history(text_, name_, history, error)) {
      error = fmt::format("{}: {}", name_, sim::validate_history(history));
    }
    return false;
  }

  const int descriptor_;
  const std::string name_;
  const uint64_t input_bytes_;
  std::string text_;
  size_t parsed_bytes_ = 0;  // of text_: in whole lines, already in the history
  History block_;            // the operations of one block; kept for its memory
};

// Opens and reads what `file` names. False with `error`.
bool read_history(const std::string& file, Progress& progress, History& history,
                  std::string& error) {
  const bool standard_input = file == "-";
  const std::string name = standard_input ? "standard input" : file;
  const int descriptor = standard_input ? STDIN_FILENO : ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    error = fmt::format("{}: cannot be read: {}", name, std::strerror(errno));
    return false;
  }
  struct stat status = {};
  const bool sized = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  const uint64_t input_bytes = sized ? static_cast<uint64_t>(status.st_size) : 0;
  progress.expect(input_bytes);
  const bool good = HistoryInput(descriptor, name, input_bytes).read(progress, history, error);
  if (!standard_input) ::close(descriptor);
  return good;
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk: return "ok";
    case Verdict::kViolation: return "violation";
    case Verdict::kUnknown: return "unknown";
  }
  return "invalid";
}

int check_exit_code(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk: return kExitOk;
    case Verdict::kViolation: return kExitViolation;
    case Verdict::kUnknown: return kExitUndecided;
  }
  return kExitEnvironment;
}

std::string result_json(const CheckResult& result) {
  return fmt::format(
      R"({{"verdict":"{}","ops":{},"unknown_used":{},"unknown_unspent":{},"reason":{}}})"
      "\n",
      to_string(result.verdict), result.op_count, result.unknown_used_count,
      result.unknown_unspent_count, result.reason.empty() ? "null" : json_string(result.reason));
}

std::string result_text(const CheckResult& result) {
  std::string text = fmt::format("{}: {}", to_string(result.verdict), counted(result.op_count));
  if (result.verdict == Verdict::kOk) {
    text += fmt::format("; of unknown outcome {} were needed, {} were not\n",
                        result.unknown_used_count, result.unknown_unspent_count);
  } else {
    text += fmt::format(", {} of unknown outcome\n", result.unknown_unspent_count);
  }
  if (!result.reason.empty()) text += result.reason + "\n";
  return text;
}

// client 3 seq 7 added +5 to "hits" and got 17, between 1200 and 1890
std::string sentence(const Operation& op) {
  const std::string counter = sim::checker::quoted(op.counter);
  const std::string bounds =
      op.lower || op.upper ? " within " + sim::checker::describe_bounds(op) : "";
  std::string act;
  if (op.kind == Operation::Kind::kGet) {
    act = op.status == Operation::Status::kOk ? fmt::format("read {} from {}", op.value, counter)
                                              : fmt::format("tried to read {}", counter);
  } else if (op.status == Operation::Status::kOk) {
    act = fmt::format("added {:+} to {}{} and got {}", op.delta, counter, bounds, op.value);
  } else {
    act = fmt::format("tried to add {:+} to {}{}", op.delta, counter, bounds);
  }
  switch (op.status) {
    case Operation::Status::kOk: break;
    case Operation::Status::kUnknown: act += " and never learned the outcome"; break;
    case Operation::Status::kFailed: act += " and failed for certain"; break;
    case Operation::Status::kRejected:
      act += op.reject_reason == Operation::RejectReason::kOverflow
                 ? " and was refused: past 64 bits"
                 : " and was refused: out of bounds";
      break;
  }
  const bool open_ended = op.status == Operation::Status::kUnknown || !op.return_ns;
  const std::string when = open_ended
                               ? fmt::format("from {} on", op.invoke_ns)
                               : fmt::format("between {} and {}", op.invoke_ns, *op.return_ns);
  return fmt::format("  client {} seq {} {}, {}\n", op.client, op.sequence, act, when);
}

template <class Indexes>
std::string sentences(const History& history, const Indexes& indexes, size_t shown_max) {
  std::string text;
  const size_t shown_count = std::min(indexes.size(), shown_max);
  for (size_t i = 0; i < shown_count; ++i) text += sentence(history[indexes[i]]);
  if (indexes.size() > shown_count) {
    text += fmt::format("  ... and {} more\n", indexes.size() - shown_count);
  }
  return text;
}

std::string explanation_of_ok(const History& history, const CheckResult& result) {
  constexpr size_t kShownMax = 20;
  std::string text;
  if (result.linearization.empty()) {
    text += "no operation has to be ordered\n";
  } else {
    text += "one order in which all of it happens, counter by counter:\n";
    text += sentences(history, result.linearization, kShownMax);
  }
  if (result.unknown_unspent_count > 0) {
    text += fmt::format(
        "{} of unknown outcome stayed unspent: nothing shows whether they took effect. Each could "
        "have hidden a fault of its size, such as an increment applied twice; the fewer "
        "there are, the more this ok says.\n",
        counted(result.unknown_unspent_count));
  } else {
    text += "no operation of unknown outcome stayed unspent: this ok hides nothing.\n";
  }
  return text;
}

std::string explanation(const History& history, const CheckResult& result,
                        const sim::CheckOptions& options) {
  constexpr size_t kShownMax = 50;
  if (result.verdict == Verdict::kOk) return explanation_of_ok(history, result);
  std::vector<size_t> culprits = result.culprits;
  std::stable_sort(culprits.begin(), culprits.end(),
                   [&](size_t a, size_t b) { return history[a].invoke_ns < history[b].invoke_ns; });
  std::string text;
  if (!culprits.empty()) {
    text +=
        result.verdict == Verdict::kUnknown
            ? "the operations that stayed undecided, by the time they began:\n"
        : result.culprits_contradict
            ? "the operations that cannot all be true, whatever the others did, by the time they "
              "began:\n"
            : "the operations where it shows, by the time they began:\n";
    text += sentences(history, culprits, kShownMax);
  }
  if (options.max_clock_error_ns > 0) {
    text += fmt::format(
        "each may have happened up to {} ns earlier or later than it says "
        "(--max-clock-error)\n",
        options.max_clock_error_ns);
  }
  if (result.verdict == Verdict::kUnknown) {
    text += fmt::format(
        "this is no verdict: {} search states were visited (--budget {} and --memory {} for each "
        "counter). More of what ran out may decide it; fewer operations of unknown outcome "
        "certainly help.\n",
        result.states_visited, options.budget, options.memory_bytes >> 20);
  }
  return text;
}

bool write_picture(const CheckFlags& flags, const History& history, const CheckResult& result) {
  const std::string title = flags.file == "-" ? "standard input" : flags.file;
  std::ofstream file(flags.html, std::ios::binary);
  file << sim::check_html(history, result, flags.options, title);
  file.close();
  if (file) return true;
  fmt::print(stderr, "tallysim: --html {}: cannot be written\n", flags.html);
  return false;
}

// CLI11 would read 010 as eight, and what is out of range as the nearest number within.
template <class Integer>
CLI::Validator whole_number(Integer low, Integer high) {
  return CLI::Validator(
      [low, high](std::string& text) -> std::string {
        Integer number = 0;
        const char* end = text.data() + text.size();
        const auto [stop, code] = std::from_chars(text.data(), end, number);
        const size_t first_digit = text.rfind('-', 0) == 0 ? 1 : 0;
        const bool plain = text.size() == first_digit + 1 || text[first_digit] != '0';
        if (code == std::errc() && stop == end && plain && low <= number && number <= high) {
          return {};
        }
        return fmt::format("'{}': give a decimal number from {} to {}", text, low, high);
      },
      "");
}

}  // namespace

CLI::App& add_check_command(CLI::App& app, CheckFlags& flags) {
  CLI::App& command = *app.add_subcommand("check", "Judge a history for linearizability");
  command.add_option("history", flags.file, "JSON lines; - reads standard input")->required();
  command.add_flag("--json", flags.json, "Print JSON");
  command.add_flag("--explain", flags.explain,
                   "Also print the operations behind the verdict, in words");
  command.add_option("--initial", flags.options.initial, "Value that every counter starts with")
      ->check(
          whole_number(std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  command
      .add_option("--max-clock-error", flags.options.max_clock_error_ns,
                  "Widen every operation by this many nanoseconds on both sides")
      ->type_name("NS")
      ->check(whole_number(int64_t{0}, int64_t{1'000'000'000'000'000}));
  command
      .add_option("--budget", flags.options.budget,
                  "Search states to visit at most, for each counter")
      ->check(whole_number(uint64_t{0}, std::numeric_limits<uint64_t>::max()))
      ->capture_default_str();
  command
      .add_option("--memory", flags.memory_mb,
                  "Megabytes that a counter's search may take at most, on top of the operations")
      ->type_name("MB")
      ->check(whole_number(uint64_t{1}, uint64_t{32'768}))
      ->capture_default_str();
  flags.job_count = std::max(1U, std::thread::hardware_concurrency());
  command.add_option("--jobs", flags.job_count, "Counters to judge at once; changes no verdict")
      ->check(whole_number(1U, 1024U))
      ->capture_default_str();
  command
      .add_option("--html", flags.html,
                  "Draw the verdict: writes one page that needs no other file")
      ->type_name("FILE");
  return command;
}

namespace {

int read_and_judge(const CheckFlags& flags) {
  History history;
  std::string error;
  Progress progress;
  if (!read_history(flags.file, progress, history, error)) {
    progress.wipe();
    fmt::print(stderr, "tallysim: {}\n", error);
    return kExitUsage;
  }
  sim::CheckOptions options = flags.options;
  options.memory_bytes = flags.memory_mb << 20;
  progress.judging(history.size());
  options.on_progress = [&](uint64_t op_count, uint64_t state_count) {
    progress.judged(op_count, state_count);
  };
  const CheckResult result =
      sim::check_history(history, options, [&](size_t count, const sim::Task& task) {
        for_each_on_threads(flags.job_count, count, task);
      });
  progress.wipe();
  fmt::print("{}", flags.json ? result_json(result) : result_text(result));
  if (flags.explain) {
    // With --json, standard output is for programs.
    fmt::print(flags.json ? stderr : stdout, "{}", explanation(history, result, options));
  }
  if (!flags.html.empty() && !write_picture(flags, history, result)) return kExitEnvironment;
  return check_exit_code(result.verdict);
}

}  // namespace

int check_command(const CheckFlags& flags) {
  try {
    return read_and_judge(flags);
  } catch (const std::bad_alloc&) {
    // Not by way of fmt: there may be no memory for it.
    std::fputs(
        "tallysim: the system gives no more memory; check a part of the history, fewer counters at "
        "once (--jobs) or with less memory each (--memory)\n",
        stderr);
    return kExitEnvironment;
  }
}

}  // namespace tally::tools
