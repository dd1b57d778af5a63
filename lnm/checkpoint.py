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
from lnm.files import as_carried, builtin, given_path
from lnm.tensors import PICKLES
from lnm.weights import aligned, check_memory, count, head, hub_refusal

COMPONENTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
# the files of a checkpoint that are read
WANTED = ("scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt",
          "tokenizer/tokenizer_config.json", "text_encoder/config.json", "unet/config.json", "vae/config.json")
# and the weights of its models: whole, sharded (an index and shards), or the half-precision variant
WEIGHTS = {"text_encoder": "model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
INDEX = "model_index.json"
# in one file of the original layout: U-Net, autoencoder, text encoder
PREFIXES = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")
FIRST, LAST = "model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.out.2.weight"
HUB = ("cache_dir", "local_files_only", "token", "force_download")  # how a hub name is fetched, in diffusers' names


@dataclass
class Checkpoint:
    """An open checkpoint: diffusers' and transformers' own objects, in evaluation mode, without gradients.

    widen: whether it is a text-to-image model that is to be widened. lora: what `lnm.lora.fuse_lora` has added to it.
    """

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    name: str
    widen: bool = False
    lora: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Asked:
    """How a checkpoint is to be opened."""

    name: str
    device: str
    dtype: torch.dtype
    vae_dtype: torch.dtype
    widen: bool


def open_checkpoint(name: str, revision: str | None = None, device: str = "cpu", dtype: torch.dtype | None = None,
                    config: str | None = None, *, widen: bool = False, vae_dtype: torch.dtype | None = None,
                    **hub: Any) -> Checkpoint:
    """Open a Stable Diffusion inpainting checkpoint, of version 1 or 2.

    name: "lnm-mini", a folder in diffusers' layout, a hub name (from the cache or downloaded), or one file of the
    original layout, MODEL.safetensors. revision: of a hub name. dtype: of the weights, float32 unless given;
    vae_dtype: of the autoencoder's, where they have another.
    config: for one file alone, a folder or hub name in diffusers' layout, for configurations and tokenizer, which the
    file does not hold (weights there are not read). None: the folder MODEL beside the file, or else the hub's for such
    weights. widen: open a text-to-image checkpoint, whose U-Net takes noisy latents alone; inflated, it gets weights
    for mask and still (`UNetPseudo3DConditionModel.from_unet2d`).
    hub: `cache_dir`, `local_files_only`, `token`, `force_download`, as diffusers takes them, for what is fetched.
    Raises UserError for a checkpoint that is missing, incomplete, unreadable, of another layout or larger than the
    memory that is free.
    """
    if unknown := set(hub) - set(HUB):
        raise TypeError(f"open_checkpoint() takes no argument named {', '.join(sorted(unknown))}")
    try:
        dtype = dtype or torch.float32
        base = _read(_Asked(name, device, dtype, vae_dtype or dtype, widen), revision, config, hub)
    except UserError:
        raise
    except Exception as error:  # safetensors, json and both libraries raise their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"checkpoint.name: {name} cannot be opened: {first[:200]}; fetch its files again") from None
    predicts = base.scheduler.config.prediction_type
    if predicts not in ("epsilon", "v_prediction"):
        raise UserError(f"checkpoint.name: {name} predicts {predicts}; choose a checkpoint that "
                        "predicts noise (epsilon) or velocity (v_prediction)")
    for module in (base.vae, base.unet, base.text_encoder):
        aligned(module.eval().requires_grad_(False)).to(device)
    return base


def locate(name: str, revision: str | None = None, asked: _Asked | None = None, **hub: Any) -> Path:
    """The folder of a checkpoint: "lnm-mini", a local folder, or a hub name's snapshot (from the cache or downloaded;
    hub: see `open_checkpoint`). asked: how it is to be opened, where it is.

    Raises UserError that names the missing files and where to put them, and for another layout.
    """
    folder = builtin(name) or given_path(name, "checkpoint.name")
    if not folder.is_dir():
        folder = _from_hub(name, revision, asked, hub)
    _check_layout(folder, name, asked)
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


def _json(path: Path) -> dict[str, Any]:
    """A json file of a checkpoint; empty where there is none. Raises UserError for one that is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise UserError(f"checkpoint.name: {path} cannot be read ({error}); fetch it again") from None


# ---------------------------------------------------------------- where the files are


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "~", "/", "checkpoints/", "inputs/"))


def _look_for_settings(folder: Path, name: str) -> None:
    """Raise UserError for a file of WANTED that is not there."""
    for file in WANTED:
        if not (folder / file).is_file():
            place = f"{folder.name}/{Path(file).parent}"
            raise UserError(f"checkpoint.name: {name}: {file} is missing; put it into {place}")


def _from_hub(name: str, revision: str | None, asked: _Asked | None, hub: dict[str, Any]) -> Path:
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
        # before the gigabytes
        _check_layout(Path(snapshot_download(name, revision=revision, allow_patterns=small, **hub)), name, asked)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*small, *half], **hub))
        if not all((folder / file).is_file() for file in half):  # half the bytes where there are such
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*small, *whole, *shards], **hub))
    except UserError:
        raise
    except Exception as error:  # the hub client raises many kinds
        if refusal := hub_refusal(error, name, revision):
            raise UserError(f"checkpoint.name: {refusal}") from None
        if hub.get("local_files_only"):
            raise UserError(f"checkpoint.name: {name} is not in the cache{_cache(hub)}, and local_files_only forbids a "
                            "download; open it once without") from None
        raise UserError(
            f"checkpoint.name: {name}{f' at revision {revision}' if revision else ''} cannot be fetched from the model "
            f"hub ({type(error).__name__}); fetch it where "
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


def _check_layout(folder: Path, name: str, asked: _Asked | None) -> None:
    """Raise UserError for a folder of another kind of model than Stable Diffusion 1 or 2, by its name, and, where it is
    known how it is asked for, for a U-Net that does not take what it would be given."""
    index = _json(folder / INDEX)
    kind, unet = index.get("_class_name", ""), _json(folder / "unet/config.json")
    if "text_encoder_2" in index or unet.get("addition_embed_type") == "text_time":
        raise UserError(_is_sdxl(name))
    # an index as diffusers writes it lists the parts
    if "unet" not in index and any(isinstance(value, list) for value in index.values()):
        raise UserError(f"checkpoint.name: {name} is a {kind}, which has no U-Net; choose an inpainting checkpoint of "
                        "Stable Diffusion 1.5 or 2")
    if asked and unet:
        _check_inputs(unet.get("in_channels", 4), unet.get("out_channels", 4), asked)


def _is_sdxl(name: str) -> str:
    return (f"checkpoint.name: {name} is Stable Diffusion XL, whose U-Net needs a second text encoder's words and the "
            "picture's size beside them (text_embeds, time_ids), which are not given here; choose an inpainting "
            "checkpoint of Stable Diffusion 1.5 or 2")


def _check_inputs(inputs: int, outputs: int, asked: _Asked) -> None:
    """Raise UserError unless a U-Net with so many channels takes noisy latents, mask and still, or is to be widened."""
    inpainting, name = 2 * outputs + 1, f"checkpoint.name: {asked.name}"
    if inputs == inpainting and asked.widen:
        raise UserError(f"{name} is an inpainting checkpoint and needs no widening; leave widen out (checkpoint.widen, "
                        "--widen), and open a temporal file of a widened checkpoint on that one")
    if inputs == outputs and not asked.widen:
        raise UserError(f"{name}: its U-Net takes {inputs} channels, as one for text to image does; choose an "
                        f"inpainting checkpoint, or widen this one (checkpoint.widen: true, --widen, widen=True)")
    if inputs not in (inpainting, outputs):
        known = {5: " (noisy latents and depth)", 7: " (noisy latents and a small picture)",
                 8: " (noisy latents and a picture to edit)"}.get(inputs, "")
        raise UserError(f"{name}: its U-Net takes {inputs} channels{known}; an inpainting one takes {inpainting}, "
                        "choose an inpainting checkpoint")


def _read(asked: _Asked, revision: str | None, config: str | None, hub: dict[str, Any]) -> Checkpoint:
    name, path = asked.name, given_path(asked.name, "checkpoint.name")
    if path.suffix in PICKLES:
        raise UserError(f"checkpoint.name: {name} is a pickle, which can run code when it is opened; give a "
                        ".safetensors file or a folder in diffusers' layout")
    if path.suffix == ".safetensors":
        return _read_file(path, asked, config, hub)
    folder = locate(name, revision, asked, **hub)
    as_carried(folder, "checkpoint.name")
    return _read_folder(folder, asked)


def _read_folder(folder: Path, asked: _Asked) -> Checkpoint:
    """diffusers' and transformers' objects of a folder that has all its files."""
    variants = {part: _variant(folder, part, asked.name) for part in WEIGHTS}
    heads = [head(file, f"checkpoint.name: {asked.name}: {part}/{file.name}")
             for part in WEIGHTS for file in _files(folder, part, variants[part], asked.name)]
    check_memory(asked.name, sum(count(found.values()) for found in heads), asked.dtype, asked.device)

    def model(kind: Any, part: str, **dtype: torch.dtype) -> Any:
        opened, info = kind.from_pretrained(folder / part, variant=variants[part], use_safetensors=True,
                                            output_loading_info=True, **dtype)
        return _whole(opened, part, info["missing_keys"], asked.name)

    return Checkpoint(
        vae=model(_autoencoder(folder), "vae", torch_dtype=asked.vae_dtype),
        unet=model(UNet2DConditionModel, "unet", torch_dtype=asked.dtype),
        text_encoder=model(CLIPTextModel, "text_encoder", dtype=asked.dtype),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=_scheduler(folder),
        name=asked.name, widen=asked.widen)


def _files(folder: Path, part: str, variant: str | None, name: str) -> list[Path]:
    """The files that hold a model's weights: one, or its shards. Raises UserError for a shard that is missing."""
    stem = folder / part / WEIGHTS[part]
    index = stem.with_name(f"{stem.name}.safetensors.index.json")
    one = stem.with_name(f"{stem.name}{f'.{variant}' if variant else ''}.safetensors")
    if one.is_file():
        return [one]
    files = [stem.with_name(shard) for shard in sorted(set(_json(index).get("weight_map", {}).values()))]
    for file in files:
        if not file.is_file():
            raise UserError(f"checkpoint.name: {name}: {part}/{file.name} is missing; put it into {folder.name}/{part}")
    return files


def _whole(model: Any, part: str, missing: Any, name: str) -> Any:
    """The model, whose weights are all of the file's. The libraries draw what a file lacks, and only warn of it."""
    missing = sorted(missing) or [k for k, p in model.named_parameters() if p.is_meta]
    if missing:
        raise UserError(f"checkpoint.name: {name}: its {part} lacks {len(missing)} weights that its configuration has "
                        f"({missing[0]} ...); the two do not belong together, fetch both again")
    return model


def _read_file(path: Path, asked: _Asked, config: str | None, hub: dict[str, Any]) -> Checkpoint:
    """The same of one file in the original layout (model.diffusion_model, first_stage_model, cond_stage_model)."""
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm  # here: a folder needs none
    from safetensors.torch import load_file

    name = asked.name
    if not path.is_file():
        raise UserError(f"checkpoint.name: there is no file {name}")
    tensors = head(path, f"checkpoint.name: {name}")
    if any(key.startswith("conditioner.") for key in tensors):
        raise UserError(_is_sdxl(name))
    if FIRST not in tensors or LAST not in tensors:
        raise UserError(f"checkpoint.name: {name} is no Stable Diffusion in one file ({FIRST} is not in it); give one, "
                        "or a folder in diffusers' layout")
    _check_inputs(tensors[FIRST]["shape"][1], tensors[LAST]["shape"][0], asked)
    own = [tensor for key, tensor in tensors.items() if key.startswith(PREFIXES)]
    check_memory(name, count(own), asked.dtype, asked.device)
    weights = load_file(path)
    folder = _settings_of_file(path, name, config, weights, hub)
    given = {"config": str(folder), "torch_dtype": asked.dtype, "local_files_only": True}
    text_encoder = create_diffusers_clip_model_from_ldm(CLIPTextModel, dict(weights), subfolder="text_encoder", **given)
    vae = _autoencoder(folder).from_single_file(dict(weights), subfolder="vae",
                                               **{**given, "torch_dtype": asked.vae_dtype})
    unet = UNet2DConditionModel.from_single_file(dict(weights), subfolder="unet", **given)
    return Checkpoint(
        vae=_whole(vae, "vae", (), name), unet=_whole(unet, "unet", (), name),
        text_encoder=_whole(text_encoder, "text_encoder", (), name),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=_scheduler(folder),
        name=name, widen=asked.widen)


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
            if refusal := hub_refusal(error, place, None):
                raise UserError(f"checkpoint.name: {name}: its configuration: {refusal}") from None
            raise UserError(f"checkpoint.name: {name}: its configuration ({place}) is neither here nor to be had from "
                            f"the model hub ({type(error).__name__}); put {', '.join(WANTED)} into {beside}/, or "
                            "give a folder that holds them as `config`") from None
    _look_for_settings(folder, name)
    return folder


def _autoencoder(folder: Path) -> Any:
    kind = _json(folder / "vae/config.json").get("_class_name")
    return AutoencoderDC if kind == "AutoencoderDC" else AutoencoderKL


def _scheduler(folder: Path) -> DDIMScheduler:
    # a configuration written for another sampler may lack the key, and diffusers' default clamps latents to [-1, 1]
    return DDIMScheduler.from_config({**DDIMScheduler.load_config(folder / "scheduler"), "clip_sample": False})
