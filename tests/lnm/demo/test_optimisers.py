"""Muon's update is nearly orthogonal; edges go to AdamW; a loop that was cut goes on with the same bytes."""

import pytest
import torch

from lnm.demo.mini import loop
from lnm.demo.mini.optimisers import muon_and_adamw, orthogonal, update_in_round

ROUNDS = [dict(steps=10, period=10, cooldown=4, lr=0.1, edge_lr=0.1)]


def test_training_resumes_where_it_was(tmp_path, monkeypatch):
    """Cut after a save and run on, the weights are those of a run in one piece."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 5)

    def train(work, steps):
        work.mkdir(exist_ok=True)
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 3)
        optimizers = muon_and_adamw(layer, "edge")

        def take(step):
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            return update_in_round(layer(x).square().mean(), optimizers, ROUNDS, step)

        loop.loop("layer", work, {"layer": layer}, optimizers, steps, take)
        return layer.weight.detach()

    whole = train(tmp_path / "a", 10)
    train(tmp_path / "b", 5)
    assert torch.equal(train(tmp_path / "b", 10), whole)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_muons_update_is_the_nearest_orthogonal_matrix_but_for_its_scale(shape):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = 100 * u * torch.linspace(1, 0.3, min(shape)) @ v
    made = orthogonal(matrix)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.65 and values.max() < 1.25
    inside = u.T @ made @ v.T  # diagonal: the same singular vectors
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-4


def test_muon_leaves_the_edges_to_adamw_and_takes_convolutions():
    net = torch.nn.ModuleDict({"conv_in": torch.nn.Conv2d(2, 4, 3), "inside": torch.nn.Conv2d(4, 4, 3)})
    muon, adamw = muon_and_adamw(net, "conv_in")
    assert [p.shape for p in muon.param_groups[0]["params"]] == [net["inside"].weight.shape]
    assert len(adamw.param_groups[0]["params"]) == 3
    before = {k: p.detach().clone() for k, p in net.named_parameters()}
    loss = net["inside"](net["conv_in"](torch.ones(1, 2, 8, 8))).square().sum()
    update_in_round(loss, [muon, adamw], ROUNDS, 0)
    assert all(not torch.equal(p, before[k]) for k, p in net.named_parameters())
