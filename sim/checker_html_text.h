// The words in a picture of a verdict: what stands in the bars, and text made fit for HTML.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/history.h"

namespace tally::sim::checker_html {

// Fit for text and for attributes; control characters become blanks.
std::string escaped(std::string_view text);

// "12,345,678"
std::string grouped(uint64_t number);
std::string grouped(int64_t number);

// "1 operation", "2,000 operations"
std::string counted(uint64_t count, std::string_view thing);

// What stands in the operation's bar: "+5 → 17".
std::string label_of(const Operation& op);
// Pixels that the label needs.
int64_t label_width(const Operation& op);

// The CSS class of its bar.
const char* class_of(const Operation& op);

}  // namespace tally::sim::checker_html
