"""One arm of the ablations from a prepared clip to its film: what is written, what is looked at, resuming."""

import json

import numpy as np
import pytest
import torch
from tiny import write_tiny_checkpoint, write_tiny_prepared

from lnm import training, video
from lnm.errors import UserError
from lnm.latents import load_latents
from lnm.settings import Sample
from lnm.stages import ablation as stage

SAMPLE = Sample(num_frames=3, num_inference_steps=2, seeds=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny checkpoint and a prepared clip of 45 frames, 42 of which may be trained on."""
    folder = tmp_path_factory.mktemp("ablation")
    write_tiny_prepared(folder / "prepare", write_tiny_checkpoint(folder / "checkpoint"), frames=45)
    return folder


def run(folder, out, arm="base", seed=0, steps=4):
    return stage.run_arm(folder / "prepare", out, out.parent / "store", arm=arm, seed=seed, steps=steps,
                         checkpoint=str(folder / "checkpoint"), device="cpu", name="drift", sample=SAMPLE)


@pytest.mark.parametrize("arm", ["base", "cosine", "no_fps", "kernel_1", "frames_8", "conv_3x3"])
def test_an_arm_leaves_its_losses_its_log_and_its_film(folder, tmp_path, arm):
    note = run(folder, tmp_path / "run", arm)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == note
    assert (note["arm"], note["seed"], note["steps"], note["beside"], note["video"]) == (arm, 0, 4, "base", "drift")
    assert set(note["loss"]) == {"5", "8"} and all(0 < loss < 10 for loss in note["loss"].values())
    assert (note["frames_train"], note["frames_held"]) == (34, 8), "a fifth of 42"
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 1 + 4
    assert video.read_frames(tmp_path / "run" / "film").shape == (3, 32, 32, 3)
    assert not list((tmp_path / "store").glob("*/checkpoint.safetensors")), "nothing is left to resume"


@pytest.mark.parametrize("arm", ["ema", "frames_16", "noise_mixed", "noise_progressive", "biased_timesteps", "faded",
                                 "anchor_loss"])
def test_an_arm_from_many_clips_differs_from_what_it_stands_beside(folder, tmp_path, monkeypatch, arm):
    """From the identity here, for the tiny checkpoint has no layers of many clips: the loss shows that it trains other
    layers than the base does, by its own steps and, of correlated noise, films from it."""
    monkeypatch.setattr(stage, "settings_of", lambda name, steps, real=stage.settings_of: real(
        name, steps).model_copy(update={"init": None, "learning_rate": 0.01, "warmup_steps": 0}))
    own, base = run(folder, tmp_path / "own" / "run", arm), run(folder, tmp_path / "base" / "run")
    assert (own["beside"], own["noise"]) == ("many_clips", {"noise_mixed": "mixed", "noise_progressive": "progressive"}
                                             .get(arm, "independent"))
    assert own["loss"]["5"] != base["loss"]["5"] and own["loss_by_noise"]["mixed"] != base["loss_by_noise"]["mixed"]
    assert own["loss_by_noise"]["independent"] == own["loss"]["5"]
    assert set(own["loss_by_noise"]) == {"independent", "mixed", "progressive"}
    assert video.read_frames(tmp_path / "own" / "run" / "film").shape == (3, 32, 32, 3)


def test_a_film_of_correlated_noise_is_that_noise_denoised_and_of_independent_noise_the_default_s(folder, tmp_path,
                                                                                                monkeypatch):
    from lnm.ablations.noise import correlated
    from lnm.denoising import Denoising

    begun, real = [], Denoising._at_once
    monkeypatch.setattr(Denoising, "_at_once", lambda self, noise, *a: begun.append(noise) or real(self, noise, *a))
    monkeypatch.setattr(stage, "settings_of", lambda name, steps, real=stage.settings_of: real(
        name, steps).model_copy(update={"init": None}))
    for arm in ("base", "noise_mixed", "noise_progressive"):
        run(folder, tmp_path / arm / "run", arm, steps=1)
    assert torch.allclose(begun[1], correlated(begun[0], "mixed"))
    assert torch.allclose(begun[2], correlated(begun[0], "progressive"))


def test_neither_the_part_kept_apart_nor_the_clip_s_held_out_frames_are_trained_on(folder, tmp_path, monkeypatch):
    given, real = [], stage.train
    monkeypatch.setattr(stage, "train", lambda *a, **k: given.append(a[1]) or real(*a, **k))
    run(folder, tmp_path / "run", steps=1)
    own, held = stage.held_out(folder / "prepare")
    cached = load_latents(folder / "prepare")
    assert torch.equal(given[0], own) and torch.equal(torch.cat([own, held]), cached["train"])
    seen = stage.reference(folder / "prepare", str(folder / "checkpoint"), device="cpu")
    assert len(seen["frames"]) == len(held) == 8 and seen["fps"] == 8.0


def test_two_seeds_differ_and_one_seed_gives_the_same_again(folder, tmp_path):
    first, again, other = (run(folder, tmp_path / name / "run", seed=seed) for name, seed in
                           (("a", 0), ("b", 0), ("c", 1)))
    assert first == again and first["loss"] != other["loss"]
    films = [video.read_frames(tmp_path / name / "run" / "film") for name in "abc"]
    assert np.array_equal(films[0], films[1]) and not np.array_equal(films[0], films[2])


def test_interrupted_it_goes_on_from_its_checkpoint_and_gives_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "settings_of", lambda name, steps, real=stage.settings_of: real(
        name, steps).model_copy(update={"checkpoint_every": 2}))
    whole = run(folder, tmp_path / "a" / "run", "adamw")
    taken, step = [], training.Trainer.step

    def stops(self, latents, fps, seed, number):
        taken.append(number)
        if taken == [0, 1, 2]:
            raise KeyboardInterrupt
        return step(self, latents, fps, seed, number)

    monkeypatch.setattr(training.Trainer, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "b" / "run", "adamw")
    assert not (tmp_path / "b" / "run" / "run.json").exists()
    assert run(folder, tmp_path / "b" / "run", "adamw") == whole
    assert taken == [0, 1, 2, 2, 3]
    first, second = (video.read_frames(tmp_path / x / "run" / "film") for x in "ab")
    assert np.array_equal(first, second)


def test_an_arm_that_is_the_base_here_is_not_trained(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "train", None)
    assert run(folder, tmp_path / "run", "scaled_linear")["same_as"] == "base"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_a_clip_too_short_to_look_at_is_refused_in_one_line(folder, tmp_path):
    write_tiny_prepared(tmp_path / "prepare", folder / "checkpoint", frames=33)
    with pytest.raises(UserError, match="the last fifth of 30 training frames is 6; an ablation looks at 8") as error:
        stage.held_out(tmp_path / "prepare", "drift")
    assert "\n" not in str(error.value)
