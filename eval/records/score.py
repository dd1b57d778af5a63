"""Scores anybody's films: every metric with its interval, controls beside it, refusals with their reasons.

    from eval import score
    result = score("film/", reference="real.mp4", prompt="ocean waves", fps=8)

    lnm score --frames DIR_OR_VIDEO --method NAME [--reference DIR_OR_VIDEO] [--prompt "..."] [--json FILE]

The metrics are those of the pipeline (eval/registry.py); `held-out` is the reference. Nothing is known of a method but
its films, and no project is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eval.features.devices import pick_device, version
from eval.features.lpips import Lpips
from eval.films import controls
from eval.films.read import image_files, read_images
from eval.metrics import fidelity, motion
from eval.metrics.clip import ClipMetrics
from eval.metrics.film import alone, beside, nearest, start
from eval.metrics.flags import flags
from eval.metrics.frechet import InceptionMetrics, VideoMetrics
from eval.metrics.reference import Reference
from eval.metrics.suite import FLOWS, Suite, disagreements
from eval.records.given import Film, Given, Missing, named
from eval.records.kept import is_kept, keep, load
from eval.registry import IN_TIME, NEEDS, TO_HELDOUT, UNITS
from eval.statistics.blocks import LONG
from eval.statistics.intervals import Measured, Row, measured, rounded
from eval.statistics.small import FEWEST, LEVEL, summarise
from lnm.errors import UserError
from lnm.files import builtin, cache_folder
from lnm.project import root

SCHEMA = "latentmovies score 2"  # 2: many methods and films; `films` and `against_vae`
NOTE = ("Of one film, intervals leave out stretches of time (jackknife). There is none of a value a frame below "
        f"{LONG} frames, nor where frames are too alike to carry one; another film of the method, another still, "
        f"another fine-tune differ by more. Of several films they are Student's from {FEWEST} on; of fewer the range "
        "stands in round brackets.")
LABELS = {"static": "static", "static_noise": "static + noise", "shuffled": "shuffled",
          "reference": "reference", "reference_vae": "reference through the VAE"}


@dataclass
class Options:
    """How to score: what `score` takes besides frames."""

    prompt: str | None = None
    other_prompts: list[str] = field(default_factory=list)
    images: str | Path | None = None
    clip: str | None = None
    device: str = "auto"
    seed: int = 0


def score(frames, reference=None, *, method: str = "film", train=None, vae_reference=None, still=None,
          prompt: str | None = None, other_prompts: list[str] | None = None, images: str | Path | None = None,
          clip: str | None = None, size: int | None = None, fps: float | None = None, device: str = "auto",
          seed: int = 0, cache_reference: str | Path | None = None, progress: bool = False) -> dict:
    """Every metric of one or more films, and of controls beside them, in the form of metrics.json.

    frames: a film, which is frames uint8 (F, H, W, 3), a video file or a folder of images; a list of films of one
    method; a folder of several; or a mapping from each method's name to any of these. Films of several sizes are cut
    to squares of the smallest.
    reference: real frames to compare with, or a file that `cache_reference` wrote: FID, KID, precision and recall
    alone. vae_reference: the same frames through an autoencoder, the ceiling of a latent method.
    train: what the method was trained on. still: what the films start from; else the reference's first frame.
    prompt: what they should show; other_prompts: of something else, the control; images: a folder of natural images.
    clip: an open_clip name or folder, or "none"; None is the project's, or outside of one the built-in.
    size: centre squares of so many pixels. fps: videos are resampled to it, other frames taken to be at it.
    seed: of the noise and the shuffling. progress: show a bar.

    Returns {"schema", "films", "methods": {name: {metric: {"value", "low", "high", "n", "parts", "unit", ...} or
    {"refused": reason}}}, "against_vae", "controls", "flags", "flow_disagreements", "backend", ...}. With one film a
    method an interval is over its parts, such as frames; with more over films. Distances that fall with the number of
    frames are of as many, from the first on, as the shortest film and the reference have.
    Raises UserError, one line, for whatever is wrong with what was given.
    """
    if fps is not None and not 0 < fps < 1000:
        raise UserError(f"--fps {fps:g}: must be a number above 0 and below 1000")
    image_files(images and Path(images))  # what is wrong with it is said before the long work
    for option, texts in (("--prompt", [prompt]), ("--other-prompt", other_prompts or [])):
        if any(text is not None and not text.strip() for text in texts):
            raise UserError(f"{option}: the text is empty; give what the film should show, or leave {option} out")
    methods = named(frames, method, tuple(LABELS))
    kept = reference if is_kept(reference) else None
    if kept:
        load(kept)  # what is wrong with it is said before the long work
        reference = Missing("the reference is kept features: no frames to compare with")
    given = Given.read(methods, reference, train, vae_reference, still, size, fps)
    options = Options(prompt, list(other_prompts or []), images, clip, device, seed)
    scorer = Scorer(given, options, kept)
    if cache_reference:
        scorer.keep(cache_reference)
    return _record(given, options, scorer, progress)


class Scorer:
    """Every metric of a film beside what was given: the networks behind them are opened once."""

    def __init__(self, given: Given, options: Options, kept: str | Path | None = None):
        home, device = _home(), pick_device(options.device)
        self.given, self.still, self.home, self.device = given, given.still, home, device
        self.reference, self.train, self.frames_vae = (
            film if isinstance(film, str) else film.frames for film in (given.reference, given.train, given.vae))
        first, clip = given.first.frames, _clip(options.clip)
        images = read_images(options.images and Path(options.images), given.size or min(first.shape[1:3]))
        self.clip = ClipMetrics(
            None if clip == "none" else clip, home, device, options.prompt or "", options.other_prompts, images,
            self.reference if isinstance(self.reference, str) else self.reference[:len(first)],
            "" if options.prompt else NEEDS["prompt"])
        length = min(len(film.frames) for films in given.films.values() for film in films)
        self.length = length if isinstance(self.reference, str) else min(length, len(self.reference))
        self.inception = InceptionMetrics(True, home, device, self.train, first if kept else self.reference,
                                          self.length)
        if kept and "refused" not in self.inception.backend:
            extractor = self.inception.features.extractor
            self.inception.real = load(kept, extractor.sha256, extractor.version, first.shape[1:3])
        self.video = VideoMetrics(home, device, self.reference, self.length)
        self.video_vae = VideoMetrics(home, device, self.frames_vae, self.length)
        self.lpips = measured(Lpips, home / "weights")
        self.suite = Suite(home, device, self.train, self.inception, self.clip)
        self.beside: dict[int, tuple] = {}  # a film's length -> what stands for real beside it
        self.ceiling = given.vae if isinstance(given.vae, str) else measured(_ceiling, given)

    def _real(self, length: int) -> tuple[np.ndarray | str, Row, Reference, Reference, float | str]:
        """Beside a film of so many frames: real frames, what `alone` says of them, both references, and how much detail
        the VAE leaves."""
        if length not in self.beside:
            real = self.reference if isinstance(self.reference, str) else self.reference[:length]
            features = self.inception.real if isinstance(self.reference, str) else None
            pair = (Reference(self.reference, length, self.inception, self.clip, features),
                    Reference(self.frames_vae, length, self.inception, self.clip))
            detail = self.frames_vae if isinstance(self.frames_vae, str) else fidelity.detail(self.frames_vae[:length])
            self.beside[length] = real, {} if isinstance(real, str) else alone(real), *pair, detail
        return self.beside[length]

    def __call__(self, film: Film, label: str, part_of: str = "") -> Row:
        """metric -> measured or reason. part_of: "real" where the frames are some of the reference's."""
        frames, own = film.frames, alone(film.frames)
        real, real_row, held_out, _, detail = self._real(len(frames))
        row = own | beside(frames, own, real, real_row) | nearest(frames, self.train)
        row |= start(frames[0], self.still, self.ceiling, self.lpips)
        row["detail_kept"] = detail if isinstance(detail, str) else (
            Measured(own["detail"].parts / detail, "frame") if detail else "the VAE's frames have no detail")
        row |= self.clip(frames, label, part_of == "real") | self.inception(frames, label, part_of)
        row |= self.video(frames, label, part_of == "real") | self.suite(frames, film.fps, self.still, label)
        row |= held_out.added(frames, label, part_of == "real")
        if self.given.out_of_step(film) and part_of != "real":
            row |= dict.fromkeys([metric for metric in TO_HELDOUT if metric in IN_TIME],
                                 self._out_of_step(film))
        return {metric: row[metric] for metric in UNITS}

    def against_vae(self, film: Film, label: str) -> Row:
        """metric -> measured or reason, of those that compare with real frames, beside these through the VAE."""
        row = self._real(len(film.frames))[3].all(film.frames, alone(film.frames), self.video_vae, label,
                                                  label == "reference_vae")
        if self.given.out_of_step(film):
            row |= {metric: self._out_of_step(film) for metric in row if metric in IN_TIME}
        return {metric: row[metric] for metric in TO_HELDOUT}

    def _out_of_step(self, film: Film) -> str:
        return f"{NEEDS['fps']}: the frames play at {film.fps:g} fps, the reference at {self.given.reference.fps:g}"

    def keep(self, path: str | Path) -> None:
        """Write the reference's Inception features. Raises UserError where there are none, or no such file can be."""
        real = self.inception.real
        reason = real if isinstance(real, str) else self.inception.backend.get("refused")
        if reason:
            raise UserError(f"--cache-reference {path}: no features to keep: {reason}")
        extractor = self.inception.features.extractor
        keep(path, real, extractor.sha256, extractor.version, self.given.first.frames.shape[1:3])

    @property
    def backend(self) -> dict:
        """What stands behind the numbers, and what was done to the frames."""
        given, lpips, known = self.given, self.lpips, isinstance(self.given.reference, Film)
        return {
            "inception": self.inception.backend, "clip": self.clip.backend, "i3d": self.video.backend,
            "lpips": {"refused": lpips} if isinstance(lpips, str) else {"name": lpips.name, "sha256": lpips.sha256},
            "flow": f"OpenCV {version('cv2')} DIS, medium preset", **self.suite.backend,
            "squares": f"centre squares of {given.size} pixels" if given.size else "frames as they are",
            "time": "frames are compared step by step" + (
                "" if given.first.fps and known and given.reference.fps else
                ", as if of one frame rate: a folder states none"),
        }


