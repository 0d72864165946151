// The simulated clients: they drive core's client state machine and write down what they saw.
//
// A client has a session, a few lanes with one operation in flight each, and an operation plan that
// is drawn by (lane, operation). Names differ in character: the sign of their deltas, a bound, a
// start close to the 64-bit limit. Deltas are 1, 10, 100 (a divisibility chain), so that the
// checker decides every history.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/client.h"
#include "core/history.h"
#include "sim/event_queue.h"
#include "sim/scenario.pb.h"
#include "sim/sim_network.h"

namespace tally::sim {

// "client" in a history is a lane: those of a client are numbered on, from 1.
inline constexpr uint64_t kLanesPerClient = 16;
inline uint32_t client_of_lane(uint64_t number) {
  return static_cast<uint32_t>((number - 1) / kLanesPerClient);
}
// The operation as data, and as begun at this time.
ClientOperation as_data(const Operation& operation, int64_t at_ns);

class SimClients {
 public:
  // Client `params.clients` (the last one) is the prober of the liveness phase.
  // `given` replaces the drawn operations unless it is empty. REQUIRES: clients and lanes that
  // exist.
  SimClients(uint64_t seed, const Params& params, const std::vector<ClientOperation>& given,
             EventQueue& queue, SimNetwork& network);

  // Schedules the first operation of every lane.
  void start();
  // No new operations from now on; what is open goes on.
  void stop() { stopped_ = true; }
  // The prober begins one increment, to be done within `limit`.
  void probe(Duration limit, std::vector<NodeId> nodes);
  // The prober has an answer that came through the log.
  bool probe_done() const { return probe_done_; }

  void on_receive(uint32_t client, const Envelope& envelope);
  void on_broken(uint32_t client, NodeId node);
  // A request found nobody at the node: its connection breaks a little later.
  void on_refused(uint32_t client, NodeId node);
  void on_operation(uint32_t client, uint64_t lane);
  // False when the timer is out of date or comes too early: nothing happens then but that the next
  // one is set. True: on_timer is to follow.
  bool take_timer(uint32_t client, uint64_t generation);
  void on_timer(uint32_t client);

  // The node went down: clients with a connection to it notice, some at once, some by timeout.
  void on_node_down(NodeId node, uint64_t crash_number);

  // Ends the history: what is still open is ambiguous.
  const History& finish();

  struct Counts {
    uint64_t ok = 0;
    uint64_t unknown = 0;
    uint64_t rejected = 0;
    uint64_t failed = 0;
    uint64_t total() const { return ok + unknown + rejected + failed; }
  };
  const Counts& counts() const { return counts_; }
  // The operations that began, in that order, as data that the constructor takes.
  std::vector<ClientOperation> begun() const;
  uint32_t client_count() const { return static_cast<uint32_t>(clients_.size()); }

 private:
  struct Lane {
    uint64_t number = 0;  // "client" in the history
    uint64_t sequence = 0;
    bool open = false;
    Operation operation;
    std::vector<ClientOperation> given;
  };
  struct SimClient {
    std::optional<Client> client;
    std::vector<Lane> lanes;
    VirtualTime timer_at = VirtualTime::max();
    uint64_t timer_generation = 0;
    std::vector<bool> breaking;  // by node: a broken connection is about to be noticed
  };
  struct Begun {
    VirtualTime at;
    Operation operation;
  };
  // The character of a name, drawn once.
  struct Name {
    std::string text;
    bool negative = false;
    bool edge = false;
    std::optional<int64_t> lower;
    std::optional<int64_t> upper;
  };

  Time now() const { return Time(queue_.now().time_since_epoch()); }
  uint64_t bits(uint64_t client, uint64_t operation, uint64_t aspect) const;
  bool percent(uint64_t bits, int64_t percent) const;
  void draw_names();
  Operation draw_operation(const Lane& lane) const;
  static Operation given_operation(const Lane& lane);
  void flush(uint32_t client);
  void record(const Client::Done& done, Lane& lane);
  void schedule_next(uint32_t client, uint64_t lane);
  Endpoint endpoint(uint32_t client) const { return kFirstClient + client; }

  const uint64_t seed_;
  const Params params_;
  EventQueue& queue_;
  SimNetwork& network_;
  std::vector<Name> names_;
  std::vector<SimClient> clients_;
  bool stopped_ = false;
  bool probe_done_ = false;
  const bool drawn_;  // the workload; else it was given
  History history_;
  Counts counts_;
  std::vector<Begun> begun_;
};

}  // namespace tally::sim
