"""A LoRA of the base on the spatial layers, by the methods that diffusers' users know."""

import copy

import pytest
import torch
from tiny_pipeline import film, make
from tiny_unet import write_lora

from lnm.pipeline import LateNtMoviesPipeline


@pytest.fixture(scope="module")
def loras(checkpoint, tmp_path_factory):
    """Two adapters of the checkpoint's U-Net, in diffusers' and peft's format."""
    return [write_lora(tmp_path_factory.mktemp("lora"), copy.deepcopy(checkpoint.unet), seed) for seed in (1, 2)]


def latents(pipe):
    return film(pipe, output_type="latent")


def close(one, other):
    torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)


def test_a_lora_of_the_base_loads_fuses_and_unloads(checkpoint, loras):
    pipe = make(checkpoint)
    plain = latents(pipe)
    pipe.load_lora_weights(loras[0])
    with_lora = latents(pipe)
    assert (with_lora - plain).abs().max() > 0.05
    pipe.fuse_lora()
    close(latents(pipe), with_lora)
    pipe.unfuse_lora()
    close(latents(pipe), with_lora)
    pipe.unload_lora_weights()
    close(latents(pipe), plain)
    pipe.load_lora_weights(str(loras[0] / "pytorch_lora_weights.safetensors"))  # once more, and from a file
    close(latents(pipe), with_lora)
    pipe.fuse_lora()
    pipe.unload_lora_weights()  # what was fused stays
    close(latents(pipe), with_lora)


def test_two_adapters_and_their_weights_fused_as_unfused(checkpoint, loras):
    pipe = make(checkpoint)
    for name, lora in zip("ab", loras, strict=True):
        pipe.load_lora_weights(lora, adapter_name=name)
    films = {}
    for key, (names, weights) in {"a": (["a"], [1.0]), "b": (["b"], [1.0]), "both": (["a", "b"], [0.5, 0.8])}.items():
        pipe.set_adapters(names, weights)
        films[key] = latents(pipe)
    assert all((films[x] - films[y]).abs().max() > 0.02 for x, y in (("a", "b"), ("a", "both"), ("b", "both")))
    pipe.fuse_lora(adapter_names=["a", "b"])
    close(latents(pipe), films["both"])
    pipe.unfuse_lora()
    pipe.delete_adapters("b")
    pipe.set_adapters(["a"], [1.0])
    close(latents(pipe), films["a"])


def test_a_lora_acts_on_a_single_frame_as_it_acts_in_diffusers_own_pipeline(checkpoint, loras):
    """Untrained temporal layers are the identity, so frames are those of the 2D U-Net with the same LoRA."""
    ours = make(checkpoint, awake=False)
    ours.load_lora_weights(loras[0])
    base = copy.copy(checkpoint)
    base.unet = copy.deepcopy(checkpoint.unet)
    theirs = LateNtMoviesPipeline.frame_by_frame(base)
    theirs.load_lora_weights(loras[0])
    close(latents(ours), latents(theirs))


def test_pickled_loras_are_not_opened(checkpoint, tmp_path):
    torch.save({}, tmp_path / "pytorch_lora_weights.bin")
    with pytest.raises(OSError, match="safetensors"):
        make(checkpoint).load_lora_weights(tmp_path)
