"""The paper's own numbers, looked at: what its sums, shares, scores and formulas allow, and the method on small models.

Nothing here needs a run of the pipeline, a network or a GPU. The ledger (`claims.yaml`, `eval.claims`) and
`notebooks/audit.ipynb` both call these functions; the part on the method is the one place of the harness that opens
`lnm`'s models, because the paper's claims are about them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from eval.clipsim import CLIPSCORE_WEIGHT
from lnm.errors import UserError
from lnm.settings import Finetune
from lnm.video import sides

# Stable Diffusion 1.5 inpainting: the U-Net of its public unet/config.json, and what Rombach et al. (2022) state of
# its autoencoder: downsampling 8, 4 channels
SD_UNET = dict(
    sample_size=64, in_channels=9, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, cross_attention_dim=768, attention_head_dim=8,
    norm_num_groups=32)
SD_DOWNSAMPLING, SD_CHANNELS = 8, 4

# (trace, exponent) by `fit_power_law` of the Inception features of 63 frames, 12.5 a second, of each piece of real
# footage in lnm.demo.footage, whole frames: how widely the frames of one shot spread
SPECTRA = {"cliff": (7.92, 1.272), "waterfall": (11.54, 1.465), "waves": (14.80, 1.206), "rapids": (16.86, 1.082),
           "ferry": (21.00, 1.203), "sheep": (37.21, 1.272), "pan": (45.81, 1.212)}


# ---------------------------------------------------------------- numbers as printed


def numbers(text: str) -> list[float]:
    """Every number of a text, in order: "CogVideo 21% 480x480 0.7522, 41,250" -> [21, 480, 480, 0.7522, 41250]."""
    return [float(found.replace(",", "")) for found in re.findall(r"\d+(?:,\d{3})+|\d+(?:\.\d+)?", text)]


def counts(percent: int, n: int) -> list[int]:
    """The k of n people that print as `percent`, a whole number: |100 k / n - percent| <= 1/2, so that a half may have
    been rounded up or down. The GRIM test (Brown & Heathers 2017) asks whether there is one."""
    least, most = -(-(2 * percent - 1) * n // 200), (2 * percent + 1) * n // 200  # in integers: no rounding of our own
    return [k for k in range(least, most + 1) if 0 <= k <= n]


def grim(percents: list[int], up_to: int = 200) -> list[int]:
    """The numbers of people from 1 to `up_to` in which each of these whole percentages has a count."""
    return [n for n in range(1, up_to + 1) if all(counts(percent, n) for percent in percents)]


def excess(percents: list[int]) -> tuple[int, float]:
    """By how much whole percentages miss 100 together, and the most that rounding each can do."""
    return sum(percents) - 100, len(percents) / 2


def implied_cosine(score: float) -> float:
    """The mean cosine behind a CLIPScore: 2.5 x max(cosine, 0), Hessel et al. (2021)."""
    return score / CLIPSCORE_WEIGHT


def preference(percent: int, n: int) -> dict:
    """What `percent` of n people says: the nearest count with its Wilson and Clopper-Pearson intervals and the exact
    two-sided p of a fair coin, as `eval.human_study.share` gives them. Raises UserError where no count of n prints as
    `percent`."""
    from eval.human_study import share

    if not counts(percent, n):
        raise UserError(f"{percent}% of {n} people is no whole number of people: choose another n")
    return {"percent": percent} | share(min(counts(percent, n), key=lambda k: abs(100 * k / n - percent)), n)


def frame_size_refused(width: int, height: int) -> bool:
    """Whether H.264 at 4:2:0, what video files hold, refuses this frame size: its colour planes are half as high."""
    from fractions import Fraction

    import av

    try:
        codec = av.CodecContext.create("libx264", "w")
        codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "yuv420p", Fraction(1, 25)
        codec.open()
    except (av.error.FFmpegError, ValueError):
        return True
    return False


# ---------------------------------------------------------------- FID of a few frames


def power_law(trace: float, exponent: float, dimension: int = 2048) -> np.ndarray:
    """Eigenvalues of a covariance that fall as k^-exponent and add up to `trace`: (dimension,)."""
    values = np.arange(1, dimension + 1) ** -exponent
    return trace * values / values.sum()


def typical_spectrum() -> tuple[float, float]:
    """(trace, exponent), the medians of the real footage's."""
    return tuple(float(value) for value in np.median(list(SPECTRA.values()), axis=0))


