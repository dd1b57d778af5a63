"""A training loop that goes on where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

SAVE_EVERY = 200  # steps between saves


def loop(name: str, work: Path, modules: dict[str, torch.nn.Module], optimizers: list[torch.optim.Optimizer],
         steps: int, take: Callable[[int], float]) -> None:
    """Run `take(step) -> loss` to `steps`, saved every SAVE_EVERY steps as `work`/NAME.safetensors, from which a later
    call goes on exactly; the loss goes to `work`/NAME.csv."""
    path, log = work / f"{name}.safetensors", work / f"{name}.csv"
    start = restore(path, modules, optimizers) if path.exists() else 0
    log.touch()
    bar = tqdm(range(start, steps), initial=start, total=steps, desc=name, mininterval=10)
    recent = None
    for step in bar:
        loss = take(step)
        recent = loss if recent is None else 0.98 * recent + 0.02 * loss
        if step % 20 == 0:
            bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
            with log.open("a") as f:
                f.write(f"{step},{recent:.6f},{time.time():.0f}\n")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save(path, step + 1, modules, optimizers)


def restore(path: Path, modules: dict[str, torch.nn.Module], optimizers: list[torch.optim.Optimizer]) -> int:
    """Load what `save` wrote into `modules` and `optimizers`; returns the number of steps that were done."""
    tensors = load_file(path)
    done = int(tensors.pop("step"))
    for key, module in modules.items():
        module.load_state_dict({k[len(key) + 1:]: v for k, v in tensors.items() if k.startswith(key + ".")})
    for i, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        for k, v in tensors.items():
            if k.startswith(f"optimizer{i}."):
                _, index, slot = k.split(".")
                state["state"].setdefault(int(index), {})[slot] = v
        optimizer.load_state_dict(state)
    return done


def save(path: Path, done: int, modules: dict[str, torch.nn.Module], optimizers: list[torch.optim.Optimizer]) -> None:
    """Write everything that the steps after `done` depend on, whole or not at all."""
    tensors = {"step": torch.tensor(done)}
    for key, module in modules.items():
        tensors |= {f"{key}.{k}": v.contiguous().clone() for k, v in module.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer{i}.{index}.{k}": v.contiguous() for k, v in slots.items()}
    save_file(tensors, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
