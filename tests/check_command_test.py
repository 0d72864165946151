#!/usr/bin/env python3
"""tallysim check, from outside: verdicts and exit codes, what it prints and refuses, its speed.

The histories here are small and judged by hand. What the verdicts rest on is tested in checker_*.
"""

import html.parser
import json
import os
import pathlib
import pty
import re
import resource
import subprocess
import sys
import tempfile
import time
import unittest

TALLYSIM = pathlib.Path(os.environ["TALLY_BIN_DIR"]) / "tallysim"


def operation(client, seq, begin, end, counter="hits", **fields):
    return {"client": client, "seq": seq, "op": "add" if "delta" in fields else "get",
            "counter": counter, "invoke": begin, "return": end, **fields}


def add(client, seq, begin, end, delta, value, **fields):
    return operation(client, seq, begin, end, delta=delta, status="ok", value=value, **fields)


def get(client, seq, begin, end, value, **fields):
    return operation(client, seq, begin, end, status="ok", value=value, **fields)


def unknown(client, seq, begin, delta, **fields):
    return operation(client, seq, begin, None, delta=delta, status="unknown", **fields)


def lines_of(operations):
    return "".join(json.dumps(fields) + "\n" for fields in operations)


FINE = [add(1, 1, 0, 10, 1, 1), get(2, 1, 20, 30, 1)]
STALE = [add(1, 1, 0, 10, 1, 1), get(2, 1, 20, 30, 0)]
# The unanswered increment of client 2 is needed; that of client 3 is not.
AMBIGUOUS = [add(1, 1, 0, 10, 1, 1), unknown(2, 1, 5, 1), unknown(3, 1, 5, 7),
             get(4, 1, 20, 30, 2)]


def hard_history():
    """Deltas of both signs, all at once, many of them unanswered: not decided without a search."""
    deltas = [3, -5, 7, -11, 13, -17, 19, -23, 29, -31]
    operations = [unknown(100 + i, 1, 0, deltas[i % 10] * (i + 2)) for i in range(40)]
    value = 0
    for i in range(20):
        value += 1000 + 37 * i
        operations.append(add(1 + i, 1, 0, 1000, (-1) ** i * (7 + i), value))
    return operations


def far_sums(count):
    """Unanswered increments of which no two subsets have the same sum, and one small get."""
    operations = [unknown(i, 1, 0, (-1) ** i * 1000003 * (i + 1)) for i in range(count)]
    return operations + [get(count, 1, 1, 2, 500)]


def many_sizes(counter="hits", first_client=0):
    """Unanswered increments of one sign and many sizes, all together behind one get."""
    sizes = [7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43]
    operations = [unknown(first_client + i, 1, 0, size, counter=counter)
                  for i, size in enumerate(sizes)]
    return operations + [get(first_client + 99, 1, 1, 2, 100, counter=counter)]


def run(operations, *flags, text=None):
    text = lines_of(operations) if text is None else text
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / "history.jsonl"
        file.write_text(text, encoding="utf-8")
        return subprocess.run([TALLYSIM, "check", file, *flags], capture_output=True, text=True,
                              timeout=120, check=False)


