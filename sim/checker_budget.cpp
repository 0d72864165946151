#include "sim/checker_budget.h"

#include <fmt/format.h>

namespace tally::sim::checker {

std::string Budget::what_ran_out() const {
  if (out_of_memory_) {
    return fmt::format("the memory a search may take ({} MB) was full after {} states",
                       options_.memory_bytes >> 20, spent_count_);
  }
  return fmt::format("its budget of {} states was spent", options_.budget);
}

void Budget::report() {
  if (options_.on_progress) {
    options_.on_progress(settled_count_ - reported_op_count_, spent_count_ - reported_count_);
  }
  reported_op_count_ = settled_count_;
  reported_count_ = spent_count_;
}

}  // namespace tally::sim::checker
