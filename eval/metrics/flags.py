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


def flags(methods: dict, controls: list[str], real: str, alike: dict) -> list[dict]:
    """Every metric of which a control has more than real frames: [{"metric", "control", "value", "real", "good"}].

    methods: name -> metric -> entry ({"value"} or {"refused"}); real: the name of the real frames. alike: metric ->
    value of other real frames, which stand for real in the metrics that compare with `real` itself (TO_HELDOUT).
    There the VAE's reconstruction of `real` is left out: it is near to what it reconstructs, as it should be.
    """
    found = []
    for metric in UNITS:
        value = alike.get(metric) if metric in TO_HELDOUT else methods[real][metric].get("value")
        if value is None or isinstance(value, str):
            continue
        for name in controls:
            entry = methods[name][metric]
            if metric in TO_HELDOUT and name == "heldout_vae":
                continue
            if name != real and "value" in entry and ranks_above(metric, entry["value"], value):
                found.append({"metric": metric, "control": name, "value": entry["value"], "real": value,
                              "good": DIRECTIONS[metric]})
    wrong, right = methods[real]["clipsim_mismatched"].get("value"), methods[real]["clipsim"].get("value")
    if wrong is not None and right is not None and ranks_above("clipsim", wrong, right):
        found.append({"metric": "clipsim", "control": MISMATCHED, "value": wrong, "real": right, "good": "high"})
    return found
