"""Held-out loss on fixed timesteps and fixed noise, and the choice of a step by it.

Two looks differ by the weights alone, so that even small differences between them say something.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch

from lnm.latents import Clips
from lnm.settings import Finetune

Rows = TypeVar("Rows", torch.Tensor, np.ndarray)

GRID = 9  # timesteps that are looked at: the middles of so many equal parts
POSITIONS = 2  # places of a held-out part that are looked at


def grid(clean: torch.Tensor, number: int,
         timesteps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Generator]]:
    """(noise like `clean`, timestep (1,), generator) for each of GRID timesteps of the held-out sample `number`."""
    for k in range(GRID):
        generator = torch.Generator().manual_seed(1000 * number + k)
        t = torch.tensor([int(timesteps * (k + 0.5) / GRID)])
        yield torch.randn(clean.shape, generator=generator), t, generator


def split(latents: Clips, settings: Finetune) -> tuple[Clips, Clips]:
    """Latents (N, C, h, w) as what is trained on and, the last part, what a step is chosen by; at least one sample.
    Several clips are split each."""
    if isinstance(latents, list):
        return split_list(latents, settings)
    ((train,), (held,)) = split_list([latents], settings)
    return train, held


def split_list(clips: list[Rows], settings: Finetune) -> tuple[list[Rows], list[Rows]]:
    """`split` of a list of clips, latents or their pictures (N, ...)."""
    counts = [max(round(settings.validation * len(clip)), reach(settings)) for clip in clips]
    return ([clip[:-held] for clip, held in zip(clips, counts)], [clip[-held:] for clip, held in zip(clips, counts)])


def reach(settings: Finetune) -> int:
    """Frames that a training sample needs at the smallest stride."""
    return min(settings.strides) * (settings.frames - 1) + 1


def samples(latents: Clips, settings: Finetune) -> list[torch.Tensor]:
    """Up to POSITIONS samples (1, C, F, h, w) at the smallest stride, spread over latents (N, C, h, w), or over
    those of each of several clips."""
    if isinstance(latents, list):
        return [sample for clip in latents for sample in samples(clip, settings)]
    return [latents[rows].movedim(0, 1)[None] for rows in places(len(latents), settings)]


def places(count: int, settings: Finetune) -> list[slice]:
    """The rows of each of `samples` in a clip of `count` frames."""
    stride, last = min(settings.strides), count - reach(settings)
    starts = sorted({round(last * k / max(1, POSITIONS - 1)) for k in range(POSITIONS)})
    return [slice(s, s + reach(settings), stride) for s in starts]


class Choice:
    """The best step so far, its loss and its weights; says when looking further is of no use.

    state: tensors by name, for a checkpoint; after it was read back the choice goes on from there.
    """

    def __init__(self, weights: dict[str, torch.Tensor], patience: int):
        self.patience = patience
        self.best = {k: p.detach().clone() for k, p in weights.items()}
        self.record = {"loss": torch.tensor(float("inf"), dtype=torch.float64), "step": torch.tensor(0),
                       "worse": torch.tensor(0)}
        self.state = {"best": self.best, "choice": self.record}

    @property
    def step(self) -> int:
        return int(self.record["step"])

    @property
    def loss(self) -> float:
        return float(self.record["loss"])

    @property
    def settled(self) -> bool:
        """The last `patience` looks were all worse than the best."""
        return int(self.record["worse"]) >= self.patience

    @torch.no_grad()
    def look(self, done: int, loss: float, weights: dict[str, torch.Tensor]) -> None:
        """Take note of the held-out `loss` after `done` steps with `weights`."""
        if loss < self.loss:
            self.record["loss"].fill_(loss)
            self.record["step"].fill_(done)
            self.record["worse"].zero_()
            for k, p in weights.items():
                self.best[k].copy_(p)
        else:
            self.record["worse"].add_(1)

    @torch.no_grad()
    def restore(self, weights: dict[str, Any]) -> None:
        """Put the best step's weights in the place of `weights`."""
        for k, p in weights.items():
            p.copy_(self.best[k])

