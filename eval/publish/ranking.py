"""The films ranked against the controls, metric by metric, and what the order says of the film and of the metric.

A metric that puts a still, noise or shuffled frames above the real clip can be won by them, whatever it says of a film.
"""

from __future__ import annotations

import numpy as np

from eval.metrics.flags import ranks_above
from eval.registry import DIRECTIONS, MISMATCHED, TO_HELDOUT
from eval.statistics.paired import MIN_PAIRS

REAL = ("heldout", "heldout_vae")  # real frames, and the best that this VAE can give: no counterfeits
VIEWS = ("motion_energy", "flow_speed", "frame0_db_below_ceiling", "clipscore", "rm")  # another's on another scale
ALIKE, ALIKE_LABEL = "alike", "other real frames"  # stand for real where a metric compares with the held-out frames
MISMATCHED_LABEL = "the real clip with the prompt of another"


def real_value(table: dict, metric: str) -> float | None:
    """What real frames get: the held-out clip's, or, where the metric compares with that clip itself, other real
    frames' (the last ones trained on). None where there is neither. table: a metrics.json."""
    if metric in TO_HELDOUT:
        value = table["reference"].get("train_window", {}).get(metric)
        return value if isinstance(value, (int, float)) else None
    return table["methods"]["heldout"].get(metric, {}).get("value")


def badness(metric: str, value: float, real: float) -> float:
    """How far a value is from what a reader of `metric` takes for good: less is better, within one metric."""
    direction = DIRECTIONS[metric]
    if direction in ("high", "low"):
        return value if direction == "low" else -value
    return abs(value - (real if direction == "real" else direction))


def rank(table: dict, metric: str) -> dict | None:
    """Where ours stands in a metric among the real frames and the controls that are no film.

    Returns {"order": [(name, value), ...] best first, "real": what real frames get, and names of counterfeit controls:
    "fools" (above real frames), "blind" (level with them), "beaten" (below ours), "level" (not told apart from ours)
    and "lost" (above ours); "ours_above_real": bool}. None where the metric has no reading, or ours or real frames have
    no value. Not told apart: the interval of the paired difference holds 0 (`differences` of metrics.json), or without
    an interval the two values are equal to four digits.
    """
    methods, real = table["methods"], real_value(table, metric)
    values = {name: row[metric]["value"] for name, row in methods.items() if "value" in row.get(metric, {})}
    if DIRECTIONS.get(metric) is None or real is None or "ours" not in values:
        return None
    if metric in TO_HELDOUT:
        values.pop("heldout", None)  # what they get beside themselves says nothing
        values[ALIKE] = real
    found: dict[str, list[str]] = {key: [] for key in ("fools", "blind", "beaten", "level", "lost")}
    for name in table["controls"]:
        if name in REAL or name not in values:
            continue
        if _same(values[name], real):
            found["blind"].append(name)
        elif ranks_above(metric, values[name], real):
            found["fools"].append(name)
        difference = table.get("differences", {}).get(name, {}).get(metric, {})
        low, high = difference.get("low"), difference.get("high")
        if (low is not None and low <= 0 <= high) or _same(values[name], values["ours"]):
            found["level"].append(name)
        elif badness(metric, values[name], real) > badness(metric, values["ours"], real):
            found["beaten"].append(name)
        else:
            found["lost"].append(name)
    if any(flag["metric"] == metric and flag["control"] == MISMATCHED for flag in table.get("flags", [])):
        found["fools"].append(MISMATCHED)
    order = sorted(values.items(), key=lambda item: badness(metric, item[1], real))
    return {"order": order, "real": real, "ours_above_real": ranks_above(metric, values["ours"], real), **found}


def _same(a: float, b: float) -> bool:
    return bool(np.isclose(a, b, rtol=1e-4, atol=1e-9))


def ranks(table: dict) -> dict[str, dict]:
    """`rank` of every metric that has one and at least one counterfeit control; a metric and its views count once."""
    found = {metric: rank(table, metric) for metric in DIRECTIONS if metric not in VIEWS}
    return {metric: one for metric, one in found.items() if one and (one["beaten"] or one["level"] or one["lost"])}


