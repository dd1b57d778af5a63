"""The ledger of the paper's claims: whole, quoted, computed and not typed; verdicts follow from what is computed."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

from eval.claims import ledger as claims
from eval.claims.finding import CONTRADICTS, DIFFERS, INCOMPARABLE, REPRODUCED, VERDICTS, Finding
from eval.claims.ledger import Claim, Range
from eval.claims.text import numbers
from lnm.cli import main as command
from lnm.errors import UserError
from lnm.files import write_json

START = "eval.claims.method:identity_start"
LEDGER = claims.read_ledger(REPOSITORY / "claims.yaml")
SELF_CONTRADICTORY = {
    "largest_dataset", "inference_ready", "clip_score_around", "clip_score_compared", "clip_score_scale",
    "fid_best_sample", "preference_told_twice", "realism_told_twice", "realism_sum",
}


def claim(**changes):
    """A claim whose function, `constant`, gives 5."""
    return Claim.model_validate({
        "id": "five", "section": "4", "quote": "five", "definition": "Five.", "function": f"{__name__}:constant",
        "notebook": "audit.ipynb#method", "published": 5, "verdicts": list(VERDICTS)} | changes)


def constant(value=5):
    return value


def says_nothing():
    return Finding(None, "no frames", INCOMPARABLE, "there are none")


def of(name, **changes):
    """A claim of the ledger, its keys changed."""
    return next(one for one in LEDGER if one.id == name).model_copy(update=changes)


@pytest.fixture
def ledger(project):
    """A project with the ledger and the paper's settings, no run yet."""
    for name in ("claims.yaml", "params.paper.yaml"):
        shutil.copy(REPOSITORY / name, project / name)
    return project


def entry(value, *more):
    values = [value, *more]
    return {"value": sum(values) / len(values), "low": None, "high": None, "least": min(values), "most": max(values),
            "n": len(values), "values": values}


def fabricate(project, video="ocean", checkpoint="checkpoints/lnm-mini", size=128, cogvideo=None, rescaled=True,
              **finetune):
    """What a run leaves that the ledger reads: settings, metrics.json, prompts.json."""
    paper = {"steps": 600, "frames": 5, "strides": [1, 2], "optimizer": "lion", "learning_rate": 1e-4, "mask_value": 0,
             "beta_schedule": "checkpoint", "conv_placement": "all"} | finetune
    stages = {"finetune": paper | {"size": size, "checkpoint": checkpoint},
              "prepare": {"clip": "checkpoints/lnm-mini-clip"}, "sample": {"num_inference_steps": 15, "num_frames": 16}}
    for stage, settings in stages.items():
        write_json(project / "build" / "resolve" / video / f"{stage}.json", settings)
    methods = {"ours": {"clipscore": entry(0.7, 0.8), "fid_train": entry(90.0, 110.0), "detail_kept": entry(0.9)}}
    if cogvideo:
        methods["cogvideo"] = {metric: entry(value) for metric, value in cogvideo.items()}
    write_json(project / "results" / video / "evaluate" / "metrics.json", {
        "size": [size, size], "methods": methods, "interval": {"resamples": 50, "seed": 0},
        "backend": {"checkpoint": checkpoint, "clip": {"name": "checkpoints/lnm-mini-clip"}},
        "reference": {"frames_train": 72, "fid": {"train": {"n": 16, "n_reference": 72}}}})
    write_json(project / "results" / video / "prepare" / "prompts.json", {
        "prompt": "waves", "clip": "checkpoints/lnm-mini-clip",
        "candidates": [{"prompt": "waves", "distance": 0.6}, {"prompt": "rain", "distance": 0.8}]})
    scheduler = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction",
                 "rescale_betas_zero_snr": rescaled}
    write_json(project / checkpoint / "scheduler" / "scheduler_config.json", scheduler)
    vae = {"block_out_channels": [1, 2, 3, 4], "latent_channels": 16}
    write_json(project / checkpoint / "vae" / "config.json", vae)


