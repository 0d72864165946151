#include "core/message.h"

namespace tally {

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk: return "ok";
    case Outcome::kNotApplied: return "not_applied";
    case Outcome::kUnknown: return "unknown";
    case Outcome::kRejected: return "rejected";
  }
  return "invalid";
}

std::string_view to_string(Reason reason) {
  switch (reason) {
    case Reason::kNone: return "none";
    case Reason::kNotLeader: return "not_leader";
    case Reason::kBusy: return "busy";
    case Reason::kTimedOut: return "timed_out";
    case Reason::kLeadershipLost: return "leadership_lost";
    case Reason::kBounds: return "bounds";
    case Reason::kOverflow: return "overflow";
    case Reason::kExpired: return "expired";
    case Reason::kSessionsFull: return "sessions_full";
    case Reason::kStaleSequence: return "stale_sequence";
    case Reason::kWindow: return "window";
    case Reason::kBadRequest: return "bad_request";
    case Reason::kStopping: return "stopping";
    case Reason::kDiskFull: return "disk_full";
    case Reason::kTransfer: return "transfer";
  }
  return "invalid";
}

}  // namespace tally
