"""The fine-tune stage: what trains and is written, exact resume, what keeps a checkpoint and what does not."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_finetune, tiny_settings, write_tiny_checkpoint, write_tiny_prepared

from lnm import runs, training
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.pipeline import LateNtMoviesPipeline
from lnm.resume import ResumeStore
from lnm.stages.finetune import finetune
from lnm.temporal_file import read_temporal


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = write_tiny_checkpoint(folder / "checkpoint")
    return checkpoint, write_tiny_prepared(folder / "prepared", checkpoint)


def run(tiny, folder, **changes):
    checkpoint, prepared = tiny
    summary = finetune(prepared, folder / "out", folder / "store", **tiny_finetune(checkpoint, **changes))
    return summary, (folder / "out" / "temporal.safetensors").read_bytes(), (folder / "out" / "log.csv").read_text()


def steps_until(monkeypatch, last):
    """The steps that are begun from now on; the one of number `last` (from 0) is interrupted."""
    begun, real = [], training.make_batch

    def dies(latents, settings, fps, scheduler, seed, step, *rest, **told):
        if step == last:
            raise KeyboardInterrupt
        begun.append(step)
        return real(latents, settings, fps, scheduler, seed, step, *rest, **told)

    monkeypatch.setattr(training, "make_batch", dies)
    return begun


def test_a_script_of_five_lines(tiny, tmp_path):
    checkpoint, prepared = tiny
    from lnm.settings import Finetune
    from lnm.stages.finetune import finetune

    summary = finetune(prepared, tmp_path / "out", tmp_path / "store", settings=Finetune(steps=2, frames=3),
                       checkpoint=str(checkpoint))
    assert summary["steps"] == 2 and (tmp_path / "out" / "temporal.safetensors").is_file()


def test_a_second_fine_tune_from_the_identity_is_that_without_init(tiny, tmp_path):
    _, alone, _ = run(tiny, tmp_path / "alone", steps=4)
    init = tmp_path / "alone" / "out" / "temporal.safetensors"
    summary, ours, _ = run(tiny, tmp_path / "both", steps=2, init=str(init), identity_steps=4)
    arm = tmp_path / "both" / "out" / "identity" / "temporal.safetensors"
    assert load_file(arm).keys() == load_file(init).keys() and ours != alone
    assert all(torch.equal(v, load_file(init)[k]) for k, v in load_file(arm).items())
    assert summary["steps"] == 2 and read_temporal(arm).notes.steps == 4
    run(tiny, tmp_path / "both", steps=2, init=str(init))
    assert not list(arm.parent.iterdir()), "what an earlier run left would be sampled"
    run(tiny, tmp_path / "both", steps=2, identity_steps=4)
    assert not list(arm.parent.iterdir()), "without init ours is the same"


def test_a_fine_tune_told_of_the_still_is_that_which_carried_0_gives(tiny, tmp_path):
    checkpoint, prepared = tiny
    run(tiny, tmp_path / "first", steps=2)
    init = {"init": str(tmp_path / "first" / "out" / "temporal.safetensors")}
    _, alone, _ = run(tiny, tmp_path / "alone", steps=4, carried=0.0, **init)
    _, ours, _ = run(tiny, tmp_path / "ours", steps=2, carried=1.0, **init)
    summary, both, _ = run(tiny, tmp_path / "both", steps=2, carried=1.0, noise_steps=4, **init)
    arm = tmp_path / "both" / "out" / "noise" / "temporal.safetensors"
    assert both == ours and arm.read_bytes() == alone
    assert summary["steps"] == 2 and read_temporal(arm).notes.steps == 4
    assert not list((arm.parent / "previews").iterdir())
    log = list(csv.DictReader((arm.parent / "log.csv").open()))
    assert len(log) == 4 and summary["noise_loss_last_tenth"] == pytest.approx(float(log[-1]["loss"]), rel=1e-4)
    run(tiny, tmp_path / "auto", steps="auto", most_steps=3, validate_every=3, carried=1.0, noise_steps=4, **init)
    assert (tmp_path / "auto" / "out" / "noise" / "temporal.safetensors").read_bytes() == alone


@pytest.mark.parametrize("none", [{"carried": 0.0, "noise_steps": 4}, {"carried": 1.0, "noise_steps": 0}])
def test_without_either_there_is_no_fine_tune_told_of_the_still(tiny, tmp_path, none):
    run(tiny, tmp_path, steps=1, carried=1.0, noise_steps=1)
    assert list((tmp_path / "out" / "noise").iterdir())
    summary, _, _ = run(tiny, tmp_path, steps=2, **none)
    assert not list((tmp_path / "out" / "noise").iterdir()), "what an earlier run left would be sampled"
    assert "noise_loss_last_tenth" not in summary


def test_further_fine_tunes_differ_by_their_seed_alone(tiny, tmp_path):
    run(tiny, tmp_path, steps=2, seeds=3)
    files = [tmp_path / "out" / "temporal.safetensors",
             *(tmp_path / "out" / "seeds" / k / "temporal.safetensors" for k in "12")]
    assert len({file.read_bytes() for file in files}) == 3
    _, alone, _ = run(tiny, tmp_path / "alone", steps=2)
    assert files[0].read_bytes() == alone, "the first is the fine-tune that there is without the others"
    run(tiny, tmp_path, steps=2)
    assert not list((tmp_path / "out" / "seeds").iterdir()), "what an earlier run left would be sampled"


def test_steps_that_validation_chose_are_those_recorded(tiny, tmp_path):
    summary, _, log = run(tiny, tmp_path, steps="auto", most_steps=4, validate_every=2, learning_rate=1e-9)
    assert log.splitlines()[0] == "step,loss,lr,grad_norm,validation" and log.splitlines()[2].split(",")[-1]
    assert summary["steps"] == read_temporal(tmp_path / "out" / "temporal.safetensors").notes.steps <= 4


def test_further_fine_tunes_take_the_steps_that_the_first_was_found_to_need_and_look_no_more(tiny, tmp_path,
                                                                                             monkeypatch):
    """Validation's answers are given here: it is best at 2 of 6 steps, and then too seldom for 4."""
    losses, looked = iter([5.0, 3.0, 4.0, 4.0]), []
    monkeypatch.setattr(training.Trainer, "held_out_loss", lambda self, batches: looked.append(1) or next(losses))
    given = {"steps": "auto", "most_steps": 6, "validate_every": 2, "patience": 2, "warmup_steps": 0}
    summary, ours, _ = run(tiny, tmp_path, seeds=2, **given)
    assert summary["steps"] == 2 and len(looked) == 4
    other = tmp_path / "out" / "seeds" / "1"
    log = [line.split(",") for line in (other / "log.csv").read_text().splitlines()]
    assert len(log) == 3 and not log[1][-1] and read_temporal(other / "temporal.safetensors").notes.steps == 2
    # as the first with that seed, whose weights after two steps under the same schedule are kept
    losses, drawn = iter([5.0, 3.0, 4.0, 4.0]), int(np.random.default_rng([0, 1]).integers(2**31))
    run(tiny, tmp_path / "alone", seed=drawn, **given)
    alone = load_file(tmp_path / "alone" / "out" / "temporal.safetensors")
    assert all(torch.equal(v, alone[k]) for k, v in load_file(other / "temporal.safetensors").items())
    losses = iter([1.0, 2.0, 3.0])
    assert run(tiny, tmp_path / "none", seeds=2, **given)[0]["steps"] == 0, "no step made it better"
    assert read_temporal(tmp_path / "none" / "out" / "seeds" / "1" / "temporal.safetensors").notes.steps == 0


