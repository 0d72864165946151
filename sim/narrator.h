// The narrated trace: what happened, in words: time, node, cause -> effect. For people; it steers
// nothing and costs nothing when there is no file to write to.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

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
  // `late_by`: how long the message was under way, when that is worth telling; else 0.
  void cause_message(const Machine& machine, const Envelope& envelope, Duration late_by);
  void cause(const Machine& machine, std::string text);
  // It wakes up: the cause, if nothing else was.
  void cause_wake(const Machine& machine);
  // It is down: what it was to take is lost.
  void forget_causes(const Machine& machine);
  // The step they led to: one line, unless there is nothing worth telling; `always`: even then.
  void step(VirtualTime at, const Machine& machine, bool always);
  // The step under way never ends, for this reason.
  void step_fails(VirtualTime at, const std::string& why);
  // No step is under way any more.
  void end_event() { acting_ = kNobody; }

  // A client's request, or a node's answer or forwarded request, leaves; others are not told.
  void sent(VirtualTime at, const Envelope& envelope);
  // This message, just sent, never arrives: by chance, or because its link is cut.
  void lost(VirtualTime at, const Envelope& envelope, bool by_chance);
  // It was lost under way, by a link that was cut or reset meanwhile.
  void lost_under_way(VirtualTime at, const Envelope& envelope);
  // A client receives it.
  void client_receives(VirtualTime at, const Envelope& envelope, Duration late_by);

  // Anything else: faults, phases, clients, verdicts.
  // `noise`: chance did it; it counts as a fault.
  void line(VirtualTime at, std::string_view who, std::string_view text, bool noise = false);

 private:
  static constexpr size_t kNobody = ~size_t{0};
  // Of a machine, since its last step.
  struct Pending {
    std::string causes;
    std::string effects;  // what it sent that is worth telling
    bool noise = false;   // chance took some of that
    bool read = false;    // among that is a value of its own state
  };

  Pending& pending(size_t number);
  std::string text_of(const Envelope& envelope) const;
  // The request that this answers; empty: not known.
  std::string request_of(const Envelope& answer) const;
  std::string proposals_text(const Machine& machine, const std::string& causes) const;

  std::FILE* file_;
  Story* story_;
  std::vector<Pending> pending_;  // by machine
  size_t acting_ = kNobody;       // the machine whose step is under way
  // In words, by who asked and the id it gave.
  std::map<std::pair<uint64_t, uint64_t>, std::string> requests_;
};

std::string endpoint_text(Endpoint endpoint);  // "n1", "client 0"
// "append of n1: term 3, entries 5..7 after 4 (term 2), commit 3"
std::string message_text(const Message& message);

}  // namespace tally::sim
