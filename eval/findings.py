"""What the ledger's functions find: settings, this run's results, the paper's numbers beside each other, the method.

Each computes one claim of `claims.yaml` (see `eval.claims`), most of them with `eval.audit`.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval import audit
from lnm.errors import UserError
from lnm.workflow.params import Params, load, root

REPRODUCED, DIFFERS, INCOMPARABLE, CONTRADICTS = VERDICTS = (
    "reproduced", "differs", "not comparable here", "the paper contradicts itself")
NOT_RUN = "not run yet"


# ---------------------------------------------------------------- what there is to judge


@dataclass
class Finding:
    """What a function found. value: judged by the tolerance, unless `verdict` is given; a tuple: each of several (one
    a video) is judged. text: how it is printed. reason: why it came out so."""

    value: Any
    text: str = ""
    verdict: str | None = None
    reason: str = ""
    promised: bool = False  # a setting that no run has had yet: if it fits, there is nothing to compare so far


@dataclass
class Run:
    """Settings and results to compare with: the paper's own settings as this code can run them, and this run's."""

    results: Path
    paper: Params  # params.paper.yaml
    paper_file: str
    metrics: dict[str, dict] = field(default_factory=dict)  # video -> metrics.json, of the videos that were scored
    settings: dict[str, dict] = field(default_factory=dict)  # stage -> video -> build/resolve/<video>/<stage>.json

    @classmethod
    def read(cls, results: Path, params: Path | None = None) -> Run:
        """Raises UserError for a params file or json that cannot be read."""
        params = params or root() / "params.paper.yaml"
        run = cls(results, load(params), Path(params).name)
        for video in load().videos:
            metrics = _json(results / video / "evaluate" / "metrics.json")
            if metrics:
                run.metrics[video] = metrics
                for stage in ("prepare", "finetune", "sample"):
                    resolved = _json(root() / "build" / "resolve" / video / f"{stage}.json")
                    if resolved:
                        run.settings.setdefault(stage, {})[video] = resolved
                if run.settings.get("finetune", {}).get(video, {}).get("steps") == "auto":
                    run.settings["finetune"][video]["steps"] = kept_steps(results / video / "finetune" / "log.csv")
        return run

    def of_paper(self, key: str) -> Any:
        """params.paper.yaml's value of a dotted key such as finetune.steps."""
        value = self.paper
        for part in key.split("."):
            value = getattr(value, part)
        return value

    def of_run(self, key: str) -> dict[str, Any]:
        """This run's value of it for each video that was scored; empty where nothing was run."""
        places = {"size": ("finetune", "size"), "checkpoint.name": ("finetune", "checkpoint"),
                  "checkpoint.clip": ("prepare", "clip")}
        stage, name = places.get(key) or key.split(".")
        return {video: resolved[name] for video, resolved in self.settings.get(stage, {}).items()}


def kept_steps(log: Path) -> int | None:
    """Of a fine-tune that found its steps itself: those whose weights were kept. None without a log."""
    if not log.is_file():
        return None
    with log.open(encoding="utf-8") as stream:
        looks = [(float(row["validation"]), int(row["step"]) + 1) for row in csv.DictReader(stream)
                 if row["validation"]]
    return min(looks)[1] if looks else 0


def _json(path: Path) -> dict | None:
    """A json file's content, None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as json ({error}); delete it and run `make repro`") from None


def show(value: Any) -> str:
    """A value as a table prints it."""
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ("x" if isinstance(value, list) else ", ").join(map(show, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------- settings


def setting(run: Run, key: str) -> Finding:
    """This run's value of a setting, each video's; without a run, the value of the paper's own setting."""
    return _settled(run, run.of_run(key), run.of_paper(key))


