"""Numbers as a table shows them, and what they are counted over."""

from __future__ import annotations

import math

from eval.registry import DIRECTIONS, UNITS, heading, reading
from eval.statistics.small import around


def cell(entry: dict) -> str:
    """`0.97 [0.91, 0.99]` with its 95% interval, `0.97 (0.93 to 0.98)` with the range of values too few for one, `0.97`
    of a single value, `-` where it was refused. Three significant digits of the value and at most four decimals, the
    same for all."""
    if "refused" in entry:
        return "-"
    value = entry["value"]
    decimals = min(max(2 - math.floor(math.log10(abs(value))), 0), 4) if value else 2
    return f"{value:.{decimals}f}{around(entry, lambda number: f'{number:.{decimals}f}')}"


def counted(entry: dict, unit: str, what: str = "film") -> str:
    """`4 films, 2 fine-tunes`: what an entry of `summarise` is over and, where films share what they were made from,
    how many of that, which is what the interval and the tests count. unit: `interval.unit` of its metrics.json, of an
    entry that does not say itself in what it is counted. Films that are each of another pair of fine-tune and still are
    `4 films, one a pair of fine-tune and still`. what: "film", or "pair" where two films are subtracted."""
    unit, clusters = entry.get("counted", unit), entry.get("clusters")
    if clusters is None or unit == "film":
        return several(entry["n"], what)
    if " and " not in unit:
        return f"{several(entry['n'], what)}, {several(clusters, unit)}"
    said = several(entry["n"], what) + (" of films" if what == "pair" else "")  # a pair is also of fine-tune and still
    return f"{said}, one a pair of {unit}" if entry["n"] == clusters > 1 else f"{said}, {several(clusters, unit)}"


def several(count: int, what: str) -> str:
    """`1 film`, `2 fine-tunes`, `3 pairs of fine-tune and still`."""
    if " and " in what:
        return f"{several(count, 'pair')} of {what}"
    return f"{count} {what}{'' if count == 1 else 's'}"


def named(table: dict, name: str) -> str:
    """A method's label in a figure, with what its films are counted as below it where they share what they were made
    from. table: a metrics.json."""
    entries = [entry for entry in table["methods"][name].values() if "clusters" in entry]
    most = max(entries, key=lambda entry: entry["n"], default=None)
    return table["labels"][name] + (f"\n{counted(most, table['interval']['unit'])}" if most else "")


def titled(metric: str, width: int) -> str:
    """What a figure's panel is headed by: what a measure is called, its unit and what is good, in lines of `width`."""
    import textwrap

    return f"{heading(metric)}\n" + textwrap.fill(f"{UNITS[metric]}; good: {reading(DIRECTIONS[metric])}", width)
