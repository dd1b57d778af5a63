"""The stages on checkpoints of others: a text-to-image one widened, a LoRA in it, layers of another base."""

import json
import shutil

import numpy as np
import pytest
import torch
from layouts import write_layout
from PIL import Image
from safetensors.torch import load_file, save_file
from single_file import write_single_file
from tiny import tiny_settings, write_tiny_checkpoint, write_tiny_prepared
from tiny_unet import write_lora

from lnm import video
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.settings import Sample
from lnm.stages.animate import animate
from lnm.stages.finetune import finetune
from lnm.stages.prepare import prepare
from lnm.stages.sample import sample_films
from lnm.temporal_file import read_temporal

FEW = Sample(num_frames=3, num_inference_steps=2, seeds=1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = write_tiny_checkpoint(folder / "checkpoint")
    return str(checkpoint), write_tiny_prepared(folder / "prepared", checkpoint)


def learn(prepared, folder, base, **changes):
    settings = tiny_settings(**{k: changes.pop(k) for k in ("init",) if k in changes}, steps=2)
    finetune(prepared, folder / "out", folder / "store", settings=settings, device="cpu", checkpoint=base, **changes)
    return folder / "out" / "temporal.safetensors"


def test_a_text_to_image_checkpoint_is_prepared_for_trained_and_filmed(tmp_path):
    base = str(write_layout(tmp_path / "sd15", "sd15"))
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    video.write_mp4(tmp_path / "clip.mp4", np.stack([np.roll(picture, i, 1) for i in range(16)]), 8)
    told = {"checkpoint": base, "device": "cpu"}
    clip = {"fps": 8, "prompts": ["waves"], "size": 64}
    with pytest.raises(UserError, match="checkpoint.widen: true"):
        prepare(tmp_path / "clip.mp4", tmp_path / "prepared", **clip, **told)
    prepare(tmp_path / "clip.mp4", tmp_path / "prepared", **clip, **told, widen=True)
    temporal = learn(tmp_path / "prepared", tmp_path, base, widen=True)
    assert load_file(temporal)["conv_in.temporal.condition.weight"].abs().max() > 0, "what takes the still has learned"
    note = sample_films(tmp_path / "prepared", temporal, tmp_path / "films", settings=FEW, widen=True, **told)
    assert note["methods"] == ["ours", "frame_by_frame"] and "lora" not in note
    for method in note["methods"]:
        assert video.read_frames(tmp_path / "films" / method / "seed_0").shape == (3, 64, 64, 3)


def test_a_lora_is_in_the_fine_tune_and_in_the_films(tiny, tmp_path):
    base, prepared = tiny
    lora = str(write_lora(tmp_path / "lora", open_checkpoint(base).unet))
    plain, adapted = learn(prepared, tmp_path / "plain", base), learn(prepared, tmp_path / "adapted", base, lora=lora,
                                                                      lora_scale=0.5)
    assert plain.read_bytes() != adapted.read_bytes()
    assert read_temporal(adapted).notes.extra == {"lora": {"name": "lora", "scale": 0.5}}
    assert read_temporal(plain).notes.extra == {}
    told = {"settings": FEW, "checkpoint": base, "device": "cpu"}
    with pytest.raises(UserError, match="with the LoRA lora in it, scale 0.5"):
        sample_films(prepared, adapted, tmp_path / "films", **told)
    note = sample_films(prepared, adapted, tmp_path / "films", **told, lora=lora, lora_scale=0.5)
    assert note["lora"] == {"name": "lora", "scale": 0.5}
    assert json.loads((tmp_path / "films" / "films.json").read_text())["lora"] == note["lora"]
    sample_films(prepared, plain, tmp_path / "without", **told)
    frames = [video.read_frames(tmp_path / where / "frame_by_frame" / "seed_0") for where in ("films", "without")]
    assert (frames[0] != frames[1]).any(), "the frozen checkpoint has it too"


def test_layers_of_another_base_are_taken_where_that_is_asked_for(tiny, tmp_path):
    base, prepared = tiny
    temporal = learn(prepared, tmp_path / "first", base)
    other = write_tiny_checkpoint(tmp_path / "other")
    path = other / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v + 0.1 * torch.ones_like(v) for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="another checkpoint.*checkpoint.any_base, --any-base"):
        learn(prepared, tmp_path / "second", str(other), init=str(temporal))
    with pytest.warns(UserWarning, match="the films may suffer"):
        learn(prepared, tmp_path / "second", str(other), init=str(temporal), any_base=True)


def test_animate_takes_a_single_file_and_a_lora_anew(tiny, tmp_path):
    base = open_checkpoint(tiny[0])
    file = write_single_file(tmp_path / "checkpoint.safetensors", base)
    shutil.copytree(tiny[0], tmp_path / "checkpoint", ignore=shutil.ignore_patterns("*.safetensors"))
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    video.write_mp4(tmp_path / "clip.mp4", np.stack([np.roll(picture, i, 1) for i in range(24)]), 8)
    Image.fromarray(picture).save(tmp_path / "still.png")
    told = dict(like=tmp_path / "clip.mp4", prompt="waves", size=32, checkpoint=str(file), device="cpu", fps=8,
                settings=tiny_settings(steps=1), sample=FEW, store=tmp_path / "store", say=lambda line: None)
    plain = animate(tmp_path / "still.png", **told)
    assert plain.frames.shape == (3, 32, 32, 3)
    adapted = animate(tmp_path / "still.png", **told, lora=str(write_lora(tmp_path / "lora", base.unet)))
    assert adapted.temporal != plain.temporal
