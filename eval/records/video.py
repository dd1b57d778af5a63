"""Scores every film of one video, and the controls beside them, into one metrics.json.

A number never stands alone: value, interval, n and unit, or a refusal with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from eval.features.devices import pick_device, version
from eval.features.lpips import Lpips
from eval.films.read import read_images, size_of
from eval.metrics import ceiling, dynamics, fidelity, motion
from eval.metrics.clip import ClipMetrics
from eval.metrics.film import alone, beside, nearest, start
from eval.metrics.flags import flags, real_value
from eval.metrics.frechet import InceptionMetrics, VideoMetrics
from eval.metrics.reference import Reference
from eval.metrics.suite import FLOWS, Suite, disagreements
from eval.records.material import REAL, Material
from eval.records.sets import deviations, film_sets, through_vae
from eval.registry import IN_TIME, MISMATCHED, NEEDS, TO_HELDOUT, UNITS
from eval.statistics.intervals import Measured, Row, measured, rounded
from eval.statistics.paired import differences
from eval.statistics.small import FEWEST, LEVEL, crossed, summarise
from lnm.files import write_json
from lnm.project import root

LABELS = {
    "heldout": "real, held out",
    "heldout_vae": "real, through the VAE",
    "ours": "LateNtMovies (ours)",
    "animatediff_style": "AnimateDiff-style",
    "tune_a_video_style": "Tune-A-Video-style",
    "dreamix_style": "Dreamix-style",
    "from_noise": "ours, begun from noise",
    "carried_still": "ours without the model",
    "identity": "ours, from the identity",
    "frame_by_frame": "checkpoint, frame by frame",
    "flow_extrapolation": "flow extrapolation",
    "static": "static repeat",
    "static_noise": "static + noise",
    "shuffled": "real, shuffled",
    MISMATCHED: "real, mismatched prompt",
}
CONTROLS = ("heldout", "heldout_vae", "static", "static_noise", "shuffled")
TRAINED = ("animatediff_style", "tune_a_video_style", "dreamix_style")  # by our loop, on the same checkpoint and clip
SHEET = ("heldout", "heldout_vae", "ours", "carried_still", "from_noise", *TRAINED, "identity", "frame_by_frame",
         "flow_extrapolation", "static_noise")
VECTORS = ("heldout", "heldout_vae", "ours", "identity")  # whose tracked points a figure shows
SCHEMA = "latentmovies metrics 5"  # 5: detail beside the real clip; films with more than latents hold as decoded too
PARTS = {"heldout": "real", "shuffled": "real", "heldout_vae": "vae"}  # of which frames some sets are
PARTS_VAE = {"shuffled": "vae"}  # the same of what `through_vae` makes
SUMMARY = {  # headline name -> (table, metric) of ours, for `dvc metrics` and the closing verdict of `lnm repro`
    "motion_ratio": ("methods", "motion_ratio"), "motion_ratio_vae": ("against_vae", "motion_ratio"),
    "flow_warp": ("methods", "flow_warp"), "detail_ratio": ("methods", "detail_ratio"),
    "frame0_db": ("methods", "frame0_db"), "fid_heldout": ("methods", "fid_heldout"),
    "clipsim": ("methods", "clipsim"),
}
CROSSED = ("pairs share fine-tunes and stills among them, so they carry no interval, and a test flips the signs of "
           "whole fine-tunes, then of whole stills: its p is the larger")
SHAPE = ("flow_warp", "flow_speed_ratio", "flow_direction_gap", "spectrum_gap")  # how a film moves


class Scorer:
    """Every metric of a film of one video: the networks behind them are opened once."""

    def __init__(self, settings: dict, results: Path, material: Material):
        device, images = pick_device(settings.get("device", "cpu")), settings.get("images")
        prompt = material.films["prompt"]
        self.material, stills = material, range(len(material.stills))
        self.real = [material.real(still) for still in stills]  # that films of each still are compared with
        self.clip = ClipMetrics(settings["clip"], root(), device, prompt, [],
                                read_images(images and root() / images, material.size),
                                np.concatenate([material.real(still) for still in material.real_stills]),
                                no_others="the other videos' prompts are scored where all videos are read: Table 1")
        self.contest = _contest(results / "prepare" / "prompts.json")
        if "refused" not in self.clip.backend:
            self.clip.backend |= _choice(self.contest, settings["clip"])
        self.inception = InceptionMetrics(settings["fid"], root(), device, material.train, material.heldout,
                                          material.length, contiguous=True,
                                          besides=np.concatenate(material.others) if material.others else None)
        self.video = VideoMetrics(root(), device, material.heldout, material.length, material.train)
        self.lpips = measured(Lpips, root() / "weights")
        self.suite = Suite(root(), device, material.trained_on, self.inception, self.clip)
        self.heldout, self.vae = ([Reference(frames, material.length, self.inception, self.clip,
                                             begin=material.follows(still)) for still in stills]
                                  for frames in (material.heldout, material.heldout_vae))
        self.video_vae = VideoMetrics(root(), device, material.heldout_vae, material.length)
        self.detail_vae = [fidelity.detail(reference.real) for reference in self.vae]
        self.ceilings = [vae if isinstance(vae, str) else measured(fidelity.psnr, vae, still)
                         for still, vae in zip(material.stills, material.stills_vae)]

    def __call__(self, frames: np.ndarray, name: str, part_of: str = "", began: int = 0) -> dict[str, float | str]:
        """metric -> value or reason. part_of: "real" or "train" where the frames are some of these, "vae" where they
        are the real ones through the VAE. began: the still that a film begins from, from 0, or that is compared with
        these real frames."""
        own = alone(frames)
        row = self._beside_real(frames, own, name, part_of, began) | nearest(frames, self.material.trained_on)
        still, ceiling = (self.material.stills[began], self.ceilings[began])
        if part_of and not self.material.is_real(began):
            still, ceiling = "these frames are real and do not start from the still", ""
        row |= start(frames[0], still, ceiling, self.lpips)
        detail = self.detail_vae[began]
        row["detail_kept"] = Measured(own["detail"].parts / detail, "frame") if detail else (
            "the reconstructed clip has no detail")
        row |= self.suite(frames, self.material.clip["fps"], still, name)  # of another rate: time is refused later
        return {metric: row[metric] if isinstance(row[metric], str) else row[metric].value for metric in UNITS}

    def _beside_real(self, frames: np.ndarray, own: Row, name: str, part_of: str, began: int) -> Row:
        """What a film is by itself, and beside the real frames that go on from its still."""
        real = self.real[began]
        row = own | beside(frames, own, real, alone(real))
        row |= self.clip(frames, name, part_of == "real") | self.inception(frames, name, part_of)
        return row | self.video(frames, name, part_of == "real") | self.heldout[began].added(
            frames, name, part_of == "real")

    def to_heldout(self, frames: np.ndarray, name: str, part_of: str) -> dict[str, float | str]:
        """metric -> value or reason, of those alone that compare with the held-out frames."""
        row = self._beside_real(frames, alone(frames), name, part_of, self.material.used[0])
        return {metric: row[metric] if isinstance(row[metric], str) else row[metric].value for metric in TO_HELDOUT}

    def against_vae(self, frames: np.ndarray, name: str, part_of: str = "", began: int = 0) -> dict[str, float | str]:
        """metric -> value or reason, of those that compare with real frames, beside them through the autoencoder.
        part_of: "vae" where the frames are some of these. began: as in a call."""
        row = self.vae[began].all(frames, alone(frames), self.video_vae, name, name == "heldout_vae", part_of == "vae")
        return {metric: row[metric] if isinstance(row[metric], str) else row[metric].value for metric in TO_HELDOUT}

    def windows(self) -> list[dict]:
        """SHAPE, "motion_ratio" and "detail_ratio" of each of the clip's other windows beside each held-out one that
        films are compared with, a window after the other: how far a real clip is from itself. "part": which part the
        window is of; "beside": the number, from 1, of the still whose films are compared with that held-out one. A
        measure that is refused is left out."""
        found, reals = list[dict](), {still: alone(self.real[still]) for still in self.material.real_stills}
        for part, frames in self.material.windows():
            own = alone(frames)
            for still, real_row in reals.items():
                row = own | beside(frames, own, self.real[still], real_row)
                found.append({"part": part, "beside": still + 1}
                             | {name: row[name].value for name in (*SHAPE, "motion_ratio", "detail_ratio")
                                if not isinstance(row[name], str)})
        return found

    @property
    def backend(self) -> dict:
        """What stands behind the numbers: names, weights' hashes, or why there is none."""
        films, lpips = self.material.films, self.lpips
        return {
            "inception": self.inception.backend, "clip": self.clip.backend, "i3d": self.video.backend,
            "lpips": {"refused": lpips} if isinstance(lpips, str) else {"name": lpips.name, "sha256": lpips.sha256},
            "flow": f"OpenCV {version('cv2')} DIS, medium preset", **self.suite.backend,
            "temporal_sha256": films.get("temporal_sha256"), "checkpoint": films.get("checkpoint"),
            **({"trained": self.material.trained} if self.material.trained else {}),
        }


