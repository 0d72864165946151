// The seam: Clock, Network and Disk, everything of the world that a node can touch.
//
// Two worlds implement it: sim/ (virtual time, seeded faults) and net/ (epoll, TCP, files). One
// node is one logical thread: all calls come from it and all callbacks come on it. A callback never
// runs inside the call that asked for it, and never after the node that asked for it is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace tally {

struct Envelope;  // core/message.h

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic time of this node. May start anywhere, drift and jump forward; never goes back.
  virtual Time now() = 0;
  // Asks for one wake-up at `deadline` or soon after, replacing the one asked for before.
  // kNever asks for none. A deadline in the past wakes the node as soon as possible.
  virtual void set_deadline(Time deadline) = 0;
};

class Network {
 public:
  virtual ~Network() = default;
  // Hands `envelope` over for delivery to `envelope.to` and returns at once. Between nodes it may
  // be lost, delayed, repeated or reordered. To a client it may be delayed or lost with its
  // connection, never repeated.
  virtual void send(Envelope&& envelope) = 0;
};

enum class DiskStatus : uint8_t {
  kOk,
  kNotFound,  // no such file
  kExists,    // create: the name is taken
  kNoSpace,   // nothing, or only a prefix, was written; what was there before is intact
  kIoError,   // read or write failed; the content of the range is unknown
};
std::string_view to_string(DiskStatus status);

// One directory of files, at the level of system calls, with POSIX's real contract:
// - a write is not durable before a sync of its file, begun after the write completed, completes;
//   until then any subset of its sectors may survive a crash;
// - a created, renamed or removed name is not durable before sync_directory completes;
// - after a failed sync the dirty pages may be gone: never sync again and believe it.
// Names are plain file names, no slashes.
//
// Blocking calls are for recovery, before the node takes part in anything. The others complete
// later through DiskClient::on_disk_done(token, status), in any order between files; calls on one
// file take effect in the order they were made.
using DiskToken = uint64_t;

class DiskClient {
 public:
  virtual ~DiskClient() = default;
  virtual void on_disk_done(DiskToken token, DiskStatus status) = 0;
};

class Disk {
 public:
  virtual ~Disk() = default;

  // Who hears of completions. Set once, before the first asynchronous call.
  virtual void set_client(DiskClient* client) = 0;

  // Blocking, for recovery only.
  virtual std::vector<std::string> list() = 0;  // sorted by name
  virtual std::optional<uint64_t> size(std::string_view file) = 0;
  // Reads up to `length` bytes at `offset` into `out` (resized to what was there).
  virtual DiskStatus read(std::string_view file, uint64_t offset, size_t length,
                          std::string& out) = 0;
  // Keeps other processes out of the directory for as long as this Disk lives; false when
  // another one has it. Then syncs every file and the directory: a process that died may have
  // left pages that were never synced, and recovery acts on what it reads.
  virtual bool lock() = 0;

  // Asynchronous. Reads up to `length` bytes at `offset`; `out` must stay valid until the
  // completion, when it is set to what was there.
  virtual void start_read(std::string_view file, uint64_t offset, size_t length, std::string* out,
                          DiskToken token) = 0;
  // Asynchronous. `data` must stay valid and unchanged until the completion.
  virtual void create(std::string_view file, DiskToken token) = 0;  // empty; kExists when there
  virtual void write(std::string_view file, uint64_t offset, std::span<const std::byte> data,
                     DiskToken token) = 0;  // extends the file as needed
  virtual void truncate(std::string_view file, uint64_t size, DiskToken token) = 0;
  virtual void sync(std::string_view file, DiskToken token) = 0;
  virtual void rename(std::string_view from, std::string_view to, DiskToken token) = 0;  // replaces
  virtual void remove(std::string_view file, DiskToken token) = 0;
  virtual void sync_directory(DiskToken token) = 0;
  virtual uint64_t free_bytes() = 0;
};

}  // namespace tally
