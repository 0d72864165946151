// The wire codec: exact round trips, what must not pass for a frame.
#include "core/codec.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/little_endian.h"
#include "core/record.h"
#include "core/state_machine.h"
#include "core/wire.pb.h"
#include "tests/codec_frames.h"
#include "tests/readme_example.h"

namespace tally {
namespace {

AppendRequest append_of(uint64_t entry_count) {
  AppendRequest append;
  append.term = Term(3);
  append.prev_log_index = LogIndex(41);
  append.prev_log_term = Term(2);
  append.commit_index = LogIndex(40);
  append.round = 5;
  append.sent_at = Time(Duration(-123));
  for (uint64_t i = 1; i <= entry_count; ++i) {
    append.entries.push_back(
        {LogIndex(41 + i), Term(3), LogTime(i), EntryType::kCommand, Bytes(std::string(i, 'x'))});
  }
  return append;
}

IncrementAndGetRequest increment_of(std::string name) {
  IncrementAndGetRequest request;
  request.name = Bytes(name);
  request.delta = -5;
  request.upper = 0;
  request.session = SessionId(77);
  request.sequence = 3;
  request.first_outstanding = 2;
  return request;
}

// One of every kind, small enough to flip each bit of each.
std::vector<std::string> sample_frames() {
  ClientRequest open{.request_id = 1, .operation = OpenSessionRequest{}};
  ClientRequest add{.request_id = 2, .forwarded = true, .operation = increment_of("hits")};
  ClientRequest get{.request_id = 3, .forward = false, .operation = GetValueRequest{"hits"}};
  ClientRequest index{.request_id = 4, .operation = ReadIndexRequest{}};
  ClientRequest close{.request_id = 5, .operation = CloseSessionRequest{SessionId(77)}};
  ValueResponse response;
  response.outcome = Outcome::kRejected;
  response.reason = Reason::kBounds;
  response.leader_hint = NodeId(2);
  response.error_msg = "the value would leave the bounds";
  AppendReply refusal;
  refusal.term = Term(1);
  refusal.conflict_index = LogIndex(30);
  refusal.sent_at = Time(Duration(7));
  return {frame_of(VoteRequest{Term(4), true, LogIndex(9), Term(3)}),
          frame_of(VoteReply{Term(4), false, true}),
          frame_of(TimeoutNow{Term(4)}),
          frame_of(append_of(0)),
          frame_of(append_of(3)),
          frame_of(refusal),
          frame_of(open),
          frame_of(add),
          frame_of(get),
          frame_of(index),
          frame_of(close),
          frame_of(response),
          frame_of(VoteReply{})};
}

template <class Wire>
FrameStatus status_of_body(uint8_t type, const Wire& body) {
  return status_of(raw_frame({.type = type, .body = body.SerializeAsString()}));
}

TEST(Codec, EveryFlippedBitIsCaught) {
  for (const std::string& frame : sample_frames()) {
    ASSERT_EQ(status_of(frame), FrameStatus::kOk);
    for (size_t bit = 0; bit < 8 * frame.size(); ++bit) {
      std::string damaged = frame;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
      const FrameStatus status = status_of(damaged);
      // A damaged length must not make a reader wait for bytes that never come.
      EXPECT_TRUE(status == FrameStatus::kCorrupt ||
                  (status == FrameStatus::kWrongVersion && (bit / 8 == 4 || bit / 8 == 5)))
          << "bit " << bit << ": " << to_string(status);
    }
  }
}

TEST(Codec, EveryByteValueAtEveryPlaceIsCaught) {
  const std::string frame = frame_of(append_of(1));
  for (size_t at = 0; at < frame.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = frame;
      damaged[at] = static_cast<char>(value);
      if (damaged == frame) continue;
      ASSERT_NE(status_of(damaged), FrameStatus::kOk) << at << " " << value;
    }
  }
}

TEST(Codec, EveryPrefixNeedsMore) {
  for (const std::string& frame : sample_frames()) {
    for (size_t size = 0; size < frame.size(); ++size) {
      ASSERT_EQ(status_of(std::string_view(frame).substr(0, size)), FrameStatus::kNeedMore) << size;
    }
  }
}

TEST(Codec, FramesInARowAreReadOneByOne) {
  std::string stream;
  for (const std::string& frame : sample_frames()) stream += frame;
  std::string_view rest = stream;
  Envelope out;
  std::string again;
  while (!rest.empty()) {
    size_t consumed = 0;
    std::string error;
    ASSERT_EQ(decode_frame(rest, kGroup, out, consumed, error), FrameStatus::kOk) << error;
    encode_frame(out, kGroup, again);
    rest.remove_prefix(consumed);
  }
  EXPECT_EQ(again, stream);
}

TEST(Codec, SomethingElseIsRefusedAtItsFirstByte) {
  EXPECT_EQ(status_of("G"), FrameStatus::kCorrupt);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n"), FrameStatus::kCorrupt);
  EXPECT_EQ(status_of("TLLZ"), FrameStatus::kCorrupt);
}

TEST(Codec, OtherVersionClusterAndGroupAreNamed) {
  std::string frame = frame_of(VoteReply{});
  EXPECT_EQ(status_of(frame, {.cluster_id = 1, .group_id = 9}), FrameStatus::kWrongGroup);
  EXPECT_EQ(status_of(frame, {.cluster_id = kGroup.cluster_id, .group_id = 8}),
            FrameStatus::kWrongGroup);
  frame[4] = static_cast<char>(kWireVersion + 1);
  EXPECT_EQ(status_of(frame), FrameStatus::kWrongVersion);
  EXPECT_EQ(status_of(frame.substr(0, 16)), FrameStatus::kWrongVersion) << "before the rest came";
}

TEST(Codec, SizesAreLimitedBeforeAnythingIsWaitedFor) {
  EXPECT_EQ(status_of(raw_frame({.body_bytes_added = kFrameBodyBytesMax + 1})),
            FrameStatus::kTooLarge);
  EXPECT_EQ(status_of(raw_frame({.body_bytes_added = kFrameBodyBytesMax})), FrameStatus::kNeedMore);
  EXPECT_EQ(status_of(raw_frame({.body_bytes_added = std::numeric_limits<uint32_t>::max()})),
            FrameStatus::kTooLarge);
  const std::string too_much(kFrameEntriesBytesMax + 8, '\0');
  EXPECT_EQ(status_of(raw_frame({.type = 3, .entries = too_much, .entry_count = 1})),
            FrameStatus::kTooLarge);
  EXPECT_EQ(status_of(raw_frame({.type = 3, .entry_count = std::numeric_limits<uint32_t>::max()})),
            FrameStatus::kCorrupt);
}

TEST(Codec, LargestAppendFits) {
  AppendRequest append = append_of(0);
  const Bytes largest(std::string(kRecordPayloadBytesMax, 'x'));
  for (uint64_t i = 1; i <= 7; ++i) {
    append.entries.push_back({LogIndex(41 + i), Term(3), LogTime(1), EntryType::kCommand, largest});
  }
  const std::string frame = frame_of(append);
  EXPECT_LE(frame.size(), kFrameBytesMax);
  EXPECT_EQ(status_of(frame), FrameStatus::kOk);
}

TEST(Codec, EntriesMustBeTheAnnouncedContiguousOnes) {
  const std::string frame = frame_of(append_of(2));
  const uint32_t body_bytes = get_little_endian<uint32_t>(frame.data() + 24);
  const std::string body = frame.substr(kFrameHeaderBytes, body_bytes);
  const std::string first = frame.substr(kFrameHeaderBytes + body_bytes, record_bytes(1));
  const std::string second = frame.substr(kFrameHeaderBytes + body_bytes + record_bytes(1));
  const auto status = [&](const std::string& entries, uint32_t count) {
    return status_of(
        raw_frame({.type = 3, .body = body, .entries = entries, .entry_count = count}));
  };
  EXPECT_EQ(status(first + second, 2), FrameStatus::kOk);
  EXPECT_EQ(status(first, 1), FrameStatus::kOk);
  EXPECT_EQ(status(first + second, 1), FrameStatus::kCorrupt) << "one more";
  EXPECT_EQ(status(first, 2), FrameStatus::kCorrupt) << "one less";
  EXPECT_EQ(status(second + first, 2), FrameStatus::kCorrupt) << "out of order";
  EXPECT_EQ(status(first + first, 2), FrameStatus::kCorrupt) << "twice";
  EXPECT_EQ(status(second, 1), FrameStatus::kCorrupt) << "a gap";
  EXPECT_EQ(status(first + std::string(40, '\0'), 2), FrameStatus::kCorrupt) << "an empty record";
  std::string hard_state;
  append_record({.type = RecordType::kHardState, .index = 42, .payload = {}}, hard_state);
  EXPECT_EQ(status(hard_state, 1), FrameStatus::kCorrupt) << "not an entry";
  EXPECT_EQ(status_of(raw_frame({.type = 2, .entries = first, .entry_count = 1})),
            FrameStatus::kCorrupt)
      << "behind another message";
}

TEST(Codec, IndexBeyond64BitsIsRefused) {
  wire::AppendRequest append;
  append.set_prev_log_index(std::numeric_limits<uint64_t>::max());
  std::string entry;
  append_record({.type = RecordType::kNoop, .index = 0, .payload = {}}, entry);
  EXPECT_EQ(
      status_of(raw_frame(
          {.type = 3, .body = append.SerializeAsString(), .entries = entry, .entry_count = 1})),
      FrameStatus::kCorrupt);
}

TEST(Codec, TypeMustBeKnown) {
  for (int type = 0; type < 256; ++type) {
    // Of those that are known, 5 needs an operation, 6 must agree with itself, 7 and 8 need a
    // snapshot.
    const bool may_be_empty = (type >= 1 && type <= 4) || type == 9;
    EXPECT_EQ(status_of(raw_frame({.type = static_cast<uint8_t>(type)})),
              may_be_empty ? FrameStatus::kOk : FrameStatus::kCorrupt)
        << type;
  }
}

TEST(Codec, ResponseFieldsAreChecked) {
  wire::ValueResponse response;
  response.set_success(true);
  EXPECT_EQ(status_of_body(6, response), FrameStatus::kOk);
  response.set_outcome(wire::OUTCOME_UNKNOWN);
  EXPECT_EQ(status_of_body(6, response), FrameStatus::kCorrupt) << "success contradicts";
  response.set_success(false);
  EXPECT_EQ(status_of_body(6, response), FrameStatus::kOk);
  response.set_outcome(static_cast<wire::Outcome>(4));
  EXPECT_EQ(status_of_body(6, response), FrameStatus::kCorrupt);
  response.set_outcome(wire::OUTCOME_UNKNOWN);
  response.set_reason(static_cast<wire::Reason>(-1));
  EXPECT_EQ(status_of_body(6, response), FrameStatus::kCorrupt);
  response.set_reason(wire::REASON_STOPPING);
  response.set_error_msg(std::string(kFrameTextBytesMax, 'x'));
  EXPECT_EQ(status_of_body(6, response), FrameStatus::kOk);
  response.set_error_msg(std::string(kFrameTextBytesMax + 1, 'x'));
  EXPECT_EQ(status_of_body(6, response), FrameStatus::kCorrupt);
}

TEST(Codec, RequestHasExactlyOneOperation) {
  wire::ClientRequest request;
  EXPECT_EQ(status_of_body(5, request), FrameStatus::kCorrupt);
  request.mutable_get()->set_name("x");
  EXPECT_EQ(status_of_body(5, request), FrameStatus::kOk);
  request.mutable_open_session();
  EXPECT_EQ(status_of_body(5, request), FrameStatus::kCorrupt);
}

TEST(Codec, UnknownFieldsAreRefusedAtEveryDepth) {
  const std::string unknown("\x98\x06\x01", 3);  // field 99 = 1
  wire::ClientRequest request;
  request.mutable_increment()->set_name("x");
  const std::string body = request.SerializeAsString();
  EXPECT_EQ(status_of(raw_frame({.type = 5, .body = body})), FrameStatus::kOk);
  EXPECT_EQ(status_of(raw_frame({.type = 5, .body = body + unknown})), FrameStatus::kCorrupt);
  ASSERT_TRUE(request.mutable_increment()->MergeFromString(unknown));
  EXPECT_EQ(status_of_body(5, request), FrameStatus::kCorrupt);
}

TEST(Codec, BadAndOverlongNamesReachTheNode) {
  Envelope out;
  size_t consumed = 0;
  std::string error;
  ClientRequest request{.operation = GetValueRequest{"\xFF"}};
  ASSERT_EQ(decode_frame(frame_of(request), kGroup, out, consumed, error), FrameStatus::kOk);
  request.operation = GetValueRequest{std::string(5000, 'x')};
  ASSERT_EQ(decode_frame(frame_of(request), kGroup, out, consumed, error), FrameStatus::kOk);
  const auto& received = std::get<ClientRequest>(out.message);
  EXPECT_NE(counter_name_error(std::get<GetValueRequest>(received.operation).name), "")
      << "cut, but still too long for a counter";
}

TEST(Codec, ReusedEnvelopeKeepsNothingOfTheLastMessage) {
  Envelope out;
  size_t consumed = 0;
  std::string error;
  ClientRequest full{.request_id = 2, .operation = increment_of("hits")};
  ASSERT_EQ(decode_frame(frame_of(full), kGroup, out, consumed, error), FrameStatus::kOk);
  ClientRequest bare{.operation = IncrementAndGetRequest{}};
  ASSERT_EQ(decode_frame(frame_of(bare), kGroup, out, consumed, error), FrameStatus::kOk);
  EXPECT_EQ(frame_of(out), frame_of(Envelope{Endpoint(1), Endpoint(2), bare}));
  ASSERT_EQ(decode_frame(frame_of(append_of(3)), kGroup, out, consumed, error), FrameStatus::kOk);
  ASSERT_EQ(decode_frame(frame_of(append_of(0)), kGroup, out, consumed, error), FrameStatus::kOk);
  EXPECT_TRUE(std::get<AppendRequest>(out.message).entries.empty());
}

TEST(CodecDeathTest, GapInSentEntriesIsADefect) {
  AppendRequest append = append_of(2);
  append.entries[1].index = LogIndex(44);
  EXPECT_DEATH(frame_of(append), "sending entry 44 in the place of entry 43");
}

TEST(Codec, ExampleInReadme) {
  AppendRequest append;
  append.term = Term(2);
  append.prev_log_index = LogIndex(6);
  append.prev_log_term = Term(2);
  append.commit_index = LogIndex(6);
  append.round = 1;
  append.sent_at = Time(Duration(1000));
  append.entries.push_back({LogIndex(7), Term(2), LogTime(5'000'000), EntryType::kCommand, [] {
                              IncrementAndGetRequest request;
                              request.name = Bytes("hits");
                              request.delta = 5;
                              request.session = SessionId(3);
                              request.sequence = 1;
                              request.first_outstanding = 1;
                              return encode_increment(request);
                            }()});
  const std::string frame =
      frame_of(Envelope{Endpoint(1), Endpoint(2), append}, {.cluster_id = 0xC1, .group_id = 1});
  EXPECT_EQ(readme_example("frame"), hex_of(frame));
}

}  // namespace
}  // namespace tally
