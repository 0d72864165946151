// The simulated network: links between nodes, and between clients and nodes.
//
// What it does to messages between nodes, each by draws of its own, keyed by (link, ordinal of the
// send on it): latency with a heavy tail; loss; duplication; replay of an old message, very late;
// reordering (unless a link keeps order); bandwidth with a bounded queue; travel as bytes through
// the codec, with one byte changed. And what faults do: cut links by direction, slow links, lose
// what is under way. To clients: latency, cuts, broken connections; never repetition or reordering.
//
// It never: changes a message that its codec accepts, delivers to the wrong endpoint, or draws for
// an effect whose probability is zero.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/codec.h"
#include "core/message.h"
#include "sim/event_queue.h"
#include "sim/scenario.pb.h"
#include "sim/streams.h"

namespace tally::sim {

class Narrator;

// Background noise that fired, for replay without its probabilities: an effect on the ordinal-th
// message of this type that is sent on the link within the microsecond.
struct Noise {
  uint32_t link = 0;
  int64_t at_us = 0;
  MessageType type = HEARTBEAT;
  uint64_t ordinal = 0;
  NetworkAspect effect{};
};

class SimNetwork {
 public:
  // Nodes are endpoints 0 .. nodes-1 inside, clients follow. `queue` outlives the network.
  // `steady_ms` is the parameter of this name.
  SimNetwork(uint64_t seed, const Params::Network& params, int64_t steady_ms, uint32_t node_count,
             uint32_t client_count, GroupId group, EventQueue& queue);

  // Tells it what clients send, what they are answered, and what is lost. It outlives the network.
  void narrate(Narrator* narrator) { narrator_ = narrator; }

  // Noise that happens for certain, whatever the probabilities draw. REQUIRES: nodes that exist.
  void force(const std::vector<NoiseEvent>& noise);

  // Takes a message for delivery, later or never.
  void send(Envelope&& envelope);

  // Takes the message of a kDeliver or kClientReceive event. False when it was lost meanwhile (its
  // link was cut or reset). Either way the slot is free afterwards.
  bool receive(uint64_t slot, Envelope& out);
  // Looks without taking, for the digest and the trace.
  const Envelope& peek(uint64_t slot) const { return slots_[slot].envelope; }
  // How long the message has been under way, if that is longer than usual; else 0.
  Duration late_by(uint64_t slot) const;
  void drop(uint64_t slot);

  // Faults count, so that overlapping ones end one by one. Nodes here are 0-based.
  void cut(uint32_t from, uint32_t to, int change);
  void cut_clients(uint32_t node, int change);
  void slow(uint32_t from, uint32_t to, Duration change);
  void reset(uint32_t from, uint32_t to);
  bool is_cut(uint32_t from, uint32_t to) const { return link(from, to).cuts > 0; }

  // What a fault does to messages of some kinds on some links between nodes.
  struct Strike {
    uint64_t id = 0;
    std::vector<bool> links;                       // from * nodes + to
    uint32_t types = 0;                            // 1 << MessageType
    NoiseEvent::Effect effect = NoiseEvent::LOSE;  // or DELAY, DUPLICATE
    Duration by{0};
    uint64_t left = 0;  // how many more
  };
  struct Struck {
    uint64_t id;
    uint32_t from;
    uint32_t to;
    std::string what;  // the message's type
  };
  // The first strike that wants a message gets it.
  void strike(Strike strike) { strikes_.push_back(std::move(strike)); }
  void end_strike(uint64_t id);
  bool has_struck() const { return !struck_.empty(); }
  // The messages that were struck since the last call.
  std::vector<Struck> take_struck() { return std::exchange(struck_, {}); }

  // Ends all noise and all faults; what was under way before is lost.
  void heal();

  uint32_t slot_of(Endpoint endpoint) const {
    return static_cast<uint32_t>(is_client(endpoint)
                                     ? node_count_ + (endpoint.value() - kFirstClient.value())
                                     : endpoint.value() - 1);
  }
  // A latency for what has no message: a connection refused, a client noticing a crash.
  Duration plain_latency() const { return Duration(params_.latency_us_max() * 1000); }

  uint64_t corrupted_count() const { return corrupted_count_; }
  const std::vector<Noise>& noise() const { return noise_; }
  // The same as data that `force` takes.
  NoiseEvent noise_event(const Noise& noise) const;
  // What the codec got wrong, if ever: a corrupted frame accepted, or a message that changed.
  const std::string& codec_error() const { return codec_error_; }

 private:
  // Noise that is to fire on a link.
  struct Forced {
    int64_t at_us;
    std::optional<MessageType> type;  // none: any
    uint64_t left;                    // it strikes the so-manyth message from then on
    NetworkAspect effect;
  };
  struct Link {
    uint64_t sent_count = 0;  // ordinal of the last send, dropped ones included
    uint64_t epoch = 0;       // raised by reset: older messages are lost
    int cuts = 0;
    Duration slow_by{0};
    VirtualTime last_delivery{};  // for links that keep order
    VirtualTime busy_until{};     // for bandwidth
    // The microsecond of the last send, and what was sent within it.
    int64_t sent_at_us = -1;
    std::vector<MessageType> sent_types;
    std::vector<Forced> forced;  // by time; those that have struck are gone
  };
  struct Slot {
    Envelope envelope;
    uint64_t epoch = 0;
    VirtualTime sent_at{};
  };

  const Link& link(uint32_t from, uint32_t to) const { return links_[from * side_ + to]; }
  Link& link(uint32_t from, uint32_t to) { return links_[from * side_ + to]; }
  uint64_t bits(uint32_t link_number, uint64_t ordinal, NetworkAspect aspect) const;
  bool happens(uint32_t link_number, uint64_t ordinal, NetworkAspect aspect, int64_t ppm);
  void tell_loss(const Envelope& envelope, bool by_chance);
  void begin_send(uint32_t link_number, const Message& message);
  bool is_forced(NetworkAspect aspect) const;
  Duration latency(uint32_t link_number, uint64_t ordinal, NetworkAspect aspect);
  void deliver(Envelope&& envelope, uint32_t link_number, Duration after, bool in_order);
  bool pass_codec(Envelope& envelope, uint32_t link_number, uint64_t ordinal);
  std::optional<Strike> find_strike(uint32_t from, uint32_t to, const Message& message);
  bool queue_for_bandwidth(Link& link, const Envelope& envelope, Duration& after);

  const uint64_t seed_;
  const int64_t steady_ms_;
  Params::Network params_;
  const uint32_t node_count_;
  const uint32_t side_;  // nodes and clients
  const GroupId group_;
  EventQueue& queue_;
  Narrator* narrator_ = nullptr;  // null: nobody listens
  bool healed_ = false;
  std::vector<Link> links_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  std::vector<Noise> noise_;
  Noise sending_;             // the message being sent
  uint32_t forced_mask_ = 0;  // what is to happen to it for certain: 1 << NetworkAspect
  std::vector<Strike> strikes_;
  std::vector<Struck> struck_;
  uint64_t corrupted_count_ = 0;
  std::string codec_error_;
  std::string frame_;  // reused
};

}  // namespace tally::sim