def score_sets(sets: dict[str, list[np.ndarray]], score: Scorer, settings: dict,
               parts: dict[str, str] = PARTS) -> dict[str, dict[str, dict]]:
    """name -> metric -> entry over the films of a set. Of films at another rate than the clip's nothing that is
    measured in time is compared. parts: of what some sets are frames, as `Scorer` takes it."""
    from tqdm.auto import tqdm

    material = score.material
    clip, films = material.clip, material.films
    methods = {}
    what = f"evaluate {settings['video']}{'' if parts is PARTS else ', through the VAE'}"
    for name, versions in tqdm(sets.items(), desc=what, unit="method"):
        per_film = [score(frames, name, parts.get(name, ""), began)
                    for frames, began in zip(versions, material.stills_of(name, len(versions)))]
        if name in films["methods"] and films["fps"] != clip["fps"]:
            reason = f"{NEEDS['fps']}: these play at {films['fps']:g} fps, the clip at {clip['fps']:g}"
            for row in per_film:
                row |= {metric: reason for metric in row if metric in IN_TIME}
        methods[name] = _over(per_film, UNITS, name, material)
    return rounded(methods)  # before anything is compared: the last bits differ between machines


def against_vae(sets: dict[str, list[np.ndarray]], made: dict[str, list[np.ndarray] | str],
                score: Scorer) -> dict[str, dict[str, dict]]:
    """name -> metric -> entry of every metric that compares with real frames, beside these through the autoencoder: the
    ceiling of a latent method. made: of `through_vae`, which stand there for the sets of their names. Films at another
    rate than the clip's are refused where time is compared."""
    material = score.material
    clip, films = material.clip, material.films
    found = {}
    for name, versions in (sets | made).items():
        if isinstance(versions, str):
            found[name] = {metric: {"refused": versions} for metric in TO_HELDOUT}
            continue
        per_film = [score.against_vae(frames, name, PARTS_VAE.get(name, ""), began)
                    for frames, began in zip(versions, material.stills_of(name, len(versions)))]
        if name in films["methods"] and films["fps"] != clip["fps"]:
            for row in per_film:
                row |= {metric: NEEDS["fps"] for metric in row if metric in IN_TIME}
        found[name] = _over(per_film, TO_HELDOUT, name, material)
    return rounded(found)


