// What the checker is tested against: an exhaustive oracle that follows the definition and nothing
// else, and a generator of small histories of every shape.
#pragma once

#include <cstdint>
#include <string>

#include "sim/checker.h"

namespace tally::sim {

// A small, fast generator (SplitMix64) whose draws are the same everywhere.
class TestRandom {
 public:
  explicit TestRandom(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15U;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  // Uniform in [low, high], both included; a span below 2^32 is plenty here.
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(next() % (static_cast<uint64_t>(high - low) + 1));
  }
  bool chance(int64_t percent) { return between(0, 99) < percent; }

 private:
  uint64_t state_;
};

// Whether the history is linearizable, by trying every order. REQUIRES: at most 20 operations a
// counter.
bool oracle_accepts(const History& history, const CheckOptions& options);

// A history of at most 11 operations and the options to judge it with; a function of the seed.
struct TestCase {
  History history;
  CheckOptions options;
};
TestCase make_small_case(uint64_t seed);

// Like it, but of `op_count` operations, linearizable by construction, and with the kind of counter
// that the simulator has (one sign, a divisibility chain, one bound) when `like_simulator`.
TestCase make_long_case(uint64_t seed, int64_t op_count, bool like_simulator);

// The history as text, for failure messages.
std::string to_text(const History& history, const CheckOptions& options);

}  // namespace tally::sim
