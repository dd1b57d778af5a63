"""The human study of the paper's section 5.3: the page that asks, the votes it collects, and what they say.

    lnm study build                  one HTML page with the films inside it: results/human_study/study.html
    lnm study aggregate [CSV ...]    shares, intervals and tests; without a CSV: inputs/human_study/*.csv
    lnm study simulate               votes from a stated model, marked SIMULATED in every row

A vote is a row of COLUMNS. `condition_A` was shown on the left (above, on a narrow screen) and `condition_B` on the
right; `choice` is A, B or tie; `side_seed` is the session's seed, from which sides and order follow; `rt_ms` counts
from the moment both films play; `is_catch` is 1 where one film was broken on purpose (a condition whose name starts
with "catch"). The other form that is read is wide: a row an observer, a column `observer`, and for each pair a column
`scene|question|method vs method` whose cells hold the chosen method's name, A, B, tie, or nothing.

The paper's own votes were never published; none is invented here.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from lnm.errors import UserError
from lnm.files import sha256, write_json
from lnm.workflow.params import root

QUESTIONS = {  # the paper's two; section 5.3
    "preference": "Which film do you prefer?",
    "realism": "Which film looks more like a real video?",
}
COLUMNS = ("observer", "session", "scene", "question", "condition_A", "condition_B", "choice", "side_seed", "rt_ms",
           "is_catch")
CHOICES = ("A", "B", "tie")
CATCH, MARK = "catch", "SIMULATED"
NO_RESPONSES = "no responses yet"
PUBLISHED_AS = {"ours": "LateNtMovies (ours)", "cogvideo": "CogVideo"}  # our name -> the paper's row
POWER_SHARES = (0.6, 0.7, 0.74, 0.76, 0.78, 0.79)  # the last four are the paper's own
PAIR = re.compile(r"(?P<scene>[^|]+)\|(?P<question>[^|]+)\|(?P<a>.+?) vs (?P<b>.+)")


# --- the page -------------------------------------------------------------------------------------------------------


def collect(results: Path, videos: list[str], methods: list[str] | None = None, films: int = 1,
            fps: float | None = None) -> dict[str, dict[str, bytes]]:
    """The films to compare: {scene: {method: bytes of an H.264 mp4}}, in the order of `methods` where given.

    A scene is a video's name, or with `films` > 1 `<video>/seed_<k>`. Films of the run are taken as they are; those
    under inputs/baselines are brought to the run's fps and number of frames and to their own centre square. `heldout`,
    the real continuation, is a method if it is named. fps: for videos that have no films in `results`.
    """
    scenes: dict[str, dict[str, bytes]] = {}
    for video in videos:
        found = _films_of(results, video, fps, bool(methods) and "heldout" in methods)
        for method in found:
            _check_name(method, "method")
        chosen = [name for name in methods or found if name in found]
        for k in range(films):
            scene = video if films == 1 else f"{video}/seed_{k}"
            scenes[scene] = {name: found[name][k] for name in chosen if k < len(found[name])}
    known = {method for films_of in scenes.values() for method in films_of}
    missing = [name for name in methods or () if name not in known]
    if missing:
        raise UserError(f"{missing[0]}: no films of this method for {', '.join(videos)}; there are films of "
                        f"{', '.join(sorted(known)) or 'none of those named'}")
    return scenes


def _films_of(results: Path, video: str, fps: float | None, real: bool) -> dict[str, list[bytes]]:
    """Every method's films of one video, in the order of their seeds."""
    from eval.evaluate import read_baseline
    from lnm.video import read_frames

    sample, found, length = results / video / "sample", {}, None
    if (sample / "films.json").is_file():
        note = json.loads((sample / "films.json").read_text(encoding="utf-8"))
        fps, length = note["fps"], note["num_frames"]
        for method in note["methods"]:
            folders = sorted((sample / method).glob("seed_*"), key=lambda path: int(path.name[5:]))
            found[method] = [(folder / "film.mp4").read_bytes() for folder in folders]
    if real and found:
        found["heldout"] = [_mp4(read_frames(results / video / "prepare" / "heldout")[:length], fps)]
    for path in sorted((root() / "inputs" / "baselines").glob("[!.]*/*")):
        if path.name.split(".")[0] != video:
            continue
        method = path.parent.name
        if method in found:
            raise UserError(f"{path}: the name {method} is taken by this run; rename the folder")
        if fps is None:
            raise UserError(f"{path}: {video} has no films in {results}, so its frame rate is unknown; give --fps")
        found[method] = [_mp4(_square(frames[:length]), fps) for frames in read_baseline(path, fps, None)]
    if not found:
        raise UserError(f"{video}: no films in {sample} or inputs/baselines; `dvc repro sample@{video}` makes them")
    return found


def _square(frames: np.ndarray) -> np.ndarray:
    """The centre square, of even side as H.264 needs: (F, H, W, 3) -> (F, S, S, 3)."""
    height, width = frames.shape[1:3]
    side = min(height, width) // 2 * 2
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top:top + side, left:left + side]


def _mp4(frames: np.ndarray, fps: float, crf: int = 16) -> bytes:
    import tempfile

    from lnm.video import write_mp4

    with tempfile.TemporaryDirectory() as folder:
        return write_mp4(Path(folder) / "film.mp4", frames, fps, crf).read_bytes()