def test_only_time_is_trained_and_logged(tiny, tmp_path):
    summary, _, log = run(tiny, tmp_path)
    saved = load_file(tmp_path / "out" / "temporal.safetensors")
    assert saved and all(".temporal." in k or k.startswith("fps_embedding.") for k in saved)
    assert sum(v.numel() for v in saved.values()) == summary["trained_parameters"]
    parent = sum(v.numel() for v in load_file(tiny[0] / "unet" / "diffusion_pytorch_model.safetensors").values())
    assert summary["frozen_parameters"] == parent
    rows = list(csv.DictReader(log.splitlines()))
    assert [int(r["step"]) for r in rows] == list(range(6))
    assert all(float(r["loss"]) > 0 and float(r["grad_norm"]) > 0 for r in rows)
    assert float(rows[0]["lr"]) < float(rows[1]["lr"])  # warm-up
    assert summary["loss_first_tenth"] == float(rows[0]["loss"])
    assert summary["loss_last_tenth"] == float(rows[5]["loss"])
    assert not any((tmp_path / "store").glob("*/checkpoint.safetensors"))  # a finished run leaves none


# a checkpoint is kept every second step: 1 is before the first, 4 just after the second, 5 a step past it
@pytest.mark.parametrize("changes, cut", [({}, 1), ({}, 4), ({}, 5), ({"optimizer": "adamw", "ema": 0.9}, 5),
                                          ({"carried": 0.5}, 4)])
