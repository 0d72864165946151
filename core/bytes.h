// Bytes: immutable bytes with shared ownership.
//
// A command is encoded once, at proposal; the log, every append message and apply hold the same
// Bytes. Copying one is a counter increment. The counter is not atomic: a Bytes and its copies
// belong to one logical thread (a node, or the whole simulated cluster).
#pragma once

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
    void* memory = ::operator new(sizeof(Block) + content.size());
    block_ = new (memory) Block{1, static_cast<uint32_t>(content.size())};
    std::memcpy(block_ + 1, content.data(), content.size());
  }
  Bytes(const Bytes& other) : block_(other.block_) {
    if (block_ != nullptr) ++block_->references;
  }
  Bytes(Bytes&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Bytes& operator=(Bytes other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Bytes() {
    if (block_ != nullptr && --block_->references == 0) ::operator delete(block_);
  }

  size_t size() const { return block_ == nullptr ? 0 : block_->size; }
  bool empty() const { return block_ == nullptr; }
  // Valid while this Bytes or a copy of it lives.
  std::string_view view() const {
    return block_ == nullptr
               ? std::string_view{}
               : std::string_view(reinterpret_cast<const char*>(block_ + 1), block_->size);
  }
  friend bool operator==(const Bytes& a, const Bytes& b) { return a.view() == b.view(); }

 private:
  struct Block {
    uint32_t references;
    uint32_t size;
  };
  Block* block_ = nullptr;
};

}  // namespace tally
