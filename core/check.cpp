#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace tally {
namespace {

void print_and_abort(const std::string& message) {
  std::fputs(message.c_str(), stderr);
  std::fputc('\n', stderr);
  std::abort();
}

CheckHandler current_handler = print_and_abort;

}  // namespace

CheckHandler set_check_handler(CheckHandler handler) {
  CheckHandler before = current_handler;
  current_handler = handler;
  return before;
}

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  current_handler(fmt::format("{}:{}: CHECK({}) failed{}{}", file, line, condition,
                              message.empty() ? "" : ": ", message));
  std::abort();  // the handler broke its contract
}

}  // namespace tally
