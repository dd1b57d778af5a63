"""Opening checkpoints: any checkpoint in Stable Diffusion inpainting's layout, and one clear line for what is not."""

import shutil

import pytest
import torch
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


@pytest.mark.parametrize("file", ["unet/config.json", "vae/diffusion_pytorch_model.safetensors", "tokenizer/merges.txt"])
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
    import huggingface_hub

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
