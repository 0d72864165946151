"""The table of `./dev bench`: medians of all rounds, their spread, and what was to be reached.

A ratio is taken within each round, of two loads that ran one soon after the other, and its median
is that of the rounds; so it outlives minutes in which the machine has less to give.
"""

import dataclasses
import statistics
from typing import Callable

COLUMNS = ("load", "system", "per second", "min..max", "p50 us", "p99 us", "CPU s/million",
           "syncs/s", "MB", "compared (min..max)", "to reach")
LEFT = ("load", "system", "compared (min..max)", "to reach")


@dataclasses.dataclass(frozen=True)
class Goal:
    """What is held against something else, in the line of `row`."""
    row: tuple  # (load, system)
    figure: Callable  # of (results, number of the round); KeyError: a part was not measured
    unit: str
    sign: str = ""  # ">=" or "<="; empty: it is told, and has no bound
    bound: float = 0

    def cells(self, results, rounds):
        """None when it was not measured."""
        try:
            values = [self.figure(results, each) for each in range(rounds)]
        except KeyError:
            return None
        median = statistics.median(values)
        reached = median >= self.bound if self.sign == ">=" else median <= self.bound
        verdict = f"{self.sign} {self.bound:g}: {'reached' if reached else 'missed'}"
        return (f"{number(median, 2)} {self.unit} ({spread(values, 2)})",
                verdict if self.sign else "")


def number(value, digits=0):
    return f"{value:,.{digits}f}"


def spread(values, digits=0):
    return f"{number(min(values), digits)}..{number(max(values), digits)}"


def measured(row, runs):
    """A line up to what it is compared with."""
    of = lambda name: [getattr(run, name) for run in runs]  # noqa: E731
    middle = lambda name: statistics.median(of(name))       # noqa: E731
    syncs = of("syncs_per_second")
    return (*row, number(middle("per_second")), spread(of("per_second")),
            number(middle("p50_us")), number(middle("p99_us")),
            number(middle("cpu_s_per_million"), 1),
            "-" if None in syncs else number(statistics.median(syncs)),
            number(max(of("megabytes"))))


def table(rows, results, goals):
    """Lines. `rows`: (load, system), in order; `results`: of each, a run for each round."""
    lines, load = [COLUMNS], None
    for row in rows:
        if row not in results:
            continue
        runs = results[row]
        compared = [goal.cells(results, len(runs)) for goal in goals if goal.row == row]
        compared = [cells for cells in compared if cells] or [("", "")]
        begin = measured(row, runs)
        if row[0] == load:  # of another system, in the line above
            begin = ("",) + begin[1:]
        load = row[0]
        lines.append(begin + compared[0])
        lines += [("",) * len(begin) + cells for cells in compared[1:]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) if name in LEFT else cell.rjust(width)
                      for cell, width, name in zip(line, widths, COLUMNS)).rstrip()
            for line in lines]
