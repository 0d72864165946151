// The replicated log as one node holds it in memory: a contiguous run of entries behind a base.
//
// The base is the mark of the last entry that compaction dropped. Owns no durability: what is on
// disk is storage's business, and Raft keeps track of how far that is. Asking for a term or an
// entry outside the run is a failed CHECK, never a zero.
#pragma once

#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/entry.h"

namespace tally {

class Log {
 public:
  Log() = default;
  // REQUIRES: entries are contiguous from base.index + 1.
  Log(const EntryMark& base, std::vector<Entry> entries) : base_(base) {
    for (Entry& entry : entries) append(std::move(entry));
  }

  // The entry before the first one held; index 0 of term 0 when nothing was compacted.
  LogIndex base_index() const { return base_.index; }
  const EntryMark& base() const { return base_; }
  LogIndex last_index() const { return base_.index + entries_.size(); }
  Term last_term() const { return term_at(last_index()); }
  LogTime last_log_time() const {
    return entries_.empty() ? base_.log_time : entries_.back().log_time;
  }
  // Data bytes of the entries held.
  uint64_t data_bytes() const { return data_bytes_; }

  // REQUIRES: base_index() <= index <= last_index()
  Term term_at(LogIndex index) const {
    CHECK(index >= base_.index && index <= last_index(), "term of index {} asked, log is {}..{}",
          index.value(), base_.index.value(), last_index().value());
    return index == base_.index ? base_.term : entries_[index - base_.index - 1].term;
  }
  // REQUIRES: base_index() <= index <= last_index()
  EntryMark mark_at(LogIndex index) const {
    if (index == base_.index) return base_;
    const Entry& entry = at(index);
    return {entry.index, entry.term, entry.log_time};
  }
  // Whether the log holds this entry, or was compacted up to exactly it.
  bool holds(const EntryMark& mark) const {
    return mark.index >= base_.index && mark.index <= last_index() &&
           term_at(mark.index) == mark.term;
  }
  // REQUIRES: base_index() < index <= last_index()
  const Entry& at(LogIndex index) const {
    CHECK(index > base_.index && index <= last_index(), "index {} asked, log is {}..{}",
          index.value(), base_.index.value() + 1, last_index().value());
    return entries_[index - base_.index - 1];
  }

  // REQUIRES: entry.index == last_index() + 1
  void append(Entry entry) {
    CHECK(entry.index == last_index() + 1);
    data_bytes_ += entry.data.size();
    entries_.push_back(std::move(entry));
  }
  // Drops `first` and everything after it.
  void truncate_from(LogIndex first) {
    CHECK(first > base_.index && first <= last_index());
    while (last_index() >= first) {
      data_bytes_ -= entries_.back().data.size();
      entries_.pop_back();
    }
  }
  // Drops everything up to and including `index`, which becomes the base.
  // REQUIRES: base_index() <= index <= last_index()
  void compact(LogIndex index) {
    const EntryMark base = mark_at(index);
    for (LogIndex i = base_.index; i < index; ++i) {
      data_bytes_ -= entries_.front().data.size();
      entries_.pop_front();
    }
    base_ = base;
  }
  // Drops everything; goes on behind `base`.
  void reset(const EntryMark& base) {
    entries_.clear();
    data_bytes_ = 0;
    base_ = base;
  }

  // The largest index not above `limit` whose term is not above `term`: where two logs that
  // differ at `limit` may at best agree (thesis §3.5, skipping a term per round trip). Not below
  // the base.
  LogIndex last_index_not_above(LogIndex limit, Term term) const {
    LogIndex index = limit < last_index() ? limit : last_index();
    while (index > base_.index && term_at(index) > term) index = index - 1;
    return index;
  }

 private:
  EntryMark base_;
  std::deque<Entry> entries_;  // entries_[i] has index base + 1 + i
  uint64_t data_bytes_ = 0;
};

}  // namespace tally
