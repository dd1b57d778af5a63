"""Opens a checkpoint: a Stable Diffusion inpainting model in diffusers' layout or in one file, or the own `lnm-mini`.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (2022).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from lnm.errors import UserError
from lnm.files import builtin

COMPONENTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
# the files of a checkpoint that are read
WANTED = ("scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt",
          "tokenizer/tokenizer_config.json", "text_encoder/config.json", "unet/config.json", "vae/config.json")
# and the weights of its models: whole, sharded (an index and shards), or the half-precision variant
WEIGHTS = {"text_encoder": "model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
INDEX = "model_index.json"
HUB = ("cache_dir", "local_files_only", "token", "force_download")  # how a hub name is fetched, in diffusers' names


@dataclass
class Checkpoint:
    """An open checkpoint: diffusers' and transformers' own objects, in evaluation mode, without gradients."""

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    name: str


def open_checkpoint(name: str, revision: str | None = None, device: str = "cpu", dtype: torch.dtype | None = None,
                    config: str | None = None, **hub: Any) -> Checkpoint:
    """Open a Stable Diffusion inpainting checkpoint.

    name: "lnm-mini", a folder in diffusers' layout, a hub name (from the cache or downloaded), or one file of the
    original layout, MODEL.safetensors. revision: of a hub name. dtype: of the weights, float32 unless given.
    config: for one file alone, a folder or hub name in diffusers' layout, for configurations and tokenizer, which the
    file does not hold (weights there are not read). None: the folder MODEL beside the file, or else the hub's for such
    weights.
    hub: `cache_dir`, `local_files_only`, `token`, `force_download`, as diffusers takes them, for what is fetched.
    Raises UserError for a checkpoint that is missing, incomplete, unreadable or not for inpainting.
    """
    if unknown := set(hub) - set(HUB):
        raise TypeError(f"open_checkpoint() takes no argument named {', '.join(sorted(unknown))}")
    try:
        base = _read(name, revision, dtype or torch.float32, config, hub)
    except UserError:
        raise
    except Exception as error:  # safetensors, json and both libraries raise their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"checkpoint.name: {name} cannot be opened: {first[:200]}; fetch its files again") from None
    unet = base.unet.config
    if unet.in_channels != 2 * unet.out_channels + 1:
        raise UserError(f"checkpoint.name: {name}: its U-Net takes {unet.in_channels} channels; an inpainting one "
                        f"takes {2 * unet.out_channels + 1}, choose an inpainting checkpoint")
    predicts = base.scheduler.config.prediction_type
    if predicts not in ("epsilon", "v_prediction"):
        raise UserError(f"checkpoint.name: {name} predicts {predicts}; choose a checkpoint that "
                        "predicts noise (epsilon) or velocity (v_prediction)")
    for module in (base.vae, base.unet, base.text_encoder):
        module.eval().requires_grad_(False).to(device)
    return base


def locate(name: str, revision: str | None = None, **hub: Any) -> Path:
    """The folder of a checkpoint: "lnm-mini", a local folder, or a hub name's snapshot (from the cache or downloaded;
    hub: see `open_checkpoint`).

    Raises UserError that names the missing files and where to put them.
    """
    folder = builtin(name) or Path(name).expanduser()
    if not folder.is_dir():
        folder = _from_hub(name, revision, hub)
    _look_for_settings(folder, name)
    for part in WEIGHTS:
        _variant(folder, part, name)
    return folder


def saved_class(name: Path | str, revision: str | None = None, **hub: Any) -> str | None:
    """The class of the pipeline in a folder or under a hub name, as its model_index.json has it; None if that is not
    to be had."""
    folder = builtin(str(name)) or Path(name).expanduser()
    index = folder / INDEX
    if not folder.exists() and _is_hub_name(str(name)):
        from huggingface_hub import hf_hub_download  # here: a local folder needs none of it

        try:
            index = Path(hf_hub_download(str(name), INDEX, revision=revision, **hub))
        except Exception:  # the hub client raises many kinds; opening the checkpoint says what is wrong
            return None
    return json.loads(index.read_text()).get("_class_name") if index.is_file() else None


# ---------------------------------------------------------------- where the files are


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "~", "/", "checkpoints/", "inputs/"))


def _look_for_settings(folder: Path, name: str) -> None:
    """Raise UserError for a file of WANTED that is not there."""
    for file in WANTED:
        if not (folder / file).is_file():
            place = f"{folder.name}/{Path(file).parent}"
            raise UserError(f"checkpoint.name: {name}: {file} is missing; put it into {place}")


def _from_hub(name: str, revision: str | None, hub: dict[str, Any]) -> Path:
    if not _is_hub_name(name):
        fix = ("`dvc pull lnm-mini` brings the built-in checkpoints/lnm-mini"
               if name == "lnm-mini" or "checkpoints" in Path(name).parts else
               "give a folder in diffusers' layout, a hub name (USER/NAME), a .safetensors file or lnm-mini")
        raise UserError(f"checkpoint.name: there is no folder {name}; {fix}")
    from huggingface_hub import snapshot_download  # here: a local folder needs none of it

    small = [*WANTED, INDEX, "tokenizer/special_tokens_map.json"]
    half = [f"{part}/{stem}.fp16.safetensors" for part, stem in WEIGHTS.items()]
    whole = [f"{part}/{stem}.safetensors" for part, stem in WEIGHTS.items()]
    shards = [f"{part}/{stem}{end}" for part, stem in WEIGHTS.items()
              for end in (".safetensors.index.json", "-*-of-*.safetensors")]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*small, *half], **hub))
        if not all((folder / file).is_file() for file in half):  # half the bytes where there are such
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*small, *whole, *shards], **hub))
    except Exception as error:  # the hub client raises many kinds
        if hub.get("local_files_only"):
            raise UserError(f"checkpoint.name: {name} is not in the cache{_cache(hub)}, and local_files_only forbids a "
                            "download; open it once without") from None
        raise UserError(
            f"checkpoint.name: {name} cannot be fetched from the model hub ({type(error).__name__}); fetch it where "
            f"the hub is in reach and put these files into inputs/{name.split('/')[1]}/, then set checkpoint.name to "
            f"that folder: {', '.join([*WANTED, *whole])} (or *.fp16.safetensors)") from None
    return folder


def _cache(hub: dict[str, Any]) -> str:
    return f" {hub['cache_dir']}" if hub.get("cache_dir") else ""


def _variant(folder: Path, part: str, name: str) -> str | None:
    """Which weights of a model there are: None (plain or sharded) or "fp16". Raises UserError if there are none."""
    stem = f"{part}/{WEIGHTS[part]}"
    if (folder / f"{stem}.safetensors").is_file() or (folder / f"{stem}.safetensors.index.json").is_file():
        return None
    if (folder / f"{stem}.fp16.safetensors").is_file():
        return "fp16"
    raise UserError(f"checkpoint.name: {name}: {stem}.safetensors (or .fp16.safetensors) is missing; put it into "
                    f"{folder.name}/{part}; .bin files are not opened")


# ---------------------------------------------------------------- what is in them


def _read(name: str, revision: str | None, dtype: torch.dtype, config: str | None,
          hub: dict[str, Any]) -> Checkpoint:
    path = Path(name).expanduser()
    if path.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        raise UserError(f"checkpoint.name: {name} is a pickle, which can run code when it is opened; give a "
                        ".safetensors file or a folder in diffusers' layout")
    if path.suffix == ".safetensors":
        return _read_file(path, name, dtype, config, hub)
    return _read_folder(locate(name, revision, **hub), name, dtype)


def _read_folder(folder: Path, name: str, dtype: torch.dtype) -> Checkpoint:
    """diffusers' and transformers' objects of a folder that has all its files."""
    weights = {part: {"variant": _variant(folder, part, name), "use_safetensors": True} for part in WEIGHTS}
    return Checkpoint(
        vae=_autoencoder(folder).from_pretrained(folder / "vae", torch_dtype=dtype, **weights["vae"]),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **weights["unet"]),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype, **weights["text_encoder"]),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=_scheduler(folder),
        name=name)


def _read_file(path: Path, name: str, dtype: torch.dtype, config: str | None, hub: dict[str, Any]) -> Checkpoint:
    """The same of one file in the original layout (model.diffusion_model, first_stage_model, cond_stage_model)."""
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm  # here: a folder needs none
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"checkpoint.name: there is no file {name}")
    weights = load_file(path)
    folder = _settings_of_file(path, name, config, weights, hub)
    given = {"config": str(folder), "torch_dtype": dtype, "local_files_only": True}
    text_encoder = create_diffusers_clip_model_from_ldm(CLIPTextModel, dict(weights), subfolder="text_encoder", **given)
    return Checkpoint(
        vae=_autoencoder(folder).from_single_file(dict(weights), subfolder="vae", **given),
        unet=UNet2DConditionModel.from_single_file(dict(weights), subfolder="unet", **given),
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=_scheduler(folder),
        name=name)


def _settings_of_file(path: Path, name: str, config: str | None, weights: dict, hub: dict[str, Any]) -> Path:
    """The folder with the configurations and the tokenizer of a single file."""
    from diffusers.loaders.single_file_utils import fetch_diffusers_config
    from huggingface_hub import snapshot_download

    beside = path.with_suffix("")
    usual = fetch_diffusers_config(weights)["pretrained_model_name_or_path"]
    place = config or (str(beside) if beside.is_dir() else usual)
    folder = builtin(place) or Path(place).expanduser()
    if not folder.is_dir():
        try:
            small = [*WANTED, "tokenizer/special_tokens_map.json"]
            folder = Path(snapshot_download(place, allow_patterns=small, **hub))
        except Exception as error:  # the hub client raises many kinds
            raise UserError(f"checkpoint.name: {name}: its configuration ({place}) is neither here nor to be had from "
                            f"the model hub ({type(error).__name__}); put {', '.join(WANTED)} into {beside}/, or "
                            "give a folder that holds them as `config`") from None
    _look_for_settings(folder, name)
    return folder


def _autoencoder(folder: Path) -> Any:
    kind = json.loads((folder / "vae/config.json").read_text()).get("_class_name")
    return AutoencoderDC if kind == "AutoencoderDC" else AutoencoderKL


def _scheduler(folder: Path) -> DDIMScheduler:
    # a configuration written for another sampler may lack the key, and diffusers' default clamps latents to [-1, 1]
    return DDIMScheduler.from_config({**DDIMScheduler.load_config(folder / "scheduler"), "clip_sample": False})
