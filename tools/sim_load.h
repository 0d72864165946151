// How tallysim gets at what its arguments name: scenarios, capsules, seeds; and writes files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/capsule.h"
#include "sim/scenario.h"

namespace tally::tools {

inline constexpr uint64_t kSeedMax = (uint64_t{1} << 53) - 1;

// Prints the message to stderr and returns kExitUsage.
int usage_error(const std::string& message);

bool parse_seed(std::string_view text, uint64_t& seed);

// A run as an argument named it.
struct Loaded {
  sim::Scenario scenario;
  sim::TextPlaces places;               // of the scenario's parts in its file
  std::optional<sim::Capsule> capsule;  // when the file is one
};

// A scenario's or a capsule's file, or the name of one in scenarios/; empty: the swarm. Empty, or
// what is wrong.
std::string load(const std::string& name_or_file, Loaded& loaded);

// The run that the seed makes of it. Empty, or what does not fit, with its place.
std::string spec_of(const Loaded& loaded, uint64_t seed,
                    const std::vector<std::string>& assignments, sim::RunSpec& spec);

// scenarios/ of the working directory, else of the tree this program was built from.
std::filesystem::path scenario_directory();

// Tries, and leaves no new file behind. False when it cannot be written; stderr says why.
bool may_write_file(const std::string& path);
// False when it cannot be written; stderr says why.
bool write_text_file(const std::string& path, std::string_view text);

}  // namespace tally::tools