class PageReader(html.parser.HTMLParser):
    """Collects what a page refers to, and what stays open."""

    VOID = {"meta", "link", "br", "hr", "img", "input", "line", "path", "rect", "circle", "use"}

    def __init__(self):
        super().__init__()
        self.references, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.references += [value for name, value in attributes
                            if name in ("src", "href", "action", "data") and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.references += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


class Verdicts(unittest.TestCase):
    def test_ok(self):
        result = run(FINE)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(result.stdout.startswith("ok: 2 operations"), result.stdout)
        self.assertEqual(result.stderr, "")

    def test_empty_history_is_ok(self):
        self.assertEqual(run([]).returncode, 0)

    def test_violation(self):
        result = run(STALE)
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.startswith("violation: 2 operations"), result.stdout)

    def test_unknown(self):
        result = run(hard_history(), "--budget", "10", "--json")
        self.assertEqual(result.returncode, 4, result.stdout + result.stderr)
        said = json.loads(result.stdout)
        self.assertEqual(said["verdict"], "unknown")
        self.assertTrue(said["reason"])
        explained = run(hard_history(), "--budget", "10", "--explain").stdout
        self.assertIn("--budget 10", explained)

    def test_jobs_change_nothing(self):
        def of(counter, operations):  # with clients of its own
            return [dict(fields, counter=counter, client=1000 * counter_number + fields["client"])
                    for fields in operations]
        both_signs = [add(1, 1, 0, 10, 3, 3), add(2, 1, 0, 10, -2, 1), unknown(3, 1, 0, 5),
                      get(4, 1, 20, 30, 6)]
        histories = {0: [], 1: [], 4: []}
        for counter_number in range(20 if os.environ.get("TALLY_SANITIZE") else 60):
            for exit_code, history in histories.items():
                operations = both_signs if counter_number % 2 else AMBIGUOUS
                if exit_code == 1 and counter_number >= 17:  # the first of several is named
                    operations = STALE if counter_number % 3 else both_signs[:3]
                if exit_code == 4 and counter_number % 5 == 3:
                    operations = hard_history()
                history += of(f"counter {counter_number}", operations)
        for exit_code, history in histories.items():
            said = []
            for jobs in ("1", "2", "8"):
                flags = ("--jobs", jobs, "--budget", "2000", "--explain")
                with tempfile.TemporaryDirectory() as directory:
                    page = pathlib.Path(directory) / "verdict.html"
                    text = run(history, *flags, "--html", page)
                    json_text = run(history, *flags, "--json")
                    drawn = page.read_text(encoding="utf-8").split("</title>")[1].split("</h1>")[1]
                self.assertEqual(text.returncode, exit_code, text.stdout + text.stderr)
                said.append((text.stdout, json_text.stdout, json_text.stderr, drawn))
            self.assertEqual(said[0], said[1])
            self.assertEqual(said[0], said[2])

    def run_within_150_mb(self, operations, *flags):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20))
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write(lines_of(operations))
            file.flush()
            return subprocess.run([TALLYSIM, "check", file.name, *flags], capture_output=True,
                                  text=True, check=False, preexec_fn=limit)

    @unittest.skipIf(os.environ.get("TALLY_SANITIZE"), "a sanitizer needs its own address space")
    def test_memory_is_bounded_like_states(self):
        # Without a bound: more than a gigabyte after few of the 50,000,000 states.
        for operations in (far_sums(30), far_sums(1000)):
            result = self.run_within_150_mb(operations, "--memory", "32")
            self.assertEqual(result.returncode, 4, result.stdout + result.stderr)
            self.assertIn("the memory a search may take (32 MB) was full", result.stdout)

    @unittest.skipIf(os.environ.get("TALLY_SANITIZE"), "a sanitizer needs its own address space")
    def test_no_memory_is_no_crash(self):
        for jobs in ("1", "2"):
            result = self.run_within_150_mb(far_sums(1000), "--jobs", jobs)
            self.assertEqual(result.returncode, 3, result.stdout + result.stderr)
            self.assertEqual(result.stdout, "")
            self.assertRegex(result.stderr, "^tallysim: the system gives no more memory; .*\n$")

    def test_every_unknown_says_why(self):
        chain = [unknown(10 * i + k, 1, 0, 2 ** k, upper=10**9) for i in range(9) for k in range(9)]
        for j in range(30):  # each a threshold, with an increment sent in between
            chain += [operation(1000 + j, 1, 5, 10 + 2 * j, delta=10**9 - 400 - 37 * j, upper=10**9,
                                status="rejected", reason="bounds"),
                      unknown(2000 + j, 1, 11 + 2 * j, 64, upper=10**9)]
        for operations in (chain, many_sizes(), hard_history()):
            said = json.loads(run(operations, "--budget", "5", "--json").stdout)
            self.assertEqual(said["verdict"], "unknown")
            self.assertIn("its budget of 5 states was spent", said["reason"])
            self.assertRegex(said["reason"], r"client \d+ seq|operations open")

    def test_initial(self):
        history = [get(1, 1, 0, 1, 41)]
        self.assertEqual(run(history).returncode, 1)
        self.assertEqual(run(history, "--initial", "41").returncode, 0)

    def test_a_gap_as_wide_as_64_bits(self):
        history = [unknown(1, 1, 0, 2), unknown(2, 1, 0, 3), get(3, 1, 1, 2, 2**63 - 1)]
        result = run(history, "--initial", str(-2**63))
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn("18446744073709551615", result.stdout)

    def test_clock_error_widens_intervals(self):
        # The stale read may have come first when the clocks are off by 5: 10 + 5 and 20 - 5 touch.
        self.assertEqual(run(STALE, "--max-clock-error", "4").returncode, 1)
        self.assertEqual(run(STALE, "--max-clock-error", "5").returncode, 0)

    def test_standard_input(self):
        result = subprocess.run([TALLYSIM, "check", "-"], input=lines_of(STALE), text=True,
                                capture_output=True, check=False)
        self.assertEqual(result.returncode, 1, result.stderr)


