"""LPIPS (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018) with AlexNet.

The network and its linear heads are torchmetrics', whose heads are the `lpips` package's of version 0.1; the AlexNet is
torchvision's. `lnm footage --networks` fetches its convolutions by name and hash. Nothing else on the machine is looked
at: a value depends on weights/ alone.

Not the `lpips` package itself: it gives the same values (a test compares them), and would be one dependency more, where
torchmetrics is needed for SSIM anyhow. Its last version, 0.1.4, builds the AlexNet by torchvision's argument
`pretrained`, deprecated since 0.13: it warns at every start, and ends with the torchvision that drops the argument.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.features.devices import tensor
from eval.features.weights import checked
from eval.registry import NEEDS
from lnm.errors import UserError

ALEXNET_FILE = "alexnet-features.safetensors"


class Lpips:
    """LPIPS of two images by AlexNet. Raises UserError where weights/ has none, or another network's."""

    def __init__(self, weights: Path):
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from torchmetrics.functional.image.lpips import _LPIPS

        path = weights / ALEXNET_FILE
        if not path.is_file():
            raise UserError(NEEDS["LPIPS"])
        self.sha256 = checked(path, ALEXNET_FILE, "AlexNet's tensors", "--networks")
        try:
            state = load_file(path)
            self.network = _LPIPS(net="alex", pnet_rand=True)  # its heads; the random AlexNet is replaced here
            own = {f"net.{name}": state["features." + name.split(".", 1)[1]]
                   for name in self.network.net.state_dict()}  # slice2.3.weight is features.3.weight
            self.network.load_state_dict(own, strict=False)
        except (SafetensorError, KeyError, RuntimeError):
            raise UserError(f"{path}: not AlexNet's tensors: delete it and run `lnm footage --networks`") from None
        self.name = "LPIPS, AlexNet"

    def __call__(self, a: np.ndarray, b: np.ndarray) -> float:
        """Distance of two uint8 images (H, W, 3) of one size: 0 where they are equal."""
        import torch

        if a.shape != b.shape:
            raise UserError(f"LPIPS needs images of one size, got {a.shape} and {b.shape}")
        if min(a.shape[:2]) < 32:
            raise UserError(f"LPIPS needs images of 32 pixels a side, got {a.shape[1]}x{a.shape[0]}")
        with torch.no_grad():
            return float(self.network(tensor(a), tensor(b), normalize=True))
