#include "net/transport.h"

#include <fmt/ranges.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/check.h"
#include "core/draw.h"
#include "core/text.h"

namespace tally {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kHandshakeTimeout = seconds(1);
constexpr Duration kRetryMin = milliseconds(20);
constexpr Duration kRetryMax = milliseconds(1000);
// Connections that have not said yet who they are; the oldest makes room.
constexpr size_t kStrangersMax = 128;
constexpr Duration kStrangerMin = milliseconds(100);  // for so long none has to make room
constexpr Duration kRoomRetry = milliseconds(10);
// All clients together may bring so much in one turn of the loop, so that heartbeats do not wait;
// each of them at least so much, and at most.
constexpr size_t kClientsReadBytes = size_t{1} << 20;
constexpr size_t kClientReadBytesMin = size_t{4} << 10;
constexpr size_t kConnectionsPerMemberMax = 8;
// A client that waits for less is not cut off for the sake of all.
constexpr size_t kLeftBytesMin = size_t{64} << 10;
// A client sends a handshake, requests and commands: nothing with entries behind it.
constexpr size_t kClientFrameBytesMax = kFrameHeaderBytes + kFrameBodyBytesMax;

constexpr size_t kLabelBytesMax = 255;

constexpr uint64_t kLinkTag = uint64_t{1} << 63;

bool is_bulk(const Message& message) {
  const auto* append = std::get_if<AppendRequest>(&message);
  return (append != nullptr && !append->entries.empty()) ||
         std::holds_alternative<SnapshotRequest>(message) ||
         std::holds_alternative<ClientRequest>(message) ||
         std::holds_alternative<ValueResponse>(message);
}

}  // namespace

std::string members_error(const std::vector<PeerAddress>& members) {
  for (auto node = members.begin(); node != members.end(); ++node) {
    if (node->id == kNoNode || node->id.value() >= kFirstClient.value()) {
      return fmt::format("node {}: a node's number is from 1 to {}", node->id.value(),
                         kFirstClient.value() - 1);
    }
    std::string host;
    std::string port;
    const std::string error = parse_address(node->address, host, port);
    if (!error.empty()) return fmt::format("node {}: {}", node->id.value(), error);
    if (std::stoul(port) == 0) {
      return fmt::format("node {} at {}: port 0 is nobody's; give the one that it listens on",
                         node->id.value(), node->address);
    }
    const auto same_id = [&](const PeerAddress& other) { return other.id == node->id; };
    if (std::any_of(members.begin(), node, same_id)) {
      return fmt::format("node {} is there twice", node->id.value());
    }
    const auto other = std::find_if(members.begin(), node, [&](const PeerAddress& each) {
      return each.address == node->address;
    });
    if (other != node) {
      return fmt::format("nodes {} and {} both at {}; each has an address of its own",
                         other->id.value(), node->id.value(), node->address);
    }
  }
  return {};
}

std::string label_error(std::string_view what, std::string_view label) {
  if (label.empty() || label.size() > kLabelBytesMax) {
    return fmt::format("{} has {} bytes; give a name of 1 to {}", what, label.size(),
                       kLabelBytesMax);
  }
  while (!label.empty()) {
    const size_t size = utf8_sequence_bytes(label);
    if (size == 0) return fmt::format("{} is not valid UTF-8", what);
    label.remove_prefix(size);
  }
  return {};
}

Transport::Transport(Loop& loop, Loop& clients_loop, const TransportConfig& config,
                     NodeFile& node_file, TransportOwner& owner)
    : loop_(loop),
      clients_loop_(clients_loop),
      config_(config),
      group_{config.identity.cluster_id, config.identity.group_id},
      node_file_(node_file),
      owner_(owner) {
  for (const PeerAddress& member : config_.members) voters_.push_back(member.id.value());
  std::sort(voters_.begin(), voters_.end());
  for (const PeerAddress& member : config_.members) {
    if (member.id == config_.identity.node_id) continue;
    Peer& peer = peers_.emplace_back();
    peer.id = member.id;
    peer.address = member.address;
  }
  for (size_t i = 0; i < peers_.size(); ++i) {
    for (size_t lane = 0; lane < kLaneCount; ++lane) {
      ConnectionOwner& self = *this;
      peers_[i].lanes[lane].connection =
          std::make_unique<Connection>(loop_, self, group_, kLinkTag | i * kLaneCount | lane);
    }
  }
}

