"""A fabricated run, scored and reported end to end: metrics.json, Table 1, figures, report.html."""

import base64
import csv
import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from fabricated import COUNT, HELDOUT, SIZE, clip_frames, fabricate, settings
from networks import WEIGHTS, needs_inception, tiny_clip

from eval import registry
from eval.films import read
from eval.metrics import motion
from eval.publish import report, table1
from eval.publish.figures import every, numbers
from eval.publish.figures import motion as motion_figure
from eval.publish.figures.films import figure4
from eval.records.run import compared, film
from eval.records.video import evaluate_video
from eval.study import aggregate
from lnm import video
from lnm.errors import UserError

LEDGER = {"counts_line": "1 reproduced, 1 where the paper contradicts itself", "claims": [
    {"id": "temporal_only", "section": "4", "quote": ["just the temporal layers"], "published": None, "computed": "yes",
     "verdict": "reproduced", "reason": "all others are frozen"},
    {"id": "realism", "section": "5.3", "quote": ["74%", "30% <i>only</i>"], "published": [74, 30], "computed": "104%",
     "verdict": "the paper contradicts itself", "reason": "they sum to 104%"}]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A project of two videos, scored with a CLIP of random weights and without FID, then reported."""
    root = tmp_path_factory.mktemp("project")
    (root / "params.yaml").write_text("seed: 0\n")
    tiny_clip(root / "checkpoints" / "lnm-mini-clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        results = root / "results"
        video.write_frames(root / "inputs" / "baselines" / "cogvideo" / "ocean",
                           np.repeat(np.repeat(clip_frames(5, 4), 2, 1), 3, 2))  # 96 x 64: another size and shape
        for seed, name in enumerate(("ocean", "rapids")):
            fabricate(results, name, seed)
            extra = {"baselines": {"inputs/baselines/cogvideo/ocean": "hash"}} if name == "ocean" else {}
            metrics = evaluate_video(settings(name, clip="checkpoints/lnm-mini-clip", **extra), results / name,
                                     results / name / "evaluate")
            motion_figure.motion(metrics, results / name / "evaluate" / "motion.png")
        resolved = root / "build" / "resolve" / "ocean" / "finetune.json"
        resolved.parent.mkdir(parents=True)
        resolved.write_text(json.dumps({"seed": 7, "checkpoint_sha256": "cd" * 32}))
        out = results / "paper"
        out.mkdir()
        (out / "6_paper.ipynb").write_text("{}")
        (out / "claims.json").write_text(json.dumps(LEDGER))
        aggregate.aggregate([], results / "human_study")
        (results / "human_study" / "study.html").write_text("<p>which do you prefer?")
        markdown = table1.write(results, ["ocean", "rapids"], out)
        paths = every.write_all(results, ["ocean", "rapids"], out)
        page = report.write(results, ["ocean", "rapids"], out, commit="c0ffee")
        yield {"results": results, "out": out, "markdown": markdown, "figures": paths, "page": page}


def metrics_of(run, name="ocean"):
    return json.loads((run["results"] / name / "evaluate" / "metrics.json").read_text())


def test_every_number_has_an_interval_or_its_n_and_a_unit_or_a_reason(run):
    metrics = metrics_of(run)
    assert set(metrics["methods"]) == {"heldout", "heldout_vae", "ours", "frame_by_frame", "flow_extrapolation",
                                       "static", "static_noise", "shuffled", "cogvideo"}
    for values in metrics["methods"].values():
        assert set(values) == set(registry.UNITS)
        for entry in values.values():
            if "refused" in entry:
                assert entry["refused"]
            else:
                assert entry["unit"] and entry["n"] == len(entry["values"])
                assert entry["low"] is entry["high"] is None  # 1 or 2 films carry no interval
                assert entry["least"] == min(entry["values"]) <= entry["value"] <= entry["most"] == max(entry["values"])
    assert metrics["methods"]["ours"]["motion_ratio"]["n"] == 2
    assert metrics["methods"]["ours"]["fid_train"] == {"refused": "evaluate.fid is false"}


def test_the_metrics_say_what_the_fabricated_films_are(run):
    methods = metrics_of(run)["methods"]

    def value(method, metric):
        return methods[method][metric]["value"]

    assert methods["ours"]["motion_ratio"]["values"][0] == 1  # its first film is the real clip
    assert value("ours", "flow_warp_gap") < value("static_noise", "flow_warp_gap")
    assert value("ours", "flow_warp_gap") < value("frame_by_frame", "flow_warp_gap")
    assert value("static", "motion_energy") == 0 and value("static", "frame0_db") == 100
    assert value("static_noise", "motion_ratio") == pytest.approx(1, rel=0.05)
    assert value("heldout_vae", "detail_kept") == 1 < value("heldout", "detail_kept")
    assert value("heldout_vae", "frame0_db_below_ceiling") == 0
    assert metrics_of(run)["backend"]["clip"]["clipscore_prefix"] == "A photo depicts "
    heldout = video.read_frames(run["results"] / "ocean" / "prepare" / "heldout")
    assert value("heldout", "motion_energy") == pytest.approx(motion.motion_energy(heldout[:COUNT]), rel=1e-5)


def test_the_summary_for_dvc_is_flat_numbers_of_ours(run):
    summary = json.loads((run["results"] / "ocean" / "evaluate" / "summary.json").read_text())
    assert set(summary) == {"motion_ratio", "flow_warp", "detail_kept", "frame0_db_below_ceiling", "clipsim"}
    assert all(isinstance(value, float) for value in summary.values())


def test_evaluating_again_gives_the_same_bytes(run, tmp_path):
    first = run["results"] / "rapids" / "evaluate"
    metrics = evaluate_video(settings("rapids", clip="checkpoints/lnm-mini-clip"), run["results"] / "rapids", tmp_path)
    motion_figure.motion(metrics, tmp_path / "motion.png")
    for name in ("metrics.json", "summary.json", "sheet.png", "motion.png"):
        assert (tmp_path / name).read_bytes() == (first / name).read_bytes(), name


@needs_inception
def test_fid_stands_with_its_counts_floor_and_real_against_real(run, tmp_path):
    (run["results"].parent / "weights").mkdir(exist_ok=True)
    (run["results"].parent / "weights" / WEIGHTS.name).symlink_to(WEIGHTS)
    metrics = evaluate_video(settings("rapids", fid=True), run["results"] / "rapids", tmp_path)
    floor = metrics["reference"]["fid"]["heldout"]
    assert (floor["n"], floor["n_reference"], floor["real_vs_real"]["n"]) == (COUNT, HELDOUT, COUNT)
    assert floor["kid"]["n"] == COUNT and floor["real_vs_real"]["windows"] == floor["kid"]["windows"] > 1
    methods = metrics["methods"]
    # ours are real frames or nearly: FID to their own clip is under any other method's, and not under the rank floor
    ours, frozen = (methods[name]["fid_heldout"]["value"] for name in ("ours", "frame_by_frame"))
    assert floor["rank_floor"] <= ours < frozen
    assert methods["heldout"]["fid_train"]["value"] < methods["static_noise"]["fid_train"]["value"]
    assert "reference" in methods["heldout"]["fid_heldout"]["refused"]
    assert methods["shuffled"]["fid_train"] == methods["heldout"]["fid_train"]
    assert len(metrics["backend"]["inception"]["sha256"]) == 64


def test_without_a_clip_or_weights_the_reason_stands_in_the_numbers_place(run, tmp_path):
    missing = settings("rapids", clip="checkpoints/no-such-clip", fid=True)
    missing_weights = run["results"].parent / "weights" / WEIGHTS.name
    missing_weights.unlink(missing_ok=True)
    metrics = evaluate_video(missing, run["results"] / "rapids", tmp_path)
    assert "checkpoints/no-such-clip" in metrics["methods"]["ours"]["clipsim"]["refused"]
    assert "lnm footage --inception" in metrics["methods"]["ours"]["fid_train"]["refused"]
    assert "motion_ratio" in json.loads((tmp_path / "summary.json").read_text())


def test_films_at_another_fps_are_not_compared_in_time(run, tmp_path):
    fabricate(tmp_path, "slow", 3, fps=4)
    methods = evaluate_video(settings("slow"), tmp_path / "slow", tmp_path / "out")["methods"]
    assert "4 fps" in methods["ours"]["motion_ratio"]["refused"] and "4 fps" in methods["ours"]["flow_warp"]["refused"]
    assert "value" in methods["ours"]["detail_kept"] and "value" in methods["static"]["motion_energy"]


def test_films_longer_than_what_was_held_out_are_scored(tmp_path, run):
    fabricate(tmp_path, "short", 4)
    for part in ("heldout", "heldout_vae"):
        for frame in sorted((tmp_path / "short" / "prepare" / part).iterdir())[4:]:
            frame.unlink()
    metrics = evaluate_video(settings("short"), tmp_path / "short", tmp_path / "out")
    assert metrics["reference"]["frames_compared"] == 4 and metrics["reference"]["frames_film"] == COUNT


def test_a_baseline_may_not_take_a_methods_name(run, tmp_path):
    with pytest.raises(UserError, match="ours is taken"):
        evaluate_video(settings("ocean", baselines={"inputs/baselines/ours/ocean": "x"}),
                                run["results"] / "ocean", tmp_path)


def test_baselines_come_as_frames_one_video_or_seed_folders(tmp_path):
    film = clip_frames(0, 8)
    video.write_frames(tmp_path / "frames", film)
    video.write_mp4(tmp_path / "film.mp4", film, fps=16)
    video.write_mp4(tmp_path / "folder" / "any name.mp4", film, fps=16)
    for k in range(2):
        video.write_frames(tmp_path / "seeds" / f"seed_{k}", film[k:])
    shapes = {name: [f.shape for f in read.read_baseline(tmp_path / name, 8, 16)]
              for name in ("frames", "film.mp4", "folder", "seeds")}
    assert shapes == {"frames": [(8, 16, 16, 3)], "film.mp4": [(4, 16, 16, 3)], "folder": [(4, 16, 16, 3)],
                      "seeds": [(8, 16, 16, 3), (7, 16, 16, 3)]}


def test_table_1_prints_the_published_rows_as_the_paper_does_and_invents_no_vote(run):
    lines = [re.split(r"\s*\|\s*", line)[1:-1] for line in run["markdown"].splitlines() if line.startswith("|")]
    assert lines[2][:5] == ["CogVideo, published", "21%", "24%", "480x480", "0.7522"] and lines[2][6] == "384"
    assert lines[3][:5] == ["LateNtMovies (ours), published", "79%", "76%", "512x512", "0.7597"]
    assert lines[3][6] == "164"
    ours = next(line for line in lines if line[0] == "LateNtMovies (ours)")
    assert ours[1:4] == ["no responses yet", "no responses yet", f"{SIZE}x{SIZE}"] and ours[6] == "-"
    names = [line[0] for line in lines]
    assert {"checkpoint, frame by frame", "static repeat", "static + noise", "cogvideo"} <= set(names)
    for line in run["markdown"].splitlines():  # a cell holds its range as well, of both ends, since no half does
        assert len(line) <= (200 if line.startswith("|") else 140), line
    for said in ("demonstration", "2.5 x cosine", "checkpoints/lnm-mini-clip", "FID refused: evaluate.fid is false"):
        assert said in " ".join(run["markdown"].split())


def test_the_csv_holds_each_video_and_the_mean_with_intervals(run):
    with (run["out"] / "table1.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    mean = next(r for r in rows if r["video"] == "mean" and r["method"] == "LateNtMovies (ours)")
    values = [metrics_of(run, name)["methods"]["ours"]["motion_ratio"]["value"] for name in ("ocean", "rapids")]
    assert float(mean["motion_ratio"]) == pytest.approx(np.mean(values), rel=1e-5)
    assert mean["motion_ratio_n"] == "2" and mean["motion_ratio_low"] == ""
    assert [float(mean[f"motion_ratio_{end}"]) for end in ("least", "most")] == pytest.approx(sorted(values), rel=1e-5)
    assert {row["source"] for row in rows} == {"published", "this run"}
    cogvideo = {r["video"]: r["motion_ratio"] for r in rows if r["method"] == "cogvideo"}
    assert cogvideo["mean"] == "" and cogvideo["ocean"]  # not sampled for both videos: no mean


def test_the_latex_escapes_what_latex_reads(run):
    tex = (run["out"] / "table1.tex").read_text()
    assert r"21\%" in tex and "Table" not in tex and not re.search(r"(?<!\\)[%#_]", tex)


def test_figures_are_png_and_pdf_and_the_same_bytes_again(run, tmp_path):
    names = ("figure3", "figure4", "loss", "metrics", "controls_ocean", "controls_rapids", "slices_ocean",
             "slices_rapids")
    assert {path.name for path in run["figures"]} == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}
    videos = ["ocean", "rapids"]
    paths = figure4(run["results"], videos, tmp_path / "figure4.png")
    paths += numbers.loss(run["results"], videos, tmp_path / "loss.png")
    for path in paths + numbers.controls(metrics_of(run), tmp_path / "controls_ocean.png"):
        same = run["out"] / "figures" / path.name
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(same.read_bytes()).digest(), path.name


def test_figure_4_has_every_method_a_user_s_baseline_included(run):
    assert compared(metrics_of(run)) == ["ours", "frame_by_frame", "flow_extrapolation", "cogvideo"]
    assert compared(metrics_of(run, "rapids")) == ["ours", "frame_by_frame", "flow_extrapolation"]
    cogvideo = film(run["results"], "ocean", "cogvideo")
    assert cogvideo.shape == (4, SIZE, SIZE, 3)  # as it was scored: the centre square, this run's size
    ours = video.read_frames(run["results"] / "ocean" / "sample" / "ours" / "seed_0")
    assert np.array_equal(film(run["results"], "ocean", "ours"), ours)
    still = video.read_image(run["results"] / "ocean" / "prepare" / "still.png")
    assert np.array_equal(film(run["results"], "ocean", "flow_extrapolation")[0], still)


def test_the_report_holds_everything_and_fetches_nothing(run):
    text = run["page"].read_text()
    links = set(re.findall(r"""(?:src|href)=["']([^"']*)""", text))
    assert not [link for link in links if ":" in link.removeprefix("data:")] and "url(" not in text
    files = {link for link in links if not link.startswith(("data:", "#"))}
    assert {"../ocean/notebooks/4_evaluate.ipynb", "../rapids/notebooks/2_finetune.ipynb", "6_paper.ipynb",
            "../human_study/study.html"} <= files
    assert all((run["out"] / link).is_file() for link in files)
    assert {link[1:] for link in links if link.startswith("#")} <= set(re.findall(r'id="([^"]*)"', text))
    assert "&lt;script&gt;alert" in text and "<script" not in text
    for said in ("A demonstration, not a reproduction", "A. Author, CC BY 4.0", "c0ffee", "ab" * 32,
                 "No responses yet", "2 claims: 1 reproduced, 1 where the paper contradicts itself.", "cd" * 6,
                 "30% &lt;i&gt;only"):
        assert said in text
    assert text.count("<video") == 5 + 6 and all("alt=" in tag for tag in re.findall(r"<img[^>]*>", text))
    films = re.findall(r"data:video/mp4;base64,([^\"]+)", text)
    assert all(base64.b64decode(film)[4:8] == b"ftyp" for film in films)


def test_every_number_of_this_run_is_linked_to_the_notebook_that_computed_it(run):
    text = run["page"].read_text()
    tables = re.findall(r"<table[^>]*>.*?</table>", text, re.S)
    scored = [table for table in tables if re.search("<caption>(Table 1|.*: every metric)", table)]
    assert len(scored) == 7  # Table 1, 1b of each video and of both, 1c, every metric of each video
    for table in scored:
        for row in re.findall(r"<tr>.*?</tr>", table, re.S):
            for cell in re.findall(r"<td>(.*?)</td>", row, re.S):
                if re.search(r"\d", re.sub("<[^>]*>", "", cell)) and "published" not in row:
                    assert '.ipynb"' in cell, row
    provenance = next(table for table in tables if "Which notebook" in table)
    finetune = next(row for row in re.findall(r"<tr>.*?</tr>", provenance, re.S) if "ocean: finetune" in row)
    resolved = run["results"].parent / "build" / "resolve" / "ocean" / "finetune.json"
    for said in ("2_finetune.ipynb", hashlib.sha256(resolved.read_bytes()).hexdigest()[:12], "checkpoint cdcdcdcdcdcd",
                 "<td>7</td>", "c0ffee"):
        assert said in finetune


def test_what_is_not_there_has_no_section_and_no_link(run, tmp_path):
    out = tmp_path / "paper"
    shutil.copytree(run["out"] / "figures", out / "figures")
    text = report.write(run["results"], ["ocean"], out, commit="c0ffee").read_text()
    assert "Paper against this run" not in text and 'href="6_paper.ipynb"' not in text and "Figure 1" not in text


def test_a_control_above_real_frames_is_marked_in_the_reports_table(run):
    text = run["page"].read_text()
    assert any(flag == {**flag, "metric": "flicker", "control": "static"} for flag in metrics_of(run)["flags"])
    row = next(row for row in re.findall(r"<tr>.*?</tr>", text, re.S) if ">flicker (" in row)
    cells = re.findall(r"<td>(.*?)</td>", row, re.S)
    labels = list(metrics_of(run)["labels"])
    assert "&dagger;" in cells[labels.index("static")] and "&dagger;" not in cells[labels.index("ours")]


def test_without_git_the_commit_is_unknown(run):
    assert report.git_commit() == "unknown"  # the fabricated project is no repository


def test_the_report_plays_in_chromium(run):
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    said, asked = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # the page forbids scripts, and so the second look's questions: the first look is as a reader's
        for bypass in (False, True):
            page = browser.new_context(color_scheme="dark", bypass_csp=bypass).new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(run["page"].as_uri())
            prompt = page.locator("section p").first.inner_text()
        films = page.locator("video")
        assert films.count() > 3
        for i in range(films.count()):  # a browser plays a muted film when it comes into view
            films.nth(i).scroll_into_view_if_needed()
            page.wait_for_function("v => v.currentTime > 0 && !v.error", arg=films.nth(i).element_handle())
        # by the keyboard alone: Tab reaches a film, the space bar stops it and starts it again
        page.keyboard.press("Home")
        reached = []
        for _ in range(30):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.tagName"))
            if reached[-1] == "VIDEO":
                break
        assert reached[0] == "A" and reached[-1] == "VIDEO"
        film = page.evaluate_handle("document.activeElement")
        for paused in (True, False):
            page.keyboard.press("Space")
            page.wait_for_function("([v, paused]) => v.paused === paused", arg=[film, paused])
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        broken = page.evaluate("[...document.querySelectorAll('img')].filter(i => !i.naturalWidth).length")
        nowhere = page.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.querySelector("
            "a.getAttribute('href'))).length")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        page.locator('a[href$="study.html"]').click()
        page.wait_for_url("**/human_study/study.html")
        browser.close()
    assert not said
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert (background, broken, nowhere, wide) == ("rgb(23, 24, 26)", 0, 0, 0)
    assert "<script>" in prompt
