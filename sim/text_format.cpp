#include "sim/text_format.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>

#include <charconv>

namespace tally::sim {
namespace {

using google::protobuf::FieldDescriptor;
using ProtoMessage = google::protobuf::Message;
using google::protobuf::TextFormat;

constexpr size_t kLineColumnsMax = 100;

std::string place_text(std::string_view name, int line, int column) {
  return fmt::format("{}:{}:{}: ", name, line + 1, column + 1);
}

// Keeps the first error, with its place counted from 1.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  FirstError(std::string_view name, bool warnings_count)
      : name_(name), warnings_count_(warnings_count) {}
  void AddError(int line, int column, const std::string& message) override {
    if (!text_.empty()) return;
    text_ = line < 0 ? fmt::format("{}: {}", name_, message)
                     : place_text(name_, line, column) + message;
  }
  void AddWarning(int line, int column, const std::string& message) override {
    if (warnings_count_) AddError(line, column, message);
  }
  const std::string& text() const { return text_; }

 private:
  const std::string name_;
  const bool warnings_count_;
  std::string text_;
};

std::string one_line(const ProtoMessage& message) {
  TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  printer.PrintToString(message, &text);
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::string scalar_text(const ProtoMessage& message, const FieldDescriptor& field, int index) {
  TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  printer.PrintFieldValueToString(message, &field, index, &text);
  return text;
}

void print_fields(const ProtoMessage& message, const std::string& indent, std::string& out);

void print_field(const ProtoMessage& message, const FieldDescriptor& field, int index,
                 const std::string& indent, std::string& out) {
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    out += fmt::format("{}{}: {}\n", indent, field.name(), scalar_text(message, field, index));
    return;
  }
  const auto& reflection = *message.GetReflection();
  const ProtoMessage& inner = index < 0 ? reflection.GetMessage(message, &field)
                                        : reflection.GetRepeatedMessage(message, &field, index);
  const std::string line = fmt::format("{}{} {{ {} }}", indent, field.name(), one_line(inner));
  if (line.size() <= kLineColumnsMax) {
    out += line + "\n";
    return;
  }
  out += fmt::format("{}{} {{\n", indent, field.name());
  print_fields(inner, indent + "  ", out);
  out += indent + "}\n";
}

void print_fields(const ProtoMessage& message, const std::string& indent, std::string& out) {
  const auto& reflection = *message.GetReflection();
  const auto* descriptor = message.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor& field = *descriptor->field(i);
    if (!field.is_repeated()) {
      if (reflection.HasField(message, &field)) print_field(message, field, -1, indent, out);
      continue;
    }
    for (int index = 0; index < reflection.FieldSize(message, &field); ++index) {
      print_field(message, field, index, indent, out);
    }
  }
}

}  // namespace

std::string TextPlaces::of(std::string_view path, int index) const {
  const Tree* tree = tree_;
  const google::protobuf::Descriptor* descriptor = descriptor_;
  while (tree != nullptr) {
    const size_t dot = path.find('.');
    std::string name(path.substr(0, dot));
    int position = dot == std::string_view::npos ? index : 0;
    if (const size_t bracket = name.find('['); bracket != std::string::npos) {
      std::from_chars(name.data() + bracket + 1, name.data() + name.size(), position);
      name.resize(bracket);
    }
    const auto* field = descriptor->FindFieldByName(name);
    if (field == nullptr) return {};
    if (!field->is_repeated()) position = -1;
    if (dot == std::string_view::npos) {
      const TextFormat::ParseLocation place = tree->GetLocation(field, position);
      return place.line < 0 ? std::string() : place_text(name_, place.line, place.column);
    }
    tree = tree->GetTreeForNested(field, position);
    descriptor = field->message_type();
    path.remove_prefix(dot + 1);
  }
  return {};
}

TextPlaces TextPlaces::inside(std::string_view field) const {
  TextPlaces places = *this;
  const auto* descriptor = descriptor_->FindFieldByName(std::string(field));
  places.tree_ = tree_ == nullptr ? nullptr : tree_->GetTreeForNested(descriptor, -1);
  places.descriptor_ = descriptor->message_type();
  return places;
}

std::string parse_text(std::string_view text, std::string_view name, UnknownFields unknown,
                       ProtoMessage& message, TextPlaces* places) {
  const bool accepted = unknown == UnknownFields::kAccepted;
  FirstError error(name, !accepted);
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.AllowUnknownField(accepted);
  if (places != nullptr) {
    places->root_ = std::make_shared<TextPlaces::Tree>();
    places->tree_ = places->root_.get();
    places->descriptor_ = message.GetDescriptor();
    places->name_ = std::string(name);
    parser.WriteLocationsTo(places->root_.get());
  }
  message.Clear();
  const bool parsed = parser.ParseFromString(std::string(text), &message);
  if (!error.text().empty()) return error.text();
  return parsed ? std::string() : fmt::format("{}: does not parse", name);
}

std::string print_text(const ProtoMessage& message) {
  std::string out;
  print_fields(message, "", out);
  return out;
}

}  // namespace tally::sim
