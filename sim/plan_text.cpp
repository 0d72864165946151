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

}  // namespace

std::string trigger_text(const Trigger& trigger) {
  if (trigger.has_at_ms()) return fmt::format("at {} ms", trigger.at_ms());
  std::string text = "as soon as " + condition_text(trigger.when());
  return trigger.after_ms() > 0 ? text + fmt::format(", {} ms later", trigger.after_ms()) : text;
}

std::string fault_name(FaultKind kind) { return lower_case(FaultKind_Name(kind)); }

std::string group_name(Group group) { return lower_case(Group_Name(group)); }

std::string fault_text(const Fault& fault) {
  std::string text = fmt::format("fault {}: {}", fault.id(), fault_name(fault.kind()));
  if (fault.kind() == MESSAGES) {
    text = fmt::format("fault {}: {}", fault.id(), messages_text(fault));
    return fault.has_duration_ms() ? text + fmt::format(", for {} ms", fault.duration_ms()) : text;
  }
  if (fault.target_size() > 0) text += " " + targets_text(fault.target());
  if (fault.peer_size() > 0) text += " / " + targets_text(fault.peer());
  if (fault.clients()) text += " and clients";
  if (fault.has_point()) text += " at " + CrashPoint_Name(fault.point());
  if (fault.has_ordinal()) text += fmt::format(" number {}", fault.ordinal());
  if (fault.has_factor()) text += fmt::format(" by factor {}", fault.factor());
  if (fault.has_by_ms()) text += fmt::format(" by {} ms", fault.by_ms());
  if (fault.has_period_ms()) text += fmt::format(" every {} ms", fault.period_ms());
  if (fault.kind() == DISK_FULL) text += fmt::format(" but for {} bytes", fault.room_bytes());
  if (fault.restart()) text += " and a crash";
  if (!has_end(fault)) return text;
  if (fault.has_duration_ms()) text += fmt::format(" for {} ms", fault.duration_ms());
  return text;
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
  std::string text = fmt::format("client {} increments {} by {}", operation.client(),
                                 operation.counter(), operation.add());
  if (operation.has_lower()) text += fmt::format(", not below {}", operation.lower());
  if (operation.has_upper()) text += fmt::format(", not above {}", operation.upper());
  return text;
}

}  // namespace tally::sim
