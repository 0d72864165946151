// Wal: the write-ahead log, Tally's Storage over an abstract Disk.
//
// One ordered stream of batches in segment files that are filled with zeros ahead of use, so that
// appending only overwrites. In the steady state a write() costs one disk write, one sync and no
// heap allocation. storage/README.md has the format and the rules of recovery.
//
// It refuses to: append behind a torn tail in place (it begins a new segment); cut damage silently;
// go on after any failed disk call (fail-stop: a failed sync may have dropped the data, and a later
// one would not say so). A full disk is no failure: what found no room waits until try_again()
// finds some, and each segment keeps a reserve that only hard states and no-ops may use.
//
// It relies on one thing of the Disk beyond core/env.h: what a blocking read returns after lock()
// is on the media. PosixDisk must sync what a killed process left in the page cache when it takes
// the lock; else a recovered, acknowledged tail could still be lost to a later power cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "core/env.h"
#include "core/storage.h"
#include "storage/log_format.h"
#include "storage/snapshot_store.h"

namespace tally {

// The end of a segment, which only hard states and no-ops may use.
constexpr uint64_t segment_reserve_bytes(uint64_t segment_bytes) {
  constexpr uint64_t kMost = uint64_t{64} << 10;  // for some hundred of them
  return segment_bytes / 4 < kMost ? segment_bytes / 4 : kMost;
}

struct WalConfig {
  uint64_t segment_bytes = uint64_t{64} << 20;  // size of a segment file; at least kSegmentBytesMin
  uint64_t batch_bytes_max = uint64_t{4} << 20;  // a larger write becomes several batches
};

class Wal final : public Storage, private DiskClient {
 public:
  // `disk` outlives the Wal. REQUIRES: config.segment_bytes >= kSegmentBytesMin.
  Wal(Disk& disk, const WalConfig& config);

  // Locks the directory, becomes the disk's client and reads the log. Writes nothing: the identity
  // of an empty directory becomes durable with the first write.
  Recovered recover(const Identity& expected, StorageClient* client) override;

  // A write that fits one batch (batch_bytes_max, and a segment without its reserve) is atomic:
  // recovery finds all of it or nothing. Of a larger one it may find a prefix, never anything old
  // behind something new. After a failure every write completes as failed and touches nothing.
  void write(const StorageWrite& write) override;

  void begin_snapshot(const EntryMark& last) override { snapshots_.begin(last); }
  void write_piece(std::string_view piece) override { snapshots_.write_piece(piece); }
  void finish_snapshot() override { snapshots_.finish(); }
  const std::optional<SnapshotId>& snapshot() const override { return snapshots_.newest(); }
  void read_piece(const SnapshotId& id, uint64_t piece) override {
    snapshots_.read_piece(id, piece);
  }
  // Removes segment files from the oldest on, each removal durable before the next one begins.
  void compact(LogIndex base) override;

  bool is_full() const override { return spare_ == Spare::kNoRoom || log_waits_; }
  void try_again() override;

  // So much must be free on the disk for it to be full no longer; 0 when it is not.
  uint64_t room_needed_bytes() const;
  // For reports and tests: where the next batch goes (in flight ones counted as written).
  LogPosition end() const { return end_; }

 private:
  // What a disk call was for. At most one call of the log and one of the spare is in flight.
  enum Token : DiskToken {
    kLogWrite = 1,
    kLogSync,
    kSpareCreate,
    kSpareTruncate,
    kSpareFill,
    kSpareSync,
    kSpareRename,
    kSpareSyncDirectory,
    kSpareGiveBack,
    kCompactRemove,
    kCompactSyncDirectory,
    kRefusal,
  };
  // The next segment file, prepared ahead: created and zero-filled under a temporary name, synced,
  // renamed, and the directory synced. Paused: no call is in flight, the rest of the zeros is for
  // when the log has grown.
  enum class Spare : uint8_t { kNone, kPreparing, kPaused, kReady, kNoRoom };
  // One disk write: at most one segment header and one batch of buffer_.
  struct Part {
    LogPosition at;
    size_t begin = 0;
    size_t bytes = 0;
  };

  void on_disk_done(DiskToken token, DiskStatus status) override;
  void on_log_done(Token token);
  void on_spare_done(Token token);
  void encode(const StorageWrite& write);
  size_t encode_batch(const StorageWrite& write, size_t first);
  void encode_segment_header();
  std::optional<EntryMark> reset_of(const StorageWrite& write);
  void write_part();
  void maybe_remove_segment();
  void go_on_with_spare();
  bool spare_is_due() const;
  void prepare_spare();
  void fill_spare();
  bool wait_for_room(Token token);
  bool waits_for_spare() const { return busy_ && parts_[part_].at.segment != open_number_; }
  void fail(Token token, DiskStatus status);
  void stop(std::string failure);
  void finish(bool durable);

  Disk& disk_;
  const WalConfig config_;
  StorageClient* client_ = nullptr;  // set by recover()
  bool writable_ = false;            // recovered kEmpty or kWhole, or damaged and repairing
  bool repairing_ = false;           // as of everything encoded so far
  bool repair_owed_ = false;         // the next batch begins a new log
  std::deque<uint64_t> obsolete_;    // segments of damaged logs, to go when the node is whole
  bool busy_ = false;                // a write is in flight
  std::string failure_;              // why everything is refused; empty while all is well

  // Where the stream stands with everything encoded so far, in flight or durable.
  Identity identity_;
  HardState hard_state_;
  EntryMark last_;  // of the newest entry
  // Recovery found the log not to lead to its snapshot: the next write resets it to this.
  std::optional<EntryMark> reset_owed_;
  LogPosition end_;           // the next batch's place
  uint64_t capacity_ = 0;     // of segment end_.segment; 0 forces a new segment
  uint64_t last_number_ = 0;  // highest segment number with a file; the spare's is the next

  // Segments that were begun, oldest first, with what came before each.
  struct Begun {
    uint64_t number = 0;
    LogIndex last_before;
  };
  std::deque<Begun> begun_;
  uint64_t first_number_ = 1;       // lowest segment number with a file
  LogIndex compact_base_;           // what is not needed any more
  bool compacting_ = false;         // a removal is under way
  bool removing_obsolete_ = false;  // ... of obsolete_.front()

  SnapshotStore snapshots_;

  // The write in flight. The buffers are reused.
  std::string buffer_;
  std::vector<Part> parts_;
  size_t part_ = 0;           // the one being written
  bool log_waits_ = false;    // ... which found no room
  uint64_t open_number_ = 0;  // the segment that open_name_ names; 0 when none
  std::string open_name_;
  uint64_t resumed_at_ = 0;  // offset in it from which on this Wal has written it

  Spare spare_ = Spare::kNone;
  uint64_t spare_number_ = 0;  // of the file being prepared or ready
  uint64_t spare_filled_ = 0;  // bytes of zeros written so far
  std::string spare_name_;     // the temporary name until it is renamed
  std::string zeros_;
};

}  // namespace tally
