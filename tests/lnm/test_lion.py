"""Lion against the library that it stands in for, bit by bit."""

import lion_pytorch
import pytest
import torch

from lnm import lion

SHAPES = [(5, 3, 3, 1), (7,), (4, 9), (1,), (6,)]


def parameters():
    g = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=g)) for shape in SHAPES]


def steps(kind, count=6):
    """Weights and averages after steps at a changing rate; the last tensor never has a gradient."""
    own = parameters()
    optimizer = kind([{"params": own[:3], "weight_decay": 0.1}, {"params": own[3:], "weight_decay": 0.0}], lr=1e-2)
    g = torch.Generator().manual_seed(1)
    for step in range(count):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (step + 1)
        for p in own[:-1]:
            p.grad = torch.randn(p.shape, generator=g)
        optimizer.step()
    return own, [optimizer.state[p].get("exp_avg") for p in own]


@pytest.mark.parametrize("block", [2**25, 30])  # all at once, and in several blocks
def test_it_gives_the_bits_of_lion_pytorch(block, monkeypatch):
    monkeypatch.setattr(lion, "BLOCK", block)
    (own, averages), (theirs, slow) = steps(lion.Lion), steps(lion_pytorch.Lion)
    assert all(torch.equal(a, b) for a, b in zip(own, theirs, strict=True))
    assert averages[-1] is None and slow[-1] is None, "without a gradient nothing is kept"
    assert all(torch.equal(a, b) for a, b in zip(averages[:-1], slow[:-1], strict=True))
    assert not torch.equal(own[0], parameters()[0]) and torch.equal(own[-1], parameters()[-1])


def test_blocks_hold_every_tensor_once_in_order_and_no_more_than_they_may(monkeypatch):
    monkeypatch.setattr(lion, "BLOCK", 40)
    blocks = list(lion._blocks(parameters()))
    assert [[p.numel() for p in block] for block in blocks] == [[45], [7], [36, 1], [6]]
    assert list(lion._blocks([])) == []


def test_its_state_goes_on_and_a_closure_is_called():
    own = parameters()
    optimizer = lion.Lion(own, lr=1e-3)
    own[0].grad = torch.ones_like(own[0])
    assert optimizer.step(lambda: 3.0) == 3.0
    again = lion.Lion(own, lr=1e-3)
    again.load_state_dict(optimizer.state_dict())
    assert torch.equal(again.state[own[0]]["exp_avg"], torch.full_like(own[0], 0.01))
