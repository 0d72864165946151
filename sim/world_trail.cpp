// The trail of a run: its digest event by event, and each event in words, for comparing two runs.
#include <fmt/format.h>

#include <utility>

#include "sim/plan.h"
#include "sim/world.h"

namespace tally::sim {
namespace {

std::string_view kind_name(EventKind kind) {
  switch (kind) {
    case EventKind::kStart: return "starts";
    case EventKind::kDeliver: return "receives";
    case EventKind::kTimer: return "timer";
    case EventKind::kWake: return "wakes";
    case EventKind::kDisk: return "disk operation";
    case EventKind::kClientReceive: return "receives";
    case EventKind::kClientBroken: return "connection breaks";
    case EventKind::kClientOperation: return "operation in lane";
    case EventKind::kClientTimer: return "timer";
    case EventKind::kFault: return "begins";
    case EventKind::kFaultStep: return "turns";
    case EventKind::kFaultEnd: return "ends";
    case EventKind::kPhase: return "phase ends";
  }
  return "?";
}

}  // namespace

// Before it is carried out: a message is then still there to look at.
std::string World::describe(const Event& event) const {
  const auto ns = event.at.time_since_epoch().count();
  std::string who = fmt::format("n{}", event.who + 1);
  std::string what(kind_name(event.kind));
  switch (event.kind) {
    case EventKind::kDeliver:
    case EventKind::kClientReceive: {
      const Envelope& envelope = network_.peek(event.a);
      what += " of " + endpoint_text(envelope.from) + ": " + message_text(envelope.message);
      break;
    }
    case EventKind::kDisk: what += fmt::format(" {}", event.a); break;
    case EventKind::kClientBroken: what += fmt::format(" to n{}", event.a); break;
    case EventKind::kClientOperation: what += fmt::format(" {}", event.a); break;
    default: break;
  }
  switch (event.kind) {
    case EventKind::kClientReceive:
    case EventKind::kClientBroken:
    case EventKind::kClientOperation:
    case EventKind::kClientTimer: who = fmt::format("client {}", event.who); break;
    case EventKind::kFault:
    case EventKind::kFaultStep:
    case EventKind::kFaultEnd: who = fault_text(spec_.plan[event.a]); break;
    case EventKind::kPhase: who = "the world"; break;
    default: break;
  }
  return fmt::format("at {} ns: {} {}", ns, who, what);
}

// "trail EVENT DIGEST", with the event in words where every event is asked for.
void World::print_trail() {
  if (described_.empty()) return;
  const std::string described = std::exchange(described_, "");
  const bool each = event_count_ >= spec_.trail_first && event_count_ <= spec_.trail_last;
  if (!each && event_count_ % Digest::kCheckpointInterval != 0) return;
  fmt::print(spec_.trail, "trail {} {:016x}{}{}\n", event_count_, digest_.value(), each ? " " : "",
             each ? described : "");
}

}  // namespace tally::sim
