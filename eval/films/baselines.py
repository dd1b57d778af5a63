"""Films that nobody trained for: what any method has to beat. One interface, so a method to compare with is a function.

    generate(name, still, prompt, num_frames, fps, seed, **context) -> uint8 (num_frames, H, W, 3)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.features.flow import dis_pairs
from eval.films import controls
from lnm.errors import UserError
from lnm.flow import carried, nearest_frames


def generate(name: str, still: np.ndarray, prompt: str, num_frames: int, fps: float, seed: int,
             **context) -> np.ndarray:
    """A film of `num_frames` frames at `fps` that starts from `still` uint8 (H, W, 3), by the baseline `name`.

    prompt: of the clip; none of those here reads it. context: what a baseline may use and others ignore: train, uint8
    (N, H, W, 3), the real frames at train_fps; sample, the folder in which the frozen checkpoint's films lie. Raises
    UserError for an unknown name or what a baseline lacks.
    """
    if name not in BASELINES:
        raise UserError(f"no baseline is named {name}: choose one of {', '.join(BASELINES)}")
    return BASELINES[name](still, prompt, num_frames, fps, seed, **context)


def static(still, prompt, num_frames, fps, seed, **context) -> np.ndarray:
    """The still, repeated."""
    return controls.static(still, num_frames)


def flow_extrapolation(still, prompt, num_frames, fps, seed, *, train, train_fps, **context) -> np.ndarray:
    """The still carried along by the motion of one pair of real frames, again and again.

    The pair starts at the training frame that is nearest to the still by pixels (the seed-th nearest: 0, 1, ...). Its
    DIS flow, taken backwards and scaled to `fps`, stays where it is while the picture moves through it (semi-Lagrangian
    steps); positions are accumulated and the still is sampled once a frame, so no blur builds up. What enters from
    outside is the still mirrored at its border.
    """
    if len(train) < 2:
        raise UserError(f"flow extrapolation needs 2 training frames, got {len(train)}: give a longer clip")
    order = nearest_frames(still, train[:-1])
    t = order[seed % len(order)]
    step = dis_pairs(train[t + 1:t + 2], train[t:t + 1]) * (train_fps / fps)  # (1, H, W, 2): where each comes from
    return np.stack(list(carried(still, np.broadcast_to(step, (num_frames - 1, *step.shape[1:])), anew=False)))


def frame_by_frame(still, prompt, num_frames, fps, seed, *, sample, **context) -> np.ndarray:
    """The frozen checkpoint, each frame by itself: its film of this seed as the sample stage left it in
    sample/frame_by_frame/."""
    from lnm.video import read_frames

    frames = read_frames(Path(sample) / "frame_by_frame" / f"seed_{seed}")
    if len(frames) < num_frames:
        raise UserError(f"{sample}/frame_by_frame/seed_{seed}: {len(frames)} frames, {num_frames} are wanted: "
                        "sample it again")
    return frames[:num_frames]


BASELINES = {"static": static, "flow_extrapolation": flow_extrapolation, "frame_by_frame": frame_by_frame}
