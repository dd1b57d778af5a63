"""Exact FID of a few frames against many: ours against torchmetrics' and torch-fidelity's, on the same features.

    python -m benchmarks.fid [--few 5] [--many 1060] [--threads 1] [--clip data/ocean.mp4] [--json FILE]

The paper's sizes by default. Without --clip the features are drawn: 2048 numbers a frame, not negative and of a
spectrum that falls as that of Inception's, with a seed. With --clip (and weights/inception-2015-12-05.pt) they are the
Inception features of the clip's frames, as many as there are. Each runs once, after a warm-up on 64 dimensions, on the
same number of threads. Exits 1 unless ours is at least 50 times faster than torchmetrics' and equal to both within
1e-3, relative to the value.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.options import parsed
from lnm.errors import UserError
from lnm.files import write_json
from lnm.project import root

if TYPE_CHECKING:
    import numpy as np  # for good only once the number of threads is set: it reads it on import

FASTER, CLOSE = 50, 1e-3  # than torchmetrics; relative to the value


def drawn(few: int, many: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (few, 2048) and (many, 2048), float32, >= 0: a Gaussian whose eigenvalues fall as 1/k^1.2, cut at 0."""
    import numpy as np

    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((2048, 2048)))[0] * np.arange(1, 2049) ** -0.6
    mean = rng.gamma(1.0, 0.4, 2048)
    return tuple(np.maximum(mean + shift + 2 * rng.standard_normal((n, 2048)) @ basis.T, 0).astype(np.float32)
                 for n, shift in ((few, 0.05), (many, 0.0)))


def of_clip(path: Path, few: int, many: int) -> tuple[np.ndarray, np.ndarray]:
    """Inception features of a clip's frames: the last `few`, and as many as `many` of those before."""
    from eval.features.cache import Features
    from eval.features.inception import INCEPTION_FILE, Inception
    from lnm import video

    frames = video.read(path).frames
    if len(frames) < few + 2:
        raise UserError(f"{path}: {len(frames)} frames; {few} and 2 more are needed, give a longer clip")
    features = Features(Inception(root() / "weights" / INCEPTION_FILE, "cpu"), root() / "store" / "features")
    every = features(frames[-few - many:], "frames")
    return every[-few:], every[:-few]


def ours(a: np.ndarray, b: np.ndarray) -> float:
    from eval.metrics.frechet import fid_from_features

    return fid_from_features(a, b)


def torch_fidelitys(a: np.ndarray, b: np.ndarray) -> float:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"])


def torchmetricss(a: np.ndarray, b: np.ndarray) -> float:
    """Its metric over features that are there already: the extractor is the identity."""
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Identity(torch.nn.Module):
        num_features = a.shape[1]

        def forward(self, x):
            return x

    metric = FrechetInceptionDistance(feature=Identity(), input_img_size=(1, 1, 1)).set_dtype(torch.float64)
    for features, real in ((b, True), (a, False)):
        metric.update(torch.from_numpy(features).double(), real=real)
    return float(metric.compute())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fid", description=__doc__.split("\n\n")[0])
    parser.add_argument("--few", type=int, default=5)
    parser.add_argument("--many", type=int, default=1060)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clip", type=Path, help="a video whose Inception features to take")
    args = parsed(parser, argv)
    try:
        a, b = of_clip(args.clip, args.few, args.many) if args.clip else drawn(args.few, args.many, args.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = {}
    for name, function in (("ours", ours), ("torch-fidelity", torch_fidelitys), ("torchmetrics", torchmetricss)):
        function(a[:, :64], b[:, :64])  # imports and first calls are not what is compared
        start = time.perf_counter()
        value = function(a, b)
        rows[name] = {"fid": value, "seconds": time.perf_counter() - start}
    mine = rows["ours"]
    source = args.clip or f"drawn, seed {args.seed}"
    print(f"FID of {len(a)} against {len(b)} frames of 2048 features ({source}), {args.threads} thread(s), one run")
    print(f"{'':16}{'FID':>14}{'seconds':>10}{'x ours':>9}{'difference':>13}{'relative':>11}")
    for name, row in rows.items():
        row |= {"ratio": row["seconds"] / mine["seconds"], "difference": row["fid"] - mine["fid"],
                "relative": abs(row["fid"] - mine["fid"]) / abs(mine["fid"])}
        print(f"{name:16}{row['fid']:14.6f}{row['seconds']:10.4f}{row['ratio']:9.0f}{row['difference']:13.2e}"
              f"{row['relative']:11.1e}")
    passed = rows["torchmetrics"]["ratio"] >= FASTER and all(row["relative"] <= CLOSE for row in rows.values())
    print(f"at least {FASTER} x faster than torchmetrics', and within {CLOSE:g} of both (relative): "
          f"{'yes' if passed else 'NO'}")
    if args.json:
        write_json(args.json, {"few": len(a), "many": len(b), "source": str(source), "threads": args.threads,
                               "rows": rows, "passed": passed})
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