def _settled(run: Run, ours: dict[str, Any], paper: Any) -> Finding:
    """What a run has for each video; without a run what the paper's settings file has, which then is only a promise."""
    if not ours:
        return Finding(paper, f"{show(paper)} by {run.paper_file}", reason=f"{NOT_RUN}: `make repro`", promised=True)
    reason = f"{show(paper)} by {run.paper_file}"
    values = tuple(dict.fromkeys(ours.values()))
    if len(values) == 1:
        return Finding(values[0], reason=reason)
    return Finding(values, ", ".join(f"{show(value)} ({video})" for video, value in ours.items()), reason=reason)


def clip_model(run: Run) -> Finding:
    """The CLIP behind the prompt choice, OpenAI's by its plain name."""

    def plain(name):
        model, _, weights = (name or "none").rpartition("/")
        return model.removesuffix("-quickgelu") if weights == "openai" else name or "none"

    return _settled(run, {video: plain(name) for video, name in run.of_run("checkpoint.clip").items()},
                    plain(run.of_paper("checkpoint.clip")))


def sd_checkpoint(run: Run) -> Finding:
    """Whether VAE and U-Net are Stable Diffusion's inpainting ones."""
    ours = {video: _is_sd(name) for video, name in run.of_run("checkpoint.name").items()}
    found = _settled(run, ours, _is_sd(run.of_paper("checkpoint.name")))
    paper = f"{run.of_paper('checkpoint.name')} by {run.paper_file}"
    if ours:
        return Finding(found.value, ", ".join(dict.fromkeys(run.of_run("checkpoint.name").values())), reason=paper)
    return Finding(found.value, paper, reason=found.reason, promised=True)


def _is_sd(name: str) -> bool:
    return "stable-diffusion" in name.lower()


def beta_schedule(run: Run) -> Finding:
    """The schedule of the noise, by diffusers' names, held against the paper's "linear" in the sense of Stable
    Diffusion's own code, which calls so what diffusers calls scaled_linear; the reason says both readings. The
    checkpoint's own is read from its scheduler's file."""

    def name(kind, checkpoint):
        held = _json(root() / checkpoint / "scheduler" / "scheduler_config.json") or {}
        kind = held.get("beta_schedule", "the checkpoint's") if kind == "checkpoint" else kind
        return kind + (", rescaled to no signal at the last step" if held.get("rescale_betas_zero_snr") else "")

    checkpoints = run.of_run("checkpoint.name")
    ours = {video: name(kind, checkpoints[video]) for video, kind in run.of_run("finetune.beta_schedule").items()}
    found = _settled(run, ours, run.of_paper("finetune.beta_schedule"))
    found.text = found.text or show(found.value)
    kinds = found.value if isinstance(found.value, tuple) else (found.value,)
    found.value = tuple({"scaled_linear": "linear", "linear": "linear in diffusers"}.get(kind, kind) for kind in kinds)
    said = [f"read as {whose}, “linear” {'is this' if set(kinds) == {kind} else 'is another'}" for whose, kind in
            (("Stable Diffusion's own code has it", "scaled_linear"), ("diffusers has it", "linear"))]
    found.reason = "; ".join([found.reason, *said])
    return found


def predicts(run: Run) -> Finding:
    """What the checkpoint's network is trained to return, by its scheduler's file."""
    kinds = {}
    for video, checkpoint in run.of_run("checkpoint.name").items():
        held = _json(root() / checkpoint / "scheduler" / "scheduler_config.json")
        kinds[video] = held["prediction_type"] if held else "epsilon" if _is_sd(checkpoint) else "unknown"
    words = {"epsilon": "noise", "v_prediction": "velocity"}
    return _settled(run, {video: words.get(kind, kind) for video, kind in kinds.items()}, "noise")


def consecutive(run: Run) -> Finding:
    """Share of 200 drawn training clips whose frames follow each other, at the run's strides."""
    frames, strides = run.of_run("finetune.frames"), run.of_run("finetune.strides")
    ours = {video: audit.consecutive_share(frames[video], strides[video]) for video in strides}
    paper = audit.consecutive_share(run.of_paper("finetune.frames"), run.of_paper("finetune.strides"))
    return _settled(run, ours, paper)


