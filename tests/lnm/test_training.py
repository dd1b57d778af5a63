"""A step of the fine-tune: what it sees, its rate, its optimiser, its average; and what a run is."""

import numpy as np
import pytest
import torch
from tiny import CHANNELS, SIZE, tiny_settings, write_tiny_checkpoint
from torch.utils._python_dispatch import TorchDispatchMode

from lnm import batches, training
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.pipeline import LateNtMoviesPipeline
from lnm.precision import HalfFrozen
from lnm.resume import LOG_HEADER, ResumeStore
from lnm.schedulers import make_scheduler
from lnm.settings import Finetune


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def scheduler(base):
    return make_scheduler(open_checkpoint(str(base)).scheduler)


def pipeline(base, **kwargs):
    torch.manual_seed(torch.seed())  # as in a new process: nothing may hang on what was drawn before
    pipe = LateNtMoviesPipeline.from_pretrained(base, **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def clip(count=12):
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    return np.stack([np.roll(picture, i, axis=1) for i in range(count)])


def trainer(base, **changes):
    """A trainer of a new pipeline, ready to step."""
    settings, pipe = tiny_settings(**changes), pipeline(base)
    training._draw(pipe.unet, 0)
    return training.Trainer(pipe, "ocean waves", settings, training.make_accelerator(settings, "cpu"), "clip")


LATENTS = torch.randn(12, CHANNELS, SIZE // 2, SIZE // 2, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- rate, clips, batch


def test_learning_rate_against_worked_numbers_and_transformers_formula():
    settings = Finetune(learning_rate=0.8, warmup_steps=4, steps=12)
    rates = [batches.learning_rate(s, settings) for s in range(12)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8]), "the first step has a rate above zero"
    assert rates[8] == pytest.approx(0.4), "half-way down the cosine"
    from diffusers.optimization import get_cosine_schedule_with_warmup
    theirs = get_cosine_schedule_with_warmup(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), 4, 12)
    assert rates[4:] == pytest.approx([0.8 * theirs.lr_lambdas[0](s) for s in range(4, 12)])
    flat = settings.model_copy(update={"lr_schedule": "constant"})
    assert [batches.learning_rate(s, flat) for s in (1, 4, 11)] == pytest.approx([0.4, 0.8, 0.8])
    assert batches.learning_rate(0, settings.model_copy(update={"warmup_steps": 0})) == pytest.approx(0.8)
    short = settings.model_copy(update={"steps": 4})
    assert [batches.learning_rate(s, short) for s in (0, 3)] == pytest.approx([0.2, 0.8]), "warm-up and no more"


def test_clips_are_consecutive_at_the_stride_that_their_rate_says_and_reach_both_ends():
    latents = torch.arange(10.0).view(10, 1, 1, 1)
    settings = Finetune(frames=4, strides=[1, 3, 4], batch_size=400)
    clips, rates, _ = batches.draw_clips(latents, settings, 12.0, np.random.default_rng(0))
    assert clips.shape == (400, 1, 4, 1, 1) and rates.shape == (400,)
    seen = {(rate, *clip) for rate, clip in zip(rates.tolist(), clips.flatten(1).int().tolist(), strict=True)}
    # 4 frames at stride 3 fit once, at stride 4 never
    assert seen == {(12.0, i, i + 1, i + 2, i + 3) for i in range(7)} | {(4.0, 0, 3, 6, 9)}


def test_a_step_sees_consecutive_frames_one_timestep_a_clip_and_the_unblanked_still(scheduler):
    latents = torch.arange(40.0).view(40, 1, 1, 1).expand(40, CHANNELS, 2, 2)
    settings = Finetune(frames=5, strides=[1, 3], batch_size=16, prompt_dropout=0.5, mask_value=1)
    batch = batches.make_batch(latents, settings, 12.0, scheduler, 0, 0)
    assert batch["timestep"].shape == (16,) and batch["timestep"].unique().numel() > 8
    alpha = scheduler.alphas_cumprod[batch["timestep"]].view(-1, 1, 1, 1, 1)
    clean = (batch["sample"][:, :CHANNELS] - (1 - alpha).sqrt() * batch["target"]) / alpha.sqrt()  # eq. 1 undone
    steps = clean.diff(dim=2)
    stride = 12.0 / batch["fps"].view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(steps, stride.expand_as(steps), atol=0.2, rtol=0)
    assert set(batch["fps"].tolist()) == {12.0, 4.0}
    assert (batch["sample"][:, CHANNELS] == 1).all()
    hint = batch["sample"][:, CHANNELS + 1:]
    torch.testing.assert_close(hint, clean[:, :, :1].expand_as(hint), atol=0.2, rtol=0)
    assert 0 < batch["drop"].sum() < 16


