"""CLIPSIM, CLIPScore, RM and image-to-image: views of one primitive, the cosine between two CLIP embeddings.

Cosines of different CLIP models do not compare, so a value is always named by its model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.features.cache import Features
from eval.features.clip import Clip
from eval.features.devices import version
from eval.registry import NEEDS
from eval.statistics.intervals import Measured, Row
from lnm.errors import UserError

CLIPSCORE_WEIGHT = 2.5  # Hessel et al., "CLIPScore" (2021), section 3
CLIPSCORE_PREFIX = "A photo depicts "  # ibid.: put before the caption


def cosines(text: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Cosine of one text embedding (d,) and each image embedding (F, d) -> (F,) in [-1, 1]; any scale of either."""
    text, images = np.asarray(text, np.float64), np.asarray(images, np.float64)
    return images @ text / (np.linalg.norm(images, axis=-1) * np.linalg.norm(text))


def clipsim(text: np.ndarray, images: np.ndarray) -> float:
    """Mean cosine over the frames of a film: Wu et al., "GODIVA" (2021), equations 14 and 15."""
    return float(cosines(text, images).mean())


def clipscores(text: np.ndarray, images: np.ndarray) -> np.ndarray:
    """CLIPScore of each frame, 2.5 max(cosine, 0) -> (F,). `text` embeds CLIPSCORE_PREFIX + prompt."""
    return CLIPSCORE_WEIGHT * np.maximum(cosines(text, images), 0)


def clipscore(text: np.ndarray, images: np.ndarray) -> float:
    """Mean of `clipscores` over the frames."""
    return float(clipscores(text, images).mean())


def image_cosines(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean cosine of each frame (F, d) with a set of images (N, d) -> (F,) in [-1, 1]; any scale of either."""
    return np.mean([cosines(other, images) for other in others], axis=0)


class ClipMetrics:
    """clipsim and its views of a film. Where there is no CLIP or no prompt each is refused; `backend` says what stands
    behind them.

    clip: name or folder of a CLIP, or None; others: prompts of something else; images: natural images uint8
    (N, H, W, 3), or None for the real clip's frames; real: these, or the reason why there are none; no_prompt: the
    reason why there is no prompt, "" where there is one; no_others: the reason why there are no other prompts.
    """

    NAMES = ("clipsim", "clipsim_mismatched", "clipscore", "rm", "image_image")

    def __init__(self, clip: str | None, root: Path, device: str, prompt: str, others: list[str],
                 images: np.ndarray | None, real: np.ndarray | str, no_prompt: str = "",
                 no_others: str = NEEDS["other prompts"]):
        self.refused, self.others, self.no_others = "", [], no_others
        try:
            if not clip:
                raise UserError(NEEDS["CLIP"])
            model = Clip(clip, root, device)
        except UserError as error:
            self.refused = str(error)
            self.backend = {"refused": self.refused}
            return
        self.features, self.no_prompt = Features(model, root / "store" / "features"), no_prompt
        self.real = real if isinstance(real, str) else self.features(real, "real frames")
        self.images = self.real if images is None else self.features(images, "natural images")
        self.own_images = images is not None
        self.backend = {
            "name": model.name, "sha256": model.sha256, "library": f"open_clip {version('open_clip')}", "prefix": "",
            "clipscore_prefix": CLIPSCORE_PREFIX, "prompt": prompt, "other_prompts": others,
            "images": len(images) if self.own_images else "the real clip's frames",
        }
        if no_prompt:
            return
        self.text, self.prefixed = model.text(prompt), model.text(CLIPSCORE_PREFIX + prompt)
        self.others = [model.text(other) for other in others]
        long = [text for text in (CLIPSCORE_PREFIX + prompt, *others) if model.truncated(text)]
        if long:
            self.backend["note"] = (f"past {model.context_length} tokens a prompt is cut and its end token kept: "
                                    f"{'; '.join(text[:40] + '...' for text in long)}")

    def __call__(self, frames: np.ndarray, label: str = "frames", is_real: bool = False) -> Row:
        """is_real: the frames are some of `real`."""
        if self.refused:
            return dict.fromkeys(self.NAMES, self.refused)
        images = self.features(frames, label)
        row: Row = dict.fromkeys(self.NAMES, self.no_prompt)
        if isinstance(self.images, str):
            row["image_image"] = self.images
        elif is_real and not self.own_images:
            row["image_image"] = "these frames are part of the reference"
        else:
            row["image_image"] = Measured(image_cosines(images, self.images), "frame")
        if self.no_prompt:
            return row
        own = Measured(cosines(self.text, images), "frame")
        row |= {"clipsim": own, "clipscore": Measured(clipscores(self.prefixed, images), "frame")}
        row["clipsim_mismatched"] = self.no_others if not self.others else Measured(
            np.mean([cosines(other, images) for other in self.others], axis=0), "frame")
        if isinstance(self.real, str):
            row["rm"] = self.real
        else:
            real = clipsim(self.text, self.real)
            row["rm"] = "the real frames' cosine is not above 0"
            if real > 0:
                row["rm"] = Measured(own.parts / real, "frame")
        return row

    def vectors(self) -> dict:
        """What it takes to score the real frames with any other prompt, and the prompt with any other frames: their
        embeddings, the frames' as the mean of unit vectors, of which the cosine with a unit vector is CLIPSIM. Or
        {"refused": reason}."""
        reason = self.refused or self.no_prompt or (self.real if isinstance(self.real, str) else "")
        if reason:
            return {"refused": reason}
        unit = self.real / np.linalg.norm(self.real, axis=1, keepdims=True)
        return {"sha256": self.backend["sha256"], "text": self.text.astype(float).tolist(),
                "real": unit.mean(0).astype(float).tolist()}
