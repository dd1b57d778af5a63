"""The method's settings: every choice typed, out of range or misspelt is an error that names it."""

import pytest
from pydantic import ValidationError

from lnm import preflight, settings
from lnm.settings import Finetune, Prepare, Sample


def test_the_defaults_that_are_the_paper_s():
    assert (Finetune().frames, Finetune().optimizer, Sample().num_inference_steps) == (5, "lion", 15)
    assert Finetune().beta_schedule == "checkpoint" and Finetune().init is None and Sample().guidance_scale == 1
    assert Prepare().holdout == 0.25


@pytest.mark.parametrize("section, changes", [
    (Finetune, {"stpes": 3}), (Finetune, {"steps": 0}), (Finetune, {"steps": "8"}), (Finetune, {"steps": True}),
    (Finetune, {"frames": 2.5}), (Finetune, {"strides": []}), (Finetune, {"strides": [0]}),
    (Finetune, {"learning_rate": 0.0}), (Finetune, {"learning_rate": float("nan")}), (Finetune, {"ema": 1.0}),
    (Finetune, {"max_grad_norm": float("inf")}), (Finetune, {"prompt_dropout": 1.0}), (Finetune, {"mask_value": 0.5}),
    (Finetune, {"weight_decay": -0.1}), (Finetune, {"checkpoint_every": 0}), (Finetune, {"optimizer": "sgd"}),
    (Finetune, {"mixed_precision": "fp8"}), (Finetune, {"beta_schedule": "prior"}), (Sample, {"seeds": 0}),
    (Sample, {"guidance_scale": 0.5}), (Sample, {"scheduler": "lms"}), (Sample, {"first_frame": "held"}),
    (Prepare, {"holdout": 1.0}), (Prepare, {"holdout": 0.0}), (Prepare, {"max_frames": 0})])
def test_a_value_that_cannot_be_is_named(section, changes):
    with pytest.raises(ValidationError) as error:
        section(**changes)
    assert {e["loc"][0] for e in error.value.errors()} == set(changes)


@pytest.mark.parametrize("section, changes", [
    (Finetune, {"steps": 1, "warmup_steps": 0, "preview_every": 0, "prompt_dropout": 0.0, "ema": None, "strides": [3]}),
    (Finetune, {"learning_rate": 1, "mask_value": 1, "weight_decay": 0}), (Sample, {"guidance_scale": 1, "seeds": 1}),
    (Prepare, {"max_frames": 1, "holdout": 0.001})])
def test_what_lies_at_the_edge_is_taken(section, changes):
    assert section(**changes).model_dump(include=set(changes)) == changes


def test_a_bare_no_of_yaml_is_no_mixed_precision():
    assert Finetune(mixed_precision=False).mixed_precision == "no"
    with pytest.raises(ValidationError):
        Finetune(mixed_precision=True)


def test_windows_of_a_long_film_see_every_frame():
    assert Sample(window=4, window_stride=4).window_stride == 4
    for changes in ({"window_stride": 5}, {"window_stride": 4, "long": "continue"}):
        with pytest.raises(ValidationError, match="window_stride .: must be a whole number from 1 to"):
            Sample(window=4, **changes)
    with pytest.raises(ValidationError, match="window 1: must be a whole number from 2"):
        Sample(window=1, long="continue")


def test_what_a_film_is_asked_for_is_what_the_pipeline_takes():
    import inspect

    from lnm.pipeline import LateNtMoviesPipeline

    taken = inspect.signature(LateNtMoviesPipeline.__call__).parameters
    assert set(Sample().film()) < set(taken)
    assert {k: taken[k].default for k in Sample().film()} == Sample().film(), "with the same defaults"


def test_the_u_net_sees_a_window_at_once_or_the_whole_film():
    assert [Sample(num_frames=n, window=8, long=long).at_once
            for n, long in ((5, "windows"), (96, "windows"), (96, "continue"), (96, "whole"))] == [5, 8, 8, 96]


def test_frames_needed_leave_a_sample_of_the_largest_stride_after_all_that_is_kept_apart():
    assert settings.frames_needed(Finetune(), 0) == settings.LEAST_TRAINED == preflight.SHORTEST
    assert settings.frames_needed(Finetune(), 0.25) == 32, "24 and 8"
    wide = Finetune(steps="auto", validation=0.5, frames=8, strides=[1, 4])
    assert settings.frames_needed(wide, 0) == 57, "29 for the sample, 28 for validation"