Transport::~Transport() {
  if (listen_fd_ < 0) return;
  loop_.forget(listen_fd_, *this);
  close(listen_fd_);
}

std::string Transport::start(Time now) {
  now_ = now;
  std::string error;
  listen_fd_ = listen_on(config_.listen, error);
  if (listen_fd_ < 0) return error;
  loop_.watch(listen_fd_, EPOLLIN, *this);
  on_time(now);
  return {};
}

// ---- Sending ----

void Transport::send(Envelope&& envelope) {
  if (is_client(envelope.to)) {
    const auto found = inbound_.find(envelope.to.value());
    if (found == inbound_.end() || !found->second.connection->is_open()) return;
    found->second.connection->queue(envelope);
    mark_dirty(found->second);
    return;
  }
  const auto peer = std::find_if(peers_.begin(), peers_.end(), [&](const Peer& each) {
    return endpoint_of(each.id) == envelope.to;
  });
  CHECK(peer != peers_.end(), "a message for node {}", envelope.to.value());
  Link& link = peer->lanes[is_bulk(envelope.message) ? kBulk : kControl];
  if (!link.ready || link.connection->queued_bytes() > config_.peer_queue_bytes_max) {
    ++peer->dropped_count;
    return;
  }
  link.connection->queue(envelope);
}

size_t Transport::flush() {
  const size_t count = dirty_.size();
  for (Peer& peer : peers_) {
    for (Link& link : peer.lanes) {
      if (link.connection->queued_bytes() > 0) link.connection->flush();
    }
  }
  for (size_t i = 0; i < dirty_.size(); ++i) {
    const auto found = inbound_.find(dirty_[i]);
    if (found == inbound_.end()) continue;
    Inbound& inbound = found->second;
    inbound.dirty = false;
    if (!inbound.connection->flush()) continue;
    if (inbound.last_words) {
      doom(inbound);
    } else {
      account(inbound);
    }
  }
  dirty_.clear();
  drop_doomed();
  return count;
}

void Transport::drop_doomed() {
  for (const uint64_t endpoint : doomed_) forget(endpoint);
  doomed_.clear();
}

// Cuts off a client that lets too much lie, by itself or together with the others.
void Transport::account(Inbound& inbound) {
  const size_t left = inbound.connection->queued_bytes();
  left_bytes_ += left - inbound.left_bytes;
  inbound.left_bytes = left;
  if (left_bytes_ > config_.all_clients_queue_bytes_max) {
    left_bytes_ = 0;  // some have read on since they were asked
    for (auto& [endpoint, each] : inbound_) {
      each.left_bytes = each.connection->queued_bytes();
      left_bytes_ += each.left_bytes;
    }
  }
  const bool too_much = left > config_.client_queue_bytes_max ||
                        (left > kLeftBytesMin && left_bytes_ > config_.all_clients_queue_bytes_max);
  if (!too_much) return;
  ++cut_off_count_;
  owner_.on_transport_event(
      fmt::format("client cut off: it does not read its answers queued_bytes={}", left));
  doom(inbound);
}

void Transport::forget(uint64_t endpoint) {
  const auto found = inbound_.find(endpoint);
  if (found == inbound_.end()) return;
  const Inbound& inbound = found->second;
  if (!inbound.greeted) std::erase(strangers_, endpoint);
  if (inbound.greeted && inbound.peer == kNoNode) count_clients(client_count_ - 1);
  left_bytes_ -= inbound.left_bytes;
  inbound_.erase(found);
}

void Transport::count_clients(size_t count) {
  client_count_ = count;
  client_read_bytes_ =
      std::max(kClientReadBytesMin, kClientsReadBytes / std::max<size_t>(count, 1));
}

void Transport::mark_dirty(Inbound& inbound) {
  if (inbound.dirty) return;
  inbound.dirty = true;
  dirty_.push_back(inbound.connection->tag());
}

