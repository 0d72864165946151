#!/usr/bin/env python3
"""Merges what sweeps printed with --json, as the shards of one do: one summary, and each kind of
failure once.

    ./dev sweep --seeds commit+100000 --shard 3/8 --json > shard-3.json      (one of eight jobs)
    ./dev merge shard-*.json

Prints a line per fingerprint with how often it came and the one command that replays its smallest
run, then the summed-up summary. Exit 0 all ok, 1 a violation, 2 usage, 4 vacuous or undecided.
"""

import argparse
import json
import sys

SUMMED = ("seeds", "ok", "violations", "vacuous", "undecided", "events", "cpu_ns")


class BadInput(Exception):
    """What is wrong with a file, with its place."""


def read(path):
    """(summary, failures) of one sweep."""
    summary, failures = None, []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    value = json.loads(line)
                except json.JSONDecodeError as error:
                    raise BadInput(f"{path}:{number}: not JSON: {error.msg}") from None
                if not isinstance(value, dict):
                    raise BadInput(f"{path}:{number}: not an object")
                if "seeds" in value:
                    summary = value
                elif "verdict" in value:
                    failures.append(value)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    if summary is None or not all(isinstance(summary.get(name), int) for name in SUMMED):
        raise BadInput(f"{path}: no summary of a sweep in it (was it made with --json, and ended?)")
    return summary, failures


def merge(sweeps):
    total = dict.fromkeys(SUMMED, 0)
    seen, kinds = {}, {}
    names = set()
    for summary, failures in sweeps:
        for name in SUMMED:
            total[name] += summary[name]
        for name, count in summary.get("seen", {}).items():
            seen[name] = seen.get(name, 0) + count
        names.update(summary.get("seen", {}), summary.get("never_seen", ()))
        for failure in failures:
            violation = failure.get("violation")
            kind = violation["fingerprint"] if violation else failure["verdict"]
            kinds.setdefault(kind, []).append(failure)
    total["wall_ns"] = max(summary.get("wall_ns", 0) for summary, _ in sweeps)
    total["seen"] = dict(sorted(seen.items()))
    total["never_seen"] = sorted(names - set(seen))
    return total, kinds


def main():
    parser = argparse.ArgumentParser(prog="dev merge", description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", metavar="FILE", help="what a sweep printed with --json")
    arguments = parser.parse_args()
    try:
        total, kinds = merge([read(path) for path in arguments.files])
    except BadInput as bad:
        print(f"merge: {bad}", file=sys.stderr)
        return 2
    for kind, failures in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        smallest = min(failures, key=lambda failure: (failure.get("events", 0), failure["seed"]))
        print(json.dumps({"fingerprint": kind, "count": len(failures), "seed": smallest["seed"],
                          "events": smallest.get("events", 0), "replay": smallest.get("replay")}))
    print(json.dumps(total))
    if total["violations"]:
        return 1
    return 4 if total["vacuous"] + total["undecided"] else 0


if __name__ == "__main__":
    sys.exit(main())
