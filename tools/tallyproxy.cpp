// tallyproxy: links between nodes that can be cut, stalled and slowed: network faults without
// privileges, for ./dev cluster and the chaos tests.
//
//   tallyproxy --control HOST:PORT NAME=LISTEN=TARGET...
//
// Each link accepts connections at LISTEN and passes them on to TARGET. The control port takes
// lines and answers each with "ok" or what is wrong:
//
//   cut NAME       close the link's connections and refuse new ones
//   hole NAME      keep them open, and take new ones, but pass nothing on (half-open)
//   delay NAME MS  pass everything on so much later
//   heal [NAME]    pass everything on again, at once; without a name: all links
//   bytes NAME     how many were passed on so far: "ok N"
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/connection.h"
#include "net/loop.h"

namespace tally::tools {
namespace {

using std::chrono::milliseconds;

constexpr size_t kReadBytes = size_t{64} << 10;
constexpr size_t kQueueBytesMax = size_t{1} << 20;

enum class Mode { kPass, kCut, kHole };

struct Link {
  std::string name;
  std::string target;
  Mode mode = Mode::kPass;
  Duration delay{0};
  uint64_t passed_bytes = 0;
};

// One way of a connection: what was read at one end and is to be written at the other.
struct Stream {
  struct Chunk {
    Time due;
    std::string bytes;
  };
  std::deque<Chunk> chunks;
  size_t queued_bytes = 0;
  size_t written = 0;  // of the first chunk
  bool ended = false;  // the reading end is closed
};

class Pipe {
 public:
  Pipe(Loop& loop, Link& link, int from, int to) : loop_(loop), link_(link) {
    for (const size_t end : {size_t{0}, size_t{1}}) {
      ends_[end].pipe = this;
      ends_[end].fd = end == 0 ? from : to;
      ends_[end].events = EPOLLIN;
      loop_.watch(ends_[end].fd, EPOLLIN, ends_[end]);
    }
  }
  ~Pipe() {
    for (End& end : ends_) {
      loop_.forget(end.fd, end);
      close(end.fd);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  const Link& link() const { return link_; }
  bool broken() const { return broken_; }
  void abort() { broken_ = true; }

  // Writes what is due, and asks for what it can take.
  void settle(Time now) {
    for (const size_t end : {size_t{0}, size_t{1}}) {
      write_due(end, now);
      // What is read at one end is written at the other.
      const bool room = streams_[end].queued_bytes < kQueueBytesMax && !streams_[end].ended;
      const bool stuck = blocked_[1 - end];
      const uint32_t events = (room ? EPOLLIN : 0U) | (stuck ? EPOLLOUT : 0U);
      if (events != ends_[end].events) {
        ends_[end].events = events;
        loop_.rewatch(ends_[end].fd, events, ends_[end]);
      }
    }
  }
  Time deadline() const {
    Time deadline = kNever;
    if (link_.mode == Mode::kHole) return deadline;
    for (const size_t end : {size_t{0}, size_t{1}}) {
      if (!streams_[end].chunks.empty() && !blocked_[end]) {
        deadline = std::min(deadline, streams_[end].chunks.front().due);
      }
    }
    return deadline;
  }

 private:
  struct End final : Watcher {
    void on_ready(uint32_t ready) override { pipe->on_ready(*this, ready); }
    Pipe* pipe = nullptr;
    int fd = -1;
    uint32_t events = 0;
  };

  void on_ready(End& end, uint32_t ready) {
    const size_t index = &end == &ends_[0] ? 0 : 1;
    if ((ready & EPOLLOUT) != 0) blocked_[1 - index] = false;
    if ((ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
    Stream& stream = streams_[index];
    std::string bytes(kReadBytes, '\0');
    const ssize_t count = recv(end.fd, bytes.data(), bytes.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
      stream.ended = true;
      if (count < 0 || link_.mode == Mode::kHole || stream.chunks.empty()) broken_ = true;
      return;
    }
    bytes.resize(static_cast<size_t>(count));
    stream.queued_bytes += bytes.size();
    stream.chunks.push_back({monotonic_now() + link_.delay, std::move(bytes)});
  }

  void write_due(size_t index, Time now) {
    Stream& stream = streams_[index];
    if (link_.mode == Mode::kHole) return;
    const int fd = ends_[1 - index].fd;
    while (!stream.chunks.empty() && stream.chunks.front().due <= now && !blocked_[index]) {
      const std::string& bytes = stream.chunks.front().bytes;
      const ssize_t count =
          send(fd, bytes.data() + stream.written, bytes.size() - stream.written, MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) {
        blocked_[index] = true;
        return;
      }
      if (count < 0) {
        broken_ = true;
        return;
      }
      stream.written += static_cast<size_t>(count);
      link_.passed_bytes += static_cast<uint64_t>(count);
      if (stream.written < bytes.size()) continue;
      stream.queued_bytes -= bytes.size();
      stream.written = 0;
      stream.chunks.pop_front();
    }
    if (stream.ended && stream.chunks.empty()) broken_ = true;
  }

  Loop& loop_;
  Link& link_;
  End ends_[2];
  Stream streams_[2];  // [i]: read at end i
  bool blocked_[2]{};  // the other end of stream i takes nothing more
  bool broken_ = false;
};

class Listener final : private Watcher {
 public:
  using OnAccept = std::function<void(int fd)>;

  Listener(Loop& loop, int fd, OnAccept on_accept)
      : loop_(loop), fd_(fd), on_accept_(std::move(on_accept)) {
    loop_.watch(fd_, EPOLLIN, *this);
  }
  ~Listener() override {
    loop_.forget(fd_, *this);
    close(fd_);
  }

 private:
  void on_ready(uint32_t /*events*/) override {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) on_accept_(fd);
  }

  Loop& loop_;
  const int fd_;
  const OnAccept on_accept_;
};

class Proxy {
 public:
  // Empty, or what is wrong.
  std::string add_link(const std::string& text) {
    const size_t first = text.find('=');
    const size_t second = text.find('=', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      return fmt::format("'{}': give NAME=LISTEN=TARGET", text);
    }
    Link link;
    link.name = text.substr(0, first);
    link.target = text.substr(second + 1);
    std::string host;
    std::string port;
    std::string error = parse_address(link.target, host, port);
    if (!error.empty()) return error;
    const int fd = listen_on(text.substr(first + 1, second - first - 1), error);
    if (fd < 0) return error;
    Link& added = links_[link.name] = link;
    listeners_.push_back(
        std::make_unique<Listener>(loop_, fd, [this, &added](int from) { open(added, from); }));
    return {};
  }

  std::string listen_for_control(const std::string& address) {
    std::string error;
    const int fd = listen_on(address, error);
    if (fd < 0) return error;
    listeners_.push_back(std::make_unique<Listener>(loop_, fd, [this](int from) {
      controls_.push_back(std::make_unique<Control>(*this, from));
    }));
    return {};
  }

  void run() {
    for (;;) {
      const Time now = monotonic_now();
      Time deadline = kNever;
      for (const auto& pipe : pipes_) {
        if (pipe->link().mode == Mode::kCut) pipe->abort();
        pipe->settle(now);
        deadline = std::min(deadline, pipe->deadline());
      }
      std::erase_if(pipes_, [](const auto& pipe) { return pipe->broken(); });
      std::erase_if(controls_, [](const auto& control) { return control->ended(); });
      loop_.turn(deadline);
    }
  }

 private:
  // Lines from whoever controls the links.
  class Control final : private Watcher {
   public:
    Control(Proxy& proxy, int fd) : proxy_(proxy), fd_(fd) {
      proxy_.loop_.watch(fd_, EPOLLIN, *this);
    }
    ~Control() override {
      proxy_.loop_.forget(fd_, *this);
      close(fd_);
    }
    bool ended() const { return ended_; }

   private:
    void on_ready(uint32_t /*events*/) override {
      char room[512];
      const ssize_t count = recv(fd_, room, sizeof(room), 0);
      if (count <= 0) {
        ended_ = count == 0 || (errno != EAGAIN && errno != EINTR);
        return;
      }
      line_.append(room, static_cast<size_t>(count));
      for (size_t end = line_.find('\n'); end != std::string::npos; end = line_.find('\n')) {
        const std::string answer = proxy_.obey(line_.substr(0, end)) + "\n";
        line_.erase(0, end + 1);
        if (send(fd_, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) ended_ = true;
      }
      if (line_.size() > sizeof(room)) ended_ = true;
    }

    Proxy& proxy_;
    const int fd_;
    std::string line_;
    bool ended_ = false;
  };

  void open(Link& link, int from) {
    if (link.mode == Mode::kCut) {
      close(from);
      return;
    }
    std::string error;
    const int to = connect_to(link.target, error);
    if (to < 0) {
      close(from);
      return;
    }
    pipes_.push_back(std::make_unique<Pipe>(loop_, link, from, to));
  }

  std::string obey(const std::string& line) {
    std::vector<std::string> words;
    for (size_t begin = 0; begin < line.size();) {
      const size_t end = std::min(line.find(' ', begin), line.size());
      if (end > begin) words.push_back(line.substr(begin, end - begin));
      begin = end + 1;
    }
    if (words == std::vector<std::string>{"heal"}) {
      for (auto& [name, link] : links_) mend(link);
      return "ok";
    }
    if (words.size() < 2) return fmt::format("'{}': give a command and a link", line);
    const auto found = links_.find(words[1]);
    if (found == links_.end()) return fmt::format("no link '{}'", words[1]);
    Link& link = found->second;
    if (words[0] == "bytes") return fmt::format("ok {}", link.passed_bytes);
    if (words[0] == "heal") {
      mend(link);
    } else if (words[0] == "cut") {
      link.mode = Mode::kCut;
    } else if (words[0] == "hole") {
      link.mode = Mode::kHole;
    } else if (words[0] == "delay" && words.size() == 3) {
      uint64_t ms = 0;
      const std::string& text = words[2];
      const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), ms);
      if (code != std::errc() || end != text.data() + text.size() || ms > 60'000) {
        return fmt::format("'{}': give milliseconds, at most 60000", text);
      }
      link.delay = milliseconds(static_cast<int64_t>(ms));
    } else {
      return fmt::format("'{}': there are cut, hole, delay, heal and bytes", line);
    }
    return "ok";
  }

  static void mend(Link& link) {
    link.mode = Mode::kPass;
    link.delay = Duration(0);
  }

  Loop loop_;
  std::map<std::string, Link> links_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<Pipe>> pipes_;
  std::vector<std::unique_ptr<Control>> controls_;
};

int run(int argc, char** argv) {
  CLI::App app{"tallyproxy: links that can be cut, stalled and slowed", "tallyproxy"};
  std::string control;
  std::vector<std::string> links;
  app.add_option("--control", control, "Where commands come in")
      ->type_name("HOST:PORT")
      ->required();
  app.add_option("links", links, "NAME=LISTEN=TARGET")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    fmt::print(stderr, "tallyproxy: {}\n", error.what());
    return 2;
  }
  Proxy proxy;
  std::string error = proxy.listen_for_control(control);
  for (size_t i = 0; i < links.size() && error.empty(); ++i) error = proxy.add_link(links[i]);
  if (!error.empty()) {
    fmt::print(stderr, "tallyproxy: {}\n", error);
    return 3;
  }
  proxy.run();
  return 0;
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::run(argc, argv); }
