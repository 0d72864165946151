// SimDisk: what is on the media, and what a crash makes of the rest. The calls are in sim_disk.cpp.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/draw.h"
#include "sim/sim_disk.h"

namespace tally::sim {

void SimDisk::copy_shared(std::string_view bytes, uint64_t from, uint64_t begin, uint64_t end,
                          char* out) {
  const uint64_t shared_begin = std::max(from, begin);
  const uint64_t shared_end = std::min(from + bytes.size(), end);
  if (shared_begin >= shared_end) return;
  std::memcpy(out + (shared_begin - begin), bytes.data() + (shared_begin - from),
              shared_end - shared_begin);
}

void SimDisk::make_durable(File& file, uint64_t covered) {
  size_t count = 0;
  while (count < file.dirty.size() && file.dirty[count].ordinal < covered) {
    const Dirty& dirty = file.dirty[count++];
    const std::string_view data(file.dirty_data.data() + dirty.data, dirty.bytes);
    if (file.media.size() != dirty.size_after) file.media.resize(dirty.size_after);
    copy_shared(data, dirty.offset, 0, file.media.size(), file.media.data());
    if (dirty.bytes > 0) mend(file, dirty.offset, dirty.offset + dirty.bytes);
    if (dirty.is_write) {
      file.newest_offset = dirty.offset;
      host_.disk_synced(file.name, dirty.offset, data);
    }
  }
  drop_dirty(file, count);
}

// Draws what reached the media of the dirty calls with an ordinal below `covered`, and forgets
// them.
void SimDisk::settle(File& file, uint64_t covered) {
  touched_.clear();
  size_t count = 0;
  uint64_t size_most = file.media.size();
  bool resized = false;
  for (; count < file.dirty.size() && file.dirty[count].ordinal < covered; ++count) {
    const Dirty& dirty = file.dirty[count];
    resized = resized || dirty.size_after != file.media.size();
    // Whichever of them survive: no damage reaches what came before them, either.
    file.newest_offset = std::min(file.newest_offset, dirty.offset);
    size_most = std::max(size_most, dirty.size_after);
    if (dirty.bytes == 0) continue;
    const uint64_t last_sector = (dirty.offset + dirty.bytes - 1) / kSectorBytes;
    for (uint64_t sector = dirty.offset / kSectorBytes; sector <= last_sector; ++sector) {
      touched_.emplace_back(sector, static_cast<uint32_t>(count));
    }
  }
  if (count == 0) return;
  const uint64_t ordinal = file.dirty.front().ordinal;
  const auto draw_count = [&](DiskAspect aspect, uint64_t key, size_t most) {
    return scale(host_.disk_draw(file.key, ordinal, static_cast<uint64_t>(aspect), key), most + 1);
  };

  uint64_t size = file.media.size();
  if (resized) {
    const uint64_t survivors = draw_count(DiskAspect::kCrashSize, 0, count);
    if (survivors > 0) size = file.dirty[survivors - 1].size_after;
  }
  file.media.resize(size_most);
  reached_.assign(count, 0);
  std::sort(touched_.begin(), touched_.end());
  for (size_t begin = 0, end = 0; begin < touched_.size(); begin = end) {
    const uint64_t sector = touched_[begin].first;
    while (end < touched_.size() && touched_[end].first == sector) ++end;
    const uint64_t survivors = draw_count(DiskAspect::kCrashSector, sector, end - begin);
    for (size_t i = begin; i < begin + survivors; ++i) {
      apply_sector(file, file.dirty[touched_[i].second], sector);
      if (sector * kSectorBytes < size) ++reached_[touched_[i].second];
    }
  }
  file.media.resize(size);
  count_losses(file, count);
  drop_dirty(file, count);
}

// What reached_ says of the first `count` dirty calls.
void SimDisk::count_losses(const File& file, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const Dirty& dirty = file.dirty[i];
    if (!dirty.is_write || dirty.bytes == 0) continue;
    const uint64_t sectors =
        (dirty.offset + dirty.bytes - 1) / kSectorBytes - dirty.offset / kSectorBytes + 1;
    if (reached_[i] == 0) {
      ++losses_.writes_lost;
    } else if (reached_[i] < sectors) {
      ++losses_.writes_torn;
    }
  }
}

