"""Pixels to latents and back, by the checkpoint's own autoencoder."""

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import EncoderOutput
from tiny import SIZE, write_tiny_checkpoint

from lnm.checkpoint import open_checkpoint
from lnm.latents import decode, encode, encode_pixels, to_tensor


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return open_checkpoint(str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny")))).vae


def frames(n=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)


def test_pixels_run_from_minus_1_to_1_channels_first():
    picture = np.zeros((1, 2, 4, 3), np.uint8)
    picture[0, 1, 3] = (255, 51, 0)
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 3, 2, 4) and tensor.dtype == torch.float32
    assert tensor[0, :, 1, 3].tolist() == pytest.approx([1, 51 / 127.5 - 1, -1]) and (tensor[0, :, 0, 0] == -1).all()
    assert to_tensor(picture[:, ::-1])[0, 0, 0, 3] == 1  # a view with negative strides


def test_encode_scales_and_chunks_alike(vae):
    clip = frames()
    whole = encode(vae, clip, chunk_size=8)
    torch.testing.assert_close(whole, encode(vae, clip, chunk_size=2), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        plain = vae.encode(to_tensor(clip)).latent_dist.mode()
    assert vae.config.scaling_factor == 0.5  # not 1: the scale must be seen
    torch.testing.assert_close(whole, plain * 0.5, atol=1e-5, rtol=1e-5)
    assert whole.dtype == torch.float32 and whole.is_contiguous() and not whole.requires_grad


def test_decode_undoes_the_scale_rounds_to_nearest_and_chunks_alike(vae):
    latents = encode(vae, frames())
    got = decode(vae, latents)
    with torch.no_grad():
        pixels = vae.decode(latents / 0.5).sample
    want = (pixels.clamp(-1, 1) + 1) * 127.5
    assert got.shape == (5, SIZE, SIZE, 3) and got.dtype == np.uint8
    assert np.abs(got - want.permute(0, 2, 3, 1).numpy()).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(got, decode(vae, latents, chunk_size=2))


def test_an_autoencoder_without_a_posterior_gives_its_latents():
    class Plain:
        def encode(self, pixels):
            return EncoderOutput(latent=pixels * 2)

    assert torch.equal(encode_pixels(Plain(), torch.ones(1, 3, 2, 2)), torch.full((1, 3, 2, 2), 2.0))


def test_in_half_precision_latents_are_float32_all_the_same(vae):
    half = encode(vae.to(torch.bfloat16), frames(2))
    assert half.dtype == torch.float32 and decode(vae, half).dtype == np.uint8
    vae.to(torch.float32)
    torch.testing.assert_close(half, encode(vae, frames(2)), atol=0.1, rtol=0.1)
