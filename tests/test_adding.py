"""docs/adding.md: its pieces, put where it says, are a measure that is scored, a control, a rival that is trained."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from tiny import tiny_settings, write_tiny_checkpoint, write_tiny_prepared

from eval.films import baselines
from lnm.rivals import methods
from lnm.settings import Sample
from lnm.stages.rivals import film_rivals
from lnm.unet import UNetPseudo3DConditionModel
from lnm.video import write_frames

PAGE = (REPOSITORY / "docs" / "adding.md").read_text(encoding="utf-8")
FUNCTION, ENTRY, PLACE, TEST, CONTROL, RIVAL = re.findall(r"(?ms)^```text\n(.*?)^```$", PAGE)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """lnm and eval with the page's measure in them, its test, and film/ of known steps of brightness."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("lnm", "eval"):
        shutil.copytree(REPOSITORY / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, piece in (("eval/metrics/motion.py", "def energies(", f"{FUNCTION}\n\n"),
                                ("eval/registry.py", '    "flicker": Metric(', ENTRY),
                                ("eval/metrics/film.py", '        "flicker": _made(', PLACE)):
        text = (tree / name).read_text(encoding="utf-8")
        assert name in PAGE and text.count(before) == 1
        (tree / name).write_text(text.replace(before, piece + before), encoding="utf-8")
    (tree / "test_pumping.py").write_text(TEST, encoding="utf-8")
    grey = np.arange(8).repeat(2)[:, None, None, None] * np.full((16, 32, 32, 3), 10)
    write_frames(tree / "film", grey.astype(np.uint8))
    return tree


def run(tree, *words):
    found = subprocess.run([sys.executable, "-m", *words], cwd=tree, capture_output=True, text=True, timeout=300,
                           env=os.environ | {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(tree / "cache")})
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_measure_is_scored_beside_the_controls_and_listed_everywhere(tree):
    run(tree, "lnm", "score", "--frames", "film", "--method", "mine", "--reference", "film", "--clip", "none", "--fps",
        "8", "--json", "score.json", "--quiet")
    found = json.loads((tree / "score.json").read_text())["methods"]
    assert found["mine"]["pumping"]["value"] == pytest.approx(7 * 10 / 255 / 15, rel=1e-4)
    assert found["static"]["pumping"]["value"] == 0 and found["reference"]["pumping"] == found["mine"]["pumping"]
    assert "\npumping: pumping\n" in run(tree, "lnm", "score", "--list")
    assert "| `pumping` | pumping | mean absolute change of mean brightness a step" in run(
        tree, "eval.records.measures")


def test_the_measure_s_test_holds_and_fails_where_the_measure_is_broken(tree):
    assert "1 passed" in run(tree, "pytest", "-q", "-p", "no:cacheprovider", "test_pumping.py")
    path = tree / "eval" / "metrics" / "motion.py"
    sound = path.read_text(encoding="utf-8")
    path.write_text(sound.replace("np.abs(np.diff(x))", "np.diff(x)"), encoding="utf-8")
    with pytest.raises(AssertionError, match="1 failed"):
        run(tree, "pytest", "-q", "-p", "no:cacheprovider", "test_pumping.py")
    path.write_text(sound, encoding="utf-8")


def test_a_control_is_made_by_its_name_of_any_still(monkeypatch):
    made = vars(baselines) | {}
    exec(CONTROL, made)
    monkeypatch.setitem(baselines.BASELINES, "fading", made["fading"])
    still = np.full((8, 12, 3), 200, np.uint8)
    film = baselines.generate("fading", still, "waves", 5, 8, 0, train=None)
    assert film.shape == (5, 8, 12, 3) and film.dtype == np.uint8
    assert np.array_equal(film[0], still) and (film[-1] == 128).all()


def test_a_rival_of_one_entry_is_trained_and_filmed(tmp_path, monkeypatch):
    known = vars(methods) | {"UNetPseudo3DConditionModel": UNetPseudo3DConditionModel}
    for name, rival in eval(f"{{{RIVAL}}}", known).items():
        monkeypatch.setitem(methods.RIVALS, name, rival)
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint")
    write_tiny_prepared(tmp_path / "prepare", checkpoint)
    note = film_rivals(tmp_path / "prepare", tmp_path / "rivals", tmp_path / "store", methods=["sparse"],
                       sample=Sample(num_frames=3, num_inference_steps=2, seeds=1), settings=tiny_settings(),
                       checkpoint=str(checkpoint), device="cpu", name="drift", about={})
    assert note["methods"] == ["sparse_style"] and note["trained"]["sparse_style"]["steps"] == 6
    assert len(list((tmp_path / "rivals" / "sparse_style" / "seed_0").glob("*.png"))) == 3


def test_what_the_page_names_is_there():
    files = re.findall(r"`((?:eval|lnm|tests)/[\w/]+\.py)`", PAGE)
    assert len(files) > 12 and all((REPOSITORY / name).is_file() for name in files)
    code = "\n".join((REPOSITORY / name).read_text(encoding="utf-8") for name in files)
    for name in set(re.findall(r"`(\w+)`", PAGE)) - {"good"}:
        assert re.search(rf"\b{name}\b", code) or name in ("sparse_style", "KeyError"), name
