// `tallysim dump` and `tallyctl log dump`: files of storage/ as text.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace tally::tools {

// Prints each file, and of each directory its log and snapshots in order. `wrong` is set to how
// many places are marked "!!" (storage/dump.h), gaps in the row of the log's files included. Empty,
// or which path cannot be read.
std::string dump_paths(const std::vector<std::string>& paths, size_t& wrong);

}  // namespace tally::tools
