"""Scores every film of one video, and the controls beside them, into one metrics.json.

A number never stands alone: value, interval, n and unit, or a refusal with its reason.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from eval import controls, fidelity, motion
from lnm.params import UserError, root, write_json

LABELS = {
    "heldout": "real, held out",
    "heldout_vae": "real, through the VAE",
    "ours": "LateNtMovies (ours)",
    "prior": "prior, frame by frame",
    "static": "static repeat",
    "static_noise": "static + noise",
    "shuffled": "real, shuffled",
}
CONTROLS = ("heldout", "heldout_vae", "static", "static_noise", "shuffled")
UNITS = {
    "motion_energy": "mean absolute change a step, 0 to 1",
    "motion_ratio": "x held-out",
    "flicker": "half the mean absolute second difference, 0 to 1",
    "flow_warp": "mean absolute change a step that flow leaves, 0 to 1",
    "flow_warp_gap": "distance of flow_warp to held-out's, 0 to 1",
    "flow_visible": "share of pixels not occluded, 0 to 1",
    "flow_speed": "pixels a step",
    "detail": f"mean square past a Gaussian blur of {fidelity.DETAIL_SIGMA:g} px, 0 to 1",
    "detail_kept": "x the VAE reconstruction's of held-out",
    "frame0_db": f"dB PSNR to the still ({fidelity.EQUAL_DB:g}: equal)",
    "frame0_db_below_ceiling": "dB below the VAE's own PSNR",
    "colour_drift": "mean absolute change of mean colour, 0 to 1",
    "clipsim": "mean cosine, -1 to 1",
    "clipscore": "2.5 x max(cosine, 0)",
    "fid_train": "FID to all training frames",
    "fid_heldout": "FID to all held-out frames",
    "kid_heldout": "KID to all held-out frames",
}
SUMMARY = {  # headline name -> metric of ours, for `dvc metrics`
    "motion_ratio": "motion_ratio", "flow_warp": "flow_warp", "detail_kept": "detail_kept",
    "frame0_db_below_ceiling": "frame0_db_below_ceiling", "fid_heldout": "fid_heldout", "clipsim": "clipsim",
}
VIDEO_SUFFIXES = {".mp4", ".webm", ".mov", ".avi", ".gif", ".mkv"}


def evaluate_video(settings: dict, results: Path, out: Path) -> dict:
    """Scores the films under `results` (results/<video>) and writes metrics.json, summary.json, sheet.png and
    motion.png into `out`. Returns what metrics.json holds.

    settings: video, seed (of bootstrap and noise), clip (an open_clip name, folder or null), fid, bootstrap
    (resamples), device; optional baselines {path under the root: hash} and noise_control ("matched", or a standard
    deviation in [0, 1]).
    """
    from lnm import video
    from tqdm.auto import tqdm

    from eval import figures

    clip = json.loads((results / "prepare" / "clip.json").read_text())
    films = json.loads((results / "sample" / "films.json").read_text())
    train, heldout, heldout_vae = (
        video.read_frames(results / "prepare" / name) for name in ("train", "heldout", "heldout_vae")
    )
    still = video.read_image(results / "prepare" / "still.png")
    length = min(films["num_frames"], len(heldout))  # a film is compared with as much of what was held out
    real = heldout[:length]

    sets = {"heldout": [real], "heldout_vae": [heldout_vae[:length]]}
    for method in films["methods"]:
        folders = sorted((results / "sample" / method).glob("seed_*"), key=lambda path: int(path.name[5:]))
        sets[method] = [video.read_frames(folder) for folder in folders]
    num_frames = films["num_frames"]
    noise = settings.get("noise_control", "matched")
    if noise == "matched":
        noise = controls.matched_sigma(still, num_frames, motion.motion_energy(real), settings["seed"])
    sets["static"] = [controls.static(still, num_frames)]
    sets["static_noise"] = [controls.static_noise(still, num_frames, noise, settings["seed"])]
    sets["shuffled"] = [controls.shuffled(real, settings["seed"])]
    for path in settings.get("baselines", {}):
        method = Path(path).parent.name
        if method in sets:
            raise UserError(f"{path}: the name {method} is taken by this run; rename the folder")
        sets[method] = read_baseline(root() / path, clip["fps"], real.shape[1])

    ceiling = fidelity.psnr(heldout_vae[0], heldout[0])
    reference = {
        "motion_energy": motion.motion_energy(real),
        "flow": motion.flow_warp(real),
        "detail_vae": fidelity.detail(heldout_vae[:length]),
        "ceiling_db": ceiling,
    }
    clip_score, clip_backend = _clip_scorer(settings, films["prompt"])
    fid_score, fid_backend, floors = _fid_scorer(settings, train, heldout, num_frames)
    same_fps = films["fps"] == clip["fps"]
    methods = {}
    for name, versions in tqdm(sets.items(), desc=f"evaluate {settings['video']}", unit="method"):
        per_film = [
            _film(frames, still, reference) | clip_score(frames, name) | fid_score(frames, name) for frames in versions
        ]
        if name in films["methods"] and not same_fps:
            reason = f"the films play at {films['fps']:g} fps, the clip at {clip['fps']:g}: not comparable"
            for row in per_film:
                row |= {metric: reason for metric in row if metric.startswith(("motion", "flow", "flicker"))}
        methods[name] = {
            metric: summarise([row[metric] for row in per_film], UNITS[metric], settings["bootstrap"], settings["seed"])
            for metric in UNITS
        }

    sheet = [name for name in ("heldout", "heldout_vae", "ours", "prior", "static_noise") if name in sets]
    sheet += [name for name in sets if name not in LABELS]
    metrics = {
        "video": settings["video"],
        "prompt": films["prompt"],
        "fps": clip["fps"],
        "size": list(real.shape[1:3]),
        "n_seeds": len(films["seeds"]),
        "interval": {
            "level": 0.95, "method": "percentile bootstrap of the mean", "resampled": "seed",
            "resamples": settings["bootstrap"], "seed": settings["seed"],
            "note": "no interval under 2 films; of 2 films it is no wider than the two values",
        },
        "backend": {
            "inception": fid_backend, "clip": clip_backend,
            "flow": f"OpenCV {_version('cv2')} DIS, medium preset", "temporal_sha256": films.get("temporal_sha256"),
            "prior": films.get("prior"),
        },
        "labels": {name: LABELS.get(name, name) for name in sets},
        "sheet": sheet,
        "controls": [name for name in sets if name in CONTROLS],
        "methods": methods,
        "reference": reference | {
            "frames_compared": length, "frames_film": num_frames,
            "frames_heldout": len(heldout), "frames_train": len(train), "noise_sigma": noise,
            "still_is_first_heldout": bool(np.array_equal(still, heldout[0])), "fid": floors,
        },
    }
    metrics = _rounded(metrics)
    ours = metrics["methods"].get("ours", {})
    summary = {name: ours[metric]["value"] for name, metric in SUMMARY.items() if "value" in ours.get(metric, {})}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "metrics.json", metrics)
    write_json(out / "summary.json", summary)
    rows = [(LABELS.get(name, name), sets[name][0][:length]) for name in sheet]  # the same steps in every row
    video.contact_sheet(rows, columns=8, path=out / "sheet.png")
    figures.motion(metrics, out / "motion.png")
    return metrics


def read_baseline(path: Path, fps: float, size: int) -> list[np.ndarray]:
    """Films of another program: a video file, a folder of frames, a folder with one video file, or of seed_* folders
    of either. A video is resampled to `fps`, frames in a folder are taken as such; the centre square is resized to
    `size` pixels. Returns a list of uint8 (F, size, size, 3)."""
    from lnm import video

    films = []
    for part in sorted(path.glob("seed_*")) or [path]:
        files = [file for file in part.glob("*") if file.suffix.lower() in VIDEO_SUFFIXES]
        if len(files) > 1:
            raise UserError(f"{part}: {len(files)} video files; put each into a folder seed_0, seed_1, ...")
        films.append(video.read(files[0] if files else part, fps=fps, size=size).frames)
    return films


def measured(function, *args):
    """What the function gives, or the reason (str) why it gives nothing."""
    try:
        return function(*args)
    except UserError as error:
        return str(error)


def _film(frames: np.ndarray, still: np.ndarray, reference: dict) -> dict:
    """Every metric of one film that needs no network: a float, or the reason (str) why there is none."""

    energy, flow = measured(motion.motion_energy, frames), measured(motion.flow_warp, frames)
    flow = flow if isinstance(flow, dict) else {"error": flow, "visible": flow, "speed": flow}
    detail, frame0 = fidelity.detail(frames), fidelity.psnr(frames[0], still)
    return {
        "motion_energy": energy,
        "motion_ratio": _ratio(energy, reference["motion_energy"], "the held-out clip does not move"),
        "flicker": measured(motion.flicker, frames),
        "flow_warp": flow["error"],
        "flow_warp_gap": flow["error"] if isinstance(flow["error"], str)
        else abs(flow["error"] - reference["flow"]["error"]),
        "flow_visible": flow["visible"],
        "flow_speed": flow["speed"],
        "detail": detail,
        "detail_kept": _ratio(detail, reference["detail_vae"], "the reconstructed clip has no detail"),
        "frame0_db": frame0,
        "frame0_db_below_ceiling": reference["ceiling_db"] - frame0,
        "colour_drift": measured(fidelity.colour_drift, frames),
    }


def _ratio(value: float | str, reference: float, without: str) -> float | str:
    if isinstance(value, str):
        return value
    return value / reference if reference else without


def _clip_scorer(settings: dict, prompt: str):
    """A function of frames giving clipsim and clipscore (or their refusal), and what stands behind it."""
    from eval import clipsim
    from eval.features import Clip, Features

    try:
        if not settings["clip"]:
            raise UserError("no CLIP is set (prior.clip is null)")
        model = Clip(settings["clip"], root(), _device(settings))
    except UserError as error:
        reason = str(error)
        return lambda frames, name: {"clipsim": reason, "clipscore": reason}, {"refused": reason}
    text, features = model.text(prompt), Features(model, root() / "store" / "features")

    def score(frames, name):
        images = features(frames, name)
        return {"clipsim": clipsim.clipsim(text, images), "clipscore": clipsim.clipscore(text, images)}

    return score, {"name": model.name, "sha256": model.sha256, "library": f"open_clip {_version('open_clip')}",
                   "prefix": "", "prompt": prompt}


def _fid_scorer(settings: dict, train: np.ndarray, heldout: np.ndarray, num_frames: int):
    """A function of frames giving FID and KID (or their refusal), what stands behind it, and the floors."""
    from eval import fid
    from eval.features import INCEPTION_FILE, Features, Inception

    names = ("fid_train", "fid_heldout", "kid_heldout")
    try:
        if not settings["fid"]:
            raise UserError("evaluate.fid is false")
        model = Inception(root() / "weights" / INCEPTION_FILE, _device(settings))
    except UserError as error:
        reason = str(error)
        return lambda frames, name: dict.fromkeys(names, reason), {"refused": reason}, {"refused": reason}
    features = Features(model, root() / "store" / "features")
    references = {"train": features(train, "training frames"), "heldout": features(heldout, "held-out frames")}
    pool = np.concatenate(list(references.values()))

    floors = {}
    for name, reference in references.items():
        alike = measured(fid.real_vs_real, pool, num_frames, len(reference), 10, settings["seed"])
        floors[name] = {
            "n": num_frames, "n_reference": len(reference), "rank_floor": fid.rank_floor(reference, num_frames),
            "real_vs_real": alike if isinstance(alike, dict) else {"refused": alike},
        }

    def score(frames, name):
        images = features(frames, name)
        values = {
            "fid_train": measured(fid.fid_from_features, images, references["train"]),
            "fid_heldout": measured(fid.fid_from_features, images, references["heldout"]),
            "kid_heldout": measured(fid.kid_from_features, images, references["heldout"]),
        }
        if name in ("heldout", "shuffled"):
            values |= dict.fromkeys(names[1:], "these frames are part of the reference")
        return values

    return score, {"name": model.name, "sha256": model.sha256, "aspect": "squashed to 299x299 on both sides"}, floors


def summarise(values: list[float | str], unit: str, resamples: int, seed: int) -> dict:
    """Mean over films with a 95% percentile bootstrap interval where there are 2 or more: {"value", "low", "high",
    "n", "unit", "values"}; or {"refused": reason} where any film has a reason (str) instead of a value."""
    from scipy.stats import bootstrap

    refused = [value for value in values if isinstance(value, str)]
    if refused or not values:
        return {"refused": refused[0] if refused else "no films"}
    low = high = None
    if len(values) > 1:
        interval = bootstrap((values,), np.mean, n_resamples=resamples, method="percentile",
                             rng=np.random.default_rng(seed)).confidence_interval
        low, high = interval.low, interval.high
    return {"value": np.mean(values), "low": low, "high": high, "n": len(values), "unit": unit, "values": values}


def _rounded(value):
    """Plain Python numbers of 6 significant digits: the last bits differ between machines and batch sizes."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, (float, np.floating)) else value


def _device(settings: dict) -> str:
    import torch

    device = settings.get("device", "cpu")
    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _version(module: str) -> str:
    return __import__(module).__version__
