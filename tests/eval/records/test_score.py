"""`lnm score`: anybody's frames, in one command, or one clear line."""

import json

import numpy as np
import pytest
from networks import tiny_clip
from PIL import Image
from textures import noise, texture, translated

from eval import registry
from eval.features import devices
from eval.features.clip import Clip
from eval.features.i3d import I3D_FILE
from eval.metrics import clip, copying, flags, frechet, motion
from eval.records import score
from eval.registry import DIRECTIONS, UNITS
from eval.statistics.intervals import Measured
from lnm import video
from lnm.cli import main
from lnm.errors import UserError


@pytest.fixture
def films(project):
    """film/ (8 frames that slide), real/ (12 that slide on), train/ (6), a CLIP of random weights."""
    moving = translated(count=26)
    video.write_frames(project / "film", moving[6:14])
    video.write_frames(project / "real", moving[14:26])
    video.write_frames(project / "train", moving[:6])
    tiny_clip(project / "clip")
    return project


def run(*options, capsys):
    status = main(["score", *map(str, options)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def scored(films, capsys, *options):
    """What --json holds."""
    status, out, err = run("--frames", "film", "--method", "mine", "--json", "out.json", *options,
                           capsys=capsys)
    assert status == 0, err
    return json.loads((films / "out.json").read_text()), out


def test_alone_a_film_gets_the_metrics_that_need_nothing_else_and_reasons_for_the_rest(films, capsys):
    result, out = scored(films, capsys, "--clip", "none")
    own = result["methods"]["mine"]
    assert set(own) == set(UNITS)
    assert {name for name, entry in own.items() if "value" in entry} == {
        "motion_energy", "flicker", "flow_warp", "flow_visible", "flow_speed", "detail", "colour_drift", "colour_slope",
        "dynamic_degree", "dynamic_margin"}
    assert "--reference" in own["fid_heldout"]["refused"] and "--train" in own["nearest_rmse"]["refused"]
    assert "--train" in own["nearest_inception"]["refused"]
    assert "checkpoint.clip" in own["clipsim"]["refused"] and "got 8" in own["fvd_heldout"]["refused"]
    assert own["motion_energy"]["value"] == pytest.approx(motion.motion_energy(video.read_frames("film")), rel=1e-5)
    assert result["controls"] == ["static", "static_noise", "shuffled"] and not result["flags"]
    assert "refused:" in out and "[" in out and "7 frame pairs" in out
    assert not list(films.glob("*.part"))


def fitting_prompt(films):
    """A prompt whose cosine with the real frames is above 0, by a CLIP of random weights: rm needs one."""
    model = Clip("clip", films)
    images = model(video.read_frames("real"))
    return next(text for text in map(str, range(100)) if clip.clipsim(model.text(text), images) > 0.01)


def test_beside_a_reference_every_number_has_its_interval_or_one_part(films, capsys):
    result, out = scored(films, capsys, "--reference", "real", "--train", "train", "--clip", "clip", "--prompt",
                         fitting_prompt(films), "--other-prompt", "a cat", "--images", "train")
    own = result["methods"]["mine"]
    assert {name for name, entry in own.items() if "refused" in entry} == {
        "detail_kept", "frame0_db_below_ceiling", "frame0_lpips", "fid_train", "fid_heldout", "kid_heldout",
        "nearest_inception", "fvd_heldout", "subject_inception", "still_subject_inception", "kid_subsets",
        "kid_subsets_deviation", "precision_inception", "recall_inception", "flow_warp_rife", "flow_speed_rife",
        "smoothness_rife",
    }  # no VAE, no AlexNet, no Inception, no I3D and no RIFE here
    for name, entry in own.items():
        if "value" in entry:
            assert entry["n"] >= 1 and entry["parts"]
            assert (entry["low"] is None) == ("no_interval" in entry), name
            if entry["low"] is not None:
                assert entry["low"] <= entry["value"] <= entry["high"] and entry["n"] >= 10, name
    assert "needs 10 parts in time, there are 7" in own["motion_energy"]["no_interval"]
    assert own["motion_energy"]["parts"] == "frame pair" and own["clipsim"]["parts"] == "frame"
    assert own["frame0_db"]["n"] == 1
    assert result["methods"]["reference"]["motion_ratio"]["value"] == 1
    assert result["methods"]["static"]["motion_energy"]["value"] == 0
    flagged = {(flag["metric"], flag["control"]) for flag in result["flags"]}
    assert ("flicker", "static") in flagged and ("flow_warp", "static") in flagged  # a frozen film beats real frames
    assert not any(metric in ("motion_ratio", "spectrum_gap") for metric, _ in flagged)
    assert next(line for line in out.splitlines() if line.startswith("flicker")).count("†") == 1
    assert result["backend"]["clip"]["clipscore_prefix"] == "A photo depicts "


def test_the_same_frames_are_scored_the_same_twice_and_as_a_video(films, capsys):
    first, _ = scored(films, capsys, "--reference", "real", "--clip", "none")
    again, _ = scored(films, capsys, "--reference", "real", "--clip", "none")
    assert first == again
    video.write_mp4("film.mp4", video.read_frames("film"), 8, crf=1)
    status, out, _ = run("--frames", "film.mp4", "--method", "mine", "--clip", "none", capsys=capsys)
    assert status == 0 and "8 frames of 64 x 64 at 8 fps" in out


def test_videos_of_another_rate_are_not_compared_in_time_unless_resampled(films, capsys):
    video.write_mp4("real.mp4", video.read_frames("real"), 16)
    video.write_mp4("film.mp4", video.read_frames("film"), 8)
    options = ("--frames", "film.mp4", "--reference", "real.mp4", "--clip", "none", "--method", "x", "--json", "o.json")
    assert run(*options, capsys=capsys)[0] == 0
    own = json.loads((films / "o.json").read_text())["methods"]["x"]
    assert "--fps" in own["motion_ratio"]["refused"] and "value" in own["motion_energy"]
    assert run(*options, "--fps", 8, capsys=capsys)[0] == 0
    assert "value" in json.loads((films / "o.json").read_text())["methods"]["x"]["motion_ratio"]


def test_films_of_two_sizes_are_compared_as_squares_of_the_smaller(films, capsys):
    wide = np.repeat(np.repeat(video.read_frames("film"), 2, 1), 3, 2)  # 192 x 128
    video.write_frames("wide", wide)
    status, out, _ = run("--frames", "wide", "--reference", "real", "--clip", "none", "--method", "x", capsys=capsys)
    assert status == 0 and "8 frames of 64 x 64" in out and "centre squares of 64 pixels" in out


def test_three_frames_are_scored_and_two_refusals_say_the_number(films, capsys):
    video.write_mp4("three.mp4", translated(count=3), 8)
    status, out, _ = run("--frames", "three.mp4", "--method", "x", "--reference", "real", "--clip", "none",
                         capsys=capsys)
    assert status == 0 and "a temporal spectrum needs 4 frames, got 3" in out and "FVD needs 10 frames" in out


@pytest.mark.parametrize("broken, options, said", [
    ("corrupt", [], "00003.png: not a readable image"),
    ("unequal", [], "00003.png: 20 x 30, but 00000.png is 64 x 64"),
    ("film", ["--prompt", " "], "--prompt: the text is empty"),
    ("film", ["--other-prompt", ""], "--other-prompt: the text is empty"),
    ("nowhere", [], "nowhere: no such file or folder"),
    ("empty", [], "empty: no images"),
    ("text.mp4", [], "not a readable video"),
    ("film", ["--method", "a/b ✓"], "may hold only letters"),
    ("film", ["--method", "static"], "a control is called so"),
    ("film", ["--reference", "nowhere"], "--reference nowhere: no such"),
    ("film", ["--size", "3"], "'--size': input should be greater than or equal to 16"),
    ("film", ["--fps", "0"], "--fps 0: must be a number above 0"),
    ("film", ["--json", "film"], "film: this is a folder; name a file"),
    ("film", ["--json", "text.mp4/o.json"], "text.mp4/o.json: a part of this path is a file, no folder"),
    ("film", ["--html", "film"], "film: this is a folder; name a file"),
    ("film", ["--cache-reference", "ref.pt"], "the name must end in .safetensors"),
    ("film", ["--cache-reference", "ref.safetensors"], "no features to keep: no real frames"),
    ("film", ["--reference", "none.safetensors"], "--reference: none.safetensors: no such file"),
    ("film", ["--methods", "film"], "give either --frames with --method NAME, or --methods DIR"),
    ("film", ["--reference", "film", "--vae-reference", "corrupt/00000.png"], "--vae-reference"),
    ("film", ["--images", "empty"], "empty: no images"),
    ("film", ["--still", "no.png"], "no.png: no such file"),
    ("film", ["--sizes", "64"], "no such option: --sizes"),
])
def test_bad_input_is_one_clear_line_and_status_2(films, capsys, broken, options, said):
    for folder in ("corrupt", "unequal"):
        video.write_frames(films / folder, translated(count=5))
    whole = (films / "corrupt" / "00003.png").read_bytes()
    (films / "corrupt" / "00003.png").write_bytes(whole[:len(whole) // 2])
    Image.new("RGB", (20, 30)).save(films / "unequal" / "00003.png")
    (films / "empty").mkdir()
    (films / "text.mp4").write_text("no film")
    before = sorted(films.rglob("*"))
    status, out, err = run("--frames", broken, "--method", "x", "--clip", "none", *options, capsys=capsys)
    assert status == 2 and not out and err.startswith("error: ") and err.count("\n") == 1
    assert said.lower() in err.lower()
    assert sorted(films.rglob("*")) == before


# ---------------------------------------------------------------- the measures behind it


def test_every_metric_has_a_unit_and_a_reading():
    assert set(DIRECTIONS) == set(UNITS)
    assert set(registry.TO_HELDOUT) <= set(UNITS)


def test_an_interval_of_a_gap_is_of_the_gap_and_not_of_its_parts():
    parts = np.random.default_rng(0).normal(5, 1, 300)
    gap = Measured(parts, "frame pair", lambda parts: abs(parts.mean() - 2))
    low, high = gap.interval()
    assert low < gap.value < high < 4 and (low + high) / 2 == pytest.approx(gap.value)
    assert isinstance(Measured(np.array([1.0]), "film").interval(), str)


def test_a_jackknife_of_fid_holds_its_value_where_a_bootstrap_would_not():
    from eval.metrics.frechet import fid_from_features

    rng = np.random.default_rng(0)
    film, real = rng.normal(size=(16, 64)), rng.normal(size=(80, 64))
    low, high = Measured(film, "frame", lambda parts: fid_from_features(parts, real)).interval()
    drawn = [fid_from_features(film[rng.integers(0, 16, 16)], real) for _ in range(100)]
    assert low < fid_from_features(film, real) < high
    assert np.percentile(drawn, 2.5) > fid_from_features(film, real)  # repeated frames span fewer dimensions


def test_a_control_ranks_above_real_frames_by_the_metrics_own_reading():
    above = flags.ranks_above
    assert above("flicker", 0.1, 0.2) and not above("flicker", 0.3, 0.2)
    assert above("clipsim", 0.3, 0.2) and not above("clipsim", 0.2, 0.3)
    assert above("motion_ratio", 1.1, 0.8) and not above("motion_ratio", 0.5, 0.8)
    assert not above("clipsim", 0.2 + 1e-9, 0.2)  # a tie
    assert not above("motion_energy", 0, 1) and not above("clipsim_mismatched", 1, 0)


def test_flags_take_other_real_frames_where_the_real_ones_are_compared_with_themselves():
    def row(**values):
        return {metric: {"value": values[metric]} if metric in values else {"refused": "x"} for metric in UNITS}

    methods = {"real": row(spectrum_gap=0.0, flicker=0.2, clipsim=0.3, clipsim_mismatched=0.31),
               "static": row(spectrum_gap=2.0, flicker=0.0), "noise": row(spectrum_gap=5.0, flicker=0.3)}
    found = flags.flags(methods, ["real", "static", "noise"], "real", {"spectrum_gap": 3.0})
    assert {(flag["metric"], flag["control"]) for flag in found} == {
        ("spectrum_gap", "static"), ("flicker", "static"), ("clipsim", "mismatched_prompt")}
    assert next(flag for flag in found if flag["metric"] == "spectrum_gap")["real"] == 3.0


def test_the_clip_views_are_one_primitive(films):
    frames, others = video.read_frames("film"), video.read_frames("real")
    prompt = fitting_prompt(films)
    metrics = clip.ClipMetrics("clip", films, "cpu", prompt, ["a cat", "a dog"], None, others)
    row, model = metrics(frames), metrics.features.extractor
    images = model(frames)
    assert row["clipsim"].value == pytest.approx((images @ model.text(prompt)).mean(), abs=1e-5)
    prefixed = images @ model.text("A photo depicts " + prompt)
    assert row["clipscore"].value == pytest.approx(2.5 * np.maximum(prefixed, 0).mean(), abs=1e-5)
    wrong = [(images @ model.text(text)).mean() for text in ("a cat", "a dog")]
    assert row["clipsim_mismatched"].value == pytest.approx(np.mean(wrong), abs=1e-5)
    assert row["image_image"].value == pytest.approx((images @ model(others).T).mean(), abs=1e-5)
    real = clip.clipsim(model.text(prompt), model(others))
    assert row["rm"].value == pytest.approx(row["clipsim"].value / real, abs=1e-5)
    assert "part of the reference" in metrics(others, is_real=True)["image_image"]
    assert "note" not in metrics.backend
    long = clip.ClipMetrics("clip", films, "cpu", "waves " * 100, [], None, others)
    assert "77 tokens" in long.backend["note"] and "end token" in long.backend["note"]
    assert "no other prompt" in long(frames)["clipsim_mismatched"]


def test_the_nearest_training_frame_is_found_and_a_copy_is_at_zero():
    train = noise(70)  # more than a block
    mixed = np.stack([train[66], texture(500, 64), train[3]])
    rmse = copying.nearest_rmse(mixed, train)
    by_hand = np.sqrt(np.square(mixed[1].astype(float) - train).mean(axis=(1, 2, 3))).min() / 255
    assert rmse[0] == rmse[2] == 0 and rmse[1] == pytest.approx(by_hand)
    vectors = np.random.default_rng(0).normal(size=(9, 5))
    distances = copying.nearest_feature(np.stack([3 * vectors[4], -vectors[0]]), vectors)
    assert distances[0] == pytest.approx(0) and distances[1] == pytest.approx(
        1 - max(np.dot(-vectors[0], v) / np.linalg.norm(vectors[0]) / np.linalg.norm(v) for v in vectors))


def i3d(path):
    """A TorchScript file of I3D's form: 400 numbers that say how long a clip is and how bright."""
    import torch

    class Tiny(torch.nn.Module):
        def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
            assert rescale and resize and return_features and x.shape[1] == 3
            mean = x.mean(dim=[3, 4]).flatten(1) / 255  # (N, 3 T)
            return mean.mean(1, keepdim=True) * torch.arange(400)[None] / 400 + mean[:, :1]

    path.parent.mkdir(exist_ok=True)
    torch.jit.script(Tiny()).save(str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fvd_is_refused_for_few_frames_then_for_weights_and_else_computed(films):
    film, real = noise(14), noise(16, seed=40)
    missing = frechet.VideoMetrics(films, "cpu", real, 14)
    assert "needs 10 frames" in missing(film[:9])["fvd_heldout"]
    assert "no I3D weights under weights/" in missing(film)["fvd_heldout"]
    i3d(films / "weights" / I3D_FILE)
    metrics = frechet.VideoMetrics(films, "cpu", real, 14)
    entry = metrics(film)["fvd_heldout"]
    assert entry.unit == "window" and entry.parts.shape == (5, 400)
    clips = [np.stack([f[i:i + 10] for i in range(len(f) - 9)]) for f in (film, real)]
    features = [metrics.model(c) for c in clips]
    assert entry.value == pytest.approx(frechet.fvd_from_features(*features), rel=1e-6) and entry.value > 0
    assert "2 windows" in frechet.VideoMetrics(films, "cpu", real, 10)(film[:10])["fvd_heldout"]
    assert "10 frames, the others' are of 14" in metrics(film[:10])["fvd_heldout"]
    assert "--reference" in frechet.VideoMetrics(films, "cpu", "no real frames (--reference)", 14)(film)["fvd_heldout"]
    (films / "weights" / I3D_FILE).write_text("no network")
    assert "not a TorchScript" in frechet.VideoMetrics(films, "cpu", real, 14)(film)["fvd_heldout"]


def test_without_a_device_of_that_name_it_says_so():
    with pytest.raises(UserError, match="device mps"):
        devices.pick_device("mps")
    assert score.LABELS["static"] == "static"
