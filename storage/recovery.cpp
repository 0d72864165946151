#include "storage/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "core/little_endian.h"
#include "storage/snapshot_store.h"

namespace tally {
namespace {

// A header of a later format version may be longer than ours.
constexpr size_t kHeaderReadBytes = 4096;

// Bytes up to and including the last one that is not zero.
uint64_t used_bytes(std::string_view bytes) {
  size_t end = bytes.size();
  while (end >= sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + end - sizeof(word), sizeof(word));
    if (word != 0) break;
    end -= sizeof(word);
  }
  while (end > 0 && bytes[end - 1] == 0) --end;
  return end;
}

constexpr std::string_view kWiped =
    "this counts as a wiped disk. Put no older copy in its place; the node comes back by being "
    "removed from the group and added as a learner";
constexpr std::string_view kRepaired =
    "it is repaired by the leader as soon as a quorum of the others answers; leave its files as "
    "they are";

std::string describe(const HardState& state) {
  return fmt::format("term {} vote {}", state.term.value(), state.voted_for.value());
}

std::string describe(const EntryMark& mark) {
  return fmt::format("index {} term {}", mark.index.value(), mark.term.value());
}

class LogRecovery {
 public:
  LogRecovery(Disk& disk, const Identity& expected, uint64_t segment_bytes)
      : disk_(disk), expected_(expected), segment_bytes_(segment_bytes) {}

  Recovered run(LogTail& tail);

 private:
  struct SegmentFile {
    uint64_t number = 0;
    std::string name;
    uint64_t size = 0;
    bool started = false;  // its header is valid
    SegmentHeader header;
    bool shortened = false;  // it was longer once
    std::string damage;      // of its header or its size; empty: none
  };
  enum class Batch : uint8_t {
    kValid,
    kBroken,  // as an unfinished write may look, or damage
    kWrong,   // valid records that do not belong here: always damage
  };
  // A valid header that claims that everything before `proven` had been synced.
  struct Claim {
    LogPosition proven;
    std::string file;
    uint64_t offset = 0;
  };

  // What is damaged: the first thing that was found.
  struct Damage {
    std::string file;
    uint64_t offset = 0;
    std::string reason;
    std::optional<LogIndex> index;  // of the first entry that it may touch, when that was known
    std::string stray;              // a file that may have come here by mistake; or empty
  };

  // Each step returns false when it has reached the verdict.
  bool read_headers();
  void read_header(SegmentFile& file);
  void check_identity(const SegmentFile& file);
  bool check_chain();
  bool replay_segment(size_t position);
  bool judge_rest(LogTail& tail);

  void read_range(const SegmentFile& file, uint64_t length);
  void find_repair();
  bool check_readable();
  void tell_damage();
  std::string index_before(uint64_t segment);
  void prepare_repair(LogTail& tail);
  void see_header(LogPosition at, const HardState& hard_state);
  Batch parse_batch(LogPosition at, uint64_t limit);
  Batch parse_body(std::string_view body);
  void apply_batch();
  void collect_claims(const SegmentFile& file, uint64_t from);
  void cut(const SegmentFile& file, uint64_t offset, uint64_t bytes);
  static std::string missing_before(const SegmentFile& file);
  bool damaged(std::string_view file, uint64_t offset, std::string_view reason,
               std::string_view stray = {});
  bool refused(std::string reason);

  Disk& disk_;
  const Identity& expected_;
  const uint64_t segment_bytes_;

  Recovered result_;
  Damage damage_;
  std::vector<SegmentFile> files_;  // by number
  std::vector<size_t> chain_;       // positions of the started ones: the log, in order
  std::string content_;             // of the file being read
  LogPosition end_;                 // replayed up to here
  EntryMark last_;                  // the newest entry replayed
  Claim claim_;                     // the furthest one found behind the end
  size_t first_ = 0;                // position of the first file that counts
  bool replaying_ = false;          // the chain is known; last_ says how far it was replayed
  std::vector<LogPosition> unreadable_;

  // The newest valid header, for a repair.
  LogPosition newest_;
  HardState newest_hard_state_;

