"""Prompt choice by CLIP. Section 4: of the suggested prompts, the one whose text embedding lies nearest to the clip."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lnm.errors import UserError, shortened
from lnm.files import as_carried, builtin

CLIP_FRAMES = 16  # frames of the clip that the prompts are compared with


@torch.no_grad()
def choose_prompt(prompts: list[str], frames: np.ndarray, clip: str | None, device: str = "cpu") -> dict:
    """The prompt with the least cosine distance between its CLIP text embedding and the frames', section 4.

    frames: uint8 (N, H, W, 3); the distance is the mean of 1 - cos over them. clip: an open_clip folder
    (local-dir layout) or "MODEL/PRETRAINED"; None takes the first prompt. Returns prompts.json's content.
    """
    if clip is None:
        return {"prompt": prompts[0], "candidates": [{"prompt": p, "distance": None} for p in prompts], "clip": None,
                "note": "no CLIP is set (checkpoint.clip): the first prompt was taken"}
    import open_clip

    folder = builtin(clip) or Path(clip).expanduser()
    if folder.is_dir():
        as_carried(folder, "checkpoint.clip")
        name, tags = f"local-dir:{folder}", {}
    else:
        model_name, _, pretrained = clip.rpartition("/")
        # OpenAI's weights were trained with QuickGELU, which the model's plain name does not say
        quick = (open_clip.get_pretrained_cfg(model_name, pretrained) or {}).get("quick_gelu", False)
        name, tags = model_name, {"pretrained": pretrained, "force_quick_gelu": quick}
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(name, device=device, weights_only=True, **tags)
    except Exception as error:  # open_clip and the hub raise many kinds
        raise UserError(f"checkpoint.clip: {clip} cannot be opened ({str(error).splitlines()[0][:160]}); give an "
                        "open_clip folder, a MODEL/PRETRAINED pair whose weights are at hand, or null") from None
    model.eval()
    rows = np.linspace(0, len(frames) - 1, min(CLIP_FRAMES, len(frames))).round().astype(int)
    pixels = torch.stack([preprocess(Image.fromarray(frames[i])) for i in rows]).to(device)
    image = model.encode_image(pixels, normalize=True)
    text = model.encode_text(_tokens(open_clip.get_tokenizer(name), prompts, clip).to(device), normalize=True)
    distances = (1 - text @ image.T).mean(1).tolist()
    best = int(np.argmin(distances))
    return {"prompt": prompts[best], "clip": clip, "note": f"least cosine distance to {len(rows)} frames",
            "candidates": [{"prompt": p, "distance": round(d, 6)} for p, d in zip(prompts, distances)]}


def _tokens(tokenizer: Any, prompts: list[str], clip: str) -> torch.Tensor:
    """Prompts as open_clip's tokenizer has them, int64 (B, L), with a warning of each that is cut: the last of its L
    tokens is the end token, where one more token of room would have a word."""
    length = tokenizer.context_length
    cut, wider = tokenizer(prompts), tokenizer(prompts, context_length=length + 1)
    for prompt, changed in zip(prompts, (cut != wider[:, :length]).any(1).tolist(), strict=True):
        if changed:
            warnings.warn(f"prompt: {shortened(prompt)}: {clip} compares its first {length - 2} tokens with the clip, "
                          "and no more", stacklevel=2)
    return cut