class Output(unittest.TestCase):
    def test_json(self):
        result = run(AMBIGUOUS, "--json")
        self.assertEqual(result.stdout, '{"verdict":"ok","ops":4,"unknown_used":1,'
                                        '"unknown_unspent":1,"reason":null}\n')
        said = json.loads(run(STALE, "--json").stdout)
        self.assertEqual(list(said),
                         ["verdict", "ops", "unknown_used", "unknown_unspent", "reason"])
        self.assertEqual(said["verdict"], "violation")
        self.assertIn("client 2 seq 1", said["reason"])

    def test_explain_names_the_operations_of_a_violation(self):
        said = run(FINE + [get(7, 3, 20, 30, 0)], "--explain").stdout
        self.assertIn('  client 1 seq 1 added +1 to "hits" and got 1, between 0 and 10\n', said)
        self.assertIn('  client 7 seq 3 read 0 from "hits", between 20 and 30\n', said)
        self.assertNotIn("  client 2 seq 1", said)

    def test_explain_shows_an_order_and_what_stayed_unspent(self):
        said = run(AMBIGUOUS, "--explain").stdout.splitlines()
        order = [line for line in said if line.startswith("  client")]
        self.assertEqual([line.split()[1] for line in order], ["1", "2", "4"])
        self.assertIn("never learned the outcome, from 5 on", order[1])
        self.assertTrue(said[-1].startswith("1 operation"), said)
        self.assertIn("hides nothing", run(FINE, "--explain").stdout)

    def test_explain_is_whole_sentences(self):
        bounded = [add(1, 1, 0, 10, 1, 1, upper=5), add(1, 2, 20, 30, 1, 2, lower=-3, upper=5)]
        said = run(bounded + AMBIGUOUS[1:2], "--explain").stdout
        self.assertIn('added +1 to "hits" within [-inf, 5] and got 1', said)
        self.assertIn('added +1 to "hits" within [-3, 5] and got 2', said)
        self.assertIn("Each could have hidden a fault", said)
        said = run(hard_history(), "--budget", "0").stdout
        self.assertRegex(said, r"with \d+ operations? open at once and 1 state to tell apart\.")

    def test_explanations_are_true(self):
        bounded = [unknown(1, 1, 0, 5, upper=8), unknown(2, 1, 0, 5, upper=8),
                   get(3, 1, 10, 11, 10)]
        said = run(bounded).stdout
        self.assertIn("by their bounds none goes beyond 8: client 1 seq 1", said)
        self.assertNotIn("no unanswered one was sent", said)
        # Each gap could be filled alone; only both together cannot.
        both = [unknown(1, 1, 0, 2), unknown(2, 1, 0, 3), unknown(3, 1, 0, 3), get(4, 1, 1, 2, 5),
                get(5, 1, 3, 4, 10)]
        said = run(both).stdout
        self.assertIn("what is missing in the gap before it, since the value 0, cannot all be made",
                      said)

    def test_explain_leaves_json_alone(self):
        result = run(STALE, "--explain", "--json")
        json.loads(result.stdout)
        self.assertIn("client 2 seq 1 read 0", result.stderr)


