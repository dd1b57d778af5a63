"""LateNtMoviesPipeline opened, saved and made from others; precision and offloading as diffusers has them."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from cached import cached
from diffusers import DiffusionPipeline, EulerDiscreteScheduler, PNDMScheduler, StableDiffusionInpaintPipeline
from single_file import write_single_file
from tiny import write_tiny_checkpoint
from tiny_pipeline import film, make
from tiny_unet import wake

from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.pipeline import LateNtMoviesPipeline
from lnm.schedulers import SCHEDULERS, make_scheduler
from lnm.temporal_file import read_temporal
from lnm.unet import UNetPseudo3DConditionModel

LINEAR = torch.linspace(0.00085, 0.012, 1000)


@pytest.fixture(scope="module")
def temporal(checkpoint, tmp_path_factory):
    """A temporal file of layers that were trained on a schedule which is not the checkpoint's, with mask 0."""
    pipe = make(checkpoint, mask_value=0.0)
    pipe.scheduler = make_scheduler(pipe.scheduler, "linear")
    path = tmp_path_factory.mktemp("temporal") / "temporal.safetensors"
    pipe.save_temporal(path, fps=8.0, prompt="ocean waves", frames=5, strides=[1, 2], steps=3, checkpoint="tiny")
    return path


@pytest.fixture
def want(checkpoint, temporal):
    """The film that layers, schedule and mask of the temporal file give."""
    pipe = make(checkpoint, mask_value=0.0)
    pipe.scheduler = make_scheduler(pipe.scheduler, "linear")
    return film(pipe, output_type="latent")


# ---------------------------------------------------------------- a temporal file


def test_from_pretrained_with_a_temporal_file_samples_as_it_was_trained(folder, checkpoint, temporal, want):
    pipe = LateNtMoviesPipeline.from_pretrained(folder, temporal=temporal)
    torch.testing.assert_close(pipe.scheduler.betas, LINEAR)
    assert pipe.config.mask_value == 0.0
    assert torch.equal(film(pipe, output_type="latent"), want)
    plain = make(checkpoint, mask_value=0.0)  # the checkpoint's own betas give another film
    assert not torch.equal(film(plain, output_type="latent"), want)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_betas_outlive_a_change_of_sampler_and_the_sampler_a_change_of_betas(folder, temporal, kind):
    sampler = make_scheduler(open_checkpoint(str(folder)).scheduler, kind=kind)
    own = {"skip_prk_steps": True} if kind == "pndm" else {}  # as Stable Diffusion's configurations have it

    def change(pipe):
        pipe.scheduler = type(sampler).from_config(pipe.scheduler.config, **own)  # as diffusers' users do

    opened = LateNtMoviesPipeline.from_pretrained(folder, temporal=temporal, scheduler=sampler)
    loaded = LateNtMoviesPipeline.from_pretrained(folder)
    change(loaded)
    loaded.load_temporal(temporal)
    changed = LateNtMoviesPipeline.from_pretrained(folder, temporal=temporal)
    change(changed)
    films = []
    for pipe in (opened, loaded, changed):
        assert type(pipe.scheduler).__name__ == SCHEDULERS[kind]
        torch.testing.assert_close(pipe.scheduler.betas, LINEAR)
        films.append(film(pipe, output_type="latent"))
    assert torch.equal(films[0], films[1]) and torch.equal(films[0], films[2])


def test_the_file_says_all_that_sampling_needs(temporal):
    file = read_temporal(temporal)
    notes = file.notes
    assert notes.schedule == {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
                              "beta_schedule": "linear", "trained_betas": None, "rescale_betas_zero_snr": False,
                              "prediction_type": "epsilon"}
    assert (notes.mask_value, notes.fps, notes.frames, notes.strides) == (0.0, 8.0, 5, [1, 2])
    assert (notes.prompt, notes.steps, notes.checkpoint) == ("ocean waves", 3, "tiny")
    assert (file.conv_placement, file.temporal_attention) == ("all", True) and set(file.base) == {"shapes", "values"}


