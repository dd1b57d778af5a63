"""Claims of settings: what the paper says that it set, and what the run that is looked at has."""

from __future__ import annotations

from typing import Any

from eval.claims.finding import INCOMPARABLE, NOT_RUN, Finding, Run, read_json, show
from eval.claims.method import layers
from eval.claims.training import consecutive_share
from lnm.video import sides
from lnm.workflow.params import root

SD_DOWNSAMPLING, SD_CHANNELS = 8, 4


def compression(size: int | list[int], downsampling: int, channels: int) -> float:
    """Numbers of an RGB frame over the numbers of its latents; size: a square's side or [width, height], pixels."""
    width, height = sides(size)
    return 3 * width * height / (channels * (width // downsampling) * (height // downsampling))


def setting(run: Run, key: str) -> Finding:
    """This run's value of a setting, each video's; without a run, the value of the paper's own setting."""
    return settled(run, run.of_run(key), run.of_paper(key))


def settled(run: Run, ours: dict[str, Any], paper: Any) -> Finding:
    """What a run has for each video; without a run what the paper's settings file has, which then is only a promise."""
    if not ours:
        return Finding(paper, f"{show(paper)} by {run.paper_file}", reason=f"{NOT_RUN}: `make repro`", promised=True)
    reason = f"{show(paper)} by {run.paper_file}"
    values = tuple(dict.fromkeys(ours.values()))
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
    ours = {video: is_sd(name) for video, name in run.of_run("checkpoint.name").items()}
    found = settled(run, ours, is_sd(run.of_paper("checkpoint.name")))
    paper = f"{run.of_paper('checkpoint.name')} by {run.paper_file}"
    if ours:
        return Finding(found.value, ", ".join(dict.fromkeys(run.of_run("checkpoint.name").values())), reason=paper)
    return Finding(found.value, paper, reason=found.reason, promised=True)


def is_sd(name: str) -> bool:
    return "stable-diffusion" in name.lower()


def beta_schedule(run: Run) -> Finding:
    """The schedule of the noise, by diffusers' names, held against the paper's "linear" in the sense of Stable
    Diffusion's own code, which calls so what diffusers calls scaled_linear; the reason says both readings. The
    checkpoint's own is read from its scheduler's file."""

    def name(kind, checkpoint):
        held = read_json(root() / checkpoint / "scheduler" / "scheduler_config.json") or {}
        kind = held.get("beta_schedule", "the checkpoint's") if kind == "checkpoint" else kind
        return kind + (", rescaled to no signal at the last step" if held.get("rescale_betas_zero_snr") else "")

    checkpoints = run.of_run("checkpoint.name")
    ours = {video: name(kind, checkpoints[video]) for video, kind in run.of_run("finetune.beta_schedule").items()}
    found = settled(run, ours, run.of_paper("finetune.beta_schedule"))
    found.text = found.text or show(found.value)
    kinds = found.value if isinstance(found.value, tuple) else (found.value,)
    found.value = tuple({"scaled_linear": "linear", "linear": "linear in diffusers"}.get(kind, kind) for kind in kinds)
    said = [f"read as {whose}, “linear” {'is this' if set(kinds) == {kind} else 'is another'}" for whose, kind in
            (("Stable Diffusion's own code has it", "scaled_linear"), ("diffusers has it", "linear"))]
    found.reason = "; ".join([found.reason, *said])
    return found


def predicts(run: Run) -> Finding:
    """What the checkpoint's network is trained to return, by its scheduler's file."""
    kinds = {}
    for video, checkpoint in run.of_run("checkpoint.name").items():
        held = read_json(root() / checkpoint / "scheduler" / "scheduler_config.json")
        kinds[video] = held["prediction_type"] if held else "epsilon" if is_sd(checkpoint) else "unknown"
    words = {"epsilon": "noise", "v_prediction": "velocity"}
    return settled(run, {video: words.get(kind, kind) for video, kind in kinds.items()}, "noise")


def consecutive(run: Run) -> Finding:
    """Share of 200 drawn training clips whose frames follow each other, at the run's strides."""
    frames, strides = run.of_run("finetune.frames"), run.of_run("finetune.strides")
    ours = {video: consecutive_share(frames[video], strides[video]) for video in strides}
    paper = consecutive_share(run.of_paper("finetune.frames"), run.of_paper("finetune.strides"))
    return settled(run, ours, paper)


def conv_share(run: Run) -> Finding:
    """Share of Stable Diffusion's 2D convolutions that get a temporal one, at the run's conv_placement."""

    def share(placement):
        counted = layers(placement)
        return counted["convs_1d"] / counted["convs"]

    placements = run.of_run("finetune.conv_placement")
    found = settled(run, {video: share(placement) for video, placement in placements.items()},
                     share(run.of_paper("finetune.conv_placement")))
    found.reason += f"; of {layers()['convs']} convolutions"
    return found


def smaller_latents(run: Run) -> Finding:
    """How many times fewer numbers the latents have: by the checkpoint's VAE, and by what Stable Diffusion states."""
    stated = compression(run.paper.size, SD_DOWNSAMPLING, SD_CHANNELS)
    ours = {}
    for video, checkpoint in run.of_run("checkpoint.name").items():
        config = read_json(root() / checkpoint / "vae" / "config.json")
        if config:
            widths = config.get("block_out_channels") or config["encoder_block_out_channels"]  # AutoencoderKL, or DC
            downsampling = 2 ** (len(widths) - 1)
            ours[video] = compression(run.of_run("size")[video], downsampling, config["latent_channels"])
    values = tuple(dict.fromkeys([*ours.values(), stated]))
    text = "; ".join([*(f"{value:g} times ({video})" for video, value in ours.items()),
                      f"{stated:g} times by Stable Diffusion's stated VAE"])
    return Finding(all(value > 1 for value in values), text)


def prompt_choice(run: Run) -> Finding:
    """Whether every video's prompt is the one of least cosine distance among those suggested."""
    chosen = {}
    for video in run.metrics:
        prompts = read_json(run.results / video / "prepare" / "prompts.json")
        if prompts and prompts["clip"]:
            best = min(prompts["candidates"], key=lambda candidate: candidate["distance"])
            chosen[video] = prompts["prompt"] == best["prompt"]
    if not chosen:
        return Finding(None, NOT_RUN, INCOMPARABLE, "no run with a CLIP to choose by: `make repro`")
    return Finding(all(chosen.values()), f"{sum(chosen.values())} of {len(chosen)} videos")
