"""Many methods and films at once, as a Python function, with the autoencoder's ceiling, kept features and a page."""

import base64
import hashlib
import html
import io
import json
import re
import shutil

import numpy as np
import pytest
from networks import tiny_clip
from PIL import Image
from safetensors.numpy import save_file
from textures import translated
from unusual import ARABIC, LONG, MARKUP

import eval as harness
from eval.metrics import dynamics, fidelity, frechet
from eval.metrics.motion import busiest_row
from eval.metrics.suite import disagreements
from eval.records import kept, score_page, score_text
from eval.records.given import Given, methods_in, sources_of
from eval.records.score import SCHEMA, score
from eval.registry import METRICS, TO_HELDOUT, UNITS
from eval.statistics.blocks import window_floor
from lnm import video
from lnm.cli import main
from lnm.errors import UserError


class Colours:
    """An extractor in Inception's place: each frame's colour at 16 places."""

    name, sha256, version = "colours", hashlib.sha256(b"colours").hexdigest(), "none"

    def __init__(self, path, device="cpu"):
        pass

    def __call__(self, frames):
        return frames[:, 4::16, 4::16].reshape(len(frames), -1).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder that is no project, a cache without weights, and colours in Inception's place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(frechet, "Inception", Colours)
    return tmp_path


MOVING = translated(count=30)
REAL = MOVING[14:26]


def test_the_function_takes_frames_and_gives_what_the_command_writes(folder, capsys):
    video.write_frames("film", MOVING[:8])
    video.write_frames("real", REAL)
    assert harness.score is score
    result = harness.score(MOVING[:8], REAL, method="mine", clip="none", fps=8)
    options = ["--frames", "film", "--method", "mine", "--reference", "real", "--clip", "none", "--fps", "8",
               "--json", "o.json"]
    assert main(["score", *options]) == 0
    written = json.loads((folder / "o.json").read_text())
    assert written["schema"] == result["schema"] == SCHEMA
    assert written["methods"] == json.loads(json.dumps(result["methods"]))
    assert "score" in capsys.readouterr().err  # a bar
    assert main(["score", *options, "--quiet"]) == 0 and "film/s" not in capsys.readouterr().err


def test_the_harness_has_no_other_name_and_imports_nothing_until_asked():
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        harness.scores  # noqa: B018


def test_many_films_of_many_methods_have_their_mean_over_films(folder):
    films = {"slow": [MOVING[:8], MOVING[8:16]], "still": MOVING[:1].repeat(8, 0)}
    result = score(films, REAL, clip="none")
    entry = result["methods"]["slow"]["motion_energy"]
    alone = [score(film, clip="none")["methods"]["film"]["motion_energy"]["value"]
             for film in films["slow"]]
    assert entry["n"] == 2 and entry["parts"] == "film" and entry["low"] is None
    assert entry["values"] == pytest.approx(alone, rel=1e-4)
    assert entry["value"] == pytest.approx(np.mean(alone), rel=1e-4)
    assert result["methods"]["still"]["motion_energy"]["value"] == 0
    assert [len(found) for found in result["films"].values()] == [2, 1]
    text = score_text.table(result)
    assert "slow: 2 films, the first 8 frames" in text and "2 films, 7 frame pairs" in text
    assert len(score_text.in_short(result)) == 2


def test_films_of_several_lengths_are_each_beside_as_much_of_the_real_ones(folder):
    result = score({"a": MOVING[:5], "b": MOVING[:12]}, REAL, clip="none")
    for name, length in (("a", 5), ("b", 12)):
        own = score(MOVING[:length], REAL[:length], clip="none")["methods"]["film"]
        for metric in ("motion_ratio", "spectrum_gap", "velocity_gap"):
            assert result["methods"][name][metric]["value"] == own[metric]["value"], (name, metric)


