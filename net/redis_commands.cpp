// The commands of RedisServer: what each of them does and answers.
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <utility>

#include "net/redis.h"

namespace tally {
namespace {

// What clients may expect of replies; nothing of that release's own is used.
constexpr std::string_view kRedisVersion = "7.2.0";

constexpr std::string_view kSyntax = "ERR syntax error";
constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";
constexpr std::string_view kNoLeader =
    "CLUSTERDOWN NOT_APPLIED no leader could be asked in time: an election is on, or no majority "
    "can be reached; it is safe to try again";
constexpr std::string_view kTooManyUnderWay =
    "TRYAGAIN NOT_APPLIED too many increments are under way; it is safe to try again";
constexpr std::string_view kUnknown =
    "UNKNOWN the increment may have been applied, or may yet be: do not just repeat it, look at "
    "the "
    "counter. TALLY.OPEN and TALLY.INCRBY can be repeated";
constexpr std::string_view kUnknownOfSession =
    "UNKNOWN it may have been applied, or may yet be: repeat it with the same SESSION and SEQ, "
    "that "
    "executes once";

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// `lowercase` is.
bool is_word(std::string_view text, std::string_view lowercase) {
  return text.size() == lowercase.size() &&
         std::equal(text.begin(), text.end(), lowercase.begin(),
                    [](char a, char b) { return lower(a) == b; });
}

std::string lowered(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

// Cut, for an error.
std::string_view shown(std::string_view argument) { return argument.substr(0, 128); }

// What to do instead of Redis' commands that Tally does not have. Nothing is emulated by a read and
// an add, which could be torn apart.
struct Refused {
  std::string_view name;
  std::string_view advice;
};
constexpr std::string_view kNoSet =
    "a counter changes by INCR, INCRBY, DECR and DECRBY only, and begins at 0";
constexpr std::string_view kNoDelete =
    "a counter goes away when it is 0 again, by INCRBY or DECRBY; count under a new name to begin "
    "anew";
constexpr std::string_view kNoExpiry = "counters do not expire";
constexpr std::string_view kNoTransactions =
    "each increment is atomic by itself; in a pipeline, switch transactions off";
constexpr std::array kRefused{
    Refused{"set", kNoSet},
    Refused{"setnx", kNoSet},
    Refused{"setex", kNoSet},
    Refused{"psetex", kNoSet},
    Refused{"mset", kNoSet},
    Refused{"msetnx", kNoSet},
    Refused{"getset", kNoSet},
    Refused{"append", kNoSet},
    Refused{"setrange", kNoSet},
    Refused{"incrbyfloat", "counters are 64-bit integers; use INCRBY"},
    Refused{"getdel", kNoDelete},
    Refused{"del", kNoDelete},
    Refused{"unlink", kNoDelete},
    Refused{"rename", kNoDelete},
    Refused{"flushdb", kNoDelete},
    Refused{"flushall", kNoDelete},
    Refused{"getex", kNoExpiry},
    Refused{"expire", kNoExpiry},
    Refused{"pexpire", kNoExpiry},
    Refused{"expireat", kNoExpiry},
    Refused{"pexpireat", kNoExpiry},
    Refused{"persist", kNoExpiry},
    Refused{"multi", kNoTransactions},
    Refused{"exec", kNoTransactions},
    Refused{"discard", kNoTransactions},
    Refused{"watch", kNoTransactions},
    Refused{"unwatch", kNoTransactions},
};

constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kSettings{{
    {"save", ""},
    {"appendonly", "yes"},
    {"appendfsync", "always"},
    {"databases", "1"},
    {"maxmemory", "0"},
}};

}  // namespace

enum class RedisVerb : uint8_t {
  kIncr,
  kIncrBy,
  kDecr,
  kDecrBy,
  kGet,
  kMget,
  kExists,
  kPing,
  kEcho,
  kHello,
  kAuth,
  kReset,
  kSelect,
  kInfo,
  kCommand,
  kConfig,
  kClient,
  kQuit,
  kTallyOpen,
  kTallyIncrBy,
};

struct RedisServer::Command {
  RedisVerb verb;
  RedisCommandKind kind;
  std::string_view name;
  int arity;     // of arguments, its name included; negative: at least
  int last_key;  // as COMMAND says it: 0: none, 1: the second argument, -1: from there to the end
  std::string_view summary;

