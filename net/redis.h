// RedisServer: the front end for clients of Redis, on a port of its own.
//
// Commands are executed in the order in which a connection sent them, and answered in that order.
// Increments that follow one another are under way together; anything else waits until those before
// it are answered. Reads ask the leader for an index once for all that wait (ReadIndexRequest) and
// are then served from this node's own state, all of one connection at one index.
//
// Every increment gets an id of one of this front end's sessions (net/session_pool.h), so that what
// a node repeats on the way executes once. A failure says which it is: codes that client libraries
// retry by themselves (CLUSTERDOWN, TRYAGAIN, MOVED) only where nothing was and will be applied,
// else UNKNOWN.
//
// Bounded: commands (net/resp.h), what a connection has under way, what it has not read (then
// nothing more of it is executed, and after a while it is cut off), and all of it together.
// An idle connection holds a few hundred bytes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/message.h"
#include "core/state_machine.h"
#include "net/loop.h"
#include "net/net.pb.h"
#include "net/resp.h"
#include "net/session_pool.h"

namespace tally {

struct RedisConfig {
  NodeId node;
  std::string listen;  // HOST:PORT
  uint64_t seed = 0;   // of the backoff of retries
  // Off: a node that does not lead sends clients to the one that does (MOVED).
  bool forward = true;
  Duration operation_timeout = std::chrono::seconds(5);
  size_t operation_count_max = 10'000;  // increments under way; more are refused (TRYAGAIN)
  size_t connection_count_max = 20'000;
  size_t held_bytes_max = size_t{256} << 20;       // of all connections' buffers
  Duration unread_max = std::chrono::seconds(10);  // a connection that reads nothing for so long
};

class RedisOwner {
 public:
  virtual ~RedisOwner() = default;
  // For the node; answered by RedisServer::on_response(), not within this call.
  virtual void on_redis_request(Envelope&& envelope) = 0;
  virtual const StateMachine& redis_state() const = 0;
  virtual bool redis_is_leader() const = 0;
  // Where clients of Redis find the leader; empty when that is not known.
  virtual std::string redis_leader_address() const = 0;
  virtual void on_status_request(net::Status& status) = 0;
  // For the log: "event key=value ...".
  virtual void on_redis_event(const std::string& text) = 0;
};

enum class RedisCommandKind : uint8_t { kIncrement, kRead, kTally, kOther, kCount };

struct RedisCounts {
  size_t connections = 0;  // now
  uint64_t accepted = 0;
  uint64_t refused_connections = 0;
  uint64_t cut_off = 0;
  std::array<uint64_t, static_cast<size_t>(RedisCommandKind::kCount)> commands{};  // begun
  uint64_t errors = 0;  // replies that are errors...
  uint64_t shed = 0;    // ...of those, increments refused because too many are under way
  uint64_t unknown = 0;
};

class RedisServer final : private Watcher {
 public:
  // Requests come from these; answers to them belong to on_response().
  static constexpr Endpoint kFirstEndpoint{uint64_t{1} << 63};

  // `loop` and `owner` outlive it.
  RedisServer(Loop& loop, const RedisConfig& config, RedisOwner& owner);
  ~RedisServer() override;

  // Empty, or what is wrong.
  std::string start();
  // Takes over a connected, non-blocking stream.
  void adopt(int fd);

  // Timeouts and retries. Call at deadline() or later...
  void on_time(Time now);
  Time deadline() const;
  // ...then, before the step of the node: hands over what was read since the last one...
  void submit(Time now);
  // ...in it...
  void on_response(Endpoint to, ValueResponse&& response);
  // ...after it: what was answered is replied, and connections that waited for it go on...
  void after_step(Time now);
  // ...and at the end of the turn: replies leave, each connection's in one write. Returns how many
  // connections there were to look at.
  size_t flush(Time now);

  // For what begins from now on.
  void set_limits(Duration operation_timeout, size_t operation_count_max);

  const RedisCounts& counts() const { return counts_; }

 private:
  // An increment under way.
  struct Slot {
    bool done = false;
    bool of_session = false;  // with an id of the client's own
    Outcome outcome = Outcome::kOk;
    Reason reason = Reason::kNone;
    int64_t value = 0;
  };
  struct Connection final : Watcher {
    Connection(RedisServer& its_server, uint32_t its_index, uint64_t its_id, int its_fd)
        : server(its_server), index(its_index), id(its_id), fd(its_fd) {}
    void on_ready(uint32_t ready) override { server.on_connection_ready(*this, ready); }

