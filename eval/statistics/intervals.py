"""A metric of one film, with the interval that its parts carry.

Whatever cannot be measured is a str in the number's place: the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eval.statistics import blocks
from lnm.errors import UserError


@dataclass
class Measured:
    """A metric of one film: `statistic` of `parts` (n, ...), of which there is one for each `unit`, such as a frame."""

    parts: np.ndarray
    unit: str
    statistic: Callable[[np.ndarray], float] = np.mean

    @property
    def value(self) -> float:
        return float(self.statistic(self.parts))

    def interval(self) -> tuple[float, float] | str:
        """A 95% interval over the film's parts, which are neighbours in time and so not independent, by leaving out
        stretches of them; or the reason (str) why they carry none (`blocks.jackknife`)."""
        return blocks.jackknife(self.statistic, self.parts)


def single(value: float | str) -> Measured | str:
    """A metric of a film as a whole: one part, and so no interval; a reason stays one."""
    return value if isinstance(value, str) else Measured(np.array([value]), "film")


Row = dict[str, "Measured | str"]


def measured(function, *args):
    """What the function gives, or the reason (str) why it gives nothing."""
    try:
        return function(*args)
    except UserError as error:
        return str(error)


def rounded(value):
    """Plain Python numbers of 6 significant digits: the last bits differ between machines and batch sizes."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, (float, np.floating)) else value
