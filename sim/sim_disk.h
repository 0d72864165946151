// SimDisk: one node's data directory in the simulated world. It survives the node's crash.
//
// Content is what the media hold plus the ordered list of calls not yet synced; a crash decides, by
// keyed draws, what of that list reached the media. The contract is core/env.h's, taken strictly:
//
// - A write is durable when a sync that was issued after the write completed has completed. A sync
//   does not cover writes still in flight when it was issued, nor later ones.
// - A name (created, renamed, removed) is durable when a sync_directory that was issued after the
//   change completed has completed.
// - Calls on one file complete in the order they were made, and so do those on the directory;
//   between files any order.
//
// What a crash does: for every sector (kSectorBytes) touched by calls not synced it draws how many
// of the calls that touched it, in order, reached the media: 0 .. all, independently of every other
// sector. The file's size is drawn likewise among the sizes it went through; what lies behind it is
// cut, holes read as zeros. Of names not synced a prefix survives, in the order they were made, as
// from a file system's journal. A call in flight counts as not synced.
//
// Faults it has, each only when asked for:
//
// - latency, and a factor of slow-down. Never: anything drawn for an empty latency range.
// - stall (set_stalled): calls hang; none completes before it ends. Never: a call lost by it.
// - loss and tearing at a crash, as above. Never: inside a sector, or of what a sync covered.
// - a process killed without a crash (detach_client): its page cache lives on.
// - a call failed by the host (disk_fault): of a write nothing is written.
// - failed sync (fail_next_sync): one sync fails; the pages it was for get the same draw as in a
//   crash and are forgotten, so that the next sync succeeds and means nothing. Never: of another
//   file, or twice.
// - full disk (set_capacity): a write that extends a file writes what fits and fails. Never:
//   overwriting, syncing, or renaming refused.
// - bit rot (rot), misdirected write (misdirect), unreadable sector (spoil): something on the media
//   changes behind everybody's back, and shows only when it is read. An unreadable sector stays so
//   until it is written and synced anew. Never: of anything at or behind what was written to its
//   file last. A file's newest write that is gone, or not what it was, cannot be told from one that
//   a crash has torn (storage/README.md, Limits); one with a newer behind it must be noticed.
// - a new, empty disk (wipe).
//
// It never: changes a sector that nobody wrote, or reorders calls on one file. Nothing of this
// costs a draw of its own but a crash, a failed sync and the latency: where a fault strikes is in
// the plan (`place`).
//
// Fast: media are contiguous, and no write or sync allocates once the buffers have grown.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/env.h"

namespace tally::sim {

inline constexpr uint64_t kSectorBytes = 512;

// Where a run can crash exactly; reads are no such place. Create, truncate, rename and remove count
// as writes, sync_directory as a sync. The file of a call on the directory is named "" once it has
// completed.
enum class DiskPoint : uint8_t {
  kBeforeWrite,  // called, nothing has happened
  kAfterWrite,   // completed, the node has not heard of it
  kBeforeSync,
  kAfterSync,  // durable on the media, the node has not heard of it
};

// What crashes and failed syncs have taken, for counts.
struct DiskLosses {
  uint64_t writes_lost = 0;  // nothing of it reached the media
  uint64_t writes_torn = 0;  // some of its sectors did
  uint64_t names_lost = 0;   // created, renamed or removed, and not so on the media
};

enum class DiskCall : uint8_t {
  kWrite,
  kTruncate,
  kSync,
  kCreate,
  kRename,
  kRemove,
  kSyncDirectory,
  kRead,
};

// What a draw is for: the third part of its key.
enum class DiskAspect : uint8_t {
  kLatency,      // ordinal: the call's, counted per file; key 0
  kCrashSector,  // ordinal: of the first call not synced; key: the sector's number
  kCrashSize,    // ordinal: of the first call not synced; key 0
  kCrashNames,   // ordinal: of the first directory call not synced; key 0
};

class SimDiskHost {
 public:
  virtual ~SimDiskHost() = default;
  // Call SimDisk::complete(op_id) after `delay` of virtual time.
  virtual void disk_schedule(uint64_t op_id, Duration delay) = 0;
  // Uniform 64 bits, a pure function of its arguments (and of the node). `file_key` is a hash of
  // the file's name when the call was made, 0 for the directory.
  virtual uint64_t disk_draw(uint64_t file_key, uint64_t ordinal, uint64_t aspect,
                             uint64_t key) = 0;
  // The host may freeze() the disk in here; then the call, or its completion, does not happen.
  virtual void disk_point(DiskPoint point, std::string_view file) = 0;
  // A completed sync has put this range on the media. One call for each write, in order. What
  // survives a crash is not told: read it back with media().
  virtual void disk_synced(std::string_view file, uint64_t offset, std::string_view bytes) = 0;
  // The fault that hits this call, or kOk. Asked only after set_faults(true), when it is made.
  virtual DiskStatus disk_fault(DiskCall call, uint64_t file_key, uint64_t ordinal) {
    static_cast<void>(call), static_cast<void>(file_key), static_cast<void>(ordinal);
    return DiskStatus::kOk;
  }
};

struct SimDiskLatency {
  Duration write_min{0};  // also create, truncate, rename and remove
  Duration write_max{0};
  Duration sync_min{0};  // also sync_directory
  Duration sync_max{0};
};

class SimDisk final : public Disk {
 public:
  // `host` outlives the disk.
  explicit SimDisk(SimDiskHost& host);

