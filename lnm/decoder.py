"""A decoder in time: the autoencoder's decoder with temporal convolutions, which decodes a film's frames together.

A decoder that sees one frame alone turns what a film's latents get slightly wrong, anew in each, into texture that
boils. Temporal convolutions after the decoder's own (Blattmann et al., "Align your Latents", 2023, section 3.1.1) see
the frames beside it as well. They start as the identity, they alone are trained (`lnm.decoder_training`), on latents
with noise, and they travel in a small file of their own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from lnm.errors import UserError
from lnm.files import brought_again, whole
from lnm.latents import at_once
from lnm.pseudo3d import FrameCount, Pseudo3DConv, inflate
from lnm.temporal_file import same_base
from lnm.tensors import SUM, checksum, read

FORMAT = "latentmovies-decoder-1"
SAMPLED = 512  # values of the decoder that identify it
CONTEXT = 4  # frames on either side that a chunk is decoded with, and that are then left off


def add_temporal_decoder(vae: Any) -> FrameCount:
    """Put temporal convolutions behind the 3x3 ones of `vae.decoder`, in place; they start as the identity.

    vae: an autoencoder of diffusers whose `decoder` is made of Conv2d (AutoencoderKL, AutoencoderDC). Returns how many
    frames are folded into a batch, which `decode_together` sets. A second call changes nothing.
    """
    if not has_temporal_decoder(vae):
        vae.decoder.frames = inflate(vae.decoder, "3x3", temporal_attention=False)
        vae.decoder.to(vae.device, vae.dtype)
    return vae.decoder.frames


def has_temporal_decoder(vae: Any) -> bool:
    """Whether `add_temporal_decoder` has been called on it."""
    return isinstance(getattr(vae.decoder, "frames", None), FrameCount)


def remove_temporal_decoder(vae: Any) -> None:
    """Take the temporal convolutions out again, in place: what is left is the decoder as it was, plain Conv2d."""
    for module in _inflated(vae):
        del module.temporal
        module.__class__ = nn.Conv2d
    for name in ("frames", "temporal_notes"):
        vae.decoder.__dict__.pop(name, None)


@contextmanager
def plain_decoder(vae: Any) -> Iterator[None]:
    """The decoder without its temporal convolutions for a while, as diffusers knows it, and then with them again."""
    temporal = {module: module.temporal for module in _inflated(vae)}
    aside = {name: vae.decoder.__dict__[name] for name in ("frames", "temporal_notes") if name in vae.decoder.__dict__}
    remove_temporal_decoder(vae)
    try:
        yield
    finally:
        for module, own in temporal.items():
            module.__class__ = Pseudo3DConv
            module.temporal = own
        vae.decoder.__dict__.update(aside)


def _inflated(vae: Any) -> list[Any]:
    return [module for module in vae.decoder.modules() if isinstance(module, Pseudo3DConv)]


def decoder_parameters(vae: Any) -> dict[str, torch.nn.Parameter]:
    """Name -> parameter of the temporal convolutions of a decoder that has them."""
    return {k: p for k, p in vae.decoder.named_parameters() if ".temporal." in k}


def decode_film(vae: Any, latents: torch.Tensor, chunk_size: int = 8) -> torch.Tensor:
    """Latents of one film (F, C, h, w), not scaled -> pixels (F, 3, H, W) near [-1, 1], on the device of the VAE."""
    return torch.cat(list(decode_chunks(vae, latents, chunk_size)))


def decode_chunks(vae: Any, latents: torch.Tensor, chunk_size: int = 8) -> Iterator[torch.Tensor]:
    """`decode_film`, `chunk_size` frames at a time and in their order, so that memory stays flat; one at a time where
    the autoencoder slices and decodes frame by frame.

    With a temporal decoder each chunk is decoded with CONTEXT frames on either side, which are then left off. Each
    temporal convolution reaches one frame further: of up to CONTEXT in a row, chunks give what the whole film at once
    would give. Of more, what lies further off than CONTEXT frames is not seen, which changes little.
    """
    if not has_temporal_decoder(vae):
        for part in latents.split(at_once(vae, chunk_size)):
            yield vae.decode(part).sample
        return
    for start in range(0, len(latents), chunk_size):
        first = max(0, start - CONTEXT)
        window = decode_together(vae, latents[first:start + chunk_size + CONTEXT])
        yield window[start - first:start - first + chunk_size]


def decode_together(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Consecutive latents (F, C, h, w), not scaled -> pixels (F, 3, H, W), through a temporal decoder all at once.

    Any other call of `vae.decode` takes each latent of its batch for a film of one frame.
    """
    sliced = getattr(vae, "use_slicing", False)
    vae.use_slicing = False  # diffusers' slices of one frame would know nothing of each other
    vae.decoder.frames.value = len(latents)
    try:
        return vae.decode(latents).sample
    finally:
        vae.decoder.frames.value, vae.use_slicing = 1, sliced


