#include "sim/sim_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/draw.h"

namespace tally::sim {
namespace {

// An op's id: its number, and its slot in the low bits.
constexpr uint64_t kSlotBits = 16;
constexpr uint64_t kSlotMask = (uint64_t{1} << kSlotBits) - 1;

bool is_sync(DiskCall call) { return call == DiskCall::kSync || call == DiskCall::kSyncDirectory; }

}  // namespace

SimDisk::SimDisk(SimDiskHost& host) : host_(host) {}

void SimDisk::set_client(DiskClient* client) { client_ = client; }

// ---- Files and names ----

// FNV-1a: short names, and no dependency in the key of a draw.
uint64_t SimDisk::hash_name(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char byte : name) {
    hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3ULL;
  }
  return hash;
}

uint32_t SimDisk::find(std::string_view name) const {
  if (found_ < names_.size() && names_[found_].name == name) return names_[found_].file;
  for (uint32_t i = 0; i < names_.size(); ++i) {
    if (names_[i].name == name) {
      found_ = i;
      return names_[i].file;
    }
  }
  return kNone;
}

uint32_t SimDisk::take_file(std::string_view name) {
  uint32_t slot = 0;
  while (slot < files_.size() && files_[slot].used) ++slot;
  if (slot == files_.size()) files_.emplace_back();
  File& file = files_[slot];
  file.used = true;
  file.size = 0;
  file.name = name;
  file.key = hash_name(name);
  return slot;
}

// A file lives as long as a name, durable or not, or a call in flight refers to it.
void SimDisk::free_unreferenced_files() {
  if (!names_dropped_) return;
  names_dropped_ = false;
  for (uint32_t slot = 0; slot < files_.size(); ++slot) {
    File& file = files_[slot];
    if (!file.used) continue;
    const auto refers = [slot](const auto& entry) { return entry.file == slot; };
    if (std::any_of(names_.begin(), names_.end(), refers)) continue;
    if (std::any_of(media_names_.begin(), media_names_.end(), refers)) continue;
    if (file.first_op != kNone || std::any_of(name_changes_.begin(), name_changes_.end(), refers)) {
      names_dropped_ = true;  // next time
      continue;
    }
    used_bytes_ -= file.size;
    file.used = false;
    file.media.clear();
    file.newest_offset = 0;
    file.struck_end = 0;
    file.spoiled.clear();
    file.dirty.clear();
    file.dirty_data.clear();
  }
}

void SimDisk::change_name(const NameChange& change, std::vector<Name>& names) {
  const auto position = [&names](const std::string& name) {
    return std::find_if(names.begin(), names.end(),
                        [&name](const Name& entry) { return entry.name == name; });
  };
  if (change.call == DiskCall::kCreate) {
    names.push_back({change.name, change.file});
    return;
  }
  if (change.call == DiskCall::kRename) {
    const auto replaced = position(change.target);
    if (replaced != names.end() && replaced->file != change.file) {
      names.erase(replaced);
      names_dropped_ = true;
    }
    position(change.name)->name = change.target;
    return;
  }
  names.erase(position(change.name));
  names_dropped_ = true;
}

void SimDisk::add_name_change(DiskCall call, std::string_view name, std::string_view target,
                              uint32_t file) {
  NameChange change;
  change.call = call;
  change.name = name;
  change.target = target;
  change.file = file;
  change_name(change, names_);
  name_changes_.push_back(std::move(change));
}

// How many of name_changes_, from the first on, have completed.
size_t SimDisk::completed_names() const {
  size_t count = 0;
  while (count < name_changes_.size() && name_changes_[count].completed) ++count;
  return count;
}

void SimDisk::make_names_durable(uint64_t covered) {
  if (covered <= names_ordinal_) return;
  const size_t count = static_cast<size_t>(covered - names_ordinal_);
  for (size_t i = 0; i < count; ++i) change_name(name_changes_[i], media_names_);
  name_changes_.erase(name_changes_.begin(),
                      name_changes_.begin() + static_cast<std::ptrdiff_t>(count));
  names_ordinal_ = covered;
  free_unreferenced_files();
}

// ---- The node's side: blocking ----

