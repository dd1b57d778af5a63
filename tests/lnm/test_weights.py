"""Weights that cannot be opened: each reason is one clear line, and the command's status is not zero."""

import json
import re
import shutil

import httpx
import huggingface_hub
import psutil
import pytest
import torch
from huggingface_hub import errors
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import write_tiny_checkpoint

from lnm import checkpoint, weights
from lnm.cli import main
from lnm.errors import UserError
from lnm.hub import locate_temporal

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "copy")


def test_a_head_says_what_the_file_holds(tiny):
    found = weights.head(tiny / UNET)
    with safe_open(tiny / UNET, "pt") as file:
        assert {k: v["shape"] for k, v in found.items()} == {k: file.get_slice(k).get_shape() for k in file.keys()}  # noqa: SIM118
    assert weights.count(found.values()) == sum(v.numel() for v in load_file(tiny / UNET).values())


def test_weights_lie_where_torch_would_put_them_wherever_they_lie_in_their_file(copy):
    """A matrix product's last bit hangs on it on some CPUs."""
    layer = torch.nn.Linear(5, 3)
    layer.weight.data = torch.randn(40)[1:16].view(3, 5)
    want, kept = layer.weight.clone(), layer.bias.data_ptr()
    assert layer.weight.data_ptr() % 64 and weights.aligned(layer) is layer
    assert layer.weight.data_ptr() % 64 == 0 and torch.equal(layer.weight, want) and layer.bias.data_ptr() == kept
    for more in range(1, 9):  # heads of several lengths
        save_file(load_file(copy / UNET), copy / UNET, metadata={"format": "pt", "more": "x" * 8 * more})
        base = checkpoint.open_checkpoint(str(copy))
        parts = (base.unet, base.vae, base.text_encoder)
        assert not any(p.data_ptr() % 64 for part in parts for p in part.parameters())


@pytest.mark.parametrize("keep", [0, 5, 100, 4000, -1])
def test_half_a_file_is_cut_off_wherever_the_cut_is(tiny, tmp_path, keep):
    data = (tiny / UNET).read_bytes()
    (tmp_path / "half").write_bytes(data[:keep])
    with pytest.raises(UserError, match="cannot be opened: .*cut off") as error:
        weights.head(tmp_path / "half", "HALF")
    assert str(error.value).startswith("HALF ") and str(error.value).endswith("fetch it again")
    if keep == -1:
        assert f"{len(data) - 1:,} bytes of {len(data):,} bytes" in str(error.value)


@pytest.mark.parametrize("data, words", [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3438167540\n", "git lfs pull"),
    (b"<!DOCTYPE html><html>" * 9, "no safetensors file"), (b"\x02" + b"\x00" * 7 + b"[]", "no safetensors file")])
def test_what_only_looks_like_weights_is_named(tmp_path, data, words):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError, match=words):
        weights.head(tmp_path / "x")


def answers(kind):
    return kind("no", response=httpx.Response(404, request=httpx.Request("GET", "https://hub.invalid")))


def half_a_unet(folder, patch):
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[:len(data) // 2])


def other_weights(folder, patch):
    tensors = load_file(folder / UNET)
    save_file({k: v for k, v in tensors.items() if "mid_block" not in k}, folder / UNET, metadata={"format": "pt"})


def a_shard_less(folder, patch):
    tensors = load_file(folder / UNET)
    names = {k: f"diffusion_pytorch_model-0000{1 + i % 2}-of-00002.safetensors" for i, k in enumerate(tensors)}
    (folder / UNET).unlink()
    (folder / f"{UNET}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    first = min(names.values())
    save_file({k: v for k, v in tensors.items() if names[k] == first}, folder / "unet" / first)


def broken_json(folder, patch):
    (folder / "unet/config.json").write_text('{"in_channels": 9,')


def little_memory(folder, patch):
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    patch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=50_000))
    patch.setattr(psutil, "swap_memory", lambda: swap._replace(free=1_000))


def hub_says(kind):
    def prepare(folder, patch):
        def refuses(*args, **kwargs):
            raise answers(kind)

        patch.setattr(huggingface_hub, "snapshot_download", refuses)
        return "somebody/inpainting"
    return prepare


def out_of_reach(folder, patch):
    return "somebody/inpainting"  # tests are offline


@pytest.mark.parametrize("spoil, words", [
    (half_a_unet, rf"copy: {UNET} cannot be opened: it is cut off, [\d,]+ bytes of [\d,]+ bytes; fetch it again"),
    (other_weights, r"its unet lacks \d+ weights that its configuration has"),
    (a_shard_less, "diffusion_pytorch_model-00002-of-00002.safetensors is missing; put it into copy/unet"),
    (broken_json, r"unet/config.json cannot be read .*; fetch it again"),
    (little_memory, r"its weights take [\d,]+ bytes in float32, and 51,000 bytes of memory are free on cpu; end what"),
    (hub_says(errors.RevisionNotFoundError), "somebody/inpainting has no revision abc on the model hub; give a commit"),
    (hub_says(errors.GatedRepoError), "accepted its licence; accept it on its page, then `hf auth login`"),
    (hub_says(errors.RepositoryNotFoundError), "the model hub has no such model, or it is private; correct the name"),
    (out_of_reach, "at revision abc cannot be fetched from the model hub .*inputs/inpainting/")])
def test_a_checkpoint_that_cannot_be_had_is_one_line_and_a_status(copy, monkeypatch, tmp_path, capsys, spoil, words):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    name = spoil(copy, monkeypatch) or str(copy)
    assert main(["checkpoint", "verify", name, "--revision", "abc", "--size", "32"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("error: checkpoint.name: ") and re.search(words, said[0]), said


def test_all_that_fits_into_memory_opens_and_half_precision_needs_half(tiny, monkeypatch):
    heads = [weights.head(file) for file in tiny.glob("*/*.safetensors")]
    numbers = sum(weights.count(found.values()) for found in heads)
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        monkeypatch.setattr(weights, "free_memory", lambda device: size * numbers)  # noqa: B023
        checkpoint.open_checkpoint(str(tiny), dtype=dtype)
        monkeypatch.setattr(weights, "free_memory", lambda device: size * numbers - 1)  # noqa: B023
        with pytest.raises(UserError, match=f"{size * numbers:,} bytes in {str(dtype)[6:]}"):
            checkpoint.open_checkpoint(str(tiny), dtype=dtype)


def test_the_device_needs_room_as_well(monkeypatch):
    monkeypatch.setattr(weights, "free_memory", lambda device: 10**10 if device == "cpu" else 10**9)
    weights.check_memory("sd", 10**9 // 4, torch.float32, "cuda")
    with pytest.raises(UserError, match="take 4.0 GB in float32, and 1.0 GB of memory are free on cuda"):
        weights.check_memory("sd", 10**9, torch.float32, "cuda")


def test_a_single_file_that_is_cut_off_or_another_model_is_one_line(tiny, tmp_path):
    save_file({"model.weight": torch.zeros(100)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="is no Stable Diffusion in one file"):
        checkpoint.open_checkpoint(str(tmp_path / "model.safetensors"), config=str(tiny))
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:-7])
    with pytest.raises(UserError, match="is cut off"):
        checkpoint.open_checkpoint(str(tmp_path / "model.safetensors"), config=str(tiny))


def test_a_temporal_file_at_a_revision_that_is_not_there_says_so(monkeypatch):
    def refuses(*args, **kwargs):
        raise answers(errors.RevisionNotFoundError)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuses)
    with pytest.raises(UserError, match="somebody/waves has no revision v9 on the model hub"):
        locate_temporal("somebody/waves", "v9")
