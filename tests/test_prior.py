"""Opening priors: any checkpoint in Stable Diffusion inpainting's layout, and one clear line for what is not."""

import json
import shutil

import pytest
import torch
from tiny import CHANNELS, SIZE, write_tiny_prior

from lnm import mini, mini_vae, prior
from lnm.params import UserError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_prior(tmp_path_factory.mktemp("tiny"))


def test_opens_a_checkpoint_in_stable_diffusions_layout(tiny):
    opened = prior.open_prior(str(tiny))
    assert opened.unet.config.in_channels == 2 * CHANNELS + 1
    assert not any(p.requires_grad for m in (opened.unet, opened.vae, opened.text_encoder) for p in m.parameters())
    assert opened.unet.dtype == torch.float32


@pytest.mark.parametrize("file", ["unet/config.json", "vae/diffusion_pytorch_model.safetensors", "tokenizer/merges.txt"])
def test_a_missing_file_is_named(tiny, tmp_path, file):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / file).unlink()
    with pytest.raises(UserError, match=file):
        prior.open_prior(str(copy))


def test_a_checkpoint_with_half_precision_weights_alone_opens(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    opened = prior.open_prior(str(tiny))
    for part in ("unet", "vae", "text_encoder"):
        (copy / part / f"{prior.WEIGHTS[part]}.safetensors").unlink()
        getattr(opened, part).half().save_pretrained(copy / part, variant="fp16")
    again = prior.open_prior(str(copy))
    assert again.unet.dtype == torch.float32 and again.text_encoder.dtype == torch.float32
    torch.testing.assert_close(again.unet.conv_in.weight, opened.unet.conv_in.weight.float())


def test_corrupt_weights_are_one_line(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(UserError, match="cannot be opened") as error:
        prior.open_prior(str(copy))
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_is_not_for_inpainting_is_refused(tmp_path):
    folder = write_tiny_prior(tmp_path / "t2i", in_channels=CHANNELS)
    with pytest.raises(UserError, match="choose an inpainting checkpoint"):
        prior.open_prior(str(folder))


def test_a_hub_out_of_reach_says_which_files_and_where(monkeypatch):
    import huggingface_hub

    def out_of_reach(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", out_of_reach)
    with pytest.raises(UserError) as error:
        prior.open_prior("stable-diffusion-v1-5/stable-diffusion-inpainting", "abc")
    text = str(error.value)
    assert "inputs/stable-diffusion-inpainting/" in text and all(file in text for file in prior.WANTED)
    assert "unet/diffusion_pytorch_model.safetensors" in text
    assert "\n" not in text


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(monkeypatch):
    with pytest.raises(UserError, match="dvc pull prior"):
        prior.open_prior("prior/none")


def test_an_unavailable_device_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device: cuda"):
        prior.pick_device("cuda")
    assert prior.pick_device("auto") in ("cpu", "mps")


def test_verify_passes_on_a_sound_checkpoint_but_for_its_random_vae(tiny, capsys):
    assert prior.verify_sd(str(tiny), None, SIZE) is False  # random weights: no picture comes back
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("FAIL")] == [line for line in lines if "the VAE gives" in line]
    assert sum(line.startswith("pass") for line in lines) == 4


def test_long_prompts_keep_their_end_token_and_the_end_has_the_highest_id(tmp_path):
    tokenizer = mini.train_tokenizer(tmp_path, ["ocean waves at sunset"] * 3)
    ids = mini.tokenize(tokenizer, ["waves " * 200, "waves", ""])
    assert ids.shape == (3, 77) and ids.max() == tokenizer.eos_token_id == len(tokenizer) - 1
    assert (ids[:, 0] == tokenizer.bos_token_id).all() and ids[0, -1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[1], skip_special_tokens=True).strip() == "waves"


def test_the_tokenizer_reads_any_text(tmp_path):
    tokenizer = mini.train_tokenizer(tmp_path, ["ocean waves"])
    for text in ("Ægir's wild 3-metre SURF!", "海の波", "🌊"):
        assert tokenizer.unk_token_id not in tokenizer(text).input_ids[1:-1]


ROUND = dict(steps=10, period=10, cooldown=4, lr=0.1, edge_lr=0.1)


def test_training_resumes_where_it_was(tmp_path, monkeypatch):
    """mini._loop: cut at a checkpoint and run on, the weights are those of a run in one piece."""
    monkeypatch.setattr(mini, "SAVE_EVERY", 5)

    def train(work, steps):
        work.mkdir(exist_ok=True)
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 3)
        optimizers = mini._muon_and_adamw(layer, "edge")

        def step_fn(step):
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            return mini._update_in_round(layer(x).square().mean(), *optimizers, ROUND, step)

        mini._loop("layer", work, {"layer": layer}, optimizers, steps, step_fn)
        return layer.weight.detach()

    whole = train(tmp_path / "a", 10)
    train(tmp_path / "b", 5)
    assert torch.equal(train(tmp_path / "b", 10), whole)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_muons_update_is_the_nearest_orthogonal_matrix_but_for_its_scale(shape):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = 100 * u * torch.linspace(1, 0.3, min(shape)) @ v
    made = mini.orthogonal(matrix)
    values = torch.linalg.svdvals(made)
    assert 0.65 < values.min() and values.max() < 1.25
    inside = u.T @ made @ v.T  # diagonal: the same singular vectors
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-4


def test_muon_leaves_the_edges_to_adamw_and_takes_convolutions():
    net = torch.nn.ModuleDict({"conv_in": torch.nn.Conv2d(2, 4, 3), "inside": torch.nn.Conv2d(4, 4, 3)})
    muon, adamw = mini._muon_and_adamw(net, "conv_in")
    assert [p.shape for p in muon.param_groups[0]["params"]] == [net["inside"].weight.shape]
    assert len(adamw.param_groups[0]["params"]) == 3
    before = {k: p.detach().clone() for k, p in net.named_parameters()}
    loss = net["inside"](net["conv_in"](torch.ones(1, 2, 8, 8))).square().sum()
    mini._update_in_round(loss, muon, adamw, ROUND, 0)
    assert all(not torch.equal(p, before[k]) for k, p in net.named_parameters())


def test_photograph_captions_say_only_what_is_seen():
    assert mini.photo_caption("ferry Linge - Eidsdal") == "a photo of a ferry on the sea"
    assert mini.photo_caption("Værøy") == ""


def test_saved_prior_opens_in_half_the_bytes(tmp_path):
    tokenizer = mini.train_tokenizer(tmp_path / "tokenizer", ["ocean waves"])
    torch.manual_seed(0)
    vae, unet, text = mini_vae.new_vae(), mini.new_unet(), mini.new_text_encoder(tokenizer)
    vae.register_to_config(scaling_factor=0.7)
    mini.save_prior(tmp_path / "lnm-mini", vae, unet, text, tmp_path / "tokenizer")
    files = list((tmp_path / "lnm-mini").rglob("*.safetensors"))
    assert max(f.stat().st_size for f in files) < 15e6 and sum(f.stat().st_size for f in files) <= 24e6
    opened = prior.open_prior(str(tmp_path / "lnm-mini"))
    assert opened.vae.config.scaling_factor == 0.7
    torch.testing.assert_close(opened.unet.conv_in.weight, unet.conv_in.weight.float(), atol=1e-3, rtol=1e-3)
    index = json.loads((tmp_path / "lnm-mini" / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