def broken(film: bytes, seed: int) -> bytes:
    """A film nobody would choose: under a grain so heavy that little is seen. The grain stands still: it must not
    flash at the observer."""
    import tempfile

    from lnm.video import read

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        path.write_bytes(film)
        clip = read(path)
    grain = np.random.default_rng(seed).normal(0, 120, clip.frames.shape[1:])
    return _mp4(np.clip(0.5 * clip.frames + 64 + grain, 0, 255).astype(np.uint8), clip.fps, crf=30)


def _check_name(name: str, what: str) -> None:
    if "|" in name or " vs " in name or name.lower().startswith((CATCH, MARK.lower())):
        raise UserError(f"{name}: a {what}'s name may not hold | or ' vs ', nor start with {CATCH} or {MARK}; "
                        "rename it")


def write_page(scenes: dict[str, dict[str, bytes]], out: Path, catch: int = 2, ties: bool = False, seed: int = 0,
               consent: str | None = None, title: str = "Which film is better?") -> dict:
    """Writes the study as one HTML file that needs no server and no network; returns what it holds, films apart.

    scenes: as from `collect`; every pair of a scene's methods is asked once a question. catch: how many trials show a
    film beside its broken version, over both questions. seed: of the catch trials; sides and order are drawn anew for
    each session, from the side_seed in its rows. consent: text instead of ours, blank lines between paragraphs.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    films: list[bytes] = []
    place: dict[tuple[str, str], int] = {}
    trials = []
    for scene, by_method in scenes.items():
        for method, film in by_method.items() if len(by_method) > 1 else ():
            place[scene, method] = len(films)
            films.append(film)
        trials += [{"scene": scene, "question": question, "conditions": pair, "is_catch": 0,
                    "films": [place[scene, method] for method in pair]}
                   for pair in combinations(by_method, 2) for question in QUESTIONS]
    if not trials:
        raise UserError(f"{', '.join(scenes)}: no video has films of two methods; sample both, or put the other's into "
                        "inputs/baselines/<method>/<video>/")
    rng = np.random.default_rng(seed)
    shown = sorted({(trial["scene"], method) for trial in trials for method in trial["conditions"]})
    for k in range(catch):
        scene, method = shown[rng.integers(len(shown))]
        trials.append({"scene": scene, "question": list(QUESTIONS)[k % len(QUESTIONS)], "is_catch": 1,
                       "conditions": (method, f"{CATCH}-{k + 1}"), "films": [place[scene, method], len(films)]})
        films.append(broken(films[place[scene, method]], seed + k))

    study = {"title": title, "questions": QUESTIONS, "ties": ties, "columns": COLUMNS, "mark": MARK, "trials": trials}
    whole = hashlib.sha256(json.dumps(study).encode())
    for film in films:
        whole.update(hashlib.sha256(film).digest())
    study["id"] = whole.hexdigest()[:12]
    folder = Path(__file__).parent
    template, style, script = ((folder / name).read_text(encoding="utf-8") for name in (
        "study_page/page.html", "study_page/page.css", "study_page/page.js"))
    page = Environment(autoescape=True, trim_blocks=True).from_string(template).render(
        title=title, ties=ties, count=len(trials), minutes=max(1, round(len(trials) * 10 / 60)),
        consent=[part for part in re.split(r"\n\s*\n", (consent or "").strip()) if part],
        style=Markup(style), script=Markup(script), style_hash=_csp_hash(style), script_hash=_csp_hash(script),
        study=study | {"films": ["data:video/mp4;base64," + base64.b64encode(film).decode() for film in films]},
    )
    _write(out, page)
    return study


def _csp_hash(text: str) -> str:
    """What a content security policy calls an inline style or script by: nothing else runs on the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    os.replace(part, path)


# --- reading votes --------------------------------------------------------------------------------------------------


def read_votes(paths: list[Path], methods: list[str] | None = None):
    """Every vote in some CSV files, and everything that is none: (votes, problems, notes).

    votes: a DataFrame of COLUMNS (side_seed dropped, rt_ms a number or NaN, is_catch a bool) and file, line, wide (no
    side is known). problems: a DataFrame of file, line, reason: rows that are malformed or stand twice, which are not
    among the votes. notes: what else was not used, a line each. Raises UserError for a file that cannot be read as a
    whole, and for a session that contradicts itself.
    """
    import pandas as pd

    tables, problems, notes = [], [], []
    for path in paths:
        table, malformed, said = _read_file(path)
        tables.append(table)
        problems += malformed
        notes += said
    votes = pd.concat(tables, ignore_index=True)
    reason = _reasons(votes, methods)
    bad = votes[reason != ""]
    problems += zip(bad["file"], bad["line"], reason[reason != ""], strict=True)
    votes = votes[reason == ""].reset_index(drop=True)
    votes["rt_ms"] = pd.to_numeric(votes["rt_ms"], errors="coerce")  # empty: not measured
    votes["is_catch"] = votes["is_catch"].str.lower().isin(("1", "true"))
    for name in ("file", "observer", "session", "scene", "question", "condition_A", "condition_B", "choice"):
        votes[name] = votes[name].astype("category")
    votes, twice = _once(votes.drop(columns="side_seed"))
    return votes, pd.DataFrame(problems + twice, columns=["file", "line", "reason"]), notes


