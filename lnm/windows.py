"""Films of any length: overlapping windows of frames, noise that they share, stills at any frame.

A U-Net learned motion from stacks of a few frames. A longer film is cut into windows of as many frames as it knows, and
they become one film again in one of two ways. "windows": at every step each window is denoised by itself, and what is
predicted for a frame is blended over the windows that see it (Bar-Tal et al., "MultiDiffusion", 2023, along time; Qiu
et al., "FreeNoise", 2024). "continue": windows follow one another, each begun from the last frames of the one before.
Memory is that of one window either way. Nothing here knows a pipeline: functions of numbers and tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

LONG = ("windows", "continue", "whole")
NOISE = ("independent", "shared")
OVERLAP = 4  # frames that a continuation is begun from where no stride is given


def stride_of(long: str, window: int, stride: int | None) -> int:
    """How far apart windows begin where `stride` is None: half a window, or all but OVERLAP frames of it (half of it
    where it is shorter) for "continue"."""
    if stride is not None:
        return stride
    return max(1, window - min(OVERLAP, window // 2) if long == "continue" else window // 2)


def starts(num_frames: int, window: int, stride: int) -> list[int]:
    """The first frame of each window of `window` frames, `stride` apart; the last one is flush with the film's end.

    A film of no more than `window` frames has one. stride: 1 to `window`, so that every frame is seen.
    """
    last = max(num_frames - window, 0)
    return [*range(0, last, stride), last]


def shares(num_frames: int, window: int, stride: int) -> torch.Tensor:
    """What each window counts for in each of its frames, (windows, window) float32; over the windows that see a frame
    it sums to 1.

    A triangle: most in a window's middle, least at its ends, where it knows no neighbours on one side.
    """
    begins, window = starts(num_frames, window, stride), min(window, num_frames)
    triangle = 1 - (2 * (torch.arange(window) + 0.5) / window - 1).abs()
    total = torch.zeros(num_frames)
    for start in begins:
        total[start:start + window] += triangle
    return torch.stack([triangle / total[start:start + window] for start in begins])


def blended(predict: Callable[[torch.Tensor], torch.Tensor], sample: torch.Tensor, window: int,
            stride: int) -> torch.Tensor:
    """`predict` of a film (B, C, F, h, w) -> (B, C', F, h, w), asked window by window and blended by `shares`.

    No call sees more than `window` frames. Of a film that fits one window it is `predict(sample)` itself.
    """
    frames = sample.shape[2]
    if frames <= window:
        return predict(sample)
    film: torch.Tensor | None = None
    for start, share in zip(starts(frames, window, stride), shares(frames, window, stride), strict=True):
        part = predict(sample[:, :, start:start + window])
        film = part.new_zeros((*part.shape[:2], frames, *part.shape[3:])) if film is None else film
        film[:, :, start:start + window] += share.to(part).view(-1, 1, 1) * part
    return film


def shared_order(num_frames: int, window: int, stride: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """FreeNoise (Qiu et al. 2024, section 3.2): which frame of the first window each frame's noise is, (F,) int64.

    The first window keeps its own. Each further `stride` frames are those a window before, shuffled among one another,
    so that windows that begin at a multiple of `stride` all hold the same noise in another order.
    """
    device = "cpu" if generator is None else generator.device
    order = torch.arange(num_frames)
    for start in range(window, num_frames, stride):
        shuffled = torch.randperm(stride, generator=generator, device=device).cpu()
        block = order[start - window:start - window + stride][shuffled]
        order[start:start + stride] = block[:num_frames - start]
    return order


def shared_noise(first: torch.Tensor, num_frames: int, stride: int, generator: Any = None) -> torch.Tensor:
    """Noise of a first window (B, C, W, h, w) -> of a film (B, C, F, h, w): the same noise again, by `shared_order`.

    generator: one, or one a film of the batch, as the noise itself was drawn with; each film has an order of its own.
    """
    generators = generator if isinstance(generator, list) else [generator] * len(first)
    return torch.stack([film[:, shared_order(num_frames, film.shape[1], stride, own).to(film.device)]
                        for film, own in zip(first, generators, strict=True)])


def conditions(stills: dict[int, torch.Tensor], frames: Iterable[int], linear: bool = True) -> torch.Tensor:
    """The still that each of `frames` is told of: (B, C, F, h, w), from {frame: its still (B, C, h, w)}.

    Between two stills they are weighted by their distance (linear) or the nearer is taken, the earlier one of two;
    before the first and after the last there is one.
    """
    known = sorted(stills)
    told = []
    for frame in frames:
        left = max((k for k in known if k <= frame), default=known[0])
        right = min((k for k in known if k >= frame), default=known[-1])
        late = 0.0 if left == right else (frame - left) / (right - left)
        if not linear:
            late = float(late > 0.5)
        told.append(torch.lerp(stills[left], stills[right], late) if 0 < late < 1
                    else stills[right if late else left])
    return torch.stack(told, dim=2)
