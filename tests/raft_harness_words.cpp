// The harness's words: what a person reads in a transcript.
#include <fmt/format.h>

#include <variant>

#include "tests/raft_harness.h"

namespace tally {
namespace {

constexpr std::string_view kNoteTexts[] = {
#define TALLY_NOTE_TEXT(name, text) text,
    TALLY_NOTES(TALLY_NOTE_TEXT)
#undef TALLY_NOTE_TEXT
};

std::string replaced(std::string text, std::string_view what, uint64_t value) {
  const size_t at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, what.size(), fmt::to_string(value));
}

std::string position(LogIndex index, Term term) {
  if (index == LogIndex(0)) return "0";
  return fmt::format("{} (term {})", index.value(), term.value());
}

std::string round_words(uint64_t round) {
  return round == 0 ? "" : fmt::format(", read round {}", round);
}

std::string describe(const VoteRequest& request) {
  return fmt::format("{} request{}, term {}: log ends at {}",
                     request.pre_vote ? "pre-vote" : "vote",
                     request.transfer ? " of a transfer" : "", request.term.value(),
                     position(request.last_log_index, request.last_log_term));
}

std::string describe(const VoteReply& reply) {
  return fmt::format("{} {}, term {}", reply.pre_vote ? "pre-vote" : "vote",
                     reply.granted ? "granted" : "refused", reply.term.value());
}

std::string describe(const AppendRequest& request) {
  const std::string after = position(request.prev_log_index, request.prev_log_term);
  if (request.entries.empty()) {
    return fmt::format("heartbeat, term {}: after {}, commit {}{}", request.term.value(), after,
                       request.commit_index.value(), round_words(request.round));
  }
  return fmt::format("append, term {}: {}..{} after {}, commit {}{}", request.term.value(),
                     request.entries.front().index.value(), request.entries.back().index.value(),
                     after, request.commit_index.value(), round_words(request.round));
}

std::string describe(const AppendReply& reply) {
  const std::string tail = round_words(reply.round);
  if (reply.success) {
    return fmt::format("append answer, term {}: matches and durable up to {}{}", reply.term.value(),
                       reply.match_index.value(), tail);
  }
  return fmt::format("append answer, term {}: refused after {}, hint {}{}", reply.term.value(),
                     reply.prev_log_index.value(),
                     position(reply.conflict_index, reply.conflict_term), tail);
}

}  // namespace

std::string describe(const Message& message) {
  if (const auto* vote = std::get_if<VoteRequest>(&message)) return describe(*vote);
  if (const auto* vote_reply = std::get_if<VoteReply>(&message)) return describe(*vote_reply);
  if (const auto* append = std::get_if<AppendRequest>(&message)) return describe(*append);
  if (const auto* append_reply = std::get_if<AppendReply>(&message)) return describe(*append_reply);
  if (const auto* timeout_now = std::get_if<TimeoutNow>(&message)) {
    return fmt::format("campaign now, term {}", timeout_now->term.value());
  }
  return "not a Raft message";
}

std::string describe(const Note& note) {
  std::string text(kNoteTexts[static_cast<size_t>(note.kind)]);
  text = replaced(std::move(text), "{p}", note.peer.value());
  text = replaced(std::move(text), "{a}", note.a);
  return replaced(std::move(text), "{b}", note.b);
}

std::string describe(const HardState& hard_state) {
  if (hard_state.voted_for == kNoNode) return fmt::format("term {}", hard_state.term.value());
  return fmt::format("term {}, vote n{}", hard_state.term.value(), hard_state.voted_for.value());
}

std::vector<std::string> describe_log(const Raft& raft) {
  std::vector<std::string> lines;
  for (LogIndex i{1}; i <= raft.log().last_index(); ++i) {
    const Entry& entry = raft.log().at(i);
    const std::string what =
        entry.type == EntryType::kNoop ? "no-op" : fmt::format("\"{}\"", entry.data.view());
    lines.push_back(fmt::format("  {}: term {}, {}{}", i.value(), entry.term.value(), what,
                                i <= raft.commit_index() ? ", committed" : ""));
  }
  if (lines.empty()) lines.push_back("  empty");
  return lines;
}

std::string describe_state(const Raft& raft) {
  std::string log = "empty log";
  for (LogIndex i{1}; i <= raft.log().last_index(); ++i) {
    log = (i == LogIndex(1) ? "log of terms" : log) +
          fmt::format(" {}", raft.log().term_at(i).value());
  }
  std::string leader;
  if (!raft.is_leader() && raft.leader() != kNoNode) {
    leader = fmt::format(" of n{}", raft.leader().value());
  }
  return fmt::format("n{} {}{}, {}; {}; commit {}, durable {}", raft.id().value(),
                     to_string(raft.role()), leader, describe(raft.hard_state()), log,
                     raft.commit_index().value(), raft.durable_index().value());
}

}  // namespace tally
