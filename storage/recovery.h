// Recovery of the log: reads a data directory and says what it holds, and how far that can be
// trusted. It only reads; nothing on the disk is repaired, renamed or removed here.
//
// The one rule: what some valid header claims to have been synced must be there and valid, else the
// log is damaged. What nothing claims may be an unfinished write: it is cut, and said.
//
// Every batch's header carries term and vote. So the newest valid header tells them, whatever is
// damaged before it, and the node can be repaired. Where something behind it cannot be read, they
// are lost.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/env.h"
#include "core/storage.h"
#include "storage/log_format.h"

namespace tally {

// Where the log goes on. Meaningful after kEmpty and kWhole.
struct LogTail {
  LogPosition end;  // behind the last valid batch; {0, 0} when no segment was begun
  // Size of the file of segment end.segment; 0 when nothing may be written there, because bytes
  // behind `end` are not zero or because there is no segment.
  uint64_t capacity = 0;
  uint64_t last_number = 0;  // highest segment number that is taken, the spare's left out
  // Segments that were begun, in order, and the last entry before each.
  struct Begun {
    uint64_t number = 0;
    LogIndex last_before;
  };
  std::vector<Begun> begun;
  uint64_t first_number = 1;  // lowest one with a file
  EntryMark last;             // of the newest entry that the log itself holds
  bool reset_owed = false;    // the log does not lead to its snapshot: the next write resets it
  bool has_spare = false;     // segment last_number + 1 is there, of the right size and all zeros
  // Damaged, and repairing: the next write begins a new log in a new segment.
  bool repair_owed = false;
  std::vector<uint64_t> obsolete;  // files of damaged logs before; to go when the node is whole
};

// Blocking. `segment_bytes` is the size a spare must have to be used.
Recovered recover_log(Disk& disk, const Identity& expected, uint64_t segment_bytes, LogTail& tail);

// Joins the log with result.snapshot: what the snapshot covers and the log has not, or has
// otherwise, counts as the snapshot's. Damaged when there is a gap between the two. `damage` is
// what is wrong with newer snapshots.
void join_snapshot(const std::string& damage, LogTail& tail, Recovered& result);

}  // namespace tally
