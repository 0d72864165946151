// The streams of keyed draws (core/draw.h): who may draw, and what the keys are. Numbers are part
// of what a seed means: add at the end, never reuse.
#pragma once

#include <cstdint>

namespace tally::sim {

enum class Stream : uint64_t {
  kParam = 1,         // (hash of the parameter's path)
  kPlan = 2,          // (entry, aspect)
  kNetwork = 3,       // (link, ordinal of the send on it, aspect)
  kDisk = 4,          // (node, file, ordinal, aspect, key)
  kWorkload = 5,      // (client, operation, aspect)
  kClock = 6,         // (node, aspect)
  kGrouping = 7,      // (node, ordinal of the wake-up)
  kElection = 8,      // (node): the seed of the node's own election draws
  kIdentity = 9,      // (node)
  kIncarnation = 10,  // (node, start)
  kPhase = 11,        // (aspect)
  kCrash = 12,        // (node, crash, client): does a client notice
};

enum class NetworkAspect : uint64_t {
  kLatency = 1,
  kTail,
  kLoss,
  kDuplicate,
  kDuplicateLatency,
  kReplay,
  kReplayDelay,
  kCodec,
  kCorrupt,
  kCorruptWhere,
};

}  // namespace tally::sim
