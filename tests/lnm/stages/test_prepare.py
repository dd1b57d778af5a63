"""The prepare stage: a clip cut into what is trained on and what is held out, its still, its latents, its records."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from PIL import Image
from tiny import CHANNELS, SIZE, write_tiny_checkpoint

from lnm import camera, latents, video
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.latents import load_latents
from lnm.stages.prepare import offers, prepare


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


@pytest.fixture(scope="module")
def shaken(tmp_path_factory):
    """40 frames of 96 x 96 pixels of a still picture: the camera pans 3 pixels a frame, then shakes by 2 pixels."""
    import cv2

    noise = cv2.GaussianBlur(np.random.default_rng(1).random((96, 160, 3)).astype(np.float32), (0, 0), 1.5)
    wide = ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
    at = [3 * i for i in range(12)] + [36 + 2 * (i % 2) for i in range(28)]
    folder = tmp_path_factory.mktemp("shaken")
    video.write_frames(folder, np.stack([wide[:, x:x + 96] for x in at]))
    return folder


def steadied(tiny, clip, out, **more):
    facts = prepare(clip, out, fps=8, prompts=["waves"], checkpoint=str(tiny), size=64, device="cpu", name="sea",
                    **more)
    return facts, np.concatenate([video.read_frames(out / part) for part in ("train", "heldout")])


def test_a_clip_is_taken_as_it_is_where_nothing_is_said_of_its_camera(tiny, shaken, tmp_path):
    facts, frames = steadied(tiny, shaken, tmp_path)
    assert np.array_equal(frames, video.read(shaken, 8, 64).frames) and "camera" not in facts


def test_the_steadiest_part_of_a_clip_is_trained_on_and_held_out(tiny, shaken, tmp_path):
    facts, frames = steadied(tiny, shaken, tmp_path, moving="segment", segment=20)
    start, end = facts["camera"]["frames"]
    assert start >= 11 and end - start == len(frames) >= 20
    assert np.array_equal(frames, video.read(shaken, 8, 64).frames[start:end])
    with pytest.raises(UserError, match="videos.sea: no shot has the 41 frames .* the longest has 40"):
        steadied(tiny, shaken, tmp_path, moving="segment", segment=41)


def test_a_stabilised_clip_stands_still_at_the_size_asked_for(tiny, shaken, tmp_path):
    before = video.read(shaken, 8, 64, start=1.5).frames
    facts, frames = steadied(tiny, shaken, tmp_path, moving="stabilise", start=1.5)
    assert frames.shape == (28, 64, 64, 3) and 0.8 < facts["camera"]["remains"] < 1
    change = [np.abs(np.diff(film.astype(float), axis=0)).mean() for film in (before, frames)]
    assert change[1] < 0.25 * change[0]
    with pytest.raises(UserError, match="videos.sea: stabilised, .* % of the picture would remain"):
        steadied(tiny, shaken, tmp_path, moving="stabilise", end=1.5, max_frames=12, crop=[0, 0, 64, 64])


def test_a_still_camera_is_left_as_it_is(tiny, shaken, tmp_path):
    frames = np.repeat(video.read(shaken, 8).frames[:1], 12, 0)
    video.write_frames(tmp_path / "still", frames)
    facts, got = steadied(tiny, tmp_path / "still", tmp_path / "out", moving="stabilise")
    assert np.array_equal(got, video.read(tmp_path / "still", 8, 64).frames)
    assert facts["camera"] == {"done": "nothing: the camera stands still"}


def test_what_would_help_is_said_of_the_clip_as_it_is_on_disk(tiny, shaken, clip, tmp_path):
    """Whatever was done about its camera, and of further clips too; so does notebook 1."""
    asked = {"path": shaken, "fps": 8, "size": 96, "holdout": 0.25, "segment": 16, "max_frames": 40}
    found = camera.findings(video.read(shaken, 8, 96, max_frames=40).frames, 8, 16)
    assert "prepare.camera (lnm animate --camera): segment would take" in found[1]["say"]
    facts = steadied(tiny, shaken, tmp_path / "out", moving="segment", segment=16)[0]
    assert facts["frames_train"] < 30 and offers(**asked, prompts=["waves"], moving="segment") == found
    second = offers(**asked, clips=[{"path": clip}])[2:]
    assert [one["name"] for one in second] == ["clip 2: path", "clip 2: offer"]

    cells = json.loads((REPOSITORY / "notebooks" / "1_prepare.ipynb").read_text(encoding="utf-8"))["cells"]
    (cell,) = ("".join(one["source"]) for one in cells if one["id"] == "offers")
    shown: list[pd.DataFrame] = []
    choices = SimpleNamespace(segment=asked.pop("segment"), arguments=lambda: asked | {"prompts": ["waves"]})
    exec(cell, {"choices": choices, "offers": offers, "pd": pd, "display": shown.append})
    assert list(shown[0]["say"]) == [one["say"] for one in found]


def test_a_moving_camera_can_be_refused(tiny, shaken, tmp_path):
    with pytest.raises(UserError, match="videos.sea: The camera seems to move .* set prepare.camera to stabilise"):
        steadied(tiny, shaken, tmp_path, moving="refuse")
    assert not (tmp_path / "clip.json").exists()


def test_a_still_of_its_own_takes_the_clip_s_colours_where_that_is_asked(tiny, clip, tmp_path):
    from lnm.likeness import match_colours

    Image.fromarray(np.full((50, 80, 3), 99, np.uint8)).save(tmp_path / "still.png")
    common = {"fps": 8, "prompts": ["waves"], "checkpoint": str(tiny), "size": SIZE, "device": "cpu"}
    prepare(clip, tmp_path / "out", still=tmp_path / "still.png", match_colours=True, **common)
    asked = match_colours(np.full((SIZE, SIZE, 3), 99, np.uint8), video.read_frames(tmp_path / "out" / "train"))
    got = video.read_image(tmp_path / "out" / "still.png")
    assert np.array_equal(got, asked) and not (got == 99).all()
    prepare(clip, tmp_path / "own", match_colours=True, **common)
    assert np.array_equal(video.read_image(tmp_path / "own" / "still.png"), video.read(clip, 8, SIZE).frames[12])
