#include "core/record.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/check.h"
#include "core/little_endian.h"

namespace tally {
namespace {

// Where the fields of the header lie; see the table in record.h.
constexpr size_t kChecksumBytes = 8;
constexpr size_t kPayloadBytesAt = 8;
constexpr size_t kZeroAt = 13;
constexpr size_t kLogTimeAt = 32;

// The stored checksum of the record at `record`. Never 0: zero bytes there mean "no record".
uint64_t record_checksum(const char* record, size_t payload_bytes) {
  const uint64_t hash =
      XXH3_64bits(record + kChecksumBytes, kRecordHeaderBytes - kChecksumBytes + payload_bytes);
  return hash == 0 ? 1 : hash;
}

bool all_zero(std::string_view bytes) {
  for (const char byte : bytes) {
    if (byte != 0) return false;
  }
  return true;
}

}  // namespace

void append_record(const RecordView& record, std::string& out) {
  CHECK(record.payload.size() <= kRecordPayloadBytesMax, "a record's payload of {} bytes",
        record.payload.size());
  char header[kRecordHeaderBytes] = {};
  put_little_endian(static_cast<uint32_t>(record.payload.size()), header + kPayloadBytesAt);
  header[kRecordTypeAt] = static_cast<char>(record.type);
  put_little_endian(record.index, header + kRecordIndexAt);
  put_little_endian(record.term, header + kRecordTermAt);
  put_little_endian(record.log_time_ns, header + kLogTimeAt);

  const size_t start = out.size();
  out.append(header, kRecordHeaderBytes);
  out.append(record.payload);
  // The checksum needs header and payload side by side, so it is computed in place.
  put_little_endian(record_checksum(out.data() + start, record.payload.size()), out.data() + start);
  out.append(record_bytes(record.payload.size()) - kRecordHeaderBytes - record.payload.size(),
             '\0');
}

uint64_t snapshot_hash(uint64_t before, std::string_view piece) {
  return XXH3_64bits_withSeed(piece.data(), piece.size(), before);
}

void append_entry_record(const Entry& entry, std::string& out) {
  append_record({.type = static_cast<RecordType>(entry.type),
                 .index = entry.index.value(),
                 .term = entry.term.value(),
                 .log_time_ns = entry.log_time.value(),
                 .payload = entry.data.view()},
                out);
}

RecordStatus read_record(std::string_view bytes, RecordView& record, size_t& consumed) {
  if (bytes.size() < kChecksumBytes) return RecordStatus::kShort;
  const uint64_t checksum = get_little_endian<uint64_t>(bytes.data());
  if (checksum == 0) return RecordStatus::kEmpty;
  if (bytes.size() < kRecordHeaderBytes) return RecordStatus::kShort;

  const size_t payload_bytes = get_little_endian<uint32_t>(bytes.data() + kPayloadBytesAt);
  if (payload_bytes > kRecordPayloadBytesMax) return RecordStatus::kInvalid;
  const size_t whole_bytes = record_bytes(payload_bytes);
  if (bytes.size() < whole_bytes) return RecordStatus::kShort;
  if (record_checksum(bytes.data(), payload_bytes) != checksum) return RecordStatus::kInvalid;

  const size_t end = kRecordHeaderBytes + payload_bytes;
  if (!all_zero(bytes.substr(kZeroAt, kRecordIndexAt - kZeroAt)) ||
      !all_zero(bytes.substr(end, whole_bytes - end))) {
    return RecordStatus::kInvalid;
  }
  record.type = static_cast<RecordType>(bytes[kRecordTypeAt]);
  record.index = get_little_endian<uint64_t>(bytes.data() + kRecordIndexAt);
  record.term = get_little_endian<uint64_t>(bytes.data() + kRecordTermAt);
  record.log_time_ns = get_little_endian<uint64_t>(bytes.data() + kLogTimeAt);
  record.payload = bytes.substr(kRecordHeaderBytes, payload_bytes);
  consumed = whole_bytes;
  return RecordStatus::kOk;
}

bool to_entry(const RecordView& record, Entry& entry) {
  switch (record.type) {
    case RecordType::kNoop:
    case RecordType::kCommand: break;
    case RecordType::kHardState:
    case RecordType::kBatch:
    case RecordType::kSegment:
    default:  // a byte that is no RecordType at all
      return false;
  }
  entry.index = LogIndex(record.index);
  entry.term = Term(record.term);
  entry.log_time = LogTime(record.log_time_ns);
  entry.type = static_cast<EntryType>(record.type);
  entry.data = Bytes(record.payload);
  return true;
}

}  // namespace tally