def _read_file(path: Path):
    """One CSV, long or wide, as text: a DataFrame of COLUMNS, file, line, wide; [(file, line, reason)] of rows whose
    number of fields is wrong; notes."""
    import pandas as pd

    name = _shown(path)
    rows = _rows(path, name)
    line, header = next(rows)
    header = [text.strip() for text in header]
    pairs = {i: match for i, text in enumerate(header) if (match := PAIR.fullmatch(text))}
    needed = ("observer",) if pairs else COLUMNS
    missing = [column for column in needed if column not in header]
    if missing:
        form = "the page's" if len(missing) < len(COLUMNS) / 2 else "the page's or a wide (scene|question|A vs B)"
        raise UserError(f"{name}: no column {', '.join(missing)}; the header must be {form} one: "
                        f"{', '.join(needed)}" + (" and pairs" if pairs else ""))
    repeated = {column for column in header if column and header.count(column) > 1}
    if repeated:
        raise UserError(f"{name}: the column {min(repeated)} stands twice; remove one")
    places = [header.index(column) for column in needed]
    columns: list[list] = [[] for _ in COLUMNS]
    lines, problems, notes, memo, blank = [], [], [], {}, 0
    for line, row in rows:
        if len(row) != len(header):
            problems.append((name, line, f"{len(row)} fields, the header has {len(header)}"))
            continue
        if not pairs:
            lines.append(line)
            for column, place in zip(columns, places, strict=True):  # one object a distinct text: a million rows fit
                text = row[place]
                column.append(memo[text] if text in memo else memo.setdefault(text, text.strip()))
            continue
        observer = row[places[0]].strip()
        for i, pair in pairs.items():
            cell, (scene, question, a, b) = row[i].strip(), (text.strip() for text in pair.groups())
            if not cell:
                blank += 1
            else:
                choice = {a.lower(): "A", b.lower(): "B", "a": "A", "b": "B", "tie": "tie"}.get(cell.lower(), cell)
                catch = str(int(any(text.lower().startswith(CATCH) for text in (a, b))))
                lines.append(line)
                for column, text in zip(columns, (observer, observer, scene, question, a, b, choice, "", "", catch),
                                        strict=True):
                    column.append(text)
    table = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), dtype=str)
    table["file"], table["line"], table["wide"] = name, np.array(lines, dtype=np.int64), bool(pairs)
    ignored = [text for i, text in enumerate(header) if text not in needed and i not in pairs]
    if ignored:
        notes.append(f"{name}: columns not read: {', '.join(text or '(unnamed)' for text in ignored)}")
    if blank:
        notes.append(f"{name}: {blank} cells are blank: not answered")
    if not len(table) and not problems:
        notes.append(f"{name}: no answers below the header")
    return table, problems, notes


