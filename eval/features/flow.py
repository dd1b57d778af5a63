"""Optical flow of consecutive frames, by two estimators that know nothing of each other.

DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016; OpenCV's, medium preset) matches patches;
RIFE (Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", 2022; its HDv3 network) has
learnt motion from films. Where the two rank films differently, neither ranking is to be trusted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.features.once import content, once
from eval.features.weights import checked
from eval.registry import NEEDS
from lnm.errors import UserError

RIFE_FILE = "rife-hdv3.safetensors"
STEP = 32  # RIFE halves a picture five times at its coarsest scale: sides are padded to a multiple
PAIRS = 16  # of frames a batch
SCALES = (4, 2, 1)  # at which RIFE's three blocks look at the picture


@once(1)  # a film's flow is asked for by four measures; of a long one it fills 100 MB
def dis(frames: np.ndarray) -> np.ndarray:
    """Flow of each frame to the next by OpenCV's DIS, medium preset.

    frames uint8 (F, H, W, 3) -> float32 (F - 1, H, W, 2), x and y in pixels. Raises UserError for fewer than 2 frames
    or sides under 16 pixels.
    """
    if len(frames) < 2:
        raise UserError(f"optical flow needs 2 frames, got {len(frames)}: sample more frames")
    if min(frames.shape[1:3]) < 16:
        raise UserError(f"optical flow needs frames of 16 pixels a side, got {frames.shape[2]}x{frames.shape[1]}")
    return dis_pairs(frames[:-1], frames[1:])


def dis_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """DIS flow of each a[i] to b[i], uint8 (N, H, W, 3) both, sides of 16 pixels or more -> float32 (N, H, W, 2)."""
    import cv2

    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = ([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames] for frames in (a, b))
    return np.stack([estimator.calc(one, other, None) for one, other in zip(*grey)])


class Rife:
    """RIFE HDv3: flow from the moment between two frames to either, and the frame that should lie there.

    path: the tensors as safetensors (`lnm footage --networks` fetches them). Raises UserError where they are missing or
    others.
    """

    def __init__(self, path: Path, device: str = "cpu"):
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not path.is_file():
            raise UserError(NEEDS["RIFE"])
        self.sha256 = checked(path, RIFE_FILE, "RIFE's tensors", "--networks")
        try:
            self.network = _network()
            self.network.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError):
            raise UserError(f"{path}: not RIFE's tensors: delete it and run `lnm footage --networks`") from None
        self.network.eval().to(device, memory_format=torch.channels_last)  # a fifth faster on a CPU
        self.device = device
        self.name = "RIFE HDv3 flow to the middle of two frames"

    def between(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        """For each pair of frames a[i], b[i], uint8 (N, H, W, 3) both, as seen at the moment between them:

        "flow" float32 (N, H, W, 2), how far each pixel goes from a to b; "error" float32 (N, H, W), the mean absolute
        difference in [0, 1] of the two frames, each carried there by its half of the flow; "middle" uint8
        (N, H, W, 3), the frame that RIFE makes of both. A pair that occurs again, as in a still repeated, is computed
        once.
        """
        import torch

        height, width = a.shape[1:3]
        keys = [content(np.stack(pair)) for pair in zip(a, b)]
        distinct = list(dict.fromkeys(keys))
        first_of = [keys.index(key) for key in distinct]
        a, b = a[first_of], b[first_of]
        found: dict[str, list[np.ndarray]] = {"flow": [], "error": [], "middle": []}
        for start in range(0, len(a), PAIRS):
            first, second = (self._tensor(frames[start:start + PAIRS]) for frames in (a, b))
            with torch.no_grad():
                to_first, to_second, share = self.network(first, second)
                earlier, later = warp(first, to_first), warp(second, to_second)
                made = {"flow": to_second - to_first, "error": (earlier - later).abs().mean(1, keepdim=True),
                        "middle": (earlier * share + later * (1 - share)).clamp(0, 1).mul(255).round().byte()}
            for name, tensor in made.items():
                found[name].append(tensor[:, :, :height, :width].permute(0, 2, 3, 1).cpu().numpy())
        again = [distinct.index(key) for key in keys]
        whole = {name: np.concatenate(parts)[again] for name, parts in found.items()}
        return whole | {"error": whole["error"][..., 0]}

    def _tensor(self, frames: np.ndarray):
        """uint8 (N, H, W, 3) -> float32 (N, 3, H', W') in [0, 1], sides padded to a multiple of STEP."""
        import torch

        bottom, right = (-side % STEP for side in frames.shape[1:3])
        padded = np.pad(frames, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")
        return torch.from_numpy(np.ascontiguousarray(padded.transpose(0, 3, 1, 2))).to(self.device).float() / 255


def warp(images, flow):
    """images (N, C, H, W) sampled where flow (N, 2, H, W), x and y in pixels, points to; the border is repeated."""
    import torch

    height, width = images.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height, device=flow.device), torch.arange(width, device=flow.device),
                                   indexing="ij")
    x, y = 2 * (columns + flow[:, 0]) / (width - 1) - 1, 2 * (rows + flow[:, 1]) / (height - 1) - 1
    return torch.nn.functional.grid_sample(images, torch.stack([x, y], -1), padding_mode="border", align_corners=True)


def _network():
    """RIFE HDv3's network with random weights, its modules under the published names: three blocks that refine flow to
    the middle from coarse to fine, each asked both ways round and averaged."""
    import torch
    from torch import nn
    from torch.nn.functional import interpolate

    def conv(into: int, out: int, stride: int = 1):
        return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1), nn.PReLU(out))

    def up(channels: int, out: int):
        return nn.Sequential(nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1), nn.PReLU(channels // 2),
                             nn.ConvTranspose2d(channels // 2, out, 4, 2, 1))

    def resized(x, factor: float):
        return interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False) if factor != 1 else x

    class Block(nn.Module):
        def __init__(self, channels: int = 90):
            super().__init__()
            self.conv0 = nn.Sequential(conv(11, channels // 2, 2), conv(channels // 2, channels, 2))
            for i in range(4):
                self.add_module(f"convblock{i}", nn.Sequential(conv(channels, channels), conv(channels, channels)))
            self.conv1, self.conv2 = up(channels, 4), up(channels, 1)

        def forward(self, images, flow, scale: int):
            """images (N, 7, H, W): both frames, carried so far, and the mask; flow (N, 4, H, W) -> their changes."""
            x = self.conv0(torch.cat([resized(images, 1 / scale), resized(flow, 1 / scale) / scale], 1))
            for i in range(4):
                x = getattr(self, f"convblock{i}")(x) + x
            return resized(self.conv1(x), scale) * scale, resized(self.conv2(x), scale)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.block0, self.block1, self.block2 = Block(), Block(), Block()

        def forward(self, first, second):
            """Frames (N, 3, H, W) in [0, 1] -> flow to the first and to the second (N, 2, H, W), and the first's share
            of the frame between (N, 1, H, W)."""
            flow, mask = torch.zeros_like(first[:, :1]).repeat(1, 4, 1, 1), torch.zeros_like(first[:, :1])
            earlier, later = first, second
            for block, scale in zip((self.block0, self.block1, self.block2), SCALES):
                one, its_mask = block(torch.cat([earlier, later, mask], 1), flow, scale)
                other, others_mask = block(torch.cat([later, earlier, -mask], 1), flow.roll(2, 1), scale)
                flow, mask = flow + (one + other.roll(2, 1)) / 2, mask + (its_mask - others_mask) / 2
                earlier, later = warp(first, flow[:, :2]), warp(second, flow[:, 2:])
            return flow[:, :2], flow[:, 2:], torch.sigmoid(mask)

    return Network()
