"""The ledger and a run: settings are those of the run that left the results, scores are judged where they can be."""

import json

import numpy as np
import pytest
from conftest import REPOSITORY
from run_left import LEDGER, MINE, SD, STABLE, checked, entry, fabricate, of, row

from eval.claims import ledger as claims
from eval.claims import records, settings
from eval.claims.finding import CONTRADICTS, DIFFERS, IMPLEMENTED, INCOMPARABLE, RESULT, SET
from lnm.cli import main as command
from lnm.files import write_json

PAPERS = {"checkpoint": SD, "size": 512, "film": (5, 512, 512), "schedule": STABLE, "source": (1060, [1920, 1029]),
          "clip": "ViT-L-14-quickgelu/openai", "lr": 3e-5, "fid": (5, 1060), "steps": 3600, "strides": [1],
          "mask_value": 1}


def rows(project, *names):
    return {one["id"]: one for one in claims.rows(project / "results", ids=list(names))}


def test_a_demonstration_differs_in_its_settings_and_is_compared_in_nothing(ledger):
    fabricate(ledger)
    table = rows(ledger, "canvas_size", "training_steps", "training_frames", "learning_rate", "linear_schedule", "lion",
                 "noise_predicted", "sd_vae", "clip_vit_l14", "fid_ours", "table_clipsim_ours", "fid_cogvideo",
                 "fid_reference_frames", "least_cosine_distance", "table_resolution_ours", "perceptual_compression",
                 "table_preference_ours", "consecutive_frames", "film_frames", "inference_steps")
    computed = {name: one["computed"] for name, one in table.items()}
    verdicts = {name: one["verdict"] for name, one in table.items()}
    for name, value in (("canvas_size", "128"), ("training_steps", "600"), ("learning_rate", "0.0001"),
                        ("linear_schedule", "scaled_linear, rescaled to no signal at the last step"),
                        ("noise_predicted", "velocity"), ("sd_vae", MINE), ("clip_vit_l14", f"{MINE}-clip"),
                        ("table_resolution_ours", "128x128"), ("consecutive_frames", "0.5"), ("film_frames", "16"),
                        ("fid_reference_frames", "72 (ocean)")):
        assert (computed[name], verdicts[name]) == (value, DIFFERS), name
    assert "3e-05 by params.paper.yaml" in table["learning_rate"]["reason"]
    for name, value in (("training_frames", "5"), ("least_cosine_distance", "1 of 1 videos"), ("lion", "lion"),
                        ("inference_steps", "15")):
        assert (computed[name], verdicts[name]) == (value, SET), name
    assert (computed["perceptual_compression"], verdicts["perceptual_compression"]) == ("12 times (ocean)", IMPLEMENTED)
    assert "48 times by Stable Diffusion's stated VAE" in table["perceptual_compression"]["reason"]
    assert (computed["fid_ours"], verdicts["fid_ours"]) == ("100 (90 to 110), ocean, 2 films", INCOMPARABLE)
    for said in (f"{MINE}, not Stable Diffusion", "128x128", "16 frames against 72", "names neither its clips"):
        assert said in table["fid_ours"]["reason"]
    assert computed["table_clipsim_ours"] == "0.75 (0.7 to 0.8), ocean, 2 films"
    assert "not OpenAI's CLIP" in table["table_clipsim_ours"]["reason"]
    assert computed["fid_cogvideo"] == "no frames" and "inputs/baselines/cogvideo" in table["fid_cogvideo"]["reason"]
    assert computed["table_preference_ours"] == "no responses yet"


def test_settings_are_of_the_results_that_are_looked_at_and_not_of_the_projects_choices(ledger, tmp_path):
    for stage, held in (("finetune", {"steps": 3600, "size": 512, "checkpoint": SD, "learning_rate": 3e-5}),
                        ("sample", {"num_frames": 5, "num_inference_steps": 15})):
        write_json(ledger / "build" / "resolve" / "ocean" / f"{stage}.json", held)  # chosen now, never run
    fabricate(ledger / "elsewhere", video="mine", steps=700)
    (found,) = claims.rows(ledger / "elsewhere" / "results", ids=["training_steps"])
    assert (found["computed"], found["verdict"]) == ("700", DIFFERS)
    for film in (ledger / "elsewhere" / "results" / "mine" / "sample" / "ours").rglob("*.png"):
        film.unlink()  # a run without films has neither frames nor a size of them
    for name in ("film_frames", "table_resolution_ours", "inference_steps"):
        (found,) = claims.rows(ledger / "elsewhere" / "results", ids=[name])
        assert found["verdict"] == INCOMPARABLE and "files do not say it" in found["reason"], name