def test_a_clip_is_long_enough_from_the_smallest_stride_on():
    settings = Finetune(frames=4, strides=[3, 2])
    batches.check_length(7, settings, "sea")
    with pytest.raises(UserError, match="sea: 6 training frames, finetune.frames and finetune.strides need 7"):
        batches.check_length(6, settings, "sea")


def test_a_batch_is_a_function_of_seed_step_and_rank(scheduler):
    settings = Finetune(batch_size=2)

    def batch(*key):
        return batches.make_batch(LATENTS, settings, 8.0, scheduler, *key)

    first, again = batch(3, 4, 5), batch(3, 4, 5)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert all(not torch.equal(first["target"], batch(*other)["target"]) for other in ((4, 4, 5), (3, 5, 5), (3, 4, 6)))


def test_still_noise_touches_only_the_condition(scheduler):
    settings = Finetune(strides=[1], still_noise=0.5)
    batch = batches.make_batch(torch.zeros(9, CHANNELS, 2, 2), settings, 8.0, scheduler, 0, 0)
    assert 0.1 < batch["sample"][:, CHANNELS + 1:].std() < 1.0
    plain = batches.make_batch(torch.zeros(9, CHANNELS, 2, 2), settings.model_copy(update={"still_noise": 0.0}), 8.0,
                                scheduler, 0, 0)
    assert torch.equal(batch["sample"][:, :CHANNELS], plain["sample"][:, :CHANNELS])


