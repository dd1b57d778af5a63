"""benchmarks.rivals_seconds: what fits into as many seconds, films by those steps, who is ahead, and the page."""

import json

import pytest
from conftest import REPOSITORY
from tiny import tiny_settings, write_tiny_checkpoint, write_tiny_prepared

from benchmarks import rivals_seconds as bench
from eval.films.sampled import sampled
from lnm.latents import load_latents, training_clips
from lnm.settings import Sample
from lnm.workflow.choices import RivalsChoices

RECORD = "benchmarks/results/rivals_seconds.json"


def figures(warp, spectrum, first, fid):
    return {"flow-warp gap, x 1000": warp, "the same to the clip through the autoencoder": 1.0,
            "spectrum gap, dB": spectrum, "first frame, dB": first, "FID": fid, "motion, x": 1.0, "flow speed, x": None}


def row(method, way, steps, step, *values):
    return {"method": method, "way": way, "steps": steps, "step": step, "figures": figures(*values)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The prepare and sample folders of a video, and the choices of its rivals."""
    folder = tmp_path_factory.mktemp("run")
    checkpoint = write_tiny_checkpoint(folder / "checkpoint")
    write_tiny_prepared(folder / "sea" / "prepare", checkpoint)
    (folder / "sea" / "sample" / "ours" / "seed_0").mkdir(parents=True)
    (folder / "sea" / "sample" / "films.json").write_text(json.dumps({"methods": ["ours"]}))
    return folder / "sea", RivalsChoices(
        video="sea", size=32, device="cpu", methods=["animatediff", "dreamix"], checkpoint=str(checkpoint),
        finetune=tiny_settings(steps=6), sample=Sample(num_frames=3, num_inference_steps=2, seeds=2))


def test_as_many_steps_as_fit_and_no_more():
    assert bench.steps_that_fit(120, {bench.OURS: 0.3, "slow": 0.4, "fast": 0.2, "same": 0.3, "slowest": 90.0}) == {
        "slow": 90, "fast": 180, "same": 120, "slowest": 1}


def test_a_step_of_each_is_timed_on_the_same_draws(run, monkeypatch):
    from lnm.training import Trainer

    folder, choices = run
    taken, real = [], Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, latents, fps, seed, step: (
        taken.append((self.name, step)) or real(self, latents, fps, seed, step)))
    found = bench.seconds_a_step(choices.methods, training_clips(load_latents(folder / "prepare")), "waves", 8.0,
                                 choices, 3, "cpu")
    assert list(found) == [bench.OURS, "animatediff", "dreamix"] and all(seconds > 0 for seconds in found.values())
    for name in found:
        assert [step for own, step in taken if own == name] == [0, 0, 0, 1, 2], "two to warm up, then three"


def test_each_way_has_films_of_its_own_by_its_own_number_of_steps(run, tmp_path):
    folder, choices = run
    steps = {"steps": {"animatediff": 4, "dreamix": 4}, "seconds": {"animatediff": 3, "dreamix": 5}}
    arms = {way: (tmp_path / way, bench.trained("sea", folder / "prepare", tmp_path / way, tmp_path / f"store_{way}",
                                                choices, steps[way])) for way in bench.WAYS}
    out = bench.merged(folder, arms, tmp_path / "all")
    note = json.loads((out / "rivals" / "rivals.json").read_text())
    assert {name: note["trained"][name]["steps"] for name in note["methods"]} == {
        "animatediff_style_equal_steps": 4, "dreamix_style_equal_steps": 4,
        "animatediff_style_equal_seconds": 3, "dreamix_style_equal_seconds": 5}
    films = sampled(out)
    assert list(films) == ["ours", *note["methods"]] and all(len(films[name]) == 2 for name in note["methods"])
    pictures = {name: (films[name][0] / "film.mp4").read_bytes() for name in note["methods"]}
    assert len(set(pictures.values())) == 4, "another number of steps gives another film"
    assert (out / "prepare" / "clip.json").is_file()
    assert set(note["clusters"]) == set(note["methods"])


def test_who_is_ahead_is_read_off_the_figures():
    record = {"rows": [row("real, through the VAE", "", None, None, 1, 0, 0, 1),
                       row(bench.OURS, "", 120, 1.0, 2.0, 4.0, -0.2, 60.0),
                       row("X-style", "steps", 120, 1.1, 1.0, 5.0, 0.3, 70.0),
                       row("X-style", "seconds", 109, 1.1, 1.0, 3.0, -0.3, None)]}
    assert bench.ahead(record) == [
        "- Beside X-style at equal steps (120 steps) ours, from the identity, is ahead in spectrum gap, first frame, "
        "FID; behind in flow-warp gap.",
        "- Beside X-style at equal seconds (109 steps) ours, from the identity, is ahead in nothing; behind in "
        "flow-warp gap, spectrum gap, first frame."]
    lines = bench.markdown(record).splitlines()
    assert lines[4] == "| X-style | steps | 120 | 1.10 | 1.00 | 1.00 | 5.00 | 0.30 | 70.0 | 1.00 | - |"


def test_figures_are_the_harness_s_own():
    metrics = {"methods": {"m": {"flow_warp_gap": {"value": 0.002}, "fid_heldout": {"refused": "few"}}},
               "against_vae": {"m": {"motion_ratio": {"value": 1.5}}}}
    found = bench.figures(metrics, "m")
    assert found["flow-warp gap, x 1000"] == 2.0 and found["motion, x"] == 1.5
    assert found["FID"] is found["spectrum gap, dB"] is None


def test_the_page_shows_the_record():
    page = (REPOSITORY / "docs" / "rivals.md").read_text(encoding="utf-8")
    shown = page.split(f"<!-- {RECORD} -->\n")[1].split(f"\n<!-- end of {RECORD} -->")[0]
    record = json.loads((REPOSITORY / RECORD).read_text(encoding="utf-8"))
    assert shown == bench.markdown(record), f"python -m benchmarks.rivals_seconds --table {RECORD} prints it"
    fits = bench.steps_that_fit(record["steps"][bench.OURS], record["seconds"])
    assert {name: count for name, count in record["steps"].items() if name != bench.OURS} == fits
    assert len(record["rows"]) == 3 + 2 * len(fits)