void SimDisk::apply_sector(File& file, const Dirty& dirty, uint64_t sector) {
  const std::string_view data(file.dirty_data.data() + dirty.data, dirty.bytes);
  const uint64_t begin = sector * kSectorBytes;
  const uint64_t end = std::min<uint64_t>(begin + kSectorBytes, file.media.size());
  if (begin >= end) return;
  copy_shared(data, dirty.offset, begin, end, file.media.data() + begin);
  mend(file, begin, end);
}

// ---- Damage ----

// The byte that `place` picks among those that came before the newest write of their file.
SimDisk::Spot SimDisk::spot(uint64_t place, std::string_view prefix) const {
  std::vector<std::pair<std::string_view, uint32_t>> candidates;
  uint64_t total = 0;
  for (const Name& entry : media_names_) {
    if (entry.name.substr(0, prefix.size()) != prefix) continue;
    candidates.emplace_back(entry.name, entry.file);
    total += std::min<uint64_t>(files_[entry.file].newest_offset, files_[entry.file].media.size());
  }
  if (total == 0) return {};
  std::sort(candidates.begin(), candidates.end());
  uint64_t left = place % total;
  for (const auto& [name, slot] : candidates) {
    const File& file = files_[slot];
    const uint64_t bytes = std::min<uint64_t>(file.newest_offset, file.media.size());
    if (left < bytes) return {slot, left};
    left -= bytes;
  }
  return {};
}

std::string SimDisk::rot(uint64_t place, std::string_view prefix) {
  const Spot at = spot(place, prefix);
  if (at.file == kNone) return {};
  char& byte = files_[at.file].media[at.offset];
  byte = static_cast<char>(byte ^ (1 << (place >> 40 & 7)));
  strike(files_[at.file], at.offset + 1);
  return fmt::format("{} byte {} rots", files_[at.file].name, at.offset);
}

std::string SimDisk::misdirect(uint64_t place, std::string_view prefix) {
  const Spot from = spot(place, prefix);
  const Spot to = spot(place >> 20, prefix);
  if (from.file == kNone) return {};
  File& source = files_[from.file];
  File& target = files_[to.file];
  // A part of a sector that the newest write shares stays as it is.
  const auto sector = [](const File& file, uint64_t offset) {
    const uint64_t begin = offset / kSectorBytes * kSectorBytes;
    const uint64_t most = std::min<uint64_t>(file.newest_offset, file.media.size());
    return std::pair(begin, std::min(begin + kSectorBytes, most) - begin);
  };
  const auto source_at = sector(source, from.offset);
  const auto target_at = sector(target, to.offset);
  const std::string stray = source.media.substr(source_at.first, source_at.second);
  const uint64_t bytes = std::min(source_at.second, target_at.second);
  source.media.replace(source_at.first, source_at.second, source_at.second, '\0');
  target.media.replace(target_at.first, bytes, stray, 0, bytes);
  strike(source, source_at.first + source_at.second);
  strike(target, target_at.first + bytes);
  return fmt::format("{} sector at {} was written to {} at {}", source.name, source_at.first,
                     target.name, target_at.first);
}

std::string SimDisk::spoil(uint64_t place, std::string_view prefix) {
  const Spot at = spot(place, prefix);
  if (at.file == kNone) return {};
  File& file = files_[at.file];
  const uint64_t sector = at.offset / kSectorBytes;
  // The newest write must stay readable.
  if ((sector + 1) * kSectorBytes > file.newest_offset) return {};
  const auto where = std::lower_bound(file.spoiled.begin(), file.spoiled.end(), sector);
  if (where == file.spoiled.end() || *where != sector) file.spoiled.insert(where, sector);
  strike(file, (sector + 1) * kSectorBytes);
  return fmt::format("{} sector at {} cannot be read", file.name, sector * kSectorBytes);
}

