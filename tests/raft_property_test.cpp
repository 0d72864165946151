// Random worlds for the Raft step function: whatever a late, repeating, reordering network, slow
// disks, crashes and clocks do, no invariant of the harness breaks, and once the world behaves
// again a group elects a leader and agrees.
//
// Messages are only ever ones that were sent, perhaps long ago, perhaps by an earlier incarnation:
// what a network without lies can produce. Clock-stopping pauses are long gaps between deliveries.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "core/draw.h"
#include "tests/effort.h"
#include "tests/raft_harness.h"

namespace tally {
namespace {

using namespace std::chrono_literals;

enum class Kind : uint8_t {
  kDeliverOldest,
  kDeliverAny,
  kDeliverTwice,
  kDeliverBatch,
  kReplay,
  kDrop,
  kDropMany,
  kAdvanceShort,
  kAdvanceLong,
  kTimeout,
  kSyncOne,
  kSyncAll,
  kSyncInBatch,
  kCrash,
  kStart,
  kPropose,
  kRead,
  kCut,
  kHeal,
  kRun,
  kCampaign,
  kTransfer,
};
// How often each is drawn, in the order above.
constexpr std::array<int, 22> kWeights = {30, 20, 4, 12, 4,  4, 1, 10, 2, 4, 14,
                                          6,  6,  3, 8,  10, 4, 1, 3,  3, 3, 2};
// What a seed may switch off, so that some worlds get far and others are wild.
constexpr Kind kTroubles[] = {Kind::kDeliverAny, Kind::kDeliverTwice, Kind::kReplay,  Kind::kDrop,
                              Kind::kDropMany,   Kind::kAdvanceLong,  Kind::kTimeout, Kind::kCrash,
                              Kind::kCut,        Kind::kTransfer};

constexpr std::array<const char*, 22> kKindNames = {"deliver the oldest message",
                                                    "deliver any message",
                                                    "deliver a message twice",
                                                    "deliver several messages",
                                                    "an old message comes again",
                                                    "drop a message",
                                                    "drop all messages",
                                                    "time goes on a little",
                                                    "time goes on",
                                                    "time runs out",
                                                    "one write is synced",
                                                    "all writes are synced",
                                                    "some writes are synced in one step",
                                                    "crash",
                                                    "start",
                                                    "propose",
                                                    "read",
                                                    "cut",
                                                    "heal",
                                                    "run",
                                                    "campaign with everyone's attention",
                                                    "transfer"};

struct Action {
  Kind kind;
  uint64_t a;
  uint64_t b;
};

// A list of actions, and how far it has been shrunk.
struct Actions {
  std::vector<Action> list;
  size_t chunk = 0;  // 0: not begun
  size_t at = 0;
};

// How rapidcheck shows a case; what each action did, and to whom, is in the narration.
void showValue(const Actions& actions, std::ostream& out) {
  for (const Action& action : actions.list) {
    out << "\n  " << kKindNames[static_cast<size_t>(action.kind)];
  }
}

// The list without one chunk, of half of it first, then of less, down to one. What comes of one
// that still fails goes on behind it: rapidcheck's own way begins again each time, and a run of a
// list is not cheap.
rc::Seq<Actions> smaller(const Actions& actions) {
  std::vector<std::pair<size_t, size_t>> cuts;  // chunk, at
  const size_t size = actions.list.size();
  size_t at = actions.at;
  for (size_t chunk = actions.chunk == 0 ? (size + 1) / 2 : actions.chunk; chunk > 0; chunk /= 2) {
    for (; at < size; at += chunk) cuts.emplace_back(chunk, at);
    at = 0;
  }
  return rc::seq::map(rc::seq::fromContainer(std::move(cuts)),
                      [list = actions.list](const std::pair<size_t, size_t>& cut) {
                        const auto [chunk, begin] = cut;
                        Actions less{{}, chunk, begin};
                        for (size_t i = 0; i < list.size(); ++i) {
                          if (i < begin || i >= begin + chunk) less.list.push_back(list[i]);
                        }
                        return less;
                      });
}

// Draws one action of the world of `seed` from `bits`.
Action action_of(uint64_t seed, uint64_t bits) {
  std::array<int, 22> weights = kWeights;
  for (Kind trouble : kTroubles) {
    const auto i = static_cast<size_t>(trouble);
    if (scale(draw(seed, 5, i), 2) == 0) weights[i] = 0;
  }
  const int total = std::accumulate(weights.begin(), weights.end(), 0);
  auto rest = static_cast<int>(scale(bits, static_cast<uint64_t>(total)));
  size_t kind = 0;
  while (rest >= weights[kind]) rest -= weights[kind++];
  return {static_cast<Kind>(kind), draw(bits, 1), draw(bits, 2)};
}

struct Totals {
  uint64_t committed = 0;
  uint64_t elections = 0;
  uint64_t truncations = 0;
  uint64_t reads_confirmed = 0;
  uint64_t transfers = 0;
};

class World {
 public:
  explicit World(const RaftCluster::Options& options) : cluster_(options) {
    // Disks finish writes when an action says so.
    for (NodeNumber i = 1; i <= cluster_.node_count(); ++i) cluster_.hold_syncs(i);
  }

