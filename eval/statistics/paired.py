"""Differences of films that belong together in pairs, and whether ours are nearer to what is good."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

import numpy as np

from eval.registry import DIRECTIONS, UNITS
from eval.statistics.permutation import sign_flip
from eval.statistics.small import crossed, factors, means, summarise


def badness(metric: str, value: float, real: float) -> float:
    """How far a value is from what a reader of `metric` takes for good: less is better, within one metric. real: what
    real frames get."""
    direction = DIRECTIONS[metric]
    if direction in ("high", "low"):
        return value if direction == "low" else -value
    return abs(value - (real if direction == "real" else direction))


def differences(methods: dict, real: dict[str, float], clusters: Sequence[Hashable] | None = None,
                started_alike: Collection[str] = (), begun: Mapping[str, Sequence[int]] | None = None,
                metrics: Iterable[str] = UNITS) -> dict:
    """Ours minus each other set of films, in each of `metrics`: method -> metric -> entry as of `summarise`.

    Film k is paired with film k (ours and the checkpoint's start from one seed); a set of one film is paired with each.
    started_alike: methods whose film k starts from the noise of ours, however many there are: fewer make fewer pairs,
    for a film beside another noise or another fine-tune says less.
    begun: method -> the still that each of its films begins from, where there are several: a set of one film a still is
    paired with each of ours from that still.
    real: metric -> what real frames get, where there is such a value. clusters: of our films, as for `summarise`.
    Where the metric has a reading the entry also has "gain", by how much each film of ours is less bad than its pair
    (`badness`: a distance from the real value, not the raw difference), "mean_gain", their mean in the same unit as the
    value's (clusters, where films have them), "p" of the sign-flip test that this is 0, and
    "pairs", of how many (clusters).
    """
    ours, out = methods["ours"], {}
    for name, row in methods.items():
        if name == "ours":
            continue
        out[name] = {}
        for metric in metrics:
            refused = [entry["refused"] for entry in (ours[metric], row[metric]) if "refused" in entry]
            a, b = (entry.get("values", []) for entry in (ours[metric], row[metric]))
            partners = b if name in started_alike else _partners(a, b, name, begun or {})
            if not refused and len(a) != len(partners) and name not in started_alike:
                refused = [f"{len(a)} films against {len(b)}: no pairs"]
            if refused:
                out[name][metric] = {"refused": refused[0]}
                continue
            pairs = list(zip(a, partners))
            own = clusters and clusters[:len(pairs)]
            entry = summarise([x - y for x, y in pairs], UNITS[metric], own)
            if DIRECTIONS[metric] is not None and metric in real:
                entry |= tested([badness(metric, y, real[metric]) - badness(metric, x, real[metric]) for x, y in pairs],
                                own)
            out[name][metric] = entry
    return out


def _partners(ours: list, others: list, name: str, begun: Mapping[str, Sequence[int]]) -> list:
    """The values of another method's films that stand beside ours, in the order of ours."""
    if len(others) == 1:
        return others * len(ours)
    own, its = begun.get("ours", []), begun.get(name, [])
    if len(others) != len(ours) and len(set(its)) == len(its) == len(others) and set(own) <= set(its):
        return [others[list(its).index(still)] for still in own]
    return others


def tested(gain: list[float], clusters: Sequence[Hashable] | None = None) -> dict:
    """{"gain", "mean_gain", "p", "pairs"} of gains, one a pair, as `differences` has them.

    Where clusters are `crossed`, signs are flipped of whole fine-tunes and then of whole stills: p is the larger of the
    two, and "pairs" the smaller number, since clusters that share one do not change sign each by itself.
    """
    units = means(gain, clusters)
    flipped = [means(gain, part) for part in factors(clusters or [])] if crossed(clusters) else [units]
    return {"gain": gain, "mean_gain": float(np.mean(units)), "p": max(map(sign_flip, flipped)),
            "pairs": min(map(len, flipped))}
