"""Fine-tuning: what trains, what a step sees, exact resume, one trainer at a time."""

import csv

import pytest
import torch
from safetensors.torch import load_file
from tiny import CHANNELS, tiny_finetune, write_tiny_prepared, write_tiny_checkpoint

from lnm import training as ft
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.resume import ResumeStore
from lnm.schedulers import make_scheduler
from lnm.settings import Finetune
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


def test_only_time_is_trained_and_logged(tiny, tmp_path):
    summary, _, log = run(tiny, tmp_path)
    saved = load_file(tmp_path / "out" / "temporal.safetensors")
    assert saved and all(".temporal." in k or k.startswith("fps_embedding.") for k in saved)
    assert sum(v.numel() for v in saved.values()) == summary["trained_parameters"]
    rows = list(csv.DictReader(log.splitlines()))
    assert [int(r["step"]) for r in rows] == list(range(6))
    assert all(float(r["loss"]) > 0 and float(r["grad_norm"]) > 0 for r in rows)
    assert float(rows[0]["lr"]) < float(rows[1]["lr"])  # warm-up
    assert not any((tmp_path / "store").glob("*/checkpoint.safetensors"))  # a finished run leaves none


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "ema": 0.9}])
def test_interrupted_and_resumed_gives_the_same_bytes(tiny, tmp_path, monkeypatch, changes):
    _, whole, whole_log = run(tiny, tmp_path / "whole", **changes)
    seen = 0
    real = ft.make_batch

    def dies(*args, **kwargs):
        nonlocal seen
        seen += 1
        if seen == 5:  # one step past the checkpoint at 4
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(ft, "make_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "cut", **changes)
    assert not (tmp_path / "cut" / "out" / "temporal.safetensors").exists()
    monkeypatch.setattr(ft, "make_batch", real)
    _, resumed, resumed_log = run(tiny, tmp_path / "cut", **changes)
    assert resumed == whole and resumed_log == whole_log


def test_the_seed_decides(tiny, tmp_path):
    weights = [run(tiny, tmp_path / str(i), seed=s)[1] for i, s in enumerate((0, 0, 1))]
    assert weights[0] == weights[1] != weights[2]


def test_it_learns_the_clip(tiny, tmp_path):
    # the frozen checkpoint is random noise: half the loss must be learnable by the temporal layers alone
    summary, _, _ = run(tiny, tmp_path, steps=60, learning_rate=3e-3, warmup_steps=5)
    assert summary["loss_last_tenth"] < 0.9 * summary["loss_first_tenth"]


def test_never_two_trainers_on_one_store(tiny, tmp_path):
    first = ResumeStore(tmp_path, {"a": 1})
    with pytest.raises(UserError, match="another fine-tune"):
        ResumeStore(tmp_path, {"a": 1}, patience=0.1)
    with pytest.raises(UserError, match="another fine-tune"):
        ResumeStore(tmp_path, {"a": 2}, patience=0.1)
    first.close(finished=False)
    ResumeStore(tmp_path, {"a": 1}, patience=0.1).close(finished=True)


def test_a_step_sees_consecutive_frames_one_timestep_a_clip_and_the_unblanked_still(tiny):
    checkpoint = open_checkpoint(str(tiny[0]))
    scheduler = make_scheduler(checkpoint.scheduler)
    latents = torch.arange(40.0).view(40, 1, 1, 1).expand(40, CHANNELS, 2, 2)
    settings = Finetune(frames=5, strides=[1, 3], batch_size=16, prompt_dropout=0.5, mask_value=1)
    batch = ft.make_batch(latents, settings, 12.0, scheduler, 0, 0)
    assert batch["timestep"].shape == (16,) and batch["timestep"].unique().numel() > 8
    alpha = scheduler.alphas_cumprod[batch["timestep"]].view(-1, 1, 1, 1, 1)
    clean = (batch["sample"][:, :CHANNELS] - (1 - alpha).sqrt() * batch["target"]) / alpha.sqrt()  # eq. 1 undone
    steps = clean.diff(dim=2)
    stride = 12.0 / batch["fps"].view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(steps, stride.expand_as(steps), atol=0.2, rtol=0)
    assert set(batch["fps"].tolist()) == {12.0, 4.0}
    assert (batch["sample"][:, CHANNELS] == 1).all()
    hint = batch["sample"][:, CHANNELS + 1:]
    torch.testing.assert_close(hint, clean[:, :, :1].expand_as(hint), atol=0.2, rtol=0)
    assert 0 < batch["drop"].sum() < 16
    again = ft.make_batch(latents, settings, 12.0, scheduler, 0, 0)
    assert all(torch.equal(batch[k], again[k]) for k in batch)
    other = ft.make_batch(latents, settings, 12.0, scheduler, 0, 1)
    assert not torch.equal(batch["target"], other["target"])


def test_still_noise_touches_only_the_condition(tiny):
    scheduler = make_scheduler(open_checkpoint(str(tiny[0])).scheduler)
    latents = torch.zeros(9, CHANNELS, 2, 2)
    settings = Finetune(strides=[1], still_noise=0.5)
    batch = ft.make_batch(latents, settings, 8.0, scheduler, 0, 0)
    assert 0.1 < batch["sample"][:, CHANNELS + 1:].std() < 1.0
    plain = ft.make_batch(latents, settings.model_copy(update={"still_noise": 0.0}), 8.0, scheduler, 0, 0)
    assert torch.equal(batch["sample"][:, :CHANNELS], plain["sample"][:, :CHANNELS])


def test_a_checkpoint_that_predicts_velocity_gets_velocities(tiny, tmp_path):
    checkpoint = write_tiny_checkpoint(tmp_path / "v", prediction_type="v_prediction")
    scheduler = make_scheduler(open_checkpoint(str(checkpoint)).scheduler)
    latents = torch.randn(9, CHANNELS, 2, 2)
    settings = Finetune(strides=[1])
    batch = ft.make_batch(latents, settings, 8.0, scheduler, 0, 0)
    alpha = scheduler.alphas_cumprod[batch["timestep"]]
    noisy, v = batch["sample"][:, :CHANNELS], batch["target"]
    clean = alpha.sqrt() * noisy - (1 - alpha).sqrt() * v  # Salimans & Ho 2022
    hint = batch["sample"][:, CHANNELS + 1:, 0]
    torch.testing.assert_close(clean[:, :, 0], hint, atol=1e-4, rtol=1e-4)


def test_a_clip_too_short_is_one_line(tiny, tmp_path):
    with pytest.raises(UserError, match="9 training frames.*need 11"):
        run(tiny, tmp_path, frames=11, strides=[1, 2])


def test_previews_disturb_nothing(tiny, tmp_path):
    _, plain, _ = run(tiny, tmp_path / "a")
    _, shown, _ = run(tiny, tmp_path / "b", preview_every=3)
    strip = lambda b: b[8 + int.from_bytes(b[:8], "little"):]  # noqa: E731  the tensors behind the header
    assert strip(plain) == strip(shown)
    assert sorted(p.name for p in (tmp_path / "b" / "out" / "previews").iterdir()) == ["step_00003.gif", "step_00006.gif"]


@pytest.mark.parametrize("schedule", ["checkpoint", "linear", "scaled_linear", "cosine"])
def test_beta_schedules(tiny, schedule):
    base = open_checkpoint(str(tiny[0])).scheduler
    betas = make_scheduler(base, schedule).betas
    if schedule in ("checkpoint", "scaled_linear"):
        want = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    elif schedule == "linear":
        want = torch.linspace(0.00085, 0.012, 1000)
    else:
        s = torch.arange(1001, dtype=torch.float64) / 1000
        bar = torch.cos((s + 0.008) / 1.008 * torch.pi / 2) ** 2  # Nichol & Dhariwal 2021, eq. 17
        want = (1 - bar[1:] / bar[:-1]).clamp(max=0.999).float()
    torch.testing.assert_close(betas, want, atol=1e-6, rtol=1e-4)


def test_bfloat16_trains(tiny, tmp_path):
    summary, _, _ = run(tiny, tmp_path, mixed_precision="bf16", steps=2)
    assert summary["loss_last_tenth"] > 0


def test_note_says_what_was_trained(tiny, tmp_path):
    run(tiny, tmp_path)
    notes = read_temporal(tmp_path / "out" / "temporal.safetensors").notes
    assert (notes.video, notes.steps, notes.prompt, notes.mask_value, notes.fps) == ("drift", 6, "ocean waves", 0, 8.0)
    assert notes.frames == 3 and notes.strides == [1, 2] and notes.checkpoint == str(tiny[0])
    assert notes.schedule["beta_schedule"] == "scaled_linear" and notes.schedule["prediction_type"] == "epsilon"
