#include "storage/snapshot_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "core/check.h"
#include "core/little_endian.h"

namespace tally {
namespace {

constexpr std::string_view kSnapshotPrefix = "snapshot-";
constexpr std::string_view kTemporaryName = "snapshot.new";
constexpr size_t kIndexDigits = 16;
constexpr size_t kHeaderWord = sizeof(uint64_t);
constexpr size_t kHeaderWords = 5;
constexpr size_t kEndBytes = record_bytes(0);
// Synced as it grows, so that no sync of the log ever waits behind much of it.
constexpr uint64_t kSyncBytes = uint64_t{1} << 20;
// Reads have tokens of their own, above all generations.
constexpr DiskToken kFirstRead = DiskToken{1} << 62;

void append_header(const Identity& identity, const EntryMark& last, std::string& out) {
  char payload[sizeof(uint64_t[kHeaderWords])];
  put_little_endian(kSnapshotFormatVersion, payload);
  put_little_endian(identity.cluster_id, payload + kHeaderWord);
  put_little_endian(identity.group_id, payload + 2 * kHeaderWord);
  put_little_endian(identity.node_id.value(), payload + 3 * kHeaderWord);
  put_little_endian(identity.directory_id, payload + 4 * kHeaderWord);
  append_record({.type = RecordType::kSnapshot,
                 .index = last.index.value(),
                 .term = last.term.value(),
                 .log_time_ns = last.log_time.value(),
                 .payload = std::string_view(payload, sizeof(payload))},
                out);
}

}  // namespace

std::string snapshot_name(LogIndex last) {
  return fmt::format("{}{:016x}", kSnapshotPrefix, last.value());
}

std::optional<LogIndex> snapshot_index(std::string_view name) {
  if (name.size() != kSnapshotPrefix.size() + kIndexDigits) return std::nullopt;
  if (name.substr(0, kSnapshotPrefix.size()) != kSnapshotPrefix) return std::nullopt;
  uint64_t index = 0;
  for (const char digit : name.substr(kSnapshotPrefix.size())) {
    const bool decimal = digit >= '0' && digit <= '9';
    if (!decimal && !(digit >= 'a' && digit <= 'f')) return std::nullopt;
    index = index << 4 | static_cast<uint64_t>(decimal ? digit - '0' : digit - 'a' + 10);
  }
  return LogIndex(index);
}

std::string parse_snapshot_header(const RecordView& record, SnapshotContent& content) {
  const auto word = [&](size_t i) {
    return get_little_endian<uint64_t>(record.payload.data() + i * kHeaderWord);
  };
  if (record.type != RecordType::kSnapshot || record.payload.size() < kHeaderWord) {
    return "offset 0: no snapshot's header";
  }
  content.format = word(0);
  if (content.format != kSnapshotFormatVersion) {
    return fmt::format("snapshot format {}, this program reads {}", content.format,
                       kSnapshotFormatVersion);
  }
  if (record.payload.size() != sizeof(uint64_t[kHeaderWords])) {
    return "offset 0: a snapshot's header of an unknown shape";
  }
  content.identity = {word(1), word(2), NodeId(word(3)), word(4)};
  content.id.last = {LogIndex(record.index), Term(record.term), LogTime(record.log_time_ns)};
  return {};
}

std::string parse_snapshot(std::string_view bytes, SnapshotContent& content) {
  content = {};
  uint64_t offset = 0;
  const auto at = [&](std::string_view what) { return fmt::format("offset {}: {}", offset, what); };
  while (true) {
    RecordView record;
    size_t consumed = 0;
    if (read_record(bytes.substr(offset), record, consumed) != RecordStatus::kOk) {
      return at("no valid record");
    }
    if (offset == 0) {
      std::string error = parse_snapshot_header(record, content);
      if (!error.empty()) return error;
    } else if (record.type == RecordType::kPiece) {
      content.id.hash = snapshot_hash(content.id.hash, record.payload);
      if (record.index != content.id.piece_count || record.term != content.id.hash) {
        return at("not the piece that follows");
      }
      ++content.id.piece_count;
      content.offsets.push_back(offset);
      content.pieces.emplace_back(record.payload);
    } else {
      content.offsets.push_back(offset);
      const bool end = record.type == RecordType::kSnapshotEnd &&
                       record.index == content.id.piece_count && record.term == content.id.hash;
      return end ? std::string() : at("not the end that follows");
    }
    offset += consumed;
  }
}

// ---- Recovery ----

std::string SnapshotStore::recover(const Identity& expected, Recovered& result) {
  std::vector<std::string> names;
  for (const std::string& name : disk_.list()) {
    if (snapshot_index(name)) names.push_back(name);
  }
  std::string damage;
  // Sorted by name is sorted by index.
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (newest_) {
      older_.push_back(*name);
      continue;
    }
    std::string bytes;
    SnapshotContent content;
    std::string error = "the disk cannot read it";
    if (disk_.read(*name, 0, disk_.size(*name).value_or(0), bytes) == DiskStatus::kOk) {
      error = parse_snapshot(bytes, content);
    }
    if (content.format != 0 && content.format != kSnapshotFormatVersion) {
      result.outcome = Recovered::Outcome::kRefused;
      result.message = fmt::format("{} has {}: start the release that wrote it", *name, error);
      return {};
    }
    if (error.empty() && (content.identity.cluster_id != expected.cluster_id ||
                          content.identity.group_id != expected.group_id ||
                          content.identity.node_id != expected.node_id)) {
      error = fmt::format("it belongs to node {} of cluster {:#x}, group {:#x}",
                          content.identity.node_id.value(), content.identity.cluster_id,
                          content.identity.group_id);
    }
    if (error.empty() && content.identity.directory_id != expected.directory_id) {
      error =
          fmt::format("it is of the data directory with id {:016x}, and this one has id {:016x}",
                      content.identity.directory_id, expected.directory_id);
    }
    if (error.empty() && snapshot_index(*name) != content.id.last.index) {
      error = "it has another snapshot's name";
    }
    if (!error.empty()) {
      damage += fmt::format("{}{} {}", damage.empty() ? "" : "; ", *name, error);
      older_.push_back(*name);
      continue;
    }
    newest_ = content.id;
    offsets_ = std::move(content.offsets);
    result.snapshot = content.id;
    result.pieces = std::move(content.pieces);
  }
  return damage;
}

