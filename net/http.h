// HttpServer: answers GET and HEAD for metrics and health, one for each connection, on the loop.
//
// For scrapers and load balancers on a trusted network: HTTP/1.1 with "Connection: close", no
// bodies, no TLS.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/types.h"
#include "net/loop.h"

namespace tally {

class HttpServer final : private Watcher {
 public:
  // Sets `code` (200 before) and returns the body.
  using Handler = std::function<std::string(std::string_view path, int& code)>;

  // `loop` outlives it.
  HttpServer(Loop& loop, Handler handler);
  ~HttpServer() override;

  // Empty, or what is wrong.
  std::string start(const std::string& address);

 private:
  class Client;
  void on_ready(uint32_t events) override;

  Loop& loop_;
  const Handler handler_;
  int listen_fd_ = -1;
  uint64_t next_id_ = 0;
  std::map<uint64_t, std::unique_ptr<Client>> clients_;  // oldest first
};

}  // namespace tally
