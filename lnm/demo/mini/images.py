"""The images lnm-mini learns from: rendered stills and crops of photographs, with captions."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from lnm.demo import scenes
from lnm.demo.mini.recipe import SIZE

# what a photograph's caption says plainly of its contents; place names are left out
PHOTO_WORDS = {
    "ferry": "a ferry on the sea", "harbour": "a harbour", "waterfall": "a waterfall", "foss": "a waterfall",
    "lighthouse": "a lighthouse by the sea", "church": "a church", "fjord": "a fjord", "view": "a wide view",
    "nature reserve": "the coast of a nature reserve", "beach": "a beach", "atlanterhavsvegen": "the coast by the sea",
    "elva": "a river", "hirtshals": "the sea", "inden": "mountains", "climb": "a mountain path", "museum": "a house",
}


def render_stills(kind: str, count: int, first_seed: int) -> tuple[np.ndarray, list[str]]:
    """`count` stills of a scene, seeds from `first_seed`: uint8 (count, 128, 128, 3), captions."""
    images, captions = [], []
    for seed in range(first_seed, first_seed + count):
        scene = scenes.draw(kind, seed)
        images.append(scenes.render(scene, [float(seed % 40)], SIZE)[0])
        captions.append(scene.caption)
    return np.stack(images), captions


def photo_caption(words: str) -> str:
    """A plain caption from the catalogue's words, or an empty one where they name only a place."""
    said = [plain for word, plain in PHOTO_WORDS.items() if word in words.lower()]
    return f"a photo of {said[0]}" if said else ""


def crop_photos(photos: list[tuple[Path, str]], crops: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Random square crops, from the whole picture to a third of it: uint8 (N, 128, 128, 3), captions."""
    images, captions = [], []
    for i, (path, words) in enumerate(photos):
        rng = np.random.default_rng([seed, i])
        picture = Image.open(path).convert("RGB")
        short = min(picture.size)
        for c in range(crops):
            side = short if c == 0 else int(max(SIZE, short * rng.uniform(0.38, 1.0)))
            x, y = (int(rng.integers(0, length - side + 1)) for length in picture.size)
            crop = picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=(x, y, x + side, y + side))
            images.append(np.asarray(crop))
            captions.append(photo_caption(words) if side > 0.6 * short else "")
    return np.stack(images), captions


def training_images(work: Path, stills: dict[str, int], photos: list[tuple[Path, str]], crops: int,
                    seed: int) -> tuple[np.ndarray, list[str]]:
    """Rendered stills, seeds from 0, then crops of photographs, with captions; kept in `work` once made."""
    pixels, words = work / "images.npy", work / "images.json"
    if not words.exists():
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            jobs = [pool.submit(render_stills, kind, min(100, count - first), first)
                    for kind, count in stills.items() for first in range(0, count, 100)]
            jobs += [pool.submit(crop_photos, photos[i:i + 100], crops, seed + i) for i in range(0, len(photos), 100)]
            parts = [job.result() for job in tqdm(jobs, desc="hundreds of stills and photographs")]
        np.save(pixels, np.concatenate([p[0] for p in parts]))
        words.write_text(json.dumps([c for p in parts for c in p[1]]))
    return np.load(pixels), json.loads(words.read_text())
