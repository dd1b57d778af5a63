"""A crop that follows what a clip is about: found, standing where it stays, moving evenly where it travels."""

import cv2
import numpy as np
import pytest

from lnm import camera, subject, video
from lnm.errors import UserError

FPS, WIDE, HIGH = 8, 256, 128


def texture(seed, shape, blur=2.0):
    noise = np.random.default_rng(seed).random((*shape, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), blur)
    return ((blurred - blurred.min()) / np.ptp(blurred) * 255).astype(np.uint8)


def clip(places, pan=0.0):
    """Frames (F, HIGH, WIDE, 3) of a meadow with a bright speckled disc of 16 pixels at places (F, 2), x and y of its
    middle; the camera pans by so many pixels a frame."""
    ground, thing = texture(0, (HIGH, WIDE + 200)) // 3 + 40, texture(1, (33, 33), 1.0) // 3 + 170
    disc = np.hypot(*np.mgrid[-16:17, -16:17]) <= 16
    frames = []
    for t, (x, y) in enumerate(np.asarray(places, float)):
        shift = np.float32([[1, 0, -pan * t], [0, 1, 0]])
        frame = cv2.warpAffine(ground, shift, (WIDE, HIGH), flags=cv2.INTER_CUBIC)
        here = np.float32([[1, 0, x - 16], [0, 1, y - 16]])
        picture = cv2.warpAffine(thing, here, (WIDE, HIGH), flags=cv2.INTER_LINEAR)
        share = cv2.warpAffine(disc.astype(np.float32), here, (WIDE, HIGH))[..., None]
        frames.append((picture * share + frame * (1 - share)).astype(np.uint8))
    return np.stack(frames)


def straight(count, start, end, y=64.0):
    return np.c_[np.linspace(start, end, count), np.full(count, y)]


def bobbing(count=24, x=60.0):
    return np.c_[np.full(count, x), 64 + 10 * np.sin(np.arange(count))]


@pytest.fixture
def written(tmp_path):
    def write(frames, name="clip"):
        video.write_frames(tmp_path / name, frames)
        return tmp_path / name
    return write


def test_what_is_unlike_the_rest_of_a_picture_stands_out():
    stripes = np.tile(((np.arange(64) % 8 < 4) * 120 + 60).astype(np.uint8), (36, 1))
    stripes[20:26, 40:46] = texture(3, (6, 6), 0.5)[..., 0]
    seen = subject.saliency(stripes)
    y, x = np.unravel_index(seen.argmax(), seen.shape)
    assert seen.sum() == pytest.approx(1, abs=1e-4) and abs(y - 23) <= 3 and abs(x - 43) <= 3


def test_what_moves_is_told_from_what_the_camera_moves():
    frames = clip(straight(12, 60, 93), pan=2.0)
    own = subject.motion(frames, camera.path(frames))
    y, x = np.mgrid[:HIGH, :WIDE]
    for t in (3, 8):
        inside = np.hypot(x - (60 + 3 * t), y - 64) < 10
        outside = (np.hypot(x - (60 + 3 * t), y - 64) > 40) & (x > 12) & (x < WIDE - 12)
        assert np.median(own[t][outside]) < 0.2 and np.median(own[t][inside]) > 3.5  # the camera's 2 and its own 3


def test_a_window_stands_about_a_subject_that_stays():
    window = subject.follow(clip(bobbing()), FPS, 128, 128)
    assert window.found == "stays" and window.boxes.shape == (1, 4) and window.speed == 0
    assert abs(window.boxes[0, 0] + 64 - 64) < 16, "its middle is the subject's, or as near as the border lets it"
    assert window.held > 1.2 * window.centre and window.held > 0.6
    assert window.finding()["ok"] and "The subject stays: crop [" in window.finding()["say"]


def test_a_window_follows_a_subject_that_travels_without_its_jitter_and_says_that_it_pans():
    way = straight(32, 40, 216)
    shaken = way + np.random.default_rng(0).normal(0, 3, way.shape)
    window = subject.follow(clip(shaken), FPS, 96, 96)
    assert window.found == "travels" and window.boxes.shape == (32, 4)
    x, y, w, h = window.boxes.T
    assert (x >= 0).all() and (x + w <= WIDE).all() and (y >= 0).all() and (y + h <= HIGH).all()
    middle = slice(6, 26)  # where the border does not hold it
    assert np.abs(x + 48 - way[:, 0])[middle].max() < 14
    assert np.abs(np.diff(x, 2)).max() < 0.05 * np.abs(np.diff(shaken[:, 0], 2)).max()
    pace = (216 - 40) / 31 * FPS / 96 * 100
    assert window.speed == pytest.approx(pace, rel=0.5)
    found = window.finding()
    assert not found["ok"] and "learn as a camera that pans" in found["say"]


@pytest.mark.parametrize("frames", [clip(bobbing(x=128.0)), np.full((6, HIGH, WIDE, 3), 120, np.uint8)],
                         ids=["in the centre", "nowhere"])
def test_the_centre_is_taken_where_no_other_window_holds_more(frames):
    window = subject.follow(frames, FPS, 128, 128)
    assert window.found == "centre" and window.boxes.tolist() == [[64, 0, 128, 128]]
    assert window.held == window.centre and window.finding()["ok"]


