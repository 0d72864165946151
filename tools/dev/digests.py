#!/usr/bin/env python3
"""Runs the same seeds in several builds of tallysim and compares their digests.

usage: digests.py [--seeds A..B] [--jobs J] [--json] LABEL=PROGRAM LABEL=PROGRAM...

For each seed all programs run at once, each in a process of its own; naming one program twice shows
that two processes at once agree. Prints a table, and the first seed that differs. Exit 0 all equal,
1 a digest differs, 3 a program did not run.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys


class RunFailed(Exception):
    pass


def seed_range(text):
    first, dots, last = text.partition("..")
    if not dots or not first.isdecimal() or not last.isdecimal() or int(first) > int(last):
        raise argparse.ArgumentTypeError(f"'{text}' is no range of seeds; one is 1..50")
    return int(first), int(last)


def build(text):
    label, equals, program = text.partition("=")
    if not equals or not label or not program:
        raise argparse.ArgumentTypeError(f"'{text}' is not LABEL=PROGRAM")
    return label, program


def result_of(command, process):
    """The line that `run --json` ends with."""
    output, errors = process.communicate(timeout=600)
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            result = json.loads(line)
            if "digest" in result:
                return result
    raise RunFailed(f"{' '.join(command)}: exit code {process.returncode}, no digest\n{errors}")


def run_everywhere(seed, builds):
    commands = [[program, "run", "--seed", str(seed), "--trace", "off", "--json"]
                for _, program in builds]
    processes = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True) for command in commands]
    return [result_of(*pair) for pair in zip(commands, processes)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=seed_range, default=(1, 50))
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="seeds at a time")
    parser.add_argument("--json", action="store_true", help="one line per seed, then a summary")
    parser.add_argument("builds", type=build, nargs="+", metavar="LABEL=PROGRAM")
    arguments = parser.parse_args()
    builds = arguments.builds
    first, last = arguments.seeds
    seeds = range(first, last + 1)

    sums = [hashlib.sha256() for _ in builds]
    events = [0 for _ in builds]
    different = []
    try:
        with concurrent.futures.ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
            runs = pool.map(lambda seed: run_everywhere(seed, builds), seeds)
            for seed, results in zip(seeds, runs):
                digests = [result["digest"] for result in results]
                for i, result in enumerate(results):
                    sums[i].update(result["digest"].encode())
                    events[i] += result["events"]
                if len(set(digests)) != 1:
                    different.append((seed, digests))
                if arguments.json:
                    labelled = {label: digest for (label, _), digest in zip(builds, digests)}
                    print(json.dumps({"seed": seed, "digests": labelled}))
    except (OSError, RunFailed, subprocess.TimeoutExpired) as error:
        print(f"digests: {error}", file=sys.stderr)
        return 3

    if arguments.json:
        print(json.dumps({"seeds": len(seeds), "builds": [label for label, _ in builds],
                          "different": [seed for seed, _ in different]}))
    else:
        print(f"{'build':<10} {'seeds':>6} {'events':>10}  digest of all digests")
        for (label, _), total, event_count in zip(builds, sums, events):
            print(f"{label:<10} {len(seeds):>6} {event_count:>10}  {total.hexdigest()[:16]}")
    if different:
        seed, digests = different[0]
        print(f"seed {seed} is the first of {len(different)} that differ:")
        for (label, program), digest in zip(builds, digests):
            print(f"  {label:<10} {digest}  {program} run --seed {seed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
