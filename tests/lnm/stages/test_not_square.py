"""A film of 48 x 32 pixels (width x height), from the clip to what a person sees, by every way there is."""

import json

import numpy as np
import pytest
from conftest import PARAMS
from edited import edit
from tiny import CHANNELS, tiny_settings, write_tiny_checkpoint

import lnm
from eval.films.read import read_baseline
from eval.publish import table1
from eval.records import sets
from eval.records.run import film as film_of
from eval.records.video import evaluate_video
from lnm import video
from lnm.errors import UserError
from lnm.latents import load_latents
from lnm.settings import Sample
from lnm.stages.finetune import finetune
from lnm.stages.prepare import prepare
from lnm.stages.sample import sample_films
from lnm.workflow.params import load as load_params
from lnm.workflow.resolve import resolve, settings


def test_prepare_finetune_sample_and_evaluate(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    monkeypatch.chdir(tmp_path)
    checkpoint = str(write_tiny_checkpoint(tmp_path / "checkpoint"))
    picture = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    video.write_mp4(tmp_path / "clip.mp4", np.stack([np.roll(picture, i, 1) for i in range(16)]), 8)
    here = tmp_path / "results" / "sea"
    prepare("clip.mp4", here / "prepare", fps=8, prompts=["waves"], checkpoint=checkpoint, size=[48, 32])
    assert load_latents(here / "prepare")["train"].shape == (12, CHANNELS, 16, 24)
    finetune(here / "prepare", here / "finetune", tmp_path / "store", checkpoint=checkpoint,
             settings=tiny_settings(steps=2, preview_every=2))
    preview = video.read_frames(here / "finetune" / "previews" / "step_00002.gif")
    assert preview.shape[1:3] == (32, 48)
    sample_films(here / "prepare", here / "finetune" / "temporal.safetensors", here / "sample", checkpoint=checkpoint,
                 settings=Sample(num_frames=4, num_inference_steps=2, seeds=1))
    for method in ("ours", "frame_by_frame"):
        film = video.read(here / "sample" / method / "seed_0" / "film.mp4")
        assert film.frames.shape == (4, 32, 48, 3) and film.source_size == (48, 32)
    baseline = tmp_path / "inputs" / "baselines" / "theirs" / "sea"
    video.write_frames(baseline, np.stack([picture[:50, :50]] * 4))  # a square one, cut to the shape of ours
    scored = []
    monkeypatch.setattr(sets, "read_baseline", lambda *a: scored.extend(read_baseline(*a)) or scored)
    evaluate_video(
        {"video": "sea", "seed": 0, "clip": None, "fid": False, "device": "cpu",
         "baselines": {"inputs/baselines/theirs/sea": "hash"}}, here, here / "evaluate")
    metrics = json.loads((here / "evaluate" / "metrics.json").read_text())
    assert metrics["size"] == [32, 48] and table1.resolution({"sea": metrics}) == "48x32"
    assert [film.shape for film in scored] == [(4, 32, 48, 3)]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert film_of(tmp_path / "results", "sea", "theirs").shape == (4, 32, 48, 3)


def test_from_a_script(tmp_path):
    pipe = lnm.LateNtMoviesPipeline.from_pretrained(write_tiny_checkpoint(tmp_path / "checkpoint"))
    video.write_frames(tmp_path / "clip", np.random.default_rng(0).integers(0, 256, (9, 60, 100, 3), dtype=np.uint8))
    lnm.finetune(pipe, tmp_path / "clip", prompt="waves", fps=8, steps=2, frames=3, size=(48, 32))
    film = pipe(video.read_image(tmp_path / "clip" / "00000.png"), "waves", width=48, height=32, num_frames=2, fps=8,
                num_inference_steps=2).frames[0]
    assert film.shape == (2, 32, 48, 3)


def test_in_params_yaml(project):
    edit(project, "videos:", "size: [48, 32]\nvideos:")
    assert load_params().size == [48, 32]
    resolve("ocean")
    for stage in ("prepare", "finetune", "sample", "evaluate"):
        assert json.loads((project / f"build/resolve/ocean/{stage}.json").read_text())["size"] == [48, 32]
    assert settings("prepare", "ocean").arguments()["size"] == [48, 32]


@pytest.mark.parametrize("size, words", [
    ("[48]", "should be the side of a square or [width, height], in pixels; got [48]"),
    ("[48, 33]", "should be a multiple of 8; got [48, 33]"), ("[48, 32, 8]", "should be the side"),
    ("'48x32'", "should be the side"), ("[0, 32]", "should be 32 or more; got [0, 32]"),
    ("2020-01-01", "should be the side")])
def test_a_size_that_is_none_is_one_line(project, size, words):
    (project / "params.yaml").write_text(f"size: {size}\n{PARAMS}")
    with pytest.raises(UserError) as error:
        load_params()
    assert str(error.value).startswith(f"params.yaml: size: {words}") and "\n" not in str(error.value)
