#include "core/note.h"

#include <fmt/format.h>

namespace tally {
namespace {

constexpr std::string_view kNoteTexts[] = {
#define TALLY_NOTE_TEXT(name, text) text,
    TALLY_NOTES(TALLY_NOTE_TEXT)
#undef TALLY_NOTE_TEXT
};

}  // namespace

std::string note_text(const Note& note) {
  return fmt::format(fmt::runtime(kNoteTexts[static_cast<size_t>(note.kind)]),
                     fmt::arg("p", note.peer.value()), fmt::arg("a", note.a),
                     fmt::arg("b", note.b));
}

}  // namespace tally
