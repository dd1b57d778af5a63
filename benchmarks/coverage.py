"""Do the intervals cover what they say? Nominal against measured, at the numbers that the harness works with.

    python -m benchmarks.coverage [--draws 2000] [--seed 0] [--json FILE]
    python -m benchmarks.coverage --table benchmarks/results/coverage.json

Each line draws data from a stated truth `draws` times (slow ones fewer, quick and rare ones more), makes the interval
or the test as the harness does, and counts. "was" names what stood there before. Every line of something that the
harness prints is `used`: one that falls short of its bound makes the exit code 1. The bound is 5 points below the
nominal value (a test: 1 above), but where data are known to break an assumption it is what the docs say beside it: 85%
for means of long tails, 82% for frames correlated at 0.95, and for Dunnett's comparison of unequal spreads 10% where
the one's is between the arms' and 30% where it is three times theirs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from eval.metrics.frechet import fid_from_features
from eval.statistics import blocks, catch, crossed, davidson, many_to_one, paired, permutation, small
from lnm.files import write_json


@dataclass
class Line:
    """One row: what was tried, on what, its nominal and measured value, how many draws gave an answer at all."""

    what: str
    data: str
    nominal: float
    measured: float
    given: float
    used: bool
    is_test: bool = False
    said: float | None = None  # the bound where the docs say another than the nominal value

    @property
    def bound(self) -> float:
        """The least (of a test: the most) that the measured value may be."""
        return self.said or self.nominal + (0.01 if self.is_test else -0.05)

    @property
    def holds(self) -> bool:
        return self.measured <= self.bound if self.is_test else self.measured >= self.bound


def rate(draws: int, rng: np.random.Generator, one: Callable) -> tuple[float, float]:
    """(share of the draws that give an answer in which the answer is true, share that give one). one(rng): a bool, or
    None where there is no interval."""
    answers = [answer for answer in (one(rng) for _ in range(draws)) if answer is not None]
    return float(np.mean(answers)) if answers else float("nan"), len(answers) / draws


def percentile(values: np.ndarray, rng: np.random.Generator, resamples: int = 400) -> tuple[float, float]:
    """What stood there before: the percentile bootstrap of a mean."""
    drawn = values[rng.integers(0, len(values), (resamples, len(values)))].mean(1)
    return tuple(np.quantile(drawn, (0.025, 0.975)))


def covers(interval: tuple[float | None, float | None], truth: float) -> bool | None:
    low, high = interval
    return None if low is None or high is None else bool(low <= truth <= high)


# --- films and videos -----------------------------------------------------------------------------------------------


LONG_TAILS = 0.85  # docs/report.md says "about 88% for long tails"; 3 points are left to chance


def means(draws: int, seed: int) -> list[Line]:
    """Means of a few films: normal data, and data with a long tail (exponential)."""
    lines = []
    for n in (2, 3, 4, 5, 6, 8):
        for name, draw in (("normal", lambda rng, n=n: rng.normal(0, 1, n)),
                           ("exponential", lambda rng, n=n: rng.exponential(1, n) - 1)):
            for what, used, interval in (("was: percentile bootstrap", False, percentile),
                                         ("Student's t", n >= small.FEWEST,
                                          lambda x, rng: small.student(x))):
                if n < small.FEWEST and name == "exponential":
                    continue
                found = rate(draws, np.random.default_rng([seed, n]),
                             lambda rng, draw=draw, interval=interval: covers(interval(draw(rng), rng), 0))
                said = " (not printed: points and range)" if n < small.FEWEST and "Student" in what else ""
                lines.append(Line(what + said, f"{n} films, {name}", 0.95, *found, used,
                                  said=LONG_TAILS if name == "exponential" else None))
    return lines


def clustered(draws: int, seed: int) -> list[Line]:
    """Films of few fine-tunes: half of the variance is the fine-tune's, so that films of one are alike."""
    def one(rng, fine_tunes, unit):
        films = np.repeat(rng.normal(0, 1, fine_tunes), 2) + rng.normal(0, 1, 2 * fine_tunes)
        named = [k // 2 for k in range(len(films))] if unit else None
        if unit or len(films) >= small.FEWEST:
            entry = small.summarise(list(films), "", named)
            return covers((entry["low"], entry["high"]), 0)
        return covers(small.student(films), 0)  # what n = 4 would say if films counted

    lines = []
    for fine_tunes in (2, 6):
        data = f"{2 * fine_tunes} films of {fine_tunes} fine-tunes"
        for what, unit in (("Student's t over films", False), ("Student's t over fine-tunes", True)):
            found = rate(draws, np.random.default_rng([seed, fine_tunes]),
                         lambda rng, k=fine_tunes, unit=unit: one(rng, k, unit))
            lines.append(Line(what, data, 0.95, *found, unit and found[1] > 0))
    return lines


def false_positives(draws: int, seed: int) -> list[Line]:
    """Paired differences where nothing differs: how often something is said to."""
    def star(rng, n):
        low, high = percentile(rng.normal(0, 1, n), rng)
        return not low <= 0 <= high

    def family(rng, n, tests, corrected):
        p = [permutation.sign_flip(rng.normal(0, 1, n)) for _ in range(tests)]
        return min(permutation.holm(p) if corrected else p) <= permutation.LEVEL

    lines = []
    for n in (2, 6):
        found = rate(draws, np.random.default_rng([seed, n]), lambda rng, n=n: star(rng, n))
        lines.append(Line("was: bootstrap interval misses 0", f"{n} pairs, one cell", 0.05, *found, False, True))
    for n, tests, corrected in ((6, 1, False), (10, 24, False), (10, 24, True)):
        found = rate(max(draws // 10, 50), np.random.default_rng([seed, n, tests]),
                     lambda rng, n=n, tests=tests, corrected=corrected: family(rng, n, tests, corrected))
        what = "sign-flip permutation" + (", Holm" if corrected else "")
        cells = "one cell" if tests == 1 else f"any of {tests} cells"
        lines.append(Line(what, f"{n} pairs, {cells}", 0.05, *found, corrected or tests == 1, True))
    return lines


def crossed_signs(draws: int, seed: int) -> list[Line]:
    """Pairs of every fine-tune with every still where nothing differs: a third of the variance is the fine-tune's, a
    third the still's, and the test is the larger p of flipping whole fine-tunes and whole stills."""
    fine_tunes = stills = 6  # the fewest with which it can be significant
    names = [f"fine-tune {i}, still {j}" for i in range(fine_tunes) for j in range(stills)]

    def one(rng):
        gain = sum(rng.normal(0, 1, shape) for shape in ((fine_tunes, 1), (1, stills), (fine_tunes, stills)))
        return paired.tested(list(gain.ravel()), names)["p"] <= permutation.LEVEL

    found = rate(draws, np.random.default_rng([seed, fine_tunes, stills]), one)
    return [Line("sign-flip permutation, crossed: the larger p", f"{fine_tunes} fine-tunes x {stills} stills", 0.05,
                 *found, True, True)]


# --- several arms against one ---------------------------------------------------------------------------------------


SPREADS = {  # standard deviations: of the one, of the first arm and of the last; and the bound where the docs say one
    "equal spreads": (1, 1, 1, None),
    "spreads 1 to 3, the one's between": (3 ** 0.5, 1, 3, 0.1),
    "the one's spread 3 times the arms'": (3, 1, 1, 0.3),
}


def critical(count: int) -> float:
    """The |t| from which on one of `count` arms, two seeds each as the one has, is said to differ: the half width of
    the harness's interval in standard errors.

    Of groups of one size it is the same for all data, and Dunnett's p takes seconds of a dozen of them: so it is asked
    for once.
    """
    found = many_to_one.against_control((-1, 1), [(k - 1, k + 1) for k in range(count)])[0]
    return (found["high"] - found["difference"]) / 2 ** 0.5  # the variance of every group here is 2


def any_differs(one: np.ndarray, others: np.ndarray, least: float) -> bool:
    """Whether any of `others` (k, 2) has |t| >= least beside `one` (2,), by the spread pooled over all of them."""
    spread = np.vstack([one[None], others]).var(axis=1, ddof=1).mean() ** 0.5
    return bool(np.abs(others.mean(1) - one.mean()).max() >= least * spread)  # sqrt(1/2 + 1/2) of it a difference


def arms(draws: int, seed: int, count: int = 13) -> list[Line]:
    """The ablations' arms, two seeds each, against the one that they stand beside, where none differs: how often any
    of them is said to, of one measure (`eval.records.ablations`)."""
    least, lines = critical(count), []
    for position, (name, (own, first, last, said)) in enumerate(SPREADS.items()):
        spreads = np.geomspace(first, last, count)[:, None]
        found = rate(10 * draws, np.random.default_rng([seed, count, position]), lambda rng, own=own, spreads=spreads:
                     any_differs(rng.normal(0, own, 2), rng.normal(0, 1, (count, 2)) * spreads, least))
        lines.append(Line(f"Dunnett, {name}", f"any of {count} arms, 2 seeds each", 0.05, *found, True, True, said))
    return lines


# --- frames of one film ---------------------------------------------------------------------------------------------


def autoregressive(rng: np.random.Generator, n: int, d: int, r: float) -> np.ndarray:
    """n consecutive features (n, d): AR(1) of correlation r, standard normal at each time."""
    x = rng.standard_normal((n, d))
    for i in range(1, n):
        x[i] = r * x[i - 1] + np.sqrt(1 - r * r) * x[i]
    return x


def frames(draws: int, seed: int) -> list[Line]:
    """FID of consecutive frames: the truth is the mean FID of films of as many frames, against one reference."""
    d, lines = 24, []
    scale = np.arange(1, d + 1) ** -0.6

    def single(statistic, parts):
        groups = np.array_split(np.arange(len(parts)), min(len(parts), 20))
        without = np.array([statistic(np.delete(parts, group, axis=0)) for group in groups])
        half = 1.96 * np.sqrt((len(groups) - 1) * without.var())
        return statistic(parts) - half, statistic(parts) + half

    for n, r in ((16, 0.0), (16, 0.5), (16, 0.9), (48, 0.5), (48, 0.8), (48, 0.95), (120, 0.8)):
        rng = np.random.default_rng([seed, n, int(100 * r)])
        reference = autoregressive(rng, 72, d, r) * scale
        films = [autoregressive(rng, n, d, r) * scale + 0.3 for _ in range(max(draws // 5, 250))]

        def fid(parts, reference=reference):
            return fid_from_features(parts, reference)

        truth = float(np.mean([fid(film) for film in films]))
        for what, used, interval in (("was: jackknife by single frames", False, single),
                                     ("jackknife by time", True, blocks.jackknife)):
            answers = [interval(fid, film) for film in films]
            given = [covers(answer, truth) for answer in answers if not isinstance(answer, str)]
            measured = float(np.mean(given)) if given else float("nan")
            share = len(given) / len(films)
            lines.append(Line(what, f"{n} frames, r = {r:g}", 0.95, measured, share, used and share > 0))
    return lines


def scalars(draws: int, seed: int) -> list[Line]:
    """The mean of a scalar series, such as motion by frame pair: whoever gets an interval, however few they are, is
    counted. "was": without a least length."""
    def one(rng, n, r, long):
        x = autoregressive(rng, n, 1, r)[:, 0]
        found = blocks.jackknife(np.mean, x, long=long)
        return None if isinstance(found, str) else covers(found, 0)

    lines = []
    for n, r in ((15, 0.3), (15, 0.5), (15, 0.7), (24, 0.8), (48, 0.8), (96, 0.9),
                 (240, 0.0), (240, 0.5), (240, 0.8), (240, 0.9), (240, 0.95)):
        for what, long in (("was: jackknife by time", 0), ("jackknife by time", blocks.LONG)):
            if long == 0 and n >= blocks.LONG:
                continue
            found = rate(draws, np.random.default_rng([seed, n, int(100 * r)]),
                         lambda rng, n=n, r=r, long=long: one(rng, n, r, long))
            lines.append(Line(what, f"{n} scalars, r = {r:g}", 0.95, *found, bool(long) and found[1] > 0,
                              said=0.82 if r > 0.9 else None))
    return lines


# --- votes ----------------------------------------------------------------------------------------------------------


def votes(draws: int, seed: int) -> list[Line]:
    """Shares of votes of observers who differ, about videos that differ (a normal liking of each, in log odds)."""
    def one(rng, observers, videos, naive, fixed):
        liking = 0.6 + rng.normal(0, 0.8, (observers, 1)) + (fixed if videos < small.FEWEST else
                                                             rng.normal(0, 0.8, (1, videos)))
        wins = rng.random((observers, videos)) < 1 / (1 + np.exp(-liking))
        o, v = np.indices(wins.shape)
        truth = shares[videos < small.FEWEST]
        if naive:
            from statsmodels.stats.proportion import proportion_confint

            return covers(proportion_confint(wins.sum(), wins.size, method="wilson"), truth)
        entry = crossed.share(wins.ravel(), o.ravel(), v.ravel())
        return covers((entry["low"], entry["high"]), truth)

    lines = []
    for observers, videos in ((6, 3), (20, 3), (20, 4), (20, 6), (12, 10), (40, 10)):
        fixed = np.random.default_rng([seed, videos]).normal(0, 0.8, (1, videos))
        many = np.random.default_rng(seed).normal(0, 1, 400_000)
        shares = {True: float(np.mean(1 / (1 + np.exp(-(0.6 + 0.8 * many[:, None] + fixed))))),
                  False: float(np.mean(1 / (1 + np.exp(-(0.6 + 0.8 * np.sqrt(2) * many)))))}
        over = crossed.units(observers, videos)
        for what, naive in (("was: Wilson over votes", True), (f"clustered share, over {over}", False)):
            found = rate(draws // 4, np.random.default_rng([seed, observers, videos]),
                         lambda rng, o=observers, v=videos, naive=naive, fixed=fixed: one(rng, o, v, naive, fixed))
            lines.append(Line(what, f"{observers} observers, {videos} videos", 0.95, *found, not naive))
    return lines


def ranked(draws: int, seed: int) -> list[Line]:
    """Davidson's strengths of 3 methods: the interval of the best one's."""
    truth, nu = np.array([0.7, 0.0, -0.7]), 0.5

    def one(rng, observers, videos, spread):
        wins, ties = (np.zeros((observers, videos, 3, 3)) for _ in range(2))
        u = truth + rng.normal(0, spread, (observers, 1, 3)) + (
            rng.normal(0, spread, (1, videos, 3)) if videos >= small.FEWEST else 0)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            a, b = np.exp(u[..., i]), np.exp(u[..., j])
            tie = nu * np.sqrt(a * b)
            x = rng.random((observers, videos)) * (a + b + tie)
            wins[..., i, j], wins[..., j, i] = x < a, (x >= a) & (x < a + b)
            ties[..., i, j] = ties[..., j, i] = x >= a + b
        entry = davidson.strengths(wins, ties, 1000, int(rng.integers(2**31)))
        if entry.get("low") is None:
            return None
        low, high = (-np.inf if entry["low"][0] is None else entry["low"][0],
                     np.inf if entry["high"][0] is None else entry["high"][0])
        return covers((low, high), truth[0])

    lines = []
    for observers, videos in ((12, 3), (12, 4), (20, 6)):
        found = rate(max(draws // 20, 50), np.random.default_rng([seed, observers, videos]),
                     lambda rng, o=observers, v=videos: one(rng, o, v, 0.3))
        lines.append(Line(f"Davidson strengths, over {crossed.units(observers, videos)}",
                          f"{observers} observers, {videos} videos", 0.95, *found, True))
    return lines


def lucky(draws: int, seed: int) -> list[Line]:
    """A random clicker and the catch trials."""
    lines = []
    for may_fail in (0, 1):
        needed = catch.trials_needed(may_fail)
        for trials in (2, needed) if not may_fail else (needed,):
            found = rate(max(draws, 20_000), np.random.default_rng([seed, trials]),
                         lambda rng, n=trials, may_fail=may_fail: rng.integers(0, 2, n).sum() <= may_fail)
            lines.append(Line(f"{'was: ' if trials == 2 else ''}{trials} catch trials, {may_fail} may fail",
                              "a random clicker passes", catch.LUCK, *found, trials != 2, True))
    return lines


def markdown(lines: list[dict]) -> str:
    """The table of docs/report.md, of the lines of a --json file: what the harness prints, and the bootstrap beside."""
    rows = [["what", "of", "says", "simulated", "where it is given"], ["---"] * 5]
    rows += [[line["what"], line["data"], f"{line['nominal']:.0%}", f"{line['measured']:.0%}", f"{line['given']:.0%}"]
             for line in lines if line["given"] and (line["used"] or "bootstrap" in line["what"]
                                                     and line["data"].endswith("normal"))]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.split("\n\n")[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for what is printed")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the docs' table of such a file, and end")
    args = parser.parse_args(argv)
    if args.table:
        print(markdown(json.loads(args.table.read_text(encoding="utf-8"))["lines"]))
        return 0
    lines: list[Line] = []
    print(f"{'what':48}{'on':32}{'nominal':>8}{'bound':>7}{'measured':>9}{'given':>7}")
    for part in (means, clustered, false_positives, crossed_signs, arms, frames, scalars, votes, ranked, lucky):
        for line in part(args.draws, args.seed):
            lines.append(line)
            wrong = "" if line.holds or not line.used else "  short" if not line.is_test else "  too many"
            print(f"{line.what:48}{line.data:32}{line.nominal:8.0%}{line.bound:7.0%}{line.measured:9.1%}{line.given:7.0%}{wrong}",
                  flush=True)
    held = all(line.holds for line in lines if line.used)
    print("all that the harness prints keeps its bound: " + ("yes" if held else "NO"))
    if args.json:
        rows = [asdict(line) | {"bound": line.bound, "holds": line.holds if line.given else None,
                                "measured": line.measured if line.given else None} for line in lines]
        write_json(args.json, {"draws": args.draws, "seed": args.seed, "lines": rows, "passed": held})
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
