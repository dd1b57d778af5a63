"""The forecast: what it counts against what is counted on real tensors, and that each choice moves it as it must."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tiny import CHANNELS, SIZE, tiny_settings, write_tiny_checkpoint

from lnm.decoder import CONTEXT, has_temporal_decoder
from lnm.forecast import Forecast
from lnm.meter import Live, Peak
from lnm.pipeline import LateNtMoviesPipeline
from lnm.settings import Sample


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def forecast(base, low=False, sample=None, **changes):
    return Forecast(base, None, "cpu", (SIZE, 2 * SIZE), tiny_settings(**changes), sample or Sample(num_frames=4), low)


def test_bytes_alive_are_counted_as_tensors_come_and_go():
    with Live() as live:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b.view(10, 100).t()  # the same bytes
        assert (live.now, live.most) == (4000, 8000)
        del b, c
    assert live.now == 0 and live.most == 8000


def test_the_bytes_of_a_step_are_those_of_the_real_u_net(base):
    counted, temporal = forecast(base)._of_unet(train=True)
    unet = LateNtMoviesPipeline.from_pretrained(base).unet
    unet.freeze_spatial()
    unet.train()
    with Live() as live:
        sample = torch.randn(1, 2 * CHANNELS + 1, 3, SIZE, SIZE // 2)
        text = torch.randn(1, 77, 16)
        predicted = unet(sample, torch.full((1,), 500), text, fps=torch.full((1,), 8.0)).sample
        F.mse_loss(predicted, torch.zeros_like(predicted)).backward()
    assert counted == pytest.approx(live.most, rel=0.05)
    assert temporal == 4 * sum(p.numel() for p in unet.temporal_parameters().values())


def test_memory_follows_the_choices(base):
    plain = forecast(base).memory()
    weights = sum(p.numel() for part in ("unet", "vae", "text_encoder")
                  for p in getattr(LateNtMoviesPipeline.from_pretrained(base), part).parameters())
    assert 4 * weights < plain.finetune < 100 * weights
    assert forecast(base, frames=12).memory().finetune > plain.finetune
    assert forecast(base, frames=12, gradient_checkpointing=True).memory().finetune < forecast(
        base, frames=12).memory().finetune
    assert forecast(base, optimizer="adamw").memory().finetune > plain.finetune
    assert forecast(base, sample=Sample(num_frames=40)).memory().sample > plain.sample
    half = forecast(base, sample=Sample(num_frames=4, dtype="bf16"))
    assert (half.dtype, half.vae_dtype) == (torch.bfloat16, torch.float32), "the autoencoder stays whole on a CPU"
    saved = plain.sample - half.memory().sample
    assert 2 * (half.weights["unet"] + half.weights["text_encoder"]) < saved < 0.5 * plain.sample
    low = forecast(base, low=True, frames=12).memory()
    assert low.prepare < plain.prepare and low.finetune < forecast(base, frames=12).memory().finetune
    assert plain.most == max(plain.prepare, plain.finetune, plain.sample)


def test_time_is_steps_times_one_that_was_taken(base, monkeypatch):
    taken = forecast(base, steps=70)
    monkeypatch.setattr(taken, "_time", lambda run, times=2: [run(), 2.0][1])
    found = taken.take()
    assert (found.finetune_seconds, found.film_seconds) == (140.0, 2.0 * 15 + 2.0)
    auto = forecast(base, steps="auto", most_steps=60, validate_every=20)
    monkeypatch.setattr(auto, "_time", lambda run, times=2: 1.0)
    assert auto.take().finetune_seconds == 60 + 4 * 18, "four looks at nine timesteps of two places"


def test_a_film_begun_from_another_is_encoded_first_and_decoded_frame_by_frame(base, monkeypatch):
    timed = dict(num_frames=20, temporal_decoder="decoder.safetensors")
    noise = forecast(base, sample=Sample(**timed))
    begun = forecast(base, sample=Sample(begin="flow", strength=0.4, **timed))
    assert has_temporal_decoder(noise._decoder()) and not has_temporal_decoder(begun._decoder())
    seen = []
    for ahead in (noise, begun):
        monkeypatch.setattr(AutoencoderKL, "decode", lambda vae, x, real=AutoencoderKL.decode: (
            seen.append(len(x)) or real(vae, x)))
        ahead.memory()
        monkeypatch.undo()
    assert seen == [8 + 2 * CONTEXT, 8]
    for ahead, seconds in ((noise, 2 * 15 * 2.0 + 3 * 2.0), (begun, 2 * 6 * 2.0 + 2 * (3 * 2.0 + 3 * 2.0))):
        monkeypatch.setattr(ahead, "_time", lambda run, times=2: [run(), 2.0][1])
        assert ahead.take().film_seconds == seconds, "three chunks decoded; if begun encoded too, and both again"
    half = forecast(base, sample=Sample(begin="flow", strength=0.4, dtype="bf16", **timed))
    monkeypatch.setattr(half, "_time", lambda run, times=2: [run(), 2.0][1])
    assert half.take().film_seconds == 2 * 6 * 2.0 + 2 * (3 * 2.0 + 3 * 2.0)
    bare = forecast(base, sample=Sample(begin="flow", strength=0.4, restore_detail=False, **timed))
    monkeypatch.setattr(bare, "_time", lambda run, times=2: [run(), 2.0][1])
    assert bare.take().film_seconds == 2 * 6 * 2.0 + 3 * 2.0 + 3 * 2.0, "without the still's detail"
    low = forecast(base, low=True, sample=Sample(begin="flow", strength=0.4, **timed))
    monkeypatch.setattr(low, "_time", lambda run, times=2: 1.0)
    assert low.take().film_seconds == 2 * 6 + 2 * (20 + 20), "a frame at a time"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process its highest mark")
def test_the_highest_mark_is_of_what_was_held_inside():
    with Peak(torch.device("cpu")) as peak:
        for _ in range(2):
            held = torch.ones(25_000_000)  # 100 MB
            del held
    assert 95e6 < peak.bytes < 130e6