def _rows(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """(line it starts on, fields) of each row that is not blank; the first is the header."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}; give a CSV file") from None
    try:
        text = data.decode("utf-8-sig")  # with the mark that spreadsheets put first, or without
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        raise UserError(f"{name}: line {line}: not UTF-8 (byte 0x{byte:02x}); save it as CSV UTF-8") from None
    if not text.strip():
        raise UserError(f"{name}: empty; put the answers into it or take it away")
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{name}: line {line}: {error}; a quote that is opened there is not closed, or stands inside "
                        "a field") from None


def _shown(path: Path) -> str:
    """A path as the user knows it: from the project's root where it lies inside."""
    path = path.absolute()
    return path.relative_to(root()).as_posix() if path.is_relative_to(root()) else str(path)


def _reasons(votes, methods: list[str] | None):
    """Why each row is no vote, a Series of str; "" where it is one."""
    import pandas as pd

    a, b, question = votes["condition_A"], votes["condition_B"], votes["question"]
    catch_a, catch_b = (column.str.lower().str.startswith(CATCH) for column in (a, b))
    catch = votes["is_catch"].str.lower()
    rt = pd.to_numeric(votes["rt_ms"], errors="coerce")
    checks = [(votes[column] == "", f"{column} is empty", None)
              for column in ("observer", "session", "scene", "question", "condition_A", "condition_B", "choice")]
    checks += [
        (~question.isin(QUESTIONS), f"is none of {', '.join(QUESTIONS)}", "question"),
        (a == b, "is both films", "condition_A"),
        (~votes["choice"].isin(CHOICES), f"is none of {', '.join(CHOICES)}, nor a method of the pair", "choice"),
        (~catch.isin(("0", "1", "false", "true")), "is neither 0 nor 1", "is_catch"),
        (catch.isin(("1", "true")) != (catch_a ^ catch_b), f"does not fit: a catch trial, and no other, has one "
         f"condition named {CATCH}...", "is_catch"),
        ((votes["rt_ms"] != "") & ~rt.between(0, 1e12), "is no time in milliseconds", "rt_ms"),
        ((votes["side_seed"] != "") & ~votes["side_seed"].str.fullmatch(r"\d+"), "is no whole number", "side_seed"),
    ]
    if methods:
        checks += [(~column.isin(methods) & ~caught, f"is not among the methods {', '.join(methods)}", column.name)
                   for column, caught in ((a, catch_a), (b, catch_b))]
    reason = pd.Series("", index=votes.index, dtype=object)
    for wrong, text, column in checks:
        wrong = wrong & (reason == "")
        reason[wrong] = text if column is None else [f"{column} {value!r} {text}" for value in votes.loc[wrong, column]]
    return reason


def _once(votes):
    """Votes without those that stand twice (a file downloaded twice), and a problem for each of these. A session that
    answers the same question twice and differently is an error: which answer holds cannot be known."""
    a, b = votes["condition_A"].astype(str), votes["condition_B"].astype(str)
    keys = votes[["session", "scene", "question"]].assign(
        first=a.where(a < b, b), second=b.where(a < b, a)).astype("category")
    chosen = a.where(votes["choice"] == "A", b).where(votes["choice"] != "tie", "tie")
    group = keys.groupby(list(keys), observed=True, sort=False).ngroup().to_numpy()
    _, first = np.unique(group, return_index=True)
    original = first[group]  # a row's first appearance
    again = np.flatnonzero(original != np.arange(len(votes)))
    chosen, file, line, session = chosen.to_numpy(), votes["file"].to_numpy(), votes["line"].to_numpy(), \
        votes["session"].to_numpy()
    problems = []
    for row, before in zip(again, original[again], strict=True):
        there = f"{file[before]}, line {line[before]}"
        if chosen[row] != chosen[before]:
            scene, question = votes["scene"].iloc[row], votes["question"].iloc[row]
            raise UserError(f"{file[row]}: line {line[row]}: session {session[row]} answers {scene}, {question} "
                            f"otherwise than in {there}; keep one of them")
        problems.append((file[row], line[row], f"session {session[row]}: the same vote as {there}"))
    return votes.drop(index=votes.index[again]).reset_index(drop=True), problems


# --- statistics -----------------------------------------------------------------------------------------------------


def share(wins: int, n: int) -> dict:
    """wins / n with Wilson (1927) and Clopper-Pearson (1934) 95% intervals, and the exact two-sided binomial test
    against 1/2."""
    from scipy.stats import binomtest

    test = binomtest(int(wins), int(n), 0.5)
    intervals = {name: list(map(float, test.proportion_ci(0.95, method)))
                 for name, method in (("wilson", "wilson"), ("clopper_pearson", "exact"))}
    return {"wins": int(wins), "n": int(n), "share": wins / n, **intervals, "p_value": float(test.pvalue)}


def cluster_bootstrap(wins: np.ndarray, n: np.ndarray, resamples: int, seed: int) -> dict:
    """95% percentile interval of sum(wins) / sum(n) when whole clusters (observers, videos) are drawn anew.

    wins, n: (clusters,), n >= 1. Of few clusters it is no wider than their values; of one there is none.
    """
    if len(n) < 2:
        return {"refused": "one cluster only", "clusters": len(n)}
    rng = np.random.default_rng(seed)
    shares = np.empty(resamples)
    for r in range(resamples):
        drawn = rng.integers(0, len(n), len(n))
        shares[r] = wins[drawn].sum() / n[drawn].sum()
    low, high = np.quantile(shares, (0.025, 0.975))
    return {"low": float(low), "high": float(high), "clusters": len(n)}


def agreement(counts: np.ndarray) -> dict:
    """Krippendorff's alpha, nominal. counts: (units, values), how many observers gave a unit a value."""
    import krippendorff

    counts = np.asarray(counts)
    if len(counts) < 2:
        return {"refused": "one scene only"}
    if (counts.sum(axis=1) < 2).all():
        return {"refused": "no pair of films was judged by two observers"}
    pairable = counts[counts.sum(axis=1) >= 2]
    if (pairable.sum(axis=0) > 0).sum() < 2:
        return {"refused": "every vote is the same: there is nothing to disagree about"}
    return {"alpha": float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")),
            "units": len(counts)}


def bradley_terry(games: np.ndarray, resamples: int, seed: int) -> dict:
    """Bradley-Terry (1952) strengths, in log odds with mean 0, and 95% intervals that resample observers.

    games: (observers, M, M); [o, i, j] is how often o chose i over j, a tie half a time each. Where some methods never
    lose to the others no finite strengths exist, and there is a refusal.
    """
    import choix
    from scipy.sparse.csgraph import connected_components

    def fit(wins: np.ndarray) -> np.ndarray | None:
        whole = connected_components(wins > 0, directed=True, connection="strong")[0] == 1
        return choix.ilsr_pairwise_dense(wins, max_iter=1000) if whole else None

    strengths = fit(games.sum(axis=0))
    if strengths is None:
        return {"refused": "some methods never lose to the others: no finite strengths exist"}
    rng = np.random.default_rng(seed)
    flat, draws = games.reshape(len(games), -1), []
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, len(games), len(games)), minlength=len(games))
        draws.append(fit((drawn @ flat).reshape(games.shape[1:])))
    fitted = [draw for draw in draws if draw is not None]
    low = high = [None] * len(strengths)
    if len(games) > 1 and len(fitted) >= 0.95 * resamples:
        low, high = np.quantile(fitted, (0.025, 0.975), axis=0).tolist()
    return {"strengths": strengths.tolist(), "low": low, "high": high, "observers": len(games),
            "resamples_without_a_fit": resamples - len(fitted)}


