// Runs in child processes, so that whatever a run does to its process (a failed CHECK, a crash, an
// endless loop) is a result like any other. Sweeps and shrinking share this.
#pragma once

#include <cstdint>
#include <string>

#include "sim/scenario.h"

namespace tally::tools {

// Processor time in nanoseconds, of RUSAGE_SELF or RUSAGE_CHILDREN.
uint64_t cpu_ns(int who);

// ---- the child's side

// From now on a failed CHECK writes its report to the pipe and ends the process with
// kExitViolation.
void report_failed_checks(int pipe_fd);
// Runs to the verdict, with the scenario's expectations applied.
sim::SeedReport run_reported(const sim::Scenario& scenario, const sim::RunSpec& spec);
// Ends the process when nobody reads any more.
void write_report(int pipe_fd, const sim::SeedReport& report);

// ---- the parent's side

// Takes one report off what was received so far. False when there is none yet.
bool take_report(std::string& received, sim::SeedReport& report);
// What to say of a child that ended with this status (of waitpid) without a report.
sim::SeedReport report_of_dead_child(uint64_t seed, int status);

// Runs the spec in a child of its own, without expectations, and waits for it. A child that takes
// longer than `wall_ns_max` is killed: oracle `crash`.
sim::SeedReport run_in_child(const sim::RunSpec& spec, uint64_t wall_ns_max);

}  // namespace tally::tools
