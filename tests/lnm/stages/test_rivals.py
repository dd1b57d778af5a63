"""The rivals stage: films of each method from our noise, what is written, resuming, and what a video without has."""

import json

import numpy as np
import pytest
from tiny import tiny_settings, write_tiny_checkpoint, write_tiny_prepared

from lnm import training, video
from lnm.errors import UserError
from lnm.rivals.methods import RIVALS
from lnm.settings import Sample
from lnm.stages import rivals as stage
from lnm.workflow.params import Rivals

SAMPLE = Sample(num_frames=3, num_inference_steps=2, seeds=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny checkpoint and a prepared clip."""
    folder = tmp_path_factory.mktemp("rivals")
    write_tiny_prepared(folder / "prepare", write_tiny_checkpoint(folder / "checkpoint"))
    return folder


def film(folder, out, methods=("animatediff", "dreamix"), sample=SAMPLE, **changes):
    return stage.film_rivals(folder / "prepare", out, out.parent / "store", methods=methods, sample=sample,
                             settings=tiny_settings(**changes), checkpoint=str(folder / "checkpoint"), device="cpu",
                             name="drift", about={"checkpoint": "tiny"})


def test_each_method_leaves_its_films_and_what_it_took(folder, tmp_path):
    note = film(folder, tmp_path / "rivals")
    assert json.loads((tmp_path / "rivals" / "rivals.json").read_text()) == note
    assert note["methods"] == ["animatediff_style", "dreamix_style"] and note["checkpoint"] == "tiny"
    films = {}
    for method in note["methods"]:
        films[method] = [video.read_frames(tmp_path / "rivals" / method / f"seed_{k}") for k in range(2)]
        assert all(len(one) == 3 for one in films[method]) and not np.array_equal(*films[method])
        log = (tmp_path / "rivals" / f"{method}.csv").read_text().splitlines()
        assert len(log) == 1 + 6 and note["trained"][method]["steps"] == 6
        assert note["clusters"][method] == ["fine-tune 1"] * 2
    assert not np.array_equal(films["animatediff_style"][0], films["dreamix_style"][0])
    assert note["trained"]["dreamix_style"]["frozen_parameters"] == 0 < (
        note["trained"]["animatediff_style"]["frozen_parameters"])
    assert not list((tmp_path / "store").glob("*/*/checkpoint.safetensors")), "nothing is left to resume"
    again = film(folder, tmp_path / "again")
    assert again == note and all(
        np.array_equal(one, video.read_frames(tmp_path / "again" / method / f"seed_{k}"))
        for method in films for k, one in enumerate(films[method]))


def test_film_k_starts_from_the_noise_of_our_film_k_and_a_rate_is_a_share_of_ours(folder, tmp_path, monkeypatch):
    seeds, rates = [], []
    monkeypatch.setattr(stage, "film_of", lambda *a: seeds.append(a[-1]) or np.zeros((3, 32, 32, 3), np.uint8))
    real = stage.train
    monkeypatch.setattr(stage, "train", lambda *a, **k: rates.append(a[4].learning_rate) or real(*a, **k))
    film(folder, tmp_path / "rivals", steps=1)
    assert seeds == 2 * [stage.film_seed(0, 0), stage.film_seed(0, 1)]
    assert rates == [2e-4 * RIVALS[name].rate for name in ("animatediff", "dreamix")]


def test_interrupted_it_goes_on_and_gives_the_same_films(folder, tmp_path, monkeypatch):
    whole = film(folder, tmp_path / "a" / "rivals", methods=("tune_a_video",))
    taken, step = [], training.Trainer.step

    def stops(self, latents, fps, seed, number):
        taken.append(number)
        if taken == [0, 1, 2, 3]:
            raise KeyboardInterrupt
        return step(self, latents, fps, seed, number)

    monkeypatch.setattr(training.Trainer, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        film(folder, tmp_path / "b" / "rivals", methods=("tune_a_video",))
    assert film(folder, tmp_path / "b" / "rivals", methods=("tune_a_video",)) == whole
    assert taken == [0, 1, 2, 3, 2, 3, 4, 5], "a checkpoint every two steps"
    first, second = (video.read_frames(tmp_path / x / "rivals" / "tune_a_video_style" / "seed_0") for x in "ab")
    assert np.array_equal(first, second)


def test_a_film_longer_than_a_method_knows_is_refused_in_one_line(folder, tmp_path):
    with pytest.raises(UserError, match="33 frames; its positional encoding ends at 32") as error:
        film(folder, tmp_path / "rivals", methods=("animatediff",), steps=1,
             sample=Sample(num_frames=33, num_inference_steps=1, seeds=1, long="whole"))
    assert "\n" not in str(error.value)


def test_params_know_every_method_and_no_other():
    assert Rivals().methods == list(RIVALS) and Rivals().videos == []
