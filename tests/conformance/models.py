"""Models small enough to check the method's claims on: random weights, every part of the real ones."""

from __future__ import annotations

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
    return wake(unet, torch.Generator().manual_seed(2)) if awake else unet


def wake(module, generator):
    """The module, its temporal layers moved off their start by a tenth of a normal number each."""
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


def largest_of(difference) -> float:
    """The largest absolute number of a tensor."""
    return float(difference.detach().abs().max())