  // Disk.
  void set_client(DiskClient* client) override;
  std::vector<std::string> list() override;
  std::optional<uint64_t> size(std::string_view file) override;
  DiskStatus read(std::string_view file, uint64_t offset, size_t length, std::string& out) override;
  // Also makes durable what a killed process left unsynced, as PosixDisk must.
  bool lock() override;
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

  // The simulator's side.

  void set_latency(const SimDiskLatency& latency) { latency_ = latency; }
  // Every later call takes this many times as long. REQUIRES: factor >= 1
  void set_slowdown(uint32_t factor) { slowdown_ = factor; }
  // Content beyond this makes writes that extend a file fail with kNoSpace.
  void set_capacity(uint64_t bytes) { capacity_bytes_ = bytes; }
  void set_faults(bool asked) { faults_asked_ = asked; }
  // While it is stalled nothing completes; what should have does when it ends, in the same order.
  void set_stalled(bool stalled);
  // The next sync or sync_directory fails with kIoError; false takes it back.
  void fail_next_sync(bool armed) { sync_fails_ = armed; }
  bool sync_fails() const { return sync_fails_; }
  // Content of all named files, as the process sees them.
  uint64_t used_bytes() const { return used_bytes_; }

  // Damage of the media, to be found by a later read. `place` picks among all bytes that it may
  // strike, in files whose names begin with `prefix`; the same place and content, the same damage.
  // Each returns what it did in words; empty when there was no such byte.
  std::string rot(uint64_t place, std::string_view prefix);
  // What one sector held is where another one was, and it holds zeros: its write went there.
  std::string misdirect(uint64_t place, std::string_view prefix);
  std::string spoil(uint64_t place, std::string_view prefix);

  // A scheduled call's time has come. Ids of calls forgotten since (crash, detach) are ignored.
  void complete(uint64_t op_id);
  // From now on, until crash() or detach_client(), nothing has an effect and nothing completes.
  void freeze() { frozen_ = true; }
  bool frozen() const { return frozen_; }
  // The node is gone: pending completions vanish. Alone, a killed process: what it wrote lives on
  // in the page cache, not synced.
  void detach_client();
  // The power is gone: detach_client(), then what was not synced is drawn.
  void crash();
  // A new, empty disk. Buffers are kept.
  void wipe();

