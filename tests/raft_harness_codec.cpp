#include "tests/raft_harness_codec.h"

#include <fmt/format.h>

#include <tuple>
#include <variant>

#include "core/codec.h"

namespace tally {
namespace {

auto fields(const VoteRequest& m) {
  return std::tie(m.term, m.pre_vote, m.last_log_index, m.last_log_term, m.transfer);
}
auto fields(const TimeoutNow& m) { return std::tie(m.term); }
auto fields(const VoteReply& m) { return std::tie(m.term, m.pre_vote, m.granted); }
auto fields(const AppendRequest& m) {
  return std::tie(m.term, m.prev_log_index, m.prev_log_term, m.commit_index, m.round, m.sent_at,
                  m.repair, m.repair_index, m.entries);
}
auto fields(const AppendReply& m) {
  return std::tie(m.term, m.success, m.match_index, m.conflict_index, m.conflict_term,
                  m.prev_log_index, m.round, m.sent_at, m.full, m.repair);
}

template <class Kind>
bool same(const Message& a, const Message& b) {
  const Kind* left = std::get_if<Kind>(&a);
  const Kind* right = std::get_if<Kind>(&b);
  return left != nullptr && right != nullptr && fields(*left) == fields(*right);
}

}  // namespace

std::string codec_round_trip_error(const Envelope& envelope) {
  const GroupId group{7, 9};
  std::string frame;
  encode_frame(envelope, group, frame);
  Envelope back;
  size_t consumed = 0;
  std::string error;
  const FrameStatus status = decode_frame(frame, group, back, consumed, error);
  if (status != FrameStatus::kOk) return fmt::format("codec: {}: {}", to_string(status), error);
  const Message& a = envelope.message;
  const Message& b = back.message;
  const bool equal = same<VoteRequest>(a, b) || same<VoteReply>(a, b) ||
                     same<AppendRequest>(a, b) || same<AppendReply>(a, b) || same<TimeoutNow>(a, b);
  if (!equal || back.from != envelope.from || back.to != envelope.to || consumed != frame.size()) {
    return "codec: a message came back as another one";
  }
  return "";
}

}  // namespace tally
