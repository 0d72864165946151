// What this machine can do at best, to hold the cluster's figures against: syncs of blocks that
// were filled with zeros ahead, with one and with three writers at once, and a round trip on
// loopback. One JSON object on stdout.
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "core/check.h"
#include "net/loop.h"

namespace tally::tools {
namespace {

constexpr size_t kFileBytes = size_t{16} << 20;
constexpr size_t kBlockBytes = 512;
constexpr auto kTime = std::chrono::seconds(2);

struct Figures {
  double per_second = 0;
  double p50_us = 0;
  double p99_us = 0;
};

Figures figures_of(std::vector<double> all_us) {
  std::sort(all_us.begin(), all_us.end());
  const auto at = [&](double quantile) {
    return all_us[static_cast<size_t>(quantile * static_cast<double>(all_us.size() - 1))];
  };
  const double seconds = std::chrono::duration<double>(kTime).count();
  return {static_cast<double>(all_us.size()) / seconds, at(0.5), at(0.99)};
}

std::vector<double> sync_blocks(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0, "{}", errno_text(path));
  const std::string zeros(kFileBytes, '\0');
  CHECK(pwrite(fd, zeros.data(), zeros.size(), 0) == static_cast<ssize_t>(zeros.size()));
  CHECK(fsync(fd) == 0, "{}", errno_text(path));
  const std::string block(kBlockBytes, 'x');
  std::vector<double> all_us;
  const Time until = monotonic_now() + kTime;
  for (off_t at = 0; monotonic_now() < until;
       at = (at + static_cast<off_t>(kBlockBytes)) % static_cast<off_t>(kFileBytes)) {
    const Time begin = monotonic_now();
    CHECK(pwrite(fd, block.data(), block.size(), at) == static_cast<ssize_t>(block.size()));
    CHECK(fdatasync(fd) == 0, "{}", errno_text(path));
    all_us.push_back(std::chrono::duration<double, std::micro>(monotonic_now() - begin).count());
  }
  close(fd);
  unlink(path.c_str());
  return all_us;
}

Figures syncs(const std::string& directory, size_t writer_count) {
  std::vector<std::vector<double>> each(writer_count);
  std::vector<std::thread> writers;
  for (size_t i = 0; i < writer_count; ++i) {
    writers.emplace_back(
        [&, i] { each[i] = sync_blocks(fmt::format("{}/floor-{}", directory, i)); });
  }
  std::vector<double> all_us;
  for (size_t i = 0; i < writer_count; ++i) {
    writers[i].join();
    all_us.insert(all_us.end(), each[i].begin(), each[i].end());
  }
  return figures_of(std::move(all_us));
}

Figures round_trips() {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  CHECK(bind(listener, generic, bytes) == 0 && listen(listener, 1) == 0, "{}", errno_text("bind"));
  getsockname(listener, generic, &bytes);
  const int on = 1;
  std::thread echo([&] {
    const int fd = accept(listener, nullptr, nullptr);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    char room[256];
    for (ssize_t got = read(fd, room, sizeof(room)); got > 0; got = read(fd, room, sizeof(room))) {
      if (write(fd, room, static_cast<size_t>(got)) != got) break;
    }
    close(fd);
  });
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(fd, generic, bytes) == 0, "{}", errno_text("connect"));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  std::vector<double> all_us;
  char room[64]{};
  const Time until = monotonic_now() + kTime;
  while (monotonic_now() < until) {
    const Time begin = monotonic_now();
    CHECK(write(fd, room, sizeof(room)) == sizeof(room) && read(fd, room, sizeof(room)) > 0);
    all_us.push_back(std::chrono::duration<double, std::micro>(monotonic_now() - begin).count());
  }
  close(fd);
  echo.join();
  close(listener);
  return figures_of(std::move(all_us));
}

std::string json(const Figures& figures) {
  return fmt::format("{{\"per_second\":{:.0f},\"p50_us\":{:.1f},\"p99_us\":{:.1f}}}",
                     figures.per_second, figures.p50_us, figures.p99_us);
}

int run(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: floor_bench DIRECTORY\n");
    return 2;
  }
  if (access(argv[1], W_OK | X_OK) != 0) {
    fmt::print(stderr, "floor_bench: {}; give a directory to write in\n", errno_text(argv[1]));
    return 2;
  }
  fmt::print("{{\"sync_one\":{},\"sync_three\":{},\"round_trip\":{}}}\n", json(syncs(argv[1], 1)),
             json(syncs(argv[1], 3)), json(round_trips()));
  return 0;
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::run(argc, argv); }
