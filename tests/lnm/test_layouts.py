"""Every layout of Stable Diffusion's public checkpoints: what opens, what is widened, what is refused by name."""

import copy
import json
import shutil

import pytest
import torch
from cached import cached
from diffusers import UNet2DConditionModel
from layouts import TRUE, write_layout
from safetensors.torch import load_file, save_file
from single_file import write_single_file
from tiny_pipeline import film
from transformers import CLIPTextModel, CLIPTokenizer

from lnm import checkpoint
from lnm.errors import UserError
from lnm.pipeline import LateNtMoviesPipeline
from lnm.pseudo3d import Pseudo3DConv
from lnm.temporal_file import read_temporal
from lnm.unet import UNetPseudo3DConditionModel, is_temporal

OPEN = ["sd15-inpainting", "sd2-inpainting", "sd15", "sd21"]
PLAIN = ["sd15", "sd21"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {layout: write_layout(tmp_path_factory.mktemp("layout") / layout, layout) for layout in TRUE}


def opened(folders, layout, **changes):
    return checkpoint.open_checkpoint(str(folders[layout]), widen=layout in PLAIN, **changes)


def sizes(layout):
    """(frozen, trained) of a true configuration's U-Net, and how many of its 2D convolutions have one in time."""
    with torch.device("meta"):
        unet = UNetPseudo3DConditionModel.from_unet2d(UNet2DConditionModel(**TRUE[layout]), in_place=True, widen=True)
    trained = sum(p.numel() for p in unet.temporal_parameters().values())
    convs = sum(isinstance(m, Pseudo3DConv) for m in unet.modules())
    return sum(p.numel() for p in unet.parameters()) - trained, trained, convs


@pytest.mark.parametrize("layout, frozen, convs", [
    # the public models' own counts; version 2's transformers begin and end in matrices, which have no place in time
    ("sd15-inpainting", 859_535_364, 98), ("sd15", 859_520_964, 98), ("sd2-inpainting", 865_925_124, 66),
    ("sd21", 865_910_724, 66)])
def test_the_true_configurations_inflate_to_the_known_sizes(layout, frozen, convs):
    found, trained, temporal = sizes(layout)
    assert (found, temporal) == (frozen, convs)
    if layout == "sd15-inpainting":
        assert round(trained / 1e6, 1) == 342.2
    elif layout in PLAIN:  # 320 x 5 x 3 x 3 for mask and still, and nothing else
        assert trained == sizes(layout.replace("sd21", "sd2") + "-inpainting")[1] + 14_400


@pytest.mark.parametrize("layout", OPEN)
def test_a_folder_opens_with_every_weight_that_its_files_hold(folders, layout):
    base, folder = opened(folders, layout), folders[layout]
    for part, file in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        want = {k.removeprefix("text_model."): v for k, v in load_file(folder / part / f"{file}.safetensors").items()
                if not k.endswith("position_ids")}
        got = {k.removeprefix("text_model."): v for k, v in getattr(base, part).state_dict().items()}
        assert got.keys() == want.keys() and all(torch.equal(got[k], v) for k, v in want.items())
    query = base.vae.state_dict()["encoder.mid_block.attentions.0.to_q.weight"]
    named = "query" if layout.startswith("sd15") else "to_q"
    file = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    assert torch.equal(query, file[f"encoder.mid_block.attentions.0.{named}.weight"])
    assert base.scheduler.config.prediction_type == ("v_prediction" if layout == "sd21" else "epsilon")
    assert not base.scheduler.config.clip_sample


@pytest.mark.parametrize("layout", OPEN)
def test_a_single_file_of_the_original_layout_is_the_same(folders, layout, tmp_path):
    want = opened(folders, layout)
    file = write_single_file(tmp_path / "model.safetensors", want, open_clip=layout.startswith("sd2"))
    got = checkpoint.open_checkpoint(str(file), config=str(folders[layout]), widen=layout in PLAIN)
    for part in checkpoint.WEIGHTS:
        a, b = (getattr(x, part).state_dict() for x in (want, got))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), part


@pytest.mark.parametrize("layout", ["sd15-inpainting", "sd2-inpainting"])
@torch.no_grad()
def test_words_reach_the_unet_as_the_public_models_have_them(folders, layout):
    """Version 2 pads with "!", version 1 with its end token."""
    pipe = LateNtMoviesPipeline.from_pretrained(folders[layout])
    tokenizer = CLIPTokenizer.from_pretrained(folders[layout] / "tokenizer")
    start, *words, end = tokenizer("ocean waves").input_ids
    padding = tokenizer.convert_tokens_to_ids("!") if layout.startswith("sd2") else end
    ids = torch.tensor([[start, *words, end] + [padding] * (75 - len(words))])
    encoder = CLIPTextModel.from_pretrained(folders[layout] / "text_encoder").eval()
    torch.testing.assert_close(pipe.encode_prompt(["ocean waves"]), encoder(ids).last_hidden_state)


