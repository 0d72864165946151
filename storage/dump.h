// Dump: a file of storage/ as text, for people who look at a damaged directory.
//
// It judges single records and where they stand, nothing across files: whether what cannot be read
// is damage or an unfinished write is recovery's to say. Never fails, whatever the bytes are.
#pragma once

#include <string>
#include <string_view>

namespace tally {

// One line for each record, with its offset; a stretch of zeros, or of bytes that are no record, is
// one line. `name` is the file's, without directories; by it positions are checked. Lines about
// what is wrong begin with "!!". `wrong` is set to how many of those there are.
std::string dump_file(std::string_view name, std::string_view bytes, size_t& wrong);

}  // namespace tally
