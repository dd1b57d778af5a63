"""Claims of the network, held against references on small models."""

from __future__ import annotations

from conformance.models import B, D, F, H, largest_of, small_inputs, small_unet, small_unet2d, wake

# Stable Diffusion 1.5 inpainting: the U-Net of its public unet/config.json, and what Rombach et al. (2022) state of
# its autoencoder: downsampling 8, 4 channels
SD_UNET = dict(
    sample_size=64, in_channels=9, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, cross_attention_dim=768, attention_head_dim=8,
    norm_num_groups=32)


SEEN = 1e-3  # of noise of unit size: a hundred times what rounding does


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
        distance = torch.arange(F)[:, None] - torch.arange(F) + one_d.max_distance
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=one_d.distance_bias[:, distance])
        mixed = mixed.transpose(1, 2).reshape(-1, F, 8).transpose(1, 2)  # (B L, C, F)
        mixed = functional.conv1d(mixed, one_d.to_out.weight[..., 0], one_d.to_out.bias, padding=1)
        wanted = h + mixed.transpose(1, 2).reshape(B, 6, F, 8).transpose(1, 2).reshape(B * F, 6, 8)
        return largest_of(block[0](x, encoder_hidden_states=words) - wanted)


def projection_kernel() -> list[int]:
    """Frames, rows and columns that one number reaches through the temporal attention's output projection, whose
    weights are all 1: what comes out of an impulse, counted."""
    import torch

    from lnm.pseudo3d import FrameCount, TemporalAttention

    rows, columns = 5, 7
    projection = TemporalAttention(8, 2, FrameCount(F)).to_out
    torch.nn.init.ones_(projection.weight)
    impulse = torch.zeros(1, 8, F, rows * columns)
    impulse[0, 0, F // 2, (rows // 2) * columns + columns // 2] = 1
    with torch.no_grad():
        change = projection(impulse) - projection(torch.zeros_like(impulse))  # without a bias
        reached = change[0, 0].reshape(F, rows, columns).nonzero()
    return (reached.amax(0) - reached.amin(0) + 1).tolist()


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
    """The numbers of frames, of those asked, that one and the same U-Net gives a film for: finite noise for each frame
    and, past one frame, other than it gives that frame alone, and for the first frame other noise when the frames of
    the second half are others. Any network of 2D convolutions gives the first."""
    import torch

    unet, given = small_unet(awake=True), []
    with torch.no_grad():
        for frames in asked:
            sample, t, words = small_inputs(frames)
            out = unet(sample, t, words, fps=8).sample
            film = out.shape[2] == frames and bool(out.isfinite().all())
            if film and frames > 1:
                each = sample[0].transpose(0, 1)[:, :, None]  # (F, 2C+1, 1, H, H)
                alone = unet(each, t, words.repeat(frames, 1, 1), fps=8).sample  # (F, C, 1, H, H)
                later = sample.clone()
                later[:, :, frames // 2:] += 1
                first = unet(later, t, words, fps=8).sample[:, :, 0] - out[:, :, 0]
                film = largest_of(out[0].transpose(0, 1) - alone[:, :, 0]) > SEEN and largest_of(first) > SEEN
            given += [frames] if film else []
    return given


def effect(of: str, awake: bool = True) -> float:
    """Largest change of the small U-Net's output when one input changes: `fps` (8 to 24), or `last frame` (seen in the
    first frame alone). awake: as in `small_unet`."""
    import torch

    unet = small_unet(awake=awake)
    sample, t, words = small_inputs()
    changed, fps = sample.clone(), 8
    if of == "fps":
        fps = 24
    elif of == "last frame":
        changed[:, :, -1] += 1
    else:
        raise ValueError(f"{of!r}: choose fps or last frame")
    with torch.no_grad():
        difference = unet(sample, t, words, fps=8).sample - unet(changed, t, words, fps=fps).sample
    return largest_of(difference[:, :, :1] if of == "last frame" else difference)


def words_error(cut: bool = False) -> float:
    """What another text changes in the inflated U-Net's output against what it changes in its 2D parent's, frame by
    frame: largest difference of the two, over the larger change. cut: with the cross attention's values at zero in the
    inflated one, as a network that does not attend to the text would have them."""
    import torch

    sample, t, words = small_inputs()
    ours, parent = small_unet(), small_unet2d()
    if cut:
        for name, parameter in ours.named_parameters():
            if name.endswith("attn2.to_v.weight"):
                torch.nn.init.zeros_(parameter)
    frames = sample[0].transpose(0, 1)
    with torch.no_grad():
        change = ours(sample, t, words + 1, fps=8).sample - ours(sample, t, words, fps=8).sample
        wanted = parent(frames, t, (words + 1).repeat(F, 1, 1)).sample - parent(frames, t, words.repeat(F, 1, 1)).sample
        return largest_of(change[0].transpose(0, 1) - wanted) / max(largest_of(wanted), 1e-12)


def fps_error(steps: int = 60, blind: bool = False) -> float:
    """Error after `steps` of Adam on the temporal layers and the fps embedding, on one input with two targets that only
    the frames-per-second (8, 24) tell apart, over the least error that a network blind to it can have. blind: it is not
    told the number."""
    import torch

    unet = small_unet(awake=True)
    unet.freeze_spatial()
    sample, t, words = small_inputs(2)
    with torch.no_grad():
        middle = unet(sample, t, words, fps=8).sample
    targets = {8: middle - 0.3, 24: middle + 0.3}
    floor = 0.3**2  # the mean of both is the best that one answer can be
    optimizer = torch.optim.Adam(unet.temporal_parameters().values(), lr=0.01)
    for _ in range(steps):
        losses = [torch.nn.functional.mse_loss(unet(sample, t, words, fps=None if blind else fps).sample, target)
                  for fps, target in targets.items()]
        optimizer.zero_grad()
        (sum(losses) / 2).backward()
        optimizer.step()
    return float(sum(losses) / 2) / floor


def blanked_still() -> float:
    """Largest pixel of the picture that the usual inpainting pipeline conditions on when the whole canvas is masked:
    diffusers multiplies it by (mask < 0.5)."""
    import torch

    picture = torch.rand(1, 3, H, H, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return largest_of(picture * (torch.ones(1, 1, H, H) < 0.5))
