"""Frozen weights in half precision while what is temporal trains in float32."""

from __future__ import annotations

import torch
from torch import nn

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}

class HalfFrozen:
    """The frozen convolutions and linear layers of a model, held in half precision until `restore`.

    Under autocast these layers compute in half precision whatever their weights are in, and torch keeps no copy of a
    weight that has no gradient: it casts all of them anew at every forward pass. Cast once, they give the same bits.
    What is not cast by autocast, norms above all, stays in float32. The float32 weights wait on the CPU, so a GPU holds
    half as much; `restore` puts the very bits back.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        self.own: list[tuple[nn.Parameter, torch.Tensor]] = []
        seen: set[int] = set()
        for module in model.modules():
            for p in module.parameters(recurse=False) if isinstance(module, nn.Conv2d | nn.Linear) else ():
                if not p.requires_grad and p.dtype == torch.float32 and id(p) not in seen:
                    seen.add(id(p))
                    self.own.append((p, p.data.cpu()))
                    p.data = p.data.to(dtype)

    def restore(self) -> None:
        """Give the float32 weights back, on the device where each parameter is by now."""
        for p, data in self.own:
            p.data = data.to(p.device)
        self.own = []
