#include "sim/capsule.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tally::sim {
namespace {

// A capsule keeps at most this many checkpoints.
constexpr uint64_t kCheckpointCountMax = 128;

bool parse_digest(const std::string& text, uint64_t& digest) {
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, digest, 16);
  return text.size() == 16 && code == std::errc() && stop == end;
}

constexpr size_t kMarkDigits = 4;
constexpr size_t kMarksPerLine = Digest::kCheckpointInterval;

bool parse_marks(std::string_view text, std::vector<uint16_t>& marks) {
  if (text.size() % kMarkDigits != 0 || text.size() > kMarksPerLine * kMarkDigits) return false;
  for (; !text.empty(); text.remove_prefix(kMarkDigits)) {
    const char* end = text.data() + kMarkDigits;
    const auto [stop, code] = std::from_chars(text.data(), end, marks.emplace_back(), 16);
    if (code != std::errc() || stop != end) return false;
  }
  return true;
}

// Lines of them.
void print_marks(const google::protobuf::RepeatedField<uint32_t>& marks, Capsule& capsule) {
  for (int i = 0; i < marks.size(); ++i) {
    if (i % static_cast<int>(kMarksPerLine) == 0) capsule.add_marks();
    *capsule.mutable_marks(capsule.marks_size() - 1) += fmt::format("{:04x}", marks[i]);
  }
}

std::string digests_error(const Capsule& capsule, const TextPlaces& places) {
  uint64_t digest = 0;
  if (capsule.has_digest() && !parse_digest(capsule.digest(), digest)) {
    return fmt::format("{}digest '{}' is not 16 hexadecimal digits", places.of("digest"),
                       capsule.digest());
  }
  for (int i = 0; i < capsule.checkpoint_size(); ++i) {
    if (parse_digest(capsule.checkpoint(i), digest)) continue;
    return fmt::format("{}checkpoint '{}' is not 16 hexadecimal digits", places.of("checkpoint", i),
                       capsule.checkpoint(i));
  }
  for (int i = 0; i < capsule.marks_size(); ++i) {
    std::vector<uint16_t> marks;
    const bool whole =
        i + 1 == capsule.marks_size() || capsule.marks(i).size() == kMarksPerLine * kMarkDigits;
    if (whole && parse_marks(capsule.marks(i), marks)) continue;
    return fmt::format("{}marks '{}' are not {} times {} hexadecimal digits", places.of("marks", i),
                       capsule.marks(i), kMarksPerLine, kMarkDigits);
  }
  constexpr int64_t kStep = Digest::kCheckpointInterval;
  if (capsule.checkpoint_size() > 0 &&
      (capsule.checkpoint_interval() < kStep || capsule.checkpoint_interval() % kStep != 0)) {
    return fmt::format("{}checkpoint_interval is {}; it is a multiple of {}",
                       places.of("checkpoint_interval"), capsule.checkpoint_interval(), kStep);
  }
  return {};
}

std::string fingerprint(std::string_view verdict, std::string_view oracle,
                        std::string_view clause) {
  if (verdict != "violation") return std::string(verdict);
  return fmt::format("{}: {}", oracle, clause);
}

}  // namespace

bool looks_like_capsule(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos || line[begin] == '#') continue;
    const std::string first(line.substr(begin, line.find_first_of(": {\t", begin) - begin));
    return Capsule::descriptor()->FindFieldByName(first) != nullptr &&
           Scenario::descriptor()->FindFieldByName(first) == nullptr;
  }
  return false;
}

std::string parse_capsule(std::string_view text, std::string_view name, Capsule& capsule,
                          TextPlaces* places) {
  TextPlaces here;
  const std::string error = parse_text(text, name, UnknownFields::kAccepted, capsule, &here);
  // A later version may not even parse; that it is one is then the better message.
  if (capsule.format_version() > kCapsuleVersion) {
    return fmt::format(
        "{}format_version is {}; this program reads up to {}: use the one that wrote it, or newer",
        here.of("format_version"), capsule.format_version(), kCapsuleVersion);
  }
  if (!error.empty()) return error;
  if (!capsule.has_format_version()) {
    return fmt::format("{}:1:1: a capsule without a format_version", name);
  }
  if (capsule.format_version() < 1) {
    return fmt::format("{}format_version is {}; the first one is 1", here.of("format_version"),
                       capsule.format_version());
  }
  if (!capsule.has_scenario()) return fmt::format("{}: a capsule without a scenario", name);
  if (!capsule.has_verdict()) return fmt::format("{}: a capsule without a verdict", name);
  if (places != nullptr) *places = here.inside("scenario");
  return digests_error(capsule, here);
}

