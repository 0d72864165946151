// The end of a run: the liveness phase, convergence, and the verdict.
#include <algorithm>
#include <map>

#include "core/check.h"
#include "sim/checker.h"
#include "sim/explain.h"
#include "sim/plan.h"
#include "sim/world.h"

namespace tally::sim {
namespace {

// The core must make progress within this many of the longest drawn election timeouts.
constexpr int64_t kLivenessTimeouts = 20;

}  // namespace

// Heals a quorum, freezes the rest, and asks the core to serve one increment.
void World::begin_liveness() {
  const Machine* leads = leader();
  result_.safety_leader = leads == nullptr ? kNoNode : leads->id();
  result_.committed_count = oracles_.committed_index().value();
  for (size_t position = 0; position < ongoing_.size(); ++position) {
    const Ongoing& fault = ongoing_[position];
    if (fault.armed) disarm(position, "not before the safety phase ends");
    const bool waits = fault.begun && waits_for_a_call(spec_.plan[position].kind());
    if (waits && !fault.hit) ++result_.faults_idle;
  }
  phase_ = Phase::kElection;
  for (const int64_t node : spec_.core.empty() ? draw_core(spec_.seed, spec_.params) : spec_.core) {
    core_.push_back(static_cast<uint32_t>(node - 1));
  }
  network_.heal();
  clients_.stop();
  for (Ongoing& fault : ongoing_) fault.ended = true;
  for (const auto& machine : machines_) set_disk_faults(*machine);
  complete_core();
  std::vector<NodeId> nodes;
  std::string names;
  for (const uint32_t number : core_) {
    nodes.push_back(machines_[number]->id());
    names += fmt::format(" n{}", machines_[number]->id().value());
  }
  for (const auto& machine : machines_) {
    if (!std::binary_search(core_.begin(), core_.end(), machine->number())) machine->freeze();
  }
  narrator_.line(queue_.now(), "phase",
                 "liveness: the core" + names + " is healed, the rest frozen; " +
                     endpoint_text(kFirstClient + (clients_.client_count() - 1)) +
                     " asks it for an increment");
  liveness_began_ = queue_.now();
  liveness_ends_ = queue_.now() + progress_limit();
  queue_.push(liveness_ends_, EventKind::kPhase, 0);
  clients_.probe(std::chrono::hours(1000), std::move(nodes));
}

void World::heal(Machine& machine) {
  if (machine.state() == Machine::State::kPaused) {
    machine.resume();
  } else {
    restart(machine);
  }
}

// Members that have to be repaired stay in the core, and must be whole at the end; but for each of
// them, and for each that stays out, another joins if there is one: a quorum of the core is intact.
void World::complete_core() {
  size_t whole_count = 0;
  for (const uint32_t number : core_) {
    heal(*machines_[number]);
    if (machines_[number]->has_whole_node()) ++whole_count;
  }
  for (uint32_t number = 0; number < machines_.size(); ++number) {
    if (whole_count >= machines_.size() / 2 + 1) break;
    if (std::find(core_.begin(), core_.end(), number) != core_.end()) continue;
    heal(*machines_[number]);
    if (!machines_[number]->has_whole_node()) continue;
    core_.push_back(number);
    ++whole_count;
  }
  if (whole_count >= machines_.size() / 2 + 1) {
    std::erase_if(core_, [&](uint32_t number) { return !machines_[number]->has_node(); });
  }
  std::sort(core_.begin(), core_.end());
}

// In the longest drawn election timeouts, on the slowest clock that the parameters allow.
Duration World::progress_limit() const {
  const Params& params = spec_.params;
  const int64_t timeout_max_ms = 2 * params.raft().election_timeout_ms() * 1'000'000 /
                                 (1'000'000 - params.clock().rate_ppm_max());
  return std::chrono::milliseconds((timeout_max_ms + 1) * kLivenessTimeouts);
}

void World::watch_liveness() {
  // Any entry that a core node newly holds, commits or applies is progress.
  uint64_t progress = clients_.probe_done() ? 1 : 0;
  for (const uint32_t number : core_) {
    if (!machines_[number]->has_node()) continue;
    const Node& node = machines_[number]->node();
    progress += node.raft().commit_index().value() + node.raft().durable_index().value() +
                node.state().applied_index().value();
  }
  if (progress > core_progress_) {
    core_progress_ = progress;
    liveness_ends_ = queue_.now() + progress_limit();
  }
  if (phase_ == Phase::kElection && clients_.probe_done()) {
    phase_ = Phase::kConvergence;
    narrator_.line(queue_.now(), "phase", "the core serves; waiting for equal replicas");
  }
  if (phase_ == Phase::kConvergence && core_converged()) phase_ = Phase::kDone;
}

bool World::core_converged() const {
  const Machine& first = *machines_[core_[0]];
  if (!first.has_node()) return false;
  const LogIndex end = first.node().raft().log().last_index();
  for (const uint32_t number : core_) {
    if (!machines_[number]->has_whole_node()) return false;
    const Node& node = machines_[number]->node();
    if (node.raft().log().last_index() != end || node.state().applied_index() != end) return false;
    if (node.state().state_hash() != first.node().state().state_hash()) return false;
  }
  return true;
}

// The excuse check: some core node has two-way links to a quorum and a log at least as up to date
// as theirs (DESIGN, section 3). Only then must the core have made progress.
bool World::core_is_able() const {
  const size_t quorum = machines_.size() / 2 + 1;
  for (const uint32_t candidate : core_) {
    if (!machines_[candidate]->has_whole_node()) continue;
    const Log& log = machines_[candidate]->node().raft().log();
    size_t voters = 0;
    for (const uint32_t voter : core_) {
      if (!machines_[voter]->has_whole_node()) continue;
      const Log& other = machines_[voter]->node().raft().log();
      const bool linked = voter == candidate || (!network_.is_cut(candidate, voter) &&
                                                 !network_.is_cut(voter, candidate));
      const bool up_to_date = log.last_term() != other.last_term()
                                  ? log.last_term() > other.last_term()
                                  : log.last_index() >= other.last_index();
      if (linked && up_to_date) ++voters;
    }
    if (voters >= quorum) return true;
  }
  return false;
}

void World::check_liveness_deadline() {
  if (queue_.now() < liveness_ends_) {
    queue_.push(liveness_ends_, EventKind::kPhase, 0);
    return;
  }
  if (!core_is_able()) {
    result_.liveness_excused = true;
    phase_ = Phase::kDone;
    return;
  }
  const Duration limit = progress_limit();
  const std::string within = fmt::format(
      "no progress for {} ms ({} of the longest election timeouts), with every link and "
      "node of the core healed",
      limit.count() / 1'000'000, kLivenessTimeouts);
  if (phase_ == Phase::kElection) {
    oracles_.violate("liveness",
                     leader() == nullptr ? "the core elects nobody" : "the core does not serve",
                     within);
  } else {
    oracles_.violate("convergence", "the core's replicas stay different", within);
  }
}

void World::judge() {
  if (oracles_.violation()) return;
  const History& history = clients_.finish();
  judge_sums();
  if (!oracles_.violation()) {
    const CheckResult checked = check_history(history, CheckOptions{});
    if (checked.verdict == CheckResult::Verdict::kViolation) {
      oracles_.violate("linearizability", "no order explains what clients saw",
                       in_words(checked.reason, history, checked.culprits), checked.culprits);
    } else if (checked.verdict == CheckResult::Verdict::kUnknown) {
      result_.verdict = RunResult::Verdict::kUndecided;
      result_.reason = in_words(checked.reason, history, checked.culprits);
    }
  }
  if (!oracles_.violation() && result_.verdict == RunResult::Verdict::kOk) judge_vacuity();
  result_.history = history;
}

// Exactly-once arithmetic: each name's final value is the sum of all increments that succeeded and
// of some that may have. Names have one sign, so that bounds the value on both sides.
void World::judge_sums() {
  struct Sum {
    __int128 certain = 0;
    __int128 possible = 0;
    std::vector<size_t> operations;
  };
  std::map<std::string, Sum> sums;
  const History& history = clients_.finish();
  for (size_t index = 0; index < history.size(); ++index) {
    const Operation& operation = history[index];
    if (operation.kind != Operation::Kind::kAdd) continue;
    Sum& sum = sums[operation.counter];
    sum.operations.push_back(index);
    if (operation.status == Operation::Status::kOk) sum.certain += operation.delta;
    if (operation.status == Operation::Status::kUnknown) sum.possible += operation.delta;
  }
  const Machine& machine = *machines_[core_[0]];
  if (!machine.has_node() || result_.liveness_excused) return;
  for (const auto& [name, sum] : sums) {
    result_.values[name] = machine.node().state().value(name);
    const __int128 value = result_.values[name];
    const __int128 low = std::min(sum.certain, sum.certain + sum.possible);
    const __int128 high = std::max(sum.certain, sum.certain + sum.possible);
    if (value >= low && value <= high) continue;
    oracles_.violate(
        "exactly-once", "a counter is not the sum of its increments",
        fmt::format("{} is {}; the increments that succeeded make {}, those of "
                    "unknown outcome at most {} more",
                    name, static_cast<int64_t>(value), static_cast<int64_t>(sum.certain),
                    static_cast<int64_t>(sum.possible)),
        sum.operations);
    return;
  }
}

// A run in which nothing was at stake proves nothing.
void World::judge_vacuity() {
  uint64_t fired = 0;
  for (const uint64_t count : result_.faults_fired) fired += count;
  const SimClients::Counts& counts = clients_.counts();
  if (result_.committed_count == 0) {
    result_.reason = "nothing was committed in the safety phase";
  } else if (counts.ok + counts.rejected <= 1) {  // the prober's own is no client's
    result_.reason = "no operation of a client was compared";
  } else if (!spec_.plan.empty() && fired == 0) {
    result_.reason = "no fault of the plan fired";
  }
  if (!result_.reason.empty()) result_.verdict = RunResult::Verdict::kVacuous;
}

}  // namespace tally::sim
