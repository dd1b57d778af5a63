"""Weights that are pickles, cut off, incomplete or damaged by one bit: found, said in one line, never used."""

import pickle
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from safetensors.torch import load_file, save_file
from tiny import write_tiny_checkpoint
from tiny_decoder import tiny_dc, wake_decoder
from tiny_unet import tiny_unet2d

from eval.features.cache import Features
from eval.features.clip import Clip
from eval.features.flow import Rife
from eval.features.inception import Inception
from eval.features.lpips import Lpips
from eval.features.weights import KNOWN
from eval.records import kept
from lnm import tensors
from lnm.checkpoint import WEIGHTS, open_checkpoint
from lnm.decoder import load_decoder, save_decoder
from lnm.errors import UserError
from lnm.files import sha256, write_sums
from lnm.latents import load_latents
from lnm.prompts import choose_prompt
from lnm.resume import ResumeStore
from lnm.temporal_file import TemporalNotes, read_temporal, save_temporal
from lnm.unet import UNetPseudo3DConditionModel


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def flip(path, at: int = -3) -> None:
    """Turn one bit of a file, of its tensors' bytes."""
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(bytes(data))


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def pickled(path) -> None:
    path.write_bytes(pickle.dumps({"a": [1, 2]}))


def archived(path) -> None:
    torch.save({"a": torch.zeros(2)}, path)


SPOILS = [(flip, "damaged"), (cut, "not a readable safetensors file"), (pickled, "is a pickle"),
          (archived, "is a pickle"), (lambda path: path.write_bytes(b""), "not a readable safetensors file")]


@pytest.mark.parametrize("spoil, part", SPOILS)
def test_a_spoilt_temporal_file_is_refused(tmp_path, spoil, part):
    path = tmp_path / "t.safetensors"
    save_temporal(UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d()), path, TemporalNotes())
    read_temporal(path)
    spoil(path)
    with pytest.raises(UserError, match=part) as error:
        read_temporal(path)
    assert "\n" not in str(error.value) and "run the fine-tune again" in str(error.value)


