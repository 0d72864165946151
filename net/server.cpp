#include "net/server.h"

#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <malloc.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <initializer_list>
#include <thread>
#include <utility>

#include "core/check.h"
#include "net/config.h"
#include "storage/log_format.h"

namespace tally {
namespace {

// How long a first start waits for peers that could say that this node's disk was wiped.
constexpr Duration kAskPeersMax = std::chrono::seconds(2);
constexpr Duration kLockWaitMax = std::chrono::seconds(1);
// A few batches of a cluster at work, and little to wait when a follower fails.
constexpr Duration kSpareDelay = std::chrono::milliseconds(5);
// A sync that takes longer must not hold up heartbeats.
constexpr Duration kSyncPatience = std::chrono::milliseconds(10);
// After one that took longer than this, others do the waiting for so many times as long.
constexpr Duration kQuickSync = std::chrono::milliseconds(1);
constexpr int kSlowSyncFactor = 10;

// Of options. Beyond them lies no use, and somewhere an overflow.
constexpr uint64_t kSegmentBytesLeast = uint64_t{64} << 10;  // a few of the largest entries
constexpr uint64_t kSegmentBytesMax = uint64_t{4} << 30;
constexpr uint64_t kLogBytesMax = uint64_t{1} << 50;
constexpr uint64_t kCountMax = 10'000'000;
constexpr uint64_t kMsMax = uint64_t{366} * 24 * 3600 * 1000;

uint64_t system_random() {
  uint64_t bits = 0;
  CHECK(getrandom(&bits, sizeof(bits), 0) == sizeof(bits), "{}", errno_text("getrandom"));
  return bits;
}

const char* role_text(Raft::Role role) {
  switch (role) {
    case Raft::Role::kLeader: return "leader";
    case Raft::Role::kFollower: return "follower";
    case Raft::Role::kPreCandidate:
    case Raft::Role::kCandidate: return "candidate";
  }
  return "?";
}

// What an operator wants to know of; the rest is counted.
bool is_news(NoteKind kind) {
  switch (kind) {
    case NoteKind::election_timeout:
    case NoteKind::became_leader:
    case NoteKind::leader_found:
    case NoteKind::stepped_down_higher_term:
    case NoteKind::stepped_down_no_quorum:
    case NoteKind::stepped_down_slow_disk:
    case NoteKind::stepped_down_full_disk:
    case NoteKind::disk_full:
    case NoteKind::disk_has_room:
    case NoteKind::repair_begun:
    case NoteKind::repair_waits:
    case NoteKind::repair_complete:
    case NoteKind::follower_damaged:
    case NoteKind::follower_whole:
    case NoteKind::transfer_begun:
    case NoteKind::transfer_refused:
    case NoteKind::transfer_given_up:
    case NoteKind::transfer_received:
    case NoteKind::log_truncated:
    case NoteKind::snapshot_needed:
    case NoteKind::snapshot_installed:
    case NoteKind::snapshot_failed:
    case NoteKind::snapshot_saved:
    case NoteKind::recovered:
    case NoteKind::recovered_torn_tail:
    case NoteKind::request_lost_leadership: return true;
    default: return false;
  }
}

bool is_log_file(const std::string& name) { return segment_number(name).has_value(); }

std::vector<uint64_t> voters_of(const ServerOptions& options) {
  std::vector<uint64_t> voters;
  for (const PeerAddress& member : options.members) voters.push_back(member.id.value());
  std::sort(voters.begin(), voters.end());
  return voters;
}

std::string limits_error(const ServerOptions& options) {
  struct Limit {
    const char* name;
    uint64_t value;
    uint64_t least;
    uint64_t most;
  };
  const auto ms = [](Duration time) {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
  };
  for (const Limit& limit : std::initializer_list<Limit>{
           {"segment_bytes", options.segment_bytes, kSegmentBytesLeast, kSegmentBytesMax},
           {"snapshot_log_bytes", options.snapshot_log_bytes, 1, kLogBytesMax},
           {"kept_log_bytes", options.kept_log_bytes, 0, kLogBytesMax},
           {"sessions_max", options.session_count_max, 1, kCountMax},
           {"waiting_requests_max", options.waiting_count_max, 1, kCountMax},
           {"snapshot_interval_ms", ms(options.snapshot_interval), 1, kMsMax},
           {"session_timeout_ms", ms(options.session_timeout), 1, kMsMax},
           {"request_timeout_ms", ms(options.request_timeout), 1, kMsMax},
       }) {
    if (limit.value >= limit.least && limit.value <= limit.most) continue;
    return fmt::format("{}: {} is not from {} to {}", limit.name, limit.value, limit.least,
                       limit.most);
  }
  return {};
}

// A process that was just killed may hold its lock for a moment yet.
std::string lock_directory(PosixDisk& disk, const std::string& path) {
  const Time until = monotonic_now() + kLockWaitMax;
  for (;;) {
    if (disk.lock()) return {};
    if (!disk.is_locked_elsewhere()) return errno_text(path + ": its files cannot be opened");
    if (monotonic_now() >= until) {
      return fmt::format(
          "the data directory {} is in use by another process (its file LOCK is locked)", path);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

// Why clients should go elsewhere; empty when they need not.
std::string unready(const net::Status& status) {
  if (status.leader() == 0) return "no leader is known";
  if (status.applied_index() == 0) return "nothing is applied yet";
  if (status.disk_full()) {
    return fmt::format("its disk is full: takes no writes until {} bytes are free, has {}",
                       status.disk_needed_bytes(), status.disk_free_bytes());
  }
  if (status.quorum_full()) return "refuses writes: the disks of no quorum have room";
  return {};
}

}  // namespace

std::string options_error(const ServerOptions& options) {
  if (options.id == kNoNode || options.id.value() >= kFirstClient.value()) {
    return "--id: give this node's number, from 1 up";
  }
  if (options.data_directory.empty()) return "--data: give the data directory";
  std::string error = label_error("--cluster", options.cluster);
  if (error.empty()) error = label_error("--group", options.group);
  if (!error.empty()) return error;
  error = members_error(options.members);
  if (!error.empty()) return "--peers: " + error;
  const auto is_self = [&](const PeerAddress& member) { return member.id == options.id; };
  if (options.members.size() > kVotersMax) {
    return fmt::format("--peers: at most {} nodes", kVotersMax);
  }
  if (std::none_of(options.members.begin(), options.members.end(), is_self)) {
    return fmt::format("--peers: node {} itself (--id) is not among them", options.id.value());
  }
  error = limits_error(options);
  if (!error.empty()) return error;
  std::string host;
  std::string port;
  const auto address_error = [&](std::string_view flag, const std::string& address) {
    const std::string wrong = parse_address(address, host, port);
    if (!wrong.empty()) return fmt::format("{} {}", flag, wrong);
    if (std::stoul(port) != 0) return std::string();
    return fmt::format("{} {}: give a port that others can know, not 0", flag, address);
  };
  if (!options.listen.empty()) error = address_error("--listen", options.listen);
  if (error.empty() && !options.redis_listen.empty()) {
    error = address_error("--redis-listen", redis_listen_address(options));
    if (error.empty() && options.redis_advertise.empty() && (host == "0.0.0.0" || host == "::")) {
      error = fmt::format(
          "--redis-listen {}: clients cannot be sent to that address; say with --redis-advertise "
          "HOST:PORT where they find this node",
          options.redis_listen);
    }
  }
  if (error.empty() && !options.redis_advertise.empty()) {
    if (options.redis_listen.empty()) return "--redis-advertise: give --redis-listen, too";
    error = address_error("--redis-advertise", options.redis_advertise);
    if (error.empty() && host.size() > 255) {
      error = "--redis-advertise: its host is longer than 255 bytes";
    }
  }
  if (error.empty() && !options.metrics_listen.empty()) {
    error = address_error("--metrics-listen", options.metrics_listen);
  }
  if (!error.empty()) return error;
  return config_error(node_config(options, Identity{.node_id = options.id}));
}

std::string redis_listen_address(const ServerOptions& options) {
  const bool port_only = options.redis_listen.find(':') == std::string::npos;
  return port_only ? "127.0.0.1:" + options.redis_listen : options.redis_listen;
}

NodeConfig node_config(const ServerOptions& options, const Identity& identity) {
  NodeConfig config;
  config.identity = identity;
  config.raft.id = options.id;
  for (const PeerAddress& member : options.members) config.raft.voters.push_back(member.id);
  config.raft.election_timeout_min = options.election_timeout_min;
  config.raft.heartbeat_interval = options.heartbeat_interval;
  config.raft.seed = system_random();
  config.raft.spare_delay = std::min(kSpareDelay, options.heartbeat_interval);
  config.session_limits.timeout = options.session_timeout;
  config.session_limits.session_count_max = options.session_count_max;
  config.snapshot_log_bytes = options.snapshot_log_bytes;
  config.snapshot_interval = options.snapshot_interval;
  config.kept_log_bytes = options.kept_log_bytes;
  config.waiting_count_max = options.waiting_count_max;
  config.request_timeout = options.request_timeout;
  config.incarnation = system_random();
  return config;
}

Server::Server(const ServerOptions& options, Reload reload)
    : options_(options), reload_(std::move(reload)), log_(options.id), baton_(kSyncPatience) {
  const std::string error = options_error(options_);
  CHECK(error.empty(), "{}", error);
  clients_loop_.nest(loop_);
}

// The disk's workers use memory of the node and its storage: they end first.
Server::~Server() {
  if (disk_ != nullptr) {
    disk_->set_client(nullptr);
    disk_->stop();
  }
  if (signal_fd_ < 0) return;
  loop_.forget(signal_fd_, *this);
  close(signal_fd_);
}

// ---- Starting and stopping ----

std::string Server::run() {
  // The loop changes threads, and what one of them has freed must be there for the other: with an
  // arena each, memory took up to twice as much.
  mallopt(M_ARENA_MAX, 1);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2}) sigaddset(&signals, signal);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  CHECK(signal_fd_ >= 0, "{}", errno_text("signalfd"));
  loop_.watch(signal_fd_, EPOLLIN, *this);

  const bool had_past = access((options_.data_directory + "/NODE").c_str(), F_OK) == 0;
  const std::string error = start();
  if (!error.empty()) {
    // Nobody remembers this directory: it is as if it had never been.
    const bool known = transport_ != nullptr && transport_->may_be_known();
    if (!had_past && !known) node_file_.remove();
    return error;
  }
  disk_->hold_syncs();
  baton_.run([this] { return !stopping_ && failure_.empty() && turn(); });
  if (failure_.empty()) log("info", "stopped");
  return failure_;
}

std::string Server::start() {
  std::string error = open_directory();
  if (error.empty()) error = start_transport();
  if (error.empty() && first_start_) error = ask_peers();
  if (error.empty() && !stopping_) error = start_node();
  return error;
}

std::string Server::open_directory() {
  std::string error;
  disk_ = PosixDisk::open(loop_, options_.data_directory, error);
  if (disk_ == nullptr) return error;
  error = lock_directory(*disk_, options_.data_directory);
  if (!error.empty()) return error;
  error = node_file_.load(options_.data_directory);
  if (!error.empty()) return error;
  identity_ = {name_id(options_.cluster), name_id(options_.group), options_.id,
               system_random() | 1};
  if (node_file_.exists()) {
    error = node_file_.check(identity_, voters_of(options_));
    if (!error.empty()) return error;
    first_start_ = !node_file_.log_began();
    identity_.directory_id = node_file_.directory_id();
    if (options_.bootstrap) log("info", "bootstrap ignored: the data directory has a past");
    return check_log();
  }
  const std::vector<std::string> files = disk_->list();
  if (std::any_of(files.begin(), files.end(), is_log_file)) {
    return fmt::format(
        "{} has a log but no file NODE, which says whose it is: bring it back from where the log "
        "came, as it was when the node last ran",
        options_.data_directory);
  }
  if (!options_.bootstrap) {
    return fmt::format(
        "{} is empty. Start each node of a new cluster with --bootstrap, once (--join, for a node "
        "that is added to a running cluster, is not possible yet). If this node had a past, bring "
        "back its data directory as it was when the node last ran, never an older copy: with an "
        "empty or an old one it must not vote",
        options_.data_directory);
  }
  if (!files.empty()) {
    return fmt::format(
        "{} is not empty: it has {}, which is nothing of Tally's. Give a directory of its own",
        options_.data_directory, files.front());
  }
  first_start_ = true;
  return node_file_.create(identity_, options_.cluster, options_.group, voters_of(options_));
}

// A log that has begun is not empty, unless somebody removed it.
std::string Server::check_log() {
  const std::vector<std::string> files = disk_->list();
  if (!node_file_.log_began() || std::any_of(files.begin(), files.end(), is_log_file)) return {};
  return fmt::format(
      "{}: the log that was here is gone. With an empty one this node must not vote. Bring it back "
      "as it was when the node last ran; an older copy lacks what the node has promised since",
      options_.data_directory);
}

std::string Server::start_transport() {
  TransportConfig config;
  config.cluster = options_.cluster;
  config.group = options_.group;
  config.identity = identity_;
  config.members = options_.members;
  config.seed = system_random();
  config.connection_count_max = options_.connection_count_max;
  config.redis_address = options_.redis_advertise;
  if (config.redis_address.empty() && !options_.redis_listen.empty()) {
    config.redis_address = redis_listen_address(options_);
  }
  config.listen = options_.listen;
  if (config.listen.empty()) {
    const auto self =
        std::find_if(options_.members.begin(), options_.members.end(),
                     [&](const PeerAddress& member) { return member.id == options_.id; });
    config.listen = self->address;
  }
  TransportOwner& owner = *this;
  transport_ = std::make_unique<Transport>(loop_, clients_loop_, config, node_file_, owner);
  const std::string error = transport_->start(now());
  if (!error.empty()) return error;
  log("info",
      fmt::format("listening address={} cluster={} directory={:016x} commit={}", config.listen,
                  options_.cluster, identity_.directory_id, options_.commit));
  if (options_.metrics_listen.empty()) return {};
  http_ = std::make_unique<HttpServer>(
      loop_, [this](std::string_view path, int& code) { return serve_http(path, code); });
  return http_->start(options_.metrics_listen);
}

// Gives every peer that can be reached the chance to say that this node's disk was wiped.
std::string Server::ask_peers() {
  const Time until = now() + kAskPeersMax;
  while (!stopping_ && failure_.empty() && now() < until && !transport_->has_tried_all()) {
    clients_loop_.turn(std::min(until, transport_->deadline()));
    transport_->on_time(now());
    transport_->flush();
  }
  return failure_;
}

std::string Server::start_node() {
  WalConfig wal_config;
  wal_config.segment_bytes = options_.segment_bytes;
  wal_ = std::make_unique<Wal>(*disk_, wal_config);
  Clock& clock = *this;
  Network& network = *this;
  NodeConfig config = node_config(options_, identity_);
  config.first_start = !node_file_.log_began();
  node_ = std::make_unique<Node>(config, clock, network, *wal_);
  node_->start();
  disk_->deliver();
  if (!node_->running()) return fmt::format("{}: {}", options_.data_directory, node_->message());
  if (!node_->message().empty()) log("warning", node_->message());
  started_ = true;
  const std::string error = start_redis();
  return error.empty() ? after_step() : error;
}

std::string Server::start_redis() {
  if (options_.redis_listen.empty()) return {};
  RedisConfig config;
  config.node = options_.id;
  config.listen = redis_listen_address(options_);
  config.seed = system_random();
  config.forward = options_.redis_forward;
  config.operation_timeout = options_.request_timeout;
  config.operation_count_max = options_.waiting_count_max;
  config.connection_count_max = options_.redis_connection_count_max;
  RedisOwner& owner = *this;
  redis_ = std::make_unique<RedisServer>(clients_loop_, config, owner);
  const std::string error = redis_->start();
  if (error.empty()) log("info", fmt::format("listening for redis address={}", config.listen));
  return error;
}

// ---- One turn ----

// False when the other thread has taken over.
bool Server::turn() {
  bool any = wait();
  any |= disk_->deliver();
  const Time at = now();
  if (at >= transport_->deadline()) transport_->on_time(at);
  const Time redis_deadline = redis_ == nullptr ? kNever : redis_->deadline();
  if (any || at >= std::min({node_deadline_, redis_deadline, gather_.keeps_until()})) {
    const std::string error = step(at);
    if (failure_.empty()) failure_ = error;
    if (!failure_.empty()) return true;
  }
  size_t answered = std::exchange(forwarded_answer_count_, 0) + transport_->flush();
  if (redis_ != nullptr) answered += redis_->flush(at);
  if (metrics_.expects_flush()) metrics_.on_flushed(now());
  const Raft& raft = node_->raft();
  gather_.on_turn({.began = at,
                   .ended = now(),
                   .heard = clients_heard_,
                   .answered_count = answered,
                   .leads = raft.is_leader() && raft.transfer_to() == kNoNode,
                   .last = raft.log().last_index(),
                   .committed = raft.commit_index(),
                   .applied_count = node_->applied_count()});
  return sync();
}

Loop& Server::attended() { return now() < gather_.deaf_until() ? loop_ : clients_loop_; }

bool Server::wait() {
  Time deadline = std::min({node_deadline_, transport_->deadline(), gather_.keeps_until()});
  if (disk_->has_news()) deadline = Time::min();
  Loop& loop = attended();
  clients_heard_ = &loop != &loop_;
  if (!clients_heard_) {
    deadline = std::min(deadline, gather_.deaf_until());
  } else if (redis_ != nullptr) {
    deadline = std::min(deadline, redis_->deadline());
  }
  return loop.turn(deadline);
}

std::string Server::step(Time at) {
  if (redis_ != nullptr) {
    redis_->on_time(at);
    redis_->submit(at);
  }
  if (gather_.keeps() && gather_.is_over(at, kept_.size())) {
    gather_.release(kept_.size());
    for (Envelope& envelope : kept_) node_->receive(std::move(envelope));
    kept_.clear();
  }
  node_->wake();
  // What it wrote at once is in the page cache by now: its sync can begin. What else that means to
  // the node, such as that the next piece of a snapshot may come, is for the next turn, at once.
  if (disk_->deliver()) node_deadline_ = std::min(node_deadline_, at);
  if (!node_->running()) return fmt::format("the node stops: {}", node_->message());
  const std::string error = after_step();
  if (!error.empty()) return error;
  if (redis_ != nullptr) redis_->after_step(at);
  if (handing_over_ && node_->raft().transfer_to() == kNoNode) stopping_ = true;
  return {};
}

// With nothing else to do, this thread makes the sync itself: two switches of threads less. When
// the disk takes long, the other one goes on with the loop, and the next syncs are workers'.
bool Server::sync() {
  if (!disk_->has_held_sync()) return true;
  const Time begun = now();
  if (begun < sync_here_from_ || !baton_.may_go() || attended().has_ready()) {
    disk_->release_sync();
    return true;
  }
  // As if it took long: when it does, this thread may not touch it any more.
  sync_here_from_ = begun + kSlowSyncFactor * 2 * kSyncPatience;
  if (!disk_->sync_here(baton_)) return false;
  const Duration took = now() - begun;
  sync_here_from_ = took <= kQuickSync ? begun : begun + kSlowSyncFactor * took;
  return true;
}

// Before anything of this step leaves.
std::string Server::after_step() {
  metrics_.on_step(now(), *node_, !kept_.empty());
  for (const Note& note : node_->last_notes()) {
    if (is_news(note.kind)) log("info", note_text(note));
    if (note.kind == NoteKind::session_table_full) log_.event(note_text(note));
    if (note.kind == NoteKind::disk_full) {
      log("warning",
          fmt::format("writes are refused until {} bytes are free in {}: it has {}",
                      wal_->room_needed_bytes(), options_.data_directory, disk_->free_bytes()));
    }
  }
  if (node_file_.log_began() || node_->durable_number() == 0) return {};
  first_start_ = false;
  return node_file_.set_log_began();
}

void Server::send(Envelope&& envelope) {
  if (envelope.to >= RedisServer::kFirstEndpoint) {
    redis_->on_response(envelope.to, std::move(std::get<ValueResponse>(envelope.message)));
    return;
  }
  if (const auto* response = std::get_if<ValueResponse>(&envelope.message)) {
    if (is_client(envelope.to)) {
      metrics_.on_answer(*response);
    } else {
      ++forwarded_answer_count_;
    }
  }
  transport_->send(std::move(envelope));
}

void Server::on_envelope(Envelope&& envelope) {
  if (!started_) return;
  if (std::holds_alternative<ClientRequest>(envelope.message)) {
    metrics_.on_request(is_client(envelope.from), monotonic_now);
    return take_request(std::move(envelope));
  }
  node_->receive(std::move(envelope));
}

void Server::take_request(Envelope&& envelope) {
  if (gather_.keeps() && !is_read(std::get<ClientRequest>(envelope.message))) {
    kept_.push_back(std::move(envelope));
  } else {
    node_->receive(std::move(envelope));
  }
}

void Server::on_redis_request(Envelope&& envelope) {
  if (!is_read(std::get<ClientRequest>(envelope.message))) metrics_.on_request(true, monotonic_now);
  take_request(std::move(envelope));
}

std::string Server::redis_leader_address() const {
  return transport_->redis_address(node_->raft().leader());
}

std::string Server::on_snapshot_command() {
  if (!started_) return "the node is not started yet";
  node_->request_snapshot();
  return {};
}

std::string Server::on_transfer_command(NodeId to) {
  if (!started_ || !node_->raft().is_leader()) return "the node does not lead";
  if (to == options_.id) return "it leads already";
  const auto& voters = options_.members;
  const bool known = std::any_of(voters.begin(), voters.end(),
                                 [&](const PeerAddress& member) { return member.id == to; });
  if (to != kNoNode && !known) return fmt::format("node {} is not a member", to.value());
  node_->request_transfer(to);
  return {};
}

// A node whose log has not begun must not vote when anybody knows it with another directory; and
// when most of the others do not take it for one of theirs, it has wrong flags. One that has a past
// goes on whatever a stranger says, until most of the others know it with another directory.
void Server::on_refused(net::Refusal refusal, const std::string& error) {
  if (!failure_.empty() || refusal == net::REFUSAL_TOO_MANY) return;
  const bool other_directory = refusal == net::REFUSAL_OTHER_DIRECTORY;
  const bool by_most = 2 * transport_->refusing_count() > options_.members.size() - 1;
  if (first_start_ ? other_directory || by_most : other_directory && by_most) failure_ = error;
}

void Server::on_transport_event(const std::string& text) { log_.event(text); }

void Server::on_ready(uint32_t /*events*/) {
  signalfd_siginfo info{};
  while (::read(signal_fd_, &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGUSR2) {
      describe();
    } else if (info.ssi_signo == SIGHUP) {
      reload();
    } else {
      stop();
    }
  }
}

void Server::stop() {
  const bool hands_over = started_ && node_->raft().is_leader() && options_.members.size() > 1;
  if (!hands_over || handing_over_) {
    stopping_ = true;
    return;
  }
  handing_over_ = true;
  node_->request_transfer(kNoNode);
}

void Server::reload() {
  ServerOptions fresh;
  const std::string error = reload_(fresh);
  if (!error.empty()) return log("warning", "not reloaded, all stays as it is: " + error);
  ServerOptions next = options_;
  next.request_timeout = fresh.request_timeout;
  next.session_timeout = fresh.session_timeout;
  next.session_count_max = fresh.session_count_max;
  next.waiting_count_max = fresh.waiting_count_max;
  next.snapshot_log_bytes = fresh.snapshot_log_bytes;
  next.snapshot_interval = fresh.snapshot_interval;
  next.kept_log_bytes = fresh.kept_log_bytes;
  const auto taken = changed_options(options_, next);
  options_ = next;
  if (started_) node_->set_limits(node_config(options_, identity_));
  if (redis_ != nullptr) redis_->set_limits(options_.request_timeout, options_.waiting_count_max);
  log("info", taken.empty() ? "reloaded: nothing has changed that may"
                            : fmt::format("reloaded: {}", fmt::join(taken, ", ")));
  const auto waiting = changed_options(next, fresh);
  if (waiting.empty()) return;
  log("warning",
      fmt::format("these have changed, too, and wait for a restart: {}", fmt::join(waiting, ", ")));
}

// ---- What it tells ----

void Server::on_status_request(net::Status& status) {
  status.set_id(options_.id.value());
  status.set_role("starting");
  status.set_cluster(options_.cluster);
  status.set_group(options_.group);
  status.set_directory_id(identity_.directory_id);
  status.set_commit(options_.commit);
  status.set_uptime_ms(static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(now() - started_at_).count()));
  status.set_disk_free_bytes(disk_->free_bytes());
  status.set_sync_count(disk_->sync_count());
  transport_->add_status(status);
  if (!started_) return;
  const Raft& raft = node_->raft();
  status.set_role(role_text(raft.role()));
  status.set_term(raft.term().value());
  status.set_leader(raft.leader().value());
  status.set_first_index(raft.log().base().index.value() + 1);
  status.set_last_index(raft.log().last_index().value());
  status.set_durable_index(raft.durable_index().value());
  status.set_commit_index(raft.commit_index().value());
  status.set_applied_index(node_->state().applied_index().value());
  status.set_snapshot_index(raft.snapshot() ? raft.snapshot()->last.index.value() : 0);
  status.set_counters(node_->state().counter_count());
  status.set_sessions(node_->state().session_count());
  status.set_sessions_max(options_.session_count_max);
  status.set_state_hash(node_->state().state_hash());
  status.set_waiting(node_->waiting_count());
  for (const Raft::Follower& follower : raft.followers()) {
    for (net::Status::Peer& peer : *status.mutable_peers()) {
      if (peer.id() != follower.id.value()) continue;
      peer.set_replication(std::string(follower.state));
      peer.set_match_index(follower.match_index.value());
      peer.set_silent_ms(static_cast<uint64_t>(
          std::chrono::duration_cast<std::chrono::milliseconds>(now() - follower.contact_at)
              .count()));
    }
  }
  status.set_disk_full(wal_->is_full());
  status.set_disk_needed_bytes(wal_->room_needed_bytes());
  status.set_quorum_full(raft.lacks_room());
  status.set_repairing(raft.is_repairing());
  status.set_repair_index(raft.repair_index().value());
  if (raft.is_repairing()) status.set_damage(node_->message());
}

void Server::describe() {
  net::Status status;
  on_status_request(status);
  std::string text;
  CHECK(google::protobuf::TextFormat::PrintToString(status, &text));
  const std::string path = options_.data_directory + "/DESCRIPTION";
  std::ofstream file(path);
  file << text;
  file.close();
  log(file ? "info" : "warning", fmt::format("description {}", file ? path : errno_text(path)));
}

std::string Server::serve_http(std::string_view path, int& code) {
  net::Status status;
  on_status_request(status);
  if (path == "/metrics") {
    return metrics_.text(status, transport_->cut_off_count(),
                         redis_ == nullptr ? nullptr : &redis_->counts());
  }
  if (path == "/healthz") return "ok\n";
  if (path == "/readyz") {
    std::string error = unready(status);
    if (error.empty()) return "ready\n";
    code = 503;
    return error + "\n";
  }
  code = 404;
  return "there are /metrics, /healthz and /readyz\n";
}

}  // namespace tally