  // The batch parsed last.
  HardState batch_hard_state_;
  std::optional<EntryMark> batch_reset_;
  bool batch_whole_ = false;
  std::vector<Entry> batch_entries_;
  uint64_t batch_bytes_ = 0;
  std::string batch_error_;
};

Recovered LogRecovery::run(LogTail& tail) {
  tail = LogTail{};
  bool sound = read_headers() && check_chain();
  replaying_ = sound;
  for (size_t i = 0; sound && i < chain_.size(); ++i) sound = replay_segment(i);
  sound = sound && judge_rest(tail) && check_readable();
  if (result_.outcome == Recovered::Outcome::kRefused) return std::move(result_);
  if (!sound) {
    tell_damage();
    prepare_repair(tail);
  } else if (!result_.repairing) {
    result_.outcome = chain_.empty() ? Recovered::Outcome::kEmpty : Recovered::Outcome::kWhole;
  } else {
    result_.outcome = Recovered::Outcome::kDamaged;
    result_.message = fmt::format("damaged earlier, not yet repaired{}{}; {}",
                                  result_.message.empty() ? "" : "; ", result_.message, kRepaired);
  }
  for (size_t i = 0; i < first_; ++i) tail.obsolete.push_back(files_[i].number);
  return std::move(result_);
}

// ---- Damage: what a repair needs to know

void LogRecovery::see_header(LogPosition at, const HardState& hard_state) {
  if (at < newest_) return;
  newest_ = at;
  newest_hard_state_ = hard_state;
}

bool LogRecovery::check_readable() {
  for (const LogPosition& place : unreadable_) {
    if (place.segment < files_[first_].number) continue;
    return damaged(segment_name(place.segment), place.offset, "the disk cannot read it");
  }
  return true;
}

// Term and vote are those of the newest valid header, wherever it stands. They are lost when there
// is none, or when there may have been a newer one where nothing can be read any more.
void LogRecovery::prepare_repair(LogTail& tail) {
  bool lost = false;
  for (const SegmentFile& file : files_) {
    if (file.started) see_header({file.number, 0}, file.header.hard_state);
    read_range(file, file.size);
    claim_ = {};
    collect_claims(file, 0);
  }
  for (const SegmentFile& file : files_) {
    lost = lost || (file.shortened && file.number >= newest_.segment);
  }
  for (const LogPosition& place : unreadable_) lost = lost || place > newest_;
  for (size_t i = 1; i < files_.size(); ++i) {
    const bool gap = files_[i].number != files_[i - 1].number + 1;
    lost = lost || (gap && files_[i].number > newest_.segment + 1);
  }
  tail = LogTail{};
  result_.base = {};
  result_.entries.clear();
  result_.repairing = !lost && newest_ > LogPosition{};
  if (!result_.repairing) {
    if (!damage_.stray.empty()) {
      result_.message += fmt::format(
          "; if {} is no file of this log, move it away and start again. Else", damage_.stray);
    }
    result_.message += fmt::format("{} term and vote are lost with it: {}",
                                   damage_.stray.empty() ? ";" : "", kWiped);
    return;
  }
  result_.message += fmt::format("; {}", kRepaired);
  result_.hard_state = newest_hard_state_;
  result_.identity = expected_;
  tail.repair_owed = true;
  tail.last_number = files_.back().number;
  first_ = files_.size();
}

bool LogRecovery::damaged(std::string_view file, uint64_t offset, std::string_view reason,
                          std::string_view stray) {
  if (result_.outcome == Recovered::Outcome::kDamaged) return false;  // the first one is told
  result_.outcome = Recovered::Outcome::kDamaged;
  result_.torn_bytes = 0;
  damage_ = {std::string(file), offset, std::string(reason), std::nullopt, std::string(stray)};
  if (replaying_) damage_.index = last_.index + 1;
  return false;
}

void LogRecovery::tell_damage() {
  const std::string index = damage_.index ? fmt::format("at index {}", damage_.index->value())
                                          : index_before(segment_number(damage_.file).value_or(1));
  result_.message =
      fmt::format("{} offset {}, {}: {}", damage_.file, damage_.offset, index, damage_.reason);
}

// Of damage that was found before anything was replayed: what the segments before it lead to.
std::string LogRecovery::index_before(uint64_t segment) {
  chain_.clear();
  const SegmentFile* next = nullptr;
  for (size_t i = first_; i < files_.size(); ++i) {
    if (!files_[i].started) continue;
    if (files_[i].number < segment) chain_.push_back(i);
    if (files_[i].number > segment && next == nullptr) next = &files_[i];
  }
  for (size_t i = 0; i < chain_.size() && replay_segment(i);) ++i;
  if (!chain_.empty() || segment == 1) {
    return fmt::format("at index {}", last_.index.value() + 1);
  }
  if (next == nullptr) return "at an index that is not known";
  return fmt::format("at or before index {}", next->header.last.index.value());
}

bool LogRecovery::refused(std::string reason) {
  result_.outcome = Recovered::Outcome::kRefused;
  result_.message = std::move(reason);
  return false;
}

// ---- Which files are the log ----

bool LogRecovery::read_headers() {
  for (const std::string& name : disk_.list()) {
    const std::optional<uint64_t> number = segment_number(name);
    if (!number) continue;
    SegmentFile file;
    file.number = *number;
    file.name = name;
    file.size = disk_.size(name).value_or(0);
    files_.push_back(std::move(file));
  }
  std::sort(files_.begin(), files_.end(),
            [](const SegmentFile& a, const SegmentFile& b) { return a.number < b.number; });
  // Whose directory this is comes before what state it is in.
  for (SegmentFile& file : files_) {
    read_header(file);
    if (result_.outcome == Recovered::Outcome::kRefused) return false;
  }
  find_repair();
  for (size_t i = first_; i < files_.size(); ++i) {
    const SegmentFile& file = files_[i];
    if (file.damage.empty()) continue;
    const bool stray = file.size < kSegmentBytesMin;
    return damaged(file.name, file.shortened ? file.size : 0, file.damage, stray ? file.name : "");
  }
  return true;
}

void LogRecovery::read_header(SegmentFile& file) {
  read_range(file, std::min<uint64_t>(kHeaderReadBytes, file.size));
  if (file.size < kSegmentBytesMin) {
    file.shortened = true;
    file.damage = "the file is shorter than any segment";
    return;
  }
  RecordView record;
  size_t consumed = 0;
  if (read_record(content_, record, consumed) != RecordStatus::kOk) return;
  if (record.type != RecordType::kSegment) return;
  const uint64_t version = segment_format_version(record);
  if (version != 0 && version != kLogFormatVersion) {
    refused(
        fmt::format("{} has log format {}, this program reads {}: start the release that wrote it",
                    file.name, version, kLogFormatVersion));
  } else if (!to_segment_header(record, file.header)) {
    file.damage = "a segment header of an unknown shape";
  } else if (file.header.number != file.number) {
    file.damage = fmt::format("the header of segment {}", segment_name(file.header.number));
  } else if (file.size < file.header.file_bytes) {
    file.shortened = true;
    file.damage = fmt::format("the file had {} bytes and is shorter now", file.header.file_bytes);
  } else {
    file.started = true;
    check_identity(file);
  }
}

void LogRecovery::check_identity(const SegmentFile& file) {
  const Identity& found = file.header.identity;
  const auto differs = [&](std::string_view what, uint64_t here, uint64_t wanted) {
    refused(fmt::format("{} belongs to {} {:#x}, this is {:#x}: wrong data directory?", file.name,
                        what, here, wanted));
  };
  if (found.cluster_id != expected_.cluster_id) {
    return differs("cluster", found.cluster_id, expected_.cluster_id);
  }
  if (found.group_id != expected_.group_id) {
    return differs("group", found.group_id, expected_.group_id);
  }
  if (found.node_id != expected_.node_id) {
    return differs("node", found.node_id.value(), expected_.node_id.value());
  }
  if (found.directory_id != expected_.directory_id) {
    refused(
        fmt::format("{} is of the data directory with id {:016x}, and this one has id {:016x}: "
                    "files of two directories were mixed. Bring back all files of one of them",
                    file.name, found.directory_id, expected_.directory_id));
  }
  result_.identity = found;
}

// Segment numbers have no gap, and each started segment goes on from the started one before it.
// Files between them that never started are left over from torn writes.
bool LogRecovery::check_chain() {
  // Compaction removes from the lowest on.
  uint64_t expected_number = files_.empty() ? 1 : files_[first_].number;
  for (size_t i = first_; i < files_.size(); ++i) {
    const SegmentFile& file = files_[i];
    if (file.number != expected_number) {
      return damaged(segment_name(expected_number), 0, missing_before(file), file.name);
    }
    ++expected_number;
  }
  const bool begun = std::any_of(files_.begin(), files_.end(),
                                 [](const SegmentFile& file) { return file.started; });
  if (!begun && !files_.empty() && files_.front().number != 1) {
    return damaged(segment_name(1), 0, missing_before(files_.front()), files_.front().name);
  }
  uint64_t previous = 0;
  for (size_t i = first_; i < files_.size(); ++i) {
    const SegmentFile& file = files_[i];
    if (!file.started) continue;
    const uint64_t claimed = file.header.previous_end.segment;
    const bool compacted = chain_.empty() && claimed < files_[first_].number;
    if (claimed != previous && !compacted) {
      if (claimed > previous && claimed < file.number) {
        return damaged(segment_name(claimed), 0,
                       fmt::format("the header is invalid, but {} goes on from it", file.name));
      }
      return damaged(file.name, 0,
                     fmt::format("goes on from segment {}, not from {}", claimed, previous));
    }
    chain_.push_back(i);
    previous = file.number;
  }
  return true;
}

std::string LogRecovery::missing_before(const SegmentFile& file) {
  return fmt::format("the segment is missing, and {} is there{}", file.name,
                     file.started ? "" : ", which holds no segment");
}

// The log that counts is the last one that was begun; what is left of a damaged one before it says
// nothing any more, whatever state it is in.
void LogRecovery::find_repair() {
  for (size_t i = 0; i < files_.size(); ++i) {
    if (files_[i].started && files_[i].header.begins_repair) first_ = i;
  }
}

// ---- Replay ----

// Into content_. What the disk cannot read is zeros there, and remembered.
void LogRecovery::read_range(const SegmentFile& file, uint64_t length) {
  if (disk_.read(file.name, 0, length, content_) == DiskStatus::kOk) return;
  constexpr uint64_t kPieceBytes = 512;
  std::string whole;
  for (uint64_t at = 0; at < length; at += kPieceBytes) {
    const uint64_t bytes = std::min(kPieceBytes, length - at);
    if (disk_.read(file.name, at, bytes, content_) != DiskStatus::kOk) {
      unreadable_.push_back({file.number, at});
      content_.clear();
    }
    content_.resize(bytes);
    whole += content_;
  }
  content_ = std::move(whole);
}

bool LogRecovery::replay_segment(size_t position) {
  const SegmentFile& file = files_[chain_[position]];
  const SegmentHeader& header = file.header;
  if (position == 0) {
    result_.hard_state = header.hard_state;
    result_.base = header.last;
    last_ = header.last;
  } else if (header.hard_state != result_.hard_state || header.last != last_) {
    return damaged(file.name, 0,
                   fmt::format("the header says {} last {}, the log before it {} last {}",
                               describe(header.hard_state), describe(header.last),
                               describe(result_.hard_state), describe(last_)));
  }
  if (position == 0) result_.repairing = header.begins_repair;
  read_range(file, file.size);
  end_ = {file.number, kSegmentRecordBytes};

  const bool last = position + 1 == chain_.size();
  std::string_view next_name;
  uint64_t limit = content_.size();
  if (!last) {
    const SegmentFile& next = files_[chain_[position + 1]];
    next_name = next.name;
    limit = next.header.previous_end.offset;
    if (limit < kSegmentRecordBytes || limit > content_.size()) {
      return damaged(file.name, content_.size(),
                     fmt::format("{} says that this segment ends at {}", next_name, limit));
    }
  }
  while (end_.offset < limit) {
    const Batch batch = parse_batch(end_, limit);
    if (batch == Batch::kWrong) return damaged(file.name, end_.offset, batch_error_);
    if (batch == Batch::kBroken) {
      if (last) return true;  // judge_rest() decides
      return damaged(file.name, end_.offset,
                     fmt::format("{}; {} proves that it was synced", batch_error_, next_name));
    }
    apply_batch();
    end_.offset += batch_bytes_;
  }
  return true;
}

LogRecovery::Batch LogRecovery::parse_batch(LogPosition at, uint64_t limit) {
  const std::string_view rest = std::string_view(content_).substr(at.offset, limit - at.offset);
  RecordView record;
  size_t consumed = 0;
  batch_error_ = "no valid batch";
  if (read_record(rest, record, consumed) != RecordStatus::kOk) return Batch::kBroken;
  BatchHeader header;
  if (!to_batch_header(record, header)) {
    batch_error_ =
        fmt::format("a record of type {} where a batch begins", static_cast<unsigned>(record.type));
    return Batch::kWrong;
  }
  if (header.own != at || header.directory_id != expected_.directory_id) {
    batch_error_ = fmt::format("a batch that belongs to segment {:x} offset {} of directory {:x}",
                               header.own.segment, header.own.offset, header.directory_id);
    return Batch::kWrong;
  }
  if (header.proven > at) {
    batch_error_ = "a batch that claims a later one to be synced";
    return Batch::kWrong;
  }
  // The file may be shorter than the batch: its extension was not synced either.
  if (header.body_bytes > rest.size() - consumed) return Batch::kBroken;
  batch_bytes_ = consumed + header.body_bytes;
  const Batch body = parse_body(rest.substr(consumed, header.body_bytes));
  if (body == Batch::kValid && batch_hard_state_ != header.hard_state) {
    batch_error_ = fmt::format("a batch whose header says {}, and whose records say {}",
                               describe(header.hard_state), describe(batch_hard_state_));
    return Batch::kWrong;
  }
  return body;
}

LogRecovery::Batch LogRecovery::parse_body(std::string_view body) {
  batch_hard_state_ = result_.hard_state;
  batch_entries_.clear();
  batch_reset_.reset();
  batch_whole_ = false;
  Batch status = Batch::kValid;
  LogIndex next = last_.index + 1;
  const size_t parsed = for_each_record(body, [&](size_t offset, const RecordView& record) {
    if (offset == 0 && to_hard_state(record, batch_hard_state_)) return true;
    EntryMark reset;
    if (batch_entries_.empty() && !batch_reset_ && to_reset(record, reset)) {
      batch_reset_ = reset;
      next = reset.index + 1;
      return true;
    }
    if (batch_entries_.empty() && is_whole_mark(record)) {
      batch_whole_ = true;
      return true;
    }
    Entry entry;
    const bool is_entry = to_entry(record, entry);
    const bool follows = batch_entries_.empty() && !batch_reset_
                             ? entry.index >= LogIndex(1) && entry.index <= next
                             : entry.index == next;
    if (!is_entry || !follows) {
      batch_error_ = fmt::format("a record of type {} and index {} where index {} is next",
                                 static_cast<unsigned>(record.type), record.index, next.value());
      status = Batch::kWrong;
      return false;
    }
    next = entry.index + 1;
    batch_entries_.push_back(std::move(entry));
    return true;
  });
  if (status == Batch::kValid && parsed != body.size()) {
    batch_error_ = fmt::format("a batch with an invalid record {} bytes behind its header", parsed);
    return Batch::kBroken;
  }
  return status;
}

void LogRecovery::apply_batch() {
  result_.hard_state = batch_hard_state_;
  if (batch_whole_) result_.repairing = false;
  if (batch_reset_) {
    result_.base = *batch_reset_;
    result_.entries.clear();
    last_ = *batch_reset_;
  }
  if (batch_entries_.empty()) return;
  const LogIndex first = batch_entries_.front().index;
  if (first <= result_.base.index) {
    // Replaces what compaction has removed; the entry before it is known to the snapshot only.
    result_.base = EntryMark{first - 1, Term(0), LogTime(0)};
    result_.entries.clear();
  } else {
    result_.entries.resize(first - result_.base.index - 1);
  }
  for (Entry& entry : batch_entries_) result_.entries.push_back(std::move(entry));
  const Entry& newest = result_.entries.back();
  last_ = {newest.index, newest.term, newest.log_time};
}

// ---- Behind the end ----

// Looks for batch headers in content_ from `from` on; keeps the furthest claim. Only records that
// stand where they say they belong count: bytes inside a command cannot know the directory's id.
void LogRecovery::collect_claims(const SegmentFile& file, uint64_t from) {
  const std::string_view content = content_;
  for (uint64_t at = from; at + kBatchRecordBytes <= content.size(); at += kRecordAlignment) {
    const char* bytes = content.data() + at;
    if (bytes[kRecordTypeAt] != static_cast<char>(RecordType::kBatch)) continue;
    if (get_little_endian<uint64_t>(bytes + kRecordIndexAt) != file.number) continue;
    if (get_little_endian<uint64_t>(bytes + kRecordTermAt) != at) continue;
    RecordView record;
    size_t consumed = 0;
    BatchHeader header;
    if (read_record(content.substr(at, kBatchRecordBytes), record, consumed) != RecordStatus::kOk ||
        !to_batch_header(record, header) || header.proven > header.own) {
      continue;
    }
    if (header.directory_id != expected_.directory_id) continue;
    see_header(header.own, header.hard_state);
    if (header.proven > claim_.proven) claim_ = {header.proven, file.name, at};
  }
}

void LogRecovery::cut(const SegmentFile& file, uint64_t offset, uint64_t bytes) {
  result_.torn_bytes += bytes;
  if (!result_.message.empty()) result_.message += "; ";
  result_.message +=
      fmt::format("cut {} bytes of an unfinished write at {} offset {}, after index {}", bytes,
                  file.name, offset, last_.index.value());
}

// Everything behind the last valid batch: zeros, an unfinished write, or damage.
bool LogRecovery::judge_rest(LogTail& tail) {
  tail.end = end_;
  tail.last = last_;
  tail.last_number = files_.empty() ? 0 : files_.back().number;
  tail.first_number = files_.empty() ? 1 : files_[first_].number;
  for (const size_t i : chain_) {
    tail.begun.push_back({files_[i].number, files_[i].header.last.index});
  }
  const size_t first = chain_.empty() ? first_ : chain_.back();
  for (size_t i = first; i < files_.size(); ++i) {
    const SegmentFile& file = files_[i];
    if (file.number != end_.segment) read_range(file, file.size);  // else still in content_
    const uint64_t from = file.number == end_.segment ? end_.offset : 0;
    const uint64_t rest_bytes = used_bytes(std::string_view(content_).substr(from));
    if (rest_bytes > 0) {
      collect_claims(file, from);
      cut(file, from, rest_bytes);
    } else if (file.number == end_.segment) {
      tail.capacity = file.size;
    } else if (i + 1 == files_.size() && file.size == segment_bytes_) {
      tail.has_spare = true;
      --tail.last_number;
    }
  }
  if (claim_.proven <= end_) return true;
  const bool in_last = claim_.proven.segment == end_.segment;
  return damaged(segment_name(claim_.proven.segment), in_last ? end_.offset : 0,
                 fmt::format("invalid, but {} offset {} proves that it was synced", claim_.file,
                             claim_.offset));
}

}  // namespace

