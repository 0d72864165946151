// DirectWindow: a stretch of one file, in memory, through which small writes pass the page cache by
// (O_DIRECT). Such writes must be whole blocks, so what else is in them must be known; the page
// cache writes whole blocks, too, and the media see the same. With the sync that follows, a write
// takes two thirds of the processor time and seven eighths of the time (measured on ext4, three
// writers).
//
// Holds what the file holds as long as nobody else writes to it: settle() and forget() before
// anybody does. Reads of others see what was put only behind settle() or write_out().
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace tally {

// pwrite() of all of it. 0 or an errno.
int write_all(int fd, uint64_t offset, std::span<const std::byte> data);

class DirectWindow {
 public:
  explicit DirectWindow(int directory_fd) : directory_fd_(directory_fd) {}
  ~DirectWindow() { forget(); }
  DirectWindow(const DirectWindow&) = delete;
  DirectWindow& operator=(const DirectWindow&) = delete;

  // Whether the file system of `fd` writes blocks where they are. Others may find no room for what
  // is there already, when it is too late for an orderly answer.
  static bool is_possible(int fd);

  // Takes the bytes. False, and nothing is taken, when the page cache must do: for blocks that
  // are not all within the file, for more than the window holds, while something else waits to be
  // written, and where it is not possible.
  bool put(std::string_view file, uint64_t offset, std::span<const std::byte> data);
  // Whose bytes it holds, also after a put() that was false; empty: nobody's.
  const std::string& file() const { return file_; }
  // Writes what was put, past the page cache; not synced. 0 or an errno; after an error what was
  // put waits still.
  int write_out();
  // The same, through the page cache.
  int settle();
  // REQUIRES: nothing waits to be written, or it may be lost.
  void forget();

 private:
  static constexpr size_t kBlock = 4096;
  static constexpr size_t kBytes = size_t{128} << 10;

  bool load(std::string_view file, uint64_t offset);
  bool covers(uint64_t offset, size_t length) const;
  bool is_dirty() const { return dirty_begin_ < dirty_end_; }

  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };

  const int directory_fd_;
  bool possible_ = true;
  std::unique_ptr<std::byte, Free> bytes_;
  std::string file_;
  int fd_ = -1;
  int direct_fd_ = -1;
  uint64_t offset_ = 0;     // of the window in the file
  size_t length_ = 0;       // whole blocks, all within the file
  size_t dirty_begin_ = 0;  // in the window
  size_t dirty_end_ = 0;
};

}  // namespace tally
