// libFuzzer's way into the configuration file, lists of members and addresses. Built by
// `./dev fuzz`.
#include "net/config.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  tally::ServerOptions options;
  if (tally::parse_config(text, "fuzz", options).empty()) tally::options_error(options);
  std::vector<tally::PeerAddress> members;
  tally::parse_members(text, members);
  return 0;
}
