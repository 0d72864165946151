// Protobuf's text format, read with the place of every mistake and printed as a person would write
// it: small messages on one line, so that a fault or an operation is one line of a file.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <memory>
#include <string>
#include <string_view>

namespace tally::sim {

// What to do with fields that the message does not have.
enum class UnknownFields : bool { kRefused = false, kAccepted = true };

// Where the fields of a parsed text stand.
class TextPlaces {
 public:
  // "name:line:column: ", counted from 1, of the field with this dotted path, the `index`-th of it
  // when it is repeated ("fault[2].target[0].node": those on the way; [0] when left out). Empty
  // when the text does not have it.
  std::string of(std::string_view path, int index = 0) const;
  // The places inside a field: for a message that stands within another one.
  TextPlaces inside(std::string_view field) const;

 private:
  friend std::string parse_text(std::string_view text, std::string_view name, UnknownFields unknown,
                                google::protobuf::Message& message, TextPlaces* places);
  using Tree = google::protobuf::TextFormat::ParseInfoTree;

  std::shared_ptr<Tree> root_;  // keeps `tree_`
  const Tree* tree_ = nullptr;
  const google::protobuf::Descriptor* descriptor_ = nullptr;
  std::string name_;
};

// Empty, or the first mistake as "name:line:column: reason".
std::string parse_text(std::string_view text, std::string_view name, UnknownFields unknown,
                       google::protobuf::Message& message, TextPlaces* places = nullptr);

std::string print_text(const google::protobuf::Message& message);

}  // namespace tally::sim