def conv_share(run: Run) -> Finding:
    """Share of Stable Diffusion's 2D convolutions that get a temporal one, at the run's conv_placement."""

    def share(placement):
        counted = audit.layers(placement)
        return counted["convs_1d"] / counted["convs"]

    placements = run.of_run("finetune.conv_placement")
    found = _settled(run, {video: share(placement) for video, placement in placements.items()},
                     share(run.of_paper("finetune.conv_placement")))
    found.reason += f"; of {audit.layers()['convs']} convolutions"
    return found


def smaller_latents(run: Run) -> Finding:
    """How many times fewer numbers the latents have: by the checkpoint's VAE, and by what Stable Diffusion states."""
    stated = audit.compression(run.paper.size, audit.SD_DOWNSAMPLING, audit.SD_CHANNELS)
    ours = {}
    for video, checkpoint in run.of_run("checkpoint.name").items():
        config = _json(root() / checkpoint / "vae" / "config.json")
        if config:
            widths = config.get("block_out_channels") or config["encoder_block_out_channels"]  # AutoencoderKL, or DC
            downsampling = 2 ** (len(widths) - 1)
            ours[video] = audit.compression(run.of_run("size")[video], downsampling, config["latent_channels"])
    values = tuple(dict.fromkeys([*ours.values(), stated]))
    text = "; ".join([*(f"{value:g} times ({video})" for video, value in ours.items()),
                      f"{stated:g} times by Stable Diffusion's stated VAE"])
    return Finding(all(value > 1 for value in values), text)


def prompt_choice(run: Run) -> Finding:
    """Whether every video's prompt is the one of least cosine distance among those suggested."""
    chosen = {}
    for video in run.metrics:
        prompts = _json(run.results / video / "prepare" / "prompts.json")
        if prompts and prompts["clip"]:
            best = min(prompts["candidates"], key=lambda candidate: candidate["distance"])
            chosen[video] = prompts["prompt"] == best["prompt"]
    if not chosen:
        return Finding(None, NOT_RUN, INCOMPARABLE, "no run with a CLIP to choose by: `make repro`")
    return Finding(all(chosen.values()), f"{sum(chosen.values())} of {len(chosen)} videos")


# ---------------------------------------------------------------- results


def unlike(run: Run, what: str) -> list[str]:
    """Why this run's number of `what` (clip, fid, films) cannot be read beside the published one."""
    table = next(iter(run.metrics.values()))
    checkpoint = table["backend"]["checkpoint"] or "an unnamed checkpoint"
    said = [] if _is_sd(checkpoint) else [f"made with {checkpoint}, not Stable Diffusion"]
    sizes = sorted({f"{width}x{height}" for height, width in (t["size"] for t in run.metrics.values())})
    said += [] if sizes == ["512x512"] else [f"at {', '.join(sizes)} pixels, not 512x512"]
    name = table["backend"]["clip"].get("name", "")
    if what == "clip" and not name.endswith("/openai"):
        said.append(f"by {name}, not OpenAI's CLIP")
    if what == "fid" and "train" in table["reference"]["fid"]:
        floor = table["reference"]["fid"]["train"]
        if (floor["n"], floor["n_reference"]) != (5, 1060):
            said.append(f"{floor['n']} frames against {floor['n_reference']}, not 5 against 1060")
    return said


