// A verdict of the checker as a picture: one HTML page that needs nothing but itself.
//
// Operations are bars on the lane of their client, from invoke to return; those behind a violation
// are marked, and an ok draws its linearization as a path from bar to bar with the counter's value
// above. A picture of a million bars shows nothing, so one counter is drawn, and of a long history
// one segment: around the operations of the verdict, or from the start when it is ok; the page says
// what it left out.
//
// Pure: text in, text out. It refuses to judge: it draws what check_history found.
#pragma once

#include <string>
#include <string_view>

#include "core/history.h"
#include "sim/checker.h"

namespace tally::sim {

// REQUIRES: `result` is what check_history said about `history` with `options`. `title` names the
// history, for people; any bytes.
std::string check_html(const History& history, const CheckResult& result,
                       const CheckOptions& options, std::string_view title);

}  // namespace tally::sim
