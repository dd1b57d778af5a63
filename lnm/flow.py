"""A still carried along by a clip's optical flow: a film that moves as the clip does, and that sampling may begin from.

Flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016; OpenCV's). The clip's flow is played
from the frame that is nearest to the still; the picture moves through it by semi-Lagrangian steps (Stam, "Stable
Fluids", 1999). What enters the picture from outside no still can show: of a still of the clip's own place it is what
entered the clip.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lnm.errors import UserError

PERIOD = 16  # frames that a still is carried before it is taken up anew: further on, little of it would be left
FADE = 8     # frames over which the one gives way to the other
MOST_GAIN = 1.25
FEATHER = 1 / 64  # of the shorter side, beyond the still's border: where it gives way to what enters
TINT = 1 / 16  # of the shorter side, the deviation with which what enters takes on the still's colours beside it
FADES = 0.1  # of a neighbourhood that is all the still's: with less of it near, those colours fade away
SAME_PLACE = 1.5  # the most that a still may be away from its nearest frame, times what the clip's frames are
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
    return np.argsort(_distances(still, frames), kind="stable")


def _distances(still: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Mean squared difference of each of frames uint8 (N, H, W, 3) from still uint8 (H, W, 3) -> (N,)."""
    return np.array([np.square(frame.astype(np.float32) - still.astype(np.float32)).mean() for frame in frames])


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


def same_place(still: np.ndarray, clip: np.ndarray) -> bool:
    """Whether still uint8 (H, W, 3) shows the place that clip uint8 (N, H, W, 3) does: its nearest frame is no further
    from it, by squared differences, than SAME_PLACE times the median of the clip's frames from that one; those within
    PERIOD frames of it (half the clip, where that is shorter) are not counted. On the default's four clips a frame of
    one half was at most 1.4 times as far from the other half, a frame of another clip at least 1.8 times."""
    away = _distances(still, clip)
    nearest = int(away.argmin())
    apart = np.abs(np.arange(len(clip)) - nearest) >= min(PERIOD, len(clip) // 2)
    return bool(away[nearest] <= SAME_PLACE * np.median(_distances(clip[nearest], clip[apart])))


def played(still: np.ndarray, clip: np.ndarray, num_frames: int,
           k: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    """The clip's flow from the k-th (0, 1, ...) of its `starts` on, times its `gain`, and its frames there; of a clip
    that is too short for any, from its beginning, and then from there again.

    still: uint8 (H, W, 3). clip: uint8 (N, H, W, 3) -> flow float32 (num_frames - 1, H, W, 2), as `backward_flow` has
    it, and frames uint8 (num_frames, H, W, 3) that it is the flow of, or None where the still is of another place
    (`same_place`).
    Raises UserError for a clip of one frame, or of sides under 16 pixels.
    """
    if len(clip) < 2 or min(clip.shape[1:3]) < 16:
        raise UserError(f"optical flow needs 2 frames of 16 pixels a side, got {len(clip)} of {clip.shape[2]}x"
                        f"{clip.shape[1]}: give a longer clip, or set begin to noise")
    count = max(2, num_frames)
    order = starts(still, clip, count)
    start = order[k % len(order)]
    flow = backward_flow(clip[start:start + count])  # of a short clip all of it
    steps = np.arange(num_frames - 1) % len(flow)
    frames = clip[start + np.r_[0, steps + 1]] if same_place(still, clip) else None
    return flow[steps] * gain(clip[start], flow), frames


def carried(still: np.ndarray, flow: np.ndarray, entering: np.ndarray | None = None,
            anew: bool = True) -> Iterator[np.ndarray]:
    """The frames of a film, uint8 (H, W, 3): still, carried along by flow (F - 1, H, W, 2), as `backward_flow` has it.

    Positions are accumulated and the still is sampled once a frame, by Lanczos' kernel over 8 x 8 pixels, so no blur
    builds up. entering: uint8 (F, H, W, 3), whose frame t shows what has come in from outside by then; None: the still
    mirrored at its border. anew: in a long film the still is taken up again every PERIOD frames and faded in over FADE,
    so that the place stays the place.
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
        beyond = None if entering is None else entering[t]
        frame = _taken(still, new, beyond)
        if share < 1:
            frame = cv2.addWeighted(frame, share, _taken(still, old, beyond), 1 - share, 0)
        yield frame


def _taken(still: np.ndarray, places: np.ndarray, beyond: np.ndarray | None) -> np.ndarray:
    """The still (H, W, 3) at places (H, W, 2), x and y in pixels. What lies outside of it is of `beyond`, with the
    difference of colour beside it (a normalised convolution, Knutsson and Westin 1993, that fades away from the still);
    without `beyond` it is the still mirrored at its border."""
    import cv2

    found = cv2.remap(still, places, None, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    height, width = still.shape[:2]
    last = np.array([width - 1, height - 1], np.float32)
    inside = np.minimum(places, last - places).min(axis=-1)  # pixels from the border
    if beyond is None or (inside >= 0).all():
        return found
    blur = lambda x: cv2.GaussianBlur(x, (0, 0), TINT * min(height, width), borderType=cv2.BORDER_REPLICATE)  # noqa: E731
    known = (inside >= 0).astype(np.float32)
    gap = blur((found.astype(np.float32) - beyond) * known[..., None]) / (blur(known) + FADES)[..., None]
    share = np.clip(1 + inside / (FEATHER * min(height, width)), 0, 1)[..., None]
    return np.clip(np.round(share * found + (1 - share) * (beyond + gap)), 0, 255).astype(np.uint8)
