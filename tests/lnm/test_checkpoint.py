"""Opening checkpoints: a folder or a file of Stable Diffusion inpainting's layout; one clear line for what is none."""

import json
import shutil

import huggingface_hub
import pytest
import torch
from cached import cached
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler
from single_file import write_single_file
from tiny import CHANNELS, write_tiny_checkpoint

from lnm import checkpoint, devices
from lnm.errors import UserError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def test_opens_a_checkpoint_in_stable_diffusions_layout(tiny):
    opened = checkpoint.open_checkpoint(str(tiny))
    assert opened.unet.config.in_channels == 2 * CHANNELS + 1
    assert not any(p.requires_grad for m in (opened.unet, opened.vae, opened.text_encoder) for p in m.parameters())
    assert opened.unet.dtype == torch.float32


@pytest.mark.parametrize("file", ["unet/config.json", "vae/diffusion_pytorch_model.safetensors",
                                  "tokenizer/merges.txt"])
def test_a_missing_file_is_named(tiny, tmp_path, file):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / file).unlink()
    with pytest.raises(UserError, match=file):
        checkpoint.open_checkpoint(str(copy))


def test_a_checkpoint_with_half_precision_weights_alone_opens(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    opened = checkpoint.open_checkpoint(str(tiny))
    for part in ("unet", "vae", "text_encoder"):
        (copy / part / f"{checkpoint.WEIGHTS[part]}.safetensors").unlink()
        getattr(opened, part).half().save_pretrained(copy / part, variant="fp16")
    again = checkpoint.open_checkpoint(str(copy))
    assert again.unet.dtype == torch.float32 and again.text_encoder.dtype == torch.float32
    torch.testing.assert_close(again.unet.conv_in.weight, opened.unet.conv_in.weight.float())


def test_corrupt_weights_are_one_line(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(UserError, match="cannot be opened") as error:
        checkpoint.open_checkpoint(str(copy))
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_is_not_for_inpainting_is_refused(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "t2i", in_channels=CHANNELS)
    with pytest.raises(UserError, match="choose an inpainting checkpoint"):
        checkpoint.open_checkpoint(str(folder))


def test_a_hub_out_of_reach_says_which_files_and_where(monkeypatch):
    def out_of_reach(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", out_of_reach)
    with pytest.raises(UserError) as error:
        checkpoint.open_checkpoint("stable-diffusion-v1-5/stable-diffusion-inpainting", "abc")
    text = str(error.value)
    assert "inputs/stable-diffusion-inpainting/" in text and all(file in text for file in checkpoint.WANTED)
    assert "unet/diffusion_pytorch_model.safetensors" in text
    assert "\n" not in text


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(monkeypatch):
    with pytest.raises(UserError, match="dvc pull lnm-mini"):
        checkpoint.open_checkpoint("checkpoints/none")


def test_an_unavailable_device_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device: cuda"):
        devices.pick_device("cuda")
    assert devices.pick_device("auto") in ("cpu", "mps")


def same(one, other) -> bool:
    """Whether two open checkpoints hold the same weights."""
    pairs = [(getattr(one, part).state_dict(), getattr(other, part).state_dict()) for part in checkpoint.WEIGHTS]
    return all(a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in pairs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_opens_in_half_precision(tiny, dtype):
    opened = checkpoint.open_checkpoint(str(tiny), dtype=dtype)
    for part in checkpoint.WEIGHTS:
        assert {p.dtype for p in getattr(opened, part).parameters()} == {dtype}
        assert not getattr(opened, part).training


@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, DPMSolverMultistepScheduler])
def test_a_configuration_written_for_another_sampler_clamps_no_latents(tiny, tmp_path, kind):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    kind(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(copy / "scheduler")
    assert "clip_sample" not in json.loads((copy / "scheduler/scheduler_config.json").read_text())
    scheduler = checkpoint.open_checkpoint(str(copy)).scheduler
    scheduler.set_timesteps(5)
    far = torch.full((1, CHANNELS, 2, 2), 7.0)
    assert scheduler.step(torch.zeros_like(far), scheduler.timesteps[-1], far).pred_original_sample.min() > 6
    torch.testing.assert_close(scheduler.betas, checkpoint.open_checkpoint(str(tiny)).scheduler.betas)


def test_a_checkpoint_that_predicts_the_clean_picture_is_refused(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "sample", prediction_type="sample")
    with pytest.raises(UserError, match="predicts sample; choose a checkpoint"):
        checkpoint.open_checkpoint(str(folder))


# ---------------------------------------------------------------- from the hub's cache


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_hub_name_is_opened_from_the_cache_without_a_network(tiny, tmp_path, monkeypatch, variant):
    opened = checkpoint.open_checkpoint(str(tiny))
    copy = shutil.copytree(tiny, tmp_path / "copy")
    if variant:
        for part in checkpoint.WEIGHTS:
            (copy / part / f"{checkpoint.WEIGHTS[part]}.safetensors").unlink()
            getattr(checkpoint.open_checkpoint(str(tiny)), part).half().save_pretrained(copy / part, variant=variant)
    cached(tmp_path / "cache", "somebody/inpainting", copy, monkeypatch)
    again = checkpoint.open_checkpoint("somebody/inpainting")
    assert again.name == "somebody/inpainting" and again.unet.dtype == torch.float32
    torch.testing.assert_close(again.unet.conv_in.weight, opened.unet.conv_in.weight, atol=1e-3, rtol=1e-3)
    assert same(opened, again) == (variant is None)


def test_the_class_of_a_pipeline_is_read_without_opening_it(tiny, tmp_path, monkeypatch):
    assert checkpoint.saved_class(tiny) == checkpoint.saved_class(str(tiny)) == "StableDiffusionInpaintPipeline"
    cached(tmp_path, "somebody/inpainting", tiny, monkeypatch)
    assert checkpoint.saved_class("somebody/inpainting") == "StableDiffusionInpaintPipeline"
    for nothing in ("somebody/nothing", "none", tmp_path):
        assert checkpoint.saved_class(nothing) is None


# ---------------------------------------------------------------- one file, in the original layout


@pytest.fixture(scope="module")
def single(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    return write_single_file(folder / "model.safetensors", checkpoint.open_checkpoint(str(tiny)))


def settings_alone(tiny, folder):
    """The checkpoint's configurations and tokenizer, without its weights."""
    return shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("*.safetensors"))


def test_a_single_file_is_opened_with_the_configuration_of_a_folder(tiny, single, tmp_path):
    want = checkpoint.open_checkpoint(str(tiny))
    opened = checkpoint.open_checkpoint(str(single), config=str(settings_alone(tiny, tmp_path / "settings")))
    assert same(want, opened)
    assert opened.unet.dtype == torch.float32 and not opened.unet.training and not opened.scheduler.config.clip_sample
    assert not any(p.requires_grad for p in opened.unet.parameters())
    assert opened.tokenizer("waves").input_ids == want.tokenizer("waves").input_ids
    half = checkpoint.open_checkpoint(str(single), dtype=torch.bfloat16, config=str(tiny))
    assert {getattr(half, part).dtype for part in checkpoint.WEIGHTS} == {torch.bfloat16}
    for place in (single, tiny):
        mixed = checkpoint.open_checkpoint(str(place), dtype=torch.bfloat16, vae_dtype=torch.float32, config=str(tiny))
        assert (mixed.unet.dtype, mixed.text_encoder.dtype, mixed.vae.dtype) == (torch.bfloat16,) * 2 + (torch.float32,)
        assert all(torch.equal(v, want.vae.state_dict()[k]) for k, v in mixed.vae.state_dict().items())


def test_its_configuration_may_lie_beside_it_or_in_the_hubs_cache(tiny, single, tmp_path, monkeypatch):
    want = checkpoint.open_checkpoint(str(tiny))
    copy = shutil.copyfile(single, tmp_path / "sd.safetensors")
    settings = settings_alone(tiny, tmp_path / "sd")
    assert same(want, checkpoint.open_checkpoint(str(copy)))
    shutil.move(settings, tmp_path / "elsewhere")
    # what diffusers takes weights with these names and nine input channels for
    cached(tmp_path / "cache", "stable-diffusion-v1-5/stable-diffusion-inpainting", tmp_path / "elsewhere", monkeypatch)
    assert same(want, checkpoint.open_checkpoint(str(copy)))


def test_a_single_file_without_its_configuration_says_what_goes_where(tiny, single, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="configuration.*stable-diffusion-inpainting.*or give a folder") as error:
        checkpoint.open_checkpoint(str(single))
    assert "\n" not in str(error.value) and str(single.with_suffix("")) in str(error.value)
    assert all(file in str(error.value) for file in checkpoint.WANTED)
    partial = settings_alone(tiny, tmp_path / "partial")
    (partial / "vae/config.json").unlink()
    with pytest.raises(UserError, match="vae/config.json is missing"):
        checkpoint.open_checkpoint(str(single), config=str(partial))


def test_a_single_file_that_is_none_is_one_line(tiny, tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        checkpoint.open_checkpoint(str(tmp_path / "none.safetensors"), config=str(tiny))
    (tmp_path / "bad.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(UserError, match="cannot be opened") as error:
        checkpoint.open_checkpoint(str(tmp_path / "bad.safetensors"), config=str(tiny))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["v1-5-inpainting.ckpt", "inputs/model.pt", "model.bin"])
def test_pickles_are_refused_by_name(name):
    with pytest.raises(UserError, match="is a pickle.*safetensors"):
        checkpoint.open_checkpoint(name)
