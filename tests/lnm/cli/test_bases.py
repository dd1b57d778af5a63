"""Checkpoints of others by `lnm`'s options, and by a project's params.yaml."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import CHANNELS, SIZE, write_tiny_checkpoint

from lnm import video
from lnm.cli import main, options
from lnm.temporal_file import read_temporal

QUICK = ["--steps", "1", "--set", "frames=3", "--device", "cpu", "--size", str(SIZE)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    video.write_mp4(tmp_path / "clip.mp4", np.stack([np.roll(picture, i, 1) for i in range(32)]), 8)
    Image.fromarray(picture).save(tmp_path / "still.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_a_text_to_image_checkpoint_is_widened_where_that_is_said_and_its_file_says_so_itself(folder, capsys):
    write_tiny_checkpoint(folder / "plain", in_channels=CHANNELS)
    learn = ["finetune", "clip.mp4", "--prompt", "waves", "--out", "t.safetensors", "--checkpoint", "plain", *QUICK]
    assert main(learn) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: checkpoint.name: plain: its U-Net takes 4 channels") and "--widen" in said[-1]
    assert main([*learn, "--widen"]) == 0
    assert read_temporal("t.safetensors").widened
    film = ["sample", "still.png", "--temporal", "t.safetensors", "--frames", "3", "--inference-steps", "2", "--size",
            str(SIZE), "--device", "cpu"]
    assert main(film) == 0 and (folder / "still_by_t.mp4").is_file()
    # on another base of the same shape: refused, and taken where that is asked for
    other = write_tiny_checkpoint(folder / "other", in_channels=CHANNELS) / "unet/diffusion_pytorch_model.safetensors"
    save_file({k: v + 0.1 * torch.ones_like(v) for k, v in load_file(other).items()}, other, metadata={"format": "pt"})
    capsys.readouterr()
    assert main([*film, "--checkpoint", "other"]) == 2 and "--any-base" in capsys.readouterr().err
    assert main([*film, "--checkpoint", "other", "--any-base"]) == 0
    assert "trained on another checkpoint than the one that is open; the films may suffer" in capsys.readouterr().err


def test_a_project_s_choices_hold_for_its_own_checkpoint_and_options_go_before_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "style.safetensors"):
        (tmp_path / name).mkdir()
    (tmp_path / "params.yaml").write_text(
        "checkpoint: {name: mine, clip: null, widen: true, lora: style.safetensors, lora_scale: 0.5, any_base: true}\n"
        "videos: {other: {path: nowhere.mp4, fps: 8, prompts: [x]}}\n")
    here = options.defaults()
    own = options.model(here, None, None, None, None)
    assert (own.widen, own.lora, own.lora_scale, own.any_base) == (True, str(tmp_path / "style.safetensors"), 0.5, True)
    other = options.model(here, "theirs", None, None, None)
    assert (other.widen, other.lora, other.lora_scale) == (False, None, 1.0)
    given = options.model(here, None, None, None, None, lora="x.safetensors")
    assert (given.lora, given.lora_scale) == ("x.safetensors", 1.0)
    assert options.model(here, None, None, None, None, lora_scale=0.25).lora_scale == 0.25
