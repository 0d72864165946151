// A log entry and the durable election state: what Raft persists and replicates.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/bytes.h"
#include "core/types.h"

namespace tally {

// What an entry's data is. Raft looks at the type only; the data is opaque to it.
// The values are part of the on-disk and on-wire record format: never reuse one.
enum class EntryType : uint8_t {
  kNoop = 1,     // a new leader's first entry (thesis §6.4); data is empty
  kCommand = 2,  // one or more commands of the state machine (core/state_machine.h)
};

struct Entry {
  LogIndex index;
  Term term;
  LogTime log_time;  // stamped by the leader that appended it; never lower than its predecessor's
  EntryType type = EntryType::kNoop;
  Bytes data;

  friend bool operator==(const Entry&, const Entry&) = default;
};

// What remains of an entry when it is gone: the end of a snapshot, the base of a compacted log. No
// two entries of one index and term ever differ (log matching, thesis §3.5), so it names the whole
// past.
struct EntryMark {
  LogIndex index;
  Term term;
  LogTime log_time;

  friend bool operator==(const EntryMark&, const EntryMark&) = default;
};

// Which snapshot: equal ids mean equal bytes, on whatever node.
struct SnapshotId {
  EntryMark last;  // it covers everything up to here
  uint64_t piece_count = 0;
  uint64_t hash = 0;  // over all pieces, in order: snapshot_hash()

  friend bool operator==(const SnapshotId&, const SnapshotId&) = default;
};

// The hash of a list of pieces with one more at its end; of the empty list it is 0.
uint64_t snapshot_hash(uint64_t before, std::string_view piece);

// Must be durable before any message that shows it leaves the node (thesis §3.8).
struct HardState {
  Term term;         // latest term seen; never goes back
  NodeId voted_for;  // candidate that got this node's vote in `term`; kNoNode when none

  friend bool operator==(const HardState&, const HardState&) = default;
};

}  // namespace tally
