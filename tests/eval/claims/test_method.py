"""The method on small models against references."""

import pytest
import torch

from eval.claims import method, training
from lnm import pseudo3d


def test_the_equations_hold_and_what_breaks_them_is_measured(monkeypatch):
    assert method.eq3_error() < 1e-5 and method.eq4_error() < 1e-5
    forward = pseudo3d.TemporalConv.forward
    monkeypatch.setattr(pseudo3d.TemporalConv, "forward", lambda self, x: forward(self, x.flip(0)))
    assert method.eq3_error() > 0.1
    monkeypatch.setattr(pseudo3d.TemporalAttention, "forward", lambda self, x: x)
    assert method.eq4_error() > 0.01


def test_the_start_is_the_identity_and_the_small_models_are_the_same_each_time():
    assert method.identity_start() == method.conv_start() == method.attention_start() == 0
    assert method.parents_weights_changed() == 0
    state = torch.random.get_rng_state()
    first = method.effect("fps")
    torch.manual_seed(99)
    assert method.effect("fps") == first > 0 and method.effect("fps", awake=False) == 0
    torch.random.set_rng_state(state)


def test_inputs_that_matter():
    assert min(map(method.effect, ("words", "still", "last frame"))) > 0.01
    assert method.effect("last frame", awake=False) == 0 and method.blanked_still() == 0
    with pytest.raises(ValueError, match="'mask': choose fps, words, still or last frame"):
        method.effect("mask")


def test_what_stable_diffusions_unet_gets():
    every, some = method.layers(), method.layers("3x3")
    assert (every["convs"], every["convs_1d"], every["blocks"], every["blocks_1d"]) == (98, 98, 16, 16)
    assert every["frozen"] == some["frozen"] == 859_535_364, "the size of Stable Diffusion's own U-Net"
    assert some["convs"] == 98 > some["convs_1d"] and every["trained"] > some["trained"]
    assert method.pseudo3d_cost(8) == (12 * 64 + 2 * 8) / (27 * 64 + 8)
    assert method.projection_kernel() == [3, 1, 1]


def test_any_number_of_frames_and_what_they_cost():
    assert method.frames_given((1, 3, 9)) == [1, 3, 9]
    four, eight = training.activation_bytes(4), training.activation_bytes(8)
    assert 1.9 < eight / four < 2.2
