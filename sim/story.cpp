#include "sim/story.h"

#include <algorithm>

namespace tally::sim {
namespace {

constexpr uint32_t kNowhere = ~uint32_t{0};

bool is_client_event(EventKind kind) {
  return kind == EventKind::kClientReceive || kind == EventKind::kClientBroken ||
         kind == EventKind::kClientOperation || kind == EventKind::kClientTimer;
}

bool is_machine_event(EventKind kind) {
  return kind == EventKind::kStart || kind == EventKind::kDeliver || kind == EventKind::kTimer ||
         kind == EventKind::kWake || kind == EventKind::kDisk;
}

}  // namespace

Story::Story(uint32_t machine_count, uint32_t client_count)
    : machine_count_(machine_count), last_(machine_count + client_count, 0) {}

void Story::begin_event(const Event& event, uint64_t origin) {
  Happened happened;
  happened.at = event.at;
  happened.endpoint = kNowhere;
  if (is_machine_event(event.kind)) happened.endpoint = event.who;
  if (is_client_event(event.kind)) happened.endpoint = machine_count_ + event.who;
  if (origin > 0) happened.before.push_back(origin);
  happened_.push_back(std::move(happened));
  if (happened_.back().endpoint != kNowhere) follow(happened_.back().endpoint);
}

void Story::follow(uint32_t endpoint) {
  uint64_t& last = last_[endpoint];
  if (last > 0 && last < happened_.size()) happened_.back().before.push_back(last);
  last = happened_.size();
}

void Story::touch(uint32_t machine) {
  if (!happened_.empty()) follow(machine);
}

void Story::add_line(VirtualTime at, std::string_view who, std::string_view text, bool is_fault) {
  if (happened_.empty()) return;
  happened_.back().lines.push_back(
      {happened_.size(), at, std::string(who), std::string(text), is_fault});
}

std::vector<Story::Line> Story::past_of(const std::vector<uint64_t>& events) const {
  std::vector<bool> in_past(happened_.size() + 1, false);
  std::vector<uint64_t> open;
  for (const uint64_t event : events) {
    if (event > 0 && event <= happened_.size()) open.push_back(event);
  }
  while (!open.empty()) {
    const uint64_t event = open.back();
    open.pop_back();
    if (in_past[event]) continue;
    in_past[event] = true;
    for (const uint64_t cause : happened_[event - 1].before) open.push_back(cause);
  }
  std::vector<Line> lines;
  for (uint64_t event = 1; event <= happened_.size(); ++event) {
    if (!in_past[event]) continue;
    const std::vector<Line>& told = happened_[event - 1].lines;
    lines.insert(lines.end(), told.begin(), told.end());
  }
  return lines;
}

std::vector<uint64_t> Story::events_that_tell(std::string_view text) const {
  std::vector<uint64_t> events;
  for (uint64_t event = 1; event <= happened_.size(); ++event) {
    for (const Line& line : happened_[event - 1].lines) {
      if (line.text.find(text) == std::string::npos) continue;
      events.push_back(event);
      break;
    }
  }
  return events;
}

uint64_t Story::client_event_at(uint32_t client, VirtualTime at) const {
  for (uint64_t event = happened_.size(); event > 0; --event) {
    const Happened& happened = happened_[event - 1];
    if (happened.at == at && happened.endpoint == machine_count_ + client) return event;
  }
  return 0;
}

}  // namespace tally::sim
