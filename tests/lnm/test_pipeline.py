"""LateNtMoviesPipeline samples: diffusers' conventions, on a tiny checkpoint in Stable Diffusion's layout."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from tiny import CHANNELS, SIZE
from tiny_pipeline import film, generators, make, still

from lnm.pipeline import LateNtMoviesPipeline, to_uint8
from lnm.schedulers import SCHEDULERS


def noise(films=1, frames=3, seed=5):
    return torch.randn(films, CHANNELS, frames, SIZE // 2, SIZE // 2, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- what comes out


def test_shapes_of_every_output_type(pipe):
    assert film(pipe).shape == (1, 3, SIZE, SIZE, 3)
    assert film(pipe, output_type="pt").shape == (1, 3, 3, SIZE, SIZE)
    assert film(pipe, output_type="latent").shape == (1, CHANNELS, 3, SIZE // 2, SIZE // 2)
    images = film(pipe, output_type="pil")
    assert len(images[0]) == 3 and images[0][0].size == (SIZE, SIZE)
    np.testing.assert_array_equal(np.array(images[0][2]), to_uint8(film(pipe)[0, 2]))
    assert pipe(still(), "waves", num_inference_steps=1, num_frames=2, return_dict=False)[0].shape[1] == 2


def test_frames_become_bytes_by_rounding_to_nearest():
    assert to_uint8(np.array([0, 0.5019, 1, 1.6 / 255, 2.4 / 255])).tolist() == [0, 128, 255, 2, 2]


def test_same_seed_same_film_and_another_seed_another(pipe):
    assert np.array_equal(film(pipe, 1), film(pipe, 1))
    assert not np.array_equal(film(pipe, 1), film(pipe, 2))


def test_a_batch_of_prompts_and_seeds_equals_the_films_one_by_one(pipe):
    prompts, seeds = ["ocean waves", "clouds"], [3, 4]
    both = film(pipe, prompt=prompts, image=[still(1), still(2)], generator=generators(*seeds))
    for i in range(2):
        alone = film(pipe, seeds[i], prompt=prompts[i], image=still(i + 1))
        np.testing.assert_allclose(both[i], alone[0], atol=2e-4)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_num_videos_per_prompt_equals_the_films_one_by_one(pipe, guidance_scale):
    prompts, stills, seeds, rates = ["ocean waves", "clouds"], [still(1), still(2)], [3, 4, 5, 6], [4, 8, 12, 24]
    given = dict(guidance_scale=guidance_scale, output_type="latent")
    four = film(pipe, prompt=prompts, image=stills, num_videos_per_prompt=2, generator=generators(*seeds), fps=rates,
                negative_prompt=["fog", "rain"], **given)
    for i in range(4):
        alone = film(pipe, seeds[i], prompt=prompts[i // 2], image=stills[i // 2], fps=rates[i],
                     negative_prompt=["fog", "rain"][i // 2], **given)
        torch.testing.assert_close(four[i], alone[0], atol=1e-3, rtol=1e-3)


def test_a_still_in_every_form_gives_the_same_film(pipe, tmp_path):
    picture = still()
    picture.convert("RGBA").save(tmp_path / "still.png")
    array = np.array(picture)
    want = film(pipe, image=picture)
    for form in (array, array / 255.0, torch.from_numpy(array).permute(2, 0, 1), tmp_path / "still.png",
                 str(tmp_path / "still.png"), picture.convert("RGBA"), [picture], array[None]):
        np.testing.assert_allclose(film(pipe, image=form), want, atol=1e-4)
    two = np.stack([array, np.array(still(1))])
    batch = film(pipe, image=two, prompt=["ocean waves"] * 2, generator=generators(0, 0))
    np.testing.assert_allclose(batch[0], want[0], atol=2e-4)
    assert not np.allclose(batch[1], want[0], atol=0.01)


# ---------------------------------------------------------------- sizes


def test_films_that_are_not_square(pipe):
    wide = still(3, height=SIZE, width=2 * SIZE)
    assert film(pipe, image=wide).shape == (1, 3, SIZE, 2 * SIZE, 3)  # the still's own size
    assert film(pipe, image=wide, height=SIZE, width=24).shape == (1, 3, SIZE, 24, 3)
    middle = wide.crop((SIZE // 2, 0, SIZE // 2 + SIZE, SIZE))
    assert np.array_equal(film(pipe, image=wide, height=SIZE, width=SIZE), film(pipe, image=middle))


def test_height_and_width_stand_against_image_latents(pipe):
    latents = pipe.encode_image(still(3, height=SIZE, width=2 * SIZE))
    given, shape = dict(image=None, image_latents=latents), (1, 3, SIZE, 2 * SIZE, 3)
    assert film(pipe, **given).shape == film(pipe, **given, height=SIZE, width=2 * SIZE).shape == shape
    with pytest.raises(ValueError, match=f"image_latents are of {SIZE} x {2 * SIZE} pixels"):
        film(pipe, **given, height=2 * SIZE, width=SIZE)
    with pytest.raises(ValueError, match="image_latents are of"):
        film(pipe, **given, height=SIZE // 2)


def test_a_still_whose_size_cannot_be_halved_is_refused_with_the_nearest(pipe):
    with pytest.raises(ValueError, match="height 32, width 33: both must be multiples of 2; the nearest are height=32"):
        film(pipe, image=still(0, height=32, width=33))


@pytest.mark.parametrize("bad, words", [
    (dict(prompt=3), "prompt"), (dict(first_frame="held"), "first_frame"), (dict(fps=0), "fps 0"),
    (dict(image=None), "still"),
    (dict(latents=torch.zeros(1, CHANNELS, 3, 3, 3)), r"latents: shape \(1, 4, 3, 3, 3\), wanted \(1, 4, 3, 16, 16\)"),
    (dict(image=[still()] * 3, prompt=["a", "b"]), "3 stills for 2 prompts"),
    (dict(image=np.zeros((3, SIZE, SIZE, 3), np.uint8), prompt=["a", "b"]), "3 stills for 2 prompts")])
def test_wrong_inputs_are_named(pipe, bad, words):
    with pytest.raises(ValueError, match=words):
        film(pipe, **bad)


# ---------------------------------------------------------------- words


def test_prompt_embeds_equal_the_encoded_prompts(pipe):
    prompts, given = ["ocean waves", "clouds"], dict(guidance_scale=3.0, output_type="latent")
    want = film(pipe, prompt=prompts, negative_prompt=["fog", "rain"], generator=generators(1, 2), **given)
    got = film(pipe, prompt=None, prompt_embeds=pipe.encode_prompt(prompts),
               negative_prompt_embeds=pipe.encode_prompt(["fog", "rain"]), generator=generators(1, 2), **given)
    assert torch.equal(got, want)
    alone = film(pipe, prompt=None, prompt_embeds=pipe.encode_prompt(prompts[:1]), output_type="latent")
    assert torch.equal(alone, film(pipe, output_type="latent"))
    mixed = film(pipe, prompt=None, prompt_embeds=pipe.encode_prompt(prompts), negative_prompt="fog",
                 generator=generators(1, 2), **given)
    assert torch.equal(mixed, film(pipe, prompt=prompts, negative_prompt="fog", generator=generators(1, 2), **given))


def test_guidance_and_negative_prompt_change_the_film_and_scale_1_ignores_the_negative(pipe):
    plain = film(pipe)
    assert np.array_equal(plain, film(pipe, negative_prompt="clouds"))
    guided = film(pipe, guidance_scale=7.5)
    assert not np.array_equal(plain, guided)
    assert not np.array_equal(guided, film(pipe, guidance_scale=7.5, negative_prompt="clouds"))
    assert np.array_equal(guided, film(pipe, guidance_scale=7.5, negative_prompt=None)), "as in diffusers"


# ---------------------------------------------------------------- guidance, against its formula


class StandIn(torch.nn.Module):
    """A U-Net whose prediction is known: the noise itself, times the mean of the words, plus the fps."""

    def __init__(self, real):
        super().__init__()
        self.config, self.dtype, self.device, self.calls = real.config, real.dtype, real.device, []

    def forward(self, sample, t, words, fps=None):
        self.calls.append((sample, t, words, fps))
        scale = words.mean(dim=(1, 2)).view(-1, 1, 1, 1, 1)
        rate = torch.zeros(1) if fps is None else fps
        return SimpleNamespace(sample=sample[:, :CHANNELS] * scale + rate.view(-1, 1, 1, 1, 1) * torch.arange(3.0).view(
            1, 1, 3, 1, 1))


@pytest.fixture
def known(checkpoint, monkeypatch):
    """A pipeline on the stand-in, and the list of what its scheduler was given."""
    pipe = make(checkpoint)
    pipe.register_modules(unet=StandIn(pipe.unet))
    given, step = [], pipe.scheduler.step
    monkeypatch.setattr(pipe.scheduler, "step", lambda x, *a, **k: given.append(x) or step(x, *a, **k))
    return pipe, given


def words_of(*means):
    return torch.stack([torch.full((3, 16), float(m)) for m in means])


@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_guidance_goes_from_the_negative_words_past_the_prompts(known, rescale):
    pipe, given = known
    latents = noise(2)
    positive, negative, rates, scale = words_of(2, 3), words_of(-1, 0.5), [4.0, 12.0], 5.0
    film(pipe, prompt=None, prompt_embeds=positive, negative_prompt_embeds=negative, latents=latents, fps=rates,
         guidance_scale=scale, guidance_rescale=rescale, num_inference_steps=1, image=[still(1), still(2)])
    (sample, _, words, fps), = pipe.unet.calls
    for i, (plus, minus) in enumerate(((2, -1), (3, 0.5))):
        ramp = rates[i] * torch.arange(3.0).view(1, 3, 1, 1)
        conditional, unconditional = (latents[i] * m + ramp for m in (plus, minus))
        guided = unconditional + scale * (conditional - unconditional)  # Ho & Salimans 2022, w = scale - 1
        tamed = guided * conditional.std() / guided.std()  # Lin et al. 2024, eq. 15 and 16
        want = rescale * tamed + (1 - rescale) * guided
        torch.testing.assert_close(given[0][i], want, atol=1e-4, rtol=1e-4)
    assert fps.tolist() == [4, 12, 4, 12]  # a film's rate for both of its halves
    assert torch.equal(sample[:2], sample[2:]) and torch.equal(words, torch.cat([negative, positive]))


def test_without_guidance_the_unet_is_asked_once_for_the_prompts_alone(known):
    pipe, given = known
    latents = noise(2)
    film(pipe, prompt=None, prompt_embeds=words_of(2, 3), latents=latents, fps=None, num_inference_steps=1)
    (sample, _, words, fps), = pipe.unet.calls
    assert sample.shape == (2, 2 * CHANNELS + 1, 3, SIZE // 2, SIZE // 2) and fps is None
    torch.testing.assert_close(given[0], latents * torch.tensor([2.0, 3.0]).view(2, 1, 1, 1, 1))
    assert torch.equal(words, words_of(2, 3))


def test_one_rate_is_for_all_films_in_every_form(known):
    pipe, _ = known
    for rate in (12, 12.0, [12], torch.tensor(12.0), np.array([12])):
        film(pipe, prompt=None, prompt_embeds=words_of(1, 1), fps=rate, guidance_scale=2.0, num_inference_steps=1,
             negative_prompt_embeds=words_of(1, 1))
        assert (pipe.unet.calls[-1][3] == 12).all()


def test_rescale_is_for_zero_signal_and_is_a_part_of_guidance_alone(pipe):
    guided = film(pipe, guidance_scale=6.0, output_type="latent")
    tamed = film(pipe, guidance_scale=6.0, guidance_rescale=0.7, output_type="latent")
    assert not torch.equal(guided, tamed)
    assert torch.equal(film(pipe, output_type="latent"), film(pipe, guidance_rescale=0.7, output_type="latent"))


# ---------------------------------------------------------------- the sampler


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_samples_finite_frames(checkpoint, name):
    assert np.isfinite(film(make(checkpoint, name), num_inference_steps=4)).all()


def test_a_scheduler_that_clamps_latents_is_mended(checkpoint):
    clamping = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert clamping.config.clip_sample
    pipe = make(checkpoint)
    mended = LateNtMoviesPipeline(pipe.vae, pipe.text_encoder, pipe.tokenizer, pipe.unet, clamping)
    assert not mended.scheduler.config.clip_sample and clamping.config.clip_sample
    torch.testing.assert_close(mended.scheduler.betas, clamping.betas)


def test_the_initial_noise_is_scaled_as_the_sampler_wants_it_and_may_be_given(checkpoint):
    pipe = make(checkpoint, "euler")
    seen = []
    pipe.unet.register_forward_pre_hook(lambda module, args: seen.append((args[0], args[1])))
    start = noise()
    film(pipe, latents=start)
    sigma = pipe.scheduler.sigmas[0]
    scaled = start * pipe.scheduler.init_noise_sigma / (sigma**2 + 1).sqrt()  # Karras et al. 2022, as diffusers has it
    torch.testing.assert_close(seen[0][0][:, :CHANNELS], scaled, atol=1e-4, rtol=1e-4)
    by_seed = film(pipe, 5, output_type="latent")
    assert torch.equal(by_seed, film(pipe, latents=start, output_type="latent"))


def test_eta_and_the_generator_reach_a_sampler_that_takes_them(pipe):
    plain = film(pipe, output_type="latent")
    assert not torch.equal(plain, film(pipe, eta=1.0, output_type="latent"))
    assert torch.equal(film(pipe, eta=1.0, output_type="latent"), film(pipe, eta=1.0, output_type="latent"))


# ---------------------------------------------------------------- the still


def test_clamp_holds_frame_0_on_the_still_and_free_does_not(pipe):
    through_vae = pipe.decode_latents(pipe.encode_image(still())[:, :, None])[0, 0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(film(pipe, first_frame="clamp")[0, 0], through_vae, atol=1e-5)
    assert np.abs(film(pipe, first_frame="free")[0, 0] - through_vae).max() > 0.01


def test_clamp_shows_the_unet_the_still_noised_to_the_steps_level(checkpoint):
    pipe, start, seen = make(checkpoint), noise(), []
    pipe.unet.register_forward_pre_hook(lambda module, args: seen.append((args[0], int(args[1]))))
    film(pipe, latents=start, first_frame="clamp")
    hint = pipe.encode_image(still())
    for sample, t in seen:
        level = pipe.scheduler.alphas_cumprod[t]
        want = level.sqrt() * hint + (1 - level).sqrt() * start[:, :, 0]  # eq. 1
        torch.testing.assert_close(sample[:, :CHANNELS, 0], want, atol=1e-4, rtol=1e-4)
    assert len(seen) == 3


def test_mask_value_reaches_the_unet_and_the_still_is_never_blanked(checkpoint):
    seen = []
    pipe = make(checkpoint)
    pipe.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for value in (0.0, 1.0):
        film(pipe, mask_value=value, num_inference_steps=1)
    want = pipe.encode_image(still())
    for value, sample in zip((0.0, 1.0), seen, strict=True):
        assert (sample[:, CHANNELS] == value).all()
        for f in range(3):
            assert torch.equal(sample[:, CHANNELS + 1:, f], want)
    assert make(checkpoint, mask_value=0.0).config.mask_value == 0.0


# ---------------------------------------------------------------- decoding, and the frozen base


def test_chunked_decoding_gives_the_same_frames(pipe):
    np.testing.assert_allclose(film(pipe, decode_chunk_size=1), film(pipe, decode_chunk_size=8), atol=1e-5)


def test_untrained_it_is_the_checkpoint_frame_by_frame(checkpoint):
    pipe = make(checkpoint, awake=False)
    start = noise()
    together = film(pipe, latents=start, output_type="latent")
    for f in range(3):
        alone = film(pipe, latents=start[:, :, f:f + 1], num_frames=1, output_type="latent")
        torch.testing.assert_close(together[:, :, f:f + 1], alone, atol=1e-4, rtol=1e-4)


def test_frame_by_frame_runs_the_2d_unet_on_the_same_noise_as_ours(checkpoint):
    baseline, ours = LateNtMoviesPipeline.frame_by_frame(checkpoint, 0.0), make(checkpoint, awake=False, mask_value=0.0)
    seen = {baseline: [], ours: []}
    for pipe, samples in seen.items():
        pipe.unet.register_forward_pre_hook(lambda module, args, samples=samples: samples.append(args[0]))
    got, want = (film(pipe, 7, guidance_scale=3.0, output_type="latent") for pipe in (baseline, ours))
    assert torch.equal(seen[baseline][0], seen[ours][0])
    assert torch.equal(got, want)  # new temporal layers are the identity
    assert not any("temporal" in k for k in baseline.unet.state_dict()) and baseline.config.mask_value == 0.0
    assert baseline.unet.conv_in is checkpoint.unet.conv_in
