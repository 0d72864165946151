#!/usr/bin/env python3
"""tallysim as other programs meet it: exit codes, what stands on which stream, the shape of its
JSON lines, and that whatever it prints as a way to repeat a run does repeat it.

TALLY_BIN_DIR names the programs' directory; the working directory is the top of the tree.
"""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import unittest

TALLYSIM = str(pathlib.Path(os.environ.get("TALLY_BIN_DIR", "build/release/bin")) / "tallysim")

OK, VIOLATION, USAGE, ENVIRONMENT, UNDECIDED = range(5)

# Something set, so that it shows where assignments are repeated. A run takes some 20 ms.
SMALL = ["--set", "workload.names=3"]
# Every run of this is a violation of oracle `hang`.
HANGS = ["--set", "event_count_max=1000"]

NUMBER, TEXT, OBJECT, LIST = int, str, dict, list
OR_NULL = type(None)
RUN_FIELDS = {
    "verdict": TEXT, "seed": NUMBER, "digest": TEXT, "events": NUMBER, "sim_ns": NUMBER,
    "wall_ns": NUMBER, "ops": OBJECT, "violation": (OBJECT, OR_NULL), "replay": TEXT,
    # Beyond DESIGN section 9: why vacuous or undecided; how many faults struck, and how many of the
    # plan did nothing.
    "reason": (TEXT, OR_NULL), "faults": OBJECT,
}
OPS_FIELDS = {"ok": NUMBER, "unknown": NUMBER, "rejected": NUMBER, "failed": NUMBER}
VIOLATION_FIELDS = {"oracle": TEXT, "message": TEXT, "event": NUMBER, "fingerprint": TEXT}
SWEEP_FIELDS = {
    "seeds": NUMBER, "ok": NUMBER, "violations": NUMBER, "vacuous": NUMBER, "undecided": NUMBER,
    "events": NUMBER, "wall_ns": NUMBER, "cpu_ns": NUMBER, "seen": OBJECT, "never_seen": LIST,
    "events_median": NUMBER, "swept": OBJECT,  # beyond DESIGN section 9
}
REPLAY_FIELDS = {
    "outcome": TEXT, "seed": NUMBER, "fingerprint": TEXT, "recorded": TEXT,
    "differs_at": (LIST, OR_NULL), "differing_event": (TEXT, OR_NULL), "events": NUMBER,
    "digest": TEXT, "commit": TEXT, "replay": TEXT,
}
SHRINK_FIELDS = {
    "fingerprint": TEXT, "message": TEXT, "before": OBJECT, "after": OBJECT, "runs": NUMBER,
    "cpu_ns": NUMBER, "out": TEXT, "replay": TEXT,
}
CHECK_FIELDS = {
    "verdict": TEXT, "ops": NUMBER, "unknown_used": NUMBER, "unknown_unspent": NUMBER,
    "reason": (TEXT, OR_NULL),
}

ADD = ('{"client":1,"seq":1,"op":"add","counter":"a","delta":5,"invoke":10,"return":20,'
       '"status":"ok","value":5}\n')
GET = '{"client":2,"seq":1,"op":"get","counter":"a","invoke":30,"return":40,"status":"ok",%s}\n'
GOOD_HISTORY = ADD + GET % '"value":5'
BAD_HISTORY = ADD + GET % '"value":0'


def without_marks(capsule):
    """As older programs wrote it."""
    return re.sub(r'^marks: ".*"\n', "", capsule, flags=re.M)


class Ran:
    def __init__(self, *args, stdin=None):
        done = subprocess.run([TALLYSIM, *args], input=stdin, capture_output=True, text=True,
                              timeout=120)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def json(self):
        """The last line, which is what other programs read."""
        return json.loads(self.out.splitlines()[-1])


class CliTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def expect_usage(self, ran, *named):
        """Refused as a usage error: one message on stderr that names what is wrong."""
        self.assertEqual(ran.code, USAGE, ran.out + ran.err)
        self.assertEqual(ran.out, "")
        for name in named:
            self.assertIn(name, ran.err)

    def expect_fields(self, value, fields):
        self.assertEqual(set(value), set(fields))
        for name, kind in fields.items():
            self.assertIsInstance(value[name], kind, name)
            self.assertNotIsInstance(value[name], bool, name)

    def expect_run(self, value):
        self.expect_fields(value, RUN_FIELDS)
        self.expect_fields(value["ops"], OPS_FIELDS)
        self.assertIn(value["verdict"], ("ok", "violation", "vacuous", "undecided"))
        self.assertRegex(value["digest"], r"^[0-9a-f]{16}$")
        if value["violation"] is not None:
            self.expect_fields(value["violation"], VIOLATION_FIELDS)

    # ---- bad input

    def test_dump(self):
        noise = self.write("wal-0000000000000001",
                           "no log at all, but forty-eight bytes of a text!!")
        ran = Ran("dump", noise)
        self.assertEqual(ran.code, VIOLATION)
        self.assertIn("2 places marked !!", ran.out)
        self.assertIn("!!     48  the file ends here, shorter than any segment", ran.out)
        self.write("wal-0000000000000004", "x" * 48)
        ran = Ran("dump", str(self.directory))
        self.assertIn("!! missing: wal-0000000000000002 to wal-0000000000000003\n", ran.out)
        self.assertIn("48 bytes that are no record", ran.out)
        empty = Ran("dump", self.write("empty", ""))
        self.assertEqual((empty.code, empty.err), (OK, ""))
        self.expect_usage(Ran("dump", str(self.directory / "missing")), "missing cannot be read")
        # As a sector that cannot be read: reading fails after opening.
        self.expect_usage(Ran("dump", "/proc/self/mem"), "/proc/self/mem cannot be read")

    def test_flags_and_subcommands_that_do_not_exist(self):
        self.expect_usage(Ran("run", "--sed", "1"), "--sed")
        self.expect_usage(Ran("fly"), "fly")
        self.expect_usage(Ran(), "subcommand")
        self.expect_usage(Ran("run", "--trace", "loud"), "--trace")

    def test_seeds_out_of_range(self):
        for seed in ("-1", "9007199254740992", "18446744073709551616", "x", "1.5", ""):
            with self.subTest(seed=seed):
                self.expect_usage(Ran("run", "--seed", seed), "--seed")
        self.assertEqual(Ran("run", "--seed", "9007199254740991", *SMALL).code, OK)
        self.expect_usage(Ran("replay", "9007199254740992"), "9007199254740992")

    def test_seed_ranges(self):
        for seeds in ("1", "1..", "..2", "2..1", "1...2", "a..b", "-1..2", "1..9007199254740992"):
            with self.subTest(seeds=seeds):
                self.expect_usage(Ran("sweep", f"--seeds={seeds}"), "--seeds")
        self.expect_usage(Ran("sweep"), "--seeds")

    def test_durations_and_jobs(self):
        for time in ("0", "x", "5d", "-1s", "s", "99999999999999999999s"):
            with self.subTest(time=time):
                self.expect_usage(Ran("sweep", "--seeds", "1..2", f"--for={time}"), "--for")
        self.expect_usage(Ran("sweep", "--seeds", "1..2", "--jobs", "0"), "--jobs")

    def test_assignments(self):
        for text, named in (("nodes", "nodes"), ("nodes=x", "x"), ("nodes=0", "1 .. 9"),
                            ("no.such=1", "no"), ("network.no_such=1", "no_such")):
            with self.subTest(text=text):
                self.expect_usage(Ran("run", "--seed", "1", "--set", text), named)
                self.expect_usage(Ran("sweep", "--seeds", "1..2", "--set", text), named)

    def test_options_that_do_not_fit_together(self):
        both = ["--set", "raft.election_timeout_ms=100", "--set", "raft.heartbeat_ms=200"]
        self.expect_usage(Ran("run", "--seed", "1", *both), "heartbeat_ms", "election_timeout_ms")
        self.expect_usage(Ran("sweep", "--seeds", "1..2", *both), "heartbeat_ms")

    def test_options_that_fit_some_seeds_only(self):
        # Drawn election timeouts differ; seeds that cannot run are counted, never skipped.
        for first in range(1, 40):
            ran = Ran("sweep", "--seeds", f"{first}..{first + 5}", "--json", "--set",
                      "raft.heartbeat_ms=60", *SMALL)
            if ran.code == UNDECIDED:  # the first one must fit, and another one not
                break
        self.assertEqual(ran.code, UNDECIDED, ran.err)
        self.assertEqual(ran.json()["seeds"], 6)
        self.assertGreater(ran.json()["undecided"], 0)
        self.assertIn("raft.heartbeat_ms", json.loads(ran.out.splitlines()[0])["reason"])

    def test_scenarios(self):
        self.expect_usage(Ran("run", "--scenario", "no-such-story"), "no-such-story", "list")
        # Of a variable that is not set: another run would be worse than none.
        for command in (["run", "--scenario"], ["sweep", "--seeds", "1..2", "--scenario"]):
            self.expect_usage(Ran(*command, ""), "names nothing")
        broken = self.write("broken.txtpb", 'name: "x"\nfault { kind: MELTDOWN }\n')
        for command in (["run", "--scenario"], ["sweep", "--seeds", "1..2", "--scenario"]):
            self.expect_usage(Ran(*command, broken), "broken.txtpb:2:", "MELTDOWN")
        misfit = self.write("misfit.txtpb", "core: 7\n")
        self.expect_usage(Ran("run", "--scenario", misfit), "misfit.txtpb", "node 7")

    def test_histories(self):
        self.expect_usage(Ran("check", str(self.directory / "none.jsonl")), "none.jsonl")
        bad = self.write("bad.jsonl", GOOD_HISTORY + "{}\n")
        self.expect_usage(Ran("check", bad), "bad.jsonl:3")

    def test_places_that_cannot_be_written(self):
        self.assertEqual(
            Ran("sweep", "--seeds", "1..1", "--out", "/proc/none/such", *SMALL).code, ENVIRONMENT)
        self.assertEqual(
            Ran("run", "--seed", "1", "--history", "/proc/none/such", *SMALL).code, ENVIRONMENT)

    # ---- run

    def test_run_tells_who_it_is_first_and_how_to_repeat_it_last(self):
        ran = Ran("run", "--seed", "7", *SMALL)
        self.assertEqual(ran.code, OK)
        self.assertEqual(ran.err, "")
        lines = ran.out.splitlines()
        self.assertRegex(lines[0], r"^seed 7, commit ")
        self.assertRegex("\n".join(lines[1:-2]), r"(?m)^(parameters:)? *nodes: \d")
        self.assertRegex(lines[-2], r"^verdict ok, digest [0-9a-f]{16}$")
        self.assertEqual(lines[-1], "replay: tallysim run --seed 7 --set workload.names=3")

    def test_run_json(self):
        ran = Ran("run", "--seed", "7", "--json", *SMALL)
        self.assertEqual((ran.code, ran.err), (OK, ""))
        for line in ran.out.splitlines():
            json.loads(line)
        value = ran.json()
        self.expect_run(value)
        self.assertEqual((value["verdict"], value["seed"], value["violation"]), ("ok", 7, None))

    def test_run_json_of_a_violation(self):
        ran = Ran("run", "--seed", "7", "--json", *HANGS)
        self.assertEqual(ran.code, VIOLATION)
        value = ran.json()
        self.expect_run(value)
        self.assertEqual(value["violation"]["oracle"], "hang")
        self.assertEqual(value["violation"]["event"], 1000)

    def test_run_json_of_a_vacuous_run(self):
        ran = Ran("run", "--seed", "7", "--json", "--set", "workload.clients=0")
        self.assertEqual(ran.code, UNDECIDED)
        self.expect_run(ran.json())
        self.assertEqual(ran.json()["verdict"], "vacuous")
        self.assertTrue(ran.json()["reason"])

    def test_the_replay_command_replays(self):
        first = Ran("run", "--seed", "11", "--json", "--set", "nodes=5", *SMALL).json()
        command = first["replay"].split()
        self.assertEqual(command[0], "tallysim")
        again = Ran(*command[1:], "--json").json()
        self.assertEqual(again["digest"], first["digest"])
        self.assertEqual(again["events"], first["events"])

    def test_replay_of_a_seed(self):
        self.assertEqual(Ran("replay", "5", "--json", *SMALL).json()["digest"],
                         Ran("run", "--seed", "5", "--json", *SMALL).json()["digest"])

    def test_a_result_that_cannot_be_written(self):
        for command in (["run", "--seed", "7"], ["run", "--seed", "7", "--json"], ["list"],
                        ["sweep", "--seeds", "1..2"]):
            with self.subTest(command=command), open("/dev/full", "w") as full:
                done = subprocess.run([TALLYSIM, *command], stdout=full, stderr=subprocess.PIPE,
                                      text=True)
                self.assertEqual(done.returncode, ENVIRONMENT, done.stderr)
                self.assertIn("stdout", done.stderr)

    def test_out_must_be_a_directory(self):
        path = self.write("a-file", "")
        ran = Ran("sweep", "--seeds", "1..2", "--out", path)
        self.assertEqual(ran.code, ENVIRONMENT)
        self.assertIn("--out", ran.err)

    def test_a_seed_is_a_decimal_number(self):
        for seed in ("010", "1e3", "0x10", "-1", "1.5", "", "9007199254740993"):
            with self.subTest(seed=seed):
                self.expect_usage(Ran("run", f"--seed={seed}"), "--seed")

    def test_replay_of_nothing(self):
        self.expect_usage(Ran("replay", ""), "a capsule", "a seed")

    def test_replay_of_a_number_that_is_no_seed(self):
        for seed in ("9007199254740992", "18446744073709551616", "99999999999999999999999"):
            with self.subTest(seed=seed):
                self.expect_usage(Ran("replay", seed), seed, "2^53")

    def test_trace_goes_beside_the_json_and_changes_nothing(self):
        plain = Ran("run", "--seed", "3", "--json", *SMALL)
        traced = Ran("run", "--seed", "3", "--json", "--trace", "text", *SMALL)
        self.assertEqual(traced.json()["digest"], plain.json()["digest"])
        self.assertEqual(len(traced.out.splitlines()), len(plain.out.splitlines()))
        self.assertIn("elected leader of term", traced.err)

    def test_every_scenario_is_listed_and_runs_by_name(self):
        listed = Ran("list", "--json")
        self.assertEqual(listed.code, OK)
        names = [json.loads(line)["name"] for line in listed.out.splitlines()]
        files = sorted(path.stem for path in pathlib.Path("scenarios").glob("*.txtpb"))
        self.assertEqual(sorted(names), files)
        self.assertIn("bridge-node", names)
        ran = Ran("run", "--scenario", "bridge-node", "--json")
        self.assertEqual(ran.code, OK)
        self.assertIn("--scenario bridge-node", ran.json()["replay"])

    def test_the_list_is_grouped(self):
        listed = [json.loads(line) for line in Ran("list", "--json").out.splitlines()]
        groups = [line["group"] for line in listed]
        self.assertEqual(groups, sorted(groups))
        self.assertNotIn("other", groups)
        text = Ran("list").out.splitlines()
        self.assertEqual([line for line in text if not line.startswith(" ")], sorted(set(groups)))
        self.assertEqual(len(text), len(listed) + len(set(groups)))

    def test_a_path_is_printed_as_the_shell_takes_it(self):
        path = self.write("it's a story.txtpb", "swarm: true\n")
        replay = Ran("run", "--scenario", path, "--seed", "1", "--json", *SMALL).json()["replay"]
        self.assertEqual(shlex.split(replay),
                         ["tallysim", "run", "--seed", "1", "--scenario", path, *SMALL])

    def test_json_is_utf_8_whatever_a_file_is_called(self):
        path = os.fsencode(self.directory) + b"/\xff.txtpb"
        with open(path, "wb") as file:
            file.write(b"swarm: true\n")
        ran = subprocess.run([TALLYSIM, "run", "--scenario", path, "--seed", "1", "--json", *SMALL],
                             stdin=subprocess.DEVNULL, capture_output=True, check=False)
        replay = json.loads(ran.stdout.decode("utf-8").splitlines()[-1])["replay"]
        self.assertIn("\ufffd.txtpb", replay)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_a_file_that_may_not_be_read_is_told_by_name(self):
        path = self.write("secret.txtpb", "swarm: true\n")
        os.chmod(path, 0)
        self.expect_usage(Ran("run", "--scenario", path), f"{path}: Permission denied")

    def test_an_expectation_that_does_not_hold(self):
        path = self.write("hopeful.txtpb", 'swarm: true\nexpect { committed_min: 10000000 }\n')
        ran = Ran("run", "--scenario", path, "--seed", "1", "--json", *SMALL)
        self.assertEqual(ran.code, VIOLATION)
        self.assertEqual(ran.json()["violation"]["oracle"], "expectation")

    def test_an_expected_violation_is_fine(self):
        path = self.write("hung.txtpb", 'swarm: true\nexpect { violation: "hang" }\n')
        ran = Ran("run", "--scenario", path, "--seed", "1", "--json", *HANGS)
        self.assertEqual((ran.code, ran.json()["verdict"]), (OK, "ok"))

    # ---- history and check

    def test_the_history_of_a_run_passes_the_check(self):
        path = str(self.directory / "history.jsonl")
        value = Ran("run", "--seed", "2", "--json", "--history", path).json()
        checked = Ran("check", path, "--json")
        self.assertEqual(checked.code, OK, checked.out + checked.err)
        self.expect_fields(checked.json(), CHECK_FIELDS)
        self.assertEqual(checked.json()["verdict"], "ok")
        self.assertGreaterEqual(checked.json()["ops"], value["ops"]["ok"])

    def test_check_of_a_good_and_a_bad_history(self):
        good = Ran("check", self.write("good.jsonl", GOOD_HISTORY), "--json")
        self.assertEqual((good.code, good.json()["verdict"]), (OK, "ok"))
        self.assertEqual((good.json()["ops"], good.json()["reason"]), (2, None))
        bad = Ran("check", self.write("bad.jsonl", BAD_HISTORY), "--json")
        self.assertEqual((bad.code, bad.json()["verdict"]), (VIOLATION, "violation"))
        self.expect_fields(bad.json(), CHECK_FIELDS)
        self.assertEqual(Ran("check", "-", stdin=GOOD_HISTORY).code, OK)
        self.assertEqual(Ran("check", "-", "--initial", "1", stdin=GOOD_HISTORY).code, VIOLATION)

    # ---- sweep

    def test_sweep_says_the_summary_and_nothing_else(self):
        ran = Ran("sweep", "--seeds", "1..6", "--jobs", "2", *SMALL)
        self.assertEqual((ran.code, ran.err), (OK, ""))
        lines = ran.out.splitlines()
        self.assertEqual(lines[0], "6 seeds: 6 ok, 0 violations, 0 vacuous, 0 undecided")
        self.assertRegex(lines[1], r"^\d+ events \(median \d+ a seed\)")
        for line in lines[2:]:
            self.assertTrue(line.startswith("never seen: "), line)

    def test_sweep_json(self):
        ran = Ran("sweep", "--seeds", "1..6", "--jobs", "2", "--json", *SMALL)
        self.assertEqual((ran.code, ran.err, len(ran.out.splitlines())), (OK, "", 1))
        value = ran.json()
        self.expect_fields(value, SWEEP_FIELDS)
        self.assertEqual((value["seeds"], value["ok"]), (6, 6))
        self.assertGreater(value["seen"]["became_leader"], 5)
        self.assertFalse(set(value["seen"]) & set(value["never_seen"]))
        for name in ("fault_crash", "fault_write_lost", "fault_write_torn", "fault_name_lost"):
            self.assertIn(name, set(value["seen"]) | set(value["never_seen"]))

    def test_sweep_sums_up_the_same_with_any_number_of_jobs(self):
        one, three = (Ran("sweep", "--seeds", "1..4", "--jobs", jobs, "--json", *SMALL).json()
                      for jobs in ("1", "3"))
        for name in ("seeds", "ok", "events", "events_median", "seen", "never_seen"):
            self.assertEqual(one[name], three[name], name)

    def test_sweep_reports_each_failure_with_its_replay(self):
        ran = Ran("sweep", "--seeds", "5..7", "--jobs", "2", "--json", *HANGS)
        self.assertEqual(ran.code, VIOLATION)
        failures = [json.loads(line) for line in ran.out.splitlines()[:-1]]
        self.assertEqual(sorted(failure["seed"] for failure in failures), [5, 6, 7])
        for failure in failures:
            self.expect_fields(failure["violation"], VIOLATION_FIELDS)
            self.assertEqual(failure["replay"],
                             f"tallysim run --seed {failure['seed']} --set event_count_max=1000")
        self.assertEqual(ran.json()["violations"], 3)

    def test_sweep_stops_at_the_first_violation_when_told(self):
        ran = Ran("sweep", "--seeds", "1..100000", "--stop-at-first", "--json", *HANGS)
        self.assertEqual(ran.code, VIOLATION)
        self.assertLess(ran.json()["seeds"], 5000)

    def test_sweep_ends_by_time(self):
        ran = Ran("sweep", "--seeds", "1..9007199254740991", "--for", "1s", "--json", *HANGS)
        self.assertEqual(ran.code, VIOLATION)
        self.assertGreater(ran.json()["seeds"], 0)
        self.assertGreaterEqual(ran.json()["wall_ns"], 1_000_000_000)

    def test_what_a_sweep_writes_repeats_its_runs(self):
        out = self.directory / "failures"
        ran = Ran("sweep", "--seeds", "21..24", "--out", str(out), *HANGS)
        self.assertEqual(ran.code, VIOLATION)
        self.assertEqual(sorted(path.name for path in out.iterdir()),
                         [f"seed-{seed}.capsule" for seed in range(21, 25)])
        for seed in range(21, 25):
            path = str(out / f"seed-{seed}.capsule")
            drawn = Ran("run", "--seed", str(seed), "--json", *HANGS)
            spelled = Ran("run", "--scenario", path, "--json")
            self.assertEqual(spelled.json()["digest"], drawn.json()["digest"])
            self.assertEqual(spelled.code, VIOLATION)
            replayed = Ran("replay", path, "--json")
            self.assertEqual(replayed.code, 1)
            self.expect_fields(replayed.json(), REPLAY_FIELDS)
            self.assertEqual(replayed.json()["outcome"], "reproduced")
            self.assertIsNone(replayed.json()["differs_at"])
            self.assertEqual(replayed.json()["digest"], drawn.json()["digest"])

    # ---- diverge

    def test_diverge_finds_one_byte_of_nondeterminism_at_its_event(self):
        disturbed = pathlib.Path(TALLYSIM).parent.parent / "tests" / "tallysim_disturbed"
        for what in (["--seed", "3"], ["--scenario", "bridge-node"]):
            with self.subTest(what=what):
                ran = Ran("diverge", TALLYSIM, str(disturbed), *what)
                self.assertEqual((ran.code, ran.err), (VIOLATION, ""))
                lines = ran.out.splitlines()
                self.assertEqual(lines[0], "the first event that differs is 1500")  # one-byte.patch
                a, b = (re.fullmatch(rf"{side}  [0-9a-f]{{16}}  at (\d+) ns: (.*)", line).groups()
                        for side, line in zip("AB", lines[2:], strict=True))
                self.assertEqual(int(b[0]) - int(a[0]), 1)
                self.assertEqual(a[1], b[1])

    def test_replay_names_the_first_event_that_differs(self):
        disturbed = pathlib.Path(TALLYSIM).parent.parent / "tests" / "tallysim_disturbed"
        out = self.directory / "longer"
        Ran("sweep", "--seeds", "3..3", "--out", str(out), "--set", "event_count_max=3000")
        text = (out / "seed-3.capsule").read_text()

        def replay(name, text, *flags):
            ran = subprocess.run([disturbed, "replay", self.write(name, text), *flags],
                                 capture_output=True, text=True, check=False)
            self.assertEqual((ran.returncode, ran.stderr), (VIOLATION, ""))
            return ran.stdout

        told = replay("a.capsule", text)
        self.assertIn("from event 1500 on", told)  # one-byte.patch
        before, today = re.search(r"  event 1499, in both: at (\d+) ns: .*\n"
                                  r"  event 1500, today:   at (\d+) ns: ", told).groups()
        self.assertLessEqual(int(before), int(today))
        line = json.loads(replay("a.capsule", text, "--json").splitlines()[-1])
        self.assertEqual(line["differs_at"], [1500, 1500])
        self.assertIn(f"at {today} ns: ", line["differing_event"])
        # Older capsules know less, and still replay.
        told = replay("old.capsule", without_marks(text))
        self.assertIn("from events 1473..1536 on", told)
        self.assertIn("--trail 1473..1536", told)

    def test_a_capsule_survives_changes_that_no_run_notices(self):
        """A note, a statistic and a stream of draws more; and fields of the future at its end."""
        unrelated = pathlib.Path(TALLYSIM).parent.parent / "tests" / "tallysim_unrelated"
        self.assertNotEqual(pathlib.Path(TALLYSIM).read_bytes(), unrelated.read_bytes())
        path = self.write("old.capsule", self.capsule() + "novelty { of: 3 }\nfuture_field: 12\n")
        ran = subprocess.run([unrelated, "replay", path, "--json"], stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, VIOLATION, ran.stderr)
        line = json.loads(ran.stdout.splitlines()[-1])
        self.assertEqual((line["outcome"], line["differs_at"]), ("reproduced", None))
        ran = Ran("diverge", TALLYSIM, str(unrelated), "--seed", "3")
        self.assertEqual((ran.code, ran.err), (OK, ""))

    def test_diverge_finds_nothing_between_equal_programs(self):
        ran = Ran("diverge", TALLYSIM, TALLYSIM, "--seed", "3")
        self.assertEqual((ran.code, ran.err), (OK, ""))
        self.assertIn("no difference", ran.out)

    def test_diverge_compares_capsules(self):
        text = self.capsule()
        a = self.write("a.capsule", text)
        self.assertEqual(Ran("diverge", a, a).code, OK)
        checkpoints = re.findall(r'^checkpoint: "(.*)"', text, re.M)
        for checkpoint in checkpoints[4:]:
            text = text.replace(checkpoint, checkpoint[::-1])
        ran = Ran("diverge", a, self.write("b.capsule", without_marks(text)))
        self.assertEqual(ran.code, VIOLATION)
        self.assertIn("is one of 257..320", ran.out)
        marks = re.findall(r'^marks: "(.*)"', text, re.M)  # 64 events in each line, 4 digits each
        other = marks[4][:40] + ("ffff" if marks[4][40:44] == "0000" else "0000") + marks[4][44:]
        ran = Ran("diverge", a, self.write("b.capsule", text.replace(marks[4], other)))
        self.assertEqual(ran.code, VIOLATION)
        self.assertIn(f"the first event that differs is {4 * 64 + 11}\n", ran.out)

    def test_diverge_says_which_run_nobody_named(self):
        ran = Ran("diverge", TALLYSIM, TALLYSIM)
        self.assertEqual(ran.code, OK)
        self.assertIn("seed 1,", ran.err)

    def test_diverge_refuses_what_cannot_be_compared(self):
        a = self.write("a.capsule", self.capsule())
        changed = self.capsule().replace("heartbeat_ms: 5", "heartbeat_ms: 6")
        other = self.write("b.capsule", changed)
        ran = Ran("diverge", a, other)
        self.assertEqual(ran.code, OK)  # as far as the two files tell, it made no difference
        self.assertIn("not the same run:", ran.out)
        self.assertIn("heartbeat_ms: 6", ran.out)
        self.expect_usage(Ran("diverge", a, TALLYSIM), "one of each")
        self.expect_usage(Ran("diverge", a, "no-such-file"), "no-such-file")
        self.expect_usage(Ran("diverge", a, "scenarios/bridge-node.txtpb"), "neither")
        self.assertEqual(Ran("diverge", "/bin/false", TALLYSIM, "--seed", "1").code, ENVIRONMENT)

    # ---- shards

    def seeds_of(self, *flags, environment=None):
        ran = subprocess.run([TALLYSIM, "sweep", "--json", *flags, *HANGS], text=True,
                             capture_output=True, env={**os.environ, **(environment or {})})
        self.assertEqual(ran.returncode, VIOLATION, ran.stderr)
        return sorted(json.loads(line)["seed"] for line in ran.stdout.splitlines()[:-1])

    def test_shards_share_the_seeds_out(self):
        shards = [self.seeds_of("--seeds", "10..20", "--shard", f"{i}/3") for i in (1, 2, 3)]
        self.assertEqual(sum(shards, []), list(range(10, 21)))
        self.assertEqual(self.seeds_of("--seeds", "10..20", "--shard", "1/1"),
                         list(range(10, 21)))

    def test_shards_of_array_jobs(self):
        def part(shard, **environment):
            return self.seeds_of("--seeds", "10..20", "--shard", shard, environment=environment)

        def slurm(first, last, step=1):
            """The variables of each task of such an array."""
            ids = range(first, last + 1, step)
            return [{"SLURM_ARRAY_TASK_ID": str(i), "SLURM_ARRAY_TASK_MIN": str(ids[0]),
                     "SLURM_ARRAY_TASK_MAX": str(ids[-1]), "SLURM_ARRAY_TASK_STEP": str(step),
                     "SLURM_ARRAY_TASK_COUNT": str(len(ids))} for i in ids]

        thirds = [self.seeds_of("--seeds", "10..20", "--shard", f"{i}/3") for i in (1, 2, 3)]
        for tasks in (slurm(1, 3), slurm(0, 2), slurm(1, 5, 2)):
            self.assertEqual([part("auto", **task) for task in tasks], thirds, tasks)
        self.assertEqual([part("auto/3", **task) for task in slurm(1, 3)], thirds)
        self.assertEqual(part("auto/3", JOB_COMPLETION_INDEX="1"), thirds[1])
        # Submitted again alone: an array of one task, whose id is what it was.
        self.assertEqual(part("auto/3", **slurm(3, 3)[0]), thirds[2])

        def refused(shard, *named, **environment):
            ran = subprocess.run([TALLYSIM, "sweep", "--seeds", "10..20", "--shard", shard],
                                 text=True, capture_output=True, env={**os.environ, **environment})
            self.assertEqual((ran.returncode, ran.stdout), (USAGE, ""))
            for name in (f"--shard {shard}: ", *named):
                self.assertIn(name, ran.stderr)

        refused("auto", "give auto/N", **slurm(3, 3)[0])
        refused("auto", "give auto/N", **{**slurm(1, 3)[0], "SLURM_ARRAY_TASK_MAX": "5"})
        refused("auto/3", "--array=1-3", **slurm(0, 2)[0])
        refused("auto/3", "--array=1-3", **slurm(1, 4)[3])
        refused("auto/3", "--array=1-3", **slurm(1, 5, 2)[1])
        refused("auto/3", "SLURM_ARRAY_TASK_ID is 'three', which is not a number",
                SLURM_ARRAY_TASK_ID="three")
        refused("auto/3", "JOB_COMPLETION_INDEX is '', which is not a number",
                JOB_COMPLETION_INDEX="")

    def test_shards_that_do_not_exist(self):
        for shard in ("0/3", "4/3", "1", "1/0", "x/3", "1/x", "/", "auto", "1/12", "-1/3"):
            with self.subTest(shard=shard):
                self.expect_usage(Ran("sweep", "--seeds", "10..20", f"--shard={shard}"), "--shard")

    def test_seeds_of_a_commit(self):
        first = self.seeds_of("--seeds", "0123abcd+3")
        self.assertEqual(first, self.seeds_of("--seeds", "0123abcdef99+3"))
        self.assertEqual(first, list(range(first[0], first[0] + 3)))
        self.assertNotEqual(first, self.seeds_of("--seeds", "fedcba98+3"))
        for seeds in ("0123abc", "0123+5", "0123abcd+0", "0123abcd+", "0123abcg+1", "+3"):
            with self.subTest(seeds=seeds):
                self.expect_usage(Ran("sweep", f"--seeds={seeds}"), "--seeds")

    def test_merge_sums_up_shards_and_tells_each_kind_once(self):
        paths = [self.write(f"{i}.json",
                            Ran("sweep", "--seeds", "10..20", "--shard", f"{i}/2", "--json",
                                *HANGS).out) for i in (1, 2)]
        merged = subprocess.run([sys.executable, "-B", "tools/dev/merge_sweeps.py", *paths],
                                text=True, capture_output=True)
        self.assertEqual((merged.returncode, merged.stderr), (VIOLATION, ""))
        kind, total = (json.loads(line) for line in merged.stdout.splitlines())
        self.assertEqual((kind["fingerprint"], kind["count"]),
                         ("hang: the event budget is spent", 11))
        whole = Ran("sweep", "--seeds", "10..20", "--json", *HANGS).json()
        for name in ("seeds", "violations", "events", "seen", "never_seen"):
            self.assertEqual(total[name], whole[name], name)
        self.assertEqual(total["missing"], [])

        def merge(*paths):
            return subprocess.run([sys.executable, "-B", "tools/dev/merge_sweeps.py", *paths],
                                  text=True, capture_output=True)

        alone = merge(paths[1])
        self.assertEqual(json.loads(alone.stdout.splitlines()[-1])["missing"],
                         ["1/2 of seeds 10..20"])
        self.assertIn("shard 1/2 of seeds 10..20 is missing", alone.stderr)
        fine = self.write("fine.json",
                          Ran("sweep", "--seeds", "10..20", "--shard", "2/11", "--json").out)
        self.assertEqual(merge(fine).returncode, UNDECIDED)
        self.assertEqual(merge(*paths, fine).returncode, VIOLATION)  # other flags: other runs
        twice = merge(*paths, paths[0])
        self.assertEqual((twice.returncode, twice.stdout), (USAGE, ""))
        self.assertIn(f"seed 10 is in {paths[0]}, too", twice.stderr)
        bad = self.write("bad.json", '{"verdict":"ok"}\nnonsense\n')
        merged = subprocess.run([sys.executable, "-B", "tools/dev/merge_sweeps.py", bad],
                                text=True, capture_output=True)
        self.assertEqual(merged.returncode, USAGE)
        self.assertIn(f"{bad}:2: not JSON", merged.stderr)

    # ---- runs and failures as files

    def capsule(self):
        """The text of a capsule that reproduces."""
        out = self.directory / "one"
        Ran("sweep", "--seeds", "21..21", "--out", str(out), *HANGS)
        return (out / "seed-21.capsule").read_text()

    def test_emit_plan_writes_the_whole_run(self):
        for what in (["--seed", "8"], ["--scenario", "bridge-node"]):
            with self.subTest(what=what):
                path = str(self.directory / "plan.txtpb")
                drawn = Ran("run", *what, "--emit-plan", path, "--json")
                self.assertEqual(drawn.code, OK)
                again = Ran("run", "--scenario", path, "--json")
                self.assertEqual(again.code, OK)
                self.assertEqual(again.json()["digest"], drawn.json()["digest"])
        self.assertEqual(Ran("run", *SMALL, "--emit-plan", "/no/such/folder/x").code, ENVIRONMENT)

    def test_replay_says_reproduced(self):
        ran = Ran("replay", self.write("a.capsule", self.capsule()))
        self.assertEqual(ran.code, 1)
        self.assertIn("reproduced: hang: the event budget is spent, event for event", ran.out)

    def test_replay_says_gone(self):
        text = self.capsule().replace("event_count_max: 1000", "event_count_max: 2000000")
        ran = Ran("replay", self.write("a.capsule", text))
        self.assertEqual(ran.code, 0)
        self.assertIn("gone: no hang", ran.out)

    def test_replay_says_diverged(self):
        text = self.capsule().replace('clause: "the event', 'clause: "another')
        ran = Ran("replay", self.write("a.capsule", text))
        self.assertEqual(ran.code, 4)
        self.assertIn("diverged: ends as hang", ran.out)

    def test_a_capsule_reproduces_whatever_else_it_says(self):
        text = self.capsule() + "weather: \"fair\"\nnew_note { times: 3 }\n"
        self.assertEqual(Ran("replay", self.write("a.capsule", text)).code, 1)

    def test_capsules_that_cannot_be_read(self):
        text = self.capsule()
        place = next(number for number, line in enumerate(text.splitlines(), 1)
                     if line.startswith("format_version"))
        for old, new, named in (
                ("format_version: 1", "format_version: 2", [f":{place}:1: ", "is 2", "up to 1"]),
                ("events: 1000", "events: soon", [f":{place + 7}:9: "]),
                ("nodes: 5", "nodes: 50", [":", "nodes is 50", "1 .. 9"]),
                ("scenario {", "scenario { fault { kind: CRASH }", ["fault 1", "targets"])):
            with self.subTest(new=new):
                path = self.write("a.capsule", text.replace(old, new, 1))
                self.expect_usage(Ran("replay", path), path + ":", *named)

    def test_misfits_in_scenarios_are_told_in_place(self):
        path = self.write("a.txtpb", "name: \"a\"\n  fault {\n  kind: CRASH target { node: 9 }\n"
                                     "  trigger { at_ms: 3 } }\n")
        self.expect_usage(Ran("run", "--scenario", path), f"{path}:3:24: fault 1", "node 9")
        path = self.write("b.txtpb", "params {\n network {\n\n    loss_ppm: -1 } }\n")
        self.expect_usage(Ran("run", "--scenario", path), f"{path}:4:5: network.loss_ppm is -1")

    # ---- shrink

    def test_shrink_writes_a_scenario_that_expects_the_failure(self):
        story = str(self.directory / "short-story.txtpb")
        ran = Ran("shrink", "--seed", "22", *HANGS, "--for", "10s", "--json", "--out", story)
        self.assertEqual((ran.code, ran.err), (OK, ""))
        value = ran.json()
        self.expect_fields({name: value[name] for name in value if name != "minimal"},
                           SHRINK_FIELDS)
        self.assertEqual(value["fingerprint"], "hang: the event budget is spent")
        self.assertLess(value["after"]["faults"], value["before"]["faults"])
        self.assertLessEqual(value["after"]["ops"], value["before"]["ops"])
        text = pathlib.Path(story).read_text()
        self.assertIn('name: "short-story"', text)
        self.assertIn('expect { violation: "hang" clause: "the event budget is spent" }', text)
        ran = Ran("run", "--scenario", story, "--json")
        self.assertEqual((ran.code, ran.json()["verdict"]), (OK, "ok"))

    def test_shrink_takes_a_capsule(self):
        path = self.write("a.capsule", self.capsule())
        story = str(self.directory / "b.txtpb")
        ran = Ran("shrink", path, "--for", "2s", "--out", story)
        self.assertEqual((ran.code, ran.err), (OK, ""))
        self.assertIn(f"replay: tallysim run --scenario {story}", ran.out)
        ran = Ran("explain", story)
        self.assertEqual(ran.code, VIOLATION)
        self.assertNotIn("shorter story", ran.out)

    def test_explain_tells_the_past_of_a_violation(self):
        for ran in (Ran("explain", "--seed", "21", *HANGS),
                    Ran("explain", self.write("a.capsule", self.capsule()))):
            self.assertEqual((ran.code, ran.err), (VIOLATION, ""))
            self.assertIn("promised   a run ends within its event budget", ran.out)
            self.assertIn("happened   1000 events and no end", ran.out)
            self.assertIn("A far shorter story: tallysim shrink ", ran.out)
            self.assertLess(len(ran.out.splitlines()), 100)
        ran = Ran("explain", "--seed", "1", *SMALL)
        self.assertEqual(ran.code, OK)
        self.assertIn("nothing to explain", ran.err)
        self.expect_usage(Ran("explain"), "one of")

    def test_shrink_refuses_what_it_cannot_shrink(self):
        story = str(self.directory / "c.txtpb")
        self.expect_usage(Ran("shrink", "--out", story), "one of")
        self.expect_usage(Ran("shrink", "x", "--seed", "1", "--out", story), "one of")
        self.expect_usage(Ran("shrink", "--seed", "1"), "--out")
        self.expect_usage(Ran("shrink", "no-such-file", "--out", story), "no-such-file")
        unwritable = Ran("shrink", "--seed", "1", *SMALL, "--out", "/proc/none/such")
        self.assertEqual(unwritable.code, ENVIRONMENT, "told before anything is run")
        self.assertIn("/proc/none/such", unwritable.err)
        ran = Ran("shrink", "--seed", "1", *SMALL, "--out", story)
        self.assertEqual((ran.code, ran.out), (UNDECIDED, ""))
        self.assertIn("ends ok", ran.err)
        text = self.capsule().replace('clause: "the event', 'clause: "another')
        ran = Ran("shrink", self.write("d.capsule", text), "--out", story)
        self.assertEqual(ran.code, UNDECIDED)
        self.assertIn("not by hang: another", ran.err)

    def test_ctrl_c_ends_a_sweep_with_what_it_has(self):
        sweep = self.start_endless_sweep()
        sweep.send_signal(signal.SIGINT)
        out, err = sweep.communicate(timeout=60)
        self.assertEqual(sweep.returncode, OK)
        self.assertIn("interrupted", err)
        self.expect_fields(json.loads(out.splitlines()[-1]), SWEEP_FIELDS)

    def test_a_killed_worker_is_a_crash_and_the_sweep_goes_on(self):
        sweep = self.start_endless_sweep()
        killed = self.children(sweep.pid)[0]
        os.kill(killed, signal.SIGKILL)  # a child of our own child
        first = json.loads(sweep.stdout.readline())
        sweep.send_signal(signal.SIGINT)
        out, _ = sweep.communicate(timeout=60)
        self.assertEqual(sweep.returncode, VIOLATION)
        self.assertEqual(first["violation"]["oracle"], "crash")
        self.assertIn("signal 9", first["violation"]["fingerprint"])
        self.assertEqual(json.loads(out.splitlines()[-1])["violations"], 1)

    def start_endless_sweep(self):
        # Runs so long that a worker is in the middle of one whenever we look.
        sweep = subprocess.Popen(
            [TALLYSIM, "sweep", "--seeds", "1..1000000", "--jobs", "1", "--json",
             "--set", "duration_ms=200000", "--set", "event_count_max=1000000000"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(sweep.stdout.close)
        self.addCleanup(sweep.stderr.close)
        self.addCleanup(sweep.wait)
        self.addCleanup(sweep.kill)
        while not self.busy_children(sweep.pid):
            self.assertIsNone(sweep.poll(), "the sweep ended at once")
        return sweep

    @staticmethod
    def children(pid):
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split()]

    def busy_children(self, pid):
        """Children that have used up some processor time already, so they are at a seed."""
        try:
            stats = [pathlib.Path(f"/proc/{child}/stat").read_text() for child in
                     self.children(pid)]
        except FileNotFoundError:
            return []
        return [stat for stat in stats if int(re.sub(r"^.*\) ", "", stat).split()[11]) >= 5]


if __name__ == "__main__":
    if not os.access(TALLYSIM, os.X_OK):
        sys.exit(f"no program {TALLYSIM}: build first, or set TALLY_BIN_DIR")
    unittest.main()