def row(project, name, **options):
    return claims.rows(project / "results", ids=[name], **options)[0]


# --- the ledger ----------------------------------------------------------------------------------------------------


def test_it_holds_at_least_25_claims_each_with_words_a_function_and_a_cell():
    assert len(LEDGER) >= 25 and len({one.id for one in LEDGER}) == len(LEDGER)
    for one in LEDGER:
        assert callable(claims.resolve(one.function)), one.id
        assert one.function.split(":")[0] in {module.__name__ for module in claims.COMPUTED_IN}, one.id
        assert all(quote.strip() for quote in one.quote) and one.definition.endswith("."), one.id
        notebook, _, cell = one.notebook.partition("#")
        cells = json.loads((REPOSITORY / "notebooks" / notebook).read_text(encoding="utf-8"))["cells"]
        assert cell in {c["id"] for c in cells if c["cell_type"] == "code"}, f"{one.id}: no cell {cell} in {notebook}"


def test_a_published_number_stands_in_its_quote():
    for one in LEDGER:
        published = one.published
        if isinstance(published, bool) or not isinstance(published, (int, float)) or published in (0, 1, 100):
            continue  # 0, 1 and 100 stand for "exactly", "all" and "all of them"
        assert published in [number for quote in one.quote for number in numbers(quote)], one.id


def test_the_quotes_are_the_papers_words():
    """The paper's text is not ours to carry: quotes.txt beside this file has the hashes of the quotes that were found
    in it. With LNM_PAPER naming a file of the text, they are looked for again and the hashes written anew."""
    quotes = {" ".join(quote.split()): one.id for one in LEDGER for quote in one.quote}
    hashes = {quote: hashlib.sha256(quote.encode()).hexdigest()[:16] for quote in quotes}
    known = Path(__file__).parent / "quotes.txt"
    if os.environ.get("LNM_PAPER"):
        text = " ".join(Path(os.environ["LNM_PAPER"]).read_text(encoding="utf-8").split())
        assert not {quotes[quote]: quote for quote in quotes if quote not in text}
        known.write_text("\n".join(sorted(hashes.values())) + "\n")
    found = set(known.read_text().split())
    assert not {quotes[quote]: quote for quote, value in hashes.items() if value not in found}, "check with LNM_PAPER"


