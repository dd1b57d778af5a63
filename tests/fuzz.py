"""Changes bytes of every kind of file that is read, for some seconds: each is accepted or refused in one line.

    make fuzz               python tests/fuzz.py --seconds 300 --seed 0

What is neither, a traceback or a hang, is printed with the file that made it, kept in build/fuzz/. Not a part of CI.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import numpy as np  # noqa: E402 - the folder of this file and the project's come first
import torch  # noqa: E402
from bad_input.materials import make  # noqa: E402
from PIL import Image  # noqa: E402
from tiny_unet import tiny_unet2d  # noqa: E402

from eval.claims.ledger import read_claims  # noqa: E402
from eval.records import kept  # noqa: E402
from eval.study.page import read_study  # noqa: E402
from eval.study.votes import read_votes  # noqa: E402
from lnm import tensors, video  # noqa: E402
from lnm.clips import read_captions  # noqa: E402
from lnm.errors import UserError  # noqa: E402
from lnm.temporal_file import read_temporal, save_temporal  # noqa: E402
from lnm.unet import UNetPseudo3DConditionModel  # noqa: E402
from lnm.workflow import code, params  # noqa: E402

HANG = 20  # seconds


def seeds(folder: Path) -> list[tuple[Path, Callable[[Path], object]]]:
    """(a sound file, what reads it) of every format."""
    make(folder)
    picture = Image.open(folder / "still.png")
    for name in ("still.jpg", "still.webp", "still.gif", "still.tif"):
        picture.save(folder / name)
    video.write_gif(folder / "clip.gif", video.read(folder / "clip.mp4").frames, 8)
    tensors.write(folder / "cache.safetensors", {"train": torch.zeros(2, 3)})
    save_temporal(UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d()), folder / "temporal.safetensors")
    kept.keep(folder / "kept.safetensors", np.zeros((2, 4)), "0" * 64, "torch 1", (8, 8))
    (folder / "captions.csv").write_text("clip,caption\na,waves\n")
    (folder / "captions.json").write_text('{"a": "waves"}')
    (folder / "study.json").write_text('{"id": "0123456789ab", "trials": [], "hashes": []}')
    project = Path(__file__).resolve().parent.parent
    for name in ("claims.yaml", "params.yaml"):
        shutil.copy(project / name, folder / name)
    shutil.copy(project / "notebooks" / "1_prepare.ipynb", folder)
    readers: dict[str, Callable[[Path], object]] = {
        **dict.fromkeys(("still.png", "still.jpg", "still.webp", "still.gif", "still.tif"), video.read_image),
        **dict.fromkeys(("clip.mp4", "whole.mkv", "clip.gif", "sound.mp4"), lambda path: video.read(path, max_frames=64)
                        ),
        "params.yaml": params.load, "claims.yaml": read_claims, "votes.csv": lambda path: read_votes([path]),
        "cache.safetensors": lambda path: tensors.read(path, "make it anew"), "temporal.safetensors": read_temporal,
        "kept.safetensors": lambda path: kept.load(path), "study.json": read_study,
        "captions.csv": lambda path: read_captions(path, ["a"], "x"),
        "captions.json": lambda path: read_captions(path, ["a"], "x"), "1_prepare.ipynb": code.read,
    }
    return [(folder / name, reader) for name, reader in readers.items()]


def changed(data: bytes, rng: random.Random) -> bytes:
    """A few bytes of a file flipped, overwritten, cut out, doubled or cut off."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not found:
            break
        at = rng.randrange(len(found))
        length = rng.choice((1, 2, 4, 16, 64))
        how = rng.randrange(6)
        if how == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            found[at:at + length] = rng.randbytes(length)
        elif how == 2:
            del found[at:at + length]
        elif how == 3:
            found[at:at] = found[at:at + length]
        elif how == 4:
            found[at:at + length] = rng.choice((b"\0", b"\xff", b"9", b"[", b"\"", b"*")) * length
        else:
            del found[at:]
    return bytes(found)


def _hang(*_) -> None:
    raise TimeoutError(f"no answer in {HANG} s")


def fuzz(seconds: float, seed: int, out: Path) -> int:
    """How many files were met with neither a result nor one line."""
    rng, bad, said = random.Random(seed), 0, Counter()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _hang)
    with tempfile.TemporaryDirectory() as folder:
        files = [(path, path.read_bytes(), reader) for path, reader in seeds(Path(folder))]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            path, data, reader = rng.choice(files)
            path.write_bytes(changed(data, rng))
            signal.alarm(HANG)
            try:
                reader(path)
                said["accepted"] += 1
            except UserError as error:
                said["refused"] += 1
                assert len(str(error).splitlines()) == 1, str(error)
            except Exception:
                bad += 1
                out.mkdir(parents=True, exist_ok=True)
                kept_file = shutil.copy(path, out / f"{bad}-{path.name}")
                print(f"{kept_file}:\n{traceback.format_exc(limit=-4)}")
            finally:
                signal.alarm(0)
    print(f"{sum(said.values()) + bad} files of {len(files)} kinds: {said['accepted']} accepted, {said['refused']} "
          f"refused in one line, {bad} with a traceback")
    return bad


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--seconds", type=float, default=300)
    given.add_argument("--seed", type=int, default=0)
    asked = given.parse_args()
    sys.exit(bool(fuzz(asked.seconds, asked.seed, Path("build") / "fuzz")))
