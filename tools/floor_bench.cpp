// What this machine can do at best, to hold the cluster's figures against: syncs of blocks of 4 KiB
// that were filled with zeros ahead, with one and with three writers at once, and a round trip of
// 64 bytes on loopback to a server that waits in epoll. One JSON object on stdout.
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "core/check.h"
#include "net/loop.h"

namespace tally::tools {
namespace {

constexpr size_t kFileBytes = size_t{16} << 20;
constexpr size_t kBlockBytes = 4096;

struct Figures {
  double per_second = 0;
  double p50_us = 0;
  double p99_us = 0;
};

Figures figures_of(std::vector<double> all_us, Duration time) {
  std::sort(all_us.begin(), all_us.end());
  const auto at = [&](double quantile) {
    return all_us[static_cast<size_t>(quantile * static_cast<double>(all_us.size() - 1))];
  };
  const double seconds = std::chrono::duration<double>(time).count();
  return {static_cast<double>(all_us.size()) / seconds, at(0.5), at(0.99)};
}

std::vector<double> sync_blocks(const std::string& path, Duration time) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0, "{}", errno_text(path));
  const std::string zeros(kFileBytes, '\0');
  CHECK(pwrite(fd, zeros.data(), zeros.size(), 0) == static_cast<ssize_t>(zeros.size()));
  CHECK(fsync(fd) == 0, "{}", errno_text(path));
  const std::string block(kBlockBytes, 'x');
  std::vector<double> all_us;
  const Time until = monotonic_now() + time;
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

Figures syncs(const std::string& directory, size_t writer_count, Duration time) {
  std::vector<std::vector<double>> each(writer_count);
  std::vector<std::thread> writers;
  for (size_t i = 0; i < writer_count; ++i) {
    writers.emplace_back(
        [&, i] { each[i] = sync_blocks(fmt::format("{}/floor-{}", directory, i), time); });
  }
  std::vector<double> all_us;
  for (size_t i = 0; i < writer_count; ++i) {
    writers[i].join();
    all_us.insert(all_us.end(), each[i].begin(), each[i].end());
  }
  return figures_of(std::move(all_us), time);
}

Figures round_trips(Duration time) {
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
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "{}", errno_text("epoll"));
    char room[256];
    for (;;) {
      if (epoll_wait(epoll, &event, 1, -1) < 1) continue;
      const ssize_t got = read(fd, room, sizeof(room));
      if (got <= 0 || write(fd, room, static_cast<size_t>(got)) != got) break;
    }
    close(epoll);
    close(fd);
  });
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(fd, generic, bytes) == 0, "{}", errno_text("connect"));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  std::vector<double> all_us;
  char room[64]{};
  const Time until = monotonic_now() + time;
  while (monotonic_now() < until) {
    const Time begin = monotonic_now();
    CHECK(write(fd, room, sizeof(room)) == sizeof(room) && read(fd, room, sizeof(room)) > 0);
    all_us.push_back(std::chrono::duration<double, std::micro>(monotonic_now() - begin).count());
  }
  close(fd);
  echo.join();
  close(listener);
  return figures_of(std::move(all_us), time);
}

std::string json(const Figures& figures) {
  return fmt::format("{{\"per_second\":{:.0f},\"p50_us\":{:.1f},\"p99_us\":{:.1f}}}",
                     figures.per_second, figures.p50_us, figures.p99_us);
}

int run(int argc, char** argv) {
  std::string directory;
  int64_t time_ms = 2000;
  CLI::App app{"floor_bench: what this machine can do at best", "floor_bench"};
  app.add_option("directory", directory, "Where to write")->required();
  app.add_option("--milliseconds", time_ms, "For each figure")->check(CLI::Range(10, 600'000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    fmt::print(stderr, "floor_bench: {}; give a directory to write in\n", errno_text(directory));
    return 2;
  }
  const Duration time = std::chrono::milliseconds(time_ms);
  fmt::print("{{\"sync_one\":{},\"sync_three\":{},\"round_trip\":{}}}\n",
             json(syncs(directory, 1, time)), json(syncs(directory, 3, time)),
             json(round_trips(time)));
  return 0;
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::run(argc, argv); }
