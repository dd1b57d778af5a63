"""A fabricated run, scored and reported end to end: metrics.json, Table 1, figures, report.html."""

import base64
import csv
import hashlib
import json
import re
import shutil
from datetime import datetime

import numpy as np
import pytest
from conftest import REPOSITORY
from fabricated import COUNT, HELDOUT, SIZE, clip_frames, fabricate, settings
from networks import WEIGHTS, needs_inception, tiny_clip
from unusual import ARABIC, LONG

from eval import registry
from eval.films import read
from eval.metrics import motion
from eval.publish import report, table1
from eval.publish.figures import every, numbers
from eval.publish.figures import motion as motion_figure
from eval.publish.figures.films import figure4
from eval.publish.report_provenance import NOT_RECORDED
from eval.records.run import compared, film
from eval.records.video import evaluate_video
from eval.study import aggregate
from lnm import video
from lnm.errors import UserError
from lnm.files import write_json
from lnm.workflow import commit

COUNTS = {"implemented as described": 1, "result reproduced": 0, "the paper contradicts itself": 1}
LEDGER = {"counts": COUNTS, "claims": [
    {"id": "temporal_only", "section": "4", "quote": ["just the temporal layers"], "published": None, "computed": "yes",
     "verdict": "implemented as described", "reason": "all others are frozen", "notebook": "4_evaluate.ipynb#table"},
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
            fabricate(results, name, seed, **({"prompt": f"\u202e{ARABIC} {LONG}"} if name == "rapids" else {}))
            extra = {"baselines": {"inputs/baselines/cogvideo/ocean": "hash"}} if name == "ocean" else {}
            metrics = evaluate_video(settings(name, clip="checkpoints/lnm-mini-clip", **extra), results / name,
                                     results / name / "evaluate")
            motion_figure.motion(metrics, results / name / "evaluate" / "motion.png")
            shutil.copy(REPOSITORY / "notebooks" / "4_evaluate.ipynb", results / name / "notebooks")
        for name in ("ocean", "rapids"):  # what params.yaml says now, which nobody was told
            write_json(root / "build" / "resolve" / name / "finetune.json", {"seed": 8, "checkpoint_sha256": "ef" * 32})
        out = results / "paper"
        out.mkdir()
        shutil.copy(REPOSITORY / "notebooks" / "6_paper.ipynb", out)
        commit.note(root, results / "ocean" / "notebooks" / "2_finetune.ipynb", "abad1dea" * 5 + " and changes",
                    {"seed": 7, "checkpoint_sha256": "cd" * 32})
        (out / "claims.json").write_text(json.dumps(LEDGER))
        aggregate.aggregate([], results / "human_study")
        (results / "human_study" / "study.html").write_text("<p>which do you prefer?")
        markdown = table1.write(results, ["ocean", "rapids"], out)
        paths = every.write_all(results, ["ocean", "rapids"], out)
        page = report.write(results, ["ocean", "rapids"], out, commit="c0ffee", figures=paths)
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
    assert set(summary) == {"motion_ratio", "motion_ratio_vae", "flow_warp", "detail_ratio", "frame0_db", "clipsim"}
    assert all(isinstance(value, float) for value in summary.values())


def test_the_summary_has_motion_beside_the_clip_through_the_autoencoder_as_well(run):
    """Both as metrics.json has them; the ratio of the two is how much less the clip moves through the autoencoder."""
    metrics = metrics_of(run)
    summary = json.loads((run["results"] / "ocean" / "evaluate" / "summary.json").read_text())
    assert summary["motion_ratio"] == metrics["methods"]["ours"]["motion_ratio"]["value"]
    assert summary["motion_ratio_vae"] == metrics["against_vae"]["ours"]["motion_ratio"]["value"]
    through = metrics["methods"]["heldout_vae"]["motion_ratio"]["value"]
    assert summary["motion_ratio"] / summary["motion_ratio_vae"] == pytest.approx(through, rel=1e-4) and through != 1


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
    metrics = evaluate_video(settings("slow"), tmp_path / "slow", tmp_path / "out")
    methods, tracked = metrics["methods"], metrics["vectors"]["velocity"]["films"]
    assert list(tracked) == ["heldout", "heldout_vae"]
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
             "slices_rapids", "vectors_ocean", "vectors_rapids")
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
    files = {link.partition("#")[0] for link in links if not link.startswith(("data:", "#"))}
    assert {"../ocean/notebooks/4_evaluate.ipynb", "../rapids/notebooks/2_finetune.ipynb", "6_paper.ipynb",
            "../human_study/study.html"} <= files
    assert all((run["out"] / link).is_file() for link in files)
    ids = re.findall(r' id="([^"]*)"', text)
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids) and len(ids) == len(set(ids))
    for said in ("A demonstration, not a reproduction", "A. Author, CC BY 4.0", "c0ffee", "ab" * 32,
                 "No responses yet", "no result of the paper&#39;s experiments is reproduced",
                 "1 is implemented as described and in 1 the paper contradicts itself", "cd" * 6,
                 "30% &lt;i&gt;only", "Real, through the autoencoder",
                 "rapids: the same beside the real clip through the autoencoder", "cannot be held against each other",
                 "how far each is from the real clip is in the legend"):
        assert said in text
    assert text.count("<video") == 5 + 6 and all("alt=" in tag for tag in re.findall(r"<img[^>]*>", text))
    assert not re.search(r"<video[^>]* controls", text), "no control bar over the picture"
    films = re.findall(r"data:video/mp4;base64,([^\"]+)", text)
    assert all(base64.b64decode(film)[4:8] == b"ftyp" for film in films)