std::vector<std::string> SimDisk::list() {
  std::vector<std::string> result;
  for (const Name& entry : names_) result.push_back(entry.name);
  std::sort(result.begin(), result.end());
  return result;
}

std::optional<uint64_t> SimDisk::size(std::string_view file) {
  const uint32_t slot = find(file);
  if (slot == kNone) return std::nullopt;
  return files_[slot].size;
}

DiskStatus SimDisk::read(std::string_view name, uint64_t offset, size_t length, std::string& out) {
  return read_file(find(name), offset, length, out);
}

DiskStatus SimDisk::read_file(uint32_t slot, uint64_t offset, size_t length,
                              std::string& out) const {
  out.clear();
  if (slot == kNone) return DiskStatus::kNotFound;
  const File& file = files_[slot];
  if (offset >= file.size) return DiskStatus::kOk;
  const uint64_t end = offset + std::min<uint64_t>(length, file.size - offset);
  if (is_spoiled(file, offset, end)) return DiskStatus::kIoError;
  out.resize(end - offset);
  copy_shared(file.media, 0, offset, end, out.data());
  for (const Dirty& dirty : file.dirty) {
    const std::string_view data(file.dirty_data.data() + dirty.data, dirty.bytes);
    copy_shared(data, dirty.offset, offset, end, out.data());
  }
  return DiskStatus::kOk;
}

bool SimDisk::lock() {
  if (frozen_) return true;
  for (File& file : files_) {
    if (file.used) make_durable(file, file.ordinal);
  }
  make_names_durable(names_ordinal_ + name_changes_.size());
  return true;
}

uint64_t SimDisk::free_bytes() {
  return used_bytes_ >= capacity_bytes_ ? 0 : capacity_bytes_ - used_bytes_;
}

// ---- The node's side: asynchronous ----

// What every call does first. False when the world stopped here. `name` is empty for the directory,
// `slot` kNone for it and for a file that is not there.
bool SimDisk::begin(DiskCall call, std::string_view name, uint32_t slot, DiskStatus& status) {
  if (frozen_) return false;
  host_.disk_point(is_sync(call) ? DiskPoint::kBeforeSync : DiskPoint::kBeforeWrite, name);
  if (frozen_) return false;
  const uint64_t key = slot == kNone ? 0 : files_[slot].key;
  const uint64_t ordinal = slot == kNone ? directory_ordinal_++ : files_[slot].ordinal++;
  if (faults_asked_ && status == DiskStatus::kOk) status = host_.disk_fault(call, key, ordinal);
  if (is_sync(call) && sync_fails_ && status == DiskStatus::kOk) {
    sync_fails_ = false;
    status = DiskStatus::kIoError;
  }
  return true;
}

void SimDisk::start_read(std::string_view name, uint64_t offset, size_t length, std::string* out,
                         DiskToken token) {
  if (frozen_) return;
  const uint32_t slot = find(name);
  const DiskStatus status = slot == kNone ? DiskStatus::kNotFound : DiskStatus::kOk;
  if (slot == kNone) {
    ++directory_ordinal_;
  } else {
    ++files_[slot].ordinal;
  }
  Op& op = ops_[enqueue(DiskCall::kRead, slot, token, status, 0)];
  op.out = out;
  op.offset = offset;
  op.length = length;
}

void SimDisk::create(std::string_view name, DiskToken token) {
  DiskStatus status = find(name) == kNone ? DiskStatus::kOk : DiskStatus::kExists;
  if (!begin(DiskCall::kCreate, name, kNone, status)) return;
  if (status == DiskStatus::kOk) {
    add_name_change(DiskCall::kCreate, name, {}, take_file(name));
  }
  enqueue(DiskCall::kCreate, kNone, token, status, 0);
}

void SimDisk::rename(std::string_view from, std::string_view to, DiskToken token) {
  const uint32_t slot = find(from);
  DiskStatus status = slot == kNone ? DiskStatus::kNotFound : DiskStatus::kOk;
  if (!begin(DiskCall::kRename, from, kNone, status)) return;
  if (status == DiskStatus::kOk) {
    add_name_change(DiskCall::kRename, from, to, slot);
    files_[slot].name = to;
    files_[slot].key = hash_name(to);
  }
  enqueue(DiskCall::kRename, kNone, token, status, 0);
}

