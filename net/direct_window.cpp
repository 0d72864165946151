#include "net/direct_window.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tally {

int write_all(int fd, uint64_t offset, std::span<const std::byte> data) {
  size_t written = 0;
  while (written < data.size()) {
    const ssize_t bytes = pwrite(fd, data.data() + written, data.size() - written,
                                 static_cast<off_t>(offset + written));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return errno;
    written += static_cast<size_t>(bytes);
  }
  return 0;
}

bool DirectWindow::is_possible(int fd) {
  struct statfs status {};
  return fstatfs(fd, &status) == 0 &&
         (status.f_type == EXT4_SUPER_MAGIC || status.f_type == XFS_SUPER_MAGIC);
}

bool DirectWindow::put(std::string_view file, uint64_t offset, std::span<const std::byte> data) {
  if (!possible_ || data.empty()) return false;
  if (file != file_ || !covers(offset, data.size())) {
    if (is_dirty() || !load(file, offset) || !covers(offset, data.size())) return false;
  }
  const size_t begin = offset - offset_;
  const size_t end = begin + data.size();
  if (is_dirty() && (begin > dirty_end_ || end < dirty_begin_)) return false;
  std::memcpy(bytes_.get() + begin, data.data(), data.size());
  dirty_begin_ = is_dirty() ? std::min(dirty_begin_, begin) : begin;
  dirty_end_ = std::max(dirty_end_, end);
  return true;
}

int DirectWindow::write_out() {
  if (!is_dirty()) return 0;
  const size_t begin = dirty_begin_ / kBlock * kBlock;
  const size_t end = (dirty_end_ + kBlock - 1) / kBlock * kBlock;
  const int error = write_all(direct_fd_, offset_ + begin, {bytes_.get() + begin, end - begin});
  if (error == EINVAL) {
    possible_ = false;  // other blocks than these are asked for here
    return settle();
  }
  if (error == 0) dirty_begin_ = dirty_end_ = 0;
  return error;
}

int DirectWindow::settle() {
  if (!is_dirty()) return 0;
  const int error = write_all(fd_, offset_ + dirty_begin_,
                              {bytes_.get() + dirty_begin_, dirty_end_ - dirty_begin_});
  if (error == 0) dirty_begin_ = dirty_end_ = 0;
  return error;
}

void DirectWindow::forget() {
  if (fd_ >= 0) close(fd_);
  if (direct_fd_ >= 0) close(direct_fd_);
  fd_ = direct_fd_ = -1;
  file_.clear();
  length_ = dirty_begin_ = dirty_end_ = 0;
}

bool DirectWindow::load(std::string_view file, uint64_t offset) {
  if (file != file_) {
    forget();
    const std::string name(file);
    fd_ = openat(directory_fd_, name.c_str(), O_RDWR | O_CLOEXEC);
    possible_ = fd_ < 0 || is_possible(fd_);
    if (possible_) direct_fd_ = openat(directory_fd_, name.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    if (direct_fd_ < 0) {
      forget();
      return false;
    }
    file_ = file;
  }
  if (bytes_ == nullptr) {
    bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(kBlock, kBytes)));
  }
  offset_ = offset / kBlock * kBlock;
  const ssize_t have = pread(fd_, bytes_.get(), kBytes, static_cast<off_t>(offset_));
  length_ = have <= 0 ? 0 : static_cast<size_t>(have) / kBlock * kBlock;
  return true;
}

bool DirectWindow::covers(uint64_t offset, size_t length) const {
  return offset >= offset_ && offset - offset_ <= length_ && length <= length_ - (offset - offset_);
}

}  // namespace tally
