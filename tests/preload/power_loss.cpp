// A preloaded layer that can forget: what a process wrote and never synced is noted, with what was
// there before, so that tests/power_loss.py can take it back after a kill -9. That is a power loss:
// a killed process alone loses nothing that it wrote.
//
// TALLY_POWER_LOSS_LOG   file to note things in; each process its own
// TALLY_POWER_LOSS_LIES  when set, syncs do nothing and say that all is well, as in a program that
//                        does not sync
//
// While there is a file of the log's name and ".hang", syncs do not end: the disk hangs.
//
// One note a line, the bytes that were there behind it. A killed process loses nothing, so that the
// next one goes on with the same file; numbers of notes count from its own first one:
//   P                            a process begins
//   W inode offset length size   a write; `length` bytes were there, the file had `size`
//   T inode offset length size   a truncation, likewise
//   S inode notes                a sync of the file ended; it covers the first so many notes
//   C name                       a file was created
//   R from to kept               a rename; what `to` was before is linked as `kept`, "-" if nothing
//   U name kept                  a removal, likewise
//   D notes                      a sync of the directory ended
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

namespace {

std::mutex mutex;
int log_fd = -1;
unsigned long note_count = 0;
unsigned long kept_count = 0;

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

void note(const std::string& line, const std::string& bytes);

bool is_on() {
  if (log_fd >= 0) return true;
  const char* path = std::getenv("TALLY_POWER_LOSS_LOG");
  if (path == nullptr) return false;
  log_fd = static_cast<int>(
      syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (log_fd >= 0) note("P", {});
  return log_fd >= 0;
}

bool lies() { return std::getenv("TALLY_POWER_LOSS_LIES") != nullptr; }

// REQUIRES: mutex is held.
void note(const std::string& line, const std::string& bytes) {
  const std::string all = line + "\n" + bytes;
  if (syscall(SYS_write, log_fd, all.data(), all.size()) != static_cast<long>(all.size())) {
    std::abort();
  }
  ++note_count;
}

// What [offset, offset + length) of the file holds now.
void note_content(char kind, int fd, unsigned long offset, unsigned long length) {
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return;
  std::string before(length, '\0');
  const ssize_t have = pread(fd, before.data(), length, static_cast<off_t>(offset));
  before.resize(have > 0 ? static_cast<size_t>(have) : 0);
  char line[128];
  std::snprintf(line, sizeof(line), "%c %lu %lu %lu %lu", kind, status.st_ino, offset,
                before.size(), static_cast<unsigned long>(status.st_size));
  note(line, before);
}

// Keeps what `name` is under another name. "-" when there is nothing.
std::string keep(int directory, const char* name) {
  const std::string kept = ".kept-" + std::to_string(getpid()) + "-" + std::to_string(++kept_count);
  return linkat(directory, name, directory, kept.c_str(), 0) == 0 ? kept : "-";
}

std::string base_name(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

int open_noted(int directory, const char* path, int flags, unsigned mode) {
  const std::lock_guard lock(mutex);
  const bool on = is_on();
  struct stat status {};
  const bool was_there = on && fstatat(directory, path, &status, 0) == 0;
  if (was_there && (flags & O_TRUNC) != 0) {
    const int before = static_cast<int>(syscall(SYS_openat, directory, path, O_RDONLY, 0));
    note_content('T', before, 0, static_cast<unsigned long>(status.st_size));
    close(before);
  }
  const int fd = static_cast<int>(syscall(SYS_openat, directory, path, flags, mode));
  if (on && fd >= 0 && !was_there && (flags & O_CREAT) != 0) note("C " + base_name(path), {});
  return fd;
}

void wait_while_the_disk_hangs() {
  const char* path = std::getenv("TALLY_POWER_LOSS_LOG");
  if (path == nullptr) return;
  const std::string sign = std::string(path) + ".hang";
  while (access(sign.c_str(), F_OK) == 0) usleep(5000);
}

int synced(int fd, const char* function) {
  if (lies()) return 0;
  wait_while_the_disk_hangs();
  unsigned long covered = 0;
  {
    const std::lock_guard lock(mutex);
    covered = note_count;
  }
  const int result = next<int(int)>(function)(fd);
  const std::lock_guard lock(mutex);
  struct stat status {};
  if (result != 0 || !is_on() || fstat(fd, &status) != 0) return result;
  if (S_ISDIR(status.st_mode)) {
    note("D " + std::to_string(covered), {});
  } else {
    note("S " + std::to_string(status.st_ino) + " " + std::to_string(covered), {});
  }
  return result;
}

unsigned mode_of(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_noted(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_noted(directory, path, flags, mode);
}

ssize_t pwrite(int fd, const void* data, size_t length, off_t offset) {
  const std::lock_guard lock(mutex);
  if (is_on()) note_content('W', fd, static_cast<unsigned long>(offset), length);
  return syscall(SYS_pwrite64, fd, data, length, offset);
}

ssize_t write(int fd, const void* data, size_t length) {
  const std::lock_guard lock(mutex);
  const off_t at = is_on() ? lseek(fd, 0, SEEK_CUR) : -1;
  if (at >= 0) note_content('W', fd, static_cast<unsigned long>(at), length);
  return syscall(SYS_write, fd, data, length);
}

int ftruncate(int fd, off_t size) {
  const std::lock_guard lock(mutex);
  struct stat status {};
  if (is_on() && fstat(fd, &status) == 0 && status.st_size > size) {
    note_content('T', fd, static_cast<unsigned long>(size),
                 static_cast<unsigned long>(status.st_size - size));
  }
  return static_cast<int>(syscall(SYS_ftruncate, fd, size));
}

int fdatasync(int fd) { return synced(fd, "fdatasync"); }
int fsync(int fd) { return synced(fd, "fsync"); }

int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  const std::lock_guard lock(mutex);
  const std::string kept = is_on() ? keep(to_directory, to) : "-";
  const long result = syscall(SYS_renameat, from_directory, from, to_directory, to);
  if (result == 0 && is_on()) note("R " + base_name(from) + " " + base_name(to) + " " + kept, {});
  return static_cast<int>(result);
}

// REQUIRES: both names are in one directory.
int rename(const char* from, const char* to) {
  const std::string path = from;
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash);
  const int fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, directory.c_str(), O_DIRECTORY, 0));
  if (fd < 0) return -1;
  const int result = renameat(fd, base_name(from).c_str(), fd, base_name(to).c_str());
  close(fd);
  return result;
}

int unlinkat(int directory, const char* path, int flags) {
  const std::lock_guard lock(mutex);
  const std::string kept = is_on() ? keep(directory, path) : "-";
  const long result = syscall(SYS_unlinkat, directory, path, flags);
  if (result == 0 && is_on()) note("U " + base_name(path) + " " + kept, {});
  return static_cast<int>(result);
}

}  // extern "C"
