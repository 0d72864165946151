// The event queue: virtual time and the total order of everything that happens in a run.
//
// Events are ordered by (time, order of insertion); nothing else ever breaks a tie. Events are
// plain values; what they carry lies elsewhere, named by `a` and `b`.
#pragma once

#include <cstdint>
#include <vector>

#include "core/check.h"
#include "core/types.h"

namespace tally::sim {

// The one true time of the simulated world, from 0. Nodes never see it.
struct VirtualClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  static constexpr bool is_steady = true;
};
using VirtualTime = std::chrono::time_point<VirtualClock, Duration>;

// What stands for the ordinal in the key of a draw of Stream::kNetwork, kDisk and kGrouping:
// itself, or the stretch of `steady_ms` that it comes in, which stays when others are left out.
inline uint64_t draw_key(int64_t steady_ms, VirtualTime now, uint64_t ordinal) {
  if (steady_ms == 0) return ordinal;
  return static_cast<uint64_t>(now.time_since_epoch() / std::chrono::milliseconds(steady_ms));
}

enum class EventKind : uint8_t {
  kStart = 1,        // who: node
  kDeliver,          // who: node; a: message slot
  kTimer,            // who: node; a: timer generation
  kWake,             // who: node; a: incarnation
  kDisk,             // who: node; a: disk operation
  kClientReceive,    // who: client; a: message slot
  kClientBroken,     // who: client; a: node
  kClientOperation,  // who: client; a: lane
  kClientTimer,      // who: client; a: timer generation
  kFault,            // a: position in the plan
  kFaultStep,        // a: position in the plan; a flap turns
  kFaultEnd,         // a: position in the plan
  kPhase,            // a: Phase that begins
};

struct Event {
  VirtualTime at;
  uint64_t order = 0;
  EventKind kind = EventKind::kStart;
  uint32_t who = 0;
  uint64_t a = 0;
};

class EventQueue {
 public:
  VirtualTime now() const { return now_; }
  bool empty() const { return heap_.empty(); }
  size_t size() const { return heap_.size(); }

  // REQUIRES: at >= now()
  void push(VirtualTime at, EventKind kind, uint32_t who, uint64_t a = 0) {
    CHECK(at >= now_);
    heap_.push_back(Event{at, ++pushed_, kind, who, a});
    if (remembers_) origins_.push_back(current_);
    size_t child = heap_.size() - 1;
    const Event event = heap_[child];
    while (child > 0) {
      const size_t parent = (child - 1) / kArity;
      if (!before(event, heap_[parent])) break;
      heap_[child] = heap_[parent];
      child = parent;
    }
    heap_[child] = event;
  }

  // From now on remembers in which event each one was pushed. REQUIRES: nothing was pushed yet
  void remember_origins() { remembers_ = true; }
  // The number of the event being carried out.
  void set_current(uint64_t number) { current_ = number; }
  // REQUIRES: origins are remembered.
  uint64_t origin_of(const Event& event) const { return origins_[event.order - 1]; }

  // Takes the next event and moves the time to it. REQUIRES: !empty()
  Event pop() {
    const Event top = heap_.front();
    const Event last = heap_.back();
    heap_.pop_back();
    if (!heap_.empty()) sift_down(last);
    now_ = top.at;
    return top;
  }

 private:
  static constexpr size_t kArity = 4;

  static bool before(const Event& a, const Event& b) {
    return a.at != b.at ? a.at < b.at : a.order < b.order;
  }

  void sift_down(const Event& event) {
    const size_t count = heap_.size();
    size_t parent = 0;
    for (;;) {
      const size_t first = parent * kArity + 1;
      if (first >= count) break;
      const size_t end = first + kArity < count ? first + kArity : count;
      size_t least = first;
      for (size_t child = first + 1; child < end; ++child) {
        if (before(heap_[child], heap_[least])) least = child;
      }
      if (!before(heap_[least], event)) break;
      heap_[parent] = heap_[least];
      parent = least;
    }
    heap_[parent] = event;
  }

  VirtualTime now_{};
  uint64_t pushed_ = 0;
  bool remembers_ = false;
  uint64_t current_ = 0;
  std::vector<uint64_t> origins_;  // by order of insertion
  std::vector<Event> heap_;
};

}  // namespace tally::sim
