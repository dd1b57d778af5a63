"""The small file that travels: the temporal layers alone, as safetensors, with what they belong to in its metadata."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch

from lnm.errors import UserError
from lnm.unet import UNetPseudo3DConditionModel, is_temporal

TEMPORAL_FORMAT = "latentmovies-temporal-1"


@torch.no_grad()
def base_fingerprint(unet: UNetPseudo3DConditionModel) -> str:
    """Identifies the 2D parent: names and shapes of all its weights, values of its first and last convolution and
    of the keys of its cross attention. In half precision, so that fp16 and fp32 copies of a checkpoint agree."""
    digest = hashlib.sha256()
    for name, p in unet.named_parameters():
        if not is_temporal(name):
            digest.update(f"{name}{tuple(p.shape)}".encode())
    telling = [unet.conv_in.weight, unet.conv_out.weight]
    telling += [p for name, p in unet.named_parameters() if name.endswith("attn2.to_k.weight")]
    for weight in telling:
        digest.update(weight.to("cpu", torch.float16).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_temporal(unet: UNetPseudo3DConditionModel, path: Path | str, note: dict | None = None) -> None:
    """Write the temporal layers alone, safetensors, atomically; `note` goes into the metadata."""
    from safetensors.torch import save_file

    path = Path(path)
    tensors = {k: p.detach().cpu().contiguous() for k, p in unet.temporal_parameters().items()}
    # one key: safetensors writes several in an order of its own, and the same film must give the same bytes
    metadata = {"format": TEMPORAL_FORMAT, "base": base_fingerprint(unet), "note": note or {},
                "conv_placement": unet.config.conv_placement, "temporal_attention": unet.config.temporal_attention}
    save_file(tensors, path.with_suffix(".part"), metadata={"lnm": json.dumps(metadata, sort_keys=True)})
    os.replace(path.with_suffix(".part"), path)


def load_temporal(unet: UNetPseudo3DConditionModel, path: Path | str) -> dict:
    """Load what `save_temporal` wrote and return its note.

    Raises UserError, and changes nothing, for a file that is not one, or is of another base or layout.
    """
    metadata, tensors = read_temporal(path)
    if metadata["base"] != base_fingerprint(unet):
        raise UserError(f"{path}: these temporal layers belong to another prior than the one that is open; "
                        "open the prior they were trained on, or fine-tune again")
    own = unet.temporal_parameters()
    if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in own.items()}:
        raise UserError(f"{path}: made with conv_placement: {metadata['conv_placement']}, this U-Net has "
                        f"{unet.config.conv_placement}; set finetune.conv_placement to match")
    with torch.no_grad():
        for k, v in tensors.items():
            own[k].copy_(v)
    return metadata["note"]


def read_temporal(path: Path | str) -> tuple[dict, dict[str, torch.Tensor]]:
    """Metadata and tensors of a temporal-only file. Raises UserError if it is not one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as f:
            metadata = json.loads((f.metadata() or {}).get("lnm", "{}"))
            if metadata.get("format") != TEMPORAL_FORMAT:
                raise UserError(f"{path}: not a file of temporal layers; give one that a fine-tune wrote")
            return metadata, {k: f.get_tensor(k) for k in f.keys()}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the fine-tune first") from None
    except SafetensorError as e:
        raise UserError(f"{path}: not a readable safetensors file ({e}); fine-tune again") from None
