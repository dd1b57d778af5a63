"""Which metrics rank a control above real frames."""

from __future__ import annotations

import numpy as np

from eval.registry import DIRECTIONS, MISMATCHED, TO_HELDOUT, UNITS


def ranks_above(metric: str, value: float, real: float) -> bool:
    """Whether a reader of `metric` takes `value` for better than real frames' `real`; a tie is not."""
    direction = DIRECTIONS[metric]
    if direction in (None, "real") or np.isclose(value, real, rtol=1e-4, atol=1e-9):
        return False
    if isinstance(direction, float):
        return abs(value - direction) < abs(real - direction)
    return value > real if direction == "high" else value < real


def real_value(metric: str, real: dict, alike: dict) -> float | None:
    """What real frames get in a metric: real, the held-out clip's entries; or, where the metric compares with that clip
    itself, alike's, the values of other real frames. None where there is neither."""
    value = alike.get(metric) if metric in TO_HELDOUT else real.get(metric, {}).get("value")
    return value if isinstance(value, (int, float)) else None


def flags(methods: dict, controls: list[str], real: str, alike: dict) -> list[dict]:
    """Every metric of which a control has more than real frames: [{"metric", "control", "value", "real", "good"}].

    methods: name -> metric -> entry ({"value"} or {"refused"}); real: the name of the real frames. alike: metric ->
    value of other real frames, which stand for real in the metrics that compare with `real` itself (TO_HELDOUT).
    There the VAE's reconstruction of `real` is left out: it is near to what it reconstructs, as it should be.
    """
    found = []
    for metric in UNITS:
        value = real_value(metric, methods[real], alike)
        if value is None:
            continue
        for name in controls:
            entry = methods[name][metric]
            if metric in TO_HELDOUT and name == "heldout_vae":
                continue
            if name != real and "value" in entry and ranks_above(metric, entry["value"], value):
                found.append({"metric": metric, "control": name, "value": entry["value"], "real": value,
                              "good": DIRECTIONS[metric]})
    return found + mismatched(methods[real])


def mismatched(real: dict) -> list[dict]:
    """The flag of real frames that CLIPSIM finds nearer to a prompt of something else than to their own; or none."""
    wrong, right = real["clipsim_mismatched"].get("value"), real["clipsim"].get("value")
    if wrong is None or right is None or not ranks_above("clipsim", wrong, right):
        return []
    return [{"metric": "clipsim", "control": MISMATCHED, "value": wrong, "real": right, "good": "high"}]
