#include "tools/sim_sweep.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <new>

#include "core/note.h"
#include "sim/capsule.h"
#include "sim/plan.h"
#include "sim/shrink.h"
#include "tally_commit.h"
#include "tools/sim_child.h"
#include "tools/sim_load.h"
#include "tools/sim_output.h"

namespace tally::tools {
namespace {

using sim::SeedReport;
using WallClock = std::chrono::steady_clock;

constexpr unsigned kJobsMax = 256;

// Shared by all processes of the sweep.
struct Shared {
  std::atomic<uint64_t> next_seed;
  std::atomic<uint64_t> running[kJobsMax];  // the seed each worker is at; ~0: none
};

volatile std::sig_atomic_t interrupted = 0;
void on_interrupt(int) { interrupted = 1; }

// ---- the worker's side

[[noreturn]] void work(const SweepOptions& options, Shared& shared, unsigned worker, int pipe_fd) {
  std::signal(SIGINT, SIG_IGN);  // the sweep decides when to stop
  report_failed_checks(pipe_fd);
  for (;;) {
    const uint64_t seed = shared.next_seed.fetch_add(1);
    if (seed > options.last_seed) _exit(kExitOk);
    shared.running[worker].store(seed);
    sim::RunSpec spec;
    const std::string error = sim::make_run_spec(options.scenario, seed, options.assignments, spec);
    if (!error.empty()) {  // they fit the first seed, but not what this one draws
      SeedReport report;
      report.set_seed(static_cast<int64_t>(seed));
      report.set_verdict("undecided");
      report.set_reason("these options do not fit what the seed draws: " + error);
      write_report(pipe_fd, report);
      shared.running[worker].store(~uint64_t{0});
      continue;
    }
    write_report(pipe_fd, run_reported(options.scenario, spec));
    shared.running[worker].store(~uint64_t{0});
  }
}

// ---- the sweep's side

struct Worker {
  pid_t pid = -1;
  int pipe_fd = -1;
  std::string received;
};

class Sweep {
 public:
  explicit Sweep(const SweepOptions& options) : options_(options) {}

  int run() {
    void* memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      fmt::print(stderr, "tallysim: no shared memory: {}\n", std::strerror(errno));
      return kExitEnvironment;
    }
    shared_ = new (memory) Shared{};
    shared_->next_seed.store(options_.first_seed);
    struct sigaction action {};
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, nullptr);
    workers_.resize(options_.jobs);
    for (unsigned number = 0; number < options_.jobs; ++number) {
      if (!start_worker(number)) return kExitEnvironment;
    }
    collect();
    for (Worker& worker : workers_) stop_worker(worker);
    clear_progress();
    print_summary();
    munmap(memory, sizeof(Shared));
    if (violation_count_ > 0) return kExitViolation;
    return vacuous_count_ + undecided_count_ > 0 ? kExitUndecided : kExitOk;
  }