def _record(given: Given, options: Options, scorer: Scorer, progress: bool) -> dict:
    """What `score` returns."""
    from tqdm.auto import tqdm

    sets = {name: [(film, "") for film in films] for name, films in given.films.items()}
    sets |= {name: [(Film(name, frames, _rate(given, name)), part_of)]
             for name, (frames, part_of) in _controls(given, scorer, options.seed).items()}
    with_vae = not isinstance(given.vae, str)
    methods, against = {}, {}
    with tqdm(total=sum(map(len, sets.values())), desc="score", unit="film", disable=not progress) as bar:
        for name, films in sets.items():
            rows, ceilings = [], []
            for film, part_of in films:
                bar.set_postfix_str(name)
                rows.append(scorer(film, name, part_of))
                ceilings += [scorer.against_vae(film, name)] if with_vae else []
                bar.update()
            methods[name] = {metric: _entry([row[metric] for row in rows], UNITS[metric]) for metric in UNITS}
            if with_vae:
                against[name] = {metric: _entry([row[metric] for row in ceilings], UNITS[metric])
                                 for metric in TO_HELDOUT}
    methods, names, real = rounded(methods), [name for name in sets if name in LABELS], given.reference
    first = given.first
    return rounded({
        "schema": SCHEMA,
        "method": next(iter(given.films)),
        "frames": {"path": first.path, "n": len(first.frames), "fps": first.fps, "size": list(first.frames.shape[1:3])},
        "films": {name: [{"path": film.path, "n": len(film.frames), "fps": film.fps} for film in films]
                  for name, films in given.films.items()},
        "reference": {"path": real.path, "n": len(real.frames), "fps": real.fps,
                      "compared": min(len(real.frames), len(first.frames))} if isinstance(real, Film) else None,
        "train": None if isinstance(given.train, str) else {"path": given.train.path, "n": len(given.train.frames)},
        "prompt": options.prompt,
        "read_at": {"size": given.size, "fps": given.fps},
        "seed": options.seed,
        "interval": {"level": LEVEL, "method": "jackknife by time of one film; Student's t of several", "note": NOTE},
        "backend": scorer.backend,
        "labels": {name: name for name in given.films} | {name: LABELS[name] for name in names},
        "controls": names,
        "methods": methods,
        "against_vae": against,
        # a reference compared with itself says nothing, so only metrics that stand alone can be flagged
        "flags": flags(methods, names, "reference", {}) if "reference" in names else [],
        "flow_disagreements": {name: disagreements(methods, pair) for name, pair in FLOWS.items()},
        "floors": scorer.inception.floors(),
        "floors_vae": scorer.inception.floors_of(scorer.frames_vae),
        "fvd_floor": scorer.video.floor(),
    })


