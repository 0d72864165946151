// The linearizability checker for counter histories: sound and complete where it answers ok or
// violation, and kUnknown with a reason where its budget ran out. It never guesses.
//
// Why not a general checker: those search over sets of operations and give up on one hot counter
// with twenty clients. A counter has more structure. Histories whose deltas share a sign are
// decided in O(n log n) at any concurrency; the rest is searched with the reductions of
// LINEARIZABILITY (see ARCHITECTURE.md). Every ok is proven: the linearization found is checked
// again by verify_linearization, which shares no code with the algorithms that found it.
//
// Counters are judged each for itself, so a caller that has threads can have several judged at
// once; what comes out is the same.
//
// Pure: no I/O, no clock, no randomness, no threads. It refuses to judge malformed histories; those
// are found by validate_history and belong to whoever wrote the file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/history.h"

namespace tally::sim {

struct CheckOptions {
  int64_t initial = 0;             // starting value of every counter
  int64_t max_clock_error_ns = 0;  // every interval is widened by this on both sides first
  // Search states that each counter may take. It is the counter's own, so its verdict does not
  // depend on what other counters the history has.
  uint64_t budget = 50'000'000;
  // Bytes that what grows with the states of one counter's search may take, at most. As many
  // searches hold so much at once as `for_each` has running. The operations come on top, about 200
  // bytes each.
  uint64_t memory_bytes = uint64_t{512} << 20;
  // States per layer that the search keeps at first, at most (see checker_search.cpp). Verdicts do
  // not depend on it where there is one, only the time they take. REQUIRES: at least 1.
  size_t beam_width = 16;
  // For progress, if set: called now and then with how many more operations have found their place
  // and how many more states were visited since the call before. Called by whatever thread judges,
  // so by several at once where `for_each` uses several. It changes nothing.
  std::function<void(uint64_t op_count, uint64_t state_count)> on_progress = {};
};

struct CheckResult {
  enum class Verdict : uint8_t { kOk, kViolation, kUnknown };
  Verdict verdict = Verdict::kOk;
  uint64_t op_count = 0;               // operations compared: ok, rejected and unknown ones
  uint64_t unknown_used_count = 0;     // ambiguous operations the linearization needed
  uint64_t unknown_unspent_count = 0;  // ambiguous increments it did not need; these can mask bugs
  uint64_t states_visited = 0;         // search states, over all counters judged
  std::string reason;            // empty when ok; names counter, operations and times otherwise
  std::vector<size_t> culprits;  // indexes into the history of the operations in `reason`
  // Of a violation: the culprits cannot all be true whatever the others did, that is, even if no
  // other increment had been answered and no other get or refusal were there. False when they only
  // show where it comes to light.
  bool culprits_contradict = false;
  // The certificate of an ok: indexes into the history, one counter after the other in order of
  // first appearance, each counter's operations in the order in which they took effect. Ambiguous
  // operations that never took effect are left out. Empty unless the verdict is kOk.
  std::vector<uint32_t> linearization;
};

// One of several pieces of work; false: those of greater numbers need not be done.
using Task = std::function<bool(size_t number)>;
// Has pieces of work done: calls task(i) once for each i below `count`, in any order and on any
// threads, and returns when all calls have. It may leave out what lies above an i for which the
// answer was false, and nothing else.
using ForEach = std::function<void(size_t count, const Task& task)>;

// In order, on the caller's thread.
void for_each_in_order(size_t count, const Task& task);

// Judges the history. The result is the same for every `for_each`. Input errors (a lane with two
// operations open at once, return < invoke, duplicate (client, seq)) are found by validate_history,
// not here. REQUIRES: validate_history(history) is empty; options.max_clock_error_ns >= 0; fewer
// than 2^32 operations.
CheckResult check_history(const History& history, const CheckOptions& options,
                          const ForEach& for_each = for_each_in_order);

// Empty, or one sentence naming the first operation (by position) that makes the history malformed.
std::string validate_history(const History& history);

// Replays `linearization` (as in CheckResult) against the history and the definition alone, in
// O(n). Empty when it proves the history linearizable, else what is wrong with it. check_history
// does this to every ok it gives; a failure there is a failed CHECK.
std::string verify_linearization(const History& history, const CheckOptions& options,
                                 const std::vector<uint32_t>& linearization);

}  // namespace tally::sim
