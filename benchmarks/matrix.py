"""Clip by still: does what was learned of one clip move the still of another, and does the warning tell?

    python -m benchmarks.matrix [VIDEO ...] [--results results] [--json FILE] [--figure FILE.webp]
    python -m benchmarks.matrix --report FILE

The temporal layers of each video's run (`make repro` first) film every video's own still, a rendered scene of each kind
that nothing was trained on, and stills of the footage that is there, as the run films its own: begun from the still
carried along by that clip's optical flow. Films and figures of a cell are kept in store/matrix; a run that was
interrupted goes on with the next cell. Figures are read as `python -m benchmarks.bars` reads them: motion, flow speed
and flow-warp error as multiples of the clip's held-out part through the autoencoder, detail as a multiple of the
still's through the autoencoder, the first frame in dB below what the autoencoder makes of the still. --report prints
what docs/own-video.md says of a --json file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.bars import within
from eval.metrics import fidelity, motion
from lnm import preflight, video
from lnm.decoder import plain_decoder
from lnm.demo import scenes
from lnm.demo.footage import CATALOGUE
from lnm.devices import pick_device, sampling_dtype
from lnm.files import sha256, write_json
from lnm.latents import decode, encode
from lnm.pipeline import LateNtMoviesPipeline
from lnm.project import root
from lnm.schedulers import make_scheduler
from lnm.settings import Sample
from lnm.stages.sample import carried_latents, film_of, film_seed
from lnm.workflow.resolve import settings

FIGURES = ("motion", "flow speed", "flow-warp", "detail", "frame 0, dB")  # those of benchmarks.bars that any still has
SEED = 400_000  # of the rendered scenes, beyond those of lnm.demo.mini.recipe
SAMPLED = {"num_frames", "num_inference_steps", "begin", "strength", "condition"}  # what the docs say of a film
OWN, RENDERED, FOOTAGE = "own", "rendered", "footage"


@dataclass
class Still:
    """A picture uint8 (H, W, 3) to animate; origin: OWN (of a run), RENDERED or FOOTAGE."""

    name: str
    picture: np.ndarray
    origin: str


@dataclass
class Clip:
    """A run: what its layers were trained on, uint8 (N, H, W, 3), its held-out part through the autoencoder, and what
    films are made with."""

    name: str
    train: np.ndarray
    real: np.ndarray
    temporal: Path
    prompt: str
    fps: float


# ---------------------------------------------------------------- clips and stills


def clips(names: Sequence[str], results: Path, num_frames: int) -> list[Clip]:
    """The runs of videos, by their folders in `results`."""
    found = []
    for name in names:
        prepared = results / name / "prepare"
        found.append(Clip(name, video.read_frames(prepared / "train"),
                          video.read_frames(prepared / "heldout_vae")[:num_frames],
                          results / name / "finetune" / "temporal.safetensors",
                          json.loads((prepared / "prompts.json").read_text())["prompt"],
                          json.loads((prepared / "clip.json").read_text())["fps"]))
    return found


def stills(names: Sequence[str], results: Path, footage: Path) -> list[Still]:
    """Every run's own still, and others of their size."""
    found = [Still(name, video.read_image(results / name / "prepare" / "still.png"), OWN) for name in names]
    return [*found, *others(names, found[0].picture.shape[1::-1], footage)]


