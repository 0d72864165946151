// PosixDisk: a node's data directory, as the Disk of the seam.
//
// Calls that can reach the media run on worker threads; their completions come back on the loop's
// thread. Calls on one file run in the order they were made, and so do those that change the
// directory; others overtake each other, so that a snapshot's sync does not hold up the log's.
//
// A small write to a file with nothing under way is made at once, on the calling thread: it only
// copies into the page cache, and costs less than handing it over. It completes at the next
// deliver(). A large one is on its way to the media when it completes: its sync, which every other
// sync on the device may have to wait behind, finds little left to do.
//
// A small write's sync may be made on the calling thread, too, when that has nothing better to do:
// see hold_syncs().
//
// It refuses to retry anything: an error is reported as it is, once.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/env.h"
#include "net/baton.h"
#include "net/loop.h"

namespace tally {

// Its presence marks a data directory; held locked by the process that uses it.
inline constexpr std::string_view kLockFile = "LOCK";

class PosixDisk final : public Disk, private Watcher {
 public:
  // Opens `directory`, creating it when its parent is there. Null, and what is wrong, when it
  // cannot be used.
  static std::unique_ptr<PosixDisk> open(Loop& loop, const std::string& directory,
                                         std::string& error);
  ~PosixDisk() override;

  // Waits for calls that have begun; drops the others. Afterwards nobody's memory is used any more.
  void stop();

  void set_client(DiskClient* client) override { client_ = client; }

  std::vector<std::string> list() override;
  std::optional<uint64_t> size(std::string_view file) override;
  DiskStatus read(std::string_view file, uint64_t offset, size_t length, std::string& out) override;
  // May be called again by whoever has it.
  bool lock() override;
  // Why the last lock() failed: another process has it. Else errno tells.
  bool is_locked_elsewhere() const { return locked_elsewhere_; }

  void start_read(std::string_view file, uint64_t offset, size_t length, std::string* out,
                  DiskToken token) override;
  void create(std::string_view file, DiskToken token) override;
  void write(std::string_view file, uint64_t offset, std::span<const std::byte> data,
             DiskToken token) override;
  void truncate(std::string_view file, uint64_t size, DiskToken token) override;
  void sync(std::string_view file, DiskToken token) override;
  void rename(std::string_view from, std::string_view to, DiskToken token) override;
  void remove(std::string_view file, DiskToken token) override;
  void sync_directory(DiskToken token) override;
  uint64_t free_bytes() override;

  // Tells the client what has completed; false when nothing has. The loop does so when a worker has
  // done something; what was written at once is told of only here, so call it after whatever may
  // have written. REQUIRES: not called from a completion.
  bool deliver();

  // From now on a sync waits for one of the next two calls when little was written to its file
  // since the last sync of all, which was this file's, and nothing else is under way. Other syncs
  // begin at once, on a worker.
  void hold_syncs() { holds_syncs_ = true; }
  bool has_held_sync() const { return held_ != nullptr; }
  // On a worker...
  void release_sync();
  // ...or here, with `baton`: false when that is lost. The next deliver() tells of it.
  // REQUIRES: has_held_sync(), baton.may_go().
  bool sync_here(Baton& baton);
  // deliver() has something to tell.
  bool has_news() const { return has_news_; }

  // Calls made and not told of yet.
  size_t unfinished_count() const { return unfinished_count_; }
  // fdatasync and fsync calls so far, for metrics.
  uint64_t sync_count() const { return sync_count_; }

 private:
  enum class Kind : uint8_t {
    kRead,
    kCreate,
    kWrite,
    kTruncate,
    kSync,
    kRename,
    kRemove,
    kSyncDirectory,
  };
  struct Call {
    Kind kind;
    DiskToken token;
    std::string file;  // empty: only the directory
    std::string to;    // kRename
    uint64_t offset = 0;
    size_t length = 0;
    const std::byte* data = nullptr;
    std::string* out = nullptr;
    bool running = false;
    bool done = false;
  };
  struct Done {
    DiskToken token;
    DiskStatus status;
  };

  PosixDisk(Loop& loop, std::string directory, int directory_fd);
  void on_ready(uint32_t events) override;
  void begin(Call&& call);
  void finish(Call& call, DiskStatus status, bool tell);
  void work();
  Call* next_call();
  DiskStatus run(const Call& call);
  DiskStatus write_at(int fd, uint64_t offset, const std::byte* data, size_t length);
  // A descriptor of the file, kept open; -1 and errno when there is none.
  int descriptor(const std::string& file);
  void forget_descriptor(const std::string& file);

  Loop& loop_;
  const std::string directory_;
  const int directory_fd_;
  const int event_fd_;  // readable when workers have done something
  int lock_fd_ = -1;
  bool locked_elsewhere_ = false;
  DiskClient* client_ = nullptr;
  uint64_t sync_count_ = 0;
  size_t unfinished_count_ = 0;

  std::mutex mutex_;  // of what follows
  std::condition_variable work_;
  // In the order they were made; one that is done leaves when all before it have left. A deque, so
  // that a call stays where it is while a worker runs it.
  std::deque<Call> calls_;
  std::vector<Done> done_;  // in this order for each file
  bool told_ = false;       // of them, by event_fd_
  bool stopping_ = false;
  std::map<std::string, int, std::less<>> descriptors_;

  bool holds_syncs_ = false;
  Call* held_ = nullptr;          // one of calls_, marked as running
  std::string synced_file_;       // the last one that was synced...
  size_t unsynced_bytes_ = 0;     // ...and what was written to it since
  bool has_news_ = false;         // done on the loop's thread
  std::vector<Done> delivering_;  // reused
  std::vector<std::thread> workers_;
};

}  // namespace tally
