#include "net/http.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/check.h"
#include "net/connection.h"

namespace tally {
namespace {

constexpr size_t kRequestBytesMax = 8192;
constexpr size_t kClientsMax = 64;
constexpr Duration kClientTimeout = std::chrono::seconds(10);

}  // namespace

class HttpServer::Client final : private Watcher {
 public:
  Client(HttpServer& server, uint64_t id, int fd)
      : server_(server), id_(id), fd_(fd), ends_at_(monotonic_now() + kClientTimeout) {
    server_.loop_.watch(fd_, EPOLLIN, *this);
  }
  ~Client() override {
    server_.loop_.forget(fd_, *this);
    close(fd_);
  }
  Time ends_at() const { return ends_at_; }

 private:
  void on_ready(uint32_t events) override {
    const bool done = answer_.empty() ? read_request(events) : write_answer();
    if (done) server_.clients_.erase(id_);  // `this` is gone
  }

  bool read_request(uint32_t /*events*/) {
    char room[2048];
    const ssize_t bytes = recv(fd_, room, sizeof(room), 0);
    if (bytes < 0) return errno != EAGAIN && errno != EINTR;
    if (bytes == 0) return true;
    request_.append(room, static_cast<size_t>(bytes));
    if (request_.find("\r\n\r\n") == std::string::npos) return request_.size() > kRequestBytesMax;
    make_answer();
    return write_answer();
  }

  void make_answer() {
    const size_t path_at = request_.find(' ') + 1;
    const size_t path_end = request_.find_first_of(" ?\r", path_at);
    const bool head = request_.compare(0, 5, "HEAD ") == 0;
    int code = 200;
    std::string body;
    if ((!head && request_.compare(0, 4, "GET ") != 0) || path_end == std::string::npos) {
      code = 405;
      body = "only GET and HEAD\n";
    } else {
      body = server_.handler_(std::string_view(request_).substr(path_at, path_end - path_at), code);
    }
    const std::string_view words = code == 200   ? "OK"
                                   : code == 404 ? "Not Found"
                                   : code == 405 ? "Method Not Allowed"
                                                 : "Service Unavailable";
    answer_ = fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        code, words, body.size(), head ? "" : body);
    server_.loop_.rewatch(fd_, EPOLLOUT, *this);
  }

  bool write_answer() {
    while (written_ < answer_.size()) {
      const ssize_t bytes =
          send(fd_, answer_.data() + written_, answer_.size() - written_, MSG_NOSIGNAL);
      if (bytes < 0) return errno != EAGAIN && errno != EINTR;
      written_ += static_cast<size_t>(bytes);
    }
    return true;
  }

  HttpServer& server_;
  const uint64_t id_;
  const int fd_;
  const Time ends_at_;
  std::string request_;
  std::string answer_;
  size_t written_ = 0;
};

HttpServer::HttpServer(Loop& loop, Handler handler) : loop_(loop), handler_(std::move(handler)) {}

HttpServer::~HttpServer() {
  clients_.clear();
  if (listen_fd_ < 0) return;
  loop_.forget(listen_fd_, *this);
  close(listen_fd_);
}

std::string HttpServer::start(const std::string& address) {
  std::string error;
  listen_fd_ = listen_on(address, error);
  if (listen_fd_ >= 0) loop_.watch(listen_fd_, EPOLLIN, *this);
  return error;
}

void HttpServer::on_ready(uint32_t /*events*/) {
  const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    if (errno == EMFILE && !clients_.empty()) clients_.erase(clients_.begin());
    return;
  }
  const Time now = monotonic_now();
  std::erase_if(clients_, [&](const auto& each) { return each.second->ends_at() <= now; });
  // Who keeps a connection without asking makes room for who asks.
  if (clients_.size() >= kClientsMax) clients_.erase(clients_.begin());
  const uint64_t id = next_id_++;
  clients_.emplace(id, std::make_unique<Client>(*this, id, fd));
}

}  // namespace tally
