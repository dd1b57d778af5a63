"""Claims of the training, held against references on small models."""

from __future__ import annotations

import numpy as np

from eval.claims.finding import Finding
from eval.claims.method import layers
from eval.claims.models import C, largest_of, small_inputs, small_unet
from lnm.settings import Finetune


def train_two_steps() -> dict:
    """Two real steps of Lion on the small U-Net, space frozen: tensors changed, spatial and temporal, of how many."""
    import torch

    from lnm.batches import make_optimizer
    from lnm.unet import is_temporal

    unet = small_unet()
    unet.freeze_spatial()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    settings = Finetune(optimizer="lion", learning_rate=1e-3, weight_decay=0.0)
    # whatever takes a gradient: that nothing spatial does is what is looked at
    optimizer = make_optimizer({name: p for name, p in unet.named_parameters() if p.requires_grad}, settings)
    sample, t, words = small_inputs()
    for _ in range(2):  # zero projections wake on the first, what stands before them on the second
        torch.nn.functional.mse_loss(unet(sample, t, words, fps=8).sample, sample[:, :C]).backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = [name for name, value in unet.state_dict().items() if not torch.equal(value, before[name])]
    return {"spatial_changed": sum(not is_temporal(name) for name in changed),
            "spatial": sum(not is_temporal(name) for name in before),
            "temporal_changed": sum(is_temporal(name) for name in changed),
            "temporal": sum(is_temporal(name) for name in before)}


def eq1_errors(beta_schedule: str = "linear", steps: int = 20) -> dict:
    """What training feeds the U-Net, against the paper's formulas with alpha-bar from its own product.

    {"eq1": largest |x_t - (sqrt(a) x_0 + sqrt(1 - a) eps)|, "x0": largest error of x_0 got back from x_t and eps},
    over `steps` batches of lnm.batches.make_batch, whose target is eps and whose x_0 is five latents of the clip.
    """
    import torch
    from diffusers import DDIMScheduler

    from lnm.batches import make_batch

    betas = {"linear": np.linspace(0.00085, 0.012, 1000),
             "scaled_linear": np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2}[beta_schedule]
    alphas_bar = np.cumprod(1 - betas)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=beta_schedule, clip_sample=False)
    settings = Finetune()
    latents = torch.randn(20, C, 4, 4, generator=torch.Generator().manual_seed(0))
    clips = torch.stack([latents[start:start + 4 * stride + 1:stride] for stride in settings.strides
                         for start in range(20 - 4 * stride)]).transpose(1, 2).double()  # (clips, C, F, h, w)
    eq1 = x0 = 0.0
    for step in range(steps):
        batch = make_batch(latents, settings, 8.0, scheduler, 0, step)
        noisy, noise = batch["sample"][0, :C].double(), batch["target"][0].double()
        a = alphas_bar[batch["timestep"].item()]
        again = (noisy - (1 - a) ** 0.5 * noise) / a**0.5
        clip = clips[(clips - again).abs().flatten(1).amax(1).argmin()]
        x0 = max(x0, largest_of(again - clip))
        eq1 = max(eq1, largest_of(noisy - (a**0.5 * clip + (1 - a) ** 0.5 * noise)))
    return {"eq1": eq1, "x0": x0}


def consecutive_share(frames: int, strides: list[int], draws: int = 200) -> float:
    """Share of the clips that training draws whose frames follow each other in the clip (stride 1)."""
    import torch

    from lnm.batches import draw_clips

    latents = torch.arange(float(8 * frames * max(strides))).reshape(-1, 1, 1, 1)
    settings = Finetune(frames=frames, strides=strides, batch_size=draws)
    clips, _ = draw_clips(latents, settings, 8.0, np.random.default_rng(0))
    steps = clips.diff(dim=2).flatten(1)
    return float((steps == 1).all(1).double().mean())


def optimizer_bytes(name: str) -> dict:
    """Bytes an optimiser keeps for the temporal layers of the small U-Net, after a step: {"parameters": numbers
    trained, "state": bytes}. name: "lion" (lion_pytorch) or "adamw" (torch)."""
    import torch

    from lnm.batches import make_optimizer

    unet = small_unet()
    unet.freeze_spatial()
    optimizer = make_optimizer(unet.temporal_parameters(), Finetune(optimizer=name, learning_rate=3e-5))
    trained = list(unet.temporal_parameters().values())
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    slots = [value for state in optimizer.state.values() for value in state.values()]
    return {"parameters": sum(p.numel() for p in trained),
            "state": sum(slot.nbytes for slot in slots if isinstance(slot, torch.Tensor))}


