// Server: one node of a real cluster. Joins the driver of core/ to the real clock, network and disk
// and lives on one loop.
//
// All that one turn of the loop brought goes through one step of the node, one write and one send
// for each connection.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/node.h"
#include "net/baton.h"
#include "net/gather.h"
#include "net/http.h"
#include "net/logger.h"
#include "net/loop.h"
#include "net/metrics.h"
#include "net/node_file.h"
#include "net/posix_disk.h"
#include "net/redis.h"
#include "net/transport.h"
#include "storage/wal.h"

namespace tally {

struct ServerOptions {
  NodeId id;
  std::string data_directory;
  std::string cluster = "tally";
  std::string group = "counter";
  std::vector<PeerAddress> members;  // this node included
  std::string listen;                // empty: the member's own address
  std::string metrics_listen;        // empty: none
  // Clients of Redis: where they come in (empty: nowhere; without a host: on 127.0.0.1), where they
  // find this node, as the others tell them (empty: there, too), and whether a node that does not
  // lead passes on what they ask, or sends them to the one that does.
  std::string redis_listen;
  std::string redis_advertise;
  bool redis_forward = true;
  size_t redis_connection_count_max = 20'000;
  bool bootstrap = false;
  size_t connection_count_max = 20'000;
  std::string commit;  // of the program, for the status

  Duration election_timeout_min = std::chrono::milliseconds(1000);
  Duration heartbeat_interval = std::chrono::milliseconds(100);
  Duration request_timeout = std::chrono::seconds(5);
  Duration session_timeout = std::chrono::minutes(10);
  uint64_t session_count_max = 100'000;
  uint64_t waiting_count_max = 10'000;
  uint64_t segment_bytes = uint64_t{64} << 20;
  uint64_t snapshot_log_bytes = uint64_t{64} << 20;
  Duration snapshot_interval = std::chrono::minutes(30);
  uint64_t kept_log_bytes = uint64_t{16} << 20;

  friend bool operator==(const ServerOptions&, const ServerOptions&) = default;
};

// Empty when the options fit together, else what is wrong with which one.
std::string options_error(const ServerOptions& options);
// HOST:PORT of what may be a port alone.
std::string redis_listen_address(const ServerOptions& options);
// With a seed of its own from the system.
NodeConfig node_config(const ServerOptions& options, const Identity& identity);

class Server final : private Clock,
                     private Network,
                     private TransportOwner,
                     private RedisOwner,
                     private Watcher {
 public:
  // Options as they are now; empty, or what is wrong with them.
  using Reload = std::function<std::string(ServerOptions&)>;

  Server(const ServerOptions& options, Reload reload);
  ~Server() override;

  // Runs until a signal or a failure ends it. SIGTERM and SIGINT stop it: a leader hands over
  // first, for at most one election timeout, and a second signal stops it at once. SIGHUP asks
  // `reload` and takes over sessions, waiting requests, request timeout and when snapshots are
  // taken. SIGUSR2 writes a description of the node to the data directory. All four must be blocked
  // in every thread. Empty when it was stopped; else why it could not start or go on.
  std::string run();

 private:
  // Clock.
  Time now() override { return monotonic_now(); }
  void set_deadline(Time deadline) override { node_deadline_ = deadline; }
  // Network.
  void send(Envelope&& envelope) override;

  void on_envelope(Envelope&& envelope) override;
  void on_status_request(net::Status& status) override;
  std::string on_snapshot_command() override;
  std::string on_transfer_command(NodeId to) override;
  void on_refused(net::Refusal refusal, const std::string& error) override;
  void on_transport_event(const std::string& text) override;
  void on_redis_request(Envelope&& envelope) override;
  const StateMachine& redis_state() const override { return node_->state(); }
  bool redis_is_leader() const override { return node_->raft().is_leader(); }
  std::string redis_leader_address() const override;
  void on_redis_event(const std::string& text) override { log_.event(text); }
  void on_ready(uint32_t events) override;  // a signal
  void stop();
  void reload();

  std::string start();
  std::string open_directory();
  std::string check_log();
  std::string start_transport();
  std::string ask_peers();
  std::string start_node();
  std::string start_redis();
  bool turn();
  Loop& attended();
  bool wait();
  std::string step(Time at);
  bool sync();
  std::string after_step();
  void take_request(Envelope&& envelope);
  void describe();
  void log(std::string_view level, std::string_view text) { log_.line(level, text); }
  std::string serve_http(std::string_view path, int& code);

  ServerOptions options_;
  const Reload reload_;
  const Time started_at_ = monotonic_now();
  Logger log_;
  Loop loop_;          // the other nodes, the disk, signals, metrics
  Loop clients_loop_;  // clients, and loop_ in it
  Baton baton_;
  int signal_fd_ = -1;
  bool handing_over_ = false;  // stops once it leads no longer
  bool stopping_ = false;
  std::string failure_;

  std::unique_ptr<PosixDisk> disk_;
  NodeFile node_file_;
  Identity identity_;
  bool first_start_ = false;  // nothing of the log was durable yet
  bool started_ = false;      // the node takes part
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Wal> wal_;
  std::unique_ptr<Node> node_;
  Time node_deadline_ = kNever;
  Gather gather_;
  std::vector<Envelope> kept_;          // by it, in the order in which they came
  size_t forwarded_answer_count_ = 0;   // in this turn
  bool clients_heard_ = false;          // in this turn
  Time sync_here_from_;                 // before, workers make all syncs
  std::unique_ptr<RedisServer> redis_;  // null: not wanted, or not yet
  Metrics metrics_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace tally
