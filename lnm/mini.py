"""Trains `lnm-mini`, the built-in prior, and `lnm-mini-clip`, from rendered scenes and open photographs.

Stable Diffusion's layout and classes (CLIPTextModel, UNet2DConditionModel with 2C+1 input channels; for the autoencoder
AutoencoderDC, see lnm/mini_vae.py), about a hundred times smaller. `python -m lnm.prior train` runs this; every part
resumes where it was interrupted.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from lnm import mini_vae
from lnm.latents import encode, encode_pixels, to_tensor
from lnm.mini_vae import LATENT_CHANNELS

SIZE = 128  # pixels
MAX_TOKENS = 77
SAVE_EVERY = 200  # steps between checkpoints
GREY = 128  # what stands where the mask is

# how lnm-mini is trained: four and a half hours on 2 CPU cores
RECIPE = dict(
    seed=0,
    stills={"ocean": 2600, "clouds": 1800, "sunset": 900, "pond": 500, "dusk": 500},  # rendered; one seed each
    photo_crops=5,  # crops of each photograph
    vae_start=400,  # images behind the linear transform
    vae_batch=8, vae_crop=64, vae_mse=1.0, vae_gradient=0.5, vae_texture=0.1, vae_noise=0.1,
    vae_rounds=[dict(steps=1500, lr=3e-4, warmup=200), dict(steps=500, lr=2e-4, warmup=50, edges=0.07)],
    unet_batch=24, prompt_dropout=0.1, ema=0.998,
    # a round: a warm-up to `lr`, a cosine over `period`, a straight line to nothing over the last `cooldown` steps.
    # From the second on more pictures go on from what is given; the third also weighs what is coarse, the fourth the
    # line between what is given and what is not (`coarse_error`); the last three learn more of high noise, where hues
    # are settled: a timestep is the noisiest of two.
    unet_rounds=[
        dict(steps=2400, period=3000, cooldown=400, lr=4e-3, edge_lr=2e-3, photos=0.3,
             masks={"everything": 0.5, "box": 0.35}),
        dict(steps=1200, period=3200, cooldown=1, lr=3e-3, edge_lr=1.5e-3, photos=0.4,
             masks={"everything": 0.3, "box": 0.15, "half": 0.35}),
        dict(steps=1200, period=2100, cooldown=1, lr=3e-3, edge_lr=1.5e-3, photos=0.4,
             masks={"everything": 0.25, "box": 0.15, "half": 0.45}, coarse=1),
        dict(steps=800, period=1200, cooldown=500, lr=2.5e-3, edge_lr=1.2e-3, photos=0.4,
             masks={"everything": 0.25, "box": 0.15, "half": 0.45}, coarse=1, seams=10),
        dict(steps=1800, period=2400, cooldown=700, lr=3e-3, edge_lr=1.5e-3, photos=0.4,
             masks={"everything": 0.2, "box": 0.1, "half": 0.55}, coarse=1, seams=10, noisiest_of=2),
        dict(steps=1100, period=1500, cooldown=700, lr=2.5e-3, edge_lr=1.2e-3, photos=0.4,
             masks={"everything": 0.2, "box": 0.1, "half": 0.55}, coarse=1, seams=10, noisiest_of=2),
        dict(steps=1300, period=2400, cooldown=600, lr=3e-3, edge_lr=1.5e-3, photos=0.4,
             masks={"everything": 0.2, "box": 0.1, "half": 0.6}, coarse=1, seams=10, noisiest_of=2),
    ],
    clip_batch=96,
    clip_rounds=[dict(steps=500, period=500, cooldown=1, lr=3e-3, edge_lr=1e-3),
                 dict(steps=500, period=500, cooldown=100, lr=2e-3, edge_lr=7e-4)],
)

# what a photograph's caption says plainly of its contents; place names are left out
PHOTO_WORDS = {
    "ferry": "a ferry on the sea", "harbour": "a harbour", "waterfall": "a waterfall", "foss": "a waterfall",
    "lighthouse": "a lighthouse by the sea", "church": "a church", "fjord": "a fjord", "view": "a wide view",
    "nature reserve": "the coast of a nature reserve", "beach": "a beach", "atlanterhavsvegen": "the coast by the sea",
    "elva": "a river", "hirtshals": "the sea", "inden": "mountains", "climb": "a mountain path", "museum": "a house",
}


# ---------------------------------------------------------------- training images


def render_stills(kind: str, count: int, first_seed: int) -> tuple[np.ndarray, list[str]]:
    """`count` stills of a scene, seeds from `first_seed`: uint8 (count, 128, 128, 3), captions."""
    from lnm import scenes

    images, captions = [], []
    for seed in range(first_seed, first_seed + count):
        scene = scenes.draw(kind, seed)
        images.append(scenes.render(scene, [float(seed % 40)], SIZE)[0])
        captions.append(scene.caption)
    return np.stack(images), captions


def photo_caption(words: str) -> str:
    """A plain caption from the catalogue's words, or an empty one where they name only a place."""
    said = [plain for word, plain in PHOTO_WORDS.items() if word in words.lower()]
    return f"a photo of {said[0]}" if said else ""


