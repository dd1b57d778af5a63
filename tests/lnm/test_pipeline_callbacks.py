"""Callbacks between the steps: one's own, and diffusers' official ones."""

import pytest
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback, SDCFGCutoffCallback, SDXLCFGCutoffCallback
from tiny_pipeline import film, generators, make


def test_callback_sees_every_step_and_can_change_the_latents(pipe):
    steps = []

    def zero(pipeline, i, t, tensors):
        steps.append((i, int(t)))
        return {"latents": torch.zeros_like(tensors["latents"])}

    out = film(pipe, callback_on_step_end=zero, output_type="latent")
    assert [i for i, _ in steps] == [0, 1, 2] and steps[0][1] > steps[2][1]
    assert out.abs().max() == 0 and pipe.num_timesteps == 3


def test_a_callback_that_returns_nothing_changes_nothing(pipe):
    seen = []
    out = film(pipe, callback_on_step_end=lambda *args: seen.append(set(args[3])), output_type="latent")
    assert torch.equal(out, film(pipe, output_type="latent")) and seen == [{"latents"}] * 3


def test_a_callback_may_change_the_words(pipe):
    other = pipe.encode_prompt(["clouds"])

    def say(pipeline, i, t, tensors):
        return {"prompt_embeds": other}

    told = dict(callback_on_step_end=say, callback_on_step_end_tensor_inputs=["prompt_embeds"])
    changed = film(pipe, **told, output_type="latent")
    assert not torch.equal(changed, film(pipe, output_type="latent"))
    assert not torch.equal(changed, film(pipe, prompt="clouds", output_type="latent"))  # the first step was the waves'


@pytest.mark.parametrize("name", ["noise_pred", "add_text_embeds"])
def test_a_tensor_that_is_not_there_is_named(pipe, name):
    with pytest.raises(ValueError, match=f"callback_on_step_end_tensor_inputs '{name}': choose from latents, prompt"):
        film(pipe, callback_on_step_end=lambda *a: {}, callback_on_step_end_tensor_inputs=["latents", name])
    with pytest.raises(ValueError, match="add_text_embeds"):
        film(pipe, callback_on_step_end=SDXLCFGCutoffCallback())


def cut_by_hand(pipe, step, **given):
    """The film whose guidance ends after `step`, by a callback of one's own."""
    count = len(given.get("prompt", "x")) if isinstance(given.get("prompt"), list) else 1

    def cut(pipeline, i, t, tensors):
        if i == step:
            pipeline._guidance_scale = 0.0
            return {"prompt_embeds": tensors["prompt_embeds"][-count:]}

    return film(pipe, callback_on_step_end=cut, callback_on_step_end_tensor_inputs=["prompt_embeds"], **given)


@pytest.mark.parametrize("films", [1, 2])
def test_the_official_cutoff_callback_ends_guidance_and_each_film_keeps_its_words(checkpoint, films):
    pipe, batches = make(checkpoint), []
    pipe.unet.register_forward_pre_hook(lambda module, args: batches.append((len(args[0]), len(args[2]))))
    given = dict(guidance_scale=6.0, output_type="latent", prompt=["ocean waves", "clouds"][:films],
                 generator=generators(1, 2)[:films], fps=[4, 12][:films])
    cut = film(pipe, callback_on_step_end=SDCFGCutoffCallback(cutoff_step_ratio=0.4), **given)  # int(0.4 x 3) = 1
    assert batches == [(2 * films,) * 2, (2 * films,) * 2, (films,) * 2]
    given["generator"] = generators(1, 2)[:films]
    assert torch.equal(cut, cut_by_hand(pipe, 1, **given))
    given["generator"] = generators(1, 2)[:films]
    assert not torch.equal(cut, film(pipe, **given))


def test_several_official_callbacks_at_once(pipe):
    class Halve(PipelineCallback):
        tensor_inputs = ["latents"]

        def callback_fn(self, pipeline, i, t, tensors):
            return {**tensors, "latents": tensors["latents"] / 2}

    cut = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=0)
    given = dict(guidance_scale=6.0, output_type="latent")
    both = film(pipe, callback_on_step_end=MultiPipelineCallbacks([Halve(), cut]), **given)
    alone = [film(pipe, callback_on_step_end=callback, **given) for callback in (Halve(), cut)]
    assert not torch.equal(both, alone[0]) and not torch.equal(both, alone[1])
    one = MultiPipelineCallbacks([cut])
    assert torch.equal(film(pipe, callback_on_step_end=one, **given), alone[1])