def test_a_smoothed_path_keeps_an_even_pace_to_its_ends_and_loses_its_jitter():
    even = np.arange(20.0)[:, None] * [3, -2]
    assert np.allclose(subject._smooth(even, 4.0, "odd"), even)
    jitter = even + np.where(np.arange(20) % 2, 2, -2)[:, None]
    assert np.abs(np.diff(subject._smooth(jitter, 4.0, "odd"), 2, axis=0)).max() < 0.1


def test_no_path_goes_over_a_cut():
    frames = np.concatenate([clip(straight(16, 40, 45)), 255 - clip(straight(16, 216, 211))[:, ::-1]])
    window = subject.follow(frames, FPS, 96, 96)
    assert camera.path(frames).cuts == [16] and window.found == "travels"
    x = window.boxes[:, 0]
    assert np.abs(np.diff(x[:16])).max() < 4 and np.abs(np.diff(x[16:])).max() < 4 and x[16] - x[15] > 80
    assert window.speed < 40, "the jump at the cut is none"


def test_a_standing_window_is_a_crop_like_any_other(written):
    path = written(clip(bobbing()))
    window = subject.find(path, FPS, 64, "subject")
    box = window.boxes[0].astype(int).tolist()
    assert window.found == "stays" and box[2:] == [128, 128] and window.record()["boxes"] == [box]
    assert np.array_equal(subject.read(path, FPS, 64, window).frames, video.read(path, FPS, 64, box).frames)
    assert subject.find(path, FPS, 64, [0, 0, 64, 64]) is None and subject.find(path, FPS, 64, None) is None


def test_a_window_of_a_size_of_one_s_own_and_of_another_shape(written):
    path = written(clip(bobbing()))
    x, y, w, h = subject.find(path, FPS, (96, 48), ["subject", 96, 48]).boxes[0]
    assert (w, h) == (96, 48) and abs(x + 48 - 60) < 16 and abs(y + 24 - 64) < 12
    with pytest.raises(UserError, match="is not square and would be distorted"):
        subject.find(path, FPS, 64, ["subject", 96, 48])
    with pytest.raises(UserError, match="crop: centre: give x, y, width, height, or subject"):
        subject.find(path, FPS, 64, "centre")
    with pytest.raises(UserError, match="does not lie inside the picture, which is 256 x 128"):
        subject.find(path, FPS, 64, ["subject", 200, 200])


def test_a_window_is_in_pixels_of_the_source(written):
    frames = np.stack([cv2.resize(f, (1024, 512), interpolation=cv2.INTER_CUBIC) for f in clip(bobbing(16, 180.0))])
    window = subject.find(written(frames), FPS, 64, ["subject", 384, 384])
    assert window.source == (1024, 512) and np.abs(window.boxes[0, :2] + 192 - [720, 256]).max() < 50


def bright(frames):
    """Where the disc is, (F, 2): the mean place of what is bright."""
    seen = (frames.mean(-1) > 150).astype(float)
    y, x = np.mgrid[:seen.shape[1], :seen.shape[2]]
    return np.stack([(seen * x).sum((1, 2)), (seen * y).sum((1, 2))], axis=1) / seen.sum((1, 2))[:, None]


def test_a_travelling_subject_stays_in_its_place_and_its_ground_moves_evenly(written):
    path = written(clip(straight(32, 70, 186)))
    window = subject.find(path, FPS, 64, ["subject", 96, 96])
    film = subject.read(path, FPS, 64, window)
    assert window.found == "travels" and film.frames.shape == (32, 64, 64, 3)
    at = bright(film.frames)
    assert np.ptp(at[:, 0]) < 20 and np.ptp(bright(video.read(path, FPS, (128, 64)).frames)[:, 0]) > 50
    whole = video.read(path, FPS).frames
    errors = np.array([[np.abs(frame - cut(picture, place)).mean() for place in (box[:2], box[:2].round())]
                       for frame, picture, box in zip(film.frames, whole, window.boxes, strict=True)])
    errors = errors[np.abs(window.boxes[:, 0] % 1 - 0.5) < 0.2]
    assert len(errors) > 5 and (errors[:, 0] < 0.5 * errors[:, 1]).all(), "it lies between pixels: a pan without steps"


def cut(frame, corner):
    """The 96 x 96 pixels at corner, x and y, at 64 x 64, by another way than the library's."""
    soft = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 0.5)
    there = np.array([[1.5, 0, corner[0] + 0.25], [0, 1.5, corner[1] + 0.25]])  # of pixels' centres
    return cv2.warpAffine(soft, there, (64, 64), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def test_the_window_is_drawn_on_the_whole_picture(written):
    path = written(clip(straight(32, 70, 186)))
    window = subject.find(path, FPS, 64, ["subject", 96, 96])
    drawn, whole = subject.drawn(path, FPS, window), video.read(path, FPS).frames
    assert drawn.shape == whole.shape
    for t in (0, 31):
        x, y, w, h = window.boxes[t].round().astype(int)
        inner = np.s_[y + 3:y + h - 3, x + 3:x + w - 3]
        assert np.array_equal(drawn[t][inner], whole[t][inner]) and tuple(drawn[t][y, x]) == (255, 208, 0)
    far = np.s_[:, :20] if window.boxes[31, 0] > 30 else np.s_[:, -20:]
    assert drawn[31][far].mean() < 0.5 * whole[31][far].mean()
