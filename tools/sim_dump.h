// `tallysim dump`: files of a data directory as text (storage/dump.h).
#pragma once

#include <string>
#include <vector>

namespace tally::tools {

// Prints each file under its name. The exit code: 0 all is as it should be, 1 something in some
// file is not, 2 a file cannot be read.
int dump_command(const std::vector<std::string>& files);

}  // namespace tally::tools
