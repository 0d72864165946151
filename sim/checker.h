// The linearizability checker for counter histories: sound and complete where it answers ok or
// violation, and kUnknown with a reason where its budget ran out. It never guesses.
//
// Why not a general checker: those search over sets of operations and give up on one hot counter
// with twenty clients. A counter has more structure. Histories whose deltas share a sign are
// decided in O(n log n) at any concurrency; the rest is searched with the reductions of
// LINEARIZABILITY (see ARCHITECTURE.md). Every ok is proven: the linearization found is checked
// again by verify_linearization, which shares no code with the algorithms that found it.
//
// Pure: no I/O, no clock, no randomness, no threads. It refuses to judge malformed histories; those
// are found by validate_history and belong to whoever wrote the file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/history.h"

namespace tally::sim {

struct CheckOptions {
  int64_t initial = 0;             // starting value of every counter
  int64_t max_clock_error_ns = 0;  // every interval is widened by this on both sides first
  uint64_t budget = 50'000'000;    // search states visited, over all counters
  // States per layer that the search keeps at first, at most (see checker_search.cpp). Verdicts do
  // not depend on it where there is one, only the time they take. REQUIRES: at least 1.
  size_t beam_width = 16;
};

struct CheckResult {
  enum class Verdict : uint8_t { kOk, kViolation, kUnknown };
  Verdict verdict = Verdict::kOk;
  uint64_t op_count = 0;               // operations compared: ok, rejected and unknown ones
  uint64_t unknown_used_count = 0;     // ambiguous operations the linearization needed
  uint64_t unknown_unspent_count = 0;  // ambiguous increments it did not need; these can mask bugs
  uint64_t states_visited = 0;         // search states, out of CheckOptions::budget
  std::string reason;            // empty when ok; names counter, operations and times otherwise
  std::vector<size_t> culprits;  // indexes into the history of the operations in `reason`
  // The certificate of an ok: indexes into the history, one counter after the other in order of
  // first appearance, each counter's operations in the order in which they took effect. Ambiguous
  // operations that never took effect are left out. Empty unless the verdict is kOk.
  std::vector<uint32_t> linearization;
};

// Judges the history. Input errors (a lane with two operations open at once, return < invoke,
// duplicate (client, seq)) are found by validate_history, not here.
// REQUIRES: validate_history(history) is empty; options.max_clock_error_ns >= 0; fewer than 2^32
// operations.
CheckResult check_history(const History& history, const CheckOptions& options);

// Empty, or one sentence naming the first operation (by position) that makes the history malformed.
std::string validate_history(const History& history);

// Replays `linearization` (as in CheckResult) against the history and the definition alone, in
// O(n). Empty when it proves the history linearizable, else what is wrong with it. check_history
// does this to every ok it gives; a failure there is a failed CHECK.
std::string verify_linearization(const History& history, const CheckOptions& options,
                                 const std::vector<uint32_t>& linearization);

}  // namespace tally::sim
