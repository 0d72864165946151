#include "net/logger.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>
#include <string>

#include "net/loop.h"

namespace tally {
namespace {

constexpr double kEventsAtOnce = 10;
constexpr double kEventsPerSecond = 5;
// What a pipe takes in one piece once it says that it is ready.
constexpr size_t kLineBytesMax = PIPE_BUF;

bool write_line(std::string_view line) {
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  return poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0 &&
         ::write(STDERR_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

void Logger::line(std::string_view level, std::string_view text) {
  if (lost_count_ > 0) write("warning", fmt::format("{} lines were lost", lost_count_));
  write(level, text);
}

void Logger::event(std::string_view text) {
  const Time now = monotonic_now();
  if (allowed_at_ != Time::min()) {
    const double seconds = std::chrono::duration<double>(now - allowed_at_).count();
    allowance_ = std::min(kEventsAtOnce, allowance_ + seconds * kEventsPerSecond);
  }
  allowed_at_ = now;
  if (allowance_ < 1) {
    ++untold_count_;
    return;
  }
  allowance_ -= 1;
  if (untold_count_ > 0) line("info", fmt::format("{} more events, not told", untold_count_));
  untold_count_ = 0;
  line("info", text);
}

void Logger::write(std::string_view level, std::string_view text) {
  timespec at{};
  clock_gettime(CLOCK_REALTIME, &at);
  tm parts{};
  gmtime_r(&at.tv_sec, &parts);
  char day[32];
  std::strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
  std::string out = fmt::format("{}.{:03}Z {} node={} {}", day, at.tv_nsec / 1'000'000, level,
                                id_.value(), printable(text));
  out.resize(std::min(out.size(), kLineBytesMax - 1));
  out += '\n';
  lost_count_ = write_line(out) ? 0 : lost_count_ + 1;
}

}  // namespace tally
