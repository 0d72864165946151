// When the plan's faults begin, and on whom: triggers and roles. Nothing here draws.
#include <algorithm>

#include "sim/plan.h"
#include "sim/world.h"

namespace tally::sim {

void World::schedule_plan() {
  for (size_t position = 0; position < spec_.plan.size(); ++position) {
    const Trigger& trigger = spec_.plan[position].trigger();
    if (trigger.has_at_ms()) {
      queue_.push(at_ms(trigger.at_ms()), EventKind::kFault, 0, position);
      continue;
    }
    ongoing_[position].armed = true;
    ++armed_count_;
    if (!trigger.when().has_note()) continue;
    ongoing_[position].notes_left =
        static_cast<uint64_t>(std::max<int64_t>(1, trigger.when().note().count()));
  }
}

void World::see_note(const Machine& machine, NoteKind kind) {
  for (size_t position = 0; position < spec_.plan.size(); ++position) {
    Ongoing& ongoing = ongoing_[position];
    if (!ongoing.armed || ongoing.notes_left == 0) continue;
    const NoteSeen& note = spec_.plan[position].trigger().when().note();
    if (note_named(note.name()) != kind) continue;
    if (note.has_node() && machine.id().value() != static_cast<uint64_t>(note.node())) continue;
    --ongoing.notes_left;
    ongoing.subject = machine.number();
  }
}

void World::check_conditions() {
  if (phase_ != Phase::kSafety) return;
  for (size_t position = 0; position < spec_.plan.size(); ++position) {
    if (!ongoing_[position].armed) continue;
    const Trigger& trigger = spec_.plan[position].trigger();
    if (trigger.has_deadline_ms() && queue_.now() > at_ms(trigger.deadline_ms())) {
      disarm(position, "not by its deadline");
    } else if (holds(position)) {
      ongoing_[position].armed = false;
      --armed_count_;
      queue_.push(queue_.now() + std::chrono::milliseconds(trigger.after_ms()), EventKind::kFault,
                  0, position);
    }
  }
}

// It is not to begin any more.
void World::disarm(size_t position, const std::string& reason) {
  ongoing_[position].armed = false;
  --armed_count_;
  ++result_.faults_idle;
  narrator_.line(queue_.now(), "fault",
                 fmt::format("{} never comes: {}, {}", fault_text(spec_.plan[position]),
                             trigger_text(spec_.plan[position].trigger()), reason));
}

// And of whom: the leader that it speaks of, the node with the entry, or that made the note.
bool World::holds(size_t position) {
  const Condition& condition = spec_.plan[position].trigger().when();
  Ongoing& ongoing = ongoing_[position];
  const Machine* leads = leader();
  const auto of_leader = [&](bool true_of_it) {
    if (true_of_it) ongoing.subject = leads->number();
    return true_of_it;
  };
  switch (condition.which_case()) {
    case Condition::kLeaderElected: return of_leader(leads != nullptr);
    case Condition::kNodeLeads:
      return of_leader(leads != nullptr &&
                       leads->id().value() == static_cast<uint64_t>(condition.node_leads()));
    case Condition::kUncommittedTail: {
      if (leads == nullptr) return false;
      const Raft& raft = leads->node().raft();
      return of_leader(raft.log().last_index() - raft.commit_index() >=
                       static_cast<uint64_t>(condition.uncommitted_tail()));
    }
    case Condition::kCommitted:
      return oracles_.committed_index().value() >= static_cast<uint64_t>(condition.committed());
    case Condition::kAppended: {
      const Appended& appended = condition.appended();
      const LogIndex index(static_cast<uint64_t>(appended.index()));
      for (const auto& machine : machines_) {
        const bool meant =
            !appended.has_node() || machine->id().value() == static_cast<uint64_t>(appended.node());
        if (!meant || !holds_uncommitted(*machine, index)) continue;
        ongoing.subject = machine->number();
        return true;
      }
      return false;
    }
    case Condition::kNote: return ongoing.notes_left == 0;
    case Condition::WHICH_NOT_SET: return false;
  }
  return false;
}

bool World::holds_uncommitted(const Machine& machine, LogIndex index) const {
  return machine.has_node() && machine.node().raft().log().last_index() >= index &&
         oracles_.committed_index() < index;
}

const Machine* World::leader() const {
  const Machine* found = nullptr;
  for (const auto& machine : machines_) {
    if (!machine->has_node() || !machine->node().raft().is_leader()) continue;
    if (found == nullptr || machine->node().raft().term() > found->node().raft().term()) {
      found = machine.get();
    }
  }
  return found;
}

const Machine* World::most_advanced() const {
  const Machine* found = nullptr;
  for (const auto& machine : machines_) {
    if (!machine->has_node()) continue;
    if (found == nullptr || machine->node().raft().term() > found->node().raft().term()) {
      found = machine.get();
    }
  }
  return found;
}

// The machine and those of the lowest numbers, `count` in all.
void World::add_side_of(const Machine& first, size_t count, std::vector<uint32_t>& found) const {
  found.push_back(first.number());
  for (uint32_t number = 0; number < machines_.size() && count > 1; ++number) {
    if (number == first.number()) continue;
    found.push_back(number);
    --count;
  }
}

// Adds the machines meant to `found`. False: there is none.
bool World::resolve(const Target& target, const Ongoing& ongoing,
                    std::vector<uint32_t>& found) const {
  if (target.has_node()) {
    found.push_back(static_cast<uint32_t>(target.node() - 1));
    return true;
  }
  const Machine* leads = leader();
  const Machine* acts_as_leader = leads == nullptr ? most_advanced() : leads;
  const size_t quorum = machines_.size() / 2 + 1;
  std::vector<uint32_t> followers;
  for (const auto& machine : machines_) {
    if (machine->has_node() && machine.get() != leads) followers.push_back(machine->number());
  }
  switch (target.role()) {
    case LEADER:
    case LEADER_MAJORITY:
    case LEADER_MINORITY: {
      if (acts_as_leader == nullptr) return false;
      const size_t count = target.role() == LEADER            ? 1
                           : target.role() == LEADER_MAJORITY ? quorum
                                                              : std::max<size_t>(2, quorum) - 1;
      add_side_of(*acts_as_leader, count, found);
      return true;
    }
    case FOLLOWER:
    case RANDOM_FOLLOWER:
      if (followers.empty()) return false;
      found.push_back(followers[static_cast<uint64_t>(target.pick()) % followers.size()]);
      return true;
    case SUBJECT:
      if (ongoing.subject) found.push_back(*ongoing.subject);
      return ongoing.subject.has_value();
  }
  return false;
}

// False when a role is held by nobody: then the fault does nothing.
bool World::resolve_targets(size_t position) {
  const Fault& fault = spec_.plan[position];
  Ongoing& ongoing = ongoing_[position];
  for (const Target& target : fault.target()) {
    if (!resolve(target, ongoing, ongoing.targets)) return false;
  }
  for (const Target& target : fault.peer()) {
    if (!resolve(target, ongoing, ongoing.peers)) return false;
  }
  if (fault.kind() == CRASH_ALL) {
    for (uint32_t number = 0; number < machines_.size(); ++number) {
      ongoing.targets.push_back(number);
    }
  }
  return true;
}

}  // namespace tally::sim
