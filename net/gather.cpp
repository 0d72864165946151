#include "net/gather.h"

#include <algorithm>
#include <utility>

namespace tally {
namespace {

// A commit is quicker as a rule; with every processor busy it takes longer than a half.
constexpr Duration kGatherMax = std::chrono::milliseconds(2);
constexpr size_t kConnectionsMax = 24;
// Who came back in none of so many batches is waited for in one of so many.
constexpr uint64_t kMissedMax = 8;
constexpr uint64_t kSkippedMax = 64;

}  // namespace

void Gather::on_turn(const Turn& turn) {
  const bool grew = std::exchange(last_, turn.last) != turn.last;
  const uint64_t committed_count = turn.committed - std::exchange(committed_, turn.committed);
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
  // One alone need not wait for others.
  if (batch_began == kNever || committed_count < 2 || keeps()) return;
  if (turn.answered_count > kConnectionsMax || !is_worth_waiting()) return;
  wanted_ = committed_count;
  keeps_until_ = turn.ended + std::min(turn.began - batch_began, kGatherMax);
}

bool Gather::is_worth_waiting() {
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