def test_a_temporal_file_that_does_not_say_what_it_is_made_of_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "t.safetensors", {"lnm": '{"format": "latentmovies-temporal-2"}'})
    with pytest.raises(UserError, match="what it says of itself is incomplete"):
        read_temporal(tmp_path / "t.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "t.safetensors", {"lnm": "[]"})
    with pytest.raises(UserError, match="not a file of temporal layers"):
        read_temporal(tmp_path / "t.safetensors")


@pytest.mark.parametrize("spoil, part", SPOILS)
def test_spoilt_latents_are_refused(tmp_path, spoil, part):
    tensors.write(tmp_path / "latents.safetensors", {"train": torch.rand(3, 4, 2, 2)})
    assert load_latents(tmp_path)["train"].shape == (3, 4, 2, 2)
    spoil(tmp_path / "latents.safetensors")
    with pytest.raises(UserError, match=part):
        load_latents(tmp_path)


@pytest.mark.parametrize("spoil", [flip, cut])
@pytest.mark.parametrize("file, opened", [("inception-2015-12-05.pt", Inception), ("rife-hdv3.safetensors", Rife),
                                          ("alexnet-features.safetensors", lambda path: Lpips(path.parent))])
def test_a_spoilt_network_of_the_harness_is_refused_before_it_is_opened(tmp_path, monkeypatch, file, opened, spoil):
    """By its hash, here of stand-ins."""
    path = tmp_path / file
    path.write_bytes(b"the network" * 9)
    monkeypatch.setitem(KNOWN, file, sha256(path))
    spoil(path)
    with pytest.raises(UserError, match=r"as published \(SHA-256 .*delete it and run `lnm footage ") as error:
        opened(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("spoil, part", SPOILS)
def test_a_spoilt_decoder_in_time_is_refused(tmp_path, spoil, part):
    path = tmp_path / "decoder.safetensors"
    save_decoder(wake_decoder(tiny_dc()), path)
    load_decoder(tiny_dc(), path)
    spoil(path)
    with pytest.raises(UserError, match=part):
        load_decoder(tiny_dc(), path)


@pytest.mark.parametrize("spoil, part", SPOILS)
def test_a_spoilt_checkpoint_of_a_training_is_never_gone_on_from(tmp_path, spoil, part):
    store, layers = ResumeStore(tmp_path, {}), {"a": torch.nn.Parameter(torch.ones(3))}
    optimizer = torch.optim.AdamW(layers.values())
    store.save(2, {"temporal": layers}, optimizer)
    spoil(store.path)
    with pytest.raises(UserError, match=part) as error:
        store.resume({"temporal": layers}, optimizer)
    assert f"delete {store.folder}" in str(error.value) and torch.equal(layers["a"], torch.ones(3))


@pytest.mark.parametrize("spoil", [flip, cut, pickled])
def test_spoilt_features_are_computed_again(tmp_path, spoil):
    class Mean:
        sha256, version, asked = "0", "1", 0

        def __call__(self, frames):
            self.asked += len(frames)
            return frames.mean(axis=(1, 2)).astype(np.float32)

    frames = np.arange(3 * 8 * 8 * 3, dtype=np.uint8).reshape(3, 8, 8, 3)
    own = Features(Mean(), tmp_path)(frames)
    again = Mean()
    assert np.array_equal(Features(again, tmp_path)(frames), own) and again.asked == 0
    spoil(next(tmp_path.glob("*.safetensors")))
    assert np.array_equal(Features(again, tmp_path)(frames), own) and again.asked == 3


@pytest.mark.parametrize("spoil, part", [(flip, "its features are damaged"), (cut, "not a safetensors file"),
                                         (pickled, "not a safetensors file")])
def test_a_kept_reference_that_is_spoilt_is_refused(tmp_path, spoil, part):
    path, features = tmp_path / "r.safetensors", np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    kept.keep(path, features, "0" * 64, "1", (8, 8))
    assert np.array_equal(kept.load(path, "0" * 64, "1", (8, 8)), features)
    spoil(path)
    with pytest.raises(UserError, match=part):
        kept.load(path, "0" * 64, "1", (8, 8))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_checkpoint_that_lacks_a_tensor_is_not_filled_up_at_random(tiny, tmp_path, part):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    path = copy / part / f"{WEIGHTS[part]}.safetensors"
    held = load_file(path)
    gone = next(name for name in held if name.endswith("weight"))
    save_file({name: tensor for name, tensor in held.items() if name != gone}, path, {"format": "pt"})
    with pytest.raises(UserError, match=f"its {part} lacks 1 weights that its configuration has"):
        open_checkpoint(str(copy))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("spoil", [cut, pickled, archived])
def test_a_checkpoint_whose_weights_are_spoilt_is_refused(tiny, tmp_path, part, spoil):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    spoil(copy / part / f"{WEIGHTS[part]}.safetensors")
    with pytest.raises(UserError, match="checkpoint.name") as error:
        open_checkpoint(str(copy))
    assert "\n" not in str(error.value)


BUILT_IN = ["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors", "tokenizer/merges.txt"]


@pytest.mark.parametrize("place, fix", [("checkpoints", r"`rm -r checkpoints/lnm-mini; make data` brings it again"),
                                        ("weights", "install latentmovies again, which brings it")])
@pytest.mark.parametrize("file", BUILT_IN)
def test_a_built_in_checkpoint_with_a_bit_turned_is_refused(tiny, tmp_path, file, place, fix):
    """In a project and in a wheel, by SHA256SUMS beside its folder."""
    folder = shutil.copytree(tiny, tmp_path / place / "lnm-mini")
    write_sums(folder.parent, ("lnm-mini",))
    open_checkpoint(str(folder))
    flip(folder / file)
    with pytest.raises(UserError, match=f"^checkpoint.name: lnm-mini/{file} is not the file that SHA256SUMS .*{fix}"):
        open_checkpoint(str(folder))
    mine = shutil.copytree(folder, tmp_path / place / "mine")
    if file.endswith(".safetensors"):
        open_checkpoint(str(mine))  # nobody knows what its files should be


def test_a_built_in_file_that_is_gone_is_one_that_is_not_as_it_was(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "checkpoints" / "lnm-mini")
    write_sums(folder.parent, ("lnm-mini",))
    (folder / "model_index.json").unlink()
    with pytest.raises(UserError, match="lnm-mini/model_index.json is not the file that SHA256SUMS"):
        open_checkpoint(str(folder))


def test_a_built_in_clip_with_a_bit_turned_is_refused(tmp_path):
    """Where prompts are chosen and where films are measured, before anything of it is opened."""
    folder = tmp_path / "checkpoints" / "lnm-mini-clip"
    folder.mkdir(parents=True)
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (folder / name).write_bytes(b"stand-in")
    write_sums(folder.parent, ("lnm-mini-clip",))
    flip(folder / "open_clip_model.safetensors")
    wrong = "lnm-mini-clip/open_clip_model.safetensors is not the file that SHA256SUMS .*`rm -r checkpoints/lnm-mini-c"
    with pytest.raises(UserError, match=f"^checkpoint.clip: {wrong}"):
        choose_prompt(["waves"], np.zeros((2, 8, 8, 3), np.uint8), str(folder))
    with pytest.raises(UserError, match=f"^CLIP: {wrong}"):
        Clip("checkpoints/lnm-mini-clip", tmp_path)


def test_built_in_layers_with_a_bit_turned_are_refused_with_what_brings_them_again(tmp_path):
    motion, decoder = (tmp_path / "checkpoints" / f"lnm-mini-{name}" for name in ("motion", "decoder"))
    save_temporal(UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d()), motion / "t.safetensors", TemporalNotes())
    save_decoder(wake_decoder(tiny_dc()), decoder / "d.safetensors")
    for path, opened in ((motion / "t.safetensors", read_temporal),
                         (decoder / "d.safetensors", lambda path: load_decoder(tiny_dc(), path))):
        flip(path)
        with pytest.raises(UserError, match=f"damaged.*; `rm -r checkpoints/{path.parent.name}; make data` brings it"):
            opened(path)


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pkl", "model.pt"])
def test_a_pickle_is_never_opened_as_a_checkpoint(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(1))
    with pytest.raises(UserError, match="is a pickle"):
        open_checkpoint(str(tmp_path / name))


RISKY = r"(?<!ast\.)(?<![\w.])(?:eval|exec|pickle\.loads?|torch\.load|torch\.jit\.load|joblib\.load|yaml\.load)\(" \
        r"|allow_pickle|trust_remote_code="


def test_nothing_of_ours_unpickles_or_runs_remote_code():
    """torch.load by weights_only alone, torch.jit.load of Inception by its hash and of I3D, which the user brings and
    which torch reads without Python's pickle; trust_remote_code in words alone, as what diffusers wants to be told."""
    names = subprocess.run(["git", "ls-files", "-z", "lnm", "eval"], cwd=REPOSITORY, capture_output=True, text=True,
                           check=True).stdout.split("\0")
    lines = [(name, line) for name in names if name.endswith(".py")
             for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines()]
    found = {(name, call, "weights_only=True" in line) for name, line in lines for call in re.findall(RISKY, line)}
    assert found == {
        ("lnm/demo/networks.py", "torch.load(", True), ("eval/features/i3d.py", "torch.jit.load(", False),
        ("eval/features/inception.py", "torch.jit.load(", False), ("lnm/pipeline.py", "trust_remote_code=", False),
        # ruamel's, of DVC's files and params.yaml, which knows no Python objects
        ("lnm/workflow/checkout.py", "yaml.load(", False), ("lnm/workflow/record.py", "yaml.load(", False),
        ("lnm/workflow/health.py", "yaml.load(", False)}