def _entry(values: list[Measured | str], unit: str) -> dict:
    """Of one film as of `entry_of`, over its parts; of more as of `summarise`, over films."""
    if len(values) == 1:
        return entry_of(values[0], unit)
    entry = summarise([value if isinstance(value, str) else value.value for value in values], unit)
    return entry if "refused" in entry else entry | {"parts": "film"}


def entry_of(entry: Measured | str, unit: str) -> dict:
    """{"value", "low", "high", "n", "parts", "unit"} of one film, and "no_interval", the reason, where low and high are
    None; or {"refused": reason}."""
    if isinstance(entry, str):
        return {"refused": entry}
    found = entry.interval()
    low, high = (None, None) if isinstance(found, str) else found
    said = {"value": entry.value, "low": low, "high": high, "n": len(entry.parts), "parts": entry.unit, "unit": unit}
    return said | {"no_interval": found} if isinstance(found, str) else said


def _ceiling(given: Given) -> float:
    """What the VAE's own picture of the still scores: known where the still is the reference's first frame alone."""
    if isinstance(given.reference, str):
        raise UserError(str(given.reference))
    if isinstance(given.still, str) or not np.array_equal(given.still, given.reference.frames[0]):
        raise UserError("the still is not the reference's first frame, so the VAE's picture of it is not known")
    return fidelity.psnr(given.vae.frames[0], given.still)


