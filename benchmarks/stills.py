"""How a still lies beside a clip, by several measures: which of them tell a pair that works from one that does not?

    python -m benchmarks.stills [--json FILE] [--matrix]
    python -m benchmarks.stills --report FILE

Two questions, each answered without the clip that it is asked of: thresholds, and the weights of combinations, are
chosen on the pairs of all other clips.

- own or foreign: the first and the last held-out frame of every clip of data/ and footage/ at 128 pixels (`lnm footage
  NAME` fetches the latter), beside that clip and beside every other. --matrix prints their `lnm.preflight`
  colours.
- works or does not, among foreign ones: the pairs of benchmarks/results/matrix.json, by how many of five bounds the
  film kept. Clips are cut as params.yaml says, stills are those of `benchmarks.matrix`; nothing is filmed. A pair
  whose colours are not as that file has them ends the run: then the two are not of the same pictures.

Nothing here trains a model, and all of it takes a minute.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import matrix
from benchmarks.bars import within
from eval.records.markdown import grid
from lnm import likeness, preflight, video
from lnm.demo.footage import CATALOGUE
from lnm.errors import UserError
from lnm.project import root
from lnm.workflow.resolve import settings

HOLDOUT = 0.25
KEPT = 4  # of five bounds, from which on a film is said to work: half of the foreign ones
NO_HORIZON = 0.5  # what counts as the difference where one of the two has a horizon and the other has none
FILMS = Path("benchmarks/results/matrix.json")


@dataclass
class Pair:
    """A still beside a clip. frames: uint8 (F, H, W, 3); still: uint8 (H, W, 3); bad: what a measure is to tell;
    motion: the film's, as a multiple of the clip's, where there is a film."""

    clip: str
    frames: np.ndarray
    still: np.ndarray
    bad: bool
    motion: float | None = None


# ---------------------------------------------------------------- pairs


def clips() -> dict[str, np.ndarray]:
    """{name: uint8 (F, 128, 128, 3)} of all clips that are there."""
    wanted = {f"data/{name}.mp4": (name, 8.0, None) for name in ("ocean", "clouds")}
    wanted |= {f"footage/{name}.mp4": (name, 12.5, clip.crop) for name, clip in CATALOGUE.items()}
    return {name: video.read(root() / path, fps, 128, crop).frames
            for path, (name, fps, crop) in wanted.items() if (root() / path).is_file()}


def parted(frames: np.ndarray, holdout: float = HOLDOUT) -> tuple[np.ndarray, np.ndarray]:
    """What is trained on, and what is held out."""
    held = max(2, math.ceil(len(frames) * holdout))
    return frames[:-held], frames[-held:]


def own_and_foreign(found: dict[str, np.ndarray]) -> list[Pair]:
    """Every clip with its own and every other's first, then with every last, held-out frame; bad: foreign."""
    both = {name: parted(frames) for name, frames in found.items()}
    return [Pair(name, train, held[which], other != name)
            for which in (0, -1) for name, (train, _) in both.items() for other, (_, held) in both.items()]


def filmed(cells: Sequence[dict], footage: Path) -> list[Pair]:
    """The pairs of matrix.json whose still is not the clip's own; bad: fewer than KEPT bounds were kept. Raises
    UserError where a clip or a still is not the one that was filmed."""
    train, pictures = {}, {}
    for name in dict.fromkeys(cell["clip"] for cell in cells):
        cut = settings("prepare", name).arguments()
        film = video.read(*(cut[key] for key in ("path", "fps", "size", "crop", "start", "end", "max_frames")))
        train[name], held = parted(film.frames, cut["holdout"])
        pictures[name] = held[0]
    size = next(iter(pictures.values())).shape[1::-1]
    pictures |= {still.name: still.picture for still in matrix.others(list(train), size, footage)}
    pairs = []
    for cell in cells:
        if cell["still"] not in pictures:
            raise UserError(f"{cell['still']}: no such clip in footage/; `lnm footage {cell['still']}` fetches it")
        pair = Pair(cell["clip"], train[cell["clip"]], pictures[cell["still"]],
                    len(matrix.FIGURES) - len(matrix.broken(cell)) < KEPT, cell["motion"])
        if abs(preflight.still_distance(pair.frames, pair.still) - cell["distance"]) > 0.1:
            raise UserError(f"{FILMS}: {cell['clip']} with {cell['still']} was filmed of other pictures than "
                            "params.yaml and footage/ give now; run `python -m benchmarks.matrix --json` anew")
        if cell["still"] != cell["clip"]:
            pairs.append(pair)
    return pairs


# ---------------------------------------------------------------- measures


def strengths(frames: np.ndarray, still: np.ndarray) -> float:
    """Where edges are strong: the mean difference of log(1 + slope) over a grid of 4 x 4, to the nearest frame."""
    import cv2

    def layout(picture: np.ndarray) -> np.ndarray:
        return np.log1p(cv2.resize(preflight.gradients(preflight.lightness(picture))[0], (4, 4),
                                   interpolation=cv2.INTER_AREA))

    return float(min(np.abs(layout(frame) - layout(still)).mean() for frame in preflight.spread(frames, 8)))