def test_a_folder_of_methods_holds_files_folders_and_folders_of_films(folder):
    video.write_mp4(folder / "m" / "one.mp4", MOVING[:8], 8)
    video.write_frames(folder / "m" / "two", MOVING[:8])
    for seed in (2, 10, 1):
        video.write_frames(folder / "m" / "three" / f"seed_{seed}", MOVING[:4])
    video.write_mp4(folder / "m" / "three" / "more.mp4", MOVING[:8], 8)
    (folder / "m" / "notes.txt").write_text("no film")
    found = methods_in("m")
    assert set(found) == {"one", "two", "three"}
    assert [path.name for path in found["three"]] == ["more.mp4", "seed_1", "seed_2", "seed_10"]
    assert main(["score", "--methods", "m", "--clip", "none", "--json", "o.json", "--quiet"]) == 0
    films = json.loads((folder / "o.json").read_text())["films"]
    assert {name: len(one) for name, one in films.items()} == {"one": 1, "two": 1, "three": 4}
    (folder / "none").mkdir()
    for wrong, said in (("none", "neither a folder nor a video"), ("nowhere", "no such folder")):
        with pytest.raises(UserError, match=said):
            methods_in(wrong)
    assert sources_of([MOVING, "m/one.mp4"])[1] == "m/one.mp4"