  // What is on the media under this name right now, for oracles; nothing when no such name is
  // durable. Valid until the next call.
  std::optional<std::string_view> media(std::string_view file) const;
  // Where the last byte that damage has ever struck in this file ends; 0 when none was.
  uint64_t struck_end(std::string_view file) const;
  // Durable names, sorted.
  std::vector<std::string> media_list() const;
  // So far, over all crashes; a wipe takes nothing.
  const DiskLosses& losses() const { return losses_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  // A write or truncate that no completed sync covers yet.
  struct Dirty {
    uint64_t ordinal = 0;  // among the file's calls
    uint64_t offset = 0;
    uint64_t bytes = 0;       // of the range that changes
    uint64_t data = 0;        // where its bytes start in dirty_data
    uint64_t size_after = 0;  // the file's size
    bool is_write = true;     // else truncate
    bool completed = false;
  };
  struct File {
    bool used = false;
    uint64_t key = 0;      // hash of its present name
    uint64_t ordinal = 0;  // calls made so far
    uint64_t size = 0;     // as the process sees it
    std::string name;      // present or last name
    std::string media;     // durable content
    // What was made durable last begins here: nothing from here on is damaged.
    uint64_t newest_offset = 0;
    uint64_t struck_end = 0;        // damage has struck it before here; 0: never
    std::vector<uint64_t> spoiled;  // sectors that cannot be read, sorted
    std::vector<Dirty> dirty;       // in the order of the calls
    std::string dirty_data;         // the bytes of `dirty`, in order
    uint32_t first_op = kNone;      // queue of calls in flight; the first is scheduled
    uint32_t last_op = kNone;
  };
  struct Name {
    std::string name;
    uint32_t file = kNone;
  };
  // A change of the directory that no completed sync_directory covers yet.
  struct NameChange {
    DiskCall call = DiskCall::kCreate;
    std::string name;    // created, removed, or renamed from
    std::string target;  // renamed to
    uint32_t file = kNone;
    bool completed = false;
  };
  struct Op {
    uint64_t id = 0;  // 0: free
    DiskCall call = DiskCall::kWrite;
    DiskStatus status = DiskStatus::kOk;
    uint32_t file = kNone;  // kNone: the directory's queue
    uint32_t next = kNone;  // in the queue or in the free list
    DiskToken token = 0;
    uint64_t ordinal = 0;        // of the call, for its draws
    std::string* out = nullptr;  // read: where to
    uint64_t offset = 0;         // read
    uint64_t length = 0;         // read
    uint64_t covered = 0;        // sync: calls or name changes of an ordinal below become durable
  };

  static uint64_t hash_name(std::string_view name);
  // Copies what [from, from + bytes.size()) and [begin, end) of a file share into `out`, in which
  // the file's byte `begin` is at position 0.
  static void copy_shared(std::string_view bytes, uint64_t from, uint64_t begin, uint64_t end,
                          char* out);
  uint32_t find(std::string_view name) const;
  uint32_t take_file(std::string_view name);
  void free_unreferenced_files();
  bool begin(DiskCall call, std::string_view name, uint32_t slot, DiskStatus& status);
  DiskStatus read_file(uint32_t slot, uint64_t offset, size_t length, std::string& out) const;
  uint32_t enqueue(DiskCall call, uint32_t file, DiskToken token, DiskStatus status,
                   uint64_t covered);
  void schedule(uint32_t slot);
  struct Spot {
    uint32_t file = kNone;
    uint64_t offset = 0;
  };
  Spot spot(uint64_t place, std::string_view prefix) const;
  static void strike(File& file, uint64_t end) { file.struck_end = std::max(file.struck_end, end); }
  bool is_spoiled(const File& file, uint64_t begin, uint64_t end) const;
  void mend(File& file, uint64_t begin, uint64_t end);
  void add_dirty(File& file, uint64_t offset, uint64_t bytes, uint64_t size_after, bool is_write);
  void make_durable(File& file, uint64_t covered);
  void settle(File& file, uint64_t covered);
  void apply_sector(File& file, const Dirty& dirty, uint64_t sector);
  void count_losses(const File& file, size_t count);
  void drop_dirty(File& file, size_t count);
  void change_name(const NameChange& change, std::vector<Name>& names);
  void add_name_change(DiskCall call, std::string_view name, std::string_view target,
                       uint32_t file);
  size_t completed_names() const;
  void make_names_durable(uint64_t covered);

  SimDiskHost& host_;
  DiskClient* client_ = nullptr;
  SimDiskLatency latency_;
  uint32_t slowdown_ = 1;
  uint64_t capacity_bytes_ = UINT64_MAX;
  uint64_t used_bytes_ = 0;  // sizes of all named files, as the process sees them
  bool faults_asked_ = false;
  bool frozen_ = false;
  bool stalled_ = false;
  bool sync_fails_ = false;
  std::vector<uint64_t> held_;  // operations that are due and wait for the stall to end

  std::vector<File> files_;               // slots; a file is named by its slot
  std::vector<Name> names_;               // as the process sees the directory
  std::vector<Name> media_names_;         // as the media hold it
  std::vector<NameChange> name_changes_;  // what turns the one into the other, in order
  uint64_t names_ordinal_ = 0;            // of the first in name_changes_
  bool names_dropped_ = false;            // some file may have lost its last reference
  mutable uint32_t found_ = kNone;        // position in names_ of the last one looked up

  std::vector<Op> ops_;
  uint32_t free_op_ = kNone;
  uint64_t op_count_ = 0;
  uint64_t directory_ordinal_ = 0;  // calls on the directory so far
  uint32_t first_directory_op_ = kNone;
  uint32_t last_directory_op_ = kNone;
  std::vector<std::pair<uint64_t, uint32_t>> touched_;  // settle(): (sector, position in dirty)
  std::vector<uint32_t> reached_;  // settle(): by position in dirty, its sectors on the media
  DiskLosses losses_;
};

}  // namespace tally::sim
