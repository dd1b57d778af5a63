"""Scenes are functions of (seed, time): still camera, coherent motion, captions true of the numbers."""

import json

import numpy as np
import pytest

from lnm import video
from lnm.demo import scenes
from lnm.demo.mini.recipe import RECIPE
from lnm.demo.scenes.write import write_clips, write_stills


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_a_scene_is_a_function_of_its_seed_and_time(kind):
    one, two = scenes.draw(kind, 7), scenes.draw(kind, 7)
    assert one.describe() == two.describe()
    late = scenes.render(one, [2.0], 32)
    assert np.array_equal(scenes.render(two, [0.0, 2.0], 32)[1:], late), "a frame must not depend on those before it"
    assert scenes.draw(kind, 8).describe() != one.describe()
    assert not np.array_equal(scenes.render(scenes.draw(kind, 8), [2.0], 32), late)


def test_an_unknown_kind_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match="lava.*ocean, clouds, sunset, pond, dusk, rapids"):
        scenes.draw("lava", 0)


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_frames_are_well_exposed_rgb_and_change_little_from_one_to_the_next(kind):
    frames = scenes.render(scenes.draw(kind, 3), np.array([0, 0.125, 6.0]), 64)
    assert frames.shape == (3, 64, 64, 3) and frames.dtype == np.uint8
    assert 30 < frames.mean() < 225 and frames.std() > 10
    near, far = (np.abs(frames[0].astype(int) - frames[i]).mean() for i in (1, 2))
    assert 0 < near < (far if kind != "pond" else 10), "rings of rain come and go within a second"


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


@pytest.mark.parametrize("kind, dt", [("clouds", 0.1), ("dusk", 0.5), ("rapids", 0.02)])
def test_true_motion_is_what_optical_flow_finds(kind, dt):
    import cv2

    scene = scenes.draw(kind, 9000)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in scenes.render(scene, [0.0, dt])]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None) / dt
    true = scenes.true_motion(scene)
    seen = np.isfinite(true[..., 0])
    found, said = flow[seen], true[seen]
    assert (found * said).sum() / np.sqrt((found**2).sum() * (said**2).sum()) > 0.8


def test_true_motion_of_the_sea_is_deep_water_dispersion():
    scene = scenes.draw("ocean", 4)
    n = scene.numbers
    across = np.linalg.norm(scenes.true_motion(scene)[-1], axis=-1)
    longest = 2 * np.pi * n["wind"] ** 2 / scenes.GRAVITY / np.sqrt(2 / 3)  # metres
    speed = np.sqrt(scenes.GRAVITY * longest / 2 / np.pi)  # metres a second
    half = np.tan(np.deg2rad(n["fov"]) / 2)
    nearest = n["camera_height"] / (1 - n["horizon"]) / (2 * half)  # metres ahead, in the lowest row
    assert np.isfinite(across).all() and across.max() < speed / nearest * 128 * 2
    assert np.isnan(scenes.true_motion(scenes.draw("pond", 1))).all()


def test_the_sun_of_a_sunset_sinks_and_that_of_a_sunrise_climbs():
    for seed in range(12):
        scene = scenes.draw("sunset", seed)
        light = [scenes.Renderer(scene, 32) for _ in range(2)]
        light[0](0.0), light[1](20.0)
        assert (light[1].painter.sky.sun[2] > light[0].painter.sky.sun[2]) == scene.numbers["rising"], scene.caption
        assert ("sunrise" in scene.caption) == scene.numbers["rising"]


def test_white_water_runs_over_a_bed_that_stands_still():
    scene = next(s for s in (scenes.draw("rapids", k) for k in range(50)) if s.numbers["rocks"] < 1.2)
    painter = scenes.Renderer(scene, 64).painter
    rock, water = painter.rock[..., 0] == 1, painter.rock[..., 0] < 0.01
    change = np.abs(painter(0.0) - painter(0.3)).mean(-1)
    spray = np.maximum(painter._spray(0.0), painter._spray(0.3))[..., 0] > 0
    assert rock.any() and change[rock & ~spray].max() == 0 and change[water].mean() > 0.01
    speed = np.linalg.norm(painter.flow, axis=-1)
    assert speed[rock].max() < 0.35 * np.median(speed[water])
    assert np.median(speed[water]) == pytest.approx(scene.numbers["speed"], rel=0.4)


def test_foam_begins_behind_what_stands_high():
    """More of the water is white where the bed, a little up the stream, is high."""
    scene = scenes.draw("rapids", 21)
    painter = scenes.Renderer(scene, 64).painter
    light = np.mean([painter(t).mean(-1) for t in np.arange(0, 6, 0.5)], 0)
    wet = painter.rock[..., 0] < 0.01
    high = painter.broken > np.quantile(painter.broken[wet], 0.8)
    low = painter.broken < np.quantile(painter.broken[wet], 0.2)
    assert light[wet & high].mean() > 1.3 * light[wet & low].mean()


def test_drops_fall_at_their_rate_and_their_rings_grow_old():
    pond = scenes.Renderer(scenes.draw("pond", 3), 32).painter
    x0, x1, y0, y1 = pond.box
    alive = np.mean([len(pond.drops(t)) for t in np.arange(0, 60, 1.5)])
    assert alive == pytest.approx(pond.scene.numbers["rain"] / 4 * (x1 - x0) * (y1 - y0) * scenes.RAIN, rel=0.1)
    now, soon = pond.drops(10.0), pond.drops(10.1)
    first = now[0]
    same = soon[np.isclose(soon[:, 0], first[0]) & np.isclose(soon[:, 1], first[1])]
    assert same[0, 2] == pytest.approx(first[2] + 0.1)


def test_a_sheet_of_stills_shows_all_scenes(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(video, "contact_sheet", lambda rows, path: shown.extend(rows))
    write_stills(tmp_path / "stills.png", 12, seed=0)
    kinds = [kind for title, stills in shown for kind in title.split(" | ")]
    assert sorted(kinds) == sorted(2 * scenes.KINDS) and sum(len(stills) for _, stills in shown) == 12


def test_built_in_clips_are_scenes_the_checkpoint_never_saw():
    most = max(RECIPE["stills"].values())
    assert all(clip["seed"] > 10 * most for clip in scenes.CLIPS.values())


def test_clips_come_with_descriptions_and_a_sheet(tmp_path):
    write_clips(tmp_path / "a", tmp_path / "a" / "sheet.png", frames=4, size=32)
    write_clips(tmp_path / "b", tmp_path / "look.png", frames=4, size=32)
    for name in scenes.CLIPS:
        assert (tmp_path / "a" / f"{name}.mp4").read_bytes() == (tmp_path / "b" / f"{name}.mp4").read_bytes()
        clip = video.read(tmp_path / "a" / f"{name}.mp4")
        assert clip.frames.shape == (4, 32, 32, 3) and clip.fps == 8
    said = json.loads((tmp_path / "a" / "scenes.json").read_text())
    assert said["ocean"]["seed"] == scenes.CLIPS["ocean"]["seed"] and said["ocean"]["prompts"]
    assert said["clouds"]["caption"] in said["clouds"]["prompts"]
    assert (tmp_path / "a" / "sheet.png").exists() and (tmp_path / "look.png").exists()
