"""Preflight tells a still camera from a moving one, whatever moves in the picture, and finds cuts."""

import json

import numpy as np
import pytest

from lnm import preflight
from lnm.demo import scenes
from lnm.settings import Finetune

FPS = 8


def finding(report, name):
    return next(f for f in report["findings"] if f["name"] == name)


@pytest.fixture(scope="module")
def ocean():
    return scenes.render_clip("ocean", 32)


@pytest.fixture(scope="module")
def clouds():
    return scenes.render_clip("clouds", 32)


@pytest.fixture(scope="module")
def pan():
    """A camera that moves 1 pixel a frame, 6 % of the width a second, over a still picture with texture."""
    import cv2

    noise = np.random.default_rng(0).random((140, 200)).astype(np.float32)
    wide = cv2.GaussianBlur(noise, (0, 0), 2)
    wide = ((wide - wide.min()) / np.ptp(wide) * 255).astype(np.uint8)
    return np.stack([np.repeat(wide[:128, i:i + 128, None], 3, -1) for i in range(32)])


def test_built_in_clips_pass_every_check(ocean, clouds):
    for frames in (ocean, clouds):
        report = preflight.check(frames, FPS, still=frames[-1])
        assert report["ok"], preflight.as_text(report)
        assert [f["name"] for f in report["findings"]] == ["length", "motion", "cuts", "camera", "still"]


def test_clouds_crossing_the_whole_picture_are_not_a_pan(clouds):
    assert preflight.camera_speed(clouds, FPS) < preflight.CAMERA


def test_camera_speed_is_measured_in_width_a_second(pan):
    assert preflight.camera_speed(pan, FPS) == pytest.approx(100 * FPS / 128, rel=0.05)
    assert preflight.camera_speed(pan.repeat(2, 1).repeat(2, 2), FPS) == pytest.approx(100 * FPS / 128, rel=0.05)


def test_a_pan_is_said_to_be_one_even_if_it_is_a_part_of_the_clip(pan):
    report = preflight.check(np.concatenate([pan[:1].repeat(40, 0), pan]), FPS)
    assert not finding(report, "camera")["ok"] and "camera" in finding(report, "camera")["say"]
    assert finding(report, "cuts")["ok"], "a pan is not a cut"


def test_a_spliced_clip_has_a_cut_where_it_was_spliced(ocean, clouds):
    report = preflight.check(np.concatenate([ocean[:20], clouds[:20]]), FPS)
    assert finding(report, "cuts")["value"] == [20]
    assert "2.5 s" in finding(report, "cuts")["say"]
    assert finding(report, "camera")["ok"], "a cut is not a camera move"


def test_a_splice_within_one_scene_is_found_too(ocean):
    far = scenes.render(scenes.draw("ocean", scenes.CLIPS["ocean"]["seed"]), 11 + np.arange(12) / FPS)
    assert preflight.cuts(np.concatenate([ocean[:20], far])) == [20]


def test_a_still_of_another_kind_of_scene_is_noticed(ocean, clouds):
    assert not finding(preflight.check(ocean, FPS, still=clouds[0]), "still")["ok"]
    assert finding(preflight.check(ocean[:24], FPS, still=ocean[-1][:96, :96]), "still")["ok"]


def test_a_frozen_picture_has_no_motion(ocean):
    frozen = ocean[:1].repeat(30, 0)
    assert not finding(preflight.check(frozen, FPS), "motion")["ok"]


def test_short_and_plain_clips_are_reported_not_raised():
    report = preflight.check(np.zeros((1, 16, 16, 3), np.uint8), FPS)
    assert not finding(report, "length")["ok"]
    assert finding(report, "camera")["value"] is None


def test_the_report_is_json_and_every_finding_is_one_sentence(ocean):
    report = preflight.check(ocean, FPS, still=ocean[0])
    assert json.loads(json.dumps(report)) == report
    assert all(f["say"].endswith(".") and "\n" not in f["say"] for f in report["findings"])


def test_forecast_counts_what_a_finetune_holds_and_does():
    said = preflight.forecast(Finetune(steps=600, frames=5, batch_size=2), 120, (4, 16, 16), "cpu")
    assert said["latents_mb"] == pytest.approx(120 * 4 * 16 * 16 * 4 / 1e6, abs=1e-3)
    assert said["frame_passes"] == 6000 and said["passes_per_frame"] == 50


def test_a_jump_to_another_view_is_a_cut_and_not_a_camera_move(pan):
    report = preflight.check(np.concatenate([pan[:1].repeat(20, 0), pan[12:13].repeat(20, 0)]), FPS)
    assert finding(report, "cuts")["value"] == [20] and finding(report, "camera")["value"] == 0


def test_a_picture_need_not_be_square(pan, ocean):
    assert preflight.camera_speed(pan[:, 20:100], FPS) == pytest.approx(100 * FPS / 128, rel=0.05)
    report = preflight.check(ocean[:, 16:112], FPS, still=ocean[-1, 16:112])
    assert report["ok"], preflight.as_text(report)


@pytest.mark.parametrize("shape", [(1, 900), (900, 1)])
def test_a_strip_is_said_to_have_too_little_texture(shape):
    strip = np.random.default_rng(0).integers(0, 256, (20, *shape, 3), dtype=np.uint8)
    assert "Too little texture" in finding(preflight.check(strip, FPS), "camera")["say"]


def test_wild_motion_throughout_is_not_a_cut():
    blobs = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    assert preflight.cuts(blobs) == []
