"""Measures of public benchmarks on films whose answer is known."""

import numpy as np
import pytest
from textures import noise, texture, translated

from eval.metrics import dynamics
from lnm.errors import UserError


def vbench(speeds, count, shorter):
    """VBench's check_move over the fastest 5% of each pair, as its text defines it."""
    return sum(speed > 6 * shorter / 256 for speed in speeds) >= round(4 * count / 16)


def slides(step, count=16, size=64):
    picture = texture(size=size + 16 + step * count)
    return np.stack([picture[8:8 + size, step * t:step * t + size] for t in range(count)])


def test_the_fastest_twentieth_of_pixels_is_averaged():
    flows = np.zeros((1, 10, 20, 2))  # 200 pixels, of which 10 count
    flows[0, 0, :10, 0], flows[0, 0, :5, 1] = 3, 4  # 5 of length 5, 5 of length 3
    assert dynamics.fastest(flows) == pytest.approx([4])


@pytest.mark.parametrize("step, moves", [(0, 0), (1, 0), (3, 1)])  # the threshold at 64 pixels: 1.5 a step
def test_dynamic_degree_is_vbenchs(step, moves):
    film = slides(step)
    assert dynamics.dynamic_degree(film) == moves
    assert vbench(dynamics.fastest(dynamics.dis(film)), 16, 64) == bool(moves)
    assert dynamics.dynamic_margin(film) == pytest.approx(step / 1.5, abs=0.35)


def test_a_quarter_of_the_pairs_must_move():
    film = slides(3)
    rests = np.concatenate([np.repeat(film[:1], 13, 0), film[1:4]])  # 3 of 15 pairs move, 4 are wanted
    assert dynamics.dynamic_degree(rests) == 0
    moves = np.concatenate([np.repeat(film[:1], 12, 0), film[1:5]])
    assert dynamics.dynamic_degree(moves) == 1


def test_a_fast_film_is_thinned_to_eight_frames_a_second():
    film = slides(1, count=32)
    assert dynamics.dynamic_degree(film) == 0 and dynamics.dynamic_degree(film, fps=16) == 1  # 2 pixels a step
    assert dynamics.dynamic_margin(film, fps=8.4) == dynamics.dynamic_margin(film)
    with pytest.raises(UserError, match="3 frames at 8 fps, got 2"):
        dynamics.dynamic_degree(film[:4], fps=16)


def test_tracks_of_steady_motion_have_its_velocity_and_no_acceleration():
    velocities, accelerations = dynamics.tracks(slides(2, count=5))
    assert np.median(velocities, axis=0) == pytest.approx([-2, 0], abs=0.1)
    assert np.abs(np.median(accelerations, axis=0)).max() < 0.1
    jerky = slides(1, count=12)[[0, 1, 4, 5, 8, 9]]  # steps of 1 and 3: accelerations of 2 both ways
    assert np.median(np.abs(dynamics.tracks(jerky)[1][:, 0])) == pytest.approx(2, abs=0.2)
    assert len(velocities) == len(accelerations) < 3 * dynamics.GRID**2  # some leave on the left
    with pytest.raises(UserError, match="3 frames"):
        dynamics.tracks(noise(2))


def test_the_gap_of_shifted_clouds_is_the_shift_seen_from_all_sides():
    cloud = np.random.default_rng(0).normal(size=(500, 2))
    assert dynamics.vector_gap(cloud, cloud[::-1]) == pytest.approx(0)
    seen = np.abs(np.cos(dynamics.ANGLES)).mean()  # of a shift along x by 1
    assert dynamics.vector_gap(cloud, cloud + [3, 0]) == pytest.approx(3 * seen)
    assert dynamics.vector_gap(cloud, cloud[:250] * 0) > 0.5  # other numbers of vectors


def test_a_histogram_sorts_by_direction_and_length():
    vectors = np.array([[1, 0], [1, 0.1], [0, 3], [-9, 0]], float)
    shares = dynamics.histogram(vectors, np.array([0, 2, 4]))
    assert shares.shape == (8, 2) and shares.sum() == 1
    assert shares[0, 0] == 0.5 and shares[2, 1] == 0.25 and shares[4, 1] == 0.25  # too long: the last bin


def test_shares_are_a_mean_over_films_and_leave_out_what_cannot_be_tracked():
    found = dynamics.shares({"steady": [slides(2, count=5), slides(2, count=5)[::-1]], "short": [slides(2, count=2)]})
    assert list(found) == ["velocity", "acceleration"]
    velocity = found["velocity"]
    assert list(velocity["films"]) == ["steady"] and len(velocity["edges"]) == dynamics.BINS + 1
    steady = velocity["films"]["steady"]
    assert sum(steady["length"]) == pytest.approx(1) == sum(steady["direction"])
    assert max(steady["direction"]) == pytest.approx(0.5, abs=0.02)  # one film to each side
    assert 1.8 < np.average(velocity["edges"][1:], weights=steady["length"]) < 2.4
    still = dynamics.shares({"still": [np.repeat(slides(2, count=1), 4, axis=0)]})["velocity"]
    assert still["edges"][-1] == 1 and still["films"]["still"]["length"][0] == 1  # nothing moves


def test_consistency_looks_at_the_frame_before_and_the_first():
    features = np.array([[1, 0], [0, 2], [3, 3], [-1, 0]], float)
    root = np.sqrt(0.5)
    assert dynamics.consistencies(features) == pytest.approx([0, root, 0])  # none below 0
    assert dynamics.consistencies(np.ones((4, 3))) == pytest.approx([1, 1, 1])
    with pytest.raises(UserError, match="2 frames"):
        dynamics.consistencies(features[:1])


def test_likeness_to_the_still_is_vbench_i2v_s_sum():
    features, still = np.array([[1, 0], [0, 2], [3, 3], [-1, 0]], float), np.array([0, 5.0])
    root = np.sqrt(0.5)  # to the still: 0, 1, root, 0; to the frame before: 0, root, none below 0
    assert dynamics.from_still(features, still) == pytest.approx(0.4 + 0.3 * root / 3)
    assert dynamics.from_still(features[1:3], still) == pytest.approx(0.4 + 0.6 * root)
    assert dynamics.from_still(np.ones((4, 3)), np.ones(3)) == pytest.approx(1), "a frozen film"
    with pytest.raises(UserError, match="2 frames"):
        dynamics.from_still(features[:1], still)


def test_smoothness_is_how_well_left_out_frames_are_made_anew():
    film = np.repeat(np.uint8([0, 10, 20, 130, 40, 50])[:, None, None, None], 3, 3)

    def blend(a, b):
        return np.uint8((a.astype(int) + b) // 2)

    assert dynamics.smoothnesses(film, blend) == pytest.approx([1, 1 - 100 / 255])  # frame 5 has no later neighbour
    assert dynamics.smoothnesses(translated()[:1].repeat(5, 0), blend) == pytest.approx([1, 1])
    with pytest.raises(UserError, match="3 frames"):
        dynamics.smoothnesses(film[:2], blend)