def fit_power_law(features: np.ndarray, leading: int = 40) -> tuple[float, float]:
    """(trace, exponent) of features (n, d): the sample covariance's trace, and a least-squares line through the
    logarithms of its leading eigenvalues."""
    values = np.square(np.linalg.svd(features - features.mean(0), compute_uv=False)) / (len(features) - 1)
    leading = min(leading, len(values) - 2)
    slope, _ = np.polyfit(np.log(np.arange(1, leading + 1)), np.log(values[:leading]), 1)
    return float(values.sum()), float(-slope)


def fid_floor(eigenvalues: np.ndarray, n: int, n_reference: int = 1060, draws: int = 3, seed: int = 0) -> dict:
    """FID between n and n_reference draws of one and the same Gaussian with these covariance eigenvalues (d,): what
    is printed when nothing differs. {"value": mean over draws, "low", "high": least and largest, "n"}."""
    from eval.fid import fid_from_features

    scale, values = np.sqrt(eigenvalues), []
    for draw in range(draws):
        rng = np.random.default_rng([seed, n, draw])
        a, b = (rng.standard_normal((count, len(scale))) * scale for count in (n, n_reference))
        values.append(fid_from_features(a, b))
    return {"n": n, "value": float(np.mean(values)), "low": min(values), "high": max(values)}


def spectra(project: Path, results: Path, videos: list[str]) -> tuple[dict[str, tuple[float, float]], str]:
    """{clip: (trace, exponent)} of the run's clips whose features are there, else of the real footage, and whose they
    are in words."""
    found = {}
    for video in videos:
        try:
            found[video] = fit_power_law(cached_features(project, results, video))
        except UserError:
            continue
    return (found, "this run's clips") if found else (SPECTRA, "seven pieces of real footage")


def cached_features(project: Path, results: Path, video: str) -> np.ndarray:
    """Inception features (N, 2048) of a prepared clip, trained-on frames first, as the evaluate stage left them in
    store/features. Raises UserError where there are none: computing them anew takes the network and a minute."""
    from eval.features import INCEPTION_FILE, Features
    from lnm.files import sha256
    from lnm.video import read_frames

    class Cached:  # stands for the network: its hash finds the files; asked to compute, it declines
        def __init__(self):
            self.sha256 = sha256(weights)

        def __call__(self, frames):
            raise UserError(f"{video}: its Inception features are not computed yet: run `make repro`")

    weights = project / "weights" / INCEPTION_FILE
    folders = [results / video / "prepare" / part for part in ("train", "heldout")]
    for path in (weights, *folders):
        if not path.exists():
            raise UserError(f"{video}: {path.name} is not there yet: run `make repro`")
    features = Features(Cached(), project / "store" / "features")
    return np.concatenate([features(read_frames(folder)) for folder in folders])


# ---------------------------------------------------------------- the method, on models small enough to check

B, C, F, H, D = 2, 4, 5, 16, 16  # clips, latent channels, frames, side of the latents, width of the text embeddings


