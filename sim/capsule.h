// Capsules: a failing run as one text file, and what a run of it today says about the failure.
//
// The file holds all that the run was made of as a scenario that draws nothing from the swarm, and
// how it went: the fingerprint of its failure and checkpoints of its digest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/scenario.h"

namespace tally::sim {

inline constexpr int64_t kCapsuleVersion = 1;

// Whether the text means to be a capsule, well formed or not: it begins with a field that capsules
// have and scenarios do not. Otherwise it may be a scenario.
bool looks_like_capsule(std::string_view text);

// Reads a capsule of this version or an earlier one; fields that are not known are skipped. Empty,
// or what is wrong as "name:line:column: reason". `places` are those inside its scenario.
std::string parse_capsule(std::string_view text, std::string_view name, Capsule& capsule,
                          TextPlaces* places = nullptr);

// The report is of a run of `spec`, by a program built from `commit`.
Capsule make_capsule(const RunSpec& spec, const SeedReport& report, std::string_view commit);
std::string capsule_text(const Capsule& capsule);

// What two failures of the same kind share: the oracle and the clause, or the verdict.
std::string fingerprint(const Capsule& capsule);
std::string fingerprint(const RunResult& result);

// Where two runs of the same inputs part, as far as their digests tell. Event numbers from 1; the
// one after the last is the state that the run ends in.
struct Parting {
  bool same = true;  // equal in all that can be compared
  // Otherwise: the first event that differs is one of these; with marks, the very one.
  uint64_t first = 0;
  uint64_t last = 0;
};
// One run's digests after every `interval` events, and at its end.
struct DigestTrail {
  uint64_t interval = 0;
  std::vector<uint64_t> checkpoints;
  uint64_t event_count = 0;
  uint64_t end = 0;
  std::vector<uint16_t> marks;  // of each event from the first on, as far as known (Digest::marks)
};
Parting find_parting(const DigestTrail& a, const DigestTrail& b);
DigestTrail trail_of(const Capsule& capsule);
DigestTrail trail_of(const RunResult& result);

// The outcome of running a capsule again.
//
// Gone is more than not having failed: a run that was another one before the first fault acted does
// not speak of the failure at all, so it counts as diverged; also when it only may have been, where
// an old capsule has no marks. From the first fault on a mended node may act differently; that is
// what mending means.
enum class ReplayOutcome : uint8_t {
  kReproduced,  // the same fingerprint, whatever the digest
  kGone,        // ends ok, and was the recorded run up to its first fault at least
  kDiverged,    // ends ok but was another run before that; or fails otherwise, or proves nothing
};
ReplayOutcome judge_replay(const Capsule& capsule, const RunResult& result, Parting& parting);

}  // namespace tally::sim
