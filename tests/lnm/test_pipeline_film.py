"""Films that are begun from another film, noised."""

import numpy as np
import pytest
import torch
from tiny import CHANNELS, SIZE
from tiny_pipeline import film, make, still

from lnm.schedulers import SCHEDULERS


def frames(count=3, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_noisiest_steps_are_left_out_and_the_film_is_noised_to_the_first_of_the_rest(checkpoint, kind, monkeypatch):
    pipe, seen = make(checkpoint, kind), []
    forward = pipe.unet.forward
    monkeypatch.setattr(pipe.unet, "forward", lambda sample, t, *args, **kwargs: (
        seen.append((sample.clone(), int(t))) or forward(sample, t, *args, **kwargs)))
    side = SIZE // pipe.vae_scale_factor
    noise = torch.randn(1, CHANNELS, 3, side, side, generator=torch.Generator().manual_seed(3))
    got = film(pipe, video=frames(), strength=0.5, num_inference_steps=6, latents=noise, output_type="latent")
    every = [int(t) for t in pipe.scheduler.timesteps]
    assert [t for _, t in seen] == every[3:] and torch.isfinite(got).all()
    level = pipe.scheduler.alphas_cumprod[every[3]]
    clean = pipe.encode_image(frames()).movedim(0, 1)[None]
    torch.testing.assert_close(seen[0][0][:, :CHANNELS], level.sqrt() * clean + (1 - level).sqrt() * noise,  # eq. 1
                               atol=2e-3, rtol=2e-3)
    seen.clear()
    plain = film(pipe, num_inference_steps=6, latents=noise, output_type="latent")
    assert len(seen) == len(every) and not torch.equal(got, plain), "the next film begins with the first step again"


def test_the_fewer_steps_the_nearer_the_film_stays(pipe):
    clean = pipe.encode_image(frames()).movedim(0, 1)[None]
    gaps = [float((film(pipe, video_latents=clean, strength=strength, num_inference_steps=8, output_type="latent")
                   - clean).square().mean()) for strength in (0.125, 0.5, 1.0)]
    assert gaps == sorted(gaps) and gaps[0] < 0.5 * gaps[2]


def test_the_film_it_begins_from_may_be_given_as_latents_and_one_does_for_all(pipe):
    clean = pipe.encode_image(frames()).movedim(0, 1)[None]
    given = dict(prompt=["ocean waves"] * 2, strength=0.5, num_inference_steps=4, output_type="latent",
                 generator=[torch.Generator().manual_seed(s) for s in (0, 1)])
    one = film(pipe, video=frames(), **given)
    given["generator"] = [torch.Generator().manual_seed(s) for s in (0, 1)]
    assert torch.equal(one, film(pipe, video_latents=clean.expand(2, -1, -1, -1, -1), **given))
    assert not torch.equal(one[0], one[1])


@pytest.mark.parametrize("long", ["windows", "continue", "whole"])
def test_long_films_take_the_frames_of_each_window(pipe, long):
    given = dict(num_frames=7, window=4, window_stride=2, long=long, num_inference_steps=50, output_type="latent")
    clean = pipe.encode_image(frames(7)).movedim(0, 1)[None]
    got = film(pipe, video_latents=clean, strength=0.02, **given)  # one step of fifty: hardly anything is changed
    gaps = torch.cdist(got[0].movedim(1, 0).flatten(1), clean[0].movedim(1, 0).flatten(1))  # of each frame to each
    assert gaps.argmin(1).tolist() == list(range(7))


@pytest.mark.parametrize("long", ["windows", "continue", "whole"])
def test_a_frame_is_told_of_the_still_or_of_the_frame_that_it_is_begun_from(pipe, long, monkeypatch):
    told, forward = [], pipe.unet.forward
    monkeypatch.setattr(pipe.unet, "forward", lambda sample, *args, **kwargs: (
        told.append(sample[:, CHANNELS + 1:].clone()) or forward(sample, *args, **kwargs)))
    clean = pipe.encode_image(frames(6)).movedim(0, 1)[None]
    parts = [clean] if long == "whole" else [clean[:, :, start:start + 4] for start in (0, 2)]
    given = dict(video_latents=clean, strength=0.5, num_frames=6, window=4, window_stride=2, long=long,
                 num_inference_steps=2, output_type="latent")
    for condition, wanted in (("video", parts), ("still", [pipe.encode_image(still())[:, :, None]])):
        told.clear()
        film(pipe, condition=condition, **given)
        assert len(told) == len(parts)
        for seen, want in zip(told, wanted * len(told), strict=False):
            torch.testing.assert_close(seen, want.expand_as(seen))


@pytest.mark.parametrize("given, message", [
    (dict(video=frames(2)), r"video: latents of shape \(1, .*wanted \(1, .*give 3 frames of the film's size"),
    (dict(video=frames(), video_latents=torch.zeros(1)), "video: give it or video_latents, one of the two"),
    (dict(condition="video"), "condition 'video': give video, or leave condition out"),
    (dict(video=frames(), condition="film"), "condition 'film': choose from still, video"),
    (dict(video=frames(), strength=0), r"strength 0: must lie in \(0, 1\]"),
    (dict(video=frames(), strength=1.5), r"strength 1.5: must lie in \(0, 1\]"),
    (dict(video=frames(), strength=0.2), "strength 0.2: of 3 steps none is left; give more of either"),
])
def test_what_cannot_be_begun_from_is_refused_in_a_line(pipe, given, message):
    with pytest.raises(ValueError, match=message) as error:
        film(pipe, **given)
    assert "\n" not in str(error.value)
