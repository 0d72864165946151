#include "sim/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <string_view>
#include <vector>

#include "sim/checker_explain.h"
#include "sim/plan.h"
#include "sim/sim_clients.h"

namespace tally::sim {
namespace {

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

// It is judged by how all ends, not by one event.
bool is_about_the_end(const std::string& oracle) {
  return oracle == "liveness" || oracle == "convergence" || oracle == "hang";
}

// As Narrator tells the request; of exactly-once all increments of the counter count.
std::string request_words(const Operation& operation, bool any_delta) {
  if (operation.kind == Operation::Kind::kGet) return "get " + operation.counter;
  const std::string increment = "increment " + operation.counter + " by ";
  return any_delta ? increment : fmt::format("{}{} (", increment, operation.delta);
}

// The events whose past is the story.
std::vector<uint64_t> root_events(const RunResult& result, const Story& story) {
  const Violation& violation = *result.violation;
  std::vector<uint64_t> events;
  for (const size_t index : violation.operations) {
    const Operation& operation = result.history[index];
    const uint32_t client = client_of_lane(operation.client);
    events.push_back(story.client_event_at(client, VirtualTime(Duration(operation.invoke_ns))));
    if (operation.return_ns) {
      events.push_back(story.client_event_at(client, VirtualTime(Duration(*operation.return_ns))));
    }
  }
  if (violation.oracle == "exactly-once" && !violation.operations.empty()) {
    const Operation& any = result.history[violation.operations.front()];
    const std::vector<uint64_t> told = story.events_that_tell(request_words(any, true));
    events.insert(events.end(), told.begin(), told.end());
  }
  if (is_about_the_end(violation.oracle)) {
    events = story.last_events();
    const std::vector<uint64_t> phases = story.events_that_tell("liveness: the core");
    events.insert(events.end(), phases.begin(), phases.end());
  }
  std::erase(events, uint64_t{0});
  if (events.empty()) events.push_back(std::min(violation.event, story.event_count()));
  return events;
}

// A request that the violation is about, as lines tell it, and while it was open.
struct Named {
  std::string words;
  int64_t from_ns;
  int64_t to_ns;
};

// Of many, none: they would be the whole story.
std::vector<Named> named_requests(const RunResult& result, const std::vector<Story::Line>& past) {
  constexpr size_t kNamedMax = 8;
  const Violation& violation = *result.violation;
  std::vector<Named> named;
  if (violation.operations.size() > kNamedMax) return named;
  const bool any_delta = violation.oracle == "exactly-once";
  for (const size_t index : violation.operations) {
    const Operation& operation = result.history[index];
    Named one{request_words(operation, any_delta), operation.invoke_ns, INT64_MAX};
    if (!any_delta) {
      one.to_ns = operation.return_ns.value_or(INT64_MAX);
      // With its session and sequence, from the line in which its client first asks.
      const std::string client = fmt::format("client {}", client_of_lane(operation.client));
      for (const Story::Line& line : past) {
        const size_t at = line.text.find(one.words);
        const bool first = line.at.time_since_epoch().count() == operation.invoke_ns;
        if (!first || line.who != client || at == std::string::npos) continue;
        one.words = line.text.substr(at);
        break;
      }
    }
    named.push_back(std::move(one));
  }
  return named;
}

bool is_named(const std::vector<Named>& named, const Story::Line& line) {
  const int64_t at_ns = line.at.time_since_epoch().count();
  return std::any_of(named.begin(), named.end(), [&](const Named& one) {
    return at_ns >= one.from_ns && at_ns <= one.to_ns &&
           line.text.find(one.words) != std::string::npos;
  });
}

std::string time_text(VirtualTime at) {
  const int64_t us = at.time_since_epoch().count() / 1000;
  return fmt::format("{}.{:03}", us / 1000, us % 1000);
}

std::string line_text(const Story::Line& line) {
  return fmt::format("{:>10} ms  {:<9} {}\n", time_text(line.at), line.who, line.text);
}

bool tells_election(const Story::Line& line) {
  return line.text.find("elected leader") != std::string::npos;
}

// Told however long ago it was: faults, phases, who led, and what the violation names.
bool is_landmark(const std::vector<Named>& named, const Story::Line& line) {
  return line.who == "fault" || line.who == "phase" || tells_election(line) ||
         line.text.find("no longer leader") != std::string::npos || is_named(named, line);
}

// From the first fault on, but for the leader that it met and what the violation names.
std::vector<Story::Line> from_first_fault(const std::vector<Named>& named,
                                          const std::vector<Story::Line>& lines) {
  const auto fault = std::find_if(lines.begin(), lines.end(),
                                  [](const Story::Line& line) { return line.is_fault; });
  if (fault == lines.end()) return lines;
  const auto elected =
      std::find_if(std::make_reverse_iterator(fault), lines.rend(), tells_election);
  std::vector<Story::Line> kept;
  for (auto line = lines.begin(); line != fault; ++line) {
    const bool met = elected != lines.rend() && &*line == &*elected;
    if (met || is_named(named, *line)) kept.push_back(*line);
  }
  kept.insert(kept.end(), fault, lines.end());
  return kept;
}

// With every number left out: what is alike says the same of other terms and entries.
std::string shape_of(std::string_view text) {
  std::string shape;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit) shape += c;
    if (digit && (shape.empty() || shape.back() != '#')) shape += '#';
  }
  return shape;
}