class Refusals(unittest.TestCase):
    def refused(self, text, *parts):
        result = run([], text=text)
        self.assertEqual(result.returncode, 2, result.stdout)
        self.assertEqual(result.stdout, "")
        for part in parts:
            self.assertIn(part, result.stderr)

    def test_bad_lines(self):
        good = lines_of(FINE)
        self.refused(good + '{"client":1,"se', "history.jsonl:3: ", 'found `{"client":1,"se`',
                     "expected one operation")
        self.refused(good + "\n" + lines_of([add(3, 1, 9, 8, 1, 2)]), "history.jsonl:4: ", "before")
        self.refused(good + lines_of([add(1, 1, 50, 60, 1, 2)]), "history.jsonl:3: ", "twice",
                     "line 1")
        self.refused(good + lines_of([add(1, 2, 5, 60, 1, 2)]), "history.jsonl:3: ", "at once")
        self.refused(good.replace('"delta": 1', '"delta": 9223372036854775808'), ":1: ",
                     "`9223372036854775808`", "64 bits")
        self.refused(good.replace('"ok"', '"fine"'), ":1: ", '`"fine"`',
                     "must be one of: ok, unknown, rejected, failed")

    def test_what_is_no_text(self):
        good = lines_of(FINE)
        self.refused("\ufeff" + good, ":1: begins with a byte order mark")
        self.refused(good + "\0" + good, ":3: holds a NUL byte (the 1. of the line)")
        bad_name = good.replace('"value"', '"x\\u001b[31m": 1, "value"')
        self.refused(bad_name, ":1: unknown field `x?[31m`")

    def test_the_first_of_several_is_named(self):
        # By client, the one of line 6 comes first, and a line that does not parse comes last.
        lines = [add(9, 1, 0, 1, 1, 1), add(9, 1, 2, 3, 1, 2), add(8, 1, 0, 9, 1, 3),
                 add(8, 2, 5, 9, 1, 4), add(1, 1, 0, 1, 1, 5), add(1, 1, 2, 3, 1, 6)]
        self.refused(lines_of(lines) + "oops\n", "history.jsonl:2: client 9", "twice")
        self.refused(lines_of(lines[2:]), "history.jsonl:2: client 8", "at once")
        self.refused("oops\n" + lines_of(lines), "history.jsonl:1: found")
        long = [add(1, 1, 0, 100, 1, 1), add(1, 2, 50, 60, 1, 2), add(1, 3, 10, 20, 1, 3)]
        self.refused(lines_of(long), "history.jsonl:2: ", "at once", "line 1")

    def test_bad_lines_far_into_the_input(self):
        # Blocks are parsed one by one; what is wrong has the line number of the whole.
        many = [get(1, i, 10 * i, 10 * i + 5, 0) for i in range(1, 100_001)]
        text = lines_of(many)
        self.assertGreater(len(text), 9_000_000)
        self.refused(text + "oops\n" + text, "history.jsonl:100001: found `oops`, ")
        self.refused(text + lines_of([many[6]]), "history.jsonl:100001: ", "twice", "line 7")

    def test_what_cannot_be_read(self):
        for path in ("no/such/history.jsonl", "tests"):
            result = subprocess.run([TALLYSIM, "check", path], capture_output=True, text=True,
                                    check=False)
            self.assertEqual(result.returncode, 2)
            self.assertIn(f"{path}: cannot be read", result.stderr)

    def test_flags(self):
        for flags in (["--max-clock-error", "-1"], ["--budget", "x"], ["--budget", "-1"],
                      ["--jobs", "0"], ["--what"], ["--initial", str(2**63)],
                      ["--initial", str(-2**63 - 1)], ["--initial", "010"], ["--initial", "0x10"],
                      ["--budget", str(2**64)], ["--memory", "0"], ["--memory", "x"]):
            result = run(FINE, *flags)
            self.assertEqual(result.returncode, 2, flags)
            self.assertEqual(result.stdout, "", flags)
        for flags in (["--initial", str(-2**63)], ["--budget", str(2**64 - 1)], ["--memory", "1"]):
            self.assertIn(run(FINE, *flags).returncode, (0, 1), flags)


