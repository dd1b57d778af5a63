"""benchmarks.windows: a seam is found where there is one, and nowhere else."""

import numpy as np
import pytest

from benchmarks.windows import borders, figures, place, ratio, seam


def drifting(frames=40, jumps=()):
    """A picture that moves by one pixel a frame, and by 16 at the steps into `jumps`."""
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    shifts = np.cumsum([16 if f in jumps else 1 for f in range(frames)])
    return np.stack([np.roll(picture, shift, 1) for shift in shifts])


def test_where_windows_meet():
    assert borders(32, "windows", 16, 8) == [8, 16, 24]
    assert borders(40, "windows", 16, 12) == [12, 16, 24, 28]
    assert borders(40, "continue", 16, 12) == [16, 28]
    assert borders(16, "windows", 16, 8) == borders(16, "continue", 16, 8) == []


def test_a_jump_at_the_borders_is_a_seam_and_steady_motion_is_none():
    at = borders(40, "continue", 16, 12)
    assert ratio(np.array([1.0, 1, 4, 1]), [3]) == 4
    steady, jumping = seam(drifting(), at), seam(drifting(jumps=at), at)
    assert steady["seam"] == pytest.approx(1, abs=0.05) and jumping["seam"] > 1.5
    assert jumping["seam of flow"] > 3 * steady["seam of flow"]


def test_a_film_that_dies_out_and_leaves_its_place_is_told():
    film = drifting(48)
    still = film[0]
    alive = figures(film, still, [24])
    film[32:] = film[32]
    dead = figures(film, still, [24])
    assert alive["motion, late / early"] == pytest.approx(1, abs=0.05) and dead["motion, late / early"] == 0
    assert place(film[:1], still) > 60 > place(255 - film[:1], still)
