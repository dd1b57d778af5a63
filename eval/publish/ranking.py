"""The films ranked against the controls, metric by metric, and what the order says of the film and of the metric.

A metric that puts a still, noise or shuffled frames above the real clip can be won by them, whatever it says of a film.
"""

from __future__ import annotations

import numpy as np

from eval.metrics import ceiling, flags
from eval.records.run import difference
from eval.registry import DIRECTIONS, MISMATCHED, TO_HELDOUT, quoted
from eval.statistics.paired import badness
from eval.statistics.permutation import LEVEL, holm, pairs_needed

REAL = ("heldout", "heldout_vae")  # real frames, and the best that this VAE can give: no counterfeits
VIEWS = ("motion_energy", "flow_speed", "detail_ratio", "frame0_db_below_ceiling", "clipscore",
         "rm")  # another's on another scale
ALIKE, ALIKE_LABEL = "alike", "other real frames"  # stand for real where a metric compares with the held-out frames
MISMATCHED_LABEL = "the real clip with the prompt of another"


def real_values(table: dict, metric: str) -> list[float]:
    """What real frames get, the first of which is what films are ranked beside: the clip through the autoencoder, and
    the clip itself; where the metric compares with that clip, other real frames (the last ones trained on). table: a
    metrics.json."""
    own = flags.real_value(metric, table["methods"]["heldout"], table["reference"].get("train_window", {}))
    return [value for value in dict.fromkeys((ceiling.real(metric, table), own)) if value is not None]


def rank(table: dict, metric: str, p_values: dict[tuple[str, str], float] | None = None) -> dict | None:
    """Where ours stands in a metric among the real frames and the controls that are no film, all read beside the real
    clip through the autoencoder, or beside the clip itself where that was not recorded (`eval.metrics.ceiling`).

    Returns {"order": [(name, value), ...] best first, the clip itself among them, "real": what real frames get,
    "beside_vae": bool, and names of counterfeit controls: "fools" (above real frames, through the autoencoder or
    without it), "blind" (level with them) and "by_clip", those of the two that are so beside the clip itself alone; by
    the points, "beaten" (every film of ours is less bad), "lost" (every one is worse) and "level" (neither); and
    "sure", those of beaten and lost of which a test says so as well: `p_values` of (metric, name), as `corrected` gives
    them, at most 5%; "ours_above_real": bool}. None where the metric has no reading, or ours or real frames have no
    value. What is ordered and what is tested is `badness`.
    """
    values, reals = _values(ceiling.entries(metric, table)), real_values(table, metric)
    if DIRECTIONS.get(metric) is None or not reals or "ours" not in values:
        return None
    real = reals[0]
    if metric in TO_HELDOUT:
        values[ALIKE] = real
    found: dict[str, list[str]] = {key: [] for key in ("fools", "blind", "by_clip", "beaten", "level", "lost", "sure")}
    for name in counterfeits(table):
        won, by_clip = _won(table, metric, name, reals)
        for key in filter(None, (won, "by_clip" if by_clip else "")):
            found[key].append(name)
        if name not in values:
            continue
        gain = difference({"": table}, name, metric).get("gain", [])
        worse = badness(metric, values[name], real)
        close = [abs(one) <= 1e-4 * abs(worse) + 1e-9 for one in gain]
        side = "level" if not gain or any(close) else (
            "beaten" if min(gain) > 0 else "lost" if max(gain) < 0 else "level")
        found[side].append(name)
        if side != "level" and (p_values or {}).get((metric, name), 1.0) <= LEVEL:
            found["sure"].append(name)
    if any(flag["metric"] == metric and flag["control"] == MISMATCHED for flag in table.get("flags", [])):
        found["fools"].append(MISMATCHED)
    order = sorted(values.items(), key=lambda item: badness(metric, item[1], real))
    return {"order": order, "real": real, "beside_vae": ceiling.recorded(metric, table),
            "ours_above_real": flags.ranks_above(metric, values["ours"], real), **found}


def _values(entries: dict[str, dict]) -> dict[str, float]:
    return {name: entry["value"] for name, entry in entries.items() if "value" in entry}


def _won(table: dict, metric: str, name: str, reals: list[float]) -> tuple[str, bool]:
    """("fools", "blind" or "", whether beside the clip itself alone): what a control does to a metric. The clip itself
    is looked at as well, beside the control made of its own frames: what is won by either proves nothing of a film."""
    said = []
    for row, real in ((ceiling.entries(metric, table), reals[0]),
                      ({name: table["methods"][name].get(metric, {})}, reals[-1])):
        value = row.get(name, {}).get("value")
        said.append("" if value is None else "fools" if flags.ranks_above(metric, value, real)
                    else "blind" if _same(value, real) else "")
    found = next((one for one in ("fools", "blind") if one in said), "")
    return found, bool(found) and said[0] != found


def counterfeits(table: dict) -> list[str]:
    """The controls that are no film."""
    return [name for name in table["controls"] if name not in REAL]


def corrected(table: dict) -> dict[tuple[str, str], float]:
    """(metric, control) -> p of ours against each counterfeit control in each metric that is ranked, by Holm for all of
    these together. A metric and its views count once."""
    asked = [(metric, name) for metric in DIRECTIONS if metric not in VIEWS for name in counterfeits(table)
             if "p" in difference({"": table}, name, metric)]
    adjusted = holm([difference({"": table}, name, metric)["p"] for metric, name in asked])
    return dict(zip(asked, adjusted, strict=True))


def _same(a: float, b: float) -> bool:
    return bool(np.isclose(a, b, rtol=1e-4, atol=1e-9))


