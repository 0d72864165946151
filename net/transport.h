// Transport: the Network of the seam over TCP, and the door for clients.
//
// Each node opens its own connections to each peer and only sends on them; what a peer sends comes
// in on those that the peer opened. Two for each peer: one for votes, heartbeats and answers, one
// for entries, snapshots and forwarded requests, so that nothing small waits behind data. Between
// nodes delivery may fail: what does not fit a bounded queue is dropped, and Raft sends it again.
//
// Every connection begins with a handshake (net.proto): cluster, group, protocol version, who
// speaks, on which data directory, and whom it wants. A node known with another data directory was
// wiped and is refused. Clients use the same port; a client that does not read its answers is cut
// off.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/env.h"
#include "core/message.h"
#include "core/storage.h"
#include "net/connection.h"
#include "net/node_file.h"

namespace tally {

struct PeerAddress {
  NodeId id;
  std::string address;  // HOST:PORT

  friend bool operator==(const PeerAddress&, const PeerAddress&) = default;
};

// What is wrong with a list of nodes: ids, addresses, anything that is there twice. Or empty.
std::string members_error(const std::vector<PeerAddress>& members);
// Of a cluster or group: 1 to 255 bytes of UTF-8. `what` is its name in the message.
std::string label_error(std::string_view what, std::string_view label);

struct TransportConfig {
  std::string cluster = "tally";
  std::string group = "counter";
  Identity identity;
  std::vector<PeerAddress> members;  // this node included
  std::string listen;
  std::string redis_address;             // told to the others
  uint64_t seed = 0;                     // of the jitter of reconnecting
  size_t connection_count_max = 20'000;  // of clients; members always get in
  size_t peer_queue_bytes_max = size_t{16} << 20;
  size_t client_queue_bytes_max = size_t{4} << 20;
  size_t all_clients_queue_bytes_max = size_t{256} << 20;
};

class TransportOwner {
 public:
  virtual ~TransportOwner() = default;
  // From a peer, or a request of a client; never from anybody else.
  virtual void on_envelope(Envelope&& envelope) = 0;
  virtual void on_status_request(net::Status& status) = 0;
  // Empty when accepted.
  virtual std::string on_snapshot_command() = 0;
  virtual std::string on_transfer_command(NodeId to) = 0;
  // A peer takes no messages of this node, and why. REFUSAL_OTHER_DIRECTORY: it knows this node
  // with another data directory.
  virtual void on_refused(net::Refusal refusal, const std::string& error) = 0;
  // For the log: "event key=value ...".
  virtual void on_transport_event(const std::string& text) = 0;
};

class Transport final : public Network, private ConnectionOwner, private Watcher {
 public:
  // All outlive it.
  // Clients are heard in a loop of their own once they have said who they are.
  Transport(Loop& loop, Loop& clients_loop, const TransportConfig& config, NodeFile& node_file,
            TransportOwner& owner);
  ~Transport() override;

  // Begins to listen and to connect. Empty, or what is wrong.
  std::string start(Time now);

  // Network.
  void send(Envelope&& envelope) override;

  // Reconnects, and ends handshakes that take too long. Call at deadline() or later.
  void on_time(Time now);
  Time deadline() const;
  // Sends what is queued. Call once per turn of the loop. Returns how many connections
  // that others opened there were to look at.
  size_t flush();

  // Every peer was reached, or could not be, at least once.
  bool has_tried_all() const;
  // Peers whose last answer to this node's handshake was a refusal, other than for want of room.
  size_t refusing_count() const;
  // A peer may have written down this node's directory id: one has taken its handshake, or one
  // whose handshake it took, or nobody knows.
  bool may_be_known() const;
  void add_status(net::Status& status) const;
  // Where clients of Redis find a node, as it said; empty when it has not.
  std::string redis_address(NodeId node) const;
  size_t connection_count() const { return inbound_.size(); }
  uint64_t cut_off_count() const { return cut_off_count_; }

 private:
  enum Lane : size_t { kControl, kBulk, kLaneCount };
  // A connection that this node opened.
  struct Link {
    std::unique_ptr<Connection> connection;
    bool asked = false;          // the handshake has begun; it may be in the other's file
    bool ready = false;          // the handshake is done
    Time retry_at;               // when not open
    uint64_t failure_count = 0;  // since it was last ready
  };
  struct Peer {
    NodeId id;
    std::string address;
    Link lanes[kLaneCount];
    bool tried = false;
    bool refuses = false;
    std::string redis_address;
    std::string error;  // why it is not reached
    uint64_t dropped_count = 0;
  };
  struct Inbound {
    std::unique_ptr<Connection> connection;
    bool greeted = false;
    NodeId peer;  // kNoNode: a client
    Time greet_by;
    bool dirty = false;
    size_t left_bytes = 0;    // queued, after the last flush
    bool last_words = false;  // closed once they have left
  };

  void on_ready(uint32_t events) override;
  void on_connected(Connection& connection) override;
  void on_frame(Connection& connection, Envelope& envelope) override;
  void on_net_message(Connection& connection, const net::NetMessage& message) override;
  void on_broken(Connection& connection, const std::string& why) override;

  void accept_one(int fd);
  void limit_member(NodeId member);
  void drop_doomed();
  void account(Inbound& inbound);
  void forget(uint64_t endpoint);
  void count_clients(size_t count);
  bool oldest_stranger_may_go() const;
  static Time gives_up_at(const Link& link);
  void on_hello(Inbound& inbound, const net::Hello& hello);
  net::HelloReply judge(const net::Hello& hello);
  void on_hello_reply(Peer& peer, Link& link, const net::HelloReply& reply);
  void fail_link(Peer& peer, Link& link, const std::string& why);
  void answer(Inbound& inbound, const net::NetMessage& message);
  void mark_dirty(Inbound& inbound);
  void doom(Inbound& inbound);
  static bool is_link(const Connection& connection);
  Peer& peer_of(const Connection& connection);
  Link& link_of(const Connection& connection);

  Loop& loop_;
  Loop& clients_loop_;
  const TransportConfig config_;
  const GroupId group_;
  std::vector<uint64_t> voters_;  // ids of all members, ascending
  NodeFile& node_file_;
  TransportOwner& owner_;
  int listen_fd_ = -1;
  Time accept_at_ = kNever;  // when out of descriptors: then again
  Time now_;                 // when this was last asked; never much older than deadline()

  std::vector<Peer> peers_;
  std::unordered_map<uint64_t, Inbound> inbound_;  // by endpoint
  uint64_t next_endpoint_ = kFirstClient.value();
  std::deque<uint64_t> strangers_;  // inbound connections before their handshake, oldest first
  size_t client_count_ = 0;         // after it, of clients
  size_t client_read_bytes_ = 0;    // what each of them may bring in one turn
  size_t left_bytes_ = 0;           // of all inbound connections
  bool may_be_known_ = false;
  std::vector<uint64_t> dirty_;   // inbound connections with something queued
  std::vector<uint64_t> doomed_;  // closed, to be dropped
  uint64_t cut_off_count_ = 0;
};

}  // namespace tally
