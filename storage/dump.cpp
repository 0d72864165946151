#include "storage/dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/record.h"
#include "storage/log_format.h"
#include "storage/snapshot_store.h"

namespace tally {
namespace {

constexpr size_t kTextBytesMax = 48;

// Printable bytes as they are, others as \xNN; the beginning of long ones.
std::string quoted(std::string_view bytes) {
  std::string text = "\"";
  for (const char byte : bytes.substr(0, kTextBytesMax)) {
    const bool plain = byte >= ' ' && byte <= '~' && byte != '"' && byte != '\\';
    text += plain ? std::string(1, byte) : fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
  }
  return text + (bytes.size() > kTextBytesMax ? "\"..." : "\"");
}

std::string hard_state_text(const HardState& state) {
  return fmt::format("term {}, vote for {}", state.term.value(), state.voted_for.value());
}

class Dump {
 public:
  Dump(std::string_view name, std::string_view bytes, Identity& owner)
      : bytes_(bytes),
        owner_(owner),
        directory_id_(owner.directory_id),
        number_(segment_number(name).value_or(0)),
        last_(snapshot_index(name)) {}

  std::string run(size_t& wrong);

 private:
  size_t next_record(size_t from) const;
  void gap(size_t from, size_t to);
  void end();
  void record(size_t at, const RecordView& record);
  std::string describe(size_t at, const RecordView& record);
  std::string describe_segment(size_t at, const SegmentHeader& header);
  std::string describe_batch(size_t at, const BatchHeader& header);
  std::string describe_snapshot(size_t at, const RecordView& record);
  std::string describe_snapshot_header(size_t at, const RecordView& record);
  void check_owner(const Identity& found);
  // Of the record that is being described.
  void blame(std::string what) { blame_ = std::move(what); }

