"""The ablations measured: every arm's runs beside the arm that it differs from in one choice, and what may be said.

A run is a folder results/ablations/runs/ARM/seed_K as `lnm ablation` leaves it. Two seeds show how far two runs of one
and the same choice lie apart; a choice is said to matter where its arm lies further from the other than that, by
Dunnett's comparison over all arms that stand beside the same one (`eval.statistics.many_to_one`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.motion import flow_warp, motion_energy
from eval.records.markdown import grid
from eval.registry import METRICS
from eval.statistics.many_to_one import LEVEL, against_control
from lnm.errors import UserError
from lnm.video import read_frames

VERSION = 1
INDEPENDENT = "independent"  # of noise over frames (lnm.ablations.noise), what an arm has where it says nothing else


@dataclass(frozen=True)
class Measure:
    """label: with its unit. of_clip: a multiple of the clip's through the autoencoder, where 1 is as the clip has it;
    else a loss, where less is better. digits: behind the point."""

    label: str
    of_clip: bool
    digits: int


MEASURES = {
    "loss": Measure("held-out loss", False, 4),
    "loss_8": Measure("held-out loss of 8 frames", False, 4),
    "flow_warp": Measure(f"{METRICS['flow_warp'].label}, x the clip's", True, 2),
    "motion": Measure(f"{METRICS['motion_energy'].label}, x the clip's", True, 2),
    "speed": Measure(f"{METRICS['flow_speed'].label}, x the clip's", True, 2),
}


def measured(runs: Path, reference: np.ndarray, wanted: Sequence[tuple[str, int]], about: dict[str, Any]) -> dict:
    """Every run that is there, measured, and each arm compared with the one that it stands beside.

    runs: holds ARM/seed_K/ (run.json, film/). reference: the clip's frames through the autoencoder, uint8 (N, H, W, 3),
    which a film goes on from the first of. wanted: (arm, seed) of all runs that there should be, in the order of the
    table. about: facts for the record (video, checkpoint, steps).
    Returns {"version", ...about, "clip" (its own motion), "done", "wanted", "missing" (of the wanted), "arms": {arm:
    {"choice", "value", "against", "beside", "seeds", "values": {measure: a number a seed}, "compared": {measure: what
    `against_control` gives}, "noise" (what it is trained on and filmed from), "by_noise": {kind of noise: held-out loss
    a seed}}}, "sentences": {arm: text}}; an arm that would repeat another has "same_as" alone.
    Raises UserError where no run is there, and where runs are of different clips or lengths.
    """
    files = {(arm, seed): runs / arm / f"seed_{seed}" / "run.json" for arm, seed in wanted}
    found = {key: json.loads(path.read_text(encoding="utf-8")) for key, path in files.items() if path.is_file()}
    if not found:
        raise UserError(f"{runs.name}/: no arm has been trained yet; run `lnm ablations`")
    kinds = {(run["video"], run["fps"]) for run in found.values()}
    if len(kinds) > 1:
        raise UserError(f"{runs.name}/: runs of {len(kinds)} clips; delete those of the other and run `lnm ablations`")
    arms: dict[str, dict] = {}
    clip: dict[str, float] = {}
    for (arm, seed), run in found.items():
        entry = arms.setdefault(arm, {key: run[key] for key in ("choice", "value", "against", "beside")})
        if "same_as" in run:
            entry["same_as"] = run["same_as"]
            continue
        film = read_frames(runs / arm / f"seed_{seed}" / "film")
        clip = clip or moves(reference[:len(film)])
        own = {"loss": run["loss"]["5"], "loss_8": run["loss"]["8"]} | {
            name: value / clip[name] for name, value in moves(film).items()}
        entry.setdefault("steps", run["steps"])
        entry.setdefault("seeds", []).append(seed)
        for name, value in own.items():
            entry.setdefault("values", {}).setdefault(name, []).append(value)
        entry.setdefault("noise", run.get("noise", INDEPENDENT))
        for kind, value in run.get("loss_by_noise", {}).items():
            entry.setdefault("by_noise", {}).setdefault(kind, []).append(value)
    _compare(arms)
    missing = [[arm, seed] for arm, seed in wanted if (arm, seed) not in found]
    table = {"version": VERSION, **about, "clip": clip, "done": len(found), "wanted": len(wanted), "missing": missing,
             "arms": arms}
    return table | {"sentences": {arm: sentence(arms, arm) for arm in arms if arms[arm]["against"]}}


def moves(frames: np.ndarray) -> dict[str, float]:
    """How a film uint8 (F, H, W, 3) moves, a step: flow-warp error and motion in [0, 1], speed in pixels."""
    flow = flow_warp(frames)
    return {"flow_warp": flow["error"], "motion": motion_energy(frames), "speed": flow["speed"]}


def _compare(arms: dict[str, dict]) -> None:
    """Each arm with the one that it stands beside, all that stand beside the same one together; in place."""
    for control in dict.fromkeys(entry["beside"] for entry in arms.values()):
        group = [entry for name, entry in arms.items()
                 if entry["beside"] == control and name != control and "values" in entry and entry["against"]]
        base = arms.get(control, {}).get("values")
        if not base or not group:
            continue
        for measure in MEASURES:
            answers = against_control(base[measure], [entry["values"][measure] for entry in group])
            for entry, answer in zip(group, answers, strict=True):
                entry.setdefault("compared", {})[measure] = answer


def differs(entry: dict, measure: str) -> bool:
    """Whether an arm lies further from the other in a measure than seeds do."""
    p = entry.get("compared", {}).get(measure, {}).get("p")
    return p is not None and p <= LEVEL


def sentence(arms: dict[str, dict], name: str) -> str:
    """What the numbers say of one arm's choice, in words."""
    entry = arms[name]
    lead = f"{entry['choice'][0].upper()}{entry['choice'][1:]}, {entry['value']} in place of {entry['against']}:"
    if "same_as" in entry:
        return f"{lead} the same here, as the checkpoint's own is that already."
    compared = entry.get("compared")
    if not compared:
        return f"{lead} nothing to compare with, for {entry['beside']} has not been trained."
    if any(answer["p"] is None for answer in compared.values()):
        return f"{lead} nothing can be said of one seed each."
    other = arms[entry["beside"]]
    parts = [_said(measure, entry, other) for measure in MEASURES if differs(entry, measure)]
    alike = [measure for measure in MEASURES if not differs(entry, measure)]
    if alike:
        named = [f"{_short(m)} ({_mean(entry, m)} against {_mean(other, m)})" for m in alike]
        parts.append("no difference larger than between seeds in " + _listed(named))
    return f"{lead} {'; '.join(parts)}."


