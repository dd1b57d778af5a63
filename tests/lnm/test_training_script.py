"""`lnm.finetune`: layers learn a clip from a script, by one process or several, and go on after an interruption."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import SIZE, write_tiny_checkpoint, write_tiny_prepared

import lnm
from lnm import training, video
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.pipeline import LateNtMoviesPipeline
from lnm.temporal_file import read_temporal


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def pipeline(base, **kwargs):
    torch.manual_seed(torch.seed())  # as in a new process: nothing may hang on what was drawn before
    pipe = LateNtMoviesPipeline.from_pretrained(base, **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def clip(count=12):
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    return np.stack([np.roll(picture, i, axis=1) for i in range(count)])


CHOICES = dict(prompt="ocean waves", fps=8, steps=4, frames=3, checkpoint_every=2, warmup_steps=1)


def learned(pipe):
    return {k: p.detach().clone() for k, p in pipe.unet.temporal_parameters().items()}


def same(one, other):
    return all(torch.equal(one[k], other[k]) for k in one)


def film(pipe):
    return pipe(clip(1), "ocean waves", num_frames=3, fps=8, num_inference_steps=3,
                generator=torch.Generator().manual_seed(0)).frames


def test_frames_and_a_folder_of_them_and_a_store_give_the_same_layers(base, tmp_path):
    by_frames, by_path, by_store = pipeline(base), pipeline(base), pipeline(base)
    trained = lnm.finetune(by_frames, clip(), **CHOICES)
    assert len(trained.losses) == 4 and trained.steps == 4
    video.write_frames(tmp_path / "frames", clip())
    lnm.finetune(by_path, str(tmp_path / "frames"), **CHOICES)
    kept = lnm.finetune(by_store, clip(), store=tmp_path / "store", **CHOICES)
    assert kept.losses == pytest.approx(trained.losses, abs=1e-6)
    assert same(learned(by_frames), learned(by_path)) and same(learned(by_frames), learned(by_store))
    assert not list((tmp_path / "store").glob("*/*"))


def test_a_video_file_is_resampled_cropped_and_resized(base, tmp_path, monkeypatch):
    path = video.write_mp4(tmp_path / "clip.mp4", clip(24).repeat(2, 1).repeat(2, 2), 16)
    seen, real = [], training.encode
    monkeypatch.setattr(training, "encode", lambda vae, frames, **kwargs: seen.append(frames) or real(vae, frames))
    lnm.finetune(pipeline(base), path, **CHOICES | {"steps": 1})
    lnm.finetune(pipeline(base), path, size=(48, 32), crop=[0, 0, 48, 32], **CHOICES | {"steps": 1})
    assert np.array_equal(seen[0], video.read(path, 8, SIZE).frames) and seen[0].shape == (12, SIZE, SIZE, 3)
    assert np.array_equal(seen[1], video.read(path, 8, (48, 32), [0, 0, 48, 32]).frames)


@pytest.mark.parametrize("same_pipeline", [False, True])
@pytest.mark.parametrize("cut", [1, 3])
def test_an_interrupted_call_goes_on_to_the_same_bytes(base, tmp_path, monkeypatch, same_pipeline, cut):
    whole = pipeline(base)
    lnm.finetune(whole, clip(), **CHOICES)
    real, pipe = training.make_batch, pipeline(base)

    def dies(latents, settings, fps, scheduler, seed, step, *rest, **told):
        if step == cut:
            raise KeyboardInterrupt
        return real(latents, settings, fps, scheduler, seed, step, *rest, **told)

    with monkeypatch.context() as patch:
        patch.setattr(training, "make_batch", dies)
        with pytest.raises(KeyboardInterrupt):
            lnm.finetune(pipe, clip(), store=tmp_path, **CHOICES)
    begun = []
    monkeypatch.setattr(training, "make_batch", lambda *args, **told: begun.append(args[5]) or real(
        *args, **told))
    pipe = pipe if same_pipeline else pipeline(base)
    trained = lnm.finetune(pipe, clip(), store=tmp_path, **CHOICES)
    assert begun == list(range(cut // 2 * 2, 4)) and len(trained.losses) == 4
    assert same(learned(pipe), learned(whole))


def test_what_was_learned_travels_with_the_noise_that_it_was_trained_on(base, tmp_path):
    pipe = pipeline(base)
    betas = pipe.scheduler.betas
    lnm.finetune(pipe, clip(), beta_schedule="linear", learning_rate=1e-2, mask_value=1, **CHOICES)
    torch.testing.assert_close(pipe.scheduler.betas, torch.linspace(0.00085, 0.012, 1000))
    assert not torch.allclose(pipe.scheduler.betas, betas)
    pipe.save_temporal(tmp_path / "waves.safetensors", video="mine")
    notes = read_temporal(tmp_path / "waves.safetensors").notes
    assert (notes.fps, notes.frames, notes.strides, notes.prompt, notes.steps, notes.mask_value, notes.video) == (
        8.0, 3, [1, 2], "ocean waves", 4, 1, "mine")
    assert notes.checkpoint == base.name, "the file names its base model"
    again = pipeline(base, temporal=tmp_path / "waves.safetensors")
    assert again.config.mask_value == 1 and np.array_equal(film(pipe), film(again))
    again.save_temporal(tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").read_bytes() == (tmp_path / "waves.safetensors").read_bytes()
    assert not np.array_equal(film(pipe), film(pipeline(base)))


def test_it_starts_from_a_temporal_file_by_name_or_from_what_is_loaded(base, tmp_path):
    first = pipeline(base)
    lnm.finetune(first, clip(), beta_schedule="linear", mask_value=0, **CHOICES)
    first.save_temporal(tmp_path / "first.safetensors")
    still = dict(learning_rate=1e-12, weight_decay=0.0)  # what comes out is what it started from
    second = pipeline(base)
    lnm.finetune(second, clip(), init=str(tmp_path / "first.safetensors"), **still, **CHOICES)
    assert second.config.mask_value == 1 and second.scheduler.config.beta_schedule == "scaled_linear"
    assert all(torch.allclose(v, learned(first)[k], atol=1e-9) for k, v in learned(second).items())
    lnm.finetune(first, clip(), **still, **CHOICES)
    assert all(torch.allclose(v, learned(first)[k], atol=1e-9) for k, v in learned(second).items())


def test_the_seed_draws_what_is_random_in_new_layers(base):
    made = [pipeline(base) for _ in range(3)]
    for pipe, seed in zip(made, (0, 0, 1), strict=True):
        lnm.finetune(pipe, clip(), seed=seed, **CHOICES | {"learning_rate": 1e-12})
    one, again, other = (learned(pipe)["fps_embedding.linear_1.weight"] for pipe in made)
    assert torch.equal(one, again) and not torch.allclose(one, other, atol=1e-3)
    reach = made[0].unet.fps_embedding.linear_1.in_features ** -0.5
    assert 0.9 * reach < one.abs().max() <= reach and abs(one.mean()) < 0.1 * reach, "as nn.Linear draws"


def test_the_pipeline_is_given_back_as_it_came(base):
    pipe = pipeline(base)
    lnm.finetune(pipe, clip(), mixed_precision="bf16", gradient_checkpointing=True, **CHOICES)
    assert not pipe.unet.training and "forward" not in vars(pipe.unet)
    assert film(copy.deepcopy(pipe)).shape == (1, 3, SIZE, SIZE, 3)


@pytest.mark.parametrize("frames, changes, words", [
    (clip(), {"fps": 0}, "fps 0: must be a number above 0"),
    (clip(3), {"frames": 5}, "clip: 3 training frames.*need 5"),
    (clip().astype(np.float32), {}, "type float32; give uint8"), (clip()[0], {}, r"shape \(32, 32, 3\)"),
    (clip()[:, :31], {}, "32 x 31 pixels: both must be multiples of 2"), (clip(), {"size": 64}, "for a path only"),
    ("nothing.mp4", {}, "no such file"), (clip(), {"conv_placement": "3x3"}, "was opened with all"),
    (clip(), {"init": "none.safetensors"}, "none.safetensors"),
    (clip(), {"mixed_precision": "fp16"}, "fp16 needs a GPU")])
def test_what_cannot_be_trained_on_is_one_line(base, frames, changes, words):
    with pytest.raises(UserError, match=words) as error:
        lnm.finetune(pipeline(base), frames, **CHOICES | changes)
    assert "\n" not in str(error.value)


def test_pipelines_that_cannot_be_trained_are_refused(base):
    with pytest.raises(UserError, match="open it in float32"):
        lnm.finetune(pipeline(base, torch_dtype=torch.bfloat16), clip(), **CHOICES)
    plain = LateNtMoviesPipeline.frame_by_frame(open_checkpoint(str(base)))
    with pytest.raises(UserError, match="no temporal layers"):
        lnm.finetune(plain, clip(), **CHOICES)
    failed = pipeline(base)
    next(iter(failed.unet.temporal_parameters().values())).data[:] = float("nan")
    with pytest.raises(UserError, match="not finite, as a fine-tune that failed leaves them; open it again"):
        lnm.finetune(failed, clip(), **CHOICES)
    lnm.finetune(pipeline(base, conv_placement="3x3"), clip(), **CHOICES)  # the pipeline's own placement counts


@pytest.mark.parametrize("changes, key", [
    ({"stpes": 3}, "^stpes: unknown setting; did you mean steps.; got 3$"),
    ({"learning_rate": -1.0}, "^learning_rate: should be greater than 0; got -1.0$"), ({"steps": "3"}, "^steps"),
    ({"fps": "8"}, "^fps '8': must be a number above 0")])
def test_a_setting_that_is_misspelt_or_out_of_range_is_named(base, changes, key):
    with pytest.raises(UserError, match=key) as error:
        lnm.finetune(pipeline(base), clip(), **CHOICES | changes)
    assert "\n" not in str(error.value)


def test_a_fine_tune_that_fails_leaves_the_noise_schedule_and_memory_settings_as_they_were(base, monkeypatch):
    pipe = pipeline(base)
    betas = pipe.scheduler.betas
    monkeypatch.setattr(training.Trainer, "loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(UserError, match="not finite"):
        lnm.finetune(pipe, clip(), beta_schedule="linear", gradient_checkpointing=True, **CHOICES)
    assert torch.equal(pipe.scheduler.betas, betas) and not pipe.unet.is_gradient_checkpointing
    monkeypatch.undo()
    lnm.finetune(pipe, clip(), beta_schedule="linear", gradient_checkpointing=True, **CHOICES)
    assert not torch.allclose(pipe.scheduler.betas, betas) and not pipe.unet.is_gradient_checkpointing


# ---------------------------------------------------------------- several processes


SCRIPT = """
import os, sys
import numpy as np
from pathlib import Path
from tiny import tiny_finetune
import lnm
from lnm.stages.finetune import finetune
from lnm.training import train