class OtherTools(unittest.TestCase):
    def test_the_conversion_of_the_readme(self):
        readme = pathlib.Path(__file__).parent.parent / "sim" / "README.md"
        script = readme.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
        events = [(0, "invoke", "add", 5, 100), (1, "invoke", "read", None, 110),
                  (0, "ok", "add", 5, 120), (1, "ok", "read", 5, 130),
                  (0, "invoke", "add", 3, 140), (0, "info", "add", 3, 150),
                  (0, "invoke", "read", None, 160), (0, "ok", "read", 8, 170),
                  (1, "invoke", "read", None, 175), (1, "info", "read", None, 180),
                  (1, "invoke", "add", 1, 185), (1, "fail", "add", 1, 190),
                  (1, "invoke", "add", 2, 200)]
        names = ("process", "type", "f", "value", "time")
        text = "".join(json.dumps(dict(zip(names, event))) + "\n" for event in events)
        lines = subprocess.run([sys.executable, "-c", script], input=text, text=True, check=True,
                               capture_output=True).stdout
        self.assertEqual(len(lines.splitlines()), 6)
        result = run([], "--json", text=lines)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        said = json.loads(result.stdout)
        self.assertEqual((said["ops"], said["unknown_used"], said["unknown_unspent"]), (5, 1, 1))
        self.assertEqual(run([], text=lines.replace('"value": 8', '"value": 9')).returncode, 1)


