#!/usr/bin/env python3
"""What `./dev bench` makes of runs: medians, ratios within rounds, verdicts; and what of an
overload fails it."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bench_loads import Figures  # noqa: E402  (found beside this file)
from bench_overload import Crowd, Overload  # noqa: E402
from bench_table import COLUMNS, Goal, table  # noqa: E402
from crowd import CutOff  # noqa: E402

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


def overload(**changed):
    given = {"how": "redis", "seconds": 60, "rate": 20, "begun": 900, "not_begun": 300,
             "accepted": 600, "refused": {"-TRYAGAIN NOT_APPLIED": 300},
             "certain": ("-TRYAGAIN NOT_APPLIED",), "p50": 0.1, "p99": 0.2,
             "terms_before": [1, 1, 1], "terms_after": [1, 1, 1], "peaks": {1: 99, 2: 100},
             "bound": 100}
    return Overload(**{**given, **changed})


def connections(cut_off=(), **changed):
    given = {"idle": 100, "trouble": "", "idle_bytes": 2048, "native_bytes": 2048,
             "ratios": [0.1, 0.7, 0.9], "native_ratios": [], "slow_bound": 100}
    slow = {"left": 0, "stalled": 13, "served": 5, "longest": 1, "peak_bytes": 100}
    return Crowd(**{**given, "slow": CutOff(**{**slow, **dict(cut_off)}), **changed})


def expect_judged():
    """At each bound all is well; beyond it there is one failure, in these words."""
    for given, words in (
            (overload(), ""),
            (overload(peaks={1: 99, 2: 101}), "node 2 took"),
            (overload(terms_after=[1, 2, 1]), "there was an election"),
            (overload(refused={"-TRYAGAIN NOT_APPLIED": 9, "-UNKNOWN it": 1}), "'-UNKNOWN it'"),
            (overload(refused={}), "nothing was refused"),
            (overload(accepted=0), "nothing was accepted"),
            (connections(), ""),
            (connections(idle_bytes=2049), "2049 bytes"),
            (connections(native_bytes=2049), "2049 bytes"),
            (connections(ratios=[0.1, 0.69, 0.9]), "0.69 times"),
            (connections(native_ratios=[0.69]), "0.69 times"),
            (connections({"left": 1}), "1 clients that never read"),
            (connections({"stalled": 13.1}), "after 13.1 s"),
            (connections({"longest": 1.1}), "took 1.1 s"),
            (connections({"peak_bytes": 101}), "made a node take")):
        failures = given.failures()
        expect([words in each for each in failures], [True] if words else [], f"{failures}")
        given.line()  # it has words for anything
    expect(connections(ratios=[0.5]).failures(busy_ratio=0.5), [], "a lower bound")
    expect(connections(idle_bytes=2049).failures(judges_memory=False), [], "memory as it is")


def main():
    expect_judged()
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
