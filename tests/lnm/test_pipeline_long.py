"""Films longer than a window, and films of several stills, on a tiny checkpoint."""

import numpy as np
import pytest
import torch
from diffusers.callbacks import SDCFGCutoffCallback
from tiny import CHANNELS, SIZE
from tiny_decoder import wake_decoder
from tiny_pipeline import film, generators, make, still

from lnm.checkpoint import open_checkpoint
from lnm.decoder import CONTEXT
from lnm.pipeline import to_uint8
from lnm.windows import LONG, blended, shared_order

WINDOW = dict(num_frames=7, window=4, window_stride=2)  # windows of frames 0-3, 2-5 and 3-6


def watched(pipe, monkeypatch):
    """[(sample, timestep), ...] of every call of the U-Net."""
    seen = []
    forward = pipe.unet.forward
    monkeypatch.setattr(pipe.unet, "forward", lambda sample, t, *args, **kwargs: (
        seen.append((sample.clone(), int(t))) or forward(sample, t, *args, **kwargs)))
    return seen


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_a_film_of_one_window_is_the_plain_one_bit_for_bit_however_long_ones_are_made(pipe, guidance_scale):
    given = dict(num_frames=4, guidance_scale=guidance_scale, output_type="latent")
    plain = film(pipe, long="whole", **given)
    for long in LONG:
        assert torch.equal(film(pipe, window=4, window_stride=2, long=long, **given), plain), long
    assert torch.equal(film(pipe, window=4, noise="shared", **given), plain)
    assert torch.equal(film(pipe, **given), plain)