// Dropped at the next flush(): its own code may be on the stack.
void Transport::doom(Inbound& inbound) {
  inbound.connection->close();
  doomed_.push_back(inbound.connection->tag());
}

// ---- Links: what this node opens ----

bool Transport::is_link(const Connection& connection) { return (connection.tag() & kLinkTag) != 0; }

Transport::Peer& Transport::peer_of(const Connection& connection) {
  return peers_[(connection.tag() & ~kLinkTag) / kLaneCount];
}

Transport::Link& Transport::link_of(const Connection& connection) {
  return peer_of(connection).lanes[connection.tag() % kLaneCount];
}

void Transport::on_time(Time now) {
  now_ = now;
  for (Peer& peer : peers_) {
    for (Link& link : peer.lanes) {
      if (link.connection->is_open()) {
        if (now < gives_up_at(link)) continue;
        link.connection->close();
        fail_link(peer, link, "no answer in time");
      } else if (now >= link.retry_at) {
        const std::string error = link.connection->connect(peer.address);
        if (!error.empty()) fail_link(peer, link, error);
      }
    }
  }
  for (const uint64_t endpoint : strangers_) {
    Inbound& inbound = inbound_.at(endpoint);
    if (now >= inbound.greet_by && inbound.connection->is_open()) doom(inbound);
  }
  if (now < accept_at_) return;
  accept_at_ = kNever;
  loop_.rewatch(listen_fd_, EPOLLIN, *this);
}

Time Transport::deadline() const {
  Time deadline = kNever;
  for (const Peer& peer : peers_) {
    for (const Link& link : peer.lanes) {
      deadline = std::min(deadline, link.connection->is_open() ? gives_up_at(link) : link.retry_at);
    }
  }
  if (!strangers_.empty()) deadline = std::min(deadline, inbound_.at(strangers_.front()).greet_by);
  return std::min(deadline, accept_at_);
}

// Of one that is open. A name takes as long as the system's resolver does.
Time Transport::gives_up_at(const Link& link) {
  if (link.ready || link.connection->is_looking_up()) return kNever;
  return link.connection->begun_at() + kHandshakeTimeout;
}

void Transport::fail_link(Peer& peer, Link& link, const std::string& why) {
  now_ = monotonic_now();
  const bool was_ready = link.ready;
  link.ready = false;
  may_be_known_ |= std::exchange(link.asked, false);
  // Doubled with each failure, half of it drawn, so that a node that comes back is not stormed.
  const uint64_t doublings = std::min<uint64_t>(link.failure_count++, 10);
  const auto most =
      static_cast<uint64_t>(std::min(kRetryMin * (int64_t{1} << doublings), kRetryMax).count());
  const uint64_t bits =
      draw(config_.seed, peer.id.value(), link.connection->tag(), link.failure_count,
           static_cast<uint64_t>(now_.time_since_epoch().count()));
  link.retry_at = now_ + Duration(static_cast<int64_t>(most / 2 + scale(bits, most / 2)));
  peer.tried = true;
  // Once, not at every attempt.
  if (was_ready || peer.error.empty() || (peer.refuses && why != peer.error)) {
    owner_.on_transport_event(fmt::format("peer not reached id={} address={} error=\"{}\"",
                                          peer.id.value(), peer.address, why));
  }
  peer.error = why;
}

void Transport::on_connected(Connection& connection) {
  const Peer& peer = peer_of(connection);
  net::NetMessage message;
  net::Hello& hello = *message.mutable_hello();
  hello.set_wire_version(kWireVersion);
  hello.set_cluster_id(group_.cluster_id);
  hello.set_group_id(group_.group_id);
  hello.set_cluster(config_.cluster);
  hello.set_group(config_.group);
  hello.set_node_id(config_.identity.node_id.value());
  hello.set_directory_id(config_.identity.directory_id);
  hello.set_wanted_node_id(peer.id.value());
  for (const uint64_t voter : voters_) hello.add_voters(voter);
  hello.set_redis_address(config_.redis_address);
  connection.queue(message);
  link_of(connection).asked = true;
}

