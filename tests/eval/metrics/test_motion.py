"""Motion, fidelity and control metrics against closed forms on films whose answer is known."""

import numpy as np
import pytest
from textures import SIZE, noise, texture, translated

from eval import registry
from eval.films import controls
from eval.metrics import fidelity, motion
from eval.metrics.film import alone, beside
from lnm.errors import UserError


def test_a_frozen_film_has_no_motion():
    frozen = controls.static(texture(size=SIZE), 5)
    assert motion.motion_energy(frozen) == 0
    assert motion.flicker(frozen) == 0
    assert motion.flow_warp(frozen) == {"error": 0, "visible": 1, "speed": 0}
    assert fidelity.colour_drift(frozen) == 0


def test_motion_energy_is_the_mean_absolute_difference_from_zero_to_one():
    black_white = np.uint8([0, 255, 0])[:, None, None, None] * np.ones((3, 4, 4, 3), np.uint8)
    assert motion.motion_energy(black_white) == 1
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    assert motion.motion_energy(frames) == pytest.approx(np.abs(np.diff(frames.astype(float), axis=0)).mean() / 255)


def test_flicker_is_zero_for_steady_change_and_the_motion_energy_for_change_taken_back():
    ramp = (np.arange(5) * 20).astype(np.uint8)[:, None, None, None] * np.ones((5, 4, 4, 3), np.uint8)
    back_and_forth = ramp[[0, 3, 0, 3, 0]]
    assert motion.flicker(ramp) == pytest.approx(0, abs=1e-7)
    assert motion.flicker(back_and_forth) == pytest.approx(motion.motion_energy(back_and_forth))


def test_flow_explains_a_translation_and_not_independent_pictures():
    moving, unrelated = motion.flow_warp(translated()), motion.flow_warp(noise())
    assert moving["error"] < 0.05 * motion.motion_energy(translated())
    assert moving["speed"] == pytest.approx(2, abs=0.3)
    assert moving["visible"] > 0.85
    assert unrelated["error"] > 10 * moving["error"]


def test_the_singular_is_the_mean_of_the_steps():
    film = noise(5)
    assert motion.motion_energy(film) == pytest.approx(motion.energies(film).mean())
    assert [len(steps(film)) for steps in (motion.energies, motion.flickers, fidelity.details, fidelity.colour_drifts)
            ] == [4, 3, 5, 4]
    warps, means = motion.flow_warps(film), motion.flow_warp(film)
    assert means == {name: pytest.approx(warps[name].mean()) for name in ("error", "visible", "speed")}
    np.testing.assert_allclose(warps["directions"].sum(1), warps["speed"], rtol=1e-5)


def test_flow_directions_say_where_to_and_their_gap_is_the_angle():
    left = motion.flow_warps(translated())["directions"].mean(0)  # the window moves right, so the picture moves left
    up = motion.flow_warps(translated().swapaxes(1, 2))["directions"].mean(0)
    right = motion.flow_warps(translated()[::-1])["directions"].mean(0)
    assert left.argmax() == motion.SECTORS // 2 and up.argmax() == 3 * motion.SECTORS // 4
    assert right.argmax() == 0
    assert motion.direction_gap(left, up) == pytest.approx(90, abs=10)
    assert motion.direction_gap(left, right) == pytest.approx(180, abs=10)
    assert motion.direction_gap(left, 7 * left) == pytest.approx(0, abs=1e-6)  # speed is another matter


@pytest.mark.parametrize("turn", [0, 1, 5, 8, 12])
def test_the_direction_gap_of_single_directions_is_the_shorter_way_round(turn):
    a, b = np.eye(motion.SECTORS)[3], np.eye(motion.SECTORS)[(3 + turn) % motion.SECTORS]
    assert motion.direction_gap(a, b) == pytest.approx(min(turn, 16 - turn) * 22.5, abs=1e-6)
    assert motion.direction_gap(b, a) == pytest.approx(motion.direction_gap(a, b))


def sinusoid(cycles, amplitude, count=16):
    wave = amplitude * np.sin(2 * np.pi * cycles * np.arange(count) / count)
    return np.rint(128 + wave)[:, None, None, None].astype(np.uint8) * np.ones((1, 8, 8, 3), np.uint8)


def test_the_temporal_spectrum_of_a_sinusoid_is_one_line_of_known_power():
    spectra = motion.spectra(sinusoid(3, 100))
    assert spectra.shape == (16, 8)
    power = spectra[0]
    np.testing.assert_allclose(spectra, np.tile(power, (16, 1)))  # every tile alike
    assert power.argmax() == 2 and power[2] == pytest.approx((100 / 255) ** 2 * 16 / 4, rel=1e-2)
    assert np.delete(power, 2).max() < 1e-4 * power[2]


def test_the_spectrum_gap_is_in_decibels_and_finite_for_a_frozen_film():
    a = motion.spectra(noise(8)).mean(0)
    assert motion.spectrum_gap(a, a) == 0
    assert motion.spectrum_gap(100 * a, a) == pytest.approx(20)
    frozen = motion.spectra(controls.static(texture(size=SIZE), 8)).mean(0)
    np.testing.assert_allclose(frozen, motion.ROUNDING, rtol=1e-5)
    assert 10 < motion.spectrum_gap(frozen, a) < 100
    with pytest.raises(UserError, match="got 3"):
        motion.spectra(noise(3))


