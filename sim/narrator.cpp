#include "sim/narrator.h"

#include <fmt/format.h>

#include <string_view>

namespace tally::sim {
namespace {

std::string request_text(const ClientRequest& request) {
  if (const auto* increment = std::get_if<IncrementAndGetRequest>(&request.operation)) {
    return fmt::format("increment {} by {} (session {}, sequence {})", increment->name,
                       increment->delta, increment->session.value(), increment->sequence);
  }
  if (const auto* get = std::get_if<GetValueRequest>(&request.operation)) {
    return fmt::format("get {}", get->name);
  }
  if (std::holds_alternative<ReadIndexRequest>(request.operation)) return "ask for a read index";
  return "open a session";
}

std::string append_text(const AppendRequest& append) {
  if (append.entries.empty()) {
    return fmt::format("heartbeat: term {}, after {} (term {}), commit {}", append.term.value(),
                       append.prev_log_index.value(), append.prev_log_term.value(),
                       append.commit_index.value());
  }
  return fmt::format("append: term {}, entries {}..{} after {} (term {}), commit {}",
                     append.term.value(), append.entries.front().index.value(),
                     append.entries.back().index.value(), append.prev_log_index.value(),
                     append.prev_log_term.value(), append.commit_index.value());
}

}  // namespace

std::string endpoint_text(Endpoint endpoint) {
  if (is_client(endpoint)) {
    return fmt::format("client {}", endpoint.value() - kFirstClient.value());
  }
  return fmt::format("n{}", endpoint.value());
}

std::string message_text(const Message& message) {
  if (const auto* append = std::get_if<AppendRequest>(&message)) return append_text(*append);
  if (const auto* reply = std::get_if<AppendReply>(&message)) {
    if (reply->success) {
      return fmt::format("append reply: term {}, holds up to {}", reply->term.value(),
                         reply->match_index.value());
    }
    return fmt::format("append refusal: term {}, not after {}, at best after {} (term {})",
                       reply->term.value(), reply->prev_log_index.value(),
                       reply->conflict_index.value(), reply->conflict_term.value());
  }
  if (const auto* vote = std::get_if<VoteRequest>(&message)) {
    return fmt::format("{} request{}: term {}, log ends at {} (term {})",
                       vote->pre_vote ? "pre-vote" : "vote", vote->transfer ? " of a transfer" : "",
                       vote->term.value(), vote->last_log_index.value(),
                       vote->last_log_term.value());
  }
  if (const auto* vote = std::get_if<VoteReply>(&message)) {
    return fmt::format("{} {}: term {}", vote->pre_vote ? "pre-vote" : "vote",
                       vote->granted ? "granted" : "refused", vote->term.value());
  }
  if (const auto* request = std::get_if<ClientRequest>(&message)) return request_text(*request);
  if (const auto* snapshot = std::get_if<SnapshotRequest>(&message)) {
    return fmt::format("snapshot: term {}, piece {} of {} of the one up to {}",
                       snapshot->term.value(), snapshot->piece + 1, snapshot->id.piece_count,
                       snapshot->id.last.index.value());
  }
  if (const auto* snapshot = std::get_if<SnapshotReply>(&message)) {
    return fmt::format("snapshot reply: term {}, has {} of {} pieces of the one up to {}",
                       snapshot->term.value(), snapshot->next_piece, snapshot->id.piece_count,
                       snapshot->id.last.index.value());
  }
  if (const auto* timeout_now = std::get_if<TimeoutNow>(&message)) {
    return fmt::format("campaign now: term {}", timeout_now->term.value());
  }
  const auto& response = std::get<ValueResponse>(message);
  if (response.outcome == Outcome::kOk) return fmt::format("answer: {}", response.value);
  return fmt::format("answer: {} ({})", to_string(response.outcome), to_string(response.reason));
}

void Narrator::cause_message(const Machine& machine, const Envelope& envelope) {
  cause(machine,
        fmt::format("{} of {}", message_text(envelope.message), endpoint_text(envelope.from)));
}

void Narrator::cause(const Machine& machine, std::string text) {
  if (causes_.size() <= machine.number()) causes_.resize(machine.number() + 1);
  std::string& causes = causes_[machine.number()];
  causes += (causes.empty() ? "" : " + ") + text;
}

void Narrator::cause_wake(const Machine& machine) {
  const size_t number = machine.number();
  if (causes_.size() <= number || causes_[number].empty()) cause(machine, "wakes up");
}

void Narrator::forget_causes(const Machine& machine) {
  if (causes_.size() > machine.number()) causes_[machine.number()].clear();
}

void Narrator::step(VirtualTime at, const Machine& machine) {
  std::string effects;
  for (const Note& note : machine.node().last_notes()) {
    effects += (effects.empty() ? "" : "; ") + note_text(note);
  }
  if (!effects.empty()) {
    line(at, fmt::format("n{}", machine.id().value()),
         fmt::format("{} -> {}", causes_[machine.number()], effects));
  }
  forget_causes(machine);
}

void Narrator::line(VirtualTime at, std::string_view who, std::string_view text) {
  if (story_ != nullptr) story_->add_line(at, who, text);
  if (file_ == nullptr) return;
  const int64_t us = at.time_since_epoch().count() / 1000;
  fmt::print(file_, "{:>6}.{:03} ms  {:<9} {}\n", us / 1000, us % 1000, who, text);
}

}  // namespace tally::sim
