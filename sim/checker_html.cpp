#include "sim/checker_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <vector>

#include "sim/checker_explain.h"
#include "sim/checker_html_axis.h"
#include "sim/checker_html_page.h"
#include "sim/checker_html_text.h"
#include "sim/checker_segment.h"

namespace tally::sim {
namespace {

using Verdict = CheckResult::Verdict;
using checker_html::Axis;
using checker_html::class_of;
using checker_html::counted;
using checker_html::escaped;
using checker_html::grouped;
using checker_html::kPageHead;
using checker_html::kScript;
using checker_html::kStyle;
using checker_html::label_of;

constexpr int64_t kLaneHeight = 34;  // pixels, as all sizes
constexpr int64_t kBarHeight = 22;
constexpr int64_t kAxisHeight = 30;
constexpr int64_t kValueHeight = 96;
constexpr size_t kNoStep = std::numeric_limits<size_t>::max();

class Picture {
 public:
  Picture(const History& history, const CheckResult& result, const CheckOptions& options)
      : history_(history),
        result_(result),
        options_(options),
        segment_(choose_segment(history, result)),
        axis_(history, segment_.shown, options.max_clock_error_ns) {
    for (const size_t index : segment_.shown) lanes_.push_back(history[index].client);
    std::sort(lanes_.begin(), lanes_.end());
    lanes_.erase(std::unique(lanes_.begin(), lanes_.end()), lanes_.end());
    place_path();
  }

  std::string page(std::string_view title) {
    out_ = kPageHead;
    append("<title>{}: {}</title>\n", verdict_name(), escaped(title));
    out_ += kStyle;
    append("</head><body class=\"{}\">\n", verdict_name());
    append_header(title);
    if (!segment_.shown.empty()) {
      append_legend();
      append_board();
      out_ += "<p class=\"details\">Point at an operation, or step through them with Tab.</p>\n";
      append_table();
      out_ += kScript;
    }
    out_ += "</body></html>\n";
    return std::move(out_);
  }

 private:
  struct Step {
    size_t index;   // into the history
    int64_t x;      // within the operation's bar
    int64_t value;  // of the counter, behind it
  };

  template <class... Arguments>
  void append(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Arguments>(arguments)...);
  }

  const char* verdict_name() const {
    switch (result_.verdict) {
      case Verdict::kOk: return "ok";
      case Verdict::kViolation: return "violation";
      case Verdict::kUnknown: return "unknown";
    }
    return "";
  }

  bool is_marked(size_t index) const {
    return std::binary_search(result_.culprits.begin(), result_.culprits.end(), index);
  }

  // Each step midway between the earliest and the latest point that the whole order leaves to it:
  // both only grow along the order, so their middles do.
  void place_path() {
    int64_t earliest = 0;
    int64_t value = options_.initial;
    for (const size_t index : segment_.path) {
      const Operation& op = history_[index];
      earliest = std::max(earliest, axis_.begin_of(op));
      if (op.status == Operation::Status::kOk) value = op.value;
      if (op.status == Operation::Status::kUnknown) value += op.delta;
      steps_.push_back({index, earliest, value});
    }
    int64_t latest = axis_.width();
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
      latest = std::min(latest, axis_.effect_end_of(history_[step->index]));
      step->x = (step->x + latest) / 2;
    }
  }

