// Storage: the driver's view of durable state. storage/ implements it over Disk; unit tests keep it
// in memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/entry.h"
#include "core/types.h"

namespace tally {

// What must hold still for as long as a data directory lives. Written at its first start, compared
// at every later one.
struct Identity {
  uint64_t cluster_id = 0;  // hash of the cluster's name
  uint64_t group_id = 0;
  NodeId node_id;
  uint64_t directory_id = 0;  // drawn once for this directory; tells a wiped disk from its past

  friend bool operator==(const Identity&, const Identity&) = default;
};

// What was found on disk at start.
struct Recovered {
  enum class Outcome : uint8_t {
    kEmpty,    // nothing was ever durable here: a first start
    kWhole,    // everything that was ever acknowledged as durable is here
    kDamaged,  // something that was durable is unreadable; `message` names file, offset and index
    kRefused,  // not this node's directory, a newer format, or unreadable; `message` says which
  };
  Outcome outcome = Outcome::kEmpty;
  Identity identity;  // as found; zero when kEmpty
  HardState hard_state;
  std::vector<Entry> entries;  // contiguous, from index 1 (snapshots will move the start)
  // Bytes cut from the tail because their write was never proven synced (a torn write, harmless).
  uint64_t torn_bytes = 0;
  std::string message;  // empty unless torn, damaged or refused; for the log and the operator
};

// One ordered step of durable state. Applied in this order: hard state, then entries.
struct StorageWrite {
  std::optional<HardState> hard_state;
  // Contiguous. The first one's index may be at or below the last written: everything from there on
  // is replaced, atomically with respect to recovery.
  std::vector<Entry> entries;
};

class StorageClient {
 public:
  virtual ~StorageClient() = default;
  // The write in flight is durable on the media, or failed. After a failure nothing about it may be
  // assumed, and the node must stop (fail-stop): no further write is accepted.
  virtual void on_storage_done(bool durable, const std::string& error) = 0;
};

class Storage {
 public:
  virtual ~Storage() = default;

  // Blocking; call once, first. `expected.directory_id` is ignored here unless the directory is
  // empty, when `expected` becomes the identity written with the first durable write.
  virtual Recovered recover(const Identity& expected, StorageClient* client) = 0;

  // Makes `write` durable and completes through on_storage_done, never inside this call.
  // At most one write is in flight. REQUIRES: recovered kEmpty or kWhole; no write in flight.
  virtual void write(const StorageWrite& write) = 0;
};

}  // namespace tally
