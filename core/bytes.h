// Bytes: immutable bytes with shared ownership.
//
// A command is encoded once, at proposal; the log, every append message and apply hold the same
// Bytes. Copying one is a counter increment. The counter is not atomic: a Bytes and its copies
// belong to one logical thread (a node, or the whole simulated cluster).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace tally {

class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(std::string_view content) {
    if (content.empty()) return;
    size_ = static_cast<uint32_t>(content.size());
    char* memory = size_ > kSmall ? make_block(size_) : take_shared(log_block(), kSharedBytes);
    std::memcpy(memory, content.data(), size_);
  }
  // Of what soon goes again, such as a name in a request. It never lies beside what stays: one name
  // would hold the memory of many log entries, and one entry that of many names.
  static Bytes passing(std::string_view content) {
    Bytes bytes;
    if (content.empty()) return bytes;
    bytes.size_ = static_cast<uint32_t>(content.size());
    const bool small = bytes.size_ <= std::min(kSmall, kPassingSmall);
    char* memory = small ? bytes.take_shared(passing_block(), kPassingSharedBytes)
                         : bytes.make_block(bytes.size_);
    std::memcpy(memory, content.data(), bytes.size_);
    return bytes;
  }
  Bytes(const Bytes& other) : block_(other.block_), offset_(other.offset_), size_(other.size_) {
    if (block_ != nullptr) ++block_->references;
  }
  Bytes(Bytes&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)),
        offset_(other.offset_),
        size_(std::exchange(other.size_, 0)) {}
  Bytes& operator=(Bytes other) noexcept {
    std::swap(block_, other.block_);
    std::swap(offset_, other.offset_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Bytes() {
    if (block_ != nullptr) release(block_);
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Valid while this Bytes or a copy of it lives.
  std::string_view view() const {
    return block_ == nullptr ? std::string_view{} : std::string_view(data(block_) + offset_, size_);
  }
  friend bool operator==(const Bytes& a, const Bytes& b) { return a.view() == b.view(); }

 private:
  struct Block {
    uint32_t references;
  };
  // Small contents made one after the other on one thread share a block, so that a command in the
  // log costs no allocation of its own; they end their lives in about the same order. (Not where a
  // sanitizer should see each of them.)
#ifdef TALLY_SANITIZED
  static constexpr uint32_t kSmall = 0;
#else
  static constexpr uint32_t kSmall = 512;
#endif
  static constexpr uint32_t kSharedBytes = 16 << 10;
  // One that passes holds so much at the most, whatever came beside it.
  static constexpr uint32_t kPassingSharedBytes = 1 << 10;
  static constexpr uint32_t kPassingSmall = 256;
  struct Shared {
    Block* block = nullptr;
    uint32_t used = 0;

    ~Shared() {
      if (block != nullptr) release(block);
    }
  };

  static char* data(Block* block) { return reinterpret_cast<char*>(block + 1); }
  static Block* allocate(uint32_t size) {
    return new (::operator new(sizeof(Block) + size)) Block{1};
  }
  static void release(Block* block) {
    if (--block->references == 0) ::operator delete(block);
  }
  char* make_block(uint32_t size) {
    block_ = allocate(size);
    return data(block_);
  }
  static Shared& log_block() {
    thread_local Shared shared;
    return shared;
  }
  static Shared& passing_block() {
    thread_local Shared shared;
    return shared;
  }
  char* take_shared(Shared& shared, uint32_t block_bytes) {
    if (shared.block == nullptr || block_bytes - shared.used < size_) {
      if (shared.block != nullptr) release(shared.block);
      shared = {};  // nothing is held twice should the next line throw
      shared.block = allocate(block_bytes);
    }
    block_ = shared.block;
    ++block_->references;
    offset_ = std::exchange(shared.used, shared.used + size_);
    return data(block_) + offset_;
  }

  Block* block_ = nullptr;
  uint32_t offset_ = 0;
  uint32_t size_ = 0;
};

}  // namespace tally