def test_at_every_step_what_the_windows_predict_is_blended(pipe, monkeypatch):
    seen, given = watched(pipe, monkeypatch), []
    step = pipe.scheduler.step
    monkeypatch.setattr(pipe.scheduler, "step", lambda x, t, *a, **k: given.append((x, t)) or step(x, t, *a, **k))
    film(pipe, num_inference_steps=2, **WINDOW)
    assert len(seen) == 6 and len(given) == 2 and {s.shape[2] for s, _ in seen} == {4}
    words = pipe.encode_prompt(["ocean waves"])
    for k, (predicted, t) in enumerate(given):
        first, second, third = (sample for sample, _ in seen[3 * k:3 * k + 3])
        whole = torch.cat([first, second[:, :, 2:], third[:, :, 3:]], dim=2)
        assert torch.equal(second[:, :, 1:], third[:, :, :3]), "windows of one film"
        want = blended(lambda part, t=t: pipe.unet(part, t, words, fps=8).sample, whole, 4, 2)
        torch.testing.assert_close(predicted, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("long", ["windows", "continue"])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_where_frames_know_nothing_of_each_other_windows_change_nothing(checkpoint, long, guidance_scale):
    asleep = make(checkpoint, awake=False)  # new temporal layers are the identity
    given = dict(guidance_scale=guidance_scale, negative_prompt="fog", output_type="latent", **WINDOW)
    torch.testing.assert_close(film(asleep, long=long, **given), film(asleep, long="whole", **given), atol=1e-4,
                               rtol=1e-4)


def test_the_three_ways_give_three_films(pipe):
    films = [film(pipe, long=long, output_type="latent", **WINDOW) for long in LONG]
    assert not torch.allclose(films[0], films[2], atol=1e-3) and not torch.allclose(films[1], films[2], atol=1e-3)
    assert not torch.allclose(films[0], films[1], atol=1e-3)
    assert all(torch.isfinite(f).all() for f in films)


@pytest.mark.parametrize("long", ["windows", "continue"])
def test_films_of_a_batch_are_those_one_by_one(pipe, long):
    given = dict(long=long, noise="shared", guidance_scale=3.0, output_type="latent", **WINDOW)
    prompts, stills, ends = ["ocean waves", "clouds"], [still(1), still(2)], [still(3), still(4)]
    both = film(pipe, prompt=prompts, image=stills, last_image=ends, generator=generators(3, 4), fps=[4, 8], **given)
    for i in range(2):
        alone = film(pipe, i + 3, prompt=prompts[i], image=stills[i], last_image=ends[i], fps=4 * (i + 1), **given)
        torch.testing.assert_close(both[i], alone[0], atol=1e-3, rtol=1e-3)


def test_shared_noise_is_the_first_window_s_by_the_order_that_the_seed_draws(checkpoint, monkeypatch):
    pipe = make(checkpoint)
    seen = watched(pipe, monkeypatch)
    film(pipe, 6, num_inference_steps=1, num_frames=12, window=4, window_stride=4, noise="shared")
    generator = torch.Generator().manual_seed(6)
    first = torch.randn(1, CHANNELS, 4, SIZE // 2, SIZE // 2, generator=generator)
    noise = first[:, :, shared_order(12, 4, 4, generator)]
    for k, (sample, _) in enumerate(seen):
        torch.testing.assert_close(sample[:, :CHANNELS], noise[:, :, 4 * k:4 * k + 4])
    given = dict(output_type="latent", **WINDOW)
    assert torch.equal(film(pipe, noise="shared", **given), film(pipe, noise="shared", **given))
    assert not torch.equal(film(pipe, noise="shared", **given), film(pipe, **given))


# ---------------------------------------------------------------- continuation


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++"])
def test_each_window_is_begun_from_the_last_frames_of_the_one_before(checkpoint, monkeypatch, scheduler):
    pipe = make(checkpoint, scheduler)
    seen = watched(pipe, monkeypatch)
    noise = torch.randn(1, CHANNELS, 7, SIZE // 2, SIZE // 2, generator=torch.Generator().manual_seed(1))
    got = film(pipe, long="continue", latents=noise, output_type="latent", **WINDOW)
    assert len(seen) == 9, "three windows of three steps"
    for start, done, calls in ((2, 4, seen[3:6]), (3, 6, seen[6:])):
        for sample, t in calls:
            level = pipe.scheduler.alphas_cumprod[t]
            known = slice(start, done)
            want = level.sqrt() * got[:, :, known] + (1 - level).sqrt() * noise[:, :, known]  # eq. 1
            torch.testing.assert_close(sample[:, :CHANNELS, :done - start], want, atol=1e-4, rtol=1e-4)
    alone = film(pipe, latents=noise[:, :, :4], num_frames=4, output_type="latent")
    assert torch.equal(got[:, :, :4], alone), "the first window is a film of its own, and nothing changes it later"


@pytest.mark.parametrize("scheduler", ["euler_a", "pndm", "unipc"])
def test_every_window_begins_the_sampler_anew(checkpoint, scheduler):
    pipe = make(checkpoint, scheduler)
    given = dict(num_inference_steps=4, output_type="latent", long="continue", first_frame="clamp", **WINDOW)
    assert torch.equal(film(pipe, 2, **given), film(pipe, 2, **given)) and torch.isfinite(film(pipe, **given)).all()


def test_guidance_that_a_callback_ends_begins_again_in_the_next_window(checkpoint, monkeypatch):
    pipe = make(checkpoint)
    seen = watched(pipe, monkeypatch)
    film(pipe, guidance_scale=4.0, long="continue", callback_on_step_end=SDCFGCutoffCallback(0.4), **WINDOW)
    assert [len(sample) for sample, _ in seen] == [2, 2, 1] * 3


# ---------------------------------------------------------------- several stills


@pytest.mark.parametrize("long", LONG)
def test_known_frames_come_back_exact_and_the_last_still_is_the_last_frame(pipe, long):
    images = {0: still(1), 3: still(2), 6: still(3)}
    latents = {f: pipe.encode_image(image) for f, image in images.items()}
    got = film(pipe, image=None, stills=images, long=long, output_type="latent", **WINDOW)
    for f in range(7):
        assert torch.equal(got[:, :, f], latents[f]) if f in images else torch.isfinite(got[:, :, f]).all()
    ends = film(pipe, image=images[0], last_image=images[6], long=long, output_type="latent", **WINDOW)
    assert torch.equal(ends[:, :, 6], latents[6]) and not torch.allclose(ends[:, :, 0], latents[0], atol=1e-2)
    clamped = film(pipe, image=images[0], last_image=images[6], first_frame="clamp", long=long, output_type="latent",
                   **WINDOW)
    assert torch.equal(clamped[:, :, 0], latents[0]) and torch.equal(clamped[:, :, 6], latents[6])
    pixels = film(pipe, image=images[0], last_image=images[6], long=long, **WINDOW)[0, 6]
    through = pipe.decode_latents(latents[6][:, :, None])[0, 0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels, through, atol=1e-5)


def test_the_unet_is_told_of_the_stills_on_either_side_and_shown_them_noised(checkpoint, monkeypatch):
    pipe = make(checkpoint)
    seen = watched(pipe, monkeypatch)
    noise = torch.randn(1, CHANNELS, 5, SIZE // 2, SIZE // 2, generator=torch.Generator().manual_seed(1))
    film(pipe, image=still(1), stills={2: still(2)}, last_image=still(3), num_frames=5, latents=noise)
    a, b, c = (pipe.encode_image(still(k)) for k in (1, 2, 3))
    for sample, t in seen:
        level = pipe.scheduler.alphas_cumprod[t]
        for f, told in enumerate((a, (a + b) / 2, b, (b + c) / 2, c)):
            torch.testing.assert_close(sample[:, CHANNELS + 1:, f], told, atol=1e-5, rtol=1e-5)
        for f, known in ((2, b), (4, c)):
            want = level.sqrt() * known + (1 - level).sqrt() * noise[:, :, f]
            torch.testing.assert_close(sample[:, :CHANNELS, f], want, atol=1e-4, rtol=1e-4)
    assert torch.equal(seen[0][0][:, :CHANNELS, 0], noise[:, :, 0]), "frame 0 is free"


def test_further_stills_are_cut_to_the_film_s_size(pipe):
    wide = still(3, height=SIZE, width=2 * SIZE)
    middle = wide.crop((SIZE // 2, 0, SIZE // 2 + SIZE, SIZE))
    got, want = (film(pipe, last_image=image, num_frames=4) for image in (wide, middle))
    assert np.array_equal(got, want)
    latents = pipe.encode_image(still())
    assert film(pipe, image=None, image_latents=latents, last_image=wide).shape == (1, 3, SIZE, SIZE, 3)


@pytest.mark.parametrize("bad, words", [
    (dict(long="longer"), "long 'longer': choose from windows, continue, whole"),
    (dict(noise="same"), "noise 'same': choose from independent, shared"),
    (dict(window=0), "window 0: must be a whole number from 1"),
    (dict(window=1, long="continue"), "window 1: must be a whole number from 2"),
    (dict(window_stride=17), "window_stride 17: must be a whole number from 1 to 16"),
    (dict(window_stride=0), "window_stride 0"),
    (dict(window=4, window_stride=4, long="continue"), "window_stride 4: must be a whole number from 1 to 3"),
    (dict(stills=[still()]), "stills: list; give {frame: image}"),
    (dict(stills={3: still()}), "stills: frame 3 is not in the film; its frames are 0 to 2"),
    (dict(stills={-1: still()}), "stills: frame -1 is not in the film"),
    (dict(stills={0: still()}), "frame 0 has the still that is given as image"),
    (dict(last_image=still(), stills={2: still()}), "last_image: frame 2 has a still already"),
    (dict(last_image=still(), num_frames=1), "last_image: frame 0 has a still already"),
    (dict(stills={1: [still()] * 3}, prompt=["a", "b"], generator=None), "stills: frame 1: 3 stills for 2 prompts"),
    (dict(image=None, stills={}), "a still is needed")])
def test_wrong_inputs_are_named(pipe, bad, words):
    with pytest.raises(ValueError, match=words) as error:
        film(pipe, **bad)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- memory


def test_bytes_are_the_floats_rounded_however_they_are_decoded(folder):
    pipe = make(open_checkpoint(str(folder)))
    for _ in range(2):
        floats = film(pipe, prompt=["a", "b"], generator=generators(1, 2), num_frames=12)
        whole = film(pipe, prompt=["a", "b"], generator=generators(1, 2), num_frames=12, output_type="uint8")
        assert whole.dtype == np.uint8 and np.array_equal(whole, to_uint8(floats))
        wake_decoder(pipe.vae)  # then by a decoder in time


def most_frames(pipe, monkeypatch, frames, long):
    """The most frames that the U-Net and the decoder are given at once, making a film of `frames`."""
    seen = {"unet": [], "vae": []}
    forward, decode = pipe.unet.forward, pipe.vae.decode
    with monkeypatch.context() as patch:
        patch.setattr(pipe.unet, "forward", lambda sample, *a, **k: (
            seen["unet"].append(sample.shape[0] * sample.shape[2]) or forward(sample, *a, **k)))
        patch.setattr(pipe.vae, "decode", lambda x, *a, **k: seen["vae"].append(len(x)) or decode(x, *a, **k))
        out = film(pipe, num_frames=frames, num_inference_steps=1, long=long, output_type="uint8", decode_chunk_size=8)
    assert out.shape == (1, frames, SIZE, SIZE, 3)
    return {name: max(counts) for name, counts in seen.items()}


@pytest.mark.parametrize("long", ["windows", "continue"])
def test_neither_unet_nor_decoder_sees_more_frames_of_a_longer_film(folder, long, monkeypatch):
    pipe = make(open_checkpoint(str(folder)))
    wake_decoder(pipe.vae)
    most = [most_frames(pipe, monkeypatch, frames, long) for frames in (48, 240)]
    assert most[0] == most[1] == {"unet": 16, "vae": 8 + 2 * CONTEXT}
