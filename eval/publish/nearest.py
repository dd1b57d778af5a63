"""Which film moves most like the real clip, and how sure that is.

The distance of a film is the mean of four parts, each 0 where the film is as the held-out clip through the
autoencoder and 1 where it has nothing of it: the relative differences |film - real| / (film + real) of flow-warp error,
of flow speed and of power at the frequencies in time, and the share of a half-turn by which flow points elsewhere. A
factor of 2 in any of the first three and a turn of 60 degrees count alike, 1/3, and none leaves [0, 1], so none
outweighs the others (Lance and Williams, "Computer programs for hierarchical polythetic classification", 1966: the
Canberra metric). It knows how a film moves and not what it shows: whether a film looks right, people must say.

What is made of the clip's own frames, such as a still that is carried along by flow, is made of these through the
autoencoder, so that it has no detail more than latents can have, and films that were given the still's own stand as
they were decoded. Beside the films stands what is no film: the clip itself, which says what the autoencoder alone does,
and other windows of it, each beside each held-out one that films are compared with, which say how far a clip is from
itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eval.statistics.permutation import LEVEL

MEASURES = ("flow_warp", "flow_speed_ratio", "spectrum_gap", "flow_direction_gap")
HALF_TURN = 180.0  # degrees, the largest flow_direction_gap
CLIP, WINDOWS = "heldout", "windows"  # the clip itself, and other windows of it
REFERENCES = (WINDOWS, CLIP)  # nobody's film: they have a distance and no place


@dataclass
class Nearest:
    """What the order says: names from the nearest on, without REFERENCES; `wins` of `videos` in which the first is
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


def parts(warp: float, real_warp: float, speed: float, decibels: float, turn: float | None) -> list[float]:
    """The four parts of a film's distance in the order of MEASURES, each in [0, 1].

    warp, real_warp: flow-warp errors; speed: flow speed as a multiple of the real clip's; decibels: log-spectral
    distance; turn: degrees, None of a film that does not move and so shares no direction.
    """
    return [relative(warp, real_warp), relative(speed, 1.0), relative(10 ** (decibels / 10), 1.0),
            1.0 if turn is None else turn / HALF_TURN]


def distances(table: dict) -> dict[str, list[float]]:
    """Of each method of a metrics.json the distance of each of its films, those without all MEASURES left out; and of
    WINDOWS, those of `windows`."""
    real = table["methods"].get("heldout_vae", {}).get("flow_warp", {}).get("value")
    found = {name: [float(np.mean(parts(warp, real, *rest))) for warp, *rest in films]
             for name, row in table["against_vae"].items() if real is not None
             for films in [list(zip(*values_of(own_of(table, name), row)))] if films}
    others = windows(table)
    return found | ({WINDOWS: list(others.values())} if others else {})


def beside(table: dict) -> list[tuple[int, int, dict, float]]:
    """(k, still, its measures, the held-out window's flow-warp error) of the real clip's k-th other window, beside the
    held-out one that films of that still are compared with. Both count from 1. Older numbers, which do not say beside
    which it stands, are of the first; [] where the clip's flow-warp error was refused."""
    clip = table["methods"].get(CLIP, {}).get("flow_warp", {}).get("values", [])  # one a held-out window
    of = table.get("windows", []) if clip else []
    stills = list(dict.fromkeys(window.get("beside", 1) for window in of))
    return [(k // len(stills) + 1, still, window, clip[stills.index(still)])
            for k, window in enumerate(of) for still in [window.get("beside", 1)]]


def windows(table: dict) -> dict[tuple[int, int], float]:
    """(k, still) -> the distance of the real clip's k-th other window to the held-out one of `beside`, both as they
    are, without the autoencoder; those without all MEASURES left out."""
    found = {}
    for k, still, window, real in beside(table):
        values = [window.get(metric) for metric in MEASURES]
        if None not in values:
            warp, *rest = values
            found[k, still] = float(np.mean(parts(warp, real, *rest)))
    return found


def own_of(table: dict, name: str) -> dict:
    """A method's own entries, as beside the autoencoder its entries in `against_vae` are: of what is made of the clip's
    frames as made of these through it, and of films with detail that no latent holds as decoded, where recorded."""
    return table.get("methods_vae", {}).get(name) or table["methods"][name]


def detailed(tables: Iterable[dict]) -> bool:
    """Whether films of ours hold detail in all of these metrics.json that no latent does, so that they stand beside the
    clip itself."""
    return all("ours" in table.get("methods_vae", {}) for table in tables)


def values_of(own: dict, beside: dict) -> list[list[float | None]]:
    """The values of MEASURES, each a list of one a film; [] where one of them was refused. The direction of films that
    do not move is refused: it is None. own, beside: a method's entries of `own_of` and in `against_vae`."""
    found = [(own if metric == "flow_warp" else beside).get(metric, {}).get("values") for metric in MEASURES]
    if found[1] and not found[3] and not any(found[1]):
        found[3] = [None] * len(found[1])
    return found if all(found) and len(set(map(len, found))) == 1 else []


def nearest(tables: dict[str, dict]) -> Nearest | None:
    """The order over the films of several videos; None where fewer than two methods have films of every video."""
    from scipy.stats import binomtest
    from statsmodels.stats.multitest import multipletests

    per_video = [{name: float(np.mean(d)) for name, d in distances(table).items()} for table in tables.values()]
    shared = [name for name in (per_video[0] if per_video else {}) if all(name in video for video in per_video)]
    mean = {name: float(np.mean([video[name] for video in per_video])) for name in shared}
    order = sorted((name for name in shared if name not in REFERENCES), key=mean.__getitem__)
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
