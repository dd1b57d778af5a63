"""Claims of the training, held against references on small models."""

from __future__ import annotations

import numpy as np
from conformance.models import C, largest_of, small_inputs, small_unet

from eval.claims.settings import BETA_END, BETA_START, alphas_bar
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


def sampler(beta_schedule: str, kind: str = "ddim"):
    """A sampler of ours with Stable Diffusion's betas, for a network that returns noise."""
    from diffusers import DDIMScheduler

    from lnm.schedulers import make_scheduler

    return make_scheduler(DDIMScheduler(beta_start=BETA_START, beta_end=BETA_END,
                                        beta_schedule=beta_schedule, clip_sample=False), kind=kind)


def eq1_error(beta_schedule: str = "linear", steps: int = 20) -> float:
    """Largest |x_t - (sqrt(a) x_0 + sqrt(1 - a) eps)| of what training feeds the U-Net, over `steps` batches of
    lnm.batches.make_batch, whose target is eps and whose x_0 is one of the clip's runs of five latents."""
    import torch

    from lnm.batches import make_batch

    bars, scheduler, settings = alphas_bar(beta_schedule), sampler(beta_schedule), Finetune()
    latents = torch.randn(20, C, 4, 4, generator=torch.Generator().manual_seed(0))
    clips = torch.stack([latents[start:start + 4 * stride + 1:stride] for stride in settings.strides
                         for start in range(20 - 4 * stride)]).transpose(1, 2).double()  # (clips, C, F, h, w)
    eq1 = 0.0
    for step in range(steps):
        batch = make_batch(latents, settings, 8.0, scheduler, 0, step)
        noisy, noise = batch["sample"][0, :C].double(), batch["target"][0].double()
        a = bars[batch["timestep"].item()]
        wanted = a**0.5 * clips + (1 - a) ** 0.5 * noise
        eq1 = max(eq1, float((noisy - wanted).abs().flatten(1).amax(1).min()))
    return eq1


def x0_error(kind: str = "ddim", beta_schedule: str = "scaled_linear") -> float:
    """Largest difference between the x_0 that a sampler, "ddim" (params.paper.yaml's) or "dpm++" (the default),
    estimates from a network's noise, and the printed formula with that noise in the place of the true one: the 15 steps
    of a film, as a share of sqrt(1 / alpha-bar)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    steps, bars, worst = sampler(beta_schedule, kind), alphas_bar(beta_schedule), 0.0
    steps.set_timesteps(15)
    for t in steps.timesteps:
        x, predicted = torch.randn(2, 1, C, 5, 4, 4, generator=generator)  # a film on its way; a network's noise
        stepped = steps.step(predicted, t, x)
        estimated = (stepped.pred_original_sample if kind == "ddim" else steps.model_outputs[-1]).double()
        a = bars[int(t)]
        worst = max(worst, largest_of(estimated - (x.double() - (1 - a) ** 0.5 * predicted.double()) / a**0.5) * a**0.5)
    return float(worst)


def condition_error() -> float:
    """Largest difference between what training feeds beside the noisy latents (mask, and the still's latents for every
    frame) and what the paper says: a mask of 1, the clip's own first frame. The clip is known by its latents."""
    import torch

    from lnm.batches import make_batch

    settings = Finetune(mask_value=1, strides=[1], still_noise=0.0)
    latents = torch.randn(20, C, 4, 4, generator=torch.Generator().manual_seed(0))
    scheduler, bars, worst = sampler("scaled_linear"), alphas_bar("scaled_linear"), 0.0
    for step in range(10):
        batch = make_batch(latents, settings, 8.0, scheduler, 0, step)
        sample, a = batch["sample"][0].double(), bars[batch["timestep"].item()]
        clean = (sample[:C] - (1 - a) ** 0.5 * batch["target"][0].double()) / a**0.5
        first = (latents.double() - clean[:, 0]).abs().flatten(1).amax(1).argmin()  # which frame of the clip it is
        worst = max(worst, largest_of(sample[C] - 1), largest_of(sample[C + 1:] - latents[first, :, None].double()))
    return float(worst)


def consecutive_share(frames: int, strides: list[int], draws: int = 200) -> float:
    """Share of the clips that training draws whose frames follow each other in the clip (stride 1)."""
    import torch

    from lnm.batches import draw_clips

    latents = torch.arange(float(8 * frames * max(strides))).reshape(-1, 1, 1, 1)
    settings = Finetune(frames=frames, strides=strides, batch_size=draws)
    clips, *_ = draw_clips(latents, settings, 8.0, np.random.default_rng(0))
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
