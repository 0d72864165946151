// What is fuzzed of storage/: a data directory that a real life left, damaged as the input says,
// and recovered. Any bytes must lead to a clean start, a clear refusal, or a repair; never to a
// crash, a hang, or an entry that was not written. A failed CHECK is how it says so.
//
// Two drivers: tests/fuzz/recovery.cpp under libFuzzer (`./dev fuzz`), and recovery_fuzz_test.cpp,
// which replays the corpus and mutates it at random, without clang.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/draw.h"
#include "storage/wal.h"
#include "tests/disk_world.h"

namespace tally {

// The input, read as a program; zeros when it has ended.
class FuzzInput {
 public:
  explicit FuzzInput(std::string_view bytes) : bytes_(bytes) {}

  bool ended() const { return bytes_.empty(); }
  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto value = static_cast<uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return value;
  }
  uint64_t word() {
    const uint64_t low = byte();
    return low | static_cast<uint64_t>(byte()) << 8;
  }
  std::string_view take(uint64_t count) {
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(taken.size());
    return taken;
  }

 private:
  std::string_view bytes_;
};

class RecoveryFuzz final : private StorageClient {
 public:
  // REQUIRES: called once.
  void run(std::string_view bytes) {
    FuzzInput input(bytes);
    live(input.byte());
    // A short program shows as much as a long one.
    for (int i = 0; i < 40 && !input.ended(); ++i) damage(input);
    check_recovery();
  }

 private:
  static constexpr Identity kIdentity{1, 2, NodeId(3), 0x0123456789abcdef};
  static constexpr WalConfig kConfig{1024, 4096};

  void on_storage_done(bool durable, const std::string&) override {
    answered_ = true;
    durable_ = durable;
  }
  void on_snapshot_written(bool ok, const std::string&) override {
    answered_ = true;
    durable_ = ok;
  }
  void on_snapshot_read(const SnapshotId&, uint64_t, std::string) override {}

  Recovered start() {
    world_.disk.crash();
    wal_ = std::make_unique<Wal>(world_.disk, kConfig);
    return wal_->recover(kIdentity, this);
  }

  template <class Call>
  bool settle(Call call) {
    answered_ = false;
    durable_ = false;
    call();
    world_.run();
    return answered_ && durable_;
  }
  bool write(const StorageWrite& write) {
    for (const Entry& entry : write.entries) written_.push_back(entry);
    return settle([&] { wal_->write(write); });
  }

  // What was there before the damage: some segments, an overwrite, perhaps a snapshot, perhaps a
  // compacted log.
  void live(uint64_t seed) {
    CHECK(start().outcome == Recovered::Outcome::kEmpty);
    for (uint64_t i = 1; i <= 4 + seed % 12; ++i) {
      StorageWrite next;
      if (i % 3 == 1) next.hard_state = HardState{Term(i), NodeId(i % 4)};
      const uint64_t index = i == 5 ? next_ - 1 : next_;
      next_ = index + 1;
      next.entries.push_back(Entry{LogIndex(index), Term(i), LogTime(i), EntryType::kCommand,
                                   Bytes(std::string(20 + 30 * (i % 4), 'a'))});
      term_ = next.entries[0].term;
      CHECK(write(next));
      if (i != 3 + seed % 7 || seed % 3 == 0) continue;
      wal_->begin_snapshot({LogIndex(index), Term(i), LogTime(i)});
      for (const char* piece : {"first piece", "second piece"}) {
        CHECK(settle([&] { wal_->write_piece(piece); }));
      }
      CHECK(settle([&] { wal_->finish_snapshot(); }));
      if (seed % 3 == 1) wal_->compact(LogIndex(index));
      world_.run();
    }
  }

  std::string file(uint64_t choice) {
    const std::vector<std::string> files = world_.disk.list();
    return files.empty() ? std::string() : files[choice % files.size()];
  }
  std::string any_name(uint64_t choice) {
    return choice % 2 == 0 ? segment_name(1 + choice / 2 % 16)
                           : snapshot_name(LogIndex(choice / 2));
  }