def test_the_papers_own_settings_are_set_as_in_the_paper_once_they_are_run(ledger):
    from lnm.video import write_frames

    fabricate(ledger, **PAPERS)
    write_frames(ledger / "inputs" / "baselines" / "cogvideo" / "ocean", np.zeros((1, 480, 480, 3), np.uint8))
    names = [one.id for one in LEDGER if one.kind == "setting" and one.id != "conv_after_each_conv"]
    assert {name: one["verdict"] for name, one in rows(ledger, *names).items()} == dict.fromkeys(names, SET)
    assert row(ledger, "conv_after_each_conv")["verdict"] == INCOMPARABLE, "how many convolutions, a check counts"
    checked(ledger)
    assert row(ledger, "conv_after_each_conv")["verdict"] == SET
    fabricate(ledger, **PAPERS | {"optimizer": "adamw"})
    assert row(ledger, "lion")["verdict"] == DIFFERS


def test_a_result_is_reproduced_only_by_a_run_that_is_like_the_papers(ledger):
    methods = {"ours": {"fid_train": entry(164.2), "clipscore": entry(0.7597), "detail_kept": entry(0.9)},
               "cogvideo": {"fid_train": entry(390.0), "clipscore": entry(0.7522), "detail_kept": entry(0.5)}}
    fabricate(ledger, methods=methods, **PAPERS)
    found = rows(ledger, "fid_ours", "fid_cogvideo", "table_clipsim_ours", "fid_less", "more_detail",
                 "clip_score_ahead")
    assert {name: one["verdict"] for name, one in found.items()} == {
        "fid_ours": RESULT, "fid_cogvideo": DIFFERS, "table_clipsim_ours": RESULT, "fid_less": RESULT,
        "more_detail": RESULT, "clip_score_ahead": INCOMPARABLE}
    assert "no test can tell at 5%, which takes 6" in found["clip_score_ahead"]["reason"]
    for change in ({"source": (1060, [1920, 1080])}, {"checkpoint": MINE}, {"film": (5, 256, 256)},
                   {"fid": (16, 1060)}):
        fabricate(ledger, methods=methods, **PAPERS | change)
        assert row(ledger, "fid_ours")["verdict"] == INCOMPARABLE, change
        for film in (ledger / "results" / "ocean" / "sample" / "ours").rglob("*.png"):
            film.unlink()


def test_what_was_not_measured_is_named_as_the_tables_do(ledger):
    fabricate(ledger, methods={"ours": {}}, **PAPERS)
    assert "“FID, training” was not measured" in row(ledger, "fid_ours")["reason"]


def test_significantly_takes_a_test_over_videos_that_both_have(ledger):
    for k in range(6):
        methods = {"ours": {"clipscore": entry(0.76 + 0.01 * k)}, "cogvideo": {"clipscore": entry(0.75)}}
        fabricate(ledger, video=f"v{k}", methods=methods, **PAPERS)
    fabricate(ledger, video="alone", methods={"ours": {"clipscore": entry(0.1)}}, **PAPERS)
    found = row(ledger, "clip_score_ahead")
    assert found["verdict"] == RESULT and "6 videos of both, p = 0.031" in found["computed"]
    for k in range(3):
        methods = {"ours": {"clipscore": entry(0.70)}, "cogvideo": {"clipscore": entry(0.75)}}
        fabricate(ledger, video=f"v{k}", methods=methods, **PAPERS)
    assert row(ledger, "clip_score_ahead")["verdict"] == DIFFERS, "ahead on average and not significantly"


@pytest.mark.parametrize("change, verdict, own, diffusers", [
    ({}, SET, "as here", "not as here"), ({"beta_schedule": "linear"}, SET, "not as here", "as here"),
    ({"beta_schedule": "squaredcos_cap_v2"}, DIFFERS, "not as here", "not as here")])
def test_both_readings_of_a_linear_schedule_are_shown(ledger, change, verdict, own, diffusers):
    fabricate(ledger, schedule=STABLE | change)
    found = row(ledger, "linear_schedule")
    assert found["verdict"] == verdict and found["computed"] == (STABLE | change)["beta_schedule"]
    assert f"“linear” is scaled_linear, alpha-bar 0.276 at t = 500, {own};" in found["reason"]
    assert f"“linear” is linear, alpha-bar 0.161 at t = 500, {diffusers};" in found["reason"]


