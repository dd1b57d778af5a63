"""The trained rivals in the loop that trains ours: what moves, what stays, the mixed steps of the Dreamix-style one."""

import pytest
import torch
from tiny import CHANNELS, tiny_settings, write_tiny_checkpoint

from lnm.checkpoint import open_checkpoint
from lnm.rivals import dreamix
from lnm.rivals.methods import RIVALS, rival_pipeline
from lnm.runs import make_accelerator
from lnm.training import Trainer, train


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("rivals") / "checkpoint")


def latents(count=12):
    g = torch.Generator().manual_seed(0)
    picture = torch.randn(1, CHANNELS, 8, 8, generator=g)
    return torch.cat([picture.roll(i, -1) for i in range(count)])


def learned(method, checkpoint, **changes):
    """(weights before, weights after, the training's account) of a rival after a few steps."""
    settings = tiny_settings(**changes)
    pipe = rival_pipeline(method, open_checkpoint(str(checkpoint)), settings)
    before = {k: p.detach().clone() for k, p in pipe.unet.named_parameters()}
    trained = train(pipe, latents(), "waves", 8.0, settings, make_accelerator(settings, "cpu"),
                    kind=RIVALS[method].trainer)
    return before, dict(pipe.unet.named_parameters()), trained, pipe


@pytest.mark.parametrize("method", sorted(RIVALS))
def test_the_loop_that_trains_ours_trains_a_rival_and_what_it_freezes_stays(method, checkpoint):
    before, after, trained, pipe = learned(method, checkpoint, mixed_precision="bf16")
    own = pipe.unet.temporal_parameters()
    moved = {k for k in after if not torch.equal(before[k], after[k])}
    assert moved and moved <= set(own) and len(moved) > 0.5 * len(own)
    assert trained.trained_parameters == sum(p.numel() for p in own.values()) and len(trained.losses) == 6
    assert trained.frozen_parameters == sum(p.numel() for p in after.values()) - trained.trained_parameters
    film = pipe(image_latents=latents(1), prompt="waves", num_frames=3, num_inference_steps=2, output_type="latent",
                generator=torch.Generator().manual_seed(0)).frames
    assert film.shape == (1, CHANNELS, 3, 8, 8) and film.isfinite().all()


@pytest.mark.parametrize("method", ["animatediff", "dreamix"])
def test_the_same_call_gives_the_same_weights(method, checkpoint):
    first, second = (learned(method, checkpoint)[1] for _ in range(2))
    assert all(torch.equal(p, second[k]) for k, p in first.items())


def test_a_rival_s_steps_may_be_found_on_the_clip_as_ours_are(checkpoint):
    trained = learned("tune_a_video", checkpoint, steps="auto", most_steps=4, validate_every=2, frames=2)[2]
    assert trained.steps in (0, 2, 4) and trained.validation_loss > 0


def test_about_half_of_the_dreamix_steps_are_of_single_frames_out_of_order(checkpoint, monkeypatch):
    seen, step = [], Trainer.step

    def look(self, given, fps, seed, number):
        seen.append((torch.equal(given, latents()), "get_class_embed" in vars(self.unet)))
        return step(self, given, fps, seed, number)

    monkeypatch.setattr(Trainer, "step", look)
    learned("dreamix", checkpoint, steps=40)
    assert {(True, False), (False, True)} == set(seen), "in order with time, or out of order without"
    assert 10 < sum(ordered for ordered, _ in seen) < 30 and dreamix.CLIPS == 0.5
