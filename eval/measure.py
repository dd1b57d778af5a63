"""One film, measured: every metric as the parts it is made of, so that its value and its interval come from one place.

Whatever cannot be measured is a str in the number's place: the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval import clipsim, fidelity, fvd, memory, motion
from lnm.errors import UserError

GROUPS = 20  # of the jackknife: bounds its cost, and keeps neighbouring frames together
UNITS = {
    "motion_energy": "mean absolute change a step, 0 to 1",
    "motion_ratio": "x held-out",
    "flicker": "half the mean absolute second difference, 0 to 1",
    "flow_warp": "mean absolute change a step that flow leaves, 0 to 1",
    "flow_warp_gap": "distance of flow_warp to held-out's, 0 to 1",
    "flow_visible": "share of pixels not occluded, 0 to 1",
    "flow_speed": "pixels a step",
    "flow_speed_ratio": "x held-out",
    "flow_direction_gap": "degrees by which flow must turn to be held-out's, 0 to 180",
    "spectrum_gap": "dB, log-spectral distance in time to held-out's",
    "detail": f"mean square past a Gaussian blur of {fidelity.DETAIL_SIGMA:g} px, 0 to 1",
    "detail_kept": "x the VAE reconstruction's of held-out",
    "frame0_db": f"dB PSNR to the still ({fidelity.EQUAL_DB:g}: equal)",
    "frame0_db_below_ceiling": "dB below the VAE's own PSNR",
    "frame0_ssim": "SSIM to the still, -1 to 1",
    "frame0_lpips": "LPIPS to the still, 0: equal",
    "colour_drift": "mean absolute change of mean colour, 0 to 1",
    "colour_slope": "steady change of mean colour a frame, 0 to 1",
    "nearest_rmse": "RMS difference to the nearest training frame, 0 to 1",
    "nearest_inception": "cosine distance to the nearest training frame, Inception's, 0 to 2",
    "clipsim": "mean cosine, -1 to 1",
    "clipsim_mismatched": "mean cosine with prompts of something else, -1 to 1",
    "clipscore": '2.5 x max(cosine, 0), with "A photo depicts"',
    "rm": "clipsim, x held-out",
    "image_image": "mean cosine with natural images, -1 to 1",
    "fid_train": "FID to all training frames",
    "fid_heldout": "FID to all held-out frames",
    "kid_heldout": "KID to all held-out frames",
    "fvd_heldout": f"FVD of windows of {fvd.WINDOW} frames to all of held-out's",
}
# What a reader takes for good: "high", "low", a number to be near to, "real" (as the real clip's: nothing is better by
# definition), or None: no reading. A control that ranks above real frames is flagged against this reading.
DIRECTIONS = {
    "motion_energy": "real", "motion_ratio": 1.0, "flicker": "low", "flow_warp": "low", "flow_warp_gap": "low",
    "flow_visible": "high", "flow_speed": "real", "flow_speed_ratio": 1.0, "flow_direction_gap": "low",
    "spectrum_gap": "low", "detail": "real", "detail_kept": "high", "frame0_db": "high",
    "frame0_db_below_ceiling": "low", "frame0_ssim": "high", "frame0_lpips": "low", "colour_drift": "low",
    "colour_slope": "low", "nearest_rmse": "real", "nearest_inception": "real", "clipsim": "high",
    "clipsim_mismatched": None, "clipscore": "high", "rm": "high", "image_image": "high", "fid_train": "low",
    "fid_heldout": "low", "kid_heldout": "low", "fvd_heldout": "low",
}
# A metric that compares with the held-out frames says nothing of these themselves: there real means other real frames
TO_HELDOUT = ("motion_ratio", "flow_warp_gap", "flow_speed_ratio", "flow_direction_gap", "spectrum_gap",
              "image_image", "fid_heldout", "kid_heldout", "fvd_heldout")
MISMATCHED = "mismatched_prompt"  # the control that is not a film: real frames scored with other prompts
IN_TIME = ("motion", "flow", "flicker", "spectrum", "fvd")  # how a metric's name starts that needs films of one fps


@dataclass
class Measured:
    """A metric of one film: `statistic` of `parts` (n, ...), of which there is one for each `unit`, such as a frame."""

    parts: np.ndarray
    unit: str
    statistic: Callable[[np.ndarray], float] = np.mean
    jackknife: bool = False  # where a bootstrap's repeated parts would bias the statistic

    @property
    def value(self) -> float:
        return float(self.statistic(self.parts))

    def interval(self, resamples: int, seed: int) -> tuple[float, float] | None:
        """A 95% interval that takes the parts for independent: percentile bootstrap, or the normal interval of the
        delete-a-group jackknife (at most GROUPS runs of neighbours). None with too few parts for either."""
        from scipy.stats import bootstrap

        n = len(self.parts)
        if n < (3 if self.jackknife else 2):
            return None
        if not self.jackknife:
            drawn = bootstrap((np.arange(n),), lambda rows: self.statistic(self.parts[rows]), vectorized=False,
                              n_resamples=resamples, method="percentile", rng=np.random.default_rng(seed))
            return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)
        groups = np.array_split(np.arange(n), min(n, GROUPS))
        without = np.array([self.statistic(np.delete(self.parts, group, axis=0)) for group in groups])
        error = np.sqrt((len(groups) - 1) * without.var())
        return self.value - 1.96 * error, self.value + 1.96 * error


Row = dict[str, "Measured | str"]


def measured(function, *args):
    """What the function gives, or the reason (str) why it gives nothing."""
    try:
        return function(*args)
    except UserError as error:
        return str(error)


def _made(parts: np.ndarray | str, unit: str, statistic: Callable = np.mean, **options) -> Measured | str:
    return parts if isinstance(parts, str) else Measured(parts, unit, statistic, **options)


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
        "colour_slope": _single(measured(fidelity.colour_slope, frames), "film"),
        "directions": _made(flow["directions"], "frame pair", lambda parts: parts.mean(0)),
    }


def _single(value: float | str, unit: str) -> Measured | str:
    """A metric of one part: a value without an interval."""
    return value if isinstance(value, str) else Measured(np.array([value]), unit)


def beside(frames: np.ndarray, own: Row, real: np.ndarray | str, real_row: Row) -> Row:
    """The metrics in time of a film beside the real clip's frames (R, H, W, 3) or the reason why there are none.

    own, real_row: what `alone` says of the two. The spectra are of the first frames of both, as many as both have.
    """
    if isinstance(real, str):
        return dict.fromkeys(("motion_ratio", "flow_warp_gap", "flow_speed_ratio", "flow_direction_gap",
                              "spectrum_gap"), real)
    length = min(len(frames), len(real))
    spectra = [measured(motion.spectra, film[:length]) for film in (frames, real)]
    return {
        "motion_ratio": _ratio(own["motion_energy"], real_row["motion_energy"], "the held-out clip does not move"),
        "flow_warp_gap": _gap(own["flow_warp"], real_row["flow_warp"], lambda a, b: abs(a.mean() - b.mean())),
        "flow_speed_ratio": _ratio(own["flow_speed"], real_row["flow_speed"], "the held-out clip does not move"),
        "flow_direction_gap": next(
            ("a film that does not move has no direction" for row in (own, real_row)
             if isinstance(row["flow_speed"], Measured) and row["flow_speed"].value == 0),
            None) or _gap(own["directions"], real_row["directions"],
                          lambda a, b: motion.direction_gap(a.mean(0), b.mean(0))),
        "spectrum_gap": spectra[0] if isinstance(spectra[0], str) else Measured(
            np.stack(spectra, axis=1), "tile", lambda parts: motion.spectrum_gap(*parts.mean(0))),
    }


def _ratio(own: Measured | str, real: Measured | str, without: str) -> Measured | str:
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

    ceiling: the VAE's own PSNR; lpips: a `fidelity.Lpips`; either may be the reason why there is none.
    """
    if isinstance(still, str):
        return dict.fromkeys(("frame0_db", "frame0_db_below_ceiling", "frame0_ssim", "frame0_lpips"), still)
    db = measured(fidelity.psnr, frame, still)
    below = next((entry for entry in (db, ceiling) if isinstance(entry, str)), None)
    return {
        "frame0_db": _single(db, "film"),
        "frame0_db_below_ceiling": below or _single(ceiling - db, "film"),
        "frame0_ssim": _single(measured(fidelity.ssim, frame, still), "film"),
        "frame0_lpips": lpips if isinstance(lpips, str) else _single(measured(lpips, frame, still), "film"),
    }