def test_the_two_readings_are_diffusers_own_numbers():
    from diffusers import DDIMScheduler

    for schedule in settings.READINGS:
        bars = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=schedule).alphas_cumprod
        np.testing.assert_allclose(settings.alphas_bar(schedule), bars, rtol=1e-4)
        assert f"{bars[500]:.3f}" in (REPOSITORY / "params.paper.yaml").read_text(encoding="utf-8")


def test_one_video_that_differs_is_named(ledger):
    fabricate(ledger, "ocean", steps=1800)
    fabricate(ledger, "rain", steps=3600)
    assert row(ledger, "training_steps")["verdict"] == SET
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
    assert row(ledger, "table_preference_ours")["verdict"] == INCOMPARABLE, "films of another model"
    assert row(ledger, "table_preference_cogvideo")["computed"] == "25% [14, 40] (40 votes)"
    assert row(ledger, "table_realism_ours")["computed"] == "no votes"
    fabricate(ledger, **PAPERS)
    assert row(ledger, "table_preference_ours")["verdict"] == INCOMPARABLE, "60 to 86 holds 79, and nearly anything"
    assert "an interval of 26 points, past 20," in row(ledger, "table_preference_ours")["reason"]
    many = pair | {"low": 0.16, "high": 0.34}
    write_json(path, summary | {"questions": {"preference": {"pairs": [many]}}})
    assert row(ledger, "table_preference_ours")["verdict"] == RESULT, "66 to 84 holds 79"
    even = pair | {"share": 0.5, "low": 0.41, "high": 0.6}
    write_json(path, summary | {"questions": {"preference": {"pairs": [even]}}})
    assert row(ledger, "table_preference_ours")["verdict"] == DIFFERS
    few = pair | {"low": None, "high": None}
    write_json(path, summary | {"questions": {"preference": {"pairs": [few]}}})
    assert row(ledger, "table_preference_ours")["verdict"] == INCOMPARABLE, "too few people for an interval"
    write_json(path, summary | {"simulated": True})
    assert row(ledger, "table_preference_ours")["computed"] == "no responses yet"


def test_the_size_of_cogvideos_films_is_looked_up_in_the_files(ledger):
    from lnm.video import write_frames

    write_frames(ledger / "inputs" / "baselines" / "cogvideo" / "ocean", np.zeros((2, 48, 64, 3), np.uint8))
    found = row(ledger, "table_resolution_cogvideo")
    assert (found["computed"], found["verdict"]) == ("64x48", DIFFERS)


def test_cogvideo_is_known_however_its_folder_is_spelt(ledger):
    from lnm.video import write_frames

    write_frames(ledger / "inputs" / "baselines" / "CogVideo" / "ocean", np.zeros((2, 48, 64, 3), np.uint8))
    assert row(ledger, "table_resolution_cogvideo")["computed"] == "64x48"
    fabricate(ledger, methods={"CogVideo": {"fid_train": entry(384.0), "clipscore": entry(0.7)}}, **PAPERS)
    assert row(ledger, "fid_cogvideo")["computed"].startswith("384, ocean") and "ours" in row(
        ledger, "fid_less")["computed"]
    votes = {"first": "CogVideo", "second": "Ours", "share": 0.25, "low": 0.2, "high": 0.3, "n": 40, "over": "o"}
    write_json(ledger / "results" / "human_study" / "summary.json", {
        "simulated": False, "votes": 40, "questions": {"preference": {"pairs": [votes]}}})
    assert row(ledger, "table_preference_ours")["computed"].startswith("75% [70, 80]")