def test_a_checkpoint_that_predicts_velocity_gets_velocities(tmp_path):
    checkpoint = write_tiny_checkpoint(tmp_path / "v", prediction_type="v_prediction")
    scheduler = make_scheduler(open_checkpoint(str(checkpoint)).scheduler)
    batch = batches.make_batch(torch.randn(9, CHANNELS, 2, 2), Finetune(strides=[1]), 8.0, scheduler, 0, 0)
    alpha = scheduler.alphas_cumprod[batch["timestep"]]
    noisy, v = batch["sample"][:, :CHANNELS], batch["target"]
    clean = alpha.sqrt() * noisy - (1 - alpha).sqrt() * v  # Salimans & Ho 2022
    hint = batch["sample"][:, CHANNELS + 1:, 0]
    torch.testing.assert_close(clean[:, :, 0], hint, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- one step


def test_a_dropped_prompt_is_the_empty_one(base):
    ready = trainer(base, batch_size=8, prompt_dropout=0.5)
    ready.restore(None)
    seen, model = [], ready.model

    class Listening(torch.nn.Module):
        def forward(self, sample, timestep, embeddings, fps):
            seen.append(embeddings)
            return model(sample, timestep, embeddings, fps=fps)

    ready.model = Listening()
    ready.step(LATENTS, 8.0, 0, 0)
    dropped = batches.make_batch(LATENTS, ready.settings, 8.0, ready.scheduler, 0, 0)["drop"]
    assert 0 < dropped.sum() < 8
    prompt, empty = pipeline(base).encode_prompt(["ocean waves", ""])
    assert not torch.equal(prompt, empty)
    for used, drop in zip(seen[0], dropped, strict=True):
        assert torch.equal(used, empty if drop else prompt)


def test_gradients_are_clipped_by_the_norm_of_all_of_them(base):
    moved = []
    for bound in (1e-3, 1e6):
        ready = trainer(base, max_grad_norm=bound, learning_rate=1.0, warmup_steps=0, lr_schedule="constant")
        ready.optimizer = torch.optim.SGD(ready.trained.values(), lr=1.0)
        ready.restore(None)
        before = {k: p.detach().clone() for k, p in ready.trained.items()}
        _, _, norm = ready.step(LATENTS, 8.0, 0, 0)
        moved.append((torch.cat([(before[k] - p).flatten() for k, p in ready.trained.items()]).norm().item(), norm))
    (clipped, norm), (whole, again) = moved
    assert norm == pytest.approx(again) and norm > 1e-2, "the log has the norm before clipping"
    assert clipped == pytest.approx(1e-3, rel=1e-2) and whole == pytest.approx(norm, rel=1e-2)


def test_the_moving_average_against_its_formula(base):
    ready = trainer(base, ema=0.3, learning_rate=1e-2, warmup_steps=0)
    ready.restore(None)
    name = "fps_embedding.linear_1.weight"
    slow = ready.trained[name].detach().clone()
    for step, decay in enumerate((0.1, 2 / 11, 0.25, 0.3, 0.3)):  # (1 + s) / (10 + s), at most 0.3
        ready.step(LATENTS, 8.0, 0, step)
        slow = decay * slow + (1 - decay) * ready.trained[name].detach()
    torch.testing.assert_close(ready.state["ema"][name], slow)
    assert not torch.equal(ready.trained[name], slow)
    ready.finish()
    torch.testing.assert_close(ready.trained[name].detach(), slow)


def scaled(ready, scale):
    """Give a trainer a loss scale, as fp16 has on a GPU."""
    ready.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    return ready


def test_a_skipped_step_moves_neither_weights_nor_their_average(base):
    ready = scaled(trainer(base, ema=0.9), 256.0)
    ready.restore(None)
    ready.trained["fps_embedding.linear_2.weight"].register_hook(lambda gradient: gradient * float("inf"))  # too large
    for slow in ready.state["ema"].values():
        slow += 1  # away from the weights, so that an average would move
    weights, average = ({k: v.detach().clone() for k, v in ready.state[part].items()} for part in ("temporal", "ema"))
    ready.step(LATENTS, 8.0, 0, 0)
    assert ready.accelerator.optimizer_step_was_skipped and ready.accelerator.scaler.get_scale() == 128
    assert all(torch.equal(weights[k], v) for k, v in ready.state["temporal"].items())
    assert all(torch.equal(average[k], v) for k, v in ready.state["ema"].items())


def test_the_loss_scale_is_kept_in_a_checkpoint(base, tmp_path):
    ready, store = scaled(trainer(base), 256.0), ResumeStore(tmp_path, {})
    ready.restore(store)
    for step in range(3):
        ready.step(LATENTS, 8.0, 0, step)
    grown = ready.accelerator.scaler.state_dict()
    assert grown["scale"] == 512 and grown["_growth_tracker"] == 1
    ready.save(store, 3)
    store.log.write_text(LOG_HEADER + "".join(f"{step},1,1,1\n" for step in range(3)))
    again = scaled(trainer(base), 8.0)
    assert again.restore(store) == 3
    assert again.accelerator.scaler.state_dict() == grown
    store.close(finished=True)


def test_a_step_asks_the_device_for_a_number_once(base, monkeypatch):
    """Each time, a GPU runs dry: the loss, the norm and whether they are finite come in one."""
    ready, asked = trainer(base, batch_size=2), []
    ready.restore(None)
    batch = batches.make_batch(LATENTS, ready.settings, 8.0, ready.scheduler, 0, 0)

    class Asked(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._local_scalar_dense.default:
                asked.append("item")
            return function(*args, **(kwargs or {}))

    monkeypatch.setattr(torch.Tensor, "tolist", lambda x, own=torch.Tensor.tolist: asked.append("list") or own(x))
    with Asked():
        ready.descend(batch, ready.prompt_embeds, 0)
    assert asked == ["list"]


def test_frozen_weights_in_half_precision_train_to_the_same_bits(base):
    """What a GPU does, on a CPU that computes in bfloat16 or imitates it."""
    trained = []
    for halved in (False, True):
        ready = trainer(base, mixed_precision="bf16", gradient_checkpointing=True)
        if halved:
            ready.half = HalfFrozen(ready.unet, torch.bfloat16)
        ready.restore(None)
        numbers = [ready.step(LATENTS, 8.0, 0, step) for step in range(2)]
        ready.release()
        assert all(p.dtype == torch.float32 for p in ready.unet.parameters())
        trained.append((numbers, {k: p.detach().clone() for k, p in ready.unet.named_parameters()}))
    (numbers, weights), (again, same) = trained
    assert numbers == again and all(torch.equal(weights[k], same[k]) for k in weights)


@pytest.mark.parametrize("kind", ["lion", "adamw"])
def test_weight_decay_pulls_towards_the_identity_or_not_at_all(base, kind):
    unet = pipeline(base).unet
    parameters = unet.temporal_parameters()
    with torch.no_grad():
        for p in parameters.values():
            p += 0.1
    before = {k: p.detach().clone() for k, p in parameters.items()}
    optimizer = batches.make_optimizer(parameters, Finetune(optimizer=kind, learning_rate=0.1, weight_decay=0.5))
    for p in parameters.values():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in parameters.items():
        shrinks = name.endswith((".to_qkv.weight", ".to_out.weight")) or (
            name.startswith("fps_embedding.") and name.endswith("weight"))
        torch.testing.assert_close(p.detach(), before[name] * (0.95 if shrinks else 1), msg=name)
    kernels = [k for k in parameters if k.endswith(".temporal.weight")]
    assert kernels and any(k.endswith(".norm.weight") for k in parameters)


def test_the_optimisers_are_those_that_the_settings_name(base):
    parameters = pipeline(base).unet.temporal_parameters()
    adamw = batches.make_optimizer(parameters, Finetune(optimizer="adamw", learning_rate=0.3))
    lion = batches.make_optimizer(parameters, Finetune(optimizer="lion", learning_rate=0.3))
    assert type(adamw) is torch.optim.AdamW and type(lion).__name__ == "Lion"
    for optimizer in (adamw, lion):
        assert all(group["betas"] == (0.9, 0.99) and group["lr"] == 0.3 for group in optimizer.param_groups)
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(parameters)


def test_new_layers_are_drawn_as_torch_draws_them_and_trained_ones_left_alone(base):
    unet = pipeline(base).unet
    training._draw(unet, 3)
    drawn = {k: p.detach().clone() for k, p in unet.temporal_parameters().items()}
    random = {k: v for k, v in drawn.items() if k.endswith(".to_qkv.weight")}
    assert random
    for weight in random.values():
        reach = weight.shape[1] ** -0.5
        assert 0.95 * reach < weight.max() <= reach and -reach <= weight.min() < -0.95 * reach
        assert weight.std().item() == pytest.approx(reach / 3 ** 0.5, rel=0.1)
    training._draw(unet, 3)
    assert all(torch.equal(drawn[k], p) for k, p in unet.temporal_parameters().items())
    with torch.no_grad():
        unet.fps_embedding.linear_2.weight[0, 0] = 1.0  # as after a step
    training._draw(unet, 4)
    assert all(torch.equal(drawn[k], p) for k, p in unet.temporal_parameters().items() if "linear_2" not in k)


def test_the_losses_are_means_of_the_first_and_last_tenth():
    trained = training.Trained(40, 1, 1, [float(i) for i in range(40)])
    assert (trained.loss_first_tenth, trained.loss_last_tenth) == (1.5, 37.5)
    trained = training.Trained(3, 1, 1, [1.0, 2.0, 4.0])
    assert (trained.loss_first_tenth, trained.loss_last_tenth) == (1.0, 4.0)


def test_a_loss_that_is_not_finite_is_one_line(base):
    ready = trainer(base)
    ready.restore(None)
    with pytest.raises(UserError, match="clip: the loss is not finite at step 4; lower finetune.learning_rate"):
        ready.step(LATENTS * float("nan"), 8.0, 0, 4)


def test_where_it_runs_is_no_part_of_what_a_run_is(base):
    pipe, settings = pipeline(base), tiny_settings()
    one = training.run_identity(pipe, clip(), "waves", 8.0, settings, 0)
    looks = settings.model_copy(update={"preview_every": 3, "checkpoint_every": 7})
    assert training.run_identity(pipe, clip(), "waves", 8.0, looks, 0) == one
    assert "cpu" not in str(one) and "device" not in one
    other = settings.model_copy(update={"learning_rate": 1.0})
    differing = [training.run_identity(pipe, clip(), "waves", 8.0, other, 0),
                 training.run_identity(pipe, clip(11), "waves", 8.0, settings, 0),
                 training.run_identity(pipe, clip(), "sea", 8.0, settings, 0),
                 training.run_identity(pipe, clip(), "waves", 9.0, settings, 0),
                 training.run_identity(pipe, clip(), "waves", 8.0, settings, 1)]
    pipe.scheduler = make_scheduler(pipe.scheduler, "linear")
    differing.append(training.run_identity(pipe, clip(), "waves", 8.0, settings, 0))
    assert all(what != one for what in differing)
