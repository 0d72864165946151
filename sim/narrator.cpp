#include "sim/narrator.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "core/client.h"
#include "core/command.pb.h"

namespace tally::sim {
namespace {

std::string request_text(const ClientRequest& request) {
  if (const auto* increment = std::get_if<IncrementAndGetRequest>(&request.operation)) {
    return fmt::format("increment {} by {} (session {}, sequence {})", increment->name.view(),
                       increment->delta, increment->session.value(), increment->sequence);
  }
  if (const auto* get = std::get_if<GetValueRequest>(&request.operation)) {
    return fmt::format("get {}", get->name);
  }
  if (std::holds_alternative<ReadIndexRequest>(request.operation)) return "ask for a read index";
  if (const auto* close = std::get_if<CloseSessionRequest>(&request.operation)) {
    return fmt::format("close session {}", close->session.value());
  }
  return "open a session";
}

// As request_text says it of the requests that became this entry.
std::vector<std::string> command_texts(const Entry& entry) {
  command::Command command;
  const std::string_view data = entry.data.view();
  if (!command.ParseFromArray(data.data(), static_cast<int>(data.size()))) return {"?"};
  if (command.increment_size() == 0) return {request_text(ClientRequest{})};
  std::vector<std::string> texts;
  for (const command::Increment& increment : command.increment()) {
    ClientRequest request;
    IncrementAndGetRequest& operation = request.operation.emplace<IncrementAndGetRequest>();
    operation.name = Bytes::passing(increment.name());
    operation.delta = increment.delta();
    operation.session = SessionId(increment.session());
    operation.sequence = increment.sequence();
    texts.push_back(request_text(request));
  }
  return texts;
}

// A client's request or its answer, between nodes, too.
bool is_of_client(const Message& message) {
  return std::holds_alternative<ClientRequest>(message) ||
         std::holds_alternative<ValueResponse>(message);
}

std::string late_text(Duration late_by) {
  return late_by == Duration(0) ? "" : fmt::format(", sent {} ms ago", late_by.count() / 1'000'000);
}

void append(std::string& list, std::string_view between, std::string_view item) {
  if (item.empty()) return;
  if (!list.empty()) list += between;
  list += item;
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

std::string Narrator::request_of(const Envelope& answer) const {
  const auto found =
      requests_.find({answer.to.value(), std::get<ValueResponse>(answer.message).request_id});
  return found == requests_.end() ? "" : found->second;
}

std::string Narrator::text_of(const Envelope& envelope) const {
  if (!std::holds_alternative<ValueResponse>(envelope.message)) {
    return message_text(envelope.message);
  }
  const std::string request = request_of(envelope);
  const std::string text = message_text(envelope.message);
  return request.empty() ? text : fmt::format("{} to {}", text, request);
}

Narrator::Pending& Narrator::pending(size_t number) {
  if (pending_.size() <= number) pending_.resize(number + 1);
  return pending_[number];
}

void Narrator::cause_message(const Machine& machine, const Envelope& envelope, Duration late_by) {
  cause(machine, fmt::format("{} of {}{}", text_of(envelope), endpoint_text(envelope.from),
                             late_text(late_by)));
}

void Narrator::cause(const Machine& machine, std::string text) {
  append(pending(machine.number()).causes, " + ", text);
  acting_ = machine.number();
}

void Narrator::cause_wake(const Machine& machine) {
  if (pending(machine.number()).causes.empty()) cause(machine, "wakes up");
  acting_ = machine.number();
}

void Narrator::forget_causes(const Machine& machine) { pending(machine.number()) = Pending(); }

// The entries that this step proposed: what they are, unless the causes say it already.
std::string Narrator::proposals_text(const Machine& machine, const std::string& causes) const {
  const Log& log = machine.node().raft().log();
  std::string text;
  for (const Output::Accepted& accepted : machine.node().last_output().accepted) {
    if (accepted.index <= log.base_index() || accepted.index > log.last_index()) continue;
    append(text, "; ", fmt::format("proposes entry {}", accepted.index.value()));
    std::string untold;
    for (const std::string& what : command_texts(log.at(accepted.index))) {
      if (causes.find(what) == std::string::npos) append(untold, ", ", what);
    }
    if (!untold.empty()) text += ": " + untold;
  }
  return text;
}

void Narrator::step(VirtualTime at, const Machine& machine, bool always) {
  const Pending now = std::exchange(pending(machine.number()), Pending());
  std::string effects;
  for (const Note& note : machine.node().last_notes()) append(effects, "; ", note_text(note));
  append(effects, "; ", proposals_text(machine, now.causes));
  append(effects, "; ", now.effects);
  if (now.read) {
    effects += fmt::format(", from its state after entry {}",
                           machine.node().state().applied_index().value());
  }
  if (effects.empty() && always) effects = "nothing to tell";
  if (effects.empty()) return;
  line(at, fmt::format("n{}", machine.id().value()), fmt::format("{} -> {}", now.causes, effects),
       now.noise);
}

void Narrator::step_fails(VirtualTime at, const std::string& why) {
  if (acting_ == kNobody) {
    line(at, "world", why);
    return;
  }
  Pending now = std::exchange(pending(acting_), Pending());
  append(now.effects, "; ", why);
  line(at, fmt::format("n{}", acting_ + 1), fmt::format("{} -> {}", now.causes, now.effects),
       now.noise);
}

void Narrator::sent(VirtualTime at, const Envelope& envelope) {
  const std::string to = endpoint_text(envelope.to);
  if (const auto* request = std::get_if<ClientRequest>(&envelope.message)) {
    const std::string text = request_text(*request);
    requests_[{envelope.from.value(), request->request_id}] = text;
    if (!is_client(envelope.from)) return;  // a note tells it
    const bool again = (request->request_id & ((uint64_t{1} << kAttemptBits) - 1)) > 1;
    line(at, endpoint_text(envelope.from),
         fmt::format("asks {}{}: {}", to, again ? " again" : "", text));
    return;
  }
  const auto* response = std::get_if<ValueResponse>(&envelope.message);
  if (response == nullptr || response->outcome != Outcome::kOk) return;
  Pending& node = pending(envelope.from.value() - 1);
  const std::string request = request_of(envelope);
  std::string text = fmt::format("answers {}: {}", to, response->value);
  const bool told = node.causes.find(request) != std::string::npos;
  if (!told) text += " to " + request;
  append(node.effects, "; ", text);
  // One that was passed on comes back as a message, which is then the cause.
  node.read |=
      request.starts_with("get ") && node.causes.find("to " + request) == std::string::npos;
}

void Narrator::lost(VirtualTime at, const Envelope& envelope, bool by_chance) {
  if (!by_chance && !is_of_client(envelope.message)) return;
  const std::string text =
      fmt::format("lost on the way to {}: {}", endpoint_text(envelope.to), text_of(envelope));
  if (is_client(envelope.from)) {
    line(at, endpoint_text(envelope.from), text, by_chance);
    return;
  }
  Pending& node = pending(envelope.from.value() - 1);
  append(node.effects, "; ", text);
  node.noise |= by_chance;
}

void Narrator::lost_under_way(VirtualTime at, const Envelope& envelope) {
  if (!is_of_client(envelope.message)) return;
  line(at, endpoint_text(envelope.to),
       fmt::format("never gets, its link was cut: {} of {}", text_of(envelope),
                   endpoint_text(envelope.from)));
}

void Narrator::client_receives(VirtualTime at, const Envelope& envelope, Duration late_by) {
  line(
      at, endpoint_text(envelope.to),
      fmt::format("{}: {}{}", endpoint_text(envelope.from), text_of(envelope), late_text(late_by)));
}

void Narrator::line(VirtualTime at, std::string_view who, std::string_view text, bool noise) {
  if (story_ != nullptr) story_->add_line(at, who, text, noise || who == "fault");
  if (file_ == nullptr) return;
  const int64_t us = at.time_since_epoch().count() / 1000;
  fmt::print(file_, "{:>6}.{:03} ms  {:<9} {}\n", us / 1000, us % 1000, who, text);
}

}  // namespace tally::sim
