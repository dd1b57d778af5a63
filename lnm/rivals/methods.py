"""The trained rivals by name: how each U-Net is made of a 2D one, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from lnm.checkpoint import Checkpoint
from lnm.errors import UserError
from lnm.pipeline import LateNtMoviesPipeline
from lnm.rivals.animatediff import AnimateDiffUNet
from lnm.rivals.dreamix import DreamixUNet, MixedTrainer
from lnm.rivals.tune_a_video import TuneAVideoUNet
from lnm.settings import Finetune
from lnm.training import Trainer


@dataclass(frozen=True)
class Rival:
    """make: a 2D U-Net and a fine-tune's settings -> the method's U-Net, a copy. rate: its learning rate, times that
    of the fine-tune. trainer: whose steps it takes."""

    make: Callable[[UNet2DConditionModel, Finetune], Any]
    rate: float = 1.0
    trainer: type[Trainer] = Trainer


def _dreamix(unet: UNet2DConditionModel, settings: Finetune) -> DreamixUNet:
    return DreamixUNet.from_unet2d(unet, conv_placement=settings.conv_placement).eval()


RIVALS = {
    "animatediff": Rival(lambda unet, settings: AnimateDiffUNet.of(unet)),
    "tune_a_video": Rival(lambda unet, settings: TuneAVideoUNet.of(unet)),
    # all weights move, and those of the checkpoint are not to be unlearned within the first steps
    "dreamix": Rival(_dreamix, rate=0.1, trainer=MixedTrainer),
}


def rival_pipeline(method: str, base: Checkpoint, settings: Finetune, seed: int = 0) -> LateNtMoviesPipeline:
    """A pipeline on an open checkpoint with the U-Net of the rival `method` (a key of RIVALS), not trained yet.

    The checkpoint's own U-Net stays as it is. New layers are drawn by `seed` on the CPU. Raises UserError for a
    checkpoint that is to be widened.
    """
    if base.widen:
        raise UserError("rivals: a text-to-image checkpoint that is widened (checkpoint.widen) gets weights for the "
                        "still that ours alone trains: choose an inpainting checkpoint, or rivals.videos: []")
    torch.manual_seed(seed)
    unet = RIVALS[method].make(base.unet, settings)
    return LateNtMoviesPipeline(base.vae, base.text_encoder, base.tokenizer, unet, base.scheduler,
                                float(settings.mask_value))