@pytest.mark.parametrize("file", ["evaluate/metrics.json", "prepare/clip.json", "finetune/temporal.safetensors"])
def test_results_that_cannot_be_read_are_one_line(ledger, capsys, file):
    fabricate(ledger)
    (ledger / "results" / "ocean" / file).write_text("{")
    assert command(["claims"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and file in error and error.count("\n") == 1


def test_a_checkpoint_is_stable_diffusions_by_its_exact_name_or_its_configuration(tmp_path):
    assert records.is_sd(SD, tmp_path) and not records.is_sd(None, tmp_path)
    assert not records.is_sd("me/not-stable-diffusion-at-all", tmp_path)
    for name in ("stable-diffusion-mine", "other"):
        write_json(tmp_path / name / "unet" / "config.json", {
            "in_channels": 9, "block_out_channels": [320, 640, 1280, 1280]})
        write_json(tmp_path / name / "vae" / "config.json", {
            "latent_channels": 16 if name != "other" else 4, "block_out_channels": [128, 256, 512, 512]})
    assert records.is_sd("other", tmp_path) and not records.is_sd("stable-diffusion-mine", tmp_path)


def test_the_latents_of_an_autoencoder_dc_are_counted_as_those_of_a_kl(ledger):
    fabricate(ledger)
    with_kl = row(ledger, "perceptual_compression")["computed"]
    write_json(ledger / MINE / "vae" / "config.json",
               {"encoder_block_out_channels": [1, 2, 3, 4], "latent_channels": 16})
    assert row(ledger, "perceptual_compression")["computed"] == with_kl


def test_latents_are_counted_by_the_checkpoint_of_the_run_and_by_no_other(ledger):
    assert row(ledger, "perceptual_compression")["verdict"] == INCOMPARABLE, "nothing was run"
    fabricate(ledger, checkpoint="me/not here")
    found = row(ledger, "perceptual_compression")
    assert found["verdict"] == INCOMPARABLE and "the configuration of me/not here's VAE is not here" in found["reason"]
    fabricate(ledger)
    write_json(ledger / MINE / "vae" / "config.json", {"block_out_channels": [1, 2], "latent_channels": 12})
    assert row(ledger, "perceptual_compression")["verdict"] == DIFFERS, "as many numbers as pixels"


# --- the method, as tests/conformance/ found it -----------------------------------------------------------------------


def test_what_was_checked_is_judged_and_what_was_not_is_said(ledger):
    assert row(ledger, "conv_equation")["reason"] == "not checked here: run `lnm claims --check`"
    checked(ledger)
    method = [one.id for one in LEDGER if one.function == claims.CHECKED]
    assert {one["verdict"] for one in rows(ledger, *method).values()} == {IMPLEMENTED} and len(method) >= 20
    checked(ledger, eq3=0.3)
    assert row(ledger, "conv_equation")["verdict"] == DIFFERS
    path = ledger / "build" / "conformance.json"
    held = json.loads(path.read_text())
    write_json(path, held | {"checks": {}})
    assert row(ledger, "conv_equation")["verdict"] == INCOMPARABLE
    write_json(path, held | {"code": "another"})
    assert row(ledger, "conv_equation")["reason"] == "checked on other code than this: run `lnm claims --check`"


def test_the_command_says_how_to_check_the_method_where_it_was_not(ledger, capsys):
    fabricate(ledger)
    for said in (True, False):
        assert command(["claims"]) == 0
        assert ("claims of the method: not checked here: run `lnm claims --check`" in capsys.readouterr().out) == said
        checked(ledger)


def test_the_start_convicts_nobody_of_what_was_shipped(ledger):
    checked(ledger)
    found = row(ledger, "inference_ready")
    assert found["verdict"] == INCOMPARABLE and "never published" in found["reason"]


# --- the paper's own numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, quotes", [
    ("preference_told_twice", ["79% of evaluators", "79% 76% 512x512"]),
    ("realism_sum", ["74% of evaluators, while only 26% selected CogVideo"]),
    ("clip_score_around", ["a score of around 0.76", "0.7597", "0.7522"]),
])
def test_a_paper_that_agreed_with_itself_would_be_told_so_and_nothing_reproduced(name, quotes):
    changes = {"quote": quotes} | ({"published": 0.76} if name == "clip_score_around" else {})
    assert claims.judge(of(name), run=None)["verdict"] == CONTRADICTS
    assert claims.judge(of(name, **changes), run=None)["verdict"] == INCOMPARABLE


@pytest.mark.parametrize("name, quotes", [
    ("largest_dataset", ["at just 41,250 samples", "a public 14 million paired text-video dataset"]),
    ("number_of_evaluators", ["78% of 10 people selected LateNtMovies", "30%", "79% 76%"]),
])
def test_a_paper_that_contradicted_itself_would_be_told_so(name, quotes):
    assert claims.judge(of(name), run=None)["verdict"] == INCOMPARABLE
    assert claims.judge(of(name, quote=quotes), run=None)["verdict"] == CONTRADICTS


def test_a_score_as_low_as_chance_is_seen(ledger):
    assert row(ledger, "fid_of_five_frames")["verdict"] == INCOMPARABLE
    run = claims.Run.read(ledger / "results")
    low = of("fid_of_five_frames")
    low = low.model_copy(update={"arguments": low.arguments | {"score": 5.0}})
    assert claims.judge(low, run)["verdict"] == DIFFERS
