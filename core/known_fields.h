// Strict decoding: was every byte of a protobuf message understood?
//
// protobuf keeps fields it does not know and goes on. Tally does not: half of a request, or of a
// command in the log, is a different one. Internal to core's .cpp files.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

namespace tally {

// Of this message alone; ask for each message inside it too.
template <class Wire>
bool has_only_known_fields(const Wire& message) {
  // Asking protobuf for it costs more than decoding a small message.
  static const google::protobuf::Reflection* const kReflection =
      Wire::default_instance().GetReflection();
  return kReflection->GetUnknownFields(message).empty();
}

}  // namespace tally
