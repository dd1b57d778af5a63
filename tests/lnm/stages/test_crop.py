"""The prepare stage of a clip whose crop follows its subject: what is cut, drawn and recorded."""

import json

import cv2
import numpy as np
import pytest
from tiny import write_tiny_checkpoint

from lnm import video
from lnm.errors import UserError
from lnm.stages.prepare import prepare


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips of 32 frames of 192 x 96 pixels: a speckled thing bobs at the left of `stays`, and crosses `goes`."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.random((96, 192, 3)).astype(np.float32), (0, 0), 2)
    ground = (40 + 200 * (ground - ground.min())).clip(0, 110).astype(np.uint8)
    thing = rng.integers(150, 256, (24, 24, 3), dtype=np.uint8)
    for name, left, right in (("stays", 20, 20), ("goes", 8, 160)):
        frames = np.repeat(ground[None], 32, 0)
        for t, x in enumerate(np.linspace(left, right, 32).round().astype(int)):
            y = 36 + round(6 * np.sin(t))
            frames[t, y:y + 24, x:x + 24] = thing
        video.write_frames(folder / name, frames)
    return folder


def prepared(tiny, folder, out, name="stays", **changes):
    facts = prepare(folder / name, out, **{"fps": 8, "prompts": ["a sheep"], "checkpoint": str(tiny), "size": 64,
                                           "device": "cpu", "name": "sheep", "crop": "subject"} | changes)
    return facts, np.concatenate([video.read_frames(out / part) for part in ("train", "heldout")])


def test_a_subject_that_stays_is_cut_as_by_the_crop_that_is_recorded(tiny, folder, tmp_path):
    facts, frames = prepared(tiny, folder, tmp_path)
    record = facts["crop"]
    (box,) = record["boxes"]
    assert record["found"] == "stays" and box[0] <= 20 and box[2:] == [96, 96] and record["held"] > record["centre"]
    assert np.array_equal(frames, video.read(folder / "stays", 8, 64, box).frames)
    assert json.loads((tmp_path / "clip.json").read_text())["crop"] == record
    drawn = video.read(tmp_path / "crop.mp4").frames
    assert drawn.shape == (32, 96, 192, 3) and drawn[:, :, 150:].mean() < 0.6 * frames.mean()
    found = {one["name"]: one for one in json.loads((tmp_path / "preflight.json").read_text())["findings"]}
    assert found["crop"]["ok"] and f"crop [{box[0]}, {box[1]}, 96, 96]" in found["crop"]["say"]
    facts, frames = prepared(tiny, folder, tmp_path, crop=box)
    assert "crop" not in facts and not (tmp_path / "crop.mp4").exists(), "that of an earlier run is removed"


def test_a_window_that_travels_has_a_place_a_frame_and_is_warned_of(tiny, folder, tmp_path):
    facts, frames = prepared(tiny, folder, tmp_path, "goes")
    x = np.array(facts["crop"]["boxes"])[:, 0]
    assert facts["crop"]["found"] == "travels" and len(x) == len(frames) == 32 and np.ptp(x) > 60
    thing = (frames.mean(-1) > 145)
    at = [np.nonzero(seen)[1].mean() for seen in thing[8:24]]
    assert np.ptp(at) < 16, "it stays in its place"
    report = json.loads((tmp_path / "preflight.json").read_text())
    assert not report["ok"] and [one["ok"] for one in report["findings"] if one["name"] == "crop"] == [False]


def test_the_steadiest_part_has_the_windows_of_its_frames(tiny, folder, tmp_path):
    facts, frames = prepared(tiny, folder, tmp_path, "goes", moving="segment", segment=12)
    start, end = facts["camera"]["frames"]
    assert len(facts["crop"]["boxes"]) == len(frames) == end - start == len(video.read(tmp_path / "crop.mp4").frames)
    whole, all_of_it = prepared(tiny, folder, tmp_path / "whole", "goes")
    assert whole["crop"]["boxes"][start:end] == facts["crop"]["boxes"]
    assert np.array_equal(all_of_it[start:end], frames)


def test_to_stabilise_and_to_follow_is_one_too_many(tiny, folder, tmp_path):
    with pytest.raises(UserError, match="videos.sheep: crop: subject follows what travels, and prepare.camera"):
        prepared(tiny, folder, tmp_path / "out", "goes", moving="stabilise")
    assert not (tmp_path / "out").exists()
    assert prepared(tiny, folder, tmp_path / "stays", moving="stabilise")[0]["crop"]["found"] == "stays"


def test_each_of_several_clips_has_a_window_of_its_own(tiny, folder, tmp_path):
    facts, _ = prepared(tiny, folder, tmp_path, clips=[{"path": folder / "goes", "crop": ["subject", 72, 72]}])
    assert facts["crop"]["found"] == "stays" and facts["clips"][0]["crop"]["found"] == "travels"
    assert facts["clips"][0]["crop"]["boxes"][0][2:] == [72, 72]
    assert len(video.read(tmp_path / "clips" / "2" / "crop.mp4").frames) == 32
    names = [one["name"] for one in json.loads((tmp_path / "preflight.json").read_text())["findings"]]
    assert "crop" in names and "clip 2: crop" in names
