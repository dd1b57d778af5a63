"""Scores every film of one video, and the controls beside them, into one metrics.json.

A number never stands alone: value, interval, n and unit, or a refusal with its reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.features.devices import pick_device, version
from eval.features.lpips import Lpips
from eval.films import baselines, controls
from eval.films.read import read_baseline, read_images, size_of
from eval.metrics import fidelity, motion
from eval.metrics.clip import ClipMetrics
from eval.metrics.film import alone, beside, nearest, start
from eval.metrics.flags import flags, real_value
from eval.metrics.frechet import InceptionMetrics, VideoMetrics
from eval.metrics.reference import Reference
from eval.metrics.suite import FLOWS, Suite, disagreements
from eval.registry import IN_TIME, MISMATCHED, NEEDS, TO_HELDOUT, UNITS
from eval.statistics.intervals import Measured, Row, measured, rounded
from eval.statistics.paired import differences
from eval.statistics.small import FEWEST, LEVEL, summarise
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
    MISMATCHED: "real, mismatched prompt",
}
CONTROLS = ("heldout", "heldout_vae", "static", "static_noise", "shuffled")
SHEET = ("heldout", "heldout_vae", "ours", "identity", "frame_by_frame", "flow_extrapolation", "static_noise")
SCHEMA = "latentmovies metrics 2"  # 2: measures of public benchmarks, and everything beside the autoencoder's ceiling
SUMMARY = {  # headline name -> metric of ours, for `dvc metrics`
    "motion_ratio": "motion_ratio", "flow_warp": "flow_warp", "detail_kept": "detail_kept",
    "frame0_db_below_ceiling": "frame0_db_below_ceiling", "fid_heldout": "fid_heldout", "clipsim": "clipsim",
}


@dataclass
class Material:
    """What the stages before left of one video, as frames uint8 (F, H, W, 3)."""

    clip: dict  # prepare/clip.json
    films: dict  # sample/films.json
    train: np.ndarray
    heldout: np.ndarray
    heldout_vae: np.ndarray
    still: np.ndarray  # (H, W, 3)
    still_vae: np.ndarray | str  # the still through the VAE, or the reason why it is not known

    @classmethod
    def read(cls, results: Path) -> Material:
        from lnm import video

        clip = json.loads((results / "prepare" / "clip.json").read_text())
        films = json.loads((results / "sample" / "films.json").read_text())
        train, heldout, heldout_vae = (
            video.read_frames(results / "prepare" / name) for name in ("train", "heldout", "heldout_vae")
        )
        still, through = video.read_image(results / "prepare" / "still.png"), results / "prepare" / "still_vae.png"
        if np.array_equal(still, heldout[0]):
            still_vae = heldout_vae[0]
        elif through.is_file():
            still_vae = video.read_image(through)
        else:
            still_vae = "the still is no frame of the clip and prepare/still_vae.png is not there: prepare it anew"
        return cls(clip, films, train, heldout, heldout_vae, still, still_vae)

    @property
    def length(self) -> int:
        """A film is compared with as much of what was held out."""
        return min(self.films["num_frames"], len(self.heldout))

    @property
    def real(self) -> np.ndarray:
        return self.heldout[:self.length]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as `lnm.video` takes them."""
        return self.heldout.shape[2], self.heldout.shape[1]

    @property
    def starts_real(self) -> bool:
        """Whether the still is the first held-out frame, so that the real continuation starts from it."""
        return bool(np.array_equal(self.still, self.heldout[0]))

    def clusters(self, method: str, count: int) -> list[str] | None:
        """What each of a method's `count` films was made from, a name each, where films.json says it ("clusters":
        {method: [name, ...]}, such as "fine-tune 0, still 1"). Raises UserError for another number of names."""
        names = self.films.get("clusters", {}).get(method)
        if names is not None and len(names) != count:
            raise UserError(f"films.json: clusters.{method} names {len(names)} films, there are {count}: sample again")
        return names