def _over(per_film: list[dict], metrics: Iterable[str], name: str, material: Material) -> dict[str, dict]:
    """metric -> entry over the films of a method; where they are counted in another unit than ours, as controls of
    several stills are, "counted" says in which."""
    clusters = material.clusters(name, len(per_film))
    unit = unit_of({"clusters": {"ours": clusters or []}})["unit"]
    more = {"counted": unit} if clusters and unit != unit_of(material.films)["unit"] else {}
    entries = {metric: summarise([row[metric] for row in per_film], UNITS[metric], clusters) for metric in metrics}
    return {metric: entry | more if "value" in entry else entry for metric, entry in entries.items()}


def evaluate_video(settings: dict, results: Path, out: Path) -> dict:
    """Scores the films under `results` (results/<video>) and writes metrics.json, summary.json, sheet.png and clip.json
    (`ClipMetrics.vectors`, for prompts of other videos) into `out`. Returns what metrics.json holds.

    settings: video, seed (of the noise), clip (an open_clip name, folder or null), fid, device; optional
    baselines {path under the root: hash}, noise_control ("matched", or a standard deviation in [0, 1]) and images
    (a folder of natural images under the root; else the held-out frames).
    """
    material = Material.read(results)
    sigmas = deviations(material, [material.stills[k] for k in material.used], settings, material.heldout)
    sets, made = film_sets(material, results, settings, sigmas), through_vae(material, settings, results)
    score = Scorer(settings, results, material)
    methods = score_sets(sets, score, settings)
    alike = rounded(score.to_heldout(material.train[-material.length:], "real, trained on", "train"))
    control_names = [name for name in sets if name in CONTROLS]
    sheet = [name for name in SHEET if name in sets] + [name for name in sets if name not in LABELS]
    metrics = rounded({
        "schema": SCHEMA,
        "video": settings["video"],
        "prompt": material.films["prompt"],
        "fps": material.clip["fps"],
        "size": list(material.heldout.shape[1:3]),
        "n_seeds": len(material.films["seeds"]),
        "seed": settings["seed"],
        "interval": unit_of(material.films, 1 + len(material.others)),
        "sizes": {name: f"{material.size[0]}x{material.size[1]}" for name in sets} | {
            Path(path).parent.name: size_of(root() / path) for path in settings.get("baselines", {})},
        "backend": score.backend,
        "labels": {name: LABELS.get(name, name) for name in sets},
        "sheet": sheet,
        "controls": control_names,
        "methods": methods,
        "methods_vae": score_sets({name: films for name, films in made.items() if not isinstance(films, str)}, score,
                                  settings, PARTS_VAE)
        | {name: {metric: {"refused": why} for metric in UNITS} for name, why in made.items() if isinstance(why, str)},
        "against_vae": against_vae(sets, made, score),
        "windows": score.windows(),
        "vectors": dynamics.shares(shown(sets, methods)),
        "flags": flags(methods, control_names, "heldout", alike),
        "flow_disagreements": {name: disagreements(methods, pair) for name, pair in FLOWS.items()},
        "differences": differences(methods, _real(methods, alike), material.clusters("ours", len(sets["ours"])),
                                   material.started_alike, _begun(material, sets)),
        "reference": _reference(score, methods, sigmas)
        | {"train_window": alike},  # the last frames trained on, as many: real frames compared with held-out ones
    })
    metrics["differences_vae"] = rounded(ceiling.differences_vae(
        metrics, material.clusters("ours", len(sets["ours"])), material.started_alike, _begun(material, sets)))
    _write(metrics, sets, material.length, out)
    candidates = [candidate["prompt"] for candidate in score.contest.get("candidates", [])]
    write_json(out / "clip.json", rounded({"prompt": material.films["prompt"], "candidates": candidates}
                                          | score.clip.vectors()))
    return metrics


