"""lnm-mini-clip: open_clip's own classes and contrastive loss, small, on the captioned images."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from lnm.demo.mini.loop import loop
from lnm.demo.mini.optimisers import autocast, muon_and_adamw, update_in_round
from lnm.demo.mini.recipe import SIZE, total_steps
from lnm.demo.mini.text import MAX_TOKENS, tokenize
from lnm.latents import to_tensor

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from transformers import CLIPTokenizer

CLIP_PIXELS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "shortest",
               "size": [SIZE, SIZE], "mode": "RGB"}


def new_clip(tokenizer: CLIPTokenizer) -> dict:
    """open_clip's configuration of lnm-mini-clip: a ViT of 4 layers at 128 px, a text transformer of 2."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": SIZE, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": MAX_TOKENS, "vocab_size": len(tokenizer), "width": 128, "heads": 4, "layers": 2},
    }


def draw_rows(recipe: dict, captions: list[str], step: int) -> tuple[np.ndarray, bool]:
    """The rows of step `step` (B,), no caption twice, and whether their pictures are mirrored; both follow from
    (seed, step)."""
    rng = np.random.default_rng([recipe["seed"], 4, step])
    captioned = np.array([i for i, c in enumerate(captions) if c])
    rows: list[int] = []
    seen: set[str] = set()
    for row in rng.permutation(captioned)[:4 * recipe["clip_batch"]]:
        if captions[row] not in seen and len(rows) < recipe["clip_batch"]:
            seen.add(captions[row])
            rows.append(row)
    return np.array(rows), rng.random() < 0.5


def train_clip(work: Path, recipe: dict, images: np.ndarray, captions: list[str], tokenizer: CLIPTokenizer) -> CLIP:
    """open_clip's own classes and contrastive loss, on the captioned images; a caption stands once in a batch."""
    from open_clip import ClipLoss
    from open_clip.model import CLIP

    torch.manual_seed(recipe["seed"] + 2)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = CLIP(**new_clip(tokenizer), output_dict=True).to(device)
    optimizers = muon_and_adamw(model, "embedding|visual.conv1")
    tokens, loss_fn, rounds = tokenize(tokenizer, captions), ClipLoss(), recipe["clip_rounds"]

    def take(step: int) -> float:
        rows, mirrored = draw_rows(recipe, captions, step)
        x = to_tensor(np.stack([images[r] for r in rows]))
        if mirrored:
            x = x.flip(-1)
        with autocast(device):
            out = model(x.to(device), tokens[rows].to(device))
        loss = loss_fn(out["image_features"].float(), out["text_features"].float(), out["logit_scale"].float())
        value = update_in_round(loss, optimizers, rounds, step)
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return value

    loop("clip", work, {"clip": model}, optimizers, total_steps(rounds), take)
    return model.eval()


def save_clip(folder: Path, model: CLIP, tokenizer: CLIPTokenizer, tokenizer_folder: Path) -> None:
    """open_clip's local-dir layout: configuration, safetensors, the tokenizer's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in tokenizer_folder.iterdir():
        shutil.copyfile(file, folder / file.name)
    config = {"model_cfg": new_clip(tokenizer), "preprocess_cfg": CLIP_PIXELS}
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "local-dir", "tokenizer_kwargs": {"clean": "lower"}}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({k: v.half().cpu().contiguous() for k, v in model.state_dict().items()},
              folder / "open_clip_model.safetensors")
