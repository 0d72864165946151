#include "sim/checker_fill.h"

namespace tally::sim::checker {

Answer fill_any(const std::vector<Stage>&, const std::vector<PoolOp>&, uint64_t*, Filling&,
                FillFailure&) {
  return Answer::kNotApplicable;
}

}  // namespace tally::sim::checker
