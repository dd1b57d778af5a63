"""The page that asks: one HTML file with the films inside it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np

from eval.study.films import broken
from eval.study.form import CATCH, COLUMNS, MARK, QUESTIONS, write_text
from lnm.errors import UserError


def write_page(scenes: dict[str, dict[str, bytes]], out: Path, catch: int = 6, ties: bool = False, seed: int = 0,
               consent: str | None = None, title: str = "Which film is better?") -> dict:
    """Writes the study as one HTML file that needs no server and no network; returns what it holds, films apart.

    scenes: as from `collect`; every pair of a scene's methods is asked once a question. catch: how many trials show a
    film beside its broken version, over both questions (of 6, who clicks at random passes all 1 time in 64). seed: of
    the catch trials; sides and order are drawn anew for each session, from the side_seed in its rows. consent: text
    instead of ours, blank lines between paragraphs.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    films: list[bytes] = []
    place: dict[tuple[str, str], int] = {}
    trials = []
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
    shown = sorted({(trial["scene"], method) for trial in trials for method in trial["conditions"]})
    for k in range(catch):
        scene, method = shown[rng.integers(len(shown))]
        trials.append({"scene": scene, "question": list(QUESTIONS)[k % len(QUESTIONS)], "is_catch": 1,
                       "conditions": (method, f"{CATCH}-{k + 1}"), "films": [place[scene, method], len(films)]})
        films.append(broken(films[place[scene, method]], seed + k))

    study = {"title": title, "questions": QUESTIONS, "ties": ties, "columns": COLUMNS, "mark": MARK, "trials": trials}
    whole = hashlib.sha256(json.dumps(study).encode())
    for film in films:
        whole.update(hashlib.sha256(film).digest())
    study["id"] = whole.hexdigest()[:12]
    folder = Path(__file__).parent
    template, style, script = ((folder / name).read_text(encoding="utf-8") for name in (
        "page.html", "page.css", "page.js"))
    page = Environment(autoescape=True, trim_blocks=True).from_string(template).render(
        title=title, ties=ties, count=len(trials), minutes=max(1, round(len(trials) * 10 / 60)),
        consent=[part for part in re.split(r"\n\s*\n", (consent or "").strip()) if part],
        style=Markup(style), script=Markup(script), style_hash=_csp_hash(style), script_hash=_csp_hash(script),
        study=study | {"films": ["data:video/mp4;base64," + base64.b64encode(film).decode() for film in films]},
    )
    write_text(out, page)
    return study


def _csp_hash(text: str) -> str:
    """What a content security policy calls an inline style or script by: nothing else runs on the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
