"""Noise over frames: its correlation is that of Ge et al. (2023), its variance one, and nothing more is drawn."""

import pytest
import torch

from lnm.ablations.noise import INDEPENDENT, NOISES, correlated, correlation


def drawn(frames=6, seed=0):
    return torch.randn(2, 4, frames, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_mixed_and_progressive_noise_have_the_paper_s_covariance(alpha):
    """As the paper writes them: parts of variance alpha^2 / (1 + alpha^2) and 1 / (1 + alpha^2), put together."""
    kept, own = alpha / (1 + alpha**2) ** 0.5, 1 / (1 + alpha**2) ** 0.5
    frames = 6
    shared = torch.cat([torch.full((frames, 1), kept), own * torch.eye(frames)], dim=1).double()
    assert torch.allclose(correlation("mixed", frames, alpha), shared @ shared.T)
    steps = torch.zeros(frames, frames, dtype=torch.float64)  # how a frame's noise is made of independent draws
    steps[0, 0] = 1
    for k in range(1, frames):
        steps[k] = kept * steps[k - 1]
        steps[k, k] += own
    assert torch.allclose(correlation("progressive", frames, alpha), steps @ steps.T)
    assert torch.equal(correlation(INDEPENDENT, frames, alpha), torch.eye(frames).double())


@pytest.mark.parametrize("kind", NOISES)
def test_noise_that_is_drawn_has_that_correlation_and_unit_variance(kind):
    made = correlated(drawn(), kind)
    assert made.shape == drawn().shape and made.dtype == torch.float32
    flat = made.movedim(2, 0).flatten(1).double()
    assert torch.allclose(flat @ flat.T / flat.shape[1], correlation(kind, 6), atol=0.02)
    assert abs(float(flat.mean())) < 0.02
    assert torch.equal(made[:, :, 0], drawn()[:, :, 0]), "the first frame's noise is the same in all kinds"


def test_progressive_noise_is_the_recursion_and_independent_noise_is_left_alone():
    noise = drawn()
    frames = [noise[:, :, 0]]
    for k in range(1, noise.shape[2]):
        frames.append((frames[-1] + noise[:, :, k]) / 2**0.5)
    assert torch.allclose(correlated(noise, "progressive"), torch.stack(frames, dim=2), atol=1e-5)
    assert correlated(noise, INDEPENDENT) is noise
