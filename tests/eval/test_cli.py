"""What the harness's commands say beside their tables."""

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from eval.records.score_text import in_short
from eval.study.commands import commas
from lnm.cli import main


def entry(value):
    return {"value": value}


def test_a_score_ends_in_one_sentence_with_what_to_compare_it_with():
    own = {"motion_ratio": entry(0.491), "flow_warp": entry(0.00931), "fid_heldout": {"refused": "no weights"},
           "clipsim": entry(0.386), "clipsim_mismatched": entry(0.0154)}
    result = {"films": {"mine": []}, "methods": {"mine": own, "reference": {"flow_warp": entry(0.0159)}}}
    assert in_short(result) == ["it moves 0.49 times as far as the reference; its flow-warp error is 0.0093, the "
                                "reference's 0.0159; its CLIPSIM is 0.39, 0.02 with other prompts."]
    own["fid_heldout"] = entry(58.7)
    result["against_vae"] = {"mine": {"motion_ratio": entry(0.752)}}
    (said,) = in_short(result)
    assert said.startswith("it moves 0.49 times as far as the reference, 0.75 times as far as that through the VAE; ")
    assert "its FID to the reference is 59; its CLIPSIM" in said
    nothing = "nothing could be measured; the reasons are listed."
    assert in_short({"films": {"m": []}, "methods": {"m": {}}}) == [nothing]
    assert in_short({"films": {"m": [], "n": []}, "methods": {"m": {}, "n": {}}}) == [f"m: {nothing}", f"n: {nothing}"]


def test_lists_come_by_commas_or_one_by_one():
    assert commas(["a,b", " c "]) == ["a", "b", "c"] and commas(None) is None and commas([]) is None


@pytest.mark.parametrize("words, said", [
    (["score", "--frames", "x", "--method", "static"], "a control is called so"),
    (["score", "--frames", "x", "--method", "m", "--prompt", " "], "--prompt: the text is empty"),
    (["score", "--frames", "x", "--method", "m", "--fps", "0"], "--fps 0: must be a number above 0"),
    (["score", "--frames", "x", "--method", "m", "--json", "."], "this is a folder; name a file"),
    (["score", "--frames", "x", "--method", "m", "--size", "8"], "--size"),
    (["study", "build", "--methods", "ours"], "give two or more"),
    (["study", "simulate", "--preference", "ours=much,x=1"], "is not METHOD=NUMBER"),
    (["study", "simulate", "--preference", "ours=1"], "give two or more methods"),
    (["claims", "--results", "nowhere"], "there is no such folder"),
])
def test_bad_input_is_one_line(project, capsys, words, said):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err


def test_a_film_is_scored_in_any_folder_without_a_project(tmp_path, monkeypatch, capsys):
    import numpy as np

    from lnm import video

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    video.write_frames(tmp_path / "film", frames)
    assert main(["score", "--frames", "film", "--method", "mine", "--clip", "none", "-q"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("mine: 5 frames of 32 x 32") and "\nIn short: its flow-warp error is " in said


def test_the_harness_s_commands_are_there_without_the_settings_of_a_run():
    """A help that answers at once: typed settings and what computes are loaded by the command that needs them."""
    code = "import sys, eval.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                            env=os.environ | {"PYTHONPATH": str(REPOSITORY)}).stdout.split()
    assert "lnm.project" in loaded
    slow = ("lnm.workflow", "lnm.video", "numpy", "torch", "eval.records")
    assert not [name for name in loaded if name.startswith(slow)]