    RedisServer& server;
    const uint32_t index;
    const uint64_t id;
    int fd;  // -1: gone, but increments of it are under way
    uint32_t events = EPOLLIN;
    bool resp3 = false;
    bool ended = false;       // the other end sends nothing more
    bool closing = false;     // after what is to be sent: nothing more is executed
    bool dirty = false;       // in dirty_
    bool resumes = false;     // in resuming_
    bool blocked = false;     // has something to send that does not leave
    bool reads = false;       // waits for an index: in readers_ or asking_
    uint32_t member = 0;      // of the pool; valid while slots are
    uint32_t first_slot = 0;  // its number
    size_t need = 0;          // fewer bytes of `in` are no command
    size_t read_bytes = 0;    // so many of `in` were there when an index was asked for
    Time read_by;             // else the reads fail
    Time moved_at;            // blocked: when something last left
    size_t held_bytes = 0;    // its part of held_bytes_
    std::vector<Slot> slots;  // in the order of their commands
    std::string in;           // commands that were not executed yet
    std::string out;
    size_t out_begin = 0;
    std::string name;  // CLIENT SETNAME
  };
  // What became of a command.
  enum class Step : uint8_t {
    kDone,  // answered, or under way
    kWait,  // not begun: something before it has to end
  };
  // How far reads may be served at once, in bytes of `in`.
  struct Allowance {
    size_t read_bytes = 0;
    bool failed = false;  // they are answered with an error instead
  };
  using Arguments = std::vector<std::string_view>;
  struct Command;  // redis_commands.cpp

  void on_ready(uint32_t events) override;
  void on_connection_ready(Connection& connection, uint32_t events);
  void receive(Connection& connection);
  void execute_all(Connection& connection, std::string_view bytes, Allowance allowance);
  void wait_for_index(Connection& connection, size_t bytes);
  void serve_readers(bool failed);
  void fail_overdue_readers(Time now);
  void after_execution(Connection& connection);
  void take_dones();
  void on_done(const Client::Done& done);
  void reply_slot(Connection& connection, const Slot& slot);
  void resume(Connection& connection);
  void mark_dirty(Connection& connection);
  void watch_right(Connection& connection);
  void settle_memory(Connection& connection);
  void flush_one(Connection& connection);
  void cut_off_blocked(Time now);
  void maybe_end(Connection& connection);
  void close(Connection& connection);
  void free_if_drained(Connection& connection);
  void fail(Connection& connection, std::string_view text);

  // redis_commands.cpp
  Step execute(Connection& connection, const Arguments& arguments, bool may_read, bool failed);
  Step begin_increment(Connection& connection, Client::Increment&& increment);
  Step begin(Connection& connection, Client::Operation&& operation, bool of_session,
             std::string_view name);
  Step refuse(Connection& connection, std::string_view text);
  std::string refusal(std::string_view name) const;
  bool take_name(Connection& connection, std::string_view name);
  Step increment_by(Connection& connection, const Arguments& arguments, bool negative);
  Step tally_increment(Connection& connection, const Arguments& arguments);
  void get(Connection& connection, const Arguments& arguments);
  void mget(Connection& connection, const Arguments& arguments);
  void exists(Connection& connection, const Arguments& arguments);
  void ping(Connection& connection, const Arguments& arguments);
  void hello(Connection& connection, const Arguments& arguments);
  bool authenticate(Connection& connection, std::string_view user, std::string_view password);
  void auth(Connection& connection, const Arguments& arguments);
  void reset(Connection& connection);
  void select(Connection& connection, const Arguments& arguments);
  void info(Connection& connection, const Arguments& arguments);
  std::string info_text(std::string_view section) const;
  void command(Connection& connection, const Arguments& arguments);
  void put_command_info(Connection& connection, const Command& command);
  void config(Connection& connection, const Arguments& arguments);
  void client(Connection& connection, const Arguments& arguments);
  bool set_name(Connection& connection, std::string_view name);
  void unknown(Connection& connection, const Arguments& arguments);

  Loop& loop_;
  RedisConfig config_;
  RedisOwner& owner_;
  int listen_fd_ = -1;
  Time accept_at_ = kNever;  // when out of descriptors: then again
  Time now_;
  SessionPool pool_;
  std::vector<std::pair<Endpoint, ValueResponse>> responses_;  // of this step

  std::vector<std::unique_ptr<Connection>> connections_;  // by index; null: free
  std::vector<uint32_t> free_;
  uint64_t next_id_ = 1;
  size_t held_bytes_ = 0;
  std::vector<uint32_t> dirty_;     // have something to send
  std::vector<uint32_t> resuming_;  // may go on with what they hold
  Time blocked_look_at_ = kNever;
  std::vector<uint32_t> scratch_;  // reused

  // Reads wait here, and are asked for together. One question at a time.
  std::vector<uint32_t> readers_;
  std::vector<uint32_t> asking_;        // for those the question was put
  bool asked_ = false;                  // it has no answer yet
  std::optional<LogIndex> read_index_;  // its answer, until the state has got there
  uint64_t question_ = 0;               // its number
  Time ask_again_at_;                   // after a failure
  Time readers_look_at_ = kNever;

  RespCommand parsed_;  // reused
  RedisCounts counts_;
};

}  // namespace tally
