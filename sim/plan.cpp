#include "sim/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/draw.h"
#include "sim/streams.h"

namespace tally::sim {
namespace {

// What an entry's draws are for.
enum class Aspect : uint64_t {
  kGap,
  kKind,
  kTarget,
  kSide,
  kLength,
  kAmount,
  kPoint,
  kClients,
  kPlace,
  kRestart,
};

// Of Fault::place: plenty for any disk.
constexpr int64_t kPlaceMax = (int64_t{1} << 50) - 1;

class Drawer {
 public:
  Drawer(uint64_t seed, const Params& params) : seed_(seed), params_(params) {}

  int64_t between(uint64_t entry, Aspect aspect, int64_t low, int64_t high) const {
    const uint64_t bits =
        draw(seed_, static_cast<uint64_t>(Stream::kPlan), entry, static_cast<uint64_t>(aspect));
    return low + static_cast<int64_t>(scale(bits, static_cast<uint64_t>(high - low) + 1));
  }

  FaultKind kind(uint64_t entry) const {
    const Params::Faults& faults = params_.faults();
    const auto* descriptor = faults.GetDescriptor();
    const auto* reflection = faults.GetReflection();
    // Field 3 of Faults is the weight of FaultKind 1, and so on in the same order.
    int64_t total = 0;
    for (int kind = FaultKind_MIN; kind <= FaultKind_MAX; ++kind) {
      total += reflection->GetInt64(faults, descriptor->FindFieldByNumber(kind + 2));
    }
    if (total == 0) return PARTITION;
    int64_t left = between(entry, Aspect::kKind, 0, total - 1);
    for (int kind = FaultKind_MIN; kind <= FaultKind_MAX; ++kind) {
      left -= reflection->GetInt64(faults, descriptor->FindFieldByNumber(kind + 2));
      if (left < 0) return static_cast<FaultKind>(kind);
    }
    return PARTITION;
  }

  // Adds one node as a target: the leader in half of the cases, else a fixed one.
  void target_one(uint64_t entry, Fault& fault) const {
    const int64_t pick = between(entry, Aspect::kTarget, -params_.nodes(), params_.nodes() - 1);
    Target& target = *fault.add_target();
    if (pick < 0) {
      target.set_role(LEADER);
    } else {
      target.set_node(pick + 1);
    }
  }

  // Adds a side of the cluster: at least one node, never all, but for a cluster of one.
  void add_side(uint64_t entry, google::protobuf::RepeatedPtrField<Target>& side,
                int64_t excluded = 0) const {
    const int64_t nodes = params_.nodes();
    const int64_t mask = between(entry, Aspect::kSide, 1, (int64_t{1} << nodes) - 2);
    for (int64_t node = 1; node <= nodes; ++node) {
      if (node != excluded && (mask >> (node - 1) & 1) != 0) side.Add()->set_node(node);
    }
    if (side.empty()) side.Add()->set_node(excluded == 1 ? 2 : 1);
  }