def ranks(table: dict) -> dict[str, dict]:
    """`rank` of every metric that has one and at least one counterfeit control; a metric and its views count once."""
    p_values = corrected(table)
    found = {metric: rank(table, metric, p_values) for metric in DIRECTIONS if metric not in VIEWS}
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
    said = []
    for key, words in (("fools", "can be won by"), ("blind", "does not tell the real clip from")):
        for beside, names in (("", [name for name in one[key] if name not in one["by_clip"]]),
                              ("beside the clip itself ", [name for name in one[key] if name in one["by_clip"]])):
            said += [f"{beside}{words} {_labels(table, names)}"] if names else []
    return "; ".join(said) or "puts the real frames above every control"


def of_film(table: dict, one: dict) -> str:
    """What a rank says of our films: where each of them stands, and of which control a test says so."""
    said = [f"each {where} {_labels(table, one[key])}" for key, where in (("beaten", "above"), ("lost", "below"))
            if one[key]]
    said += [f"on no one side of {_labels(table, one['level'])}"] if one["level"] else []
    return "; ".join(said) + (f" (tested: {_labels(table, one['sure'])})" if one["sure"] else "")


def paragraph(table: dict) -> str:
    """What the order of films and controls says of our films and of the metrics: sentences made of the numbers of one
    metrics.json."""
    found = ranks(table)
    if not found:
        return "No metric has a value for ours, for real frames and for a control at once: nothing can be ranked."
    telling = {metric: one for metric, one in found.items() if not one["fools"] and not one["blind"]}
    fooled = [metric for metric, one in found.items() if one["fools"]]
    blind = [metric for metric, one in found.items() if one["blind"] and not one["fools"]]
    said = [*_beside(found), *_of_films(table, found, telling)]
    if fooled:
        said.append(f"{_count(len(fooled), 'metric')} can be won by what is no film ({measures(fooled)}): a good "
                    "value there is no evidence.")
    if blind:
        said.append(f"{_count(len(blind), 'metric')} cannot tell the real clip from some control ({measures(blind)}): "
                    "nothing is said there of what that control lacks.")
    above = [metric for metric, one in found.items() if one["ours_above_real"]]
    nearer, above = ([metric for metric in above if (metric in TO_HELDOUT) == compares] for compares in (True, False))
    if nearer:
        said.append(f"By {measures(nearer)} ours is nearer to the held-out clip than other real frames are, which "
                    "begin elsewhere.")
    if above:
        said.append(f"Ours ranks above the real frames themselves by {measures(above)}: no film is better than real, "
                    "so that is said of the metric.")
    said.append(f"The films share {table['interval']['not_covered']}.")
    return " ".join(said)


def _beside(found: dict[str, dict]) -> list[str]:
    """Beside what the films are ranked."""
    lacking = [metric for metric, one in found.items() if not one["beside_vae"]]
    if len(lacking) == len(found):
        return ["Ranked beside the clip itself: these numbers have nothing beside it through the autoencoder."]
    return ["Ranked beside the real clip through the autoencoder"
            + (f", by {measures(lacking)} beside the clip itself, for want of it." if lacking else ".")]


def _of_films(table: dict, found: dict[str, dict], telling: dict[str, dict]) -> list[str]:
    """What the metrics that put real frames above every control say of our films: the points first, then what a test
    can say at their number."""
    if not telling:
        return [f"None of {_count(len(found), 'metric')} puts the real frames above every control: by these numbers "
                "alone nothing can be said of our films."]
    whole = [metric for metric, one in telling.items() if not one["lost"] and not one["level"]]
    none = [metric for metric, one in telling.items() if not one["beaten"]]
    some = [metric for metric in telling if metric not in whole + none]
    films = max((entry.get("n", 0) for entry in table["methods"]["ours"].values()), default=0)
    parts = [f"{than} by {measures(names)}" for than, names in
             (("than every control", whole), ("than some", some), ("than none", none)) if names]
    said = [f"Of {_count(len(found), 'metric')}, {len(telling)} put the real frames above every control: "
            f"{measures(telling)}.",
            f"There {'our one film is' if films == 1 else f'each of our {films} films is'} nearer to good "
            f"{', '.join(parts)}."]
    tests = corrected(table)
    pairs = max((entry.get("pairs", 0) for row in table["differences"].values() for entry in row.values()), default=0)
    needed = pairs_needed(len(tests))
    if pairs < needed:
        return [*said, f"That is of these films and of no others: {len(tests)} comparisons by sign flips, corrected by "
                f"Holm, need {' and '.join(_count(needed, what) for what in table['interval']['unit'].split(' and '))} "
                f"to say more, and here {'is' if pairs == 1 else 'are'} {pairs}."]
    sure = [metric for metric in whole if set(telling[metric]["beaten"]) <= set(telling[metric]["sure"])]
    if not sure:
        return [*said, f"No test (sign flips, Holm over {len(tests)} comparisons) says that of every control."]
    return [*said, f"A test (sign flips, Holm over {len(tests)} comparisons, {LEVEL:.0%}) says that of every control "
            f"by {measures(sure)}."]


def _labels(table: dict, names: list[str]) -> str:
    label = table["labels"] | {MISMATCHED: MISMATCHED_LABEL, ALIKE: ALIKE_LABEL}
    return listed([label[name] for name in names])


def measures(metrics) -> str:
    """Measures in a sentence, as the tables call them: `“motion, x real” and “CLIPSIM”`."""
    return listed([quoted(metric) for metric in metrics])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def listed(names) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
