"""CLIP's features of frames and prompts, by open_clip, for CLIPSIM. A model that cannot be had raises UserError."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from eval.features.devices import made_by
from lnm.errors import UserError
from lnm.files import as_carried, sha256


class Clip:
    """A CLIP by open_clip. `name`: a folder, from `root` (open_clip_config.json, open_clip_model.safetensors, tokenizer
    files), or "MODEL/PRETRAINED" as "ViT-L-14/openai", or "hf-hub:...". Raises UserError where it cannot be had."""

    def __init__(self, name: str, root: Path, device: str = "cpu"):
        import open_clip

        folder = root / name
        model, _, pretrained = name.rpartition("/")
        if folder.is_dir():
            if not (folder / "open_clip_config.json").is_file() or not any(folder.glob("*.safetensors")):
                raise UserError(f"CLIP folder {name} lacks open_clip_config.json or its safetensors")
            as_carried(folder, "CLIP")
            model, pretrained = f"local-dir:{folder}", None
        elif name.startswith("hf-hub:"):
            model, pretrained = name, None
        elif model not in open_clip.list_models():
            raise UserError(f"no CLIP at {name}: neither a folder nor MODEL/PRETRAINED of open_clip")
        try:
            # OpenAI's weights were trained with QuickGELU, which the model's plain name does not say
            known = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else None
            self.model, _, self.preprocess = open_clip.create_model_and_transforms(
                model, pretrained=pretrained, device=device, weights_only=True,  # a .bin or .pt of it runs no code
                force_quick_gelu=(known or {}).get("quick_gelu", False))
            self.tokenizer = open_clip.get_tokenizer(model)
        except Exception as error:  # open_clip lets through whatever the hub client raises
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
            raise UserError(f"CLIP {name} could not be had: {reason}") from None
        self.model.eval()
        self.name, self.device = name, device
        self.context_length = self.tokenizer.context_length
        self.sha256 = sha256(folder) if folder.is_dir() else _state_sha256(self.model)
        self.version = made_by("torch", "open_clip", "torchvision", "PIL", preprocessing=self.preprocess)

    def text(self, prompt: str) -> np.ndarray:
        """One prompt -> float32 (d,), of length 1; past the context length the tokenizer keeps the end token."""
        import torch

        with torch.no_grad():
            tokens = self.tokenizer([prompt]).to(self.device)
            return self.model.encode_text(tokens, normalize=True)[0].float().cpu().numpy()

    def truncated(self, prompt: str) -> bool:
        """Whether the prompt is longer than the context: its last kept token is then the end token, not a word."""
        length = self.context_length
        cut, whole = self.tokenizer([prompt])[0], self.tokenizer([prompt], context_length=16 * length)[0]
        return not bool((cut == whole[:length]).all())

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) -> float32 (N, d), each of length 1; the model's own preprocessing."""
        import torch
        from PIL import Image

        images = torch.stack([self.preprocess(Image.fromarray(frame)) for frame in frames])
        with torch.no_grad():
            return self.model.encode_image(images.to(self.device), normalize=True).float().cpu().numpy()


def _state_sha256(model) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