def _cell(run: Run, metric: str, method: str) -> Finding | dict:
    """A metric of a method, mean over the videos with its interval, or the Finding that says why there is none."""
    from eval.table1 import mean_over_videos

    if not run.metrics:
        return Finding(None, NOT_RUN, INCOMPARABLE, f"{NOT_RUN}: `make repro`")
    tables = {video: table for video, table in run.metrics.items() if method in table["methods"]}
    if not tables:
        return Finding(None, "no frames", INCOMPARABLE,
                       f"no frames of {method} here: put them into inputs/baselines/{method}/<video>/ and `make repro`")
    only = next(iter(tables))  # of one video the interval is over its films
    entry = tables[only]["methods"][method].get(metric, {"refused": f"{metric} was not measured"})
    entry = mean_over_videos(tables, method, metric) if len(tables) > 1 else entry
    if "refused" in entry:
        return Finding(None, "refused", INCOMPARABLE, entry["refused"])
    interval = "" if entry["low"] is None else f" [{entry['low']:.4g}, {entry['high']:.4g}]"
    count = f"mean of {len(tables)} videos" if len(tables) > 1 else f"{only}, {entry['n']} film{'s'[: entry['n'] > 1]}"
    return entry | {"text": f"{entry['value']:.4g}{interval}, {count}"}


def measured(run: Run, metric: str, what: str, method: str = "ours") -> Finding:
    """A cell of Table 1 as this run measures it. The paper names neither its clips nor its prompts, so that no run can
    be held against it; what else stands between is said too."""
    entry = _cell(run, metric, method)
    if isinstance(entry, Finding):
        return entry
    reason = "; ".join([*unlike(run, what), "the paper names neither its clips nor its prompts"])
    return Finding(entry["value"], entry["text"], INCOMPARABLE, reason)


def ahead(run: Run, metric: str, what: str, less: bool = False) -> Finding:
    """Whether ours is ahead of CogVideo in a metric of one and the same run (less: the smaller value is ahead)."""
    ours, theirs = (_cell(run, metric, method) for method in ("ours", "cogvideo"))
    for entry in (ours, theirs):
        if isinstance(entry, Finding):
            return entry
    text = f"ours {ours['text']}; CogVideo {theirs['text']}"
    value = ours["value"] < theirs["value"] if less else ours["value"] > theirs["value"]
    said = unlike(run, what)
    return Finding(value, text, INCOMPARABLE if said else None, "; ".join(said))


def resolution(run: Run) -> Finding:
    """Width x height of this run's films."""
    ours = {video: f"{table['size'][1]}x{table['size'][0]}" for video, table in run.metrics.items()}
    return _settled(run, ours, f"{run.paper.size}x{run.paper.size}")


def resolution_of(run: Run, method: str) -> Finding:
    """Width x height of another method's films, as they lie in inputs/baselines/."""
    from eval.evaluate import VIDEO_SUFFIXES
    from lnm.video import read

    sizes = set()
    for folder in sorted((root() / "inputs" / "baselines" / method).glob("[!.]*")):
        part = next(iter(sorted(folder.glob("seed_*"))), folder)
        film = next((file for file in sorted(part.glob("*")) if file.suffix.lower() in VIDEO_SUFFIXES), part)
        height, width = read(film, fps=1, max_frames=1).frames.shape[1:3]
        sizes.add(f"{width}x{height}")
    if not sizes:
        return Finding(None, "no frames", INCOMPARABLE,
                       f"no frames of {method} here: put them into inputs/baselines/{method}/<video>/")
    return Finding(tuple(sorted(sizes)))


def reference_frames(run: Run) -> Finding:
    """How many frames of each clip a FID of this run is measured against."""
    counted = {video: table["reference"]["frames_train"] for video, table in run.metrics.items()}
    if not counted:
        return Finding(None, NOT_RUN, INCOMPARABLE, f"{NOT_RUN}: `make repro`")
    text = ", ".join(f"{count} ({video})" for video, count in counted.items())
    return Finding(tuple(counted.values()), text, INCOMPARABLE, "other clips: the paper names none of its own")


