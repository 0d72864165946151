#include "tools/dump_paths.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "storage/dump.h"
#include "storage/log_format.h"

namespace tally::tools {
namespace {

namespace fs = std::filesystem;

// False when the directory cannot be read.
bool add_files_of(const fs::path& directory, std::vector<fs::path>& files) {
  std::error_code code;
  std::vector<fs::path> found;
  for (fs::directory_iterator at(directory, code), end; !code && at != end; at.increment(code)) {
    const std::string name = at->path().filename().string();
    if (segment_number(name) || name.starts_with("snapshot-")) found.push_back(at->path());
  }
  std::sort(found.begin(), found.end());
  files.insert(files.end(), found.begin(), found.end());
  return !code;
}

}  // namespace

std::string dump_paths(const std::vector<std::string>& paths, size_t& wrong) {
  wrong = 0;
  std::vector<fs::path> files;
  for (const std::string& path : paths) {
    std::error_code code;
    if (!fs::is_directory(path, code)) {
      files.emplace_back(path);
    } else if (!add_files_of(path, files)) {
      return fmt::format("{} cannot be read", path);
    }
  }
  for (const fs::path& path : files) {
    std::ifstream in(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (!in.good() && !in.eof()) return fmt::format("{} cannot be read", path.string());
    size_t marked = 0;
    const std::string text = dump_file(path.filename().string(), bytes, marked);
    fmt::print("{}: {} bytes{}\n{}", path.string(), bytes.size(),
               marked == 0 ? "" : fmt::format(", {} places marked !!", marked), text);
    wrong += marked;
  }
  return {};
}

}  // namespace tally::tools
