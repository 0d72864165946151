#include "net/connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include "core/check.h"

namespace tally {
namespace {

constexpr size_t kReadBytes = size_t{128} << 10;
// Buffers that a burst has grown beyond this are given back when they are empty.
constexpr size_t kKeptBytesMax = size_t{1} << 20;

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

// Blocks for a name, unless `flags` ask for AI_NUMERICHOST.
Addresses resolve(const std::string& address, int flags, std::string& error) {
  std::string host;
  std::string port;
  error = parse_address(address, host, port);
  if (!error.empty()) return nullptr;
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int code = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (code != 0) error = fmt::format("{}: {}", address, gai_strerror(code));
  return Addresses(list);
}

// A connection on which nothing gets through for so long is broken, and a new one will do better:
// TCP itself would wait for minutes after a cut that dropped packets.
constexpr int kUnacknowledgedMs = 2000;
constexpr int kKeepAliveSeconds = 30;  // an idle one whose other end has vanished

void set_option(int fd, int level, int option, int value = 1) {
  CHECK(setsockopt(fd, level, option, &value, sizeof(value)) == 0, "{}", errno_text("setsockopt"));
}

// A non-blocking socket that connects; -1 and errno.
int begin_to_connect(const addrinfo& to) {
  const int fd = socket(to.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  set_stream_options(fd, kUnacknowledgedMs);
  if (::connect(fd, to.ai_addr, to.ai_addrlen) == 0 || errno == EINPROGRESS) return fd;
  const int code = errno;
  close(fd);
  errno = code;
  return -1;
}

}  // namespace

void set_stream_options(int fd, int unacknowledged_ms) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY);
  if (unacknowledged_ms > 0) set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, unacknowledged_ms);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveSeconds);
}

std::string parse_address(const std::string& address, std::string& host, std::string& port) {
  const size_t colon = address.rfind(':');
  const auto wrong = [&](std::string_view what) {
    return fmt::format("'{}': {}; give HOST:PORT, such as 127.0.0.1:8081", address, what);
  };
  if (colon == std::string::npos) return wrong("no port");
  host = address.substr(0, colon);
  port = address.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return wrong("an IPv6 address is written in brackets");
  }
  if (host.empty()) return wrong("no host");
  uint32_t number = 0;
  const auto [end, code] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (code != std::errc() || end != port.data() + port.size() || number > 65535) {
    return wrong("a port is a number up to 65535");
  }
  return {};
}

int connect_to(const std::string& address, std::string& error) {
  const Addresses list = resolve(address, 0, error);
  if (list == nullptr) return -1;
  const int fd = begin_to_connect(*list);
  if (fd < 0) error = errno_text(fmt::format("cannot connect to {}", address));
  return fd;
}

int listen_on(const std::string& address, std::string& error) {
  const Addresses list = resolve(address, AI_PASSIVE, error);
  if (list == nullptr) return -1;
  const int fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    set_option(fd, SOL_SOCKET, SO_REUSEADDR);
    if (bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
  }
  error = errno_text(fmt::format("cannot listen on {}", address));
  if (fd >= 0) close(fd);
  return -1;
}

