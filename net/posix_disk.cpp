#include "net/posix_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/check.h"

namespace tally {
namespace {

// One for the log, one for what goes on beside it.
constexpr size_t kWorkerCount = 2;
// More is written and synced by workers only: it would keep the loop from its heartbeats.
constexpr size_t kSmallBytesMax = size_t{64} << 10;
// Idle descriptors beyond this are closed, the first by name.
constexpr size_t kDescriptorsMax = 16;

DiskStatus status_of(int error) {
  switch (error) {
    case ENOENT: return DiskStatus::kNotFound;
    case EEXIST: return DiskStatus::kExists;
    case ENOSPC:
    case EDQUOT: return DiskStatus::kNoSpace;
    default: return DiskStatus::kIoError;
  }
}

DiskStatus status_of_call(int result) { return result == 0 ? DiskStatus::kOk : status_of(errno); }

// Only begins, and waits for nothing. What goes wrong with pages under way is said by their sync;
// what goes wrong here is said only here: the system may have dropped them.
DiskStatus begin_writeback(int fd, uint64_t offset, size_t length) {
  const int result = sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(length),
                                     SYNC_FILE_RANGE_WRITE);
  // Where it is not allowed, as in some containers, the sync does it all.
  if (result != 0 && (errno == ENOSYS || errno == EPERM)) return DiskStatus::kOk;
  return status_of_call(result);
}

DiskStatus read_at(int fd, uint64_t offset, size_t length, std::string& out) {
  out.resize(length);
  size_t have = 0;
  while (have < length) {
    const ssize_t bytes =
        pread(fd, out.data() + have, length - have, static_cast<off_t>(offset + have));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) {
      out.clear();
      return status_of(errno);
    }
    if (bytes == 0) break;
    have += static_cast<size_t>(bytes);
  }
  out.resize(have);
  return DiskStatus::kOk;
}

// The name of a directory just created is durable when this returns true.
bool sync_parent(int directory_fd) {
  const int parent = openat(directory_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = parent >= 0 && fsync(parent) == 0;
  if (parent >= 0) close(parent);
  return synced;
}

}  // namespace

std::unique_ptr<PosixDisk> PosixDisk::open(Loop& loop, const std::string& directory,
                                           std::string& error) {
  const bool created = mkdir(directory.c_str(), 0700) == 0;
  if (!created && errno != EEXIST) {
    error = errno_text(fmt::format("cannot create the data directory {}", directory));
    return nullptr;
  }
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || faccessat(fd, ".", R_OK | W_OK | X_OK, AT_EACCESS) != 0) {
    error = errno_text(fmt::format("cannot use the data directory {}", directory));
    if (fd >= 0) close(fd);
    return nullptr;
  }
  if (created && !sync_parent(fd)) {
    error = errno_text(fmt::format("cannot sync the parent of the data directory {}", directory));
    close(fd);
    return nullptr;
  }
  return std::unique_ptr<PosixDisk>(new PosixDisk(loop, directory, fd));
}

PosixDisk::PosixDisk(Loop& loop, std::string directory, int directory_fd)
    : loop_(loop),
      directory_(std::move(directory)),
      directory_fd_(directory_fd),
      event_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(event_fd_ >= 0, "{}", errno_text("eventfd"));
  loop_.watch(event_fd_, EPOLLIN, *this);
  for (size_t i = 0; i < kWorkerCount; ++i) workers_.emplace_back([this] { work(); });
}

void PosixDisk::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

PosixDisk::~PosixDisk() {
  stop();
  loop_.forget(event_fd_, *this);
  for (const auto& [file, fd] : descriptors_) close(fd);
  close(event_fd_);
  if (lock_fd_ >= 0) close(lock_fd_);
  close(directory_fd_);
}

// ---- Blocking ----

