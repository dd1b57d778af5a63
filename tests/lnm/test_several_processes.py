"""Two processes on gloo learn what one learns from the mean of both processes' gradients: a fine-tune, one that chooses
its number of steps, and a training on many clips."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny import CHANNELS, write_tiny_checkpoint

from lnm import motion, training
from lnm.batches import learning_rate, make_batch, make_optimizer
from lnm.checkpoint import open_checkpoint
from lnm.clips import EncodedClip
from lnm.model import InflatedModel
from lnm.runs import make_accelerator
from lnm.schedulers import make_scheduler
from lnm.settings import Finetune, Motion

PROMPT, FPS, SEED, RANKS = "ocean waves", 8.0, 3, 2
SMALL = dict(frames=3, warmup_steps=2, prompt_dropout=0.5, max_grad_norm=0.05, learning_rate=1e-3, preview_every=0)
FIXED = Finetune(**SMALL, steps=3, ema=0.9)
AUTO = Finetune(**SMALL, steps="auto", most_steps=4, validate_every=2, validation=0.2)
MANY = Motion(**SMALL, steps=3, optimizer="adamw", validate_every=2)


def opened(base):
    torch.manual_seed(0)
    return InflatedModel.from_checkpoint(open_checkpoint(str(base)))


def latents(seed=0, count=14):
    return torch.randn(count, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(seed))


def clips():
    return [EncodedClip(str(i), f"content {i}", caption, 8.0 + i, [latents(i)])
            for i, caption in enumerate(["ocean waves", "clouds", "a sunset"])]


def learned(pipe):
    return {k: p.detach().clone().contiguous() for k, p in pipe.unet.temporal_parameters().items()}


def main(base, out):
    """What each of the processes does; each writes what it holds in the end."""
    for name, settings in (("fixed", FIXED), ("auto", AUTO), ("many", MANY)):
        pipe, accelerator = opened(base), make_accelerator(settings, "cpu")
        if settings is MANY:
            done = motion.train_encoded(pipe, clips()[:2], clips()[2:], settings, accelerator, SEED)
        else:
            done = training.train(pipe, latents(), PROMPT, FPS, settings, accelerator, SEED)
        rank = accelerator.process_index
        save_file(learned(pipe), out / f"{name}{rank}.safetensors", {"steps": str(done.steps)})
        if settings is MANY:
            (out / f"validated{rank}").write_text(str(sorted(done.validation)))


@pytest.fixture(autouse=True)
def one_thread():
    """As the two processes have: the last digits of a sum depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def together(base, tmp_path_factory):
    """{name: layers} of two processes that torchrun has started, by both of them."""
    out = tmp_path_factory.mktemp("together")
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
                   "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node",
                           str(RANKS), __file__, str(base), str(out)], env=environment, capture_output=True, text=True,
                          timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def accumulate(pipe, settings, batches, steps):
    """The loop of a fine-tune by torch alone: a step goes down the mean of the ranks' gradients, clipped.

    batches(step): (embeddings (B, L, D), batch) of every rank.
    """
    pipe.unet.freeze_spatial()
    parameters = pipe.unet.temporal_parameters()
    optimizer, average = make_optimizer(parameters, settings), learned(pipe)
    pipe.unet.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings, getattr(settings, "lr_floor", 0.0))
        for embeds, batch in batches(step):
            seen = pipe.unet(batch["sample"], batch["timestep"], embeds, fps=batch["fps"]).sample
            (F.mse_loss(seen, batch["target"]) / RANKS).backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(settings.ema or 0.0, (1 + step) / (10 + step))
        for k, slow in average.items():
            slow.lerp_(parameters[k].detach(), 1 - decay)
    return average


def embedded(pipe, texts, drop):
    own, (empty,) = pipe.encode_prompt(texts), pipe.encode_prompt([""])
    return torch.where(drop[:, None, None], empty, own)


def same(one, other):
    assert one.keys() == other.keys()
    for k in one:
        torch.testing.assert_close(one[k], other[k], rtol=0, atol=1e-6, msg=lambda text, k=k: f"{k}: {text}")


@pytest.mark.parametrize("name", ["fixed", "auto", "many"])
def test_both_processes_hold_the_same_layers(together, name):
    one, two = (load_file(together / f"{name}{rank}.safetensors") for rank in range(RANKS))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_a_fine_tune_is_that_of_one_process_that_accumulates(base, together):
    pipe, data = opened(base), latents()
    scheduler = make_scheduler(pipe.scheduler, FIXED.beta_schedule)
    before = learned(pipe)

    def batches(step):
        for rank in range(RANKS):
            batch = make_batch(data, FIXED, FPS, scheduler, SEED, step, rank)
            yield embedded(pipe, [PROMPT], batch["drop"]), batch

    expected = accumulate(pipe, FIXED, batches, FIXED.steps)
    same(load_file(together / "fixed0.safetensors"), expected)
    assert max(float((expected[k] - before[k]).abs().max()) for k in before) > 1e-4, "it has moved"


def test_a_training_on_many_clips_is_that_of_one_process_that_accumulates(base, together):
    pipe, data = opened(base), clips()[:2]
    scheduler = make_scheduler(pipe.scheduler, MANY.beta_schedule)

    def batches(step):
        for rank in range(RANKS):
            batch, chosen = motion.make_motion_batch(data, MANY, scheduler, SEED, step, rank)
            yield embedded(pipe, [data[i].caption for i in chosen], batch["drop"]), batch

    same(load_file(together / "many0.safetensors"), accumulate(pipe, MANY, batches, MANY.steps))
    assert (together / "validated0").read_text() == "[2, 3]" and (together / "validated1").read_text() == "[]"


def test_the_ranks_draw_apart(base):
    pipe, data = opened(base), latents()
    one, two = (make_batch(data, FIXED, FPS, pipe.scheduler, SEED, 0, rank)["sample"] for rank in range(RANKS))
    assert not torch.allclose(one[:, :CHANNELS], two[:, :CHANNELS])


def test_a_held_out_loss_that_differs_between_processes_is_the_first_one_s(base, monkeypatch):
    """Sums on several GPUs need not be the same to the last digit, and all processes must stop at the same step."""
    told = []
    monkeypatch.setattr(training, "broadcast_object_list", lambda values: told.append(values[0]) or values)
    pipe = opened(base)
    done = training.train(pipe, latents(), PROMPT, FPS, AUTO, make_accelerator(AUTO, "cpu"), SEED)
    assert len(told) == 3 and done.validation_loss in told


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
