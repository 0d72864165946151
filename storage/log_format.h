// The log's byte layout: names of segment files, and the five record types that belong to it
// (kSegment, kBatch, kHardState, kReset, kWhole) on top of core/record.h. storage/README.md has it
// byte for byte.
//
// The writer, recovery, the simulator's oracles and any dump tool all read and write through here;
// there is no second parser. Nothing here touches a disk, and nothing trusts a byte that it reads.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/record.h"
#include "core/storage.h"

namespace tally {

inline constexpr uint64_t kLogFormatVersion = 5;
// No segment file is ever shorter: it is filled and synced before it gets its name.
inline constexpr uint64_t kSegmentBytesMin = 1024;
inline constexpr size_t kSegmentRecordBytes = record_bytes(112);
inline constexpr size_t kBatchRecordBytes = record_bytes(40);
inline constexpr size_t kHardStateRecordBytes = record_bytes(0);
inline constexpr size_t kResetRecordBytes = record_bytes(0);
inline constexpr size_t kWholeRecordBytes = record_bytes(0);

// A byte in the log. Segments count from 1; segment 0 stands before the first one.
struct LogPosition {
  uint64_t segment = 0;
  uint64_t offset = 0;

  friend auto operator<=>(const LogPosition&, const LogPosition&) = default;
};

// The first record of a segment file: kSegment. Written in one write with the segment's first
// batch, after everything up to `previous_end` was synced.
struct SegmentHeader {
  uint64_t number = 0;       // the same as in the file's name
  Identity identity;         // the same in every segment of a directory
  LogPosition previous_end;  // where the log goes on into this segment; {0, 0} in the first one
  HardState hard_state;      // as of previous_end
  EntryMark last;            // the last entry as of previous_end
  uint64_t file_bytes = 0;   // the file was filled with so many zeros; it never gets shorter
  // The log begins anew with this segment, behind `last`; files before it belong to a damaged one
  // and count no more. previous_end is {0, 0}. The node is under repair until a kWhole record.
  bool begins_repair = false;
};

// The first record of a batch: kBatch. A batch is applied whole or not at all.
struct BatchHeader {
  LogPosition own;            // where this record stands; a copy elsewhere is no batch
  uint64_t directory_id = 0;  // so that bytes inside a command cannot pass for a batch
  LogPosition proven;         // everything before was synced before this batch was written
  uint64_t body_bytes = 0;    // the records that follow: an optional kHardState, an optional
                              // kReset, an optional kWhole, then entries
  HardState hard_state;       // as of the batch's end; so the newest header alone tells it
};

std::string segment_name(uint64_t number);            // "wal-0000000000000001"
std::string segment_temporary_name(uint64_t number);  // "wal-0000000000000001.new"
// The number in a segment file's name; nothing for every other name, the temporary one included.
std::optional<uint64_t> segment_number(std::string_view name);

void append_segment_record(const SegmentHeader& header, std::string& out);
void append_batch_record(const BatchHeader& header, std::string& out);
void append_hard_state_record(const HardState& hard_state, std::string& out);
void append_whole_record(std::string& out);
void append_reset_record(const EntryMark& base, std::string& out);

// Each is true when `record` is of that type and shape; then the second argument is set.
bool to_segment_header(const RecordView& record, SegmentHeader& header);
bool to_batch_header(const RecordView& record, BatchHeader& header);
bool to_hard_state(const RecordView& record, HardState& hard_state);
bool to_reset(const RecordView& record, EntryMark& base);
// The repair that the log began with is complete.
bool is_whole_mark(const RecordView& record);
// The format version a kSegment record carries, this one or a later one; 0 when it is none.
uint64_t segment_format_version(const RecordView& record);

// Calls visit(offset, record) -> bool for each valid record in `bytes`, which start at a record's
// boundary: a whole segment file, or what one disk write of the log put there. Ends at the first
// byte that is no valid record, or when `visit` returns false. Returns where it ended.
template <class Visitor>
size_t for_each_record(std::string_view bytes, Visitor&& visit) {
  size_t offset = 0;
  while (offset < bytes.size()) {
    RecordView record;
    size_t consumed = 0;
    if (read_record(bytes.substr(offset), record, consumed) != RecordStatus::kOk) break;
    if (!visit(offset, record)) break;
    offset += consumed;
  }
  return offset;
}

}  // namespace tally
