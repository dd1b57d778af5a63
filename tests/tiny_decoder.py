"""Tiny autoencoders of both kinds, temporal layers of their decoders that do something, clips to train them on."""

import numpy as np
import torch


def tiny_kl(seed=0):
    """AutoencoderKL, as Stable Diffusion has it; a latent stands for 2 pixels a side."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    return AutoencoderKL(
        latent_channels=4, sample_size=32, norm_num_groups=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.5,
    ).eval()


def tiny_dc(seed=0):
    """AutoencoderDC, as lnm-mini has it; a latent stands for 2 pixels a side."""
    from diffusers import AutoencoderDC

    torch.manual_seed(seed)
    return AutoencoderDC(
        latent_channels=4, encoder_block_out_channels=(8, 16), decoder_block_out_channels=(8, 16),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1), encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()), encoder_block_types="ResBlock", decoder_block_types="ResBlock",
        scaling_factor=0.7).eval()


@torch.no_grad()
def wake_decoder(vae, seed=0, size=0.05):
    """Temporal layers that do something, in a decoder that may have none yet."""
    from lnm.decoder import add_temporal_decoder, decoder_parameters

    add_temporal_decoder(vae)
    generator = torch.Generator().manual_seed(seed)
    for p in decoder_parameters(vae).values():
        p += size * torch.randn(p.shape, generator=generator)
        p.requires_grad_(False)
    return vae


def drifting(seed, frames=12):
    """A picture that moves by two pixels a frame: uint8 (frames, 48, 64, 3)."""
    picture = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    return np.stack([np.roll(picture, 2 * i, 1) for i in range(frames)])


def write_clips(folder, count=4):
    """`count` videos and one folder of images, of drifting pictures."""
    from lnm import video

    for i in range(count):
        video.write_mp4(folder / f"{i}.mp4", drifting(i), 8)
    video.write_frames(folder / "frames", drifting(count))
    return folder
