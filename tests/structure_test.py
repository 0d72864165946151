#!/usr/bin/env python3
"""Checks by text what the design fixes and no compiler sees: include direction, names that would
break determinism, and a few house rules. Prints `file:line: rule: what to do`; exit 1 on a finding.

It first proves on bad samples that every rule still fires, and on good ones that none does without
cause; then it reads the tree. A line that is an exception on purpose says so, on it or above it:

    // allow(RULE): why this is sound
"""

import argparse
import pathlib
import re
import sys
import tempfile

FOLDERS = ("core", "storage", "net", "sim", "tools", "tests")
# What each folder may include.
LAYERS = {
    "core": {"core"},
    "storage": {"core", "storage"},
    "sim": {"core", "storage", "sim"},
    "net": {"core", "storage", "net"},
    "tools": {"core", "storage", "sim", "net", "tools"},
    "tests": set(FOLDERS),
}
# The folders that run in the simulator: same inputs, same outputs, in every build.
DETERMINISTIC = {"core", "storage", "sim"}
GENERATED_HEADERS = {"tally_commit.h"}
LINE_COLUMNS_MAX = 100

OS_HEADERS = re.compile(
    r"^(sys|arpa|net|netinet|linux|asm)/|"
    r"^(unistd|fcntl|pthread|signal|poll|dirent|netdb|dlfcn|sched|time|spawn|syslog|termios)\.h$|"
    r"^(csignal|ctime|filesystem|fstream|iostream)$")
THREAD_HEADERS = re.compile(
    r"^(thread|mutex|shared_mutex|atomic|condition_variable|future|semaphore|barrier|latch|"
    r"stop_token|stdatomic\.h)$")
RANDOM_HEADERS = re.compile(r"^random$")
MATH_HEADERS = re.compile(r"^(cmath|math\.h|cfenv|complex|numbers)$")

# Names banned where determinism matters: rule, pattern, remedy.
BANNED = [
    ("clock", r"\b(system_clock|steady_clock|high_resolution_clock|file_clock|utc_clock)\b|"
              r"\b(gettimeofday|clock_gettime|timespec_get|localtime|gmtime|mktime)\s*\(|"
              r"\bstd::(time|clock)\s*\(|(?<![\w.>:])time\s*\(\s*(nullptr|NULL|0|&)|"
              r"\b__(DATE|TIME|TIMESTAMP)__\b",
     "take the time from the Clock of core/env.h"),
    ("random", r"\bstd::\w+_distribution\b|\bstd::random_device\b|\bstd::default_random_engine\b|"
               r"\bstd::(mt19937|minstd_rand|ranlux)|\bstd::(random_)?shuffle\b|\bstd::sample\b|"
               r"\bgenerate_canonical\b|(?<![\w.>])s?rand(om)?\s*\(|\b(arc4random|getrandom)\b",
     "draw by key (core/draw.h)"),
    ("thread", r"\bstd::(jthread|thread|async|this_thread)\b|\bpthread_\w+\s*\(|"
               r"(?<![\w.>])u?sleep\s*\(|\bnanosleep\s*\(",
     "one node is one logical thread; threads belong to net/"),
    ("environment", r"\b(secure_)?getenv\s*\(|(?<![\w.>])getpid\s*\(|\bsetlocale\s*\(",
     "pass it in as a parameter"),
    ("address", r"\bu?intptr_t\b|\bstd::(hash|less|greater)\s*<[^<>]*\*\s*>|"
                r"\bstd::(unordered_)?(multi)?(map|set)\s*<[^,<>]*\*\s*[,>]|"
                r"\bhash_code\s*\(",
     "addresses differ between runs: order and hash by id"),
    ("libm", r"\bstd::(sqrt|cbrt|pow|exp2?|expm1|log(2|10|1p)?|sin|cos|tan|atan2?|floor|ceil|round|"
             r"lround|fmod|hypot)\s*\(",
     "libm differs between systems: use integers or a table"),
]