def nearest(frames: np.ndarray, train: np.ndarray | str) -> Row:
    """Memorisation in pixels; a reason where `train` is one."""
    return {"nearest_rmse": train if isinstance(train, str)
            else Measured(memory.nearest_rmse(frames, train), "frame")}


class ClipMetrics:
    """clipsim and its views of a film. Where there is no CLIP or no prompt each is refused; `backend` says what stands
    behind them.

    clip: name or folder of a CLIP, or None; others: prompts of something else; images: natural images uint8
    (N, H, W, 3), or None for the real clip's frames; real: these, or the reason why there are none; no_prompt: the
    reason why there is no prompt, "" where there is one.
    """

    NAMES = ("clipsim", "clipsim_mismatched", "clipscore", "rm", "image_image")

    def __init__(self, clip: str | None, root: Path, device: str, prompt: str, others: list[str],
                 images: np.ndarray | None, real: np.ndarray | str, no_prompt: str = ""):
        from eval.features import Clip, Features

        self.refused, self.others = "", []
        try:
            if not clip:
                raise UserError("no CLIP is set (checkpoint.clip is null)")
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
            "clipscore_prefix": clipsim.CLIPSCORE_PREFIX, "prompt": prompt, "other_prompts": others,
            "images": len(images) if self.own_images else "the real clip's frames",
        }
        if no_prompt:
            return
        self.text, self.prefixed = model.text(prompt), model.text(clipsim.CLIPSCORE_PREFIX + prompt)
        self.others = [model.text(other) for other in others]
        long = [text for text in (clipsim.CLIPSCORE_PREFIX + prompt, *others) if model.truncated(text)]
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
            row["image_image"] = Measured(clipsim.image_cosines(images, self.images), "frame")
        if self.no_prompt:
            return row
        cosines = Measured(clipsim.cosines(self.text, images), "frame")
        row |= {"clipsim": cosines, "clipscore": Measured(clipsim.clipscores(self.prefixed, images), "frame")}
        row["clipsim_mismatched"] = "no other prompt was given to compare with" if not self.others else Measured(
            np.mean([clipsim.cosines(other, images) for other in self.others], axis=0), "frame")
        if isinstance(self.real, str):
            row["rm"] = self.real
        else:
            real = clipsim.clipsim(self.text, self.real)
            row["rm"] = "the real frames' cosine is not above 0"
            if real > 0:
                row["rm"] = Measured(cosines.parts / real, "frame")
        return row