def small_unet2d():
    """A U-Net of diffusers' with random weights and every part of Stable Diffusion's inpainting one."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DConditionModel(
            sample_size=H, in_channels=2 * C + 1, out_channels=C, layers_per_block=1, block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=D, attention_head_dim=2, norm_num_groups=8).eval()


def small_unet(awake: bool = False, **options):
    """It, inflated. awake: the temporal layers away from their start, as any training leaves them."""
    import torch

    from lnm.unet import UNetPseudo3DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNetPseudo3DConditionModel.from_unet2d(small_unet2d(), **options).eval()
    return _wake(unet, torch.Generator().manual_seed(2)) if awake else unet


def _wake(module, generator):
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "temporal." in name or name.startswith("fps_embedding."):
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module


def small_inputs(frames: int = F):
    """sample (1, 2C+1, F, H, H), timestep, words (1, 3, D)."""
    import torch

    generator = torch.Generator().manual_seed(1)
    return (torch.randn(1, 2 * C + 1, frames, H, H, generator=generator), torch.tensor(500),
            torch.randn(1, 3, D, generator=generator))


def _largest(difference) -> float:
    return float(difference.detach().abs().max())


def identity_start() -> float:
    """Largest difference between the untrained inflated U-Net and its 2D parent, frame by frame."""
    import torch

    sample, t, words = small_inputs()
    with torch.no_grad():
        ours = small_unet()(sample, t, words, fps=8).sample[0].transpose(0, 1)
        return _largest(ours - small_unet2d()(sample[0].transpose(0, 1), t, words.repeat(F, 1, 1)).sample)


def conv_start() -> float:
    """Largest difference between an untrained temporal convolution's output and its input."""
    import torch

    from lnm.pseudo3d import FrameCount, TemporalConv

    x = torch.randn(B * F, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    return _largest(TemporalConv(6, FrameCount(F))(x) - x)


def attention_start() -> float:
    """The same of an untrained temporal attention."""
    import torch

    from lnm.pseudo3d import FrameCount, TemporalAttention

    x = torch.randn(B * F, 6, 8, generator=torch.Generator().manual_seed(0))
    return _largest(TemporalAttention(8, 2, FrameCount(F))(x) - x)


def parents_weights_changed() -> int:
    """How many of the 2D U-Net's tensors are missing from the inflated one or differ."""
    import torch

    ours = small_unet().state_dict()
    return sum(k not in ours or not torch.equal(v, ours[k]) for k, v in small_unet2d().state_dict().items())


def eq3_error() -> float:
    """Largest difference between Pseudo3DConv and eq. 3 written with Conv2d a frame and Conv1d a pixel."""
    import torch
    from torch.nn import functional

    from lnm.pseudo3d import inflate

    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 6, 3, padding=1))
    inflate(model).value = F
    conv = _wake(model, generator)[0]
    h = torch.randn(B, 4, F, 5, 7, generator=generator)
    frames = torch.stack([functional.conv2d(h[:, :, i], conv.weight, conv.bias, padding=1) for i in range(F)], 2)
    pixels = frames.permute(0, 3, 4, 1, 2).reshape(-1, 6, F)  # (B H W, C, F)
    wanted = functional.conv1d(pixels, conv.temporal.weight[..., 0], conv.temporal.bias, padding=1)
    wanted = wanted.reshape(B, 5, 7, 6, F).permute(0, 4, 3, 1, 2)  # (B, F, C, H, W)
    return _largest(conv(h.transpose(1, 2).reshape(B * F, 4, 5, 7)).reshape(wanted.shape) - wanted)


def eq4_error() -> float:
    """Largest difference between Pseudo3DTransformerBlock and eq. 4: diffusers' own block, then attention over the
    frames of each position, written with torch's scaled_dot_product_attention and Conv1d."""
    import copy

    import torch
    from diffusers.models.attention import BasicTransformerBlock
    from torch.nn import functional

    from lnm.pseudo3d import inflate

    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = torch.nn.Sequential(BasicTransformerBlock(8, 2, 4, cross_attention_dim=D))
        spatial = copy.deepcopy(block[0])
        inflate(block).value = F
    one_d = _wake(block, generator)[0].temporal
    x, words = torch.randn(B * F, 6, 8, generator=generator), torch.randn(B * F, 3, D, generator=generator)
    with torch.no_grad():
        h = spatial(x, encoder_hidden_states=words)  # ATTN_2D
        rows = h.reshape(B, F, 6, 8).transpose(1, 2).reshape(-1, F, 8)  # (B L, F, C)
        q, k, v = one_d.to_qkv(one_d.norm(rows)).reshape(-1, F, 3, 2, 4).permute(2, 0, 3, 1, 4)
        distance = torch.arange(F)[:, None] - torch.arange(F) + F - 1
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=one_d.distance_bias[:, distance])
        mixed = mixed.transpose(1, 2).reshape(-1, F, 8).transpose(1, 2)  # (B L, C, F)
        mixed = functional.conv1d(mixed, one_d.to_out.weight[..., 0], one_d.to_out.bias, padding=1)
        wanted = h + mixed.transpose(1, 2).reshape(B, 6, F, 8).transpose(1, 2).reshape(B * F, 6, 8)
        return _largest(block[0](x, encoder_hidden_states=words) - wanted)