def crop_photos(photos: list[tuple[Path, str]], crops: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Random square crops, from the whole picture to a third of it: uint8 (N, 128, 128, 3), captions."""
    from PIL import Image

    images, captions = [], []
    for i, (path, words) in enumerate(photos):
        rng = np.random.default_rng([seed, i])
        picture = Image.open(path).convert("RGB")
        short = min(picture.size)
        for c in range(crops):
            side = short if c == 0 else int(max(SIZE, short * rng.uniform(0.38, 1.0)))
            x, y = rng.integers(0, picture.width - side + 1), rng.integers(0, picture.height - side + 1)
            crop = picture.resize((SIZE, SIZE), Image.LANCZOS, box=(x, y, x + side, y + side))
            images.append(np.asarray(crop))
            captions.append(photo_caption(words) if side > 0.6 * short else "")
    return np.stack(images), captions


def training_images(work: Path, stills: dict[str, int], photos: list[tuple[Path, str]], crops: int,
                    seed: int) -> tuple[np.ndarray, list[str]]:
    """Rendered stills, seeds from 0, then crops of photographs, with captions; kept in `work` once made."""
    pixels, words = work / "images.npy", work / "images.json"
    if not words.exists():
        from concurrent.futures import ProcessPoolExecutor

        jobs = [(render_stills, kind, min(100, count - first), first)
                for kind, count in stills.items() for first in range(0, count, 100)]
        jobs += [(crop_photos, photos[i:i + 100], crops, seed + i) for i in range(0, len(photos), 100)]
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            parts = [pool.submit(*job) for job in jobs]
            parts = [part.result() for part in tqdm(parts, desc="hundreds of stills and photographs")]
        np.save(pixels, np.concatenate([p[0] for p in parts]))
        words.write_text(json.dumps([c for p in parts for c in p[1]]))
    return np.load(pixels), json.loads(words.read_text())


# ---------------------------------------------------------------- resumable training


def autocast(device: str):
    """bfloat16 where the machine has it; elsewhere a CPU's imitation is ten times slower than float32."""
    there = torch.cuda.is_bf16_supported() if device == "cuda" else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device, torch.bfloat16, enabled=there)


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix has singular values near 1 (Jordan et al. 2024), as large as Adam's would be
    (Liu et al. 2025, "Muon is Scalable"); a convolution counts as a matrix (out, in * kh * kw).

    Two and a half minutes of the U-Net's training, on 2 cores: loss 0.650 after 110 steps, AdamW's 0.697 after 194.
    torch.optim.Muon takes no convolutions and computes in bfloat16, which many a CPU only imitates. The Newton-Schulz
    iteration runs on the small Gram matrix here: a third of the work, the same result.
    """

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                slots = self.state[p]
                if not slots:
                    slots["mean"] = torch.zeros_like(p)
                mean = slots["mean"].lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]).flatten(1))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view(p.shape), alpha=-group["lr"] * 0.2 * max(update.shape) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Nearly U V^T of `matrix` = U S V^T: five quintic Newton-Schulz steps; what is large becomes 0.7 to 1.2."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    matrix = matrix / (matrix.norm() + 1e-7)
    gram, eye = matrix @ matrix.T, torch.eye(len(matrix), device=matrix.device)
    product = eye
    for _ in range(5):
        p = 3.4445 * eye - 4.7750 * gram + 2.0315 * gram @ gram
        product, gram = p @ product, p @ gram @ p
    return product @ matrix


def _loop(name: str, work: Path, modules: dict, optimizers: list, steps: int, step_fn) -> None:
    """Run `step_fn(step) -> loss` to `steps`, with checkpoints in safetensors and exact resume."""
    from safetensors.torch import load_file, save_file

    path, log = work / f"{name}.safetensors", work / f"{name}.csv"
    start = 0
    if path.exists():
        tensors = load_file(path)
        start = int(tensors.pop("step"))
        for key, module in modules.items():
            module.load_state_dict({k[len(key) + 1:]: v for k, v in tensors.items() if k.startswith(key + ".")})
        for i, optimizer in enumerate(optimizers):
            state = optimizer.state_dict()
            for k, v in tensors.items():
                if k.startswith(f"optimizer{i}."):
                    _, index, slot = k.split(".")
                    state["state"].setdefault(int(index), {})[slot] = v
            optimizer.load_state_dict(state)
    log.touch()
    bar = tqdm(range(start, steps), initial=start, total=steps, desc=name, mininterval=10)
    recent = None
    for step in bar:
        loss = step_fn(step)
        recent = loss if recent is None else 0.98 * recent + 0.02 * loss
        if step % 20 == 0:
            bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
            with log.open("a") as f:
                f.write(f"{step},{recent:.6f},{time.time():.0f}\n")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            tensors = {"step": torch.tensor(step + 1)}
            for key, module in modules.items():
                tensors |= {f"{key}.{k}": v.contiguous().clone() for k, v in module.state_dict().items()}
            for i, optimizer in enumerate(optimizers):
                for index, slots in optimizer.state_dict()["state"].items():
                    tensors |= {f"optimizer{i}.{index}.{k}": v.contiguous() for k, v in slots.items()}
            save_file(tensors, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)


def _round(rounds: list[dict], step: int) -> tuple[dict, int]:
    """The round of training that `step` falls into, and its number within it."""
    for part in rounds:
        if step < part["steps"]:
            return part, step
        step -= part["steps"]
    raise IndexError("a step after the last round")


def _update_in_round(loss: torch.Tensor, muon, adamw, part: dict, step: int) -> float:
    """One step down `loss` at the rates of round `part`, of which this is number `step`."""
    for optimizer, rate in ((muon, part["lr"]), (adamw, part["edge_lr"])):
        for group in optimizer.param_groups:
            group["peak"] = rate
    cooldown = min(1.0, (part["steps"] - step) / part["cooldown"])
    return _update(loss, [muon, adamw], step, part["period"], cooldown=cooldown)


def _update(loss: torch.Tensor, optimizers: list, step: int, period: int, warmup: int = 100, clip: float = 1.0,
            cooldown: float = 1.0) -> float:
    """One step down `loss`, at each group's "peak" rate times `cooldown` times a linear warm-up, then a cosine that
    reaches a twentieth at `period`."""
    scale = cooldown * min((step + 1) / warmup, 0.05 + 0.475 * (1 + math.cos(math.pi * step / period)))
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], clip)
    for group in groups:
        group["lr"] = group["peak"] * scale
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def _adamw(parameters, lr: float, weight_decay: float, betas: tuple[float, float]):
    # foreach: one by one, the many small tensors cost a fifth of a step's time
    return torch.optim.AdamW([{"params": list(parameters), "peak": lr}], lr=lr, weight_decay=weight_decay, betas=betas,
                             foreach=True)


def _muon_and_adamw(module, edge: str) -> list:
    """Muon for the matrices of `module` but those whose names match `edge` (what comes in, what goes out); AdamW for
    the rest."""
    named = dict(module.named_parameters())
    matrices = [k for k, p in named.items() if p.ndim >= 2 and not re.search(edge, k)]
    return [Muon([named.pop(k) for k in matrices], lr=1e-3), _adamw(named.values(), 1e-3, 1e-2, (0.9, 0.99))]


# ---------------------------------------------------------------- the autoencoder


def train_vae(work: Path, recipe: dict, images: np.ndarray):
    """The encoder is a linear transform and stays it; the decoder learns on crops of `images`. See lnm/mini_vae.py."""
    torch.manual_seed(recipe["seed"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vae = mini_vae.new_vae()
    mini_vae.linear_start(vae, images[::len(images) // recipe["vae_start"]])
    vae.encoder.requires_grad_(False)
    vae = vae.to(device, memory_format=torch.channels_last)
    optimizers = [_adamw(vae.decoder.parameters(), 3e-4, 1e-4, (0.9, 0.99))]
    rounds = recipe["vae_rounds"]

    def step_fn(step: int) -> float:
        part, step_of_part = _round(rounds, step)
        with autocast(device):
            loss = mini_vae.step(vae, images, recipe | part, step)
        optimizers[0].param_groups[0]["peak"] = part["lr"]
        return _update(loss, optimizers, step_of_part, part["steps"], part["warmup"], clip=0.5)

    _loop("vae", work, {"decoder": vae.decoder}, optimizers, sum(part["steps"] for part in rounds), step_fn)
    return vae.eval()


# ---------------------------------------------------------------- text


def train_tokenizer(folder: Path, captions: list[str]):
    """CLIP's byte-pair tokenizer with a small vocabulary; the end token has the highest id."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    model = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    model.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    words = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # bytes that end a word are named beforehand: else their order, and with it that of equal merges, is chance
    trainer = trainers.BpeTrainer(vocab_size=1200, initial_alphabet=alphabet, end_of_word_suffix="</w>",
                                  special_tokens=[a + "</w>" for a in alphabet], show_progress=False)
    model.train_from_iterator(captions, trainer)
    learned = json.loads(model.to_str())["model"]
    # CLIP's own order: bytes, bytes that end a word, merges, start, end
    tokens = alphabet + [a + "</w>" for a in alphabet]
    merges = [m if isinstance(m, str) else " ".join(m) for m in learned["merges"]]
    for merge in merges:
        joined = merge.replace(" ", "")
        if joined not in tokens:
            tokens.append(joined)
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    end = "<|endoftext|>"
    special = dict(bos_token="<|startoftext|>", eos_token=end, unk_token=end, pad_token=end)
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_TOKENS, "do_lower_case": True, **special},
        indent=2))
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2))
    return CLIPTokenizer.from_pretrained(folder)


