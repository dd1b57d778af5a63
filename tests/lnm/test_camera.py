"""The camera's path is what the clip was made with; cuts, the steadiest part and the stabilised clip follow from it."""

import cv2
import numpy as np
import pytest

from lnm import camera
from lnm.errors import UserError

SIDE = 128
CENTRE = (SIDE - 1) / 2


@pytest.fixture(scope="module")
def wide():
    """A still picture with texture in colour, 400 x 400."""
    noise = np.random.default_rng(0).random((400, 400, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 2)
    return ((blurred - blurred.min()) / np.ptp(blurred) * 255).astype(np.uint8)


def look(wide, shifts, turns=None, zooms=None):
    """Frames in which the picture lies `shifts` pixels (F, 2) beside its middle, turned about the frame's centre by
    degrees and zoomed."""
    frames = []
    for i, (x, y) in enumerate(shifts):
        angle, zoom = np.radians(turns[i] if turns is not None else 0), zooms[i] if zooms is not None else 1
        c, s = zoom * np.cos(angle), zoom * np.sin(angle)
        turn = np.array([[c, -s], [s, c]])
        offset = np.array([CENTRE + x, CENTRE + y]) - turn @ np.array([199.5, 199.5])
        frames.append(cv2.warpAffine(wide, np.c_[turn, offset], (SIDE, SIDE), flags=cv2.INTER_CUBIC))
    return np.stack(frames)


def line(count, x, y=0.0):
    return np.arange(count)[:, None] * np.array([x, y])


def change(frames):
    return np.abs(np.diff(frames.astype(float), axis=0)).mean()


def test_a_pan_is_measured_to_a_third_of_a_pixel(wide):
    asked = line(24, 1.7, -0.6)
    way = camera.path(look(wide, asked))
    assert np.abs(way.shift - asked).max() < 0.3
    assert np.abs(way.rotation).max() < 0.1 and np.abs(way.zoom - 1).max() < 0.003 and way.cuts == []
    assert way.inliers.min() > 0.6


def test_rotation_and_zoom_are_measured(wide):
    turns, zooms = np.linspace(0, 9, 20), np.linspace(1, 1.15, 20)
    way = camera.path(look(wide, line(20, 0.5), turns, zooms))
    assert np.abs(way.shift - line(20, 0.5)).max() < 0.3
    assert np.abs(way.rotation - turns).max() < 0.2 and np.abs(way.zoom - zooms).max() < 0.004


def test_a_path_is_in_pixels_of_the_frames_given(wide):
    frames = look(wide, line(12, 1.5))
    big = np.stack([cv2.resize(f, (512, 512), interpolation=cv2.INTER_CUBIC) for f in frames])
    assert np.abs(camera.path(big).shift - line(12, 6.0)).max() < 1.2  # 0.3 of the small frames' pixels


def test_a_camera_stands_still_where_a_part_of_the_picture_does(wide):
    moving, still = look(wide, line(16, 2.0)), look(wide, line(16, 0.0))
    frames = moving.copy()
    frames[:, 90:] = still[:, 90:]
    assert np.abs(camera.path(frames).shift).max() < 0.3


def test_a_cut_is_found_at_its_frame_and_the_path_begins_anew(wide):
    other = (255 - wide[::-1]) // 2
    way = camera.path(np.concatenate([look(wide, line(15, 1.0)), look(other, line(13, -1.0))]))
    assert way.cuts == [15] and way.shots == [(0, 15), (15, 28)]
    assert np.abs(way.shift[15:] - line(13, -1.0)).max() < 0.3


def test_a_cut_needs_both_lost_corners_and_a_jump_of_colours(wide):
    frames = np.concatenate([look(wide, line(8, 0.0)), look(wide // 3 + 150, line(8, 0.0))])
    assert camera._cuts(frames, np.full(15, 0.1)) == [8]
    assert camera._cuts(frames, np.full(15, 0.9)) == []


def test_a_stabilised_pan_is_still_and_shows_what_all_frames_show(wide):
    frames = look(wide, line(20, 1.3, 0.8), np.linspace(0, 3, 20))
    still, share = camera.stabilise(frames, camera.path(frames))
    assert change(still) < 0.2 * change(frames)
    assert share == pytest.approx(still.shape[1] * still.shape[2] / SIDE**2) and 0.5 < share < 0.8
    assert still.min() > 0, "no border is mixed in"


def test_a_stabilised_clip_has_the_shape_asked_for(wide):
    frames = look(wide, line(20, 1.0))
    still, share = camera.stabilise(frames, camera.path(frames), (96, 48))
    assert still.shape[2] == 2 * still.shape[1] and 0.6 < share < 0.8


def test_too_little_picture_and_cuts_are_refused(wide):
    fast = look(wide, line(30, 4.0))
    with pytest.raises(UserError, match=r"stabilised, \d+ % of the picture would remain, and 50 % are needed"):
        camera.stabilise(fast, camera.path(fast))
    spliced = np.concatenate([fast[:8], 255 - fast[8:16] // 2])
    with pytest.raises(UserError, match="has cuts"):
        camera.stabilise(spliced, camera.path(spliced))


def test_the_steadiest_part_is_found_and_grows_while_it_is_still(wide):
    shifts = np.concatenate([line(12, 3.0), np.repeat(line(13, 3.0)[-1:], 20, 0), line(11, 3.0) + [39, 0]])
    way = camera.path(look(wide, shifts))
    start, end = camera.segment(way, 10)
    assert abs(start - 12) <= 1 and abs(end - 32) <= 1
    assert way.wander(start, end) <= camera.STEADY < way.wander(start - 3, end)
    assert camera.segment(way, 44) is None
    moving = camera.segment(way, 30)
    assert moving[1] - moving[0] == 30 and moving[0] <= 12 and moving[1] >= 32


def test_no_segment_crosses_a_cut(wide):
    frames = np.concatenate([look(wide, line(14, 0.0)), 255 - look(wide, line(20, 0.0)) // 2])
    assert camera.segment(camera.path(frames), 16) == (14, 34)


def test_plain_and_single_frames_have_a_path_that_stays():
    way = camera.path(np.zeros((3, 40, 60, 3), np.uint8))
    assert way.inliers.tolist() == [0, 0] and (way.shift == 0).all() and way.wander(0, 3) == 0
    assert camera.path(np.zeros((1, 40, 60, 3), np.uint8)).shots == [(0, 1)]
    assert len(camera.findings(np.zeros((1, 40, 60, 3), np.uint8), 8, 24)) == 2


def test_a_path_that_few_corners_follow_is_told_from_one_that_most_do(wide):
    assert "may be what moves" not in camera.findings(look(wide, line(26, 1.0)), 8, 24)[0]["say"]
    boiling = np.random.default_rng(0).integers(0, 256, (8, 24, 32, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    assert "few: this may be what moves in the picture" in camera.findings(boiling, 8, 4)[0]["say"]


def test_what_is_offered_fits_the_clip(wide):
    def offer(shifts, count=24):
        path, offered = camera.findings(look(wide, shifts), 8, count)
        assert path["ok"] and offered["ok"]
        return offered["say"]

    assert offer(line(26, 0.0)) == "Nothing needs to be mended."
    assert "--camera): stabilise would keep" in offer(line(26, 1.0)) and "segment would take" in offer(line(26, 1.0))
    assert "26 frames), which wander by" not in offer(line(26, 4.0), 26) and "needs all of its frames" in offer(
        line(26, 4.0), 26)
    pan = offer(line(60, 2.0), 30)
    assert "or by these as start and end" not in pan and "stabilise would keep" in pan and "too little" in pan
    assert "cannot be stabilised" in offer(line(30, 4.0)) and "no shot has the 40 frames" in offer(line(30, 4.0), 40)
