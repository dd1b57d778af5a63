"""LateNtMoviesPipeline: diffusers' conventions, on a tiny checkpoint in Stable Diffusion's layout."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CHANNELS, SIZE, write_tiny_checkpoint

from lnm.checkpoint import open_checkpoint
from lnm.pipeline import LateNtMoviesPipeline
from lnm.schedulers import SCHEDULERS, make_scheduler
from lnm.unet import UNetPseudo3DConditionModel


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return open_checkpoint(str(write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))))


def make(checkpoint, scheduler="ddim", wake=True, **kwargs):
    torch.manual_seed(0)
    unet = UNetPseudo3DConditionModel.from_unet2d(checkpoint.unet).eval()
    if wake:  # temporal layers that do something
        with torch.no_grad():
            for p in unet.temporal_parameters().values():
                p += 0.05 * torch.randn(p.shape)
    pipe = LateNtMoviesPipeline(checkpoint.vae, checkpoint.text_encoder, checkpoint.tokenizer, unet,
                                make_scheduler(checkpoint.scheduler, kind=scheduler), **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def still(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


def film(pipe, seed=0, **kwargs):
    defaults = dict(image=still(), prompt="ocean waves", num_frames=3, fps=8, num_inference_steps=3,
                    generator=torch.Generator().manual_seed(seed))
    return pipe(**(defaults | kwargs)).frames


def test_shapes_of_every_output_type(checkpoint):
    pipe = make(checkpoint)
    assert film(pipe).shape == (1, 3, SIZE, SIZE, 3)
    assert film(pipe, output_type="pt").shape == (1, 3, 3, SIZE, SIZE)
    assert film(pipe, output_type="latent").shape == (1, CHANNELS, 3, SIZE // 2, SIZE // 2)
    images = film(pipe, output_type="pil")
    assert len(images[0]) == 3 and images[0][0].size == (SIZE, SIZE)
    assert pipe(still(), "waves", num_inference_steps=1, num_frames=2, return_dict=False)[0].shape[1] == 2


def test_same_seed_same_film_and_another_seed_another(checkpoint):
    pipe = make(checkpoint)
    assert np.array_equal(film(pipe, 1), film(pipe, 1))
    assert not np.array_equal(film(pipe, 1), film(pipe, 2))


def test_a_batch_of_prompts_and_seeds_equals_the_films_one_by_one(checkpoint):
    pipe = make(checkpoint)
    prompts, seeds = ["ocean waves", "clouds"], [3, 4]
    both = film(pipe, prompt=prompts, image=[still(1), still(2)], generator=[torch.Generator().manual_seed(s) for s in seeds])
    for i in range(2):
        alone = film(pipe, seeds[i], prompt=prompts[i], image=still(i + 1))
        np.testing.assert_allclose(both[i], alone[0], atol=2e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_samples_finite_frames(checkpoint, name):
    assert np.isfinite(film(make(checkpoint, name), num_inference_steps=4)).all()


def test_clamp_holds_frame_0_on_the_still_and_free_does_not(checkpoint):
    pipe = make(checkpoint)
    through_vae = pipe.decode_latents(pipe.encode_image(still())[:, :, None])[0, 0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(film(pipe, first_frame="clamp")[0, 0], through_vae, atol=1e-5)
    assert np.abs(film(pipe, first_frame="free")[0, 0] - through_vae).max() > 0.01


def test_mask_value_reaches_the_unet_and_the_still_is_never_blanked(checkpoint):
    seen = []
    pipe = make(checkpoint)
    pipe.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for value in (0.0, 1.0):
        film(pipe, mask_value=value, num_inference_steps=1)
    want = pipe.encode_image(still())
    for value, sample in zip((0.0, 1.0), seen):
        assert (sample[:, CHANNELS] == value).all()
        for f in range(3):
            assert torch.equal(sample[:, CHANNELS + 1:, f], want)
    assert make(checkpoint, mask_value=0.0).config.mask_value == 0.0


def test_guidance_and_negative_prompt_change_the_film_and_scale_1_ignores_the_negative(checkpoint):
    pipe = make(checkpoint)
    plain = film(pipe)
    assert np.array_equal(plain, film(pipe, negative_prompt="clouds"))
    guided = film(pipe, guidance_scale=7.5)
    assert not np.array_equal(plain, guided)
    assert not np.array_equal(guided, film(pipe, guidance_scale=7.5, negative_prompt="clouds"))


def test_callback_sees_every_step_and_can_change_the_latents(checkpoint):
    pipe, steps = make(checkpoint), []

    def zero(pipeline, i, t, tensors):
        steps.append((i, int(t)))
        return {"latents": torch.zeros_like(tensors["latents"])}

    out = film(pipe, callback_on_step_end=zero, output_type="latent")
    assert [i for i, _ in steps] == [0, 1, 2] and steps[0][1] > steps[2][1]
    assert out.abs().max() == 0


def test_chunked_decoding_gives_the_same_frames(checkpoint):
    pipe = make(checkpoint)
    np.testing.assert_allclose(film(pipe, decode_chunk_size=1), film(pipe, decode_chunk_size=8), atol=1e-5)


def test_saves_and_loads_whole(checkpoint, tmp_path):
    pipe = make(checkpoint, mask_value=0.0)
    pipe.save_pretrained(tmp_path)
    again = LateNtMoviesPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert again.config.mask_value == 0.0
    assert np.array_equal(film(pipe), film(again))


@pytest.mark.parametrize("bad, words", [
    (dict(prompt=3), "prompt"), (dict(prompt=["a", "b"], generator=[torch.Generator()]), "generator"),
    (dict(first_frame="held"), "free or clamp"), (dict(num_frames=0), "num_frames"), (dict(mask_value=2.0), "mask_value"),
    (dict(output_type="gif"), "output_type"), (dict(image=None), "still"), (dict(latents=torch.zeros(1, 4, 2, 3, 3)), "latents"),
    (dict(image=[still()] * 3, prompt=["a", "b"]), "3 stills for 2 prompts")])
def test_wrong_inputs_are_named(checkpoint, bad, words):
    with pytest.raises(ValueError, match=words):
        film(make(checkpoint), **bad)


def test_untrained_it_is_the_checkpoint_frame_by_frame(checkpoint):
    pipe = make(checkpoint, wake=False)
    noise = torch.randn(1, CHANNELS, 3, SIZE // 2, SIZE // 2, generator=torch.Generator().manual_seed(5))
    together = film(pipe, latents=noise, output_type="latent")
    for f in range(3):
        alone = film(pipe, latents=noise[:, :, f:f + 1], num_frames=1, output_type="latent")
        torch.testing.assert_close(together[:, :, f:f + 1], alone, atol=1e-4, rtol=1e-4)
