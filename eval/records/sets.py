"""The films of one video that are scored: real frames, methods, baselines, controls, and what the user brought.

What is made from a still without a model, or of the clip's own frames, is made of these and, to stand beside the real
clip through the autoencoder, of these through it. Films that were given detail back which no latent holds
(`lnm.detail`) stand there as they were decoded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.films import baselines, controls
from eval.films.read import read_baseline
from eval.films.sampled import decoded, sampled
from eval.metrics import motion
from eval.records.material import Material
from lnm.errors import UserError
from lnm.project import root


def film_sets(material: Material, results: Path, settings: dict, noise: list[float]) -> dict[str, list[np.ndarray]]:
    """Every set of films by name: real frames, the methods of the run, baselines, controls, and what the user brought.

    noise: the standard deviation of `static_noise`, in [0, 1], of each still that films begin from: what is made from a
    still is made from each of these. No set is longer than the run's films: a distance falls
    with the number of frames. Raises UserError where two sets have one name.
    """
    from lnm import video

    clip, films = material.clip, material.films
    stills = [material.stills[k] for k in material.used]
    sets = {name: [frames[begin:begin + material.length] for begin in material.begins]
            for name, frames in (("heldout", material.heldout), ("heldout_vae", material.heldout_vae))}
    for method, folders in sampled(results).items():
        sets[method] = ([baselines.generate(method, stills[0], films["prompt"], films["num_frames"], clip["fps"],
                                            k, sample=results / "sample") for k in range(len(folders))]
                        if method == "frame_by_frame" else list(map(video.read_frames, folders)))
    sets |= of_stills(material, stills, noise, settings["seed"]) | {"shuffled": [
        controls.shuffled(real, settings["seed"]) for real in sets["heldout"]]}
    for path in settings.get("baselines", {}):
        method = Path(path).parent.name
        if method in sets:
            raise UserError(f"{path}: the name {method} is taken by this run; rename the folder")
        sets[method] = [film[:films["num_frames"]] for film in read_baseline(root() / path, clip["fps"], material.size)]
    return sets


def of_stills(material: Material, stills: list[np.ndarray], noise: list[float],
              seed: int) -> dict[str, list[np.ndarray]]:
    """What is made from each still (H, W, 3) without a model: carried along by flow, repeated, and repeated under noise
    of these standard deviations, in [0, 1]."""
    count, fps, prompt = material.films["num_frames"], material.clip["fps"], material.films["prompt"]
    sets = {name: [baselines.generate(name, still, prompt, count, fps, 0, train=material.train, train_fps=fps)
                   for still in stills] for name in ("flow_extrapolation", "static")}
    return sets | {"static_noise": [controls.static_noise(still, count, sigma, seed)
                                    for still, sigma in zip(stills, noise, strict=True)]}


def through_vae(material: Material, settings: dict, results: Path) -> dict[str, list[np.ndarray] | str]:
    """What is made from the stills, or of the clip's own frames, made of them through the autoencoder, or the reason
    why a still through it is not known; and films with detail that no latent holds as they were decoded: what stands
    beside the ceiling as they do beside the clip. results: results/<video>."""
    from lnm import video

    stills = [material.stills_vae[k] for k in material.used]
    known = [still for still in stills if not isinstance(still, str)]
    made: dict[str, list[np.ndarray] | str] = dict.fromkeys(
        ("flow_extrapolation", "static", "static_noise"), next((one for one in stills if isinstance(one, str)), ""))
    if len(known) == len(stills):
        noise = deviations(material, known, settings, material.heldout_vae)
        made |= of_stills(material, known, noise, settings["seed"])
    made |= {method: list(map(video.read_frames, folders)) for method, folders in decoded(results).items()}
    return made | {"shuffled": [controls.shuffled(material.heldout_vae[begin:begin + material.length], settings["seed"])
                                for begin in material.begins]}


def deviations(material: Material, stills: list[np.ndarray], settings: dict, frames: np.ndarray) -> list[float]:
    """The standard deviation of `static_noise` over each of the stills that films begin from: settings.noise_control,
    or what moves as those of `frames` do that its films are compared with. frames: held out, or these through the
    autoencoder."""
    noise = settings.get("noise_control", "matched")
    if noise != "matched":
        return [noise] * len(stills)
    energies = [motion.motion_energy(frames[begin:begin + material.length])
                for begin in map(material.follows, material.used)]
    return [controls.matched_sigma(still, material.films["num_frames"], energy, settings["seed"])
            for still, energy in zip(stills, energies, strict=True)]
