// The wire codec under random messages, which come back exactly, and random bytes, which do no
// harm.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>

#include "core/codec.h"
#include "core/little_endian.h"
#include "tests/codec_frames.h"

namespace tally {
namespace {

rc::Gen<uint64_t> numbers() {
  return rc::gen::oneOf(rc::gen::inRange<uint64_t>(0, 200), rc::gen::arbitrary<uint64_t>(),
                        rc::gen::element(uint64_t{0}, std::numeric_limits<uint64_t>::max()));
}
int64_t any_signed() { return static_cast<int64_t>(*numbers()); }
Time any_time() { return Time(Duration(any_signed())); }
std::string any_text() {
  const auto size = *rc::gen::inRange<size_t>(0, 300);
  return *rc::gen::container<std::string>(size, rc::gen::arbitrary<char>());
}
std::optional<int64_t> any_bound() {
  return *rc::gen::arbitrary<bool>() ? std::optional(any_signed()) : std::nullopt;
}

AppendRequest any_append() {
  AppendRequest append;
  append.term = Term(*numbers());
  append.prev_log_index = LogIndex(*rc::gen::inRange<uint64_t>(0, uint64_t{1} << 62));
  append.prev_log_term = Term(*numbers());
  append.commit_index = LogIndex(*numbers());
  append.round = *numbers();
  append.sent_at = any_time();
  const auto count = *rc::gen::inRange<uint64_t>(0, 6);
  for (uint64_t i = 1; i <= count; ++i) {
    append.entries.push_back({append.prev_log_index + i, Term(*numbers()), LogTime(*numbers()),
                              *rc::gen::element(EntryType::kNoop, EntryType::kCommand),
                              Bytes(any_text())});
  }
  return append;
}

AppendReply any_append_reply() {
  AppendReply reply;
  reply.term = Term(*numbers());
  reply.success = *rc::gen::arbitrary<bool>();
  reply.match_index = LogIndex(*numbers());
  reply.conflict_index = LogIndex(*numbers());
  reply.conflict_term = Term(*numbers());
  reply.prev_log_index = LogIndex(*numbers());
  reply.round = *numbers();
  reply.sent_at = any_time();
  reply.full = *rc::gen::arbitrary<bool>();
  reply.repair = *numbers();
  return reply;
}

SnapshotId any_id() {
  SnapshotId id;
  id.last = {LogIndex(1 + *numbers() / 2), Term(*numbers()), LogTime(*numbers())};
  id.piece_count = 1 + *numbers() / 2;
  id.hash = *numbers();
  return id;
}

SnapshotRequest any_snapshot() {
  SnapshotRequest request;
  request.term = Term(*numbers());
  request.id = any_id();
  request.piece = *numbers() % request.id.piece_count;
  request.round = *numbers();
  request.sent_at = any_time();
  request.data = Bytes(any_text());
  return request;
}

SnapshotReply any_snapshot_reply() {
  SnapshotReply reply;
  reply.term = Term(*numbers());
  reply.id = any_id();
  reply.next_piece = *numbers();
  reply.round = *numbers();
  reply.sent_at = any_time();
  return reply;
}

ClientRequest any_request() {
  ClientRequest request;
  request.request_id = *numbers();
  request.forward = *rc::gen::arbitrary<bool>();
  request.forwarded = *rc::gen::arbitrary<bool>();
  const auto which = *rc::gen::inRange(0, 5);
  if (which == 3) request.operation = ReadIndexRequest{};
  if (which == 4) request.operation = CloseSessionRequest{SessionId(*numbers())};
  if (which == 1) request.operation = GetValueRequest{any_text()};
  if (which == 2) {
    IncrementAndGetRequest increment;
    increment.name = Bytes(any_text());
    increment.delta = any_signed();
    increment.lower = any_bound();
    increment.upper = any_bound();
    increment.session = SessionId(*numbers());
    increment.sequence = *numbers();
    increment.first_outstanding = *numbers();
    request.operation = increment;
  }
  return request;
}

ValueResponse any_response() {
  ValueResponse response;
  response.request_id = *numbers();
  response.outcome = static_cast<Outcome>(*rc::gen::inRange(0, 4));
  response.reason = static_cast<Reason>(*rc::gen::inRange(0, 15));
  response.value = any_signed();
  response.leader_hint = NodeId(*numbers());
  response.error_msg = any_text();
  return response;
}

Message any_message() {
  switch (*rc::gen::inRange(0, 9)) {
    case 0:
      return VoteRequest{.term = Term(*numbers()),
                         .pre_vote = *rc::gen::arbitrary<bool>(),
                         .last_log_index = LogIndex(*numbers()),
                         .last_log_term = Term(*numbers()),
                         .transfer = *rc::gen::arbitrary<bool>()};
    case 1:
      return VoteReply{.term = Term(*numbers()),
                       .pre_vote = *rc::gen::arbitrary<bool>(),
                       .granted = *rc::gen::arbitrary<bool>()};
    case 2: return any_append();
    case 3: return any_append_reply();
    case 4: return any_request();
    case 5: return any_snapshot();
    case 6: return any_snapshot_reply();
    case 7: return TimeoutNow{Term(*numbers())};
    default: return any_response();
  }
}

// Field by field: a comparison through the codec would not see a field that it forgets.
bool same(const VoteRequest& a, const VoteRequest& b) {
  return a.term == b.term && a.pre_vote == b.pre_vote && a.last_log_index == b.last_log_index &&
         a.last_log_term == b.last_log_term && a.transfer == b.transfer;
}
bool same(const VoteReply& a, const VoteReply& b) {
  return a.term == b.term && a.pre_vote == b.pre_vote && a.granted == b.granted;
}
bool same(const AppendRequest& a, const AppendRequest& b) {
  return a.term == b.term && a.prev_log_index == b.prev_log_index &&
         a.prev_log_term == b.prev_log_term && a.commit_index == b.commit_index &&
         a.round == b.round && a.sent_at == b.sent_at && a.repair == b.repair &&
         a.repair_index == b.repair_index && a.entries == b.entries;
}
bool same(const AppendReply& a, const AppendReply& b) {
  return a.term == b.term && a.success == b.success && a.match_index == b.match_index &&
         a.conflict_index == b.conflict_index && a.conflict_term == b.conflict_term &&
         a.prev_log_index == b.prev_log_index && a.round == b.round && a.sent_at == b.sent_at &&
         a.full == b.full && a.repair == b.repair;
}
bool same(const SnapshotRequest& a, const SnapshotRequest& b) {
  return a.term == b.term && a.id == b.id && a.piece == b.piece && a.round == b.round &&
         a.sent_at == b.sent_at && a.data == b.data;
}
bool same(const SnapshotReply& a, const SnapshotReply& b) {
  return a.term == b.term && a.id == b.id && a.next_piece == b.next_piece && a.round == b.round &&
         a.sent_at == b.sent_at;
}
bool same(const TimeoutNow& a, const TimeoutNow& b) { return a.term == b.term; }
bool same(const OpenSessionRequest&, const OpenSessionRequest&) { return true; }
bool same(const ReadIndexRequest&, const ReadIndexRequest&) { return true; }
bool same(const CloseSessionRequest& a, const CloseSessionRequest& b) {
  return a.session == b.session;
}
bool same(const GetValueRequest& a, const GetValueRequest& b) { return a.name == b.name; }
bool same(const IncrementAndGetRequest& a, const IncrementAndGetRequest& b) {
  return a.name == b.name && a.delta == b.delta && a.lower == b.lower && a.upper == b.upper &&
         a.session == b.session && a.sequence == b.sequence &&
         a.first_outstanding == b.first_outstanding;
}
template <class... Types>
bool same(const std::variant<Types...>& a, const std::variant<Types...>& b);
bool same(const ClientRequest& a, const ClientRequest& b) {
  return a.request_id == b.request_id && a.forward == b.forward && a.forwarded == b.forwarded &&
         same(a.operation, b.operation);
}
bool same(const ValueResponse& a, const ValueResponse& b) {
  return a.request_id == b.request_id && a.outcome == b.outcome && a.reason == b.reason &&
         a.value == b.value && a.leader_hint == b.leader_hint && a.error_msg == b.error_msg;
}
template <class... Types>
bool same(const std::variant<Types...>& a, const std::variant<Types...>& b) {
  return a.index() == b.index() && (... && [&] {
           const auto* left = std::get_if<Types>(&a);
           return left == nullptr || same(*left, std::get<Types>(b));
         }());
}

RC_GTEST_PROP(CodecProperty, RoundTrip, ()) {
  Envelope out;  // decoded into again and again, as a connection does
  for (int i = 0; i < 4; ++i) {
    const Envelope envelope{Endpoint(*numbers()), Endpoint(*numbers()), any_message()};
    const GroupId group{*numbers(), *numbers()};
    std::string bytes = frame_of(envelope, group);
    const size_t frame_bytes = bytes.size();
    bytes += any_text();
    size_t consumed = 0;
    std::string error;
    RC_ASSERT(decode_frame(bytes, group, out, consumed, error) == FrameStatus::kOk);
    RC_ASSERT(consumed == frame_bytes);
    RC_ASSERT(out.from == envelope.from);
    RC_ASSERT(out.to == envelope.to);
    RC_ASSERT(same(out.message, envelope.message));
  }
}

RC_GTEST_PROP(CodecProperty, AnyBytesAreSafe, (const std::string& bytes)) {
  RC_ASSERT(status_of(bytes) != FrameStatus::kOk);
}

// Right checksums around random content: what is left for the decoder itself to refuse.
RC_GTEST_PROP(CodecProperty, AnyIntactContentIsSafe, ()) {
  const RawFrame raw{.type = *rc::gen::inRange<uint8_t>(0, 8),
                     .body = any_text(),
                     .entries = *rc::gen::arbitrary<bool>() ? any_text() : "",
                     .entry_count = *rc::gen::inRange<uint32_t>(0, 4)};
  status_of(raw_frame(raw));
}

RC_GTEST_PROP(CodecProperty, DamagedBodiesUnderRightChecksumsAreSafe, ()) {
  const std::string frame = frame_of(Envelope{Endpoint(1), Endpoint(2), any_message()});
  const uint32_t body_bytes = get_little_endian<uint32_t>(frame.data() + 24);
  RawFrame raw{.type = static_cast<uint8_t>(frame[36]),
               .body = frame.substr(kFrameHeaderBytes, body_bytes),
               .entries = frame.substr(kFrameHeaderBytes + body_bytes),
               .entry_count = get_little_endian<uint32_t>(frame.data() + 32)};
  std::string& victim = *rc::gen::arbitrary<bool>() ? raw.body : raw.entries;
  if (!victim.empty()) {
    victim[*rc::gen::inRange<size_t>(0, victim.size())] = *rc::gen::arbitrary<char>();
  }
  status_of(raw_frame(raw));
}

}  // namespace
}  // namespace tally