  bool is_increment() const { return kind == RedisCommandKind::kIncrement || is_of_session(); }
  bool is_of_session() const { return kind == RedisCommandKind::kTally; }
  bool takes(size_t argument_count) const {
    const int count = static_cast<int>(argument_count);
    return arity >= 0 ? count == arity : count >= -arity;
  }

  static const std::array<Command, 20> kAll;
  static const Command* find(std::string_view name) {
    for (const Command& each : kAll) {
      if (is_word(name, each.name)) return &each;
    }
    return nullptr;
  }
};

const std::array<RedisServer::Command, 20> RedisServer::Command::kAll{{
    {RedisVerb::kIncr, RedisCommandKind::kIncrement, "incr", 2, 1, "Adds 1 to a counter"},
    {RedisVerb::kIncrBy, RedisCommandKind::kIncrement, "incrby", 3, 1, "Adds to a counter"},
    {RedisVerb::kDecr, RedisCommandKind::kIncrement, "decr", 2, 1, "Takes 1 from a counter"},
    {RedisVerb::kDecrBy, RedisCommandKind::kIncrement, "decrby", 3, 1, "Takes from a counter"},
    {RedisVerb::kGet, RedisCommandKind::kRead, "get", 2, 1, "The value of a counter"},
    {RedisVerb::kMget, RedisCommandKind::kRead, "mget", -2, -1, "The values of counters, at once"},
    {RedisVerb::kExists, RedisCommandKind::kRead, "exists", -2, -1, "How many of them are not 0"},
    {RedisVerb::kPing, RedisCommandKind::kOther, "ping", -1, 0, "Answers"},
    {RedisVerb::kEcho, RedisCommandKind::kOther, "echo", 2, 0, "Answers what was said"},
    {RedisVerb::kHello, RedisCommandKind::kOther, "hello", -1, 0, "Chooses RESP2 or RESP3"},
    {RedisVerb::kAuth, RedisCommandKind::kOther, "auth", -2, 0, "There are no passwords"},
    {RedisVerb::kReset, RedisCommandKind::kOther, "reset", 1, 0, "As if newly connected"},
    {RedisVerb::kSelect, RedisCommandKind::kOther, "select", 2, 0, "There is database 0"},
    {RedisVerb::kInfo, RedisCommandKind::kOther, "info", -1, 0, "What this node is and does"},
    {RedisVerb::kCommand, RedisCommandKind::kOther, "command", -1, 0, "What there is"},
    {RedisVerb::kConfig, RedisCommandKind::kOther, "config", -2, 0, "Some settings, to be read"},
    {RedisVerb::kClient, RedisCommandKind::kOther, "client", -2, 0, "About this connection"},
    {RedisVerb::kQuit, RedisCommandKind::kOther, "quit", -1, 0, "Closes the connection"},
    {RedisVerb::kTallyOpen, RedisCommandKind::kTally, "tally.open", 1, 0,
     "Opens an exactly-once session and answers its number"},
    {RedisVerb::kTallyIncrBy, RedisCommandKind::kTally, "tally.incrby", -9, 1,
     "name delta SESSION s SEQ n FIRST f [MIN a] [MAX b]: adds once, however often it is sent"},
}};

// `may_read`: an index was confirmed after this command had arrived; `failed`: or could not be.
RedisServer::Step RedisServer::execute(Connection& connection, const Arguments& arguments,
                                       bool may_read, bool failed) {
  const Command* command = Command::find(arguments.front());
  const bool fits = command != nullptr && command->takes(arguments.size());
  if (fits && command->is_increment()) {
    switch (command->verb) {
      case RedisVerb::kIncr:
        return begin_increment(connection, {.name = Bytes::passing(arguments[1]), .delta = 1});
      case RedisVerb::kDecr:
        return begin_increment(connection, {.name = Bytes::passing(arguments[1]), .delta = -1});
      case RedisVerb::kIncrBy: return increment_by(connection, arguments, /*negative=*/false);
      case RedisVerb::kDecrBy: return increment_by(connection, arguments, /*negative=*/true);
      case RedisVerb::kTallyOpen:
        return begin(connection, Client::OpenSession{}, /*of_session=*/true, {});
      default: return tally_increment(connection, arguments);
    }
  }
  // Everything else is answered at once, so after all that came before it.
  if (!connection.slots.empty()) return Step::kWait;
  if (command != nullptr && fits && command->kind == RedisCommandKind::kRead && !may_read) {
    return Step::kWait;
  }
  if (command == nullptr) {
    unknown(connection, arguments);
    return Step::kDone;
  }
  ++counts_.commands[static_cast<size_t>(command->kind)];
  mark_dirty(connection);
  if (!fits) {
    fail(connection, fmt::format("ERR wrong number of arguments for '{}' command", command->name));
    return Step::kDone;
  }
  if (failed && command->kind == RedisCommandKind::kRead) {
    fail(connection, kNoLeader);
    return Step::kDone;
  }
  switch (command->verb) {
    case RedisVerb::kGet: get(connection, arguments); break;
    case RedisVerb::kMget: mget(connection, arguments); break;
    case RedisVerb::kExists: exists(connection, arguments); break;
    case RedisVerb::kPing: ping(connection, arguments); break;
    case RedisVerb::kEcho: put_bulk(connection.out, arguments[1]); break;
    case RedisVerb::kHello: hello(connection, arguments); break;
    case RedisVerb::kAuth: auth(connection, arguments); break;
    case RedisVerb::kReset: reset(connection); break;
    case RedisVerb::kSelect: select(connection, arguments); break;
    case RedisVerb::kInfo: info(connection, arguments); break;
    case RedisVerb::kCommand: this->command(connection, arguments); break;
    case RedisVerb::kConfig: config(connection, arguments); break;
    case RedisVerb::kClient: client(connection, arguments); break;
    case RedisVerb::kQuit:
      put_simple(connection.out, "OK");
      connection.closing = true;
      break;
    default: break;  // increments, above
  }
  return Step::kDone;
}

// ---- Increments ----

RedisServer::Step RedisServer::refuse(Connection& connection, std::string_view text) {
  if (!connection.slots.empty()) return Step::kWait;
  fail(connection, text);
  return Step::kDone;
}

// Why clients have to go elsewhere; empty when this node serves them.
std::string RedisServer::refusal(std::string_view name) const {
  if (config_.forward || owner_.redis_is_leader()) return {};
  const std::string address = owner_.redis_leader_address();
  if (address.empty()) return std::string(kNoLeader);
  return fmt::format("MOVED {} {}", key_slot(name), address);
}

RedisServer::Step RedisServer::begin_increment(Connection& connection,
                                               Client::Increment&& increment) {
  const std::string error = counter_name_error(increment.name.view());
  if (!error.empty()) return refuse(connection, "ERR " + error);
  const Bytes name = increment.name;
  return begin(connection, std::move(increment), /*of_session=*/false, name.view());
}

RedisServer::Step RedisServer::begin(Connection& connection, Client::Operation&& operation,
                                     bool of_session, std::string_view name) {
  const bool full = pool_.open_count() >= config_.operation_count_max;
  if (!connection.slots.empty()) {
    if (full || !pool_.has_room(connection.member)) return Step::kWait;
  } else {
    const std::string elsewhere = refusal(name);
    if (!elsewhere.empty()) return refuse(connection, elsewhere);
    const auto member = full ? std::optional<uint32_t>() : pool_.choose();
    if (!member) {
      ++counts_.shed;
      return refuse(connection, kTooManyUnderWay);
    }
    connection.member = *member;
  }
  ++counts_.commands[static_cast<size_t>(of_session ? RedisCommandKind::kTally
                                                    : RedisCommandKind::kIncrement)];
  const uint32_t slot = connection.first_slot + static_cast<uint32_t>(connection.slots.size());
  connection.slots.push_back({.of_session = of_session});
  pool_.start(now_, connection.member, uint64_t{connection.index} << 32 | slot,
              std::move(operation));
  return Step::kDone;
}

RedisServer::Step RedisServer::increment_by(Connection& connection, const Arguments& arguments,
                                            bool negative) {
  int64_t delta = 0;
  if (!parse_integer(arguments[2], delta)) return refuse(connection, kNotAnInteger);
  if (negative) {
    if (delta == std::numeric_limits<int64_t>::min()) {
      return refuse(connection, "ERR decrement would overflow");
    }
    delta = -delta;
  }
  return begin_increment(connection, {.name = Bytes::passing(arguments[1]), .delta = delta});
}

RedisServer::Step RedisServer::tally_increment(Connection& connection, const Arguments& arguments) {
  Client::Increment increment{.name = Bytes::passing(arguments[1])};
  const std::string error = counter_name_error(increment.name.view());
  if (!error.empty()) return refuse(connection, "ERR " + error);
  if (!parse_integer(arguments[2], increment.delta)) return refuse(connection, kNotAnInteger);
  std::optional<int64_t> session;
  std::optional<int64_t> sequence;
  std::optional<int64_t> first;
  if (arguments.size() % 2 == 0) return refuse(connection, kSyntax);
  for (size_t i = 3; i < arguments.size(); i += 2) {
    const std::array<std::pair<std::string_view, std::optional<int64_t>*>, 5> options{{
        {"session", &session},
        {"seq", &sequence},
        {"first", &first},
        {"min", &increment.lower},
        {"max", &increment.upper},
    }};
    const auto option = std::find_if(options.begin(), options.end(), [&](const auto& each) {
      return is_word(arguments[i], each.first);
    });
    if (option == options.end() || option->second->has_value()) return refuse(connection, kSyntax);
    if (!parse_integer(arguments[i + 1], option->second->emplace())) {
      return refuse(connection, kNotAnInteger);
    }
  }
  if (!session || !sequence || !first) return refuse(connection, kSyntax);
  if (*session < 1 || *first < 1 || *sequence < *first) {
    return refuse(connection,
                  "ERR SESSION and FIRST are 1 or more, and SEQ is FIRST or more: FIRST is the "
                  "lowest SEQ that you have no answer for");
  }
  const auto plain = [](int64_t value) { return static_cast<uint64_t>(value); };
  increment.id = {SessionId(plain(*session)), plain(*sequence), plain(*first)};
  return begin(connection, std::move(increment), /*of_session=*/true, arguments[1]);
}

void RedisServer::reply_slot(Connection& connection, const Slot& slot) {
  if (connection.fd < 0) return;
  mark_dirty(connection);
  if (slot.outcome == Outcome::kOk) return put_integer(connection.out, slot.value);
  if (slot.outcome == Outcome::kUnknown) {
    ++counts_.unknown;
    return fail(connection, slot.of_session ? kUnknownOfSession : kUnknown);
  }
  switch (slot.reason) {
    case Reason::kOverflow: return fail(connection, "ERR increment or decrement would overflow");
    case Reason::kBounds:
      return fail(connection, "BOUNDS REJECTED the value would leave MIN or MAX; it is unchanged");
    case Reason::kExpired:
      return fail(connection,
                  "EXPIRED REJECTED no such session, or no longer: nothing was executed now. Open "
                  "another with TALLY.OPEN");
    case Reason::kStaleSequence:
      return fail(connection,
                  "STALE REJECTED SEQ is below the FIRST that this session was told: nothing was "
                  "executed now");
    case Reason::kWindow:
      return fail(connection, fmt::format("WINDOW NOT_APPLIED SEQ is {} or more above FIRST: wait "
                                          "for the answers to earlier ones",
                                          kSessionWindow));
    case Reason::kSessionsFull:
      return fail(connection,
                  "TRYAGAIN NOT_APPLIED there are as many sessions as there may be; try again when "
                  "some are closed or have expired");
    default: return fail(connection, kNoLeader);
  }
}

// ---- Reads ----

bool RedisServer::take_name(Connection& connection, std::string_view name) {
  const std::string error = counter_name_error(name);
  if (!error.empty()) fail(connection, "ERR " + error);
  return error.empty();
}

void RedisServer::get(Connection& connection, const Arguments& arguments) {
  if (!take_name(connection, arguments[1])) return;
  const int64_t value = owner_.redis_state().value(arguments[1]);
  if (value == 0) return put_null(connection.out, connection.resp3);
  put_bulk_integer(connection.out, value);
}

void RedisServer::mget(Connection& connection, const Arguments& arguments) {
  for (size_t i = 1; i < arguments.size(); ++i) {
    if (!take_name(connection, arguments[i])) return;
  }
  put_array(connection.out, arguments.size() - 1);
  for (size_t i = 1; i < arguments.size(); ++i) get(connection, {arguments[0], arguments[i]});
}

void RedisServer::exists(Connection& connection, const Arguments& arguments) {
  int64_t count = 0;
  for (size_t i = 1; i < arguments.size(); ++i) {
    if (!take_name(connection, arguments[i])) return;
    count += owner_.redis_state().value(arguments[i]) != 0;
  }
  put_integer(connection.out, count);
}

// ---- The connection ----

void RedisServer::ping(Connection& connection, const Arguments& arguments) {
  if (arguments.size() > 2) {
    return fail(connection, "ERR wrong number of arguments for 'ping' command");
  }
  if (arguments.size() == 2) return put_bulk(connection.out, arguments[1]);
  put_simple(connection.out, "PONG");
}

void RedisServer::hello(Connection& connection, const Arguments& arguments) {
  int64_t version = connection.resp3 ? 3 : 2;
  if (arguments.size() > 1) {
    if (!parse_integer(arguments[1], version)) {
      return fail(connection, "ERR Protocol version is not an integer or out of range");
    }
    if (version != 2 && version != 3) {
      return fail(connection, "NOPROTO unsupported protocol version");
    }
  }
  std::optional<std::string_view> name;
  for (size_t i = 2; i < arguments.size(); ++i) {
    if (is_word(arguments[i], "auth") && i + 2 < arguments.size()) {
      if (!authenticate(connection, arguments[i + 1], arguments[i + 2])) return;
      i += 2;
    } else if (is_word(arguments[i], "setname") && i + 1 < arguments.size()) {
      name = arguments[++i];
    } else {
      return fail(connection,
                  fmt::format("ERR Syntax error in HELLO option '{}'", shown(arguments[i])));
    }
  }
  if (name && !set_name(connection, *name)) return;
  connection.resp3 = version == 3;
  std::string& out = connection.out;
  put_map(out, 7, connection.resp3);
  put_bulk(out, "server");
  put_bulk(out, "redis");
  put_bulk(out, "version");
  put_bulk(out, kRedisVersion);
  put_bulk(out, "proto");
  put_integer(out, version);
  put_bulk(out, "id");
  put_integer(out, static_cast<int64_t>(connection.id));
  put_bulk(out, "mode");
  put_bulk(out, "standalone");
  put_bulk(out, "role");
  put_bulk(out, owner_.redis_is_leader() ? "master" : "replica");
  put_bulk(out, "modules");
  put_array(out, 0);
}

// As a Redis whose default user needs no password.
bool RedisServer::authenticate(Connection& connection, std::string_view user,
                               std::string_view /*password*/) {
  if (user == "default") return true;
  fail(connection, "WRONGPASS invalid username-password pair or user is disabled.");
  return false;
}

void RedisServer::auth(Connection& connection, const Arguments& arguments) {
  if (arguments.size() > 3) return fail(connection, kSyntax);
  if (arguments.size() == 2) {
    return fail(connection,
                "ERR AUTH <password> called without any password configured for the default user. "
                "Are you sure your configuration is correct?");
  }
  if (authenticate(connection, arguments[1], arguments[2])) put_simple(connection.out, "OK");
}

void RedisServer::reset(Connection& connection) {
  connection.resp3 = false;
  connection.name.clear();
  put_simple(connection.out, "RESET");
}

void RedisServer::select(Connection& connection, const Arguments& arguments) {
  int64_t database = 0;
  if (!parse_integer(arguments[1], database)) return fail(connection, kNotAnInteger);
  if (database != 0) return fail(connection, "ERR DB index is out of range");
  put_simple(connection.out, "OK");
}

bool RedisServer::set_name(Connection& connection, std::string_view name) {
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!plain || name.size() > 255) {
    fail(connection, "ERR Client names cannot contain spaces, newlines or special characters.");
    return false;
  }
  connection.name = name;
  return true;
}

void RedisServer::client(Connection& connection, const Arguments& arguments) {
  std::string& out = connection.out;
  const std::string_view what = arguments[1];
  const size_t count = arguments.size();
  if (is_word(what, "id") && count == 2) {
    return put_integer(out, static_cast<int64_t>(connection.id));
  }
  if (is_word(what, "getname") && count == 2) {
    if (connection.name.empty()) return put_null(out, connection.resp3);
    return put_bulk(out, connection.name);
  }
  if (is_word(what, "setname") && count == 3) {
    if (set_name(connection, arguments[2])) put_simple(out, "OK");
    return;
  }
  if (is_word(what, "setinfo") && count == 4) {
    if (is_word(arguments[2], "lib-name") || is_word(arguments[2], "lib-ver")) {
      return put_simple(out, "OK");
    }
    return fail(connection, fmt::format("ERR Unrecognized option '{}'", shown(arguments[2])));
  }
  for (const std::string_view known : {"id", "getname", "setname", "setinfo"}) {
    if (!is_word(what, known)) continue;
    return fail(connection,
                fmt::format("ERR wrong number of arguments for 'client|{}' command", known));
  }
  fail(connection, fmt::format("ERR unknown subcommand '{}'. There are ID, GETNAME, SETNAME and "
                               "SETINFO.",
                               shown(what)));
}

// ---- What it tells ----

void RedisServer::config(Connection& connection, const Arguments& arguments) {
  if (!is_word(arguments[1], "get")) {
    return fail(connection,
                fmt::format("ERR CONFIG {} is not supported: Tally is configured by tallyd's flags "
                            "and its --config file",
                            shown(arguments[1])));
  }
  if (arguments.size() < 3) {
    return fail(connection, "ERR wrong number of arguments for 'config|get' command");
  }
  std::vector<size_t> found;
  for (size_t i = 0; i < kSettings.size(); ++i) {
    const bool wanted =
        std::any_of(arguments.begin() + 2, arguments.end(), [&](std::string_view pattern) {
          return pattern == "*" || is_word(pattern, kSettings[i].first);
        });
    if (wanted) found.push_back(i);
  }
  put_map(connection.out, found.size(), connection.resp3);
  for (const size_t i : found) {
    put_bulk(connection.out, kSettings[i].first);
    put_bulk(connection.out, kSettings[i].second);
  }
}

void RedisServer::put_command_info(Connection& connection, const Command& command) {
  std::string& out = connection.out;
  put_array(out, 10);
  put_bulk(out, command.name);
  put_integer(out, command.arity);
  put_array(out, 1);
  put_simple(out, command.is_increment() ? "write" : "readonly");
  put_integer(out, command.last_key == 0 ? 0 : 1);
  put_integer(out, command.last_key);
  put_integer(out, command.last_key == 0 ? 0 : 1);
  for (int i = 0; i < 4; ++i) put_array(out, 0);  // categories, tips, key specifications, parts
}

void RedisServer::command(Connection& connection, const Arguments& arguments) {
  std::string& out = connection.out;
  const size_t count = arguments.size();
  if (count == 1) {
    put_array(out, Command::kAll.size());
    for (const Command& each : Command::kAll) put_command_info(connection, each);
    return;
  }
  if (is_word(arguments[1], "count") && count == 2) {
    return put_integer(out, static_cast<int64_t>(Command::kAll.size()));
  }
  if (is_word(arguments[1], "list") && count == 2) {
    put_array(out, Command::kAll.size());
    for (const Command& each : Command::kAll) put_bulk(out, each.name);
    return;
  }
  if (is_word(arguments[1], "info")) {
    if (count == 2) return command(connection, {arguments[0]});
    put_array(out, count - 2);
    for (size_t i = 2; i < count; ++i) {
      const Command* found = Command::find(arguments[i]);
      if (found != nullptr) {
        put_command_info(connection, *found);
      } else {
        put_null(out, connection.resp3);
      }
    }
    return;
  }
  if (is_word(arguments[1], "docs")) {
    std::vector<const Command*> wanted;
    for (const Command& each : Command::kAll) {
      const bool named =
          std::any_of(arguments.begin() + 2, arguments.end(),
                      [&](std::string_view name) { return is_word(name, each.name); });
      if (named || count == 2) wanted.push_back(&each);
    }
    put_map(out, wanted.size(), connection.resp3);
    for (const Command* each : wanted) {
      put_bulk(out, each->name);
      put_map(out, 3, connection.resp3);
      put_bulk(out, "summary");
      put_bulk(out, each->summary);
      put_bulk(out, "since");
      put_bulk(out, "1.0.0");
      put_bulk(out, "group");
      put_bulk(out, each->last_key == 0 ? "connection" : "string");
    }
    return;
  }
  fail(connection, fmt::format("ERR unknown subcommand '{}'. There are COUNT, DOCS, INFO and LIST.",
                               shown(arguments[1])));
}

// The sections named, or all.
void RedisServer::info(Connection& connection, const Arguments& arguments) {
  constexpr std::array<std::string_view, 6> kSections{"server", "clients",     "persistence",
                                                      "stats",  "replication", "keyspace"};
  std::string text;
  for (const std::string_view section : kSections) {
    const bool wanted =
        arguments.size() == 1 ||
        std::any_of(arguments.begin() + 1, arguments.end(), [&](std::string_view name) {
          return is_word(name, section) || is_word(name, "all") || is_word(name, "default") ||
                 is_word(name, "everything");
        });
    if (!wanted) continue;
    if (!text.empty()) text.append("\r\n");
    text.append(info_text(section));
  }
  put_bulk(connection.out, text);
}

std::string RedisServer::info_text(std::string_view section) const {
  net::Status status;
  owner_.on_status_request(status);
  std::string text;
  const auto line = [&](std::string_view key, const auto& value) {
    fmt::format_to(std::back_inserter(text), "{}:{}\r\n", key, value);
  };
  if (section == "server") {
    text = "# Server\r\n";
    line("redis_version", kRedisVersion);
    line("redis_mode", "standalone");
    line("tally_commit", status.commit());
    utsname system{};
    uname(&system);
    line("os", fmt::format("{} {} {}", system.sysname, system.release, system.machine));
    line("arch_bits", 8 * sizeof(void*));
    line("process_id", getpid());
    line("tcp_port", config_.listen.substr(config_.listen.rfind(':') + 1));
    line("uptime_in_seconds", status.uptime_ms() / 1000);
    line("uptime_in_days", status.uptime_ms() / 86'400'000);
  } else if (section == "clients") {
    text = "# Clients\r\n";
    line("connected_clients", counts_.connections);
    line("maxclients", config_.connection_count_max);
    line("increments_under_way", pool_.open_count());
  } else if (section == "persistence") {
    text = "# Persistence\r\n";
    line("loading", 0);
    line("aof_enabled", 1);
    line("aof_last_write_status", "ok");
    line("sync_count", status.sync_count());
  } else if (section == "stats") {
    text = "# Stats\r\n";
    uint64_t commands = 0;
    for (const uint64_t count : counts_.commands) commands += count;
    line("total_connections_received", counts_.accepted);
    line("total_commands_processed", commands);
    line("rejected_connections", counts_.refused_connections);
    line("total_error_replies", counts_.errors);
  } else if (section == "replication") {
    text = "# Replication\r\n";
    line("role", owner_.redis_is_leader() ? "master" : "slave");
    if (!owner_.redis_is_leader()) {
      const std::string leader = owner_.redis_leader_address();
      const size_t colon = std::min(leader.rfind(':'), leader.size());
      line("master_host", leader.substr(0, colon));
      line("master_port", colon == leader.size() ? "0" : leader.substr(colon + 1));
      line("master_link_status", status.leader() == 0 ? "down" : "up");
    }
    const auto connected = std::count_if(status.peers().begin(), status.peers().end(),
                                         [](const auto& peer) { return peer.connected(); });
    line("connected_slaves", owner_.redis_is_leader() ? connected : 0);
    line("raft_id", status.id());
    line("raft_role", status.role());
    line("raft_term", status.term());
    line("raft_leader", status.leader());
    line("raft_last_index", status.last_index());
    line("raft_durable_index", status.durable_index());
    line("raft_commit_index", status.commit_index());
    line("raft_applied_index", status.applied_index());
    line("raft_snapshot_index", status.snapshot_index());
    line("raft_sessions", status.sessions());
  } else {
    text = "# Keyspace\r\n";
    if (status.counters() > 0) {
      line("db0", fmt::format("keys={},expires=0,avg_ttl=0", status.counters()));
    }
  }
  return text;
}

void RedisServer::unknown(Connection& connection, const Arguments& arguments) {
  const std::string name = lowered(shown(arguments[0]));
  // A browser that was led here to say something in somebody's name.
  if (name == "post" || name == "host:") {
    owner_.on_redis_event("redis client cut off: it speaks HTTP");
    connection.closing = true;
    mark_dirty(connection);
    return;
  }
  const auto refused = std::find_if(kRefused.begin(), kRefused.end(),
                                    [&](const Refused& each) { return each.name == name; });
  ++counts_.commands[static_cast<size_t>(RedisCommandKind::kOther)];
  if (refused != kRefused.end()) {
    std::string upper = name;
    std::transform(upper.begin(), upper.end(), upper.begin(), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    return fail(connection, fmt::format("ERR {} is not supported: {}", upper, refused->advice));
  }
  std::string text =
      fmt::format("ERR unknown command '{}', with args beginning with: ", shown(arguments[0]));
  for (size_t i = 1; i < arguments.size() && text.size() < 256; ++i) {
    fmt::format_to(std::back_inserter(text), "'{}' ", shown(arguments[i]));
  }
  fail(connection, text);
}

}  // namespace tally