def test_no_script_runs_but_the_reports_own(run):
    text = run["page"].read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    named = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{named}'" in text and text.count("<script") == 1 and "&lt;script&gt;alert" in text


def test_a_prompt_of_any_length_and_direction_leaves_the_page_as_it_is(run):
    """Isolated, so that what follows it reads from left to right, and cut."""
    prompts = re.findall(r"&ldquo;<bdi>(.*?)</bdi>&rdquo;", run["page"].read_text(encoding="utf-8"))
    assert len(prompts) == 2 and prompts[1].startswith(f"\u202e{ARABIC} ocean waves") and len(prompts[1]) <= 300


def test_every_part_of_the_page_is_named_so_that_an_edit_runs_the_stage_again():
    folder = REPOSITORY / "eval" / "publish" / "templates"
    assert {f"templates/{path.name}" for path in folder.iterdir()} == set(report.TEMPLATES)


def test_every_number_of_this_run_is_linked_to_the_cell_that_computed_it(run):
    text = run["page"].read_text()
    tables = re.findall(r"<table[^>]*>.*?</table>", text, re.S)
    scored = [table for table in tables if re.search(
        "<caption>(Table 1|.*: every metric|.*: four measures|.*: every comparison)", table)]
    # Table 1, 1b of each video and of both, 1c; of each video every metric, four measures, and what stands beside the
    # real clip through the autoencoder
    assert len(scored) == 11
    linked = set()
    for table in scored:
        for row in re.findall(r"<tr>.*?</tr>", table, re.S):
            for cell in re.findall(r"<td>(.*?)</td>", row, re.S):
                said = re.sub("<[^>]*>", "", cell)
                if re.search(r"\d", said) and "published" not in row and not said.isdigit():
                    linked.add(re.search('href="#(cell-[^"]*)"', cell)[1])
    assert linked == {"cell-ocean-notebooks-4_evaluate-run", "cell-rapids-notebooks-4_evaluate-run",
                      "cell-paper-6_paper-table", "cell-paper-6_paper-report"}
    shown = dict(re.findall(r'<section class="cell" id="([^"]*)"(.*?)</section>', text, re.S))
    for anchor in linked:
        assert re.search(r'href="[^"]*[.]ipynb#cell-id=(run|table|report)"', shown[anchor])
    notes = re.findall(r"<li>(.*?)</li>", text.split('<ul class="note">')[1].split("</ul>")[0], re.S)
    assert len(notes) > 5 and all('href="#cell-paper-6_paper-table"' in note for note in notes)
    assert "evaluate_video(choices" in shown["cell-ocean-notebooks-4_evaluate-run"]
    assert "table1.write" in shown["cell-paper-6_paper-table"]
    assert "cell-ocean-notebooks-4_evaluate-table" in shown, "of a claim, the cell it names"


