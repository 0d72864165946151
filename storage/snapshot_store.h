// SnapshotStore: snapshot files over an abstract Disk. storage/README.md has the format.
//
// A snapshot is written under a temporary name, synced, renamed, the directory synced, and read
// back; only then do older ones go. At any moment at least one readable snapshot covers what the
// log no longer holds. What goes wrong with a snapshot never touches the log.
//
// It refuses to know what is in a piece.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/env.h"
#include "core/record.h"
#include "core/storage.h"

namespace tally {

inline constexpr uint64_t kSnapshotFormatVersion = 1;

std::string snapshot_name(LogIndex last);  // "snapshot-0000000000000001"
// The index in a snapshot file's name; nothing for every other name.
std::optional<LogIndex> snapshot_index(std::string_view name);

// What a whole snapshot file holds. Empty, or what is wrong with the bytes and where.
struct SnapshotContent {
  uint64_t format = 0;  // as it says itself, also when this program does not know it; 0: nothing
  Identity identity;
  SnapshotId id;
  std::vector<std::string> pieces;
  std::vector<uint64_t> offsets;  // of the pieces' records, and of the end
};
// The file's first record: sets identity and id.last.
std::string parse_snapshot_header(const RecordView& record, SnapshotContent& content);
std::string parse_snapshot(std::string_view bytes, SnapshotContent& content);

class SnapshotStore {
 public:
  explicit SnapshotStore(Disk& disk) : disk_(disk) {}

  // Blocking. Reads the newest file that is whole. Empty, or what was wrong with newer ones. One of
  // another format is no damage: it sets result.outcome to kRefused, with the message.
  std::string recover(const Identity& expected, Recovered& result);
  void start(const Identity& identity, StorageClient* client);

  void begin(const EntryMark& last);
  void write_piece(std::string_view piece);
  void finish();
  const std::optional<SnapshotId>& newest() const { return newest_; }
  void read_piece(const SnapshotId& id, uint64_t piece);

  // Tokens from here up are the store's.
  static constexpr DiskToken kFirstToken = 1 << 8;
  void on_disk_done(DiskToken token, DiskStatus status);
  // Whether this call of the store's was a sync, of a dropped snapshot's too.
  static bool is_sync(DiskToken token);

 private:
  enum class Step : uint8_t {
    kCreate = 1,
    kTruncate,
    kWrite,
    kSync,
    kEnd,
    kEndSync,
    kRename,
    kRenameSync,
    kReadBack,
    kRemove,
    kRemoveSync,
    kGiveBack,
  };
  struct Read {
    DiskToken token;
    SnapshotId id;
    uint64_t piece;
    std::string bytes;
  };

  // For the one call that is about to be made.
  DiskToken token_for(Step step) {
    in_flight_ = true;
    return kFirstToken + (generation_ << 8) + static_cast<DiskToken>(step);
  }
  void on_step(Step step, DiskStatus status);
  void write_buffer(Step step);
  void read_back();
  bool is_as_written() const;
  void remove_older();
  void give_back();
  void done(bool ok, std::string error);
  void on_read(DiskToken token, DiskStatus status);

  Disk& disk_;
  Identity identity_;
  StorageClient* client_ = nullptr;

  std::optional<SnapshotId> newest_;
  std::vector<uint64_t> offsets_;   // of the newest one's pieces, and of its end
  std::vector<std::string> older_;  // files to remove once the one being written is proven

  // The one being written.
  uint64_t generation_ = 0;  // so that calls of one that was dropped mean nothing
  bool created_ = false;
  SnapshotId writing_;
  std::vector<uint64_t> writing_offsets_;
  bool in_flight_ = false;                                                 // a call is unanswered
  std::unique_ptr<std::string> buffer_ = std::make_unique<std::string>();  // of that call
  uint64_t offset_ = 0;                                                    // where it goes
  uint64_t unsynced_bytes_ = 0;  // written since the last sync
  uint64_t read_back_count_ = 0;
  uint64_t read_back_hash_ = 0;

  // Buffers of unanswered calls of dropped ones, by generation: such calls complete in any order.
  std::map<uint64_t, std::unique_ptr<std::string>> retired_;

  std::deque<Read> reads_;  // a deque: the buffers stay where they are
  uint64_t read_count_ = 0;
};

}  // namespace tally