void SimDisk::remove(std::string_view name, DiskToken token) {
  const uint32_t slot = find(name);
  DiskStatus status = slot == kNone ? DiskStatus::kNotFound : DiskStatus::kOk;
  if (!begin(DiskCall::kRemove, name, kNone, status)) return;
  if (status == DiskStatus::kOk) add_name_change(DiskCall::kRemove, name, {}, slot);
  enqueue(DiskCall::kRemove, kNone, token, status, 0);
}

void SimDisk::sync_directory(DiskToken token) {
  DiskStatus status = DiskStatus::kOk;
  if (!begin(DiskCall::kSyncDirectory, {}, kNone, status)) return;
  enqueue(DiskCall::kSyncDirectory, kNone, token, status, names_ordinal_ + completed_names());
}

void SimDisk::write(std::string_view name, uint64_t offset, std::span<const std::byte> data,
                    DiskToken token) {
  const uint32_t slot = find(name);
  DiskStatus status = slot == kNone ? DiskStatus::kNotFound : DiskStatus::kOk;
  const uint64_t end = offset + data.size();
  uint64_t bytes = data.size();
  if (slot != kNone && end > files_[slot].size && end - files_[slot].size > free_bytes()) {
    status = DiskStatus::kNoSpace;
    const uint64_t room_end = files_[slot].size + free_bytes();
    bytes = room_end > offset ? room_end - offset : 0;
  }
  const bool full = status == DiskStatus::kNoSpace;
  if (!begin(DiskCall::kWrite, name, slot, status)) return;
  if (status == DiskStatus::kOk || (full && bytes > 0)) {
    File& file = files_[slot];
    file.dirty_data.append(reinterpret_cast<const char*>(data.data()), bytes);
    add_dirty(file, offset, bytes, std::max(file.size, offset + bytes), true);
  }
  enqueue(DiskCall::kWrite, slot, token, status, 0);
}

void SimDisk::truncate(std::string_view name, uint64_t size, DiskToken token) {
  const uint32_t slot = find(name);
  DiskStatus status = slot == kNone ? DiskStatus::kNotFound : DiskStatus::kOk;
  if (slot != kNone && size > files_[slot].size && size - files_[slot].size > free_bytes()) {
    status = DiskStatus::kNoSpace;
  }
  if (!begin(DiskCall::kTruncate, name, slot, status)) return;
  if (status == DiskStatus::kOk) {
    // What is cut counts as overwritten with zeros, so that a later extension reads as zeros.
    File& file = files_[slot];
    const uint64_t cut_bytes = file.size > size ? file.size - size : 0;
    file.dirty_data.append(cut_bytes, '\0');
    add_dirty(file, size, cut_bytes, size, false);
  }
  enqueue(DiskCall::kTruncate, slot, token, status, 0);
}

void SimDisk::sync(std::string_view name, DiskToken token) {
  const uint32_t slot = find(name);
  DiskStatus status = slot == kNone ? DiskStatus::kNotFound : DiskStatus::kOk;
  if (!begin(DiskCall::kSync, name, slot, status)) return;
  uint64_t covered = 0;
  if (slot != kNone) {
    covered = files_[slot].ordinal;
    for (const Dirty& dirty : files_[slot].dirty) {
      if (dirty.completed) continue;
      covered = dirty.ordinal;
      break;
    }
  }
  enqueue(DiskCall::kSync, slot, token, status, covered);
}

// Called after begin(), so the call's ordinal is the last one given out. Its bytes are at the end
// of dirty_data.
void SimDisk::add_dirty(File& file, uint64_t offset, uint64_t bytes, uint64_t size_after,
                        bool is_write) {
  Dirty dirty;
  dirty.ordinal = file.ordinal - 1;
  dirty.offset = offset;
  dirty.bytes = bytes;
  dirty.data = file.dirty_data.size() - bytes;
  dirty.size_after = size_after;
  dirty.is_write = is_write;
  file.dirty.push_back(dirty);
  used_bytes_ = used_bytes_ - file.size + size_after;
  file.size = size_after;
}

