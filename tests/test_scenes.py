"""Scenes are functions of (seed, time): still camera, coherent motion, captions true of the numbers."""

import json

import numpy as np
import pytest

from lnm import scenes, video


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_a_scene_is_a_function_of_its_seed_and_time(kind):
    one, two = scenes.draw(kind, 7), scenes.draw(kind, 7)
    assert one.describe() == two.describe()
    late = scenes.render(one, [2.0], 32)
    assert np.array_equal(scenes.render(two, [0.0, 2.0], 32)[1:], late), "a frame must not depend on those before it"
    assert scenes.draw(kind, 8).describe() != one.describe()
    assert not np.array_equal(scenes.render(scenes.draw(kind, 8), [2.0], 32), late)


def test_an_unknown_kind_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match="lava.*ocean, clouds"):
        scenes.draw("lava", 0)


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_frames_are_well_exposed_rgb_and_change_little_from_one_to_the_next(kind):
    frames = scenes.render(scenes.draw(kind, 3), np.array([0, 0.125, 6.0]), 64)
    assert frames.shape == (3, 64, 64, 3) and frames.dtype == np.uint8
    assert 30 < frames.mean() < 225 and frames.std() > 10
    near, far = (np.abs(frames[0].astype(int) - frames[i]).mean() for i in (1, 2))
    assert 0 < near < far


def test_captions_are_true_of_the_numbers():
    for seed in range(60):
        ocean, clouds = scenes.draw("ocean", seed), scenes.draw("clouds", seed)
        for scene in (ocean, clouds):
            low = scene.numbers["sun_elevation"] < 8
            assert low == any(w in scene.caption for w in ("sunset", "sunrise", "low on the horizon")), scene.caption
        assert ("rough" in ocean.caption) == (ocean.numbers["wind"] >= 10)
        assert ("under a cloudy" in ocean.caption or "heavy clouds" in ocean.caption) == (ocean.numbers["cover"] >= 0.6)
        if "hill" in clouds.caption:
            assert clouds.numbers["hills"] > 0.03


def test_the_wave_spectrum_gives_a_developed_sea():
    """Significant height, four deviations of the surface, is 0.21 wind^2 / g for a developed sea."""
    field = scenes.WaveField(5, wind=8.0, wind_azimuth=30.0)
    height = field.slopes(0.0)[0][..., 2]
    assert 4 * height.std() == pytest.approx(0.21 * 8**2 / scenes.GRAVITY, rel=0.02)


def test_waves_obey_deep_water_dispersion():
    """A single wave's phase advances by sqrt(g k) t: after its period the surface is the same again."""
    field = scenes.WaveField(5, wind=8.0, wind_azimuth=30.0)
    kx, ky, omega, h0, length = field.tiles[0]
    alone = np.zeros_like(h0)
    alone[0, 3] = h0[0, 3]
    field.tiles[0] = (kx, ky, omega, alone, length)
    period = 2 * np.pi / np.sqrt(scenes.GRAVITY * 2 * np.pi * 3 / length)
    start, half, whole = (field.slopes(t)[0][..., 2] for t in (0.0, period / 2, period))
    assert np.allclose(whole, start, atol=1e-5 * np.abs(start).max())
    assert np.allclose(half, -start, atol=1e-4 * np.abs(start).max())


def test_cover_is_the_share_of_sky_under_cloud():
    scene = scenes.draw("clouds", 11)
    sky = scenes.Sky(scene, cloud_scale=1000, cloud_height=1000)
    x, y = np.meshgrid(np.linspace(0, 4000, 200, endpoint=False), np.linspace(0, 4000, 200, endpoint=False))
    assert (sky.density(x, y, 0.0) > 0).mean() == pytest.approx(scene.numbers["cover"], abs=0.08)


def test_the_ground_stands_still_under_moving_clouds():
    frames = scenes.render_clip("clouds", 9)
    ground = frames[:, 124:, 90:120].astype(int)
    assert np.ptp(ground, 0).max() == 0, "the camera never moves"
    assert np.ptp(frames[:, :100].astype(int), 0).max() > 40


def test_built_in_clips_are_scenes_the_prior_never_saw():
    from lnm import mini

    most = max(mini.RECIPE["stills"].values())
    assert all(clip["seed"] > 10 * most for clip in scenes.CLIPS.values())


def test_main_writes_clips_descriptions_and_a_sheet(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "CLIP_FRAMES", 4)
    monkeypatch.setattr(scenes, "CLIP_SIZE", 32)
    monkeypatch.setattr(scenes.render_clip, "__defaults__", (4, 32))
    scenes.main(["--out", str(tmp_path / "a")])
    scenes.main(["--out", str(tmp_path / "b"), "--sheet", str(tmp_path / "look.png")])
    for name in scenes.CLIPS:
        assert (tmp_path / "a" / f"{name}.mp4").read_bytes() == (tmp_path / "b" / f"{name}.mp4").read_bytes()
        clip = video.read(tmp_path / "a" / f"{name}.mp4")
        assert clip.frames.shape == (4, 32, 32, 3) and clip.fps == 8
    said = json.loads((tmp_path / "a" / "scenes.json").read_text())
    assert said["ocean"]["seed"] == scenes.CLIPS["ocean"]["seed"] and said["ocean"]["prompts"]
    assert said["clouds"]["caption"] in said["clouds"]["prompts"]
    assert (tmp_path / "a" / "sheet.png").exists() and (tmp_path / "look.png").exists()