  // Returns what happened, a line each.
  std::vector<std::string> apply(const Action& action) {
    const NodeNumber node = action.a % cluster_.node_count() + 1;
    if (!move_message(action) && !move_time(action, node)) move_node(action, node);
    // A group that nobody serves would only grow its pool.
    while (cluster_.flights().size() > 200) cluster_.flights().pop_front();
    return cluster_.take_narration();
  }

  // The world behaves: all nodes up, nothing lost, disks fast. Empty when the group then serves.
  std::string heal_and_serve() {
    cluster_.heal();
    for (NodeNumber i = 1; i <= cluster_.node_count(); ++i) {
      cluster_.start(i);
      cluster_.sync_at_once(i);
    }
    // At least twelve drawn election timeouts: votes may split, and a pre-vote granted long ago may
    // still unseat a leader. After that nothing may.
    cluster_.run(24s);
    if (!cluster_.violation().empty()) return cluster_.violation();
    if (!serves()) return "no leader long after all is well again";
    const NodeNumber leader = cluster_.leader();
    const uint64_t term = cluster_.term(leader);
    const uint64_t read = cluster_.read(leader);
    cluster_.propose(leader, "last");
    cluster_.run(5s);
    if (!cluster_.violation().empty()) return cluster_.violation();
    if (cluster_.leader() != leader || cluster_.term(leader) != term) return "an unstable leader";
    for (NodeNumber i = 1; i <= cluster_.node_count(); ++i) {
      if (cluster_.log_terms(i) != cluster_.log_terms(leader)) return "logs differ in the end";
      if (cluster_.commit(i) != cluster_.log_terms(i).size()) return "not all is committed";
    }
    return cluster_.read_ready(read).has_value() ? "" : "a read got no answer";
  }

  std::string violation() const { return cluster_.violation(); }
  void add_to(Totals& totals) const {
    totals.committed += cluster_.invariants().committed().size();
    totals.elections += cluster_.invariants().election_count();
    for (NodeNumber i = 1; i <= cluster_.node_count(); ++i) {
      totals.truncations += cluster_.noted(i, NoteKind::log_truncated);
      totals.reads_confirmed += cluster_.noted(i, NoteKind::read_confirmed);
      totals.transfers += cluster_.noted(i, NoteKind::transfer_received);
    }
  }

 private:
  bool serves() const {
    const NodeNumber leader = cluster_.leader();
    return leader != 0 && cluster_.commit(leader) == cluster_.log_terms(leader).size();
  }

  bool move_message(const Action& action) {
    std::deque<Flight>& flights = cluster_.flights();
    if (action.kind > Kind::kDropMany) return false;
    if (action.kind == Kind::kReplay) {
      const auto& history = cluster_.history();
      if (!history.empty()) cluster_.inject(Envelope(history[action.a % history.size()]));
      return true;
    }
    if (flights.empty()) return true;
    const size_t any = action.kind == Kind::kDeliverOldest ? 0 : action.a % flights.size();
    const Envelope envelope = flights[any].envelope;
    if (action.kind == Kind::kDeliverBatch) {
      deliver_batch(node_of(envelope.to), action.b % 8 + 1);
      return true;
    }
    if (action.kind == Kind::kDropMany) {
      flights.clear();
      return true;
    }
    if (action.kind != Kind::kDeliverTwice) {
      flights.erase(flights.begin() + static_cast<ptrdiff_t>(any));
    }
    if (action.kind != Kind::kDrop) cluster_.inject(envelope);
    return true;
  }

