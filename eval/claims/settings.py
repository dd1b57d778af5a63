"""Claims of settings: what the paper says that it set, and what the run that is looked at had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eval.claims import conformance
from eval.claims.finding import INCOMPARABLE, NOT_RUN, Finding, Run, show
from eval.claims.records import is_sd, read_json
from lnm.project import root
from lnm.video import sides

SD_DOWNSAMPLING, SD_CHANNELS = 8, 4
# Stable Diffusion's betas, by its published scheduler_config.json
BETA_START, BETA_END, TIMESTEPS = 0.00085, 0.012, 1000
MIDDLE = 500  # the timestep at which the readings of "linear" are told apart


def compression(size: int | list[int], downsampling: int, channels: int) -> float:
    """Numbers of an RGB frame over the numbers of its latents; size: a square's side or [width, height], pixels."""
    width, height = sides(size)
    return 3 * width * height / (channels * (width // downsampling) * (height // downsampling))


def setting(run: Run, key: str) -> Finding:
    """This run's value of a setting, each video's; without a run, the value of the paper's own setting."""
    return settled(run, run.of_run(key), run.of_paper(key))


def settled(run: Run, ours: dict[str, Any], paper: Any) -> Finding:
    """What a run had for each video; without one what the paper's settings file has, which then is only a promise."""
    if not ours:
        why = "this run's files do not say it" if run.metrics else f"{NOT_RUN}: `make repro`"
        return Finding(paper, f"{show(paper)} by {run.paper_file}", reason=why, promised=True)
    reason = f"{show(paper)} by {run.paper_file}"
    values = tuple(value for i, value in enumerate(ours.values()) if value not in list(ours.values())[:i])
    if len(values) == 1:
        return Finding(values[0], reason=reason)
    return Finding(values, ", ".join(f"{show(value)} ({video})" for video, value in ours.items()), reason=reason)


def clip_model(run: Run) -> Finding:
    """The CLIP behind the prompt choice, OpenAI's by its plain name."""

    def plain(name):
        model, _, weights = (name or "none").rpartition("/")
        return model.removesuffix("-quickgelu") if weights == "openai" else name or "none"

    return settled(run, {video: plain(name) for video, name in run.of_run("checkpoint.clip").items()},
                   plain(run.of_paper("checkpoint.clip")))


def sd_checkpoint(run: Run) -> Finding:
    """Whether VAE and U-Net are Stable Diffusion's inpainting ones."""
    names = run.of_run("checkpoint.name")
    found = settled(run, {video: is_sd(name, root()) for video, name in names.items()},
                    is_sd(run.of_paper("checkpoint.name"), root()))
    paper = f"{run.of_paper('checkpoint.name')} by {run.paper_file}"
    if names:
        return Finding(found.value, ", ".join(dict.fromkeys(names.values())), reason=paper)
    return Finding(found.value, paper, reason=found.reason, promised=True)


def alphas_bar(kind: str, start: float = BETA_START, end: float = BETA_END, steps: int = TIMESTEPS) -> np.ndarray:
    """The product of 1 - beta up to each timestep (steps,): "linear" betas, or "scaled_linear" ones, whose square roots
    are linear; Ho et al. (2020), Rombach et al. (2022)."""
    betas = np.linspace(start, end, steps) if kind == "linear" else np.linspace(start**0.5, end**0.5, steps) ** 2
    return np.cumprod(1 - betas)


READINGS = {"scaled_linear": "Stable Diffusion's own code", "linear": "diffusers"}


def beta_schedule(run: Run) -> Finding:
    """The noise schedule that the films' layers were trained on, under both readings of "linear": Stable Diffusion's
    own code calls linear what diffusers calls scaled_linear. alpha-bar at t = 500 tells them apart. Either counts as
    the paper's: it does not say whose word it uses, so neither run contradicts it."""
    schedules = run.of_run("schedule")
    kinds = {video: one["beta_schedule"] + (", rescaled to no signal at the last step"
                                            if one.get("rescale_betas_zero_snr") else "")
             for video, one in schedules.items()}
    found = settled(run, kinds, run.of_paper("finetune.beta_schedule"))
    found.text = found.text or show(found.value)
    values = found.value if isinstance(found.value, tuple) else (found.value,)
    said = []
    for kind, whose in READINGS.items():
        same = "as here" if set(values) == {kind} else "not as here"
        said.append(f"read as {whose} has it, “linear” is {kind}, alpha-bar {alphas_bar(kind)[MIDDLE]:.3f} at t = "
                    f"{MIDDLE}, {same}")
    found.reason = "; ".join([found.reason, *said])
    found.value = tuple("linear" if value in READINGS else value for value in values)
    return found


def predicts(run: Run) -> Finding:
    """What the network behind the films is trained to return."""
    words = {"epsilon": "noise", "v_prediction": "velocity"}
    kinds = {video: one.get("prediction_type") for video, one in run.of_run("schedule").items()}
    return settled(run, {video: words.get(kind, kind) for video, kind in kinds.items() if kind}, "noise")


def consecutive(run: Run) -> Finding:
    """Share of the training samples whose frames follow each other: strides are drawn alike often, which
    tests/conformance/ holds."""

    def share(strides):
        return sum(stride == 1 for stride in strides) / len(strides)

    ours = {video: share(strides) for video, strides in run.of_run("finetune.strides").items()}
    return settled(run, ours, share(run.of_paper("finetune.strides")))


def conv_share(run: Run) -> Finding:
    """Share of Stable Diffusion's 2D convolutions that get a temporal one, at the run's conv_placement."""
    counted = conformance.numbers("layers")
    if not counted:
        return conformance.checked("layers")
    shares = {placement: one["convs_1d"] / one["convs"] for placement, one in counted.items()}
    placements = run.of_run("finetune.conv_placement")
    found = settled(run, {video: shares[placement] for video, placement in placements.items()},
                    shares[run.of_paper("finetune.conv_placement")])
    found.reason += f"; of {counted['all']['convs']} convolutions"
    return found


def smaller_latents(run: Run) -> Finding:
    """How many times fewer numbers the latents have, by the configuration of the VAE in each video's checkpoint; what
    Stable Diffusion states of its own is said beside it and judges nothing."""
    stated = f"{compression(run.paper.size, SD_DOWNSAMPLING, SD_CHANNELS):g} times by Stable Diffusion's stated VAE"
    checkpoints, ours = run.of_run("checkpoint.name"), {}
    for video, size in run.of_run("size").items():
        config = vae_configuration(checkpoints[video]) if video in checkpoints else None
        if config:
            widths = config.get("block_out_channels") or config["encoder_block_out_channels"]  # AutoencoderKL, or DC
            ours[video] = compression(size, 2 ** (len(widths) - 1), config["latent_channels"])
    if not ours:
        names = ", ".join(dict.fromkeys(checkpoints.values()))
        why = f"the configuration of {names}'s VAE is not here" if names else f"{NOT_RUN}: `make repro`"
        return Finding(None, "no VAE was read", INCOMPARABLE, f"{why}; {stated}")
    text = "; ".join(f"{value:g} times ({video})" for video, value in ours.items())
    return Finding(tuple(value > 1 for value in ours.values()), text, reason=stated)


def vae_configuration(checkpoint: str) -> dict | None:
    """A checkpoint's vae/config.json, of a folder or, by the hub's name, as it lies in the hub's cache; None where it
    is in neither. Nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    folder = root() / Path(checkpoint).expanduser()
    if folder.is_dir():
        return read_json(folder / "vae" / "config.json")
    try:
        cached = try_to_load_from_cache(checkpoint, "vae/config.json")
    except HFValidationError:  # no name that the hub could have
        return None
    return read_json(Path(cached)) if isinstance(cached, str) else None


def prompt_choice(run: Run) -> Finding:
    """Whether every video's prompt is the one of least cosine distance among two or more that were suggested."""
    chosen = {}
    for video in run.metrics:
        prompts = read_json(run.results / video / "prepare" / "prompts.json")
        if prompts and prompts["clip"] and len(prompts["candidates"]) > 1:
            best = min(prompts["candidates"], key=lambda candidate: candidate["distance"])
            chosen[video] = prompts["prompt"] == best["prompt"]
    if not chosen:
        return Finding(None, NOT_RUN, INCOMPARABLE, "no run with a CLIP to choose by: `make repro`")
    return Finding(all(chosen.values()), f"{sum(chosen.values())} of {len(chosen)} videos")


def reference_frames(run: Run) -> Finding:
    """How many frames of each clip a FID of this run is measured against."""
    counted = {video: table["reference"]["frames_train"] for video, table in run.metrics.items()}
    if not counted:
        return Finding(None, NOT_RUN, INCOMPARABLE, f"{NOT_RUN}: `make repro`")
    return Finding(tuple(counted.values()), ", ".join(f"{count} ({video})" for video, count in counted.items()),
                   reason="of other clips: the paper names none of its own")


def resolution(run: Run) -> Finding:
    """Width x height of this run's films, counted on the films."""
    ours = {video: "{}x{}".format(*film) for video, film in run.of_run("film").items()}
    return settled(run, ours, f"{run.paper.size}x{run.paper.size}")
