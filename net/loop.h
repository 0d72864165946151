// Loop: one epoll instance and the monotonic clock. The node, its sockets and its disk's
// completions all live on the thread that calls turn().
//
// It refuses to keep timers: each part says when it wants to be looked at next, and the caller
// hands the earliest to turn().
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace tally {

// CLOCK_MONOTONIC.
Time monotonic_now();

// "what: the system's words for errno".
std::string errno_text(std::string_view what);

class Watcher {
 public:
  virtual ~Watcher() = default;
  // `events` as of epoll. May forget itself and others, and be destroyed.
  virtual void on_ready(uint32_t events) = 0;
};

class Loop final : private Watcher {
 public:
  Loop();
  ~Loop() override;
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // From now on `watcher` hears when `fd` is ready for `events` (level-triggered). REQUIRES: not
  // watched; forget() it before it is closed.
  void watch(int fd, uint32_t events, Watcher& watcher);
  void rewatch(int fd, uint32_t events, Watcher& watcher);
  // Nothing more is heard of it, not even what the present turn() has found already.
  void forget(int fd, const Watcher& watcher);

  // Waits until something is ready, or until `deadline`, and tells its watcher. False when nothing
  // was.
  bool turn(Time deadline);
  // Something is ready now; the next turn() tells it.
  bool has_ready() const;

  // From now on a turn of this loop is one of `inner`, too, which can also be turned alone: then
  // what only this one watches is left alone. `inner` outlives this.
  void nest(Loop& inner) { watch(inner.epoll_, EPOLLIN, inner); }

 private:
  // As the inner one of another.
  void on_ready(uint32_t /*events*/) override { turn(Time::min()); }

  int epoll_ = -1;
  std::vector<epoll_event> events_;  // reused
  size_t ready_count_ = 0;           // of the turn under way
};

}  // namespace tally
