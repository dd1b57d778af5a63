"""Nearest-neighbour fields of films whose origin is known."""

import numpy as np
import pytest
from textures import noise, texture, translated

from eval.metrics.patches import STRIDE, Patches, reduced
from lnm.errors import UserError


@pytest.fixture(scope="module")
def clip():
    """24 frames of 48 x 48, each a different view of one picture."""
    picture = texture(size=128)
    rng = np.random.default_rng(0)
    return np.stack([picture[y:y + 48, x:x + 48] for y, x in np.cumsum(rng.integers(0, 4, (24, 2)), 0)])


def test_a_copy_is_found_whole_and_its_field_is_constant(clip):
    field = Patches(clip).field(clip[7:15])
    assert field.distance == 0
    assert (field.offsets == [7, 0, 0]).all() and field.offsets.shape == (6, 23, 23, 3)
    assert field.diversity < 0.01


def test_a_copy_moved_in_space_is_found_too_though_no_frame_is_the_same(clip):
    film = np.roll(clip[5:13], 6, axis=2)
    field = Patches(clip).field(film)
    inner = field.offsets[:, :, 4:]  # past the seam that rolling makes
    assert (inner == [5, 0, -6]).all(-1).mean() > 0.95
    assert field.distances[:, :, 4:].mean() < 1e-5


def test_new_pictures_are_far_and_their_field_is_a_jumble(clip):
    patches = Patches(clip)
    new, copied = patches.field(noise(8)[:, :48, :48]), patches.field(clip[7:15])
    assert new.distance > 0.001 and new.diversity > 20 * copied.diversity


def test_distances_are_those_of_the_places_found_and_near_the_exact_ones(clip):
    film = noise(4, seed=9)[:, :48, :48]
    field = Patches(clip).field(film)
    where = np.stack(np.meshgrid(*map(np.arange, field.distances.shape), indexing="ij"), -1) * [1, STRIDE, STRIDE]
    windows = np.lib.stride_tricks.sliding_window_view
    ours, theirs = (windows(frames.astype(float) / 255, (3, 3, 3), axis=(0, 1, 2)) for frames in (film, clip))
    exact, found = [], []
    for place in np.random.default_rng(1).permutation(where.reshape(-1, 3))[:40]:
        patch = ours[tuple(place)]
        at = place // [1, STRIDE, STRIDE]
        there = place + field.offsets[tuple(at)]
        distance = np.square(theirs[tuple(there)] - patch).mean()
        assert field.distances[tuple(at)] == pytest.approx(distance, rel=1e-4)
        found.append(distance)
        exact.append(np.square(theirs - patch).mean(axis=(3, 4, 5, 6)).min())
    assert np.mean(exact) <= np.mean(found) < 1.6 * np.mean(exact)


def test_large_frames_are_reduced_and_the_same_seed_gives_the_same_field(clip):
    assert reduced(np.zeros((2, 96, 192, 3), np.uint8)).shape == (2, 64, 128, 3)
    assert reduced(clip) is clip
    patches, film = Patches(clip), noise(3)[:, :48, :48]
    np.testing.assert_array_equal(patches.field(film, 3).offsets, patches.field(film, 3).offsets)


def test_what_is_too_short_or_of_another_size_is_said(clip):
    with pytest.raises(UserError, match="the film has 2 of 48x48"):
        Patches(clip).field(clip[:2])
    with pytest.raises(UserError, match="the training clip has 1 of"):
        Patches(clip[:1])
    with pytest.raises(UserError, match="at one size"):
        Patches(clip).field(translated())
