#include "sim/world.h"

#include <utility>

#include "core/check.h"
#include "core/draw.h"
#include "sim/plan.h"

namespace tally::sim {
namespace {

constexpr GroupId kGroup{.cluster_id = 1, .group_id = 1};

}  // namespace

std::string to_string(RunResult::Verdict verdict) {
  switch (verdict) {
    case RunResult::Verdict::kOk: return "ok";
    case RunResult::Verdict::kViolation: return "violation";
    case RunResult::Verdict::kVacuous: return "vacuous";
    case RunResult::Verdict::kUndecided: return "undecided";
  }
  return "?";
}

World::World(const RunSpec& spec)
    : spec_(spec),
      oracles_(static_cast<uint32_t>(spec.params.nodes())),
      network_(spec.seed, spec.params.network(), spec.params.steady_ms(),
               static_cast<uint32_t>(spec.params.nodes()),
               static_cast<uint32_t>(spec.params.workload().clients() + 1), kGroup, queue_),
      machine_env_{spec.seed, spec_.params, queue_, network_, oracles_},
      clients_(spec.seed, spec.params, spec.operations, queue_, network_),
      story_(spec.explain ? std::make_unique<Story>(static_cast<uint32_t>(spec.params.nodes()),
                                                    clients_.client_count())
                          : nullptr),
      narrator_(spec.trace, story_.get()),
      ongoing_(spec.plan.size()) {
  for (uint32_t number = 0; number < spec.params.nodes(); ++number) {
    machines_.push_back(std::make_unique<Machine>(machine_env_, number));
  }
  network_.force(spec.noise);
  if (narrator_.on()) network_.narrate(&narrator_);
  if (story_ != nullptr) queue_.remember_origins();
  result_.seed = spec.seed;
  result_.notes.resize(kNoteCount);
  result_.faults_fired.resize(FaultKind_MAX + 1);
}

World::~World() = default;

RunResult World::run() {
  // The plan goes first: a fault at time 0 comes before the nodes start.
  schedule_plan();
  for (uint32_t number = 0; number < machines_.size(); ++number) {
    queue_.push(VirtualTime(), EventKind::kStart, number);
  }
  clients_.start();
  queue_.push(at_ms(spec_.params.duration_ms()), EventKind::kPhase, 0);
  const auto limit = static_cast<uint64_t>(spec_.params.event_count_max());
  while (!over()) {
    CHECK(!queue_.empty());
    const Event event = queue_.pop();
    if (!dispatch(event)) continue;
    if (armed_count_ > 0) check_conditions();
    if (network_.has_struck()) tell_struck_messages();
    if (phase_ == Phase::kElection || phase_ == Phase::kConvergence) watch_liveness();
    if (event_count_ >= limit) {
      oracles_.violate("hang", "the event budget is spent",
                       fmt::format("{} events and no end", event_count_));
    }
    if (!network_.codec_error().empty()) {
      oracles_.violate("codec", "the wire codec failed", network_.codec_error());
    }
  }
  judge();
  return result();
}

// Carries out one event. False when it was out of date: nothing happened, nothing is counted.
bool World::dispatch(const Event& event) {
  switch (event.kind) {
    case EventKind::kTimer:
      if (!machines_[event.who]->timer_is_current(event.a)) return false;
      break;
    case EventKind::kClientTimer:
      if (!clients_.take_timer(event.who, event.a)) return false;
      break;
    default: break;
  }
  ++event_count_;
  oracles_.set_event(event_count_);
  if (story_ != nullptr) {
    queue_.set_current(event_count_);
    story_->begin_event(event, queue_.origin_of(event));
  }
  fold(event);
  if (spec_.trail != nullptr) described_ = describe(event);
  switch (event.kind) {
    case EventKind::kStart:
    case EventKind::kDeliver:
    case EventKind::kTimer:
    case EventKind::kWake:
    case EventKind::kDisk: dispatch_to_machine(event); break;
    case EventKind::kClientReceive: client_receives(event); break;
    case EventKind::kClientBroken:
      if (narrator_.on()) {
        narrator_.line(queue_.now(), fmt::format("client {}", event.who),
                       fmt::format("its connection to n{} breaks", event.a));
      }
      clients_.on_broken(event.who, NodeId(event.a));
      break;
    case EventKind::kClientOperation: clients_.on_operation(event.who, event.a); break;
    case EventKind::kClientTimer: clients_.on_timer(event.who); break;
    case EventKind::kFault: begin_fault(event.a); break;
    case EventKind::kFaultStep: step_fault(event.a); break;
    case EventKind::kFaultEnd: end_fault(event.a); break;
    case EventKind::kPhase:
      if (phase_ == Phase::kSafety) {
        begin_liveness();
      } else {
        check_liveness_deadline();
      }
      break;
  }
  digest_.end_event(event_count_);
  print_trail();
  narrator_.end_event();
  return true;
}

void World::client_receives(const Event& event) {
  const Duration late_by = network_.late_by(event.a);
  if (!network_.receive(event.a, arrived_)) {
    if (narrator_.on()) narrator_.lost_under_way(queue_.now(), arrived_);
    return;
  }
  if (narrator_.on()) narrator_.client_receives(queue_.now(), arrived_, late_by);
  clients_.on_receive(event.who, arrived_);
}

void World::dispatch_to_machine(const Event& event) {
  Machine& machine = *machines_[event.who];
  if (event.kind == EventKind::kStart) {
    restart(machine);  // unless the plan has it down from time 0: the fault's end starts it
    return;
  }
  if (machine.state() == Machine::State::kPaused) {
    machine.stall(event);
    return;
  }
  if (machine.state() == Machine::State::kFrozen) {
    if (event.kind == EventKind::kDeliver) network_.drop(event.a);
    return;
  }
  bool stepped = false;
  switch (event.kind) {
    case EventKind::kDeliver: {
      const Endpoint from = network_.peek(event.a).from;
      const Duration late_by = network_.late_by(event.a);
      if (!network_.receive(event.a, arrived_)) {
        if (narrator_.on()) narrator_.lost_under_way(queue_.now(), arrived_);
        return;
      }
      if (machine.state() == Machine::State::kDown) {
        if (is_client(from)) {  // connection refused
          clients_.on_refused(static_cast<uint32_t>(from.value() - kFirstClient.value()),
                              machine.id());
        }
        return;
      }
      if (narrator_.on()) narrator_.cause_message(machine, arrived_, late_by);
      stepped = machine.on_deliver(std::move(arrived_));
      break;
    }
    case EventKind::kTimer:
      if (narrator_.on()) narrator_.cause(machine, "its time came");
      stepped = machine.on_timer(event.a);
      break;
    case EventKind::kWake:
      if (narrator_.on()) narrator_.cause_wake(machine);
      stepped = machine.on_wake(event.a);
      break;
    default:
      if (narrator_.on()) narrator_.cause(machine, "its disk is done");
      stepped = machine.on_disk(event.a);
      break;
  }
  if (stepped) after_step(machine);
  after_end(machine, machine.take_end());
}

void World::after_step(Machine& machine) {
  oracles_.after_step(machine);
  if (machine.is_damaged()) machine.settle_damage();
  for (const Note& note : machine.node().last_notes()) {
    ++result_.notes[static_cast<size_t>(note.kind)];
    if (armed_count_ > 0) see_note(machine, note.kind);
    if (note.kind == NoteKind::became_leader && result_.first_leader_ms < 0) {
      result_.first_leader_ms = queue_.now().time_since_epoch().count() / 1'000'000;
    }
  }
  if (!narrator_.on()) return;
  narrator_.step(queue_.now(), machine, /*always=*/oracles_.violation().has_value());
}

// The node went down in the middle of a callback: by a crash point, or by itself.
void World::after_end(Machine& machine, Machine::End end) {
  if (end == Machine::End::kNone) return;
  narrator_.forget_causes(machine);
  narrator_.line(queue_.now(), fmt::format("n{}", machine.id().value()),
                 end == Machine::End::kCrashPoint ? "crashes right here" : "stops by itself");
  clients_.on_node_down(machine.id(), ++crash_count_);
  for (size_t position = 0; position < ongoing_.size(); ++position) {
    const bool at_point = end == Machine::End::kCrashPoint &&
                          acts_on(position, CRASH_POINT, machine.number()) &&
                          is_at_point(spec_.plan[position], machine);
    const bool by_sync =
        acts_on(position, SYNC_FAILS, machine.number()) && !machine.disk().sync_fails();
    if (ongoing_[position].hit || (!at_point && !by_sync)) continue;
    ongoing_[position].hit = true;
    ++result_.faults_fired[static_cast<size_t>(spec_.plan[position].kind())];
    if (spec_.plan[position].has_ordinal()) {
      queue_.push(queue_.now(), EventKind::kStart, machine.number());
    }
  }
  // The fault that failed its sync may have ended before the sync did: then it starts again at
  // once.
  if (end == Machine::End::kStopped) {
    queue_.push(queue_.now(), EventKind::kStart, machine.number());
  }
  set_disk_faults(machine);
}

void World::fold(const Event& event) {
  digest_.fold(event_count_);
  digest_.fold(static_cast<uint64_t>(event.at.time_since_epoch().count()));
  digest_.fold(static_cast<uint64_t>(event.kind) << 32 | event.who);
  if (event.kind == EventKind::kDeliver || event.kind == EventKind::kClientReceive) {
    const Envelope& envelope = network_.peek(event.a);
    digest_.fold(envelope.from.value());
    digest_.fold(envelope.message);
  } else if (event.kind != EventKind::kTimer && event.kind != EventKind::kClientTimer) {
    digest_.fold(event.a);
  }
}

RunResult World::result() {
  for (const auto& machine : machines_) {
    if (!machine->has_node()) continue;
    digest_.fold(machine->node().state().state_hash());
    digest_.fold(machine->node().raft().commit_index().value());
  }
  digest_.end_event(event_count_ + 1);
  result_.digest = digest_.value();
  result_.checkpoints = digest_.checkpoints();
  result_.marks = digest_.marks();
  result_.event_count = event_count_;
  result_.sim_time = queue_.now().time_since_epoch();
  result_.ops = clients_.counts();
  result_.frames_corrupted = network_.corrupted_count();
  for (const auto& machine : machines_) {
    const DiskLosses& losses = machine->disk().losses();
    result_.disk_losses.writes_lost += losses.writes_lost;
    result_.disk_losses.writes_torn += losses.writes_torn;
    result_.disk_losses.names_lost += losses.names_lost;
  }
  if (spec_.record) fill_record();
  if (oracles_.violation()) {
    result_.violation = oracles_.violation();
    result_.verdict = RunResult::Verdict::kViolation;
  }
  return std::move(result_);
}

void World::fill_record() {
  RunRecord& record = result_.record;
  for (const Noise& noise : network_.noise()) *record.add_noise() = network_.noise_event(noise);
  for (const ClientOperation& operation : clients_.begun()) *record.add_operation() = operation;
  for (const Ongoing& fault : ongoing_) {
    record.add_begun_ns(fault.begun ? fault.begun_at.time_since_epoch().count() : -1);
  }
}

RunResult World::result_of_failed_check(const std::string& message) {
  // The line number changes with every edit and is no part of what failed.
  std::string clause = message;
  const size_t begin = clause.find("CHECK(");
  const size_t end = clause.find(") failed");
  if (begin != std::string::npos && end != std::string::npos) {
    clause = clause.substr(begin, end + 1 - begin);
  }
  const size_t named = message.find("CHECK(");
  narrator_.step_fails(queue_.now(), named == std::string::npos ? message : message.substr(named));
  print_trail();
  result_.violation = Violation{"check", clause, message, event_count_};
  result_.verdict = RunResult::Verdict::kViolation;
  result_.digest = digest_.value();
  result_.checkpoints = digest_.checkpoints();
  Digest with_this_event = digest_;
  with_this_event.end_event(event_count_);
  result_.marks = with_this_event.marks();
  result_.event_count = event_count_;
  result_.sim_time = queue_.now().time_since_epoch();
  result_.ops = clients_.counts();
  if (spec_.record) fill_record();
  return result_;
}

RunResult run(const RunSpec& spec) { return World(spec).run(); }

}  // namespace tally::sim
