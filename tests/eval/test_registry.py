"""The one list of measures: whole, true of what a score refuses, and what the docs and the command show."""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from networks import tiny_clip
from textures import translated

from eval import registry
from eval.publish.report_cells import Cells
from eval.records import measures
from eval.registry import METRICS, NEEDS
from eval.statistics.small import summarise
from lnm import video
from lnm.cli import main
from lnm.errors import UserError

WEIGHTS = {"Inception", "LPIPS", "RIFE", "I3D"}  # none lies in an empty folder


def test_every_measure_says_what_it_is():
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    for name, metric in METRICS.items():
        assert metric.unit and metric.about and not metric.about.endswith("."), name
        assert set(metric.needs) <= set(NEEDS) and len(set(metric.needs)) == len(metric.needs), name
        assert metric.good in ("high", "low", "real", None) or isinstance(metric.good, float), name
        assert not metric.compares or "reference" in metric.needs, name
        assert metric.short in metric.unit, name


@pytest.mark.parametrize("given", [
    {"train"}, {"CLIP", "prompt"}, {"reference", "still", "CLIP", "prompt", "other prompts"}])
def test_a_score_refuses_what_needs_something_that_is_not_given_and_nothing_else(project, given):
    from eval.records.score import score

    moving = translated(count=26)
    for name, part in (("film", moving[6:14]), ("real", moving[14:26]), ("train", moving[:6])):
        video.write_frames(project / name, part)
    tiny_clip(project / "clip")
    result = score(
        "film", "real" if "reference" in given else None, method="mine", train="train" if "train" in given else None,
        prompt="waves" if "prompt" in given else None, other_prompts=["rain"] if "other prompts" in given else [],
        clip="clip" if "CLIP" in given else "none", device="cpu")
    row = result["methods"]["mine"]
    could = {name for name, metric in METRICS.items() if set(metric.needs) <= given | {"fps"}}
    if "not above 0" in row["rm"].get("refused", ""):  # a CLIP of random weights may see no likeness at all
        could.discard("rm")
    assert {name for name in METRICS if "value" in row[name]} == could
    for name, metric in METRICS.items():
        lacking = [need for need in metric.needs if need not in given | {"fps"}]
        if lacking and "got 8" not in row[name]["refused"]:  # FVD says first that the film is too short
            assert row[name]["refused"] in [NEEDS[need] for need in lacking], name
            if set(lacking) - WEIGHTS:  # what was not given is said before what is not there
                assert row[name]["refused"] in [NEEDS[need] for need in lacking if need not in WEIGHTS], name


def test_every_need_is_a_reason_that_something_is_refused_with():
    from eval.features import flow, i3d, inception, lpips

    assert {need for metric in METRICS.values() for need in metric.needs} == set(NEEDS)
    assert i3d.I3D_FILE in NEEDS["I3D"]
    for need, opened in (("Inception", inception.inception_state), ("I3D", i3d.I3D), ("RIFE", flow.Rife),
                         ("LPIPS", lpips.Lpips)):
        with pytest.raises(UserError) as error:
            opened(REPOSITORY / "no" / "such.file")
        assert str(error.value) == NEEDS[need]


def test_inception_s_consistency_needs_no_reference(project, monkeypatch):
    """`--list` says that it needs Inception; it was refused for want of a reference."""
    from eval.metrics import frechet
    from eval.records.score import score

    class Means:
        name, sha256, version = "means", "0" * 64, "none"

        def __init__(self, *args):
            pass

        def __call__(self, frames):
            return frames.mean((1, 2)).astype(np.float32)

    without = score(translated(), clip="none", device="cpu")["methods"]["film"]
    assert without["subject_inception"]["refused"] == NEEDS["Inception"]
    assert without["fid_heldout"]["refused"] == NEEDS["reference"]
    monkeypatch.setattr(frechet, "Inception", Means)
    row = score(translated(), clip="none", device="cpu")["methods"]["film"]
    assert "value" in row["subject_inception"]
    assert (row["fid_heldout"]["refused"], row["fid_train"]["refused"]) == (NEEDS["reference"], NEEDS["train"])


def test_films_of_another_rate_are_refused_in_time_alone(project):
    from eval.records.score import score

    for name, fps in (("film", 8), ("real", 4)):
        video.write_mp4(project / f"{name}.mp4", np.asarray(translated(count=12)), fps)
    result = score("film.mp4", "real.mp4", method="mine", clip="none", device="cpu")
    refused = {name for name, entry in result["methods"]["mine"].items() if "fps" in entry.get("refused", "")}
    assert refused == {name for name, metric in METRICS.items() if metric.compares and "fps" in metric.needs}


