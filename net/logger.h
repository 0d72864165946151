// Logger: what a node says about itself, a line each on stderr. It never stops a node: a line that
// the other end does not take, because a disk is full or nobody reads, is counted and left out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/types.h"

namespace tally {

// `text` without control characters (as \xNN), so that what others sent cannot look like a line.
std::string printable(std::string_view text);

class Logger {
 public:
  explicit Logger(NodeId id) : id_(id) {}

  // "2026-01-31T12:00:00.000Z info node=1 text"; lines over 4 KiB are cut.
  void line(std::string_view level, std::string_view text);
  // Likewise, of something that others can cause as often as they like: ten at once, then five in a
  // second are told, the rest is counted.
  void event(std::string_view text);

 private:
  void write(std::string_view level, std::string_view text);

  const NodeId id_;
  uint64_t lost_count_ = 0;        // lines that could not be written
  uint64_t untold_count_ = 0;      // events above the rate
  double allowance_ = 10;          // events that may be told now
  Time allowed_at_ = Time::min();  // when that was counted
};

}  // namespace tally