void Transport::on_hello_reply(Peer& peer, Link& link, const net::HelloReply& reply) {
  if (reply.refusal() != net::REFUSAL_NONE) {
    link.asked = false;
    peer.refuses = reply.refusal() != net::REFUSAL_TOO_MANY;
    link.connection->close();
    fail_link(peer, link, fmt::format("refused: {}", reply.error()));
    owner_.on_refused(reply.refusal(), reply.error());
    return;
  }
  may_be_known_ = true;
  const uint64_t known = node_file_.peer_directory_id(peer.id);
  std::string error;
  if (reply.node_id() != peer.id.value()) {
    error = fmt::format("node {} answers there", reply.node_id());
  } else if (known == 0) {
    error = node_file_.remember_peer(peer.id, reply.directory_id());
  } else if (known != reply.directory_id()) {
    error = "it lives on another data directory than before: it was wiped";
  }
  if (!error.empty()) {
    link.connection->close();
    fail_link(peer, link, error);
    return;
  }
  link.ready = true;
  link.failure_count = 0;
  peer.refuses = false;
  peer.tried = true;
  peer.redis_address = reply.redis_address();
  peer.error.clear();
  if (&link == &peer.lanes[kControl]) {
    owner_.on_transport_event(
        fmt::format("peer reached id={} address={}", peer.id.value(), peer.address));
  }
}

size_t Transport::refusing_count() const {
  return static_cast<size_t>(
      std::count_if(peers_.begin(), peers_.end(), [](const Peer& peer) { return peer.refuses; }));
}

bool Transport::may_be_known() const {
  return may_be_known_ || std::any_of(peers_.begin(), peers_.end(), [](const Peer& peer) {
           return std::any_of(std::begin(peer.lanes), std::end(peer.lanes),
                              [](const Link& link) { return link.asked; });
         });
}

bool Transport::has_tried_all() const {
  return std::all_of(peers_.begin(), peers_.end(), [](const Peer& peer) { return peer.tried; });
}

// ---- Inbound: peers that send, and clients ----

void Transport::on_ready(uint32_t /*events*/) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    if (strangers_.size() >= kStrangersMax && !oldest_stranger_may_go()) {
      // The others wait in the system's queue.
      loop_.rewatch(listen_fd_, 0, *this);
      accept_at_ = monotonic_now() + kRoomRetry;
      return;
    }
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      accept_one(fd);
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // Those who wait would be told of at once, again and again.
      loop_.rewatch(listen_fd_, 0, *this);
      accept_at_ = monotonic_now() + kAcceptRetry;
    }
    return;
  }
}

// It has had its time to say who it is.
bool Transport::oldest_stranger_may_go() const {
  return monotonic_now() >=
         inbound_.at(strangers_.front()).greet_by - kHandshakeTimeout + kStrangerMin;
}

void Transport::accept_one(int fd) {
  if (strangers_.size() >= kStrangersMax) {
    owner_.on_transport_event("connection closed: it does not say who it is, and others wait");
    Inbound& oldest = inbound_.at(strangers_.front());
    if (oldest.connection->is_open()) doom(oldest);
    drop_doomed();
  }
  const uint64_t endpoint = next_endpoint_++;
  Inbound& inbound = inbound_[endpoint];
  ConnectionOwner& self = *this;
  inbound.connection = std::make_unique<Connection>(loop_, self, group_, endpoint);
  now_ = monotonic_now();
  inbound.greet_by = now_ + kHandshakeTimeout;
  inbound.connection->set_frame_bytes_max(kClientFrameBytesMax);
  inbound.connection->adopt(fd);
  strangers_.push_back(endpoint);
}

// A member needs two connections; what it had before may not be known to be dead yet.
void Transport::limit_member(NodeId member) {
  size_t count = 0;
  Inbound* oldest = nullptr;
  for (auto& [endpoint, inbound] : inbound_) {
    if (!inbound.greeted || inbound.peer != member || !inbound.connection->is_open()) continue;
    ++count;
    if (oldest == nullptr || endpoint < oldest->connection->tag()) oldest = &inbound;
  }
  if (count > kConnectionsPerMemberMax) doom(*oldest);
}

