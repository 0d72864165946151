// Counts through hiredis: hiredis COUNTER SECONDS PORT... ; see redis_clients_test.py.
#include <hiredis/hiredis.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace {

struct Free {
  void operator()(redisContext* context) const { redisFree(context); }
};
using Context = std::unique_ptr<redisContext, Free>;

int ok_count = 0;
int unknown_count = 0;
int failed_count = 0;

Context connect_any(const std::vector<int>& ports) {
  static size_t turn = 0;
  for (;;) {
    Context context(redisConnect("127.0.0.1", ports[turn++ % ports.size()]));
    if (context != nullptr && context->err == 0) return context;
    usleep(50'000);
  }
}

void note(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_INTEGER) {
    ++ok_count;
  } else if (std::strncmp(reply.str, "UNKNOWN", 7) == 0) {
    ++unknown_count;
  } else if (std::strstr(reply.str, "NOT_APPLIED") != nullptr) {
    ++failed_count;
  } else {
    std::fprintf(stderr, "%s\n", reply.str);
    std::exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[2]));
  std::vector<int> ports;
  for (int i = 3; i < argc; ++i) ports.push_back(std::atoi(argv[i]));
  int reconnect_count = 0;
  Context context = connect_any(ports);
  for (int turn = 0; std::chrono::steady_clock::now() < until; ++turn) {
    const int batch = turn % 3 == 0 ? 8 : 1;
    for (int i = 0; i < batch; ++i) redisAppendCommand(context.get(), "INCR %s", argv[1]);
    int answered = 0;
    for (; answered < batch; ++answered) {
      void* reply = nullptr;
      if (redisGetReply(context.get(), &reply) != REDIS_OK) break;
      note(*static_cast<redisReply*>(reply));
      freeReplyObject(reply);
    }
    if (answered < batch) {
      unknown_count += batch - answered;
      ++reconnect_count;
      context = connect_any(ports);
    }
  }
  std::printf("{\"ok\": %d, \"unknown\": %d, \"failed\": %d, \"reconnects\": %d}\n", ok_count,
              unknown_count, failed_count, reconnect_count);
}