def order(table: dict, metric: str, one: dict) -> str:
    """`ours 0.9 > real 0.8 = shuffled 0.8 > static 0`: every film and control, best first. one: what `rank` gives."""
    parts = []
    for i, (name, value) in enumerate(one["order"]):
        sign = "" if not i else " = " if _same(value, one["order"][i - 1][1]) else " > "
        parts.append(f"{sign}{_labels(table, [name])} {value:.3g}")
    return "".join(parts)


def of_metric(table: dict, one: dict) -> str:
    """What a rank says of the metric."""
    said = [f"can be won by {_labels(table, one['fools'])}" if one["fools"] else "",
            f"does not tell the real clip from {_labels(table, one['blind'])}" if one["blind"] else ""]
    return "; ".join(filter(None, said)) or "puts the real frames above every control"


def of_film(table: dict, one: dict) -> str:
    """What a rank says of our films."""
    said = [f"{where} {_labels(table, one[key])}"
            for key, where in (("beaten", "above"), ("level", "not told apart from"), ("lost", "below")) if one[key]]
    return "; ".join(said)


def paragraph(table: dict) -> str:
    """What the order of films and controls says of our films and of the metrics: sentences made of the numbers of one
    metrics.json."""
    found = ranks(table)
    if not found:
        return "No metric has a value for ours, for real frames and for a control at once: nothing can be ranked."
    telling = {metric: one for metric, one in found.items() if not one["fools"] and not one["blind"]}
    fooled = [metric for metric, one in found.items() if one["fools"]]
    blind = [metric for metric, one in found.items() if one["blind"] and not one["fools"]]
    said = []
    if telling:
        whole = [metric for metric, one in telling.items() if not one["lost"] and not one["level"]]
        none = [metric for metric, one in telling.items() if not one["beaten"]]
        some = [metric for metric in telling if metric not in whole + none]
        said.append(f"Of {_count(len(found), 'metric')}, {len(telling)} put the real frames above every control: "
                    f"{listed(telling)}.")
        parts = [f"above all controls by {listed(whole)}" if whole else "",
                 f"above some by {listed(some)}" if some else "", f"above none by {listed(none)}" if none else ""]
        said.append(f"There our films stand {', '.join(filter(None, parts))}.")
        if len(whole) == len(telling):
            said.append("By everything that tells real frames from counterfeits, they are nearer to the real clip than "
                        "any counterfeit.")
        elif whole:
            said.append(f"So they pass {len(whole)} of the {len(telling)} measures that can tell, and not the others.")
        else:
            said.append("So nothing that can tell says that they are better than every counterfeit.")
    else:
        said.append(f"None of {_count(len(found), 'metric')} puts the real frames above every control: by these "
                    "numbers alone nothing can be said of our films.")
    if fooled:
        said.append(f"{_count(len(fooled), 'metric')} can be won by what is no film ({listed(fooled)}): a good value "
                    "there is no evidence.")
    if blind:
        said.append(f"{_count(len(blind), 'metric')} cannot tell the real clip from some control ({listed(blind)}): "
                    "nothing is said there of what that control lacks.")
    above = [metric for metric, one in found.items() if one["ours_above_real"]]
    if above:
        said.append(f"Ours ranks above the real frames themselves by {listed(above)}: no film is better than real, so "
                    "that is said of the metric.")
    films = max((entry.get("n", 0) for entry in table["methods"]["ours"].values()), default=0)
    if 0 < films < MIN_PAIRS:
        said.append(f"All this over {_count(films, 'film')} of ours: too few to tell a small difference from chance.")
    return " ".join(said)


def _labels(table: dict, names: list[str]) -> str:
    label = table["labels"] | {MISMATCHED: MISMATCHED_LABEL, ALIKE: ALIKE_LABEL}
    return listed([label[name] for name in names])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def listed(names) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
