// Connection: one non-blocking TCP connection and its two buffers.
//
// It carries core's frames and net frames in any mix and hands each over when it is whole. What is
// queued leaves at flush(), once per turn of the loop, in one write. Bounded: it takes in no more
// than one frame needs, and its owner asks queued_bytes() before sending.
//
// It refuses to know what frames mean, and never reconnects.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/codec.h"
#include "core/message.h"
#include "net/frame.h"
#include "net/loop.h"

namespace tally {

class Connection;

class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  virtual void on_connected(Connection& connection) = 0;  // only after connect()
  // The envelope may be taken. May close the connection, not destroy it.
  virtual void on_frame(Connection& connection, Envelope& envelope) = 0;
  virtual void on_net_message(Connection& connection, const net::NetMessage& message) = 0;
  // Closed, by the other end, by an error or by unreadable bytes; not by close(). `why` is for
  // people. May destroy the connection.
  virtual void on_broken(Connection& connection, const std::string& why) = 0;
};

class Connection final : private Watcher {
 public:
  // `loop` and `owner` outlive it. `tag` is the owner's own.
  Connection(Loop& loop, ConnectionOwner& owner, GroupId group, uint64_t tag);
  ~Connection() override;

  // Begins to connect to "host:port"; empty, or what is wrong with it at once. Never blocks: a name
  // is looked up by a thread, and each of its addresses is tried in turn.
  std::string connect(const std::string& address);
  // Takes over an accepted TCP socket...
  void adopt(int fd);
  // ...or any other that is connected, non-blocking, and a stream.
  void adopt_stream(int fd);
  void close();
  // From now on it is heard in `loop`, which outlives it. REQUIRES: is_open().
  void move_to(Loop& loop);
  // A longer frame of the other end breaks the connection, before memory is taken for it.
  void set_frame_bytes_max(size_t bytes) { frame_bytes_max_ = bytes; }
  // Reads at most `bytes` in one turn of the loop; looked at each time, so it outlives this.
  void limit_reads(const size_t& bytes) { read_bytes_max_ = &bytes; }
  // What arrives from now on, this call's batch included, is not looked at.
  void stop_reading() { reading_ = false; }

  bool is_open() const { return fd_ >= 0; }
  bool is_connected() const { return is_open() && connected_; }
  bool is_looking_up() const { return is_open() && lookup_ != nullptr && events_ == 0; }
  // When it began to connect to the address that it is on.
  Time begun_at() const { return begun_at_; }
  uint64_t tag() const { return tag_; }

  void queue(const Envelope& envelope);
  void queue(const net::NetMessage& message);
  // Before all that is queued. REQUIRES: nothing was sent yet.
  void queue_first(const net::NetMessage& message);
  // False when it broke; then it may be gone.
  bool flush();
  size_t queued_bytes() const { return out_.size() - out_begin_; }

 private:
  struct Lookup;

  void on_ready(uint32_t events) override;
  std::string look_up(const std::string& address);
  bool try_next_address();
  void begin(int fd, uint32_t events);
  void read_some();
  bool take_frames(std::string_view& bytes, std::string& error);
  void break_off(const std::string& why);
  void want(uint32_t events);

  Loop* loop_;
  ConnectionOwner& owner_;
  const GroupId group_;
  const uint64_t tag_;
  int fd_ = -1;
  std::shared_ptr<Lookup> lookup_;  // of a name, until this is closed
  Time begun_at_;
  bool connected_ = false;
  bool reading_ = true;
  uint32_t events_ = 0;  // watched for
  size_t frame_bytes_max_ = kFrameBytesMax;
  const size_t* read_bytes_max_ = nullptr;  // null: as much as one read takes

  std::string in_;  // the beginning of a frame; an idle connection holds no memory
  std::string out_;
  size_t out_begin_ = 0;
  Envelope envelope_;        // reused
  net::NetMessage message_;  // reused
};

// Splits "host:port" or "[v6]:port". Empty, or what is wrong with it.
std::string parse_address(const std::string& address, std::string& host, std::string& port);

// A non-blocking socket that connects; -1 and `error` when it cannot. Blocks for as long as the
// system's resolver takes for a name.
int connect_to(const std::string& address, std::string& error);

// A listening, non-blocking socket; -1 and `error` when there is none.
int listen_on(const std::string& address, std::string& error);
// What its owner accepts in one turn of the loop, and when it tries again where it could not.
inline constexpr int kAcceptsPerTurn = 64;
inline constexpr Duration kAcceptRetry = std::chrono::milliseconds(100);
// Of a TCP connection: nothing waits to be sent together with more, and an idle one whose other end
// has vanished ends some time. It also ends when what was sent is not acknowledged in so many
// milliseconds; 0: only when TCP gives up.
void set_stream_options(int fd, int unacknowledged_ms);
// "127.0.0.1:41234".
std::string local_address(int fd);

}  // namespace tally