def test_what_was_learned_stays_with_the_layers(folder, temporal, tmp_path):
    pipe = LateNtMoviesPipeline.from_pretrained(folder, temporal=temporal)
    pipe.save_temporal(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == temporal.read_bytes()
    LateNtMoviesPipeline.from_pipe(pipe).save_temporal(tmp_path / "third.safetensors", prompt="clouds")
    third = read_temporal(tmp_path / "third.safetensors").notes
    assert (third.prompt, third.fps, third.mask_value) == ("clouds", 8.0, 0.0)


def test_a_file_that_the_sampler_cannot_keep_changes_nothing(folder, checkpoint, tmp_path):
    zero = make(checkpoint)
    zero.scheduler = type(zero.scheduler).from_config(zero.scheduler.config, rescale_betas_zero_snr=True)
    zero.save_temporal(tmp_path / "zero.safetensors")
    pipe = LateNtMoviesPipeline.from_pretrained(folder)
    pipe.scheduler = PNDMScheduler.from_config(pipe.scheduler.config)
    before = {k: p.clone() for k, p in pipe.unet.temporal_parameters().items()}
    with pytest.raises(UserError, match="sample.scheduler: pndm cannot keep"):
        pipe.load_temporal(tmp_path / "zero.safetensors")
    assert all(torch.equal(p, before[k]) for k, p in pipe.unet.temporal_parameters().items())


def test_a_placement_of_its_own_comes_with_the_file_and_mask_value_may_be_another(folder, tmp_path):
    narrow = LateNtMoviesPipeline.from_pretrained(folder, conv_placement="3x3")
    narrow.save_temporal(tmp_path / "narrow.safetensors")
    pipe = LateNtMoviesPipeline.from_pretrained(folder, temporal=tmp_path / "narrow.safetensors", mask_value=0.5)
    assert pipe.unet.config.conv_placement == "3x3" and pipe.config.mask_value == 0.5


def test_frame_by_frame_takes_no_temporal_file(checkpoint, temporal):
    with pytest.raises(UserError, match="frame by frame and has no temporal layers"):
        LateNtMoviesPipeline.frame_by_frame(checkpoint).load_temporal(temporal)


def test_base_and_temporal_file_come_from_the_hubs_cache(folder, temporal, want, tmp_path, monkeypatch):
    cached(tmp_path, "somebody/inpainting", folder, monkeypatch)
    cached(tmp_path, "somebody/waves", temporal.parent, monkeypatch)
    pipe = LateNtMoviesPipeline.from_pretrained("somebody/inpainting", temporal="somebody/waves")
    assert torch.equal(film(pipe, output_type="latent"), want)
    with pytest.raises(UserError, match="somebody/none: neither a file here nor to be had"):
        pipe.load_temporal("somebody/none")


def test_how_hub_names_are_fetched_is_said_as_in_diffusers(folder, temporal, want, tmp_path):
    cached(tmp_path, "somebody/inpainting", folder)
    cached(tmp_path, "somebody/waves", temporal.parent)
    LateNtMoviesPipeline.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    cached(tmp_path, "somebody/film", tmp_path / "saved")
    given = dict(cache_dir=tmp_path, local_files_only=True, token=False)
    for name in ("somebody/inpainting", "somebody/film"):
        pipe = LateNtMoviesPipeline.from_pretrained(name, temporal="somebody/waves", **given)
        assert torch.equal(film(pipe, output_type="latent"), want)
        pipe.load_temporal("somebody/waves", **given)
        with pytest.raises(UserError, match="^somebody/none: .*local_files_only forbids a download; open it once with"):
            pipe.load_temporal("somebody/none", **given)
    with pytest.raises(UserError, match="somebody/none is not in the cache .*, and local_files_only forbids") as error:
        LateNtMoviesPipeline.from_pretrained("somebody/none", **given)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    LateNtMoviesPipeline.from_pretrained(folder, **given, force_download=True)  # of a folder nothing is fetched
    with pytest.raises(TypeError, match="no argument named cachedir"):
        open_checkpoint(str(folder), cachedir=tmp_path)


def test_they_reach_the_hub_client_for_every_file(monkeypatch, tmp_path):
    import huggingface_hub

    asked = []

    def refuse(name, *args, **kwargs):
        asked.append({k: kwargs[k] for k in given})
        raise OSError("out of reach")

    given = dict(cache_dir=tmp_path, local_files_only=False, token="t", force_download=True)
    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, refuse)
    with pytest.raises(UserError, match="neither a file here nor to be had"):
        LateNtMoviesPipeline.from_pretrained("somebody/inpainting", temporal="somebody/waves", **given)
    with pytest.raises(UserError, match="cannot be fetched from the model hub"):
        LateNtMoviesPipeline.from_pretrained("somebody/inpainting", revision="abc", **given)
    assert asked == [given] * 3


def test_a_single_file_becomes_a_pipeline(folder, checkpoint, temporal, want, tmp_path):
    path = write_single_file(tmp_path / "sd.safetensors", checkpoint)
    for opened in (LateNtMoviesPipeline.from_single_file(path, config=str(folder), temporal=temporal),
                   LateNtMoviesPipeline.from_pretrained(path, config=str(folder), temporal=temporal)):
        assert torch.equal(film(opened, output_type="latent"), want)


