"""benchmarks.choosing: what is held out is not read, each way is a row, and what was tuned is found again."""

import json

import numpy as np
import pytest
from tiny import write_tiny_checkpoint, write_tiny_prepared

from benchmarks import choosing
from lnm import video
from lnm.latents import load_latents

PARAMS = """
seed: 0
checkpoint: {{name: {checkpoint}}}
finetune: {{init: null, steps: 2, frames: 2, warmup_steps: 0}}
sample: {{num_inference_steps: 3, begin: flow, strength: 0.7, condition: video}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint")
    write_tiny_prepared(tmp_path / "results" / "drift" / "prepare", checkpoint, frames=45)
    (tmp_path / "params.yaml").write_text(PARAMS.format(checkpoint=checkpoint))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["choosing", "drift", "--json", "found.json", *arguments])
    choosing.main()
    return json.loads(open("found.json").read())


def test_each_way_of_each_number_of_steps_is_a_row_and_what_was_tuned_is_found_again(project, monkeypatch, capsys):
    first = run(monkeypatch, "--steps", "1", "2", "--film", "begin=noise,condition=still", "--out", "sheets")
    assert [(row["steps"], row["way"]) for row in first] == [
        (steps, way) for steps in (1, 2) for way in ("params.yaml", "begin=noise,condition=still")]
    assert all(np.isfinite(row[name]) for row in first for name in ("motion", "detail", "distance", "frame 0"))
    assert first[0]["distance"] != first[1]["distance"] and first[0]["motion"] != first[2]["motion"]
    assert sorted(path.name for path in (project / "sheets").iterdir()) == ["drift-1.png", "drift-2.png"]
    assert "| drift | 2" in capsys.readouterr().out
    monkeypatch.setattr(choosing, "train", lambda *a, **k: pytest.fail("trained again"))
    assert run(monkeypatch, "--steps", "1") == first[:1]


def test_neither_the_last_frames_nor_what_is_held_out_is_learned_from(project, monkeypatch):
    given, real = [], choosing.train
    monkeypatch.setattr(choosing, "train", lambda *a, **k: given.append(a[1]) or real(*a, **k))
    (project / "results" / "drift" / "prepare" / "heldout").rename(project / "elsewhere")
    run(monkeypatch, "--films", "1")
    latents = load_latents(project / "results" / "drift" / "prepare")["train"]
    assert np.array_equal(given[0], latents[:-16])
    clip = choosing.Material(project / "results" / "drift" / "prepare")
    frames = video.read_frames(project / "results" / "drift" / "prepare" / "train")
    assert np.array_equal(clip.real, frames[-16:]) and np.array_equal(clip.before, frames[:-16])


def test_a_video_that_is_not_prepared_is_named(project, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["choosing", "sea"])
    with pytest.raises(SystemExit):
        choosing.main()
    assert "results/sea/prepare: no such folder; run `dvc repro prepare@sea` first" in capsys.readouterr().err


@pytest.mark.parametrize("option, said", [("--film=strenght=0.4", "strenght: unknown setting; did you mean strength?"),
                                          ("--tune=frames=none", "frames: ")])
def test_a_change_that_makes_no_sense_is_said_before_anything_is_trained(project, monkeypatch, capsys, option, said):
    monkeypatch.setattr(choosing, "train", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setattr("sys.argv", ["choosing", "drift", option])
    with pytest.raises(SystemExit):
        choosing.main()
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_films_with_the_still_s_detail_stand_beside_the_clip_as_it_was_filmed(project, monkeypatch):
    decoded, bare = run(monkeypatch, "--film", "begin=noise,condition=still")
    filmed, plain = run(monkeypatch, "--film", "begin=noise,condition=still", "--filmed")
    assert filmed["frame 0"] < decoded["frame 0"] - 0.5, "its first frame is nearer to the still than the VAE is"
    assert plain["frame 0"] == pytest.approx(bare["frame 0"]), "begun from noise there is nothing to give back"
    assert plain["motion"] != bare["motion"], "beside the clip as it was filmed"