def fid_floor(run: Run, published: float, n: int, n_reference: int) -> Finding:
    """FID of n frames against n_reference when both come from one distribution, as spread out as a real clip is."""
    spectra, whose = audit.spectra(root(), run.results, list(run.metrics))
    floors = {name: audit.fid_floor(audit.power_law(*spectrum), n, n_reference)["value"]
              for name, spectrum in spectra.items()}
    widest = max(floors, key=floors.get)
    trace = spectra[widest][0]
    reason = (f"what Gaussians as spread out as the features of {whose} score against themselves, so a part of any FID "
              f"of {n} frames is there before anything differs; all {published:g} would be at a trace of "
              f"{published / floors[widest] * trace:.0f}, {widest} has {trace:.0f}; the paper gives neither a same-n "
              "value nor an interval")
    text = f"{min(floors.values()):.0f} to {max(floors.values()):.0f} when nothing differs"
    return Finding(tuple(floors.values()), text, INCOMPARABLE, reason)


def voted(run: Run, question: str, method: str = "ours") -> Finding:
    """A method's share of the decided votes between ours and CogVideo, from results/human_study/summary.json."""
    summary = _json(run.results / "human_study" / "summary.json")
    if summary is None or summary["simulated"] or not summary["votes"]:
        return Finding(None, "no responses yet", INCOMPARABLE, "nobody has been asked: `lnm study build` "
                       "makes the page that asks, and the paper's own votes were never published")
    pairs = summary["questions"].get(question, {}).get("pairs", [])
    pair = next((pair for pair in pairs if {pair["first"], pair["second"]} == {"ours", "cogvideo"}), None)
    if pair is None or "refused" in pair:
        return Finding(None, "no votes", INCOMPARABLE, pair["refused"] if pair else
                       "nobody was asked about CogVideo: its films go into inputs/baselines/cogvideo/<video>/")
    bounds = [100 * value for value in (pair["share"], *pair["wilson"])]
    value, low, high = bounds if pair["first"] == method else (100 - bounds[0], 100 - bounds[2], 100 - bounds[1])
    said = unlike(run, "films") if run.metrics else []
    return Finding(value, f"{value:.0f}% [{low:.0f}, {high:.0f}] of {pair['n']} votes", INCOMPARABLE,
                   "; ".join([*said, "other films and other people than the paper's, which gives neither"]))


# ---------------------------------------------------------------- the paper against itself


def two_shares(quotes: list[str]) -> Finding:
    """Two statements of one share, in whole percent: can both be roundings of the same number?"""
    told, table = (audit.numbers(quote)[0] for quote in quotes)
    both = abs(told - table) < 1
    return Finding(table, f"{table:g}% in the table, {told:g}% in the text", None if both else CONTRADICTS,
                   f"{abs(told - table):g} apart: no share rounds to both"
                   + (f", but {(told + table) / 2:g}% rounded once down, once up" if abs(told - table) == 1 else ""))


def sum_of_shares(quotes: list[str], pick: list[int]) -> Finding:
    """The sum of shares that exclude each other, against 100 and what rounding can add. pick: which numbers of the
    quotes, by position."""
    found = [number for quote in quotes for number in audit.numbers(quote)]
    parts = [int(found[i]) for i in pick]
    over, rounding = audit.excess(parts)
    fits = abs(over) <= rounding
    return Finding(sum(parts), f"{' + '.join(map(str, parts))} = {sum(parts)}%", None if fits else CONTRADICTS,
                   "" if fits else f"{over:+d} where rounding can make {rounding:g} at the most")


def one_score(quotes: list[str]) -> Finding:
    """A score told roughly in the text and exactly in the table: does the one round to the other?"""
    told, exact = audit.numbers(quotes[0])[0], audit.numbers(quotes[1])[-1]
    other = audit.numbers(quotes[2])[-1]
    fits = round(exact, 2) == told  # the text prints two decimals
    return Finding(round(exact, 2), f"{exact:g} in the table rounds to {exact:.2f}", None if fits else CONTRADICTS,
                   f"{told - exact:.4f} apart, {abs(told - exact) / abs(exact - other):.0f} times the distance between "
                   "the two methods")


