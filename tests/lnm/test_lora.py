"""A LoRA fused into an open checkpoint before anything is learned on it."""

import copy

import pytest
import torch
from layouts import write_layout
from safetensors.torch import load_file, save_file
from tiny import write_tiny_checkpoint
from tiny_pipeline import film
from tiny_unet import wake, write_lora

from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.lora import fuse_lora
from lnm.pipeline import LateNtMoviesPipeline
from lnm.temporal_file import base_identity, same_base


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def lora(folder, tmp_path_factory):
    """Of the U-Net and the text encoder, under the names that public files have."""
    place = write_lora(tmp_path_factory.mktemp("lora"), open_checkpoint(str(folder)).unet)
    path = place / "pytorch_lora_weights.safetensors"
    weights, g = load_file(path), torch.Generator().manual_seed(4)
    words = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_{}.weight"
    weights |= {words.format("A"): torch.randn(2, 16, generator=g), words.format("B"): torch.randn(16, 2, generator=g)}
    path = tmp_path_factory.mktemp("style") / "style.safetensors"
    save_file(weights, path, metadata={"format": "pt"})
    return path


def state(base):
    return {f"{part}.{k.removeprefix('text_model.')}": v.clone() for part in ("unet", "text_encoder")
            for k, v in getattr(base, part).state_dict().items()}


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_every_layer_that_it_names_becomes_w_plus_scale_times_b_a_and_no_other(folder, lora, scale):
    base = open_checkpoint(str(folder))
    before, weights = state(base), load_file(lora)
    fuse_lora(base, lora, scale)
    after = state(base)
    assert after.keys() == before.keys(), "no part of it is left beside the weights"
    downs = {k: v for k, v in weights.items() if ".lora_A." in k}
    for key, down in downs.items():
        name = key.replace(".lora_A", "").replace("text_model.", "")
        wanted = before[name] + scale * (weights[key.replace("_A.", "_B.")].flatten(1) @ down.flatten(1)).view_as(
            before[name])
        torch.testing.assert_close(after.pop(name), wanted, atol=1e-6, rtol=1e-5)
    assert len(downs) > 5 and all(torch.equal(v, before[k]) for k, v in after.items())
    assert base.lora == {"name": "style.safetensors", "scale": scale}
    assert not any(p.requires_grad for m in (base.unet, base.text_encoder) for p in m.parameters())


def test_fused_it_gives_the_film_that_it_gives_beside_the_weights(folder, lora):
    plain = LateNtMoviesPipeline.from_pretrained(folder)
    fused = LateNtMoviesPipeline.from_pretrained(folder, lora=lora)
    without = film(plain, output_type="latent")
    plain.load_lora_weights(lora)
    want = film(plain, output_type="latent")
    assert (want - without).abs().max() > 0.05
    torch.testing.assert_close(film(fused, output_type="latent"), want, atol=2e-3, rtol=2e-3)


def test_temporal_layers_know_that_they_were_trained_with_it(folder, lora, tmp_path):
    pipe = LateNtMoviesPipeline.from_pretrained(folder, lora=lora, lora_scale=0.5)
    wake(pipe.unet)
    pipe.save_temporal(tmp_path / "t.safetensors")
    again = LateNtMoviesPipeline.from_pretrained(folder, temporal=tmp_path / "t.safetensors", lora=lora, lora_scale=0.5)
    assert torch.equal(film(again, output_type="latent"), film(pipe, output_type="latent"))
    with pytest.raises(UserError, match=r"another checkpoint.*with the LoRA style.safetensors in it, scale 0.5"):
        LateNtMoviesPipeline.from_pretrained(folder, temporal=tmp_path / "t.safetensors")
    with pytest.warns(UserWarning, match="the films may suffer"):
        LateNtMoviesPipeline.from_pretrained(folder, temporal=tmp_path / "t.safetensors", strict=False)


def test_a_slight_lora_is_another_base_too(folder, tmp_path):
    lora = write_lora(tmp_path, open_checkpoint(str(folder)).unet, targets=("to_q",))  # none of the weights compared
    plain = LateNtMoviesPipeline.from_pretrained(folder).unet
    fused = [LateNtMoviesPipeline.from_pretrained(folder, lora=lora, lora_scale=scale).unet
             for scale in (1e-3, 1e-3, 2e-3)]
    one, same, other = map(base_identity, fused)
    assert same_base(one, same) and not same_base(one, other) and not same_base(one, base_identity(plain))


def test_what_is_no_lora_of_this_checkpoint_is_one_line(folder, lora, tmp_path):
    other = open_checkpoint(str(write_layout(tmp_path / "other", "sd2-inpainting")))
    write_lora(tmp_path / "foreign", copy.deepcopy(other.unet), targets=("to_k",))
    save_file({"x": torch.zeros(1)}, tmp_path / "weights.safetensors")
    save_file({"te.y.lora_A.weight": torch.zeros(2, 2), "te.y.lora_B.weight": torch.zeros(2, 2)},
              tmp_path / "nothing.safetensors")
    (tmp_path / "half.safetensors").write_bytes(lora.read_bytes()[:-100])
    for name, words in (("none.safetensors", "does not exist"), ("style.bin", "is a pickle"),
                        ("foreign", "does not fit this checkpoint"), ("weights.safetensors", "checkpoint.lora: "),
                        ("nothing.safetensors", "checkpoint.lora: "), ("half.safetensors", "checkpoint.lora: ")):
        base = open_checkpoint(str(folder))
        before = state(base)
        with pytest.raises(UserError, match=words) as error:
            fuse_lora(base, tmp_path / name)
        assert "\n" not in str(error.value) and name in str(error.value) and base.lora is None
        if name != "foreign":  # what was begun there is not undone: nobody has the checkpoint
            assert all(torch.equal(v, before[k]) for k, v in state(base).items())
