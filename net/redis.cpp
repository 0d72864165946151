#include "net/redis.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/check.h"
#include "net/connection.h"

namespace tally {
namespace {

constexpr RespLimits kLimits{};
constexpr Duration kAskAgainAfter = std::chrono::milliseconds(10);
constexpr Duration kBlockedLookEvery = std::chrono::seconds(1);
constexpr size_t kReadBytes = size_t{64} << 10;
// All connections together may bring so much in one turn of the loop, so that heartbeats do not
// wait; each of them at least so much.
constexpr size_t kReadBytesOfAll = size_t{1} << 20;
constexpr size_t kReadBytesMin = size_t{4} << 10;
// A connection holds this much of what it may not execute yet, then it is not read.
constexpr size_t kHeldInputBytesMax = kLimits.command_bytes_max + (size_t{16} << 10);
// With so much to be sent, it executes nothing more.
constexpr size_t kUnsentBytesMax = size_t{64} << 10;
// A buffer of an idle connection that is larger is given back.
constexpr size_t kKeptBytes = 512;
// A connection that holds less is not cut off for the sake of all.
constexpr size_t kSpareBytes = size_t{16} << 10;

// The endpoint of the questions for an index; those of the pool's members follow.
constexpr Endpoint kReadsEndpoint = RedisServer::kFirstEndpoint;

void give_back(std::string& buffer) {
  if (buffer.capacity() > kKeptBytes) {
    std::string().swap(buffer);
  } else {
    buffer.clear();
  }
}

}  // namespace

RedisServer::RedisServer(Loop& loop, const RedisConfig& config, RedisOwner& owner)
    : loop_(loop),
      config_(config),
      owner_(owner),
      pool_({.node = config.node,
             .seed = config.seed,
             .operation_timeout = config.operation_timeout,
             .operations_max = config.operation_count_max}) {}

RedisServer::~RedisServer() {
  for (const auto& connection : connections_) {
    if (connection == nullptr || connection->fd < 0) continue;
    loop_.forget(connection->fd, *connection);
    ::close(connection->fd);
  }
  if (listen_fd_ < 0) return;
  loop_.forget(listen_fd_, *this);
  ::close(listen_fd_);
}

void RedisServer::set_limits(Duration operation_timeout, size_t operation_count_max) {
  config_.operation_timeout = operation_timeout;
  config_.operation_count_max = operation_count_max;
  pool_.set_limits(operation_timeout, operation_count_max);
}

std::string RedisServer::start() {
  std::string error;
  listen_fd_ = listen_on(config_.listen, error);
  if (listen_fd_ >= 0) loop_.watch(listen_fd_, EPOLLIN, *this);
  return error;
}

void RedisServer::on_ready(uint32_t /*events*/) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      set_stream_options(fd, /*unacknowledged_ms=*/0);
      adopt(fd);
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      loop_.rewatch(listen_fd_, 0, *this);
      accept_at_ = monotonic_now() + kAcceptRetry;
    }
    return;
  }
}

