#include "core/codec_body.h"

#include <utility>

#include "core/check.h"
#include "core/codec.h"
#include "core/known_fields.h"
#include "core/wire.pb.h"

namespace tally {
namespace {

enum class WireType : uint8_t {
  kVoteRequest = 1,
  kVoteReply = 2,
  kAppendRequest = 3,
  kAppendReply = 4,
  kClientRequest = 5,
  kValueResponse = 6,
  kSnapshotRequest = 7,
  kSnapshotReply = 8,
  kTimeoutNow = 9,
};

// One protobuf message of each type, used again and again, so that a frame in steady state costs no
// allocation here. Says nothing from one use to the next: every use begins with Clear or Parse.
template <class Wire>
Wire& scratch() {
  thread_local Wire message;
  return message;
}

int64_t to_wire(Time time) { return time.time_since_epoch().count(); }
Time from_wire(int64_t time_ns) { return Time(Duration(time_ns)); }
std::string_view clipped(std::string_view text) { return text.substr(0, kFrameTextBytesMax); }
// (A string_view does not convert to the std::string that protobuf 3.21 takes.)
void assign(std::string_view text, std::string* out) { out->assign(text); }

// ---- Structs to protobuf. Each sets every field of a cleared message. ---------------------------

const wire::VoteRequest& fill(const VoteRequest& from, wire::VoteRequest& to) {
  to.set_term(from.term.value());
  to.set_pre_vote(from.pre_vote);
  to.set_last_log_index(from.last_log_index.value());
  to.set_last_log_term(from.last_log_term.value());
  to.set_transfer(from.transfer);
  return to;
}

const wire::VoteReply& fill(const VoteReply& from, wire::VoteReply& to) {
  to.set_term(from.term.value());
  to.set_pre_vote(from.pre_vote);
  to.set_granted(from.granted);
  return to;
}

const wire::AppendRequest& fill(const AppendRequest& from, wire::AppendRequest& to) {
  to.set_term(from.term.value());
  to.set_prev_log_index(from.prev_log_index.value());
  to.set_prev_log_term(from.prev_log_term.value());
  to.set_commit_index(from.commit_index.value());
  to.set_round(from.round);
  to.set_sent_at_ns(to_wire(from.sent_at));
  to.set_repair(from.repair);
  to.set_repair_index(from.repair_index.value());
  return to;
}

const wire::AppendReply& fill(const AppendReply& from, wire::AppendReply& to) {
  to.set_term(from.term.value());
  to.set_success(from.success);
  to.set_match_index(from.match_index.value());
  to.set_conflict_index(from.conflict_index.value());
  to.set_conflict_term(from.conflict_term.value());
  to.set_prev_log_index(from.prev_log_index.value());
  to.set_round(from.round);
  to.set_sent_at_ns(to_wire(from.sent_at));
  to.set_full(from.full);
  to.set_repair(from.repair);
  return to;
}

void fill_id(const SnapshotId& from, wire::SnapshotId& to) {
  to.set_last_index(from.last.index.value());
  to.set_last_term(from.last.term.value());
  to.set_last_log_time_ns(from.last.log_time.value());
  to.set_piece_count(from.piece_count);
  to.set_hash(from.hash);
}

const wire::SnapshotRequest& fill(const SnapshotRequest& from, wire::SnapshotRequest& to) {
  to.set_term(from.term.value());
  fill_id(from.id, *to.mutable_id());
  to.set_piece(from.piece);
  to.set_round(from.round);
  to.set_sent_at_ns(to_wire(from.sent_at));
  return to;
}

const wire::SnapshotReply& fill(const SnapshotReply& from, wire::SnapshotReply& to) {
  to.set_term(from.term.value());
  fill_id(from.id, *to.mutable_id());
  to.set_next_piece(from.next_piece);
  to.set_round(from.round);
  to.set_sent_at_ns(to_wire(from.sent_at));
  return to;
}

const wire::TimeoutNow& fill(const TimeoutNow& from, wire::TimeoutNow& to) {
  to.set_term(from.term.value());
  return to;
}

void fill_increment(const IncrementAndGetRequest& from, wire::IncrementAndGetRequest& to) {
  assign(clipped(from.name.view()), to.mutable_name());
  to.set_delta(from.delta);
  if (from.lower) to.set_lower(*from.lower);
  if (from.upper) to.set_upper(*from.upper);
  to.set_session(from.session.value());
  to.set_sequence(from.sequence);
  to.set_first_outstanding(from.first_outstanding);
}

const wire::ClientRequest& fill(const ClientRequest& from, wire::ClientRequest& to) {
  to.set_request_id(from.request_id);
  to.set_forward(from.forward);
  to.set_forwarded(from.forwarded);
  if (const auto* increment = std::get_if<IncrementAndGetRequest>(&from.operation)) {
    fill_increment(*increment, *to.mutable_increment());
  } else if (const auto* get = std::get_if<GetValueRequest>(&from.operation)) {
    assign(clipped(get->name), to.mutable_get()->mutable_name());
  } else if (std::holds_alternative<ReadIndexRequest>(from.operation)) {
    to.mutable_read_index();
  } else if (const auto* close = std::get_if<CloseSessionRequest>(&from.operation)) {
    to.mutable_close_session()->set_session(close->session.value());
  } else {
    CHECK(std::holds_alternative<OpenSessionRequest>(from.operation));
    to.mutable_open_session();
  }
  return to;
}

const wire::ValueResponse& fill(const ValueResponse& from, wire::ValueResponse& to) {
  to.set_success(from.outcome == Outcome::kOk);
  to.set_value(from.value);
  to.set_redirect(from.leader_hint.value());
  assign(clipped(from.error_msg), to.mutable_error_msg());
  to.set_request_id(from.request_id);
  to.set_outcome(static_cast<wire::Outcome>(from.outcome));
  to.set_reason(static_cast<wire::Reason>(from.reason));
  return to;
}

template <class Wire, class Struct>
size_t append_body(const Struct& from, std::string& out) {
  Wire& cleared = scratch<Wire>();
  cleared.Clear();
  const Wire& body = fill(from, cleared);
  const size_t size = body.ByteSizeLong();
  CHECK(size <= kFrameBodyBytesMax, "a message body of {} bytes", size);
  const size_t start = out.size();
  out.resize(start + size);
  CHECK(body.SerializeToArray(out.data() + start, static_cast<int>(size)));
  return size;
}

// ---- Protobuf to structs. Empty, or what is wrong. ----------------------------------------------

constexpr std::string_view kUndecodable = "its body does not decode";
constexpr std::string_view kUnknownField = "its body has a field that this version does not know";

// The message's alternative of type Struct, keeping its memory when it is there already.
template <class Struct, class Variant>
Struct& hold(Variant& variant) {
  if (auto* held = std::get_if<Struct>(&variant)) return *held;
  return variant.template emplace<Struct>();
}

std::string_view read(const wire::VoteRequest& from, VoteRequest& to) {
  to.term = Term(from.term());
  to.pre_vote = from.pre_vote();
  to.last_log_index = LogIndex(from.last_log_index());
  to.last_log_term = Term(from.last_log_term());
  to.transfer = from.transfer();
  return {};
}

std::string_view read(const wire::VoteReply& from, VoteReply& to) {
  to.term = Term(from.term());
  to.pre_vote = from.pre_vote();
  to.granted = from.granted();
  return {};
}

std::string_view read(const wire::AppendRequest& from, AppendRequest& to) {
  to.term = Term(from.term());
  to.prev_log_index = LogIndex(from.prev_log_index());
  to.prev_log_term = Term(from.prev_log_term());
  to.commit_index = LogIndex(from.commit_index());
  to.round = from.round();
  to.sent_at = from_wire(from.sent_at_ns());
  to.repair = from.repair();
  to.repair_index = LogIndex(from.repair_index());
  return {};
}

std::string_view read(const wire::AppendReply& from, AppendReply& to) {
  to.term = Term(from.term());
  to.success = from.success();
  to.match_index = LogIndex(from.match_index());
  to.conflict_index = LogIndex(from.conflict_index());
  to.conflict_term = Term(from.conflict_term());
  to.prev_log_index = LogIndex(from.prev_log_index());
  to.round = from.round();
  to.sent_at = from_wire(from.sent_at_ns());
  to.full = from.full();
  to.repair = from.repair();
  return {};
}

std::string_view read_id(const wire::SnapshotId& from, SnapshotId& to) {
  to.last.index = LogIndex(from.last_index());
  to.last.term = Term(from.last_term());
  to.last.log_time = LogTime(from.last_log_time_ns());
  to.piece_count = from.piece_count();
  to.hash = from.hash();
  if (to.piece_count == 0 || to.last.index == LogIndex(0)) return "its snapshot is empty";
  return has_only_known_fields(from) ? std::string_view() : kUnknownField;
}

std::string_view read(const wire::SnapshotRequest& from, SnapshotRequest& to) {
  to.term = Term(from.term());
  to.piece = from.piece();
  to.round = from.round();
  to.sent_at = from_wire(from.sent_at_ns());
  const std::string_view error = read_id(from.id(), to.id);
  if (!error.empty()) return error;
  return to.piece < to.id.piece_count ? std::string_view() : "its piece is beyond the last";
}

std::string_view read(const wire::SnapshotReply& from, SnapshotReply& to) {
  to.term = Term(from.term());
  to.next_piece = from.next_piece();
  to.round = from.round();
  to.sent_at = from_wire(from.sent_at_ns());
  return read_id(from.id(), to.id);
}

std::string_view read(const wire::TimeoutNow& from, TimeoutNow& to) {
  to.term = Term(from.term());
  return {};
}

std::string_view read_increment(const wire::IncrementAndGetRequest& from,
                                IncrementAndGetRequest& to) {
  if (from.name().size() > kFrameTextBytesMax) return "its counter name is too long";
  to.name = Bytes::passing(from.name());
  to.delta = from.delta();
  to.lower = from.has_lower() ? std::optional(from.lower()) : std::nullopt;
  to.upper = from.has_upper() ? std::optional(from.upper()) : std::nullopt;
  to.session = SessionId(from.session());
  to.sequence = from.sequence();
  to.first_outstanding = from.first_outstanding();
  return has_only_known_fields(from) ? std::string_view() : kUnknownField;
}

std::string_view read(const wire::ClientRequest& from, ClientRequest& to) {
  to.request_id = from.request_id();
  to.forward = from.forward();
  to.forwarded = from.forwarded();
  const int operation_count = int{from.has_open_session()} + int{from.has_increment()} +
                              int{from.has_get()} + int{from.has_read_index()} +
                              int{from.has_close_session()};
  if (operation_count != 1) return "its request has not exactly one operation";
  if (from.has_increment()) {
    return read_increment(from.increment(), hold<IncrementAndGetRequest>(to.operation));
  }
  if (from.has_get()) {
    if (from.get().name().size() > kFrameTextBytesMax) return "its counter name is too long";
    hold<GetValueRequest>(to.operation).name = from.get().name();
    return has_only_known_fields(from.get()) ? std::string_view() : kUnknownField;
  }
  if (from.has_read_index()) {
    to.operation.emplace<ReadIndexRequest>();
    return has_only_known_fields(from.read_index()) ? std::string_view() : kUnknownField;
  }
  if (from.has_close_session()) {
    to.operation = CloseSessionRequest{SessionId(from.close_session().session())};
    return has_only_known_fields(from.close_session()) ? std::string_view() : kUnknownField;
  }
  to.operation.emplace<OpenSessionRequest>();
  return has_only_known_fields(from.open_session()) ? std::string_view() : kUnknownField;
}

std::string_view read(const wire::ValueResponse& from, ValueResponse& to) {
  if (!wire::Outcome_IsValid(from.outcome())) return "its outcome is out of range";
  if (!wire::Reason_IsValid(from.reason())) return "its reason is out of range";
  if (from.success() != (from.outcome() == wire::OUTCOME_OK)) {
    return "its success contradicts its outcome";
  }
  if (from.error_msg().size() > kFrameTextBytesMax) return "its error message is too long";
  to.request_id = from.request_id();
  to.outcome = static_cast<Outcome>(from.outcome());
  to.reason = static_cast<Reason>(from.reason());
  to.value = from.value();
  to.leader_hint = NodeId(from.redirect());
  to.error_msg = from.error_msg();
  return {};
}

template <class Wire, class Struct>
std::string_view parse_body(std::string_view body, Message& message) {
  Wire& parsed = scratch<Wire>();
  if (!parsed.ParseFromArray(body.data(), static_cast<int>(body.size()))) return kUndecodable;
  if (!has_only_known_fields(parsed)) return kUnknownField;
  return read(parsed, hold<Struct>(message));
}

// The two enums are converted by value.
static_assert(static_cast<int>(Outcome::kRejected) == wire::Outcome_MAX);
static_assert(static_cast<int>(Reason::kTransfer) == wire::Reason_MAX);

}  // namespace

uint8_t wire_type(const Message& message) {
  // In the order of the variant.
  static_assert(std::is_same_v<std::variant_alternative_t<0, Message>, VoteRequest>);
  static_assert(std::is_same_v<std::variant_alternative_t<1, Message>, VoteReply>);
  static_assert(std::is_same_v<std::variant_alternative_t<2, Message>, AppendRequest>);
  static_assert(std::is_same_v<std::variant_alternative_t<3, Message>, AppendReply>);
  static_assert(std::is_same_v<std::variant_alternative_t<4, Message>, ClientRequest>);
  static_assert(std::is_same_v<std::variant_alternative_t<5, Message>, ValueResponse>);
  static_assert(std::is_same_v<std::variant_alternative_t<6, Message>, SnapshotRequest>);
  static_assert(std::is_same_v<std::variant_alternative_t<7, Message>, SnapshotReply>);
  static_assert(std::is_same_v<std::variant_alternative_t<8, Message>, TimeoutNow>);
  static_assert(std::variant_size_v<Message> == 9);
  static_assert(static_cast<uint8_t>(WireType::kTimeoutNow) == 9);
  return static_cast<uint8_t>(message.index() + 1);
}

size_t encode_body(const Message& message, std::string& out) {
  switch (static_cast<WireType>(wire_type(message))) {
    case WireType::kVoteRequest:
      return append_body<wire::VoteRequest>(std::get<VoteRequest>(message), out);
    case WireType::kVoteReply:
      return append_body<wire::VoteReply>(std::get<VoteReply>(message), out);
    case WireType::kAppendRequest:
      return append_body<wire::AppendRequest>(std::get<AppendRequest>(message), out);
    case WireType::kAppendReply:
      return append_body<wire::AppendReply>(std::get<AppendReply>(message), out);
    case WireType::kClientRequest:
      return append_body<wire::ClientRequest>(std::get<ClientRequest>(message), out);
    case WireType::kValueResponse:
      return append_body<wire::ValueResponse>(std::get<ValueResponse>(message), out);
    case WireType::kSnapshotRequest:
      return append_body<wire::SnapshotRequest>(std::get<SnapshotRequest>(message), out);
    case WireType::kSnapshotReply:
      return append_body<wire::SnapshotReply>(std::get<SnapshotReply>(message), out);
    case WireType::kTimeoutNow:
      return append_body<wire::TimeoutNow>(std::get<TimeoutNow>(message), out);
  }
  CHECK(false, "a message of no known type");
  return 0;
}

std::string_view decode_body(uint8_t type, std::string_view body, Message& message) {
  switch (static_cast<WireType>(type)) {
    case WireType::kVoteRequest: return parse_body<wire::VoteRequest, VoteRequest>(body, message);
    case WireType::kVoteReply: return parse_body<wire::VoteReply, VoteReply>(body, message);
    case WireType::kAppendRequest:
      return parse_body<wire::AppendRequest, AppendRequest>(body, message);
    case WireType::kAppendReply: return parse_body<wire::AppendReply, AppendReply>(body, message);
    case WireType::kClientRequest:
      return parse_body<wire::ClientRequest, ClientRequest>(body, message);
    case WireType::kValueResponse:
      return parse_body<wire::ValueResponse, ValueResponse>(body, message);
    case WireType::kSnapshotRequest:
      return parse_body<wire::SnapshotRequest, SnapshotRequest>(body, message);
    case WireType::kSnapshotReply:
      return parse_body<wire::SnapshotReply, SnapshotReply>(body, message);
    case WireType::kTimeoutNow: return parse_body<wire::TimeoutNow, TimeoutNow>(body, message);
  }
  return "unknown message type";
}

}  // namespace tally
