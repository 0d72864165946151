// The executor of the fault plan. It draws nothing: what is random about a fault was drawn before
// time 0; roles are resolved when the fault begins.
#include <algorithm>

#include "core/check.h"
#include "sim/plan.h"
#include "sim/world.h"

namespace tally::sim {
namespace {

bool cuts_links(FaultKind kind) {
  return kind == PARTITION || kind == ISOLATE_LEADER || kind == ONE_WAY || kind == BRIDGE ||
         kind == RING || kind == FLAP;
}

template <class Value>
bool contains(const std::vector<Value>& values, Value value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

// Whom roles have turned out to be: " (n1 / n2, n3)"; nothing when none was named by its role.
std::string roles_text(const Fault& fault, const std::vector<uint32_t>& targets,
                       const std::vector<uint32_t>& peers) {
  std::string text;
  bool any_role = false;
  for (const auto* side : {&fault.target(), &fault.peer()}) {
    for (const Target& target : *side) any_role |= target.has_role();
  }
  if (!any_role) return {};
  for (const auto* side : {&targets, &peers}) {
    if (side == &peers && !peers.empty()) text += " / ";
    for (const uint32_t number : *side) {
      if (!text.empty() && !text.ends_with(" / ")) text += ", ";
      text += fmt::format("n{}", number + 1);
    }
  }
  return text.empty() ? text : " (" + text + ")";
}

}  // namespace

void World::hold_link(Ongoing& ongoing, uint32_t from, uint32_t to) {
  if (from != to) ongoing.link_held[from * machines_.size() + to] = true;
}

// Decides which links the fault holds, by kind.
void World::choose_links(size_t position) {
  const Fault& fault = spec_.plan[position];
  Ongoing& ongoing = ongoing_[position];
  const auto count = static_cast<uint32_t>(machines_.size());
  ongoing.link_held.assign(size_t{count} * count, false);
  for (uint32_t from = 0; from < count; ++from) {
    for (uint32_t to = 0; to < count; ++to) {
      const bool from_target = contains(ongoing.targets, from);
      const bool to_target = contains(ongoing.targets, to);
      const bool to_peer = ongoing.peers.empty() ? !to_target : contains(ongoing.peers, to);
      const bool from_peer = ongoing.peers.empty() ? !from_target : contains(ongoing.peers, from);
      switch (fault.kind()) {
        case ONE_WAY:
        case SLOW_LINK:
          if (from_target && to_peer) hold_link(ongoing, from, to);
          break;
        case RESET_LINKS:
          if (from_target || to_target) hold_link(ongoing, from, to);
          break;
        case BRIDGE:
          if (from_target || to_target) break;
          if (contains(ongoing.peers, from) != contains(ongoing.peers, to)) {
            hold_link(ongoing, from, to);
          }
          break;
        case MESSAGES:
          if ((ongoing.targets.empty() || from_target) && (ongoing.peers.empty() || to_peer)) {
            hold_link(ongoing, from, to);
          }
          break;
        case RING:
          if ((from + 1) % count != to && (to + 1) % count != from) hold_link(ongoing, from, to);
          break;
        default:
          if ((from_target && to_peer) || (from_peer && to_target)) hold_link(ongoing, from, to);
          break;
      }
    }
  }
}

void World::apply_links(size_t position, int change) {
  const Fault& fault = spec_.plan[position];
  const Ongoing& ongoing = ongoing_[position];
  const auto count = static_cast<uint32_t>(machines_.size());
  for (uint32_t from = 0; from < count; ++from) {
    for (uint32_t to = 0; to < count; ++to) {
      if (!ongoing.link_held[from * count + to]) continue;
      if (fault.kind() == SLOW_LINK) {
        network_.slow(from, to, std::chrono::milliseconds(fault.by_ms()) * change);
      } else if (fault.kind() == RESET_LINKS) {
        network_.reset(from, to);
      } else {
        network_.cut(from, to, change);
      }
    }
  }
  if (!fault.clients()) return;
  for (const uint32_t target : ongoing.targets) network_.cut_clients(target, change);
}

void World::begin_fault(size_t position) {
  if (phase_ != Phase::kSafety) return;
  const Fault& fault = spec_.plan[position];
  Ongoing& ongoing = ongoing_[position];
  const bool resolved = resolve_targets(position);
  bool effective = resolved;
  touch_story(ongoing);
  if (resolved) {
    choose_links(position);
    const bool links = cuts_links(fault.kind()) || fault.kind() == SLOW_LINK ||
                       fault.kind() == RESET_LINKS || fault.kind() == MESSAGES;
    if (links) {
      effective = fault.clients() || contains(ongoing.link_held, true);
    } else {
      effective = apply_to_machines(position);
    }
    if (fault.kind() == MESSAGES && effective) {
      begin_messages(position);
    } else if (links && effective) {
      apply_links(position, +1);
    }
  }
  narrator_.line(queue_.now(), "fault",
                 fault_text(fault) + roles_text(fault, ongoing.targets, ongoing.peers) +
                     (effective ? "" : " (nothing to act on)"));
  if (!effective) {
    ++result_.faults_idle;
    return;
  }
  ongoing.begun = true;
  ongoing.begun_at = queue_.now();
  if (result_.first_fault_event == 0) result_.first_fault_event = event_count_;
  if (fault.kind() == DISK_FULL) {
    for (const uint32_t number : ongoing.targets) {
      ongoing.capacities.push_back(machines_[number]->disk().used_bytes() +
                                   static_cast<uint64_t>(fault.room_bytes()));
    }
  }
  for (const uint32_t number : ongoing.targets) set_disk_faults(*machines_[number]);
  // Those that wait for a call are counted when it comes.
  if (!waits_for_a_call(fault.kind())) {
    ++result_.faults_fired[static_cast<size_t>(fault.kind())];
  }
  if (fault.kind() == FLAP) {
    ongoing.flap_cut = true;
    queue_.push(queue_.now() + std::chrono::milliseconds(fault.period_ms()), EventKind::kFaultStep,
                0, position);
  }
  if (has_end(fault)) {
    queue_.push(queue_.now() + std::chrono::milliseconds(fault.duration_ms()), EventKind::kFaultEnd,
                0, position);
  }
}

void World::begin_messages(size_t position) {
  const Fault& fault = spec_.plan[position];
  SimNetwork::Strike strike;
  strike.id = position;
  strike.links = ongoing_[position].link_held;
  for (const int type : fault.message()) strike.types |= uint32_t{1} << type;
  if (strike.types == 0) strike.types = ~uint32_t{0};
  strike.effect = fault.effect();
  strike.by = std::chrono::milliseconds(fault.by_ms());
  strike.left = fault.has_count() ? static_cast<uint64_t>(fault.count()) : UINT64_MAX;
  network_.strike(std::move(strike));
}

// What faults have done to messages in this event.
void World::tell_struck_messages() {
  for (const SimNetwork::Struck& struck : network_.take_struck()) {
    const Fault& fault = spec_.plan[struck.id];
    Ongoing& ongoing = ongoing_[struck.id];
    if (!ongoing.hit) ++result_.faults_fired[static_cast<size_t>(fault.kind())];
    ongoing.hit = true;
    if (story_ != nullptr) story_->touch(struck.from);
    narrator_.line(queue_.now(), "fault",
                   fmt::format("fault {} strikes {} from n{} to n{}", fault.id(), struck.what,
                               struck.from + 1, struck.to + 1));
  }
}

// The fault's event is one of every machine it acts on.
void World::touch_story(const Ongoing& ongoing) {
  if (story_ == nullptr) return;
  for (const uint32_t number : ongoing.targets) story_->touch(number);
  for (const uint32_t number : ongoing.peers) story_->touch(number);
}

// False when no target was in a state that the fault can act on.
bool World::apply_to_machines(size_t position) {
  const Fault& fault = spec_.plan[position];
  bool effective = false;
  for (const uint32_t number : ongoing_[position].targets) {
    Machine& machine = *machines_[number];
    const Machine::State before = machine.state();
    switch (fault.kind()) {
      case CRASH:
      case CRASH_ALL:
      case KILL:
        // At time 0 nothing runs yet; the fault then keeps it from starting.
        effective |= before != Machine::State::kDown || queue_.now() == VirtualTime();
        if (before == Machine::State::kDown) break;  // and stays so until this fault ends, too
        if (fault.kind() == KILL) {
          machine.kill();
          clients_.on_node_down(machine.id(), ++crash_count_);
        } else {
          crash(machine);
        }
        break;
      case PAUSE:
        effective |= before != Machine::State::kDown;
        machine.pause();
        break;
      case CLOCK_JUMP:
        effective = true;
        machine.jump_clock(std::chrono::milliseconds(fault.by_ms()));
        break;
      case SLOW_DISK:
      case DISK_STALL:
      case DISK_FULL: effective = true; break;
      case CRASH_POINT:
      case SYNC_FAILS: effective |= machine.has_node() || fault.has_ordinal(); break;
      case BIT_ROT:
      case MISDIRECTED_WRITE:
      case READ_ERROR:
      case WIPE: effective |= damage(fault, machine); break;
      case TRANSFER: effective = transfer(machine); break;
      case TAKE_SNAPSHOT: effective |= snapshot(machine); break;
      default: CHECK(false, "not a fault of machines: {}", fault_name(fault.kind()));
    }
  }
  return effective;
}

void World::crash(Machine& machine) {
  if (machine.state() == Machine::State::kDown) return;
  machine.crash();
  clients_.on_node_down(machine.id(), ++crash_count_);
}

// False when the atlas spares the machine, or there is nothing to damage.
bool World::damage(const Fault& fault, Machine& machine) {
  const auto intact_count = std::count_if(
      machines_.begin(), machines_.end(),
      [&](const auto& other) { return other.get() != &machine && !other->is_damaged(); });
  const size_t quorum = machines_.size() / 2 + 1;
  const bool spares = spec_.params.faults().damage_majority() == 0;
  if (spares && static_cast<size_t>(intact_count) < quorum) return false;
  if (takes_down(fault)) crash(machine);
  const std::string what = machine.damage(fault);
  if (what.empty()) return takes_down(fault);
  narrator_.line(queue_.now(), fmt::format("n{}", machine.id().value()), what);
  return true;
}

// False when nobody leads, or the leader stands still, or it is `to` itself.
bool World::transfer(const Machine& to) {
  const Machine* leads = leader();
  if (leads == nullptr || leads == &to || leads->state() != Machine::State::kUp) return false;
  Machine& from = *machines_[leads->number()];
  if (narrator_.on()) narrator_.cause(from, "asked to hand over");
  if (story_ != nullptr) story_->touch(from.number());
  if (from.request_transfer(to.id())) after_step(from);
  after_end(from, from.take_end());
  return true;
}

// False when the machine does not run.
bool World::snapshot(Machine& machine) {
  if (machine.state() != Machine::State::kUp || !machine.has_node()) return false;
  if (narrator_.on()) narrator_.cause(machine, "asked for a snapshot");
  if (machine.request_snapshot()) after_step(machine);
  after_end(machine, machine.take_end());
  return true;
}

void World::step_fault(size_t position) {
  Ongoing& ongoing = ongoing_[position];
  if (phase_ != Phase::kSafety || ongoing.ended) return;
  apply_links(position, ongoing.flap_cut ? -1 : +1);
  ongoing.flap_cut = !ongoing.flap_cut;
  queue_.push(queue_.now() + std::chrono::milliseconds(spec_.plan[position].period_ms()),
              EventKind::kFaultStep, 0, position);
}

void World::end_fault(size_t position) {
  const Fault& fault = spec_.plan[position];
  Ongoing& ongoing = ongoing_[position];
  if (phase_ != Phase::kSafety || !ongoing.begun || ongoing.ended) return;
  ongoing.ended = true;
  touch_story(ongoing);
  narrator_.line(queue_.now(), "fault", "ends: " + fault_text(fault));
  if (fault.kind() == MESSAGES) {
    network_.end_strike(position);
    return;
  }
  if (cuts_links(fault.kind()) || fault.kind() == SLOW_LINK) {
    if (fault.kind() != FLAP || ongoing.flap_cut) apply_links(position, -1);
    return;
  }
  for (const uint32_t number : ongoing.targets) release_machine(fault, *machines_[number]);
}

// The machine comes back, unless another fault under way has it likewise.
void World::release_machine(const Fault& fault, Machine& machine) {
  set_disk_faults(machine);
  switch (fault.kind()) {
    case CRASH:
    case CRASH_ALL:
    case KILL:
    case WIPE:
    case BIT_ROT:
    case MISDIRECTED_WRITE:
    case READ_ERROR:
    case CRASH_POINT:
    case SYNC_FAILS: restart(machine); break;
    case PAUSE:
      for (size_t position = 0; position < ongoing_.size(); ++position) {
        if (acts_on(position, PAUSE, machine.number())) return;
      }
      machine.resume();
      break;
    default: break;
  }
}

// Whether the fault is under way, of that kind, and on that machine.
bool World::acts_on(size_t position, FaultKind kind, uint32_t number) const {
  const Ongoing& ongoing = ongoing_[position];
  return ongoing.begun && !ongoing.ended && spec_.plan[position].kind() == kind &&
         contains(ongoing.targets, number);
}

bool World::held_down(uint32_t number) const {
  for (size_t position = 0; position < ongoing_.size(); ++position) {
    const Fault& fault = spec_.plan[position];
    // A crash point by its number, and a filter of messages, let the node go on.
    const bool ends_by_itself = fault.has_ordinal() || fault.kind() == MESSAGES;
    const bool down = takes_down(fault) || (ongoing_[position].hit && !ends_by_itself);
    if (down && acts_on(position, fault.kind(), number)) return true;
  }
  return false;
}

// The slowest of the slow disks counts, and the fullest of the full ones; crash points and failing
// syncs that were not hit wait.
void World::set_disk_faults(Machine& machine) {
  Machine::DiskFaults faults;
  Machine::CrashPoints points;
  for (size_t position = 0; position < ongoing_.size(); ++position) {
    const Fault& fault = spec_.plan[position];
    const Ongoing& ongoing = ongoing_[position];
    if (!acts_on(position, fault.kind(), machine.number())) continue;
    if (fault.kind() == SLOW_DISK) {
      faults.slowdown = std::max(faults.slowdown, static_cast<uint32_t>(fault.factor()));
    } else if (fault.kind() == CRASH_POINT && !ongoing.hit) {
      const auto point = static_cast<size_t>(disk_point(fault));
      if (fault.has_ordinal()) {
        points.ordinals[point].insert(static_cast<uint64_t>(fault.ordinal()));
      } else {
        points.next[point] = true;
      }
    } else if (fault.kind() == DISK_STALL) {
      faults.stalled = true;
    } else if (fault.kind() == SYNC_FAILS && !ongoing.hit) {
      faults.sync_fails = true;
    } else if (fault.kind() == DISK_FULL) {
      for (size_t i = 0; i < ongoing.targets.size(); ++i) {
        if (ongoing.targets[i] != machine.number()) continue;
        faults.capacity = std::min(faults.capacity, ongoing.capacities[i]);
      }
    }
  }
  machine.set_disk_faults(faults);
  machine.set_crash_points(std::move(points));
}

DiskPoint World::disk_point(const Fault& fault) {
  return static_cast<DiskPoint>(fault.point() - CrashPoint_MIN);
}

// The machine has just gone down at a crash point: whether it was this fault's.
bool World::is_at_point(const Fault& fault, const Machine& machine) {
  if (disk_point(fault) != machine.last_crash_point()) return false;
  return !fault.has_ordinal() ||
         static_cast<uint64_t>(fault.ordinal()) == machine.point_count(machine.last_crash_point());
}

void World::restart(Machine& machine) {
  if (machine.state() != Machine::State::kDown || held_down(machine.number())) return;
  narrator_.forget_causes(machine);
  if (narrator_.on()) narrator_.cause(machine, "starts");
  machine.start();
  if (machine.has_node()) {
    after_step(machine);
  } else {
    if (!machine.refusal().empty()) {
      narrator_.line(queue_.now(), fmt::format("n{}", machine.id().value()),
                     "stays out: " + machine.refusal());
    }
    after_end(machine, machine.take_end());
  }
}

}  // namespace tally::sim