void RedisServer::adopt(int fd) {
  if (counts_.connections >= config_.connection_count_max) {
    ++counts_.refused_connections;
    constexpr std::string_view kTooMany = "-ERR max number of clients reached\r\n";
    static_cast<void>(send(fd, kTooMany.data(), kTooMany.size(), MSG_NOSIGNAL));
    ::close(fd);
    return;
  }
  ++counts_.accepted;
  ++counts_.connections;
  uint32_t index = 0;
  if (free_.empty()) {
    index = static_cast<uint32_t>(connections_.size());
    connections_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  connections_[index] = std::make_unique<Connection>(*this, index, next_id_++, fd);
  loop_.watch(fd, EPOLLIN, *connections_[index]);
}

// ---- Reading ----

void RedisServer::on_connection_ready(Connection& connection, uint32_t events) {
  now_ = monotonic_now();
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return close(connection);
  if ((events & EPOLLOUT) != 0) mark_dirty(connection);
  if ((events & EPOLLIN) != 0) receive(connection);
}

void RedisServer::receive(Connection& connection) {
  // One for all connections of the thread: what arrives is whole commands, as a rule.
  static thread_local std::string room(kReadBytes, '\0');
  CHECK(connection.in.size() < kHeldInputBytesMax);
  const size_t share = std::max(kReadBytesMin, kReadBytesOfAll / counts_.connections);
  const size_t wanted = std::min({kReadBytes, share, kHeldInputBytesMax - connection.in.size()});
  const ssize_t received = recv(connection.fd, room.data(), wanted, 0);
  if (received < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (received < 0) return close(connection);
  if (received == 0) {
    // What it has asked is answered, for those who only half close.
    connection.ended = true;
    watch_right(connection);
    return maybe_end(connection);
  }
  const std::string_view bytes(room.data(), static_cast<size_t>(received));
  if (connection.closing) return;  // read, so that closing does not reset what it is yet to get
  const bool waits = connection.reads || connection.resumes ||
                     connection.in.size() + bytes.size() < connection.need;
  if (waits || !connection.in.empty()) {
    connection.in.append(bytes);
    if (!waits) execute_all(connection, connection.in, {});
  } else {
    execute_all(connection, bytes, {});
  }
  watch_right(connection);
  settle_memory(connection);
}

// Executes what it can of `bytes`: all of connection.in, or what has just arrived while that is
// empty. What is left goes there.
void RedisServer::execute_all(Connection& connection, std::string_view bytes, Allowance allowance) {
  const bool in_place = connection.in.empty();
  const size_t whole = bytes.size();
  connection.need = 0;
  while (!bytes.empty() && !connection.closing &&
         connection.out.size() - connection.out_begin < kUnsentBytesMax) {
    const RespStatus status = parse_command(bytes, kLimits, parsed_);
    if (status == RespStatus::kNeedMore) {
      connection.need = parsed_.need;
      break;
    }
    if (status == RespStatus::kError) {
      if (!connection.slots.empty()) break;
      fail(connection, "ERR " + parsed_.error);
      connection.closing = true;
      break;
    }
    const size_t end = whole - bytes.size() + parsed_.consumed;
    const bool may_read = end <= allowance.read_bytes;
    if (!parsed_.arguments.empty() &&
        execute(connection, parsed_.arguments, may_read, allowance.failed) == Step::kWait) {
      if (connection.slots.empty()) wait_for_index(connection, bytes.size());
      break;
    }
    bytes.remove_prefix(parsed_.consumed);
  }
  if (connection.closing) bytes = {};
  if (!in_place) {
    connection.in.erase(0, whole - bytes.size());
    if (bytes.empty()) give_back(connection.in);
  } else if (!bytes.empty()) {
    connection.in.assign(bytes);
  }
}

void RedisServer::wait_for_index(Connection& connection, size_t bytes) {
  connection.reads = true;
  connection.read_bytes = bytes;
  connection.read_by = now_ + config_.operation_timeout;
  readers_look_at_ = std::min(readers_look_at_, connection.read_by);
  readers_.push_back(connection.index);
}

// Reading stops while a connection holds enough that cannot be executed yet.
void RedisServer::watch_right(Connection& connection) {
  if (connection.fd < 0) return;
  uint32_t events = 0;
  if (!connection.ended && connection.in.size() < kHeldInputBytesMax) events |= EPOLLIN;
  if (connection.blocked) events |= EPOLLOUT;
  if (events == connection.events) return;
  connection.events = events;
  loop_.rewatch(connection.fd, events, connection);
}

// ---- The node: increments and indexes ----

void RedisServer::on_time(Time now) {
  now_ = now;
  pool_.wake(now);
  take_dones();
  if (now >= readers_look_at_) fail_overdue_readers(now);
  if (now >= blocked_look_at_) cut_off_blocked(now);
  if (now < accept_at_) return;
  accept_at_ = kNever;
  loop_.rewatch(listen_fd_, EPOLLIN, *this);
}

Time RedisServer::deadline() const {
  if (!resuming_.empty() || pool_.has_sends()) return Time::min();
  Time deadline = std::min({pool_.due(), accept_at_, blocked_look_at_, readers_look_at_});
  const bool asks = !asked_ && !read_index_ && !readers_.empty();
  if (asks) deadline = std::min(deadline, ask_again_at_);
  return deadline;
}

void RedisServer::submit(Time now) {
  now_ = now;
  pool_.take_sends([&](uint32_t member, ClientRequest&& request) {
    owner_.on_redis_request({Endpoint(kReadsEndpoint.value() + 1 + member),
                             endpoint_of(config_.node), std::move(request)});
  });
  if (asked_ || read_index_ || readers_.empty() || now < ask_again_at_) return;
  asked_ = true;
  asking_.swap(readers_);
  owner_.on_redis_request(
      {kReadsEndpoint, endpoint_of(config_.node),
       ClientRequest{.request_id = ++question_, .operation = ReadIndexRequest{}}});
}

// The node is at work: what follows from it comes in after_step().
void RedisServer::on_response(Endpoint to, ValueResponse&& response) {
  responses_.emplace_back(to, std::move(response));
}

void RedisServer::after_step(Time now) {
  now_ = now;
  for (auto& [to, response] : responses_) {
    if (to != kReadsEndpoint) {
      const uint64_t member = to.value() - kReadsEndpoint.value() - 1;
      pool_.on_response(now, static_cast<uint32_t>(member), response);
    } else if (asked_ && response.request_id == question_) {
      asked_ = false;
      if (response.outcome == Outcome::kOk) {
        read_index_ = LogIndex(static_cast<uint64_t>(response.value));
      } else {
        ask_again_at_ = now + kAskAgainAfter;
        readers_.insert(readers_.begin(), asking_.begin(), asking_.end());
        asking_.clear();
      }
    }
  }
  responses_.clear();
  take_dones();
  if (read_index_ && owner_.redis_state().applied_index() >= *read_index_) {
    read_index_.reset();
    scratch_.swap(asking_);
    serve_readers(/*failed=*/false);
  }
  scratch_.swap(resuming_);
  for (const uint32_t index : scratch_) {
    Connection& connection = *connections_[index];
    connection.resumes = false;
    if (connection.fd >= 0 && !connection.reads && !connection.in.empty()) {
      execute_all(connection, connection.in, {});
    }
    after_execution(connection);
  }
  scratch_.clear();
}

void RedisServer::after_execution(Connection& connection) {
  watch_right(connection);
  settle_memory(connection);
  maybe_end(connection);
}

// Those in scratch_.
void RedisServer::serve_readers(bool failed) {
  for (const uint32_t index : scratch_) {
    Connection& connection = *connections_[index];
    connection.reads = false;
    if (connection.fd >= 0) {
      execute_all(connection, connection.in,
                  {.read_bytes = connection.read_bytes, .failed = failed});
    }
    after_execution(connection);
  }
  scratch_.clear();
}

void RedisServer::fail_overdue_readers(Time now) {
  readers_look_at_ = kNever;
  for (std::vector<uint32_t>* list : {&readers_, &asking_}) {
    std::erase_if(*list, [&](uint32_t index) {
      const Time read_by = connections_[index]->read_by;
      if (read_by <= now) {
        scratch_.push_back(index);
        return true;
      }
      readers_look_at_ = std::min(readers_look_at_, read_by);
      return false;
    });
  }
  serve_readers(/*failed=*/true);
}

void RedisServer::take_dones() {
  for (const Client::Done& done : pool_.dones()) on_done(done);
  pool_.dones().clear();
}

void RedisServer::on_done(const Client::Done& done) {
  Connection& connection = *connections_[done.operation_id >> 32];
  const uint32_t position = static_cast<uint32_t>(done.operation_id) - connection.first_slot;
  Slot& slot = connection.slots[position];
  slot.done = true;
  slot.outcome = done.outcome;
  slot.reason = done.reason;
  slot.value = done.value;
  if (position != 0) return;
  size_t count = 0;
  for (; count < connection.slots.size() && connection.slots[count].done; ++count) {
    reply_slot(connection, connection.slots[count]);
  }
  connection.first_slot += static_cast<uint32_t>(count);
  connection.slots.erase(connection.slots.begin(),
                         connection.slots.begin() + static_cast<std::ptrdiff_t>(count));
  resume(connection);
}

void RedisServer::resume(Connection& connection) {
  const bool has_more = !connection.in.empty() || connection.ended || connection.fd < 0;
  if (!has_more || connection.resumes) return;
  connection.resumes = true;
  resuming_.push_back(connection.index);
}

// ---- Sending ----

void RedisServer::fail(Connection& connection, std::string_view text) {
  ++counts_.errors;
  put_error(connection.out, text);
  mark_dirty(connection);
}

void RedisServer::mark_dirty(Connection& connection) {
  if (connection.dirty) return;
  connection.dirty = true;
  dirty_.push_back(connection.index);
}

size_t RedisServer::flush(Time now) {
  const size_t count = dirty_.size();
  now_ = now;
  for (size_t i = 0; i < dirty_.size(); ++i) {
    Connection& connection = *connections_[dirty_[i]];
    connection.dirty = false;
    flush_one(connection);
  }
  dirty_.clear();
  return count;
}

void RedisServer::flush_one(Connection& connection) {
  while (connection.fd >= 0 && connection.out_begin < connection.out.size()) {
    const ssize_t bytes = send(connection.fd, connection.out.data() + connection.out_begin,
                               connection.out.size() - connection.out_begin, MSG_NOSIGNAL);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) break;
    if (bytes < 0) {
      close(connection);
      return free_if_drained(connection);
    }
    connection.out_begin += static_cast<size_t>(bytes);
    connection.moved_at = now_;
  }
  if (connection.out_begin == connection.out.size()) {
    connection.out_begin = 0;
    give_back(connection.out);
    connection.blocked = false;
  } else {
    connection.out.erase(0, std::exchange(connection.out_begin, 0));
    if (!std::exchange(connection.blocked, true)) connection.moved_at = now_;
    blocked_look_at_ = std::min(blocked_look_at_, now_ + kBlockedLookEvery);
  }
  watch_right(connection);
  settle_memory(connection);
  // It may have been held up by what was not sent.
  const bool waits = connection.blocked || connection.reads || !connection.slots.empty();
  if (!waits && !connection.in.empty()) resume(connection);
  maybe_end(connection);
}

void RedisServer::cut_off_blocked(Time now) {
  blocked_look_at_ = kNever;
  for (const auto& each : connections_) {
    if (each == nullptr || each->fd < 0 || !each->blocked) continue;
    if (now - each->moved_at < config_.unread_max) {
      blocked_look_at_ = now + kBlockedLookEvery;
      continue;
    }
    ++counts_.cut_off;
    owner_.on_redis_event(fmt::format(
        "redis client cut off: it does not read its replies queued_bytes={}", each->out.size()));
    close(*each);
  }
}

void RedisServer::settle_memory(Connection& connection) {
  const size_t held = connection.in.size() + connection.out.size();
  held_bytes_ += held - connection.held_bytes;
  connection.held_bytes = held;
  if (held_bytes_ <= config_.held_bytes_max || held <= kSpareBytes || connection.fd < 0) return;
  ++counts_.cut_off;
  owner_.on_redis_event(fmt::format(
      "redis client cut off: all clients together hold too much held_bytes={}", held_bytes_));
  close(connection);
}

// ---- The end of a connection ----

// Closes one that has nothing more to get.
void RedisServer::maybe_end(Connection& connection) {
  const bool ending = connection.closing || connection.ended;
  const bool quiet = connection.slots.empty() && !connection.reads && !connection.resumes &&
                     connection.out.empty();
  if (connection.fd >= 0 && ending && quiet) close(connection);
  free_if_drained(connection);
}

// The connection stays as long as something may speak of it: increments under way, lists.
void RedisServer::close(Connection& connection) {
  if (connection.fd < 0) return;
  loop_.forget(connection.fd, connection);
  ::close(connection.fd);
  connection.fd = -1;
  --counts_.connections;
  std::string().swap(connection.in);
  std::string().swap(connection.out);
  connection.out_begin = 0;
  settle_memory(connection);
  mark_dirty(connection);  // there it is freed, at the latest
}

void RedisServer::free_if_drained(Connection& connection) {
  const bool spoken_of =
      !connection.slots.empty() || connection.reads || connection.resumes || connection.dirty;
  if (connection.fd >= 0 || spoken_of) return;
  const uint32_t index = connection.index;
  connections_[index].reset();
  free_.push_back(index);
}

}  // namespace tally