@pytest.mark.parametrize("layout", OPEN)
@torch.no_grad()
def test_inflated_each_gives_what_its_2d_parent_gives(folders, layout):
    """For a text-to-image model: whatever mask and still are, as their weights are zero."""
    base = opened(folders, layout)
    unet = UNetPseudo3DConditionModel.from_unet2d(base.unet, widen=base.widen).eval()
    g = torch.Generator().manual_seed(0)
    sample, words = torch.randn(1, 9, 3, 8, 8, generator=g), torch.randn(1, 5, unet.config.cross_attention_dim)
    ours = unet(sample, 500, words, fps=8).sample[0].transpose(0, 1)
    theirs = base.unet(sample[0, :base.unet.config.in_channels].transpose(0, 1), 500, words.repeat(3, 1, 1)).sample
    # version 2's transformers begin in a matrix product, whose rounding hangs on how its input lies in memory
    assert (ours - theirs).abs().max() <= (1e-5 if unet.config.use_linear_projection else 0.0)


@pytest.mark.parametrize("layout", OPEN)
def test_a_film_of_each_is_sampled_and_its_temporal_file_opens_again(folders, layout, tmp_path):
    pipe = LateNtMoviesPipeline.from_pretrained(folders[layout], widen=layout in PLAIN)
    with torch.no_grad():
        for p in pipe.unet.temporal_parameters().values():
            p += 0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    want = film(pipe, guidance_scale=3.0, height=64, width=64)
    assert want.shape == (1, 3, 64, 64, 3)
    pipe.save_temporal(tmp_path / "t.safetensors")
    again = LateNtMoviesPipeline.from_pretrained(folders[layout], temporal=tmp_path / "t.safetensors")
    assert (film(again, guidance_scale=3.0, height=64, width=64) == want).all()


# ---------------------------------------------------------------- widened


@pytest.mark.parametrize("layout", PLAIN)
def test_a_text_to_image_checkpoint_is_refused_until_it_is_to_be_widened(folders, layout, tmp_path, monkeypatch):
    assert checkpoint.open_checkpoint(str(folders[layout]), widen=True).widen
    with pytest.raises(UserError, match="takes 4 channels, as one for text to image.*checkpoint.widen: true"):
        checkpoint.open_checkpoint(str(folders[layout]))
    # on the hub by its small files as well
    small = shutil.copytree(folders[layout], tmp_path / "small", ignore=shutil.ignore_patterns("*.safetensors"))
    cached(tmp_path / "cache", "somebody/plain", small, monkeypatch)
    with pytest.raises(UserError, match="somebody/plain: its U-Net takes 4 channels"):
        checkpoint.open_checkpoint("somebody/plain")
    with pytest.raises(UserError, match="is an inpainting checkpoint and needs no widening"):
        checkpoint.open_checkpoint(str(folders["sd15-inpainting"]), widen=True)


def widened(folders):
    return UNetPseudo3DConditionModel.from_unet2d(opened(folders, "sd15").unet, widen=True)


def test_mask_and_still_act_as_columns_of_the_first_layer_would(folders):
    """T(W x + V c) is T([W V] [x c]): an inpainting U-Net with those columns gives the same."""
    ours = widened(folders).eval()
    wide = copy.deepcopy(opened(folders, "sd15").unet)
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in ours.temporal_parameters().values():
            p += 0.05 * torch.randn(p.shape, generator=g)
        columns = ours.temporal_parameters()["conv_in.temporal.condition.weight"]
        first = torch.nn.Conv2d(9, 16, 3, padding=1)
        first.weight.copy_(torch.cat([wide.conv_in.weight, columns], 1))
        first.bias.copy_(wide.conv_in.bias)
        wide.conv_in = first
        wide.register_to_config(in_channels=9)
        other = UNetPseudo3DConditionModel.from_unet2d(wide).eval()
        for k, p in other.temporal_parameters().items():
            p.copy_(ours.temporal_parameters()[k])
        sample, words = torch.randn(1, 9, 3, 8, 8, generator=g), torch.randn(1, 5, 16, generator=g)
        torch.testing.assert_close(ours(sample, 500, words, fps=8).sample, other(sample, 500, words, fps=8).sample,
                                   atol=1e-5, rtol=1e-4)


