"""Differences of films that belong together in pairs."""

from __future__ import annotations

from eval.registry import UNITS
from eval.statistics.intervals import summarise

MIN_PAIRS = 6  # 2 x 0.5^6 < 0.05 < 2 x 0.5^5: the sign test's own limit


def differences(methods: dict, resamples: int, seed: int) -> dict:
    """Ours minus each other set of films, metric by metric: method -> metric -> entry as of `summarise`.

    Film k is paired with film k (ours and the checkpoint's start from one seed); a set of one film is paired with each.
    """
    ours, out = methods["ours"], {}
    for name, row in methods.items():
        if name == "ours":
            continue
        out[name] = {}
        for metric in UNITS:
            refused = [entry["refused"] for entry in (ours[metric], row[metric]) if "refused" in entry]
            a, b = (entry.get("values", []) for entry in (ours[metric], row[metric]))
            if not refused and len(a) != len(b) and len(b) > 1:
                refused = [f"{len(a)} films against {len(b)}: no pairs"]
            out[name][metric] = {"refused": refused[0]} if refused else summarise(
                [x - y for x, y in zip(a, b if len(b) > 1 else b * len(a))], UNITS[metric], resamples, seed)
    return out