def film_sets(material: Material, results: Path, settings: dict, noise: float) -> dict[str, list[np.ndarray]]:
    """Every set of films by name: real frames, the methods of the run, baselines, controls, and what the user brought.

    noise: the standard deviation of `static_noise`, in [0, 1]. No set is longer than the run's films: a distance falls
    with the number of frames. Raises UserError where two sets have one name.
    """
    from lnm import video

    clip, films, still, real = material.clip, material.films, material.still, material.real
    context = {"train": material.train, "train_fps": clip["fps"], "sample": results / "sample"}

    def made(name, count=1):
        return [baselines.generate(name, still, films["num_frames"], clip["fps"], k, **context) for k in range(count)]

    sets = {"heldout": [real], "heldout_vae": [material.heldout_vae[:material.length]]}
    for method in films["methods"]:
        folders = sorted((results / "sample" / method).glob("seed_*"), key=lambda path: int(path.name[5:]))
        sets[method] = (made(method, len(folders)) if method == "frame_by_frame"
                        else list(map(video.read_frames, folders)))
    sets["flow_extrapolation"] = made("flow_extrapolation")
    sets["static"] = made("static")
    sets["static_noise"] = [controls.static_noise(still, films["num_frames"], noise, settings["seed"])]
    sets["shuffled"] = [controls.shuffled(real, settings["seed"])]
    for path in settings.get("baselines", {}):
        method = Path(path).parent.name
        if method in sets:
            raise UserError(f"{path}: the name {method} is taken by this run; rename the folder")
        sets[method] = [film[:films["num_frames"]] for film in read_baseline(root() / path, clip["fps"], material.size)]
    return sets


class Scorer:
    """Every metric of a film of one video: the networks behind them are opened once."""

    def __init__(self, settings: dict, results: Path, material: Material):
        device, images = pick_device(settings.get("device", "cpu")), settings.get("images")
        prompt = material.films["prompt"]
        self.material, self.real = material, material.real
        self.clip = ClipMetrics(settings["clip"], root(), device, prompt, [],
                                read_images(images and root() / images, material.size), self.real,
                                no_others="the other videos' prompts are scored where all videos are read: Table 1")
        self.contest = _contest(results / "prepare" / "prompts.json")
        if "refused" not in self.clip.backend:
            self.clip.backend |= _choice(self.contest, settings["clip"])
        self.inception = InceptionMetrics(settings["fid"], root(), device, material.train, material.heldout,
                                          material.length, contiguous=True)
        self.video = VideoMetrics(root(), device, material.heldout, material.length, material.train)
        self.lpips = measured(Lpips, root() / "weights")
        self.suite = Suite(root(), device, material.train, self.inception, self.clip)
        self.heldout, self.vae = (Reference(frames, material.length, self.inception, self.clip)
                                  for frames in (material.heldout, material.heldout_vae))
        self.video_vae = VideoMetrics(root(), device, material.heldout_vae, material.length)
        self.real_row = alone(self.real)
        self.detail_vae = fidelity.detail(material.heldout_vae[:material.length])
        self.ceiling = material.still_vae if isinstance(material.still_vae, str) else measured(
            fidelity.psnr, material.still_vae, material.still)

    def __call__(self, frames: np.ndarray, name: str, part_of: str = "") -> dict[str, float | str]:
        """metric -> value or reason. part_of: "real" or "train" where the frames are some of these, "vae" where they
        are the real ones through the VAE."""
        own = alone(frames)
        row = self._beside_real(frames, own, name, part_of) | nearest(frames, self.material.train)
        still = self.material.still if not part_of or self.material.starts_real else (
            "these frames are real and do not start from the still")
        row |= start(frames[0], still, self.ceiling, self.lpips)
        row["detail_kept"] = Measured(own["detail"].parts / self.detail_vae, "frame") if self.detail_vae else (
            "the reconstructed clip has no detail")
        row |= self.suite(frames, self.material.clip["fps"], name)  # of films at another rate time is refused
        return {metric: row[metric] if isinstance(row[metric], str) else row[metric].value for metric in UNITS}

    def _beside_real(self, frames: np.ndarray, own: Row, name: str, part_of: str) -> Row:
        """What a film is by itself, and beside the real frames."""
        row = own | beside(frames, own, self.real, self.real_row)
        row |= self.clip(frames, name, part_of == "real") | self.inception(frames, name, part_of)
        return row | self.video(frames, name, part_of == "real") | self.heldout.added(frames, name, part_of == "real")

    def to_heldout(self, frames: np.ndarray, name: str, part_of: str) -> dict[str, float | str]:
        """metric -> value or reason, of those alone that compare with the held-out frames."""
        row = self._beside_real(frames, alone(frames), name, part_of)
        return {metric: row[metric] if isinstance(row[metric], str) else row[metric].value for metric in TO_HELDOUT}

    def against_vae(self, frames: np.ndarray, name: str) -> dict[str, float | str]:
        """metric -> value or reason, of those that compare with real frames, beside them through the autoencoder."""
        row = self.vae.all(frames, alone(frames), self.video_vae, name, name == "heldout_vae")
        return {metric: row[metric] if isinstance(row[metric], str) else row[metric].value for metric in TO_HELDOUT}

    @property
    def backend(self) -> dict:
        """What stands behind the numbers: names, weights' hashes, or why there is none."""
        films, lpips = self.material.films, self.lpips
        return {
            "inception": self.inception.backend, "clip": self.clip.backend, "i3d": self.video.backend,
            "lpips": {"refused": lpips} if isinstance(lpips, str) else {"name": lpips.name, "sha256": lpips.sha256},
            "flow": f"OpenCV {version('cv2')} DIS, medium preset", **self.suite.backend,
            "temporal_sha256": films.get("temporal_sha256"), "checkpoint": films.get("checkpoint"),
        }


