"""`steps: auto`: a part of the clip is kept apart, looked at on fixed noise, and says whose weights are kept."""

import numpy as np
import pytest
import torch
from tiny import SIZE, write_tiny_checkpoint

import lnm
from lnm import training
from lnm.errors import UserError
from lnm.pipeline import LateNtMoviesPipeline
from lnm.settings import Finetune
from lnm.validation import GRID, Choice, grid, reach, samples, split

AUTO = dict(prompt="ocean waves", fps=8, steps="auto", most_steps=6, validate_every=2, patience=2, frames=3,
            checkpoint_every=2, warmup_steps=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def pipeline(base):
    return LateNtMoviesPipeline.from_pretrained(base)


def clip(count=12):
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    return np.stack([np.roll(picture, i, axis=1) for i in range(count)])


def learned(pipe):
    return {k: p.detach().clone() for k, p in pipe.unet.temporal_parameters().items()}


def same(one, other):
    return all(torch.equal(one[k], other[k]) for k in one)


def rising(count):
    return torch.arange(count).float()[:, None, None, None]


def test_the_last_part_is_kept_apart_and_holds_a_sample_at_least():
    train, held = split(rising(20), Finetune(frames=3, strides=[1, 2], validation=0.25))
    assert train.flatten().tolist() == list(range(15)) and held.flatten().tolist() == [15, 16, 17, 18, 19]
    train, held = split(rising(20), Finetune(frames=5, strides=[2], validation=0.1))
    assert len(held) == 9 == reach(Finetune(frames=5, strides=[2])) and len(train) == 11


def test_what_is_looked_at_is_spread_and_of_the_smallest_stride():
    found = samples(rising(20), Finetune(frames=3, strides=[3, 2]))
    assert [f.flatten().tolist() for f in found] == [[0, 2, 4], [15, 17, 19]] and found[0].shape == (1, 1, 3, 1, 1)
    assert [f.flatten().tolist() for f in samples(rising(3), Finetune(frames=3))] == [[0, 1, 2]]


def test_the_grid_is_the_same_at_every_look_and_another_for_another_sample():
    clean = torch.zeros(1, 2, 3, 4, 4)
    once, again, other = (list(grid(clean, number, 1000)) for number in (0, 0, 1))
    assert [int(t) for _, t, _ in once] == [55, 166, 277, 388, 500, 611, 722, 833, 944] and len(once) == GRID
    assert all(torch.equal(a[0], b[0]) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once[0][0], other[0][0]) and not torch.equal(once[0][0], once[1][0])


def test_the_best_look_is_kept_and_patience_ends():
    weights = {"w": torch.zeros(2)}
    choice = Choice(weights, patience=2)
    for done, loss in enumerate((3.0, 1.0, 2.0, 1.0)):
        assert not choice.settled
        weights["w"].fill_(done)
        choice.look(done, loss, weights)
    assert choice.settled and (choice.step, choice.loss) == (1, 1.0)
    choice.restore(weights)
    assert weights["w"].tolist() == [1, 1]


def test_a_run_keeps_the_weights_of_its_best_look(base, monkeypatch):
    losses = iter([0.5, 0.4, 0.3, 0.6])  # after 0, 2, 4 and 6 steps
    monkeypatch.setattr(training.Trainer, "held_out_loss", lambda *_: next(losses))
    pipe = pipeline(base)
    trained = lnm.finetune(pipe, clip(), **AUTO)
    assert (trained.steps, trained.validation_loss, len(trained.losses)) == (4, 0.3, 6)
    assert pipe.learned["steps"] == 4
    plain, frames = pipeline(base), clip()[:-3]  # 0.2 of 12 frames, and one sample at least, are kept apart
    monkeypatch.undo()
    stopped = []
    real = training.Trainer.step

    def step(self, *args):
        if args[-1] == 4:
            stopped.append(learned(plain))
        return real(self, *args)

    monkeypatch.setattr(training.Trainer, "step", step)
    lnm.finetune(plain, frames, **AUTO | {"steps": 6})
    assert same(learned(pipe), stopped[0])


def test_the_last_step_is_looked_at_wherever_it_falls(base, monkeypatch):
    seen, real = [], training.Choice.look
    monkeypatch.setattr(training.Choice, "look", lambda self, done, loss, weights: seen.append(done) or real(
        self, done, loss, weights))
    lnm.finetune(pipeline(base), clip(), **AUTO | {"most_steps": 5, "patience": 9})
    assert seen == [0, 2, 4, 5]


def test_no_noise_lies_on_the_still_that_is_looked_at(base):
    settings = Finetune(frames=3, still_noise=0.5, strides=[1])
    pipe = pipeline(base)
    trainer = training.Trainer(pipe, "waves", settings, training.make_accelerator(settings, "cpu"), "sea")
    held = torch.randn(4, pipe.vae.config.latent_channels, 8, 8)
    for _, batch in training._held_batches(trainer, held[:3], 8.0):
        still = batch["sample"][:, -held.shape[1]:]
        assert torch.equal(still[0, :, 0], held[0]) and torch.equal(still[0, :, 2], held[0])


def test_it_stops_when_no_look_is_better(base, monkeypatch):
    losses = iter(range(9))
    monkeypatch.setattr(training.Trainer, "held_out_loss", lambda *_: float(next(losses)))
    pipe = pipeline(base)
    before = learned(pipe)
    trained = lnm.finetune(pipe, clip(), **AUTO | {"seed": 0})
    assert trained.steps == 0 and len(trained.losses) == 4  # two looks that are worse than the first
    assert all(torch.equal(before[k], p) for k, p in learned(pipe).items() if "to_qkv" not in k and "linear_1" not in k)


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_an_interrupted_choice_goes_on_to_the_same_weights(base, tmp_path, monkeypatch, cut):
    whole = pipeline(base)
    expected = lnm.finetune(whole, clip(), store=tmp_path / "whole", **AUTO)
    real = training.Trainer.step

    def broken(self, latents, fps, seed, step):
        if step == cut:
            raise KeyboardInterrupt
        return real(self, latents, fps, seed, step)

    monkeypatch.setattr(training.Trainer, "step", broken)
    with pytest.raises(KeyboardInterrupt):
        lnm.finetune(pipeline(base), clip(), store=tmp_path / "cut", **AUTO)
    monkeypatch.undo()
    resumed = pipeline(base)
    found = lnm.finetune(resumed, clip(), store=tmp_path / "cut", **AUTO)
    assert (found.steps, found.validation_loss) == (expected.steps, expected.validation_loss)
    assert same(learned(whole), learned(resumed))


def test_the_held_out_loss_is_of_the_held_out_part(base, monkeypatch):
    seen = []
    real = training._held_batches
    monkeypatch.setattr(training, "_held_batches", lambda trainer, held, *rest: seen.append(held) or real(
        trainer, held, *rest))
    frames = clip()
    lnm.finetune(pipeline(base), frames, **AUTO | {"most_steps": 2})
    changed = frames.copy()
    changed[:9] = np.random.default_rng(5).integers(0, 256, changed[:9].shape)
    lnm.finetune(pipeline(base), changed, **AUTO | {"most_steps": 2})
    assert len(seen) == 4 and len(seen[0]) == 3 and torch.equal(seen[0], seen[2])


def test_a_clip_that_is_too_short_to_be_split_is_refused(base):
    with pytest.raises(UserError, match=r"5 training frames; finetune.steps: auto keeps 3 of them apart"):
        lnm.finetune(pipeline(base), clip(5), **AUTO)
