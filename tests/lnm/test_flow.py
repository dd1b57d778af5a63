"""A still carried along by a clip's flow."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from textures import SIZE, texture, translated

from lnm.errors import UserError
from lnm.flow import (
    FADE,
    MOST_GAIN,
    PERIOD,
    backward_flow,
    carried,
    gain,
    nearest_frames,
    played,
    same_place,
    starts,
)

INSIDE = np.s_[12:-12, 12:-12]


def constant(x, frames):
    return np.broadcast_to(np.float32([x, 0]), (frames, SIZE, SIZE, 2))


def test_flow_points_back_to_where_a_pixel_was():
    clip = translated(step=2, count=4)
    flow = backward_flow(clip)
    assert flow.shape == (3, SIZE, SIZE, 2) and flow.dtype == np.float32
    gaps = [np.abs(np.roll(clip[0], x, axis=1)[INSIDE].astype(float) - clip[1][INSIDE]).mean() for x in (2, -2)]
    assert np.median(flow[0][INSIDE][..., 0]) == pytest.approx(-2 if gaps[0] < gaps[1] else 2, abs=0.3)
    assert abs(np.median(flow[0][INSIDE][..., 1])) < 0.3


def test_a_still_is_carried_a_step_further_each_frame_and_does_not_blur():
    still = texture(size=SIZE)
    film = list(carried(still, constant(-3, 5)))
    assert len(film) == 6
    for t, frame in enumerate(film):
        np.testing.assert_array_equal(frame[:, 3 * t:], still[:, :SIZE - 3 * t] if t else still)
    assert (film[1][:, :3] == still[:, 2::-1][:, :3]).mean() > 0.3, "what enters is mirrored"


def test_what_enters_from_outside_is_of_the_frames_that_are_given():
    still, frames = texture(size=SIZE), np.stack([texture(size=SIZE, seed=k) for k in range(1, 13)])
    film = list(carried(still, constant(-3, 11), frames))
    np.testing.assert_array_equal(film[0], still, "nothing of the first frame")
    for t in range(1, 12):
        np.testing.assert_array_equal(film[t][:, 3 * t:], still[:, :SIZE - 3 * t], "what is of the still stays its own")
    seen, own = (x[:, :16].astype(float) for x in (film[11], frames[11]))
    assert np.abs(seen - own).mean() < 1, "four deviations of TINT away as it is"
    seen, own = (x[:, 22:31].astype(float) for x in (film[11], frames[11]))
    details = [x - gaussian_filter(x, (2, 2, 0)) for x in (seen, own)]
    assert np.corrcoef(*(x.ravel() for x in details))[0, 1] > 0.9, "beside the still the colour is moved, no detail"


def test_what_enters_takes_on_the_still_s_colour_beside_it():
    still, brighter = np.full((SIZE, SIZE, 3), 100, np.uint8), np.full((13, SIZE, SIZE, 3), 160, np.uint8)
    row = list(carried(still, constant(-3, 12), brighter))[12][SIZE // 2, :, 0].astype(int)
    assert (row[36:] == 100).all() and row[0] == 160 and (np.diff(row) <= 0).all(), "from the one to the other"
    assert 100 < row[33] < 125 and -np.diff(row).min() < 15, "and without an edge"


def test_in_a_long_film_nothing_enters_a_still_that_is_taken_up_again():
    still, frames = texture(size=SIZE), np.zeros((PERIOD + FADE + 1, SIZE, SIZE, 3), np.uint8)
    film = list(carried(still, constant(-2, PERIOD + FADE), frames))
    assert film[PERIOD - 1][:, :10].max() < 10 and still[:, :10].mean() > 50, "black has come in"
    np.testing.assert_array_equal(film[PERIOD + FADE][:, 2 * FADE:], still[:, :SIZE - 2 * FADE])


def test_a_still_of_the_clip_s_place_is_told_from_one_of_another():
    rng = np.random.default_rng(0)
    scene, other = texture(size=SIZE).astype(float), texture(size=SIZE, seed=5)
    clip = np.clip(scene + 12 * rng.standard_normal((40, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    again = np.clip(scene + 12 * rng.standard_normal(scene.shape), 0, 255).astype(np.uint8)
    assert same_place(again, clip) and same_place(clip[7], clip) and same_place(again, clip[:3])
    assert not same_place(other, clip) and not same_place(again[:, ::-1], clip)
    wilder = np.clip(scene + 12 * 1.8 * rng.standard_normal(scene.shape), 0, 255).astype(np.uint8)
    assert not same_place(wilder, clip), "further than the clip's frames from one another"


def test_a_still_that_is_carried_by_half_a_pixel_keeps_its_detail():
    noise = np.random.default_rng(0).normal(0, 1, (SIZE, SIZE, 3))
    fine = gaussian_filter(noise, (0.7, 0.7, 0))  # details of two pixels, which a bilinear kernel would take
    still = np.clip(128 + 60 * fine / fine.std(), 0, 255).astype(np.uint8)
    moved = list(carried(still, constant(-0.5, 1)))[1]
    steps = [np.abs(np.diff(picture[INSIDE].astype(float), axis=1)).mean() for picture in (still, moved)]
    assert steps[1] > 0.9 * steps[0]


def test_the_clip_s_own_frames_come_back_when_its_first_is_carried_by_its_flow():
    clip = translated(step=2, count=6)
    film = list(carried(clip[0], *played(clip[0], clip, 6)))
    for ours, real in zip(film, clip):
        error = np.abs(ours[INSIDE].astype(float) - real[INSIDE]).mean()
        assert error <= 0.35 * np.abs(clip[0][INSIDE].astype(float) - real[INSIDE]).mean()


def test_the_flow_is_played_from_the_frame_that_is_nearest_to_the_still():
    clip = np.concatenate([translated(step=0, count=5)[:, ::-1], translated(step=2, count=8)])
    whole = backward_flow(clip)
    second = nearest_frames(clip[6], clip[:10])[1]
    for k, start in enumerate((6, second)):
        want = whole[start:start + 3]
        flow, frames = played(clip[6], clip, 4, k=k)
        np.testing.assert_array_equal(flow, want * gain(clip[start], want))
        np.testing.assert_array_equal(frames, clip[start:start + 4])
    np.testing.assert_array_equal(played(clip[6], clip, 4, k=10)[0], played(clip[6], clip, 4)[0], "the first again")
    assert played(0 * clip[6], clip, 4)[1] is None, "of another place nothing enters"


def test_no_flash_is_played_where_the_clip_has_a_part_without():
    clip = translated(step=1, count=14)
    np.testing.assert_array_equal(starts(clip[4], clip, 4), nearest_frames(clip[4], clip[:11]), "nothing unusual")
    flashed = clip.copy()
    flashed[6] = 255 - flashed[6] // 4
    order = starts(clip[4], flashed, 4).tolist()
    touched = [3, 4, 5, 6]  # from which three steps go to the flash or away from it
    assert sorted(order[-4:]) == touched and order[-4] == 4 and order[0] in (2, 7)
    assert played(clip[4], flashed, 4)[0].max() < 3 and sorted(order) == list(range(11))


def test_a_film_of_one_frame_needs_no_flow():
    clip = translated(step=2, count=4)
    flow, frames = played(clip[3], clip, 1)
    assert flow.shape == (0, SIZE, SIZE, 2) and frames.shape == (1, SIZE, SIZE, 3)
    np.testing.assert_array_equal(list(carried(clip[3], flow, frames)), clip[3:])


def test_of_a_short_clip_the_flow_is_played_again():
    clip = translated(step=2, count=4)
    once = backward_flow(clip)
    flow, frames = played(clip[0], clip, 9)
    np.testing.assert_array_equal(flow, np.concatenate([once] * 3)[:8] * gain(clip[0], once))
    np.testing.assert_array_equal(frames, clip[[0, 1, 2, 3, 1, 2, 3, 1, 2]], "each the one that its flow leads to")


def speed(flow):
    return np.linalg.norm(flow[:, 12:-12, 12:-12], axis=-1).mean()


def test_flow_is_played_so_much_faster_that_what_it_carries_moves_as_fast_as_the_clip():
    """Stripes that slide past each other: at their borders the estimate is between the two."""
    stripes = [np.roll(texture(size=SIZE, seed=k), step, axis=1) for k, step in ((1, 0), (2, 0))]
    rows = (np.arange(SIZE) // 8 % 2 == 0)[:, None, None]
    clip = np.stack([np.where(rows, np.roll(stripes[0], 2 * t, axis=1), np.roll(stripes[1], -2 * t, axis=1))
                     for t in range(8)]).astype(np.uint8)
    flow = backward_flow(clip)
    plain, faster = (speed(backward_flow(np.stack(list(carried(clip[0], by, anew=False)))))
                     for by in (flow, flow * gain(clip[0], flow)))
    assert plain < 0.97 * speed(flow) and abs(faster - speed(flow)) < abs(plain - speed(flow))
    assert gain(clip[0], 0 * flow) == 1
    assert MOST_GAIN >= gain(np.full_like(clip[0], 128), flow) >= 1 / MOST_GAIN, "a picture without a texture"


def test_in_a_long_film_the_still_is_taken_up_again_and_no_frame_jumps():
    still = texture(size=SIZE)
    flow = constant(-2, 3 * PERIOD)
    film, on = (np.stack(list(carried(still, flow, anew=anew))).astype(float) for anew in (True, False))
    np.testing.assert_array_equal(film[:PERIOD + 1], on[:PERIOD + 1])
    for t in (PERIOD + FADE, 2 * PERIOD + FADE):
        np.testing.assert_array_equal(film[t], on[FADE])
    steps = np.abs(np.diff(film, axis=0)).mean(axis=(1, 2, 3))
    assert steps[PERIOD:PERIOD + FADE].max() < 1.5 * steps[:PERIOD].mean()


def test_what_has_no_flow_is_refused_in_a_line():
    clip = translated(count=3)
    for short in (clip[:1], clip[:, :8]):
        with pytest.raises(UserError, match="needs 2 frames of 16 pixels a side, got .* set begin to noise"):
            played(clip[0], short, 4)
