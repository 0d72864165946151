#include "tools/sim_threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace tally::tools {

void for_each_on_threads(unsigned thread_count, size_t count, const sim::Task& task) {
  std::atomic<size_t> next = 0;
  std::atomic<size_t> end = count;  // what lies above the smallest i that was answered by false
  // Numbers are handed out in order, so all below one that was answered are with some thread, which
  // completes them.
  std::mutex mutex;
  std::exception_ptr thrown;
  auto answer_of = [&](size_t i) {
    try {
      return task(i);
    } catch (...) {
      const std::lock_guard<std::mutex> guard(mutex);
      if (!thrown) thrown = std::current_exception();
      end = 0;
      return true;
    }
  };
  auto work = [&] {
    for (size_t i = next++; i < end; i = next++) {
      if (answer_of(i)) continue;
      size_t known = end;
      while (i < known && !end.compare_exchange_weak(known, i)) {
      }
    }
  };
  const size_t wanted_count = std::min<size_t>(thread_count, count);
  std::vector<std::thread> threads;
  threads.reserve(wanted_count);
  try {
    while (threads.size() + 1 < wanted_count) threads.emplace_back(work);
  } catch (const std::exception&) {
    // The system is out of threads, or of memory for one. Those there are will do.
  }
  work();
  for (std::thread& thread : threads) thread.join();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace tally::tools