  size_t step_of(size_t index) const {
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (steps_[i].index == index) return i;
    }
    return kNoStep;
  }

  void append_header(std::string_view title) {
    append("<header><span class=\"badge\">{}</span><h1>{}</h1></header>\n", verdict_name(),
           escaped(title));
    append("<p class=\"counts\">{}", counted(result_.op_count, "operation"));
    if (result_.verdict == Verdict::kOk) {
      append("; of unknown outcome {} needed, {} unspent", grouped(result_.unknown_used_count),
             grouped(result_.unknown_unspent_count));
    }
    out_ += "</p>\n";
    if (!result_.reason.empty()) append("<p class=\"reason\">{}</p>\n", escaped(result_.reason));
    if (segment_.shown.empty()) {
      out_ += "<p class=\"note\">The history is empty: there is nothing to draw.</p>\n";
      return;
    }
    append("<p class=\"note\">Counter {}, ", escaped(checker::quoted(segment_.counter)));
    if (segment_.shown.size() == segment_.counter_op_count) {
      append("all {}.", counted(segment_.counter_op_count, "operation"));
    } else {
      append("{} of its {} operations: {}.", grouped(segment_.shown.size()),
             grouped(segment_.counter_op_count),
             !result_.culprits.empty()         ? "those marked and the ones around them"
             : result_.verdict == Verdict::kOk ? "the first to take effect"
                                               : "the first ones");
    }
    if (segment_.other_counters) out_ += " Other counters are not drawn.";
    out_ += " The order of times is exact, distances are compressed.";
    if (options_.max_clock_error_ns > 0) {
      append(" Bars are widened by the clock error, {} ns on both sides.",
             grouped(options_.max_clock_error_ns));
    }
    out_ += "</p>\n";
  }

  void append_legend() {
    out_ += "<ul class=\"legend\">\n";
    const auto entry = [&](const char* name, const char* text) {
      append(
          "<li><svg width=\"28\" height=\"14\"><g class=\"op {}\"><rect x=\"1\" y=\"1\" "
          "width=\"26\" height=\"12\" rx=\"3\"/></g></svg>{}</li>\n",
          name, text);
    };
    const auto shown = [&](std::string_view name) {
      return std::any_of(segment_.shown.begin(), segment_.shown.end(),
                         [&](size_t index) { return class_of(history_[index]) == name; });
    };
    if (shown("add")) entry("add", "add, and the value it returned");
    if (shown("get")) entry("get", "get");
    if (shown("maybe")) entry("maybe", "outcome unknown: took effect from here on, or never");
    if (shown("refused")) entry("refused", "add refused: out of bounds or past 64 bits");
    if (shown("failed")) entry("failed", "certainly not applied");
    if (result_.verdict == Verdict::kViolation) entry("bad", "what the violation is about");
    if (result_.verdict == Verdict::kUnknown && !result_.culprits.empty()) {
      entry("unsure", "open where the search gave up");
    }
    if (!steps_.empty()) {
      out_ +=
          "<li><svg width=\"28\" height=\"14\"><path class=\"path\" d=\"M1 7H27\"/>"
          "<circle class=\"dot\" cx=\"14\" cy=\"7\" r=\"4\"/></svg>"
          "one order in which all took effect</li>\n";
    }
    out_ += "</ul>\n";
  }

  int64_t lane_middle(uint64_t client) const {
    const auto lane = std::lower_bound(lanes_.begin(), lanes_.end(), client) - lanes_.begin();
    return value_height() + static_cast<int64_t>(lane) * kLaneHeight + kLaneHeight / 2;
  }
  int64_t value_height() const { return steps_.empty() ? 0 : kValueHeight; }

  void append_board() {
    const int64_t base = axis_.places().front().time;
    const bool relative = base >= 1'000'000'000 || base <= -1'000'000'000;
    append("<div class=\"board\"><div class=\"corner\">{}</div>\n",
           relative ? fmt::format("ns after {}", grouped(base)) : "time, ns");
    append("<div class=\"axis\"><svg width=\"{}\" height=\"{}\">", axis_.width(), kAxisHeight);
    std::string grid;
    int64_t free_from = 0;  // where the next label may begin
    const int64_t height = value_height() + static_cast<int64_t>(lanes_.size()) * kLaneHeight;
    for (const Axis::Place& place : axis_.places()) {
      if (place.begin < free_from) continue;
      const std::string label =
          relative ? "+" + grouped(static_cast<uint64_t>(place.time) - static_cast<uint64_t>(base))
                   : grouped(place.time);
      append("<text x=\"{}\" y=\"19\">{}</text>", place.begin, label);
      grid += fmt::format("<path class=\"grid\" d=\"M{} 0V{}\"/>", place.begin, height);
      free_from = place.begin + static_cast<int64_t>(label.size()) * 7 + 40;
    }
    out_ += "</svg></div>\n";
    append_side();
    append("<svg width=\"{}\" height=\"{}\">{}\n", axis_.width(), height, grid);
    for (const uint64_t client : lanes_) {
      append("<path class=\"row\" d=\"M0 {}H{}\"/>", lane_middle(client), axis_.width());
    }
    out_ += '\n';
    const std::string dots = append_path();
    for (const size_t index : segment_.shown) append_bar(index);
    out_ += dots;
    append_values();
    out_ += "</svg></div>\n";
  }

  void append_side() {
    out_ += "<div class=\"side\">";
    if (!steps_.empty()) {
      const auto [low, high] = value_range();
      append(
          "<div class=\"value\" style=\"height:{}px\"><b>{}</b><span>value</span><b>{}</b></div>",
          kValueHeight, grouped(high), grouped(low));
    }
    for (const uint64_t client : lanes_) {
      append("<div style=\"height:{}px\">client {}</div>", kLaneHeight, client);
    }
    out_ += "</div>\n";
  }

  std::string details_of(size_t index) const {
    std::string text = checker::describe(history_[index]);
    const size_t step = step_of(index);
    if (step != kNoStep) {
      text +=
          fmt::format("; step {} of the order, the value is {} then", step + 1, steps_[step].value);
    } else if (result_.verdict == Verdict::kOk) {
      text += "; not needed in the order";
    }
    if (is_marked(index)) {
      text += result_.verdict == Verdict::kViolation ? "; part of the violation" : "; undecided";
    }
    return text;
  }

  void append_bar(size_t index) {
    const Operation& op = history_[index];
    const int64_t x = axis_.begin_of(op);
    const int64_t top = lane_middle(op.client) - kBarHeight / 2;
    const char* mark = !is_marked(index)                        ? ""
                       : result_.verdict == Verdict::kViolation ? " bad"
                                                                : " unsure";
    append(
        "<g class=\"op {}{}\" id=\"op-{}\" tabindex=\"0\" role=\"img\" aria-label=\"{}\">"
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\"/>"
        "<text x=\"{}\" y=\"{}\">{}</text></g>\n",
        class_of(op), mark, index, escaped(details_of(index)), x, top,
        std::max<int64_t>(axis_.end_of(op) - x, 4), kBarHeight, x + 7, top + 15,
        escaped(label_of(op)));
  }

  // The line, and returns the dots: labels stay legible with bars over the one and under the other.
  std::string append_path() {
    if (steps_.empty()) return {};
    out_ += "<path class=\"path\" d=\"";
    std::string dots;
    for (size_t i = 0; i < steps_.size(); ++i) {
      const int64_t y = lane_middle(history_[steps_[i].index].client) + kBarHeight / 2;
      append("{}{} {}", i == 0 ? "M" : "L", steps_[i].x, y);
      dots += fmt::format("<circle class=\"dot\" cx=\"{}\" cy=\"{}\" r=\"3.5\"/>", steps_[i].x, y);
    }
    out_ += "\"/>\n";
    return dots;
  }

  std::pair<int64_t, int64_t> value_range() const {
    int64_t low = options_.initial;
    int64_t high = options_.initial;
    for (const Step& step : steps_) {
      low = std::min(low, step.value);
      high = std::max(high, step.value);
    }
    return {low, high};
  }

  int64_t value_y(int64_t value, int64_t low, int64_t high) const {
    uint64_t above = static_cast<uint64_t>(value) - static_cast<uint64_t>(low);
    uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
    if (range > uint64_t{1} << 56) {
      above >>= 8;
      range >>= 8;
    }
    const int64_t room = kValueHeight - 40;
    const int64_t up = range == 0 ? 0 : static_cast<int64_t>(above * uint64_t{room} / range);
    return kValueHeight - 14 - up;
  }

  // The value over the steps, as stairs.
  void append_values() {
    if (steps_.empty()) return;
    const auto [low, high] = value_range();
    append("<path class=\"grid\" d=\"M0 {0}H{1}\"/><path class=\"path\" d=\"M0 {2}", kValueHeight,
           axis_.width(), value_y(options_.initial, low, high));
    std::string labels;
    int64_t free_from = 0;
    int64_t before = options_.initial;
    for (const Step& step : steps_) {
      const int64_t y = value_y(step.value, low, high);
      append("H{}V{}", step.x, y);
      labels += fmt::format("<circle class=\"dot\" cx=\"{}\" cy=\"{}\" r=\"3\"/>", step.x, y);
      if (step.x >= free_from && step.value != before) {
        const std::string text = fmt::format("{}", step.value);
        labels += fmt::format("<text class=\"soft\" x=\"{}\" y=\"{}\">{}</text>", step.x + 5, y - 6,
                              text);
        free_from = step.x + static_cast<int64_t>(text.size()) * 7 + 14;
      }
      before = step.value;
    }
    append("H{}\"/>{}\n", axis_.width(), labels);
  }

  void append_table() {
    if (result_.culprits.empty()) return;
    append(
        "<h2>{}</h2>\n<table><tr><th>client</th><th>seq</th><th>operation</th>"
        "<th>invoke</th><th>return</th></tr>\n",
        result_.verdict != Verdict::kViolation ? "Stayed undecided"
        : !result_.culprits_contradict         ? "Where it shows"
        : result_.culprits.size() == 1         ? "Has no place in any order"
                                               : "Cannot all be true together");
    size_t left_out_count = result_.culprits.size();
    for (const size_t index : segment_.shown) {
      if (!is_marked(index)) continue;
      const Operation& op = history_[index];
      const std::string bounds =
          op.lower || op.upper ? " within " + checker::describe_bounds(op) : "";
      append(
          "<tr><td>{}</td><td>{}</td><td><a href=\"#op-{}\">{}{}</a></td><td>{}</td><td>{}</td>"
          "</tr>\n",
          op.client, op.sequence, index, escaped(label_of(op)), bounds, grouped(op.invoke_ns),
          op.return_ns ? grouped(*op.return_ns) : "never");
      --left_out_count;
    }
    out_ += "</table>\n";
    if (left_out_count > 0) append("<p class=\"note\">and {} more</p>\n", grouped(left_out_count));
  }

  const History& history_;
  const CheckResult& result_;
  const CheckOptions& options_;
  const Segment segment_;
  const Axis axis_;
  std::vector<uint64_t> lanes_;  // clients, from top to bottom
  std::vector<Step> steps_;      // of the path
  std::string out_;
};

}  // namespace

std::string check_html(const History& history, const CheckResult& result,
                       const CheckOptions& options, std::string_view title) {
  return Picture(history, result, options).page(title);
}

}  // namespace tally::sim
