"""Numbers as a table shows them."""

from __future__ import annotations

import math

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
