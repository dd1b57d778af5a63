"""Changes bytes of every kind of file that is read, for some seconds: each is accepted or refused in one line.

    make fuzz               python tests/fuzz.py --seconds 300 --seed 0

What is neither, a traceback or a hang, is printed with the file that made it, kept in build/fuzz/. Not a part of CI.
"""

from __future__ import annotations

import argparse
import json
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

import av  # noqa: E402
import numpy as np  # noqa: E402 - the folder of this file and the project's come first
import torch  # noqa: E402
from bad_input.materials import make  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from single_file import write_single_file  # noqa: E402
from tiny import write_tiny_checkpoint  # noqa: E402
from tiny_decoder import tiny_dc, wake_decoder  # noqa: E402
from tiny_unet import tiny_unet2d  # noqa: E402

from eval.claims.ledger import read_claims  # noqa: E402
from eval.records import kept  # noqa: E402
from eval.records.run import _vectors, read_metrics  # noqa: E402
from eval.study.page import read_study  # noqa: E402
from eval.study.votes import read_votes  # noqa: E402
from lnm import tensors, video  # noqa: E402
from lnm.ablations.plan import read_plan  # noqa: E402
from lnm.checkpoint import open_checkpoint  # noqa: E402
from lnm.cli.style import calm  # noqa: E402
from lnm.clips import read_captions  # noqa: E402
from lnm.decoder import load_decoder, save_decoder  # noqa: E402
from lnm.errors import UserError  # noqa: E402
from lnm.lora import fuse_lora  # noqa: E402
from lnm.resume import ResumeStore  # noqa: E402
from lnm.temporal_file import read_temporal, save_temporal  # noqa: E402
from lnm.unet import UNetPseudo3DConditionModel  # noqa: E402
from lnm.workflow import code, params  # noqa: E402

HANG = 20  # seconds
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
Seeds = list[tuple[Path, Callable[[Path], object]]]


def seeds(folder: Path) -> Seeds:
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
    return [*((folder / name, reader) for name, reader in readers.items()), *_containers(folder), *_models(folder),
            *_store(folder), *_records(folder)]


def _containers(folder: Path) -> Seeds:
    """Films in further containers and codecs."""
    for name, codec in (("clip.webm", "libvpx-vp9"), ("clip.mov", "libx264"), ("clip.avi", "mpeg4")):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=8)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for picture in video.read(folder / "clip.mp4").frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
            container.mux(stream.encode())
    return [(folder / f"clip.{kind}", lambda path: video.read(path, max_frames=64)) for kind in ("webm", "mov", "avi")]


def _models(folder: Path) -> Seeds:
    """Each file of a base checkpoint, one in a single file, a LoRA of it, a decoder in time."""
    base = write_tiny_checkpoint(folder / "base")
    opened = open_checkpoint(str(base))
    write_single_file(folder / "single.safetensors", opened)
    shape = opened.unet.state_dict()[f"{ATTENTION}.weight"].shape
    save_file({f"unet.{ATTENTION}.lora_A.weight": torch.zeros(2, shape[1]),
               f"unet.{ATTENTION}.lora_B.weight": torch.zeros(shape[0], 2)}, folder / "lora.safetensors")
    save_decoder(wake_decoder(tiny_dc()), folder / "decoder.safetensors")
    files = [path for path in sorted(base.rglob("*")) if path.is_file()]
    return [*((path, lambda _: open_checkpoint(str(base))) for path in files),
            (folder / "single.safetensors", lambda path: open_checkpoint(str(path), config=str(base))),
            (folder / "lora.safetensors", lambda path: fuse_lora(open_checkpoint(str(base)), path)),
            (folder / "decoder.safetensors", lambda path: load_decoder(tiny_dc(), path))]


def _store(folder: Path) -> Seeds:
    """A training's checkpoint, and the log beside it."""
    layers = {"a": torch.nn.Parameter(torch.ones(3))}
    optimizer = torch.optim.AdamW(layers.values())
    layers["a"].sum().backward()
    optimizer.step()
    store = ResumeStore(folder / "store", {})
    store.resume({"temporal": layers}, optimizer)
    for step in range(3):
        store.write(step, 0.5, 1e-4, 1.0)
    store.save(2, {"temporal": layers}, optimizer)

    def resume(path: Path) -> object:
        text = store.log.read_bytes()
        try:
            return store.resume({"temporal": layers}, torch.optim.AdamW(layers.values())), store.losses()
        finally:
            if path != store.log:
                store.log.write_bytes(text)

    return [(store.path, resume), (store.log, resume)]


def _records(folder: Path) -> Seeds:
    """What stages leave and the report reads, and the plan of the ablations."""
    (folder / "ablations").mkdir()
    shutil.copy(Path(__file__).resolve().parent.parent / "ablations" / "params.yaml", folder / "ablations")
    metrics = folder / "results" / "ocean" / "evaluate" / "metrics.json"
    metrics.parent.mkdir(parents=True)
    metrics.write_text(json.dumps({"methods": {"heldout": {}}, "backend": {"clip": {}}, "flags": [], "labels": {}}))
    vectors = metrics.with_name("clip.json")
    vectors.write_text(json.dumps({"sha256": "0", "prompt": "waves", "candidates": [], "real": [0.5], "text": [1.0]}))
    return [(folder / "ablations" / "params.yaml", lambda _: read_plan(folder)),
            *((path, lambda _: (read_metrics(folder / "results", "ocean"), _vectors(vectors)))
              for path in (metrics, vectors))]


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
    calm()
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
                path.write_bytes(data)  # others read it as well
    print(f"{sum(said.values()) + bad} files of {len(files)} kinds: {said['accepted']} accepted, {said['refused']} "
          f"refused in one line, {bad} with a traceback")
    return bad


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--seconds", type=float, default=300)
    given.add_argument("--seed", type=int, default=0)
    asked = given.parse_args()
    sys.exit(bool(fuzz(asked.seconds, asked.seed, Path("build") / "fuzz")))
