#!/usr/bin/env python3
"""Plants known Raft bugs, one at a time, and measures how soon a sweep catches each.

Each bug is a patch, tests/bugs/NAME.patch, headed by what it does:

    Bug: a voter grants without comparing logs
    Source: where it happened, or who describes it
    Oracle: leader completeness, linearizability
    Args: --scenario NAME

Any of the oracles may fire first. Args, if there is such a line, is for the sweep.

The first failing seed of each range is shrunk to a story (build/bugs/out/NAME/NAME-SEED.txtpb).

With --stories nothing is swept: each story of scenarios/ runs under the bugs that it says it
catches, and must fail under each.

The patch is applied to a copy of the tree under build/bugs, whose build stays warm; the shipped
tree contains none. A patch that no longer applies or compiles is a failure, like one not caught.
Exit 0 all caught, 1 not all, 2 usage, 3 the copy without any bug does not build.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import re
import shlex
import shutil
import statistics
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
BUGS = TOP / "tests" / "bugs"
WORK = TOP / "build" / "bugs"
TREE = WORK / "tree"
# The copy builds where the original would, so that ccache serves it what release compiled.
BUILD = TREE / "build" / "release"
NOT_COPIED = {"build", ".git", "__pycache__"}
# What every change is checked with (--smoke); the others wait for the full check.
SMOKE = ("reply-on-append", "no-log-check-in-vote", "prev-term-unchecked",
         "append-from-stale-term", "quorum-off-by-one", "ack-without-sync", "local-leader-read",
         "retry-without-dedup", "timer-not-randomised", "clock-in-apply")


class Failed(Exception):
    """What to tell about this bug instead of a catch."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- The copied tree ----------------------------------------------------------------------------


def files_below(top):
    for directory, folders, names in os.walk(top):
        folders[:] = sorted(set(folders) - NOT_COPIED)
        for name in names:
            yield (pathlib.Path(directory) / name).relative_to(top)


def same_content(a, b):
    return (b.is_file() and a.stat().st_size == b.stat().st_size
            and a.read_bytes() == b.read_bytes())


def copy_tree():
    """Makes TREE equal to the tree, touching only what differs, so that only that is rebuilt."""
    TREE.mkdir(parents=True, exist_ok=True)
    wanted = set(files_below(TOP))
    for extra in set(files_below(TREE)) - wanted:
        (TREE / extra).unlink()
    for name in sorted(wanted):
        source, target = TOP / name, TREE / name
        if not same_content(source, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)  # its time is now: later than any object built so far
            shutil.copymode(source, target)


def run(command, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **options)


def build_tallysim(commit, jobs):
    environment = dict(os.environ, CCACHE_BASEDIR=str(TREE), CCACHE_ABSSTDERR="1")
    for command in (["cmake", "--preset", "release", "-DTALLY_TESTS=OFF",
                     f"-DTALLY_COMMIT={commit}"],
                    ["ninja", "-C", str(BUILD), "-j", str(jobs), "--quiet", "tallysim"]):
        done = run(command, cwd=TREE, env=environment)
        if done.returncode != 0:
            raise Failed(f"does not build:\n{done.stdout.rstrip()}")
    return BUILD / "bin" / "tallysim"


@contextlib.contextmanager
def planted(patch):
    """The copied tree with the patch applied, for as long as the block lasts."""
    text = patch.read_text(encoding="utf-8")
    names = {match.group(1) for match in re.finditer(r"^(?:---|\+\+\+) [ab]/(\S+)", text, re.M)}
    before = {TREE / name: (TREE / name).read_bytes() if (TREE / name).exists() else None
              for name in sorted(names)}
    command = ["patch", "-p1", "--batch", "--forward", "--fuzz=1", "--no-backup-if-mismatch",
               "--reject-file=-", "--directory", str(TREE), "--input", str(patch)]
    trial = run(command + ["--dry-run"])
    if trial.returncode != 0:
        raise Failed(f"no longer applies:\n{trial.stdout.rstrip()}")
    try:
        run(command, check=True)
        yield
    finally:
        for file, content in before.items():
            if content is not None:
                file.write_bytes(content)  # again with the time of now, so that it is rebuilt
            elif file.exists():
                file.unlink()


# ---- One bug ------------------------------------------------------------------------------------


class Bug:
    def __init__(self, patch):
        self.patch = patch
        self.name = patch.stem
        self.fields = {}
        key = None
        for line in patch.read_text(encoding="utf-8").splitlines():
            if line.startswith(("diff ", "--- ")):
                break
            line = line.removeprefix("#").strip()
            match = re.match(r"(Bug|Source|Oracle|Args):\s*(.*)", line)
            if match:
                key = match.group(1)
                self.fields[key] = match.group(2)
            elif key and line:
                self.fields[key] += " " + line

    def check_header(self):
        missing = [key for key in ("Bug", "Source", "Oracle") if not self.fields.get(key)]
        if missing:
            raise Failed(f"its header lacks {', '.join(missing)}")

    @property
    def oracles(self):
        return [name.strip() for name in self.fields.get("Oracle", "").split(",")]

    @property
    def arguments(self):
        return shlex.split(self.fields.get("Args", ""))


