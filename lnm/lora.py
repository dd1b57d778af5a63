"""LoRAs of a base (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2022): how they are opened, and
fused into an open checkpoint before anything is learned on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from diffusers.loaders import StableDiffusionLoraLoaderMixin

from lnm.errors import UserError
from lnm.files import sha256


class _Carrier(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
    """What diffusers' loader of LoRAs acts on."""

    def __init__(self, unet, text_encoder):  # without annotations: diffusers would compare components with them
        super().__init__()
        self.register_modules(unet=unet, text_encoder=text_encoder)


def fuse_lora(base: Any, source: Path | str, scale: float = 1.0) -> None:
    """Add a LoRA to an open checkpoint's U-Net and text encoder for good, in place: W + scale dW.

    Fused, it costs nothing a step, and every method that films with the checkpoint has it. The checkpoint is then
    another one: temporal layers that are trained on it say so in their file (`lnm.temporal_file.base_identity`).

    base: a `lnm.checkpoint.Checkpoint` that is not inflated. source: a safetensors file, or a folder that holds one.
    Raises UserError for a file that is none, is no LoRA or does not fit.
    """
    path = Path(source).expanduser()
    if path.suffix in (".bin", ".pt", ".pth", ".ckpt"):
        raise UserError(f"checkpoint.lora: {source} is a pickle, which can run code when it is opened; give a "
                        ".safetensors file")
    if not path.exists():
        raise UserError(f"checkpoint.lora: {source} does not exist; give a .safetensors file, or a folder that holds "
                        "one")
    carrier = _Carrier(base.unet, base.text_encoder)
    try:
        carrier.load_lora_weights(str(path), **lora_arguments(path, {}))
        carried = carrier.get_list_adapters()
        if carried:
            carrier.fuse_lora(components=list(carried), lora_scale=scale)
    except Exception as error:  # safetensors, peft and diffusers raise their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "PEFT" in first:
            raise UserError("checkpoint.lora: LoRAs need peft; pip install latentmovies[lora]") from None
        raise UserError(f"checkpoint.lora: {source} does not fit this checkpoint: {first[:160]}; give a LoRA that was "
                        "trained on a checkpoint of its kind") from None
    if not carried:
        raise UserError(f"checkpoint.lora: {source} holds no layer of this checkpoint; give a LoRA of its kind")
    carrier.unload_lora_weights()
    for module in (base.unet, base.text_encoder):
        module.eval().requires_grad_(False)
    base.lora = {"name": path.name, "scale": scale}
    # for temporal files: a slight one would not be seen in the few weights that they know their base by
    base.unet.fused_lora = f"{sha256(path)} x {scale:g}"


def lora_arguments(source: Any, arguments: dict) -> dict:
    """diffusers' arguments for a LoRA: nothing is unpickled, and the one safetensors file of a folder needs no name,
    which diffusers asks for without a network."""
    files = [] if isinstance(source, dict) or not Path(source).is_dir() else list(Path(source).glob("*.safetensors"))
    named = {"weight_name": files[0].name} if len(files) == 1 else {}
    return {"use_safetensors": True, **named, **arguments}
