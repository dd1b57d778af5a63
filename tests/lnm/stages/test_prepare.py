"""The prepare stage: a clip cut into what is trained on and what is held out, its still, its latents, its records."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CHANNELS, SIZE, write_tiny_checkpoint

from lnm import latents, video
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.latents import load_latents
from lnm.stages.prepare import prepare


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder of 16 images of 64 x 48 pixels, each another."""
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("clip")
    video.write_frames(folder, np.stack([np.roll(picture, i, axis=1) for i in range(16)]))
    return folder


def test_a_script_of_five_lines(tiny, clip, tmp_path):
    from lnm.stages.prepare import prepare

    facts = prepare(clip, tmp_path / "out", fps=8, prompts=["ocean waves"], checkpoint=str(tiny), size=SIZE)
    assert facts["prompt"] == "ocean waves" and (facts["frames_train"], facts["frames_heldout"]) == (12, 4)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "clip.json", "clip.mp4", "heldout", "heldout_vae", "latents.safetensors", "preflight.json", "prompts.json",
        "still.png", "train"]


def test_the_last_part_is_held_out_and_all_is_encoded_as_it_stands(tiny, clip, tmp_path):
    prepare(clip, tmp_path, fps=8, prompts=["waves"], checkpoint=str(tiny), size=SIZE, device="cpu", name="sea",
            about={"source": "footage:sea", "credit": "somebody", "checkpoint": "checkpoints/tiny"})
    whole = video.read(clip, 8, SIZE).frames
    assert np.array_equal(video.read_frames(tmp_path / "train"), whole[:12])
    assert np.array_equal(video.read_frames(tmp_path / "heldout"), whole[12:])
    assert np.array_equal(video.read_image(tmp_path / "still.png"), whole[12]), "the first held-out frame"
    vae, cached = open_checkpoint(str(tiny)).vae, load_latents(tmp_path)
    torch.testing.assert_close(cached["train"], latents.encode(vae, whole[:12]))
    torch.testing.assert_close(cached["still"], cached["heldout"][:1], atol=1e-5, rtol=1e-5)
    assert np.array_equal(video.read_frames(tmp_path / "heldout_vae"), latents.decode(vae, cached["heldout"]))
    facts = json.loads((tmp_path / "clip.json").read_text())
    assert (facts["source"], facts["credit"], facts["checkpoint"]) == ("footage:sea", "somebody", "checkpoints/tiny")
    assert (facts["video"], facts["size"], facts["source_size"]) == ("sea", SIZE, [64, 48])


def test_nothing_held_out_trains_on_the_whole_clip(tiny, clip, tmp_path):
    Image.fromarray(np.full((50, 80, 3), 99, np.uint8)).save(tmp_path / "still.png")
    out = tmp_path / "out"
    facts = prepare(clip, out, fps=8, prompts=["waves"], checkpoint=str(tiny), size=SIZE, holdout=0,
                    still=tmp_path / "still.png")
    assert (facts["frames_train"], facts["frames_heldout"]) == (16, 0)
    assert set(load_latents(out)) == {"train", "still"} and load_latents(out)["train"].shape[0] == 16
    assert not (out / "heldout").exists() and not (out / "heldout_vae").exists()
    assert json.loads((out / "preflight.json").read_text())["frames"] == 16
    assert (video.read_image(out / "still.png") == 99).all()
    through = latents.decode(open_checkpoint(str(tiny)).vae, load_latents(out)["still"])
    assert np.array_equal(video.read_image(out / "still_vae.png"), through[0])
    with pytest.raises(UserError, match="sea.still: with nothing held out a still is needed"):
        prepare(clip, out, fps=8, prompts=["waves"], checkpoint=str(tiny), size=SIZE, holdout=0, name="sea")


def test_films_need_not_be_square(tiny, clip, tmp_path):
    facts = prepare(clip, tmp_path, fps=8, prompts=["waves"], checkpoint=str(tiny), size=[48, 32])
    assert facts["size"] == [48, 32]
    cached = load_latents(tmp_path)
    assert cached["train"].shape == (12, CHANNELS, 16, 24) and cached["still"].shape[-2:] == (16, 24)
    assert np.array_equal(video.read_frames(tmp_path / "train"), video.read(clip, 8, (48, 32)).frames[:12])


@pytest.mark.parametrize("changes, words", [
    ({"size": 100}, "size: 100 pixels; each side must be a multiple of 8"), ({"size": [48, 20]}, "multiple of 8"),
    ({"size": 16}, "32 or more"), ({"max_frames": 6}, "videos.sea: .* gives 6 frames at 8 fps, at least 7 are needed"),
    ({"fps": 0}, "videos.sea: .*0 fps asked"), ({"crop": [0, 0, 64, 40]}, "videos.sea: .*not square"),
    ({"path": "none.mp4"}, "videos.sea: none.mp4: no such file"), ({"still": "none.png"}, "none.png: no such file")])
def test_what_cannot_be_prepared_is_one_line_and_leaves_nothing(tiny, clip, tmp_path, changes, words):
    arguments = {"path": clip, "fps": 8, "prompts": ["waves"], "checkpoint": str(tiny), "size": SIZE, "name": "sea"}
    with pytest.raises(UserError, match=words):
        prepare(out=tmp_path / "out", **arguments | changes)
    assert not (tmp_path / "out").exists()


def test_what_was_not_prepared_is_one_line(tmp_path):
    with pytest.raises(UserError, match="prepare the clip first"):
        load_latents(tmp_path)