def others(names: Sequence[str], size: tuple[int, int], footage: Path) -> list[Still]:
    """Stills of (width, height) pixels: the first held-out frame of footage that is no run, a scene of every kind."""
    found = []
    for name, clip in CATALOGUE.items():
        if name not in names and (footage / f"{name}.mp4").is_file():
            frames = video.read(footage / f"{name}.mp4", 12.5, size, clip.crop).frames
            found.append(Still(name, frames[len(frames) * 3 // 4], FOOTAGE))
    for kind in scenes.KINDS:
        picture = scenes.render(scenes.draw(kind, SEED), [0.0], max(size))[0]
        left, top, right, bottom = video.centre_box(picture.shape[1::-1], size)
        found.append(Still(f"{kind} scene", picture[top:bottom, left:right], RENDERED))
    return found


# ---------------------------------------------------------------- a cell


def figures(film: np.ndarray, still: np.ndarray, through: np.ndarray, clip: Clip) -> dict[str, float]:
    """A film's figures, and how far the still is from the clip. film: uint8 (F, H, W, 3); still: uint8 (H, W, 3);
    through: the still through the autoencoder."""
    flow, real = motion.flow_warp(film), motion.flow_warp(clip.real)
    return {"distance": preflight.still_distance(clip.train, still),
            "motion": motion.motion_energy(film) / motion.motion_energy(clip.real),
            "flow speed": flow["speed"] / real["speed"], "flow-warp": flow["error"] / real["error"],
            "detail": fidelity.detail(film) / fidelity.detail(through[None]),
            "frame 0, dB": fidelity.psnr(through, still) - fidelity.psnr(film[0], still)}


def key(clip: Clip, still: Still, sample: Sample, seed: int, base: str) -> str:
    """Of what a film is made of; another one is made anew."""
    told = [sha256(clip.temporal), clip.prompt, clip.fps, hashlib.sha256(clip.train.tobytes()).hexdigest(),
            hashlib.sha256(still.picture.tobytes()).hexdigest(), still.picture.shape,
            sample.model_dump(exclude={"restore_detail"}), seed, base]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


class Studio:
    """What films are made with: a run's choices, and a checkpoint that is opened when the first film needs it."""

    def __init__(self, sample: Sample, seed: int, checkpoint: str, device: str = "auto", **base: Any):
        self.sample, self.seed, self.checkpoint, self.device, self.base = sample, seed, checkpoint, device, base
        self.pipe: LateNtMoviesPipeline | None = None

    def film(self, clip: Clip, still: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A film of a still by a clip's layers, uint8 (F, H, W, 3), and the still through the autoencoder; as
        `lnm.stages.sample` makes film 0 of ours, as decoded."""
        if self.pipe is None:
            device = pick_device(self.device)
            self.pipe = LateNtMoviesPipeline.from_pretrained(
                self.checkpoint, temporal=clip.temporal, temporal_decoder=self.sample.decoder(),
                torch_dtype=sampling_dtype(self.sample.dtype, device), **self.base).to(device)
            self.pipe.set_progress_bar_config(disable=True)
        pipe, frames = self.pipe, self.sample.num_frames
        pipe.load_temporal(clip.temporal)
        pipe.scheduler = make_scheduler(pipe.scheduler, kind=self.sample.scheduler)
        latents = encode(pipe.vae, still[None])
        begun = carried_latents(pipe, still, clip.train, frames) if self.sample.begin == "flow" else None
        film = film_of(pipe, latents, clip.prompt, clip.fps, self.sample, film_seed(self.seed, 0), begun=begun)
        with plain_decoder(pipe.vae):
            return film, decode(pipe.vae, latents)[0]


def cell(clip: Clip, still: Still, studio: Studio, store: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The film and its row: found in `store`, or made and kept there; the row comes last, so a film without it is made
    anew."""
    folder = store / clip.name / still.name.replace(" ", "_")
    wanted = key(clip, still, studio.sample, studio.seed, studio.checkpoint)
    note = folder / "cell.json"
    if note.is_file():
        row = json.loads(note.read_text())
        if row.pop("key") == wanted:
            return video.read_frames(folder), row
        note.unlink()
    film, through = studio.film(clip, still.picture)
    row = {"clip": clip.name, "still": still.name, "origin": still.origin,
           **{name: round(value, 4) for name, value in figures(film, still.picture, through, clip).items()}}
    video.write_frames(folder, film)
    write_json(note, row | {"key": wanted})
    return film, row


# ---------------------------------------------------------------- what it says


def broken(row: dict) -> list[str]:
    """The figures of a cell that are outside their bounds."""
    return [name for name in FIGURES if not within(name, row[name])]


def separation(distances: Sequence[float], bad: Sequence[bool]) -> float | None:
    """Of a bad and a good cell drawn at random, how often the bad one's still is further from its clip: the area under
    the ROC curve, ties count half (Mann & Whitney 1947). None where one of the two kinds is missing."""
    far, near = ([d for d, b in zip(distances, bad, strict=True) if b is kind] for kind in (True, False))
    if not far or not near:
        return None
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in far for b in near]))


def threshold(distances: Sequence[float], bad: Sequence[bool]) -> tuple[float, float]:
    """The distance above which a warning is right most often, halfway between two cells, and how often: `balanced`."""
    edges = np.sort(distances)
    tried = [edges[0] - 1, *(edges[1:] + edges[:-1]) / 2, edges[-1] + 1]
    scores = [balanced([d > edge for d in distances], bad) for edge in tried]
    best = int(np.argmax(scores))
    return float(tried[best]), scores[best]


def groups(rows: Sequence[dict]) -> dict[str, list[dict]]:
    """The cells by whose still it is, in the words of the report; those that are there."""
    of = {"its own clip": lambda r: r["still"] == r["clip"],
          "another run": lambda r: r["origin"] == OWN and r["still"] != r["clip"],
          "a rendered scene": lambda r: r["origin"] == RENDERED, "other footage": lambda r: r["origin"] == FOOTAGE}
    found = {words: [row for row in rows if mine(row)] for words, mine in of.items()}
    return {words: some for words, some in found.items() if some}


def report(rows: Sequence[dict], sample: dict[str, Any]) -> str:
    """The table and sentences of docs/own-video.md, of the cells and how they were sampled, and of nothing else."""
    titles = ["stills of", "films", f"bounds kept, of {len(FIGURES)}", *FIGURES]
    lines = ["| " + " | ".join(titles) + " |", "| --- |" + " --- |" * (len(titles) - 1)]
    for words, some in groups(rows).items():
        kept = np.mean([len(FIGURES) - len(broken(row)) for row in some])
        lines.append(f"| {words} | {len(some)} | {kept:.1f} | " + " | ".join(_median(some, f) for f in FIGURES) + " |")
    told = ", ".join(f"{name} {value}" for name, value in sample.items())
    return "\n".join([*lines, "", f"Sampled with {told}; in brackets how many are within their bounds.", "",
                      *sentences(rows)])


def _median(rows: Sequence[dict], name: str) -> str:
    inside = sum(within(name, row[name]) for row in rows)
    return f"{np.median([row[name] for row in rows]):.2f} ({inside})"


def worse(rows: Sequence[dict]) -> tuple[float, list[bool]]:
    """The bounds that films of clips' own stills keep, their mean, and of each cell whether it keeps fewer."""
    own = float(np.mean([len(FIGURES) - len(broken(row)) for row in rows if row["still"] == row["clip"]]))
    return own, [len(FIGURES) - len(broken(row)) < own for row in rows]


def sentences(rows: Sequence[dict]) -> list[str]:
    """Where the method generalises, and whether the warning tells, a line each."""
    own, bad = worse(rows)
    said = []
    for words, some in groups(rows).items():
        lost = {name: sum(not within(name, row[name]) for row in some) for name in FIGURES}
        most, least = (choose(lost, key=lambda name: lost[name]) for choose in (max, min))
        short = sum(b for row, b in zip(rows, bad, strict=True) if row in some)
        broken = f"Broken most is {_bare(most)} ({lost[most]}), least {_bare(least)} ({lost[least]})."
        said.append(f"- Stills of {words}: {short} of {len(some)} films keep fewer bounds than those of own stills do "
                    f"on average ({own:.1f}). {broken if lost[most] else 'None is broken.'}")
    distances = [row["distance"] for row in rows]
    warned = [distance > preflight.STILL for distance in distances]
    of = {kind: [b for b, w in zip(bad, warned, strict=True) if w is kind] for kind in (True, False)}
    said.append(f"- `lnm check` warns of {len(of[True])} of {len(rows)} pairs. {sum(of[True])} of their films keep "
                f"fewer, and {sum(of[False])} of the {len(of[False])} that it does not warn of.")
    if all(bad) or not any(bad):
        return [*said, f"- {'All' if all(bad) else 'No'} films keep fewer: there is nothing to tell apart."]
    (best, right), area = threshold(distances, bad), separation(distances, bad)
    foreign = [k for k, row in enumerate(rows) if row["still"] != row["clip"]]
    alone = separation([distances[k] for k in foreign], [bad[k] for k in foreign])
    among = f", and in {100 * alone:.0f} among stills that are not the clip's own" if alone is not None else ""
    said.append(f"- Of a film that keeps fewer and one that does not, the former's still is the further from its clip "
                f"in {100 * (area or 0):.0f} of 100 draws (50 is chance){among}. A warning from {best:.1f} on would be "
                f"right most often, on {100 * right:.0f} % (the mean of both kinds); from {preflight.STILL:g} on, as "
                f"it is, it is on {100 * balanced(warned, bad):.0f} %.")
    apart = {name: separation(distances, [not within(name, row[name]) for row in rows]) for name in FIGURES}
    told = ", ".join(f"{_bare(name)} {100 * value:.0f}" for name, value in apart.items() if value is not None)
    return [*said, f"- The same by bound, broken or kept: {told}."]


def _bare(name: str) -> str:
    """A figure's name without its unit."""
    return name.partition(",")[0]


def balanced(warned: Sequence[bool], bad: Sequence[bool]) -> float:
    """Mean of the shares of the bad that are warned of and of the good that are not."""
    w, b = np.array(warned), np.array(bad)
    return float((w[b].mean() + (~w)[~b].mean()) / 2)


# ---------------------------------------------------------------- the figure

CELL, GAP, LEFT, ROW = 72, 4, 58, 24
HEAT = ("#1a9850", "#91cf60", "#d9ef8b", "#fdae61", "#f46d43", "#a50026")  # bounds broken, 0 to 5


def figure(films: dict[tuple[str, str], np.ndarray], rows: Sequence[dict], pictures: Sequence[Still],
           runs: Sequence[Clip]) -> Image.Image:
    """The middle frame of every film, under its still and beside its clip, framed by how many bounds it breaks; below,
    a heat map of that with the still's distance from the clip."""
    font, step = ImageFont.load_default(size=11), CELL + GAP
    size = (LEFT + step * (len(pictures) + 1), 18 + step * (len(runs) + 1) + (len(runs) + 1) * ROW + GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    of = {(row["clip"], row["still"]): row for row in rows}

    def paste(picture: np.ndarray, column: int, line: int) -> None:
        small = Image.fromarray(picture)
        small.thumbnail((CELL - 8, CELL - 8), Image.Resampling.LANCZOS)
        sheet.paste(small, (LEFT + step * column + 4, 18 + step * line + 4))

    for column, still in enumerate(pictures, 1):
        draw.text((LEFT + step * column + 4, 3), still.name, fill="black", font=font)
        paste(still.picture, column, 0)
    for line, clip in enumerate(runs, 1):
        draw.text((4, 18 + step * line + CELL // 2 - 6), clip.name, fill="black", font=font)
        paste(clip.real[len(clip.real) // 2], 0, line)
        heat = 18 + step * (len(runs) + 1) + (line - 1) * ROW
        draw.text((4, heat + 5), clip.name, fill="black", font=font)
        for column, still in enumerate(pictures, 1):
            row = of[clip.name, still.name]
            colour = HEAT[len(broken(row))]
            x, y = LEFT + step * column, 18 + step * line
            draw.rectangle([x, y, x + CELL - 1, y + CELL - 1], fill=colour)
            film = films[clip.name, still.name]
            paste(film[len(film) // 2], column, line)
            draw.rectangle([x, heat, x + step - 1, heat + ROW - 1], fill=colour)
            marked = f"{row['distance']:.0f}{'' if row['distance'] > preflight.STILL else ' fits'}"
            draw.text((x + 4, heat + 5), marked, fill="black", font=font)
    below = 18 + step * (len(runs) + 1) + len(runs) * ROW + 6
    draw.text((4, below), "bounds broken:", fill="black", font=font)
    for count, colour in enumerate(HEAT):
        draw.rectangle([100 + 40 * count, below, 130 + 40 * count, below + 13], fill=colour)
        draw.text((111 + 40 * count, below), str(count), fill="black", font=font)
    draw.text((350, below), "in the cells: how far the still is from the clip", fill="black", font=font)
    return sheet


# ---------------------------------------------------------------- the run


def filmed(runs: Sequence[Clip], pictures: Sequence[Still], studio: Studio, store: Path
           ) -> Iterator[tuple[tuple[str, str], np.ndarray, dict]]:
    """Every cell: (clip, still), its film, its row; still by still, so that the runs' own come first."""
    for still in pictures:
        for clip in runs:
            film, row = cell(clip, still, studio, store)
            yield (clip.name, still.name), film, row


def write_rows(path: Path, data: dict[str, Any]) -> None:
    """JSON with a row a line: of objects that hold no other, each on its own."""
    text = re.sub(r"\{([^{}]*)\}", lambda found: "{" + " ".join(found[1].split()) + "}", json.dumps(data, indent=1))
    path.write_text(text + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrix", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="default: every video with a fine-tune")
    parser.add_argument("--stills", nargs="+", metavar="STILL", help="default: all that there are")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--store", type=Path, help="of films and rows (default: store/matrix)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a file for the cells")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="PNG or WebP")
    parser.add_argument("--report", type=Path, metavar="FILE", help="print what such a --json file says, and end")
    args = parser.parse_args(argv)
    if args.report:
        kept = json.loads(args.report.read_text(encoding="utf-8"))
        print(report(kept["cells"], kept["sample"]))
        return
    names = args.videos or sorted(p.parent.parent.name for p in args.results.glob("*/finetune/temporal.safetensors"))
    if not names:
        parser.error(f"{args.results}: no video has a fine-tune; run `make repro` first")
    told = settings("sample", names[0]).arguments()
    base = {name: told[name] for name in ("revision", "widen", "lora", "lora_scale")}
    studio = Studio(told["settings"], told["seed"], told["checkpoint"], told["device"], **base)
    runs = clips(names, args.results, studio.sample.num_frames)
    pictures = stills(names, args.results, root() / "footage")
    if unknown := set(args.stills or ()) - {still.name for still in pictures}:
        parser.error(f"--stills {min(unknown)}: there is {', '.join(still.name for still in pictures)}")
    pictures = [still for still in pictures if not args.stills or still.name in args.stills]
    films, rows = {}, []
    for place, film, row in filmed(runs, pictures, studio, args.store or root() / "store" / "matrix"):
        films[place] = film
        rows.append(row)
        print("  ".join(f"{v:.2f}" if isinstance(v, float) else f"{v:12}" for v in row.values()), flush=True)
    told = studio.sample.model_dump(include=SAMPLED)
    print(f"\n{report(rows, told)}")
    if args.json:
        write_rows(args.json, {"version": 1, "seed": studio.seed, "sample": told, "cells": rows})
    if args.figure:
        args.figure.parent.mkdir(parents=True, exist_ok=True)
        figure(films, rows, pictures, runs).save(args.figure, quality=30, method=6)


if __name__ == "__main__":
    main()
