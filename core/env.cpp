#include "core/env.h"

namespace tally {

std::string_view to_string(DiskStatus status) {
  switch (status) {
    case DiskStatus::kOk: return "ok";
    case DiskStatus::kNotFound: return "not_found";
    case DiskStatus::kExists: return "exists";
    case DiskStatus::kNoSpace: return "no_space";
    case DiskStatus::kIoError: return "io_error";
  }
  return "invalid";
}

}  // namespace tally