def projection_kernel() -> list[int]:
    """Kernel (frames, height, width) of the temporal attention's output projection."""
    from lnm.pseudo3d import FrameCount, TemporalAttention

    frames, position = TemporalAttention(8, 2, FrameCount(F)).to_out.kernel_size
    return [frames, position, 1]  # positions are flattened: 1 over them is 1 x 1 over height and width


def layers(conv_placement: str = "all") -> dict:
    """Of Stable Diffusion's own U-Net, inflated (shapes alone, no weights): 2D convolutions and spatial attention
    blocks, how many have a temporal layer behind them, and the parameters that train and that are frozen."""
    import torch
    from diffusers.models.attention import BasicTransformerBlock

    from lnm.pseudo3d import Pseudo3DConv, Pseudo3DTransformerBlock, TemporalAttention, TemporalConv
    from lnm.unet import UNetPseudo3DConditionModel, is_temporal

    with torch.device("meta"):
        unet = UNetPseudo3DConditionModel(**SD_UNET, conv_placement=conv_placement)
    ours = [name for name, m in unet.named_modules() if isinstance(m, TemporalAttention)]
    modules = [m for name, m in unet.named_modules() if not any(name.startswith(f"{own}.") for own in ours)]
    convs = [m for m in modules if isinstance(m, torch.nn.Conv2d) and not isinstance(m, TemporalConv)]
    blocks = [m for m in modules if isinstance(m, BasicTransformerBlock)]
    sizes = {name: parameter.numel() for name, parameter in unet.named_parameters()}
    trained = sum(size for name, size in sizes.items() if is_temporal(name))
    return {"convs": len(convs), "convs_1d": sum(isinstance(m, Pseudo3DConv) for m in convs), "blocks": len(blocks),
            "blocks_1d": sum(isinstance(m, Pseudo3DTransformerBlock) for m in blocks),
            "trained": trained, "frozen": sum(sizes.values()) - trained}


def pseudo3d_cost(channels: int = 320) -> float:
    """Weights (hence multiplications a voxel) of a 3x3 Pseudo3DConv over those of a full 3x3x3 convolution."""
    import torch

    from lnm.pseudo3d import inflate

    with torch.device("meta"):
        ours = torch.nn.Sequential(torch.nn.Conv2d(channels, channels, 3, padding=1))
        inflate(ours)
        full = torch.nn.Conv3d(channels, channels, 3, padding=1)
    return sum(p.numel() for p in ours.parameters()) / sum(p.numel() for p in full.parameters())


def train_two_steps() -> dict:
    """Two real steps of Lion on the small U-Net, space frozen: tensors changed, spatial and temporal, of how many."""
    import torch

    from lnm.batches import make_optimizer
    from lnm.unet import is_temporal

    unet = small_unet()
    unet.freeze_spatial()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    settings = Finetune(optimizer="lion", learning_rate=1e-3, weight_decay=0.0)
    # whatever takes a gradient: that nothing spatial does is what is looked at
    optimizer = make_optimizer({name: p for name, p in unet.named_parameters() if p.requires_grad}, settings)
    sample, t, words = small_inputs()
    for _ in range(2):  # zero projections wake on the first, what stands before them on the second
        torch.nn.functional.mse_loss(unet(sample, t, words, fps=8).sample, sample[:, :C]).backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = [name for name, value in unet.state_dict().items() if not torch.equal(value, before[name])]
    return {"spatial_changed": sum(not is_temporal(name) for name in changed),
            "spatial": sum(not is_temporal(name) for name in before),
            "temporal_changed": sum(is_temporal(name) for name in changed),
            "temporal": sum(is_temporal(name) for name in before)}


