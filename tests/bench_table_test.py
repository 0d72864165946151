#!/usr/bin/env python3
"""What the table of `./dev bench` makes of runs: medians, ratios within rounds, verdicts."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bench_loads import Figures  # noqa: E402  (found beside this file)
from bench_table import COLUMNS, Goal, table  # noqa: E402

OURS, THEIRS = ("INCR", "ours"), ("INCR", "theirs")


def runs(*rates, syncs=5):
    return [Figures(count=1, per_second=rate, p50_us=1, p99_us=2, cpu_s_per_million=3,
                    syncs_per_second=syncs, megabytes=4) for rate in rates]


def ratio(results, at):
    return results[OURS][at].per_second / results[THEIRS][at].per_second


def line(results, sign, bound, rows=(OURS, THEIRS)):
    """The cells of our line, and of theirs."""
    lines = table(rows, results, [Goal(OURS, ratio, "x theirs", sign, bound)])
    begins = [lines[0].index(name) for name in ("system", "compared", "to reach")]
    return lines, [each[begins[1]:begins[2]].strip() for each in lines], \
        [each[begins[2]:].strip() for each in lines]


def expect(was, wanted, what):
    if was != wanted:
        sys.exit(f"{what}: {was!r}, not {wanted!r}")


def main():
    # The machine halves in the second round: each ratio is of its own round, 2, 2 and 3.
    results = {OURS: runs(2000, 1000, 3000), THEIRS: runs(1000, 500, 1000, syncs=None)}
    lines, compared, verdicts = line(results, ">=", 2)
    expect(len(lines), 3, "lines")
    expect(compared[1], "2.00 x theirs (2.00..3.00)", "ratio")
    expect(verdicts[1:], [">= 2: reached", ""], "at the bound")
    expect("2,000" in lines[1] and "1,000..3,000" in lines[1], True, "median and spread")
    expect(lines[2].split()[:1], ["theirs"], "the load stands once")
    expect("-" in lines[2].split(), True, "syncs that are not told")
    expect(line(results, ">=", 2.01)[2][1], ">= 2.01: missed", "below the bound")
    expect(line(results, "<=", 2)[2][1], "<= 2: reached", "at the upper bound")
    expect(line(results, "<=", 1.99)[2][1], "<= 1.99: missed", "above the upper bound")
    expect(line(results, "", 0)[2][1], "", "no bound")
    lines, compared, verdicts = line({OURS: runs(1)}, ">=", 2)
    expect((len(lines), compared[1], verdicts[1]), (2, "", ""), "nothing to compare with")
    expect(all(name in lines[0] for name in COLUMNS), True, "columns")


main()
