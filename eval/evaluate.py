"""Scores every film of one video, and the controls beside them, into one metrics.json.

A number never stands alone: value, interval, n and unit, or a refusal with its reason.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from eval import baselines, controls, fidelity, measure, motion
from eval.measure import UNITS, measured
from lnm.errors import UserError
from lnm.files import write_json
from lnm.workflow.params import root

LABELS = {
    "heldout": "real, held out",
    "heldout_vae": "real, through the VAE",
    "ours": "LateNtMovies (ours)",
    "identity": "ours, from the identity",
    "frame_by_frame": "checkpoint, frame by frame",
    "flow_extrapolation": "flow extrapolation",
    "static": "static repeat",
    "static_noise": "static + noise",
    "shuffled": "real, shuffled",
    measure.MISMATCHED: "real, mismatched prompt",
}
CONTROLS = ("heldout", "heldout_vae", "static", "static_noise", "shuffled")
SUMMARY = {  # headline name -> metric of ours, for `dvc metrics`
    "motion_ratio": "motion_ratio", "flow_warp": "flow_warp", "detail_kept": "detail_kept",
    "frame0_db_below_ceiling": "frame0_db_below_ceiling", "fid_heldout": "fid_heldout", "clipsim": "clipsim",
}
VIDEO_SUFFIXES = {".mp4", ".webm", ".mov", ".avi", ".gif", ".mkv"}


def evaluate_video(settings: dict, results: Path, out: Path) -> dict:
    """Scores the films under `results` (results/<video>) and writes metrics.json, summary.json, sheet.png and
    motion.png into `out`. Returns what metrics.json holds.

    settings: video, seed (of bootstrap and noise), clip (an open_clip name, folder or null), fid, bootstrap
    (resamples), device; optional baselines {path under the root: hash}, noise_control ("matched", or a standard
    deviation in [0, 1]) and images (a folder of natural images under the root; else the held-out frames).
    """
    from tqdm.auto import tqdm

    from eval import drawing
    from lnm import video

    clip = json.loads((results / "prepare" / "clip.json").read_text())
    films = json.loads((results / "sample" / "films.json").read_text())
    train, heldout, heldout_vae = (
        video.read_frames(results / "prepare" / name) for name in ("train", "heldout", "heldout_vae")
    )
    still = video.read_image(results / "prepare" / "still.png")
    num_frames = films["num_frames"]
    length = min(num_frames, len(heldout))  # a film is compared with as much of what was held out
    real = heldout[:length]

    context = {"train": train, "train_fps": clip["fps"], "sample": results / "sample"}
    size = real.shape[2], real.shape[1]  # width and height, as `lnm.video` takes them

    def made(name, count=1):
        return [baselines.generate(name, still, num_frames, clip["fps"], k, **context) for k in range(count)]

    sets = {"heldout": [real], "heldout_vae": [heldout_vae[:length]]}
    for method in films["methods"]:
        folders = sorted((results / "sample" / method).glob("seed_*"), key=lambda path: int(path.name[5:]))
        sets[method] = (made(method, len(folders)) if method == "frame_by_frame"
                        else list(map(video.read_frames, folders)))
    sets["flow_extrapolation"] = made("flow_extrapolation")
    noise, energy = settings.get("noise_control", "matched"), motion.motion_energy(real)
    if noise == "matched":
        noise = controls.matched_sigma(still, num_frames, energy, settings["seed"])
    sets["static"] = made("static")
    sets["static_noise"] = [controls.static_noise(still, num_frames, noise, settings["seed"])]
    sets["shuffled"] = [controls.shuffled(real, settings["seed"])]
    for path in settings.get("baselines", {}):
        method = Path(path).parent.name
        if method in sets:
            raise UserError(f"{path}: the name {method} is taken by this run; rename the folder")
        sets[method] = read_baseline(root() / path, clip["fps"], size)

    device, images = measure.pick_device(settings.get("device", "cpu")), settings.get("images")
    clip_metrics = measure.ClipMetrics(settings["clip"], root(), device, films["prompt"],
                                       other_prompts(results / "prepare" / "prompts.json", films["prompt"]),
                                       read_images(images and root() / images, size), real)
    inception = measure.InceptionMetrics(settings["fid"], root(), device, train, heldout)
    fvd_metrics = measure.VideoMetrics(root(), device, heldout)
    lpips = measured(fidelity.Lpips, root() / "weights")
    real_row = measure.alone(real)
    detail_vae, ceiling = fidelity.detail(heldout_vae[:length]), fidelity.psnr(heldout_vae[0], heldout[0])

    def row_of(frames, name, part_of=""):
        own = measure.alone(frames)
        row = own | measure.beside(frames, own, real, real_row) | measure.nearest(frames, train)
        row |= measure.start(frames[0], still, ceiling, lpips)
        row["detail_kept"] = measure.Measured(own["detail"].parts / detail_vae, "frame") if detail_vae else (
            "the reconstructed clip has no detail")
        row |= clip_metrics(frames, name, part_of == "real") | inception(frames, name, part_of)
        row |= fvd_metrics(frames, name, part_of == "real")
        return {metric: row[metric] if isinstance(row[metric], str) else row[metric].value for metric in UNITS}

    same_fps = films["fps"] == clip["fps"]
    methods = {}
    for name, versions in tqdm(sets.items(), desc=f"evaluate {settings['video']}", unit="method"):
        part_of = "real" if name in ("heldout", "shuffled") else ""
        per_film = [row_of(frames, name, part_of) for frames in versions]
        if name in films["methods"] and not same_fps:
            reason = f"the films play at {films['fps']:g} fps, the clip at {clip['fps']:g}: not comparable"
            for row in per_film:
                row |= {metric: reason for metric in row if metric.startswith(measure.IN_TIME)}
        methods[name] = {
            metric: summarise([row[metric] for row in per_film], UNITS[metric], settings["bootstrap"], settings["seed"])
            for metric in UNITS
        }
    methods = rounded(methods)  # before anything is compared: the last bits differ between machines
    window = row_of(train[-length:], "real, trained on", "train")
    alike = rounded({metric: window[metric] for metric in measure.TO_HELDOUT})
    control_names = [name for name in sets if name in CONTROLS]

    sheet = [name for name in ("heldout", "heldout_vae", "ours", "identity", "frame_by_frame", "flow_extrapolation",
                               "static_noise") if name in sets]
    sheet += [name for name in sets if name not in LABELS]
    flow = {name: methods["heldout"][metric].get("value") for name, metric in
            (("error", "flow_warp"), ("visible", "flow_visible"), ("speed", "flow_speed"))}
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
            "inception": inception.backend, "clip": clip_metrics.backend, "i3d": fvd_metrics.backend,
            "lpips": {"refused": lpips} if isinstance(lpips, str) else {"name": lpips.name, "sha256": lpips.sha256},
            "flow": f"OpenCV {measure.version('cv2')} DIS, medium preset",
            "temporal_sha256": films.get("temporal_sha256"), "checkpoint": films.get("checkpoint"),
        },
        "labels": {name: LABELS.get(name, name) for name in sets},
        "sheet": sheet,
        "controls": control_names,
        "methods": methods,
        "flags": measure.flags(methods, control_names, "heldout", alike),
        "differences": differences(methods, settings["bootstrap"], settings["seed"]),
        "reference": {
            "motion_energy": energy, "flow": flow, "detail_vae": detail_vae, "ceiling_db": ceiling,
            "frames_compared": length, "frames_film": num_frames,
            "frames_heldout": len(heldout), "frames_train": len(train), "noise_sigma": noise,
            "still_is_first_heldout": bool(np.array_equal(still, heldout[0])),
            "fid": inception.floors(num_frames, settings["seed"]),
            "train_window": alike,  # the last frames trained on, as many: real frames compared with held-out ones
        },
    }
    metrics = rounded(metrics)
    ours = metrics["methods"].get("ours", {})
    summary = {name: ours[metric]["value"] for name, metric in SUMMARY.items() if "value" in ours.get(metric, {})}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "metrics.json", metrics)
    write_json(out / "summary.json", summary)
    rows = [(LABELS.get(name, name), sets[name][0][:length]) for name in sheet]  # the same steps in every row
    video.contact_sheet(rows, columns=8, path=out / "sheet.png")
    drawing.motion(metrics, out / "motion.png")
    return metrics


def other_prompts(path: Path, prompt: str) -> list[str]:
    """The prompts that prepare's prompts.json lists for the video and that were not chosen: the mismatched control."""
    if not path.is_file():
        return []
    candidates = json.loads(path.read_text(encoding="utf-8"))["candidates"]
    return [candidate["prompt"] for candidate in candidates if candidate["prompt"] != prompt]


