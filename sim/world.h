// The world: one simulated cluster with its clients, network, faults and oracles, run to a verdict.
//
// One thread, virtual time, events in a total order. A run is (seed, parameters, workload, plan,
// core) and nothing else: no wall clock, no file, no environment. Two phases: safety with all
// faults on; liveness, where a quorum core is healed and the rest frozen, and the core must serve.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/note.h"
#include "sim/digest.h"
#include "sim/event_queue.h"
#include "sim/machine.h"
#include "sim/narrator.h"
#include "sim/oracles.h"
#include "sim/scenario.pb.h"
#include "sim/sim_clients.h"
#include "sim/sim_network.h"
#include "sim/story.h"

namespace tally::sim {

// Everything a run is made of. REQUIRES of all that take one: params_error and complete_plan are
// empty, core names distinct nodes (1-based) or nothing.
struct RunSpec {
  uint64_t seed = 0;
  Params params;
  std::vector<Fault> plan;
  std::vector<int64_t> core;                // for the liveness phase; drawn when empty
  std::vector<NoiseEvent> noise;            // happens for certain
  std::vector<ClientOperation> operations;  // the workload, unless empty: then drawn
  bool explain = false;                     // keep a Story; no effect on the run
  bool record = false;                      // fill RunResult::record; no effect on the run
  std::FILE* trace = nullptr;               // the narrated trace goes here; no effect on the run
  // The digest at each checkpoint goes here, and every event from first to last with it.
  std::FILE* trail = nullptr;
  uint64_t trail_first = 0;
  uint64_t trail_last = 0;
};

struct RunResult {
  enum class Verdict : uint8_t { kOk, kViolation, kVacuous, kUndecided };
  Verdict verdict = Verdict::kOk;
  std::string reason;  // of vacuous and undecided
  std::optional<Violation> violation;
  uint64_t seed = 0;
  uint64_t digest = 0;
  std::vector<uint64_t> checkpoints;  // of the digest, every Digest::kCheckpointInterval events
  std::vector<uint16_t> marks;        // of each event, and of the state at the end
  uint64_t event_count = 0;
  Duration sim_time{0};
  SimClients::Counts ops;
  uint64_t committed_count = 0;        // entries committed in the safety phase
  int64_t first_leader_ms = -1;        // when some node first led; -1: never
  NodeId safety_leader;                // who led when the safety phase ended; kNoNode: nobody
  std::vector<uint64_t> notes;         // how often each NoteKind occurred
  std::vector<uint64_t> faults_fired;  // by FaultKind
  // Faults that did nothing: their condition never held, they found no target or nothing to act on,
  // or what they waited for never came. Complete once the safety phase has ended.
  uint64_t faults_idle = 0;
  std::map<std::string, int64_t> values;  // of the counters that clients used, at the end
  uint64_t frames_corrupted = 0;          // corrupted on purpose, and refused
  DiskLosses disk_losses;                 // of all disks
  bool liveness_excused = false;          // the core could not have elected anybody
  uint64_t first_fault_event = 0;         // when the first fault of the plan acted; 0: none did
  RunRecord record;                       // when asked for: noise, operations, faults as they came
  History history;
};

std::string to_string(RunResult::Verdict verdict);

class World {
 public:
  explicit World(const RunSpec& spec);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Runs to the end and judges. Call once.
  RunResult run();
  // What led to what. REQUIRES: spec.explain
  const Story& story() const { return *story_; }
  // What is known so far, as a violation of oracle `check`: for a CHECK that failed in the middle.
  RunResult result_of_failed_check(const std::string& message);

 private:
  enum class Phase : uint8_t { kSafety, kElection, kConvergence, kDone };

