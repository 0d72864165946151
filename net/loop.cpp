#include "net/loop.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <system_error>

#include "core/check.h"

namespace tally {
namespace {

constexpr size_t kEventsPerTurn = 2048;
constexpr timespec kNoTime{};

}  // namespace

Time monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return Time(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

std::string errno_text(std::string_view what) {
  return fmt::format("{}: {}", what, std::generic_category().message(errno));
}

Loop::Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)), events_(kEventsPerTurn) {
  CHECK(epoll_ >= 0, "{}", errno_text("epoll_create1"));
}

Loop::~Loop() { close(epoll_); }

void Loop::watch(int fd, uint32_t events, Watcher& watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &watcher;
  CHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0, "{}", errno_text("epoll_ctl add"));
}

void Loop::rewatch(int fd, uint32_t events, Watcher& watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &watcher;
  CHECK(epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) == 0, "{}", errno_text("epoll_ctl mod"));
}

void Loop::forget(int fd, const Watcher& watcher) {
  CHECK(epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr) == 0, "{}", errno_text("epoll_ctl del"));
  for (size_t i = 0; i < ready_count_; ++i) {
    if (events_[i].data.ptr == &watcher) events_[i].data.ptr = nullptr;
  }
}

bool Loop::has_ready() const {
  epoll_event event{};
  return epoll_pwait2(epoll_, &event, 1, &kNoTime, nullptr) > 0;
}

bool Loop::turn(Time deadline) {
  timespec timeout{};
  timespec* wait = nullptr;
  if (deadline != kNever) {
    const Time now = monotonic_now();
    const Duration left = deadline > now ? deadline - now : Duration(0);  // not from Time::min()
    timeout.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
    timeout.tv_nsec = (left % std::chrono::seconds(1)).count();
    wait = &timeout;
  }
  const int count =
      epoll_pwait2(epoll_, events_.data(), static_cast<int>(events_.size()), wait, nullptr);
  CHECK(count >= 0 || errno == EINTR, "{}", errno_text("epoll_pwait2"));
  ready_count_ = static_cast<size_t>(std::max(count, 0));
  for (size_t i = 0; i < ready_count_; ++i) {
    auto* watcher = static_cast<Watcher*>(events_[i].data.ptr);
    if (watcher != nullptr) watcher->on_ready(events_[i].events);
  }
  const bool any = ready_count_ > 0;
  ready_count_ = 0;
  return any;
}

}  // namespace tally