// Of each machine and client, how often it did or heard what.
using Deeds = std::map<std::pair<std::string, std::string>, int>;

// Whether all that the line tells, whatever it came from, has been told often enough.
bool is_repeat(const Story::Line& line, Deeds& deeds) {
  constexpr int kTold = 2;
  constexpr std::string_view kArrow = " -> ";
  std::string_view rest = line.text;
  const size_t arrow = rest.find(kArrow);
  if (arrow != std::string_view::npos) rest.remove_prefix(arrow + kArrow.size());
  bool repeat = line.who != "fault";
  while (!rest.empty()) {
    const size_t end = std::min(rest.find("; "), rest.size());
    if (++deeds[{line.who, shape_of(rest.substr(0, end))}] <= kTold) repeat = false;
    rest.remove_prefix(std::min(end + 2, rest.size()));
  }
  return repeat;
}

// Of lines that go on and on, each is told twice; the others are counted where they stand.
std::vector<Story::Line> without_repeats(const std::vector<Story::Line>& lines) {
  Deeds deeds;
  std::vector<Story::Line> kept;
  size_t repeats = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    // The last of all shows how far it got.
    const bool last = i + 1 == lines.size();
    if (is_repeat(lines[i], deeds) && !last) {
      ++repeats;
      continue;
    }
    if (repeats > 0) {
      kept.push_back(lines[i - 1]);
      kept.back().who.clear();
      kept.back().text = fmt::format("... {} more like those above", repeats);
    }
    repeats = 0;
    kept.push_back(lines[i]);
  }
  return kept;
}

// Which of the lines before `end` are told all the same: what the violation names, and of the
// faults and elections the last few.
std::vector<bool> told_landmarks(const std::vector<Named>& named,
                                 const std::vector<Story::Line>& lines, size_t end) {
  constexpr size_t kLandmarksMax = 20;
  std::vector<bool> told(end);
  size_t count = 0;
  for (size_t i = end; i-- > 0;) {
    if (!is_landmark(named, lines[i])) continue;
    told[i] = is_named(named, lines[i]) || ++count <= kLandmarksMax;
  }
  return told;
}

// The last so many lines, and landmarks before them; 0: all.
std::string text_of_last(const std::vector<Named>& named, const std::vector<Story::Line>& lines,
                         size_t line_count_max) {
  std::string text;
  size_t begin = 0;
  if (line_count_max > 0 && lines.size() > line_count_max) {
    begin = lines.size() - line_count_max;
    const std::vector<bool> told = told_landmarks(named, lines, begin);
    for (size_t i = 0; i < begin; ++i) {
      if (told[i]) text += line_text(lines[i]);
    }
    const auto told_count = static_cast<size_t>(std::count(told.begin(), told.end(), true));
    text += fmt::format("       ... {} lines in between (--all shows them)\n", begin - told_count);
  }
  for (size_t i = begin; i < lines.size(); ++i) text += line_text(lines[i]);
  return text;
}

// "502.528"
std::string ms_text(int64_t ns) {
  return fmt::format("{}.{:03}", ns / 1'000'000, ns / 1000 % 1000);
}

// "client 1's increment of c0 by 1 (answered 1, 502.528 to 505.923 ms)"
std::string in_words(const Operation& operation) {
  std::string outcome;
  switch (operation.status) {
    case Operation::Status::kOk: outcome = fmt::format("answered {}", operation.value); break;
    case Operation::Status::kRejected: outcome = "refused"; break;
    case Operation::Status::kUnknown: outcome = "unanswered"; break;
    case Operation::Status::kFailed: outcome = "failed"; break;
  }
  const std::string begin = ms_text(operation.invoke_ns);
  const bool open = !operation.return_ns || operation.status == Operation::Status::kUnknown;
  return fmt::format("{} ({}, {})", operation_name(as_data(operation, operation.invoke_ns)),
                     outcome,
                     open ? fmt::format("from {} ms on", begin)
                          : fmt::format("{} to {} ms", begin, ms_text(*operation.return_ns)));
}

}  // namespace

std::string in_words(std::string reason, const History& history,
                     const std::vector<size_t>& culprits) {
  for (const size_t index : culprits) {
    const std::string told = checker::describe(history[index]);
    const std::string words = in_words(history[index]);
    for (size_t at = reason.find(told); at != std::string::npos; at = reason.find(told, at)) {
      reason.replace(at, told.size(), words);
      at += words.size();
    }
  }
  return reason;
}

std::string explain_text(const RunSpec& spec, const RunResult& result, const Story& story,
                         size_t line_count_max) {
  const Violation& violation = *result.violation;
  const std::vector<Story::Line> past = story.past_of(root_events(result, story));
  const std::vector<Named> named = named_requests(result, past);
  const std::vector<Story::Line> lines = from_first_fault(named, past);
  std::string text = fmt::format(
      "{} of {} narrated lines: what led to the violation, from the first fault among it on, and "
      "what the\nviolation names\n",
      lines.size(), past.size());
  for (const NoiseEvent& noise : spec.noise) text += "noise: " + noise_text(noise) + "\n";
  const bool folds = is_about_the_end(violation.oracle) && line_count_max > 0;
  text += text_of_last(named, folds ? without_repeats(lines) : lines, line_count_max);
  text += fmt::format("\noracle     {}\npromised   {}\nbroken     {}\nhappened   {}\n",
                      violation.oracle, promise_of(violation.oracle), violation.clause,
                      violation.message);
  return text;
}

}  // namespace tally::sim