void SnapshotStore::start(const Identity& identity, StorageClient* client) {
  identity_ = identity;
  client_ = client;
}

// ---- Writing ----

void SnapshotStore::begin(const EntryMark& last) {
  CHECK(!newest_ || last.index >= newest_->last.index, "a snapshot up to {} after one up to {}",
        last.index.value(), newest_->last.index.value());
  // A call of the one before may still be using its buffer.
  if (in_flight_) {
    retired_.emplace(generation_, std::move(buffer_));
    buffer_ = std::make_unique<std::string>();
    in_flight_ = false;
  }
  ++generation_;
  created_ = false;
  writing_ = SnapshotId{last, 0, 0};
  writing_offsets_.clear();
  buffer_->clear();
  append_header(identity_, last, *buffer_);
  offset_ = 0;
  unsynced_bytes_ = 0;
}

void SnapshotStore::write_piece(std::string_view piece) {
  if (created_) {
    offset_ += buffer_->size();
    buffer_->clear();
  }
  writing_.hash = snapshot_hash(writing_.hash, piece);
  writing_offsets_.push_back(offset_ + buffer_->size());
  append_record({.type = RecordType::kPiece,
                 .index = writing_.piece_count,
                 .term = writing_.hash,
                 .log_time_ns = 0,
                 .payload = piece},
                *buffer_);
  ++writing_.piece_count;
  if (created_) {
    write_buffer(Step::kWrite);
  } else {
    disk_.create(kTemporaryName, token_for(Step::kCreate));
  }
}

void SnapshotStore::finish() {
  CHECK(created_, "a snapshot without a piece");
  offset_ += buffer_->size();
  buffer_->clear();
  writing_offsets_.push_back(offset_);
  append_record({.type = RecordType::kSnapshotEnd,
                 .index = writing_.piece_count,
                 .term = writing_.hash,
                 .log_time_ns = 0,
                 .payload = {}},
                *buffer_);
  write_buffer(Step::kEnd);
}

void SnapshotStore::write_buffer(Step step) {
  unsynced_bytes_ += buffer_->size();
  disk_.write(kTemporaryName, offset_, std::as_bytes(std::span(*buffer_)), token_for(step));
}

void SnapshotStore::on_disk_done(DiskToken token, DiskStatus status) {
  if (token >= kFirstRead) {
    on_read(token, status);
    return;
  }
  if (static_cast<Step>(token & 0xff) == Step::kGiveBack) return;
  const uint64_t generation = (token - kFirstToken) >> 8;
  if (generation != generation_) {  // of one that was dropped
    retired_.erase(generation);
    return;
  }
  in_flight_ = false;
  on_step(static_cast<Step>(token & 0xff), status);
}

bool SnapshotStore::is_sync(DiskToken token) {
  if (token >= kFirstRead) return false;
  switch (static_cast<Step>(token & 0xff)) {
    case Step::kSync:
    case Step::kEndSync:
    case Step::kRenameSync:
    case Step::kRemoveSync: return true;
    default: return false;
  }
}

