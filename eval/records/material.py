"""What the stages before the evaluation left of one video."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.films.sampled import rivals
from lnm.errors import UserError
from lnm.files import still_files

REAL = ("heldout", "heldout_vae", "shuffled")  # the real clip, which begins from no still of its own
WINDOWS = 8  # of the real clip at most, beside the one that films are compared with


@dataclass
class Material:
    """Frames uint8 (F, H, W, 3) and what is known of them."""

    clip: dict  # prepare/clip.json
    films: dict  # sample/films.json
    train: np.ndarray  # of the first clip, that films are compared with, as what is held out
    others: list[np.ndarray]  # what was trained on of further clips
    heldout: np.ndarray
    heldout_vae: np.ndarray
    stills: list[np.ndarray]  # (H, W, 3) each: what films begin from
    stills_vae: list[np.ndarray | str]  # each still through the VAE, or the reason why it is not known
    trained: dict  # rivals/rivals.json: how other methods were trained here, {} where none were
    began: dict[str, list[int]]  # method -> which still each of its films begins from, from 0, where it is told

    @classmethod
    def read(cls, results: Path) -> Material:
        from lnm import video

        prepared = results / "prepare"
        clip = json.loads((prepared / "clip.json").read_text())
        films = json.loads((results / "sample" / "films.json").read_text())
        others = rivals(results)
        films["clusters"] = films.get("clusters", {}) | others.get("clusters", {})
        began = {method: [number - 1 for number in of["stills"][:of.get("films", {}).get(method)]]
                 for of in (films, others) for method in of.get("methods", []) if "stills" in of}
        train, heldout, heldout_vae = (video.read_frames(prepared / name)
                                       for name in ("train", "heldout", "heldout_vae"))
        stills, through = [], list[np.ndarray | str]()
        for path, vae in still_files(prepared):
            stills.append(video.read_image(path))
            if np.array_equal(stills[-1], heldout[0]):
                through.append(heldout_vae[0])
            elif vae.is_file():
                through.append(video.read_image(vae))
            else:
                through.append(f"the still is no frame of the clip and prepare/{vae.name} is not there: prepare it "
                               "anew")
        others_train = [video.read_frames(folder / "train") for folder in sorted(
            (prepared / "clips").glob("*"), key=lambda path: int(path.name))]
        return cls(clip, films, train, others_train, heldout, heldout_vae, stills, through, others.get("trained", {}),
                   began)

    @property
    def trained_on(self) -> np.ndarray:
        """Every frame that was trained on: where copies are looked for."""
        return np.concatenate([self.train, *self.others]) if self.others else self.train

    @property
    def length(self) -> int:
        """A film is compared with as much of what was held out."""
        return min(self.films["num_frames"], len(self.heldout))

    def follows(self, still: int) -> int:
        """The held-out frame from which on films that begin from `still` are compared: that which the still is, where a
        film's length of frames goes on from it; else, as for a photo that is none of them, the first."""
        last = len(self.heldout) - self.length
        return next((k for k in range(last + 1) if np.array_equal(self.heldout[k], self.stills[still])), 0)

    @property
    def begins(self) -> list[int]:
        """The held-out frames from which on films are compared, in order, each once."""
        return sorted({self.follows(still) for still in self.used})

    def real(self, still: int) -> np.ndarray:
        """The held-out frames that films of `still` are compared with step by step, (length, H, W, 3)."""
        begin = self.follows(still)
        return self.heldout[begin:begin + self.length]

    def windows(self) -> list[tuple[str, np.ndarray]]:
        """("heldout" or "train", frames) of other windows of the clip as long as `real`, none of which shares a frame
        with another or with any `real`: the rest of what was held out, then back from the end of what was trained
        on."""
        count, train = self.length, self.train
        ends = [0, *(begin + count for begin in self.begins)]
        rest = [self.heldout[end:begin] for end, begin in zip(ends, [*self.begins, len(self.heldout)])]
        found = [("heldout", part[k:k + count]) for part in rest for k in range(0, len(part) - count + 1, count)]
        found += [("train", train[k - count:k]) for k in range(len(train), count - 1, -count)]
        return found[:WINDOWS]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as `lnm.video` takes them."""
        return self.heldout.shape[2], self.heldout.shape[1]

    def is_real(self, still: int) -> bool:
        """Whether what films of `still` are compared with starts from it."""
        return np.array_equal(self.stills[still], self.heldout[self.follows(still)])

    @property
    def real_still(self) -> int | None:
        """The first still that the real frames start from; None where there is none."""
        return next((still for still in range(len(self.stills)) if self.is_real(still)), None)

    @property
    def used(self) -> list[int]:
        """The stills that our films begin from: fewer films than stills leave some out."""
        return sorted(set(self.began.get("ours", [0])))

    @property
    def real_stills(self) -> list[int]:
        """Of each of `begins` a still whose films are compared from there on, one that real frames start from where
        there is one."""
        return [min((still for still in self.used if self.follows(still) == begin),
                    key=lambda still: not self.is_real(still)) for begin in self.begins]

    @property
    def started_alike(self) -> set[str]:
        """The methods whose film k starts from the noise and the still of our film k, however many films they have."""
        return {*self.trained, *self.films["methods"]} - {"ours"}

    def stills_of(self, method: str, count: int) -> list[int]:
        """Which still each of a method's `count` films begins from, from 0; of real frames, which they are compared
        with (`real_stills`). Films of which nothing is told, controls and other people's, take the stills in turn.
        Raises UserError where another number is told."""
        if method in REAL:
            return self.real_stills[:count]
        told = self.began.get(method, [self.used[k % len(self.used)] for k in range(count)])
        if len(told) != count:
            raise UserError(f"{method}: stills are named for {len(told)} films, there are {count}: sample again")
        return told

    def clusters(self, method: str, count: int) -> list[str] | None:
        """What each of a method's `count` films was made from, a name each, where films.json says it ("clusters":
        {method: [name, ...]}, such as "fine-tune 1, still 2"), or where there are several stills to begin from. Raises
        UserError for another number of names."""
        names = self.films.get("clusters", {}).get(method)
        if names is None and len(self.used) > 1 and method not in REAL:
            return [f"still {still + 1}" for still in self.stills_of(method, count)]
        if names is not None and len(names) != count:
            raise UserError(f"films.json: clusters.{method} names {len(names)} films, there are {count}: sample again")
        return names
