#include "tools/ctl_numbers.h"

#include <fmt/format.h>

#include <charconv>
#include <functional>
#include <system_error>

namespace tally::tools {
namespace {

CLI::Option* add(CLI::App& app, const std::string& name, const std::string& help, int64_t lowest,
                 int64_t highest, std::function<void(int64_t)> take) {
  return app
      .add_option(
          name,
          [name, lowest, highest, take = std::move(take)](const CLI::results_t& texts) {
            int64_t number = 0;
            const std::string error = parse_number(texts.front(), lowest, highest, number);
            if (!error.empty()) throw CLI::ValidationError(name, error);
            take(number);
            return true;
          },
          help)
      ->type_name("N");
}

}  // namespace

std::string parse_number(const std::string& text, int64_t lowest, int64_t highest, int64_t& out) {
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, out);
  const size_t digits_at = text.starts_with('-') ? 1 : 0;
  const bool padded = text.size() > digits_at + 1 && text[digits_at] == '0';
  if (code == std::errc::result_out_of_range && stop == end) {
    return fmt::format("{} does not fit in 64 bits", text);
  }
  if (code != std::errc() || stop != end || padded) {
    return fmt::format(
        "'{}' is no decimal number: digits, a '-' where it is negative, no zeros in "
        "front",
        text);
  }
  if (out >= lowest && out <= highest) return {};
  if (highest == std::numeric_limits<int64_t>::max()) {
    return fmt::format("{} is too small: from {} up", text, lowest);
  }
  return fmt::format("{} is out of range: from {} to {}", text, lowest, highest);
}

CLI::Option* add_number(CLI::App& app, const std::string& name, int64_t& target,
                        const std::string& help, int64_t lowest, int64_t highest) {
  return add(app, name, help, lowest, highest, [&](int64_t number) { target = number; })
      ->default_str(std::to_string(target));
}

CLI::Option* add_number(CLI::App& app, const std::string& name, std::optional<int64_t>& target,
                        const std::string& help) {
  return add(app, name, help, std::numeric_limits<int64_t>::min(),
             std::numeric_limits<int64_t>::max(), [&](int64_t number) { target = number; });
}

CLI::Option* add_count(CLI::App& app, const std::string& name, uint64_t& target,
                       const std::string& help, int64_t lowest, int64_t highest) {
  return add(app, name, help, lowest, highest,
             [&](int64_t number) { target = static_cast<uint64_t>(number); })
      ->default_str(std::to_string(target));
}

}  // namespace tally::tools
