// What judging one counter may use: steps, called states, and bytes. Both are counted, never
// measured, so where they run out does not depend on the machine, on time or on other counters.
//
// Only what grows with the work is counted: states, how they were reached, what is remembered of
// dead ends. The operations themselves, and the sorted copies that every algorithm starts from, are
// not; they grow with the history, by some 200 bytes an operation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/checker.h"

namespace tally::sim::checker {

class Budget {
 public:
  // REQUIRES: options outlives it.
  explicit Budget(const CheckOptions& options) : options_(options), states_left_(options.budget) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // Takes `count` states. False, and nothing is left, when there are not so many.
  bool spend(uint64_t count = 1) {
    if (count > states_left_) {
      spent_count_ += states_left_;
      states_left_ = 0;
      out_of_memory_ = false;
      return false;
    }
    states_left_ -= count;
    spent_count_ += count;
    if (spent_count_ - reported_count_ >= kReportStates) report();
    return true;
  }
  uint64_t states_left() const { return states_left_; }
  uint64_t spent_count() const { return spent_count_; }
  // Keeps states back for later. REQUIRES: count <= states_left(); puts back what it set aside.
  void set_aside(uint64_t count) { states_left_ -= count; }
  void put_back(uint64_t count) { states_left_ += count; }

  // Makes room for `more` further elements behind those of `vector`, which grows by doubling and
  // is held twice while it is copied. False, and nothing happens, when memory does not allow it.
  template <class T>
  bool make_room(std::vector<T>& vector, size_t more) {
    const size_t size = vector.size() + more;
    if (size <= vector.capacity()) return true;
    const size_t capacity = std::max(2 * vector.capacity(), size);
    if (!hold(capacity * sizeof(T))) return false;
    const size_t old_bytes = vector.capacity() * sizeof(T);
    vector.reserve(capacity);
    release(old_bytes);
    return true;
  }
  // Frees what make_room() gave.
  template <class T>
  void free(std::vector<T>& vector) {
    release(vector.capacity() * sizeof(T));
    vector = std::vector<T>();
  }
  // Counts bytes that the caller holds otherwise. False, and nothing happens, when they are too
  // many.
  bool hold(uint64_t bytes) {
    if (bytes > options_.memory_bytes - held_bytes_) {
      out_of_memory_ = true;
      return false;
    }
    held_bytes_ += bytes;
    return true;
  }
  void release(uint64_t bytes) { held_bytes_ -= bytes; }
  uint64_t bytes_max() const { return options_.memory_bytes; }

  // Which of the two ran out last: "its budget of 50000000 states was spent".
  std::string what_ran_out() const;

  // For progress: that many of the counter's operations have found their place. Never steers.
  void settled(uint64_t op_count) { settled_count_ = std::max(settled_count_, op_count); }
  uint64_t reported_op_count() const { return reported_op_count_; }

 private:
  static constexpr uint64_t kReportStates = 1024;

  void report();

  const CheckOptions& options_;
  uint64_t states_left_;
  uint64_t spent_count_ = 0;
  uint64_t held_bytes_ = 0;  // never more than options_.memory_bytes
  bool out_of_memory_ = false;
  uint64_t settled_count_ = 0;
  uint64_t reported_count_ = 0;     // of spent_count_
  uint64_t reported_op_count_ = 0;  // of settled_count_
};

}  // namespace tally::sim::checker