checkpoint, prepared, out = map(Path, sys.argv[1:])
rank = os.environ["RANK"]
frames = np.load(out / "clip.npy")
pipe = lnm.LateNtMoviesPipeline.from_pretrained(checkpoint)
pipe.to("cpu")
trained = lnm.finetune(pipe, frames, prompt="ocean waves", fps=8, steps=3, frames=3, store=out / "store")
pipe.save_temporal(out / f"{rank}.safetensors")
np.save(out / f"losses{rank}.npy", trained.losses)
summary = finetune(prepared, out / "stage", out / "stage_store", **tiny_finetune(checkpoint, ema=0.9))
(out / f"summary{rank}").write_text(str(summary["steps"]))
"""


def test_two_processes_train_one_model_and_the_first_writes(base, tmp_path):
    prepared = write_tiny_prepared(tmp_path / "prepared", base)
    (tmp_path / "script.py").write_text(SCRIPT)
    np.save(tmp_path / "clip.npy", clip())
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
                   "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
                           "script.py", str(base), str(prepared), str(tmp_path)], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert same(one, two), "gradients are averaged: both go the same way"
    losses = [np.load(tmp_path / f"losses{rank}.npy") for rank in (0, 1)]
    assert not np.allclose(losses[0], losses[1], atol=1e-3), "each draws clips of its own"
    alone = pipeline(base)
    lnm.finetune(alone, clip(), **CHOICES | {"steps": 3, "warmup_steps": 30})
    assert not same(learned(alone), one)
    assert (tmp_path / "summary1").read_text() == "6" and (tmp_path / "stage" / "temporal.safetensors").is_file()
    assert len((tmp_path / "stage" / "log.csv").read_text().splitlines()) == 1 + 6, "one process keeps the log"
