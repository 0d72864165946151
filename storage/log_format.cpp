#include "storage/log_format.h"

#include <fmt/format.h>

#include "core/little_endian.h"

namespace tally {
namespace {

constexpr std::string_view kNamePrefix = "wal-";
constexpr size_t kNameDigits = 16;
constexpr size_t kWord = sizeof(uint64_t);

// Payloads are rows of 64-bit words.
template <size_t kCount>
class Words {
 public:
  static constexpr size_t kBytes = kCount * kWord;

  void push(uint64_t value) {
    put_little_endian(value, bytes_ + at_);
    at_ += kWord;
  }
  std::string_view view() const { return {bytes_, kBytes}; }

 private:
  char bytes_[kBytes] = {};
  size_t at_ = 0;
};

using SegmentWords = Words<14>;
using BatchWords = Words<5>;
static_assert(record_bytes(SegmentWords::kBytes) == kSegmentRecordBytes);
static_assert(record_bytes(BatchWords::kBytes) == kBatchRecordBytes);

uint64_t word(std::string_view payload, size_t position) {
  return get_little_endian<uint64_t>(payload.data() + position * kWord);
}

}  // namespace

std::string segment_name(uint64_t number) { return fmt::format("wal-{:016x}", number); }

std::string segment_temporary_name(uint64_t number) {
  return fmt::format("wal-{:016x}.new", number);
}

std::optional<uint64_t> segment_number(std::string_view name) {
  if (name.size() != kNamePrefix.size() + kNameDigits) return std::nullopt;
  if (name.substr(0, kNamePrefix.size()) != kNamePrefix) return std::nullopt;
  uint64_t number = 0;
  for (const char digit : name.substr(kNamePrefix.size())) {
    const bool decimal = digit >= '0' && digit <= '9';
    if (!decimal && !(digit >= 'a' && digit <= 'f')) return std::nullopt;
    const int value = decimal ? digit - '0' : digit - 'a' + 10;
    number = number << 4 | static_cast<uint64_t>(value);
  }
  if (number == 0) return std::nullopt;
  return number;
}

void append_segment_record(const SegmentHeader& header, std::string& out) {
  SegmentWords words;
  words.push(kLogFormatVersion);
  words.push(header.identity.cluster_id);
  words.push(header.identity.group_id);
  words.push(header.identity.node_id.value());
  words.push(header.identity.directory_id);
  words.push(header.previous_end.segment);
  words.push(header.previous_end.offset);
  words.push(header.hard_state.term.value());
  words.push(header.hard_state.voted_for.value());
  words.push(header.last.index.value());
  words.push(header.last.term.value());
  words.push(header.last.log_time.value());
  words.push(header.file_bytes);
  words.push(header.begins_repair ? 1 : 0);
  RecordView record;
  record.type = RecordType::kSegment;
  record.index = header.number;
  record.payload = words.view();
  append_record(record, out);
}

void append_batch_record(const BatchHeader& header, std::string& out) {
  BatchWords words;
  words.push(header.body_bytes);
  words.push(header.proven.segment);
  words.push(header.proven.offset);
  words.push(header.hard_state.term.value());
  words.push(header.hard_state.voted_for.value());
  RecordView record;
  record.type = RecordType::kBatch;
  record.index = header.own.segment;
  record.term = header.own.offset;
  record.log_time_ns = header.directory_id;
  record.payload = words.view();
  append_record(record, out);
}

void append_hard_state_record(const HardState& hard_state, std::string& out) {
  RecordView record;
  record.type = RecordType::kHardState;
  record.index = hard_state.voted_for.value();
  record.term = hard_state.term.value();
  append_record(record, out);
}

void append_whole_record(std::string& out) {
  RecordView record;
  record.type = RecordType::kWhole;
  append_record(record, out);
}

void append_reset_record(const EntryMark& base, std::string& out) {
  RecordView record;
  record.type = RecordType::kReset;
  record.index = base.index.value();
  record.term = base.term.value();
  record.log_time_ns = base.log_time.value();
  append_record(record, out);
}

bool is_whole_mark(const RecordView& record) {
  return record.type == RecordType::kWhole && record.index == 0 && record.term == 0 &&
         record.log_time_ns == 0 && record.payload.empty();
}

uint64_t segment_format_version(const RecordView& record) {
  if (record.type != RecordType::kSegment || record.payload.size() < kWord) return 0;
  return word(record.payload, 0);
}

bool to_segment_header(const RecordView& record, SegmentHeader& header) {
  if (segment_format_version(record) != kLogFormatVersion) return false;
  if (record.payload.size() != SegmentWords::kBytes) return false;
  if (record.term != 0 || record.log_time_ns != 0) return false;
  header.number = record.index;
  header.identity.cluster_id = word(record.payload, 1);
  header.identity.group_id = word(record.payload, 2);
  header.identity.node_id = NodeId(word(record.payload, 3));
  header.identity.directory_id = word(record.payload, 4);
  header.previous_end.segment = word(record.payload, 5);
  header.previous_end.offset = word(record.payload, 6);
  header.hard_state.term = Term(word(record.payload, 7));
  header.hard_state.voted_for = NodeId(word(record.payload, 8));
  header.last.index = LogIndex(word(record.payload, 9));
  header.last.term = Term(word(record.payload, 10));
  header.last.log_time = LogTime(word(record.payload, 11));
  header.file_bytes = word(record.payload, 12);
  header.begins_repair = word(record.payload, 13) == 1;
  return word(record.payload, 13) <= 1;
}

bool to_batch_header(const RecordView& record, BatchHeader& header) {
  if (record.type != RecordType::kBatch) return false;
  if (record.payload.size() != BatchWords::kBytes) return false;
  header.own.segment = record.index;
  header.own.offset = record.term;
  header.directory_id = record.log_time_ns;
  header.body_bytes = word(record.payload, 0);
  header.proven.segment = word(record.payload, 1);
  header.proven.offset = word(record.payload, 2);
  header.hard_state.term = Term(word(record.payload, 3));
  header.hard_state.voted_for = NodeId(word(record.payload, 4));
  return true;
}

bool to_hard_state(const RecordView& record, HardState& hard_state) {
  if (record.type != RecordType::kHardState) return false;
  if (record.log_time_ns != 0 || !record.payload.empty()) return false;
  hard_state.voted_for = NodeId(record.index);
  hard_state.term = Term(record.term);
  return true;
}

bool to_reset(const RecordView& record, EntryMark& base) {
  if (record.type != RecordType::kReset || !record.payload.empty()) return false;
  base = {LogIndex(record.index), Term(record.term), LogTime(record.log_time_ns)};
  return true;
}

}  // namespace tally
