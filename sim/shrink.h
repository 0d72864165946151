// Shrinking: a failing run made small, for a person to read. It fails by the same fingerprint
// (oracle and clause) after every step.
//
// First all that came of probabilities and conditions becomes data: the noise that fired, the
// operations that clients began, the times at which conditions held. Then steps follow until none
// helps: fewer faults, nodes, operations, pieces of noise; calm parameters; no idle stretches; a
// shorter run; round times. A step that needs another seed for its draws of latencies and timeouts
// may try a few: the story counts, not the seed.
//
// It runs nothing itself: the caller does, as a rule in child processes, because a failing node may
// take its process with it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "sim/scenario.h"
#include "sim/world.h"

namespace tally::sim {

struct ShrinkHooks {
  // Runs the spec to its verdict, whatever it does to the process.
  std::function<SeedReport(const RunSpec&)> run;
  // Asked before each run; true: no more runs, take what there is.
  std::function<bool()> out_of_time = [] { return false; };
  // Told what is being tried, and the smallest run so far.
  std::function<void(std::string_view step, const RunSpec& best, uint64_t run_count)> progress =
      [](std::string_view, const RunSpec&, uint64_t) {};
};

// What remains when one fault, or one piece of noise, is left out.
struct Without {
  std::string what;     // "fault 2: crash n1 for 300 ms"
  std::string outcome;  // "passes", or how the run ends otherwise
};

struct ShrinkResult {
  std::string error;     // not empty: nothing was shrunk, and why
  SeedReport before;     // the run as it came
  SeedReport after;      // the shrunken one
  RunSpec spec;          // the shrunken one
  bool minimal = false;  // no fault, noise or operation can be left out; false: out of time
  std::vector<Without> without;
  uint64_t run_count = 0;
};

// `expected` is the fingerprint to keep; empty: the one that the run turns out to have.
ShrinkResult shrink(const RunSpec& spec, const std::string& expected, const ShrinkHooks& hooks);

// The run as a scenario ready for scenarios/: name, story, what differs from calm parameters,
// faults, noise, operations, and the violation it expects. `origin` says where the failure is from.
std::string story_text(const ShrinkResult& result, const std::string& name,
                       const std::string& origin);

std::string fingerprint(const SeedReport& report);

}  // namespace tally::sim
