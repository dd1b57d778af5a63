"""Votes from a stated model, marked SIMULATED in every row, to try the analysis on."""

from __future__ import annotations

import csv
import io
from itertools import combinations
from pathlib import Path

import numpy as np

from eval.study.form import CATCH, COLUMNS, MARK, below_inputs, check_name, shown, write_text
from lnm.errors import UserError
from lnm.files import for_spreadsheet


def simulate(path: Path, strengths: dict[str, dict[str, float]], observers: int = 40,
             scenes: tuple[str, ...] = ("scene-1", "scene-2", "scene-3"), observer_sd: float = 0.0,
             scene_sd: float = 0.0, lapse: float = 0.0, side_bias: float = 0.0, catch: int = 6, seed: int = 0) -> Path:
    """Writes votes from a model, marked SIMULATED in every row's observer and session; returns the path.

    strengths: {question: {method: log odds}}. The left film A is chosen with probability
        lapse / 2 + (1 - lapse) sigmoid(u_A - u_B + side_bias),  u_m = strength_m + observer's_m + scene's_m,
    where the observer's and the scene's liking of a method are drawn from N(0, observer_sd^2) and N(0, scene_sd^2).
    A catch trial is missed by a lapse only. Sides and order are drawn like the page's. Refuses to write below inputs/.
    """
    drawn = {"observer_sd": observer_sd, "scene_sd": scene_sd, "lapse": lapse, "side_bias": side_bias}
    for name, value in [*drawn.items(), *(item for liked in strengths.values() for item in liked.items())]:
        if not np.isfinite(value):
            raise UserError(f"{name}={value}: must be a finite number")
    if below_inputs(path):
        raise UserError(f"{shown(path)}: simulated votes are never written below inputs/; choose another --out")
    for method in {method for liked in strengths.values() for method in liked}:
        check_name(method, "method")
    rng = np.random.default_rng(seed)
    liking = {(question, scene, method): rng.normal(0, scene_sd)
              for question in strengths for scene in scenes for method in strengths[question]}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for o in range(observers):
        session_seed = int(rng.integers(2**32))
        for question, strength in strengths.items():
            own = {method: rng.normal(0, observer_sd) for method in strength}
            trials = [(scene, *pair) for scene in scenes for pair in combinations(strength, 2)]
            share_of = range(list(strengths).index(question), catch, len(strengths))
            trials += [(scenes[k % len(scenes)], next(iter(strength)), f"{CATCH}-{k + 1}") for k in share_of]
            flips = (rng.permutation(len(trials)) + rng.integers(2)) % 2
            for i in rng.permutation(len(trials)):
                scene, *pair = trials[i]
                a, b = pair[::-1] if flips[i] else pair
                caught = pair[1].startswith(CATCH)
                if rng.random() < lapse:
                    left = rng.random() < 0.5
                elif caught:
                    left = a == pair[0]
                else:
                    odds = side_bias + sum(sign * (strength[m] + own[m] + liking[question, scene, m])
                                           for m, sign in ((a, 1), (b, -1)))
                    left = rng.random() < 1 / (1 + np.exp(-odds))
                named = [for_spreadsheet(name) for name in (scene, question, a, b)]
                writer.writerow([f"{MARK}-{o + 1:04d}", f"{MARK}-{session_seed:08x}-{o + 1:04d}", MARK, *named, MARK,
                                 MARK, "A" if left else "B", session_seed, int(rng.lognormal(8, 0.4)), "", int(caught)])
    write_text(path, stream.getvalue())
    return path
