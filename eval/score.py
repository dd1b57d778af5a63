"""Scores anybody's frames: every metric with its interval, controls beside it, refusals with their reasons.

    lnm score --frames DIR_OR_VIDEO --method NAME [--reference DIR_OR_VIDEO] [--prompt "..."] [--json FILE]

The metrics are those of the pipeline (eval/measure.py); `held-out` is what --reference gives. Nothing is known of the
method but its frames.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from eval import controls, fidelity, measure, motion
from eval.evaluate import read_images, rounded
from eval.measure import DIRECTIONS, UNITS, Measured, measured
from lnm.errors import UserError
from lnm.files import cache_folder
from lnm.workflow.params import load, root

NOTE = ("Intervals take the parts they resample for independent; neighbouring frames are alike, so the film is less "
        "certain than they say. Another film of the same method differs by more.")
LABELS = {"static": "static", "static_noise": "static + noise", "shuffled": "shuffled",
          "reference": "reference"}


def read(option: str, path: str | None, fps: float | None, size: int | None) -> tuple[np.ndarray, float | None] | None:
    """(frames uint8 (F, H, W, 3), their fps or None where nothing says it); None for no path. A wrong file is a
    UserError that names the option."""
    from lnm import video

    if path is None:
        return None
    try:
        clip = video.read(path, fps=fps or (1 if Path(path).is_dir() else None), size=size)
    except UserError as error:
        raise UserError(f"{option} {error}") from None
    return clip.frames, fps if Path(path).is_dir() else clip.fps


def score(args) -> dict:
    """Everything about one film, in the form of metrics.json: each entry {"value", "low", "high", "n", "resampled",
    "interval", "unit"} or {"refused"}. `args` as `main` parses them."""
    sources = {option: read(f"--{option}", getattr(args, option), args.fps, args.size)
               for option in ("frames", "reference", "train")}
    size = args.size
    sizes = {source[0].shape[1:3] for source in sources.values() if source}
    if len(sizes) > 1:  # squares as large as the smallest allows, the same for all
        size = min(side for shape in sizes for side in shape)
        sources = {option: read(f"--{option}", getattr(args, option), args.fps, size) for option in sources}
    frames, fps = sources["frames"]
    no_reference, no_train = "no real frames to compare with (--reference)", "no training frames (--train)"
    reference = sources["reference"][0] if sources["reference"] else no_reference
    train = sources["train"][0] if sources["train"] else no_train
    reference_fps = sources["reference"][1] if sources["reference"] else None
    out_of_step = bool(fps and reference_fps and abs(fps / reference_fps - 1) > 0.01)

    still = "no still to compare with (--still, or --reference)" if isinstance(reference, str) else reference[0]
    if args.still:
        from lnm import video

        square = size or (frames.shape[1] if frames.shape[1] == frames.shape[2] else None)
        still = video.read_image(args.still, square)
        if still.shape != frames[0].shape:
            raise UserError(f"--still {args.still}: {still.shape[1]} x {still.shape[0]}, the frames are "
                            f"{frames.shape[2]} x {frames.shape[1]}: give --size")
    real = reference if isinstance(reference, str) else reference[:len(frames)]
    home, clip = _home(), load().checkpoint.clip if args.clip is None else args.clip
    device = measure.pick_device(args.device)
    images = read_images(args.images and Path(args.images), size or min(frames.shape[1:3]))
    clip_metrics = measure.ClipMetrics(
        None if clip == "none" else clip, home, device, args.prompt or "", args.other_prompt, images, real,
        "" if args.prompt else "no prompt was given (--prompt)")
    inception = measure.InceptionMetrics(True, home, device, train, reference)
    fvd_metrics = measure.VideoMetrics(home, device, reference)
    lpips = measured(fidelity.Lpips, home / "weights")
    real_row = {} if isinstance(real, str) else measure.alone(real)

    def row_of(film, label, part_of=""):
        own = measure.alone(film)
        row = own | measure.beside(film, own, real, real_row) | measure.nearest(film, train)
        row |= measure.start(film[0], still, "the VAE is not known here", lpips)
        row["detail_kept"] = "the VAE is not known here"
        row |= clip_metrics(film, label, part_of == "real") | inception(film, label, part_of)
        row |= fvd_metrics(film, label, part_of == "real")
        return {metric: row[metric] for metric in UNITS}

    films = {args.method: (frames, "")} | _controls(frames, real, args.seed)
    methods = {}
    for name, (film, part_of) in films.items():
        row = row_of(film, name, part_of)
        if out_of_step and part_of != "real":
            reason = f"the frames play at {fps:g} fps, the reference at {reference_fps:g}: give --fps"
            compared = [metric for metric in measure.TO_HELDOUT if metric.startswith(measure.IN_TIME)]
            row |= dict.fromkeys(compared, reason)
        methods[name] = {metric: entry_of(row[metric], UNITS[metric], args.bootstrap, args.seed) for metric in UNITS}
    methods = rounded(methods)
    names = [name for name in films if name in LABELS]
    return rounded({
        "method": args.method,
        "frames": {"path": args.frames, "n": len(frames), "fps": fps, "size": list(frames.shape[1:3])},
        "reference": None if isinstance(reference, str) else
        {"path": args.reference, "n": len(reference), "fps": reference_fps, "compared": len(real)},
        "train": None if isinstance(train, str) else {"path": args.train, "n": len(train)},
        "prompt": args.prompt,
        "interval": {"level": 0.95, "resamples": args.bootstrap, "seed": args.seed, "note": NOTE},
        "backend": {
            "inception": inception.backend, "clip": clip_metrics.backend, "i3d": fvd_metrics.backend,
            "lpips": {"refused": lpips} if isinstance(lpips, str) else {"name": lpips.name, "sha256": lpips.sha256},
            "flow": f"OpenCV {measure.version('cv2')} DIS, medium preset",
            "squares": f"centre squares of {size} pixels" if size else "frames as they are",
            "time": "frames are compared step by step" + (
                "" if fps and reference_fps else ", as if of one frame rate: a folder states none"),
        },
        "labels": {args.method: args.method} | {name: LABELS[name] for name in names},
        "controls": names,
        "methods": methods,
        # a reference compared with itself says nothing, so only metrics that stand alone can be flagged
        "flags": measure.flags(methods, names, "reference", {}) if "reference" in films else [],
        "floors": inception.floors(len(frames), args.seed),
    })


def _home() -> Path:
    """Where weights and cached features are looked for: the project, or outside of one the user's cache."""
    try:
        return root()
    except UserError:
        return cache_folder()