Capsule make_capsule(const RunSpec& spec, const SeedReport& report, std::string_view commit) {
  Capsule capsule;
  capsule.set_format_version(kCapsuleVersion);
  capsule.set_commit(std::string(commit));
  capsule.set_verdict(report.verdict());
  if (report.verdict() == "violation") {
    capsule.set_oracle(report.oracle());
    capsule.set_clause(report.clause());
    capsule.set_message(report.message());
    capsule.set_violation_event(report.violation_event());
  } else {
    capsule.set_reason(report.reason());
  }
  capsule.set_events(report.events());
  capsule.set_sim_ns(report.sim_ns());
  capsule.set_first_fault_event(report.first_fault_event());
  Scenario& scenario = *capsule.mutable_scenario();
  scenario = spelled_out(spec);
  scenario.set_name(fmt::format("seed-{}", spec.seed));
  scenario.set_story(fmt::format("Seed {}: {}", spec.seed, fingerprint(capsule)));
  if (!report.has_digest()) return capsule;
  capsule.set_digest(fmt::format("{:016x}", report.digest()));
  print_marks(report.mark(), capsule);
  const auto count = static_cast<uint64_t>(report.checkpoint_size());
  if (count == 0) return capsule;
  uint64_t stride = 1;  // a power of two, so that any two capsules have checkpoints in common
  while (count / stride > kCheckpointCountMax) stride *= 2;
  capsule.set_checkpoint_interval(static_cast<int64_t>(stride * Digest::kCheckpointInterval));
  for (uint64_t i = stride; i <= count; i += stride) {
    capsule.add_checkpoint(fmt::format("{:016x}", report.checkpoint(static_cast<int>(i - 1))));
  }
  return capsule;
}

std::string capsule_text(const Capsule& capsule) {
  return "# A failing run. `tallysim replay FILE` runs it again, `tallysim shrink FILE --out "
         "STORY`\n"
         "# makes it short, `tallysim explain FILE` tells what led to it.\n" +
         print_text(capsule);
}

std::string fingerprint(const Capsule& capsule) {
  return fingerprint(capsule.verdict(), capsule.oracle(), capsule.clause());
}

std::string fingerprint(const RunResult& result) {
  if (!result.violation) return to_string(result.verdict);
  return fingerprint("violation", result.violation->oracle, result.violation->clause);
}

DigestTrail trail_of(const Capsule& capsule) {
  DigestTrail trail;
  trail.interval = static_cast<uint64_t>(capsule.checkpoint_interval());
  for (const std::string& text : capsule.checkpoint()) {
    uint64_t digest = 0;
    parse_digest(text, digest);
    trail.checkpoints.push_back(digest);
  }
  trail.event_count = static_cast<uint64_t>(capsule.events());
  parse_digest(capsule.digest(), trail.end);
  for (const std::string& line : capsule.marks()) parse_marks(line, trail.marks);
  return trail;
}

DigestTrail trail_of(const RunResult& result) {
  return {Digest::kCheckpointInterval, result.checkpoints, result.event_count, result.digest,
          result.marks};
}

Parting find_parting(const DigestTrail& a, const DigestTrail& b) {
  // One divides the other in all that programs write.
  const uint64_t interval = std::max(a.interval, b.interval);
  const auto at = [interval](const DigestTrail& trail, uint64_t number) {
    return trail.checkpoints[number * (interval / trail.interval) - 1];
  };
  uint64_t comparable = 0;
  if (a.interval > 0 && b.interval > 0 && interval % a.interval == 0 &&
      interval % b.interval == 0) {
    comparable = std::min(a.checkpoints.size() / (interval / a.interval),
                          b.checkpoints.size() / (interval / b.interval));
  }
  // Once different, a running digest stays different: look for the first by bisection.
  uint64_t same = 0;
  uint64_t different = comparable + 1;
  while (same + 1 < different) {
    const uint64_t middle = same + (different - same) / 2;
    (at(a, middle) == at(b, middle) ? same : different) = middle;
  }
  if (different > comparable && a.event_count == b.event_count && a.end == b.end) return {};
  const uint64_t first = same * interval + 1;
  const uint64_t common = std::min(a.marks.size(), b.marks.size());
  for (uint64_t event = first; event <= common; ++event) {
    if (a.marks[event - 1] != b.marks[event - 1]) return {false, event, event};
  }
  if (different <= comparable) return {false, first, different * interval};
  const uint64_t end = std::min(a.event_count, b.event_count) + 1;
  return {false, std::max(first, std::min(common + 1, end)), end};
}

ReplayOutcome judge_replay(const Capsule& capsule, const RunResult& result, Parting& parting) {
  parting = Parting{};
  if (capsule.has_digest()) parting = find_parting(trail_of(capsule), trail_of(result));
  if (fingerprint(capsule) == fingerprint(result)) return ReplayOutcome::kReproduced;
  if (result.verdict != RunResult::Verdict::kOk) return ReplayOutcome::kDiverged;
  const auto first_fault = static_cast<uint64_t>(capsule.first_fault_event());
  // Without a plan that acted, nothing speaks against it.
  const bool another_run = !parting.same && parting.first <= first_fault;
  return another_run ? ReplayOutcome::kDiverged : ReplayOutcome::kGone;
}

}  // namespace tally::sim
