// Snapshots of the state machine: state = snapshot + log, for any cut and however the reading of
// the snapshot mixes with applying what comes after it.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "core/draw.h"
#include "core/state_machine.h"

namespace tally {
namespace {

// A random log: few names and sessions, so that values return to 0, sessions expire and answers
// repeat.
std::vector<Entry> random_log(uint64_t seed, uint64_t count) {
  std::vector<Entry> entries;
  std::vector<uint64_t> sessions;
  uint64_t now = 0;
  for (uint64_t index = 1; index <= count; ++index) {
    const auto pick = [&](uint64_t aspect, uint64_t bound) {
      return scale(draw(seed, index, aspect), bound);
    };
    now += pick(0, 10) == 0 ? 60 : pick(1, 5);
    Entry entry{LogIndex(index), Term(1), LogTime(now), EntryType::kNoop, Bytes()};
    const uint64_t kind = pick(2, 10);
    if (kind == 0 || (kind > 1 && sessions.empty())) {
      entry.type = EntryType::kCommand;
      entry.data = encode_open_session({Duration(50), 6});
      sessions.push_back(index);
    } else if (kind == 2 && pick(9, 3) == 0) {
      entry.type = EntryType::kCommand;
      entry.data = encode_close_session(SessionId(sessions[pick(5, sessions.size())]));
    } else if (kind > 1) {
      IncrementAndGetRequest request;
      request.name = Bytes("c" + std::to_string(pick(3, 7)));
      request.delta = static_cast<int64_t>(pick(4, 5)) - 2;
      request.session = SessionId(sessions[sessions.size() - 1 - pick(5, sessions.size())]);
      request.sequence = 1 + pick(6, 40);
      request.first_outstanding = 1 + pick(7, request.sequence);
      if (pick(8, 4) == 0) request.upper = 3;
      entry.type = EntryType::kCommand;
      entry.data = encode_increment(request);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

StateMachine applied(const std::vector<Entry>& entries, size_t count) {
  StateMachine state;
  for (size_t i = 0; i < count; ++i) state.apply(entries[i]);
  return state;
}

void expect_equal(const StateMachine& a, const StateMachine& b) {
  RC_ASSERT(a.applied_index() == b.applied_index());
  RC_ASSERT(a.log_time() == b.log_time());
  RC_ASSERT(a.state_hash() == b.state_hash());
  RC_ASSERT(a.history_hash() == b.history_hash());
  RC_ASSERT(a.counter_count() == b.counter_count());
  RC_ASSERT(a.session_count() == b.session_count());
}

std::vector<std::string> read_all(StateMachine& state, size_t bytes_max) {
  std::vector<std::string> pieces;
  state.begin_capture();
  bool last = false;
  while (!last) last = state.read_piece(bytes_max, pieces.emplace_back());
  return pieces;
}

StateMachine loaded(const std::vector<std::string>& pieces) {
  StateMachine state;
  for (const std::string& piece : pieces) {
    EXPECT_FALSE(state.is_loaded());
    EXPECT_EQ(state.load_piece(piece), "");
  }
  EXPECT_TRUE(state.is_loaded());
  return state;
}

RC_GTEST_PROP(StateSnapshot, EqualsThePrefixAndTheLogGoesOnFromIt, ()) {
  const auto seed = *rc::gen::arbitrary<uint32_t>();
  const auto count = *rc::gen::inRange<size_t>(1, 300);
  const auto cut = *rc::gen::inRange<size_t>(0, count + 1);
  const auto bytes_max = *rc::gen::element<size_t>(1, 40, 200, 100'000);
  const auto applies_per_piece = *rc::gen::inRange<size_t>(0, 20);
  const auto parts = *rc::gen::inRange<size_t>(0, 4);
  const auto work_bytes = *rc::gen::element<size_t>(1, 30, 1000);
  const std::vector<Entry> entries = random_log(seed, count);

  StateMachine quiet = applied(entries, cut);
  const std::vector<std::string> wanted = read_all(quiet, bytes_max);

  // The same capture, read while the rest is applied.
  StateMachine state = applied(entries, cut);
  state.begin_capture();
  RC_ASSERT(state.captured_index() == LogIndex(cut));
  std::vector<std::string> pieces;
  size_t next = cut;
  bool last = false;
  while (!last) {
    // Perhaps filled ahead, a part at a time, with applying in between.
    for (size_t part = 0; part < parts; ++part) {
      if (state.fill_piece(bytes_max, work_bytes)) break;
      if (next < count) state.apply(entries[next++]);
    }
    last = state.read_piece(bytes_max, pieces.emplace_back());
    for (size_t i = 0; i < applies_per_piece && next < count; ++i) state.apply(entries[next++]);
  }
  RC_ASSERT(!state.is_capturing());
  RC_ASSERT(pieces == wanted);

  StateMachine restored = loaded(pieces);
  expect_equal(restored, applied(entries, cut));
  for (size_t i = cut; i < count; ++i) {
    StateMachine& direct = quiet;
    RC_ASSERT(std::ranges::equal(restored.apply(entries[i]), direct.apply(entries[i])));
  }
  expect_equal(restored, quiet);
  while (next < count) state.apply(entries[next++]);
  expect_equal(state, quiet);
}

// Two nodes, one of which began from a snapshot, make the same pieces.
RC_GTEST_PROP(StateSnapshot, IsTheSameWhereverItIsTaken, ()) {
  const auto seed = *rc::gen::arbitrary<uint32_t>();
  const std::vector<Entry> entries = random_log(seed, 200);
  StateMachine first = applied(entries, 90);
  StateMachine second = loaded(read_all(first, 60));
  for (size_t i = 90; i < 200; ++i) {
    first.apply(entries[i]);
    second.apply(entries[i]);
  }
  RC_ASSERT(read_all(first, 60) == read_all(second, 60));
}

RC_GTEST_PROP(StateSnapshot, ADamagedListOfPiecesNeverLoads, ()) {
  const auto seed = *rc::gen::arbitrary<uint32_t>();
  StateMachine state = applied(random_log(seed, 200), 200);
  std::vector<std::string> pieces = read_all(state, 60);
  RC_PRE(pieces.size() >= 3u);
  const auto at = *rc::gen::inRange<size_t>(0, pieces.size());
  const auto damage = *rc::gen::inRange(0, 3);
  if (damage == 0) {
    pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(at));
  } else if (damage == 1) {
    pieces.insert(pieces.begin() + static_cast<std::ptrdiff_t>(at), pieces[at]);
  } else {
    std::swap(pieces[at], pieces[(at + 1) % pieces.size()]);
  }
  StateMachine loading;
  bool refused = false;
  for (const std::string& piece : pieces) {
    if (loading.is_loaded() || !loading.load_piece(piece).empty()) {
      refused = true;
      break;
    }
  }
  RC_ASSERT(refused || !loading.is_loaded());
}

RC_GTEST_PROP(StateSnapshot, AnyBytesAreRefusedInPeace, (const std::string& bytes)) {
  StateMachine state;
  state.load_piece(bytes);
  RC_ASSERT(!state.is_loaded());
}

TEST(StateSnapshot, ALaterFormatIsNamed) {
  StateMachine state;
  std::string piece = read_all(state, 100).front();
  ASSERT_EQ(piece.substr(2, 2), std::string("\x08\x01", 2)) << "format, the first field";
  piece[3] = 2;
  StateMachine loading;
  EXPECT_NE(loading.load_piece(piece).find("state format 2"), std::string::npos);
}

TEST(StateSnapshot, AnEmptyStateIsOnePiece) {
  StateMachine state;
  const std::vector<std::string> pieces = read_all(state, 100);
  EXPECT_EQ(pieces.size(), 1u);
  EXPECT_EQ(loaded(pieces).state_hash(), state.state_hash());
}

}  // namespace
}  // namespace tally
