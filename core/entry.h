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
  kCommand = 2,  // a command of the state machine (core/state_machine.h)
};

struct Entry {
  LogIndex index;
  Term term;
  LogTime log_time;  // stamped by the leader that appended it; never lower than its predecessor's
  EntryType type = EntryType::kNoop;
  Bytes data;

  friend bool operator==(const Entry&, const Entry&) = default;
};

// Must be durable before any message that shows it leaves the node (thesis §3.8).
struct HardState {
  Term term;         // latest term seen; never goes back
  NodeId voted_for;  // candidate that got this node's vote in `term`; kNoNode when none

  friend bool operator==(const HardState&, const HardState&) = default;
};

}  // namespace tally
