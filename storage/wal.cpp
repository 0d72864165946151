#include "storage/wal.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "core/check.h"
#include "storage/recovery.h"

namespace tally {
namespace {

// Zeros are written in chunks, so that a sync of the log never has more than one to wait behind.
constexpr uint64_t fill_chunk_bytes(uint64_t segment_bytes) {
  constexpr uint64_t kMost = uint64_t{128} << 10;
  return std::min(kMost, segment_bytes / 4);
}

std::span<const std::byte> as_bytes(const std::string& buffer, size_t begin, size_t bytes) {
  return std::as_bytes(std::span(buffer.data() + begin, bytes));
}

}  // namespace

Wal::Wal(Disk& disk, const WalConfig& config) : disk_(disk), config_(config), snapshots_(disk) {
  CHECK(config.segment_bytes >= kSegmentBytesMin, "segment_bytes {} is below {}",
        config.segment_bytes, kSegmentBytesMin);
}

Recovered Wal::recover(const Identity& expected, StorageClient* client) {
  client_ = client;
  disk_.set_client(this);
  Recovered result;
  if (!disk_.lock()) {
    result.outcome = Recovered::Outcome::kRefused;
    result.message = "the data directory is locked by another process, or cannot be opened";
    return result;
  }
  LogTail tail;
  result = recover_log(disk_, expected, config_.segment_bytes, tail);
  if (result.outcome != Recovered::Outcome::kRefused) {
    const std::string damage = snapshots_.recover(expected, result);
    if (result.outcome == Recovered::Outcome::kRefused) return result;
    join_snapshot(damage, tail, result);
  }
  const bool empty = result.outcome == Recovered::Outcome::kEmpty;
  writable_ = empty || result.outcome == Recovered::Outcome::kWhole || result.repairing;
  if (!writable_) return result;
  repairing_ = result.repairing;
  repair_owed_ = tail.repair_owed;
  obsolete_.assign(tail.obsolete.begin(), tail.obsolete.end());

  identity_ = empty ? expected : result.identity;
  hard_state_ = result.hard_state;
  last_ = repair_owed_ ? result.base : tail.last;
  if (tail.reset_owed) reset_owed_ = result.base;
  for (const LogTail::Begun& begun : tail.begun) {
    begun_.push_back({begun.number, begun.last_before});
  }
  first_number_ = repair_owed_ ? tail.last_number + 1 : tail.first_number;
  snapshots_.start(identity_, client);
  end_ = tail.end;
  capacity_ = tail.capacity;
  last_number_ = tail.last_number;
  spare_ = tail.has_spare ? Spare::kReady : Spare::kNone;
  spare_number_ = tail.has_spare ? tail.last_number + 1 : 0;
  open_number_ = end_.segment;
  open_name_ = segment_name(open_number_);
  resumed_at_ = end_.offset;
  return result;
}

void Wal::write(const StorageWrite& write) {
  CHECK(writable_, "write to a log that was not recovered whole");
  CHECK(!busy_, "a second write in flight");
  busy_ = true;
  if (!failure_.empty()) {
    // Asked only because the refusal must not arrive inside this call; what it answers is ignored.
    disk_.sync_directory(kRefusal);
    return;
  }
  encode(write);
  part_ = 0;
  write_part();
}

// ---- Encoding ----

// Turns the write into parts_, and moves the stream's end behind it.
void Wal::encode(const StorageWrite& write) {
  buffer_.clear();
  parts_.clear();
  size_t next = 0;
  do {
    next = encode_batch(write, next);
  } while (next < write.entries.size());
}

// Encodes one batch with as many entries from `first` on as fit. Returns the next one.
size_t Wal::encode_batch(const StorageWrite& write, size_t first) {
  const bool with_hard_state = first == 0 && write.hard_state.has_value();
  const size_t entry_count = write.entries.size() - first;
  const bool may_use_reserve =
      entry_count == 0 || (entry_count == 1 && write.entries[first].type == EntryType::kNoop);
  const uint64_t reserved = may_use_reserve ? 0 : segment_reserve_bytes(config_.segment_bytes);
  const uint64_t bytes_max =
      std::min(config_.batch_bytes_max, config_.segment_bytes - kSegmentRecordBytes - reserved);
  const std::optional<EntryMark> reset = first == 0 ? reset_of(write) : std::nullopt;
  uint64_t body_bytes = with_hard_state ? kHardStateRecordBytes : 0;
  if (reset) body_bytes += kResetRecordBytes;
  const bool whole = first == 0 && write.whole;
  if (whole) body_bytes += kWholeRecordBytes;
  size_t last = first;
  for (; last < write.entries.size(); ++last) {
    const uint64_t bytes = record_bytes(write.entries[last].data.size());
    // At least one: an entry larger than the limits gets a batch of its own.
    if (last > first && kBatchRecordBytes + body_bytes + bytes > bytes_max) break;
    body_bytes += bytes;
  }

  Part part;
  part.begin = buffer_.size();
  const LogPosition proven = end_;
  // A batch larger than a whole segment extends the file; only the first batch of one may.
  const bool fits = end_.offset + kBatchRecordBytes + body_bytes + reserved <= capacity_ ||
                    (capacity_ > 0 && end_.offset == kSegmentRecordBytes);
  if (!fits) encode_segment_header();
  part.at = {end_.segment, fits ? end_.offset : 0};

  BatchHeader header;
  header.own = end_;
  header.directory_id = identity_.directory_id;
  header.proven = proven;
  header.body_bytes = body_bytes;
  if (with_hard_state) hard_state_ = *write.hard_state;
  header.hard_state = hard_state_;
  append_batch_record(header, buffer_);
  if (with_hard_state) append_hard_state_record(hard_state_, buffer_);
  if (reset) {
    append_reset_record(*reset, buffer_);
    last_ = *reset;
  }
  if (whole) {
    append_whole_record(buffer_);
    repairing_ = false;
  }
  for (size_t i = first; i < last; ++i) {
    const Entry& entry = write.entries[i];
    const LogIndex next = last_.index + 1;
    CHECK(
        i == 0 && !reset ? entry.index >= LogIndex(1) && entry.index <= next : entry.index == next,
        "entry {} where {} is next", entry.index.value(), next.value());
    append_entry_record(entry, buffer_);
    last_ = {entry.index, entry.term, entry.log_time};
  }
  part.bytes = buffer_.size() - part.begin;
  end_.offset += kBatchRecordBytes + body_bytes;
  parts_.push_back(part);
  return last;
}

// A log that recovery has found to be behind its snapshot is reset by the first write.
std::optional<EntryMark> Wal::reset_of(const StorageWrite& write) {
  const std::optional<EntryMark> reset = write.reset ? write.reset : reset_owed_;
  reset_owed_.reset();
  return reset;
}

void Wal::encode_segment_header() {
  SegmentHeader header;
  // A write in several segments is ahead of the files.
  header.number = std::max(last_number_, end_.segment) + 1;
  header.identity = identity_;
  header.previous_end = end_;
  header.hard_state = hard_state_;
  header.last = last_;
  header.file_bytes = config_.segment_bytes;
  header.begins_repair = std::exchange(repair_owed_, false);
  append_segment_record(header, buffer_);
  begun_.push_back({header.number, last_.index});
  end_ = {header.number, kSegmentRecordBytes};
  capacity_ = config_.segment_bytes;
}

// ---- The log: one part after another, each written and synced ----

void Wal::write_part() {
  const Part& part = parts_[part_];
  if (part.at.segment != open_number_) {
    if (spare_ != Spare::kReady) {
      go_on_with_spare();
      return;  // on_spare_done() comes back here
    }
    CHECK(spare_number_ == part.at.segment, "spare {} for segment {}", spare_number_,
          part.at.segment);
    last_number_ = spare_number_;
    open_number_ = spare_number_;
    open_name_ = segment_name(open_number_);
    resumed_at_ = 0;
    spare_ = Spare::kNone;
  }
  disk_.write(open_name_, part.at.offset, as_bytes(buffer_, part.begin, part.bytes), kLogWrite);
}

void Wal::on_log_done(Token token) {
  if (token == kLogWrite) {
    disk_.sync(open_name_, kLogSync);
    return;
  }
  // Only now, so that the log's own write never waits behind the spare's.
  go_on_with_spare();
  ++part_;
  if (part_ < parts_.size()) {
    write_part();
  } else {
    finish(true);
  }
}

// ---- The spare: the next segment, prepared ahead ----

void Wal::go_on_with_spare() {
  if (spare_ == Spare::kNone) {
    prepare_spare();
  } else if (spare_ == Spare::kPaused && spare_is_due()) {
    spare_ = Spare::kPreparing;
    fill_spare();
  }
}

// All are when the log has taken half of what was left of its segment. At once it would be done
// sooner, but the log's syncs would wait for as long as it takes: on three nodes that share a disk,
// most of a second.
bool Wal::spare_is_due() const {
  if (end_.segment >= spare_number_) return true;
  const uint64_t left = config_.segment_bytes - std::min(config_.segment_bytes - 1, resumed_at_);
  const uint64_t pace = 2 * config_.segment_bytes / left;
  return spare_filled_ < pace * (end_.offset - resumed_at_);
}

void Wal::prepare_spare() {
  spare_ = Spare::kPreparing;
  spare_number_ = last_number_ + 1;
  spare_filled_ = 0;
  spare_name_ = segment_temporary_name(spare_number_);
  disk_.create(spare_name_, kSpareCreate);
}

void Wal::fill_spare() {
  if (zeros_.empty()) zeros_.assign(fill_chunk_bytes(config_.segment_bytes), '\0');
  const uint64_t bytes = std::min<uint64_t>(zeros_.size(), config_.segment_bytes - spare_filled_);
  disk_.write(spare_name_, spare_filled_, as_bytes(zeros_, 0, bytes), kSpareFill);
  spare_filled_ += bytes;
}

void Wal::on_spare_done(Token token) {
  switch (token) {
    case kSpareCreate:
    case kSpareTruncate: fill_spare(); return;
    case kSpareFill:
      if (spare_filled_ == config_.segment_bytes) {
        disk_.sync(spare_name_, kSpareSync);
      } else {
        spare_ = Spare::kPaused;
        go_on_with_spare();
      }
      return;
    case kSpareSync: disk_.rename(spare_name_, segment_name(spare_number_), kSpareRename); return;
    case kSpareRename: disk_.sync_directory(kSpareSyncDirectory); return;
    case kSpareSyncDirectory:
      spare_ = Spare::kReady;
      if (busy_ && parts_[part_].at.segment == spare_number_) write_part();
      return;
    case kLogWrite:
    case kLogSync:
    case kSpareGiveBack:
    case kCompactRemove:
    case kCompactSyncDirectory:
    case kRefusal: break;
  }
  CHECK(false, "disk call {} is none of the spare's", static_cast<DiskToken>(token));
}

// ---- Compaction ----

void Wal::compact(LogIndex base) {
  compact_base_ = std::max(compact_base_, base);
  maybe_remove_segment();
}

// The oldest file, when a later segment begins with all that is needed. Files of segments that
// never began, left over from torn writes, go with those before them.
void Wal::maybe_remove_segment() {
  // Files of a damaged log stay until they are not needed to tell that it was damaged.
  if (compacting_ || repairing_ || !failure_.empty()) return;
  // Only behind what is durable: the segment that takes over must have begun on the media. A write
  // that waits for the spare follows one that is durable, and on a full disk it is what is removed
  // here that makes room for the spare.
  if (busy_ && (!waits_for_spare() || !obsolete_.empty())) return;
  if (!obsolete_.empty()) {
    compacting_ = true;
    removing_obsolete_ = true;
    disk_.remove(segment_name(obsolete_.front()), kCompactRemove);
    return;
  }
  while (begun_.size() >= 2 && begun_[1].last_before <= compact_base_ &&
         begun_[1].number <= first_number_) {
    begun_.pop_front();
  }
  const bool free = begun_.size() >= 2 && begun_[1].last_before <= compact_base_ &&
                    begun_[1].number <= open_number_;
  if (!free) return;
  compacting_ = true;
  disk_.remove(segment_name(first_number_), kCompactRemove);
}

// ---- Completion ----

void Wal::on_disk_done(DiskToken disk_token, DiskStatus status) {
  if (disk_token >= SnapshotStore::kFirstToken) {
    if (status != DiskStatus::kOk && SnapshotStore::is_sync(disk_token)) {
      if (failure_.empty()) stop(fmt::format("sync of a snapshot failed: {}", to_string(status)));
      return;
    }
    snapshots_.on_disk_done(disk_token, status);
    return;
  }
  const Token token = static_cast<Token>(disk_token);
  if (token == kSpareGiveBack) return;
  if (!failure_.empty()) {
    if (token == kRefusal) finish(false);
    return;
  }
  if (token == kSpareCreate && status == DiskStatus::kExists) {
    // Left over from a start that was cut short. Its content is of no interest.
    disk_.truncate(spare_name_, 0, kSpareTruncate);
    return;
  }
  if (status == DiskStatus::kNoSpace && wait_for_room(token)) return;
  if (status != DiskStatus::kOk) {
    fail(token, status);
    return;
  }
  if (token == kLogWrite || token == kLogSync) {
    on_log_done(token);
  } else if (token == kCompactRemove) {
    disk_.sync_directory(kCompactSyncDirectory);
  } else if (token == kCompactSyncDirectory) {
    if (removing_obsolete_) {
      obsolete_.pop_front();
      removing_obsolete_ = false;
    } else {
      ++first_number_;
    }
    compacting_ = false;
    maybe_remove_segment();
  } else {
    on_spare_done(token);
  }
}

// ---- A full disk: no failure, nothing that was promised depends on what found no room

// False when the call is none that may wait: a sync that says so has failed like any other.
bool Wal::wait_for_room(Token token) {
  switch (token) {
    case kLogWrite: log_waits_ = true; return true;
    case kSpareCreate:
    case kSpareTruncate:
    case kSpareFill:
    case kSpareRename:
      spare_ = Spare::kNoRoom;
      // What it has taken may be what a snapshot needs, with which the log could be made shorter.
      if (spare_filled_ > 0) disk_.truncate(spare_name_, 0, kSpareGiveBack);
      return true;
    default: return false;
  }
}

void Wal::try_again() {
  if (!failure_.empty()) return;
  const uint64_t free_bytes = disk_.free_bytes();
  if (log_waits_ && free_bytes > 0) {
    // The same bytes to the same place: whatever part of them was written is not synced.
    log_waits_ = false;
    write_part();
  }
  if (spare_ == Spare::kNoRoom && free_bytes >= config_.segment_bytes) prepare_spare();
}

uint64_t Wal::room_needed_bytes() const {
  if (spare_ == Spare::kNoRoom) return config_.segment_bytes;
  return log_waits_ ? parts_[part_].bytes : 0;
}

// Fail-stop, also when only the spare failed: the same disk holds the log.
void Wal::fail(Token token, DiskStatus status) {
  const bool log = token == kLogWrite || token == kLogSync;
  const bool sync = token == kLogSync || token == kSpareSync || token == kSpareSyncDirectory ||
                    token == kCompactSyncDirectory;
  stop(fmt::format("{} of {} failed: {}", sync ? "sync" : "write", log ? open_name_ : spare_name_,
                   to_string(status)));
}

// At once, also when nobody waits for a write: what a failed sync has dropped is not known.
void Wal::stop(std::string failure) {
  failure_ = std::move(failure);
  finish(false);
}

void Wal::finish(bool durable) {
  busy_ = false;
  if (durable) maybe_remove_segment();
  client_->on_storage_done(durable, failure_);
}

}  // namespace tally
