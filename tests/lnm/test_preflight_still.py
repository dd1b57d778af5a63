"""How a still lies beside a clip: colours, layout and strength of edges, horizon, each on pictures drawn for it."""

import json

import numpy as np
import pytest

from lnm import preflight
from lnm.demo import scenes

PLAIN = np.full((64, 64, 3), 90, np.uint8)


def sea(row, height=128, width=128, top=(150, 190, 230), below=(30, 60, 90), seed=0):
    """Sky above, sea from `row` on, both with the noise of a camera."""
    picture = np.empty((height, width, 3))
    picture[:row], picture[row:] = top, below
    return np.clip(picture + np.random.default_rng(seed).normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def discs(shift=0, height=128, width=128, dark=40, bright=200):
    """Three bright discs on a dark ground, `shift` pixels to the right."""
    y, x = np.mgrid[:height, :width]
    at = [(30, 25, 14), (60, 60, 18), (100, 30, 12)]
    inside = np.any([(x - cx - shift) ** 2 + (y - cy) ** 2 < r * r for cy, cx, r in at], axis=0)
    return np.where(inside[..., None], bright, dark).repeat(3, -1).astype(np.uint8)


def row_of(picture):
    return preflight.horizon(preflight.lightness(picture))


@pytest.mark.parametrize("share", [0.125, 0.25, 0.5, 0.8125])
def test_a_horizon_is_found_where_it_was_drawn(share):
    assert row_of(sea(round(128 * share))) == pytest.approx(share, abs=1 / 64)
    assert row_of(sea(round(720 * share), 720, 300)) == pytest.approx(share, abs=1 / 64)
    assert row_of(sea(64, top=(30, 30, 30), below=(180, 180, 180))) == 0.5, "bright below is one too"


def test_three_quarters_of_the_width_make_a_horizon_and_half_does_not():
    picture = sea(48)
    picture[:, :24] = 120  # a mast, a cliff
    assert row_of(picture) == pytest.approx(48 / 128, abs=1 / 64)
    picture[:, :64] = 120
    assert row_of(picture) is None


def test_the_strongest_of_two_boundaries_is_the_horizon():
    picture = sea(40).astype(int)
    picture[90:] += 15
    assert row_of(picture.astype(np.uint8)) == pytest.approx(40 / 128, abs=1 / 64)


@pytest.mark.parametrize("picture", [
    PLAIN, sea(64, top=(90, 90, 90), below=(95, 95, 95)), sea(64).swapaxes(0, 1),
    np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8),
    np.linspace(0, 255, 128)[:, None, None].repeat(128, 1).repeat(3, 2).astype(np.uint8)],
    ids=["flat", "faint", "a wall", "noise", "a gradient, in which no row is one"])
def test_a_picture_without_a_boundary_has_no_horizon(picture):
    assert row_of(picture) is None


def test_a_clip_has_the_horizon_that_most_of_its_frames_have():
    steady = np.stack([sea(64, seed=k) for k in range(8)])
    assert preflight.alignment(steady, sea(64))["clip_horizon"] == 0.5
    steady[:3] = sea(16)
    assert preflight.alignment(steady, sea(64))["clip_horizon"] == 0.5
    swaying = np.stack([sea(row) for row in (16, 40, 64, 88, 112, 16, 40, 112)])
    found = preflight.alignment(swaying, sea(64))
    assert (found["clip_horizon"], found["horizon"], found["still_horizon"]) == (None, None, 0.5)


def test_the_horizons_difference_is_a_share_of_the_height():
    clip = np.stack([sea(40, seed=k) for k in range(4)])
    assert preflight.alignment(clip, sea(100))["horizon"] == pytest.approx(60 / 128, abs=1 / 64)
    assert preflight.alignment(clip, sea(240, 768, 400))["horizon"] == pytest.approx(0, abs=1 / 64), "of any size"


def test_other_colours_in_the_same_places_are_the_same_layout():
    clip = discs()[None].repeat(6, 0)
    other = discs(dark=90, bright=140) * np.array([1, 0.5, 0.3])
    found = preflight.alignment(clip, other.astype(np.uint8))
    assert found["layout"] < 0.01 and found["colour"] > preflight.STILL


