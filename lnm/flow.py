"""A still carried along by a clip's optical flow: a film that moves as the clip does, and that sampling may begin from.

Flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016; OpenCV's). The clip's flow is played
from the frame that is nearest to the still; the picture moves through it by semi-Lagrangian steps (Stam, "Stable
Fluids", 1999).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lnm.errors import UserError

PERIOD = 16  # frames that a still is carried before it is taken up anew: further on, little of it would be left
FADE = 8     # frames over which the one gives way to the other
MOST_GAIN = 1.25
UNUSUAL = 3.0  # a step changes the picture so many times as much as the clip's median step: a flash, a cut


def backward_flow(frames: np.ndarray) -> np.ndarray:
    """Where each pixel of a frame lay in the frame before, beside where it lies now.

    frames: uint8 (N, H, W, 3), sides of 16 pixels or more -> float32 (N - 1, H, W, 2), x and y in pixels.
    """
    import cv2

    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return np.stack([estimator.calc(now, before, None) for before, now in zip(grey, grey[1:])])


def nearest_frames(still: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Indices of frames uint8 (N, H, W, 3), the nearest to still uint8 (H, W, 3) by squared differences first."""
    distances = np.square(frames.astype(np.float32) - still.astype(np.float32)).mean(axis=(1, 2, 3))
    return np.argsort(distances, kind="stable")


def starts(still: np.ndarray, clip: np.ndarray, num_frames: int) -> np.ndarray:
    """Indices of the frames of clip uint8 (N, H, W, 3) that `num_frames` can be played from, the nearest to still
    uint8 (H, W, 3) first; after all others those with a step that is UNUSUAL on the way, whose flow is not the clip's
    motion. Of a clip that is too short for any, its first frame."""
    order = nearest_frames(still, clip[:max(1, len(clip) - num_frames + 1)])
    change = np.array([np.abs(now.astype(np.int16) - before).mean() for before, now in zip(clip, clip[1:])])
    unusual = change > UNUSUAL * np.median(change)
    return order[np.argsort([unusual[start:start + num_frames - 1].any() for start in order], kind="stable")]


def gain(frame: np.ndarray, flow: np.ndarray) -> np.float32:
    """By what flow (F - 1, H, W, 2) must be multiplied so that a frame uint8 (H, W, 3) carried along by it moves, as
    optical flow sees that, as fast as the clip that the flow is of. Between 1 / MOST_GAIN and MOST_GAIN.

    Flow is estimated too smooth, and what is carried by it moves up to a tenth more slowly than the clip did.
    """
    asked, seen = (np.linalg.norm(of, axis=-1).mean() if len(of) else 0.0
                   for of in (flow, backward_flow(np.stack(list(carried(frame, flow, anew=False))))))
    return np.float32(np.clip(asked / seen, 1 / MOST_GAIN, MOST_GAIN) if seen else 1.0)


def played(still: np.ndarray, clip: np.ndarray, num_frames: int, k: int = 0) -> np.ndarray:
    """The clip's flow from the k-th (0, 1, ...) of its `starts` on; of a clip that is too short for any, from its
    beginning, and then from there again. Times its `gain`.

    still: uint8 (H, W, 3). clip: uint8 (N, H, W, 3) -> float32 (num_frames - 1, H, W, 2), as `backward_flow` has it.
    Raises UserError for a clip of one frame, or of sides under 16 pixels.
    """
    if len(clip) < 2 or min(clip.shape[1:3]) < 16:
        raise UserError(f"optical flow needs 2 frames of 16 pixels a side, got {len(clip)} of {clip.shape[2]}x"
                        f"{clip.shape[1]}: give a longer clip, or set begin to noise")
    count = max(2, num_frames)
    order = starts(still, clip, count)
    start = order[k % len(order)]
    flow = backward_flow(clip[start:start + count])  # of a short clip all of it
    return flow[np.arange(num_frames - 1) % len(flow)] * gain(clip[start], flow)


def carried(still: np.ndarray, flow: np.ndarray, anew: bool = True) -> Iterator[np.ndarray]:
    """The frames of a film, uint8 (H, W, 3): still, carried along by flow (F - 1, H, W, 2), as `backward_flow` has it.

    Positions are accumulated and the still is sampled once a frame, by Lanczos' kernel over 8 x 8 pixels, so no blur
    builds up. What enters from outside is the still mirrored at its border. anew: in a long film the still is taken up
    again every PERIOD frames and faded in over FADE, so that the place stays the place.
    """
    import cv2

    height, width = still.shape[:2]
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    old, new = here, here
    for t in range(len(flow) + 1):
        if t:
            old, new = (here + flow[t - 1] + cv2.remap(source - here, here + flow[t - 1], None, cv2.INTER_LINEAR,
                                                       borderMode=cv2.BORDER_REPLICATE) for source in (old, new))
        if anew and t % PERIOD == 0:
            old, new = new, here
        share = min(1.0, (t % PERIOD) / FADE) if anew and t >= PERIOD else 1.0
        frame = cv2.remap(still, new, None, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
        if share < 1:
            frame = cv2.addWeighted(frame, share, cv2.remap(still, old, None, cv2.INTER_LANCZOS4,
                                                            borderMode=cv2.BORDER_REFLECT), 1 - share, 0)
        yield frame
