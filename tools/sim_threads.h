// Work of the tools that is spread over threads: the library in sim/ has none of its own.
#pragma once

#include <cstddef>

#include "sim/checker.h"

namespace tally::tools {

// A sim::ForEach on up to `thread_count` threads, the caller's one of them; fewer where the system
// gives no more. What a task throws ends the work and is thrown here, once all threads are done;
// the first, should there be several. REQUIRES: thread_count >= 1; `task` may be called by several
// threads at once.
void for_each_on_threads(unsigned thread_count, size_t count, const sim::Task& task);

}  // namespace tally::tools