Recovered recover_log(Disk& disk, const Identity& expected, uint64_t segment_bytes, LogTail& tail) {
  return LogRecovery(disk, expected, segment_bytes).run(tail);
}

void join_snapshot(const std::string& damage, LogTail& tail, Recovered& result) {
  const EntryMark covered = result.snapshot ? result.snapshot->last : EntryMark{};
  if (tail.repair_owed) {
    if (!damage.empty()) result.message += "; " + damage;
    result.base = covered;
    return;
  }
  if (result.outcome == Recovered::Outcome::kDamaged && !result.repairing) return;
  if (covered.index < result.base.index) {
    result.outcome = Recovered::Outcome::kDamaged;
    result.message = fmt::format(
        "{}: the log begins behind index {}, and no snapshot covers what came before{}{}; {}",
        tail.first_number > 1 ? segment_name(tail.first_number - 1) + " is missing"
                              : snapshot_name(result.base.index) + " is missing",
        result.base.index.value(), damage.empty() ? "" : ": ", damage, kRepaired);
    // The log itself is sound, term and vote with it.
    result.repairing = true;
    result.base = covered;
    result.entries.clear();
    result.torn_bytes = 0;
    const uint64_t last_number = tail.last_number + (tail.has_spare ? 1 : 0);
    for (uint64_t number = tail.first_number; number <= last_number; ++number) {
      tail.obsolete.push_back(number);
    }
    LogTail repair;
    repair.repair_owed = true;
    repair.last_number = last_number;
    repair.obsolete = std::move(tail.obsolete);
    tail = std::move(repair);
    return;
  }
  if (!damage.empty()) {
    if (!result.message.empty()) result.message += "; ";
    result.message +=
        fmt::format("using the snapshot up to {}, and the log: {}", covered.index.value(), damage);
  }
  if (!result.snapshot) return;
  if (result.outcome == Recovered::Outcome::kEmpty) {
    result.outcome = Recovered::Outcome::kDamaged;
    result.message =
        fmt::format("a snapshot up to {}, and no log beside it: term and vote are lost; {}",
                    covered.index.value(), kWiped);
    return;
  }
  const LogIndex last = result.base.index + result.entries.size();
  const auto term_at = [&](LogIndex index) {
    return index == result.base.index ? result.base.term
                                      : result.entries[index - result.base.index - 1].term;
  };
  const bool holds = covered.index <= last && term_at(covered.index) == covered.term;
  if (!holds) {
    result.base = covered;
    result.entries.clear();
    tail.reset_owed = true;
  } else if (result.base.index > LogIndex(0) && result.base.term == Term(0)) {
    // Its base is not known by term: it begins behind the snapshot.
    result.entries.erase(
        result.entries.begin(),
        result.entries.begin() + static_cast<std::ptrdiff_t>(covered.index - result.base.index));
    result.base = covered;
  }
}

}  // namespace tally
