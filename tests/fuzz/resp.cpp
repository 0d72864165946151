// libFuzzer's way into everything that clients of Redis can say: the parser, which must say the
// same however the bytes arrive, and the whole front end behind a socket, before a node that
// answers as the bytes will have it. Built by `./dev fuzz`.
#include "net/resp.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "net/redis.h"

namespace tally {
namespace {

constexpr RespLimits kFuzzLimits{.argument_count_max = 8,
                                 .argument_bytes_max = 64,
                                 .command_bytes_max = 256,
                                 .inline_bytes_max = 64};

// All that `bytes` hold, as text; what is left of them stays. Ends with the error, if there is one.
void take_commands(std::string& bytes, bool& failed, std::string& seen) {
  RespCommand command;
  while (!failed && !bytes.empty()) {
    const RespStatus status = parse_command(bytes, kFuzzLimits, command);
    if (status == RespStatus::kNeedMore) {
      CHECK(command.need > bytes.size());
      CHECK(bytes.size() < kFuzzLimits.command_bytes_max, "{} bytes held", bytes.size());
      return;
    }
    failed = status == RespStatus::kError;
    if (failed) {
      CHECK(command.error.starts_with("Protocol error: "));
      seen.append("!").append(command.error);
      return;
    }
    CHECK(command.consumed > 0 && command.consumed <= bytes.size());
    CHECK(command.arguments.size() <= kFuzzLimits.argument_count_max);
    for (const std::string_view argument : command.arguments) put_bulk(seen, argument);
    seen.append("\n");
    bytes.erase(0, command.consumed);
  }
}

void parse_split(std::string_view bytes) {
  std::string whole(bytes);
  std::string whole_seen;
  bool whole_failed = false;
  take_commands(whole, whole_failed, whole_seen);
  std::string split;
  std::string split_seen;
  bool split_failed = false;
  for (const char byte : bytes) {
    split.push_back(byte);
    take_commands(split, split_failed, split_seen);
    if (split_failed) break;
  }
  CHECK(whole_seen == split_seen && whole_failed == split_failed);
}

// Executes nothing: answers with outcomes and values of the fuzzer's.
class FuzzOwner final : public RedisOwner {
 public:
  explicit FuzzOwner(std::string_view bytes) : bytes_(bytes) {}

  void on_redis_request(Envelope&& envelope) override { requests_.push_back(std::move(envelope)); }
  const StateMachine& redis_state() const override { return state_; }
  bool redis_is_leader() const override { return bytes_.size() % 3 != 0; }
  std::string redis_leader_address() const override { return "127.0.0.1:1"; }
  void on_status_request(net::Status& status) override { status.set_role("leader"); }
  void on_redis_event(const std::string& /*text*/) override {}

  void answer(RedisServer& server) {
    while (!requests_.empty()) {
      const Envelope request = std::move(requests_.front());
      requests_.pop_front();
      ValueResponse response;
      response.request_id = std::get<ClientRequest>(request.message).request_id;
      const uint8_t byte = static_cast<uint8_t>(bytes_[next_++ % bytes_.size()]);
      response.outcome = byte % 2 == 0 ? Outcome::kOk : static_cast<Outcome>(byte / 2 % 4);
      if (response.outcome != Outcome::kOk) response.reason = static_cast<Reason>(byte % 15);
      response.value = is_read(std::get<ClientRequest>(request.message)) ? 0 : byte + 1;
      server.on_response(request.from, std::move(response));
    }
  }

 private:
  std::string_view bytes_;
  size_t next_ = 0;
  StateMachine state_;
  std::deque<Envelope> requests_;
};

void serve(std::string_view bytes) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
  Loop loop;
  FuzzOwner owner(bytes);
  RedisConfig config;
  config.node = NodeId(1);
  config.forward = bytes.size() % 2 == 0;
  RedisServer server(loop, config, owner);
  server.adopt(ends[1]);
  Time now = monotonic_now();
  const size_t half = bytes.size() / 2;
  static_cast<void>(send(ends[0], bytes.data(), half, MSG_NOSIGNAL));
  std::vector<char> room(size_t{1} << 16);
  for (int turn = 0; turn < 20; ++turn) {
    if (turn == 3) {
      static_cast<void>(send(ends[0], bytes.data() + half, bytes.size() - half, MSG_NOSIGNAL));
    }
    while (loop.turn(Time::min()) && turn % 2 == 0) continue;
    now += std::chrono::milliseconds(turn > 10 ? 1000 : 5);
    server.on_time(now);
    server.submit(now);
    owner.answer(server);
    server.after_step(now);
    server.flush(now);
    static_cast<void>(recv(ends[0], room.data(), room.size(), 0));
  }
  close(ends[0]);
  loop.turn(Time::min());
  server.flush(now);
  CHECK(server.counts().connections == 0);
}

}  // namespace
}  // namespace tally

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.empty()) return 0;
  tally::parse_split(bytes);
  tally::serve(bytes);
  return 0;
}
