"""Several groups against one: Dunnett's comparison with a control (1955), which keeps its level however many there are.

The spread within the groups is taken as one and the same and pooled, so that groups of two say something: with a dozen
of them the pooled spread has a dozen degrees of freedom. Where spreads differ the level is not kept: false positives of
13 groups of two are 26% where the control's is three times the others' (`python -m benchmarks.coverage`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.05


def against_control(control: Sequence[float], groups: Sequence[Sequence[float]]) -> list[dict]:
    """Each group's mean minus the control's: {"difference", "low", "high" (simultaneous 95% intervals), "p" (two-sided,
    for all comparisons together)}.

    Where no group has two values there is no spread to measure against, and low, high and p are None. Without any
    spread at all every difference but 0 is one (p = 0). Values are to be finite.
    """
    from scipy.stats import dunnett

    differences = [float(np.mean(group) - np.mean(control)) for group in groups]
    pooled = [np.asarray(one, np.float64) for one in (control, *groups)]
    freedom = sum(len(one) - 1 for one in pooled)
    if not groups or freedom < 1:
        return [{"difference": value, "low": None, "high": None, "p": None} for value in differences]
    if not any(np.ptp(one) for one in pooled):
        return [{"difference": value, "low": value, "high": value, "p": float(value == 0)} for value in differences]
    # its multivariate t is integrated by chance: the same chance every time
    found = dunnett(*pooled[1:], control=pooled[0], rng=np.random.default_rng(0))
    interval = found.confidence_interval(1 - LEVEL)
    return [{"difference": value, "low": float(low), "high": float(high), "p": float(p)}
            for value, low, high, p in zip(differences, interval.low, interval.high, found.pvalue, strict=True)]
