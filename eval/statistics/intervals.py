"""Values with the intervals that belong to them: over the parts of one film, and over films or videos.

Whatever cannot be measured is a str in the number's place: the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lnm.errors import UserError

GROUPS = 20  # of the jackknife: bounds its cost, and keeps neighbouring frames together


@dataclass
class Measured:
    """A metric of one film: `statistic` of `parts` (n, ...), of which there is one for each `unit`, such as a frame."""

    parts: np.ndarray
    unit: str
    statistic: Callable[[np.ndarray], float] = np.mean
    jackknife: bool = False  # where a bootstrap's repeated parts would bias the statistic

    @property
    def value(self) -> float:
        return float(self.statistic(self.parts))

    def interval(self, resamples: int, seed: int) -> tuple[float, float] | None:
        """A 95% interval that takes the parts for independent: percentile bootstrap, or the normal interval of the
        delete-a-group jackknife (at most GROUPS runs of neighbours). None with too few parts for either."""
        from scipy.stats import bootstrap

        n = len(self.parts)
        if n < (3 if self.jackknife else 2):
            return None
        if not self.jackknife:
            drawn = bootstrap((np.arange(n),), lambda rows: self.statistic(self.parts[rows]), vectorized=False,
                              n_resamples=resamples, method="percentile", rng=np.random.default_rng(seed))
            return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)
        groups = np.array_split(np.arange(n), min(n, GROUPS))
        without = np.array([self.statistic(np.delete(self.parts, group, axis=0)) for group in groups])
        error = np.sqrt((len(groups) - 1) * without.var())
        return self.value - 1.96 * error, self.value + 1.96 * error


Row = dict[str, "Measured | str"]


def measured(function, *args):
    """What the function gives, or the reason (str) why it gives nothing."""
    try:
        return function(*args)
    except UserError as error:
        return str(error)


def summarise(values: list[float | str], unit: str, resamples: int, seed: int) -> dict:
    """Mean over films with a 95% percentile bootstrap interval where there are 2 or more: {"value", "low", "high",
    "n", "unit", "values"}; or {"refused": reason} where any film has a reason (str) instead of a value."""
    from scipy.stats import bootstrap

    refused = [value for value in values if isinstance(value, str)]
    if refused or not values:
        return {"refused": refused[0] if refused else "no films"}
    low = high = None
    if len(values) > 1:
        interval = bootstrap((values,), np.mean, n_resamples=resamples, method="percentile",
                             rng=np.random.default_rng(seed)).confidence_interval
        low, high = interval.low, interval.high
    return {"value": np.mean(values), "low": low, "high": high, "n": len(values), "unit": unit, "values": values}


def rounded(value):
    """Plain Python numbers of 6 significant digits: the last bits differ between machines and batch sizes."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, (float, np.floating)) else value
