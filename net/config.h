// The configuration file of tallyd, and the list of members as flags write it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/server.h"

namespace tally {

// Takes over what the file says. Empty, or "FILE:line:column: what is wrong".
std::string load_config(const std::string& path, ServerOptions& options);
// The same of its text; `path` is for the message.
std::string parse_config(const std::string& text, const std::string& path, ServerOptions& options);

// Names, as in the file, of the options that differ.
std::vector<std::string_view> changed_options(const ServerOptions& was, const ServerOptions& is);

// "1=127.0.0.1:8081,2=127.0.0.1:8082". Empty, or what is wrong.
std::string parse_members(const std::string& text, std::vector<PeerAddress>& members);

}  // namespace tally
