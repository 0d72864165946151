// What tallysim prints: the shapes that other programs read (one JSON object per line) and the same
// for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/scenario.h"
#include "sim/world.h"

namespace tally::tools {

// Exit codes of all programs (DESIGN, section 9).
inline constexpr int kExitOk = 0;
inline constexpr int kExitViolation = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitEnvironment = 3;
inline constexpr int kExitUndecided = 4;

int exit_code(sim::RunResult::Verdict verdict);

// `text` as a JSON string, quotes included.
std::string json_string(std::string_view text);
// `text` as one word of a shell command: quoted if it has to be.
std::string shell_word(const std::string& text);
// The oracle and the clause: what two failures of the same kind share.
std::string fingerprint(const sim::Violation& violation);

// What a run is made of, for its first line.
std::string identity_text(const sim::RunSpec& spec);
std::string identity_json(const sim::RunSpec& spec);

// `replay` is the one command that repeats the run; `wall_ns` what it took.
std::string result_text(const sim::RunResult& result, const std::string& replay, uint64_t wall_ns);
std::string result_json(const sim::RunResult& result, const std::string& replay, uint64_t wall_ns);

// How a person repeats the run of this seed; and what of it is not the seed, after a space.
std::string run_command_line(uint64_t seed, const std::string& scenario,
                             const std::vector<std::string>& assignments);
std::string run_flags(const std::string& scenario, const std::vector<std::string>& assignments);

}  // namespace tally::tools
