// A plan in words, for the trace and for stories.
#include <fmt/format.h>

#include <algorithm>

#include "sim/plan.h"

namespace tally::sim {
namespace {

std::string target_text(const Target& target) {
  if (target.has_node()) return fmt::format("n{}", target.node());
  switch (target.role()) {
    case LEADER: return "the leader";
    case FOLLOWER: return "a follower";
    case RANDOM_FOLLOWER: return "a random follower";
    case LEADER_MAJORITY: return "the leader with a quorum";
    case LEADER_MINORITY: return "the leader with less than a quorum";
    case SUBJECT: return "that node";
  }
  return "?";
}

std::string targets_text(const google::protobuf::RepeatedPtrField<Target>& targets) {
  std::string text;
  for (const Target& target : targets) {
    text += (text.empty() ? "" : ", ") + target_text(target);
  }
  return text;
}

std::string lower_case(std::string name) {
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

std::string words(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return lower_case(name);
}

std::string condition_text(const Condition& condition) {
  switch (condition.which_case()) {
    case Condition::kLeaderElected: return "somebody leads";
    case Condition::kNodeLeads: return fmt::format("n{} leads", condition.node_leads());
    case Condition::kUncommittedTail:
      return fmt::format("a leader holds {} uncommitted entries", condition.uncommitted_tail());
    case Condition::kCommitted: return fmt::format("entry {} is committed", condition.committed());
    case Condition::kAppended: {
      const Appended& appended = condition.appended();
      return fmt::format("{} holds entry {}, not committed",
                         appended.has_node() ? fmt::format("n{}", appended.node()) : "a node",
                         appended.index());
    }
    case Condition::kNote: {
      const NoteSeen& note = condition.note();
      std::string text =
          fmt::format("{} notes {}", note.has_node() ? fmt::format("n{}", note.node()) : "a node",
                      words(note.name()));
      return note.count() > 1 ? text + fmt::format(" (time {})", note.count()) : text;
    }
    case Condition::WHICH_NOT_SET: break;
  }
  return "?";
}

// "the next 2 vote replies n2 to n3 are lost"
std::string messages_text(const Fault& fault) {
  std::string types;
  for (const int type : fault.message()) {
    types += (types.empty() ? "" : ", ") + words(MessageType_Name(MessageType(type)));
  }
  std::string text = fault.has_count() ? fmt::format("the next {} of ", fault.count()) : "all ";
  text += (types.empty() ? "messages" : types) + " from ";
  text += fault.target_size() > 0 ? targets_text(fault.target()) : "anyone";
  text += " to " + (fault.peer_size() > 0 ? targets_text(fault.peer()) : "anyone");
  switch (fault.effect()) {
    case NoiseEvent::LOSE: return text + " are lost";
    case NoiseEvent::DELAY: return text + fmt::format(" come {} ms late", fault.by_ms());
    default: return text + fmt::format(" come again {} ms later", fault.by_ms());
  }
}

std::string bounds_text(const ClientOperation& operation) {
  std::string text;
  if (operation.has_lower()) text += fmt::format(", not below {}", operation.lower());
  if (operation.has_upper()) text += fmt::format(", not above {}", operation.upper());
  return text;
}

bool cuts_off(FaultKind kind) {
  return kind == PARTITION || kind == ISOLATE_LEADER || kind == ONE_WAY || kind == BRIDGE ||
         kind == RING || kind == FLAP || kind == SLOW_LINK || kind == RESET_LINKS;
}

// What the fault does, as one would ask for it.
std::string deed_text(const Fault& fault) {
  const std::string target = targets_text(fault.target());
  const std::string peer = fault.peer_size() > 0 ? targets_text(fault.peer()) : "the rest";
  switch (fault.kind()) {
    case PARTITION: return fmt::format("cut {} off from {}", target, peer);
    case ISOLATE_LEADER: return fmt::format("isolate {} from {}", target, peer);
    case ONE_WAY: return fmt::format("lose all that {} send to {}", target, peer);
    case BRIDGE: return fmt::format("cut {} off from all but {}", peer, target);
    case RING: return "let each node hear only the two next to it";
    case FLAP:
      return fmt::format("cut {} off from {} and back every {} ms", target, peer,
                         fault.period_ms());
    case CRASH: return "crash " + target;
    case CRASH_ALL: return "crash all nodes";
    case CRASH_POINT:
      return fmt::format("crash {} at its next {}", target, words(CrashPoint_Name(fault.point())));
    case KILL: return "kill " + target;
    case PAUSE: return "pause " + target;
    case CLOCK_JUMP:
      return fmt::format("set the clock of {} forward by {} ms", target, fault.by_ms());
    case SLOW_DISK: return fmt::format("slow the disk of {} by factor {}", target, fault.factor());
    case SLOW_LINK:
      return fmt::format("delay messages of {} to {} by {} ms", target, peer, fault.by_ms());
    case RESET_LINKS: return fmt::format("lose what is under way between {} and {}", target, peer);
    case DISK_STALL: return "hang the disk of " + target;
    case SYNC_FAILS: return fmt::format("let the next sync of {} fail", target);
    case DISK_FULL:
      return fmt::format("fill the disk of {} but for {} bytes", target, fault.room_bytes());
    case BIT_ROT: return fmt::format("flip a bit on the disk of {}", target);
    case MISDIRECTED_WRITE: return fmt::format("put a write of {} in the wrong place", target);
    case READ_ERROR: return fmt::format("make a sector of {} unreadable", target);
    case WIPE: return fmt::format("crash {} and wipe its disk", target);
    case TRANSFER: return "ask the leader to hand over to " + target;
    case TAKE_SNAPSHOT: return fmt::format("ask {} for a snapshot", target);
    case MESSAGES: return messages_text(fault);
  }
  return fault_name(fault.kind());
}

}  // namespace

std::string trigger_text(const Trigger& trigger) {
  if (trigger.has_at_ms()) return fmt::format("at {} ms", trigger.at_ms());
  std::string text = "as soon as " + condition_text(trigger.when());
  return trigger.after_ms() > 0 ? text + fmt::format(", {} ms later", trigger.after_ms()) : text;
}

std::string fault_name(FaultKind kind) { return lower_case(FaultKind_Name(kind)); }

std::string group_name(Group group) { return lower_case(Group_Name(group)); }

std::string fault_text(const Fault& fault) {
  std::string text = fmt::format("fault {}: {}", fault.id(), deed_text(fault));
  if (cuts_off(fault.kind()) && fault.clients()) text += ", and from clients";
  if (fault.has_ordinal()) text += fmt::format(" number {}", fault.ordinal());
  if (fault.restart()) text += " and crash it";
  if (!has_end(fault) || !fault.has_duration_ms()) return text;
  if (fault.duration_ms() == 0)
    return text + (takes_down(fault) ? ", back" : ", over") + " at once";
  return text + fmt::format(" for {} ms", fault.duration_ms());
}

std::string noise_text(const NoiseEvent& noise) {
  const auto effect = [&] {
    switch (noise.effect()) {
      case NoiseEvent::LOSE: return "is lost";
      case NoiseEvent::DELAY: return "takes long";
      case NoiseEvent::DUPLICATE: return "arrives twice";
      case NoiseEvent::REPLAY: return "arrives once more, very late";
      case NoiseEvent::CORRUPT: return "is corrupted on the wire";
    }
    return "?";
  };
  const auto node = [](int64_t number) { return fmt::format("n{}", number); };
  const std::string client = fmt::format("client {}", noise.client());
  std::string type = noise.has_message() ? words(MessageType_Name(noise.message())) : "message";
  if (noise.has_client()) type = noise.has_to() ? "request" : "answer";
  const std::string which = noise.at_us() > 0 && noise.ordinal() == 1
                                ? "the next " + type
                                : fmt::format("{} {}", type, noise.ordinal());
  const std::string from =
      noise.at_us() > 0 ? fmt::format("from {} ms on, ", noise.at_us() / 1000) : "";
  return fmt::format("{}{} of {} to {} {}", from, which,
                     noise.has_from() ? node(noise.from()) : client,
                     noise.has_to() ? node(noise.to()) : client, effect());
}

std::string operation_text(const ClientOperation& operation) {
  if (operation.get()) {
    return fmt::format("client {} reads {}", operation.client(), operation.counter());
  }
  return fmt::format("client {} increments {} by {}{}", operation.client(), operation.counter(),
                     operation.add(), bounds_text(operation));
}

std::string operation_name(const ClientOperation& operation) {
  if (operation.get()) {
    return fmt::format("client {}'s get of {}", operation.client(), operation.counter());
  }
  return fmt::format("client {}'s increment of {} by {}{}", operation.client(), operation.counter(),
                     operation.add(), bounds_text(operation));
}

}  // namespace tally::sim
