"""Films of several held-out stills: each beside the real frames that go on from its own."""

import shutil

import numpy as np
import pytest
from fabricated import COUNT, clip_frames, fabricate, settings

from eval.metrics import fidelity, motion
from eval.publish.nearest import WINDOWS, distances, windows
from eval.records.material import Material
from eval.records.video import evaluate_video
from lnm import video

SECOND, MORE = 8, 14  # the held-out frame that is the second still; how many are held out


@pytest.fixture
def run(project):
    """The video ocean with two held-out stills, whose picture slides faster from the second on; ours are the real
    frames, a film a still."""
    results = project / "results" / "ocean"
    fabricate(project / "results", "ocean", 0, stills=[1, 2])
    real = clip_frames(0, 32)[12:]
    heldout = np.concatenate([real[:SECOND], real[SECOND::2]])[:MORE]
    vae = np.clip(0.9 * heldout, 0, 255).astype(np.uint8)
    for part, frames in (("heldout", heldout), ("heldout_vae", vae)):
        shutil.rmtree(results / "prepare" / part)
        video.write_frames(results / "prepare" / part, frames)
    for name, part, place in (("still", "heldout", 0), ("still_2", "heldout", SECOND),
                              ("still_2_vae", "heldout_vae", SECOND)):
        shutil.copy(results / "prepare" / part / f"{place:05d}.png", results / "prepare" / f"{name}.png")
    for k, begin in enumerate((0, SECOND)):
        video.write_frames(results / "sample" / "ours" / f"seed_{k}", heldout[begin:begin + COUNT])
    return results


def test_a_film_is_compared_with_what_follows_its_own_still(run):
    found = evaluate_video(settings("ocean"), run, run / "evaluate")
    ours, real = found["methods"]["ours"], found["methods"]["heldout"]
    for metric in ("motion_ratio", "flow_speed_ratio"):
        assert ours[metric]["values"] == [1, 1] == real[metric]["values"]
    for metric in ("flow_direction_gap", "spectrum_gap", "flow_warp_gap", "velocity_gap"):
        assert ours[metric]["values"] == pytest.approx([0, 0], abs=1e-4)
    slow, fast = real["flow_speed"]["values"]
    assert fast > 1.5 * slow, "the two are another motion"
    heldout = video.read_frames(run / "prepare" / "heldout")
    assert real["motion_energy"]["values"] == pytest.approx(
        [motion.motion_energy(heldout[k:k + COUNT]) for k in (0, SECOND)], rel=1e-4)
    assert real["frame0_db"]["values"] == [100, 100], "each begins from a still"
    vae = video.read_frames(run / "prepare" / "heldout_vae")
    assert ours["detail_kept"]["values"] == pytest.approx(
        [fidelity.detail(heldout[k:k + COUNT]) / fidelity.detail(vae[k:k + COUNT]) for k in (0, SECOND)], rel=1e-4)
    assert found["against_vae"]["ours"]["motion_ratio"]["values"] == pytest.approx(
        [motion.motion_energy(heldout[k:k + COUNT]) / motion.motion_energy(vae[k:k + COUNT]) for k in (0, SECOND)],
        rel=1e-4)
    assert found["reference"]["stills"]["begins"] == [0, SECOND]
    assert found["reference"]["still_is_first_heldout"]
    assert len(found["methods"]["shuffled"]["detail"]["values"]) == 2


def test_a_still_that_too_little_follows_or_that_is_no_frame_is_compared_with_the_first_frames(run):
    material = Material.read(run)
    assert [material.follows(still) for still in (0, 1)] == [0, SECOND] == material.begins
    assert np.array_equal(material.real(1), material.heldout[SECOND:SECOND + COUNT])
    material.stills[1] = material.heldout[SECOND + 1]  # five frames are left from there on, a film has six
    assert material.follows(1) == 0 and not material.is_real(1)
    assert (material.begins, material.real_stills, material.real_still) == ([0], [0], 0)
    material.stills[0] = np.zeros_like(material.stills[0])  # a photo
    assert material.begins == [0] and material.real_still is None
    material.stills[1] = material.heldout[0]
    assert material.real_stills == [1] and material.real_still == 1


def test_other_windows_of_the_clip_share_no_frame_with_any_that_films_are_compared_with(run):
    material = Material.read(run)
    assert [part for part, _ in material.windows()] == ["train", "train"]  # two frames between, none after
    material.heldout = np.concatenate([material.heldout, clip_frames(3, COUNT + 1)])
    assert [part for part, _ in material.windows()] == ["heldout", "train", "train"]
    assert np.array_equal(material.windows()[0][1], material.heldout[SECOND + COUNT:SECOND + 2 * COUNT])


def test_other_windows_of_the_clip_stand_beside_each_that_films_are_compared_with(run):
    """They stood beside the first alone, which moves as they do: the second moves twice as fast."""
    found = evaluate_video(settings("ocean"), run, run / "evaluate")
    assert [(one["part"], one["beside"]) for one in found["windows"]] == [
        (part, still) for part in ("train", "train") for still in (1, 2)]
    (_, frames), _ = Material.read(run).windows()
    speed, real = motion.flow_warp(frames)["speed"], found["methods"]["heldout"]["flow_speed"]["values"]
    ratios = [one["flow_speed_ratio"] for one in found["windows"][:2]]
    assert ratios == pytest.approx([speed / real[0], speed / real[1]], rel=1e-3) and ratios[0] > 1.5 * ratios[1]
    detail, real = fidelity.detail(frames), found["methods"]["heldout"]["detail"]["values"]
    moved, energy = motion.energies(frames).mean(), found["methods"]["heldout"]["motion_energy"]["values"]
    assert [one["detail_ratio"] for one in found["windows"][:2]] == pytest.approx(
        [detail / real[0], detail / real[1]], rel=1e-3)
    assert [one["motion_ratio"] for one in found["windows"][:2]] == pytest.approx(
        [moved / energy[0], moved / energy[1]], rel=1e-3)
    assert found["windows"][0]["flow_warp"] == found["windows"][1]["flow_warp"], "one window"
    assert list(windows(found)) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert distances(found)[WINDOWS] == list(windows(found).values())