def read_images(folder: Path | None, size: int | tuple[int, int]) -> np.ndarray | None:
    """Every image in a folder, cut around its centre and resized to `size` pixels, the side of a square or (width,
    height): uint8 (N, height, width, 3); None for None."""
    from lnm import video

    if not folder:
        return None
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in video.IMAGES)
    if not files:
        raise UserError(f"{folder}: no images ({', '.join(video.IMAGES)}) in this folder")
    return np.stack([video.read_image(path, size) for path in files])


def differences(methods: dict, resamples: int, seed: int) -> dict:
    """Ours minus each other set of films, metric by metric: method -> metric -> entry as of `summarise`.

    Film k is paired with film k (ours and the checkpoint's start from one seed); a set of one film is paired with each.
    """
    ours, out = methods["ours"], {}
    for name, row in methods.items():
        if name == "ours":
            continue
        out[name] = {}
        for metric in UNITS:
            refused = [entry["refused"] for entry in (ours[metric], row[metric]) if "refused" in entry]
            a, b = (entry.get("values", []) for entry in (ours[metric], row[metric]))
            if not refused and len(a) != len(b) and len(b) > 1:
                refused = [f"{len(a)} films against {len(b)}: no pairs"]
            out[name][metric] = {"refused": refused[0]} if refused else summarise(
                [x - y for x, y in zip(a, b if len(b) > 1 else b * len(a))], UNITS[metric], resamples, seed)
    return out


def read_baseline(path: Path, fps: float, size: int | tuple[int, int] | None) -> list[np.ndarray]:
    """Films of another program: a video file, a folder of frames, a folder with one video file, or of seed_* folders
    of either. A video is resampled to `fps`, frames in a folder are taken as such; they are cut around the centre and
    resized to `size` pixels, the side of a square or (width, height). Returns a list of uint8 (F, height, width, 3)."""
    from lnm import video

    films = []
    for part in sorted(path.glob("seed_*")) or [path]:
        files = [file for file in part.glob("*") if file.suffix.lower() in VIDEO_SUFFIXES]
        if len(files) > 1:
            raise UserError(f"{part}: {len(files)} video files; put each into a folder seed_0, seed_1, ...")
        films.append(video.read(files[0] if files else part, fps=fps, size=size).frames)
    return films


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


def rounded(value):
    """Plain Python numbers of 6 significant digits: the last bits differ between machines and batch sizes."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, (float, np.floating)) else value
