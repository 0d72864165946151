// The running digest of a run: 64 bits over everything that happened, in order.
//
// Words are folded as explicit little-endian bytes; the same seed gives the same digest in every
// build and on every machine. Checkpoints let two runs be compared without their traces, and marks,
// 16 bits of the digest after each event, say in which event they part: a digest that differs once
// stays different, so the first mark that differs is that event's. (By chance, once in 65536 times,
// the first one is equal; then it is the next event's.)
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/message.h"

namespace tally::sim {

class Digest {
 public:
  static constexpr uint64_t kCheckpointInterval = 64;  // events
  static constexpr size_t kMarkCountMax = 100'000;     // later events have none

  void fold(uint64_t word) {
    if (used_ == words_.size()) flush();
    words_[used_++] = word;
  }
  void fold(std::string_view bytes) { fold(XXH3_64bits(bytes.data(), bytes.size())); }
  void fold(const Message& message);  // every field

  // Closes event number `event`.
  void end_event(uint64_t event) {
    flush();
    if (event % kCheckpointInterval == 0) checkpoints_.push_back(value_);
    if (marks_.size() < kMarkCountMax) marks_.push_back(static_cast<uint16_t>(value_));
  }
  uint64_t value() const { return value_; }
  const std::vector<uint64_t>& checkpoints() const { return checkpoints_; }
  const std::vector<uint16_t>& marks() const { return marks_; }

 private:
  void flush() {
    std::array<unsigned char, 32 * 8> bytes;
    for (size_t i = 0; i < used_; ++i) {
      for (size_t byte = 0; byte < 8; ++byte) {
        bytes[i * 8 + byte] = static_cast<unsigned char>(words_[i] >> (8 * byte));
      }
    }
    value_ = XXH3_64bits_withSeed(bytes.data(), used_ * 8, value_);
    used_ = 0;
  }

  uint64_t value_ = 0;
  size_t used_ = 0;
  std::array<uint64_t, 32> words_;
  std::vector<uint64_t> checkpoints_;
  std::vector<uint16_t> marks_;
};

}  // namespace tally::sim