  // Several messages, and perhaps a proposal and a read between them, in one step.
  void deliver_batch(NodeId to, size_t count) {
    std::deque<Flight>& flights = cluster_.flights();
    std::vector<Input> inputs;
    for (size_t i = 0; i < flights.size() && inputs.size() < count;) {
      if (node_of(flights[i].envelope.to) != to) {
        ++i;
        continue;
      }
      Envelope envelope = std::move(flights[i].envelope);
      flights.erase(flights.begin() + static_cast<ptrdiff_t>(i));
      inputs.push_back(Received{node_of(envelope.from), std::move(envelope.message)});
    }
    if (!cluster_.is_up(to.value())) return;
    if (count % 2 == 0) inputs.insert(inputs.begin() + 1, Propose{++proposed_, Bytes("batch")});
    if (count % 3 == 0)
      inputs.insert(inputs.begin(), ReadRequest{(uint64_t{1} << 40) + ++proposed_});
    cluster_.step(to.value(), std::move(inputs));
  }

  bool move_time(const Action& action, NodeNumber node) {
    if (action.kind == Kind::kAdvanceShort) {
      cluster_.advance(node, Duration(static_cast<int64_t>(action.b % 150'000'000)));
    } else if (action.kind == Kind::kAdvanceLong) {
      cluster_.advance(node, Duration(static_cast<int64_t>(action.b % 3'000'000'000)));
    } else if (action.kind == Kind::kTimeout) {
      cluster_.timeout(node);
    } else if (action.kind == Kind::kRun) {
      cluster_.run(Duration(static_cast<int64_t>(action.b % 1'000'000'000)));
    } else {
      return false;
    }
    return true;
  }

  void move_node(const Action& action, NodeNumber node) {
    const bool up = cluster_.is_up(node);
    if (action.kind == Kind::kSyncOne) {
      cluster_.sync(node, 1);
    } else if (action.kind == Kind::kSyncAll) {
      for (NodeNumber i = 1; i <= cluster_.node_count(); ++i) cluster_.sync(i);
    } else if (action.kind == Kind::kSyncInBatch) {
      cluster_.sync(node, action.b % 4);
    } else if (action.kind == Kind::kCrash) {
      cluster_.crash(node, action.b % (cluster_.unfinished_writes(node) + 1));
    } else if (action.kind == Kind::kStart) {
      cluster_.start(node);
    } else if (action.kind == Kind::kPropose && up) {
      cluster_.propose(node, std::to_string(++proposed_));
    } else if (action.kind == Kind::kRead && up) {
      cluster_.read(node);
    } else if (action.kind == Kind::kCut) {
      action.b % 3 == 0 ? cluster_.isolate(node)
                        : cluster_.cut(node, action.b % cluster_.node_count() + 1);
    } else if (action.kind == Kind::kHeal) {
      cluster_.heal();
    } else if (action.kind == Kind::kCampaign) {
      campaign(node);
    } else if (action.kind == Kind::kTransfer && up) {
      const NodeId to(action.b % (cluster_.node_count() + 1));  // 0: whoever is best
      cluster_.step(node, {Transfer{to}});
    }
  }

  // A fair chance for `node`: everyone hears and answers it. By luck alone elections are rare.
  void campaign(NodeNumber node) {
    for (NodeNumber i = 1; i <= cluster_.node_count(); ++i) {
      if (i != node) cluster_.lapse(i);
    }
    cluster_.timeout(node);
    for (int round = 0; round < 4; ++round) {
      for (NodeNumber i = 1; i <= cluster_.node_count(); ++i) cluster_.sync(i);
      cluster_.deliver_all();
    }
  }

  RaftCluster cluster_;
  uint64_t proposed_ = 1000;  // contexts of a kind that the cluster does not give out itself
};

RaftCluster::Options options_from(uint64_t seed) {
  RaftCluster::Options options;
  options.seed = seed;
  const uint64_t sizes[] = {1, 2, 3, 3, 3, 4, 5, 5};
  options.node_count = sizes[scale(draw(seed, 1), std::size(sizes))];
  options.append_entry_count_max = 1 + scale(draw(seed, 2), 4);
  options.append_bytes_max = scale(draw(seed, 3), 2) == 0 ? 1 : 256 << 10;
  options.inflight_append_count_max = 1 + scale(draw(seed, 4), 4);
  options.spare_delay = std::chrono::milliseconds(scale(draw(seed, 5), 3) * 40);
  return options;
}

// TALLY_PROPERTY_SEEDS asks for more than the suite has time for.
uint64_t seed_count() {
  const char* text = std::getenv("TALLY_PROPERTY_SEEDS");
  return text == nullptr ? effort(300) : std::strtoull(text, nullptr, 10);
}

// Actions in the world of the seed.
rc::Gen<Actions> actions_of(uint64_t seed) {
  const auto numbers =
      rc::gen::resize(effort(400), rc::gen::container<std::vector<uint32_t>>(
                                       rc::gen::resize(100, rc::gen::arbitrary<uint32_t>())));
  return rc::Gen<Actions>([seed, numbers](const rc::Random& random, int size) {
    Actions actions;
    for (const uint32_t number : numbers(random, size).value()) {
      actions.list.push_back(action_of(seed, draw(seed, 6, number)));
    }
    return rc::shrinkable::shrinkRecur(std::move(actions), &smaller);
  });
}

// rapidcheck shrinks a failing list of actions to a short one, whose narration is told.
RC_GTEST_PROP(RaftProperty, NoInvariantBreaksInAShrinkableWorld, ()) {
  const auto seed =
      *rc::gen::noShrink(rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<uint32_t>()));
  const Actions actions = *actions_of(seed);
  World world(options_from(seed));
  std::vector<std::string> told;
  const auto fail = [&](const std::string& what) {
    std::string text = what + ", after";
    for (const std::string& line : told) text += "\n  " + line;
    RC_FAIL(text);
  };
  for (const Action& action : actions.list) {
    for (std::string& line : world.apply(action)) told.push_back(std::move(line));
    if (!world.violation().empty()) fail(world.violation());
  }
  const std::string wrong = world.heal_and_serve();
  if (!wrong.empty()) fail(wrong);
}

// A failure is of use while somebody still waits for it: each run of a long list takes
// milliseconds.
TEST(RaftProperty, ALongListShrinksInFewRuns) {
  Actions actions;
  actions.list.assign(400, Action{Kind::kRun, 0, 0});
  for (const size_t at : {17u, 18u, 250u, 399u}) actions.list[at].kind = Kind::kCrash;
  const auto fails = [](const Actions& some) {
    return std::count_if(some.list.begin(), some.list.end(),
                         [](const Action& action) { return action.kind == Kind::kCrash; }) == 4;
  };
  int runs = 0;
  rc::Shrinkable<Actions> best = rc::shrinkable::shrinkRecur(actions, &smaller);
  for (bool found = true; found;) {
    found = false;
    rc::Seq<rc::Shrinkable<Actions>> shrinks = best.shrinks();
    for (auto next = shrinks.next(); next && !found; next = shrinks.next()) {
      ++runs;
      found = fails(next->value());
      if (found) best = *next;
    }
  }
  EXPECT_EQ(best.value().list.size(), 4u);
  EXPECT_LT(runs, 100);
}

// The same by fixed seeds, for volume; a failing seed replays alone.
TEST(RaftProperty, NoInvariantBreaksOverFixedSeeds) {
  constexpr uint64_t kActions = 600;
  Totals totals;
  for (uint64_t seed = 1; seed <= seed_count(); ++seed) {
    World world(options_from(seed));
    for (uint64_t i = 0; i < kActions; ++i) {
      world.apply(action_of(seed, draw(seed, 7, i)));
      ASSERT_EQ(world.violation(), "") << "seed " << seed << ", action " << i;
    }
    ASSERT_EQ(world.heal_and_serve(), "") << "seed " << seed;
    world.add_to(totals);
  }
  // The worlds were not idle.
  EXPECT_GT(totals.committed, effort(3000));
  EXPECT_GT(totals.elections, effort(1000));
  EXPECT_GT(totals.truncations, effort(30));
  EXPECT_GT(totals.reads_confirmed, effort(300));
  EXPECT_GT(totals.transfers, effort(30));
}

}  // namespace
}  // namespace tally
