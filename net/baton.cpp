#include "net/baton.h"

#include "core/check.h"

namespace tally {

void Baton::run(const std::function<bool()>& turn) {
  driver_ = std::this_thread::get_id();
  std::thread other([&] { drive(turn); });
  drive(turn);
  other.join();
}

void Baton::drive(const std::function<bool()>& turn) {
  const std::thread::id self = std::this_thread::get_id();
  std::unique_lock lock(mutex_);
  while (!ended_) {
    if (driver_ != self) {
      stand_by(lock);
      continue;
    }
    lock.unlock();
    const bool goes_on = turn();
    lock.lock();
    if (driver_ != self || goes_on) continue;
    ended_ = true;
    changed_.notify_all();
  }
}

void Baton::stand_by(std::unique_lock<std::mutex>& lock) {
  standing_by_ = true;
  const uint64_t before = away_count_;
  const bool was_away = away_;
  changed_.wait_for(lock, patience_, [&] { return ended_; });
  if (was_away && away_ && away_count_ == before) {
    // Still on the same way.
    driver_ = std::this_thread::get_id();
    away_ = false;
  } else if (away_count_ == before) {
    sleeps_ = true;
    changed_.wait(lock, [&] { return ended_ || away_; });
    sleeps_ = false;
  }
  standing_by_ = false;
}

bool Baton::may_go() {
  const std::lock_guard lock(mutex_);
  return standing_by_;
}

bool Baton::go(const std::function<void()>& block) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    CHECK(standing_by_ && !away_);
    away_ = true;
    ++away_count_;
    wake = sleeps_;
  }
  if (wake) changed_.notify_all();
  block();
  const std::lock_guard lock(mutex_);
  if (driver_ != std::this_thread::get_id()) return false;
  away_ = false;
  return true;
}

}  // namespace tally
