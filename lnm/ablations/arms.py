"""The arms: one choice each against the base arm, and everything else alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from lnm.ablations.layers import faded, pointwise_projection, without_fps, without_position
from lnm.ablations.noise import INDEPENDENT
from lnm.ablations.trials import AnchorLoss, BiasedTimesteps, MixedNoise, ProgressiveNoise
from lnm.checkpoint import Checkpoint
from lnm.errors import UserError
from lnm.hub import locate_temporal
from lnm.pipeline import LateNtMoviesPipeline
from lnm.schedulers import make_scheduler, schedule_of
from lnm.settings import Finetune
from lnm.temporal_file import load_temporal
from lnm.training import Trainer
from lnm.unet import UNetPseudo3DConditionModel

BASE, MANY_CLIPS = "base", "many_clips"
ADAMW_RATE = 5.0  # times Lion's: Chen et al. (2023), section 5, give Lion a rate 3 to 10 times smaller than AdamW's
FROM_MANY = {"init": "lnm-mini-motion"}  # where the default begins
# 20 steps of memory, a third of a short form. Its own warm-up keeps it at (1 + step) / (10 + step): 0.87 after 60 steps
DECAY = 0.95


@dataclass(frozen=True)
class Arm:
    """One arm. choice: what the paper leaves open; value: what this arm has there, where the base has `against`.

    changes: of the fine-tune's settings, in the place of the base's. attention: whether there is temporal attention.
    edit: what is done to the inflated U-Net. rate: the learning rate, times the base's. trainer: whose steps are taken.
    beside: the arm that it is compared with. long: only where a GPU is at hand.
    """

    choice: str
    value: str
    against: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    attention: bool = True
    edit: Callable[[UNetPseudo3DConditionModel], None] | None = None
    rate: float = 1.0
    trainer: type[Trainer] = Trainer
    beside: str = BASE
    long: bool = False

    @property
    def noise(self) -> str:
        """Of `lnm.ablations.noise.NOISES`: what it is trained on, and what its film begins from."""
        return getattr(self.trainer, "noise", INDEPENDENT)


def _beside_many(choice: str, value: str, against: str, changes: Mapping[str, Any] | None = None, **more: Any) -> Arm:
    """An arm that begins from the layers of many clips, as what it is compared with does."""
    changed = {**FROM_MANY, **(changes or {})}
    return Arm(f"from many clips: {choice}", value, against, changed, beside=MANY_CLIPS, **more)


ARMS = {
    BASE: Arm("base", "all as in the other column", ""),
    "linear": Arm("beta schedule", "linear", "the checkpoint's", {"beta_schedule": "linear"}),
    "cosine": Arm("beta schedule", "cosine", "the checkpoint's", {"beta_schedule": "cosine"}),
    "scaled_linear": Arm("beta schedule", "scaled_linear", "the checkpoint's", {"beta_schedule": "scaled_linear"}),
    "adamw": Arm("optimiser", "AdamW at the same rate", "Lion", {"optimizer": "adamw"}),
    "adamw_faster": Arm("optimiser", f"AdamW at {ADAMW_RATE:g} times the rate", "Lion", {"optimizer": "adamw"},
                        rate=ADAMW_RATE),
    "mask_0": Arm("mask", "0", "1", {"mask_value": 0}),
    "no_attention": Arm("temporal attention", "off", "on", attention=False),
    "conv_3x3": Arm("1D convolutions behind", "3x3 convolutions alone", "all convolutions",
                    {"conv_placement": "3x3"}),
    "conv_no_projections": Arm("1D convolutions behind", "all but the transformers' projections", "all convolutions",
                               {"conv_placement": "all_but_projections"}),
    "no_fps": Arm("fps conditioning", "off", "on", edit=without_fps),
    "no_position": Arm("position term of the attention", "off", "on", edit=without_position),
    "kernel_1": Arm("kernel of the attention's projection", "1", "3x1x1", edit=pointwise_projection),
    "frames_8": Arm("frames a step", "8", "5", {"frames": 8}),
    MANY_CLIPS: Arm("start", "layers of many clips", "the identity", FROM_MANY),
    "ema": _beside_many("weights", f"their moving average, decay {DECAY:g}", "the last step's", {"ema": DECAY}),
    "frames_16": _beside_many("frames a step", "16", "5", {"frames": 16}),
    "noise_mixed": _beside_many("noise", "mixed", "independent", trainer=MixedNoise),
    "noise_progressive": _beside_many("noise", "progressive", "independent", trainer=ProgressiveNoise),
    "biased_timesteps": _beside_many("timesteps", "biased to high noise", "even", trainer=BiasedTimesteps),
    "faded": _beside_many("temporal layers at low noise", "faded out", "whole", edit=faded),
    "anchor_loss": _beside_many("loss", "eq. 2 and MotionDirector's", "eq. 2", trainer=AnchorLoss),
    "steps_1800": Arm("steps", "1800", "", {"steps": 1800}, long=True),
    "steps_3600": Arm("steps", "3600", "1800", {"steps": 3600}, beside="steps_1800", long=True),
}


def base_settings(steps: int) -> Finetune:
    """The base arm's fine-tune: the default's rate and the paper's choices where it says which, from the identity."""
    return Finetune(steps=steps, init=None, preview_every=0, mixed_precision="auto")


def settings_of(name: str, steps: int) -> Finetune:
    """An arm's fine-tune of `steps` (an arm about steps has its own). Raises UserError for an arm that there is not."""
    arm = arm_of(name)
    base = base_settings(steps)
    return base.model_copy(update={"learning_rate": base.learning_rate * arm.rate, **arm.changes})


def arm_of(name: str) -> Arm:
    """An arm by its name. Raises UserError, which lists the arms."""
    if name not in ARMS:
        raise UserError(f"ARM: {name} is none; there is {', '.join(ARMS)}")
    return ARMS[name]


def twin(name: str, scheduler: Any) -> str | None:
    """The arm that an arm would only repeat on a checkpoint with this scheduler, None where it is one of its own:
    Stable Diffusion's schedule, for one, is scaled_linear already."""
    changes = arm_of(name).changes
    same = set(changes) == {"beta_schedule"} and (
        schedule_of(make_scheduler(scheduler, changes["beta_schedule"])) == schedule_of(scheduler))
    return BASE if same else None


def arm_pipeline(name: str, base: Checkpoint, settings: Finetune, seed: int) -> LateNtMoviesPipeline:
    """A pipeline on an open checkpoint, its U-Net inflated as the arm has it, not trained yet.

    settings: of `settings_of`. What is new is drawn by `seed` on the CPU. Raises UserError for a checkpoint that
    cannot be inflated, and for layers of many clips that do not fit it.
    """
    arm = arm_of(name)
    torch.manual_seed(seed)  # the temporal attention's projections
    unet = UNetPseudo3DConditionModel.from_unet2d(base.unet, conv_placement=settings.conv_placement,
                                                  temporal_attention=arm.attention, widen=base.widen).eval()
    if arm.edit:
        arm.edit(unet)
    pipe = LateNtMoviesPipeline(base.vae, base.text_encoder, base.tokenizer, unet, base.scheduler,
                                float(settings.mask_value))
    if settings.init:
        load_temporal(unet, locate_temporal(settings.init))
    return pipe