class InceptionMetrics:
    """FID, KID and the nearest training frame of a film by Inception features; where there are no weights, or where
    `train` or `real` is a reason instead of frames, the metrics that need them are refused."""

    NAMES = ("fid_train", "fid_heldout", "kid_heldout", "nearest_inception")

    def __init__(self, wanted: bool, root: Path, device: str, train: np.ndarray | str, real: np.ndarray | str):
        from eval.features import INCEPTION_FILE, Features, Inception

        self.refused, self.train, self.real = "", train, real
        try:
            if not wanted:
                raise UserError("evaluate.fid is false")
            if isinstance(train, str) and isinstance(real, str):
                self.backend = {"refused": real}  # and no network is opened for nothing
                return
            model = Inception(root / "weights" / INCEPTION_FILE, device)
        except UserError as error:
            self.refused = str(error)
            self.backend = {"refused": self.refused}
            return
        self.features = Features(model, root / "store" / "features")
        self.train, self.real = (frames if isinstance(frames, str) else self.features(frames, label)
                                 for frames, label in ((train, "training frames"), (real, "held-out frames")))
        self.backend = {"name": model.name, "sha256": model.sha256, "aspect": "squashed to 299x299 on both sides"}

    def __call__(self, frames: np.ndarray, label: str = "frames", part_of: str = "") -> Row:
        """part_of: "train" or "real" where the frames are some of these."""
        from eval import fid

        if self.refused:
            return dict.fromkeys(self.NAMES, self.refused)
        if "refused" in self.backend:
            return dict(zip(self.NAMES, (self.train, self.real, self.real, self.train)))
        images = self.features(frames, label)
        row: Row = {}
        for name, metric, reference, side in (
            ("fid_train", fid.fid_from_features, self.train, "train"),
            ("fid_heldout", fid.fid_from_features, self.real, "real"),
            ("kid_heldout", fid.kid_from_features, self.real, "real"),
        ):
            row[name] = self._distance(metric, images, reference, part_of == side)
        row["nearest_inception"] = self.train if isinstance(self.train, str) else Measured(
            memory.nearest_feature(images, self.train), "frame")
        return row

    def _distance(self, metric: Callable, images: np.ndarray, reference: np.ndarray | str, own: bool):
        if isinstance(reference, str) or own:
            return reference if isinstance(reference, str) else "these frames are part of the reference"
        value = measured(metric, images, reference)
        return value if isinstance(value, str) else Measured(
            images, "frame", lambda parts: metric(parts, reference), jackknife=True)

    def floors(self, n: int, seed: int) -> dict:
        """What FID says of `n` frames before two distributions differ: the rank floor, and real against real."""
        from eval import fid

        if "refused" in self.backend:
            return self.backend
        references = {name: side for name, side in (("train", self.train), ("heldout", self.real))
                      if not isinstance(side, str)}
        pool = np.concatenate(list(references.values()))
        floors = {}
        for name, reference in references.items():
            alike = measured(fid.real_vs_real, pool, n, len(reference), 10, seed)
            floors[name] = {
                "n": n, "n_reference": len(reference), "rank_floor": fid.rank_floor(reference, n),
                "real_vs_real": alike if isinstance(alike, dict) else {"refused": alike},
            }
        return floors


