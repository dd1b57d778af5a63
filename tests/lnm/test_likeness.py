"""A still takes a clip's colours and keeps its content."""

import cv2
import numpy as np
import pytest

from lnm.likeness import match_colours


def picture(mean, deviation, seed, side=40):
    drawn = np.random.default_rng(seed).normal(0, 1, (side, side, 3)) * deviation + mean
    return np.clip(drawn, 0, 255).astype(np.uint8)


def statistics(*pictures):
    lab = np.concatenate([cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3) for p in pictures])
    return lab.mean(0), lab.std(0)


def test_mean_and_deviation_become_the_clip_s():
    clip = np.stack([picture((90, 120, 150), 12, i) for i in range(5)])
    still = match_colours(picture((160, 110, 90), 20, 9), clip)
    for got, wanted in zip(statistics(still), statistics(*clip), strict=True):
        assert got == pytest.approx(wanted, abs=0.5)


def test_what_is_bright_stays_bright():
    ramp = np.repeat(np.linspace(60, 200, 32)[None, :, None], 3, 2).repeat(32, 0).astype(np.uint8)
    still = match_colours(ramp, picture((90, 120, 150), 12, 1)[None])
    light = cv2.cvtColor(still, cv2.COLOR_RGB2GRAY)[5].astype(int)
    assert (np.diff(light) >= 0).all() and light[-1] > light[0]


def test_a_frame_of_the_clip_stays_and_a_plain_still_is_moved_not_stretched():
    clip = picture((90, 120, 150), 12, 1)[None]
    assert np.abs(match_colours(clip[0], clip).astype(int) - clip[0]).max() <= 2
    plain = match_colours(np.full((8, 8, 3), 200, np.uint8), clip)
    assert np.ptp(plain, axis=(0, 1)).max() == 0
    assert statistics(plain)[0] == pytest.approx(statistics(*clip)[0], abs=0.5)
