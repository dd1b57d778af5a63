"""The model without its sampling: defaults that users rely on, long prompts, sizes of latents, LoRA files."""

import inspect
import warnings

import pytest
import torch
from diffusers import AutoencoderKL
from tiny_pipeline import make
from unusual import UNUSUAL

from lnm.errors import UserError
from lnm.latents import decode, encode
from lnm.pipeline import LateNtMoviesPipeline
from lnm.temporal_file import TemporalNotes, base_identity, save_temporal
from lnm.unet import UNetPseudo3DConditionModel, lora_arguments


def default(function, name):
    return inspect.signature(function).parameters[name].default


def test_defaults_that_the_docs_name():
    call = LateNtMoviesPipeline.__call__
    assert [default(call, name) for name in ("num_frames", "num_inference_steps", "decode_chunk_size")] == [16, 15, 8]
    assert default(LateNtMoviesPipeline.decode_latents, "chunk_size") == default(decode, "chunk_size") == 8
    assert default(encode, "chunk_size") == 8


def test_what_follows_the_temporal_file_is_given_by_name(checkpoint):
    with pytest.raises(TypeError, match="positional"):
        LateNtMoviesPipeline.from_checkpoint(checkpoint, None, "all")


def test_a_prompt_that_is_too_long_is_cut_and_keeps_its_end_token(checkpoint):
    pipe = make(checkpoint)
    length = pipe.tokenizer.model_max_length
    said = rf"^prompt: waves .*: the text encoder reads the first {length - 2} of its \d+ tokens; say what counts"
    with pytest.warns(UserWarning, match=said) as warned:
        embeds = pipe.encode_prompt(["waves " * 3 * length, "waves"])
    assert len(warned) == 1 and len(str(warned[0].message)) < 300, "of the long one alone, in one line"
    assert embeds.shape[:2] == (2, length)
    ids = pipe.tokenizer(["waves " * 3 * length], truncation=True, max_length=length).input_ids[0]
    with torch.no_grad():
        assert torch.allclose(embeds[0], pipe.text_encoder(torch.tensor([ids]))[0][0], atol=1e-6)
    assert ids[-1] == pipe.tokenizer.eos_token_id


@pytest.mark.parametrize("prompt", UNUSUAL)
def test_a_prompt_of_any_writing_is_encoded(checkpoint, prompt):
    pipe = make(checkpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if len(prompt) > 100 else "error")
        embeds = pipe.encode_prompt([prompt, "waves"])
    assert embeds.isfinite().all() and not torch.equal(embeds[0], embeds[1])


def test_layers_of_another_base_are_refused_unless_asked_for(checkpoint, tmp_path):
    pipe = make(checkpoint)
    torch.manual_seed(9)
    other = UNetPseudo3DConditionModel.from_unet2d(checkpoint.unet)
    with torch.no_grad():
        for name, p in other.named_parameters():
            if "temporal" not in name and "fps" not in name:
                p.add_(0.5)
    assert base_identity(other) != base_identity(pipe.unet)
    save_temporal(other, tmp_path / "other.safetensors", TemporalNotes())
    with pytest.raises(UserError, match="strict=False"):
        pipe.load_temporal(tmp_path / "other.safetensors")
    with pytest.warns(UserWarning):
        pipe.load_temporal(tmp_path / "other.safetensors", strict=False)


def test_an_autoencoder_says_by_how_much_it_downsamples(checkpoint):
    blocks = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
                  block_out_channels=[4] * 4, norm_num_groups=2, layers_per_block=1, latent_channels=4)
    pipe = LateNtMoviesPipeline(AutoencoderKL(**blocks), checkpoint.text_encoder, checkpoint.tokenizer,
                                UNetPseudo3DConditionModel.from_unet2d(checkpoint.unet), checkpoint.scheduler)
    assert pipe.vae_scale_factor == 8


def test_the_one_safetensors_file_of_a_lora_s_folder_needs_no_name(tmp_path):
    plain = {"use_safetensors": True}
    assert lora_arguments({"unet.x": 1}, {}) == plain and lora_arguments(tmp_path / "none.safetensors", {}) == plain
    (tmp_path / "style.safetensors").touch()
    (tmp_path / "README.md").touch()
    assert lora_arguments(str(tmp_path), {}) == plain | {"weight_name": "style.safetensors"}
    assert lora_arguments(tmp_path, {"weight_name": "other"}) == plain | {"weight_name": "other"}
    assert lora_arguments(tmp_path / "style.safetensors", {"prefix": "unet"}) == plain | {"prefix": "unet"}
    (tmp_path / "second.safetensors").touch()
    assert lora_arguments(tmp_path, {}) == plain, "which of two it is only the user knows"
