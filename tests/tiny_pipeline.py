"""A pipeline on the tiny checkpoint whose temporal layers do something, and films of it."""

import numpy as np
import torch
from tiny import SIZE
from tiny_unet import wake


def make(checkpoint, scheduler="ddim", awake=True, **kwargs):
    from lnm.pipeline import LateNtMoviesPipeline
    from lnm.schedulers import make_scheduler
    from lnm.unet import UNetPseudo3DConditionModel

    torch.manual_seed(0)
    unet = UNetPseudo3DConditionModel.from_unet2d(checkpoint.unet).eval()
    pipe = LateNtMoviesPipeline(checkpoint.vae, checkpoint.text_encoder, checkpoint.tokenizer,
                                wake(unet) if awake else unet, make_scheduler(checkpoint.scheduler, kind=scheduler),
                                **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def still(seed=0, height=SIZE, width=SIZE):
    from PIL import Image

    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def generators(*seeds):
    return [torch.Generator().manual_seed(s) for s in seeds]


def film(pipe, seed=0, **kwargs):
    """The frames of a film of three frames in three steps."""
    pipe.set_progress_bar_config(disable=True)
    defaults = dict(image=still(), prompt="ocean waves", num_frames=3, fps=8, num_inference_steps=3,
                    generator=torch.Generator().manual_seed(seed))
    return pipe(**(defaults | kwargs)).frames
