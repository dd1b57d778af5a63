"""`python -m lnm animate`: one command from a still and a clip to a film, by the stages' own code."""

import numpy as np
import pytest
from PIL import Image
from tiny import SIZE, write_tiny_checkpoint

from lnm import video
from lnm.__main__ import main


@pytest.fixture
def project(tmp_path, monkeypatch):
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    (tmp_path / "params.yaml").write_text(
        f"size: {SIZE}\ndevice: cpu\ncheckpoint: {{name: {checkpoint}, clip: null}}\n"
        "finetune: {steps: 4, frames: 3, preview_every: 0}\nsample: {num_frames: 4, num_inference_steps: 2}\n"
        "videos: {other: {path: nowhere.mp4, fps: 8, prompts: [x]}}\n")
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    video.write_mp4(tmp_path / "clip.mp4", np.stack([np.roll(picture, i, 1) for i in range(16)]), 8)
    for i in range(2):
        Image.fromarray(np.roll(picture, 7 * i + 3, 0)).save(tmp_path / f"still{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return main(["animate", *map(str, words)])


def test_a_still_becomes_a_film_and_a_second_still_needs_no_training(project, monkeypatch, capsys):
    assert run("still0.png", "--like", "clip.mp4", "--prompt", "waves", "--fps", 6) == 0
    film = video.read(project / "still0_film.mp4")
    assert film.frames.shape == (4, SIZE, SIZE, 3) and abs(film.fps - 6) < 0.01
    first = (project / "still0_film.mp4").read_bytes()
    monkeypatch.setattr("lnm.finetune.finetune", lambda *a: pytest.fail("trained again"))
    assert run("still1.png", "--like", "clip.mp4", "--prompt", "waves", "--fps", 6, "--out", "b.gif", "--frames", 5) == 0
    assert video.read_frames(project / "b.gif").shape[0] == 5
    assert run("still0.png", "--like", "clip.mp4", "--prompt", "waves", "--fps", 6) == 0
    assert (project / "still0_film.mp4").read_bytes() == first
    assert not list(project.glob("*.part"))


@pytest.mark.parametrize("words, said", [
    (["none.png", "--like", "clip.mp4"], "none.png"), (["still0.png", "--like", "none.mp4"], "none.mp4"),
    (["still0.png", "--like", "clip.mp4", "--out", "film.txt"], "film.txt"),
    (["still0.png", "--like", "clip.mp4", "--out", "no/film.mp4"], "no"),
    (["still0.png", "--like", "clip.mp4", "--frames", "0"], "--frames"),
    (["still0.png", "--like", "clip.mp4", "--fps", "0"], "--fps"),
    (["still0.png", "--like", "footage:nothing"], "footage"),
    (["params.yaml", "--like", "clip.mp4"], "params.yaml"), (["still0.png", "--like", "params.yaml"], "params.yaml")])
def test_bad_input_is_one_line_and_leaves_nothing(project, capsys, words, said):
    before = sorted(p.name for p in project.iterdir() if p.name != "store")
    assert run(*words, "--prompt", "waves") == 2
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and said in lines[0] and "Traceback" not in err
    assert sorted(p.name for p in project.iterdir() if p.name != "store") == before
