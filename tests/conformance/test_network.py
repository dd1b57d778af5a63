"""The method on small models against references."""

import pytest
import torch
from conformance import network, training

from lnm import pseudo3d


def test_the_equations_hold_and_what_breaks_them_is_measured(monkeypatch):
    assert network.eq3_error() < 1e-5 and network.eq4_error() < 1e-5
    forward = pseudo3d.TemporalConv.forward
    monkeypatch.setattr(pseudo3d.TemporalConv, "forward", lambda self, x: forward(self, x.flip(0)))
    assert network.eq3_error() > 0.1
    monkeypatch.setattr(pseudo3d.TemporalAttention, "forward", lambda self, x: x)
    assert network.eq4_error() > 0.01


def test_the_start_is_the_identity_and_the_small_models_are_the_same_each_time():
    assert network.identity_start() == network.conv_start() == network.attention_start() == 0
    assert network.parents_weights_changed() == 0
    state = torch.random.get_rng_state()
    first = network.effect("fps")
    torch.manual_seed(99)
    assert network.effect("fps") == first > 0 and network.effect("fps", awake=False) == 0
    torch.random.set_rng_state(state)


def test_a_frame_sees_another_once_the_layers_have_moved_off_their_start():
    assert network.effect("last frame") > 0.01
    assert network.effect("last frame", awake=False) == 0 and network.blanked_still() == 0
    with pytest.raises(ValueError, match="'mask': choose fps or last frame"):
        network.effect("mask")


def test_a_network_that_does_not_attend_to_the_text_is_seen():
    assert network.words_error() < 1e-4 < 0.5 < network.words_error(cut=True)


def test_a_projection_over_positions_is_seen(monkeypatch):
    start = pseudo3d.TemporalAttention.__init__

    def wider(self, *arguments, **options):
        start(self, *arguments, **options)
        self.to_out = torch.nn.Conv2d(8, 8, kernel_size=(3, 3), padding=(1, 1))

    assert network.projection_kernel() == [3, 1, 1]
    monkeypatch.setattr(pseudo3d.TemporalAttention, "__init__", wider)
    assert network.projection_kernel() == [3, 1, 3]


def test_what_stable_diffusions_unet_gets():
    every, some = network.layers(), network.layers("3x3")
    assert (every["convs"], every["convs_1d"], every["blocks"], every["blocks_1d"]) == (98, 98, 16, 16)
    assert every["frozen"] == some["frozen"] == 859_535_364, "the size of Stable Diffusion's own U-Net"
    assert some["convs"] == 98 > some["convs_1d"] and every["trained"] > some["trained"]
    assert network.pseudo3d_cost(8) == (12 * 64 + 2 * 8) / (27 * 64 + 8)


def test_frames_that_see_no_other_are_no_film(monkeypatch):
    assert network.frames_given((1, 3, 9)) == [1, 3, 9]
    monkeypatch.setattr(pseudo3d.TemporalConv, "forward", lambda self, x: x)
    monkeypatch.setattr(pseudo3d.TemporalAttention, "forward", lambda self, x: x)
    assert network.frames_given((1, 3, 9)) == [1]


def test_what_more_frames_cost():
    four, eight = training.activation_bytes(4), training.activation_bytes(8)
    assert 1.9 < eight / four < 2.2