def _said(measure: str, entry: dict, other: dict) -> str:
    """A difference that is one: both means, and what it means that they differ."""
    kind, answer = MEASURES[measure], entry["compared"][measure]
    a, b = (float(np.mean(one["values"][measure])) for one in (entry, other))
    p = "p < 0.001" if answer["p"] < 0.001 else f"p = {answer['p']:.2g}"
    if kind.of_clip:
        how = "nearer to the clip's" if abs(a - 1) < abs(b - 1) else "further from the clip's"
    else:
        how = f"{abs(a / b - 1):.0%} {'less' if a < b else 'more'}"
    return f"{_short(measure)} {_mean(entry, measure)} against {_mean(other, measure)}, {how} ({p})"


def _short(measure: str) -> str:
    return MEASURES[measure].label.removesuffix(", x the clip's")


def _mean(entry: dict, measure: str) -> str:
    return f"{np.mean(entry['values'][measure]):.{MEASURES[measure].digits}f}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def markdown(table: dict) -> str:
    """The table as Markdown: how many runs there are, a row an arm with its mean and seeds, the sentences, and where
    arms were trained on noise of their own the losses by noise. * a difference larger than between seeds."""
    lines = [f"{table['done']} of {table['wanted']} runs, of {table['video']}, {table['steps']} steps each."]
    if table["missing"]:
        lines[0] += f" Not trained yet: {_listed(_by_arm(table))}."
    head = ["choice", "this arm", "in place of", *(one.label for one in MEASURES.values())]
    rows = []
    for name, entry in table["arms"].items():
        cells = [f"as {entry['same_as']}"] * len(MEASURES) if "same_as" in entry else [
            _cell(entry, measure) for measure in MEASURES]
        rows.append([entry["choice"] if entry["against"] else name, entry["value"] if entry["against"] else "-",
                     entry["against"] or "-", *cells])
    sentences = "\n".join(f"- {text}" for text in table["sentences"].values())
    return "\n\n".join([*lines, grid(head, rows), sentences, *_by_noise(table)]) + "\n"


def _by_noise(table: dict) -> list[str]:
    """The held-out losses of the arms that were trained on noise of their own, and of what they stand beside, under
    each kind of noise: a heading and a table, or nothing."""
    own = [name for name, entry in table["arms"].items() if entry.get("noise", INDEPENDENT) != INDEPENDENT]
    named = dict.fromkeys(name for arm in own for name in (table["arms"][arm]["beside"], arm))
    shown = [(name, table["arms"][name]["by_noise"]) for name in named if "by_noise" in table["arms"].get(name, {})]
    if not own:
        return []
    digits = MEASURES["loss"].digits
    rows = [[name, *(f"{np.mean(seeds):.{digits}f} ({', '.join(f'{one:.{digits}f}' for one in seeds)})"
                     for seeds in by_kind.values())] for name, by_kind in shown]
    return ["Held-out loss where the noise asked about is independent, mixed or progressive:",
            grid(["arm", *shown[0][1]], rows)]


def _by_arm(table: dict) -> list[str]:
    """What is missing: an arm by its name, and of one that is there in part its seeds."""
    seeds: dict[str, list[str]] = {}
    for arm, seed in table["missing"]:
        seeds.setdefault(arm, []).append(str(seed))
    return [f"{arm} (seed {', '.join(lacking)})" if arm in table["arms"] else arm for arm, lacking in seeds.items()]


def _cell(entry: dict, measure: str) -> str:
    digits = MEASURES[measure].digits
    seeds = ", ".join(f"{value:.{digits}f}" for value in entry["values"][measure])
    return f"{_mean(entry, measure)}{' *' if differs(entry, measure) else ''} ({seeds})"