def opposed(quotes: list[str], words: list[str]) -> Finding:
    """Two words for one comparison, and the comparison itself from Table 1's rows (quotes 3 and 4)."""
    ours, theirs = (audit.numbers(quote)[-1] for quote in quotes[2:])
    gap = f"{ours:g} - {theirs:g} = {ours - theirs:.4f} ({100 * (ours / theirs - 1):.1f}%)"
    both = all(word in quote for word, quote in zip(words, quotes, strict=False))
    return Finding(gap, gap, CONTRADICTS if both else None, f"“{words[0]}” and “{words[1]}” of the same two scores; no "
                   "interval, no number of films")


def scale(quotes: list[str]) -> Finding:
    """The scores of the quotes as cosines, if they are CLIPScores: 2.5 x max(cosine, 0)."""
    scores = [audit.numbers(quote)[-1] for quote in quotes[2:]]
    cosines = ", ".join(f"{audit.implied_cosine(score):.4f}" for score in scores)
    both = "CLIPSIM" in quotes[0] and "[5] CLIP score" in quotes[1]
    return Finding(cosines, f"cosines {cosines} if divided by 2.5", CONTRADICTS if both else None,
                   "the column is headed CLIPSIM, a mean cosine, while the text cites CLIPScore [5], 2.5 times that; "
                   "real videos have mean cosines near 0.24 to 0.30, so only the second can give 0.75")


def best_or_all(quotes: list[str], draws: int = 10) -> Finding:
    """One sample that was chosen, or samples? And what choosing the best of ten draws does when nothing differs."""
    floor = audit.fid_floor(audit.power_law(*audit.typical_spectrum()), 5, draws=draws)
    both = "best sample" in quotes[0] and "our samples" in quotes[1]
    text = f"best of {draws} {floor['low']:.1f}, mean {floor['value']:.1f}"
    return Finding(text, text, CONTRADICTS if both else None,
                   "one chosen sample in the first sentence, samples in the next; and its FID is to the very video "
                   "that was trained on")


def larger(quotes: list[str]) -> Finding:
    """The largest of its kind, against another of that kind that is named beside it."""
    largest, other = audit.numbers(quotes[0])[-1], audit.numbers(quotes[1])[-1]
    other *= 1e6 if "million" in quotes[1] else 1
    return Finding(largest, f"{other:,.0f} against {largest:,.0f}", CONTRADICTS if other > largest else None,
                   f"the other is {other / largest:.0f} times as large, though not public")


def untrained_motion() -> Finding:
    """How much of one frame's change reaches another through the layers as they stand before a fine-tune."""
    seen, after = audit.effect("last frame", awake=False), audit.effect("last frame")
    text = f"{seen:g} before a fine-tune, {after:.2g} with other weights"
    return Finding(seen, text, CONTRADICTS if seen == 0 else None, "before a fine-tune no frame sees another, so all "
                   "motion is learnt from the video that is fine-tuned on, as the second sentence says")


def observers(quotes: list[str]) -> Finding:
    """The least number of evaluators in which each percentage of the quotes is a whole number of people."""
    percents = sorted({int(number) for quote in quotes for number in audit.numbers(quote) if number < 100})
    fitting = audit.grim(percents)
    alone = min(audit.grim([percents[-1]]))
    text = f"at least {fitting[0]} if all answered all ({', '.join(map(str, fitting[:4]))}, ...)"
    return Finding(fitting[0], text, INCOMPARABLE, "the paper gives no number of evaluators, so no interval can be "
                   f"had; {percents[-1]}% alone needs no more than {alone}")


def frame_size(quotes: list[str]) -> Finding:
    """Whether a video encoder takes the frame size of the quote."""
    width, height = map(int, audit.numbers(quotes[0])[:2])
    refused = audit.frame_size_refused(width, height)
    return Finding(not refused, f"{width}x{height} {'refused' if refused else 'taken'}",
                   reason=f"H.264 at 4:2:0 needs even sides, {height} is odd; 16:9 at {width} is {width * 9 // 16}")


# ---------------------------------------------------------------- the method


