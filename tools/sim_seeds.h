// Which seeds a sweep takes: a range, or as many as wanted that follow from a commit; and which
// part of them this job of many runs.
#pragma once

#include <cstdint>
#include <string>

namespace tally::tools {

struct SeedRange {
  uint64_t first = 0;
  uint64_t last = 0;  // inclusive
};

// "A..B"; or "ID+COUNT", where ID is a commit (7 to 40 hexadecimal digits) or the word `commit` for
// the one that this program was built from: other seeds for each commit, the same for the same one.
// Empty, or what is wrong.
std::string parse_seeds(const std::string& text, SeedRange& range);

// Takes the part of the range that "I/N" says, I of 1 .. N; `text` becomes that. "auto/N" takes I
// from the variables of a Slurm array job (its task's id, so that a task can be submitted again
// alone) or of a Kubernetes indexed job (from 0). "auto" takes N as well, from those of a whole
// Slurm array. Empty, or what is wrong.
std::string take_shard(std::string& text, SeedRange& range);

}  // namespace tally::tools
