#include "tools/sim_load.h"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>

#include "tally_commit.h"
#include "tools/sim_output.h"

namespace tally::tools {
namespace {

namespace fs = std::filesystem;

// False when it cannot be opened; errno says why.
bool read_file(const fs::path& path, std::string& text) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  text.assign(std::istreambuf_iterator<char>(file), {});
  return true;
}

}  // namespace

int usage_error(const std::string& message) {
  fmt::print(stderr, "tallysim: {}\n", message);
  return kExitUsage;
}

bool parse_seed(std::string_view text, uint64_t& seed) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), seed);
  return !text.empty() && code == std::errc() && end == text.data() + text.size() &&
         seed <= kSeedMax;
}

fs::path scenario_directory() {
  std::error_code error;
  if (fs::is_directory("scenarios", error)) return "scenarios";
  return fs::path(source_directory()) / "scenarios";
}

std::string load(const std::string& name_or_file, Loaded& loaded) {
  loaded = Loaded();
  if (name_or_file.empty()) {
    loaded.scenario = sim::swarm_scenario();
    return {};
  }
  std::error_code error;
  fs::path path = name_or_file;
  if (!fs::is_regular_file(path, error)) {
    path = scenario_directory() / (name_or_file + ".txtpb");
  }
  std::string text;
  if (fs::is_regular_file(path, error)) {
    if (!read_file(path, text)) return fmt::format("{}: {}", path.string(), std::strerror(errno));
  } else if (error && error != std::errc::no_such_file_or_directory &&
             error != std::errc::not_a_directory) {
    return fmt::format("{}: {}", path.string(), error.message());
  } else {
    return fmt::format("no scenario '{}': neither a file nor a name in {} (`tallysim list`)",
                       name_or_file, scenario_directory().string());
  }
  if (!sim::looks_like_capsule(text)) {
    return sim::parse_scenario(text, path.string(), loaded.scenario, &loaded.places);
  }
  sim::Capsule capsule;
  const std::string wrong = sim::parse_capsule(text, path.string(), capsule, &loaded.places);
  if (!wrong.empty()) return wrong;
  loaded.scenario = capsule.scenario();
  loaded.capsule = std::move(capsule);
  return {};
}

std::string spec_of(const Loaded& loaded, uint64_t seed,
                    const std::vector<std::string>& assignments, sim::RunSpec& spec) {
  sim::ScenarioPart culprit;
  const std::string error = sim::make_run_spec(loaded.scenario, seed, assignments, spec, &culprit);
  return error.empty() ? error : sim::place_of(culprit, loaded.places) + error;
}

bool may_write_file(const std::string& path) {
  std::error_code ignored;
  const bool is_there = fs::exists(path, ignored);
  std::FILE* file = std::fopen(path.c_str(), "ab");
  if (file == nullptr) {
    fmt::print(stderr, "tallysim: {}: {}\n", path, std::strerror(errno));
    return false;
  }
  std::fclose(file);
  if (!is_there) fs::remove(path, ignored);
  return true;
}

bool write_text_file(const std::string& path, std::string_view text) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  bool written = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file != nullptr) written = std::fclose(file) == 0 && written;
  if (!written) fmt::print(stderr, "tallysim: {}: {}\n", path, std::strerror(errno));
  return written;
}

}  // namespace tally::tools