FLOATING = re.compile(r"\b(float|double)\b")
NOT_STEERING = "// not steering"
# Paths that exist on one machine or for one person.
MACHINE_PATH = re.compile(r"(?<![\w.}])/(home|root|Users|mnt|media|work|workspace|srv)/\w")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b(?!\(#\d+\))")


def blank_out(text):
    """The text with comments and the contents of literals blanked, line breaks kept."""
    pattern = re.compile(
        r'R"(?P<delimiter>[^()\\\s]{0,16})\(.*?\)(?P=delimiter)"|//[^\n]*|/\*.*?\*/|'
        r'"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'', re.S)
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


class Source:
    """One C++ file: its lines as written, and its code without comments and literals."""

    def __init__(self, path, text):
        self.path = path
        self.folder = path.split("/")[0]
        self.name = path.split("/")[-1]
        self.stem = self.name.split(".")[0]
        self.lines = text.split("\n")
        self.code = blank_out(text)
        self.code_lines = self.code.split("\n")
        self.includes = []  # (line, name, quoted)
        for number, line in enumerate(self.lines, 1):
            match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
            if match:
                self.includes.append((number, match.group(2), match.group(1) == '"'))

    def line_of(self, offset):
        return self.code.count("\n", 0, offset) + 1


class Checker:
    def __init__(self, top):
        self.top = top
        self.findings = []
        self.sources = {}

    def report(self, path, line, rule, remedy, lines=()):
        marker = re.compile(rf"allow\({re.escape(rule)}\): \S")
        if any(marker.search(lines[i]) for i in (line - 1, line - 2) if 0 <= i < len(lines)):
            return
        self.findings.append((path, line, rule, remedy))

    def run(self):
        for folder in FOLDERS:
            for path in sorted((self.top / folder).rglob("*")):
                if path.suffix in (".h", ".cpp"):
                    name = path.relative_to(self.top).as_posix()
                    self.sources[name] = Source(name, path.read_text(encoding="utf-8"))
        for source in self.sources.values():
            self.check_includes(source)
            self.check_house_rules(source)
            if source.folder in DETERMINISTIC:
                self.check_determinism(source)
        self.check_raft_is_plain()
        self.check_texts()
        return sorted(set(self.findings))

    # ---- Includes ----

    def check_includes(self, source):
        for line, name, quoted in source.includes:
            def report(rule, remedy):
                self.report(source.path, line, rule, remedy, source.lines)
            folder = name.split("/")[0]
            if quoted and name in GENERATED_HEADERS:
                if source.folder not in ("tools", "tests"):
                    report("include-direction", f"{name} is for tools and tests")
            elif quoted and (folder not in LAYERS or "/" not in name or ".." in name):
                report("include-path", f'include it from the top of the tree: "folder/{name}"')
            elif quoted and folder not in LAYERS[source.folder]:
                allowed = ", ".join(sorted(LAYERS[source.folder]))
                report("include-direction", f"{source.folder}/ may include only {allowed}")
            if quoted or source.folder not in DETERMINISTIC:
                continue
            if OS_HEADERS.search(name):
                report("os-header", f"<{name}> reaches past the seam: go through core/env.h")
            if THREAD_HEADERS.search(name):
                report("thread", f"<{name}>: one node is one logical thread; threads are net/'s")
            if RANDOM_HEADERS.search(name):
                report("random", f"<{name}>: draw by key (core/draw.h)")
            if MATH_HEADERS.search(name):
                report("libm", f"<{name}> differs between systems: use integers or a table")

    def check_raft_is_plain(self):
        """core/raft* and core/log* know no protobuf, not even through a header."""
        for source in self.sources.values():
            if source.folder != "core" or not re.match(r"(raft|log)", source.name):
                continue
            for line, name, _ in source.includes:
                through = self.path_to_protobuf(name, {source.path})
                if through:
                    self.report(source.path, line, "raft-protobuf",
                                "Raft and its log see plain structs and opaque bytes, but this "
                                f"includes {' -> '.join(through)}", source.lines)

    def path_to_protobuf(self, name, seen):
        if name.endswith(".pb.h") or name.startswith("google/protobuf/"):
            return [name]
        if name in seen or name not in self.sources:
            return None
        seen.add(name)
        for _, inner, _ in self.sources[name].includes:
            through = self.path_to_protobuf(inner, seen)
            if through:
                return [name] + through
        return None

    # ---- Determinism ----

    def check_determinism(self, source):
        for number, code in enumerate(source.code_lines, 1):
            for rule, pattern, remedy in BANNED:
                match = re.search(pattern, code)
                if match:
                    self.report(source.path, number, rule, f"`{match.group().strip()}`: {remedy}",
                                source.lines)
            if FLOATING.search(code) and NOT_STEERING not in source.lines[number - 1]:
                self.report(source.path, number, "floating-point",
                            "use integers; what only reports says so at the end of the line: "
                            f"{NOT_STEERING}", source.lines)
            if source.folder != "sim" and re.search(r"\bthrow\b(?!\s*\(\s*\))", code):
                self.report(source.path, number, "exception",
                            "expected outcomes are values, broken invariants are CHECKs",
                            source.lines)
        self.check_unordered(source)

    def check_unordered(self, source):
        """No iteration over unordered containers declared here or in the header of this name."""
        names = set()
        for other in self.sources.values():
            if other is source or (other.folder == source.folder and other.name.endswith(".h")
                                   and source.stem.startswith(other.stem)):
                names |= unordered_names(other.code)
        if not names:
            return
        one = "(" + "|".join(sorted(names)) + ")"
        loops = rf"\bfor\s*\([^;{{}}]*?[^:]:(?!:)\s*[\w.>*()\-]*?\b{one}\s*\)"
        begins = rf"\b{one}\s*(\.|->)\s*c?begin\s*\("
        for match in re.finditer(f"{loops}|{begins}", source.code):
            name = match.group(1) or match.group(2)
            self.report(source.path, source.line_of(match.end() - 1), "unordered-iteration",
                        f"the order of `{name}` differs between libraries: keep it sorted, or "
                        "iterate over something that is", source.lines)

    # ---- House rules ----

    def check_house_rules(self, source):
        if source.name.endswith(".h") and "#pragma once" not in source.lines:
            self.report(source.path, 1, "pragma-once", "a header has a line `#pragma once`")
        if source.folder == "tests":
            return
        for number, code in enumerate(source.code_lines, 1):
            if re.search(r"(?<![\w.>])assert\s*\(", code):
                self.report(source.path, number, "assert",
                            "CHECK (core/check.h) is on in every build; assert is not",
                            source.lines)

    def check_texts(self):
        """Rules for everything people read or run, not only C++."""
        paths = [path for folder in FOLDERS + ("scenarios", ".ci")
                 for path in (self.top / folder).rglob("*") if path.is_file()]
        paths += [path for path in self.top.iterdir() if path.is_file()]
        for path in sorted(paths):
            name = path.relative_to(self.top).as_posix()
            if "__pycache__" in name:
                continue
            try:
                lines = path.read_text(encoding="utf-8").split("\n")
            except UnicodeDecodeError:
                continue
            is_source = (path.suffix in (".h", ".cpp", ".proto", ".py", ".sh", ".cmake")
                         or name in ("dev", ".ci/run") or path.name == "CMakeLists.txt")
            for number, line in enumerate(lines, 1):
                if is_source and len(line) > LINE_COLUMNS_MAX:
                    self.report(name, number, "line-length",
                                f"{len(line)} columns, at most {LINE_COLUMNS_MAX}", lines)
                if UNFINISHED.search(line):
                    self.report(name, number, "unfinished",
                                "finish it, or name an issue: TO" "DO(#12)", lines)
                if MACHINE_PATH.search(line):
                    self.report(name, number, "machine-path",
                                "this path exists on one machine: make it relative", lines)
                if path.suffix == ".proto" and re.search(r"^\s*map\s*<", line):
                    self.report(name, number, "proto-map",
                                "map fields have no order on the wire: repeat a message", lines)


def unordered_names(code):
    """Names of variables, members and parameters of an unordered type, aliases followed."""
    names, types = set(), [r"\bstd::unordered_\w+"]
    while types:
        for match in re.finditer(rf"(using\s+(\w+)\s*=\s*)?{types.pop()}\b", code):
            end = match.end()
            if code[end:end + 1] == "<":
                depth = 0
                while end < len(code):
                    depth += {"<": 1, ">": -1}.get(code[end], 0)
                    end += 1
                    if depth == 0:
                        break
            declared = re.match(r"\s*[&*]?\s*(\w+)\s*[;={,)]", code[end:])
            if match.group(2):
                types.append(rf"\b{match.group(2)}")
            elif declared:
                names.add(declared.group(1))
    return names


# ---- Self-test ----------------------------------------------------------------------------------

# (path, text, rules that must fire). In a header `#pragma once` is added.
BAD = [
    ("core/a.cpp", '#include "storage/log.h"', ["include-direction"]),
    ("storage/a.cpp", '#include "sim/world.h"', ["include-direction"]),
    ("sim/a.cpp", '#include "net/loop.h"', ["include-direction"]),
    ("net/a.cpp", '#include "sim/world.h"', ["include-direction"]),
    ("core/a.cpp", '#include "tally_commit.h"', ["include-direction"]),
    ("tools/a.cpp", '#include "tests/fixture.h"', ["include-direction"]),
    ("core/a.cpp", '#include "log.h"', ["include-path"]),
    ("core/a.cpp", '#include "../core/log.h"', ["include-path"]),
    ("core/a.cpp", "#include <unistd.h>", ["os-header"]),
    ("storage/a.cpp", "#include <sys/stat.h>", ["os-header"]),
    ("core/a.h", "#include <mutex>", ["thread"]),
    ("sim/a.cpp", "#include <atomic>", ["thread"]),
    ("sim/a.cpp", "std::thread worker;", ["thread"]),
    ("sim/a.cpp", "#include <random>", ["random"]),
    ("sim/a.cpp", "std::uniform_int_distribution<int> die;", ["random"]),
    ("sim/a.cpp", "std::mt19937_64 engine;", ["random"]),
    ("core/a.cpp", "int x = rand() % 6;", ["random"]),
    ("core/a.cpp", "int x = std::rand();", ["random"]),
    ("sim/a.cpp", "std::shuffle(v.begin(), v.end(), g);", ["random"]),
    ("core/a.cpp", "auto t = std::chrono::steady_clock::now();", ["clock"]),
    ("core/a.cpp", "auto t = time(nullptr);", ["clock"]),
    ("storage/a.cpp", "clock_gettime(CLOCK_MONOTONIC, &t);", ["clock"]),
    ("sim/a.cpp", 'const char* home = getenv("HOME");', ["environment"]),
    ("sim/a.cpp", "std::map<Node*, int> m;", ["address"]),
    ("sim/a.cpp", "auto h = std::hash<Node*>{}(n);", ["address"]),
    ("sim/a.cpp", "auto h = reinterpret_cast<uintptr_t>(n);", ["address"]),
    ("sim/a.cpp", "#include <cmath>", ["libm"]),
    ("sim/a.cpp", "auto x = std::sqrt(y);", ["libm"]),
    ("sim/a.cpp", "double share = 0;", ["floating-point"]),
    ("core/a.cpp", "float f(int x);", ["floating-point"]),
    ("core/a.cpp", 'throw std::runtime_error("x");', ["exception"]),
    ("sim/a.cpp", "std::unordered_map<int, std::vector<int>> m;\n"
                  "void f() { for (auto& x : m) g(x); }", ["unordered-iteration"]),
    ("sim/a.cpp", "using T = std::unordered_set<int>;\n"
                  "void f(const T& s) {\n  auto i = s.begin();\n}", ["unordered-iteration"]),
    ("core/raft.cpp", '#include "core/wire.pb.h"', ["raft-protobuf"]),
    ("core/log.h", "#include <google/protobuf/message.h>", ["raft-protobuf"]),
    ("core/a.h", "int x;", ["pragma-once"]),
    ("tools/a.cpp", "assert(x == 1);", ["assert"]),
    ("core/a.cpp", "// " + "x" * 98, ["line-length"]),
    ("tools/dev/a.py", "# TO" "DO later", ["unfinished"]),
    ("README.md", "FIX" "ME: write this", ["unfinished"]),
    ("README.md", "cd /ho" "me/someone/tally", ["machine-path"]),
    ("core/a.proto", "  map<string, int64> values = 1;", ["proto-map"]),
    # A marker that gives no reason, or names another rule, allows nothing.
    ("sim/a.cpp", "double share = 0;  // allow(floating-point):", ["floating-point"]),
    ("sim/a.cpp", "double share = 0;  // allow(libm): printed only", ["floating-point"]),
]

GOOD = [
    ("core/a.cpp", '#include "core/log.h"\n#include "core/wire.pb.h"\n#include <chrono>'),
    ("storage/a.cpp", '#include "core/env.h"\n#include "storage/a.h"'),
    ("net/a.cpp", '#include <sys/epoll.h>\n#include <thread>\nauto t = time(nullptr);'),
    ("tools/a.cpp", '#include "sim/world.h"\n#include "net/loop.h"\n#include "tally_commit.h"'),
    ("core/a.cpp", '// std::thread and rand() are banned\nconst char* s = "getenv(time(0))";'),
    ("core/a.cpp", "LogTime log_time();\nTime time();\nint operand(int);\nx.rand(1);"),
    ("core/a.cpp", "int64_t big = 1'000'000; double share = 0;  // not steering"),
    ("core/a.cpp", "// allow(address): the value is only printed\nauto h = uintptr_t{0};"),
    ("core/a.cpp", 'auto s = R"(#include <thread> " rand( )";\nstatic_assert(sizeof(int) == 4);'),
    ("sim/a.cpp", "std::unordered_map<int, int> m;\nstd::map<int, int> sorted;\n"
                  "void f() { for (auto& x : sorted) m[x.first] = m.size(); }\n"
                  "bool g() { return m.find(1) == m.end(); }"),
    ("core/raft.cpp", '#include "core/message.h"'),
    ("tests/a.cpp", "assert(true);\n#include <random>"),
    ("README.md", "TO" "DO(#12) is tracked; /var/lib/tally is not a person's. " + "x" * 200),
]


def findings_of(path, text):
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return Checker(pathlib.Path(directory)).run()


def self_test():
    failures = []
    for path, text, rules in BAD:
        if path.endswith(".h") and rules != ["pragma-once"]:
            text = "#pragma once\n" + text
        fired = sorted({finding[2] for finding in findings_of(path, text)})
        if fired != rules:
            failures.append(f"{path}: {text!r}: wanted {rules}, got {fired}")
    for path, text in GOOD:
        for finding in findings_of(path, text):
            failures.append(f"{path}: {text!r}: wanted nothing, got {finding}")
    with tempfile.TemporaryDirectory() as directory:  # through a header, and from the header
        core = pathlib.Path(directory) / "core"
        core.mkdir()
        (core / "raft.cpp").write_text('#include "core/raft.h"\nint f() { for (int x : m_) g(x); }')
        (core / "raft.h").write_text(
            '#pragma once\n#include "core/codec.h"\nstd::unordered_set<int> m_;')
        (core / "codec.h").write_text('#pragma once\n#include "core/wire.pb.h"')
        fired = [finding[:3] for finding in Checker(pathlib.Path(directory)).run()]
        wanted = [("core/raft.cpp", 1, "raft-protobuf"),
                  ("core/raft.cpp", 2, "unordered-iteration"),
                  ("core/raft.h", 2, "raft-protobuf")]
        if fired != wanted:
            failures.append(f"two files: wanted {wanted}, got {fired}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--top", type=pathlib.Path, help="the tree to check (default: this one)",
                        default=pathlib.Path(__file__).resolve().parent.parent)
    arguments = parser.parse_args()

    failures = self_test()
    for failure in failures:
        print(f"self-test: {failure}")
    findings = Checker(arguments.top).run()
    for path, line, rule, remedy in findings:
        print(f"{path}:{line}: {rule}: {remedy}")
    return 1 if failures or findings else 0


if __name__ == "__main__":
    sys.exit(main())