def test_the_spectrum_tells_shuffled_frames_from_their_order():
    film = translated(step=1, count=16)
    real, mixed = (motion.spectra(x).mean(0) for x in (film, controls.shuffled(film, 0)))
    later = motion.spectra(translated(step=1, count=20)[4:]).mean(0)
    assert motion.spectrum_gap(mixed, real) > 3 * motion.spectrum_gap(later, real)


def test_detail_kept_is_one_for_itself_and_less_for_a_blur():
    import cv2

    film = noise()
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 2) for frame in film])
    assert fidelity.detail(film) / fidelity.detail(film.copy()) == 1
    assert 0 < fidelity.detail(blurred) < 0.6 * fidelity.detail(film)
    assert fidelity.detail(np.full((2, 16, 16, 3), 77, np.uint8)) == pytest.approx(0, abs=1e-12)


def test_psnr_is_the_closed_form_and_equals_torchmetrics():
    import torch
    from torchmetrics.functional.image import peak_signal_noise_ratio

    a = noise(1)[0]
    assert fidelity.psnr(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)) == 0
    b = np.uint8(np.clip(a.astype(int) + 7, 0, 255))
    theirs = peak_signal_noise_ratio(torch.tensor(b).float(), torch.tensor(a).float(), data_range=255.0)
    assert fidelity.psnr(a, b) == pytest.approx(theirs.item(), abs=1e-4)
    assert fidelity.psnr(a, a) == registry.EQUAL_DB
    with pytest.raises(UserError, match="one size"):
        fidelity.psnr(a, a[:-1])


def test_ssim_is_one_for_itself_and_the_closed_form_for_flat_pictures():
    a, b = (np.full((32, 32, 3), value, np.uint8) for value in (51, 102))  # 0.2 and 0.4; no variance
    c1 = 0.01**2
    assert fidelity.ssim(a, b) == pytest.approx((2 * 0.2 * 0.4 + c1) / (0.2**2 + 0.4**2 + c1), abs=1e-4)
    picture = texture(size=SIZE)
    assert fidelity.ssim(picture, picture) == pytest.approx(1)
    noisy = controls.static_noise(picture, 1, 0.1, 0)[0]
    assert 0 < fidelity.ssim(noisy, picture) < 0.9
    assert fidelity.ssim(noisy, picture) == pytest.approx(fidelity.ssim(picture, noisy))
    with pytest.raises(UserError, match="one size"):
        fidelity.ssim(picture, picture[1:])
    with pytest.raises(UserError, match="11 pixels"):
        fidelity.ssim(picture[:8], picture[:8])


def test_the_colour_slope_is_that_of_a_steady_fade_and_none_of_change_that_returns():
    fade = (np.arange(6) * 10).astype(np.uint8)[:, None, None, None] * np.ones((6, 4, 4, 3), np.uint8)
    assert fidelity.colour_slope(fade) == pytest.approx(10 / 255)
    assert fidelity.colour_slope(fade[[0, 3, 5, 5, 3, 0]]) == pytest.approx(0, abs=1e-12)
    assert fidelity.colour_slope(controls.static(texture(size=SIZE), 7)) == 0


def test_colour_drift_is_the_distance_from_the_first_frames_mean_colour():
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[1, ..., 0], frames[2, ..., 0] = 51, 102  # red rises by 0.2, then 0.4
    assert fidelity.colour_drift(frames) == pytest.approx((0.2 + 0.4) / 2 / 3)


def test_matched_noise_moves_as_much_as_asked_and_is_seeded():
    still, energy = texture(size=SIZE), 0.05
    sigma = controls.matched_sigma(still, 4, energy, seed=3)
    film = controls.static_noise(still, 4, sigma, seed=3)
    assert motion.motion_energy(film) == pytest.approx(energy, rel=0.02)
    assert sigma == pytest.approx(energy * np.sqrt(np.pi) / 2, rel=0.1)  # E|x - y| = 2 sigma / sqrt(pi), hardly clipped
    assert np.array_equal(film, controls.static_noise(still, 4, sigma, seed=3))
    assert not np.array_equal(film, controls.static_noise(still, 4, sigma, seed=4))


def test_shuffling_keeps_the_frames_and_loses_the_motion():
    film = translated(count=12)
    mixed = controls.shuffled(film, seed=0)
    assert sorted(frame.tobytes() for frame in mixed) == sorted(frame.tobytes() for frame in film)
    assert motion.motion_energy(mixed) > motion.motion_energy(film)


@pytest.mark.parametrize("metric, count", [(motion.motion_energy, 1), (motion.flow_warp, 1), (motion.flicker, 2)])
def test_too_few_frames_are_refused_with_their_number(metric, count):
    with pytest.raises(UserError, match=f"got {count}"):
        metric(noise(count))


def test_the_spectrum_s_distance_is_one_value_whose_tiles_are_no_stretches_of_time():
    """Its 16 parts were tiles of the picture, and the jackknife by time ran over them."""
    own, real = translated(count=12), translated(step=1, count=12)
    entry = beside(own, alone(own), real, alone(real))["spectrum_gap"]
    spectra = [motion.spectra(film).mean(0) for film in (own, real)]
    assert entry.value == pytest.approx(motion.spectrum_gap(*spectra)) and entry.value > 0
    assert entry.unit == "film" and len(entry.parts) == 1 and isinstance(entry.interval(), str)