class LongInput(unittest.TestCase):
    COUNT = 200_000

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.file = pathlib.Path(cls.directory.name) / "long.jsonl"
        line = ('{{"client":{},"seq":{},"op":"add","counter":"hits","delta":1,"invoke":{},'
                '"return":{},"status":"ok","value":{}}}\n')
        cls.file.write_text("".join(line.format(i % 50, i, 100 * i, 100 * i + 150, i + 1)
                                    for i in range(cls.COUNT)))

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def test_is_parsed_and_judged_quickly(self):
        # About 0.15 s; the limit leaves room for busy machines, and for sanitizers.
        before = os.times()
        result = subprocess.run([TALLYSIM, "check", self.file], capture_output=True, text=True,
                                check=False)
        after = os.times()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(result.stdout.startswith(f"ok: {self.COUNT} operations"))
        self.assertEqual(result.stderr, "", "progress must not go into a pipe")
        limit = 100 if os.environ.get("TALLY_SANITIZE") else 10
        self.assertLess(after.children_user - before.children_user, limit)

    def test_shows_progress_on_a_terminal(self):
        terminal, far_end = pty.openpty()
        process = subprocess.Popen([TALLYSIM, "check", "-"], stdin=subprocess.PIPE, stderr=far_end,
                                   stdout=subprocess.PIPE)
        os.close(far_end)
        text = self.file.read_bytes()
        process.stdin.write(text[:len(text) // 2])
        process.stdin.flush()
        time.sleep(0.7)
        process.stdin.write(text[len(text) // 2:])
        process.stdin.close()
        said = b""
        while True:
            try:
                got = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not got:
                break
            said += got
        os.close(terminal)
        self.assertTrue(process.stdout.read().startswith(b"ok: "))
        process.stdout.close()
        self.assertEqual(process.wait(), 0)
        self.assertRegex(said.decode(), r"reading: [\d,]+ lines, [\d,]+ a second")
        self.assertIn(f"judging {self.COUNT:,} operations", said.decode())
        self.assertTrue(said.endswith(b"\r\x1b[K"), "the line must be wiped")


class Terminal(unittest.TestCase):
    def test_shows_progress_of_the_judging(self):
        easy = [add(1000 + i, 1, 2000 + 10 * i, 2005 + 10 * i, 1, i + 1, counter="easy")
                for i in range(100)]
        terminal, far_end = pty.openpty()
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write(lines_of(easy + hard_history()))
            file.flush()
            process = subprocess.Popen([TALLYSIM, "check", file.name, "--budget", "300000000"],
                                       stderr=far_end, stdout=subprocess.DEVNULL)
            os.close(far_end)
            said, wanted = "", r"judging: 100 of 160 operations, \d+ a second, [\d,]+ states, " \
                               r"[\d,]+ a second, \d+ s left"
            while not re.search(wanted, said):
                said += os.read(terminal, 65536).decode()
            process.terminate()
            process.wait()
        os.close(terminal)


class Picture(unittest.TestCase):
    def picture(self, operations, *flags):
        with tempfile.TemporaryDirectory() as directory:
            page = pathlib.Path(directory) / "verdict.html"
            result = run(operations, "--html", page, *flags)
            self.assertIn(result.returncode, (0, 1, 4), result.stderr)
            text = page.read_text(encoding="utf-8")
        reader = PageReader()
        reader.feed(text)
        reader.close()
        self.assertEqual(reader.open, [], "elements that are never closed")
        for reference in reader.references:
            self.assertTrue(reference.startswith("#"), f"not self-contained: {reference}")
        self.assertNotIn("://", text)
        self.assertNotIn("@import", text)
        self.assertNotIn("url(", text)
        return text

    def test_shows_the_offending_operations(self):
        text = self.picture(FINE + [get(7, 3, 20, 30, 0)])
        self.assertEqual(text.count('<g class="op get bad"'), 1)
        self.assertEqual(text.count('<g class="op add bad"'), 1)
        self.assertIn("client 7 seq 3 (get -&gt; 0, [20, 30])", text)
        self.assertIn('class="reason"', text)

    def test_draws_the_order_of_an_ok(self):
        text = self.picture(AMBIGUOUS)
        self.assertIn('class="path"', text)
        self.assertIn("step 3 of the order, the value is 2 then", text)
        self.assertNotIn(' bad"', text)

    def test_undecided_and_empty(self):
        self.assertIn('class="unknown"', self.picture(hard_history(), "--budget", "10"))
        self.assertIn("nothing to draw", self.picture([]))

    def test_draws_the_counter_that_the_verdict_is_about(self):
        innocent = [add(1, 1, 0, 1, 1, 1, counter="innocent")]
        text = self.picture(innocent + many_sizes("guilty", 100), "--budget", "5")
        self.assertIn("Counter &quot;guilty&quot;", text)
        self.assertIn("client 199 seq 1 ", text)
        self.assertIn("its budget of 5 states was spent", text)

    def test_a_long_name_is_cut_between_characters(self):
        history = [get(1, 1, 0, 1, 7, counter="x" + "é" * 70)]
        self.assertIn("x" + "é" * 31 + "...", self.picture(history))
        result = run(history, "--json")
        self.assertIn("x" + "é" * 31 + "...", json.loads(result.stdout)["reason"])

    def test_a_long_history_shows_a_segment_and_says_so(self):
        many = [add(1, i, 10 * i, 10 * i + 5, 1, i) for i in range(1, 5001)]
        many[4000]["value"] = 17
        text = self.picture(many)
        self.assertLess(len(text), 200_000)
        self.assertIn("of its 5,000 operations", text)
        self.assertIn("client 1 seq 4001 ", text)
        many[4000]["value"] = 4001
        self.assertIn("300 of its 5,000 operations: the first to take effect", self.picture(many))

    def test_names_are_text(self):
        text = self.picture([get(1, 1, 0, 1, 7, counter="<script>alert(1)</script>")])
        self.assertNotIn("<script>alert", text)

    def test_a_page_that_cannot_be_written(self):
        result = run(FINE, "--html", "no/such/page.html")
        self.assertEqual(result.returncode, 3)
        self.assertIn("--html no/such/page.html: cannot be written", result.stderr)


if __name__ == "__main__":
    unittest.main()
