// The replicated log as one node holds it in memory: a contiguous run of entries.
//
// Owns no durability: what is on disk is storage's business, and Raft keeps track of how far that
// is. Asking for a term or an entry outside the run is a failed CHECK, never a zero.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/entry.h"

namespace tally {

class Log {
 public:
  Log() = default;
  // REQUIRES: entries are contiguous from index 1.
  explicit Log(std::vector<Entry> entries) : entries_(std::move(entries)) {}

  // The entry before the first one held; nothing yet compacts, so it is index 0 of term 0.
  LogIndex base_index() const { return LogIndex(0); }
  LogIndex last_index() const { return LogIndex(entries_.size()); }
  Term last_term() const { return term_at(last_index()); }
  LogTime last_log_time() const { return entries_.empty() ? LogTime(0) : entries_.back().log_time; }

  // REQUIRES: base_index() <= index <= last_index()
  Term term_at(LogIndex index) const {
    CHECK(index <= last_index(), "term of index {} asked, log ends at {}", index.value(),
          last_index().value());
    return index == base_index() ? Term(0) : entries_[index.value() - 1].term;
  }
  // REQUIRES: base_index() < index <= last_index()
  const Entry& at(LogIndex index) const {
    CHECK(index > base_index() && index <= last_index(), "index {} asked, log is {}..{}",
          index.value(), base_index().value() + 1, last_index().value());
    return entries_[index.value() - 1];
  }

  // REQUIRES: entry.index == last_index() + 1
  void append(Entry entry) {
    CHECK(entry.index == last_index() + 1);
    entries_.push_back(std::move(entry));
  }
  // Drops `first` and everything after it.
  void truncate_from(LogIndex first) {
    CHECK(first > base_index() && first <= last_index());
    entries_.resize(first.value() - 1);
  }

  // The largest index not above `limit` whose term is not above `term`: where two logs that
  // differ at `limit` may at best agree (thesis §3.5, skipping a term per round trip).
  LogIndex last_index_not_above(LogIndex limit, Term term) const {
    LogIndex index = limit < last_index() ? limit : last_index();
    while (index > base_index() && term_at(index) > term) index = index - 1;
    return index;
  }

 private:
  std::vector<Entry> entries_;  // entries_[i] has index i + 1
};

}  // namespace tally
