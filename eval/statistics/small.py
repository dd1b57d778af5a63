"""Summaries of a few values. Below FEWEST of them the points and their range, and no interval; from there on Student's.

A percentile bootstrap of n values covers what n - 1 draws can: of 2 values its "95%" interval covers the mean one time
in two, of 3 three times in four (`python -m benchmarks.coverage`). Student's interval covers 95% of normal data at any
n >= 2, but of 2 to 4 values it rests on the assumption alone, so it is not printed there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

FEWEST = 5  # values, or clusters of values, from which on an interval is given
LEVEL = 0.95


def student(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval (1908) of the mean of n >= 2 independent values: mean -+ t(n - 1) sd / sqrt(n)."""
    from scipy.stats import t

    values = np.asarray(values, np.float64)
    half = t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def summarise(values: Sequence[float | str], unit: str, clusters: Sequence[Hashable] | None = None) -> dict:
    """What a few films, or videos, say of a metric: a point each, their range, and an interval where n carries one.

    values: a number each, or the reason (str) why there is none: any reason refuses the whole. clusters: a name each
    (say, the fine-tune and the still a film was made from); values of one cluster are averaged first, and clusters are
    what is counted: two seeds of one fine-tune are not two fine-tunes.
    Returns {"value" (the mean), "low", "high" (Student's 95% interval, None below FEWEST, without any spread, or where
    clusters are `crossed`),
    "least", "most", "n", "unit", "values"} and, with clusters, "clusters" (how many); or {"refused": reason}.
    """
    refused = [value for value in values if isinstance(value, str)]
    if refused or not len(values):
        return {"refused": refused[0] if refused else "no films"}
    points = means(values, clusters)
    low = high = None
    if len(points) >= FEWEST and np.ptp(points) > 0 and not crossed(clusters):
        low, high = student(points)
    entry = {"value": float(np.mean(points)), "low": low, "high": high, "least": min(values), "most": max(values),
             "n": len(values), "unit": unit, "values": list(values)}
    return entry if clusters is None else entry | {"clusters": len(points)}


def around(entry: dict, number: Callable[[float], str]) -> str:
    """What stands behind a value of `summarise`: ` [0.91, 0.99]`, its 95% interval, or ` (0.93 to 0.97)`, the least and
    the largest of values too few for one; nothing where both look the same. number: how one is printed."""
    if entry.get("low") is not None:
        return f" [{number(entry['low'])}, {number(entry['high'])}]"
    least, most = (number(entry.get(end, entry["value"])) for end in ("least", "most"))
    return "" if least == most else f" ({least} to {most})"


def factors(clusters: Sequence[Hashable]) -> list[list[str]]:
    """The parts of names such as "fine-tune 1, still 2" that take more than one value, each as one name a film."""
    return [list(part) for part in zip(*(str(name).split(", ") for name in clusters)) if len(set(part)) > 1]


def crossed(clusters: Sequence[Hashable] | None) -> bool:
    """Whether clusters share fine-tunes and stills among them: 6 pairs of 3 fine-tunes and 2 stills are not 6
    independent draws, and an interval of them as if they were is too narrow (`tests` shows by how much)."""
    parts = factors(clusters or [])
    return len(parts) > 1 and any(len(set(part)) < len(set(clusters or [])) for part in parts)


def means(values: Sequence, clusters: Sequence[Hashable] | None) -> list[float]:
    """The mean of each cluster, in the order in which the clusters first occur; the values themselves without any."""
    if clusters is None:
        return list(values)
    groups: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    return [float(np.mean(group)) for group in groups.values()]
