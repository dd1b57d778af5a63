"""The small file that travels: the temporal layers alone, as safetensors, with all that sampling needs beside them."""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from lnm.errors import UserError, shortened
from lnm.files import brought_again, whole
from lnm.pseudo3d import LORA, bare
from lnm.tensors import SUM, checksum, read
from lnm.unet import UNetPseudo3DConditionModel, is_temporal

FORMAT = "latentmovies-temporal-2"
CONDITION = "conv_in.temporal.condition.weight"  # in a file of a widened text-to-image checkpoint
SAMPLED = 2048  # values of the 2D parent that identify it
# a copy in bfloat16 lies 0.0017 from its parent (root mean square, relative), one in float16 0.0002
SAME_BASE = 0.003


@dataclass
class TemporalNotes:
    """What a temporal file says of itself.

    schedule: the noise schedule it was trained on (`lnm.schedulers.schedule_of`). mask_value: of the inpainting mask,
    in [0, 1]. fps: frames a second of the clip. frames, strides: how many a training sample had, and every how many-th
    of the clip's. prompt, steps, video: of the training.
    checkpoint: the base model's name as it was given; of an absolute path, its last part. extra: whatever else the
    writer wants to keep.
    """

    schedule: dict[str, Any] = field(default_factory=dict)
    mask_value: float = 1.0
    fps: float | None = None
    frames: int | None = None
    strides: list[int] | None = None
    prompt: str | None = None
    steps: int | None = None
    video: str | None = None
    checkpoint: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class TemporalFile:
    """A temporal file, read: how the U-Net must be inflated, its notes, its base, its tensors by name."""

    conv_placement: str
    temporal_attention: bool
    notes: TemporalNotes
    base: dict[str, str]
    tensors: dict[str, torch.Tensor]

    @property
    def widened(self) -> bool:
        """Whether it was trained on a text-to-image checkpoint, widened."""
        return CONDITION in self.tensors


def portable_name(checkpoint: str | None) -> str | None:
    """A base model's name as it may travel: of a path that holds on one machine alone, its last part."""
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    return path.name if path.is_absolute() or checkpoint.startswith("~") else checkpoint


