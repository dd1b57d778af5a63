"""The harness beside three libraries on the same frames: equal values, and times as ratios within one run.

    python -m benchmarks.score [--clip footage/waves.mp4] [--few 8] [--many 24] [--threads 1] [--json FILE]

The clip's last frames stand for a film and those before for the reference, as PNG files of 128 pixels. Each library
reads them, runs the same Inception weights (weights/inception-2015-12-05.pt, in the form each loads) and gives its FID,
KID by subsets, precision and recall, as far as it has them; pytorch-fid resizes in its own way, so it is also given the
features that the others compute. LPIPS is compared with the `lpips` package's. Not every equal value is a check of
ours: where both sides call the same function, that is printed. Exits 1 unless every library ran and every value is
within its bound of ours: 1e-3, relative, but for torchmetrics' KID, of other subsets, and pytorch-fid's own resize.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.options import parsed
from lnm.errors import UserError
from lnm.files import write_json
from lnm.project import root

if TYPE_CHECKING:
    import numpy as np  # for good only once the number of threads is set: it reads it on import

CLOSE, SUBSETS, SIZE = 1e-3, 20, 128
# Bounds, relative, of what cannot be equal: other random subsets, and a resize that reads between other pixels than
# TensorFlow's (5.5% off at 4 frames of 128 pixels against 8).
OTHERWISE = {("torchmetrics", "kid"): 0.1, ("pytorch-fid", "fid, its own resize"): 0.1}
SHARED = {  # (library, value) -> what it shares with ours; what is not named here is computed by code of its own
    ("torch-fidelity", "fid"): "the network and the resize are torch-fidelity's on both sides; the formula is ours",
    ("torch-fidelity", "kid"): "network, resize and function are torch-fidelity's on both sides: no check of a formula",
    ("torch-fidelity", "precision"): "network, resize and function are torch-fidelity's on both sides",
    ("torch-fidelity", "recall"): "network, resize and function are torch-fidelity's on both sides",
    ("torchmetrics", "fid"): "the network and the resize are torch-fidelity's on both sides; the formulas are two",
    ("torchmetrics", "kid"): "the network and the resize are torch-fidelity's on both sides; the formulas are two",
    ("pytorch-fid", "fid"): "of the features that ours computes; the formulas are two",
}
Values = dict[str, float]


def weights_of(folder: Path) -> Path:
    """The Inception weights as torch-fidelity, torchmetrics and pytorch-fid load them."""
    import torch

    from eval.features.inception import INCEPTION_FILE, inception_state

    state = inception_state(root() / "weights" / INCEPTION_FILE)
    state["fc.weight"], state["fc.bias"] = torch.zeros(1008, 2048), torch.zeros(1008)
    torch.save(state, folder / "inception.pth")
    return folder / "inception.pth"


def ours(film: Path, reference: Path, weights: Path, subset: int) -> Values:
    from eval.features.cache import Features
    from eval.features.inception import INCEPTION_FILE, Inception
    from eval.metrics.coverage import kid_subsets, precision_recall
    from eval.metrics.frechet import fid_from_features
    from lnm.video import read_frames

    with tempfile.TemporaryDirectory() as store:  # nothing is taken from an earlier run
        features = Features(Inception(root() / "weights" / INCEPTION_FILE), Path(store))
        a, b = (features(read_frames(folder)) for folder in (film, reference))
    precision, recall = precision_recall(a, b)
    kid, _ = kid_subsets(a, b, subset, SUBSETS, seed=2020)
    return {"fid": fid_from_features(a, b), "kid": kid, "precision": precision, "recall": recall}


def torch_fidelitys(film: Path, reference: Path, weights: Path, subset: int) -> Values:
    from torch_fidelity import calculate_metrics

    found = calculate_metrics(
        input1=str(film), input2=str(reference), cuda=False, fid=True, kid=True, prc=True, kid_subsets=SUBSETS,
        kid_subset_size=subset, rng_seed=2020, feature_layer_prc="2048", feature_extractor_weights_path=str(weights),
        feature_extractor="inception-v3-compat", batch_size=16, save_cpu_ram=True, verbose=False, cache=False)
    return {"fid": found["frechet_inception_distance"], "kid": found["kernel_inception_distance_mean"],
            "precision": found["precision"], "recall": found["recall"]}


def torchmetricss(film: Path, reference: Path, weights: Path, subset: int) -> Values:
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    from lnm.video import read_frames

    # antialias=False: resized as the original program did, not by torch with antialiasing, which its default has become
    fid = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(weights), antialias=False)
    kid = KernelInceptionDistance(feature=fid.inception, subsets=SUBSETS, subset_size=subset)
    for folder, real in ((reference, True), (film, False)):
        frames = torch.from_numpy(read_frames(folder)).permute(0, 3, 1, 2)
        fid.update(frames, real=real)
        kid.update(frames, real=real)
    torch.manual_seed(2020)  # other subsets than torch-fidelity's all the same: it draws by torch
    return {"fid": float(fid.compute()), "kid": float(kid.compute()[0])}


def pytorch_fids(film: Path, reference: Path, weights: Path, subset: int) -> Values:
    """Its own pipeline, and its formula on the features that the others compute."""
    import numpy as np
    import torch
    from pytorch_fid import fid_score, inception

    from eval.features.inception import INCEPTION_FILE, Inception
    from lnm.video import read_frames

    state = torch.load(weights, weights_only=True)
    inception.load_state_dict_from_url = lambda *args, **options: state  # else it downloads them
    model = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
    parts = [fid_score.compute_statistics_of_path(str(folder), model, 16, 2048, "cpu", num_workers=0)
             for folder in (film, reference)]
    network = Inception(root() / "weights" / INCEPTION_FILE)
    same = [network(read_frames(folder)).astype(np.float64) for folder in (film, reference)]
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in same]
    return {"fid, its own resize": float(fid_score.calculate_frechet_distance(*parts[0], *parts[1])),
            "fid": float(fid_score.calculate_frechet_distance(*moments[0], *moments[1]))}


def lpips_pair(film: np.ndarray) -> dict[str, Values]:
    """LPIPS of the film's first and last frame by ours and by the `lpips` package."""
    import lpips
    import torch
    from safetensors.torch import load_file

    from eval.features.lpips import ALEXNET_FILE, Lpips

    weights = root() / "weights"
    own, theirs = Lpips(weights), lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = load_file(weights / ALEXNET_FILE)
    theirs.load_state_dict({f"net.{name}": state["features." + name.split(".", 1)[1]]
                            for name in theirs.net.state_dict()}, strict=False)
    a, b = (torch.from_numpy(frame.transpose(2, 0, 1)[None].copy()).float() / 255 for frame in film[[0, -1]])
    with torch.no_grad():
        return {"ours": {"lpips": own(film[0], film[-1])}, "lpips": {"lpips": float(theirs(a, b, normalize=True))}}


