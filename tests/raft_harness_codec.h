// Sends a message through the wire codec and says what got lost on the way.
#pragma once

#include <string>

#include "core/message.h"

namespace tally {

// Empty when `envelope`, a Raft message, comes back from its frame as it was.
std::string codec_round_trip_error(const Envelope& envelope);

}  // namespace tally
