"""A score as one HTML file that opens offline: the films playing, every number, every reason."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

import numpy as np

from eval.films.mp4 import mp4
from eval.metrics import motion
from eval.records.given import read, sources_of
from eval.records.score_text import behind, cell_of, disagreements_of, floors, in_short, refused
from eval.registry import DIRECTIONS, METRICS, TO_HELDOUT, UNITS, reading
from lnm.files import whole

FPS = 8.0  # where nothing says how fast frames are to be shown


def write_page(path: Path, result: dict, methods: dict[str, list], reference) -> Path:
    """Write the page of a result of `score`. methods, reference: what was scored, as `score` takes it."""
    fps, size = result["read_at"]["fps"], result["read_at"]["size"]
    films = {name: [read("--frames", source, fps, size).frames for source in sources_of(films)]
             for name, films in methods.items()}
    if result["reference"]:
        films["reference"] = [read("--reference", reference, fps, size).frames[:result["reference"]["compared"]]]
    text = page(result, films)
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def page(result: dict, films: dict[str, list[np.ndarray]]) -> str:
    """The page of a result of `score`. films: name -> films uint8 (F, H, W, 3) to show, in order; the film of a method
    plays at the rate it was scored at."""
    from jinja2 import Environment

    template = (Path(__file__).parent / "score.html").read_text(encoding="utf-8")
    fps = result["frames"]["fps"] or FPS
    row = motion.busiest_row(next(reversed(films.values()))[0])  # the reference's, if there is one
    flagged = {(flag["metric"], flag["control"]) for flag in result["flags"]}

    def rows(methods: dict, metrics) -> list[dict]:
        return [{"metric": METRICS[metric].label, "unit": UNITS[metric].replace("held-out", "reference"),
                 "good": reading(DIRECTIONS[metric]),
                 "cells": [{"text": cell_of(methods[name][metric], name in result["films"]),
                            "why": methods[name][metric].get("refused", ""), "flag": (metric, name) in flagged}
                           for name in result["labels"]]} for metric in metrics]

    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template).render(
        result=result, short=in_short(result), refused=refused(result), floors=floors(result), behind=behind(result),
        disagreements=disagreements_of(result), about={metric.label: metric.about for metric in METRICS.values()},
        labels=list(result["labels"].values()), rows=rows(result["methods"], UNITS),
        against=rows(result["against_vae"], TO_HELDOUT) if result["against_vae"] else [],
        films={result["labels"].get(name, name): [{"mp4": _mp4(film, fps), "slice": _slice(film, row)} for film in some]
               for name, some in films.items()},
        fps=fps, row=row)


def _slice(frames: np.ndarray, row: int) -> str:
    """One row of pixels of a film over time, downwards, as PNG in base64."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frames[:, row]).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _mp4(frames: np.ndarray, fps: float) -> str:
    """A film as H.264 in base64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd side is padded by a column, which nobody sees here
        return base64.b64encode(mp4(frames, fps)).decode()
