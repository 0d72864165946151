// What is wrong with a fault plan, said by entry and field.
#include <fmt/format.h>

#include <set>
#include <utility>

#include "sim/plan.h"

namespace tally::sim {
namespace {

// With the largest clock offset on top, still far from what 64 bits hold in ns.
constexpr int64_t kJumpsMsMax = 1000 * kPlanMsMax;

// How many targets a kind takes: {least, most}.
std::pair<int, int> target_count(FaultKind kind) {
  switch (kind) {
    case RING:
    case CRASH_ALL: return {0, 0};
    case ISOLATE_LEADER:
    case BRIDGE:
    case CRASH_POINT:
    case TRANSFER: return {1, 1};
    case MESSAGES: return {0, 9};
    default: return {1, 9};
  }
}

// A time in a plan; beyond the bound it would overflow.
PlanError time_error(std::string field, int64_t ms, int64_t least) {
  if (ms >= least && ms <= kPlanMsMax) return {};
  const std::string name = field.substr(field.rfind('.') + 1);
  return {fmt::format("needs {} within {} .. {}, not {}", name, least, kPlanMsMax, ms),
          std::move(field)};
}

PlanError node_error(const std::string& field, int64_t node, const Params& params) {
  if (node >= 1 && node <= params.nodes()) return {};
  return {fmt::format("waits for node {}; the cluster has nodes 1 .. {}", node, params.nodes()),
          field};
}

PlanError note_error(const NoteSeen& note, const Params& params) {
  const std::string field = "trigger.when.note";
  if (!note_named(note.name())) {
    return {fmt::format("waits for '{}', which is no note (core/note.h has them)", note.name()),
            field + ".name"};
  }
  if (note.has_count() && note.count() < 1) {
    return {"waits for a note's count below 1", field + ".count"};
  }
  return note.has_node() ? node_error(field + ".node", note.node(), params) : PlanError();
}

PlanError appended_error(const Appended& appended, const Params& params) {
  const std::string field = "trigger.when.appended";
  if (appended.index() < 1) {
    return {"waits for an entry appended; its index is below 1", field + ".index"};
  }
  return appended.has_node() ? node_error(field + ".node", appended.node(), params) : PlanError();
}

PlanError condition_error(const Condition& condition, const Params& params) {
  const std::string field = "trigger.when";
  switch (condition.which_case()) {
    case Condition::kLeaderElected:
      if (condition.leader_elected()) return {};
      return {"waits for leader_elected: false, which never comes", field + ".leader_elected"};
    case Condition::kNodeLeads:
      return node_error(field + ".node_leads", condition.node_leads(), params);
    case Condition::kUncommittedTail:
      if (condition.uncommitted_tail() >= 1) return {};
      return {"needs an uncommitted_tail of at least 1", field + ".uncommitted_tail"};
    case Condition::kCommitted:
      if (condition.committed() >= 1) return {};
      return {"needs a committed index of at least 1", field + ".committed"};
    case Condition::kAppended: return appended_error(condition.appended(), params);
    case Condition::kNote: return note_error(condition.note(), params);
    case Condition::WHICH_NOT_SET: return {"has an empty condition", field};
  }
  return {};
}

PlanError trigger_error(const Trigger& trigger, const Params& params) {
  if (trigger.has_at_ms() == trigger.has_when()) return {"needs one of at_ms and when", "trigger"};
  PlanError error = time_error("trigger.at_ms", trigger.at_ms(), 0);
  if (error.empty()) error = time_error("trigger.after_ms", trigger.after_ms(), 0);
  if (error.empty()) error = time_error("trigger.deadline_ms", trigger.deadline_ms(), 0);
  if (!error.empty()) return error;
  if (trigger.has_when()) return condition_error(trigger.when(), params);
  if (trigger.has_after_ms() || trigger.has_deadline_ms()) {
    return {"has after_ms or deadline_ms, which belong to a condition (when)",
            trigger.has_after_ms() ? "trigger.after_ms" : "trigger.deadline_ms"};
  }
  if (trigger.at_ms() < params.duration_ms()) return {};
  return {fmt::format("begins at {} ms, after the safety phase ends (duration_ms: {})",
                      trigger.at_ms(), params.duration_ms()),
          "trigger.at_ms"};
}

// A field that this kind does not take would do nothing, silently. Empty when there is none.
std::string misfit(const Fault& fault) {
  const FaultKind kind = fault.kind();
  const bool sides = kind == PARTITION || kind == ONE_WAY || kind == FLAP || kind == BRIDGE ||
                     kind == SLOW_LINK || kind == MESSAGES;
  const bool strikes_a_place = is_damage(kind) && kind != WIPE;
  if (fault.peer_size() > 0 && !sides) return "peer";
  if (fault.has_period_ms() && kind != FLAP) return "period_ms";
  if (fault.has_factor() && kind != SLOW_DISK) return "factor";
  const bool by = kind == CLOCK_JUMP || kind == SLOW_LINK || kind == MESSAGES;
  if (fault.has_by_ms() && !by) return "by_ms";
  if (fault.message_size() > 0 && kind != MESSAGES) return "message";
  if (fault.has_effect() && kind != MESSAGES) return "effect";
  if (fault.has_count() && kind != MESSAGES) return "count";
  if (fault.has_point() && kind != CRASH_POINT) return "point";
  if (fault.has_ordinal() && kind != CRASH_POINT) return "ordinal";
  if (fault.has_room_bytes() && kind != DISK_FULL) return "room_bytes";
  if (strikes_a_place) return {};
  if (fault.has_place()) return "place";
  if (fault.has_file()) return "file";
  return fault.has_restart() ? "restart" : "";
}

// Whether a node can be in both roles whatever happens.
bool overlap(Role a, Role b) {
  const auto has_leader = [](Role role) {
    return role == LEADER || role == LEADER_MAJORITY || role == LEADER_MINORITY;
  };
  // Two draws of followers may differ.
  return (a == b && a != RANDOM_FOLLOWER) || (has_leader(a) && has_leader(b));
}

PlanError role_error(const Fault& fault, const std::string& field, Role role,
                     std::set<Role>& roles) {
  for (const Role other : roles) {
    if (!overlap(role, other)) continue;
    return {role == other ? fmt::format("names {} twice", Role_Name(role))
                          : fmt::format("names {} and {}, which have the leader in common",
                                        Role_Name(other), Role_Name(role)),
            field};
  }
  roles.insert(role);
  const Trigger& trigger = fault.trigger();
  if (role == SUBJECT && (!trigger.has_when() || trigger.when().has_committed())) {
    return {"names SUBJECT, and its trigger does not wait for anything of one node", field};
  }
  return {};
}

// Cutting all nodes off from the rest cuts nothing.
bool leaves_nobody(const Fault& fault, const std::set<int64_t>& nodes, const Params& params) {
  const FaultKind kind = fault.kind();
  const bool from_the_rest =
      kind == PARTITION || kind == ONE_WAY || kind == FLAP || kind == SLOW_LINK;
  return from_the_rest && fault.peer_size() == 0 && !fault.clients() && params.nodes() > 1 &&
         static_cast<int64_t>(nodes.size()) == params.nodes();
}

PlanError targets_error(const Fault& fault, const Params& params) {
  std::set<int64_t> nodes;
  std::set<Role> roles;
  for (const char* side : {"target", "peer"}) {
    const auto& targets = side[0] == 't' ? fault.target() : fault.peer();
    for (int i = 0; i < targets.size(); ++i) {
      const Target& target = targets[i];
      const std::string field = fmt::format("{}[{}]", side, i);
      if (target.which_case() == Target::WHICH_NOT_SET) {
        return {"has a target without node or role", field};
      }
      if (target.has_pick() && (target.role() != RANDOM_FOLLOWER || target.pick() < 0)) {
        return {"has a pick that is below 0, or not of a RANDOM_FOLLOWER", field + ".pick"};
      }
      if (!target.has_node()) {
        PlanError error = role_error(fault, field + ".role", target.role(), roles);
        if (!error.empty()) return error;
        continue;
      }
      if (target.node() < 1 || target.node() > params.nodes()) {
        return {fmt::format("names node {}; the cluster has nodes 1 .. {}", target.node(),
                            params.nodes()),
                field + ".node"};
      }
      if (!nodes.insert(target.node()).second) {
        return {fmt::format("names node {} twice", target.node()), field + ".node"};
      }
    }
  }
  if (!leaves_nobody(fault, nodes, params)) return {};
  return {fmt::format("names all nodes as {}'s targets, which leaves none to part them from",
                      fault_name(fault.kind())),
          "target"};
}

PlanError messages_error(const Fault& fault) {
  if (!fault.has_effect()) return {"has no effect (as in: effect: LOSE)", ""};
  if (fault.has_count() && fault.count() < 1) return {"needs a count of at least 1", "count"};
  std::set<int> types;
  for (int i = 0; i < fault.message_size(); ++i) {
    if (types.insert(fault.message(i)).second) continue;
    return {fmt::format("names {} twice", MessageType_Name(fault.message(i))),
            fmt::format("message[{}]", i)};
  }
  switch (fault.effect()) {
    case NoiseEvent::LOSE:
      if (!fault.has_by_ms()) return {};
      return {"has by_ms, and loses messages", "by_ms"};
    case NoiseEvent::DELAY:
    case NoiseEvent::DUPLICATE: return time_error("by_ms", fault.by_ms(), 1);
    default:
      return {fmt::format("has effect {}; MESSAGES takes LOSE, DELAY and DUPLICATE",
                          NoiseEvent::Effect_Name(fault.effect())),
              "effect"};
  }
}

// The kinds' own numbers.
PlanError amount_error(const Fault& fault) {
  const FaultKind kind = fault.kind();
  PlanError error = time_error("duration_ms", fault.duration_ms(), 0);
  if (error.empty() && kind == FLAP) error = time_error("period_ms", fault.period_ms(), 1);
  const bool needs_by = kind == CLOCK_JUMP || kind == SLOW_LINK;
  if (error.empty() && needs_by) error = time_error("by_ms", fault.by_ms(), 1);
  if (!error.empty()) return error;
  if (fault.clients() && kind != PARTITION && kind != ISOLATE_LEADER) {
    return {
        fmt::format("cuts clients; {} cannot (PARTITION and ISOLATE_LEADER can)", fault_name(kind)),
        "clients"};
  }
  if (kind == SLOW_DISK && (fault.factor() < 1 || fault.factor() > 1'000'000)) {
    return {"needs a factor within 1 .. 1000000", "factor"};
  }
  if (kind == CRASH_POINT && !fault.has_point()) return {"needs a point", ""};
  if (fault.has_ordinal() && fault.ordinal() < 1) {
    return {"needs an ordinal of at least 1", "ordinal"};
  }
  if (kind == DISK_FULL && (fault.room_bytes() < 0 || fault.room_bytes() > 1'000'000'000'000)) {
    return {"needs room_bytes within 0 .. 1000000000000", "room_bytes"};
  }
  return fault.place() < 0 ? PlanError{"has a negative place", "place"} : PlanError();
}

PlanError fault_error(const Fault& fault, const Params& params) {
  if (!fault.has_kind()) return {"has no kind", ""};
  const std::string field = misfit(fault);
  if (!field.empty()) {
    return {fmt::format("has {}, which {} does not take", field, fault_name(fault.kind())), field};
  }
  const auto [least, most] = target_count(fault.kind());
  if (fault.target_size() < least || fault.target_size() > most) {
    return {fmt::format("has {} targets, and {} takes {} to {}", fault.target_size(),
                        fault_name(fault.kind()), least, most),
            "target"};
  }
  if (!fault.has_trigger()) return {"has no trigger (as in: trigger { at_ms: 500 })", ""};
  PlanError error = targets_error(fault, params);
  if (error.empty()) error = trigger_error(fault.trigger(), params);
  if (error.empty() && fault.kind() == MESSAGES) error = messages_error(fault);
  return error.empty() ? amount_error(fault) : error;
}

}  // namespace

PlanError repeat_error(const Fault& fault) {
  if (fault.has_times() != fault.has_every_ms()) {
    return {"needs both of times and every_ms, or none", fault.has_times() ? "times" : "every_ms"};
  }
  if (!fault.has_times()) return {};
  if (fault.times() < 1 || fault.times() > 1000) return {"needs times within 1 .. 1000", "times"};
  if (fault.every_ms() < 1 || fault.every_ms() > 10'000'000) {
    return {"needs every_ms within 1 .. 10000000", "every_ms"};
  }
  if (!fault.has_id()) return {};
  return {"has an id and comes several times, which would share it", "id"};
}

PlanError complete_plan(std::vector<Fault>& plan, const Params& params, size_t& culprit) {
  std::set<int64_t> ids;
  int64_t position = 0;
  int64_t jumps_ms = 0;
  for (Fault& fault : plan) {
    culprit = static_cast<size_t>(position);
    ++position;
    if (!fault.has_id()) fault.set_id(position);
    if (!ids.insert(fault.id()).second) {
      return {fmt::format("two faults have id {}", fault.id()), "id"};
    }
    PlanError error = fault_error(fault, params);
    if (error.empty() && fault.kind() == CLOCK_JUMP) {
      jumps_ms += fault.by_ms();
      if (jumps_ms > kJumpsMsMax) {
        error = {fmt::format("brings all clock jumps together to more than {} ms", kJumpsMsMax),
                 "by_ms"};
      }
    }
    if (error.empty()) continue;
    error.text = fmt::format("fault {} {}", position, error.text);
    return error;
  }
  return {};
}

}  // namespace tally::sim