def test_tables_figures_and_report_head_a_measure_as_the_registry_calls_it(monkeypatch):
    """A measure that is renamed there is renamed everywhere, its unit and its direction too."""
    from eval.publish import formats, nearest, report_first, table1
    from eval.publish.figures import motion, numbers
    from eval.records.ablations import MEASURES

    assert registry.heading("spectrum_gap") == "spectrum, off real, dB" and registry.heading("clipsim") == "CLIPSIM"
    assert registry.directed("frame0_db").endswith(" ↑") and registry.directed("flow_warp_gap").endswith(" ↓")
    assert registry.directed("motion_ratio") == registry.heading("motion_ratio")
    assert formats.titled("motion_ratio", 40) == "motion, x real\nx held-out; good: near 1"
    assert MEASURES["flow_warp"].label == f"{METRICS['flow_warp'].label}, x the clip's"

    for name, metric in METRICS.items():
        monkeypatch.setitem(METRICS, name, replace(metric, label=f"<{name}>", short="furlongs"))
    assert table1.table1b({"ocean": made()})[0][2:] == [f"<{name}>, furlongs" for name in table1.MEASURED]
    assert table1.table1c({"ocean": made()})[0][2] == "<flow_warp_gap>, furlongs ↓"
    assert table1.table1({"ocean": made()})[0][4:] == [f"<{name}>, furlongs" for name in table1.SCORED]
    (_, header, _), = report_first.measures({"ocean": made()}, Cells(Path("results"), Path("results/paper")))
    assert header[1:-2] == ["<flow_warp>, furlongs, x real", *(f"<{name}>, furlongs" for name in nearest.MEASURES[1:])]
    for metric in (*numbers.PANELS, *motion.PANELS):
        assert formats.titled(metric, 40).startswith(f"<{metric}>, furlongs\n")


def test_no_text_of_the_report_shows_a_reader_the_key_of_a_measure(monkeypatch):
    """The sentences of the ranking, its table, the table of every metric and its refusals showed keys."""
    from eval.publish import ranking, report_tables

    cells, table = Cells(Path("results"), Path("results/paper")), made(flicker={"refused": "too short"})
    for name, metric in METRICS.items():
        monkeypatch.setitem(METRICS, name, replace(metric, label=f"<{name}>", short="furlongs"))
    every = report_tables.every("ocean", table, cells)
    assert [row[0].split(" (")[0] for row in every["table"][1]] == [f"<{name}>" for name in METRICS]
    assert every["refusals"] == ["“<flicker>” refused (-) for mine; static; noise; real; ceiling: too short"]
    ranked = list(ranking.ranks(table))
    assert [row[0].split(" (")[0] for row in report_tables.ranks(table, "")[1]] == [
        f"<{name}>, furlongs" for name in ranked]
    said = ranking.paragraph(table)
    assert all(f"“<{name}>”" in said for name in ranked) and len(ranked) > 20
    assert re.findall(rf"(?<!<)\b(?:{'|'.join(METRICS)})\b", said) == []


def test_notebook_4_heads_a_measure_as_the_tables_do(capsys):
    """Its tables showed the keys of metrics.json."""
    cells = json.loads((REPOSITORY / "notebooks" / "4_evaluate.ipynb").read_text(encoding="utf-8"))["cells"]
    source = {cell["id"]: "".join(cell["source"]) for cell in cells}
    table = made(flicker={"refused": "too short"}) | {
        "flags": [{"metric": "flow_warp", "control": "static", "value": 0.0, "real": 0.1, "good": "low"}],
        "flow_disagreements": {"speed": [{"methods": ["ours", "static"], "flow_speed": [1, 2],
                                          "flow_speed_rife": [2, 1]}]}}
    known = {"metrics": table}
    exec(source["imports"], known)
    heads = [registry.heading(metric) for metric in METRICS]
    for name in ("table", "against-vae", "differences"):
        shown = _shown(source[name], known)
        assert set(shown.index) == {*heads} - ({"flicker"} if name == "differences" else set()), name
    assert list(_shown(source["flags"], known)["metric"]) == ["flow-warp error"]
    assert list(_shown(source["two-flows"], known).columns) == [
        "what", "methods", "speed, pixels a step", "speed, RIFE, pixels a step"]
    exec(source["refusals"], known)
    assert capsys.readouterr().out == "flicker: too short\n"


def _shown(source, known):
    """What a cell's last expression is, as Jupyter shows it."""
    body = ast.parse(source).body
    last = body.pop()
    exec(compile(ast.Module(body, []), "cell", "exec"), known)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), known)


def made(**changes):
    """A metrics.json of one still, repeated, beside the real clip. changes: entries instead, by their measures."""
    one = {metric: summarise([1.0], "") for metric in METRICS} | changes
    labels = {"ours": "mine", "static": "static", "static_noise": "noise", "heldout": "real", "heldout_vae": "ceiling"}
    return {"labels": labels, "controls": list(labels)[1:], "flags": [], "sizes": {},
            "interval": {"unit": "film", "not_covered": "one still"}, "methods": dict.fromkeys(labels, one),
            "against_vae": dict.fromkeys(labels, one),
            "differences": dict.fromkeys(list(labels)[1:], one), "reference": {"fid": {"refused": "no"}}}


def test_the_docs_have_the_registry_s_table():
    page = (REPOSITORY / "docs" / "report.md").read_text(encoding="utf-8")
    table = page.split("<!-- eval/records/measures.py -->\n")[1].split("\n<!-- end of eval/records/measures.py -->")[0]
    assert table == measures.markdown(), "python -m eval.records.measures prints it"


def test_the_command_lists_every_measure(project, capsys):
    assert main(["score", "--list"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for name, label, *rest in registry.listing():
        assert f"{name}: {label}" in said and all(text in said for text in rest)
