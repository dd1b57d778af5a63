"""Lion, the paper's optimiser, with few launches: all tensors of a group at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

BLOCK = 2**25  # numbers updated at once: what the signs take beside the weights, 128 MB in float32


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al., "Symbolic Discovery of Optimization Algorithms" (2023), by torch's foreach functions.

    The sign of a blend of gradient and average moves each weight by `lr`, after a decay by lr x weight_decay. On a CPU
    it gives the bits of `lion_pytorch.Lion`, whose loop over some 300 tensors is some 2,000 launches on a GPU.
    params: tensors or groups of them, as torch's optimisers take them. betas: of the blend, and of the average. The
    state of a parameter is {"exp_avg"}.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
                 weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step down the gradients that are there; what `closure`, called before it, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            blend, decay = group["betas"]
            for params in _blocks([p for p in group["params"] if p.grad is not None]):
                grads = [p.grad for p in params]
                for p in params:
                    if not self.state[p]:
                        self.state[p]["exp_avg"] = torch.zeros_like(p)
                averages = [self.state[p]["exp_avg"] for p in params]
                if group["weight_decay"]:
                    torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                signs = torch._foreach_mul(averages, blend)
                torch._foreach_add_(signs, grads, alpha=1 - blend)
                torch._foreach_sign_(signs)
                torch._foreach_add_(params, signs, alpha=-group["lr"])
                torch._foreach_mul_(averages, decay)
                torch._foreach_add_(averages, grads, alpha=1 - decay)
        return loss


def _blocks(params: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The tensors in their order, as many at once as hold BLOCK numbers, or one that is larger."""
    block: list[torch.Tensor] = []
    for p in params:
        if block and sum(q.numel() for q in block) + p.numel() > BLOCK:
            yield block
            block = []
        block.append(p)
    if block:
        yield block
