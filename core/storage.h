// Storage: the driver's view of durable state. storage/ implements it over Disk; unit tests keep it
// in memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
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
    kDamaged,  // something that was durable is unreadable; `message` names file, offset and index;
               // `repairing` says whether the node may go on
    kRefused,  // not this node's directory, a newer format, or unreadable; `message` says which
  };
  Outcome outcome = Outcome::kEmpty;
  // With kDamaged: term and vote are known, and so the node may be repaired: it goes on as one that
  // neither votes nor acknowledges, from what is here, which lacks entries that it once had. False:
  // term and vote are lost, too; that is a wiped disk. Stays so until StorageWrite::whole.
  bool repairing = false;
  Identity identity;  // as found; zero when kEmpty
  HardState hard_state;
  EntryMark base;                      // the entry before `entries`; index 0 when there is none
  std::vector<Entry> entries;          // contiguous, from base.index + 1
  std::optional<SnapshotId> snapshot;  // the newest; covers at least all up to the base
  std::vector<std::string> pieces;     // of the snapshot
  // Bytes cut from the tail because their write was never proven synced (a torn write, harmless).
  uint64_t torn_bytes = 0;
  std::string message;  // empty unless torn, damaged or refused; for the log and the operator
};

// One ordered step of durable state. Applied in this order: hard state, reset, entries.
struct StorageWrite {
  std::optional<HardState> hard_state;
  // Contiguous. The first one's index may be at or below the last written: everything from there on
  // is replaced, atomically with respect to recovery.
  std::vector<Entry> entries;
  // Before the entries: all others go; the log goes on behind this one, with which a durable
  // snapshot ends.
  std::optional<EntryMark> reset = {};
  // The repair is complete: from here on recovery finds a whole node.
  bool whole = false;
};

class StorageClient {
 public:
  virtual ~StorageClient() = default;
  // The write in flight is durable on the media, or the storage has failed, with or without a write
  // in flight. After a failure nothing about the write may be assumed, and the node must stop
  // (fail-stop): no further one is accepted.
  virtual void on_storage_done(bool durable, const std::string& error) = 0;
  // The snapshot's call is done: a piece is written, or the whole is durable, was read back, and is
  // Storage::snapshot() now. When not ok, the snapshot is given up; the log and older snapshots are
  // untouched.
  virtual void on_snapshot_written(bool ok, const std::string& error) = 0;
  // A piece that was asked for; empty when that snapshot is no longer there.
  virtual void on_snapshot_read(const SnapshotId& id, uint64_t piece, std::string data) = 0;
};

class Storage {
 public:
  virtual ~Storage() = default;

  // Blocking; call once, first. What is here must be of `expected`, else it is refused; in an empty
  // directory `expected` becomes the identity written with the first durable write.
  virtual Recovered recover(const Identity& expected, StorageClient* client) = 0;

  // Makes `write` durable and completes through on_storage_done, never inside this call.
  // At most one write is in flight. REQUIRES: recovered kEmpty or kWhole, or kDamaged and
  // repairing; no write in flight.
  virtual void write(const StorageWrite& write) = 0;

  // ---- snapshots: one at a time is written, beside the log and never before it

  // Begins the file of a snapshot that ends with `last`; one that was begun and not finished is
  // dropped, and its calls are not answered any more. REQUIRES: snapshot() ends before `last`.
  virtual void begin_snapshot(const EntryMark& last) = 0;
  // Each completes through on_snapshot_written(), never inside the call. REQUIRES: begun, and no
  // other call on it is unanswered. finish_snapshot() after the last piece.
  virtual void write_piece(std::string_view piece) = 0;
  virtual void finish_snapshot() = 0;
  // The newest durable one.
  virtual const std::optional<SnapshotId>& snapshot() const = 0;
  // Completes through on_snapshot_read(), never inside the call. Any number at once.
  virtual void read_piece(const SnapshotId& id, uint64_t piece) = 0;
  // The log up to and including this entry is not needed: space is given back as whole segments
  // become free of others. REQUIRES: snapshot() covers it.
  virtual void compact(LogIndex base) = 0;

  // ---- a full disk

  // There is no room for the log to grow. Hard states and a leader's no-op still fit, in room kept
  // for them; other entries should not be given any more: a write that does not fit waits.
  virtual bool is_full() const = 0;
  // Looks whether there is room again, and goes on with what waits. Call it now and then while
  // is_full().
  virtual void try_again() = 0;
};

}  // namespace tally