// Whether the other end may speak; the reply says why not.
net::HelloReply Transport::judge(const net::Hello& hello) {
  net::HelloReply reply;
  reply.set_node_id(config_.identity.node_id.value());
  reply.set_directory_id(config_.identity.directory_id);
  reply.set_redis_address(config_.redis_address);
  const auto refuse = [&](net::Refusal refusal, std::string error) {
    reply.set_refusal(refusal);
    reply.set_error(std::move(error));
    return reply;
  };
  if (hello.wire_version() != kWireVersion) {
    return refuse(
        net::REFUSAL_VERSION,
        fmt::format("protocol version {}, node {} speaks {}; run the same release",
                    hello.wire_version(), config_.identity.node_id.value(), kWireVersion));
  }
  if (hello.cluster_id() != group_.cluster_id) {
    return refuse(net::REFUSAL_CLUSTER,
                  fmt::format("cluster '{}', node {} belongs to cluster '{}'; check --cluster and "
                              "the addresses",
                              hello.cluster().substr(0, 100), config_.identity.node_id.value(),
                              config_.cluster));
  }
  if (hello.group_id() != group_.group_id) {
    return refuse(
        net::REFUSAL_GROUP,
        fmt::format("group '{}', node {} serves group '{}'; check --group",
                    hello.group().substr(0, 100), config_.identity.node_id.value(), config_.group));
  }
  if (hello.wanted_node_id() != 0 && hello.wanted_node_id() != config_.identity.node_id.value()) {
    return refuse(net::REFUSAL_WRONG_NODE,
                  fmt::format("node {} was wanted, this is node {}; check --peers",
                              hello.wanted_node_id(), config_.identity.node_id.value()));
  }
  if (hello.node_id() == 0) {
    if (client_count_ < config_.connection_count_max) return reply;
    return refuse(net::REFUSAL_TOO_MANY,
                  fmt::format("node {} has all the {} clients it may have; try another node",
                              config_.identity.node_id.value(), client_count_));
  }
  const NodeId id(hello.node_id());
  const bool member =
      std::any_of(peers_.begin(), peers_.end(), [&](const Peer& peer) { return peer.id == id; });
  if (!member) {
    return refuse(net::REFUSAL_UNKNOWN_NODE,
                  fmt::format("node {} does not know a node {}; check --peers and --id",
                              config_.identity.node_id.value(), hello.node_id()));
  }
  if (!std::equal(voters_.begin(), voters_.end(), hello.voters().begin(), hello.voters().end())) {
    return refuse(net::REFUSAL_OTHER_VOTERS,
                  fmt::format("node {} has a group of nodes {}, node {} one of nodes {}; give all "
                              "of them the same --peers",
                              hello.node_id(), fmt::join(hello.voters(), ", "),
                              config_.identity.node_id.value(), fmt::join(voters_, ", ")));
  }
  const uint64_t known = node_file_.peer_directory_id(id);
  if (known == 0) {
    const std::string error = node_file_.remember_peer(id, hello.directory_id());
    if (!error.empty()) return refuse(net::REFUSAL_TOO_MANY, error);
  } else if (known != hello.directory_id()) {
    return refuse(
        net::REFUSAL_OTHER_DIRECTORY,
        fmt::format(
            "node {0} knows node {1} with another data directory ({2:016x}, not {3:016x}): its "
            "disk was wiped or replaced, and it must not vote as if it had a past. Bring back its "
            "data directory as it was when it last ran, never an older copy. (Or if the cluster is "
            "new and holds nothing: stop all of it, empty all data directories, and begin again)",
            config_.identity.node_id.value(), hello.node_id(), known, hello.directory_id()));
  }
  return reply;
}

void Transport::on_hello(Inbound& inbound, const net::Hello& hello) {
  net::NetMessage message;
  *message.mutable_hello_reply() = judge(hello);
  answer(inbound, message);
  if (message.hello_reply().refusal() == net::REFUSAL_NONE) {
    inbound.greeted = true;
    inbound.peer = NodeId(hello.node_id());
    std::erase(strangers_, inbound.connection->tag());
    if (inbound.peer == kNoNode) {
      count_clients(client_count_ + 1);
      inbound.connection->limit_reads(client_read_bytes_);
      inbound.connection->move_to(clients_loop_);
    } else {
      may_be_known_ = true;
      inbound.connection->set_frame_bytes_max(kFrameBytesMax);
      limit_member(inbound.peer);
    }
    return;
  }
  owner_.on_transport_event(
      fmt::format("connection refused error=\"{}\"", message.hello_reply().error()));
  inbound.last_words = true;
  inbound.connection->stop_reading();
}

