// What led to what: the happens-before order of a run, and the narrated lines that stand in it.
//
// One event comes after another when it was scheduled in it (a message sent, a disk write begun, a
// timer set), or when it comes next on the same machine or client. A fault is an event of all the
// machines it acts on. Recorded beside a run; it steers nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/event_queue.h"

namespace tally::sim {

class Story {
 public:
  struct Line {
    uint64_t event = 0;
    VirtualTime at;
    std::string who;
    std::string text;
    bool is_fault = false;  // or chance: where a story begins
  };

  // Endpoints: machines from 0, then clients.
  explicit Story(uint32_t machine_count, uint32_t client_count);

  // The next event of the run, pushed in event `origin` (0: before the first one).
  void begin_event(const Event& event, uint64_t origin);
  // The event acts on this machine, too.
  void touch(uint32_t machine);
  void add_line(VirtualTime at, std::string_view who, std::string_view text, bool is_fault);

  // The lines of all that happened before these events, and of themselves, in order.
  std::vector<Line> past_of(const std::vector<uint64_t>& events) const;
  // The last event of the client at this time; 0: none.
  uint64_t client_event_at(uint32_t client, VirtualTime at) const;
  // The events with a line that holds this text.
  std::vector<uint64_t> events_that_tell(std::string_view text) const;
  // Of each machine and client.
  const std::vector<uint64_t>& last_events() const { return last_; }
  uint64_t event_count() const { return happened_.size(); }

 private:
  struct Happened {
    VirtualTime at;
    uint32_t endpoint = 0;
    std::vector<uint64_t> before;  // direct causes
    std::vector<Line> lines;
  };

  void follow(uint32_t endpoint);

  const uint32_t machine_count_;
  std::vector<Happened> happened_;  // by event number, from 1
  std::vector<uint64_t> last_;      // by endpoint: its last event
};

}  // namespace tally::sim