@pytest.mark.parametrize("old, new, said", [
    ("section:", "secton:", "secton: unknown key; did you mean section?"),
    ("  definition: Five.\n", "", "definition: missing; add it"),
    (START, "eval.claims.method:identity", "function eval.claims.method:identity: there is no such function"),
    (START, "eval.nothing:at_all", "function eval.nothing:at_all: there is no such function"),
    (START, "identity_start", "function: string should match pattern"),
    ("published: 0", "published: 0\n  with: {mask: 1}", f"with: {START} takes no mask"),
    (START, "eval.claims.method:depends", "with: eval.claims.method:depends needs on; add it"),
    ("[reproduced]", "[proven]", "verdicts.0: input should be 'reproduced', 'differs'"),
    ("tolerance: 0.5", "tolerance: -1", "tolerance: input should be greater than or equal to 0"),
    ("- id: two", "- id: one", "one: the id stands twice; rename one"),
    ("- id: two", "- id two", "line"),
    ("- id: one\n", "a: b\n", "claims.yaml"),
])
def test_a_malformed_ledger_is_one_line_and_exit_2(ledger, capsys, old, new, said):
    one = ("- id: {}\n  section: 4\n  quote: five\n  definition: Five.\n  function: eval.claims.method:identity_start\n"
           "  notebook: audit.ipynb#method\n  published: 0\n  tolerance: 0.5\n  verdicts: [reproduced]\n"
           ).replace("section: 4", 'section: "4"')
    text = one.format("one") + one.format("two")
    assert old in text
    (ledger / "claims.yaml").write_text(text.replace(old, new, 1))
    assert command(["claims", "--results", str(ledger)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: claims.yaml") and said in error and error.count("\n") == 1
    assert not (ledger / "paper").exists()


def test_a_missing_ledger_settings_file_or_folder_is_one_line(ledger, capsys):
    assert command(["claims", "--results", "nowhere"]) == 2
    assert command(["claims", "--params", "none.yaml"]) == 2
    (ledger / "claims.yaml").unlink()
    assert command(["claims"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert "nowhere" in lines[0] and "none.yaml" in lines[1] and "claims.yaml" in lines[2]


# --- the verdict ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("published, value, tolerance, fits", [
    (5, 5, 0, True), (5, 5.4, 0.5, True), (5, 5.6, 0.5, False), (0.7597, 0.75972, 5e-5, True), (3e-5, 1e-4, 0, False),
    (Range(low=1800, high=3600), "auto", 0, False), (Range(low=1800, high=3600), None, 0, False),
    (Range(low=0, high=3600), True, 0, False),
    (Range(low=1800, high=3600), 1800, 0, True), (Range(low=1800, high=3600), 600, 0, False),
    (True, True, 0, True), (True, False, 0, False), (True, 1, 0, False), (1, True, 1, False),
    ("linear", "linear", 0, True), ("linear", "scaled_linear", 9, False), ([3, 1, 1], [3, 1, 1], 0, True),
    ([3, 1, 1], [1, 3, 3], 0, False), (5, (5, 5), 0, True), (5, (5, 6), 0, False), (5, (), 0, False),
    (5, None, 9, False), (5, "five", 9, False),
])
def test_a_value_within_the_tolerance_fits_and_any_other_does_not(published, value, tolerance, fits):
    assert claims.within(published, value, tolerance) is fits


@pytest.mark.parametrize("changes, verdict", [
    ({}, REPRODUCED), ({"published": 6}, DIFFERS), ({"published": 6, "tolerance": 1}, REPRODUCED),
    ({"with": {"value": 6}}, DIFFERS), ({"function": f"{__name__}:says_nothing"}, INCOMPARABLE),
])
def test_the_verdict_follows_from_what_the_function_gives(changes, verdict):
    assert claims.judge(claim(**changes), run=None)["verdict"] == verdict


def test_a_verdict_that_the_ledger_does_not_foresee_is_an_error():
    with pytest.raises(UserError, match="five: came out as 'differs'"):
        claims.judge(claim(published=6, verdicts=[REPRODUCED]), run=None)


def test_the_counts_in_words():
    table = [{"verdict": verdict} for verdict, n in zip(VERDICTS, (12, 1, 14, 6), strict=True) for _ in range(n)]
    assert claims.counts_line(table) == ("12 reproduced, 1 differs, 14 not comparable here, "
                                         "6 where the paper contradicts itself")


# --- the whole, before any run -------------------------------------------------------------------------------------


def test_every_claim_is_computed_and_the_files_hold_what_is_printed(ledger, capsys):
    assert command(["claims", "--json", "mine.json"]) == 0
    written = json.loads((ledger / "results" / "paper" / "claims.json").read_text())
    table = written["claims"]
    assert json.loads((ledger / "mine.json").read_text()) == written
    assert [one["id"] for one in table] == [one.id for one in LEDGER]
    assert {one["id"] for one in table if one["verdict"] == CONTRADICTS} == SELF_CONTRADICTORY
    assert sum(written["counts"].values()) == len(table)
    shown = capsys.readouterr().out
    assert written["counts_line"] in shown and max(map(len, shown.splitlines())) <= 140
    page = (ledger / "results" / "paper" / "claims.md").read_text()
    assert written["counts_line"] in page and not list(ledger.rglob("*.part"))
    for one in table:
        assert set(claims.COLUMNS) <= set(one) and one["computed"] and one["function"] in page and one["id"] in shown
        assert one["verdict"] == REPRODUCED or one["reason"], one["id"]
    # what was never run is not reproduced, whatever params.paper.yaml promises
    for name in ("training_steps", "canvas_size", "learning_rate", "fid_ours", "table_clipsim_ours"):
        one = next(one for one in table if one["id"] == name)
        assert one["verdict"] == INCOMPARABLE and "not run yet: `make repro`" in one["reason"]
    assert table == claims.run(ledger / "results", ledger / "again"), "the same again"
    again = (ledger / "again" / "claims.json").read_bytes()
    assert again == (ledger / "results" / "paper" / "claims.json").read_bytes()


def test_a_papers_setting_that_is_not_the_papers_is_seen(ledger):
    path = ledger / "params.paper.yaml"
    assert row(ledger, "learning_rate")["verdict"] == INCOMPARABLE
    path.write_text(path.read_text().replace("learning_rate: 3.0e-5", "learning_rate: 3.0e-4"))
    assert row(ledger, "learning_rate")["verdict"] == DIFFERS


# --- with a run ----------------------------------------------------------------------------------------------------


def test_a_demonstration_differs_in_its_settings_and_is_compared_in_nothing(ledger):
    fabricate(ledger)
    table = {one["id"]: one for one in claims.rows(ledger / "results", ids=[
        "canvas_size", "training_steps", "training_frames", "learning_rate", "linear_schedule", "noise_predicted",
        "sd_vae", "clip_vit_l14", "fid_ours", "table_clipsim_ours", "fid_cogvideo", "fid_reference_frames",
        "least_cosine_distance", "table_resolution_ours", "perceptual_compression", "table_preference_ours"])}
    computed = {name: one["computed"] for name, one in table.items()}
    verdicts = {name: one["verdict"] for name, one in table.items()}
    for name, value in (("canvas_size", "128"), ("training_steps", "600"), ("learning_rate", "0.0001"),
                        ("linear_schedule", "scaled_linear, rescaled to no signal at the last step"),
                        ("noise_predicted", "velocity"),
                        ("sd_vae", "checkpoints/lnm-mini"), ("clip_vit_l14", "checkpoints/lnm-mini-clip"),
                        ("table_resolution_ours", "128x128")):
        assert (computed[name], verdicts[name]) == (value, DIFFERS), name
    assert "3e-05 by params.paper.yaml" in table["learning_rate"]["reason"]
    assert (computed["training_frames"], verdicts["training_frames"]) == ("5", REPRODUCED)
    assert (computed["least_cosine_distance"], verdicts["least_cosine_distance"]) == ("1 of 1 videos", REPRODUCED)
    assert computed["perceptual_compression"].startswith("12 times (ocean); 48 times")
    assert (computed["fid_ours"], verdicts["fid_ours"]) == ("100 (90 to 110), ocean, 2 films", INCOMPARABLE)
    for said in ("checkpoints/lnm-mini, not Stable Diffusion", "128x128", "16 frames against 72",
                 "names neither its clips"):
        assert said in table["fid_ours"]["reason"]
    assert computed["table_clipsim_ours"] == "0.75 [0.7, 0.8], ocean, 2 films"
    assert "not OpenAI's CLIP" in table["table_clipsim_ours"]["reason"]
    assert computed["fid_cogvideo"] == "no frames" and "inputs/baselines/cogvideo" in table["fid_cogvideo"]["reason"]
    assert computed["fid_reference_frames"] == "72 (ocean)"
    assert computed["table_preference_ours"] == "no responses yet"


def test_the_papers_own_setting_is_reproduced_once_it_is_run(ledger):
    fabricate(ledger, checkpoint="inputs/stable-diffusion-inpainting", size=512, steps=3600, learning_rate=3e-5,
              mask_value=1, beta_schedule="scaled_linear", rescaled=False, strides=[1],
              cogvideo={"fid_train": 384.0, "clipscore": 0.7522})
    names = ["canvas_size", "training_steps", "learning_rate", "whole_canvas_masked", "linear_schedule", "sd_vae",
             "table_resolution_ours", "consecutive_frames"]
    table = {one["id"]: one["verdict"] for one in claims.rows(ledger / "results", ids=names)}
    assert table == dict.fromkeys(names, REPRODUCED)
    assert row(ledger, "fid_less")["verdict"] == INCOMPARABLE  # 16 frames against 72
    path = ledger / "results" / "ocean" / "evaluate" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["reference"]["fid"]["train"] = {"n": 5, "n_reference": 1060}
    write_json(path, metrics)
    assert row(ledger, "fid_less")["verdict"] == REPRODUCED
    metrics["methods"]["cogvideo"]["fid_train"] = entry(50.0)
    write_json(path, metrics)
    found = row(ledger, "fid_less")
    assert found["verdict"] == DIFFERS and "CogVideo 50" in found["computed"]
    # no run can be held against clips that are not named
    assert row(ledger, "fid_ours")["reason"] == "the paper names neither its clips nor its prompts"


@pytest.mark.parametrize("schedule, verdict, own, diffusers", [
    ("scaled_linear", REPRODUCED, "is this", "is another"), ("linear", DIFFERS, "is another", "is this"),
    ("checkpoint", REPRODUCED, "is this", "is another"), ("cosine", DIFFERS, "is another", "is another")])
def test_both_readings_of_a_linear_schedule_are_said(ledger, schedule, verdict, own, diffusers):
    fabricate(ledger, rescaled=False, beta_schedule=schedule)
    found = row(ledger, "linear_schedule")
    assert found["verdict"] == verdict
    assert f"read as Stable Diffusion's own code has it, “linear” {own}" in found["reason"]
    assert f"read as diffusers has it, “linear” {diffusers}" in found["reason"]
    assert found["computed"] == ("scaled_linear" if schedule == "checkpoint" else schedule)


def test_the_two_readings_give_the_frozen_u_net_other_noise_levels():
    """The numbers that the ledger's note and params.paper.yaml state."""
    from diffusers import DDIMScheduler

    note = of("linear_schedule").note
    for schedule, stated in (("linear", "0.161"), ("scaled_linear", "0.276")):
        bars = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=schedule).alphas_cumprod
        assert f"{bars[500]:.3f}" == stated and stated in note
        assert stated in (REPOSITORY / "params.paper.yaml").read_text(encoding="utf-8")


def test_one_video_that_differs_is_named(ledger):
    fabricate(ledger, "ocean", steps=1800)
    fabricate(ledger, "rain", steps=3600)
    assert row(ledger, "training_steps")["verdict"] == REPRODUCED
    fabricate(ledger, "rain", steps=100)
    found = row(ledger, "training_steps")
    assert (found["verdict"], found["computed"]) == (DIFFERS, "1800 (ocean), 100 (rain)")
    assert row(ledger, "fid_ours")["computed"] == "100, mean of 2 videos"


def test_votes_are_read_and_simulated_ones_are_not(ledger):
    fabricate(ledger)
    path = ledger / "results" / "human_study" / "summary.json"
    pair = {"first": "cogvideo", "second": "ours", "share": 0.25, "n": 40, "low": 0.14, "high": 0.4}
    summary = {"simulated": False, "votes": 40, "questions": {"preference": {"pairs": [pair]}}}
    write_json(path, summary)
    assert row(ledger, "table_preference_ours")["computed"] == "75% [60, 86] (40 votes)"
    assert row(ledger, "table_preference_cogvideo")["computed"] == "25% [14, 40] (40 votes)"
    assert row(ledger, "table_realism_ours")["computed"] == "no votes"
    write_json(path, summary | {"simulated": True})
    assert row(ledger, "table_preference_ours")["computed"] == "no responses yet"


def test_the_size_of_cogvideos_films_is_looked_up_in_the_files(ledger):
    import numpy as np

    from lnm.video import write_frames

    write_frames(ledger / "inputs" / "baselines" / "cogvideo" / "ocean", np.zeros((2, 48, 64, 3), np.uint8))
    found = row(ledger, "table_resolution_cogvideo")
    assert (found["computed"], found["verdict"]) == ("64x48", DIFFERS)


def test_results_that_are_not_json_are_one_line(ledger, capsys):
    fabricate(ledger)
    (ledger / "results" / "ocean" / "evaluate" / "metrics.json").write_text("{")
    assert command(["claims"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "metrics.json" in error and error.count("\n") == 1


# --- what would be seen ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, quotes", [
    ("preference_told_twice", ["79% of evaluators", "79% 76% 512x512"]),
    ("realism_sum", ["74% of evaluators, while only 26% selected CogVideo"]),
    ("clip_score_around", ["a score of around 0.76", "0.7597", "0.7522"]),
    ("largest_dataset", ["at just 41,250 samples", "14 paired videos"]),
])
def test_a_paper_that_agreed_with_itself_would_be_told_so(name, quotes):
    changes = {"quote": quotes} | ({"published": 0.76} if name == "clip_score_around" else {})
    assert claims.judge(of(name), run=None)["verdict"] == CONTRADICTS
    assert claims.judge(of(name, **changes), run=None)["verdict"] == REPRODUCED


def test_words_that_do_not_oppose_each_other_are_no_contradiction():
    for name, broken in (("clip_score_compared", 1), ("clip_score_scale", 0), ("fid_best_sample", 1)):
        quotes = list(of(name).quote)
        quotes[broken] = "other words"
        assert claims.judge(of(name, quote=quotes), run=None)["verdict"] == DIFFERS, name


@pytest.mark.parametrize("start, seen", [
    ("dirac_", ("identity_start", "conv_identity")), ("zeros_", ("identity_start", "attention_identity"))])
def test_a_start_that_is_not_the_identity_is_seen(monkeypatch, start, seen):
    monkeypatch.setattr(torch.nn.init, start, torch.nn.init.ones_)
    for name in seen:
        assert claims.judge(of(name), run=None)["verdict"] == DIFFERS, name


def test_an_implementation_that_does_something_else_is_seen(monkeypatch):
    from lnm.pseudo3d import Pseudo3DConv, Pseudo3DTransformerBlock, TemporalAttention
    from lnm.unet import UNetPseudo3DConditionModel

    def verdict(name):
        return claims.judge(of(name), run=None)["verdict"]

    broken = {
        "spatial_layers_frozen": (UNetPseudo3DConditionModel, "temporal_parameters",
                                  lambda self: dict(self.named_parameters())),
        "conv_equation": (Pseudo3DConv, "forward", lambda self, x: torch.nn.Conv2d.forward(self, x)),
        "attention_equation": (Pseudo3DTransformerBlock, "forward", lambda self, x, **options: super(
            Pseudo3DTransformerBlock, self).forward(self.temporal(x), **options)),
        "any_fps": (UNetPseudo3DConditionModel, "get_class_embed", lambda self, sample, class_labels: None),
        "inference_ready": (TemporalAttention, "forward", lambda self, x: x.flip(0)),
    }
    for name, patch in broken.items():
        before = verdict(name)
        with monkeypatch.context() as patched:
            patched.setattr(*patch)
            assert verdict(name) == DIFFERS != before, name


def test_the_latents_of_an_autoencoder_dc_are_counted_as_those_of_a_kl(ledger):
    fabricate(ledger)
    with_kl = row(ledger, "perceptual_compression")["computed"]
    write_json(ledger / "checkpoints" / "lnm-mini" / "vae" / "config.json",
               {"encoder_block_out_channels": [1, 2, 3, 4], "latent_channels": 16})
    assert row(ledger, "perceptual_compression")["computed"] == with_kl


def test_the_steps_that_a_fine_tune_found_are_those_of_its_best_look(tmp_path):
    from eval.claims.finding import kept_steps

    log = tmp_path / "log.csv"
    assert kept_steps(log) is None
    log.write_text("step,loss,lr,grad_norm,validation\n0,1,1,1,\n1,1,1,1,0.5\n2,1,1,1,\n3,1,1,1,0.4\n4,1,1,1,0.6\n")
    assert kept_steps(log) == 4
    log.write_text("step,loss,lr,grad_norm,validation\n")
    assert kept_steps(log) == 0, "what it began with was never bettered"
