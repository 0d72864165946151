#include "sim/digest.h"

namespace tally::sim {
namespace {

uint64_t word(Time time) { return static_cast<uint64_t>(time.time_since_epoch().count()); }
uint64_t word(bool flag) { return flag ? 1 : 0; }

void fold_operation(Digest& digest, const OpenSessionRequest& open) { (void)digest, (void)open; }

void fold_operation(Digest& digest, const IncrementAndGetRequest& increment) {
  digest.fold(increment.name.view());
  digest.fold(static_cast<uint64_t>(increment.delta));
  for (const std::optional<int64_t>& bound : {increment.lower, increment.upper}) {
    digest.fold(word(bound.has_value()));
    digest.fold(static_cast<uint64_t>(bound.value_or(0)));
  }
  digest.fold(increment.session.value());
  digest.fold(increment.sequence);
  digest.fold(increment.first_outstanding);
}

void fold_operation(Digest& digest, const GetValueRequest& get) { digest.fold(get.name); }
void fold_operation(Digest& digest, const CloseSessionRequest& close) {
  digest.fold(close.session.value());
}
void fold_operation(Digest& digest, const ReadIndexRequest& read) { (void)digest, (void)read; }

void fold_fields(Digest& digest, const VoteRequest& vote) {
  digest.fold(vote.term.value());
  digest.fold(word(vote.pre_vote));
  digest.fold(vote.last_log_index.value());
  digest.fold(vote.last_log_term.value());
  digest.fold(word(vote.transfer));
}

void fold_fields(Digest& digest, const VoteReply& reply) {
  digest.fold(reply.term.value());
  digest.fold(word(reply.pre_vote));
  digest.fold(word(reply.granted));
}

void fold_fields(Digest& digest, const AppendRequest& append) {
  digest.fold(append.term.value());
  digest.fold(append.prev_log_index.value());
  digest.fold(append.prev_log_term.value());
  digest.fold(append.commit_index.value());
  digest.fold(append.round);
  digest.fold(word(append.sent_at));
  digest.fold(append.repair);
  digest.fold(append.repair_index.value());
  digest.fold(append.entries.size());
  for (const Entry& entry : append.entries) {
    digest.fold(entry.index.value());
    digest.fold(entry.term.value());
    digest.fold(entry.log_time.value());
    digest.fold(static_cast<uint64_t>(entry.type));
    digest.fold(entry.data.view());
  }
}

void fold_fields(Digest& digest, const AppendReply& reply) {
  digest.fold(reply.term.value());
  digest.fold(word(reply.success));
  digest.fold(reply.match_index.value());
  digest.fold(reply.conflict_index.value());
  digest.fold(reply.conflict_term.value());
  digest.fold(reply.prev_log_index.value());
  digest.fold(reply.round);
  digest.fold(word(reply.sent_at));
  digest.fold(word(reply.full));
  digest.fold(reply.repair);
}

void fold_fields(Digest& digest, const ClientRequest& request) {
  digest.fold(request.request_id);
  digest.fold(word(request.forward));
  digest.fold(word(request.forwarded));
  digest.fold(request.operation.index());
  std::visit([&](const auto& operation) { fold_operation(digest, operation); }, request.operation);
}

void fold_fields(Digest& digest, const ValueResponse& response) {
  digest.fold(response.request_id);
  digest.fold(static_cast<uint64_t>(response.outcome));
  digest.fold(static_cast<uint64_t>(response.reason));
  digest.fold(static_cast<uint64_t>(response.value));
  digest.fold(response.leader_hint.value());
  digest.fold(response.error_msg);
}

void fold_id(Digest& digest, const SnapshotId& id) {
  digest.fold(id.last.index.value());
  digest.fold(id.last.term.value());
  digest.fold(id.last.log_time.value());
  digest.fold(id.piece_count);
  digest.fold(id.hash);
}

void fold_fields(Digest& digest, const SnapshotRequest& request) {
  digest.fold(request.term.value());
  fold_id(digest, request.id);
  digest.fold(request.piece);
  digest.fold(request.round);
  digest.fold(word(request.sent_at));
  digest.fold(request.data.view());
}

void fold_fields(Digest& digest, const SnapshotReply& reply) {
  digest.fold(reply.term.value());
  fold_id(digest, reply.id);
  digest.fold(reply.next_piece);
  digest.fold(reply.round);
  digest.fold(word(reply.sent_at));
}

void fold_fields(Digest& digest, const TimeoutNow& timeout_now) {
  digest.fold(timeout_now.term.value());
}

}  // namespace

void Digest::fold(const Message& message) {
  fold(message.index());
  std::visit([&](const auto& fields) { fold_fields(*this, fields); }, message);
}

}  // namespace tally::sim
