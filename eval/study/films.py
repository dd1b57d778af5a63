"""The films that observers compare, as bytes of H.264 mp4."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from eval.films.mp4 import mp4
from eval.films.read import read_baseline
from eval.study.form import check_name
from lnm.errors import UserError, shortened
from lnm.project import root

HELDOUT = "heldout"  # the real continuation: a method where it is named


def collect(results: Path, videos: list[str], methods: list[str] | None = None, films: int = 1,
            fps: float | None = None) -> dict[str, dict[str, bytes]]:
    """The films to compare: {scene: {method: bytes of an H.264 mp4}}, in the order of `methods` where given.

    A scene is a video's name, or with `films` > 1 `<video>/seed_<k>`. Films of the run are taken as they are; those
    under inputs/baselines are brought to the run's fps and number of frames and to their own centre square. `heldout`,
    the real continuation, is a method if it is named. fps: for videos that have no films in `results`.
    """
    scenes: dict[str, dict[str, bytes]] = {}
    known: list[str] = []  # whatever is asked for
    for video in videos:
        found = _films_of(results, video, fps, bool(methods) and HELDOUT in methods)
        for method in found:
            check_name(method, "method")
        known += [*found, *([HELDOUT] if _note(results, video).is_file() else [])]
        chosen = [name for name in methods or found if name in found]
        for k in range(films):
            scene = video if films == 1 else f"{video}/seed_{k}"
            scenes[scene] = {name: found[name][k] for name in chosen if k < len(found[name])}
    missing = [name for name in methods or () if name not in known]
    if missing:
        raise UserError(f"{shortened(missing[0])}: no films of this method for {', '.join(videos)}; there are films of "
                        f"{', '.join(sorted(set(known)))}")
    return scenes


def _note(results: Path, video: str) -> Path:
    """What a run says of its films of a video; without it there are none, and no held-out clip beside them."""
    return results / video / "sample" / "films.json"


def _films_of(results: Path, video: str, fps: float | None, real: bool) -> dict[str, list[bytes]]:
    """Every method's films of one video, in the order of their seeds."""
    from lnm.video import read_frames

    sample, found, length = results / video / "sample", {}, None
    if _note(results, video).is_file():
        note = json.loads(_note(results, video).read_text(encoding="utf-8"))
        fps, length = note["fps"], note["num_frames"]
        for method in note["methods"]:
            folders = sorted((sample / method).glob("seed_*"), key=lambda path: int(path.name[5:]))
            found[method] = [(folder / "film.mp4").read_bytes() for folder in folders]
    if real and found:
        found[HELDOUT] = [mp4(read_frames(results / video / "prepare" / "heldout")[:length], fps)]
    for path in sorted((root() / "inputs" / "baselines").glob("[!.]*/*")):
        if path.name.split(".")[0] != video:
            continue
        method = path.parent.name
        if method in found:
            raise UserError(f"{path}: the name {method} is taken by this run; rename the folder")
        if fps is None:
            raise UserError(f"{path}: {video} has no films in {results}, so its frame rate is unknown; give --fps")
        found[method] = [mp4(_square(frames[:length]), fps) for frames in read_baseline(path, fps, None)]
    if not found:
        raise UserError(f"{video}: no films in {sample} or inputs/baselines; `dvc repro sample@{video}` makes them")
    return found


def _square(frames: np.ndarray) -> np.ndarray:
    """The centre square, of even side as H.264 needs: (F, H, W, 3) -> (F, S, S, 3)."""
    height, width = frames.shape[1:3]
    side = min(height, width) // 2 * 2
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top:top + side, left:left + side]


def broken(film: bytes, seed: int) -> bytes:
    """A film nobody would choose: under a grain so heavy that little is seen. The grain stands still: it must not
    flash at the observer."""
    import tempfile

    from lnm.video import read

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        path.write_bytes(film)
        clip = read(path)
    grain = np.random.default_rng(seed).normal(0, 120, clip.frames.shape[1:])
    return mp4(np.clip(0.5 * clip.frames + 64 + grain, 0, 255).astype(np.uint8), clip.fps, crf=30)
