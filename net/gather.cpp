#include "net/gather.h"

#include <algorithm>
#include <utility>

namespace tally {
namespace {

// Of each of the two waits. A commit is quicker as a rule; a half of it was too short where every
// processor was busy.
constexpr Duration kGatherMax = std::chrono::milliseconds(2);
constexpr size_t kAnsweredMax = 24;
// Who came back in none of so many batches is waited for in one of so many.
constexpr uint64_t kMissedMax = 8;
constexpr uint64_t kSkippedMax = 64;

}  // namespace

void Gather::on_turn(const Turn& turn) {
  const bool grew = std::exchange(last_, turn.last) != turn.last;
  const uint64_t applied_count =
      turn.applied_count - std::exchange(applied_count_, turn.applied_count);
  if (!turn.leads) {
    deaf_until_ = Time::min();
    batch_began_ = kNever;
    if (keeps()) keeps_until_ = Time::min();
    return;
  }
  if (turn.committed < turn.last) {
    if (batch_began_ == kNever) batch_began_ = turn.began;
    if (turn.heard && grew) deaf_until_ = turn.ended + kGatherMax;
    return;
  }
  deaf_until_ = Time::min();
  const Time batch_began = std::exchange(batch_began_, kNever);
  // A single increment has nobody to wait for.
  if (batch_began == kNever || applied_count < 2) return;
  if (turn.answered_count == 0 || turn.answered_count > kAnsweredMax || !take_chance()) return;
  wanted_ = applied_count;
  keeps_until_ = turn.ended + std::min(turn.began - batch_began, kGatherMax);
}

bool Gather::take_chance() {
  if (missed_count_ < kMissedMax) return true;
  if (++skipped_count_ < kSkippedMax) return false;
  skipped_count_ = 0;
  return true;
}

void Gather::release(uint64_t kept) {
  missed_count_ = kept >= wanted_ ? 0 : missed_count_ + 1;
  wanted_ = 0;
  keeps_until_ = kNever;
}

}  // namespace tally