 private:
  const uint64_t seed_;
  const Params& params_;
};

void fill(const Drawer& drawer, uint64_t entry, const Params& params, Fault& fault) {
  const bool alone = params.nodes() == 1;
  switch (fault.kind()) {
    case PARTITION:
    case FLAP:
    case ONE_WAY:
      if (alone) {
        fault.add_target()->set_node(1);
      } else {
        drawer.add_side(entry, *fault.mutable_target());
      }
      fault.set_clients(fault.kind() == PARTITION &&
                        drawer.between(entry, Aspect::kClients, 1, 4) == 1);
      if (fault.kind() == FLAP) {
        const int64_t period_max = std::max<int64_t>(2, params.raft().election_timeout_ms());
        fault.set_period_ms(drawer.between(entry, Aspect::kAmount, 1, period_max));
      }
      break;
    case ISOLATE_LEADER:
      fault.add_target()->set_role(LEADER);
      fault.set_clients(drawer.between(entry, Aspect::kClients, 1, 4) == 1);
      break;
    case BRIDGE: {
      const int64_t bridge = drawer.between(entry, Aspect::kTarget, 1, params.nodes());
      fault.add_target()->set_node(bridge);
      if (params.nodes() > 2) drawer.add_side(entry, *fault.mutable_peer(), bridge);
      break;
    }
    case RING:
    case CRASH_ALL: break;
    case CRASH_POINT:
      drawer.target_one(entry, fault);
      fault.set_point(static_cast<CrashPoint>(
          drawer.between(entry, Aspect::kPoint, CrashPoint_MIN, CrashPoint_MAX)));
      break;
    case CLOCK_JUMP:
      drawer.target_one(entry, fault);
      fault.set_by_ms(
          drawer.between(entry, Aspect::kAmount, 1, 4 * params.raft().election_timeout_ms()));
      break;
    case SLOW_DISK:
      drawer.target_one(entry, fault);
      fault.set_factor(int64_t{1} << drawer.between(entry, Aspect::kAmount, 1, 8));
      break;
    case SLOW_LINK:
      drawer.target_one(entry, fault);
      fault.set_by_ms(
          drawer.between(entry, Aspect::kAmount, 1, 2 * params.raft().election_timeout_ms()));
      break;
    case CRASH:
    case KILL:
    case PAUSE:
    case RESET_LINKS:
    case DISK_STALL:
    case SYNC_FAILS:
    case WIPE:
    case TRANSFER: drawer.target_one(entry, fault); break;
    case DISK_FULL:
      drawer.target_one(entry, fault);
      fault.set_room_bytes(
          drawer.between(entry, Aspect::kAmount, 0, 2 * params.disk().segment_bytes()));
      break;
    case BIT_ROT:
    case MISDIRECTED_WRITE:
    case READ_ERROR:
      drawer.target_one(entry, fault);
      fault.set_place(drawer.between(entry, Aspect::kPlace, 0, kPlaceMax));
      fault.set_restart(drawer.between(entry, Aspect::kRestart, 1, 3) > 1);
      break;
  }
}

std::string target_text(const Target& target) {
  if (target.has_node()) return fmt::format("n{}", target.node());
  return target.role() == LEADER ? "the leader" : "a follower";
}

std::string targets_text(const google::protobuf::RepeatedPtrField<Target>& targets) {
  std::string text;
  for (const Target& target : targets) {
    text += (text.empty() ? "" : ", ") + target_text(target);
  }
  return text;
}

// How many targets a kind takes: {least, most}.
std::pair<int, int> target_count(FaultKind kind) {
  switch (kind) {
    case RING:
    case CRASH_ALL: return {0, 0};
    case ISOLATE_LEADER:
    case BRIDGE:
    case CRASH_POINT:
    case TRANSFER: return {1, 1};
    default: return {1, 9};
  }
}

std::string condition_error(const Condition& condition, const Params& params) {
  switch (condition.which_case()) {
    case Condition::kLeaderElected:
      return condition.leader_elected() ? "" : "waits for leader_elected: false, which never comes";
    case Condition::kNodeLeads:
      if (condition.node_leads() >= 1 && condition.node_leads() <= params.nodes()) return {};
      return fmt::format("waits for node {} to lead; the cluster has nodes 1 .. {}",
                         condition.node_leads(), params.nodes());
    case Condition::kUncommittedTail:
      return condition.uncommitted_tail() >= 1 ? "" : "needs an uncommitted_tail of at least 1";
    case Condition::kCommitted:
      return condition.committed() >= 1 ? "" : "needs a committed index of at least 1";
    case Condition::WHICH_NOT_SET: return "has an empty condition";
  }
  return {};
}

std::string trigger_error(const Trigger& trigger, const Params& params) {
  if (trigger.has_at_ms() == trigger.has_when()) return "needs one of at_ms and when";
  if (trigger.at_ms() < 0 || trigger.after_ms() < 0 || trigger.deadline_ms() < 0) {
    return "has a negative time";
  }
  if (trigger.has_when()) return condition_error(trigger.when(), params);
  if (trigger.has_after_ms() || trigger.has_deadline_ms()) {
    return "has after_ms or deadline_ms, which belong to a condition (when)";
  }
  if (trigger.at_ms() < params.duration_ms()) return {};
  return fmt::format("begins at {} ms, after the safety phase ends (duration_ms: {})",
                     trigger.at_ms(), params.duration_ms());
}

// A field that this kind does not take would do nothing, silently. Empty when there is none.
std::string misfit(const Fault& fault) {
  const FaultKind kind = fault.kind();
  const bool sides =
      kind == PARTITION || kind == ONE_WAY || kind == FLAP || kind == BRIDGE || kind == SLOW_LINK;
  const bool strikes_a_place = is_damage(kind) && kind != WIPE;
  if (fault.peer_size() > 0 && !sides) return "peer";
  if (fault.has_period_ms() && kind != FLAP) return "period_ms";
  if (fault.has_factor() && kind != SLOW_DISK) return "factor";
  if (fault.has_by_ms() && kind != CLOCK_JUMP && kind != SLOW_LINK) return "by_ms";
  if (fault.has_point() && kind != CRASH_POINT) return "point";
  if (fault.has_ordinal() && kind != CRASH_POINT) return "ordinal";
  if (fault.has_room_bytes() && kind != DISK_FULL) return "room_bytes";
  if (strikes_a_place) return {};
  if (fault.has_place()) return "place";
  if (fault.has_file()) return "file";
  return fault.has_restart() ? "restart" : "";
}

std::string fault_error(const Fault& fault, const Params& params) {
  if (!fault.has_kind()) return "has no kind";
  const std::string field = misfit(fault);
  if (!field.empty()) {
    return fmt::format("has {}, which {} does not take", field, fault_name(fault.kind()));
  }
  const auto [least, most] = target_count(fault.kind());
  if (fault.target_size() < least || fault.target_size() > most) {
    return fmt::format("{} takes {} to {} targets, not {}", fault_name(fault.kind()), least, most,
                       fault.target_size());
  }
  std::set<int64_t> targets;
  for (const auto* side : {&fault.target(), &fault.peer()}) {
    for (const Target& target : *side) {
      if (target.which_case() == Target::WHICH_NOT_SET) return "has a target without node or role";
      if (!target.has_node()) continue;
      if (target.node() < 1 || target.node() > params.nodes()) {
        return fmt::format("names node {}; the cluster has nodes 1 .. {}", target.node(),
                           params.nodes());
      }
      if (!targets.insert(target.node()).second) {
        return fmt::format("names node {} twice", target.node());
      }
    }
  }
  if (!fault.has_trigger()) return "has no trigger (as in: trigger { at_ms: 500 })";
  const std::string error = trigger_error(fault.trigger(), params);
  if (!error.empty()) return error;
  if (fault.duration_ms() < 0) return "has a negative duration_ms";
  if (fault.clients() && fault.kind() != PARTITION && fault.kind() != ISOLATE_LEADER) {
    return fmt::format("cuts clients; {} cannot (PARTITION and ISOLATE_LEADER can)",
                       fault_name(fault.kind()));
  }
  if (fault.kind() == FLAP && fault.period_ms() < 1) return "needs period_ms of at least 1";
  if (fault.kind() == SLOW_DISK && (fault.factor() < 1 || fault.factor() > 1'000'000)) {
    return "needs a factor within 1 .. 1000000";
  }
  const bool needs_amount = fault.kind() == CLOCK_JUMP || fault.kind() == SLOW_LINK;
  if (needs_amount && (fault.by_ms() < 1 || fault.by_ms() > 1'000'000'000)) {
    return "needs by_ms within 1 .. 1000000000";
  }
  if (fault.kind() == CRASH_POINT && !fault.has_point()) return "needs a point";
  if (fault.has_ordinal() && fault.ordinal() < 1) return "needs an ordinal of at least 1";
  if (fault.kind() == DISK_FULL &&
      (fault.room_bytes() < 0 || fault.room_bytes() > 1'000'000'000'000)) {
    return "needs room_bytes within 0 .. 1000000000000";
  }
  return fault.place() < 0 ? "has a negative place" : "";
}

}  // namespace

std::vector<Fault> draw_plan(uint64_t seed, const Params& params) {
  std::vector<Fault> plan;
  const int64_t interval_ms = params.faults().interval_ms();
  if (interval_ms == 0) return plan;
  const Drawer drawer(seed, params);
  const int64_t end_ms = params.duration_ms() - params.faults().calm_end_ms();
  int64_t at_ms = params.faults().calm_start_ms();
  for (uint64_t entry = 1;; ++entry) {
    at_ms += drawer.between(entry, Aspect::kGap, 0, 2 * interval_ms);
    if (at_ms >= end_ms) return plan;
    Fault fault;
    fault.set_id(static_cast<int64_t>(entry));
    fault.mutable_trigger()->set_at_ms(at_ms);
    const int64_t length_ms =
        drawer.between(entry, Aspect::kLength, 1, params.faults().length_ms_max());
    fault.set_duration_ms(std::min(length_ms, end_ms - at_ms));
    fault.set_kind(drawer.kind(entry));
    fill(drawer, entry, params, fault);
    plan.push_back(std::move(fault));
  }
}

std::vector<int64_t> draw_core(uint64_t seed, const Params& params) {
  // Those with the smallest draws.
  std::vector<std::pair<uint64_t, int64_t>> drawn;
  for (int64_t node = 1; node <= params.nodes(); ++node) {
    const auto key = static_cast<uint64_t>(node - 1);
    drawn.emplace_back(draw(seed, static_cast<uint64_t>(Stream::kPhase), key), node);
  }
  std::sort(drawn.begin(), drawn.end());
  std::vector<int64_t> core;
  for (size_t i = 0; i < drawn.size() / 2 + 1; ++i) core.push_back(drawn[i].second);
  std::sort(core.begin(), core.end());
  return core;
}

std::string complete_plan(std::vector<Fault>& plan, const Params& params, size_t& culprit) {
  std::set<int64_t> ids;
  int64_t position = 0;
  for (Fault& fault : plan) {
    culprit = static_cast<size_t>(position);
    ++position;
    if (!fault.has_id()) fault.set_id(position);
    if (!ids.insert(fault.id()).second) return fmt::format("two faults have id {}", fault.id());
    const std::string error = fault_error(fault, params);
    if (!error.empty()) return fmt::format("fault {} {}", position, error);
  }
  return {};
}

std::string fault_name(FaultKind kind) {
  std::string name = FaultKind_Name(kind);
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

bool is_damage(FaultKind kind) {
  return kind == BIT_ROT || kind == MISDIRECTED_WRITE || kind == READ_ERROR || kind == WIPE;
}

bool takes_down(const Fault& fault) {
  switch (fault.kind()) {
    case CRASH:
    case CRASH_ALL:
    case KILL:
    case WIPE: return true;
    default: return fault.restart();
  }
}

std::string fault_text(const Fault& fault) {
  std::string text = fmt::format("fault {}: {}", fault.id(), fault_name(fault.kind()));
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

bool has_end(const Fault& fault) {
  switch (fault.kind()) {
    case CLOCK_JUMP:
    case RESET_LINKS:
    case TRANSFER: return false;
    case BIT_ROT:
    case MISDIRECTED_WRITE:
    case READ_ERROR: return fault.has_duration_ms() && fault.restart();
    default: return fault.has_duration_ms();
  }
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
  return fmt::format("message {} of n{} to n{} {}", noise.ordinal(), noise.from(), noise.to(),
                     effect());
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
