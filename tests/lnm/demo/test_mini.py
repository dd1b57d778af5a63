"""Training lnm-mini: its decoder starts as the best linear map, what is carried over stays, and the whole is one
function of its seed, however often it is interrupted."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from lnm.checkpoint import open_checkpoint
from lnm.demo import footage
from lnm.demo.mini import autoencoder, loop, unet, windows
from lnm.demo.mini.batch import Batch
from lnm.demo.mini.recipe import MOTION, RECIPE, round_of
from lnm.demo.mini.text import new_text_encoder, train_tokenizer
from lnm.demo.mini.train import open_start, save_checkpoint, train
from lnm.demo.mini.unet import new_unet
from lnm.errors import UserError
from lnm.files import sha256
from lnm.latents import decode, encode, to_tensor


@pytest.fixture(scope="module")
def started(images):
    """An autoencoder as it starts, its finest channel first: in an order of its own."""
    torch.manual_seed(0)
    vae, found = autoencoder.new_vae(), windows.windowed_transform(to_tensor(images), 16)
    windows.write_encoder(vae, windows.Transform(found.weight.detach().flip(0), found.bias.detach().flip(0)))
    autoencoder.start_decoder(vae, images)
    return vae.eval()


def squared_error(a, b):
    return np.square(a.astype(float) - b).mean()


def test_the_autoencoder_starts_as_good_as_the_best_linear_map_of_3x3_cells(started, images):
    patches = images.reshape(24, 8, 8, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192).astype(float)
    mean = patches.mean(0)
    _, _, basis = np.linalg.svd(patches - mean, full_matrices=False)
    basis = basis[:autoencoder.LATENT_CHANNELS]
    pca = squared_error(patches, (patches - mean) @ basis.T @ basis + mean)
    assert pca < 0.2 * squared_error(patches, mean), "the images must be such that there is something to compress"
    z, x = encode(started, images), to_tensor(images)
    best = ((windows.LinearDecoder(z, x)(z).detach().clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    ours = squared_error(images, decode(started, z))
    assert ours < 1.1 * squared_error(images, best) and ours < 2 * pca


def test_the_decoders_residual_branches_start_at_zero_and_still_learn(started, images):
    """Their last norm has a gradient."""
    recipe = RECIPE | {"vae_batch": 2, "vae_crop": 32}
    autoencoder.step(started, images, recipe, 0).backward()
    norms = [m.norm.weight.grad for m in started.decoder.modules() if hasattr(m, "conv2")]
    assert norms and all(g is not None and g.abs().max() > 0 for g in norms)
    started.zero_grad()


def test_a_decoder_carried_over_begins_as_it_was_and_the_scaling_factor_stays(tmp_path, started, images):
    started.register_to_config(scaling_factor=0.7)
    recipe = TINY | {"decoder": dict(steps=0, lr=1e-3, warmup=1)}
    carried = autoencoder.train_vae(tmp_path, recipe, images, images, started)
    assert all(torch.equal(a, b) for a, b in zip(carried.decoder.state_dict().values(),
                                                 started.decoder.state_dict().values(), strict=True))
    assert carried.config.scaling_factor == 0.7
    old, new = encode(started, images), encode(carried, images)
    apart = (new - old).square().mean((0, 2, 3)) / old.var((0, 2, 3))
    assert 0 < apart[-3:].max() < 0.1, "near to the latents it is carried over from, in their order"
    started.register_to_config(scaling_factor=1.0)


def test_a_step_falls_into_one_round_of_training():
    rounds = [dict(steps=3), dict(steps=2)]
    found = [round_of(rounds, step) for step in range(5)]
    assert [(rounds.index(part), step) for part, step in found] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    with pytest.raises(IndexError):
        round_of(rounds, 5)


TINY = RECIPE | {
    "stills": {"ocean": 4, "pond": 3}, "photo_crops": 2, "vae_start": 4, "vae_batch": 2, "vae_crop": 32,
    "fit": RECIPE["fit"] | {"steps": 2, "batch": 2, "crop": 48}, "decoder": dict(steps=3, lr=3e-4, warmup=2),
    "unet": dict(RECIPE["unet"], steps=2), "carried": dict(RECIPE["carried"], steps=2), "unet_batch": 4,
    "clip_rounds": [dict(part, steps=2, period=2, cooldown=1) for part in RECIPE["clip_rounds"]], "clip_batch": 4,
    "clips": MOTION | {"clips": {"clouds": 2}, "real": {}, "frames": 3, "validation": 1},
}


def test_what_is_saved_opens_in_half_the_bytes(tmp_path):
    tokenizer = train_tokenizer(tmp_path / "tokenizer", ["ocean waves"])
    torch.manual_seed(0)
    vae, unet, text = autoencoder.new_vae(), new_unet(), new_text_encoder(tokenizer)
    vae.register_to_config(scaling_factor=0.7)
    save_checkpoint(tmp_path / "lnm-mini", vae, unet, text, tmp_path / "tokenizer")
    files = list((tmp_path / "lnm-mini").rglob("*.safetensors"))
    assert max(f.stat().st_size for f in files) < 15e6 and sum(f.stat().st_size for f in files) <= 24e6
    opened = open_checkpoint(str(tmp_path / "lnm-mini"))
    assert opened.vae.config.scaling_factor == 0.7
    torch.testing.assert_close(opened.unet.conv_in.weight, unet.conv_in.weight.float(), atol=1e-3, rtol=1e-3)
    index = json.loads((tmp_path / "lnm-mini" / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]


def tiny_unet(channels=16):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(1)
    return UNet2DConditionModel(
        sample_size=8, in_channels=2 * channels + 1, out_channels=channels, layers_per_block=1,
        block_out_channels=(16, 32), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=128, attention_head_dim=4,
        norm_num_groups=8)


@pytest.mark.parametrize("carried", [False, True])
def test_the_average_over_steps_is_returned_and_words_learn_only_from_nothing(tmp_path, started, monkeypatch, carried):
    def noise(recipe, step, *_):
        g = torch.Generator().manual_seed(step)
        z, ids = torch.randn(2, 16, 8, 8, generator=g), torch.arange(77).expand(2, -1)
        return Batch(z, z, torch.zeros(2, 1, 8, 8), ids, torch.randn(z.shape, generator=g), torch.tensor([100, 900]))

    weights, real = [], unet.update_in_round

    def note(loss, optimizers, rounds, step):
        assert rounds == [dict(steps=4, period=4, cooldown=1, lr=3e-3, edge_lr=1e-3 if carried else 1e-2)]
        value = real(loss, optimizers, rounds, step)
        weights.append({k: p.detach().clone() for k, p in net.named_parameters()})
        return value

    monkeypatch.setattr(unet, "draw_batch", noise)
    monkeypatch.setattr(unet, "update_in_round", note)
    net, text = tiny_unet(), new_text_encoder(train_tokenizer(tmp_path / "tokenizer", ["ocean waves"]))
    words = {k: p.clone() for k, p in text.state_dict().items()}
    recipe = TINY | {"ema": 0.3, "carried": dict(steps=4, lr=3e-3, edge_lr=1e-3),
                     "unet": dict(steps=4, lr=3e-3, edge_lr=1e-2)}
    found, kept_words = unet.train_unet(tmp_path, recipe, net, text, started, None, carried)
    assert not found.training and found is not net
    for name, slow in tiny_unet().named_parameters():
        for step, seen in enumerate(weights):
            decay = min(0.3, (1 + step) / (10 + step))
            slow = decay * slow + (1 - decay) * seen[name]
        torch.testing.assert_close(found.get_parameter(name), slow, atol=1e-5, rtol=1e-4)
    same = [torch.equal(kept_words.state_dict()[k], p) for k, p in words.items()]
    assert all(same) if carried else not all(same)


def offer_photographs(home, monkeypatch):
    """Two photographs in `home`, in place of those that are fetched."""
    from PIL import Image

    folder = home / "photographs"
    folder.mkdir(exist_ok=True)
    found = []
    for i, words in enumerate(["a ferry", "Værøy"]):
        pixels = np.random.default_rng(i).integers(0, 256, (150, 200, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        found.append((folder / f"{i}.png", words))
    monkeypatch.setattr(footage, "photos", lambda into, downloads: found)


def hashes(folder):
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in sorted(folder.rglob("*")) if f.is_file()}


class Cut(Exception):
    pass


def cut_once(monkeypatch, module, name, at):
    """Let the call number `at` of a function raise `Cut`; returns the list that grows by each call."""
    real, calls = getattr(module, name), []

    def call(*args):
        calls.append(args[-1])
        if len(calls) == at:
            raise Cut
        return real(*args)

    monkeypatch.setattr(module, name, call)
    return calls


@pytest.fixture(scope="module")
def from_nothing(tmp_path_factory):
    """The whole tiny recipe from nothing, in one piece: its folder."""
    folder = tmp_path_factory.mktemp("nothing")
    with pytest.MonkeyPatch.context() as patch:
        offer_photographs(folder, patch)
        train(folder / "out", folder / "work", TINY)
    return folder


def test_the_whole_recipe_runs_and_an_interrupted_run_gives_the_same_bytes(tmp_path, from_nothing, monkeypatch):
    offer_photographs(from_nothing, monkeypatch)
    made = hashes(from_nothing / "out")
    assert {"lnm-mini/vae/config.json", "lnm-mini/unet/config.json",
            "lnm-mini-clip/open_clip_model.safetensors", "SHA256SUMS"} <= set(made)
    sums = dict(reversed(line.split("  ")) for line in (from_nothing / "out" / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: sha256(from_nothing / "out" / name) for name in made if name != "SHA256SUMS"}
    monkeypatch.setattr(loop, "SAVE_EVERY", 1)
    # the clips and stills are there already, as in any run that was cut
    for kept in ("clips", "images.npy", "images.json"):
        source, target = from_nothing / "work" / kept, tmp_path / "work" / kept
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    calls = cut_once(monkeypatch, autoencoder, "step", 3)
    with pytest.raises(Cut):
        train(tmp_path / "out", tmp_path / "work", TINY)
    train(tmp_path / "out", tmp_path / "work", TINY)
    assert calls == [0, 1, 2, 2], "it goes on at the step where it was cut"
    assert hashes(tmp_path / "out") == made


def test_carried_over_words_and_clip_stay_and_a_cut_run_gives_the_same_bytes(tmp_path, from_nothing, monkeypatch):
    offer_photographs(from_nothing, monkeypatch)
    start = from_nothing / "out" / "lnm-mini"
    shutil.copytree(from_nothing / "work" / "clips", tmp_path / "a" / "clips")
    shutil.copytree(from_nothing / "work" / "clips", tmp_path / "b" / "clips")
    train(tmp_path / "out_a", tmp_path / "a", TINY, start=start)
    made, before = hashes(tmp_path / "out_a"), hashes(from_nothing / "out")
    assert set(made) == set(before)
    parts = ("lnm-mini-clip", "lnm-mini/text_encoder", "lnm-mini/tokenizer", "lnm-mini/scheduler")
    for name in made:
        assert (made[name] == before[name]) == (name.startswith(parts) or name.endswith(".json")), name
    assert not (tmp_path / "a" / "images.npy").exists(), "no still is rendered"

    monkeypatch.setattr(loop, "SAVE_EVERY", 1)
    calls = cut_once(monkeypatch, unet, "prediction_loss", 2)
    with pytest.raises(Cut):
        train(tmp_path / "out_b", tmp_path / "b", TINY, start=start)
    train(tmp_path / "out_b", tmp_path / "b", TINY, start=start)
    assert len(calls) == 3 and hashes(tmp_path / "out_b") == made


def test_what_cannot_be_carried_over_is_named(tmp_path, from_nothing):
    start = from_nothing / "out" / "lnm-mini"
    assert open_start(start, tmp_path).unet.config.out_channels == 16
    with pytest.raises(UserError, match="is where the result goes"):
        open_start(start, start.parent)
    alone = tmp_path / "alone"
    alone.symlink_to(start)
    with pytest.raises(UserError, match="no lnm-mini-clip beside"):
        open_start(alone, tmp_path / "out")
