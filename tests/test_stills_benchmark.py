"""benchmarks.stills: who is own and who foreign, what is chosen on the other clips alone, what the docs say of it."""

import json

import numpy as np
import pytest
from conftest import REPOSITORY

from benchmarks import matrix, stills
from lnm import preflight, video
from lnm.errors import UserError


def clip(seed, colour, frames=12, side=32):
    """Noise of a colour that drifts by a pixel a frame; noise of its own in every clip."""
    picture = np.random.default_rng(seed).integers(0, 60, (side, side, 3))
    return np.stack([np.roll(picture, f, 1) for f in range(frames)]).astype(np.uint8) + np.uint8(colour)


CLIPS = {"red": clip(0, (150, 0, 0)), "green": clip(1, (0, 150, 0)), "blue": clip(2, (0, 0, 150))}


def test_every_clip_with_every_first_and_last_held_out_frame():
    pairs = stills.own_and_foreign(CLIPS)
    assert len(pairs) == 18 and sum(not pair.bad for pair in pairs) == 6
    assert all(len(pair.frames) == 9 for pair in pairs), "a quarter is held out"
    first, last = pairs[1], pairs[9 + 1]
    assert (first.clip, first.bad) == (last.clip, last.bad) == ("red", True)
    assert np.array_equal(first.still, CLIPS["green"][9]) and np.array_equal(last.still, CLIPS["green"][11])