// ---- Completion ----

uint32_t SimDisk::enqueue(DiskCall call, uint32_t file, DiskToken token, DiskStatus status,
                          uint64_t covered) {
  uint32_t slot = free_op_;
  if (slot == kNone) {
    slot = static_cast<uint32_t>(ops_.size());
    CHECK(slot < kSlotMask, "{} disk calls in flight", slot);
    ops_.emplace_back();
  } else {
    free_op_ = ops_[slot].next;
  }
  Op& op = ops_[slot];
  op.id = ++op_count_ << kSlotBits | slot;
  op.call = call;
  op.status = status;
  op.file = file;
  op.next = kNone;
  op.token = token;
  op.ordinal = (file == kNone ? directory_ordinal_ : files_[file].ordinal) - 1;
  op.covered = covered;

  uint32_t& first = file == kNone ? first_directory_op_ : files_[file].first_op;
  uint32_t& last = file == kNone ? last_directory_op_ : files_[file].last_op;
  if (first == kNone) {
    first = slot;
    last = slot;
    schedule(slot);
  } else {
    ops_[last].next = slot;
    last = slot;
  }
  return slot;
}

// The call begins to be served: nothing before it in its queue is left.
void SimDisk::schedule(uint32_t slot) {
  const Op& op = ops_[slot];
  const bool sync = is_sync(op.call);
  const Duration least = sync ? latency_.sync_min : latency_.write_min;
  const Duration most = sync ? latency_.sync_max : latency_.write_max;
  int64_t delay_ns = least.count();
  if (most > least) {
    const uint64_t key = op.file == kNone ? 0 : files_[op.file].key;
    const uint64_t bits =
        host_.disk_draw(key, op.ordinal, static_cast<uint64_t>(DiskAspect::kLatency), 0);
    delay_ns +=
        static_cast<int64_t>(scale(bits, static_cast<uint64_t>((most - least).count()) + 1));
  }
  host_.disk_schedule(op.id, Duration(delay_ns * slowdown_));
}

void SimDisk::set_stalled(bool stalled) {
  stalled_ = stalled;
  if (stalled) return;
  for (const uint64_t op_id : std::exchange(held_, {})) host_.disk_schedule(op_id, Duration(0));
}

void SimDisk::complete(uint64_t op_id) {
  const uint32_t slot = static_cast<uint32_t>(op_id & kSlotMask);
  if (frozen_ || slot >= ops_.size() || ops_[slot].id != op_id) return;
  if (stalled_) {
    held_.push_back(op_id);
    return;
  }
  const Op op = ops_[slot];
  ops_[slot].id = 0;
  ops_[slot].next = free_op_;
  free_op_ = slot;
  uint32_t& first = op.file == kNone ? first_directory_op_ : files_[op.file].first_op;
  first = op.next;
  if (first != kNone) schedule(first);

  if (op.call == DiskCall::kRead) {
    DiskStatus status = op.status;
    if (status == DiskStatus::kOk) status = read_file(op.file, op.offset, op.length, *op.out);
    if (client_ != nullptr) client_->on_disk_done(op.token, status);
    return;
  }
  if (op.file != kNone) {
    File& file = files_[op.file];
    if (op.call == DiskCall::kSync) {
      op.status == DiskStatus::kOk ? make_durable(file, op.covered) : settle(file, op.covered);
    } else {
      for (Dirty& dirty : file.dirty) {
        if (dirty.ordinal == op.ordinal) dirty.completed = true;
      }
    }
  } else if (op.status == DiskStatus::kOk) {
    if (op.call == DiskCall::kSyncDirectory) {
      make_names_durable(op.covered);
    } else {
      name_changes_[completed_names()].completed = true;  // in order, so it is the next one
    }
  }

  const std::string_view name = op.file == kNone ? std::string_view{} : files_[op.file].name;
  host_.disk_point(is_sync(op.call) ? DiskPoint::kAfterSync : DiskPoint::kAfterWrite, name);
  if (frozen_ || client_ == nullptr) return;
  client_->on_disk_done(op.token, op.status);
}

}  // namespace tally::sim
