#include "sim/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>
#include <vector>

#include "sim/plan.h"

namespace tally::sim {
namespace {

constexpr uint64_t kLanesPerClient = 16;  // as sim/sim_clients.cpp numbers lanes

struct Promise {
  std::string_view oracle;
  std::string_view text;
};
constexpr Promise kPromises[] = {
    {"election safety", "at most one leader per term, and one vote of each node per term"},
    {"log matching", "entries with the same index and term have the same past"},
    {"leader completeness", "a new leader holds every entry committed in an earlier term"},
    {"leader append-only", "a leader never replaces an entry of its log"},
    {"state machine safety", "one sequence of committed entries, and one state after each of them"},
    {"monotone", "terms, votes within a term, commit and applied indexes never go back"},
    {"durability", "what a node shows to others, and what is committed, is on the media first"},
    {"linearizability", "one order of all operations explains every answer that clients got"},
    {"exactly-once", "a counter is the sum of its increments, each counted once"},
    {"liveness", "a healed quorum elects a leader and serves within a bounded time"},
    {"convergence", "the replicas of a healed quorum become equal"},
    {"hang", "a run ends within its event budget"},
    {"codec", "no changed byte is accepted, and no message changes on its way"},
    {"check", "the invariants that the code states about itself hold"},
};

std::string_view promise_of(const std::string& oracle) {
  for (const Promise& promise : kPromises) {
    if (promise.oracle == oracle) return promise.text;
  }
  return "(no such oracle)";
}

// The operations that the checker's reason names, "client 33 seq 31": when they began and ended.
std::vector<uint64_t> named_events(const RunResult& result, const Story& story) {
  std::vector<uint64_t> events;
  const std::string& text = result.violation->message;
  constexpr std::string_view kWord = "client ";
  for (size_t at = text.find(kWord); at != std::string::npos; at = text.find(kWord, at + 1)) {
    uint64_t lane = 0;
    uint64_t sequence = 0;
    const char* end = text.data() + text.size();
    const auto first = std::from_chars(text.data() + at + kWord.size(), end, lane);
    constexpr std::string_view kThen = " seq ";
    if (std::string_view(first.ptr, static_cast<size_t>(end - first.ptr)).rfind(kThen, 0) != 0) {
      continue;
    }
    std::from_chars(first.ptr + kThen.size(), end, sequence);
    for (const Operation& operation : result.history) {
      if (operation.client != lane || operation.sequence != sequence) continue;
      const auto client = static_cast<uint32_t>((lane - 1) / kLanesPerClient);
      const Duration when(operation.return_ns.value_or(operation.invoke_ns));
      events.push_back(story.client_event_at(client, VirtualTime(when)));
    }
  }
  return events;
}

std::string line_text(const Story::Line& line) {
  const int64_t us = line.at.time_since_epoch().count() / 1000;
  return fmt::format("{:>6}.{:03} ms  {:<9} {}\n", us / 1000, us % 1000, line.who, line.text);
}

// Told however long ago it was: faults, and who led.
bool is_landmark(const Story::Line& line) {
  return line.is_fault || line.text.find("elected leader") != std::string::npos ||
         line.text.find("no longer leader") != std::string::npos;
}

// From the first fault on, but for the leader that it met.
std::vector<Story::Line> from_first_fault(std::vector<Story::Line> lines) {
  const auto fault = std::find_if(lines.begin(), lines.end(),
                                  [](const Story::Line& line) { return line.is_fault; });
  if (fault == lines.end()) return lines;
  const auto elected =
      std::find_if(std::make_reverse_iterator(fault), lines.rend(), [](const Story::Line& line) {
        return line.text.find("elected leader") != std::string::npos;
      });
  std::vector<Story::Line> kept;
  if (elected != lines.rend()) kept.push_back(*elected);
  kept.insert(kept.end(), fault, lines.end());
  return kept;
}

}  // namespace

std::string explain_text(const RunSpec& spec, const RunResult& result, const Story& story,
                         size_t line_count_max) {
  const Violation& violation = *result.violation;
  std::vector<uint64_t> roots = named_events(result, story);
  roots.erase(std::remove(roots.begin(), roots.end(), uint64_t{0}), roots.end());
  // Whatever is judged at the end has all that happened before it.
  if (roots.empty()) roots.push_back(std::min(violation.event, story.event_count()));
  std::vector<Story::Line> lines = story.past_of(roots);
  const size_t past_count = lines.size();
  lines = from_first_fault(std::move(lines));
  std::string text = fmt::format(
      "{} of {} narrated lines happened before the violation and after the first "
      "fault among them\n",
      lines.size(), past_count);
  for (const NoiseEvent& noise : spec.noise) text += "noise: " + noise_text(noise) + "\n";
  size_t begin = 0;
  if (line_count_max > 0 && lines.size() > line_count_max) {
    begin = lines.size() - line_count_max;
    size_t told = 0;
    for (size_t i = 0; i < begin; ++i) {
      if (!is_landmark(lines[i])) continue;
      text += line_text(lines[i]);
      ++told;
    }
    text += fmt::format("       ... {} lines in between (--all shows them)\n", begin - told);
  }
  for (size_t i = begin; i < lines.size(); ++i) text += line_text(lines[i]);
  text += fmt::format("\noracle     {}\npromised   {}\nbroken     {}\nhappened   {}\n",
                      violation.oracle, promise_of(violation.oracle), violation.clause,
                      violation.message);
  return text;
}

}  // namespace tally::sim