void Transport::answer(Inbound& inbound, const net::NetMessage& message) {
  inbound.connection->queue(message);
  mark_dirty(inbound);
}

void Transport::on_net_message(Connection& connection, const net::NetMessage& message) {
  if (is_link(connection)) {
    Link& link = link_of(connection);
    if (message.has_hello_reply() && !link.ready) {
      on_hello_reply(peer_of(connection), link, message.hello_reply());
    }
    return;
  }
  Inbound& inbound = inbound_.at(connection.tag());
  if (message.has_hello() && !inbound.greeted) {
    on_hello(inbound, message.hello());
    return;
  }
  if (!inbound.greeted) {
    owner_.on_transport_event("connection closed: it does not begin with a handshake");
    doom(inbound);
    return;
  }
  net::NetMessage reply;
  if (message.has_status_request()) {
    owner_.on_status_request(*reply.mutable_status());
    answer(inbound, reply);
  } else if (message.has_snapshot()) {
    const std::string error = owner_.on_snapshot_command();
    reply.mutable_command_reply()->set_accepted(error.empty());
    reply.mutable_command_reply()->set_error(error);
    answer(inbound, reply);
  } else if (message.has_transfer()) {
    const std::string error = owner_.on_transfer_command(NodeId(message.transfer().to()));
    reply.mutable_command_reply()->set_accepted(error.empty());
    reply.mutable_command_reply()->set_error(error);
    answer(inbound, reply);
  } else {
    doom(inbound);
  }
}

void Transport::on_frame(Connection& connection, Envelope& envelope) {
  if (is_link(connection)) return;  // nobody sends anything there
  Inbound& inbound = inbound_.at(connection.tag());
  const bool request = std::holds_alternative<ClientRequest>(envelope.message);
  const bool from_client = inbound.peer == kNoNode;
  const bool fits = inbound.greeted && envelope.to == endpoint_of(config_.identity.node_id) &&
                    (from_client ? request : envelope.from == endpoint_of(inbound.peer));
  if (!fits) {
    owner_.on_transport_event("connection closed: it sent what it may not");
    doom(inbound);
    return;
  }
  if (from_client) {
    envelope.from = Endpoint(connection.tag());
    std::get<ClientRequest>(envelope.message).forwarded = false;
  }
  owner_.on_envelope(std::move(envelope));
}

void Transport::on_broken(Connection& connection, const std::string& why) {
  if (is_link(connection)) {
    fail_link(peer_of(connection), link_of(connection), why);
    return;
  }
  const auto found = inbound_.find(connection.tag());
  if (found == inbound_.end()) return;
  if (!found->second.greeted || why != "closed by the other end") {
    owner_.on_transport_event(fmt::format("connection lost error=\"{}\"", why));
  }
  forget(connection.tag());
}

std::string Transport::redis_address(NodeId node) const {
  if (node == config_.identity.node_id) return config_.redis_address;
  const auto peer =
      std::find_if(peers_.begin(), peers_.end(), [&](const Peer& each) { return each.id == node; });
  return peer == peers_.end() ? std::string() : peer->redis_address;
}

void Transport::add_status(net::Status& status) const {
  status.set_connections(inbound_.size());
  for (const Peer& peer : peers_) {
    net::Status::Peer& out = *status.add_peers();
    out.set_id(peer.id.value());
    out.set_address(peer.address);
    out.set_connected(peer.lanes[kControl].ready && peer.lanes[kBulk].ready);
    out.set_error(peer.error);
    out.set_queued_bytes(peer.lanes[kControl].connection->queued_bytes() +
                         peer.lanes[kBulk].connection->queued_bytes());
    out.set_dropped_messages(peer.dropped_count);
  }
}

}  // namespace tally
