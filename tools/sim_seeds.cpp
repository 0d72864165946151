#include "tools/sim_seeds.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "tally_commit.h"
#include "tools/sim_load.h"

namespace tally::tools {
namespace {

constexpr size_t kIdDigits = 7;  // as few as git shows; more of the same commit are the same seeds
constexpr uint64_t kCountMax = uint64_t{1} << 40;

bool parse_number(std::string_view text, uint64_t& value) {
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  return !text.empty() && code == std::errc() && stop == end;
}

bool is_commit(std::string_view id) {
  return id.size() >= kIdDigits && id.size() <= 40 &&
         id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string seeds_of_commit(std::string_view text, size_t plus, SeedRange& range) {
  std::string id(text.substr(0, plus));
  if (id == "commit") {
    id = commit_id();
    id = id.substr(0, id.find('-'));
    if (!is_commit(id)) {
      return fmt::format("--seeds {}: this program does not know its commit ('{}'); name one", text,
                         commit_id());
    }
  }
  uint64_t count = 0;
  if (!is_commit(id) || !parse_number(text.substr(plus + 1), count) || count < 1 ||
      count > kCountMax) {
    return fmt::format(
        "--seeds {}: give ID+COUNT with a commit's 7 to 40 hexadecimal digits, or `commit`", text);
  }
  // Far apart and below 2^53, whatever the count.
  range.first = (XXH3_64bits(id.data(), kIdDigits) >> 24) << 12;
  range.last = range.first + count - 1;
  return {};
}

// The variable's value into `value`, which stays when it is not set. Empty, or what is wrong.
std::string from_environment(const char* name, uint64_t& value, bool& is_set) {
  const char* text = std::getenv(name);
  is_set = text != nullptr;
  if (!is_set || parse_number(text, value)) return {};
  return fmt::format("{} is '{}', which is not a number", name, text);
}

// What Slurm says of an array job.
struct SlurmTask {
  uint64_t id = 0;
  uint64_t least = 1;
  uint64_t most = 0;  // 0: it does not say
  uint64_t step = 1;
  uint64_t count = 0;  // 0: it does not say
};

std::string read_slurm(SlurmTask& task, bool& is_set) {
  std::string error = from_environment("SLURM_ARRAY_TASK_ID", task.id, is_set);
  if (!error.empty() || !is_set) return error;
  const std::pair<const char*, uint64_t*> others[] = {{"SLURM_ARRAY_TASK_MIN", &task.least},
                                                      {"SLURM_ARRAY_TASK_MAX", &task.most},
                                                      {"SLURM_ARRAY_TASK_STEP", &task.step},
                                                      {"SLURM_ARRAY_TASK_COUNT", &task.count}};
  for (const auto& [name, value] : others) {
    bool ignored = false;
    error = from_environment(name, *value, ignored);
    if (!error.empty()) return error;
  }
  return {};
}

// A task that is submitted again is an array of its own, so what Slurm says of the array cannot be
// trusted to be of the whole: with N given, the id alone says which part.
std::string shard_of_slurm(const SlurmTask& task, uint64_t& index, uint64_t& count) {
  if (count > 0) {
    index = task.id;
    if (task.step == 1 && index >= 1 && index <= count) return {};
    return fmt::format(
        "SLURM_ARRAY_TASK_ID is {}, in steps of {}; auto/N takes it as the part: submit with "
        "--array=1-{}",
        task.id, task.step, count);
  }
  if (task.count == 0) return "SLURM_ARRAY_TASK_COUNT is not set: give auto/N";
  const bool whole = task.least <= 1 && task.step > 0 && task.id >= task.least &&
                     (task.id - task.least) % task.step == 0 &&
                     (task.most == 0 || task.most == task.least + (task.count - 1) * task.step);
  if (!whole) {
    return fmt::format(
        "an array of {} from {} in steps of {}, {} of it, looks like a part of one submitted "
        "again: "
        "give auto/N, and submit with --array=1-N",
        task.count, task.least, task.step, task.id);
  }
  index = (task.id - task.least) / task.step + 1;
  count = task.count;
  return {};
}

// I and N of an array job. Empty, or what is missing.
std::string shard_of_job(uint64_t& index, uint64_t& count) {
  bool is_set = false;
  SlurmTask task;
  std::string error = read_slurm(task, is_set);
  if (!error.empty()) return error;
  if (is_set) return shard_of_slurm(task, index, count);
  error = from_environment("JOB_COMPLETION_INDEX", index, is_set);
  if (!error.empty()) return error;
  if (!is_set) return "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set";
  ++index;  // Kubernetes counts from 0
  return count == 0 ? "a Kubernetes job does not tell how many there are: give auto/N" : "";
}

}  // namespace

std::string parse_seeds(const std::string& text, SeedRange& range) {
  const std::string_view view = text;
  const size_t plus = view.find('+');
  if (plus != std::string_view::npos) return seeds_of_commit(view, plus, range);
  const size_t dots = view.find("..");
  if (dots == std::string_view::npos || !parse_seed(view.substr(0, dots), range.first) ||
      !parse_seed(view.substr(dots + 2), range.last) || range.first > range.last) {
    return fmt::format(
        "--seeds {}: give A..B with 0 <= A <= B < 2^53, as in 1..1000, or commit+1000", text);
  }
  return {};
}

std::string take_shard(std::string& text, SeedRange& range) {
  const std::string_view view = text;
  const size_t slash = view.find('/');
  const std::string_view which = view.substr(0, slash);
  uint64_t index = 0;
  uint64_t count = 0;
  bool fits = slash == std::string_view::npos ? which == "auto"
                                              : parse_number(view.substr(slash + 1), count);
  if (fits && which == "auto") {
    const std::string error = shard_of_job(index, count);
    if (!error.empty()) return fmt::format("--shard {}: {}", text, error);
  } else {
    fits = fits && parse_number(which, index);
  }
  if (!fits || index < 1 || index > count) {
    return fmt::format("--shard {}: give I/N with I within 1 .. N, as in 3/8, or auto", text);
  }
  const uint64_t total = range.last - range.first + 1;
  if (count > total) {
    return fmt::format("--shard {}: there are only {} seeds to share out", text, total);
  }
  const auto begin_of = [&](uint64_t shard) {
    return range.first +
           static_cast<uint64_t>(static_cast<unsigned __int128>(total) * shard / count);
  };
  range = {begin_of(index - 1), begin_of(index) - 1};
  text = fmt::format("{}/{}", index, count);
  return {};
}

}  // namespace tally::tools
