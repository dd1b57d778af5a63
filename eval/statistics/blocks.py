"""Consecutive frames are not independent: what an interval, and a floor, of a film's frames has to take into account.

`jackknife` leaves out one stretch of time at a time (Künsch 1989), and gives no interval where the frames are worth
fewer than FEWEST independent ones. Of a scalar series that is known only once it is long: in a short one the intervals
that pass are those whose correlation was underestimated, and of 15 parts correlated at 0.7 they cover 65%. So a series
of fewer than WIDE dimensions has none below LONG parts. `windows` and `window_floor` say what a metric of n frames
gives for real frames beside real frames, drawn as a film is: consecutive, and as many.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eval.statistics.small import FEWEST, LEVEL
from lnm.errors import UserError

LONG = 240  # parts from which on a scalar series has an interval: at a correlation of 0.9 it covers nine times in ten
WIDE = 24  # dimensions from which on the correlation of few parts is known well enough (benchmarks.coverage)
BLOCKS = FEWEST  # more would be shorter: at 16 frames 5 blocks are 3 frames each


def correlation_time(parts: np.ndarray) -> float:
    """How many consecutive parts are worth one independent one, >= 1: (1 + r) / (1 - r).

    parts: (n, ...), n >= 5, in order of time. r is the correlation of neighbours, over all dimensions together and
    corrected for the bias of a short series, (n r + 1) / (n - 3) (Kendall 1954). Equal parts: inf.
    """
    x = np.asarray(parts, np.float64).reshape(len(parts), -1)
    x = x - x.mean(0)
    whole = np.square(x).sum()
    if not whole:
        return np.inf
    r = (len(x) * (x[:-1] * x[1:]).sum() / whole + 1) / (len(x) - 3)
    return np.inf if r >= 1 else max(1.0, (1 + r) / (1 - r))


def jackknife(statistic: Callable[[np.ndarray], float], parts: np.ndarray, level: float = LEVEL,
              long: int = LONG) -> tuple[float, float] | str:
    """A t interval of `statistic` over one film by leaving out each of BLOCKS stretches of time, or the reason (str)
    why there is none.

    parts: (n, ...), one a frame (pair, window), in order of time; n >= long where a part has fewer than WIDE numbers.
    Of such series it covers 92% and more up to a correlation of neighbours of 0.9, and 87% at 0.95 (simulated, AR(1)).
    Nothing is repeated, as a bootstrap would: the distances (FID, KID) are biased by repeated frames.
    """
    from scipy.stats import t

    n = len(parts)
    if n < 2 * BLOCKS:
        return f"an interval needs {2 * BLOCKS} parts in time, there are {n}"
    if n < long and parts[0].size < WIDE:
        return f"an interval over one film needs {long} parts in time, to know how alike neighbours are: there are {n}"
    worth = n / correlation_time(parts)
    if worth < FEWEST:
        return f"{n} neighbours this alike are worth {worth:.1f} independent ones: an interval needs {FEWEST}"
    without = np.array([statistic(np.delete(parts, block, axis=0)) for block in np.array_split(np.arange(n), BLOCKS)])
    half = t.ppf((1 + level) / 2, BLOCKS - 1) * np.sqrt((BLOCKS - 1) * without.var())
    value = statistic(parts)
    return float(value - half), float(value + half)


def windows(total: int, n: int, n_reference: int, gap: int = 0, most: int = 20) -> list[tuple[slice, slice]]:
    """Places in `total` real frames in order of time of (a window of n, a reference of n_reference beside it, before
    or after), both consecutive and `gap` apart; at most `most`, evenly spread. They overlap each other.

    Where there is not room for both, the reference is what is left. UserError where that is fewer than 2.
    """
    n_reference = min(n_reference, total - n - gap)
    if n < 2 or n_reference < 2:
        raise UserError(f"real against real needs {n} + 2 real frames, the clip has {total}: use a longer clip")
    found = [(slice(start, start + n), slice(start + n + gap, start + n + gap + n_reference))
             for start in range(total - n - gap - n_reference + 1)]
    found += [(slice(start, start + n), slice(start - gap - n_reference, start - gap))
              for start in range(n_reference + gap, total - n + 1)]
    chosen = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
    return [found[i] for i in chosen]


def window_floor(metric: Callable[[np.ndarray, np.ndarray], float], pool: np.ndarray, n: int, n_reference: int,
                 gap: int = 0) -> dict:
    """What `metric` gives for n consecutive real frames beside n_reference others: its floor for a film of n frames.

    pool: features (total, ...) of the real clip in order of time. gap: parts between the two (windows of frames that
    overlap need some). Returns {"value" (the mean), "least", "most", "n", "n_reference", "windows" (how many)}.
    """
    places = windows(len(pool), n, n_reference, gap)
    values = [metric(pool[window], pool[reference]) for window, reference in places]
    return {"value": float(np.mean(values)), "least": min(values), "most": max(values), "n": n,
            "n_reference": places[0][1].stop - places[0][1].start, "windows": len(places)}
