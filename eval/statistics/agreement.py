"""How far observers agree with each other."""

from __future__ import annotations

import numpy as np


def agreement(counts: np.ndarray) -> dict:
    """Krippendorff's alpha, nominal. counts: (units, values), how many observers gave a unit a value.

    1 - D_o / D_e (Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011): the pairs of answers to a unit
    that differ, each unit's weighted by 1 / (answers - 1), over those among all answers. One answer makes no pair.
    """
    counts = np.asarray(counts, np.float64)
    if len(counts) < 2:
        return {"refused": "one scene only"}
    if (counts.sum(axis=1) < 2).all():
        return {"refused": "no pair of films was judged by two observers"}
    pairable = counts[counts.sum(axis=1) >= 2]
    if (pairable.sum(axis=0) > 0).sum() < 2:
        return {"refused": "every vote is the same: there is nothing to disagree about"}
    answers, total = pairable.sum(axis=1), pairable.sum()
    observed = ((answers**2 - np.square(pairable).sum(axis=1)) / (answers - 1)).sum()
    expected = (total**2 - np.square(pairable.sum(axis=0)).sum()) / (total - 1)
    return {"alpha": float(1 - observed / expected), "units": len(counts)}
