// Baton: two threads of which one at a time drives a loop. Who drives may go away for a while, to
// wait for a disk for instance; when that takes too long, the other one drives on. So waiting where
// one stands costs no switch of threads as a rule, and still holds nobody up for long.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "core/types.h"

namespace tally {

class Baton {
 public:
  // Who drives is away for at least `patience`, and less than twice that, before the other one
  // takes over.
  explicit Baton(Duration patience) : patience_(patience) {}

  // Calls `turn` again and again, on this thread or another, never on both at once, until it
  // returns false. Returns when nobody is in it any more, nor away.
  void run(const std::function<bool()>& turn);

  // In a turn: does what blocks, on this thread. False when the other one has taken over: then the
  // caller must touch nothing that belongs to the loop, and let its turn end.
  // REQUIRES: may_go().
  bool go(const std::function<void()>& block);
  // In a turn: the other thread is there to take over.
  bool may_go();

 private:
  void drive(const std::function<bool()>& turn);
  void stand_by(std::unique_lock<std::mutex>& lock);

  const Duration patience_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::thread::id driver_;
  bool away_ = false;        // the driver
  uint64_t away_count_ = 0;  // how often it went
  bool standing_by_ = false;
  bool sleeps_ = false;  // who stands by, until somebody goes
  bool ended_ = false;
};

}  // namespace tally
