// Gather: lets the increments of many clients share one sync on each node. What a leader does not
// hear or propose at once is one batch with what comes a little later.
//
// While a batch is on its way to a quorum, its leader leaves clients alone, for a moment at most.
// Then those that it answers ask again, one after the other: it hears them, but proposes nothing
// before all have, or before as much time has passed as since all was committed last. Without that,
// the first to come would be a batch of its own, and the others would wait for it. It waits for few
// connections only: each takes its time to ask again, and of many, one half can ask while the
// other's batch is under way.
//
// Clients that do not come back are waited for in vain. When that happens again and again, they are
// waited for only now and then.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace tally {

class Gather {
 public:
  // A turn of the loop, and how the log of this node stands after it.
  struct Turn {
    Time began;
    Time ended;
    bool heard;             // clients were, if they had anything to say
    size_t answered_count;  // connections of clients on which something left, and answers that
                            // others pass on to theirs
    bool leads;             // and is not about to hand over
    LogIndex last;
    LogIndex committed;
    uint64_t applied_count;  // commands, so far
  };
  void on_turn(const Turn& turn);

  // Clients are left alone until then. Time::min(): they need not be.
  Time deaf_until() const { return deaf_until_; }

  // What would change the log is to be kept back, until is_over()...
  bool keeps() const { return wanted_ > 0; }
  bool is_over(Time now, uint64_t kept) const { return kept >= wanted_ || now >= keeps_until_; }
  // ...which is then or earlier; kNever when nothing is.
  Time keeps_until() const { return keeps_until_; }
  // So much was kept, and is proposed now.
  void release(uint64_t kept);

 private:
  bool take_chance();

  Time deaf_until_ = Time::min();
  LogIndex last_;
  uint64_t applied_count_ = 0;
  Time batch_began_ = kNever;  // kNever: all of the log is committed
  uint64_t wanted_ = 0;        // so many are waited for
  Time keeps_until_ = kNever;
  uint64_t missed_count_ = 0;   // how often in a row they did not come
  uint64_t skipped_count_ = 0;  // batches since they were last waited for
};

}  // namespace tally
