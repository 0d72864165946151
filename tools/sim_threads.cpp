#include "tools/sim_threads.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace tally::tools {

void for_each_on_threads(unsigned thread_count, size_t count, const sim::Task& task) {
  std::atomic<size_t> next = 0;
  std::atomic<size_t> end = count;  // what lies above the smallest i that was answered by false
  // Numbers are handed out in order, so all below one that was answered are with some thread, which
  // completes them.
  auto work = [&] {
    for (size_t i = next++; i < end; i = next++) {
      if (task(i)) continue;
      size_t known = end;
      while (i < known && !end.compare_exchange_weak(known, i)) {
      }
    }
  };
  std::vector<std::thread> threads;
  const size_t wanted_count = std::min<size_t>(thread_count, count);
  try {
    while (threads.size() + 1 < wanted_count) threads.emplace_back(work);
  } catch (const std::system_error&) {
    // The system is out of threads. Those there are will do.
  }
  work();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tally::tools