def test_the_still_reaches_the_film_only_once_its_weights_have_learned(folders):
    unet = widened(folders)
    unet.freeze_spatial()
    g = torch.Generator().manual_seed(3)
    sample, words = torch.randn(1, 9, 3, 8, 8, generator=g), torch.randn(1, 5, 16, generator=g)
    other = sample.clone()
    other[:, 5:] += 1  # another still
    assert torch.equal(unet(sample, 500, words).sample, unet(other, 500, words).sample)
    before = {k: p.detach().clone() for k, p in unet.named_parameters()}
    optimizer = torch.optim.AdamW(unet.temporal_parameters().values(), 1e-2)
    unet(sample, 500, words, fps=8).sample.square().mean().backward()
    optimizer.step()
    changed = {k for k, p in unet.named_parameters() if not torch.equal(p, before[k])}
    assert "conv_in.temporal.condition.weight" in changed and all(is_temporal(k) for k in changed)
    assert (unet(sample, 500, words).sample - unet(other, 500, words).sample).abs().max() > 1e-4


def test_its_new_weights_travel_and_a_saved_pipeline_keeps_them(folders, tmp_path):
    pipe = LateNtMoviesPipeline.from_pretrained(folders["sd15"], widen=True)
    with torch.no_grad():
        for p in pipe.unet.temporal_parameters().values():
            p += 0.02
    pipe.save_temporal(tmp_path / "t.safetensors")
    file = read_temporal(tmp_path / "t.safetensors")
    assert file.widened and file.tensors["conv_in.temporal.condition.weight"].shape == (16, 5, 3, 3)
    with pytest.raises(UserError, match="on a text-to-image checkpoint, widened, and the one that is open is an inp"):
        LateNtMoviesPipeline.from_pretrained(folders["sd15-inpainting"]).load_temporal(file)
    pipe.save_pretrained(tmp_path / "saved")
    again = LateNtMoviesPipeline.from_pretrained(tmp_path / "saved")
    for part in ("unet", "vae", "text_encoder"):  # frozen as it was: torch's matrix products go other ways otherwise
        was, found = (dict(getattr(one, part).named_parameters()) for one in (pipe, again))
        assert {k: v.requires_grad for k, v in was.items()} == {k: v.requires_grad for k, v in found.items()}
    assert (film(pipe, height=64, width=64) == film(again, height=64, width=64)).all()


def test_frame_by_frame_a_widened_checkpoint_sees_no_still(folders):
    base = opened(folders, "sd15")
    pipe = LateNtMoviesPipeline.frame_by_frame(base)
    plain = UNetPseudo3DConditionModel.from_unet2d(base.unet, widen=True).eval()
    ours = LateNtMoviesPipeline(base.vae, base.text_encoder, base.tokenizer, plain, base.scheduler)
    a, b = (film(p, height=64, width=64, output_type="latent") for p in (pipe, ours))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- refused by name


def test_stable_diffusion_xl_is_refused_by_name_in_a_folder_a_file_and_on_the_hub(folders, tmp_path, monkeypatch):
    folder = folders["sdxl-inpainting"]
    file = tmp_path / "xl.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(16, 9, 3, 3),
               "conditioner.embedders.1.model.ln_final.weight": torch.zeros(8)}, file)
    # on the hub by its small files: nothing of its gigabytes is fetched before
    small = shutil.copytree(folder, tmp_path / "small", ignore=shutil.ignore_patterns("*.safetensors"))
    cached(tmp_path / "cache", "diffusers/stable-diffusion-xl-1.0-inpainting-0.1", small, monkeypatch)
    for name in (folder, file, "diffusers/stable-diffusion-xl-1.0-inpainting-0.1"):
        with pytest.raises(UserError, match="is Stable Diffusion XL.*text_embeds, time_ids.*1.5 or 2") as error:
            checkpoint.open_checkpoint(str(name))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes, words", [
    ({"unet": {"in_channels": 5}}, r"takes 5 channels \(noisy latents and depth\)"),
    ({"unet": {"in_channels": 8}}, r"takes 8 channels \(noisy latents and a picture to edit\)"),
    ({"index": {"_class_name": "StableDiffusion3Pipeline", "transformer": ["diffusers", "SD3Transformer2DModel"]}},
     "is a StableDiffusion3Pipeline, which has no U-Net")])
def test_other_layouts_are_refused_by_what_they_are(folders, tmp_path, changes, words):
    folder = shutil.copytree(folders["sd15-inpainting"], tmp_path / "other")
    if "unet" in changes:
        config = json.loads((folder / "unet/config.json").read_text())
        (folder / "unet/config.json").write_text(json.dumps(config | changes["unet"]))
    else:
        (folder / "model_index.json").write_text(json.dumps(changes["index"]))
    with pytest.raises(UserError, match=words):
        checkpoint.open_checkpoint(str(folder))