def test_interrupted_and_resumed_gives_the_same_bytes(tiny, tmp_path, monkeypatch, changes, cut):
    _, whole, whole_log = run(tiny, tmp_path / "whole", **changes)
    with monkeypatch.context() as patch:
        begun = steps_until(patch, cut)
        with pytest.raises(KeyboardInterrupt):
            run(tiny, tmp_path / "cut", **changes)
    assert begun == list(range(cut)) and not (tmp_path / "cut" / "out" / "temporal.safetensors").exists()
    with monkeypatch.context() as patch:
        begun = steps_until(patch, None)
        _, resumed, resumed_log = run(tiny, tmp_path / "cut", **changes)
    assert begun == list(range(cut // 2 * 2, 6)), "no step that a checkpoint holds is run again"
    assert resumed == whole and resumed_log == whole_log


def interrupted_then(tiny, tmp_path, monkeypatch, before, after):
    """The steps that a run with `after` begins where one with `before` was interrupted at step 5, checkpoint at 4."""
    with monkeypatch.context() as patch:
        steps_until(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            run(tiny, tmp_path, **before)
    with monkeypatch.context() as patch:
        begun = steps_until(patch, None)
        _, weights, _ = run(tiny, tmp_path, **after)
    return begun, weights


@pytest.mark.parametrize("after", [{"preview_every": 2}, {"checkpoint_every": 3}, {"device": "auto"},
                                   {"name": "renamed"}])
def test_how_often_one_looks_and_where_it_runs_keep_the_checkpoint(tiny, tmp_path, monkeypatch, after):
    begun, weights = interrupted_then(tiny, tmp_path / "cut", monkeypatch, {}, after)
    assert begun == [4, 5]
    whole = run(tiny, tmp_path / "whole")[1]
    assert tensors(weights) == tensors(whole)


@pytest.mark.parametrize("after", [{"learning_rate": 1e-3}, {"steps": 7}, {"seed": 1}, {"mask_value": 0},
                                   {"beta_schedule": "linear"}])
def test_what_decides_the_result_starts_anew(tiny, tmp_path, monkeypatch, after):
    begun, _ = interrupted_then(tiny, tmp_path, monkeypatch, {}, after)
    assert begun[0] == 0


def test_another_checkpoint_or_other_first_weights_start_anew_whatever_they_are_called(tiny, tmp_path, monkeypatch):
    other = write_tiny_checkpoint(tmp_path / "other")
    path = other / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v + 0.01 for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    begun, _ = interrupted_then(tiny, tmp_path / "a", monkeypatch, {},
                                {"checkpoint": str(other), "about": {"checkpoint": str(tiny[0])}})
    assert begun[0] == 0
    run(tiny, tmp_path / "first")
    begun, _ = interrupted_then(tiny, tmp_path / "b", monkeypatch, {},
                                {"init": str(tmp_path / "first" / "out" / "temporal.safetensors")})
    assert begun[0] == 0


def tensors(data: bytes) -> bytes:
    """The tensors of a safetensors file, behind the header."""
    return data[8 + int.from_bytes(data[:8], "little"):]


def test_the_seed_decides(tiny, tmp_path):
    weights = [run(tiny, tmp_path / str(i), seed=s)[1] for i, s in enumerate((0, 0, 1))]
    assert weights[0] == weights[1] != weights[2]


def test_it_learns_the_clip(tiny, tmp_path):
    # the frozen checkpoint is random noise: half the loss must be learnable by the temporal layers alone
    summary, _, _ = run(tiny, tmp_path, steps=60, learning_rate=3e-3, warmup_steps=5)
    assert summary["loss_last_tenth"] < 0.9 * summary["loss_first_tenth"]


def test_previews_disturb_nothing_and_old_ones_go(tiny, tmp_path):
    _, plain, _ = run(tiny, tmp_path / "a")
    _, shown, _ = run(tiny, tmp_path / "b", preview_every=3)
    assert tensors(plain) == tensors(shown)
    previews = tmp_path / "b" / "out" / "previews"
    assert sorted(p.name for p in previews.iterdir()) == ["step_00003.gif", "step_00006.gif"]
    run(tiny, tmp_path / "b", preview_every=5)
    assert [p.name for p in previews.iterdir()] == ["step_00005.gif"]


def test_it_starts_from_a_temporal_file_with_the_noise_and_mask_of_this_run(tiny, tmp_path):
    run(tiny, tmp_path / "first", beta_schedule="linear", mask_value=0, steps=2, strides=[1])
    first = tmp_path / "first" / "out" / "temporal.safetensors"
    # a rate of next to nothing: what comes out is what it started from
    run(tiny, tmp_path / "second", init=str(first), learning_rate=1e-12, weight_decay=0.0, steps=1)
    a, b = load_file(first), load_file(tmp_path / "second" / "out" / "temporal.safetensors")
    assert all(torch.allclose(a[k], b[k], atol=1e-9) for k in a)
    notes = read_temporal(tmp_path / "second" / "out" / "temporal.safetensors").notes
    assert (notes.schedule["beta_schedule"], notes.mask_value, notes.strides) == ("scaled_linear", 1, [1, 2])


def test_a_temporal_file_of_another_placement_is_refused_as_a_start(tiny, tmp_path):
    run(tiny, tmp_path / "first", conv_placement="3x3", steps=1)
    with pytest.raises(UserError, match="finetune.conv_placement"):
        run(tiny, tmp_path / "b", init=str(tmp_path / "first" / "out" / "temporal.safetensors"))


def test_a_clip_too_short_is_one_line(tiny, tmp_path):
    with pytest.raises(UserError, match=r"videos\.drift: 9 training frames.*need 11"):
        run(tiny, tmp_path, frames=11, strides=[1, 2])
    assert not (tmp_path / "store").exists()


def test_a_store_in_use_is_one_line(tiny, tmp_path, monkeypatch):
    held = ResumeStore(tmp_path / "store", {})
    monkeypatch.setattr(runs.open_store, "__defaults__", (0.1,))
    with pytest.raises(UserError, match="another training"):
        run(tiny, tmp_path)
    held.close(finished=True)


def test_a_clip_that_was_not_prepared_is_one_line(tiny, tmp_path):
    with pytest.raises(UserError, match="prepare the clip first"):
        finetune(tmp_path / "nothing", tmp_path / "out", tmp_path / "store", settings=tiny_settings(),
                 checkpoint=str(tiny[0]))


def test_bfloat16_trains_and_fp16_wants_a_gpu(tiny, tmp_path):
    summary, _, _ = run(tiny, tmp_path, mixed_precision="bf16", steps=2)
    assert summary["loss_last_tenth"] > 0
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="fp16 needs a GPU"):
            run(tiny, tmp_path, mixed_precision="fp16", steps=2)


def test_the_file_says_what_was_trained(tiny, tmp_path):
    run(tiny, tmp_path)
    notes = read_temporal(tmp_path / "out" / "temporal.safetensors").notes
    assert (notes.video, notes.steps, notes.prompt, notes.mask_value, notes.fps) == ("drift", 6, "ocean waves", 1, 8.0)
    assert notes.frames == 3 and notes.strides == [1, 2] and notes.checkpoint == tiny[0].name
    assert notes.schedule["beta_schedule"] == "scaled_linear" and notes.schedule["prediction_type"] == "epsilon"
    json.dumps(notes.schedule)


def test_the_first_weights_are_drawn_on_the_cpu_wherever_the_model_is(tiny):
    """On a GPU other numbers would be drawn, so that a run could not be told by its seed. torch's meta device stands
    for one here: what is drawn there leaves the CPU's generator where it was."""
    after = []
    for device in ("cpu", "meta"):
        base = open_checkpoint(str(tiny[0]))
        torch.manual_seed(0)
        pipe = LateNtMoviesPipeline.from_checkpoint(
            dataclasses.replace(base, unet=base.unet.to(device)), in_place=True)
        assert pipe.unet.fps_embedding.linear_1.weight.device.type == device
        after.append(torch.get_rng_state())
    assert torch.equal(*after)