def frames_given(asked: tuple[int, ...] = (1, 2, 5, 16, 24, 60)) -> list[int]:
    """The numbers of frames, of those asked, that one and the same U-Net gives finite noise for."""
    import torch

    unet, given = small_unet(awake=True), []
    with torch.no_grad():
        for frames in asked:
            out = unet(*small_inputs(frames), fps=8).sample
            given += [frames] if out.shape[2] == frames and bool(out.isfinite().all()) else []
    return given


def effect(of: str, awake: bool = True) -> float:
    """Largest change of the small U-Net's output when one input changes: `fps` (8 to 24), `words`, `still` (the
    latents that condition) or `last frame` (seen in the first frame alone). awake: as in `small_unet`."""
    import torch

    unet = small_unet(awake=awake)
    sample, t, words = small_inputs()
    changed, fps, spoken = sample.clone(), 8, words
    if of == "fps":
        fps = 24
    elif of == "words":
        spoken = words + 1
    elif of == "still":
        changed[:, C + 1:] += 1
    elif of == "last frame":
        changed[:, :, -1] += 1
    else:
        raise ValueError(f"{of!r}: choose fps, words, still or last frame")
    with torch.no_grad():
        difference = unet(sample, t, words, fps=8).sample - unet(changed, t, spoken, fps=fps).sample
    return _largest(difference[:, :, :1] if of == "last frame" else difference)


def blanked_still() -> float:
    """Largest pixel of the picture that the usual inpainting pipeline conditions on when the whole canvas is masked:
    diffusers multiplies it by (mask < 0.5)."""
    import torch

    picture = torch.rand(1, 3, H, H, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return _largest(picture * (torch.ones(1, 1, H, H) < 0.5))


def eq1_errors(beta_schedule: str = "linear", steps: int = 20) -> dict:
    """What training feeds the U-Net, against the paper's formulas with alpha-bar from its own product.

    {"eq1": largest |x_t - (sqrt(a) x_0 + sqrt(1 - a) eps)|, "x0": largest error of x_0 got back from x_t and eps},
    over `steps` batches of lnm.batches.make_batch, whose target is eps and whose x_0 is five latents of the clip.
    """
    import torch
    from diffusers import DDIMScheduler

    from lnm.batches import make_batch

    betas = {"linear": np.linspace(0.00085, 0.012, 1000),
             "scaled_linear": np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2}[beta_schedule]
    alphas_bar = np.cumprod(1 - betas)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=beta_schedule, clip_sample=False)
    settings = Finetune()
    latents = torch.randn(20, C, 4, 4, generator=torch.Generator().manual_seed(0))
    clips = torch.stack([latents[start:start + 4 * stride + 1:stride] for stride in settings.strides
                         for start in range(20 - 4 * stride)]).transpose(1, 2).double()  # (clips, C, F, h, w)
    eq1 = x0 = 0.0
    for step in range(steps):
        batch = make_batch(latents, settings, 8.0, scheduler, 0, step)
        noisy, noise = batch["sample"][0, :C].double(), batch["target"][0].double()
        a = alphas_bar[batch["timestep"].item()]
        again = (noisy - (1 - a) ** 0.5 * noise) / a**0.5
        clip = clips[(clips - again).abs().flatten(1).amax(1).argmin()]
        x0 = max(x0, _largest(again - clip))
        eq1 = max(eq1, _largest(noisy - (a**0.5 * clip + (1 - a) ** 0.5 * noise)))
    return {"eq1": eq1, "x0": x0}


