#include "sim/plan.h"

#include <algorithm>
#include <iterator>

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
  kPick,
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
    for (int kind = FaultKind_MIN; kind <= kLastDrawnKind; ++kind) {
      total += reflection->GetInt64(faults, descriptor->FindFieldByNumber(kind + 2));
    }
    if (total == 0) return PARTITION;
    int64_t left = between(entry, Aspect::kKind, 0, total - 1);
    for (int kind = FaultKind_MIN; kind <= kLastDrawnKind; ++kind) {
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
    case TRANSFER:
    case TAKE_SNAPSHOT: drawer.target_one(entry, fault); break;
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
    case MESSAGES: break;  // given, never drawn
  }
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

bool is_certain(const Fault& fault, const Params& params) {
  const bool by_role = std::any_of(fault.target().begin(), fault.target().end(),
                                   [](const Target& target) { return target.has_role(); });
  // At time 0 nothing runs yet, and so nobody holds a role.
  const bool runs = fault.trigger().at_ms() > 0;
  if (by_role && !runs) return false;
  switch (fault.kind()) {
    case PARTITION:
    case ISOLATE_LEADER:
    case ONE_WAY:
    case FLAP:
    case SLOW_LINK:
    case RESET_LINKS: return params.nodes() > 1;
    case RING: return params.nodes() > 3;
    // There must be somebody on both sides of it.
    case BRIDGE: return fault.peer_size() > 0 && fault.peer_size() < params.nodes() - 1;
    case PAUSE: return runs;
    case CRASH:
    case CRASH_ALL:
    case KILL:
    case CLOCK_JUMP:
    case SLOW_DISK:
    case DISK_STALL:
    case DISK_FULL: return true;
    // There may be nothing to damage; but the node goes down for it.
    case BIT_ROT:
    case MISDIRECTED_WRITE:
    case READ_ERROR:
    case WIPE: return params.nodes() > 2 && takes_down(fault);
    // These wait for a call that may not come, for another leader than the one there is, or for a
    // node that runs.
    case CRASH_POINT:
    case SYNC_FAILS:
    case MESSAGES:
    case TRANSFER:
    case TAKE_SNAPSHOT: return false;
  }
  return false;
}

void make_certain(uint64_t seed, const Params& params, std::vector<Fault>& plan) {
  const auto certain = [&](const Fault& fault) { return is_certain(fault, params); };
  if (plan.empty() || std::any_of(plan.begin(), plan.end(), certain)) return;
  const Fault drawn = plan.back();
  Fault& crash = plan.back();
  crash.Clear();
  crash.set_id(drawn.id());
  *crash.mutable_trigger() = drawn.trigger();
  crash.set_duration_ms(drawn.duration_ms());
  crash.set_kind(CRASH);
  const auto entry = static_cast<uint64_t>(drawn.id());
  crash.add_target()->set_node(
      Drawer(seed, params).between(entry, Aspect::kTarget, 1, params.nodes()));
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

std::vector<Fault> without_repeats(const Fault& fault) {
  std::vector<Fault> all;
  for (int64_t i = 0; i < std::max<int64_t>(1, fault.times()); ++i) {
    Fault one = fault;
    one.clear_times();
    one.clear_every_ms();
    const int64_t later_ms = i * fault.every_ms();
    const Trigger& trigger = fault.trigger();
    if (later_ms > 0 && trigger.has_at_ms()) {
      one.mutable_trigger()->set_at_ms(trigger.at_ms() + later_ms);
    } else if (later_ms > 0 && trigger.has_when()) {
      one.mutable_trigger()->set_after_ms(trigger.after_ms() + later_ms);
    }
    all.push_back(std::move(one));
  }
  return all;
}

void draw_picks(uint64_t seed, const Params& params, std::vector<Fault>& plan) {
  const Drawer drawer(seed, params);
  for (Fault& fault : plan) {
    for (auto* side : {fault.mutable_target(), fault.mutable_peer()}) {
      for (Target& target : *side) {
        if (target.role() != RANDOM_FOLLOWER || target.has_pick()) continue;
        const int64_t last = std::max<int64_t>(0, params.nodes() - 2);
        target.set_pick(drawer.between(static_cast<uint64_t>(fault.id()), Aspect::kPick, 0, last));
      }
    }
  }
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

bool waits_for_a_call(FaultKind kind) {
  return kind == CRASH_POINT || kind == SYNC_FAILS || kind == MESSAGES;
}

std::optional<NoteKind> note_named(std::string_view name) {
  const auto* found = std::find(std::begin(kNoteNames), std::end(kNoteNames), name);
  if (found == std::end(kNoteNames)) return std::nullopt;
  return static_cast<NoteKind>(found - std::begin(kNoteNames));
}

bool has_end(const Fault& fault) {
  switch (fault.kind()) {
    case CLOCK_JUMP:
    case RESET_LINKS:
    case TRANSFER:
    case TAKE_SNAPSHOT: return false;
    case BIT_ROT:
    case MISDIRECTED_WRITE:
    case READ_ERROR: return fault.has_duration_ms() && fault.restart();
    default: return fault.has_duration_ms();
  }
}

}  // namespace tally::sim