def test_beside_the_autoencoders_frames_stands_the_ceiling(folder):
    blurred = np.uint8((REAL.astype(int) + np.roll(REAL, 1, 1) + np.roll(REAL, 1, 2)) // 3)
    result = score(MOVING[:8], REAL, vae_reference=blurred, clip="none")
    own, ceiling = result["methods"]["film"], result["methods"]["reference_vae"]
    assert ceiling["detail_kept"]["value"] == 1
    share = fidelity.detail(MOVING[:8]) / fidelity.detail(blurred[:8])
    assert own["detail_kept"]["value"] == pytest.approx(share, rel=1e-4)
    assert ceiling["frame0_db_below_ceiling"]["value"] == 0
    against = result["against_vae"]
    assert set(against["film"]) == set(TO_HELDOUT)
    assert "part of the reference" in against["reference_vae"]["fid_heldout"]["refused"]
    expected = score(MOVING[:8], blurred, clip="none")["methods"]["film"]
    for metric in ("motion_ratio", "flow_warp_gap", "velocity_gap", "fid_heldout", "kid_heldout", "kid_subsets",
                   "precision_inception", "recall_inception", "spectrum_gap"):
        assert against["film"][metric]["value"] == pytest.approx(expected[metric]["value"], rel=1e-4), metric
    assert "ceiling of a latent method" in score_text.table(result)
    with pytest.raises(UserError, match="3 frames, the reference has 12"):
        score(MOVING[:8], REAL, vae_reference=REAL[:3], clip="none")


def test_without_one_the_ceiling_is_refused_with_its_reason(folder):
    result = score(MOVING[:8], REAL, clip="none")
    assert not result["against_vae"] and "reference_vae" not in result["methods"]
    assert "--vae-reference" in result["methods"]["film"]["detail_kept"]["refused"]
    assert "--vae-reference" in result["methods"]["film"]["frame0_db_below_ceiling"]["refused"]


def test_kept_features_give_the_same_distances_without_the_frames(folder):
    whole = score(MOVING[:8], REAL, clip="none", cache_reference="ref.safetensors")
    again = score(MOVING[:8], "ref.safetensors", clip="none")
    own = again["methods"]["film"]
    for metric in ("fid_heldout", "kid_heldout", "kid_subsets", "precision_inception", "recall_inception"):
        assert own[metric] == whole["methods"]["film"][metric], metric
    assert "kept features" in own["motion_ratio"]["refused"] and "kept features" in own["spectrum_gap"]["refused"]
    with pytest.raises(UserError, match="of frames of 64 x 64, these are 48 x 48"):
        score(MOVING[:8, :48, :48], "ref.safetensors", clip="none")
    kept.keep("other.safetensors", np.zeros((3, 48)), "0" * 64, "none", (64, 64))
    with pytest.raises(UserError, match="other Inception weights"):
        score(MOVING[:8], "other.safetensors", clip="none")
    (folder / "bad.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="not a safetensors file"):
        score(MOVING[:8], "bad.safetensors", clip="none")


def test_kept_features_of_another_version_of_what_makes_them_are_not_used(folder, monkeypatch):
    score(MOVING[:8], REAL, clip="none", cache_reference="ref.safetensors")
    assert score(MOVING[:8], "ref.safetensors", clip="none")["methods"]["film"]["fid_heldout"]["value"] > 0
    monkeypatch.setattr(Colours, "version", "torch 9.9; colours resized otherwise")
    with pytest.raises(UserError, match="features by none, here they are by torch 9.9; colours resized otherwise"):
        score(MOVING[:8], "ref.safetensors", clip="none")
    before = {"kind": kept.KIND, "weights": Colours.sha256, "size": "[64, 64]"}  # one that says none is none's
    save_file({"features": np.zeros((3, 48), np.float32)}, "before.safetensors", metadata=before)
    with pytest.raises(UserError, match="write it with --cache-reference"):
        score(MOVING[:8], "before.safetensors", clip="none")


def test_inception_s_version_names_torch_and_the_library_of_the_network():
    import torch
    import torch_fidelity

    from eval.features.inception import inception_version

    said = inception_version()
    assert f"torch {torch.__version__}" in said and f"torch_fidelity {torch_fidelity.__version__}" in said


def test_the_page_plays_the_films_and_says_every_reason_and_nothing_is_run(folder):
    video.write_frames("film", MOVING[:8])
    video.write_frames("<b>real", REAL)
    (folder / "deep").mkdir()
    assert main(["score", "--frames", "film", "--method", "mine", "--reference", "<b>real", "--clip", "none", "--fps",
                 "5", "--html", "deep/o.html", "--json", "deep/o.json", "--quiet", "--prompt", "<script>x"]) == 0
    page = (folder / "deep" / "o.html").read_text(encoding="utf-8")
    assert "<b>" not in page and "<script" not in page and "http" not in page.replace("http-equiv", "")
    films = re.findall(r'data:video/mp4;base64,([^"]+)" autoplay loop muted', page)
    assert len(films) == 2  # the method's and the reference, as many frames as are compared
    (folder / "shown.mp4").write_bytes(base64.b64decode(films[1]))
    shown = video.read("shown.mp4")
    assert len(shown) == 8 and shown.fps == 5
    assert np.abs(shown.frames.astype(int) - REAL[:8]).mean() < 6
    slices = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in re.findall(
        r'<img src="data:image/png;base64,([^"]+)" alt="[^"]+, film 1: row [0-9]+ over time, downwards">', page)]
    row = busiest_row(REAL[:8])
    assert len(slices) == 2 and np.array_equal(slices[0], MOVING[:8, row]) and np.array_equal(slices[1], REAL[:8, row])
    for metric in METRICS.values():
        called = html.escape(metric.label).replace("&#x27;", "&#39;")
        assert f'<th scope="row">{called}</th>' in page
        assert f"<dt>{called}</dt><dd>" in page, "what it is"
    assert "†" in page
    said = json.loads((folder / "deep" / "o.json").read_text())
    reasons = {entry["refused"] for entry in said["methods"]["mine"].values() if "refused" in entry}
    listed = html.unescape(page.split("Not measured, and why")[1].split("</ul>")[0])
    assert "flow-warp error, RIFE; speed, RIFE; motion smoothness, RIFE: no RIFE" in listed, "a name may hold a comma"
    assert len(reasons) > 3 and all(reason in listed for reason in reasons), "in words, for a finger and a keyboard too"
    assert all(line in html.unescape(page) for line in score_text.in_short(said)), "what the numbers come to"
    assert "FID of 8 against 12 frames (reference): real against real" in page


def test_a_prompt_of_any_length_and_direction_leaves_the_page_as_it_is(folder):
    written = f"\u202e{ARABIC} {MARKUP} {LONG}"
    result = score({"mine": [MOVING[:8]]}, REAL, clip="none", fps=8, prompt=written)
    score_page.write_page(folder / "o.html", result, {"mine": [MOVING[:8]]}, REAL)
    (shown,) = re.findall(r"Prompt: “<bdi>(.*?)</bdi>”", (folder / "o.html").read_text(encoding="utf-8"))
    assert shown.startswith(f"\u202e{ARABIC} waves &lt;script&gt;") and len(html.unescape(shown)) <= 300


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, {"width": 390, "height": 844}],
                         ids=["desktop", "phone"])
