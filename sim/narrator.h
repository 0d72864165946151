// The narrated trace: what happened, in words: time, node, cause -> effect. For people; it steers
// nothing and costs nothing when there is no file to write to.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "core/message.h"
#include "core/note.h"
#include "sim/event_queue.h"
#include "sim/machine.h"
#include "sim/story.h"

namespace tally::sim {

class Narrator {
 public:
  // Null: silent. `story`, unless null, is told every line, too.
  explicit Narrator(std::FILE* file, Story* story = nullptr) : file_(file), story_(story) {}
  bool on() const { return file_ != nullptr || story_ != nullptr; }

  // What the machine's next step comes from; several, when it takes them together. Only when on().
  void cause_message(const Machine& machine, const Envelope& envelope);
  void cause(const Machine& machine, std::string text);
  // It wakes up: the cause, if nothing else was.
  void cause_wake(const Machine& machine);
  // It is down: what it was to take is lost.
  void forget_causes(const Machine& machine);
  // The step they led to: one line, unless there is nothing worth telling.
  void step(VirtualTime at, const Machine& machine);
  // Anything else: faults, phases, clients, verdicts.
  void line(VirtualTime at, std::string_view who, std::string_view text);

 private:
  std::FILE* file_;
  Story* story_;
  std::vector<std::string> causes_;  // by machine; empty: none since its last step
};

std::string endpoint_text(Endpoint endpoint);  // "n1", "client 0"
// "append of n1: term 3, entries 5..7 after 4 (term 2), commit 3"
std::string message_text(const Message& message);

}  // namespace tally::sim