 private:
  bool start_worker(unsigned number) {
    int ends[2];
    if (pipe(ends) != 0) {
      fmt::print(stderr, "tallysim: no pipe: {}\n", std::strerror(errno));
      return false;
    }
    shared_->running[number].store(~uint64_t{0});
    std::fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0) {
      fmt::print(stderr, "tallysim: no process: {}\n", std::strerror(errno));
      return false;
    }
    if (pid == 0) {
      close(ends[0]);
      work(options_, *shared_, number, ends[1]);
    }
    close(ends[1]);
    workers_[number] = Worker{pid, ends[0], {}};
    return true;
  }

  void stop_worker(Worker& worker) {
    if (worker.pid < 0) return;
    kill(worker.pid, SIGKILL);
    waitpid(worker.pid, nullptr, 0);
    close(worker.pipe_fd);
    worker.pid = -1;
  }

  uint64_t elapsed_ns() const {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(WallClock::now() - began_).count());
  }

  bool should_stop() const {
    if (interrupted != 0) return true;
    if (options_.stop_at_first && violation_count_ > 0) return true;
    return options_.wall_ns_max > 0 && elapsed_ns() >= options_.wall_ns_max;
  }

  void collect() {
    while (!should_stop()) {
      std::vector<pollfd> polled;
      std::vector<unsigned> numbers;
      for (unsigned number = 0; number < workers_.size(); ++number) {
        if (workers_[number].pid < 0) continue;
        polled.push_back({workers_[number].pipe_fd, POLLIN, 0});
        numbers.push_back(number);
      }
      if (polled.empty()) return;
      poll(polled.data(), polled.size(), 200);
      for (size_t i = 0; i < polled.size(); ++i) {
        if (polled[i].revents != 0) receive(numbers[i]);
      }
      show_progress();
    }
  }

  void receive(unsigned number) {
    Worker& worker = workers_[number];
    char buffer[65536];
    const ssize_t count = read(worker.pipe_fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) return;
    if (count > 0) {
      worker.received.append(buffer, static_cast<size_t>(count));
      take_reports(worker);
      return;
    }
    on_worker_end(number);
  }

  void take_reports(Worker& worker) {
    SeedReport report;
    while (take_report(worker.received, report)) take(report);
  }

  // The pipe is closed: the worker is done, failed a CHECK, or died.
  void on_worker_end(unsigned number) {
    Worker& worker = workers_[number];
    int status = 0;
    waitpid(worker.pid, &status, 0);
    close(worker.pipe_fd);
    worker.pid = -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == kExitOk) return;
    const uint64_t seed = shared_->running[number].load();
    const bool reported = WIFEXITED(status) && WEXITSTATUS(status) == kExitViolation;
    if (!reported && seed != ~uint64_t{0}) {
      take(report_of_dead_child(seed, status));
    }
    if (!should_stop()) start_worker(number);
  }

  void take(const SeedReport& report) {
    ++seed_count_;
    event_count_ += static_cast<uint64_t>(report.events());
    events_.push_back(static_cast<uint64_t>(report.events()));
    cpu_ns_ += static_cast<uint64_t>(report.cpu_ns());
    for (int i = 0; i < report.notes_size(); ++i)
      notes_[i] += static_cast<uint64_t>(report.notes(i));
    for (int i = 0; i < report.faults_fired_size(); ++i) {
      faults_[i] += static_cast<uint64_t>(report.faults_fired(i));
    }
    frames_corrupted_ += static_cast<uint64_t>(report.frames_corrupted());
    losses_.writes_lost += static_cast<uint64_t>(report.writes_lost());
    losses_.writes_torn += static_cast<uint64_t>(report.writes_torn());
    losses_.names_lost += static_cast<uint64_t>(report.names_lost());
    if (report.verdict() == "ok") {
      ++ok_count_;
      return;
    }
    if (report.verdict() == "violation") {
      ++violation_count_;
    } else if (report.verdict() == "vacuous") {
      ++vacuous_count_;
    } else {
      ++undecided_count_;
    }
    std::vector<uint64_t>& alike = kinds_[fingerprint(report)];
    alike.push_back(static_cast<uint64_t>(report.seed()));
    print_failure(report);
    write_failure(report);
  }

  std::string replay(uint64_t seed) const {
    return run_command_line(seed, options_.scenario_name, options_.assignments);
  }

  void print_failure(const SeedReport& report) {
    clear_progress();
    const auto seed = static_cast<uint64_t>(report.seed());
    const sim::Violation violation{report.oracle(), report.clause(), report.message(),
                                   static_cast<uint64_t>(report.violation_event())};
    if (options_.json) {
      const std::string json =
          report.verdict() == "violation"
              ? fmt::format(R"({{"oracle":{},"message":{},"event":{},"fingerprint":{}}})",
                            json_string(violation.oracle), json_string(violation.message),
                            violation.event, json_string(fingerprint(violation)))
              : "null";
      fmt::print(
          R"({{"verdict":"{}","seed":{},"events":{},"violation":{},"reason":{},"replay":{}}})"
          "\n",
          report.verdict(), seed, report.events(), json,
          report.reason().empty() ? "null" : json_string(report.reason()),
          json_string(replay(seed)));
    } else {
      fmt::print("seed {}: {}: {}\n  replay: {}\n", seed, report.verdict(),
                 report.verdict() == "violation"
                     ? fmt::format("{}\n  {}", fingerprint(violation), violation.message)
                     : report.reason(),
                 replay(seed));
    }
    std::fflush(stdout);
  }

  void write_failure(const SeedReport& report) {
    if (options_.out_directory.empty()) return;
    const auto seed = static_cast<uint64_t>(report.seed());
    sim::RunSpec spec;
    if (!sim::make_run_spec(options_.scenario, seed, options_.assignments, spec).empty()) return;
    const std::string path = fmt::format("{}/seed-{}.capsule", options_.out_directory, seed);
    write_text_file(path, sim::capsule_text(sim::make_capsule(spec, report, commit_id())));
  }

  void show_progress() {
    if (isatty(STDERR_FILENO) == 0 || WallClock::now() < next_progress_) return;
    next_progress_ = WallClock::now() + std::chrono::seconds(1);
    const uint64_t total = options_.last_seed - options_.first_seed + 1;
    const uint64_t ns = std::max<uint64_t>(1, elapsed_ns());
    const uint64_t rate = seed_count_ * 1'000'000'000 / ns;
    uint64_t left_s = rate == 0 ? 0 : (total - seed_count_) / rate;
    if (options_.wall_ns_max > 0) {
      const uint64_t to_limit =
          options_.wall_ns_max > ns ? (options_.wall_ns_max - ns) / 1'000'000'000 : 0;
      left_s = rate == 0 ? to_limit : std::min(left_s, to_limit);
    }
    fmt::print(stderr, "\r\x1b[K{} of {} seeds, {} per second, {} failures, {} s left", seed_count_,
               total, rate, violation_count_ + vacuous_count_ + undecided_count_, left_s);
    std::fflush(stderr);
    progress_shown_ = true;
  }

  void clear_progress() {
    if (!progress_shown_) return;
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
    progress_shown_ = false;
  }

  // Every note, every kind of fault and the corrupted frames, by name.
  std::map<std::string, uint64_t> seen() const {
    std::map<std::string, uint64_t> all;
    for (size_t i = 0; i < kNoteCount; ++i) {
      const auto count = notes_.find(static_cast<int>(i));
      all[std::string(kNoteNames[i])] = count == notes_.end() ? 0 : count->second;
    }
    for (int kind = sim::FaultKind_MIN; kind <= sim::FaultKind_MAX; ++kind) {
      const auto found = faults_.find(kind);
      const uint64_t count = found == faults_.end() ? 0 : found->second;
      // What no seed draws is no gap of a sweep.
      if (count == 0 && kind > sim::kLastDrawnKind) continue;
      all["fault_" + sim::fault_name(static_cast<sim::FaultKind>(kind))] = count;
    }
    all["fault_corrupt_frame"] = frames_corrupted_;
    all["fault_write_lost"] = losses_.writes_lost;
    all["fault_write_torn"] = losses_.writes_torn;
    all["fault_name_lost"] = losses_.names_lost;
    return all;
  }

  void print_summary() {
    std::string seen_json;
    std::string never_json;
    std::string never_text;
    for (const auto& [name, count] : seen()) {
      if (count == 0) {
        never_json += (never_json.empty() ? "" : ",") + json_string(name);
        never_text += (never_text.empty() ? "" : ", ") + name;
      } else {
        seen_json += fmt::format("{}{}:{}", seen_json.empty() ? "" : ",", json_string(name), count);
      }
    }
    std::sort(events_.begin(), events_.end());
    const uint64_t median = events_.empty() ? 0 : events_[events_.size() / 2];
    if (options_.json) {
      // What was swept: for who merges parts to see what is missing or there twice.
      const std::string flags = run_flags(options_.scenario_name, options_.assignments);
      const std::string shard =
          options_.shard.empty() ? "null"
                                 : fmt::format(R"({{"part":"{}","of":[{},{}]}})", options_.shard,
                                               options_.whole_first_seed, options_.whole_last_seed);
      fmt::print(R"({{"swept":{{"flags":{},"range":[{},{}],"shard":{}}},)"
                 R"("seeds":{},"ok":{},"violations":{},"vacuous":{},"undecided":{},"events":{},)"
                 R"("events_median":{},"wall_ns":{},"cpu_ns":{},"seen":{{{}}},"never_seen":[{}]}})"
                 "\n",
                 json_string(flags), options_.first_seed, options_.last_seed, shard, seed_count_,
                 ok_count_, violation_count_, vacuous_count_, undecided_count_, event_count_,
                 median, elapsed_ns(), cpu_ns_, seen_json, never_json);
      return;
    }
    const uint64_t cpu_ms = std::max<uint64_t>(1, cpu_ns_ / 1'000'000);
    fmt::print(
        "{} seeds: {} ok, {} violations, {} vacuous, {} undecided\n"
        "{} events (median {} a seed), {} per second and core, {} ms of CPU in {} ms\n",
        seed_count_, ok_count_, violation_count_, vacuous_count_, undecided_count_, event_count_,
        median, event_count_ * 1000 / cpu_ms, cpu_ms, elapsed_ns() / 1'000'000);
    for (const auto& [kind, seeds] : kinds_) {
      fmt::print("{} times, first by seed {}: {}\n", seeds.size(),
                 *std::min_element(seeds.begin(), seeds.end()), kind);
    }
    if (!never_text.empty()) fmt::print("never seen: {}\n", never_text);
  }

  const SweepOptions& options_;
  Shared* shared_ = nullptr;
  std::vector<Worker> workers_;
  const WallClock::time_point began_ = WallClock::now();
  WallClock::time_point next_progress_ = began_;
  bool progress_shown_ = false;
  uint64_t seed_count_ = 0;
  uint64_t ok_count_ = 0;
  uint64_t violation_count_ = 0;
  uint64_t vacuous_count_ = 0;
  uint64_t undecided_count_ = 0;
  uint64_t event_count_ = 0;
  uint64_t cpu_ns_ = 0;
  uint64_t frames_corrupted_ = 0;
  sim::DiskLosses losses_;
  std::vector<uint64_t> events_;
  std::map<std::string, std::vector<uint64_t>> kinds_;  // seeds of failures, by fingerprint
  std::map<int, uint64_t> notes_;
  std::map<int, uint64_t> faults_;
};

}  // namespace

int sweep(const SweepOptions& options) {
  // Asked before the first seed, not after the first failure.
  if (!options.out_directory.empty()) {
    const std::string directory = options.out_directory + "/";
    const bool there = mkdir(directory.c_str(), 0777) == 0 || errno == EEXIST;
    if (!there || access(directory.c_str(), W_OK | X_OK) != 0) {
      fmt::print(stderr, "tallysim: --out {}: {}\n", options.out_directory, std::strerror(errno));
      return kExitEnvironment;
    }
  }
  const int code = Sweep(options).run();
  if (interrupted != 0) fmt::print(stderr, "tallysim: interrupted; the summary is of a part\n");
  return code;
}

}  // namespace tally::tools