class VideoMetrics:
    """FVD of a film, or its refusal: too few frames first, then missing weights."""

    def __init__(self, root: Path, device: str, real: np.ndarray | str):
        from eval.features import Features

        self.real, self.model = real, measured(fvd.I3D, root / "weights" / fvd.I3D_FILE, device)
        if isinstance(self.model, str):
            self.backend = {"refused": self.model}
            return
        self.backend = {"name": self.model.name, "sha256": self.model.sha256}
        self.features = Features(self.model, root / "store" / "features")

    def __call__(self, frames: np.ndarray, label: str = "frames", is_real: bool = False) -> Row:
        return {"fvd_heldout": measured(self._fvd, frames, label, is_real)}

    def _fvd(self, frames: np.ndarray, label: str, is_real: bool) -> Measured:
        for reason in (self.real, self.model):
            clips = fvd.windows(frames)
            if isinstance(reason, str):
                raise UserError(reason)
        if is_real:
            raise UserError("these frames are part of the reference")
        reference = self.features(fvd.windows(self.real), "real windows")
        images = self.features(clips, label)
        fvd.fvd_from_features(images, reference)
        return Measured(images, "window", lambda parts: fvd.fvd_from_features(parts, reference), jackknife=True)


def ranks_above(metric: str, value: float, real: float) -> bool:
    """Whether a reader of `metric` takes `value` for better than real frames' `real`; a tie is not."""
    direction = DIRECTIONS[metric]
    if direction in (None, "real") or np.isclose(value, real, rtol=1e-4, atol=1e-9):
        return False
    if isinstance(direction, float):
        return abs(value - direction) < abs(real - direction)
    return value > real if direction == "high" else value < real


def flags(methods: dict, controls: list[str], real: str, alike: dict) -> list[dict]:
    """Every metric of which a control has more than real frames: [{"metric", "control", "value", "real", "good"}].

    methods: name -> metric -> entry ({"value"} or {"refused"}); real: the name of the real frames. alike: metric ->
    value of other real frames, which stand for real in the metrics that compare with `real` itself (TO_HELDOUT).
    There the VAE's reconstruction of `real` is left out: it is near to what it reconstructs, as it should be.
    """
    found = []
    for metric in UNITS:
        value = alike.get(metric) if metric in TO_HELDOUT else methods[real][metric].get("value")
        if value is None or isinstance(value, str):
            continue
        for name in controls:
            entry = methods[name][metric]
            if metric in TO_HELDOUT and name == "heldout_vae":
                continue
            if name != real and "value" in entry and ranks_above(metric, entry["value"], value):
                found.append({"metric": metric, "control": name, "value": entry["value"], "real": value,
                              "good": DIRECTIONS[metric]})
    wrong, right = methods[real]["clipsim_mismatched"].get("value"), methods[real]["clipsim"].get("value")
    if wrong is not None and right is not None and ranks_above("clipsim", wrong, right):
        found.append({"metric": "clipsim", "control": MISMATCHED, "value": wrong, "real": right, "good": "high"})
    return found


def pick_device(device: str) -> str:
    """A name for torch: "auto" is cuda where there is one, else cpu. UserError for a device that is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available() or device == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device {device}: this machine has none that torch can use; set auto or cpu")
    return device


def version(module: str) -> str:
    return __import__(module).__version__
