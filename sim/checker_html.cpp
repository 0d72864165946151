#include "sim/checker_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <vector>

#include "sim/checker_explain.h"
#include "sim/checker_html_page.h"
#include "sim/checker_segment.h"

namespace tally::sim {
namespace {

using Verdict = CheckResult::Verdict;
using checker_html::kPageHead;
using checker_html::kScript;
using checker_html::kStyle;

constexpr int64_t kLaneHeight = 34;  // pixels, as all sizes
constexpr int64_t kBarHeight = 22;
constexpr int64_t kAxisHeight = 30;
constexpr int64_t kValueHeight = 96;
constexpr int64_t kMargin = 16;
constexpr int64_t kWidthMin = 1080;  // a short history is stretched to this
constexpr size_t kNoStep = std::numeric_limits<size_t>::max();

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  return out;
}

template <class Integer>
std::string grouped(Integer number) {
  std::string digits = fmt::format("{}", number);
  const size_t first = digits[0] == '-' ? 1 : 0;
  for (size_t end = digits.size(); end > first + 3; end -= 3) digits.insert(end - 3, 1, ',');
  return digits;
}

std::string counted(uint64_t count, std::string_view thing) {
  return fmt::format("{} {}{}", grouped(count), thing, count == 1 ? "" : "s");
}

std::string label_of(const Operation& op) {
  std::string text =
      op.kind == Operation::Kind::kGet ? std::string("get") : fmt::format("{:+}", op.delta);
  switch (op.status) {
    case Operation::Status::kOk: return text + fmt::format(" → {}", op.value);
    case Operation::Status::kUnknown: return text + " ?";
    case Operation::Status::kRejected: return text + " refused";
    case Operation::Status::kFailed: return text + " failed";
  }
  return text;
}

const char* class_of(const Operation& op) {
  switch (op.status) {
    case Operation::Status::kOk: return op.kind == Operation::Kind::kGet ? "get" : "add";
    case Operation::Status::kUnknown: return "maybe";
    case Operation::Status::kRejected: return "refused";
    case Operation::Status::kFailed: return "failed";
  }
  return "";
}

int64_t label_width(const Operation& op) {
  const auto length = static_cast<int64_t>(label_of(op).size());
  const int64_t columns = op.status == Operation::Status::kOk ? length - 2 : length;  // the arrow
  return columns * 73 / 10 + 14;
}

// Where times lie. Every time at which something begins or ends has a place, in order and far
// enough apart that labels fit into their bars; distances are compressed, so that a pause of an
// hour does not push all the rest together.
class Axis {
 public:
  struct Place {
    int64_t time;
    int64_t begin;  // pixels: of what is invoked at this time
    int64_t end;    // of what returns at it; larger where an operation has no duration
  };

  Axis(const History& history, const std::vector<size_t>& shown, int64_t clock_error)
      : clock_error_(clock_error) {
    for (const size_t index : shown) {
      times_add(invoke_of(history[index]));
      times_add(return_of(history[index]));
    }
    const auto by_time = [](const Place& a, const Place& b) { return a.time < b.time; };
    std::sort(places_.begin(), places_.end(), by_time);
    places_.erase(std::unique(places_.begin(), places_.end(),
                              [](const Place& a, const Place& b) { return a.time == b.time; }),
                  places_.end());
    lay_out(history, shown);
  }

  int64_t begin_of(const Operation& op) const { return places_[place_of(invoke_of(op))].begin; }
  // The right end of what may take effect at any later time is that of the picture.
  int64_t end_of(const Operation& op) const {
    return op.return_ns ? places_[place_of(return_of(op))].end : width_ - kMargin / 2;
  }
  int64_t effect_end_of(const Operation& op) const {
    return op.status == Operation::Status::kUnknown ? width_ - kMargin / 2 : end_of(op);
  }
  int64_t width() const { return width_; }
  const std::vector<Place>& places() const { return places_; }

 private:
  int64_t invoke_of(const Operation& op) const {
    const int64_t min = std::numeric_limits<int64_t>::min();
    return op.invoke_ns < min + clock_error_ ? min : op.invoke_ns - clock_error_;
  }
  int64_t return_of(const Operation& op) const {
    const int64_t max = std::numeric_limits<int64_t>::max();
    if (!op.return_ns) return invoke_of(op);
    return *op.return_ns > max - clock_error_ ? max : *op.return_ns + clock_error_;
  }
  void times_add(int64_t time) { places_.push_back({time, 0, 0}); }
  size_t place_of(int64_t time) const {
    const auto found = std::lower_bound(places_.begin(), places_.end(), time,
                                        [](const Place& a, int64_t b) { return a.time < b; });
    return static_cast<size_t>(found - places_.begin());
  }

  static uint64_t distance(const Place& a, const Place& b) {
    const uint64_t gap = static_cast<uint64_t>(b.time) - static_cast<uint64_t>(a.time);
    return std::min(gap, uint64_t{1} << 50);
  }
  uint64_t median_distance() const {
    std::vector<uint64_t> gaps;
    for (size_t i = 1; i < places_.size(); ++i)
      gaps.push_back(distance(places_[i - 1], places_[i]));
    if (gaps.empty()) return 1;
    const auto middle = gaps.begin() + static_cast<ptrdiff_t>(gaps.size() / 2);
    std::nth_element(gaps.begin(), middle, gaps.end());
    return *middle;
  }

  void lay_out(const History& history, const std::vector<size_t>& shown) {
    std::vector<std::vector<size_t>> ending(places_.size());  // operations by place of return
    int64_t tail = 0;  // room for the labels of what has no return
    for (const size_t index : shown) {
      const Operation& op = history[index];
      if (op.return_ns) {
        ending[place_of(return_of(op))].push_back(index);
      } else {
        tail = std::max(tail, label_width(op));
      }
    }
    const uint64_t median = median_distance();
    int64_t x = kMargin;
    for (size_t i = 0; i < places_.size(); ++i) {
      if (i > 0) {
        const uint64_t gap = distance(places_[i - 1], places_[i]);
        x = places_[i - 1].end + 6 + static_cast<int64_t>(24 * gap / (gap + median));
      }
      places_[i].begin = places_[i].end = x;
      for (const size_t index : ending[i]) {
        const int64_t needed = begin_of(history[index]) + label_width(history[index]);
        places_[i].end = std::max(places_[i].end, needed);
        // Only an operation without duration needs width at this very time.
        if (invoke_of(history[index]) != places_[i].time) {
          places_[i].begin = std::max(places_[i].begin, needed);
        }
      }
      places_[i].end = std::max(places_[i].end, places_[i].begin);
    }
    width_ = (places_.empty() ? kMargin : places_.back().end) + tail + kMargin;
    if (width_ < kWidthMin && !places_.empty()) stretch();
  }

  void stretch() {
    const int64_t from = width_ - 2 * kMargin;
    const int64_t to = kWidthMin - 2 * kMargin;
    if (from <= 0) return;
    for (Place& place : places_) {
      place.begin = kMargin + (place.begin - kMargin) * to / from;
      place.end = kMargin + (place.end - kMargin) * to / from;
    }
    width_ = kWidthMin;
  }

  const int64_t clock_error_;
  std::vector<Place> places_;
  int64_t width_ = 0;
};

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
