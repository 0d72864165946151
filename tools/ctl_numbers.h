// Numbers on the command line: decimal, whole, in range, or refused. CLI11's own conversion takes
// 010 for 8, 0x10 for 16, and what does not fit for the nearest that does.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

namespace tally::tools {

// Empty, or what is wrong with it. No sign but '-', no zeros in front.
std::string parse_number(const std::string& text, int64_t lowest, int64_t highest, int64_t& out);

// An option or, without dashes in its name, a positional argument; it outlives the parsing.
CLI::Option* add_number(CLI::App& app, const std::string& name, int64_t& target,
                        const std::string& help,
                        int64_t lowest = std::numeric_limits<int64_t>::min(),
                        int64_t highest = std::numeric_limits<int64_t>::max());
CLI::Option* add_number(CLI::App& app, const std::string& name, std::optional<int64_t>& target,
                        const std::string& help);
CLI::Option* add_count(CLI::App& app, const std::string& name, uint64_t& target,
                       const std::string& help, int64_t lowest, int64_t highest);

}  // namespace tally::tools
