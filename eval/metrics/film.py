"""One film, measured: every metric as the parts it is made of, so that its value and its interval come from one place.

Whatever cannot be measured is a str in the number's place: the reason.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eval.features.once import once
from eval.metrics import copying, fidelity, motion
from eval.statistics.intervals import Measured, Row, measured, single


def _made(parts: np.ndarray | str, unit: str, statistic: Callable = np.mean, **options) -> Measured | str:
    return parts if isinstance(parts, str) else Measured(parts, unit, statistic, **options)


@once(64)  # the row beside the real clip and the one beside it through the VAE ask for the same
def alone(frames: np.ndarray) -> Row:
    """The metrics of a film uint8 (F, H, W, 3) that need nothing else; and "directions", which `beside` needs."""
    flow = measured(motion.flow_warps, frames)
    flow = flow if isinstance(flow, dict) else dict.fromkeys(("error", "visible", "speed", "directions"), flow)
    return {
        "motion_energy": _made(measured(motion.energies, frames), "frame pair"),
        "flicker": _made(measured(motion.flickers, frames), "frame triple"),
        "flow_warp": _made(flow["error"], "frame pair"),
        "flow_visible": _made(flow["visible"], "frame pair"),
        "flow_speed": _made(flow["speed"], "frame pair"),
        "detail": Measured(fidelity.details(frames), "frame"),
        "colour_drift": _made(measured(fidelity.colour_drifts, frames), "frame"),
        "colour_slope": single(measured(fidelity.colour_slope, frames)),
        "directions": _made(flow["directions"], "frame pair", lambda parts: parts.mean(0)),
    }


def beside(frames: np.ndarray, own: Row, real: np.ndarray | str, real_row: Row) -> Row:
    """What moves in a film, and its detail, beside the real clip's frames (R, H, W, 3) or why there are none.

    own, real_row: what `alone` says of the two. The spectra are of the first frames of both, as many as both have.
    """
    if isinstance(real, str):
        return dict.fromkeys(("motion_ratio", "flow_warp_gap", "flow_speed_ratio", "flow_direction_gap",
                              "spectrum_gap", "detail_ratio"), real)
    length = min(len(frames), len(real))
    spectra = [measured(motion.spectra, film[:length]) for film in (frames, real)]
    return {
        "motion_ratio": ratio(own["motion_energy"], real_row["motion_energy"], "the held-out clip does not move"),
        "flow_warp_gap": _gap(own["flow_warp"], real_row["flow_warp"], lambda a, b: abs(a.mean() - b.mean())),
        "flow_speed_ratio": ratio(own["flow_speed"], real_row["flow_speed"], "the held-out clip does not move"),
        "flow_direction_gap": next(
            ("a film that does not move has no direction" for row in (own, real_row)
             if isinstance(row["flow_speed"], Measured) and row["flow_speed"].value == 0),
            None) or _gap(own["directions"], real_row["directions"],
                          lambda a, b: motion.direction_gap(a.mean(0), b.mean(0))),
        "spectrum_gap": spectra[0] if isinstance(spectra[0], str) else single(
            motion.spectrum_gap(*(tiles.mean(0) for tiles in spectra))),
        "detail_ratio": ratio(own["detail"], real_row["detail"], "the held-out clip has no detail"),
    }


def ratio(own: Measured | str, real: Measured | str, without: str) -> Measured | str:
    """The film's over the real clip's, or the reason that either has, or `without` where the real clip's is 0."""
    for entry in (own, real):
        if isinstance(entry, str):
            return entry
    return Measured(own.parts / real.value, own.unit) if real.value else without


def _gap(own: Measured | str, real: Measured | str, distance: Callable) -> Measured | str:
    """`distance` of the film's parts from the real clip's, or the reason that either has."""
    for entry in (own, real):
        if isinstance(entry, str):
            return entry
    return Measured(own.parts, own.unit, lambda parts: distance(parts, real.parts))


def start(frame: np.ndarray, still: np.ndarray | str, ceiling: float | str, lpips: Callable | str) -> Row:
    """First-frame fidelity of a film to the still it starts from, each a reason where `still` is one.

    ceiling: the VAE's own PSNR; lpips: an `eval.features.lpips.Lpips`; either may be the reason why there is none.
    """
    if isinstance(still, str):
        return dict.fromkeys(("frame0_db", "frame0_db_below_ceiling", "frame0_ssim", "frame0_lpips"), still)
    db = measured(fidelity.psnr, frame, still)
    below = next((entry for entry in (db, ceiling) if isinstance(entry, str)), None)
    return {
        "frame0_db": single(db),
        "frame0_db_below_ceiling": below or single(ceiling - db),
        "frame0_ssim": single(measured(fidelity.ssim, frame, still)),
        "frame0_lpips": lpips if isinstance(lpips, str) else single(measured(lpips, frame, still)),
    }


def nearest(frames: np.ndarray, train: np.ndarray | str) -> Row:
    """Memorisation in pixels; a reason where `train` is one."""
    return {"nearest_rmse": train if isinstance(train, str)
            else Measured(copying.nearest_rmse(frames, train), "frame")}