  const std::string_view bytes_;
  Identity& owner_;
  uint64_t directory_id_;               // of this file, or of those before it; 0: not known
  const uint64_t number_;               // of a segment file; 0: another file
  const std::optional<LogIndex> last_;  // of a snapshot file
  size_t batch_end_ = 0;
  uint64_t piece_count_ = 0;
  uint64_t hash_ = 0;
  bool ended_ = false;  // a snapshot's end came
  std::string blame_;
  std::string out_;
  size_t wrong_ = 0;
};

std::string Dump::run(size_t& wrong) {
  size_t at = 0;
  while (at < bytes_.size()) {
    RecordView view;
    size_t consumed = 0;
    if (read_record(bytes_.substr(at), view, consumed) == RecordStatus::kOk) {
      record(at, view);
      at += consumed;
      continue;
    }
    const size_t next = next_record(at + kRecordAlignment);
    gap(at, next);
    at = next;
  }
  end();
  wrong = wrong_;
  return std::move(out_);
}

// Where the next valid record is. Only at places that look like one, so that the time stays linear.
size_t Dump::next_record(size_t from) const {
  for (size_t at = from; at + kRecordHeaderBytes <= bytes_.size(); at += kRecordAlignment) {
    const char* head = bytes_.data() + at;
    const auto type = static_cast<uint8_t>(head[kRecordTypeAt]);
    const bool plausible = type != 0 && type <= static_cast<uint8_t>(RecordType::kWhole) &&
                           head[kRecordTypeAt + 1] == 0 && head[kRecordTypeAt + 2] == 0 &&
                           head[kRecordTypeAt + 3] == 0;
    RecordView view;
    size_t consumed = 0;
    if (plausible && read_record(bytes_.substr(at), view, consumed) == RecordStatus::kOk) return at;
  }
  return bytes_.size();
}

void Dump::gap(size_t from, size_t to) {
  const std::string_view bytes = bytes_.substr(from, to - from);
  const size_t used = bytes.find_last_not_of('\0') + 1;  // npos + 1 is 0
  const bool expected = used == 0 && from >= batch_end_ && !last_;
  if (expected) {
    out_ += fmt::format("{:>9}  {} zeros\n", from, bytes.size());
    return;
  }
  ++wrong_;
  if (used == 0) {
    out_ += fmt::format("!!{:>7}  {} zeros where a record should be\n", from, bytes.size());
    return;
  }
  out_ += fmt::format("!!{:>7}  {} bytes that are no record (damage, or an unfinished write)\n",
                      from, used);
  if (used < bytes.size()) {
    out_ += fmt::format("{:>9}  {} zeros\n", from + used, bytes.size() - used);
  }
}

// A file that was cut at the end.
void Dump::end() {
  std::string_view what;
  if (number_ != 0 && bytes_.size() < kSegmentBytesMin) what = "shorter than any segment";
  if (last_ && !ended_) what = "without the snapshot's end";
  if (what.empty()) return;
  ++wrong_;
  out_ += fmt::format("!!{:>7}  the file ends here, {}\n", bytes_.size(), what);
}

void Dump::check_owner(const Identity& found) {
  directory_id_ = found.directory_id;
  if (owner_.directory_id == 0) owner_ = found;
  if (found == owner_) return;
  std::string_view what = "data directory";
  if (found.node_id != owner_.node_id) what = "node";
  if (found.group_id != owner_.group_id) what = "group";
  if (found.cluster_id != owner_.cluster_id) what = "cluster";
  blame(fmt::format("of another {} than the files before", what));
}

void Dump::record(size_t at, const RecordView& record) {
  blame_.clear();
  const bool inside = at < batch_end_;
  const std::string text = describe(at, record);
  if (blame_.empty()) {
    out_ += fmt::format("{:>9}  {}{}\n", at, inside ? "  " : "", text);
    return;
  }
  ++wrong_;
  out_ += fmt::format("!!{:>7}  {}{}: {}\n", at, inside ? "  " : "", text, blame_);
}

std::string Dump::describe(size_t at, const RecordView& record) {
  SegmentHeader segment;
  BatchHeader batch;
  HardState hard_state;
  EntryMark base;
  const uint64_t version = segment_format_version(record);
  if (version != 0 && version != kLogFormatVersion) {
    blame(fmt::format("log format {}, this program reads {}: dump it by the release that wrote it",
                      version, kLogFormatVersion));
    return fmt::format("segment {:x}", record.index);
  }
  if (to_segment_header(record, segment)) return describe_segment(at, segment);
  if (to_batch_header(record, batch)) return describe_batch(at, batch);
  if (to_hard_state(record, hard_state)) return "hard state: " + hard_state_text(hard_state);
  if (to_reset(record, base)) {
    return fmt::format("reset: the log goes on behind {} of term {}", base.index.value(),
                       base.term.value());
  }
  if (is_whole_mark(record)) return "whole: the repair is complete";
  if (record.type == RecordType::kNoop || record.type == RecordType::kCommand) {
    return fmt::format(
        "entry {}: term {}, log time {}, {}", record.index, record.term, record.log_time_ns,
        record.type == RecordType::kNoop
            ? "no-op"
            : fmt::format("{} bytes {}", record.payload.size(), quoted(record.payload)));
  }
  return describe_snapshot(at, record);
}

std::string Dump::describe_segment(size_t at, const SegmentHeader& header) {
  const Identity& identity = header.identity;
  check_owner(identity);
  if (at == 0 && header.file_bytes > bytes_.size()) {
    blame(fmt::format("the file was cut: it had {} bytes and has {}", header.file_bytes,
                      bytes_.size()));
  }
  if (number_ != 0 && (at != 0 || header.number != number_)) blame("in the wrong place");
  return fmt::format(
      "segment {:x}: cluster {:#x}, group {:#x}, node {}, directory {:#x}; goes on from segment "
      "{:x} "
      "offset {}; {}; last entry {} of term {}; {} bytes{}",
      header.number, identity.cluster_id, identity.group_id, identity.node_id.value(),
      identity.directory_id, header.previous_end.segment, header.previous_end.offset,
      hard_state_text(header.hard_state), header.last.index.value(), header.last.term.value(),
      header.file_bytes, header.begins_repair ? "; begins a repair" : "");
}

std::string Dump::describe_batch(size_t at, const BatchHeader& header) {
  const bool here = header.own.offset == at && (number_ == 0 || header.own.segment == number_);
  if (!here) blame("in the wrong place");
  if (directory_id_ != 0 && header.directory_id != directory_id_) {
    blame(fmt::format("of the data directory {:#x}", header.directory_id));
  }
  if (here) batch_end_ = at + kBatchRecordBytes + header.body_bytes;
  if (here && batch_end_ > bytes_.size()) blame("the file ends before it does");
  return fmt::format(
      "batch at segment {:x} offset {}: {} bytes follow; synced before: segment {:x} offset {}; {}",
      header.own.segment, header.own.offset, header.body_bytes, header.proven.segment,
      header.proven.offset, hard_state_text(header.hard_state));
}

std::string Dump::describe_snapshot(size_t at, const RecordView& record) {
  switch (record.type) {
    case RecordType::kSnapshot: return describe_snapshot_header(at, record);
    case RecordType::kPiece:
      hash_ = snapshot_hash(hash_, record.payload);
      if (record.index != piece_count_ || record.term != hash_) blame("not the piece that follows");
      ++piece_count_;
      return fmt::format("piece {}: {} bytes {}", record.index, record.payload.size(),
                         quoted(record.payload));
    case RecordType::kSnapshotEnd:
      if (record.index != piece_count_ || record.term != hash_) blame("not the end that follows");
      ended_ = true;
      return fmt::format("end of {} pieces with hash {:016x}", record.index, record.term);
    default:
      blame("of no known type or shape");
      return fmt::format("a record of type {} and index {}", static_cast<unsigned>(record.type),
                         record.index);
  }
}

std::string Dump::describe_snapshot_header(size_t at, const RecordView& record) {
  const std::string text = fmt::format("snapshot up to {} of term {}, log time {}", record.index,
                                       record.term, record.log_time_ns);
  SnapshotContent content;
  const std::string error = parse_snapshot_header(record, content);
  if (!error.empty()) {
    blame(error);
    return text;
  }
  const Identity& identity = content.identity;
  check_owner(identity);
  if (at != 0 || (last_ && last_->value() != record.index)) blame("in the wrong place");
  return fmt::format("{}: cluster {:#x}, group {:#x}, node {}, directory {:#x}", text,
                     identity.cluster_id, identity.group_id, identity.node_id.value(),
                     identity.directory_id);
}

}  // namespace

std::string dump_file(std::string_view name, std::string_view bytes, Identity& owner,
                      size_t& wrong) {
  return Dump(name, bytes, owner).run(wrong);
}

}  // namespace tally
