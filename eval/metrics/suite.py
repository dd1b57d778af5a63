"""The measures of public benchmarks in one call, each a reason where what it needs is not there.

What is compared with a reference, such as velocities and precision, is in `eval.metrics.reference`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.features.flow import RIFE_FILE, Rife
from eval.metrics import dynamics
from eval.metrics.clip import ClipMetrics
from eval.metrics.frechet import InceptionMetrics
from eval.metrics.patches import ROUNDS, SHORTER, STRIDE, Patches
from eval.statistics.intervals import Measured, Row, measured, single

STILL = ("still_subject_inception", "still_background_clip")
FLOWS = {"speed": ("flow_speed", "flow_speed_rife"), "warp": ("flow_warp", "flow_warp_rife")}  # by DIS and by RIFE


class Suite:
    """Dynamic degree, a second optical flow and smoothness by RIFE, consistency, likeness to the still, and nearest
    patches of a film.

    root: the folder that holds weights/. train: the frames that were trained on, or the reason why there are none.
    inception, clip: whose features consistency is measured in.
    """

    NAMES = ("dynamic_degree", "dynamic_margin", "flow_warp_rife", "flow_speed_rife", "smoothness_rife",
             "subject_inception", "background_clip", *STILL, "nnf_distance", "nnf_diversity")

    def __init__(self, root: Path, device: str, train: np.ndarray | str, inception: InceptionMetrics,
                 clip: ClipMetrics):
        self.inception, self.clip = inception, clip
        self.rife = measured(Rife, root / "weights" / RIFE_FILE, device)
        self.patches = train if isinstance(train, str) else measured(Patches, train)

    @property
    def backend(self) -> dict:
        """What stands behind the numbers: names, weights' hashes, or why there is none."""
        rife = self.rife
        return {
            "rife": {"refused": rife} if isinstance(rife, str) else {"name": rife.name, "sha256": rife.sha256},
            "patches": f"PatchMatch, {ROUNDS} rounds, every {STRIDE}nd 3x3x3 patch, shorter side {SHORTER} pixels",
        }

    def __call__(self, frames: np.ndarray, fps: float | None, still: np.ndarray | str, label: str = "frames") -> Row:
        """metric -> measured or reason, of a film uint8 (F, H, W, 3); `label` names it in a progress bar. fps: the
        film's own, None where nothing says it. still: (H, W, 3) that the film starts from, or why there is none."""
        row = self._dynamic(frames, fps) | self._rife(frames)
        return row | self._consistency(frames, still, label) | self._patches(frames)

    def _dynamic(self, frames: np.ndarray, fps: float | None) -> Row:
        return {"dynamic_degree": single(measured(dynamics.dynamic_degree, frames, fps)),
                "dynamic_margin": single(measured(dynamics.dynamic_margin, frames, fps))}

    def _rife(self, frames: np.ndarray) -> Row:
        if isinstance(self.rife, str) or len(frames) < 3:
            reason = self.rife if isinstance(self.rife, str) else (
                f"flow and smoothness by RIFE need 3 frames, got {len(frames)}: sample more frames")
            return dict.fromkeys(("flow_warp_rife", "flow_speed_rife", "smoothness_rife"), reason)
        steps = self.rife.between(frames[:-1], frames[1:])
        smooth = dynamics.smoothnesses(frames, lambda a, b: self.rife.between(a, b)["middle"])
        return {
            "flow_warp_rife": Measured(steps["error"].mean(axis=(1, 2), dtype=np.float64), "frame pair"),
            "flow_speed_rife": Measured(np.linalg.norm(steps["flow"], axis=-1).mean(axis=(1, 2), dtype=np.float64),
                                        "frame pair"),
            "smoothness_rife": Measured(smooth, "frame"),
        }

    def _consistency(self, frames: np.ndarray, still: np.ndarray | str, label: str) -> Row:
        row: Row = {}
        for name, to_still, of in (("subject_inception", STILL[0], self.inception),
                                   ("background_clip", STILL[1], self.clip)):
            features = of.backend.get("refused") or measured(of.features, frames, label)
            found = features if isinstance(features, str) else measured(dynamics.consistencies, features)
            row[name] = found if isinstance(found, str) else Measured(found, "frame")
            start = still if isinstance(still, str) else features if isinstance(features, str) else of.features(
                still[None], "still")
            row[to_still] = start if isinstance(start, str) else single(measured(
                dynamics.from_still, features, start[0]))
        return row

    def _patches(self, frames: np.ndarray) -> Row:
        field = self.patches if isinstance(self.patches, str) else measured(self.patches.field, frames)
        if isinstance(field, str):
            return {"nnf_distance": field, "nnf_diversity": field}
        return {"nnf_distance": Measured(field.distances.mean(axis=(1, 2), dtype=np.float64), "frame"),
                "nnf_diversity": single(field.diversity)}


def disagreements(methods: dict, metrics: tuple[str, str]) -> list[dict]:
    """Every pair of methods that two measures of the same thing rank differently: [{"methods": [a, b], metric: [its
    values of a and b], ...}]. methods: name -> metric -> entry. A tie of either is no disagreement."""
    found, names = [], [name for name, row in methods.items() if all("value" in row[m] for m in metrics)]
    for i, a in enumerate(names):
        for b in names[i + 1:]:
            values = {m: [methods[a][m]["value"], methods[b][m]["value"]] for m in metrics}
            if any(np.isclose(*pair, rtol=0.05, atol=1e-9) for pair in values.values()):
                continue
            signs = {np.sign(one - other) for one, other in values.values()}
            if len(signs) > 1:
                found.append({"methods": [a, b], **values})
    return found
