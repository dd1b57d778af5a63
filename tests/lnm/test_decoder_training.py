"""Training of a decoder in time: what a step sees, what is held out, what is learned; resumed to the same bytes."""

import csv
import shutil

import numpy as np
import pytest
import torch
from tiny import write_tiny_checkpoint
from tiny_decoder import drifting, tiny_dc, tiny_kl, wake_decoder, write_clips

from lnm import decoder_training as T
from lnm import video
from lnm.decoder import decode_film, decoder_parameters, has_temporal_decoder
from lnm.errors import UserError
from lnm.latents import encode_pixels, to_tensor
from lnm.pipeline import LateNtMoviesPipeline
from lnm.settings import Decoder

BOTH = pytest.mark.parametrize("new", [tiny_kl, tiny_dc])
SIZE = 32
QUICK = dict(size=SIZE, steps=6, frames=4, crop=16, warmup_steps=2, checkpoint_every=2, validate_every=3, holdout=0.2,
             ema=0.9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four videos and a folder of images."""
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def clips(folder):
    return sorted(folder.glob("*.mp4"))


def learned(vae):
    return {k: p.detach().clone() for k, p in decoder_parameters(vae).items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(p, other[k]) for k, p in one.items())


# ---------------------------------------------------------------- one step's data


@BOTH
def test_a_batch_is_a_function_of_seed_and_step(new, clips):
    vae, settings = new(), Decoder(frames=4, crop=16)
    one, again = (T.make_decoder_batch(vae, clips, settings, SIZE, 3, 7) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, again))
    for seed, step in ((4, 7), (3, 8)):
        assert not torch.equal(T.make_decoder_batch(vae, clips, settings, SIZE, seed, step)[1], one[1])
    assert one[0].shape == (4, 4, 8, 8) and one[1].shape == (4, 3, 16, 16) and one[1].abs().max() <= 1
    drawn = [T.make_decoder_batch(vae, clips, settings, SIZE, 0, step)[1] for step in range(12)]
    assert len({batch.sum().item() for batch in drawn}) == 12


@BOTH
def test_the_noise_is_in_units_of_the_scaled_latents(new, clips):
    """Its deviation is |N(0, 1)| times `noise`, whatever the scaling factor of the autoencoder."""
    vae, levels = new(), []
    for step in range(80):
        noisy, pixels = T.make_decoder_batch(vae, clips[:1], Decoder(frames=2, crop=16, noise=0.4), SIZE, 0, step)
        with torch.no_grad():
            clean = encode_pixels(vae, pixels)
        levels.append(((noisy - clean) * vae.config.scaling_factor).std().item())
    assert np.mean(levels) == pytest.approx(0.4 * (2 / np.pi) ** 0.5, rel=0.2)  # the mean of |N(0, 1)|
    assert np.mean(np.square(levels)) == pytest.approx(0.4**2, rel=0.4)
    noisy, pixels = T.make_decoder_batch(vae, clips, Decoder(frames=2, crop=16, noise=0.0), SIZE, 0, 0)
    with torch.no_grad():
        torch.testing.assert_close(noisy, encode_pixels(vae, pixels))


def test_frames_are_consecutive_at_a_drawn_stride_and_cut_on_whole_cells(tmp_path):
    """Pixels that say which frame and where they are."""
    frames = np.zeros((12, 32, 32, 3), np.uint8)
    frames[..., 0], frames[..., 1] = np.arange(12)[:, None, None] * 20, np.arange(32)[:, None] * 8
    frames[..., 2] = np.arange(32) * 8
    video.write_frames(tmp_path / "clip", frames)
    seen = set()
    for seed in range(40):
        cut = T.draw_frames(tmp_path / "clip", Decoder(frames=4, strides=[1, 3], crop=16), 4, 32,
                            np.random.default_rng(seed), False)
        times, y, x = cut[:, 0, 0, 0] // 20, cut[0, 0, 0, 1] // 8, cut[0, 0, 0, 2] // 8
        stride = int(times[1]) - int(times[0])
        assert stride in (1, 3) and (np.diff(times.astype(int)) == stride).all()
        assert y % 4 == x % 4 == 0 and cut.shape == (4, 16, 16, 3)
        assert np.array_equal(cut, frames[times][:, y:y + 16, x:x + 16])
        seen.add((stride, int(times[0]), int(y), int(x)))
        flipped = T.draw_frames(tmp_path / "clip", Decoder(frames=4, strides=[1, 3], crop=16), 4, 32,
                                np.random.default_rng(seed), True)
        assert np.array_equal(flipped, cut[:, :, ::-1])
    assert {s[0] for s in seen} == {1, 3} and len({s[1] for s in seen}) > 4 and len({s[2:] for s in seen}) > 10
    assert max(s[1] + 3 * s[0] for s in seen) == 11, "the last frame is drawn too"


def test_the_loss_sees_pixels_edges_and_change():
    settings = Decoder(gradient_weight=0.5, time_weight=2.0)
    real = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert T.decoder_loss(real, real, settings) == 0
    torch.testing.assert_close(T.decoder_loss(real + 0.1, real, settings), torch.tensor(0.1)), "a hue has no edge"
    flicker = real + 0.1 * torch.tensor([1, -1, 1, -1])[:, None, None, None]
    torch.testing.assert_close(T.decoder_loss(flicker, real, settings), torch.tensor(0.1 + 2 * 0.2))
    for dim in (-1, -2):  # stripes across or along
        stripes = real + 0.1 * torch.ones(8).where(torch.arange(8) % 2 == 0, torch.tensor(-1.0)).view(
            [8 if d == dim else 1 for d in (-4, -3, -2, -1)])
        torch.testing.assert_close(T.decoder_loss(stripes, real, settings), torch.tensor(0.1 + 0.5 * 0.2))


# ---------------------------------------------------------------- training


@BOTH
def test_training_lowers_the_loss_on_a_clip(new, folder, tmp_path):
    (tmp_path / "clips").mkdir()
    shutil.copy(folder / "0.mp4", tmp_path / "clips")
    vae = new()
    before = {k: p.clone() for k, p in vae.state_dict().items()}
    trained = T.train_decoder(vae, tmp_path / "clips", **QUICK | dict(steps=40, holdout=0.0, learning_rate=5e-3))
    assert trained.loss_last_tenth < 0.95 * trained.loss_first_tenth
    assert trained.validation == {} and trained.clips == ["0.mp4"] and trained.held_out == []
    assert trained.trained_parameters == sum(p.numel() for p in learned(vae).values())
    after = vae.state_dict()
    assert all(torch.equal(after[k], p) for k, p in before.items()), "nothing else trains"
    assert has_temporal_decoder(vae) and not any(p.requires_grad for p in decoder_parameters(vae).values())
    assert all(p.requires_grad for k, p in vae.named_parameters() if ".temporal." not in k), "as it came"


def test_it_learns_to_boil_less_from_noisy_latents_of_a_clip_it_never_saw(folder):
    vae = tiny_dc()
    trained = T.train_decoder(vae, folder, **QUICK | dict(steps=80, learning_rate=5e-3, noise=0.3))
    first, last = trained.validation[0], trained.validation[80]
    assert last["change_0.07"] < first["change_0.07"] and last["mse_0.07"] < first["mse_0.07"]


def test_what_is_kept_is_the_moving_average(folder, monkeypatch):
    vaes = [tiny_dc() for _ in range(2)]
    T.train_decoder(vaes[0], folder, **QUICK | dict(ema=0.0))
    T.train_decoder(vaes[1], folder, **QUICK | dict(ema=0.9))
    steps, real = [], T._step
    last = tiny_dc()
    monkeypatch.setattr(T, "_step", lambda vae, *rest: [real(vae, *rest), steps.append(learned(vae))][0])
    T.train_decoder(last, folder, **QUICK)
    assert same(steps[-1], learned(vaes[0])) and same(learned(last), learned(vaes[1]))
    slow = {k: torch.zeros_like(p) for k, p in steps[0].items()}
    start = tiny_dc()
    wake_decoder(start, size=0.0)
    slow = learned(start)
    for step, weights in enumerate(steps):
        decay = min(0.9, (1 + step) / (10 + step))
        slow = {k: decay * p + (1 - decay) * weights[k] for k, p in slow.items()}
    for k, p in learned(last).items():
        torch.testing.assert_close(p, slow[k], atol=1e-6, rtol=1e-5)


@BOTH
@pytest.mark.parametrize("cut", [1, 5])
def test_an_interrupted_training_goes_on_to_the_same_bytes(new, folder, tmp_path, monkeypatch, cut):
    whole, log = new(), tmp_path / "log.csv"
    trained = T.train_decoder(whole, folder, store=tmp_path / "whole", log=log, **QUICK)
    real, steps = T._step, []

    def step(*args):
        steps.append(args[-1])
        if steps == list(range(cut + 1)):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(T, "_step", step)
    vae = new()
    again = dict(store=tmp_path / "store", log=tmp_path / "again.csv", **QUICK)
    with pytest.raises(KeyboardInterrupt):
        T.train_decoder(vae, folder, **again)
    assert not has_temporal_decoder(vae), "as it came"
    done = T.train_decoder(vae, folder, **again)
    assert steps == [*range(cut + 1), *range(cut // 2 * 2, 6)]
    assert same(learned(vae), learned(whole)) and (tmp_path / "again.csv").read_bytes() == log.read_bytes()
    assert done.validation == trained.validation and done.losses == trained.losses
    assert not list((tmp_path / "store").glob("*/checkpoint.safetensors"))


def test_a_training_of_other_choices_does_not_go_on_from_it(folder, tmp_path, monkeypatch):
    real, steps = T._step, []

    def step(*args):
        steps.append(args[-1])
        if len(steps) == 5:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(T, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        T.train_decoder(tiny_dc(), folder, store=tmp_path, **QUICK)
    T.train_decoder(tiny_dc(), folder, store=tmp_path, **QUICK | dict(noise=0.2))
    assert steps[5:] == list(range(6))


def test_the_log_has_every_step_and_what_was_measured(folder, tmp_path):
    trained = T.train_decoder(tiny_dc(), folder, store=tmp_path / "store", log=tmp_path / "log.csv", **QUICK)
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["step", "loss", "lr", "grad_norm", "mse_0", "change_0", "mse_0.07", "change_0.07"]
    assert [int(row["step"]) for row in rows] == list(range(6))
    assert [i + 1 for i, row in enumerate(rows) if row["mse_0"]] == [3, 6] and set(trained.validation) == {0, 3, 6}
    assert all(float(row["loss"]) > 0 and float(row["lr"]) > 0 for row in rows)
    assert float(rows[1]["lr"]) == pytest.approx(1e-4) and float(rows[5]["lr"]) < 2e-5, "a warm-up, then a cosine"
    assert float(rows[5]["mse_0"]) == pytest.approx(trained.validation[6]["mse_0"], abs=1e-6)


def test_looking_more_often_changes_nothing(folder):
    often, seldom = tiny_dc(), tiny_dc()
    T.train_decoder(often, folder, **QUICK | dict(validate_every=1))
    T.train_decoder(seldom, folder, **QUICK | dict(validate_every=6))
    assert same(learned(often), learned(seldom))


# ---------------------------------------------------------------- clips


def test_clips_in_validation_are_never_trained_on(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "clips")
    (tmp_path / "clips" / "validation").mkdir()
    shutil.move(tmp_path / "clips" / "2.mp4", tmp_path / "clips" / "validation" / "2.mp4")
    seen, real = set(), T.draw_frames
    monkeypatch.setattr(T, "draw_frames", lambda path, *rest: [seen.add(path.name), real(path, *rest)][1])
    trained = T.train_decoder(tiny_dc(), tmp_path / "clips", **QUICK | dict(steps=20))
    assert trained.held_out == ["validation/2.mp4"] and seen == {"0.mp4", "1.mp4", "3.mp4", "frames"}
    assert set(trained.validation[20]) == set(T.MEASURES)


@BOTH
def test_what_is_measured_is_the_middle_of_a_held_out_clip(new, tmp_path):
    video.write_frames(tmp_path / "clip", drifting(0, 9))
    vae, settings = wake_decoder(new()), Decoder(frames=4, crop=16)
    sample = T.validation_sample(vae, tmp_path / "clip", settings, 32, 5)
    pixels = to_tensor(video.read(tmp_path / "clip", 1, 32).frames[2:6, 8:24, 8:24])
    assert torch.equal(sample[2], pixels)
    noise = torch.randn(sample[0].shape, generator=torch.Generator().manual_seed(5)) / vae.config.scaling_factor
    with torch.no_grad():
        torch.testing.assert_close(sample[0], encode_pixels(vae, pixels))
        found = T.measure(vae, [sample])
        for level in (0, 0.07):
            made = decode_film(vae, sample[0] + level * noise)
            assert found[f"mse_{level}"] == pytest.approx((made - pixels).square().mean().item(), rel=1e-4)
            change = (made.diff(dim=0) - pixels.diff(dim=0)).abs().mean().item()
            assert found[f"change_{level}"] == pytest.approx(change, rel=1e-4)


def test_clips_that_are_too_short_are_left_out_with_a_word(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "clips")
    video.write_mp4(tmp_path / "clips" / "short.mp4", drifting(9, 3), 8)
    with pytest.warns(UserWarning, match="1 clips have fewer than 4 frames and are left out: short.mp4"):
        trained = T.train_decoder(tiny_dc(), tmp_path / "clips", **QUICK | dict(steps=1, holdout=0.0))
    assert "short.mp4" not in trained.clips and len(trained.clips) == 5
    with pytest.warns(UserWarning), pytest.raises(UserError, match="none has the 13 frames of decoder.frames"):
        T.train_decoder(tiny_dc(), tmp_path / "clips", **QUICK | dict(frames=13))


@pytest.mark.parametrize("model, changes, says", [
    (tiny_dc, dict(size=None), "size: give it; an autoencoder alone does not say"),
    (tiny_dc, dict(size=33), "size 33: give the side of a square in pixels, a multiple of 2"),
    (tiny_dc, dict(size=(32, 48)), "size .32, 48.: give the side of a square"),
    (tiny_kl, dict(crop=15), "decoder.crop 15: must be a multiple of 2 pixels"),
    (tiny_dc, dict(stpes=3), "stpes: unknown setting; did you mean steps"),
    (tiny_dc, dict(frames=1), "frames: .*greater than or equal to 2"),
    (lambda: tiny_dc().half(), {}, "this autoencoder is in float16, too coarse"),
    (tiny_dc, dict(learning_rate=1e30), "the loss is not finite at step .; lower decoder.learning_rate")])
def test_what_cannot_be_trained_on_is_one_line_and_leaves_it_as_it_was(folder, model, changes, says):
    vae = model()
    with pytest.raises(UserError, match=says) as error:
        T.train_decoder(vae, folder, **QUICK | changes)
    assert "\n" not in str(error.value) and not has_temporal_decoder(vae)


def test_a_pipeline_says_itself_which_size_it_was_made_for(folder, tmp_path):
    pipe = LateNtMoviesPipeline.from_pretrained(write_tiny_checkpoint(tmp_path / "tiny"))
    trained = T.train_decoder(pipe, folder, **QUICK | dict(size=None, steps=1))
    assert pipe.vae.decoder.temporal_notes["size"] == 32 and trained.steps == 1
    assert pipe.vae.decoder.temporal_notes["clips"] == 4


def test_it_goes_on_from_layers_that_are_there(folder):
    vae = wake_decoder(tiny_dc())
    began = learned(vae)
    T.train_decoder(vae, folder, **QUICK | dict(learning_rate=1e-12))
    for k, p in learned(vae).items():
        torch.testing.assert_close(p, began[k], atol=1e-6, rtol=1e-5)