def json_lines(text):
    for line in text.splitlines():
        if line.startswith("{"):
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)


def call(command):
    done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1, 4):
        raise Failed(f"{shlex.join(map(str, command))}: exit code {done.returncode}\n"
                     f"{done.stderr.rstrip()}")
    return list(json_lines(done.stdout))


def sweep(program, bug, first, last, jobs, out):
    """(summary, failures) of one sweep over the seeds."""
    command = [program, "sweep", "--seeds", f"{first}..{last}", "--jobs", str(jobs), "--out", out,
               "--stop-at-first", "--json", *bug.arguments]
    lines = call(command)
    summaries = [line for line in lines if "seeds" in line and "violations" in line]
    if not summaries:
        raise Failed(f"{shlex.join(map(str, command))}: ended without a summary")
    failures = [line for line in lines if line.get("violation") and "seed" in line]
    return summaries[-1], failures


def catch(program, bug, first, last, jobs, out):
    """Sweeps until the first violation: {caught, oracle, seed, seeds, cpu_ns}."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    summary, failures = sweep(program, bug, first, last, jobs, out)
    result = {"caught": summary["violations"] > 0, "oracle": None, "seed": None,
              "seeds": summary["seeds"], "cpu_ns": summary["cpu_ns"]}
    if result["caught"]:
        if not failures:
            raise Failed("the sweep counts a violation but names no seed")
        failure = min(failures, key=lambda line: line["seed"])
        result["oracle"] = failure["violation"]["oracle"]
        result["seed"] = failure["seed"]
        result["seeds"] = failure["seed"] - first + 1
    return result


def shrink(program, bug, seed, out):
    """The failing seed made small: its size, and what that took. None: it does not shrink."""
    story = out / f"{bug.name}-{seed}.txtpb"
    lines = call([program, "shrink", "--seed", str(seed), "--out", story, "--json",
                  *bug.arguments])
    if not lines:
        return None
    line = lines[-1]
    return {**{name: line["after"][name] for name in ("faults", "nodes", "ops", "events")},
            "cpu_ns": line["cpu_ns"], "before": line["before"], "minimal": line["minimal"],
            "fingerprint": line["fingerprint"], "story": str(story.relative_to(TOP))}


def median_of(shrunk):
    """Of several shrunken seeds: the medians of all sizes, and the story of the first."""
    if not shrunk:
        return None
    middle = dict(shrunk[0], of=len(shrunk))
    for name in ("faults", "nodes", "ops", "events", "cpu_ns"):
        middle[name] = round(statistics.median(one[name] for one in shrunk))
    middle["before"] = {name: round(statistics.median(one["before"][name] for one in shrunk))
                        for name in shrunk[0]["before"]}
    middle["minimal"] = all(one["minimal"] for one in shrunk)
    return middle


def measure(bug, arguments):
    report = {"bug": bug.name, "caught": False, "oracle": None, "seeds": 0, "cpu_ns": 0,
              "replay": None, "shrunk": None}
    try:
        bug.check_header()
        with planted(bug.patch):
            built = build_tallysim(f"planted-{bug.name}", arguments.jobs)
        # Each bug keeps its program, so that what it caught can be replayed.
        program = WORK / "bin" / f"tallysim-{bug.name}"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.unlink(missing_ok=True)
        shutil.copy2(built, program)

        first, last = arguments.seeds
        span = last - first + 1
        catches = [catch(program, bug, first + i * span, last + i * span, arguments.jobs,
                         WORK / "out" / bug.name) for i in range(arguments.ranges)]
        report["caught"] = all(one["caught"] for one in catches)
        report["seeds"] = round(statistics.median(one["seeds"] for one in catches))
        report["cpu_ns"] = round(statistics.median(one["cpu_ns"] for one in catches))
        shown = next((one for one in catches if one["caught"]), None)
        if shown:
            report["oracle"] = shown["oracle"]
            report["replay"] = shlex.join([str(program.relative_to(TOP)), "run", "--seed",
                                           str(shown["seed"]), *bug.arguments])
            if arguments.shrink:
                out = WORK / "out" / bug.name
                each = [shrink(program, bug, one["seed"], out) for one in catches if one["caught"]]
                report["shrunk"] = median_of([one for one in each if one])
        if arguments.ranges > 1:
            report["ranges"] = catches
        unexpected = sorted({one["oracle"] for one in catches
                             if one["caught"] and one["oracle"] not in bug.oracles})
        if unexpected:
            say(f"bugs: {bug.name}: caught by {', '.join(unexpected)}; its header expects "
                f"{', '.join(bug.oracles)}")
    except Failed as failed:
        report["error"] = str(failed)
    return report


# ---- Stories -------------------------------------------------------------------------------------


def stories_by_bug(program):
    """The names of the stories that say they catch each bug."""
    stories = {}
    for story in call([program, "list", "--json"]):
        for bug in story["catches"]:
            stories.setdefault(bug, []).append(story["name"])
    return stories


def run_stories(bug, names, arguments):
    """One report for each story."""
    reports = [{"bug": bug.name, "story": name, "caught": False, "oracle": None} for name in names]
    try:
        with planted(bug.patch):
            program = build_tallysim(f"planted-{bug.name}", arguments.jobs)
        for report in reports:
            line = call([program, "run", "--scenario", report["story"], "--json"])[-1]
            report["caught"] = line["verdict"] == "violation"
            report["oracle"] = line["violation"] and line["violation"]["oracle"]
    except Failed as failed:
        for report in reports:
            report["error"] = str(failed)
    return reports


def print_story(report):
    caught_by = report["oracle"] if report["caught"] else "NOT CAUGHT"
    print(f"{report['story']:<40} {report['bug']:<34} {report.get('error', caught_by)}")


# ---- All of them --------------------------------------------------------------------------------


def print_header():
    print(f"{'bug':<28} {'caught by':<26} {'seeds':>6} {'cpu':>9}")


def print_report(report):
    caught_by = report["oracle"] if report["caught"] else "NOT CAUGHT"
    if "error" in report:
        caught_by = "FAILED"
    print(f"{report['bug']:<28} {caught_by:<26} {report['seeds']:>6} "
          f"{report['cpu_ns'] / 1e9:>7.2f} s")
    if report["replay"]:
        print(f"    {report['replay']}")
    if report["shrunk"]:
        after, before = report["shrunk"], report["shrunk"]["before"]
        of = f" (medians of {after['of']} seeds)" if after["of"] > 1 else ""
        sizes = ", ".join(f"{before[name]} -> {after[name]} {what}" for name, what in
                          (("faults", "faults"), ("nodes", "nodes"), ("ops", "operations"),
                           ("events", "events")))
        print(f"    shrunk{of}: {sizes}"
              f" in {after['cpu_ns'] / 1e9:.1f} s: {after['story']}")
    for one in report.get("ranges", ()):
        seed = one["seed"] if one["caught"] else "none"
        print(f"    seed {seed}: {one['oracle']}, {one['seeds']} seeds, "
              f"{one['cpu_ns'] / 1e9:.2f} s")
    if "error" in report:
        print("    " + report["error"].replace("\n", "\n    "))


def seed_range(text):
    match = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if not match or int(match.group(1)) > int(match.group(2)):
        raise argparse.ArgumentTypeError(f"'{text}' is no range of seeds; one is 1..3000")
    return int(match.group(1)), int(match.group(2))


def parse_arguments():
    parser = argparse.ArgumentParser(prog="dev bugs", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="this bug; may be repeated")
    parser.add_argument("--smoke", action="store_true", help="the ten that check runs")
    parser.add_argument("--seeds", type=seed_range, default=(1, 3000), metavar="A..B")
    parser.add_argument("--ranges", type=int, default=1, metavar="K",
                        help="sweep K ranges of that length one after the other, shrink the first "
                             "failure of each; report medians")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="J")
    parser.add_argument("--stories", action="store_true",
                        help="instead of sweeping, run the stories that say they catch a bug")
    parser.add_argument("--no-shrink", dest="shrink", action="store_false",
                        help="do not make the failing seed small")
    parser.add_argument("--json", action="store_true", help="one line per bug")
    arguments = parser.parse_args()
    if arguments.ranges < 1 or arguments.jobs < 1:
        parser.error("--ranges and --jobs are at least 1")
    names = sorted(patch.stem for patch in BUGS.glob("*.patch"))
    chosen = (arguments.only or []) + (list(SMOKE) if arguments.smoke else [])
    for name in chosen:
        if name not in names:
            parser.error(f"no tests/bugs/{name}.patch; there are: {', '.join(names) or 'none'}")
    arguments.names = sorted(set(chosen)) or names
    return arguments


def main():
    arguments = parse_arguments()
    WORK.mkdir(parents=True, exist_ok=True)
    with open(WORK / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the copy is one: a second call waits
        copy_tree()
        try:
            build_tallysim("planted-none", arguments.jobs)
        except Failed as failed:
            say(f"bugs: the copy without any bug {failed}")
            return 3
        if arguments.stories:
            stories = stories_by_bug(BUILD / "bin" / "tallysim")
            reports = (report for name in arguments.names if name in stories for report in
                       run_stories(Bug(BUGS / f"{name}.patch"), stories[name], arguments))
        else:
            if not arguments.json:
                print_header()
            reports = (measure(Bug(BUGS / f"{name}.patch"), arguments) for name in arguments.names)
        count, caught = 0, 0
        for report in reports:
            count += 1
            caught += report["caught"]
            if arguments.json:
                print(json.dumps(report))
            elif arguments.stories:
                print_story(report)
            else:
                print_report(report)
            sys.stdout.flush()
        if not arguments.json:
            print(f"{caught} of {count} caught")
    return 0 if caught == count else 1


if __name__ == "__main__":
    sys.exit(main())