def shown(sets: dict[str, list[np.ndarray]], methods: dict[str, dict]) -> dict[str, list[np.ndarray]]:
    """The films whose tracked points a figure shows: the real clip's, and those that can be compared with it."""
    return {name: sets[name] for name in VECTORS if name in sets and (
        name == "heldout" or any("value" in methods[name][f"{what}_gap"] for what in dynamics.VECTORS))}


def _begun(material: Material, sets: dict[str, list[np.ndarray]]) -> dict[str, list[int]]:
    """method -> the still that each of its films begins from; {} where there is one still, or for real frames."""
    several = len(material.used) > 1
    return {name: material.stills_of(name, len(films)) for name, films in sets.items() if several and name not in REAL}


def unit_of(films: dict, clips: int = 1) -> dict:
    """What is counted where films are summarised, how, and what the number does not cover. films: sample/films.json; of
    its names ("fine-tune 1, still 2") each part that takes more than one value is covered. clips: that each fine-tune
    learned from."""
    names = films.get("clusters", {}).get("ours", [])
    parts = {part for name in names for part in name.split(", ")}
    values = {what: sum(part.startswith(what) for part in parts) for what in ("fine-tune", "still")}
    each = ("still", "clip" if clips == 1 else "set of clips", "fine-tune")
    *fixed, last = [f"one {what}" for what in each if values.get(what, 0) < 2]
    fixed = f"{', '.join(fixed)} and {last}" if fixed else last
    varied = [what for what in values if values[what] > 1] or [what for what in values if values[what]]
    shared = {"crossed": CROSSED} if crossed(names) else {}
    return {"level": LEVEL, "fewest": FEWEST, "unit": " and ".join(varied) or "film", **shared,
            "not_covered": fixed, "method": f"Student's t from {FEWEST} on; of fewer the points and their range",
            "note": f"all films share {fixed}: another would differ by more than these films do from each other"}


