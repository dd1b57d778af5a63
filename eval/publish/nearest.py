"""Which film is nearest to the real clip, and how sure that is.

The distance of a film is the mean of four relative differences, |film - real| / (film + real): how much it moves, how
fast things travel, how much change is no motion, how much fine detail it has. Each is 0 where film and clip are alike
and 1 where one of them has none; so no measure outweighs another, and a still, which has no motion, is far off however
sharp it is. Lance and Williams, "Computer programs for hierarchical polythetic classification" (1966), the Canberra
metric. It knows amounts and no shapes: whether a film looks right, people must say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.statistics.permutation import LEVEL

AMOUNTS = {"motion_energy": "how much it moves", "flow_speed": "how fast things travel",
           "flow_warp": "how unsteady it is", "detail": "how much fine detail it has"}
CEILING = "heldout_vae"
APART = ("heldout", "shuffled")  # the clip itself, and its own frames out of order: neither is a film of anybody's


@dataclass
class Nearest:
    """What the order says: names from the nearest on, without the ceiling; `wins` of `videos` in which the first is
    nearer than the second; p: of the two-sided sign tests of the first against each other, the largest after Holm's
    correction, None where so few videos could not reach LEVEL whatever came out."""

    order: list[str]
    distance: dict[str, float]  # of each name, the mean over videos
    wins: int
    videos: int
    p: float | None


def relative(value: float, real: float) -> float:
    """|a - b| / (a + b) of two amounts that are not negative; 0 where both are nothing."""
    return abs(value - real) / (value + real) if value + real else 0.0


def distances(table: dict) -> dict[str, list[float]]:
    """Of each method of a metrics.json the distance of each of its films, those without all AMOUNTS left out."""
    methods, found = table["methods"], {}
    real = {metric: methods["heldout"].get(metric, {}).get("value") for metric in AMOUNTS}
    if None in real.values():
        return {}
    for name, row in methods.items():
        values = [row.get(metric, {}).get("values") for metric in AMOUNTS]
        if name not in APART and all(values) and len({len(v) for v in values}) == 1:
            found[name] = [float(np.mean([relative(value, real[metric]) for metric, value in zip(AMOUNTS, film)]))
                           for film in zip(*values)]
    return found


def nearest(tables: dict[str, dict]) -> Nearest | None:
    """The order over the films of several videos; None where fewer than two methods have films of every video."""
    from scipy.stats import binomtest
    from statsmodels.stats.multitest import multipletests

    per_video = [{name: float(np.mean(d)) for name, d in distances(table).items()} for table in tables.values()]
    shared = [name for name in (per_video[0] if per_video else {}) if all(name in video for video in per_video)]
    mean = {name: float(np.mean([video[name] for video in per_video])) for name in shared}
    order = sorted((name for name in shared if name != CEILING), key=mean.__getitem__)
    if len(order) < 2:
        return None
    wins = {name: sum(video[order[0]] < video[name] for video in per_video) for name in order[1:]}
    p = None
    if len(wins) * 2 / 2 ** len(per_video) <= LEVEL:
        raw = [binomtest(count, len(per_video)).pvalue for count in wins.values()]
        p = float(multipletests(raw, method="holm")[1].max())
    return Nearest(order, mean, wins[order[1]], len(per_video), p)


def sure(found: Nearest) -> str:
    """How sure the order is, in words."""
    said = f"the first is nearer than the second in {found.wins} of {videos_of(found.videos)}"
    if found.p is None:
        return f"{said}: too few to tell an order from chance"
    verdict = "told from chance" if found.p <= LEVEL else "not told from chance"
    return f"{said}, {verdict} (sign test against every other, Holm: p = {found.p:.2g})"


def videos_of(count: int) -> str:
    """`1 video`, `3 videos`."""
    return f"{count} video{'' if count == 1 else 's'}"