  // One fault of the plan, on its way.
  struct Ongoing {
    bool armed = false;  // waits for its condition
    bool begun = false;
    bool ended = false;
    bool flap_cut = false;
    VirtualTime begun_at{};
    bool hit = false;                 // a fault that waits for a call has struck
    uint64_t notes_left = 0;          // of its condition: how many more must be made; 0: holds
    std::optional<uint32_t> subject;  // 0-based: whom its condition came true of
    std::vector<uint32_t> targets;    // 0-based, resolved when it began
    std::vector<uint32_t> peers;
    std::vector<bool> link_held;       // which links it holds cut or slow: from * nodes + to
    std::vector<uint64_t> capacities;  // a full disk: of each target, in bytes
  };

  // world.cpp
  bool dispatch(const Event& event);
  void dispatch_to_machine(const Event& event);
  void client_receives(const Event& event);
  void after_step(Machine& machine);
  void after_end(Machine& machine, Machine::End end);
  void fold(const Event& event);
  RunResult result();
  void fill_record();
  bool over() const { return phase_ == Phase::kDone || oracles_.violation().has_value(); }
  VirtualTime at_ms(int64_t ms) const { return VirtualTime(std::chrono::milliseconds(ms)); }

  // world_trail.cpp
  std::string describe(const Event& event) const;
  void print_trail();

  // world_triggers.cpp: when faults begin, and on whom. Draws nothing.
  void schedule_plan();
  void see_note(const Machine& machine, NoteKind kind);
  void check_conditions();
  bool holds(size_t position);
  bool holds_uncommitted(const Machine& machine, LogIndex index) const;
  void disarm(size_t position, const std::string& reason);
  bool resolve_targets(size_t position);
  bool resolve(const Target& target, const Ongoing& ongoing, std::vector<uint32_t>& found) const;
  void add_side_of(const Machine& first, size_t count, std::vector<uint32_t>& found) const;

  // world_faults.cpp: the plan's executor. Draws nothing.
  void begin_fault(size_t position);
  void step_fault(size_t position);
  void touch_story(const Ongoing& ongoing);
  void end_fault(size_t position);
  void apply_links(size_t position, int change);
  void hold_link(Ongoing& ongoing, uint32_t from, uint32_t to);
  void choose_links(size_t position);
  void begin_messages(size_t position);
  void tell_struck_messages();
  bool apply_to_machines(size_t position);
  bool acts_on(size_t position, FaultKind kind, uint32_t number) const;
  bool held_down(uint32_t number) const;
  bool damage(const Fault& fault, Machine& machine);
  bool transfer(const Machine& to);
  bool snapshot(Machine& machine);
  void crash(Machine& machine);
  void set_disk_faults(Machine& machine);
  static DiskPoint disk_point(const Fault& fault);
  static bool is_at_point(const Fault& fault, const Machine& machine);
  void release_machine(const Fault& fault, Machine& machine);
  void restart(Machine& machine);

  // world_phases.cpp: liveness, convergence, verdict.
  void begin_liveness();
  void heal(Machine& machine);
  void complete_core();
  Duration progress_limit() const;
  void watch_liveness();
  bool core_converged() const;
  bool core_is_able() const;
  void check_liveness_deadline();
  void judge();
  void judge_sums();
  void judge_vacuity();
  const Machine* leader() const;         // of the highest term; null when nobody leads
  const Machine* most_advanced() const;  // the running node of the highest term

  const RunSpec spec_;
  EventQueue queue_;
  Oracles oracles_;
  SimNetwork network_;
  const MachineEnv machine_env_;
  std::vector<std::unique_ptr<Machine>> machines_;
  SimClients clients_;
  const std::unique_ptr<Story> story_;
  Narrator narrator_;
  Digest digest_;
  RunResult result_;

  Phase phase_ = Phase::kSafety;
  uint64_t event_count_ = 0;
  uint64_t crash_count_ = 0;
  Envelope arrived_;       // reused
  std::string described_;  // the event being carried out, for the trail

  std::vector<Ongoing> ongoing_;
  size_t armed_count_ = 0;

  std::vector<uint32_t> core_;  // 0-based, sorted
  VirtualTime liveness_began_{};
  VirtualTime liveness_ends_{};  // moves on when the core makes progress
  uint64_t core_progress_ = 0;
};

RunResult run(const RunSpec& spec);

}  // namespace tally::sim
