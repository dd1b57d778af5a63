"""A folder of sound and unsound files, for commands that must refuse the unsound ones."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import av
import numpy as np
from PIL import Image

from lnm import video

PARAMS = """\
videos:
  ocean: {path: clip.mp4, fps: 8, prompts: [waves]}
"""
VOTES = ("observer,session,study,scene,question,condition_A,condition_B,film_A,film_B,choice,side_seed,rt_ms,answered,"
         "is_catch\n")
VOTE = "ann,s1,0123456789ab,ocean,preference,ours,static,0123456789abcdef,fedcba9876543210,A,1,900,,0\n"


def frames(count: int = 12, side: int = 32) -> np.ndarray:
    """A square that moves over a slope of grey: uint8 (F, H, W, 3)."""
    film = np.tile(np.linspace(40, 200, side, dtype=np.uint8)[None, None, :, None], (count, side, 1, 3)).copy()
    for t in range(count):
        film[t, 8:16, t:t + 8] = (250, 60, 60)
    return film


def make(folder: Path) -> None:
    """Every file that a row of the table names."""
    film = frames()
    video.write_mp4(folder / "clip.mp4", film, 8)
    video.write_mp4(folder / "one.mp4", film[:1], 8)
    video.write_frames(folder / "images", film)
    video.write_frames(folder / "black", np.zeros_like(film))
    video.write_frames(folder / "single", film[:1])
    video.write_frames(folder / "tiny", film[:, :2, :2])
    video.write_frames(folder / "films" / "ours", film)
    video.write_frames(folder / "films" / "-rf", film)
    Image.fromarray(film[0]).save(folder / "still.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "small.png")
    (folder / "mixed").mkdir()
    for name, side in (("a.png", 16), ("b.png", 32)):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(folder / "mixed" / name)
    _unsound(folder)
    _containers(folder)
    _texts(folder)


def _unsound(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "folder").mkdir()
    (folder / "folder" / "note.txt").write_text("no image")
    (folder / "text.mp4").write_text("this is no film")
    (folder / "nothing.mp4").write_bytes(b"")
    (folder / "text.png").write_text("this is no image")
    (folder / "cut.png").write_bytes((folder / "still.png").read_bytes()[:60])
    (folder / "cut.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:900])
    for name in ("pipe.mp4", "pipe.png", "pipe.yaml", "pipe.csv", "pipe.safetensors"):
        os.mkfifo(folder / name)
    (folder / "ring.mp4").symlink_to("ring.mp4")
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "linked.png").symlink_to("still.png")
    (folder / "weights.pt").write_bytes(pickle.dumps({"a": 1}))
    (folder / "pickled.safetensors").write_bytes(pickle.dumps({"a": 1}))
    (folder / "short.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    (folder / "half").mkdir()  # a checkpoint without its weights
    (folder / "half" / "model_index.json").write_text("{}")


def _containers(folder: Path) -> None:
    with av.open(str(folder / "whole.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for picture in frames(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = (folder / "whole.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(data[:300])
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _texts(folder: Path) -> None:
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "latin.yaml").write_bytes(PARAMS.replace("waves", "Wellen über").encode("latin-1"))
    (folder / "wide.yaml").write_bytes(PARAMS.encode("utf-16"))
    (folder / "binary.yaml").write_bytes(bytes(range(256)))
    (folder / "votes.csv").write_text(VOTES + VOTE)
    (folder / "nul.csv").write_text(VOTES + VOTE.replace("ann", "an\0n"))
    (folder / "latin.csv").write_bytes((VOTES + VOTE.replace("ann", "Änn")).encode("latin-1"))
    (folder / "wide.csv").write_bytes((VOTES + VOTE).encode("utf-16"))
    (folder / "columns.csv").write_text("observer,choice\nann,A\n")
    (folder / "quote.csv").write_text(VOTES + VOTE.replace("ann", '"ann'))
    (folder / "empty.csv").write_text("")
    (folder / "twice.csv").write_text(VOTES.replace("session", "observer") + VOTE)
    (folder / "bad.json").write_text(json.dumps({"id": 1}))
    (folder / "file").write_text("a file where a folder is wanted")