def test_the_same_colours_in_other_places_are_another_layout():
    clip = discs()[None].repeat(6, 0)
    near, far = (preflight.alignment(clip, discs(shift))["layout"] for shift in (4, 60))
    assert 0 < near < 0.15 < 0.5 < far <= 1
    assert preflight.alignment(clip, discs())["layout"] == 0
    lying = sea(64)[None].repeat(6, 0)
    assert preflight.alignment(lying, sea(64).swapaxes(0, 1))["layout"] > 0.5, "directions count"


def test_the_nearest_frame_is_what_a_layout_is_held_against():
    clip = np.stack([discs(shift) for shift in (60, 40, 20, 0)])
    assert preflight.alignment(clip, discs(20))["layout"] == 0


def test_edges_are_so_many_times_as_strong():
    clip = sea(64, top=(120, 120, 120), below=(100, 100, 100))[None].repeat(4, 0)
    assert preflight.alignment(clip, clip[0])["edges"] == 1
    strong, weak = (discs(dark=128 - by, bright=128 + by) for by in (60, 20))
    assert preflight.alignment(weak[None], strong)["edges"] == pytest.approx(3, rel=0.15)
    assert preflight.alignment(strong[None], weak)["edges"] == pytest.approx(1 / 3, rel=0.15)


def test_a_plain_picture_has_neither_layout_nor_edges():
    for frames, still in ((PLAIN[None], discs()), (discs()[None], PLAIN), (PLAIN[None], PLAIN)):
        found = preflight.alignment(frames, still)
        assert found["layout"] is None and found["edges"] is None and found["horizon"] is None
        assert preflight.check(frames, 8, still)["findings"][-1]["say"].count("edges") == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (3, 5), (2000, 40)])
def test_pictures_of_extreme_sizes_are_measured(shape):
    still = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = preflight.alignment(still[None].repeat(5, 0), still)
    assert found["colour"] == 0 and found["layout"] in (0, None) and found["edges"] in (1, None)
    assert (found["layout"] is None) == (max(shape) == 1)


def said(frames, still):
    found = preflight.check(frames, 8, still)["findings"][-1]
    assert json.loads(json.dumps(found)) == found and found["say"].endswith(".") and "\n" not in found["say"]
    assert found["value"] == found["alignment"]["colour"] and found["ok"] == (found["value"] <= preflight.STILL)
    return found["say"]


def test_the_finding_says_all_four_and_what_to_do():
    clip = np.stack([sea(40, seed=k) for k in range(8)])
    assert said(clip, clip[0]) == ("The still looks like the clip (colour difference 0.0, usual is below 12.5; layout "
                                   "of edges 0 % apart; edges 1.0 times as strong; horizon 31 % from the top, the "
                                   "clip's 31 %).")
    other = said(clip, sea(96, top=(250, 120, 30), below=(0, 0, 0), seed=9))
    assert other.startswith("The still does not look like the clip (colour difference ")
    assert "horizon 75 % from the top, the clip's 31 %): its motion may not fit; give a still of a like scene;" in other
    assert other.endswith("; cut it so that the two horizons lie alike.")
    assert "a horizon in the clip alone" in said(clip, discs())
    assert "a horizon in the still alone" in said(discs()[None].repeat(8, 0), clip[0])
    assert "no horizon in either" in said(discs()[None], discs())


def test_the_finding_says_which_way_edges_part_the_film_from_the_clip():
    strong, weak = discs(dark=108, bright=148), discs(dark=118, bright=138)
    assert "edges 2.0 times as strong; no horizon in either): its film is likely to change more than the clip does, " \
           "and match_colours brings that nearer." in said(weak[None], strong)
    assert "edges 0.51 times as strong; no horizon in either): its film is likely to change less" in said(strong[None],
                                                                                                         weak)
    assert "film" not in said(weak[None], discs(dark=117, bright=139))


def test_the_threshold_parts_the_built_in_clips_from_each_other_s_stills():
    clips = {name: scenes.render_clip(name, 32) for name in ("ocean", "clouds")}
    for name, frames in clips.items():
        for other, stills in clips.items():
            apart = preflight.still_distance(frames[:24], stills[24])
            assert apart < preflight.STILL / 2 if name == other else apart > 2 * preflight.STILL