def consecutive_share(frames: int, strides: list[int], draws: int = 200) -> float:
    """Share of the clips that training draws whose frames follow each other in the clip (stride 1)."""
    import torch

    from lnm.batches import draw_clips

    latents = torch.arange(float(8 * frames * max(strides))).reshape(-1, 1, 1, 1)
    settings = Finetune(frames=frames, strides=strides, batch_size=draws)
    clips, _ = draw_clips(latents, settings, 8.0, np.random.default_rng(0))
    steps = clips.diff(dim=2).flatten(1)
    return float((steps == 1).all(1).double().mean())


def optimizer_bytes(name: str) -> dict:
    """Bytes an optimiser keeps for the temporal layers of the small U-Net, after a step: {"parameters": numbers
    trained, "state": bytes}. name: "lion" (lion_pytorch) or "adamw" (torch)."""
    import torch

    from lnm.batches import make_optimizer

    unet = small_unet()
    unet.freeze_spatial()
    optimizer = make_optimizer(unet.temporal_parameters(), Finetune(optimizer=name, learning_rate=3e-5))
    trained = list(unet.temporal_parameters().values())
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    slots = [value for state in optimizer.state.values() for value in state.values()]
    return {"parameters": sum(p.numel() for p in trained),
            "state": sum(slot.nbytes for slot in slots if isinstance(slot, torch.Tensor))}


def update_spread(name: str, weight_decay: float = 0.0, steps: int = 3) -> float:
    """Largest over least size of a step's updates, over 1,000 numbers with normal gradients: 1 is uniform."""
    import torch

    from lnm.batches import make_optimizer

    generator = torch.Generator().manual_seed(0)
    parameter = torch.randn(1, 1000, dtype=torch.float64, generator=generator).requires_grad_()
    settings = Finetune(optimizer=name, learning_rate=3e-5, weight_decay=weight_decay)
    optimizer = make_optimizer({"fps_embedding.weight": parameter}, settings)  # a matrix that decays
    for _ in range(steps):
        before = parameter.detach().clone()
        parameter.grad = torch.randn(1, 1000, dtype=torch.float64, generator=generator)
        optimizer.step()
    sizes = (parameter.detach() - before).abs()
    return float(sizes.max() / sizes.min())


def mse_smoothness(length: int = 64, count: int = 512, steps: int = 600) -> dict:
    """What is learnt of an edge that may stand anywhere: roughness (sum of squared neighbour differences) of the one
    signal that gradient descent finds nearest to `count` edges, under the squared and the absolute error; an edge
    itself has 1."""
    import torch

    places = torch.randint(1, length, (count, 1), generator=torch.Generator().manual_seed(0))
    edges = (torch.arange(length) >= places).float()
    roughness = {}
    for name, loss in (("mse", torch.nn.functional.mse_loss), ("l1", torch.nn.functional.l1_loss)):
        signal = torch.full((length,), 0.5, requires_grad=True)
        optimizer = torch.optim.Adam([signal], lr=0.05)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(signal.expand_as(edges), edges).backward()
            optimizer.step()
            schedule.step()
        roughness[name] = float(signal.detach().diff().square().sum())
    return roughness | {"edge": float(edges.diff().square().sum(1).mean())}


def activation_bytes(frames: int) -> int:
    """Bytes that the small U-Net, space frozen, keeps for its backward pass over a clip of so many frames."""
    import torch

    unet = small_unet()
    unet.freeze_spatial()
    own = {p.untyped_storage().data_ptr() for p in unet.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = unet(*small_inputs(frames), fps=8).sample.square().mean()
    total = sum(size for pointer, size in kept.items() if pointer not in own)
    del loss  # the graph held the storages, and so their addresses, until here
    return total


def compression(size: int | list[int], downsampling: int, channels: int) -> float:
    """Numbers of an RGB frame over the numbers of its latents; size: a square's side or [width, height], pixels."""
    width, height = sides(size)
    return 3 * width * height / (channels * (width // downsampling) * (height // downsampling))