def _real(methods: dict, alike: dict) -> dict[str, float]:
    """metric -> what real frames get, where they get anything."""
    found = {metric: real_value(metric, methods["heldout"], alike) for metric in UNITS}
    return {metric: value for metric, value in found.items() if value is not None}


def _reference(score: Scorer, methods: dict, sigmas: list[float]) -> dict:
    """What the numbers of a film are read beside: the real clip's own, the VAE's, and how many frames of each."""
    material = score.material
    ceilings = [None if isinstance(score.ceilings[k], str) else score.ceilings[k] for k in material.used]
    flow = {name: methods["heldout"][metric].get("value") for name, metric in
            (("error", "flow_warp"), ("visible", "flow_visible"), ("speed", "flow_speed"))}
    return {
        "motion_energy": motion.motion_energy(score.real[material.used[0]]), "flow": flow,
        "detail_vae": score.detail_vae[material.used[0]],
        "ceiling_db": ceilings[0],
        "frames_compared": material.length, "frames_film": material.films["num_frames"],
        "frames_heldout": len(material.heldout), "frames_train": len(material.train), "noise_sigma": sigmas[0],
        "still_is_first_heldout": material.real_still == 0,
        "fid": score.inception.floors(), "fid_vae": score.inception.floors_of(material.heldout_vae),
        "fvd": score.video.floor(),
    } | ({"stills": {"used": [k + 1 for k in material.used], "ceiling_db": ceilings, "noise_sigma": sigmas,
                      "begins": [material.follows(k) for k in material.used]}}
         if len(material.used) > 1 else {})


def _write(metrics: dict, sets: dict[str, list[np.ndarray]], length: int, out: Path) -> None:
    """metrics.json, the headlines in summary.json, and sheet.png: the same steps in every row."""
    from lnm import video

    found = {name: metrics[table].get("ours", {}).get(metric, {}) for name, (table, metric) in SUMMARY.items()}
    summary = {name: entry["value"] for name, entry in found.items() if "value" in entry}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "metrics.json", metrics)
    write_json(out / "summary.json", summary)
    rows = [(LABELS.get(name, name), sets[name][0][:length]) for name in metrics["sheet"]]
    video.contact_sheet(rows, columns=8, path=out / "sheet.png")


def _contest(path: Path) -> dict:
    """prepare/prompts.json: the prompts that stood for choice, which CLIP chose, and how; {} where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _choice(contest: dict, clip: str) -> dict:
    """{"chosen_by", "circular"}: which CLIP chose the prompt, and whether it is the one that scores; {} where there was
    no other prompt to choose."""
    if len(contest.get("candidates", [])) < 2 or not contest.get("clip"):
        return {}
    return {"chosen_by": contest["clip"], "circular": contest["clip"] == clip}