void SnapshotStore::on_step(Step step, DiskStatus status) {
  if (step == Step::kCreate && status == DiskStatus::kExists) {
    disk_.truncate(kTemporaryName, 0, token_for(Step::kTruncate));
    return;
  }
  // The new one is proven by then: an older file that stays, or is gone already, does no harm.
  const bool removing = step == Step::kRemove || step == Step::kRemoveSync;
  if (status != DiskStatus::kOk && !removing) {
    done(false,
         fmt::format("snapshot up to {}: {}", writing_.last.index.value(), to_string(status)));
    if (status == DiskStatus::kNoSpace) give_back();
    return;
  }
  switch (step) {
    case Step::kCreate:
    case Step::kTruncate:
      created_ = true;
      write_buffer(Step::kWrite);
      return;
    case Step::kWrite:
      if (unsynced_bytes_ < kSyncBytes) return done(true, {});
      unsynced_bytes_ = 0;
      disk_.sync(kTemporaryName, token_for(Step::kSync));
      return;
    case Step::kSync: return done(true, {});
    case Step::kEnd: disk_.sync(kTemporaryName, token_for(Step::kEndSync)); return;
    case Step::kEndSync:
      disk_.rename(kTemporaryName, snapshot_name(writing_.last.index), token_for(Step::kRename));
      return;
    case Step::kRename: disk_.sync_directory(token_for(Step::kRenameSync)); return;
    case Step::kRenameSync:
      read_back_count_ = 0;
      read_back_hash_ = 0;
      read_back();
      return;
    case Step::kReadBack:
      if (!is_as_written()) {
        done(false,
             fmt::format("{} offset {}: not as it was written", snapshot_name(writing_.last.index),
                         writing_offsets_[read_back_count_]));
        return;
      }
      if (++read_back_count_ < writing_offsets_.size()) return read_back();
      // Proven: it takes over.
      if (newest_) older_.push_back(snapshot_name(newest_->last.index));
      std::erase(older_, snapshot_name(writing_.last.index));  // it replaced one of that name
      newest_ = writing_;
      offsets_ = std::move(writing_offsets_);
      remove_older();
      return;
    case Step::kRemove: disk_.sync_directory(token_for(Step::kRemoveSync)); return;
    case Step::kRemoveSync:
      older_.pop_back();
      remove_older();
      return;
    case Step::kGiveBack: break;
  }
  CHECK(false, "disk call {} is none of a snapshot's", static_cast<unsigned>(step));
}

// One record after another: what the media now hold is what was handed over.
void SnapshotStore::read_back() {
  const uint64_t begin = writing_offsets_[read_back_count_];
  const bool end = read_back_count_ + 1 == writing_offsets_.size();
  const uint64_t bytes = end ? kEndBytes : writing_offsets_[read_back_count_ + 1] - begin;
  disk_.start_read(snapshot_name(writing_.last.index), begin, bytes, buffer_.get(),
                   token_for(Step::kReadBack));
}

bool SnapshotStore::is_as_written() const {
  RecordView record;
  size_t consumed = 0;
  if (read_record(*buffer_, record, consumed) != RecordStatus::kOk) return false;
  const bool end = read_back_count_ + 1 == writing_offsets_.size();
  return record.index == read_back_count_ && (!end || record.term == writing_.hash);
}

void SnapshotStore::remove_older() {
  if (older_.empty()) return done(true, {});
  disk_.remove(older_.back(), token_for(Step::kRemove));
}

// What a snapshot that found no room has taken is given back: the log may need it.
void SnapshotStore::give_back() {
  disk_.truncate(kTemporaryName, 0, kFirstToken + static_cast<DiskToken>(Step::kGiveBack));
}

void SnapshotStore::done(bool ok, std::string error) {
  if (!ok) ++generation_;
  client_->on_snapshot_written(ok, error);
}

// ---- Reading ----

void SnapshotStore::read_piece(const SnapshotId& id, uint64_t piece) {
  const bool known = newest_ == id && piece < id.piece_count;
  const uint64_t begin = known ? offsets_[piece] : 0;
  const uint64_t bytes = known ? offsets_[piece + 1] - begin : 0;
  reads_.push_back({kFirstRead + ++read_count_, id, piece, {}});
  disk_.start_read(snapshot_name(id.last.index), begin, bytes, &reads_.back().bytes,
                   reads_.back().token);
}

void SnapshotStore::on_read(DiskToken token, DiskStatus status) {
  const auto found = std::find_if(reads_.begin(), reads_.end(),
                                  [&](const Read& read) { return read.token == token; });
  CHECK(found != reads_.end());
  RecordView record;
  size_t consumed = 0;
  const bool whole = status == DiskStatus::kOk &&
                     read_record(found->bytes, record, consumed) == RecordStatus::kOk &&
                     record.type == RecordType::kPiece && record.index == found->piece;
  std::string data(whole ? record.payload : std::string_view());
  const SnapshotId id = found->id;
  const uint64_t piece = found->piece;
  // Read in order mostly; what is done behind an unfinished one waits to be dropped.
  found->token = 0;
  while (!reads_.empty() && reads_.front().token == 0) reads_.pop_front();
  client_->on_snapshot_read(id, piece, std::move(data));
}

}  // namespace tally
