#include "sim/oracles.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "core/draw.h"
#include "core/record.h"
#include "sim/machine.h"
#include "storage/log_format.h"
#include "storage/snapshot_store.h"

namespace tally::sim {
namespace {

uint64_t chain_on(uint64_t before, const Entry& entry) {
  const std::string_view data = entry.data.view();
  return draw(before, entry.term.value(), entry.log_time.value(), static_cast<uint64_t>(entry.type),
              XXH3_64bits(data.data(), data.size()));
}

// The last batch that stands whole in a segment's bytes, to judge by its header alone; {0, 0} when
// there is none. It looks at every place where one could stand, and knows nothing of what recovery
// believes.
LogPosition newest_batch(uint64_t segment, std::string_view bytes) {
  LogPosition newest;
  for (size_t offset = 0; offset < bytes.size(); offset += 8) {
    RecordView record;
    size_t consumed = 0;
    BatchHeader header;
    if (read_record(bytes.substr(offset), record, consumed) != RecordStatus::kOk) continue;
    const LogPosition here{segment, offset};
    if (to_batch_header(record, header) && header.own == here) newest = here;
  }
  return newest;
}

}  // namespace

Oracles::Oracles(uint32_t node_count) : nodes_(node_count) {}

std::string Oracles::name_of(const Machine& machine) {
  return fmt::format("n{}", machine.id().value());
}

void Oracles::violate(std::string_view oracle, std::string_view clause, std::string message,
                      std::vector<size_t> operations) {
  if (violation_) return;
  violation_ = Violation{std::string(oracle), std::string(clause), std::move(message), event_,
                         std::move(operations)};
}

void Oracles::on_start(const Machine& machine) {
  Watched& watched = nodes_[machine.number()];
  const Raft& raft = machine.node().raft();
  // Nothing that was durable may be missing; more may be there (writes that survived unsynced).
  const Media before = std::move(watched.media);
  if (raft.term() < before.hard_state.term ||
      (raft.term() == before.hard_state.term && before.hard_state.voted_for != kNoNode &&
       raft.hard_state().voted_for != before.hard_state.voted_for)) {
    violate("durability", "a restart forgot the term or the vote",
            fmt::format("{} starts with term {} and a vote for n{}; its media held term {} and a "
                        "vote for n{}",
                        name_of(machine), raft.term().value(), raft.hard_state().voted_for.value(),
                        before.hard_state.term.value(), before.hard_state.voted_for.value()));
  }
  if (raft.is_repairing()) {
    if (!machine.is_damaged()) undamaged(machine, machine.node().message());
    watched.repair_needs = ledger_.size();
    if (before.terms.size() > watched.lost.size() || !watched.repairing)
      watched.lost = before.terms;
  } else {
    check_kept(machine, before);
    watched.lost.clear();
  }
  watched.repairing = raft.is_repairing();
  watched.running = true;
  watched.media = Media{raft.hard_state(), committed_terms(raft.log().base_index())};
  for (LogIndex i = raft.log().base_index() + 1; i <= raft.log().last_index(); ++i) {
    watched.media.terms.push_back(raft.log().term_at(i));
  }
  watched.hard_state = raft.hard_state();
  watched.commit_index = LogIndex(0);
  watched.applied_index = LogIndex(0);
  watched.leads_term = Term(0);
  begin_log(machine, watched);
  if (raft.log().last_index() > raft.log().base_index()) {
    check_log(machine, watched, raft.log().base_index() + 1);
  }
  after_step(machine);
}

// A restart of a whole node finds all that is committed and was on its media.
void Oracles::check_kept(const Machine& machine, const Media& before) {
  const Raft& raft = machine.node().raft();
  const uint64_t held = std::min<uint64_t>(before.terms.size(), ledger_.size());
  for (uint64_t i = 1; i <= held; ++i) {
    if (before.terms[i - 1] != ledger_[i - 1].term) continue;
    if (LogIndex(i) <= raft.log().base_index()) continue;  // its snapshot is judged by its state
    if (LogIndex(i) <= raft.log().last_index() &&
        raft.log().term_at(LogIndex(i)) == before.terms[i - 1]) {
      continue;
    }
    violate("durability", "a restart lost a committed entry",
            fmt::format("{} starts without entry {} of term {}, which is committed and was on "
                        "its media",
                        name_of(machine), i, before.terms[i - 1].value()));
    break;
  }
}

void Oracles::check_repair(const Machine& machine, Watched& watched) {
  if (!watched.repairing || machine.node().raft().is_repairing()) return;
  watched.repairing = false;
  watched.lost.clear();
  const uint64_t needs = watched.repair_needs;
  const bool held = needs == 0 || (needs <= watched.chains.size() &&
                                   watched.chains[needs - 1] == ledger_[needs - 1].chain);
  if (held) return;
  violate("durability", "a node calls itself whole and lacks a committed entry",
          fmt::format("{} ends its repair without entry {}, which was committed when it began",
                      name_of(machine), needs));
}

// Of the first `last` committed entries, or of as many as there are.
std::vector<Term> Oracles::committed_terms(LogIndex last) const {
  std::vector<Term> terms;
  for (const Committed& committed : ledger_) {
    if (terms.size() == last.value()) break;
    terms.push_back(committed.term);
  }
  return terms;
}

// The log now begins behind its base: what came before must be what was committed.
void Oracles::begin_log(const Machine& machine, Watched& watched) {
  const EntryMark& base = machine.node().raft().log().base();
  const uint64_t count = base.index.value();
  watched.chains.clear();
  watched.terms = committed_terms(base.index);
  if (count > ledger_.size() || (count > 0 && ledger_[count - 1].term != base.term)) {
    violate("state machine safety", "a log begins behind what was never committed",
            fmt::format("{} has a log that begins behind entry {} of term {}", name_of(machine),
                        count, base.term.value()));
    watched.terms.resize(count);
  }
  for (uint64_t i = 0; i < count; ++i) {
    watched.chains.push_back(i < ledger_.size() ? ledger_[i].chain : 0);
  }
}

void Oracles::on_start_refused(const Machine& machine, Recovered::Outcome outcome) {
  if (machine.is_damaged()) {
    check_lost(machine);
    return;
  }
  if (outcome == Recovered::Outcome::kDamaged) return undamaged(machine, machine.refusal());
  violate("durability", "recovery refuses its own directory",
          fmt::format("{}: {}", name_of(machine), machine.refusal()));
}

// What no fault has damaged was never durable, though it was counted on.
void Oracles::undamaged(const Machine& machine, const std::string& message) {
  violate("durability", "recovery calls an undamaged disk damaged",
          fmt::format("{}: {}", name_of(machine), message));
}

// Of a damaged node that stays out. The newest batch tells term and vote; when it is there, and no
// damage has struck behind it, a newer one cannot have been lost.
void Oracles::check_lost(const Machine& machine) {
  const SimDisk& disk = machine.disk();
  LogPosition newest;
  for (const std::string& file : disk.media_list()) {
    const std::optional<uint64_t> number = segment_number(file);
    if (number) newest = std::max(newest, newest_batch(*number, *disk.media(file)));
  }
  if (newest == LogPosition{}) return;
  for (const std::string& file : disk.media_list()) {
    const std::optional<uint64_t> number = segment_number(file);
    const uint64_t struck_end = disk.struck_end(file);
    if (number && struck_end > 0 && LogPosition{*number, struck_end} > newest) return;
  }
  violate("durability", "recovery calls term and vote lost that are whole",
          fmt::format("{}: {}; the batch in {} at {} is whole, and nothing behind it was damaged",
                      name_of(machine), machine.refusal(), segment_name(newest.segment),
                      newest.offset));
}

void Oracles::on_down(const Machine& machine) { nodes_[machine.number()].running = false; }

void Oracles::on_media(uint32_t machine, std::string_view bytes) {
  Media& media = nodes_[machine].media;
  for_each_record(bytes, [&](size_t offset, const RecordView& record) {
    (void)offset;
    Entry entry;
    HardState hard_state;
    if (to_hard_state(record, hard_state)) {
      media.hard_state = hard_state;
    } else if (EntryMark base; to_reset(record, base)) {
      media.terms = committed_terms(base.index);
    } else if (record.type == RecordType::kNoop || record.type == RecordType::kCommand) {
      if (record.index == 0 || record.index > media.terms.size() + 1) return false;
      media.terms.resize(record.index - 1);
      media.terms.push_back(Term(record.term));
    }
    return true;
  });
}

void Oracles::on_send(const Machine& machine, const Envelope& envelope) {
  Watched& watched = nodes_[machine.number()];
  check_repair(machine, watched);  // the step that ended it may be the one that sends this
  if (watched.repairing) check_silence(machine, envelope.message);
  Term term_shown;
  if (const auto* vote = std::get_if<VoteRequest>(&envelope.message)) {
    if (!vote->pre_vote) {
      term_shown = vote->term;
      check_vote_shown(machine, watched, vote->term, machine.id());
    }
  } else if (const auto* reply = std::get_if<VoteReply>(&envelope.message)) {
    if (!reply->pre_vote && reply->granted) {
      check_vote_shown(machine, watched, reply->term, node_of(envelope.to));
    }
    if (!reply->pre_vote || !reply->granted) term_shown = reply->term;
  } else if (const auto* append = std::get_if<AppendRequest>(&envelope.message)) {
    term_shown = append->term;
  } else if (const auto* append_reply = std::get_if<AppendReply>(&envelope.message)) {
    term_shown = append_reply->term;
    if (append_reply->success) check_acknowledged(machine, watched, *append_reply);
  }
  if (term_shown > watched.media.hard_state.term) {
    violate("durability", "a message shows a term that is not durable",
            fmt::format("{} shows term {}; its media hold term {}", name_of(machine),
                        term_shown.value(), watched.media.hard_state.term.value()));
  }
}

void Oracles::check_silence(const Machine& machine, const Message& message) {
  const auto* reply = std::get_if<VoteReply>(&message);
  if (std::holds_alternative<VoteRequest>(message) || (reply != nullptr && reply->granted)) {
    violate("durability", "a damaged node votes",
            fmt::format("{} takes part in an election before it is whole", name_of(machine)));
  }
  const auto* append = std::get_if<AppendReply>(&message);
  if (append != nullptr && append->success && append->repair == 0) {
    violate("durability", "a damaged node acknowledges",
            fmt::format("{} acknowledges entries up to {} before it is whole", name_of(machine),
                        append->match_index.value()));
  }
}

void Oracles::check_vote_shown(const Machine& machine, Watched& watched, Term term,
                               NodeId candidate) {
  const auto [vote, added] = watched.votes.emplace(term, candidate);
  if (!added && vote->second != candidate) {
    violate("election safety", "two votes of one node in one term",
            fmt::format("{} votes for n{} in term {}, after a vote for n{}", name_of(machine),
                        candidate.value(), term.value(), vote->second.value()));
  }
  const HardState& durable = watched.media.hard_state;
  if (durable.term < term || (durable.term == term && durable.voted_for != candidate)) {
    violate("durability", "a vote leaves before it is durable",
            fmt::format("{} votes for n{} in term {}; its media hold term {} and a vote for n{}",
                        name_of(machine), candidate.value(), term.value(), durable.term.value(),
                        durable.voted_for.value()));
  }
}

void Oracles::check_acknowledged(const Machine& machine, const Watched& watched,
                                 const AppendReply& reply) {
  const uint64_t match = reply.match_index.value();
  if (match == 0) return;
  const std::optional<SnapshotId>& snapshot = machine.node().raft().snapshot();
  if (snapshot && reply.match_index <= snapshot->last.index) {
    // A newer one may have taken over already.
    for (const std::string& name : machine.disk().media_list()) {
      if (snapshot_index(name) >= reply.match_index) return;
    }
    violate("durability", "an acknowledged snapshot is not durable",
            fmt::format("{} acknowledges entries up to {}; its media have no snapshot up to {}",
                        name_of(machine), match, snapshot->last.index.value()));
    return;
  }
  // An answer of an earlier term was made before this very step took a newer leader's entries,
  // which may have replaced what it speaks of: it is judged by the log before the step.
  const Raft& raft = machine.node().raft();
  Term claimed;
  if (reply.term < raft.term()) {
    if (match <= watched.terms.size()) claimed = watched.terms[match - 1];
  } else if (reply.match_index <= raft.log().last_index()) {
    claimed = raft.log().term_at(reply.match_index);
  }
  const bool on_media =
      match <= watched.media.terms.size() && watched.media.terms[match - 1] == claimed;
  if (on_media) return;
  violate("durability", "an acknowledged entry is not durable",
          fmt::format("{} acknowledges entries up to {}; its media end at {}", name_of(machine),
                      match, watched.media.terms.size()));
}

void Oracles::after_step(const Machine& machine) {
  Watched& watched = nodes_[machine.number()];
  const Node& node = machine.node();
  check_terms(machine, watched);
  if (node.last_output().persist.reset) begin_log(machine, watched);
  const LogIndex first = node.last_output().persist.first_index;
  if (first != LogIndex(0)) check_log(machine, watched, first);
  if (node.raft().is_leader()) {
    check_leader(machine, watched);
  } else {
    watched.leads_term = Term(0);
  }
  if (node.raft().commit_index() != watched.commit_index) check_commit(machine, watched);
  if (node.state().applied_index() != watched.applied_index) check_applied(machine, watched);
  check_repair(machine, watched);
}

void Oracles::check_terms(const Machine& machine, Watched& watched) {
  const HardState& now = machine.node().raft().hard_state();
  if (now == watched.hard_state) return;
  if (now.term < watched.hard_state.term) {
    violate("monotone", "a term went back",
            fmt::format("{} goes from term {} to {}", name_of(machine),
                        watched.hard_state.term.value(), now.term.value()));
  }
  if (now.term == watched.hard_state.term && watched.hard_state.voted_for != kNoNode) {
    violate(
        "monotone", "a vote changed within its term",
        fmt::format("{} changes its vote of term {} from n{} to n{}", name_of(machine),
                    now.term.value(), watched.hard_state.voted_for.value(), now.voted_for.value()));
  }
  watched.hard_state = now;
}

// Entries from `first` to the end of the log are new or replaced.
void Oracles::check_log(const Machine& machine, Watched& watched, LogIndex first) {
  const Log& log = machine.node().raft().log();
  if (watched.leads_term == machine.node().raft().term() && watched.leads_term != Term(0) &&
      first.value() <= watched.chains.size()) {
    violate("leader append-only", "a leader replaced an entry of its log",
            fmt::format("{} leads term {} and replaces entry {}", name_of(machine),
                        watched.leads_term.value(), first.value()));
  }
  watched.chains.resize(std::min<size_t>(watched.chains.size(), first.value() - 1));
  watched.terms.resize(watched.chains.size());
  for (LogIndex i(watched.chains.size() + 1); i <= log.last_index(); ++i) {
    const uint64_t before = watched.chains.empty() ? 0 : watched.chains.back();
    const uint64_t chain = chain_on(before, log.at(i));
    watched.chains.push_back(chain);
    watched.terms.push_back(log.term_at(i));
    if (placed_.size() < i.value()) placed_.resize(i.value());
    std::vector<Placed>& same_index = placed_[i.value() - 1];
    const Term term = log.term_at(i);
    const auto known = std::find_if(same_index.begin(), same_index.end(),
                                    [&](const Placed& placed) { return placed.term == term; });
    if (known == same_index.end()) {
      same_index.push_back({term, chain});
    } else if (known->chain != chain) {
      violate("log matching", "same index and term, different past",
              fmt::format("{} holds entry {} of term {} with another past or content than a node "
                          "before it",
                          name_of(machine), i.value(), term.value()));
      return;
    }
  }
}

void Oracles::check_leader(const Machine& machine, Watched& watched) {
  const Raft& raft = machine.node().raft();
  if (watched.leads_term == raft.term()) return;
  watched.leads_term = raft.term();
  const auto [leader, added] = leaders_.emplace(raft.term(), machine.id());
  if (!added && leader->second != machine.id()) {
    violate("election safety", "two leaders in one term",
            fmt::format("{} leads term {}, as n{} does or did", name_of(machine),
                        raft.term().value(), leader->second.value()));
    return;
  }
  // The newest entry that was committed in an earlier term; its chain covers all before it.
  uint64_t count = ledger_.size();
  while (count > 0 && ledger_[count - 1].committed_in >= raft.term()) --count;
  if (count == 0) return;
  if (watched.chains.size() >= count && watched.chains[count - 1] == ledger_[count - 1].chain) {
    return;
  }
  violate("leader completeness", "a leader lacks a committed entry",
          fmt::format("{} leads term {} without entry {}, committed in term {}", name_of(machine),
                      raft.term().value(), count, ledger_[count - 1].committed_in.value()));
}

uint32_t Oracles::media_holders(LogIndex index, Term term) const {
  uint32_t count = 0;
  for (const Watched& watched : nodes_) {
    const auto held = [&](const std::vector<Term>& terms) {
      return index.value() <= terms.size() && terms[index.value() - 1] == term;
    };
    if (held(watched.media.terms) || (watched.repairing && held(watched.lost))) ++count;
  }
  return count;
}

void Oracles::check_commit(const Machine& machine, Watched& watched) {
  const Raft& raft = machine.node().raft();
  const LogIndex commit = raft.commit_index();
  if (commit < watched.commit_index) {
    violate("monotone", "a commit index went back",
            fmt::format("{} goes from commit index {} to {}", name_of(machine),
                        watched.commit_index.value(), commit.value()));
    return;
  }
  if (commit.value() > watched.chains.size()) {
    violate("state machine safety", "committed beyond the log",
            fmt::format("{} commits {}, its log ends at {}", name_of(machine), commit.value(),
                        watched.chains.size()));
    return;
  }
  const uint64_t known = std::min<uint64_t>(commit.value(), ledger_.size());
  if (known > 0 && watched.chains[known - 1] != ledger_[known - 1].chain) {
    violate("state machine safety", "two entries committed at one index",
            fmt::format("{} commits at or before index {} another entry than was committed there "
                        "first",
                        name_of(machine), known));
    return;
  }
  for (uint64_t i = ledger_.size() + 1; i <= commit.value(); ++i) {
    const Term term = raft.log().term_at(LogIndex(i));
    ledger_.push_back({term, watched.chains[i - 1], raft.term()});
    const uint32_t holders = media_holders(LogIndex(i), term);
    if (holders < nodes_.size() / 2 + 1) {
      violate("durability", "a committed entry is not on the media of a quorum",
              fmt::format("{} commits entry {} of term {}, which is on the media of {} of {} nodes",
                          name_of(machine), i, term.value(), holders, nodes_.size()));
      return;
    }
  }
  watched.commit_index = commit;
}

void Oracles::check_applied(const Machine& machine, Watched& watched) {
  const StateMachine& state = machine.node().state();
  const LogIndex applied = state.applied_index();
  if (applied < watched.applied_index || applied > machine.node().raft().commit_index()) {
    violate("monotone", "applied out of step with commit",
            fmt::format("{} has applied {}, before {}, with commit index {}", name_of(machine),
                        applied.value(), watched.applied_index.value(),
                        machine.node().raft().commit_index().value()));
    return;
  }
  watched.applied_index = applied;
  if (states_.size() < applied.value()) states_.resize(applied.value(), 0);
  uint64_t& known = states_[applied.value() - 1];
  const uint64_t found = draw(state.history_hash(), state.state_hash());
  if (known == 0) known = found;
  if (known == found) return;
  violate("state machine safety", "two states after the same entries",
          fmt::format("{} has another state after entry {} than a node before it", name_of(machine),
                      applied.value()));
}

}  // namespace tally::sim