@torch.no_grad()
def decoder_identity(vae: Any) -> dict[str, str]:
    """Identifies a decoder without its temporal layers: a hash of the names and shapes of its weights, and SAMPLED
    values of its first and last convolution (float16, base64)."""
    own = {k: p for k, p in vae.decoder.named_parameters() if ".temporal." not in k}
    digest = hashlib.sha256("".join(f"{k}{tuple(p.shape)}" for k, p in own.items()).encode())
    telling = [p for p in own.values() if p.ndim == 4]
    values = [w.flatten()[:: max(1, w.numel() // SAMPLED)][:SAMPLED].to("cpu", torch.float16)
              for w in (telling[0], telling[-1])]
    return {"shapes": digest.hexdigest(), "values": base64.b64encode(torch.cat(values).numpy().tobytes()).decode()}


def save_decoder(vae: Any, path: Path | str, notes: dict[str, Any] | None = None,
                 dtype: torch.dtype | None = None) -> None:
    """Write the temporal layers of a decoder alone, safetensors, whole or not at all.

    notes: whatever the training wants to keep; None: what a loaded file said. dtype: None keeps the layers' own.
    """
    path = Path(path)
    tensors = {k: p.detach().to("cpu", dtype).contiguous() for k, p in decoder_parameters(vae).items()}
    notes = getattr(vae.decoder, "temporal_notes", {}) if notes is None else notes
    metadata = {"format": FORMAT, "base": decoder_identity(vae), "notes": notes, SUM: checksum(tensors)}
    with whole(path) as part:
        save_file(tensors, part, metadata={"lnm": json.dumps(metadata, sort_keys=True)})


@torch.no_grad()
def load_decoder(vae: Any, path: Path | str) -> dict[str, Any]:
    """Add temporal layers to the decoder of `vae`, in place, and load what `save_decoder` wrote. Returns its notes.

    The layers take the decoder's own precision and stand still. Raises UserError, and changes nothing, for a file that
    is not one or that was trained on another autoencoder.
    """
    again = brought_again(Path(path).parent) or "give one that `lnm motion decoder` wrote, or train again"
    tensors, about = read(path, again)
    metadata = json.loads(about.get("lnm", "{}"))
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise UserError(f"{path}: not a file of a decoder in time ({FORMAT}); give one that `lnm motion decoder` wrote")
    if not {"base", "notes"} <= metadata.keys():
        raise UserError(f"{path}: what it says of itself is incomplete; train again")
    if not same_base(metadata["base"], decoder_identity(vae)):
        raise UserError(f"{path}: trained on another autoencoder than the one that is open; open that one")
    fresh = not has_temporal_decoder(vae)
    add_temporal_decoder(vae)
    own = decoder_parameters(vae)
    if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in own.items()}:
        if fresh:
            remove_temporal_decoder(vae)
        raise UserError(f"{path}: its layers have other shapes than this decoder's; train again")
    for k, v in tensors.items():
        own[k].copy_(v)
        own[k].requires_grad_(False)
    vae.decoder.temporal_notes = metadata["notes"]
    return metadata["notes"]