bool SimDisk::is_spoiled(const File& file, uint64_t begin, uint64_t end) const {
  const auto first =
      std::lower_bound(file.spoiled.begin(), file.spoiled.end(), begin / kSectorBytes);
  return begin < end && first != file.spoiled.end() && *first * kSectorBytes < end;
}

void SimDisk::mend(File& file, uint64_t begin, uint64_t end) {
  if (file.spoiled.empty()) return;
  std::erase_if(file.spoiled, [&](uint64_t sector) {
    return sector >= begin / kSectorBytes && sector * kSectorBytes < end;
  });
}

// Forgets the first `count` dirty calls, which are on the media or lost.
void SimDisk::drop_dirty(File& file, size_t count) {
  if (count == 0) return;
  if (count == file.dirty.size()) {
    file.dirty.clear();
    file.dirty_data.clear();
    used_bytes_ = used_bytes_ - file.size + file.media.size();
    file.size = file.media.size();
    return;
  }
  const uint64_t data_bytes = file.dirty[count].data;
  file.dirty.erase(file.dirty.begin(), file.dirty.begin() + static_cast<std::ptrdiff_t>(count));
  file.dirty_data.erase(0, data_bytes);
  for (Dirty& dirty : file.dirty) dirty.data -= data_bytes;
}

void SimDisk::detach_client() {
  client_ = nullptr;
  frozen_ = false;
  held_.clear();
  free_op_ = kNone;
  for (uint32_t slot = static_cast<uint32_t>(ops_.size()); slot > 0; --slot) {
    ops_[slot - 1].id = 0;
    ops_[slot - 1].next = free_op_;
    free_op_ = slot - 1;
  }
  first_directory_op_ = kNone;
  for (NameChange& change : name_changes_) change.completed = true;
  for (File& file : files_) {
    file.first_op = kNone;
    // The kernel finishes what a dead process had asked for.
    for (Dirty& dirty : file.dirty) dirty.completed = true;
  }
}

void SimDisk::crash() {
  detach_client();
  for (File& file : files_) {
    if (file.used) settle(file, file.ordinal);
  }
  if (!name_changes_.empty()) {
    const uint64_t bits =
        host_.disk_draw(0, names_ordinal_, static_cast<uint64_t>(DiskAspect::kCrashNames), 0);
    const uint64_t survivors = scale(bits, name_changes_.size() + 1);
    for (size_t i = 0; i < survivors; ++i) change_name(name_changes_[i], media_names_);
    losses_.names_lost += name_changes_.size() - survivors;
    names_ordinal_ += name_changes_.size();
    name_changes_.clear();
    names_dropped_ = true;
  }
  names_ = media_names_;
  for (const Name& entry : names_) {
    files_[entry.file].name = entry.name;
    files_[entry.file].key = hash_name(entry.name);
  }
  free_unreferenced_files();
}

void SimDisk::wipe() {
  detach_client();
  names_.clear();
  media_names_.clear();
  names_dropped_ = true;
  names_ordinal_ += name_changes_.size();
  name_changes_.clear();
  free_unreferenced_files();
}

std::optional<std::string_view> SimDisk::media(std::string_view file) const {
  for (const Name& entry : media_names_) {
    if (entry.name == file) return std::string_view(files_[entry.file].media);
  }
  return std::nullopt;
}

uint64_t SimDisk::struck_end(std::string_view file) const {
  for (const Name& entry : media_names_) {
    if (entry.name == file) return files_[entry.file].struck_end;
  }
  return 0;
}

std::vector<std::string> SimDisk::media_list() const {
  std::vector<std::string> result;
  for (const Name& entry : media_names_) result.push_back(entry.name);
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace tally::sim