def _home() -> Path:
    """Where weights and cached features are looked for: the project, or outside of one the user's cache."""
    try:
        return root()
    except UserError:
        return cache_folder()


def _clip(name: str | None) -> str | None:
    """The CLIP that was asked for, the project's, or outside of one the built-in."""
    if name is not None:
        return name
    try:
        root()
    except UserError:
        return str(builtin("lnm-mini-clip") or "none")
    from lnm.workflow.params import load as params  # typed settings take a while to load, and most calls need none

    return params().checkpoint.clip


def _rate(given: Given, control: str) -> float | None:
    """A control's frame rate: the reference's where it is made of that, else the first film's."""
    of_real = isinstance(given.reference, Film) and control in ("shuffled", "reference", "reference_vae")
    return given.reference.fps if of_real else given.first.fps


def _controls(given: Given, scorer: Scorer, seed: int) -> dict[str, tuple[np.ndarray, str]]:
    """name -> (frames, which real set they are part of), made beside the first film. Those that stand still show the
    still, if one was given, else the film's first frame. The noise moves as much as the real frames do, and these are
    what is shuffled; without them the film's own frames are."""
    frames = given.first.frames
    start = given.still if given.own_still else frames[0]
    real = scorer.reference if isinstance(scorer.reference, str) else scorer.reference[:len(frames)]
    moving = frames if isinstance(real, str) else real
    films = {"static": (controls.static(start, len(frames)), "")}
    if len(moving) > 1:
        sigma = controls.matched_sigma(start, max(len(frames), 2), motion.motion_energy(moving), seed)
        films["static_noise"] = controls.static_noise(start, len(frames), sigma, seed), ""
    if isinstance(real, str):
        return films | {"shuffled": (controls.shuffled(frames, seed), "")}
    films |= {"shuffled": (controls.shuffled(real, seed), "real"), "reference": (real, "real")}
    return films if isinstance(scorer.frames_vae, str) else films | {
        "reference_vae": (scorer.frames_vae[:len(frames)], "")}
