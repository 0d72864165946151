// Dump: a file of storage/ as text, for people who look at a damaged directory.
//
// It judges single records, where they stand, and whose they are; whether what cannot be read is
// damage or an unfinished write is recovery's to say. Never fails, whatever the bytes are.
#pragma once

#include <string>
#include <string_view>

#include "core/storage.h"

namespace tally {

// One line for each record, with its offset; a stretch of zeros, or of bytes that are no record, is
// one line. `name` is the file's, without directories; by it positions are checked. Lines about
// what is wrong begin with "!!". `wrong` is set to how many of those there are. `owner` is whose
// files were dumped before from the same directory: what belongs to another one is wrong. The first
// file that says so sets it.
std::string dump_file(std::string_view name, std::string_view bytes, Identity& owner,
                      size_t& wrong);

}  // namespace tally
