"""Numbers as a table shows them."""

from __future__ import annotations

import math


def cell(entry: dict) -> str:
    """`0.97 ±0.05` (half the interval), `0.97` where there is none, `-` where it was refused. Three significant
    digits of the value and at most four decimals, the same for both."""
    if "refused" in entry:
        return "-"
    value = entry["value"]
    decimals = min(max(2 - math.floor(math.log10(abs(value))), 0), 4) if value else 2
    text = f"{value:.{decimals}f}"
    return text if entry["low"] is None else f"{text} ±{(entry['high'] - entry['low']) / 2:.{decimals}f}"
