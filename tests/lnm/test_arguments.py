"""What a film may be asked for: what cannot be sampled is one line that names the argument."""

import numpy as np
import pytest
import torch

from lnm.arguments import check_choices, check_film, check_size

GOOD = dict(image="still.png", image_latents=None, height=None, width=None, step=8, channels=4, prompt="waves",
            prompt_embeds=None, negative_prompt="", negative_prompt_embeds=None, generator=None, fps=8, num_frames=16,
            num_inference_steps=15, num_videos_per_prompt=1, guidance_rescale=0.0, mask_value=1.0, first_frame="free",
            output_type="np")
EMBEDS, LATENTS = torch.zeros(2, 3, 5), torch.zeros(1, 4, 8, 6)


@pytest.mark.parametrize("changes, prompts", [
    ({}, 1), (dict(prompt=["a", "b"]), 2), (dict(prompt=None, prompt_embeds=EMBEDS), 2), (dict(fps=None), 1),
    (dict(fps=0.5), 1), (dict(prompt=["a", "b"], fps=[4, 8.0]), 2), (dict(fps=torch.tensor(8.0)), 1),
    (dict(prompt=["a", "b"], fps=np.array([4, 8])), 2), (dict(num_videos_per_prompt=2, fps=[4, 8]), 1),
    (dict(num_videos_per_prompt=2, generator=[torch.Generator()] * 2), 1), (dict(mask_value=0), 1),
    (dict(mask_value=1), 1), (dict(guidance_rescale=1), 1), (dict(first_frame="clamp"), 1),
    (dict(output_type="pil"), 1), (dict(num_frames=1), 1),
    (dict(height=16, width=24), 1), (dict(height=8), 1), (dict(image=None, image_latents=LATENTS), 1),
    (dict(image=None, image_latents=LATENTS, height=64, width=48), 1), (dict(prompt=["a"], negative_prompt=["b"]), 1)])
def test_what_can_be_sampled_passes_and_prompts_are_counted(changes, prompts):
    assert check_film(**{**GOOD, **changes}) == prompts


@pytest.mark.parametrize("changes, words", [
    (dict(image=None), "image: a still is needed"), (dict(prompt=None), "prompt: give it or prompt_embeds"),
    (dict(prompt_embeds=EMBEDS), "prompt: give it or prompt_embeds"), (dict(prompt=3), "prompt must be a str"),
    (dict(prompt=[]), "prompt: the list is empty"),
    (dict(num_frames=0), "num_frames 0"), (dict(num_frames=2.0), "num_frames 2.0"),
    (dict(num_inference_steps=0), "num_inference_steps"), (dict(num_videos_per_prompt=0), "num_videos_per_prompt"),
    (dict(first_frame="held"), "first_frame 'held': choose from free, clamp"), (dict(output_type="gif"), "output_type"),
    (dict(mask_value=1.01), "mask_value"), (dict(mask_value=-0.01), "mask_value"),
    (dict(guidance_rescale=1.5), "guidance_rescale"), (dict(fps=0), "fps 0"), (dict(fps=-1), "fps -1"),
    (dict(fps=float("inf")), "fps inf"), (dict(fps=float("nan")), "fps nan"),
    (dict(fps=[8, 0], num_videos_per_prompt=2), "fps"), (dict(fps=[8, 8]), "fps: 2 for 1 films"),
    (dict(prompt=["a", "b"], negative_prompt=["c"]), "negative_prompt: 1 for 2 prompts"),
    (dict(prompt=None, prompt_embeds=EMBEDS, negative_prompt_embeds=EMBEDS[:1]), "negative_prompt_embeds: shape"),
    (dict(generator=[torch.Generator()] * 2), "generator: 2 for 1 films"),
    (dict(height=12), "multiples of 8.*height=16, width=8"),
    (dict(height=64, width=50), "height=64, width=48"), (dict(width=3), "multiples of 8.*width=8"),
    (dict(image_latents=LATENTS[0]), "image_latents: shape"),
    (dict(image_latents=LATENTS[:, :3]), "image_latents: shape"),
    (dict(image_latents=LATENTS, height=48, width=64), "height 48, width 64: image_latents are of 64 x 48"),
    (dict(image_latents=LATENTS, width=56), "image_latents are of 64 x 48")])
def test_what_cannot_is_one_line_that_names_it(changes, words):
    with pytest.raises(ValueError, match=words) as error:
        check_film(**{**GOOD, **changes})
    assert "\n" not in str(error.value)


def test_sizes_and_choices_alone():
    check_size(8, 16, 8)
    check_choices("x", ["a", "b"], ("a", "b"))
    with pytest.raises(ValueError, match="height=8, width=8"):
        check_size(0, 8, 8)
    with pytest.raises(ValueError, match="x 'c': choose from a, b"):
        check_choices("x", ["a", "c"], ("a", "b"))
