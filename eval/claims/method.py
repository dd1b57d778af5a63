"""Claims of the network, held against references on small models.

This and `eval.claims.training` are the one place of the harness that opens `lnm`'s models, because the paper's claims
are about them.
"""

from __future__ import annotations

from eval.claims.finding import CONTRADICTS, Finding
from eval.claims.models import B, C, D, F, H, largest_of, small_inputs, small_unet, small_unet2d, wake

# Stable Diffusion 1.5 inpainting: the U-Net of its public unet/config.json, and what Rombach et al. (2022) state of
# its autoencoder: downsampling 8, 4 channels
SD_UNET = dict(
    sample_size=64, in_channels=9, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, cross_attention_dim=768, attention_head_dim=8,
    norm_num_groups=32)


def identity_start() -> float:
    """Largest difference between the untrained inflated U-Net and its 2D parent, frame by frame."""
    import torch

    sample, t, words = small_inputs()
    with torch.no_grad():
        ours = small_unet()(sample, t, words, fps=8).sample[0].transpose(0, 1)
        return largest_of(ours - small_unet2d()(sample[0].transpose(0, 1), t, words.repeat(F, 1, 1)).sample)


def conv_start() -> float:
    """Largest difference between an untrained temporal convolution's output and its input."""
    import torch

    from lnm.pseudo3d import FrameCount, TemporalConv

    x = torch.randn(B * F, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    return largest_of(TemporalConv(6, FrameCount(F))(x) - x)


def attention_start() -> float:
    """The same of an untrained temporal attention."""
    import torch

    from lnm.pseudo3d import FrameCount, TemporalAttention

    x = torch.randn(B * F, 6, 8, generator=torch.Generator().manual_seed(0))
    return largest_of(TemporalAttention(8, 2, FrameCount(F))(x) - x)


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
    conv = wake(model, generator)[0]
    h = torch.randn(B, 4, F, 5, 7, generator=generator)
    frames = torch.stack([functional.conv2d(h[:, :, i], conv.weight, conv.bias, padding=1) for i in range(F)], 2)
    pixels = frames.permute(0, 3, 4, 1, 2).reshape(-1, 6, F)  # (B H W, C, F)
    wanted = functional.conv1d(pixels, conv.temporal.weight[..., 0], conv.temporal.bias, padding=1)
    wanted = wanted.reshape(B, 5, 7, 6, F).permute(0, 4, 3, 1, 2)  # (B, F, C, H, W)
    return largest_of(conv(h.transpose(1, 2).reshape(B * F, 4, 5, 7)).reshape(wanted.shape) - wanted)


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
    one_d = wake(block, generator)[0].temporal
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
        return largest_of(block[0](x, encoder_hidden_states=words) - wanted)


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
    return largest_of(difference[:, :, :1] if of == "last frame" else difference)


def blanked_still() -> float:
    """Largest pixel of the picture that the usual inpainting pipeline conditions on when the whole canvas is masked:
    diffusers multiplies it by (mask < 0.5)."""
    import torch

    picture = torch.rand(1, 3, H, H, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return largest_of(picture * (torch.ones(1, 1, H, H) < 0.5))


def untrained_motion() -> Finding:
    """How much of one frame's change reaches another through the layers as they stand before a fine-tune."""
    seen, after = effect("last frame", awake=False), effect("last frame")
    text = f"{seen:g} before a fine-tune, {after:.2g} with other weights"
    return Finding(seen, text, CONTRADICTS if seen == 0 else None, "before a fine-tune no frame sees another, so all "
                   "motion is learnt from the video that is fine-tuned on, as the second sentence says")


def attention_share() -> Finding:
    """Share of Stable Diffusion's spatial attention blocks with temporal attention behind them."""
    counted = layers()
    return Finding(counted["blocks_1d"] / counted["blocks"], f"{counted['blocks_1d']} of {counted['blocks']} blocks",
                   reason=f"on Stable Diffusion's U-Net: {counted['trained'] / 1e6:.0f} million numbers train, "
                   f"{counted['frozen'] / 1e6:.0f} million are frozen")


def depends(on: str) -> Finding:
    """Whether the output of the small U-Net changes with an input."""
    change = effect(on)
    return Finding(change > 0, f"changes by {change:.2g}")


def conditioned() -> Finding:
    """Whether the output changes with the still under a fully masked canvas, and if it could in a stock pipeline."""
    ours, stock = effect("still"), blanked_still()
    return Finding(ours > 0, f"changes by {ours:.2g}", reason="the paper does not say how: a stock inpainting pipeline "
                   f"blanks what is masked and leaves {stock:g} of the still; here its latents stand beside the mask")


def all_frames(frames: list[int]) -> Finding:
    """Whether one and the same U-Net takes each of these numbers of frames."""
    given = frames_given(tuple(frames))
    return Finding(given == frames, f"{', '.join(map(str, given))} frames")