std::vector<std::string> PosixDisk::list() {
  std::vector<std::string> names;
  const int fd = openat(directory_fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* directory = fd < 0 ? nullptr : fdopendir(fd);
  CHECK(directory != nullptr, "{}", errno_text(directory_));
  while (const dirent* entry = readdir(directory)) {
    const std::string_view name = entry->d_name;
    struct stat status {};
    if (name == kLockFile || fstatat(directory_fd_, entry->d_name, &status, 0) != 0) continue;
    if (S_ISREG(status.st_mode)) names.emplace_back(name);
  }
  closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<uint64_t> PosixDisk::size(std::string_view file) {
  struct stat status {};
  if (fstatat(directory_fd_, std::string(file).c_str(), &status, 0) != 0) return std::nullopt;
  return static_cast<uint64_t>(status.st_size);
}

DiskStatus PosixDisk::read(std::string_view file, uint64_t offset, size_t length,
                           std::string& out) {
  out.clear();
  const int fd = openat(directory_fd_, std::string(file).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return status_of(errno);
  const DiskStatus status = read_at(fd, offset, length, out);
  close(fd);
  return status;
}

bool PosixDisk::lock() {
  if (lock_fd_ >= 0) return true;
  const std::string name(kLockFile);
  const int fd = openat(directory_fd_, name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool usable = flock(fd, LOCK_EX | LOCK_NB) == 0;
  locked_elsewhere_ = !usable && errno == EWOULDBLOCK;
  // What a killed process left in the page cache is read by recovery, so it must be on the media.
  for (const std::string& file : usable ? list() : std::vector<std::string>()) {
    const int each = openat(directory_fd_, file.c_str(), O_RDWR | O_CLOEXEC);
    usable = usable && each >= 0 && fsync(each) == 0;
    if (each >= 0) close(each);
  }
  usable = usable && fsync(directory_fd_) == 0;
  if (usable) {
    lock_fd_ = fd;
  } else {
    close(fd);
  }
  return usable;
}

uint64_t PosixDisk::free_bytes() {
  struct statvfs status {};
  if (fstatvfs(directory_fd_, &status) != 0) return 0;
  return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

// ---- Asynchronous: the loop's side ----

void PosixDisk::start_read(std::string_view file, uint64_t offset, size_t length, std::string* out,
                           DiskToken token) {
  begin({.kind = Kind::kRead,
         .token = token,
         .file = std::string(file),
         .to = {},
         .offset = offset,
         .length = length,
         .data = nullptr,
         .out = out});
}

void PosixDisk::create(std::string_view file, DiskToken token) {
  begin({.kind = Kind::kCreate, .token = token, .file = std::string(file), .to = {}});
}

void PosixDisk::write(std::string_view file, uint64_t offset, std::span<const std::byte> data,
                      DiskToken token) {
  if (synced_file_ == file) unsynced_bytes_ += data.size();
  if (data.size() <= kSmallBytesMax) {
    std::unique_lock lock(mutex_);
    const bool idle = std::none_of(calls_.begin(), calls_.end(), [&](const Call& call) {
      return !call.done && (call.file == file || call.to == file);
    });
    const auto known = descriptors_.find(file);
    if (idle && known != descriptors_.end()) {
      // Under the lock, so that no worker closes the descriptor meanwhile.
      done_.push_back({token, write_at(known->second, offset, data.data(), data.size())});
      lock.unlock();
      ++unfinished_count_;
      has_news_ = true;
      return;
    }
  }
  begin({.kind = Kind::kWrite,
         .token = token,
         .file = std::string(file),
         .to = {},
         .offset = offset,
         .length = data.size(),
         .data = data.data()});
}

void PosixDisk::truncate(std::string_view file, uint64_t size, DiskToken token) {
  begin({.kind = Kind::kTruncate,
         .token = token,
         .file = std::string(file),
         .to = {},
         .offset = size});
}

void PosixDisk::sync(std::string_view file, DiskToken token) {
  ++sync_count_;
  const bool small = synced_file_ == file && unsynced_bytes_ <= kSmallBytesMax;
  synced_file_ = file;
  unsynced_bytes_ = 0;
  Call call{.kind = Kind::kSync, .token = token, .file = std::string(file), .to = {}};
  if (!holds_syncs_ || !small || unfinished_count_ > 0) return begin(std::move(call));
  call.running = true;
  ++unfinished_count_;
  const std::lock_guard lock(mutex_);
  held_ = &calls_.emplace_back(std::move(call));
}

void PosixDisk::release_sync() {
  {
    const std::lock_guard lock(mutex_);
    std::exchange(held_, nullptr)->running = false;
  }
  work_.notify_one();
}

bool PosixDisk::sync_here(Baton& baton) {
  Call& call = *std::exchange(held_, nullptr);
  DiskStatus status = DiskStatus::kOk;
  const bool kept = baton.go([&] { status = run(call); });
  finish(call, status, /*tell=*/!kept);
  if (kept) has_news_ = true;
  return kept;
}

void PosixDisk::rename(std::string_view from, std::string_view to, DiskToken token) {
  begin({.kind = Kind::kRename, .token = token, .file = std::string(from), .to = std::string(to)});
}

void PosixDisk::remove(std::string_view file, DiskToken token) {
  begin({.kind = Kind::kRemove, .token = token, .file = std::string(file), .to = {}});
}

void PosixDisk::sync_directory(DiskToken token) {
  ++sync_count_;
  begin({.kind = Kind::kSyncDirectory, .token = token, .file = {}, .to = {}});
}

void PosixDisk::begin(Call&& call) {
  ++unfinished_count_;
  {
    const std::lock_guard lock(mutex_);
    calls_.push_back(std::move(call));
  }
  work_.notify_one();
}

void PosixDisk::on_ready(uint32_t /*events*/) {
  uint64_t count = 0;
  CHECK(::read(event_fd_, &count, sizeof(count)) == sizeof(count) || errno == EAGAIN, "{}",
        errno_text("read"));
  deliver();
}

bool PosixDisk::deliver() {
  bool any = false;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      delivering_.swap(done_);
      told_ = false;
    }
    has_news_ = false;
    if (delivering_.empty()) return any;
    any = true;
    unfinished_count_ -= delivering_.size();
    for (const Done& done : delivering_) {
      if (client_ != nullptr) client_->on_disk_done(done.token, done.status);
    }
    delivering_.clear();
  }
}

// ---- The workers' side ----

void PosixDisk::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    Call* call = nullptr;
    work_.wait(lock, [&] { return stopping_ || (call = next_call()) != nullptr; });
    if (stopping_) return;
    call->running = true;
    lock.unlock();
    const DiskStatus status = run(*call);
    finish(*call, status, /*tell=*/true);
    lock.lock();
  }
}

// What waits behind it may begin only when its completion is in done_, or it could overtake.
void PosixDisk::finish(Call& call, DiskStatus status, bool tell) {
  bool more = false;
  {
    const std::lock_guard lock(mutex_);
    done_.push_back({call.token, status});
    call.done = true;
    while (!calls_.empty() && calls_.front().done) calls_.pop_front();
    more = !calls_.empty();
    tell = tell && !told_;
    told_ = told_ || tell;
  }
  const uint64_t one = 1;
  if (tell) CHECK(::write(event_fd_, &one, sizeof(one)) == sizeof(one), "{}", errno_text("write"));
  if (more) work_.notify_one();
}

// The first that no unfinished call before it holds up. REQUIRES: mutex_ is held.
PosixDisk::Call* PosixDisk::next_call() {
  const auto changes_names = [](const Call& call) {
    return call.kind == Kind::kCreate || call.kind == Kind::kRename || call.kind == Kind::kRemove ||
           call.kind == Kind::kSyncDirectory;
  };
  const auto share_file = [](const Call& a, const Call& b) {
    return (!a.file.empty() && (a.file == b.file || a.file == b.to)) ||
           (!a.to.empty() && (a.to == b.file || a.to == b.to));
  };
  for (size_t i = 0; i < calls_.size(); ++i) {
    Call& call = calls_[i];
    if (call.running || call.done) continue;
    bool held_up = false;
    for (size_t before = 0; before < i && !held_up; ++before) {
      const Call& other = calls_[before];
      held_up =
          !other.done && (share_file(call, other) || (changes_names(call) && changes_names(other)));
    }
    if (!held_up) return &call;
  }
  return nullptr;
}

DiskStatus PosixDisk::run(const Call& call) {
  switch (call.kind) {
    case Kind::kCreate: {
      const int fd =
          openat(directory_fd_, call.file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
      if (fd < 0) return status_of(errno);
      const std::lock_guard lock(mutex_);
      descriptors_[call.file] = fd;
      return DiskStatus::kOk;
    }
    case Kind::kRename: {
      const int result = renameat(directory_fd_, call.file.c_str(), directory_fd_, call.to.c_str());
      if (result != 0) return status_of(errno);
      forget_descriptor(call.to);
      const std::lock_guard lock(mutex_);
      const auto moved = descriptors_.extract(call.file);
      if (!moved.empty()) descriptors_[call.to] = moved.mapped();
      return DiskStatus::kOk;
    }
    case Kind::kRemove:
      forget_descriptor(call.file);
      return status_of_call(unlinkat(directory_fd_, call.file.c_str(), 0));
    case Kind::kSyncDirectory: return status_of_call(fsync(directory_fd_));
    case Kind::kRead:
    case Kind::kWrite:
    case Kind::kTruncate:
    case Kind::kSync: break;
  }
  const int fd = descriptor(call.file);
  if (fd < 0) return status_of(errno);
  switch (call.kind) {
    case Kind::kRead: return read_at(fd, call.offset, call.length, *call.out);
    case Kind::kWrite: {
      const DiskStatus status = write_at(fd, call.offset, call.data, call.length);
      return status == DiskStatus::kOk ? begin_writeback(fd, call.offset, call.length) : status;
    }
    case Kind::kTruncate: return status_of_call(ftruncate(fd, static_cast<off_t>(call.offset)));
    default: return status_of_call(fdatasync(fd));
  }
}

DiskStatus PosixDisk::write_at(int fd, uint64_t offset, const std::byte* data, size_t length) {
  size_t written = 0;
  while (written < length) {
    const ssize_t bytes =
        pwrite(fd, data + written, length - written, static_cast<off_t>(offset + written));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return status_of(errno);
    written += static_cast<size_t>(bytes);
  }
  return DiskStatus::kOk;
}

int PosixDisk::descriptor(const std::string& file) {
  {
    const std::lock_guard lock(mutex_);
    const auto known = descriptors_.find(file);
    if (known != descriptors_.end()) return known->second;
  }
  const int fd = openat(directory_fd_, file.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return fd;
  const std::lock_guard lock(mutex_);
  descriptors_[file] = fd;
  const auto idle = [&](const std::string& name) {
    return std::none_of(calls_.begin(), calls_.end(), [&](const Call& call) {
      return !call.done && (call.file == name || call.to == name);
    });
  };
  for (auto each = descriptors_.begin();
       each != descriptors_.end() && descriptors_.size() > kDescriptorsMax;) {
    if (idle(each->first)) {
      close(each->second);
      each = descriptors_.erase(each);
    } else {
      ++each;
    }
  }
  return fd;
}

void PosixDisk::forget_descriptor(const std::string& file) {
  const std::lock_guard lock(mutex_);
  const auto known = descriptors_.find(file);
  if (known == descriptors_.end()) return;
  close(known->second);
  descriptors_.erase(known);
}

}  // namespace tally
