"""How far observers agree with each other."""

from __future__ import annotations

import numpy as np


def agreement(counts: np.ndarray) -> dict:
    """Krippendorff's alpha, nominal. counts: (units, values), how many observers gave a unit a value."""
    import krippendorff

    counts = np.asarray(counts)
    if len(counts) < 2:
        return {"refused": "one scene only"}
    if (counts.sum(axis=1) < 2).all():
        return {"refused": "no pair of films was judged by two observers"}
    pairable = counts[counts.sum(axis=1) >= 2]
    if (pairable.sum(axis=0) > 0).sum() < 2:
        return {"refused": "every vote is the same: there is nothing to disagree about"}
    return {"alpha": float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")),
            "units": len(counts)}