# ---------------------------------------------------------------- saved, and opened again


def test_a_saved_pipeline_opens_by_our_class_and_from_the_hubs_cache(checkpoint, tmp_path, monkeypatch, capsys):
    pipe = make(checkpoint, "euler", mask_value=0.0)
    pipe.save_pretrained(tmp_path / "saved")
    cached(tmp_path / "cache", "somebody/film", tmp_path / "saved", monkeypatch)
    shown = film(pipe)
    for name in (tmp_path / "saved", str(tmp_path / "saved"), "somebody/film"):
        again = LateNtMoviesPipeline.from_pretrained(name)
        assert type(again) is LateNtMoviesPipeline and type(again.unet) is UNetPseudo3DConditionModel
        assert again.config.mask_value == 0.0 and type(again.scheduler) is EulerDiscreteScheduler
        assert np.array_equal(film(again), shown)
    assert "Expected types" not in capsys.readouterr().err


def test_what_was_learned_is_saved_too(folder, temporal, tmp_path, monkeypatch):
    pipe = LateNtMoviesPipeline.from_pretrained(folder, temporal=temporal)
    pipe.learned["checkpoint"] = str(folder)  # an absolute path
    pipe.save_pretrained(tmp_path / "saved")
    cached(tmp_path / "cache", "somebody/film", tmp_path / "saved", monkeypatch)
    for name in (tmp_path / "saved", "somebody/film"):
        again = LateNtMoviesPipeline.from_pretrained(name)
        assert again.learned == {**pipe.learned, "checkpoint": folder.name}
        assert (again.learned["prompt"], again.learned["fps"], again.learned["strides"]) == ("ocean waves", 8.0, [1, 2])
        assert set(again.components) == set(pipe.components)
        again.save_temporal(tmp_path / "again.safetensors", checkpoint="tiny")
        assert (tmp_path / "again.safetensors").read_bytes() == temporal.read_bytes()
    assert str(folder) not in (tmp_path / "saved" / "model_index.json").read_text()


