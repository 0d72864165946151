// The configuration file: what differs between two of them is named.
#include "net/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "net/config.pb.h"

namespace tally {
namespace {

using testing::ElementsAre;

ServerOptions options_of(const std::string& text) {
  ServerOptions options;
  EXPECT_EQ(parse_config(text, "file", options), "");
  return options;
}

TEST(Config, EveryFieldThatDiffersIsNamed) {
  const auto* fields = net::Config::descriptor();
  for (int i = 0; i < fields->field_count(); ++i) {
    const auto* field = fields->field(i);
    std::string value = "7";
    if (field->cpp_type() == field->CPPTYPE_STRING) value = "'7'";
    if (field->cpp_type() == field->CPPTYPE_BOOL) value = "false";
    if (field->cpp_type() == field->CPPTYPE_MESSAGE) value = "{ id: 1 address: 'host:1' }";
    EXPECT_THAT(changed_options(options_of(""), options_of(field->name() + ": " + value)),
                ElementsAre(field->name()));
  }
  EXPECT_THAT(changed_options(options_of("id: 1"), options_of("id: 1")), ElementsAre());
}

}  // namespace
}  // namespace tally