def power(n, true_share: float, level: float = 0.05) -> np.ndarray:
    """Probability that the exact two-sided binomial test of n votes against 1/2 gives p < level, computed exactly."""
    from scipy.stats import binom

    n = np.asarray(n)
    critical = binom.ppf(level / 2, n, 0.5) - 1  # the most wins in the lower tail that are still significant
    return binom.cdf(critical, n, true_share) + binom.sf(n - critical - 1, n, true_share)


def observers_needed(true_share: float, wanted: float, level: float = 0.05, most: int = 3000) -> dict:
    """How many observers of one vote each give p < level with probability `wanted`: the smallest number that does,
    and the number from which on every larger one does too (power rises in a saw-tooth)."""
    enough = power(np.arange(1, most + 1), true_share, level) >= wanted
    if not enough[-1]:
        raise UserError(f"a share of {true_share:g} needs more than {most} observers")
    return {"share": true_share, "power": wanted, "smallest": int(enough.argmax()) + 1,
            "always_from": int(np.flatnonzero(~enough)[-1]) + 2}


# --- aggregate ------------------------------------------------------------------------------------------------------


def aggregate(paths: list[Path], out: Path, methods: list[str] | None = None, resamples: int = 2000, seed: int = 0,
              max_failed: int = 0, strict: bool = False) -> dict:
    """Reads votes and writes out/summary.json, summary.md and, if there are any, malformed.csv; returns the summary.

    methods: names that may occur, in the order to print them; None takes what comes, ours first. resamples, seed: of
    the bootstrap. max_failed: an observer who fails more catch trials is left out. strict: a malformed or repeated row
    is an error. Simulated votes give the same files named SIMULATED_..., with the mark in them; simulated and real
    ones together are refused.
    """
    summary = {"status": NO_RESPONSES, "simulated": False, "files": {}, "votes": 0, "observers": 0, "questions": {},
               "published": _published(),
               "power": [observers_needed(p, wanted) for p in POWER_SHARES for wanted in (0.8, 0.9)]}
    problems = None
    if paths:
        votes, problems, notes = read_votes(paths, methods)
        if len(problems) and (strict or not len(votes)):
            first, more = problems.iloc[0], len(problems) - 1
            raise UserError(f"{first['file']}: line {first['line']}: {first['reason']}"
                            + (f" ({more} more rows after it)" if more else "")
                            + ("" if len(votes) else "; not one row is a vote"))
        summary |= {"files": {_shown(path): sha256(path) for path in paths}, "rows_left_out": len(problems),
                    "notes": notes}
        if len(votes):
            summary |= _summarise(votes, methods, resamples, seed, max_failed)
    summary = _rounded(summary)
    mark = f"{MARK}_" if summary["simulated"] else ""
    if problems is not None and len(problems):
        _write(out / f"{mark}malformed.csv", problems.to_csv(index=False))
    else:
        (out / f"{mark}malformed.csv").unlink(missing_ok=True)  # of an earlier run
    _write(out / f"{mark}summary.md", markdown(summary))
    write_json(out / f"{mark}summary.json", summary)
    return summary | {"problems": [] if problems is None else [tuple(row) for row in problems.itertuples(index=False)]}


def _summarise(votes, methods: list[str] | None, resamples: int, seed: int, max_failed: int) -> dict:
    """Everything that is said of some votes."""
    simulated = _simulated(votes)
    right = votes["condition_A"].astype(str).str.lower().str.startswith(CATCH).map({True: "B", False: "A"})
    failed = votes[votes["is_catch"] & (votes["choice"].astype(str) != right)]["observer"].value_counts()
    failed = sorted(str(name) for name in failed.index[failed > max_failed])
    out = votes["observer"].isin(failed)
    caught = votes[votes["is_catch"]]
    kept = votes[~out & ~votes["is_catch"]]
    names = {*kept["condition_A"].unique(), *kept["condition_B"].unique()}
    names = sorted(names, key=lambda name: (name != "ours", name))
    order = {name: i for i, name in enumerate(methods or names)}
    a, b = kept["condition_A"].map(order).astype(int), kept["condition_B"].map(order).astype(int)
    tie = kept["choice"].astype(str) == "tie"
    chose_a = (kept["choice"].astype(str) == "A") & ~tie
    kept = kept.assign(
        first=np.minimum(a, b), second=np.maximum(a, b), tie=tie, win=chose_a == (a < b), chose_a=chose_a,
        video=kept["scene"].astype(str).str.split("/seed_").str[0])
    sided = kept[~kept["wide"] & ~kept["tie"]]
    sessions = votes.groupby("observer", observed=True)["session"].nunique()
    several = sorted(str(name) for name in sessions.index[sessions > 1])
    labels = list(order)
    questions = {}
    for question in QUESTIONS:
        asked = kept[kept["question"] == question]
        pairs = [_pair(group, labels[i], labels[j], resamples, seed)
                 for (i, j), group in asked.groupby(["first", "second"], sort=True)]
        if pairs:
            questions[question] = {"pairs": pairs, "methods": _methods(asked, labels), "bradley_terry":
                                   _bradley_terry(asked, labels, resamples, seed)}
    return {
        "status": MARK if simulated else "responses", "simulated": simulated,
        "votes": len(kept), "observers": int(kept["observer"].nunique()),
        "catch": {"trials": len(caught), "observers_asked": int(caught["observer"].nunique()), "max_failed": max_failed,
                  "observers_left_out": failed, "votes_left_out": int((out & ~votes["is_catch"]).sum())},
        "observers_of_several_sessions": several,
        "rt_ms_median": float(kept["rt_ms"].median()) if kept["rt_ms"].notna().any() else None,
        "left_right": share(int(sided["chose_a"].sum()), len(sided)) if len(sided) else
        {"refused": "no vote says which film was left"},
        "bootstrap": {"resamples": resamples, "seed": seed}, "questions": questions,
    }


