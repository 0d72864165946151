# Writes OUTPUT, the source of tally_commit.h, when what it would say has changed.
# In: SOURCE_DIR, OUTPUT, and COMMIT (empty: ask git; without git or a commit it is "unknown").
if(NOT COMMIT)
  find_program(GIT git)
  if(GIT AND EXISTS ${SOURCE_DIR}/.git)
    execute_process(
      COMMAND ${GIT} --no-optional-locks -c safe.directory=${SOURCE_DIR} -C ${SOURCE_DIR}
              describe --always --dirty --abbrev=12
      OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()
if(NOT COMMIT)
  set(COMMIT unknown)
endif()
set(content "#include \"tally_commit.h\"

namespace tally {

const char* commit_id() { return \"${COMMIT}\"; }
const char* source_directory() { return \"${SOURCE_DIR}\"; }

}  // namespace tally
")
set(before "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} before)
endif()
if(NOT before STREQUAL content)
  file(WRITE ${OUTPUT} "${content}")
endif()