def corners(frames: np.ndarray, still: np.ndarray) -> float:
    """1 less the share of ORB corners (Rublee et al. 2011) that match one of the nearest frame by one common shift,
    within 4 of 128 pixels."""
    import cv2

    orb = cv2.ORB_create(300, edgeThreshold=8, patchSize=15, fastThreshold=5)

    def found(picture: np.ndarray) -> tuple:
        grey = cv2.cvtColor(cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        return orb.detectAndCompute(grey, None)

    points, words = found(still)

    def shared(frame: np.ndarray) -> float:
        there, other = found(frame)
        if words is None or other is None:
            return 0.0
        matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(words, other)
        shifts = np.array([np.subtract(there[m.trainIdx].pt, points[m.queryIdx].pt) for m in matches]).reshape(-1, 2)
        agree = (np.linalg.norm(shifts[:, None] - shifts, axis=-1) < 4).sum(1).max(initial=0)
        return float(agree) / max(min(len(points), len(there)), 20)

    return 1 - max(map(shared, preflight.spread(frames, 8)))


def measured(pair: Pair) -> dict[str, float]:
    """Every measure of a pair, more where the two are less alike; what a plain picture lacks counts as alike."""
    found = preflight.alignment(pair.frames, pair.still)
    alone = (found["still_horizon"] is None) != (found["clip_horizon"] is None)
    return {"colours": found["colour"], "layout of edges": found["layout"] or 0.0,
            "strength of edges": abs(math.log(found["edges"] or 1.0)),
            "horizon": NO_HORIZON if alone else found["horizon"] or 0.0,
            "strength of edges, by place": strengths(pair.frames, pair.still),
            "matched corners": corners(pair.frames, pair.still)}


def edges(pair: Pair) -> float:
    """How many times as strong the still's edges are."""
    return preflight.alignment(pair.frames, pair.still)["edges"] or 1.0


TOGETHER = (("colours", "layout of edges"), ("colours", "strength of edges"), ("colours", "horizon"),
            ("colours", "layout of edges", "horizon"), ("colours", "layout of edges", "strength of edges", "horizon"))


def summed(values: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Weights (K,) of standardised measures (N, K): the same for all."""
    return np.ones(values.shape[1])


def fisher(values: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Weights (K,) of standardised measures (N, K): Fisher's discriminant, its covariance with 0.1 of the identity."""
    spread = np.atleast_2d(np.cov(values.T)) + 0.1 * np.eye(values.shape[1])
    return np.linalg.solve(spread, values[bad].mean(0) - values[~bad].mean(0))


# ---------------------------------------------------------------- what they tell


def told(values: np.ndarray, bad: np.ndarray, of: np.ndarray, weights: Callable = summed) -> dict[str, float]:
    """How well measures (N, K) tell bad pairs (N,) from good ones; of: (N,), each pair's clip.

    "auc": of a bad and a good pair, how often the bad one's measure is greater, `matrix.separation`; for several, of
    their weighted sum, standardised and weighted by the pairs of other clips. "within": the same among the pairs of a
    clip, the mean over clips that have both. "right": the mean share of bad and good pairs that a threshold chosen on
    the other clips' pairs puts where they belong.
    """
    score, warned = np.zeros(len(bad)), np.zeros(len(bad), bool)
    for clip in sorted(set(of)):
        here, there = of == clip, of != clip
        if not bad[there].any() or bad[there].all():
            raise UserError(f"{clip}: the pairs of the other clips are all of one kind; more clips are needed")
        middle, deviation = values[there].mean(0), values[there].std(0) + 1e-9
        scaled = (values - middle) / deviation
        score[here] = (scaled @ weights(scaled[there], bad[there]))[here]
        limit, _ = matrix.threshold(list(scaled[there] @ weights(scaled[there], bad[there])), bad[there].tolist())
        warned[here] = score[here] > limit
    plain = values[:, 0] if values.shape[1] == 1 else score
    inner = [area for clip in sorted(set(of)) if (area := _area(plain[of == clip], bad[of == clip])) is not None]
    return {"auc": round(_area(plain, bad) or 0.0, 3), "within": round(float(np.mean(inner)), 3),
            "right": round(matrix.balanced(warned.tolist(), bad.tolist()), 3)}


def _area(values: np.ndarray, bad: np.ndarray) -> float | None:
    return matrix.separation(values.tolist(), bad.tolist())


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's, for values without ties."""
    return float(np.corrcoef(*(np.argsort(np.argsort(values)) for values in (one, other)))[0, 1])


def table(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """{measure or combination: what `told` says} of pairs."""
    each = [measured(pair) for pair in pairs]
    bad, of = np.array([pair.bad for pair in pairs]), np.array([pair.clip for pair in pairs])

    def values(names: Sequence[str]) -> np.ndarray:
        return np.array([[one[name] for name in names] for one in each])

    found = {name: told(values([name]), bad, of) for name in each[0]}
    for names in TOGETHER:
        for word, how in (("summed", summed), ("weighted", fisher)):
            found[f"{' + '.join(names)}, {word}"] = told(values(names), bad, of, how)
    return found


def motion(films: Sequence[Pair]) -> dict[str, float]:
    """What the strength of edges says of a film's motion: the rank correlation of the two; the area under the curve for
    a motion out of its bounds, and that of colours; how many stills lie beyond `preflight.EDGES`, and the motion of how
    many of them, and of the others, is out; how many times as strong, or as weak, edges are at the median, before and
    after `likeness.match_colours`."""
    ratio, moved = [edges(pair) for pair in films], [pair.motion for pair in films]
    out = np.array([not within("motion", value) for value in moved])
    away, far = np.abs(np.log(ratio)), np.abs(np.log(ratio)) > math.log(preflight.EDGES)
    after = [edges(Pair(pair.clip, pair.frames, likeness.match_colours(pair.still, pair.frames), pair.bad))
             for pair in films]
    return {"rank correlation": round(rank_correlation(ratio, moved), 3), "auc": round(_area(away, out) or 0.0, 3),
            "auc of colours": round(_area(np.array([preflight.still_distance(p.frames, p.still) for p in films]), out)
                                    or 0.0, 3),
            "right": told(away[:, None], out, np.array([pair.clip for pair in films]))["right"],
            "far": int(far.sum()), "far and out": int((far & out).sum()), "near and out": int((~far & out).sum()),
            "before": round(float(np.exp(np.median(away))), 2),
            "after": round(float(np.exp(np.median(np.abs(np.log(after))))), 2)}


def tried(held: Sequence[Pair], films: Sequence[Pair]) -> dict:
    """All of it, for a --json file."""
    colours = [preflight.still_distance(pair.frames, pair.still) for pair in held]
    own, foreign = ([c for c, pair in zip(colours, held, strict=True) if pair.bad is kind] for kind in (False, True))
    return {"version": 1, "own": len(own), "own_at_most": max(own), "foreign": len(foreign),
            "foreign_at_least": min(foreign), "films": len(films), "bad": sum(pair.bad for pair in films),
            "held": table(held), "filmed": table(films), "motion": motion(films)}


def report(kept: dict) -> str:
    """What docs/own-video.md says of a --json file."""
    lines = ["| measure | own or foreign | right | works or not | within a clip | right |", f"|{' --- |' * 6}"]
    for name, own in kept["held"].items():
        film = kept["filmed"][name]
        lines.append(f"| {name} | {100 * own['auc']:.0f} | {100 * own['right']:.0f} % | {100 * film['auc']:.0f} | "
                     f"{100 * film['within']:.0f} | {100 * film['right']:.0f} % |")
    moves = kept["motion"]
    return "\n".join([*lines, "", (
        f"- The colours of {kept['own']} own pairs differ by {kept['own_at_most']:.2f} or less, those of "
        f"{kept['foreign']} foreign ones by {kept['foreign_at_least']:.2f} or more; the warning comes from "
        f"{preflight.STILL:g} on."), (
        f"- Of {kept['films']} films of foreign stills {kept['films'] - kept['bad']} work: they keep {KEPT} of five "
        "bounds or more."), (
        f"- How many times as strong a still's edges are as the clip's tells the motion of its film: their ranks "
        f"correlate by {moves['rank correlation']:.2f}, and of a film whose motion is out of its bounds and one whose "
        f"is within, the former's lies further from 1 in {100 * moves['auc']:.0f} of 100 draws; its colours do in "
        f"{100 * moves['auc of colours']:.0f}. A threshold chosen on the other clips is right on "
        f"{100 * moves['right']:.0f} %."), (
        f"- Beyond {preflight.EDGES:g} times, either way, lie {moves['far']}; the motion of {moves['far and out']} is "
        f"out of its bounds, and that of {moves['near and out']} of the other {kept['films'] - moves['far']}. "
        f"`match_colours` brings the median from {moves['before']:.2f} times to {moves['after']:.2f}.")])


def distances(found: dict[str, np.ndarray]) -> str:
    """The colours of every clip with every still, as two tables."""
    pairs, count, text = own_and_foreign(found), len(found), []
    for k, which in enumerate(("first", "last")):
        rows = [[name, *(f"{preflight.still_distance(pair.frames, pair.still):.1f}"
                         for pair in pairs[(k * count + line) * count:][:count])] for line, name in enumerate(found)]
        text.append(grid([f"clip, and the {which} held-out frame of", *found], rows))
    return "\n\n".join(text)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stills", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="a file for the figures")
    parser.add_argument("--matrix", action="store_true", help="the colours of every clip with every still as well")
    parser.add_argument("--report", type=Path, metavar="FILE", help="print what such a --json file says, and end")
    args = parser.parse_args(argv)
    if args.report:
        print(report(json.loads(args.report.read_text(encoding="utf-8"))))
        return
    found = clips()
    if args.matrix:
        print(distances(found), end="\n\n")
    cells = json.loads((root() / FILMS).read_text(encoding="utf-8"))["cells"]
    try:
        kept = tried(own_and_foreign(found), filmed(cells, root() / "footage"))
    except UserError as error:
        parser.error(str(error))
    print(report(kept))
    if args.json:
        matrix.write_rows(args.json, kept)


if __name__ == "__main__":
    main()