def _simulated(votes) -> bool:
    """Whether these votes are simulated; refuses a mixture, and simulated ones below inputs/."""
    marked = (votes["observer"].astype(str).str.upper().str.startswith(MARK)
              | votes["session"].astype(str).str.upper().str.startswith(MARK))
    if not marked.any():
        return False
    file = votes.loc[marked, "file"].iloc[0]
    if not marked.all():
        raise UserError(f"{file}: holds simulated votes and {votes.loc[~marked, 'file'].iloc[0]} real ones; they are "
                        "never counted together: give one kind")
    if _below_inputs(root() / file):
        raise UserError(f"{file}: simulated votes do not belong below inputs/; move it")
    return True


def _below_inputs(path: Path) -> bool:
    return path.resolve().is_relative_to((root() / "inputs").resolve())


def _pair(votes, first: str, second: str, resamples: int, seed: int) -> dict:
    """One question about one pair of methods."""
    decided = votes[~votes["tie"]]
    entry = {"first": first, "second": second, "ties": int(votes["tie"].sum()),
             "observers": int(votes["observer"].nunique()), "videos": int(votes["video"].nunique())}
    if decided.empty:
        entry["refused"] = "every vote is a tie"
    else:
        entry |= share(int(decided["win"].sum()), len(decided))
        for cluster in ("observer", "video"):
            table = decided.groupby(cluster, observed=True)["win"].agg(["sum", "count"]).to_numpy()
            entry[f"by_{cluster}"] = cluster_bootstrap(table[:, 0], table[:, 1], resamples, seed)
    value = np.where(votes["tie"], 2, np.where(votes["win"], 0, 1))
    scenes = votes["scene"].astype(str).to_numpy()
    units = {scene: i for i, scene in enumerate(sorted(set(scenes)))}
    counts = np.zeros((len(units), 3), dtype=np.int64)
    np.add.at(counts, (np.array([units[scene] for scene in scenes]), value), 1)
    return entry | {"agreement": agreement(counts)}


def _methods(votes, labels: list[str]) -> dict:
    """Each method's share of the decided votes it took part in, over all its opponents."""
    decided = votes[~votes["tie"]]
    winner = np.where(decided["win"], decided["first"], decided["second"])
    out = {}
    for i, name in enumerate(labels):
        n = int(((decided["first"] == i) | (decided["second"] == i)).sum())
        if n:
            out[name] = share(int((winner == i).sum()), n)
    return out


def _bradley_terry(votes, labels: list[str], resamples: int, seed: int) -> dict | None:
    """Strengths of more than two methods; None for two, whose share says it all."""
    present = sorted({*votes["first"], *votes["second"]})
    if len(present) < 3:
        return None
    place = {method: i for i, method in enumerate(present)}
    first, second = votes["first"].map(place).to_numpy(), votes["second"].map(place).to_numpy()
    observer = votes["observer"].cat.remove_unused_categories().cat.codes.to_numpy()
    win = np.where(votes["tie"], 0.5, votes["win"])
    games = np.zeros((observer.max() + 1, len(present), len(present)))
    np.add.at(games, (observer, first, second), win)
    np.add.at(games, (observer, second, first), 1 - win)
    return {"methods": [labels[i] for i in present]} | bradley_terry(games, resamples, seed)


def _published() -> dict:
    """The shares printed in the paper's Table 1, as printed; the votes behind them were never published."""
    from eval.table1 import PUBLISHED

    return {row["method"]: {"preference": row["preferences"], "realism": row["realism"]} for row in PUBLISHED}