def test_axe_finds_nothing_on_the_page_and_it_is_no_wider_than_the_screen(folder, viewport):
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    films = {"mine": [MOVING[:8]], "theirs": [MOVING[3:11], MOVING[5:13]]}
    result = score(films, REAL, vae_reference=REAL, clip="none", fps=8)
    (folder / "o.html").write_text(score_page.page(result, films | {"reference": [REAL[:8]]}), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=viewport, bypass_csp=True)
        page.set_default_timeout(120_000)
        page.goto((folder / "o.html").as_uri())
        found = Axe().run(page).response
        assert len(found["passes"]) > 10
        assert [f"{fault['id']}: {fault['nodes'][0]['html']}" for fault in found["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.locator("video").count() == 4
        browser.close()


def test_a_page_has_films_of_odd_sides_too(folder):
    result = score(MOVING[:4, :33, :47], clip="none")
    assert "data:video/mp4" in score_page.page(result, {"film": [MOVING[:4, :33, :47]]})


@pytest.mark.parametrize("frames, said", [
    (np.zeros((3, 8, 8)), "frames must be uint8"), (np.zeros((8, 8, 3), np.uint8), "must be uint8 (F, H, W, 3)"),
    ({}, "no films were given"), ({"a b": MOVING}, "may hold only letters"),
    ({"static": MOVING}, "a control is called so"),
    ({"a": []}, "a: no films"), ("nowhere", "nowhere: no such"),
])
def test_what_is_no_film_is_one_line(frames, said):
    with pytest.raises(UserError, match=re.escape(said)):
        score(frames, clip="none")


def test_two_flows_disagree_where_they_rank_a_pair_differently():
    def row(dis, rife):
        return {"flow_speed": {"value": dis}, "flow_speed_rife": {"value": rife}}

    methods = {"a": row(1, 4), "b": row(2, 3), "c": row(5, 5.1), "d": {"flow_speed": {"refused": "x"},
                                                                      "flow_speed_rife": {"value": 1}}}
    found = disagreements(methods, ("flow_speed", "flow_speed_rife"))
    assert found == [{"methods": ["a", "b"], "flow_speed": [1, 2], "flow_speed_rife": [4, 3]}]
    shown = {"labels": {"a": "mine", "b": "theirs"}, "flow_disagreements": {"speed": found, "warp": [
        {"methods": ["b", "a"], "flow_warp": [1, 2], "flow_warp_rife": [4, 3]}]}}
    assert score_text.disagreements_of(shown) == ["speed: mine and theirs: by DIS 1 and 2, by RIFE 4 and 3",
                                                  "flow-warp error: theirs and mine: by DIS 1 and 2, by RIFE 4 and 3"]
    methods["b"] = row(1.01, 3)  # a tie of one is none
    assert not disagreements(methods, ("flow_speed", "flow_speed_rife"))


def test_the_list_names_every_metric_with_its_unit(capsys):
    assert main(["score", "--list"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert all(name in said and unit in said for name, unit in UNITS.items())


def test_consistency_and_background_are_measured_by_what_is_at_hand(folder):
    tiny_clip(folder / "clip")
    result = score(MOVING[:8], REAL, clip=str(folder / "clip"))
    own = result["methods"]["film"]
    assert 0 < own["subject_inception"]["value"] <= 1 and 0 < own["background_clip"]["value"] <= 1
    assert result["methods"]["static"]["subject_inception"]["value"] == pytest.approx(1)
    for metric in ("still_subject_inception", "still_background_clip"):  # the still is the reference's first frame
        real, static = (result["methods"][name][metric]["value"] for name in ("reference", "static"))
        assert 0 < own[metric]["value"] < real <= 1 and static < 1, "the static film shows its own first frame"
        other = score(MOVING[:8], REAL, still=MOVING[0], clip=str(folder / "clip"))["methods"]
        assert other["static"][metric]["value"] == pytest.approx(1) and other["film"][metric]["value"] > own[metric][
            "value"]


def test_sizes_that_differ_become_squares_of_the_smallest():
    given = Given.read({"a": [MOVING[:4]], "b": [MOVING[:4, :40, :50]]}, REAL, None, None, None, None, None)
    assert given.size == 40 and {film.frames.shape[1:3] for films in given.films.values() for film in films} == {
        (40, 40)} and given.still.shape == (40, 40, 3)


def test_each_film_s_dynamic_degree_is_of_its_own_rate(folder):
    """All were thinned to 8 fps as if they played at the first film's rate."""
    video.write_mp4("slow.mp4", MOVING[:16], 8)
    video.write_mp4("fast.mp4", MOVING[:16], 16)
    result = score({"slow": "slow.mp4", "fast": "fast.mp4"}, "slow.mp4", clip="none")
    frames = {name: video.read(f"{name}.mp4").frames for name in ("slow", "fast")}
    margins = {name: row["dynamic_margin"]["value"] for name, row in result["methods"].items()}
    for name, fps in (("slow", 8), ("fast", 16)):
        assert margins[name] == pytest.approx(dynamics.dynamic_margin(frames[name], fps), rel=1e-4)
    assert margins["fast"] > 1.5 * margins["slow"]  # twice as far from one frame at 8 fps to the next
    swapped = score({"fast": "fast.mp4", "slow": "slow.mp4"}, "slow.mp4", clip="none")["methods"]
    assert swapped["reference"]["dynamic_margin"] == result["methods"]["reference"]["dynamic_margin"]


def test_a_floor_says_what_it_was_taken_against_where_the_value_is_against_more(folder):
    """Without --train a reference of 12 frames has 4 beside a window of 8, and "8 against 12" was printed."""
    result = score(MOVING[:8], REAL, clip="none")
    floor = result["floors"]["heldout"]
    assert (floor["n_reference"], floor["real_vs_real"]["n_reference"], floor["kid"]["n_reference"]) == (12, 4, 4)
    lines = [line for line in score_text.table(result).splitlines() if "real against real" in line]
    assert [line.split(":")[0].strip() for line in lines] == [f"{metric} of 8 against 12 frames (reference)"
                                                              for metric in ("FID", "KID")]
    assert all("taken against 4 frames, not 12" in line for line in lines)
    assert "taken against" not in score_text.table(score(MOVING[:4], MOVING[14:30], clip="none", train=MOVING[:8]) | {
        "floors": {"heldout": floor | {"n_reference": 4}}})


def test_beside_the_autoencoder_fid_and_kid_have_floors_of_its_frames_or_none_is_said(folder):
    vae = np.roll(REAL, 1, axis=2)
    result = score(MOVING[:6], REAL, vae_reference=vae, clip="none")
    features = Colours(None)(vae)
    for key, metric in (("real_vs_real", frechet.fid_from_features), ("kid", frechet.kid_from_features)):
        assert result["floors_vae"][key]["value"] == pytest.approx(
            window_floor(metric, features, 6, 12)["value"], rel=1e-4)
    assert "FID of 6 against 12 frames (reference through the VAE)" in score_text.table(result)
    assert "--vae-reference" in score(MOVING[:6], REAL, clip="none")["floors_vae"]["refused"]


def test_the_ceiling_is_refused_for_a_still_that_is_not_the_reference_s_first_frame(folder):
    """It was the VAE's PSNR of that frame, whatever the still was."""
    vae = np.uint8(REAL * 0.9)
    other = score(MOVING[:6], REAL, vae_reference=vae, still=MOVING[3], clip="none")["methods"]
    assert "still is not the reference's first frame" in other["film"]["frame0_db_below_ceiling"]["refused"]
    same = score(MOVING[:6], REAL, vae_reference=vae, still=REAL[0], clip="none")["methods"]["film"]
    ceiling = fidelity.psnr(vae[0], REAL[0])
    assert same["frame0_db_below_ceiling"]["value"] == pytest.approx(ceiling - same["frame0_db"]["value"], rel=1e-4)
    assert other["static"]["frame0_db"]["value"] == 100  # it shows the still that was given, not the film's first frame
    none = score(MOVING[:6], REAL, clip="none")["methods"]
    assert none["static"]["frame0_db"]["value"] == none["film"]["frame0_db"]["value"]
