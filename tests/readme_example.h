// The worked examples of core/README.md as bytes, so that tests hold the page to the code.
#pragma once

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace tally {

// Lower-case hex, two digits a byte, nothing between.
inline std::string hex_of(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) hex += fmt::format("{:02x}", static_cast<uint8_t>(byte));
  return hex;
}

// The bytes of the example headed "<!-- example: NAME -->" as hex_of would write them. The example
// is the code block behind that line: in each of its lines, the two-digit groups between the offset
// at its start and two spaces (what follows is a remark). Empty when there is no such example.
inline std::string readme_example(std::string_view name) {
  std::ifstream file(TALLY_SOURCE_DIR "/core/README.md");
  const std::string page((std::istreambuf_iterator<char>(file)), {});
  size_t at = page.find(fmt::format("<!-- example: {} -->", name));
  if (at == std::string::npos) return {};
  at = page.find("```\n", at) + 4;
  const size_t end = page.find("```", at);
  std::string hex;
  while (at < end) {
    const std::string_view line = std::string_view(page).substr(at, page.find('\n', at) - at);
    at += line.size() + 1;
    const size_t bytes_at = line.find("  ", line.find_first_not_of(' ')) + 2;
    for (const char c : line.substr(bytes_at, line.find("  ", bytes_at) - bytes_at)) {
      if (c != ' ') hex += c;
    }
  }
  return hex;
}

}  // namespace tally