std::string local_address(int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (getsockname(fd, generic, &bytes) != 0 ||
      getnameinfo(generic, bytes, host, sizeof(host), port, sizeof(port),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "?";
  }
  const bool v6 = address.ss_family == AF_INET6;
  return v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

// The addresses of a name, found by a thread of its own because the system's resolver blocks for
// seconds when nobody answers it. The thread may outlast the connection.
struct Connection::Lookup {
  std::atomic<bool> done = false;  // then the thread does not touch the rest any more
  Addresses list;
  std::string error;
  const addrinfo* next = nullptr;  // to be tried
};

Connection::Connection(Loop& loop, ConnectionOwner& owner, GroupId group, uint64_t tag)
    : loop_(&loop), owner_(owner), group_(group), tag_(tag) {}

Connection::~Connection() { close(); }

std::string Connection::connect(const std::string& address) {
  CHECK(!is_open());
  std::string host;
  std::string port;
  std::string error = parse_address(address, host, port);
  if (!error.empty()) return error;
  const Addresses numeric = resolve(address, AI_NUMERICHOST, error);
  if (numeric == nullptr) return look_up(address);
  const int fd = begin_to_connect(*numeric);
  if (fd < 0) return errno_text(fmt::format("cannot connect to {}", address));
  begin(fd, EPOLLOUT);
  return {};
}

// Until the thread has closed its end of a pipe, the connection is the other end.
std::string Connection::look_up(const std::string& address) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return errno_text("pipe");
  lookup_ = std::make_shared<Lookup>();
  begin(ends[0], 0);
  try {
    std::thread([lookup = lookup_, address, end = ends[1]] {
      lookup->list = resolve(address, 0, lookup->error);
      lookup->next = lookup->list.get();
      lookup->done = true;
      ::close(end);
    }).detach();
  } catch (const std::system_error& error) {
    ::close(ends[1]);
    close();
    return fmt::format("no thread to look up {}: {}", address, error.what());
  }
  return {};
}

// Goes on with the next address of the name, on another socket. False when there is none left.
bool Connection::try_next_address() {
  while (lookup_ != nullptr && lookup_->next != nullptr) {
    const int fd = begin_to_connect(*std::exchange(lookup_->next, lookup_->next->ai_next));
    if (fd < 0) continue;
    loop_->forget(fd_, *this);
    ::close(fd_);
    begin(fd, EPOLLOUT);
    return true;
  }
  return false;
}

void Connection::begin(int fd, uint32_t events) {
  fd_ = fd;
  begun_at_ = monotonic_now();
  connected_ = false;
  events_ = events;
  loop_->watch(fd_, events_, *this);
}

void Connection::adopt(int fd) {
  set_stream_options(fd, kUnacknowledgedMs);
  adopt_stream(fd);
}

void Connection::adopt_stream(int fd) {
  CHECK(!is_open());
  fd_ = fd;
  connected_ = true;
  events_ = EPOLLIN;
  loop_->watch(fd_, events_, *this);
}

void Connection::close() {
  if (!is_open()) return;
  loop_->forget(fd_, *this);
  ::close(fd_);
  fd_ = -1;
  lookup_ = nullptr;
  connected_ = false;
  reading_ = true;
  in_.clear();
  out_.clear();
  out_begin_ = 0;
}

void Connection::move_to(Loop& loop) {
  CHECK(is_open());
  loop_->forget(fd_, *this);
  loop_ = &loop;
  loop_->watch(fd_, events_, *this);
}

void Connection::break_off(const std::string& why) {
  close();
  owner_.on_broken(*this, why);
}

void Connection::queue(const Envelope& envelope) {
  if (is_open()) encode_frame(envelope, group_, out_);
}

void Connection::queue(const net::NetMessage& message) {
  if (is_open()) encode_net_frame(message, out_);
}

void Connection::queue_first(const net::NetMessage& message) {
  CHECK(is_open() && out_begin_ == 0);
  std::string first;
  encode_net_frame(message, first);
  out_.insert(0, first);
}

void Connection::want(uint32_t events) {
  if (events_ == events) return;
  events_ = events;
  loop_->rewatch(fd_, events_, *this);
}

bool Connection::flush() {
  if (!is_connected()) return true;
  while (out_begin_ < out_.size()) {
    const ssize_t bytes =
        send(fd_, out_.data() + out_begin_, out_.size() - out_begin_, MSG_NOSIGNAL);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) break;
    if (bytes < 0) {
      break_off(errno_text("send"));
      return false;
    }
    out_begin_ += static_cast<size_t>(bytes);
  }
  if (out_begin_ == out_.size()) {
    out_begin_ = 0;
    out_.clear();
    if (out_.capacity() > kKeptBytesMax) out_.shrink_to_fit();
    want(EPOLLIN);
    return true;
  }
  // What has left is dropped when it is the larger part, so that each byte moves at most once.
  if (out_begin_ > out_.size() / 2) {
    out_.erase(0, out_begin_);
    out_begin_ = 0;
  }
  want(EPOLLIN | EPOLLOUT);
  return true;
}

void Connection::on_ready(uint32_t events) {
  if (!connected_ && events_ == 0) {
    CHECK(lookup_->done);
    if (!lookup_->error.empty()) return break_off(std::string(lookup_->error));
    if (!try_next_address()) break_off(errno_text("connect"));
    return;
  }
  if (!connected_) {
    int error = 0;
    socklen_t bytes = sizeof(error);
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &bytes);
    if (error != 0) {
      if (try_next_address()) return;
      errno = error;
      return break_off(errno_text("connect"));
    }
    if ((events & EPOLLOUT) == 0) return;
    connected_ = true;
    lookup_ = nullptr;
    want(EPOLLIN);
    owner_.on_connected(*this);
    return;
  }
  if ((events & EPOLLOUT) != 0 && !flush()) return;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_some();
}

void Connection::read_some() {
  // One for all connections of the thread: most of what arrives is whole frames, read in place.
  static thread_local std::string room(kReadBytes, '\0');
  const size_t most =
      read_bytes_max_ == nullptr ? room.size() : std::min(room.size(), *read_bytes_max_);
  const ssize_t received = recv(fd_, room.data(), most, 0);
  if (received < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (received < 0) return break_off(errno_text("recv"));
  if (received == 0) return break_off("closed by the other end");
  std::string_view rest(room.data(), static_cast<size_t>(received));
  const bool in_place = in_.empty();
  if (!in_place) rest = in_.append(rest);
  std::string error;
  if (!take_frames(rest, error)) return break_off(error);
  if (!is_open()) return;
  if (!reading_) rest = {};
  if (rest.empty()) {
    std::string().swap(in_);
  } else if (in_place) {
    in_.assign(rest);
  } else {
    in_.erase(0, in_.size() - rest.size());
    if (in_.capacity() > in_.size() + kReadBytes) in_.shrink_to_fit();
  }
}

// Takes whole frames off the start of `bytes`. False when it cannot be read on.
bool Connection::take_frames(std::string_view& bytes, std::string& error) {
  while (is_open() && reading_ && !bytes.empty()) {
    size_t consumed = 0;
    const bool net = is_net_frame(bytes);
    const FrameStatus status = net ? decode_net_frame(bytes, message_, consumed, error)
                                   : decode_frame(bytes, group_, envelope_, consumed, error);
    if (status == FrameStatus::kNeedMore && bytes.size() > frame_bytes_max_) {
      error = fmt::format("a frame of more than {} bytes", frame_bytes_max_);
      return false;
    }
    if (status == FrameStatus::kNeedMore) return true;
    if (status != FrameStatus::kOk) return false;
    bytes.remove_prefix(consumed);
    if (consumed > frame_bytes_max_) {
      error =
          fmt::format("a frame of {} bytes, at most {} are allowed", consumed, frame_bytes_max_);
      return false;
    }
    if (net) {
      owner_.on_net_message(*this, message_);
    } else {
      owner_.on_frame(*this, envelope_);
    }
  }
  return true;
}

}  // namespace tally