def tokenize(tokenizer, prompts: list[str]) -> torch.Tensor:
    """Token ids (B, 77); a longer prompt keeps its end token."""
    return tokenizer(prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
                     return_tensors="pt").input_ids


def new_text_encoder(tokenizer):
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS, projection_dim=128, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))


# ---------------------------------------------------------------- the inpainting U-Net


def new_unet():
    """UNet2DConditionModel with 2C+1 input channels, as Stable Diffusion inpainting has."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIZE // 8, in_channels=2 * LATENT_CHANNELS + 1, out_channels=LATENT_CHANNELS, layers_per_block=1,
        block_out_channels=(80, 128, 160), down_block_types=("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 2, cross_attention_dim=128, attention_head_dim=4,
        norm_num_groups=16)


def new_scheduler():
    """Velocity prediction down to a signal of nothing (Salimans & Ho 2022; Lin et al. 2024).

    With Stable Diffusion's own noise prediction a model this small took its colours from the mean of the noise, which
    never quite hides the picture: every frame of a film had colours of its own.
    """
    from diffusers import DDIMScheduler

    # beta_start: the last of 15 steps begins at a noise of 0.12, with Stable Diffusion's 0.00085 at 0.28, where the
    # finest channels are lost already and would come out as their mean
    return DDIMScheduler(num_train_timesteps=1000, beta_start=0.0001, beta_end=0.012, beta_schedule="scaled_linear",
                         clip_sample=False, set_alpha_to_one=True, steps_offset=0, prediction_type="v_prediction",
                         rescale_betas_zero_snr=True, timestep_spacing="trailing")


def random_box(rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random rectangle (x0, y0, x1, y1) of pixels, a side from a quarter to the whole picture."""
    w, h = rng.integers(SIZE // 4, SIZE + 1, 2)
    x, y = rng.integers(0, SIZE - w + 1), rng.integers(0, SIZE - h + 1)
    return x, y, x + w, y + h


def half_plane(rng: np.random.Generator, side: int) -> torch.Tensor:
    """A mask (side, side) that is 1 beyond a line: a quarter to three quarters of the picture, at any of its edges."""
    mask = torch.zeros(side, side)
    mask[:, int(rng.integers(side // 4, 3 * side // 4 + 1)):] = 1
    return torch.rot90(mask, int(rng.integers(4)))


@torch.no_grad()
def training_latents(work: Path, recipe: dict, vae, images: np.ndarray) -> dict:
    """Scaled latents of every image, of every third with a random box blanked, those boxes, and of a blank."""
    from safetensors.torch import load_file, save_file

    path = work / "latents.safetensors"
    if not path.exists():
        latents, masked, boxes = [], [], []
        for start in tqdm(range(0, len(images), 64), desc="encoding"):
            x = images[start:start + 64]
            third = range(-start % 3, len(x), 3)
            hidden = x[third].copy()
            for i, row in enumerate(third):
                x0, y0, x1, y1 = random_box(np.random.default_rng([recipe["seed"], 2, start + row]))
                hidden[i, y0:y1, x0:x1] = GREY
                boxes.append((x0, y0, x1, y1))
            latents.append(encode(vae, x, 64))
            masked.append(encode(vae, hidden, 64))
        save_file({"latents": torch.cat(latents), "masked": torch.cat(masked), "boxes": torch.tensor(np.array(boxes)),
                   "blank": encode(vae, np.full((1, SIZE, SIZE, 3), GREY, np.uint8))}, path)
    return load_file(path)


@torch.no_grad()
def patch_basis(vae) -> torch.Tensor:
    """What each channel of a latent, before scaling, adds to the pixels of its patch, (C, 3, 8, 8): the linear encoder's
    inverse."""
    count = 3 * mini_vae.PATCH**2
    patches = torch.cat([torch.zeros(1, count), torch.eye(count)]).view(-1, 3, mini_vae.PATCH, mini_vae.PATCH)
    seen = encode_pixels(vae, patches.to(vae.device)).flatten(1).cpu()
    return torch.linalg.pinv((seen[1:] - seen[:1]).double()).float().view(-1, *patches.shape[1:])


def coarse_error(error: torch.Tensor, basis: torch.Tensor, mask: torch.Tensor, seams: float = 0) -> torch.Tensor:
    """The mean square of `error` (B, C, h, w) averaged over 2x2, 4x4 and 8x8 cells, times 2, 4 and 8 (the multiscale
    loss of Hoogeboom et al., "simple diffusion", 2023, the other way up), and ten times that of its steps between
    pixels either side of a patch's edge; where that is an edge of `mask` (B, 1, h, w), `seams` times as much on top.

    The best prediction stays the mean; but a hue or an edge that does not go on hardly shows in a plain mean square,
    which is nearly all fine texture; half pictures showed it at their seams.
    """
    pooled = sum(2**k * F.avg_pool2d(error, 2**k).square().mean() for k in (1, 2, 3))
    left, right = (torch.einsum("bchw,cpi->bpihw", error, basis[..., i]) for i in (0, -1))
    top, bottom = (torch.einsum("bchw,cpi->bpihw", error, basis[..., i, :]) for i in (0, -1))
    across, down = right[..., :-1] - left[..., 1:], bottom[..., :-1, :] - top[..., 1:, :]
    across_by, down_by = (1 + seams * mask.diff(dim=d).abs().unsqueeze(1) for d in (-1, -2))
    return pooled + 5 * ((across_by * across.square()).mean() + (down_by * down.square()).mean())


def train_unet(work: Path, recipe: dict, latents: dict, captions: list[str], tokenizer, basis: torch.Tensor):
    """Velocity prediction on latents; the mask holds everything, a box, what is beyond a line, or nothing (a round's
    "masks" says how often); a timestep is the largest of "noisiest_of" drawn."""
    torch.manual_seed(recipe["seed"] + 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    unet = new_unet().to(device, memory_format=torch.channels_last)
    text_encoder = new_text_encoder(tokenizer).to(device)
    scheduler = new_scheduler()
    everything = torch.nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
    optimizers = _muon_and_adamw(everything, "embedding|conv_in|conv_out")
    smooth = torch.nn.ModuleDict({"unet": new_unet(), "text_encoder": new_text_encoder(tokenizer)}).to(device)
    smooth.load_state_dict(everything.state_dict())
    tokens, basis = tokenize(tokenizer, captions), basis.to(device)
    empty = tokenize(tokenizer, [""])[0]
    clean, masked, blank = latents["latents"], latents["masked"], latents["blank"][0]
    stills, cell = sum(recipe["stills"].values()), SIZE // clean.shape[-1]

    def step_fn(step: int) -> float:
        part, step_of_part = _round(recipe["unet_rounds"], step)
        full, box, half = np.cumsum([part["masks"].get(kind, 0) for kind in ("everything", "box", "half")])
        rng = np.random.default_rng([recipe["seed"], 3, step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        photo = rng.random(recipe["unet_batch"]) < part["photos"]
        rows = rng.integers(np.where(photo, stills, 0), np.where(photo, len(clean), stills))
        kinds = rng.random(len(rows))
        boxed = (kinds >= full) & (kinds < box)
        rows = np.where(boxed, rows // 3 * 3, rows)  # the images whose latents with a box are kept
        x = clean[rows]
        hint, mask = x.clone(), torch.zeros(len(rows), 1, *x.shape[-2:])
        ids = tokens[rows].clone()
        for i, row in enumerate(rows):
            if kinds[i] < full:
                hint[i], mask[i] = blank, 1
            elif kinds[i] < box:
                x0, y0, x1, y1 = latents["boxes"][row // 3].tolist()
                hint[i] = masked[row // 3]
                pixels = torch.zeros(1, 1, SIZE, SIZE)
                pixels[..., y0:y1, x0:x1] = 1
                mask[i] = F.interpolate(pixels, scale_factor=1 / cell)[0]  # nearest, as diffusers does
            elif kinds[i] < half:
                mask[i] = half_plane(rng, x.shape[-1])
                hint[i] = torch.where(mask[i] > 0, blank, x[i])  # whole patches: as if hidden before the encoder
            if rng.random() < recipe["prompt_dropout"]:
                ids[i] = empty
        flip = rng.random() < 0.5
        if flip:
            x, hint, mask = x.flip(-1), hint.flip(-1), mask.flip(-1)
        noise = torch.randn(x.shape, generator=generator)
        t = torch.randint(0, 1000, (part.get("noisiest_of", 1), len(rows)), generator=generator).amax(0)
        noisy = scheduler.add_noise(x, noise, t)
        sample = torch.cat([noisy, mask, hint], 1).to(device, memory_format=torch.channels_last)
        with autocast(device):
            words = text_encoder(ids.to(device)).last_hidden_state
            predicted = unet(sample, t.to(device), words).sample
        predicted, velocity = predicted.float(), scheduler.get_velocity(x, noise, t).to(device)
        loss = F.mse_loss(predicted, velocity)
        if part.get("coarse"):
            loss = loss + coarse_error(predicted - velocity, basis, mask.to(device), part.get("seams", 0))
        value = _update_in_round(loss, *optimizers, part, step_of_part)
        decay = min(recipe["ema"], (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(smooth.parameters()), list(everything.parameters()), 1 - decay)
        return value

    steps = sum(part["steps"] for part in recipe["unet_rounds"])
    _loop("unet", work, {"fast": everything, "smooth": smooth}, optimizers, steps, step_fn)
    return smooth["unet"].eval(), smooth["text_encoder"].eval()


# ---------------------------------------------------------------- a small CLIP


def new_clip(tokenizer) -> dict:
    """open_clip's configuration of lnm-mini-clip: a ViT of 4 layers at 128 px, a text transformer of 2."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": SIZE, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": MAX_TOKENS, "vocab_size": len(tokenizer), "width": 128, "heads": 4, "layers": 2},
    }


CLIP_PIXELS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "shortest",
               "size": [SIZE, SIZE], "mode": "RGB"}


def train_clip(work: Path, recipe: dict, images: np.ndarray, captions: list[str], tokenizer):
    """open_clip's own classes and contrastive loss, on the captioned images; a caption stands once in a batch."""
    from open_clip import ClipLoss
    from open_clip.model import CLIP

    torch.manual_seed(recipe["seed"] + 2)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = CLIP(**new_clip(tokenizer), output_dict=True).to(device)
    optimizers = _muon_and_adamw(model, "embedding|visual.conv1")
    captioned = np.array([i for i, c in enumerate(captions) if c])
    tokens, loss_fn = tokenize(tokenizer, captions), ClipLoss()

    def step_fn(step: int) -> float:
        rng = np.random.default_rng([recipe["seed"], 4, step])
        rows, seen = [], set()
        for row in rng.permutation(captioned)[:4 * recipe["clip_batch"]]:
            if captions[row] not in seen and len(rows) < recipe["clip_batch"]:
                seen.add(captions[row])
                rows.append(row)
        rows = np.array(rows)
        x = to_tensor(np.stack([images[r] for r in rows]))
        if rng.random() < 0.5:
            x = x.flip(-1)
        with autocast(device):
            out = model(x.to(device), tokens[rows].to(device))
        loss = loss_fn(out["image_features"].float(), out["text_features"].float(), out["logit_scale"].float())
        value = _update_in_round(loss, *optimizers, *_round(recipe["clip_rounds"], step))
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return value

    steps = sum(part["steps"] for part in recipe["clip_rounds"])
    _loop("clip", work, {"clip": model}, optimizers, steps, step_fn)
    return model.eval()


def save_clip(folder: Path, model, tokenizer, tokenizer_folder: Path) -> None:
    """open_clip's local-dir layout: configuration, safetensors, the tokenizer's files."""
    import shutil

    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for file in tokenizer_folder.iterdir():
        shutil.copyfile(file, folder / file.name)
    config = {"model_cfg": new_clip(tokenizer), "preprocess_cfg": CLIP_PIXELS}
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "local-dir", "tokenizer_kwargs": {"clean": "lower"}}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({k: v.half().cpu().contiguous() for k, v in model.state_dict().items()},
              folder / "open_clip_model.safetensors")


# ---------------------------------------------------------------- the whole


def save_prior(folder: Path, vae, unet, text_encoder, tokenizer_folder: Path) -> None:
    """diffusers' Stable Diffusion layout, fp16 safetensors, no file over 14 MB."""
    import shutil

    for name, module in (("vae", vae), ("unet", unet)):
        module.to("cpu", torch.float16).save_pretrained(folder / name, max_shard_size="14MB")
    text_encoder.to("cpu", torch.float16).save_pretrained(folder / "text_encoder")
    new_scheduler().save_pretrained(folder / "scheduler")
    shutil.copytree(tokenizer_folder, folder / "tokenizer", dirs_exist_ok=True)
    # the stock pipeline's index, so that diffusers recognises the folder
    index = {"_class_name": "StableDiffusionInpaintPipeline", "vae": ["diffusers", "AutoencoderDC"],
             "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
             "unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDIMScheduler"],
             "safety_checker": [None, None], "feature_extractor": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def train(out: Path, work: Path, recipe: dict = RECIPE) -> None:
    """Train everything into `out`/lnm-mini and `out`/lnm-mini-clip; what `work` already holds is not done again."""
    from lnm import footage

    work.mkdir(parents=True, exist_ok=True)
    (work / "recipe.json").write_text(json.dumps(recipe, indent=2))
    photos = footage.photos(work / "photos")
    images, captions = training_images(work, recipe["stills"], photos, recipe["photo_crops"], recipe["seed"] + 1)
    vae = train_vae(work, recipe, images)
    tokenizer = train_tokenizer(work / "tokenizer", captions)
    latents = training_latents(work, recipe, vae, images)
    unet, text_encoder = train_unet(work, recipe, latents, captions, tokenizer, patch_basis(vae))
    clip = train_clip(work, recipe, images, captions, tokenizer)
    save_prior(out / "lnm-mini", vae, unet, text_encoder, work / "tokenizer")
    save_clip(out / "lnm-mini-clip", clip, tokenizer, work / "tokenizer")
