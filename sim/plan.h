// The fault plan of a run: drawn whole before time 0, executed without another draw.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/note.h"
#include "sim/scenario.pb.h"

namespace tally::sim {

// Faults for the whole safety phase, in order of time, ids from 1. Each entry is drawn by keys of
// its own number, so leaving one out changes no other.
std::vector<Fault> draw_plan(uint64_t seed, const Params& params);

// True: it strikes whatever the nodes do, unless another fault has struck before it (and left it
// nothing to act on). So a plan with one of these never comes to nothing. REQUIRES: it has a time.
bool is_certain(const Fault& fault, const Params& params);

// Makes the last entry a crash of a node when no entry is certain: a plan that may come to nothing
// proves nothing. Whatever the weights say; an empty plan stays empty.
void make_certain(uint64_t seed, const Params& params, std::vector<Fault>& plan);

// No time in a plan is longer: beyond the end of any run, and far from what 64 bits hold in ns.
inline constexpr int64_t kPlanMsMax = 1'000'000'000;

// The last kind that has a weight in Params::Faults.
inline constexpr FaultKind kLastDrawnKind = TAKE_SNAPSHOT;

// The faults that one with `times` stands for. REQUIRES: it has passed repeat_error.
std::vector<Fault> without_repeats(const Fault& fault);

// Draws the followers that random roles mean, keyed by the fault's id.
void draw_picks(uint64_t seed, const Params& params, std::vector<Fault>& plan);

// The nodes of the liveness phase: a quorum of the smallest size, sorted, 1-based.
std::vector<int64_t> draw_core(uint64_t seed, const Params& params);

// What is wrong with a fault, and which of its fields says so ("trigger.at_ms", "target[1].node");
// empty: nothing, and the fault as a whole.
struct PlanError {
  std::string text;
  std::string field;
  bool empty() const { return text.empty(); }
};

// What is wrong with `times` and `every_ms` of a fault.
PlanError repeat_error(const Fault& fault);

// Gives missing ids by position and checks every entry against the cluster. The first thing that is
// wrong, naming the entry and the field; `culprit` is then the entry's position.
PlanError complete_plan(std::vector<Fault>& plan, const Params& params, size_t& culprit);

// Changes what is on a node's media behind its back; subject to the atlas.
bool is_damage(FaultKind kind);
// Its targets are down while it lasts.
bool takes_down(const Fault& fault);
// It ends after its duration; else it is of an instant, or lasts until the liveness phase.
bool has_end(const Fault& fault);

// It strikes at a later call, of the disk or the network, if one comes that it waits for.
bool waits_for_a_call(FaultKind kind);

// None of this name: empty.
std::optional<NoteKind> note_named(std::string_view name);

// "as soon as n2 leads, 30 ms later"; "at 400 ms".
std::string trigger_text(const Trigger& trigger);

// "fault 3: crash n2 for 400 ms", for the trace.
std::string fault_text(const Fault& fault);

// "from 1204 ms on, the next append of n1 to n2 is lost"
std::string noise_text(const NoiseEvent& noise);
// "client 0 increments c1 by 10"
std::string operation_text(const ClientOperation& operation);
// "client 0's increment of c1 by 10", "client 2's get of c0"
std::string operation_name(const ClientOperation& operation);

// "election".
std::string group_name(Group group);

// The fault's name in counts and reports: "crash", "isolate_leader".
std::string fault_name(FaultKind kind);

}  // namespace tally::sim
