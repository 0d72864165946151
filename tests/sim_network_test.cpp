// The simulated network: what it does to messages, and that each of its draws belongs to one
// message of one link.
#include "sim/sim_network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "sim/params.h"

namespace tally::sim {
namespace {

using std::chrono::milliseconds;

constexpr GroupId kGroup{.cluster_id = 1, .group_id = 1};
constexpr int64_t kAlways = 900'000;  // as near as the parameters let it be

struct Arrival {
  VirtualTime at;
  uint64_t term;  // which message it is

  friend bool operator==(const Arrival&, const Arrival&) = default;
};

// Three nodes and one client; messages are appends, told apart by their term.
class Net {
 public:
  explicit Net(const std::function<void(Params::Network&)>& set = {}, uint64_t seed = 1,
               int64_t steady_ms = 0)
      : network(seed, with(set), steady_ms, 3, 1, kGroup, queue) {}

  // Lets so much time pass; what arrives meanwhile is lost.
  void pass(milliseconds time) {
    queue.push(queue.now() + time, EventKind::kPhase, 0);
    while (queue.pop().kind != EventKind::kPhase) {
    }
  }

  void send(uint64_t from, uint64_t to, uint64_t term, size_t entries = 0) {
    AppendRequest append;
    append.term = Term(term);
    for (uint64_t i = 1; i <= entries; ++i) {
      append.entries.push_back(Entry{LogIndex(i), Term(1), LogTime(1), EntryType::kNoop, Bytes()});
    }
    network.send({endpoint_of(NodeId(from)), endpoint_of(NodeId(to)), std::move(append)});
  }
  // Messages 1 .. count, all at this moment.
  void send_many(uint64_t from, uint64_t to, uint64_t count) {
    for (uint64_t term = 1; term <= count; ++term) send(from, to, term);
  }
  void answer_client(uint64_t from, uint64_t id) {
    network.send({endpoint_of(NodeId(from)), kFirstClient,
                  ValueResponse{id, Outcome::kOk, Reason::kNone, 0, kNoNode, ""}});
  }

  // Everything that arrives at `to` from `from`, until nothing is under way.
  std::vector<Arrival> arrivals(uint64_t from = 1, uint64_t to = 2) {
    drain();
    return arrived[(from - 1) * 3 + (to - 1)];
  }
  std::vector<uint64_t> terms(uint64_t from = 1, uint64_t to = 2) {
    std::vector<uint64_t> result;
    for (const Arrival& arrival : arrivals(from, to)) result.push_back(arrival.term);
    return result;
  }
  std::vector<uint64_t> client_answers() {
    drain();
    return answers;
  }

  EventQueue queue;
  SimNetwork network;

 private:
  static Params::Network with(const std::function<void(Params::Network&)>& set) {
    Params::Network params = calm_params().network();
    params.set_codec_ppm(0);
    if (set) set(params);
    return params;
  }
  void drain() {
    while (!queue.empty()) {
      const Event event = queue.pop();
      Envelope envelope;
      if (!network.receive(event.a, envelope)) continue;
      if (event.kind == EventKind::kClientReceive) {
        answers.push_back(std::get<ValueResponse>(envelope.message).request_id);
        continue;
      }
      const uint64_t link = (envelope.from.value() - 1) * 3 + envelope.to.value() - 1;
      EXPECT_EQ(event.who + 1, envelope.to.value());
      arrived[link].push_back({event.at, std::get<AppendRequest>(envelope.message).term.value()});
    }
  }

