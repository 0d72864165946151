#include "tools/sim_child.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "core/check.h"
#include "tools/sim_output.h"

namespace tally::tools {
namespace {

using sim::RunResult;
using sim::SeedReport;
using WallClock = std::chrono::steady_clock;

// What this process is running, for the CHECK handler.
int report_pipe = -1;
sim::World* current_world = nullptr;
const sim::Scenario* current_scenario = nullptr;
uint64_t current_seed = 0;

SeedReport to_report(const RunResult& result) {
  SeedReport report;
  report.set_seed(static_cast<int64_t>(result.seed));
  report.set_verdict(sim::to_string(result.verdict));
  report.set_reason(result.reason);
  if (result.violation) {
    report.set_oracle(result.violation->oracle);
    report.set_clause(result.violation->clause);
    report.set_message(result.violation->message);
    report.set_violation_event(static_cast<int64_t>(result.violation->event));
  }
  report.set_events(static_cast<int64_t>(result.event_count));
  report.set_sim_ns(result.sim_time.count());
  report.set_digest(result.digest);
  for (const uint64_t count : result.notes) report.add_notes(static_cast<int64_t>(count));
  for (const uint64_t count : result.faults_fired) {
    report.add_faults_fired(static_cast<int64_t>(count));
  }
  report.set_operations(static_cast<int64_t>(result.ops.total()));
  report.set_committed(static_cast<int64_t>(result.committed_count));
  report.set_frames_corrupted(static_cast<int64_t>(result.frames_corrupted));
  report.set_writes_lost(static_cast<int64_t>(result.disk_losses.writes_lost));
  report.set_writes_torn(static_cast<int64_t>(result.disk_losses.writes_torn));
  report.set_names_lost(static_cast<int64_t>(result.disk_losses.names_lost));
  report.set_first_fault_event(static_cast<int64_t>(result.first_fault_event));
  if (result.verdict != RunResult::Verdict::kOk) {
    for (const uint64_t checkpoint : result.checkpoints) report.add_checkpoint(checkpoint);
    for (const uint16_t mark : result.marks) report.add_mark(mark);
  }
  *report.mutable_record() = result.record;
  return report;
}

void report_failed_check(const std::string& message) {
  RunResult result;
  if (current_world != nullptr) {
    result = current_world->result_of_failed_check(message);
    sim::apply_expectations(*current_scenario, result);
  } else {
    result.verdict = RunResult::Verdict::kViolation;
    result.violation = sim::Violation{"check", "a CHECK failed outside of the run", message, 0};
  }
  result.seed = current_seed;
  write_report(report_pipe, to_report(result));
  _exit(kExitViolation);
}

SeedReport report_of_crash(uint64_t seed, std::string clause) {
  SeedReport report;
  report.set_seed(static_cast<int64_t>(seed));
  report.set_verdict("violation");
  report.set_oracle("crash");
  report.set_clause(std::move(clause));
  report.set_message("the process that ran this seed ended before its verdict");
  return report;
}

// Reads until the child closes the pipe or the time is up. False: it was up.
bool read_all(int pipe_fd, WallClock::time_point until, std::string& received) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - WallClock::now());
    pollfd polled{pipe_fd, POLLIN, 0};
    const int ready = poll(&polled, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready == 0) return false;
    char buffer[65536];
    const ssize_t count = ready < 0 ? -1 : read(pipe_fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return true;
    received.append(buffer, static_cast<size_t>(count));
  }
}

}  // namespace

uint64_t cpu_ns(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto ns = [](const timeval& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 +
           static_cast<uint64_t>(time.tv_usec) * 1000;
  };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

void report_failed_checks(int pipe_fd) {
  report_pipe = pipe_fd;
  set_check_handler(report_failed_check);
}

SeedReport run_reported(const sim::Scenario& scenario, const sim::RunSpec& spec) {
  const uint64_t began = cpu_ns(RUSAGE_SELF);
  current_seed = spec.seed;
  current_scenario = &scenario;
  sim::World world(spec);
  current_world = &world;
  RunResult result = world.run();
  sim::apply_expectations(scenario, result);
  current_world = nullptr;
  SeedReport report = to_report(result);
  report.set_cpu_ns(static_cast<int64_t>(cpu_ns(RUSAGE_SELF) - began));
  return report;
}

void write_report(int pipe_fd, const SeedReport& report) {
  std::string bytes = report.SerializeAsString();
  const auto size = static_cast<uint32_t>(bytes.size());
  bytes.insert(0, reinterpret_cast<const char*>(&size), sizeof size);
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = write(pipe_fd, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) _exit(kExitEnvironment);
    done += static_cast<size_t>(count);
  }
}

bool take_report(std::string& received, SeedReport& report) {
  uint32_t size = 0;
  if (received.size() < sizeof size) return false;
  std::memcpy(&size, received.data(), sizeof size);
  if (received.size() < sizeof size + size) return false;
  CHECK(report.ParseFromArray(received.data() + sizeof size, static_cast<int>(size)));
  received.erase(0, sizeof size + size);
  return true;
}

SeedReport report_of_dead_child(uint64_t seed, int status) {
  return report_of_crash(seed, WIFSIGNALED(status)
                                   ? fmt::format("killed by signal {}", WTERMSIG(status))
                                   : fmt::format("exited with code {}", WEXITSTATUS(status)));
}

SeedReport run_in_child(const sim::RunSpec& spec, uint64_t wall_ns_max) {
  int ends[2];
  CHECK(pipe(ends) == 0, "no pipe: {}", std::strerror(errno));
  std::fflush(nullptr);
  const pid_t pid = fork();
  CHECK(pid >= 0, "no process: {}", std::strerror(errno));
  if (pid == 0) {
    close(ends[0]);
    report_failed_checks(ends[1]);
    current_seed = spec.seed;
    write_report(ends[1], run_reported(sim::Scenario(), spec));
    _exit(kExitOk);
  }
  close(ends[1]);
  std::string received;
  const auto until = WallClock::now() + std::chrono::nanoseconds(wall_ns_max);
  const bool in_time = read_all(ends[0], until, received);
  if (!in_time) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  close(ends[0]);
  SeedReport report;
  if (take_report(received, report)) return report;
  if (!in_time) return report_of_crash(spec.seed, "no verdict in time");
  return report_of_dead_child(spec.seed, status);
}

}  // namespace tally::tools
