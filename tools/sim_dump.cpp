#include "tools/sim_dump.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "storage/dump.h"
#include "tools/sim_load.h"
#include "tools/sim_output.h"

namespace tally::tools {

int dump_command(const std::vector<std::string>& files) {
  size_t wrong_total = 0;
  for (const std::string& path : files) {
    std::ifstream in(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (!in.good() && !in.eof()) return usage_error(fmt::format("{} cannot be read", path));
    size_t wrong = 0;
    const std::string text =
        dump_file(std::filesystem::path(path).filename().string(), bytes, wrong);
    fmt::print("{}: {} bytes{}\n{}", path, bytes.size(),
               wrong == 0 ? "" : fmt::format(", {} places marked !!", wrong), text);
    wrong_total += wrong;
  }
  return wrong_total == 0 ? kExitOk : kExitViolation;
}

}  // namespace tally::tools