  std::vector<Arrival> arrived[9];
  std::vector<uint64_t> answers;
};

// ---- a calm network

TEST(SimNetworkTest, DeliversEachMessageOnceWithinItsLatency) {
  Net net;
  net.send_many(1, 2, 200);
  const std::vector<Arrival> arrivals = net.arrivals();
  ASSERT_EQ(arrivals.size(), 200u);
  for (const Arrival& arrival : arrivals) {
    EXPECT_GE(arrival.at, VirtualTime(std::chrono::microseconds(200)));
    EXPECT_LE(arrival.at, VirtualTime(std::chrono::microseconds(1000)));
  }
}

TEST(SimNetworkTest, ReordersUnlessLinksKeepOrder) {
  Net free;
  free.send_many(1, 2, 200);
  Net fifo([](Params::Network& params) { params.set_fifo(true); });
  fifo.send_many(1, 2, 200);
  const std::vector<uint64_t> reordered = free.terms();
  const std::vector<uint64_t> ordered = fifo.terms();
  EXPECT_FALSE(std::is_sorted(reordered.begin(), reordered.end()));
  EXPECT_TRUE(std::is_sorted(ordered.begin(), ordered.end()));
  EXPECT_EQ(ordered.size(), 200u);
}

TEST(SimNetworkTest, ToClientsItNeverLosesRepeatsOrReorders) {
  Net net([](Params::Network& params) {
    params.set_loss_ppm(kAlways);
    params.set_duplicate_ppm(kAlways);
    params.set_replay_ppm(kAlways);
  });
  for (uint64_t id = 1; id <= 100; ++id) net.answer_client(1, id);
  const std::vector<uint64_t> answers = net.client_answers();
  ASSERT_EQ(answers.size(), 100u);
  EXPECT_TRUE(std::is_sorted(answers.begin(), answers.end()));
}

// ---- noise

TEST(SimNetworkTest, LosesItsShare) {
  Net net([](Params::Network& params) { params.set_loss_ppm(500'000); });
  net.send_many(1, 2, 1000);
  const size_t count = net.arrivals().size();
  EXPECT_GT(count, 400u);
  EXPECT_LT(count, 600u);
  EXPECT_EQ(net.network.noise().size(), 1000 - count);
}

TEST(SimNetworkTest, DuplicatesItsShare) {
  Net net([](Params::Network& params) { params.set_duplicate_ppm(500'000); });
  net.send_many(1, 2, 1000);
  const size_t count = net.arrivals().size();
  EXPECT_GT(count, 1400u);
  EXPECT_LT(count, 1600u);
}

TEST(SimNetworkTest, ReplaysOldMessagesMuchLater) {
  Net net([](Params::Network& params) {
    params.set_replay_ppm(500'000);
    params.set_replay_ms_max(5000);
  });
  net.send_many(1, 2, 1000);
  const std::vector<Arrival> arrivals = net.arrivals();
  EXPECT_GT(arrivals.size(), 1400u);
  EXPECT_GT(arrivals.back().at, VirtualTime(milliseconds(4000)));
  EXPECT_LE(arrivals.back().at, VirtualTime(milliseconds(5001)));
}

TEST(SimNetworkTest, AHeavyTailTakesUpToTwentyTimesAsLong) {
  Net net([](Params::Network& params) { params.set_heavy_tail_ppm(500'000); });
  net.send_many(1, 2, 1000);
  const std::vector<Arrival> arrivals = net.arrivals();
  EXPECT_EQ(arrivals.size(), 1000u);
  EXPECT_GT(arrivals.back().at, VirtualTime(milliseconds(10)));
  EXPECT_LE(arrivals.back().at, VirtualTime(milliseconds(20)));
}

TEST(SimNetworkTest, GivenNoiseStrikesTheMessageThatItNames) {
  NoiseEvent noise;
  noise.set_from(1);
  noise.set_to(2);
  noise.set_effect(NoiseEvent::LOSE);
  noise.set_at_us(5000);
  noise.set_message(APPEND);
  noise.set_ordinal(2);
  Net net;
  net.network.force({noise});
  net.send(1, 2, 1, 1);  // too early
  net.pass(milliseconds(5));
  net.send(1, 3, 2, 1);  // on another link
  net.send(1, 2, 3, 1);  // the first append
  net.send(1, 2, 4);     // a heartbeat
  net.send(1, 2, 5, 1);  // the second append
  net.send(1, 2, 6, 1);
  std::vector<uint64_t> arrived = net.terms();
  std::sort(arrived.begin(), arrived.end());
  EXPECT_EQ(arrived, (std::vector<uint64_t>{3, 4, 6}));
  ASSERT_EQ(net.network.noise().size(), 1u);
  EXPECT_EQ(net.network.noise_event(net.network.noise()[0]).SerializeAsString(),
            noise.SerializeAsString());
}

TEST(SimNetworkTest, NoiseOfAClientNamesIt) {
  Net net([](Params::Network& params) { params.set_heavy_tail_ppm(kAlways); });
  for (uint64_t id = 1; id <= 20; ++id) net.answer_client(2, id);
  ASSERT_FALSE(net.network.noise().empty());
  const NoiseEvent named = net.network.noise_event(net.network.noise()[0]);
  EXPECT_EQ(named.from(), 2);
  EXPECT_FALSE(named.has_to());
  EXPECT_TRUE(named.has_client());
  EXPECT_EQ(named.client(), 0);
}

TEST(SimNetworkTest, SteadyDelaysOutlastWhatIsLeftOut) {
  const auto last_arrival = [](int64_t steady_ms, uint64_t sent_before) {
    Net net([](Params::Network& params) { params.set_latency_us_max(100'000); }, 1, steady_ms);
    net.send_many(1, 2, sent_before);
    net.pass(milliseconds(200));
    net.send(1, 2, 99);
    return net.arrivals().back();
  };
  EXPECT_EQ(last_arrival(10, 3), last_arrival(10, 4));
  EXPECT_NE(last_arrival(0, 3), last_arrival(0, 4));
}

// ---- bandwidth

TEST(SimNetworkTest, ABusyLinkSendsOneMessageAfterTheOther) {
  // 100 bytes each at 100 bytes per millisecond.
  Net net([](Params::Network& params) { params.set_bandwidth_bytes_per_ms(100); });
  net.send_many(1, 2, 50);
  const std::vector<Arrival> arrivals = net.arrivals();
  ASSERT_EQ(arrivals.size(), 50u);
  EXPECT_GE(arrivals.back().at, VirtualTime(milliseconds(50)));
  EXPECT_LE(arrivals.back().at, VirtualTime(milliseconds(52)));
}

TEST(SimNetworkTest, EntriesTakeBandwidthToo) {
  Net net([](Params::Network& params) { params.set_bandwidth_bytes_per_ms(100); });
  net.send(1, 2, 1, 100);  // 100 bytes and 40 per entry
  EXPECT_GE(net.arrivals().back().at, VirtualTime(milliseconds(41)));
}

TEST(SimNetworkTest, WhatWaitsBehindTooMuchIsDropped) {
  Net net([](Params::Network& params) {
    params.set_bandwidth_bytes_per_ms(100);
    params.set_queue_bytes(1000);
  });
  net.send_many(1, 2, 50);
  EXPECT_EQ(net.arrivals().size(), 11u);  // ten wait behind the one being sent
}

// ---- faults

TEST(SimNetworkTest, ACutLinkLosesWhatIsSentAndWhatIsUnderWay) {
  Net net;
  net.send(1, 2, 1);
  net.network.cut(0, 1, +1);
  net.send(1, 2, 2);
  net.send(2, 1, 3);  // the other direction lives
  EXPECT_TRUE(net.network.is_cut(0, 1));
  EXPECT_FALSE(net.network.is_cut(1, 0));
  EXPECT_TRUE(net.arrivals(1, 2).empty());
  EXPECT_EQ(net.terms(2, 1), std::vector<uint64_t>{3});
  net.network.cut(0, 1, -1);
  net.send(1, 2, 4);
  EXPECT_EQ(net.terms(1, 2), std::vector<uint64_t>{4});
}

TEST(SimNetworkTest, OverlappingCutsEndOneByOne) {
  Net net;
  net.network.cut(0, 1, +1);
  net.network.cut(0, 1, +1);
  net.network.cut(0, 1, -1);
  EXPECT_TRUE(net.network.is_cut(0, 1));
  net.network.cut(0, 1, -1);
  EXPECT_FALSE(net.network.is_cut(0, 1));
}

TEST(SimNetworkTest, ANodeCutFromClientsHearsNodes) {
  Net net;
  net.network.cut_clients(0, +1);
  net.answer_client(1, 1);
  net.answer_client(2, 2);
  net.send(1, 2, 1);
  EXPECT_EQ(net.client_answers(), std::vector<uint64_t>{2});
  EXPECT_EQ(net.terms(), std::vector<uint64_t>{1});
}

TEST(SimNetworkTest, AResetLosesWhatIsUnderWayOnly) {
  Net net;
  net.send(1, 2, 1);
  net.network.reset(0, 1);
  net.send(1, 2, 2);
  EXPECT_EQ(net.terms(), std::vector<uint64_t>{2});
}

TEST(SimNetworkTest, ASlowLinkIsSlowInOneDirection) {
  Net net;
  net.network.slow(0, 1, milliseconds(30));
  net.send(1, 2, 1);
  net.send(2, 1, 2);
  EXPECT_GE(net.arrivals(1, 2).at(0).at, VirtualTime(milliseconds(30)));
  EXPECT_LE(net.arrivals(2, 1).at(0).at, VirtualTime(milliseconds(1)));
}

TEST(SimNetworkTest, HealingEndsEverythingForGood) {
  Net net([](Params::Network& params) {
    params.set_loss_ppm(kAlways);
    params.set_duplicate_ppm(kAlways);
    params.set_heavy_tail_ppm(kAlways);
  });
  net.send_many(1, 2, 50);
  net.network.cut(0, 1, +1);
  net.network.slow(0, 1, milliseconds(500));
  net.network.heal();
  net.network.cut(0, 1, +1);  // a fault that did not notice the end
  net.send_many(1, 2, 100);
  EXPECT_EQ(net.arrivals().size(), 100u) << "nothing of before, all of after";
  EXPECT_LE(net.arrivals().back().at, VirtualTime(milliseconds(1)));
}

// ---- the codec

TEST(SimNetworkTest, MessagesSurviveTheCodec) {
  Net net([](Params::Network& params) { params.set_codec_ppm(1'000'000); });
  for (uint64_t term = 1; term <= 100; ++term) net.send(1, 2, term, term % 4);
  EXPECT_EQ(net.arrivals().size(), 100u);
  EXPECT_EQ(net.network.codec_error(), "");
  EXPECT_EQ(net.network.corrupted_count(), 0u);
}

TEST(SimNetworkTest, CorruptedFramesAreRefused) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Net net(
        [](Params::Network& params) {
          params.set_codec_ppm(500'000);
          params.set_corrupt_ppm(500'000);
        },
        seed);
    for (uint64_t term = 1; term <= 100; ++term) net.send(1, 2, term, term % 4);
    const size_t count = net.arrivals().size();
    EXPECT_EQ(net.network.codec_error(), "") << "seed " << seed;
    EXPECT_EQ(count + net.network.corrupted_count(), 100u) << "seed " << seed;
    EXPECT_GT(net.network.corrupted_count(), 5u);
  }
}

TEST(SimNetworkTest, TheCodecChangesNoLatency) {
  Net plain;
  Net coded([](Params::Network& params) { params.set_codec_ppm(1'000'000); });
  plain.send_many(1, 2, 100);
  coded.send_many(1, 2, 100);
  EXPECT_EQ(plain.arrivals(), coded.arrivals());
}

// ---- draws by (link, ordinal, aspect)

void noisy(Params::Network& params) {
  params.set_loss_ppm(200'000);
  params.set_duplicate_ppm(200'000);
  params.set_heavy_tail_ppm(200'000);
}

TEST(SimNetworkTest, AnotherLinksMessagesChangeNothing) {
  Net plain(noisy);
  Net busy(noisy);
  for (uint64_t term = 1; term <= 100; ++term) {
    plain.send(1, 2, term);
    busy.send(1, 3, term);
    busy.send(2, 1, term);
    busy.send(1, 2, term);
  }
  EXPECT_EQ(plain.arrivals(1, 2), busy.arrivals(1, 2));
}

TEST(SimNetworkTest, LinksDrawForThemselves) {
  Net net(noisy);
  for (uint64_t term = 1; term <= 100; ++term) {
    net.send(1, 2, term);
    net.send(1, 3, term);
    net.send(2, 1, term);
  }
  EXPECT_NE(net.arrivals(1, 2), net.arrivals(1, 3));
  EXPECT_NE(net.arrivals(1, 2), net.arrivals(2, 1));
}

TEST(SimNetworkTest, ADroppedMessageCountsInTheOrdinals) {
  // Cut for its first ten messages or not: the others fare alike.
  Net whole(noisy);
  Net cut(noisy);
  cut.network.cut(0, 1, +1);
  cut.send_many(1, 2, 10);
  cut.network.cut(0, 1, -1);
  whole.send_many(1, 2, 10);
  whole.network.reset(0, 1);
  for (uint64_t term = 11; term <= 100; ++term) {
    whole.send(1, 2, term);
    cut.send(1, 2, term);
  }
  EXPECT_EQ(whole.arrivals(), cut.arrivals());
}

TEST(SimNetworkTest, LossOnTopLeavesTheOthersTheirLatency) {
  Net plain;
  Net lossy([](Params::Network& params) { params.set_loss_ppm(500'000); });
  plain.send_many(1, 2, 100);
  lossy.send_many(1, 2, 100);
  const std::vector<Arrival> all = plain.arrivals();
  for (const Arrival& arrival : lossy.arrivals()) {
    EXPECT_NE(std::find(all.begin(), all.end(), arrival), all.end());
  }
}

TEST(SimNetworkTest, ANoiseOfProbabilityZeroIsNoNoise) {
  Net net;
  net.send_many(1, 2, 100);
  EXPECT_EQ(net.arrivals().size(), 100u);
  EXPECT_TRUE(net.network.noise().empty());
}

}  // namespace
}  // namespace tally::sim
