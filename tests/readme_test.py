#!/usr/bin/env python3
"""Runs the commands of README.md's console blocks and compares what they print with what is there.

A line `...` stands for any lines; the lines between two of them must follow one another in the
output. What differs from run to run (the commit, real milliseconds) is left out of the comparison.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
README = TOP / "README.md"
BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.S)


def run(command):
    words = shlex.split(command)
    if words[:2] != ["./dev", "sim"]:
        sys.exit(f"README.md: console block with '{command}': only ./dev sim is run here")
    program = pathlib.Path(os.environ["TALLY_BIN_DIR"]) / "tallysim"
    done = subprocess.run([program, "run", *words[2:]], cwd=TOP, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"README.md: '{command}' exits with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines()


def normalise(line):
    line = re.sub(r"commit [^,]+,", "commit ID,", line)
    return re.sub(r"\(\d+ ms real\)", "(N ms real)", line).rstrip()


def segments(lines):
    result = [[]]
    for line in lines:
        if line == "...":
            result.append([])
        else:
            result[-1].append(normalise(line))
    return result


def missing(expected, printed):
    """The first segment that does not stand in the output, in order, the first one at its start."""
    lines = [normalise(line) for line in printed]
    begin = 0
    for number, segment in enumerate(segments(expected)):
        places = [0] if number == 0 else range(begin, len(lines) - len(segment) + 1)
        place = next((at for at in places if lines[at:at + len(segment)] == segment), None)
        if place is None:
            return segment
        begin = place + len(segment)
    return None


def main():
    blocks = list(BLOCK.finditer(README.read_text()))
    if not blocks:
        sys.exit("README.md has no console block")
    failed = 0
    for block in blocks:
        printed = run(block["command"])
        segment = missing(block["output"].splitlines(), printed)
        if segment is not None:
            failed += 1
            print(f"README.md: '{block['command']}' no longer prints, where it stands:")
            print("\n".join(segment))
            print("What it prints ends with:")
            print("\n".join(printed[-5:]))
    print(f"{len(blocks) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