def _controls(frames: np.ndarray, real: np.ndarray | str, seed: int) -> dict[str, tuple[np.ndarray, str]]:
    """name -> (frames, which real set they are part of). The noise moves as much as the real frames do, and these are
    what is shuffled; without them the film's own frames are."""
    moving = frames if isinstance(real, str) else real
    films = {"static": (controls.static(frames[0], len(frames)), "")}
    if len(moving) > 1:
        sigma = controls.matched_sigma(frames[0], max(len(frames), 2), motion.motion_energy(moving), seed)
        films["static_noise"] = controls.static_noise(frames[0], len(frames), sigma, seed), ""
    if isinstance(real, str):
        return films | {"shuffled": (controls.shuffled(frames, seed), "")}
    return films | {"shuffled": (controls.shuffled(real, seed), "real"), "reference": (real, "real")}


def entry_of(entry: Measured | str, unit: str, resamples: int, seed: int) -> dict:
    """{"value", "low", "high", "n", "resampled", "interval", "unit"} of one film, or {"refused": reason}."""
    if isinstance(entry, str):
        return {"refused": entry}
    low, high = entry.interval(resamples, seed) or (None, None)
    how = None if low is None else "jackknife" if entry.jackknife else "bootstrap"
    return {"value": entry.value, "low": low, "high": high, "n": len(entry.parts), "resampled": entry.unit,
            "interval": how, "unit": unit}


def table(result: dict) -> str:
    """What is printed: a line a metric, then reasons of refusals, then what stands behind the numbers."""
    methods, labels = result["methods"], result["labels"]
    own, flagged = methods[result["method"]], {(flag["metric"], flag["control"]) for flag in result["flags"]}
    shown = [metric for metric in UNITS if "value" in own[metric]]
    rows = [["metric", *labels.values(), "good", "resampled"]]
    for metric in shown:
        cells = []
        for name in labels:
            entry = methods[name][metric]
            text = "-" if "refused" in entry else f"{entry['value']:.4g}"
            if name == result["method"] and entry["low"] is not None:
                text += f" [{entry['low']:.4g}, {entry['high']:.4g}]"
            cells.append(text + ("†" if (metric, name) in flagged else ""))
        good = DIRECTIONS[metric]
        rows.append([metric, *cells, "" if good is None else f"near {good:g}" if isinstance(good, float) else good,
                     f"{own[metric]['n']} {own[metric]['resampled']}{'s' if own[metric]['n'] > 1 else ''}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    film, reference = result["frames"], result["reference"]
    head = f"{result['method']}: {film['n']} frames of {film['size'][1]} x {film['size'][0]}"
    head += f" at {film['fps']:g} fps" if film["fps"] else ""
    head += f", beside {reference['n']} of {reference['path']}" if reference else ", no reference"
    refused: dict[str, list[str]] = {}
    for metric in UNITS:
        if "refused" in own[metric]:
            refused.setdefault(own[metric]["refused"], []).append(metric)
    said = textwrap.wrap(f"95% intervals by bootstrap (FID, KID, FVD: jackknife). {NOTE}", 110)
    lines = [head, *said, "", *lines]
    if result["flags"]:
        lines += ["", "† a control ranks above the real reference: this metric alone does not tell a good film."]
    lines += [f"clipsim: the reference scores {flag['value']:.4g} with other prompts, {flag['real']:.4g} with its own"
              for flag in result["flags"] if flag["control"] == measure.MISMATCHED]
    if refused:
        lines += ["", "refused:", *(f"  {', '.join(names)}: {reason}" for reason, names in refused.items())]
    lines += ["", "units:"]
    for metric in shown:
        unit = UNITS[metric].replace("held-out's", "the reference's").replace("held-out", "reference")
        lines.append(f"  {metric}: {unit}")
    lines += ["", "backend:"]
    for kind, backend in result["backend"].items():
        if isinstance(backend, str):
            lines.append(f"  {kind}: {backend}")
        elif "refused" not in backend:
            lines.append(f"  {kind}: {backend['name']}, weights {backend['sha256'][:12]}"
                         + (f"; {backend['note']}" if "note" in backend else ""))
    for name, floor in result["floors"].items() if "refused" not in result["floors"] else ():
        alike = floor["real_vs_real"]
        said = f"{alike['value']:.4g}" if "value" in alike else f"refused ({alike['refused']})"
        lines.append(f"  FID of {floor['n']} against {floor['n_reference']} ({name.replace('heldout', 'reference')}): "
                     f"real against real {said}, rank floor {floor['rank_floor']:.4g}")
    return "\n".join(lines)
