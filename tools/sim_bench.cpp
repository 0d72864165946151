// How fast the simulator is: events per second and seeds per core-hour over the default swarm, all
// oracles on, one process. `./dev bench` runs it.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "sim/scenario.h"

namespace tally::tools {
namespace {

using BenchClock = std::chrono::steady_clock;

struct Batch {
  uint64_t seeds = 0;
  uint64_t events = 0;
  double seconds = 0;
  double rate() const { return static_cast<double>(events) / seconds; }
};

Batch run_batch(uint64_t first_seed, uint64_t count) {
  Batch batch;
  const auto began = BenchClock::now();
  for (uint64_t seed = first_seed; seed < first_seed + count; ++seed) {
    sim::RunSpec spec;
    const std::string error = sim::make_run_spec(sim::swarm_scenario(), seed, {}, spec);
    if (!error.empty()) {
      fmt::print(stderr, "sim_bench: seed {}: {}\n", seed, error);
      std::exit(3);
    }
    batch.events += sim::run(spec).event_count;
    ++batch.seeds;
  }
  batch.seconds = std::chrono::duration<double>(BenchClock::now() - began).count();
  return batch;
}

int main(int argc, char** argv) {
  if (argc > 1) {
    fmt::print(argc == 2 && std::strcmp(argv[1], "--help") == 0 ? stdout : stderr,
               "usage: sim_bench\nRuns 5 batches of 200 seeds of the default swarm.\n");
    return std::strcmp(argv[1], "--help") == 0 ? 0 : 2;
  }
  std::vector<Batch> batches;
  for (uint64_t i = 0; i < 5; ++i) {
    batches.push_back(run_batch(1 + i * 200, 200));
    fmt::print("seeds {:>4}..{:<4}  {:>9} events  {:>6.2f} s  {:>9.0f} events/s\n", 1 + i * 200,
               (i + 1) * 200, batches.back().events, batches.back().seconds, batches.back().rate());
  }
  std::sort(batches.begin(), batches.end(),
            [](const Batch& a, const Batch& b) { return a.rate() < b.rate(); });
  const Batch& median = batches[batches.size() / 2];
  fmt::print(
      "median {:.0f} events/s on one core (min {:.0f}, max {:.0f}); "
      "{:.0f} seeds per core-hour\n",
      median.rate(), batches.front().rate(), batches.back().rate(),
      static_cast<double>(median.seeds) * 3600 / median.seconds);
  return 0;
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::main(argc, argv); }