def test_a_measure_grows_with_what_it_measures():
    frames = CLIPS["red"][:9]
    alike = stills.measured(stills.Pair("red", frames, frames[0], False))
    assert alike.pop("matched corners") < 0.3 and set(alike.values()) == {0}
    other = stills.measured(stills.Pair("red", frames, CLIPS["blue"][9] // 2, True))
    assert all(other[name] > alike[name] for name in alike if name != "horizon") and other["matched corners"] > 0.5
    flat = np.zeros((32, 32, 3), np.uint8)
    plain = stills.measured(stills.Pair("flat", flat[None], flat, False))
    assert plain.pop("matched corners") == 1 and set(plain.values()) == {0}
    sea = flat.copy()
    sea[16:] = 200
    assert stills.measured(stills.Pair("flat", flat[None], sea, True))["horizon"] == stills.NO_HORIZON


def test_a_threshold_is_chosen_on_the_other_clips():
    values, of = np.array([[1.0], [2.0], [10.0], [20.0]]), np.array(["a", "a", "b", "b"])
    bad = np.array([False, True, False, True])
    found = stills.told(values, bad, of)
    assert found == {"auc": 0.75, "within": 1.0, "right": 0.5}, "1.5 is too low for b, 15 too high for a"
    values = np.array([[1.0], [4.0], [2.0], [5.0]])
    assert stills.told(values, bad, of) == {"auc": 1.0, "within": 1.0, "right": 1.0}
    with pytest.raises(UserError, match="the pairs of the other clips are all of one kind"):
        stills.told(values, np.array([True, True, False, True]), np.array(["a", "a", "a", "b"]))


def test_weights_are_of_the_other_clips_and_find_what_tells():
    rng = np.random.default_rng(0)
    bad, of = np.tile([False, True], 30), np.repeat(["a", "b", "c"], 20)
    values = np.stack([bad + rng.normal(0, 0.3, 60), rng.normal(0, 1, 60)], 1)
    seen = []

    def spied(those, kind):
        seen.append(len(those))
        return stills.fisher(those, kind)

    assert stills.told(values, bad, of, spied)["auc"] > stills.told(values, bad, of, stills.summed)["auc"] > 0.8
    assert set(seen) == {40}
    assert stills.rank_correlation([1, 2, 3], [10, 30, 90]) == 1 and stills.rank_correlation([1, 2, 3], [3, 2, 1]) == -1


FILMED = """\
size: 32
videos:
  red: {path: inputs/red.mp4, fps: 8, prompts: [waves]}
  blue: {path: inputs/blue.mp4, fps: 8, prompts: [waves]}
"""


@pytest.fixture
def cells(project, monkeypatch):
    """The cells of two tiny clips, as `python -m benchmarks.matrix --json` writes them."""
    (project / "params.yaml").write_text(FILMED)
    for name in ("red", "blue"):
        video.write_mp4(project / "inputs" / f"{name}.mp4", CLIPS[name], 8)
    monkeypatch.setattr(stills, "settings", lambda stage, name: Settings(project / "inputs" / f"{name}.mp4"))
    read = {name: stills.parted(video.read(project / "inputs" / f"{name}.mp4", 8, 32).frames)
            for name in ("red", "blue")}
    scene = {s.name: s.picture for s in matrix.others(["red", "blue"], (32, 32), project / "footage")}
    pictures = {name: held[0] for name, (_, held) in read.items()} | scene
    good = {"motion": 1.0, "flow speed": 1.0, "flow-warp": 1.0, "detail": 1.0, "frame 0, dB": 0.1}
    return [{"clip": name, "still": still, "distance": preflight.still_distance(train, picture), **good,
             "motion": 1.0 + 0.1 * k, "detail": 9.0 if k % 2 else 1.0}
            for name, (train, _) in read.items() for k, (still, picture) in enumerate(pictures.items())]


class Settings:
    """Of a prepare stage, as `lnm.workflow.resolve.settings` gives them."""

    def __init__(self, path):
        self.path = path

    def arguments(self):
        return {"path": self.path, "fps": 8, "size": 32, "crop": None, "start": 0.0, "end": None, "max_frames": None,
                "holdout": 0.25}


def test_pairs_that_were_filmed_are_cut_again_and_held_against_what_was_filmed(cells, project):
    pairs = stills.filmed(cells, project / "footage")
    assert len(cells) == 16 and len(pairs) == 14, "a clip's own still is not foreign"
    assert [pair.bad for pair in pairs if pair.clip == "red"] == [
        len(matrix.broken(cell)) > 1 for cell in cells if cell["clip"] == "red" and cell["still"] != "red"]
    assert {pair.motion for pair in pairs} == {cell["motion"] for cell in cells}
    cells[3]["distance"] += 1
    with pytest.raises(UserError, match=f"{cells[3]['clip']} with {cells[3]['still']} was filmed of other pictures"):
        stills.filmed(cells, project / "footage")
    with pytest.raises(UserError, match="`lnm footage cliff` fetches it"):
        stills.filmed([cells[0] | {"still": "cliff"}], project / "footage")


def test_all_of_it_on_tiny_clips(cells, project):
    kept = stills.tried(stills.own_and_foreign(CLIPS), stills.filmed(cells, project / "footage"))
    matrix.write_rows(project / "kept.json", kept)
    text = (project / "kept.json").read_text()
    assert json.loads(text) == kept and sum('"auc": ' in line for line in text.splitlines()) == text.count('"auc": ')
    assert (kept["own"], kept["foreign"], kept["films"]) == (6, 12, 14)
    assert kept["own_at_most"] < kept["foreign_at_least"]
    assert kept["held"]["colours"]["auc"] == 1 and list(kept["held"]) == list(kept["filmed"])
    text = stills.report(kept)
    assert "| colours | 100 | 100 % | " in text and "Of 56" not in text and "Of 14 films of foreign stills" in text
    assert stills.distances(CLIPS).count("\n| red ") == 2


def test_the_warning_parts_own_pairs_from_foreign_ones_and_the_docs_say_what_was_tried():
    name = "benchmarks/results/stills.json"
    kept = json.loads((REPOSITORY / name).read_text(encoding="utf-8"))
    assert kept["own_at_most"] < preflight.STILL < kept["foreign_at_least"]
    told = {name: [kept[pairs][name][by] for pairs in ("held", "filmed") for by in ("auc", "right")]
            for name in kept["held"]}
    better = [name for name in told if np.all(np.array(told[name]) >= told["colours"])]
    assert better == ["colours"], "the warning would be better by another"
    page = (REPOSITORY / "docs" / "own-video.md").read_text(encoding="utf-8")
    said = page.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0]
    wanted = stills.report(json.loads((REPOSITORY / name).read_text(encoding="utf-8")))
    assert said == wanted, f"python -m benchmarks.stills --report {name} prints it"
