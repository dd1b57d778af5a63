"""Inception-v3's features of frames, for FID.

The network is torch-fidelity's; its weights are the TensorFlow ones of 2015-12-05, read from a TorchScript file and
mapped by name. Weights that are not there raise UserError: a caller writes the reason where the number would have
stood.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from eval.features.devices import made_by
from eval.features.weights import checked
from eval.registry import NEEDS
from lnm.errors import UserError
from lnm.files import sha256

INCEPTION_FILE = "inception-2015-12-05.pt"
_BLOCKS = ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"]  # mixed, mixed_1, ... mixed_10
_STEM = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]  # conv, ... conv_4
_A = {  # TensorFlow's name of a convolution in a block -> torch-fidelity's, for each kind of block
    "conv": "branch1x1", "tower.conv": "branch5x5_1", "tower.conv_1": "branch5x5_2",
    "tower_1.conv": "branch3x3dbl_1", "tower_1.conv_1": "branch3x3dbl_2", "tower_1.conv_2": "branch3x3dbl_3",
    "tower_2.conv": "branch_pool",
}
_B = {"conv": "branch3x3", "tower.conv": "branch3x3dbl_1", "tower.conv_1": "branch3x3dbl_2",
      "tower.conv_2": "branch3x3dbl_3"}
_C = {
    "conv": "branch1x1", "tower.conv": "branch7x7_1", "tower.conv_1": "branch7x7_2", "tower.conv_2": "branch7x7_3",
    "tower_1.conv": "branch7x7dbl_1", "tower_1.conv_1": "branch7x7dbl_2", "tower_1.conv_2": "branch7x7dbl_3",
    "tower_1.conv_3": "branch7x7dbl_4", "tower_1.conv_4": "branch7x7dbl_5", "tower_2.conv": "branch_pool",
}
_D = {
    "tower.conv": "branch3x3_1", "tower.conv_1": "branch3x3_2", "tower_1.conv": "branch7x7x3_1",
    "tower_1.conv_1": "branch7x7x3_2", "tower_1.conv_2": "branch7x7x3_3", "tower_1.conv_3": "branch7x7x3_4",
}
_E = {
    "conv": "branch1x1", "tower_conv": "branch3x3_1", "tower_mixed_conv": "branch3x3_2a",
    "tower_mixed_conv_1": "branch3x3_2b", "tower_1_conv": "branch3x3dbl_1", "tower_1_conv_1": "branch3x3dbl_2",
    "tower_1_mixed_conv": "branch3x3dbl_3a", "tower_1_mixed_conv_1": "branch3x3dbl_3b", "tower_2_conv": "branch_pool",
}
_KINDS = dict(zip(_BLOCKS, [_A, _A, _A, _B, _C, _C, _C, _C, _D, _E, _E]))
_TENSORS = {"weight": "conv.weight", "beta": "bn.bias", "mean": "bn.running_mean", "var": "bn.running_var"}


def inception_state(path: Path) -> dict:
    """The TorchScript file's tensors under torch-fidelity's names, each used once and none left over.

    The file holds no logits layer (FID does not use it) and no batch-norm scale (TensorFlow's is fixed at 1).
    Raises UserError where the file is missing or holds other tensors.
    """
    import torch

    if not path.is_file():
        raise UserError(NEEDS["Inception"])
    # TorchScript holds code: nothing but the known file is opened
    checked(path, INCEPTION_FILE, "a TorchScript file of Inception", "--inception")
    try:
        with warnings.catch_warnings():  # torch.jit is deprecated; this is the one place that still reads its file
            warnings.simplefilter("ignore")
            tensors = dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    except RuntimeError:
        raise UserError(f"{path}: not a TorchScript file: delete it and run `lnm footage --inception`") from None
    state = {}
    for number, name in enumerate(_STEM):
        state |= _convolution(tensors, f"net.layers.conv{_suffix(number)}", name)
    for number, block in enumerate(_BLOCKS):
        for theirs, ours in _KINDS[block].items():
            state |= _convolution(tensors, f"net.layers.mixed{_suffix(number)}.{theirs}", f"Mixed_{block}.{ours}")
    if tensors:
        raise UserError(f"{path}: {len(tensors)} tensors are no Inception-v3's, such as {next(iter(tensors))}")
    return state


def _suffix(number: int) -> str:
    return f"_{number}" if number else ""


def _convolution(tensors: dict, theirs: str, ours: str) -> dict:
    """Moves one convolution and its batch norm out of `tensors`, renamed."""
    import torch

    try:
        state = {f"{ours}.{new}": tensors.pop(f"{theirs}.{old}") for old, new in _TENSORS.items()}
    except KeyError as error:
        raise UserError(f"the Inception weights lack {error}: fetch the file again") from None
    state[f"{ours}.bn.weight"] = torch.ones_like(state[f"{ours}.bn.bias"])
    state[f"{ours}.bn.num_batches_tracked"] = torch.tensor(0)
    return state


def inception_version() -> str:
    """What the features of `Inception` depend on beside its weights: see `eval.features.cache.Features`."""
    return made_by("torch", "torch_fidelity", preprocessing="TensorFlow 1's bilinear, norms folded")


class Inception:
    """FID's 2048 features: torch-fidelity's network and preprocessing (TensorFlow's bilinear resize to 299x299,
    which squashes any aspect; (x - 128) / 128)."""

    def __init__(self, path: Path, device: str = "cpu"):
        import torch
        from torch.nn.utils.fusion import fuse_conv_bn_eval
        from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

        state = inception_state(path)
        state["fc.weight"], state["fc.bias"] = torch.zeros(1008, 2048), torch.zeros(1008)  # unused by FID
        buffer = io.BytesIO()  # the constructor loads a file or downloads one; its load is strict about names
        torch.save(state, buffer)
        buffer.seek(0)
        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=buffer
        )
        for block in self.network.modules():
            if isinstance(block, BasicConv2d):  # its batch norm is fixed: folded in, it costs nothing
                block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), torch.nn.Identity()
        self.network.to(device, memory_format=torch.channels_last)  # a third to a half faster on a CPU
        self.device = device
        self.sha256 = sha256(path)
        self.version = inception_version()
        self.name = "Inception-v3 (TensorFlow 2015-12-05, pool3, 2048)"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) -> float32 (N, 2048)."""
        import torch

        images = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).to(self.device)
        with torch.no_grad():
            return self.network(images)[0].cpu().numpy()