def _rounded(value):
    """Plain numbers of 6 significant digits: the last bits differ between machines."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


# --- saying it ------------------------------------------------------------------------------------------------------


def percent(entry: dict) -> str:
    """`79% [70, 86]`: a share and its Wilson interval."""
    low, high = entry["wilson"]
    return f"{100 * entry['share']:.0f}% [{100 * low:.0f}, {100 * high:.0f}]"


def cells(summary: dict) -> dict[str, dict[str, str]]:
    """What Table 1 prints of each method of this run, by question; {} without responses or when simulated."""
    if summary["simulated"]:
        return {}
    table: dict[str, dict[str, str]] = {}
    for question, entry in summary["questions"].items():
        for method, one in entry["methods"].items():
            table.setdefault(method, {})[question] = percent(one)
    return table


def markdown(summary: dict) -> str:
    """The summary as tables that also line up in a terminal."""
    mark = f"{MARK}: " if summary["simulated"] else ""
    parts = [f"## {mark}Human study"]
    if summary["simulated"]:
        parts.append(f"**{MARK}.** Every vote below comes from a model, none from a person.")
    rows, run = [], {name: entry["methods"] for name, entry in summary["questions"].items()}
    for method, said in summary["published"].items():
        rows.append([f"{method}, published", *(said[question] for question in QUESTIONS)])
    names = list(dict.fromkeys(name for entry in run.values() for name in entry))
    for name in names:
        title = f"{mark}{PUBLISHED_AS.get(name.lower(), name)}, this run"
        rows.append([title, *(percent(run[q][name]) if name in run.get(q, {}) else "-" for q in QUESTIONS)])
    if not names:
        none = NO_RESPONSES if summary["status"] == NO_RESPONSES else "no vote is left"
        rows.append(["this run", *([none] * len(QUESTIONS))])
    parts.append(grid(["Method", *(question.capitalize() for question in QUESTIONS)], rows))
    parts.append("- published: copied from the paper's Table 1; its votes and number of observers were never published")
    if summary["status"] != NO_RESPONSES:
        parts[-1] += "\n- this run: share of the decided votes, with its 95% Wilson interval"
        parts += _details(summary, mark)
    needed = [[f"{100 * one['share']:.0f}%", f"{one['power']:g}", str(one["smallest"]), str(one["always_from"])]
              for one in summary["power"]]
    parts += ["### How many observers", grid(["True share", "Power", "Observers", "and every number from"], needed),
              "- one vote an observer, exact two-sided binomial test against 1/2, p < .05; computed exactly. Several "
              "votes\n  of one observer are worth less than as many observers."]
    return "\n\n".join(parts) + "\n"


def _details(summary: dict, mark: str) -> list[str]:
    """The tables of what was answered, and what was left out."""
    def interval(entry: dict) -> str:
        if "refused" in entry:
            return f"- ({entry['clusters']})"
        return f"[{100 * entry['low']:.0f}, {100 * entry['high']:.0f}] ({entry['clusters']})"

    rows, ranks, reasons = [], [], []
    for question, entry in summary["questions"].items():
        for pair in entry["pairs"]:
            title = [question, f"{pair['first']} over {pair['second']}"]
            alpha = pair["agreement"]
            if "refused" in alpha:
                reasons.append(f"alpha of {question}, {title[1]}: {alpha['refused']}")
            if "refused" in pair:
                rows.append([*title, "-", "0", str(pair["ties"]), *["-"] * 5])
                continue
            exact = pair["clopper_pearson"]
            rows.append([*title, percent(pair), str(pair["n"]), str(pair["ties"]),
                         f"[{100 * exact[0]:.0f}, {100 * exact[1]:.0f}]", interval(pair["by_observer"]),
                         interval(pair["by_video"]), f"{pair['p_value']:.2g}",
                         f"{alpha['alpha']:.2f}" if "alpha" in alpha else "-"])
        ranked = entry["bradley_terry"]
        if ranked and "refused" in ranked:
            reasons.append(f"Bradley-Terry of {question}: {ranked['refused']}")
        elif ranked:
            for i in np.argsort(ranked["strengths"])[::-1]:
                low, high = ranked["low"][i], ranked["high"][i]
                ranks.append([question, ranked["methods"][i], f"{ranked['strengths'][i]:+.2f}",
                              "-" if low is None else f"[{low:+.2f}, {high:+.2f}]"])
    parts = [f"### {mark}Pairs", grid(["Question", "Pair", "Share, Wilson", "n", "ties", "Clopper-Pearson",
                                       "by observer", "by video", "p", "alpha"], rows)]
    if ranks:
        parts += [f"### {mark}Bradley-Terry", grid(["Question", "Method", "log odds", "95%"], ranks)]
    catch, side = summary["catch"], summary["left_right"]
    notes = [
        f"{summary['votes']} votes of {summary['observers']} observers counted; n is without ties. Wilson, Clopper-"
        "Pearson and p (exact\n  binomial test against 1/2, each pair alone) take votes as independent; by observer "
        "and by video (how many) draw\n  whole observers or videos anew: 95% bootstrap",
        "alpha: Krippendorff's, over scenes; near 0 where every scene leans the same way, however strongly",
        f"catch trials: {catch['trials']}, shown to {catch['observers_asked']} observers; left out for failing more "
        f"than {catch['max_failed']}: {len(catch['observers_left_out'])} observers with {catch['votes_left_out']} votes"
        + (f" ({_some(catch['observers_left_out'])})" if catch["observers_left_out"] else ""),
        f"rows left out as malformed or repeated: {summary['rows_left_out']}"
        + (f", listed in {MARK + '_' if mark else ''}malformed.csv" if summary["rows_left_out"] else ""),
        f"left film chosen: {side['refused']}" if "refused" in side else
        f"left film chosen: {percent(side)} of {side['n']} votes, p {side['p_value']:.2g} against 1/2",
    ]
    if several := summary["observers_of_several_sessions"]:
        notes.append(f"observers of several sessions: {_some(several)}; all their votes count")
    return [*parts, "\n".join(f"- {note}" for note in notes + reasons + summary["notes"])]


def _some(names: list[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def grid(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table whose columns line up."""
    rows = [[text.replace("|", "\\|") for text in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
                     for line in lines)


def figure(summary: dict, path: Path) -> list[Path]:
    """Draws each method's share by question, with Wilson intervals, beside what the paper printed: PNG and PDF."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from eval.drawing import COLOURS, OTHER, STYLE, save

    names = list(dict.fromkeys(name for entry in summary["questions"].values() for name in entry["methods"]))
    with rc_context(STYLE):
        drawing = Figure(figsize=(7.5, 1.8 + 0.45 * max(len(names), 2)), layout="constrained")
        axes = drawing.subplots(1, len(QUESTIONS), sharey=True, squeeze=False)[0]
        for axis, question in zip(axes, QUESTIONS, strict=True):
            shares = summary["questions"].get(question, {"methods": {}})["methods"]
            axis.axvline(50, color="#666666", linewidth=1)
            for i, name in enumerate(names):
                said = summary["published"].get(PUBLISHED_AS.get(name.lower()), {}).get(question)
                if said:
                    axis.plot(float(said.rstrip("%")), i, marker="|", markersize=14, markeredgewidth=2,
                              color="#000000", linestyle="none",
                              label="published in the paper")
                if name in shares:
                    low, high = shares[name]["wilson"]
                    axis.plot([100 * low, 100 * high], [i, i], color=COLOURS.get(name, OTHER), linewidth=3)
                    axis.plot(100 * shares[name]["share"], i, marker="o", color=COLOURS.get(name, OTHER))
            axis.set(title=question, xlim=(-2, 102), xlabel="% of decided votes", yticks=range(len(names)),
                     yticklabels=names, ylim=(max(len(names), 1) - 0.5, -0.5))
        handles = {label: handle for axis in axes
                   for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        if handles:
            drawing.legend(handles.values(), handles, loc="outside lower center", fontsize=8, frameon=False)
        if not names:
            drawing.suptitle(NO_RESPONSES)
        if summary["simulated"]:
            drawing.suptitle(f"{MARK}: no person was asked", color="#b00020", fontweight="bold")
            drawing.text(0.5, 0.45, MARK, fontsize=44, color="#b00020", alpha=0.15, ha="center", va="center",
                         rotation=12)
        return save(drawing, path)


# --- simulate -------------------------------------------------------------------------------------------------------


def simulate(path: Path, strengths: dict[str, dict[str, float]], observers: int = 40,
             scenes: tuple[str, ...] = ("scene-1", "scene-2", "scene-3"), observer_sd: float = 0.0,
             scene_sd: float = 0.0, lapse: float = 0.0, side_bias: float = 0.0, catch: int = 2, seed: int = 0) -> Path:
    """Writes votes from a model, marked SIMULATED in every row's observer and session; returns the path.

    strengths: {question: {method: log odds}}. The left film A is chosen with probability
        lapse / 2 + (1 - lapse) sigmoid(u_A - u_B + side_bias),  u_m = strength_m + observer's_m + scene's_m,
    where the observer's and the scene's liking of a method are drawn from N(0, observer_sd^2) and N(0, scene_sd^2).
    A catch trial is missed by a lapse only. Sides and order are drawn like the page's. Refuses to write below inputs/.
    """
    if _below_inputs(path):
        raise UserError(f"{_shown(path)}: simulated votes are never written below inputs/; choose another --out")
    for method in {method for liked in strengths.values() for method in liked}:
        _check_name(method, "method")
    rng = np.random.default_rng(seed)
    liking = {(question, scene, method): rng.normal(0, scene_sd)
              for question in strengths for scene in scenes for method in strengths[question]}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for o in range(observers):
        session_seed = int(rng.integers(2**32))
        for question, strength in strengths.items():
            own = {method: rng.normal(0, observer_sd) for method in strength}
            trials = [(scene, *pair) for scene in scenes for pair in combinations(strength, 2)]
            share_of = range(list(strengths).index(question), catch, len(strengths))
            trials += [(scenes[k % len(scenes)], next(iter(strength)), f"{CATCH}-{k + 1}") for k in share_of]
            flips = (rng.permutation(len(trials)) + rng.integers(2)) % 2
            for i in rng.permutation(len(trials)):
                scene, *pair = trials[i]
                a, b = pair[::-1] if flips[i] else pair
                caught = pair[1].startswith(CATCH)
                if rng.random() < lapse:
                    left = rng.random() < 0.5
                elif caught:
                    left = a == pair[0]
                else:
                    odds = side_bias + sum(sign * (strength[m] + own[m] + liking[question, scene, m])
                                           for m, sign in ((a, 1), (b, -1)))
                    left = rng.random() < 1 / (1 + np.exp(-odds))
                writer.writerow([f"{MARK}-{o + 1:04d}", f"{MARK}-{session_seed:08x}-{o + 1:04d}", scene, question, a, b,
                                 "A" if left else "B", session_seed, int(rng.lognormal(8, 0.4)), int(caught)])
    _write(path, stream.getvalue())
    return path


def find_responses(folder: Path) -> list[Path]:
    """The CSV files of a folder, sorted; none where there is no such folder."""
    return sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() == ".csv")
