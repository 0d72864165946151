#!/usr/bin/env python3
"""Merges what sweeps printed with --json, as the shards of one do: one summary, and each kind of
failure once.

    ./dev sweep --seeds commit+100000 --shard 3/8 --json > shard-3.json      (one of eight jobs)
    ./dev merge shard-*.json

Prints a line per fingerprint with how often it came and the one command that replays its smallest
run, then the summed-up summary. Exit 0 all ok, 1 a violation, 2 usage (also when two files have
seeds in common, which would count twice), 4 vacuous or undecided, or a shard is missing.
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


def refuse_what_is_there_twice(sweeps):
    """sweeps: (path, summary) of each."""
    ranges = sorted((swept["flags"], *swept["range"], path) for path, summary in sweeps
                    if (swept := summary.get("swept")))
    for (flags, _, last, path), (next_flags, first, _, next_path) in zip(ranges, ranges[1:]):
        if flags == next_flags and first <= last:
            raise BadInput(f"{next_path}: seed {first} is in {path}, too, and would count twice")


def missing_shards(summaries):
    """"3/8 of seeds 1..1000" for each that other shards of the same sweep speak of."""
    there = {}
    for summary in summaries:
        swept = summary.get("swept") or {}
        if swept.get("shard"):
            part, count = map(int, swept["shard"]["part"].split("/"))
            there.setdefault((swept["flags"], *swept["shard"]["of"], count), set()).add(part)
    return [f"{part}/{count} of seeds {first}..{last}"
            for (_, first, last, count), parts in sorted(there.items())
            for part in sorted(set(range(1, count + 1)) - parts)]


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
    total["missing"] = missing_shards(summary for summary, _ in sweeps)
    return total, kinds


def main():
    parser = argparse.ArgumentParser(prog="dev merge", description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", metavar="FILE", help="what a sweep printed with --json")
    arguments = parser.parse_args()
    try:
        sweeps = [read(path) for path in arguments.files]
        refuse_what_is_there_twice([(path, summary) for path, (summary, _)
                                    in zip(arguments.files, sweeps)])
        total, kinds = merge(sweeps)
    except BadInput as bad:
        print(f"merge: {bad}", file=sys.stderr)
        return 2
    for kind, failures in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        smallest = min(failures, key=lambda failure: (failure.get("events", 0), failure["seed"]))
        print(json.dumps({"fingerprint": kind, "count": len(failures), "seed": smallest["seed"],
                          "events": smallest.get("events", 0), "replay": smallest.get("replay")}))
    print(json.dumps(total))
    for shard in total["missing"]:
        print(f"merge: shard {shard} is missing", file=sys.stderr)
    if total["violations"]:
        return 1
    return 4 if total["vacuous"] + total["undecided"] or total["missing"] else 0


if __name__ == "__main__":
    sys.exit(main())
