#include "tools/dump_paths.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
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
  // The log first: it says best whose directory this is.
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {
    const bool log = segment_number(a.filename().string()).has_value();
    const bool other = segment_number(b.filename().string()).has_value();
    return log != other ? log : a < b;
  });
  files.insert(files.end(), found.begin(), found.end());
  return !code;
}

bool read_file(const fs::path& path, std::string& bytes) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  char room[65536];
  size_t count = 0;
  while ((count = std::fread(room, 1, sizeof(room), file)) > 0) bytes.append(room, count);
  const int error = std::ferror(file) != 0 ? errno : 0;
  std::fclose(file);
  errno = error;
  return error == 0;
}

// Between the log's files of one directory none may be missing. Returns how many gaps there are.
size_t print_missing(const fs::path& before, const fs::path& path) {
  const auto first = segment_number(before.filename().string());
  const auto next = segment_number(path.filename().string());
  if (path.parent_path() != before.parent_path() || !first || !next) return 0;
  if (*next <= *first + 1) return 0;
  const std::string last = *next == *first + 2 ? "" : " to " + segment_name(*next - 1);
  fmt::print("!! missing: {}{}\n", segment_name(*first + 1), last);
  return 1;
}

}  // namespace

std::string dump_paths(const std::vector<std::string>& paths, size_t& wrong) {
  wrong = 0;
  std::vector<fs::path> files;
  for (const std::string& path : paths) {
    std::error_code code;
    if (!fs::is_directory(path, code)) {
      files.emplace_back(path);
    } else {
      const size_t before = files.size();
      if (!add_files_of(path, files)) return fmt::format("{} cannot be read", path);
      if (files.size() == before) {
        return fmt::format("{} has neither log nor snapshot: it is no data directory", path);
      }
    }
  }
  Identity owner;
  fs::path before;
  for (const fs::path& path : files) {
    if (path.parent_path() != before.parent_path()) owner = Identity{};
    wrong += print_missing(before, path);
    before = path;
    std::string bytes;
    if (!read_file(path, bytes)) {
      return fmt::format("{} cannot be read: {}", path.string(), std::strerror(errno));
    }
    size_t marked = 0;
    const std::string text = dump_file(path.filename().string(), bytes, owner, marked);
    fmt::print("{}: {} bytes{}\n{}", path.string(), bytes.size(),
               marked == 0 ? "" : fmt::format(", {} places marked !!", marked), text);
    wrong += marked;
  }
  return {};
}

}  // namespace tally::tools