def compare(clip: Path, few: int, many: int) -> dict[str, dict]:
    """library -> its values, "seconds" and "ratio" to ours; or {"refused": reason} where it does not run here."""
    from lnm import video

    frames = video.read(clip, size=SIZE).frames
    if len(frames) < few + many:
        raise UserError(f"{clip}: {len(frames)} frames, {few + many} are needed: give a longer clip")
    rows: dict[str, dict] = {}
    libraries: dict[str, Callable] = {"ours": ours, "torch-fidelity": torch_fidelitys, "torchmetrics": torchmetricss,
                                      "pytorch-fid": pytorch_fids}
    with tempfile.TemporaryDirectory() as folder:
        film, reference = Path(folder) / "film", Path(folder) / "reference"
        video.write_frames(film, frames[-few:])
        video.write_frames(reference, frames[-few - many:-few])
        weights = weights_of(Path(folder))
        for name, library in libraries.items():
            start = time.perf_counter()
            try:
                rows[name] = library(film, reference, weights, min(few, many) - 1)
            except (ImportError, TypeError, AttributeError) as error:  # not installed, or a library of its own moved on
                rows[name] = {"refused": f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"}
            rows[name]["seconds"] = time.perf_counter() - start
            print(f"{name}: done", file=sys.stderr)
    for row in rows.values():
        row["ratio"] = row["seconds"] / rows["ours"]["seconds"]
    for name, row in lpips_pair(frames[-few:]).items():
        rows.setdefault(name, {}).update(row)
    return rows


def judged(rows: dict[str, dict]) -> list[dict]:
    """A verdict a library and value: {"library", "value", "off" (relative to ours), "bound", "shares", "holds"}. A
    library that did not run is one that does not hold, and so is one of which nothing can be compared."""
    found = []
    for library, row in rows.items():
        values = {name: value for name, value in row.items() if name.split(",")[0] in rows["ours"]
                  and name not in ("seconds", "ratio")}
        if "refused" in row or not values:
            found.append({"library": library, "value": "-", "off": None, "bound": None,
                          "shares": row.get("refused", "no value that ours has"), "holds": False})
        for name, value in values.items() if library != "ours" else ():
            own = rows["ours"][name.split(",")[0]]
            off, bound = abs(value - own) / max(abs(own), CLOSE), OTHERWISE.get((library, name), CLOSE)
            found.append({"library": library, "value": name, "off": off, "bound": bound, "holds": off <= bound,
                          "shares": SHARED.get((library, name), "nothing but the weights: an independent program")})
    return found


def machine() -> str:
    """The machine in words, by which times can be read and nobody is told apart."""
    import platform

    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score", description=__doc__.split("\n\n")[0])
    parser.add_argument("--clip", type=Path, default=Path("footage/waves.mp4"))
    parser.add_argument("--few", type=int, default=8)
    parser.add_argument("--many", type=int, default=24)
    args = parsed(parser, argv)
    try:
        rows = compare(args.clip, args.few, args.many)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = list(dict.fromkeys(name for row in rows.values() for name in row if name not in ("seconds", "ratio")))
    print(f"{args.few} frames of {args.clip} against {args.many}, {SIZE} pixels, {args.threads} thread(s), one run")
    print(f"{'':15}" + "".join(f"{name:>20}" for name in names) + f"{'time x ours':>14}")
    for library, row in rows.items():
        cells = "".join(f"{row[name]:20.6f}" if isinstance(row.get(name), float) else f"{'-':>20}" for name in names)
        print(f"{library:15}{cells}{row.get('ratio', float('nan')):14.2f}"
              + (f"  {row['refused']}" if "refused" in row else ""))
    verdicts = judged(rows)
    for one in verdicts:
        off = "did not run" if one["off"] is None else f"off by {one['off']:.1e} of at most {one['bound']:g}"
        print(f"{one['library']:15}{one['value']:22}{off:32}{'' if one['holds'] else 'NO  '}{one['shares']}")
    passed = len(verdicts) > 0 and all(one["holds"] for one in verdicts)
    print(f"every library ran, every value is within its bound: {'yes' if passed else 'NO'}")
    if args.json:
        write_json(args.json, {"clip": args.clip.name, "few": args.few, "many": args.many, "threads": args.threads,
                               "machine": machine(), "rows": rows, "verdicts": verdicts, "passed": passed})
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