def frozen() -> Finding:
    """Spatial tensors that two training steps changed."""
    steps = audit.train_two_steps()
    return Finding(steps["spatial_changed"] if steps["temporal_changed"] else None,
                   f"{steps['spatial_changed']} of {steps['spatial']} spatial and {steps['temporal_changed']} of "
                   f"{steps['temporal']} temporal tensors changed")


def attention_share() -> Finding:
    """Share of Stable Diffusion's spatial attention blocks with temporal attention behind them."""
    counted = audit.layers()
    return Finding(counted["blocks_1d"] / counted["blocks"], f"{counted['blocks_1d']} of {counted['blocks']} blocks",
                   reason=f"on Stable Diffusion's U-Net: {counted['trained'] / 1e6:.0f} million numbers train, "
                   f"{counted['frozen'] / 1e6:.0f} million are frozen")


def eq1() -> float:
    """Largest error of the training batches against eq. 1."""
    return audit.eq1_errors()["eq1"]


def x0_back() -> Finding:
    """Largest error of x_0 from x_t by the printed formula, which holds the noise itself."""
    error = audit.eq1_errors()["x0"]
    return Finding(error, reason="as printed, with the true noise, it gives x_0 exactly and estimates nothing; a "
                   "sampler has the network's estimate in its place")


def depends(on: str) -> Finding:
    """Whether the output of the small U-Net changes with an input."""
    change = audit.effect(on)
    return Finding(change > 0, f"changes by {change:.2g}")


def conditioned() -> Finding:
    """Whether the output changes with the still under a fully masked canvas, and if it could in a stock pipeline."""
    ours, stock = audit.effect("still"), audit.blanked_still()
    return Finding(ours > 0, f"changes by {ours:.2g}", reason="the paper does not say how: a stock inpainting pipeline "
                   f"blanks what is masked and leaves {stock:g} of the still; here its latents stand beside the mask")


def all_frames(frames: list[int]) -> Finding:
    """Whether one and the same U-Net takes each of these numbers of frames."""
    given = audit.frames_given(tuple(frames))
    return Finding(given == frames, f"{', '.join(map(str, given))} frames")


def lion_memory() -> Finding:
    """Bytes that Lion keeps over those that AdamW keeps, for the same layers."""
    lion, adamw = audit.optimizer_bytes("lion"), audit.optimizer_bytes("adamw")
    trained = audit.layers()["trained"]
    gigabytes = [trained * kept["state"] / kept["parameters"] / 1e9 for kept in (lion, adamw)]
    return Finding(lion["state"] < adamw["state"], f"{lion['state'] / adamw['state']:.2f} of AdamW's",
                   reason="on Stable Diffusion's U-Net " + " against ".join(f"{size:.2f} GB" for size in gigabytes)
                   + "; “more performant” is not measured here")


def lion_uniform() -> Finding:
    """Largest over least update of Lion, and of AdamW."""
    spread = audit.update_spread("lion")
    return Finding(spread, reason=f"without weight decay, of which the paper says nothing; at 0.01 it is "
                   f"{audit.update_spread('lion', 0.01):.2f}, AdamW's is {audit.update_spread('adamw'):.0f}")


def smoother() -> Finding:
    """Whether the squared error prefers a smoother answer than the data and than the absolute error's."""
    rough = audit.mse_smoothness()
    return Finding(rough["mse"] < min(rough["l1"], rough["edge"]),
                   f"roughness {rough['mse']:.3f}, absolute error {rough['l1']:.2f}, data {rough['edge']:g}",
                   reason="of a signal predicted outright; here the loss is on the noise at each step, and a film is "
                   "drawn, not averaged")


def memory_grows() -> Finding:
    """Whether what training keeps grows with the number of frames."""
    kept = {frames: audit.activation_bytes(frames) for frames in (4, 8, 16)}
    text = ", ".join(f"{size / kept[4]:.2f}x at {frames}" for frames, size in kept.items())
    return Finding(kept[4] < kept[8] < kept[16], f"{text} frames", reason="in proportion to the frames")