def test_a_pipeline_that_was_saved_without_it_opens(folder, tmp_path):
    LateNtMoviesPipeline.from_pretrained(folder).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    del index["learned"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert LateNtMoviesPipeline.from_pretrained(tmp_path).learned == {}


def test_a_saved_pipeline_takes_a_temporal_file(folder, temporal, want, tmp_path):
    LateNtMoviesPipeline.from_pretrained(folder).save_pretrained(tmp_path)
    pipe = LateNtMoviesPipeline.from_pretrained(tmp_path, temporal=temporal)
    assert torch.equal(film(pipe, output_type="latent"), want)


def test_diffusers_own_name_opens_it_once_it_may_run_the_folders_one_line(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    for name in [m for m in sys.modules if m.startswith("diffusers_modules")]:
        monkeypatch.delitem(sys.modules, name)
    pipe = make(checkpoint)
    saved = str(tmp_path / "saved")
    pipe.save_pretrained(saved)
    again = DiffusionPipeline.from_pretrained(saved, custom_pipeline=saved, trust_remote_code=True)
    assert type(again) is LateNtMoviesPipeline  # the installed class, not a copy of its code
    assert np.array_equal(film(again), film(pipe))
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(saved, custom_pipeline=saved)
    with pytest.raises(AttributeError, match="no attribute LateNtMoviesPipeline"):
        DiffusionPipeline.from_pretrained(saved)


def test_frame_by_frame_is_saved_and_opened_too(checkpoint, tmp_path):
    pipe = LateNtMoviesPipeline.frame_by_frame(checkpoint)
    pipe.save_pretrained(tmp_path)
    again = LateNtMoviesPipeline.from_pretrained(tmp_path)
    assert np.array_equal(film(again), film(pipe))
    for opened in (pipe, again):
        assert not any(p.requires_grad for m in (opened.unet, opened.vae, opened.text_encoder) for p in m.parameters())


def test_what_stable_diffusions_users_pass_by_habit_is_taken(folder):
    given = dict(use_safetensors=True, variant="fp16", safety_checker=None, requires_safety_checker=False)
    LateNtMoviesPipeline.from_pretrained(folder, **given)
    with pytest.raises(TypeError, match="unknown"):
        LateNtMoviesPipeline.from_pretrained(folder, unknown=1)


# ---------------------------------------------------------------- from another pipeline


def inpainting(checkpoint, scheduler=None):
    return StableDiffusionInpaintPipeline(
        vae=checkpoint.vae, text_encoder=checkpoint.text_encoder, tokenizer=checkpoint.tokenizer, unet=checkpoint.unet,
        scheduler=scheduler or checkpoint.scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False)


def test_from_pipe_of_itself_shares_its_parts(checkpoint):
    pipe = make(checkpoint, "euler", mask_value=0.0)
    twin = LateNtMoviesPipeline.from_pipe(pipe)
    assert twin is not pipe and all(twin.components[k] is v for k, v in pipe.components.items())
    assert twin.config.mask_value == 0.0 and np.array_equal(film(twin), film(pipe))
    other = LateNtMoviesPipeline.from_pipe(pipe, scheduler=make_scheduler(pipe.scheduler, kind="ddim"), mask_value=1.0)
    assert type(other.scheduler).__name__ == "DDIMScheduler" and other.config.mask_value == 1.0
    assert type(pipe.scheduler) is EulerDiscreteScheduler and pipe.config.mask_value == 0.0
    base = LateNtMoviesPipeline.frame_by_frame(checkpoint)
    assert LateNtMoviesPipeline.from_pipe(base).unet is base.unet


def test_from_pipe_of_diffusers_inpainting_pipeline_inflates_a_copy(checkpoint):
    theirs = inpainting(checkpoint, EulerDiscreteScheduler.from_config(checkpoint.scheduler.config))
    ours = LateNtMoviesPipeline.from_pipe(theirs)
    assert theirs.unet is checkpoint.unet and type(theirs.unet).__name__ == "UNet2DConditionModel"
    assert ours.vae is theirs.vae and type(ours.scheduler) is EulerDiscreteScheduler and ours.config.mask_value == 1.0
    baseline = LateNtMoviesPipeline.frame_by_frame(checkpoint)
    baseline.scheduler = theirs.scheduler
    assert torch.equal(film(ours, output_type="latent"), film(baseline, output_type="latent"))


@torch.no_grad()
def test_untrained_it_inpaints_as_diffusers_own_pipeline(checkpoint):
    """One frame, everything masked, the still's latents in the place of diffusers' blanked ones: the same latents."""
    theirs, ours = inpainting(checkpoint), LateNtMoviesPipeline.from_pipe(inpainting(checkpoint))
    start = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    hint = ours.encode_image(np.full((32, 32, 3), 90, np.uint8))
    theirs.prepare_mask_latents = lambda mask, *args: (torch.ones(2, 1, 16, 16), torch.cat([hint, hint]))
    theirs.set_progress_bar_config(disable=True)
    picture = np.zeros((1, 32, 32, 3), np.float32)
    want = theirs("ocean waves", image=picture, mask_image=np.ones((1, 32, 32), np.float32), height=32, width=32,
                  num_inference_steps=4, guidance_scale=5.0, negative_prompt="fog", latents=start, output_type="latent",
                  strength=1.0).images
    got = film(ours, image=None, image_latents=hint, num_frames=1, num_inference_steps=4, guidance_scale=5.0,
               negative_prompt="fog", latents=start[:, :, None], output_type="latent")
    torch.testing.assert_close(got[:, :, 0], want, atol=1e-4, rtol=1e-4)


def test_from_pipe_refuses_what_is_not_for_inpainting(tmp_path):
    from diffusers import UNet2DConditionModel

    folder = write_tiny_checkpoint(tmp_path)
    base = open_checkpoint(str(folder))
    base.unet = UNet2DConditionModel.from_config({**base.unet.config, "in_channels": 4})
    with pytest.raises(UserError, match="takes 4 channels"):
        LateNtMoviesPipeline.from_pipe(inpainting(base))


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_a_seed_gives_much_the_same_film(folder, temporal, want, dtype):
    pipe = LateNtMoviesPipeline.from_pretrained(folder, temporal=temporal, torch_dtype=dtype)  # the same base, rounded
    assert {p.dtype for p in pipe.unet.parameters()} == {pipe.vae.dtype, pipe.text_encoder.dtype} == {dtype}
    seen, step = [], pipe.scheduler.step
    pipe.scheduler.step = lambda x, t, sample, **kwargs: seen.append(sample) or step(x, t, sample, **kwargs)
    got = film(pipe, output_type="latent")
    assert got.dtype == torch.float32
    assert torch.equal(seen[0], torch.randn(got.shape, generator=torch.Generator().manual_seed(0)))  # not rounded
    assert ((got - want).norm() / want.norm()).item() < 0.1
    other = film(pipe, 1, output_type="latent")
    assert ((other - want).norm() / want.norm()).item() > 0.3
    frames = film(pipe, guidance_scale=3.0)
    assert frames.dtype == np.float32 and np.isfinite(frames).all()


@pytest.mark.parametrize("name", ["torch_dtype", "dtype"])
def test_precision_has_both_of_diffusers_names_for_a_base_and_for_a_saved_pipeline(folder, checkpoint, tmp_path, name):
    make(checkpoint).save_pretrained(tmp_path)
    for place in (folder, tmp_path):
        pipe = LateNtMoviesPipeline.from_pretrained(place, **{name: torch.bfloat16})
        assert {p.dtype for m in (pipe.unet, pipe.vae, pipe.text_encoder) for p in m.parameters()} == {torch.bfloat16}
        mixed = LateNtMoviesPipeline.from_pretrained(place, vae_dtype=torch.float32, **{name: torch.bfloat16})
        assert (mixed.unet.dtype, mixed.text_encoder.dtype, mixed.vae.dtype) == (torch.bfloat16,) * 2 + (torch.float32,)
        whole = LateNtMoviesPipeline.from_pretrained(place).vae.state_dict()
        assert all(torch.equal(v, whole[k]) for k, v in mixed.vae.state_dict().items()), "never rounded"
        assert np.isfinite(film(mixed)).all()


def test_a_temporal_file_of_a_half_precision_base_fits_the_whole_one_and_its_copy(folder, tmp_path):
    half = LateNtMoviesPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    wake(half.unet)
    half.save_temporal(tmp_path / "half.safetensors")
    assert {v.dtype for v in read_temporal(tmp_path / "half.safetensors").tensors.values()} == {torch.bfloat16}
    whole = LateNtMoviesPipeline.from_pretrained(folder, temporal=tmp_path / "half.safetensors")
    assert whole.unet.dtype == torch.float32
    moved = LateNtMoviesPipeline.from_pipe(whole, torch_dtype=torch.bfloat16)
    assert moved.unet.dtype == torch.bfloat16
    assert torch.equal(film(moved, output_type="latent"), film(half, output_type="latent"))


# ---------------------------------------------------------------- offloading


def test_model_cpu_offload_brings_each_model_in_before_its_use_and_its_forerunner_out(folder, monkeypatch):
    """On a machine without an accelerator the CPU stands for it: accelerate's hooks run, and what they do is noted."""
    from accelerate.hooks import CpuOffload

    pipe = LateNtMoviesPipeline.from_pretrained(folder)
    want = film(pipe, guidance_scale=3.0)
    names = {id(pipe.components[k]): k for k in ("text_encoder", "unet", "vae")}
    moves, enter = [], CpuOffload.pre_forward

    def note(hook, module, *args, **kwargs):
        out = None if hook.prev_module_hook is None else names[id(hook.prev_module_hook.model)]
        moves.append((names[id(module)], out, str(hook.execution_device)))
        return enter(hook, module, *args, **kwargs)

    monkeypatch.setattr(CpuOffload, "pre_forward", note)
    pipe.enable_model_cpu_offload(device="cpu")
    assert str(pipe._execution_device) == "cpu:0"
    for _ in range(2):  # a second film too: the hooks are freed after the first
        moves.clear()
        assert np.array_equal(film(pipe, guidance_scale=3.0), want)
        text, still, film_, decoder = ("text_encoder", None), ("vae", "unet"), ("unet", "text_encoder"), ("vae", "unet")
        assert [m[:2] for m in moves] == [text, text, still, film_, film_, film_, decoder]
        assert {m[2] for m in moves} == {"cpu:0"}


def test_without_an_accelerator_offloading_says_so(folder):
    if torch.accelerator.is_available():
        pytest.skip("there is one")
    with pytest.raises(RuntimeError, match="requires accelerator"):
        LateNtMoviesPipeline.from_pretrained(folder).enable_model_cpu_offload()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_models_are_where_they_are_needed_and_the_film_is_the_same(folder, tmp_path):
    want = film(LateNtMoviesPipeline.from_pretrained(folder))
    pipe = LateNtMoviesPipeline.from_pretrained(shutil.copytree(folder, tmp_path / "copy"))
    pipe.enable_model_cpu_offload()
    np.testing.assert_allclose(film(pipe), want, atol=0.02)
    assert {p.device.type for m in (pipe.unet, pipe.vae, pipe.text_encoder) for p in m.parameters()} == {"cpu"}
