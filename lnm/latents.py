"""The prepare stage: a clip becomes VAE latents, cached once, with a still and the prompt that fits it best.

Section 4: frames are compressed by the VAE before training, and of the suggested prompts the one whose CLIP
text embedding lies nearest to the clip is used.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from lnm.params import UserError, root, write_json

CLIP_FRAMES = 16  # frames of the clip that the prompts are compared with


def to_tensor(frames: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> float (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def encode_pixels(vae, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (N, 3, H, W) in [-1, 1] -> latents (N, C, h, w), not scaled: the posterior's mean where there is one."""
    encoded = vae.encode(pixels)
    return encoded.latent_dist.mode() if "latent_dist" in encoded else encoded.latent


@torch.no_grad()
def encode(vae, frames: np.ndarray, chunk_size: int = 8, desc: str | None = None) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> latents (N, C, h, w) float32 on the CPU, times the scaling factor."""
    chunks = range(0, len(frames), chunk_size)
    parts = [encode_pixels(vae, to_tensor(frames[i:i + chunk_size]).to(vae.device, vae.dtype)).float().cpu()
             for i in tqdm(chunks, desc=desc, disable=desc is None)]
    return (torch.cat(parts) * vae.config.scaling_factor).contiguous()


@torch.no_grad()
def decode(vae, latents: torch.Tensor, chunk_size: int = 8, desc: str | None = None) -> np.ndarray:
    """Latents (N, C, h, w), scaled -> uint8 (N, H, W, 3)."""
    chunks = (latents / vae.config.scaling_factor).split(chunk_size)
    parts = [vae.decode(part.to(vae.device, vae.dtype)).sample.float().cpu()
             for part in tqdm(chunks, desc=desc, disable=desc is None)]
    return ((torch.cat(parts).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


@torch.no_grad()
def choose_prompt(prompts: list[str], frames: np.ndarray, clip: str | None, device: str = "cpu") -> dict:
    """The prompt with the least cosine distance between its CLIP text embedding and the frames', section 4.

    frames: uint8 (N, H, W, 3); the distance is the mean of 1 - cos over them. clip: an open_clip folder
    (local-dir layout) or "MODEL/PRETRAINED"; None takes the first prompt. Returns prompts.json's content.
    """
    if clip is None:
        return {"prompt": prompts[0], "candidates": [{"prompt": p, "distance": None} for p in prompts], "clip": None,
                "note": "no CLIP is set (prior.clip): the first prompt was taken"}
    import open_clip
    from PIL import Image

    folder = root() / clip
    if folder.is_dir():
        name, tags = f"local-dir:{folder}", {}
    else:
        model_name, _, pretrained = clip.rpartition("/")
        # OpenAI's weights were trained with QuickGELU, which the model's plain name does not say
        quick = (open_clip.get_pretrained_cfg(model_name, pretrained) or {}).get("quick_gelu", False)
        name, tags = model_name, {"pretrained": pretrained, "force_quick_gelu": quick}
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(name, device=device, **tags)
    except Exception as error:  # open_clip and the hub raise many kinds
        raise UserError(f"prior.clip: {clip} cannot be opened ({str(error).splitlines()[0][:160]}); give an open_clip "
                        "folder, a MODEL/PRETRAINED pair whose weights are at hand, or null") from None
    model.eval()
    rows = np.linspace(0, len(frames) - 1, min(CLIP_FRAMES, len(frames))).round().astype(int)
    pixels = torch.stack([preprocess(Image.fromarray(frames[i])) for i in rows]).to(device)
    image = model.encode_image(pixels, normalize=True)
    text = model.encode_text(open_clip.get_tokenizer(name)(prompts).to(device), normalize=True)
    distances = (1 - text @ image.T).mean(1).tolist()
    best = int(np.argmin(distances))
    return {"prompt": prompts[best], "clip": clip, "note": f"least cosine distance to {len(rows)} frames",
            "candidates": [{"prompt": p, "distance": round(d, 6)} for p, d in zip(prompts, distances)]}


def prepare(settings: dict, out: Path) -> dict:
    """The prepare stage of one video. Writes into `out`: the frames trained on and held out, the held-out ones
    through the VAE, the still, clip.mp4, latents.safetensors, prompts.json, preflight.json and clip.json."""
    from safetensors.torch import save_file

    from lnm import preflight, video
    from lnm.prior import open_prior, pick_device

    name = settings["video"]
    try:
        clip = video.read(root() / settings["path"], settings["fps"], settings["size"], settings["crop"],
                          settings["start"], settings["end"], settings["max_frames"])
    except UserError as error:
        raise UserError(f"videos.{name}: {error}") from None
    held = max(2, math.ceil(len(clip.frames) * settings["holdout"]))
    train, heldout = clip.frames[:-held], clip.frames[-held:]
    if len(train) < 5:
        raise UserError(f"videos.{name}: {settings['path']} gives {len(clip.frames)} frames at {settings['fps']} fps, "
                        "at least 7 are needed; give a longer clip or a higher fps")
    still = (video.read_image(root() / settings["still"], settings["size"]) if settings["still"] else heldout[0])

    device = pick_device(settings["device"])
    prior = open_prior(settings["prior"], settings["revision"], device)
    latents = {"train": encode(prior.vae, train, desc=f"encoding {name}"),
               "heldout": encode(prior.vae, heldout), "still": encode(prior.vae, still[None])}
    out.mkdir(parents=True, exist_ok=True)
    save_file(latents, out / "latents.safetensors")
    video.write_frames(out / "train", train)
    video.write_frames(out / "heldout", heldout)
    video.write_frames(out / "heldout_vae", decode(prior.vae, latents["heldout"], desc=f"decoding {name}, held out"))
    video.write_frames(out / "still", still[None])
    os.replace(out / "still" / "00000.png", out / "still.png")
    (out / "still").rmdir()
    video.write_mp4(out / "clip.mp4", clip.frames, clip.fps)
    prompts = choose_prompt(settings["prompts"], train, settings["clip"], device)
    write_json(out / "prompts.json", prompts)
    checks = preflight.check(train, clip.fps, still)
    write_json(out / "preflight.json", checks)
    about = {"video": name, "fps": clip.fps, "size": settings["size"], "frames_train": len(train),
             "frames_heldout": len(heldout), "source": settings["source"], "credit": settings["credit"],
             "source_fps": clip.source_fps, "source_size": list(clip.source_size), "prior": settings["prior"]}
    write_json(out / "clip.json", about)
    return about | {"prompt": prompts["prompt"]}


def load(folder: Path) -> dict[str, torch.Tensor]:
    """What `prepare` cached: train (N, C, h, w), heldout (M, C, h, w), still (1, C, h, w), float32, scaled."""
    from safetensors.torch import load_file

    return load_file(Path(folder) / "latents.safetensors")