@torch.no_grad()
def base_identity(unet: UNetPseudo3DConditionModel) -> dict[str, str]:
    """Identifies the 2D parent: a hash of the names and shapes of all its weights, and SAMPLED values of its first and
    last convolution and of the keys of its cross attention (float16, base64); of a LoRA that `lnm.lora.fuse_lora` has
    added, its hash and scale."""
    parent = {bare(k): p for k, p in unet.named_parameters() if not is_temporal(k) and LORA not in k}
    digest = hashlib.sha256("".join(f"{k}{tuple(p.shape)}" for k, p in parent.items()).encode())
    telling = [parent["conv_in.weight"], parent["conv_out.weight"]]
    telling += [p for k, p in parent.items() if k.endswith("attn2.to_k.weight")]
    each = SAMPLED // len(telling)
    values = [w.flatten()[:: max(1, w.numel() // each)][:each].to("cpu", torch.float16) for w in telling]
    sampled = torch.cat(values).numpy().tobytes()
    fused = {"lora": unet.fused_lora} if hasattr(unet, "fused_lora") else {}
    return {"shapes": digest.hexdigest(), "values": base64.b64encode(sampled).decode(), **fused}


def same_base(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two identities are of one model, be it in different precisions."""
    if one["shapes"] != other["shapes"] or one.get("lora") != other.get("lora"):
        return False
    a, b = (np.frombuffer(base64.b64decode(x["values"]), np.float16).astype(np.float64) for x in (one, other))
    return bool(np.linalg.norm(a - b) <= SAME_BASE * np.linalg.norm(b))


def save_temporal(unet: UNetPseudo3DConditionModel, path: Path | str, notes: TemporalNotes | None = None,
                  dtype: torch.dtype | None = None) -> None:
    """Write the temporal layers alone, safetensors, whole or not at all. dtype: None keeps the layers' own."""
    path, notes = Path(path), notes or TemporalNotes()
    notes = replace(notes, checkpoint=portable_name(notes.checkpoint))
    tensors = {k: p.detach().to("cpu", dtype).contiguous() for k, p in unet.temporal_parameters().items()}
    # one key: safetensors writes several in an order of its own, and the same film must give the same bytes
    metadata = {"format": FORMAT, "base": base_identity(unet), "notes": asdict(notes), SUM: checksum(tensors),
                "conv_placement": unet.config.conv_placement, "temporal_attention": unet.config.temporal_attention}
    with whole(path) as part:
        save_file(tensors, part, metadata={"lnm": json.dumps(metadata, sort_keys=True)})


def load_temporal(unet: UNetPseudo3DConditionModel, file: TemporalFile | Path | str,
                  strict: bool = True) -> TemporalNotes:
    """Load what `save_temporal` wrote and return its notes.

    strict: refuse a file that was trained on another base of the same shape; False warns and goes on.
    The layers keep the U-Net's own precision. A file whose temporal attention tells fewer distances in time apart opens
    and acts as it did. Raises UserError, and changes nothing, for a file that is not one, or
    does not fit.
    """
    path = "the temporal file" if isinstance(file, TemporalFile) else file
    file = file if isinstance(file, TemporalFile) else read_temporal(file)
    own = unet.temporal_parameters()
    file = replace(file, tensors={k: as_far(v, own.get(k)) if k.endswith(".distance_bias") else v
                                  for k, v in file.tensors.items()})
    if {k: v.shape for k, v in file.tensors.items()} != {k: v.shape for k, v in own.items()}:
        made, have = ((x.conv_placement, x.temporal_attention) for x in (file, unet.config))
        if made != have:
            raise UserError(f"{path}: made with conv_placement: {made[0]}, temporal attention: {made[1]}; this U-Net "
                            f"has {have[0]}, {have[1]}; set conv_placement (in params.yaml: "
                            "finetune.conv_placement) to match")
        if file.widened != unet.widened:
            kinds = {True: "a text-to-image checkpoint, widened", False: "an inpainting checkpoint"}
            raise UserError(f"{path}: trained on {kinds[file.widened]}, and the one that is open is "
                            f"{kinds[unet.widened]}; open one of its kind, or train again")
        raise UserError(f"{path}: its layers have other shapes than this U-Net's; open the checkpoint they were "
                        "trained on")
    if not same_base(file.base, base_identity(unet)):
        message = f"{path}: these temporal layers were trained on another checkpoint than the one that is open"
        if lora := file.notes.extra.get("lora"):
            message += f" (with the LoRA {lora['name']} in it, scale {lora['scale']:g})"
        if strict:
            raise UserError(f"{message}; open that one, train again, or pass strict=False to try (checkpoint.any_base, "
                            "--any-base)")
        warnings.warn(f"{message}; the films may suffer", stacklevel=2)
    with torch.no_grad():
        for k, v in file.tensors.items():
            own[k].copy_(v)
    return file.notes


def as_far(bias: torch.Tensor, own: torch.Tensor | None) -> torch.Tensor:
    """A temporal attention's bias (heads, distances) over as many distances as `own` has, where those are more: what
    counted as far counts as that still, so that the attention is the same."""
    missing = 0 if own is None else max(0, own.shape[-1] - bias.shape[-1]) // 2
    return torch.nn.functional.pad(bias[None], (missing, missing), mode="replicate")[0]


def read_temporal(path: Path | str) -> TemporalFile:
    """Open a temporal file. Raises UserError if it is not one, or is damaged."""
    again = brought_again(Path(path).parent) or "run the fine-tune again, or give a file that one wrote"
    tensors, about = read(path, again)
    metadata = json.loads(about.get("lnm", "{}"))
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise UserError(f"{path}: not a file of temporal layers in the present format ({FORMAT}); give one that a "
                        "training of this version wrote")
    try:
        return TemporalFile(metadata["conv_placement"], metadata["temporal_attention"],
                            TemporalNotes(**metadata["notes"]), dict(metadata["base"]), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: what it says of itself is incomplete ({shortened(error)}); run the fine-tune again"
                        ) from None
