"""Muon and AdamW, the precision they see, and one step of them at a round's rates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch

from lnm.demo.mini.recipe import round_of


def autocast(device: str):
    """bfloat16 where the machine has it; elsewhere a CPU's imitation is ten times slower than float32."""
    there = torch.cuda.is_bf16_supported() if device == "cuda" else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device, torch.bfloat16, enabled=there)


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix has singular values near 1 (Jordan et al. 2024), as large as Adam's would be
    (Liu et al. 2025, "Muon is Scalable"); a convolution counts as a matrix (out, in * kh * kw).

    Two and a half minutes of the U-Net's training, on 2 cores: loss 0.650 after 110 steps, AdamW's 0.697 after 194.
    torch.optim.Muon takes no convolutions and computes in bfloat16, which many a CPU only imitates. The Newton-Schulz
    iteration runs on the small Gram matrix here: a third of the work, the same result.
    """

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                slots = self.state[p]
                if not slots:
                    slots["mean"] = torch.zeros_like(p)
                mean = slots["mean"].lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]).flatten(1))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view(p.shape), alpha=-group["lr"] * 0.2 * max(update.shape) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Nearly U V^T of `matrix` = U S V^T: five quintic Newton-Schulz steps; what is large becomes 0.7 to 1.2."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    matrix = matrix / (matrix.norm() + 1e-7)
    gram, eye = matrix @ matrix.T, torch.eye(len(matrix), device=matrix.device)
    product = eye
    for _ in range(5):
        p = 3.4445 * eye - 4.7750 * gram + 2.0315 * gram @ gram
        product, gram = p @ product, p @ gram @ p
    return product @ matrix


def adamw(parameters: Iterable[torch.nn.Parameter], lr: float, weight_decay: float,
          betas: tuple[float, float]) -> torch.optim.AdamW:
    """AdamW whose one group remembers `lr` as its "peak"."""
    # foreach: one by one, the many small tensors cost a fifth of a step's time
    return torch.optim.AdamW([{"params": list(parameters), "peak": lr}], lr=lr, weight_decay=weight_decay, betas=betas,
                             foreach=True)


def muon_and_adamw(module: torch.nn.Module, edge: str) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of `module` but those whose names match `edge` (what comes in, what goes out); AdamW for
    the rest."""
    named = dict(module.named_parameters())
    matrices = [k for k, p in named.items() if p.ndim >= 2 and not re.search(edge, k)]
    return [Muon([named.pop(k) for k in matrices], lr=1e-3), adamw(named.values(), 1e-3, 1e-2, (0.9, 0.99))]


def update(loss: torch.Tensor, optimizers: list, step: int, period: int, warmup: int = 100, clip: float = 1.0,
           cooldown: float = 1.0) -> float:
    """One step down `loss`, at each group's "peak" rate times `cooldown` times a linear warm-up, then a cosine that
    reaches a twentieth at `period`."""
    scale = cooldown * min((step + 1) / warmup, 0.05 + 0.475 * (1 + math.cos(math.pi * step / period)))
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], clip)
    for group in groups:
        group["lr"] = group["peak"] * scale
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def update_in_round(loss: torch.Tensor, optimizers: list, rounds: list[dict], step: int) -> float:
    """One step down `loss`, number `step` of all `rounds`, at its round's rates: "lr" for Muon, "edge_lr" for AdamW."""
    part, step = round_of(rounds, step)
    for optimizer, rate in zip(optimizers, (part["lr"], part["edge_lr"]), strict=True):
        for group in optimizer.param_groups:
            group["peak"] = rate
    cooldown = min(1.0, (part["steps"] - step) / part["cooldown"])
    return update(loss, optimizers, step, part["period"], cooldown=cooldown)