def update_spread(name: str, weight_decay: float = 0.0, steps: int = 3) -> float:
    """Largest over least size of a step's updates, over 1,000 numbers with normal gradients: 1 is uniform."""
    import torch

    from lnm.batches import make_optimizer

    generator = torch.Generator().manual_seed(0)
    parameter = torch.randn(1, 1000, dtype=torch.float64, generator=generator).requires_grad_()
    settings = Finetune(optimizer=name, learning_rate=3e-5, weight_decay=weight_decay)
    optimizer = make_optimizer({"fps_embedding.weight": parameter}, settings)  # a matrix that decays
    for _ in range(steps):
        before = parameter.detach().clone()
        parameter.grad = torch.randn(1, 1000, dtype=torch.float64, generator=generator)
        optimizer.step()
    sizes = (parameter.detach() - before).abs()
    return float(sizes.max() / sizes.min())


def mse_smoothness(length: int = 64, count: int = 512, steps: int = 600) -> dict:
    """What is learnt of an edge that may stand anywhere: roughness (sum of squared neighbour differences) of the one
    signal that gradient descent finds nearest to `count` edges, under the squared and the absolute error; an edge
    itself has 1."""
    import torch

    places = torch.randint(1, length, (count, 1), generator=torch.Generator().manual_seed(0))
    edges = (torch.arange(length) >= places).float()
    roughness = {}
    for name, loss in (("mse", torch.nn.functional.mse_loss), ("l1", torch.nn.functional.l1_loss)):
        signal = torch.full((length,), 0.5, requires_grad=True)
        optimizer = torch.optim.Adam([signal], lr=0.05)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(signal.expand_as(edges), edges).backward()
            optimizer.step()
            schedule.step()
        roughness[name] = float(signal.detach().diff().square().sum())
    return roughness | {"edge": float(edges.diff().square().sum(1).mean())}


def activation_bytes(frames: int) -> int:
    """Bytes that the small U-Net, space frozen, keeps for its backward pass over a clip of so many frames."""
    import torch

    unet = small_unet()
    unet.freeze_spatial()
    own = {p.untyped_storage().data_ptr() for p in unet.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = unet(*small_inputs(frames), fps=8).sample.square().mean()
    total = sum(size for pointer, size in kept.items() if pointer not in own)
    del loss  # the graph held the storages, and so their addresses, until here
    return total


def frozen() -> Finding:
    """Spatial tensors that two training steps changed."""
    steps = train_two_steps()
    return Finding(steps["spatial_changed"] if steps["temporal_changed"] else None,
                   f"{steps['spatial_changed']} of {steps['spatial']} spatial and {steps['temporal_changed']} of "
                   f"{steps['temporal']} temporal tensors changed")


def eq1() -> float:
    """Largest error of the training batches against eq. 1."""
    return eq1_errors()["eq1"]


def x0_back() -> Finding:
    """Largest error of x_0 from x_t by the printed formula, which holds the noise itself."""
    error = eq1_errors()["x0"]
    return Finding(error, reason="as printed, with the true noise, it gives x_0 exactly and estimates nothing; a "
                   "sampler has the network's estimate in its place")


def lion_memory() -> Finding:
    """Bytes that Lion keeps over those that AdamW keeps, for the same layers."""
    lion, adamw = optimizer_bytes("lion"), optimizer_bytes("adamw")
    trained = layers()["trained"]
    gigabytes = [trained * kept["state"] / kept["parameters"] / 1e9 for kept in (lion, adamw)]
    return Finding(lion["state"] < adamw["state"], f"{lion['state'] / adamw['state']:.2f} of AdamW's",
                   reason="on Stable Diffusion's U-Net " + " against ".join(f"{size:.2f} GB" for size in gigabytes)
                   + "; “more performant” is not measured here")


def lion_uniform() -> Finding:
    """Largest over least update of Lion, and of AdamW."""
    spread = update_spread("lion")
    return Finding(spread, reason=f"without weight decay, of which the paper says nothing; at 0.01 it is "
                   f"{update_spread('lion', 0.01):.2f}, AdamW's is {update_spread('adamw'):.0f}")


def smoother() -> Finding:
    """Whether the squared error prefers a smoother answer than the data and than the absolute error's."""
    rough = mse_smoothness()
    return Finding(rough["mse"] < min(rough["l1"], rough["edge"]),
                   f"roughness {rough['mse']:.3f}, absolute error {rough['l1']:.2f}, data {rough['edge']:g}",
                   reason="of a signal predicted outright; here the loss is on the noise at each step, and a film is "
                   "drawn, not averaged")


def memory_grows() -> Finding:
    """Whether what training keeps grows with the number of frames."""
    kept = {frames: activation_bytes(frames) for frames in (4, 8, 16)}
    text = ", ".join(f"{size / kept[4]:.2f}x at {frames}" for frames, size in kept.items())
    return Finding(kept[4] < kept[8] < kept[16], f"{text} frames", reason="in proportion to the frames")