  void damage(FuzzInput& input) {
    world_.disk.set_client(nullptr);
    const uint8_t kind = input.byte() % 9;
    const std::string name = file(input.byte());
    const uint64_t at = input.word() % 8192;
    switch (kind) {
      case 0: {
        std::string byte;
        world_.disk.read(name, at, 1, byte);
        if (byte.empty()) break;
        byte[0] = static_cast<char>(byte[0] ^ (1 << input.byte() % 8));
        world_.poke(name, at, byte);
        break;
      }
      case 1: world_.poke(name, at, input.take(input.byte())); break;
      case 2: world_.disk.truncate(name, at, 0); break;
      case 3: world_.disk.remove(name, 0); break;
      case 4: {
        const std::string target = any_name(input.byte());
        if (target != name) world_.disk.rename(name, target, 0);
        break;
      }
      case 5: {
        std::string bytes;
        world_.disk.read(file(input.byte()), input.word() % 8192 / 8 * 8, input.word() % 2048,
                         bytes);
        world_.poke(name, at / 8 * 8, bytes);
        break;
      }
      case 6: world_.poke_new(any_name(input.byte()), input.take(input.word() % 2048)); break;
      case 7: world_.disk.spoil(at, name); break;
      default: go_on(); break;
    }
    world_.run();
  }

  // A start in the middle, and some writes if it is allowed.
  void go_on() {
    const Recovered recovered = start();
    judge(recovered);
    const bool usable = recovered.outcome == Recovered::Outcome::kWhole || recovered.repairing ||
                        recovered.outcome == Recovered::Outcome::kEmpty;
    if (!usable) return;
    CHECK(write({HardState{recovered.hard_state.term + 1, NodeId(1)}, {}}));
    const LogIndex last = recovered.base.index + recovered.entries.size();
    term_ = recovered.hard_state.term + 1;
    StorageWrite next{std::nullopt,
                      {Entry{last + 1, term_, LogTime(9), EntryType::kNoop, Bytes()}}};
    next.whole = recovered.repairing;
    CHECK(write(next));
  }

  void judge(const Recovered& recovered) {
    for (const Entry& entry : recovered.entries) {
      CHECK(std::find(written_.begin(), written_.end(), entry) != written_.end(),
            "entry {} of term {} was never written", entry.index.value(), entry.term.value());
    }
    for (const std::string& piece : recovered.pieces) {
      CHECK(piece == "first piece" || piece == "second piece", "a piece that was never written");
    }
    const bool sound = recovered.outcome == Recovered::Outcome::kWhole ||
                       recovered.outcome == Recovered::Outcome::kEmpty;
    CHECK(sound || !recovered.message.empty(), "a refusal without a reason");
    CHECK(!sound || !recovered.repairing);
  }

  void check_recovery() {
    const Recovered recovered = start();
    judge(recovered);
    const bool usable = recovered.outcome == Recovered::Outcome::kWhole || recovered.repairing ||
                        recovered.outcome == Recovered::Outcome::kEmpty;
    if (!usable) return;
    // What goes on must be able to, and a second look must find what the first one did.
    const HardState hard_state{recovered.hard_state.term + 1000, NodeId(2)};
    CHECK(write({hard_state, {}}));
    const Recovered again = start();
    judge(again);
    CHECK(again.repairing == recovered.repairing && again.hard_state == hard_state,
          "recovered once: {}; and again: {}", recovered.message, again.message);
    CHECK(again.entries.size() == recovered.entries.size());
  }

  sim::DiskWorld world_{1};
  std::unique_ptr<Wal> wal_;
  std::vector<Entry> written_;
  uint64_t next_ = 1;
  Term term_;
  bool answered_ = false;
  bool durable_ = false;
};

}  // namespace tally