def test_each_stage_has_the_commit_that_it_was_run_at(run):
    text = run["page"].read_text()
    tables = re.findall(r"<table[^>]*>.*?</table>", text, re.S)
    provenance = next(table for table in tables if "Which notebook" in table)
    rows = {re.sub("<[^>]*>", "", re.search("<th.*?</th>", row)[0]): row
            for row in re.findall(r"<tr>.*?</tr>", provenance, re.S)[1:]}
    told = run["results"].parent / "build" / "commits" / "results" / "ocean" / "notebooks" / "2_finetune.choices.json"
    for said in ("2_finetune.ipynb", hashlib.sha256(told.read_bytes()).hexdigest()[:12], "checkpoint cdcdcdcdcdcd",
                 "<td>7</td>", "abad1deaabad and changes"):
        assert said in rows["ocean: finetune"]
    assert "c0ffee" not in rows["ocean: finetune"] and "c0ffee" in rows["Table 1, figures, this report"]
    assert rows["rapids: finetune"].count(NOT_RECORDED) == 4, "settings, weights, seed and commit: not today's"
    assert NOT_RECORDED in rows["ocean: prepare"]


def test_what_is_not_there_has_no_section_and_no_link_and_no_figure_is_an_older_runs(run, tmp_path):
    out = tmp_path / "paper"
    (out / "figures").mkdir(parents=True)
    for name in ("figure1", "figure2", "metrics", "loss", "slices_ocean", "controls_ocean", "vectors_ocean"):
        (out / "figures" / f"{name}.png").write_bytes(b"of an older run")
    text = report.write(run["results"], ["ocean"], out, commit="c0ffee").read_text()
    assert "What does the paper claim" not in text and "6_paper.ipynb#cell" not in text and "Figure 1" not in text
    assert base64.b64encode(b"of an older run").decode() not in text