def score_sets(sets: dict[str, list[np.ndarray]], score: Scorer, settings: dict) -> dict[str, dict[str, dict]]:
    """name -> metric -> entry over the films of a set. Of films at another rate than the clip's nothing that is
    measured in time is compared."""
    from tqdm.auto import tqdm

    material = score.material
    clip, films = material.clip, material.films
    methods = {}
    for name, versions in tqdm(sets.items(), desc=f"evaluate {settings['video']}", unit="method"):
        part_of = "real" if name in ("heldout", "shuffled") else "vae" if name == "heldout_vae" else ""
        per_film = [score(frames, name, part_of) for frames in versions]
        if name in films["methods"] and films["fps"] != clip["fps"]:
            reason = f"{NEEDS['fps']}: these play at {films['fps']:g} fps, the clip at {clip['fps']:g}"
            for row in per_film:
                row |= {metric: reason for metric in row if metric in IN_TIME}
        methods[name] = {
            metric: summarise([row[metric] for row in per_film], UNITS[metric], material.clusters(name, len(versions)))
            for metric in UNITS
        }
    return rounded(methods)  # before anything is compared: the last bits differ between machines


def against_vae(sets: dict[str, list[np.ndarray]], score: Scorer) -> dict[str, dict[str, dict]]:
    """name -> metric -> entry of every metric that compares with real frames, beside these through the autoencoder: the
    ceiling of a latent method. Films at another rate than the clip's are refused where time is compared."""
    material = score.material
    clip, films = material.clip, material.films
    found = {}
    for name, versions in sets.items():
        per_film = [score.against_vae(frames, name) for frames in versions]
        if name in films["methods"] and films["fps"] != clip["fps"]:
            for row in per_film:
                row |= {metric: NEEDS["fps"] for metric in row if metric in IN_TIME}
        found[name] = {metric: summarise([row[metric] for row in per_film], UNITS[metric],
                                         material.clusters(name, len(versions))) for metric in TO_HELDOUT}
    return rounded(found)


