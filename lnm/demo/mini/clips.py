"""The clips that lnm-mini-motion learns from: rendered scenes, and pieces of openly licensed real water.

A folder of videos with captions, as `lnm motion train` takes it; what is in `validation/` is never trained on.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from lnm import video
from lnm.demo import scenes
from lnm.demo.mini.recipe import SIZE

LAPSES = ("clouds", "sunset", "dusk")  # scenes filmed at a pace of the photographer's choice; water keeps its own


def render_clip(kind: str, seed: int, recipe: dict, path: Path) -> str:
    """The scene of `kind` and `seed` as a video of a drawn frame rate, from a drawn moment; returns its caption."""
    scene = scenes.draw(kind, seed)
    rng = np.random.default_rng([recipe["seed"], scenes.KINDS.index(kind), seed])
    fps = float(rng.choice(recipe["rates"]))
    pace = float(rng.uniform(*recipe["paces"])) if kind in LAPSES else 1.0
    times = rng.uniform(0, 20) + np.arange(recipe["frames"]) / fps * pace
    video.write_mp4(path, scenes.render(scene, times, SIZE), fps, crf=scenes.CLIP_CRF)
    return scene.caption


def cut_piece(source: Path, number: int, recipe: dict, path: Path) -> None:
    """Piece `number` of a real clip: a drawn square, rate, start and side; every second one is mirrored.

    The last `recipe["held_seconds"]` of the clip are left for validation, which has number -1: the largest centre
    square of them.
    """
    whole = video.read(source, max_frames=1)
    wide, high = whole.source_size
    length, rate = recipe["real_seconds"], whole.source_fps
    split = length - recipe["held_seconds"]
    rng = np.random.default_rng([recipe["seed"], 7, number + 1, *source.stem.encode()])
    if number < 0:
        crop, fps, start, end = None, rate / 2, split, length
    else:
        side = int(min(wide, high) * rng.uniform(recipe["smallest_piece"], 1.0))
        crop = [int(rng.integers(0, wide - side + 1)), int(rng.integers(0, high - side + 1)), side, side]
        fps = rate / int(rng.choice(recipe["every"]))
        seconds = min(recipe["frames"] / fps, split)
        start = float(rng.uniform(0, split - seconds))
        end = start + seconds
    film = video.read(source, fps, SIZE, crop, start=start, end=end)
    frames = film.frames[:, :, ::-1] if number % 2 == 1 else film.frames
    video.write_mp4(path, np.ascontiguousarray(frames), film.fps, crf=scenes.CLIP_CRF)


def _jobs(recipe: dict) -> Iterator[tuple[str, str, int]]:
    """(name, kind or real clip, seed or number of the piece) of every clip."""
    for kind, count in recipe["clips"].items():
        yield from ((f"{kind}/{seed}.mp4", kind, seed) for seed in range(recipe["first_seed"],
                                                                          recipe["first_seed"] + count))
        yield from ((f"validation/{kind}-{seed}.mp4", kind, seed)
                    for seed in range(recipe["validation_seed"], recipe["validation_seed"] + recipe["validation"]))
    for name in recipe["real"]:
        yield from ((f"real/{name}-{number:03d}.mp4", name, number) for number in range(recipe["pieces"]))
        yield f"validation/{name}.mp4", name, -1


def _make(out: Path, footage: Path, recipe: dict, name: str, what: str, number: int) -> tuple[str, str]:
    path = out / name
    if what in recipe["real"]:
        if not path.exists():
            cut_piece(footage / f"{what}.mp4", number, recipe, path)
        return name, recipe["real"][what]
    caption = scenes.draw(what, number).caption if path.exists() else render_clip(what, number, recipe, path)
    return name, caption


def make_clips(out: Path, footage: Path, recipe: dict) -> Path:
    """Every clip of the recipe below `out`, and captions.csv, which is returned; what is there is not made again.

    footage: the folder that `lnm footage` fills.
    """
    captions = out / "captions.csv"
    jobs = list(_jobs(recipe))
    for folder in {(out / name).parent for name, _, _ in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    # spawned: a process forked beside torch's threads can hang
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        made = [pool.submit(_make, out, footage, recipe, *job) for job in jobs]
        for job in tqdm(as_completed(made), total=len(made), desc="clips", mininterval=5):
            job.result()
    part = captions.with_suffix(".part")
    with part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["clip", "caption"])
        writer.writerows(job.result() for job in made)
    part.replace(captions)
    return captions
