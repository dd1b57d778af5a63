"""The page that asks: one HTML file with the films inside it, and beside it study.json, which says what it asks."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np

from eval.statistics.catch import LUCK, luck, trials_needed
from eval.study.films import broken
from eval.study.form import CATCH, COLUMNS, MARK, QUESTIONS, film_hash, shown, write_text
from lnm.errors import UserError
from lnm.files import regular_file, write_json


def write_page(scenes: dict[str, dict[str, bytes]], out: Path, catch: int = 6, ties: bool = False, seed: int = 0,
               consent: str | None = None, title: str = "Which film is better?", max_failed: int = 0) -> dict:
    """Writes the study as one HTML file that needs no server and no network, and a .json of the same name that holds
    all of it but the films; returns that.

    scenes: as from `collect`; every pair of a scene's methods is asked once a question. catch: how many trials show a
    film beside its broken version, over both questions; max_failed: how many of them an observer may fail. Who presses
    at random must pass with probability `LUCK` or less, stated as "luck". seed: of the catch trials; sides and order
    are drawn anew for each session, from the side_seed in its rows. consent: text instead of ours, blank lines between
    paragraphs. "hashes" are the films', by which votes are known to be about them, "id" is a hash of everything.
    """
    if luck(catch, max_failed) > LUCK:
        raise UserError(f"catch {catch}: who presses at random passes with probability {luck(catch, max_failed):.2g}; "
                        f"give {trials_needed(max_failed)} or more for at most {LUCK:g}")
    from jinja2 import Environment
    from markupsafe import Markup

    films, trials = _trials(scenes, catch, seed)
    study = {"title": title, "questions": QUESTIONS, "ties": ties, "columns": COLUMNS, "mark": MARK, "trials": trials,
             "hashes": [film_hash(film) for film in films], "max_failed": max_failed, "luck": luck(catch, max_failed)}
    study["id"] = hashlib.sha256(json.dumps(study).encode()).hexdigest()[:12]
    folder = Path(__file__).parent
    template, style, script = ((folder / name).read_text(encoding="utf-8") for name in (
        "page.html", "page.css", "page.js"))
    page = Environment(autoescape=True, trim_blocks=True).from_string(template).render(
        title=title, ties=ties, count=len(trials), catch=catch, minutes=max(1, round(len(trials) * 10 / 60)),
        consent=[part for part in re.split(r"\n\s*\n", (consent or "").strip()) if part],
        style=Markup(style), script=Markup(script), style_hash=_csp_hash(style), script_hash=_csp_hash(script),
        study=study | {"films": ["data:video/mp4;base64," + base64.b64encode(film).decode() for film in films]},
    )
    write_text(out, page)
    write_json(out.with_suffix(".json"), study)
    return study


def _trials(scenes: dict[str, dict[str, bytes]], catch: int, seed: int) -> tuple[list[bytes], list[dict]]:
    """The films, each once, and the trials that show two of them."""
    films: list[bytes] = []
    place: dict[tuple[str, str], int] = {}
    trials: list[dict] = []
    for scene, by_method in scenes.items():
        for method, film in by_method.items() if len(by_method) > 1 else ():
            place[scene, method] = len(films)
            films.append(film)
        trials += [{"scene": scene, "question": question, "conditions": pair, "is_catch": 0,
                    "films": [place[scene, method] for method in pair]}
                   for pair in combinations(by_method, 2) for question in QUESTIONS]
    if not trials:
        raise UserError(f"{', '.join(scenes)}: no video has films of two methods; sample both, or put the other's into "
                        "inputs/baselines/<method>/<video>/")
    rng = np.random.default_rng(seed)
    asked = sorted({(trial["scene"], method) for trial in trials for method in trial["conditions"]})
    for k in range(catch):
        scene, method = asked[rng.integers(len(asked))]
        trials.append({"scene": scene, "question": list(QUESTIONS)[k % len(QUESTIONS)], "is_catch": 1,
                       "conditions": (method, f"{CATCH}-{k + 1}"), "films": [place[scene, method], len(films)]})
        films.append(broken(films[place[scene, method]], seed + k))
    return films, trials


def in_short(study: dict) -> str:
    """`14 trials, 6 of them catch trials: who presses at random passes these with probability 0.016`."""
    caught = sum(trial["is_catch"] for trial in study["trials"])
    return (f"{len(study['trials'])} trials, {caught} of them catch trials: who presses at random passes these with "
            f"probability {study['luck']:.2g}")


def read_study(path: Path) -> dict:
    """What `write_page` returned, from the page or from the .json beside it."""
    try:
        text = regular_file(path, fix="give a study's page or the .json beside it").read_text(encoding="utf-8")
        if path.suffix.lower() != ".json":
            text = text.partition('<script type="application/json" id="study">')[2].partition("</script>")[0]
        study = json.loads(text)
        if {"id", "trials", "hashes"} <= study.keys():
            study.pop("films", None)  # the page's: a film is known by its hash
            return study
    except (ValueError, AttributeError, RecursionError):
        pass
    raise UserError(f"{shown(path)}: no page of `lnm study build`, nor the .json beside it")


def _csp_hash(text: str) -> str:
    """What a content security policy calls an inline style or script by: nothing else runs on the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