def evaluate_video(settings: dict, results: Path, out: Path) -> dict:
    """Scores the films under `results` (results/<video>) and writes metrics.json, summary.json, sheet.png and clip.json
    (`ClipMetrics.vectors`, for prompts of other videos) into `out`. Returns what metrics.json holds.

    settings: video, seed (of the noise), clip (an open_clip name, folder or null), fid, device; optional
    baselines {path under the root: hash}, noise_control ("matched", or a standard deviation in [0, 1]) and images
    (a folder of natural images under the root; else the held-out frames).
    """
    material = Material.read(results)
    noise, energy = settings.get("noise_control", "matched"), motion.motion_energy(material.real)
    if noise == "matched":
        noise = controls.matched_sigma(material.still, material.films["num_frames"], energy, settings["seed"])
    sets = film_sets(material, results, settings, noise)
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
        "size": list(material.real.shape[1:3]),
        "n_seeds": len(material.films["seeds"]),
        "seed": settings["seed"],
        "interval": unit_of(material.films),
        "sizes": {name: f"{material.size[0]}x{material.size[1]}" for name in sets} | {
            Path(path).parent.name: size_of(root() / path) for path in settings.get("baselines", {})},
        "backend": score.backend,
        "labels": {name: LABELS.get(name, name) for name in sets},
        "sheet": sheet,
        "controls": control_names,
        "methods": methods,
        "against_vae": against_vae(sets, score),
        "flags": flags(methods, control_names, "heldout", alike),
        "flow_disagreements": {name: disagreements(methods, pair) for name, pair in FLOWS.items()},
        "differences": differences(methods, _real(methods, alike), material.clusters("ours", len(sets["ours"]))),
        "reference": _reference(score, methods, energy, noise)
        | {"train_window": alike},  # the last frames trained on, as many: real frames compared with held-out ones
    })
    _write(metrics, sets, material.length, out)
    candidates = [candidate["prompt"] for candidate in score.contest.get("candidates", [])]
    write_json(out / "clip.json", rounded({"prompt": material.films["prompt"], "candidates": candidates}
                                          | score.clip.vectors()))
    return metrics


def unit_of(films: dict) -> dict:
    """What is counted where films are summarised, how, and what the number does not cover. films: sample/films.json; of
    its names ("fine-tune 1, still 2") each part that takes more than one value is covered."""
    parts = {part for name in films.get("clusters", {}).get("ours", []) for part in name.split(", ")}
    values = {what: sum(part.startswith(what) for part in parts) for what in ("fine-tune", "still")}
    *fixed, last = [f"one {what}" for what in ("still", "clip", "fine-tune") if values.get(what, 0) < 2]
    fixed = f"{', '.join(fixed)} and {last}" if fixed else last
    return {"level": LEVEL, "fewest": FEWEST, "unit": " and ".join(what for what in values if values[what]) or "film",
            "not_covered": fixed, "method": f"Student's t from {FEWEST} on; of fewer the points and their range",
            "note": f"all films share {fixed}: another would differ by more than these films do from each other"}


def _real(methods: dict, alike: dict) -> dict[str, float]:
    """metric -> what real frames get, where they get anything."""
    found = {metric: real_value(metric, methods["heldout"], alike) for metric in UNITS}
    return {metric: value for metric, value in found.items() if value is not None}


def _reference(score: Scorer, methods: dict, energy: float, noise: float) -> dict:
    """What the numbers of a film are read beside: the real clip's own, the VAE's, and how many frames of each."""
    material = score.material
    flow = {name: methods["heldout"][metric].get("value") for name, metric in
            (("error", "flow_warp"), ("visible", "flow_visible"), ("speed", "flow_speed"))}
    return {
        "motion_energy": energy, "flow": flow, "detail_vae": score.detail_vae,
        "ceiling_db": None if isinstance(score.ceiling, str) else score.ceiling,
        "frames_compared": material.length, "frames_film": material.films["num_frames"],
        "frames_heldout": len(material.heldout), "frames_train": len(material.train), "noise_sigma": noise,
        "still_is_first_heldout": material.starts_real,
        "fid": score.inception.floors(), "fid_vae": score.inception.floors_of(material.heldout_vae),
        "fvd": score.video.floor(),
    }


def _write(metrics: dict, sets: dict[str, list[np.ndarray]], length: int, out: Path) -> None:
    """metrics.json, the headlines in summary.json, and sheet.png: the same steps in every row."""
    from lnm import video

    ours = metrics["methods"].get("ours", {})
    summary = {name: ours[metric]["value"] for name, metric in SUMMARY.items() if "value" in ours.get(metric, {})}
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
