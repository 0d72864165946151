#!/usr/bin/env python3
"""Plants single-line defects in the checker, one at a time; its tests must notice each.

The defects are listed in tests/checker_mutants.txt. Each is planted in a copy of the tree under
build/mutants, whose build stays warm. A line that is no longer there, or no longer there just once,
is a failure, like one that no test notices; so is one that says it changes nothing, yet is noticed.
Exit 0 all as expected, 1 not all, 2 usage, 3 the copy without any defect does not pass.
"""

import argparse
import fcntl
import os
import pathlib
import subprocess
import sys

import bugs

LIST = bugs.TOP / "tests" / "checker_mutants.txt"
TESTS = "*Checker*:ValidateHistory*:VerifyLinearization*:History*"
TIMEOUT_S = 300


class Mutant:
    def __init__(self, block):
        self.file, self.old, self.new, self.reason = block[0], None, None, None
        for line in block[1:]:
            if line.startswith("-"):
                self.old = line[1:].strip()
            elif line.startswith("+"):
                self.new = line[1:].strip()
            elif line.startswith("="):
                self.reason = line[1:].strip()

    def __str__(self):
        return f"{self.file}: {self.new}"


def read_list():
    blocks = [[]]
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [Mutant(block) for block in blocks if block]


def build(jobs):
    environment = dict(os.environ, CCACHE_BASEDIR=str(bugs.TREE), CCACHE_ABSSTDERR="1")
    for command in (["cmake", "--preset", "release", "-DTALLY_TESTS=ON",
                     "-DTALLY_COMMIT=planted-defect"],
                    ["ninja", "-C", str(bugs.BUILD), "-j", str(jobs), "--quiet", "tally_tests"]):
        done = bugs.run(command, cwd=bugs.TREE, env=environment)
        if done.returncode != 0:
            raise bugs.Failed(f"does not build:\n{done.stdout.rstrip()}")


def failing_test():
    """None when all pass, else the name of the first that does not."""
    try:
        done = bugs.run([str(bugs.BUILD / "bin" / "tally_tests"), f"--gtest_filter={TESTS}",
                         "--gtest_fail_fast"], cwd=bugs.TREE, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"more than {TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    names = [line.split("]", 1)[1].split("(")[0].split(",")[0].strip()
             for line in done.stdout.splitlines() if line.startswith(("[ RUN", "[  FAILED"))]
    return names[-1] if names else f"exit code {done.returncode}"


def judge(mutant, jobs):
    """(as expected, what happened)"""
    file = bugs.TREE / mutant.file
    before = file.read_bytes()
    text = before.decode("utf-8")
    lines = [i for i, line in enumerate(text.split("\n")) if line.strip() == mutant.old]
    if len(lines) != 1:
        return False, f"NOT PLANTED: {len(lines)} lines are \"{mutant.old}\""
    planted = text.split("\n")
    planted[lines[0]] = mutant.new
    try:
        file.write_text("\n".join(planted), encoding="utf-8")
        build(jobs)
        noticed = failing_test()
    except bugs.Failed as failed:
        return False, str(failed)
    finally:
        file.write_bytes(before)
    if noticed:
        return mutant.reason is None, f"noticed by {noticed}"
    return mutant.reason is not None, f"survives: {mutant.reason or 'NO TEST NOTICES'}"


def main():
    parser = argparse.ArgumentParser(prog="dev mutants", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", action="append", metavar="TEXT",
                        help="those with TEXT in their file's name or line; may be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="J")
    arguments = parser.parse_args()
    bugs.WORK = bugs.TOP / "build" / "mutants"
    bugs.TREE = bugs.WORK / "tree"
    bugs.BUILD = bugs.TREE / "build" / "release"
    bugs.WORK.mkdir(parents=True, exist_ok=True)
    with open(bugs.WORK / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the copy is one: a second call waits
        bugs.copy_tree()
        try:
            build(arguments.jobs)
        except bugs.Failed as failed:
            bugs.say(f"mutants: the copy without any defect {failed}")
            return 3
        if noticed := failing_test():
            bugs.say(f"mutants: the copy without any defect fails {noticed}")
            return 3
        mutants = [one for one in read_list()
                   if any(text in str(one) for text in arguments.only or [""])]
        expected_count = 0
        for mutant in mutants:
            expected, text = judge(mutant, arguments.jobs)
            expected_count += expected
            print(f"{'ok ' if expected else 'BAD'} {mutant}\n      {text}", flush=True)
        print(f"{expected_count} of {len(mutants)} as expected")
    return 0 if expected_count == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