def test_a_control_above_real_frames_is_marked_in_the_reports_table(run):
    text = run["page"].read_text()
    assert any(flag == {**flag, "metric": "flicker", "control": "static"} for flag in metrics_of(run)["flags"])
    row = next(row for row in re.findall(r"<tr>.*?</tr>", text, re.S) if ">flicker (" in row)
    cells = re.findall(r"<td>(.*?)</td>", row, re.S)
    labels = list(metrics_of(run)["labels"])
    assert "&dagger;" in cells[labels.index("static")] and "&dagger;" not in cells[labels.index("ours")]


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, run):
    """A function that opens the report; at the end there must be no complaint and nothing asked of anywhere."""
    contexts, said, asked = [], [], []

    def opened(before=lambda page: None, **context):
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        before(page)
        page.goto(run["page"].as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


DESKTOP, PHONE = {"viewport": {"width": 1280, "height": 800}}, {
    "viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


LONGEST = COUNT  # frames of the second video's films; the first's are cut to its shortest film's, which has 4


def position(page):
    """The frame of the longest films that the controls say is shown, from 1."""
    return int(page.locator("#where").inner_text().split()[1])


def moved(page, milliseconds):
    """How many frames the longest films go on in that time, looked at so often that none is passed over."""
    total, before = 0, position(page)
    for _ in range(milliseconds // 25):
        page.clock.run_for(25)
        now = position(page)
        total, before = total + (now - before) % LONGEST, now
    return total


def together(page, frame, everywhere=False):
    """Waits until the films of each video show one frame, that of the longest (or of all) being `frame`, from 1."""
    page.wait_for_function(
        "([frame, everywhere, longest]) => [...document.querySelectorAll('.strip')].every((strip) => { "
        "const films = [...strip.querySelectorAll('video')]; "
        "const shown = films.map(v => Math.floor(v.currentTime * strip.dataset.fps)); "
        "return films.every(v => v.paused && !v.error) && new Set(shown).size === 1 "
        "&& ((Number(strip.dataset.frames) < longest && !everywhere) || shown[0] === frame - 1); })",
        arg=[frame, everywhere, LONGEST], polling=100)


def test_all_films_play_pause_step_and_slow_down_together_by_the_keyboard_alone(visit):
    page = visit(lambda page: page.clock.install(time=datetime(2026, 1, 1)), **DESKTOP)
    page.locator("#controls:visible").wait_for()
    page.clock.pause_at(datetime(2026, 1, 2))  # from here on a second passes where the test says so
    page.clock.run_for(50)  # the jump to it counts as half a second, once
    for speed, frames in ((1, 8), (0.5, 4), (0.25, 2)):  # in a second of 8 frames a second
        page.locator("#speed").select_option(str(speed))
        assert abs(moved(page, 1000) - frames) <= 1  # the clock ticks at 60 Hz
    page.locator("body").press("Home")
    for _ in range(30):  # the numbers of the first screen come before
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "play":
            break
    page.keyboard.press("Space")
    assert page.locator("#play").inner_text() == "Play"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    frame = position(page)
    together(page, frame)
    page.clock.run_for(1000)
    assert position(page) == frame, "paused"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    for _ in range(LONGEST + 1):  # and round the end
        page.keyboard.press("Enter")
    together(page, frame % LONGEST + 1)
    page.keyboard.press("Tab")
    page.keyboard.press("Home")  # the slider
    together(page, 1, everywhere=True)
    page.keyboard.press("End")  # past the end of the first video, whose films stay at their last frame
    assert position(page) == LONGEST == int(page.locator("#frame").input_value()) > 4
    together(page, LONGEST)


@pytest.mark.parametrize("scheme, context", [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen_folded_and_unfolded(visit, scheme, context):
    from axe_playwright_python.sync_playwright import Axe

    # the page lets no script run but its own, and axe is another; what CSP itself forbids is tested by the first look
    page = visit(**context, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
    assert page.locator("#play").inner_text() == "Play", "where motion is unwelcome films wait"
    assert page.locator("details[open]").count() == 0
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height < 4 * context["viewport"]["height"], "folded, an overview"
    for unfold in (False, True):
        if unfold:
            page.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # on paper nothing is folded
            assert page.locator("details:not([open])").count() == 0
        found = Axe().run(page).response
        assert len(found["passes"]) > 10
        assert [f"{fault['id']}: {fault['nodes'][0]['html']}" for fault in found["violations"]] == []
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0
    assert page.evaluate("[...document.querySelectorAll('img')].filter(i => !i.naturalWidth).length") == 0


def test_on_a_phone_figures_and_tables_of_words_are_scrolled_and_not_shrunk(visit):
    """A figure's labels were of 4 pixels, and the ranking stood a word a line."""
    page = visit(**PHONE)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    for what in (".picture img", ".wide .prose"):
        widths = page.evaluate(f"[...document.querySelectorAll('{what}')].map(e => e.getBoundingClientRect().width)")
        assert widths and min(widths) > 800
    captions = page.evaluate(
        "[...document.querySelectorAll('.wide caption')].map(e => e.getBoundingClientRect().width)")
    assert captions and max(captions) <= 390


def test_on_a_phone_the_real_clip_stays_beside_whichever_film(visit):
    page = visit(**PHONE)
    strip = page.locator(".films").first
    strip.evaluate("strip => { strip.scrollLeft = strip.scrollWidth; }")
    real, last = (strip.locator("figure").nth(i).bounding_box() for i in (0, -1))
    assert real["x"] >= 0 and real["x"] + real["width"] <= last["x"] + 1 and last["x"] + last["width"] <= 391
    assert real["width"] > 140


def test_a_number_leads_to_its_cell_and_on_to_the_notebook(visit):
    page = visit(**DESKTOP)
    number = page.locator(".chart td a").first
    target = page.locator(number.get_attribute("href"))
    assert not target.is_visible()
    number.click()
    target.wait_for()
    assert page.evaluate("document.activeElement.id") == target.get_attribute("id")
    assert "report.write" in target.locator("pre").inner_text()
    assert target.locator("a").get_attribute("href") == "6_paper.ipynb#cell-id=report"
    page.locator("#study summary").click()
    page.locator('a[href$="study.html"]').click()
    page.wait_for_url("**/human_study/study.html")
