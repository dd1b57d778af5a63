"""The sample stage: films by the fine-tuned model and by the frozen checkpoint, from the same noise."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SIZE, tiny_finetune, write_tiny_checkpoint, write_tiny_finetuned
from tiny_decoder import wake_decoder

from eval.metrics.fidelity import psnr
from lnm import devices, video
from lnm.checkpoint import open_checkpoint
from lnm.decoder import save_decoder
from lnm.detail import added
from lnm.errors import UserError
from lnm.files import sha256
from lnm.flow import carried, played
from lnm.latents import decode, encode, load_latents
from lnm.pipeline import LateNtMoviesPipeline, to_uint8
from lnm.schedulers import make_scheduler
from lnm.settings import Sample
from lnm.stages.finetune import finetune
from lnm.stages.sample import film_seed, sample_films
from lnm.unet import UNetPseudo3DConditionModel

SETTINGS = Sample(num_frames=4, num_inference_steps=2, seeds=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_finetuned(tmp_path_factory.mktemp("tiny"), beta_schedule="linear", mask_value=1,
                                learning_rate=3e-3)


def test_a_script_of_five_lines(tiny, tmp_path):
    checkpoint, prepared, temporal = tiny
    from lnm.settings import Sample
    from lnm.stages.sample import sample_films

    note = sample_films(prepared, temporal, tmp_path, settings=Sample(num_frames=3, num_inference_steps=2, seeds=1),
                        checkpoint=str(checkpoint))
    assert note["methods"] == ["ours", "frame_by_frame"]
    for method in note["methods"]:
        assert video.read(tmp_path / method / "seed_0" / "film.mp4").frames.shape == (3, SIZE, SIZE, 3)
        assert (tmp_path / f"{method}_seed_0.png").is_file()


def test_films_are_the_pipeline_s_own_on_the_noise_schedule_and_mask_of_the_temporal_file(tiny, tmp_path, capsys):
    checkpoint, prepared, temporal = tiny
    note = sample_films(prepared, temporal, tmp_path, settings=SETTINGS, checkpoint=str(checkpoint), seed=5, name="sea")
    bars = capsys.readouterr().err
    assert all(f"sampling sea, {m}, film {k} of 2: " in bars for m in ("ours", "frame_by_frame") for k in (1, 2))
    assert note["mask_value"] == 1 and note["seed"] == 5 and note["temporal_sha256"] == sha256(temporal)
    assert json.loads((tmp_path / "films.json").read_text()) == note
    base = open_checkpoint(str(checkpoint))
    ours = LateNtMoviesPipeline.from_pretrained(checkpoint, temporal=temporal)
    torch.testing.assert_close(ours.scheduler.betas, torch.linspace(0.00085, 0.012, 1000))
    alone = LateNtMoviesPipeline.frame_by_frame(base, mask_value=1.0)  # it was never trained on another schedule
    for method, pipe in (("ours", ours), ("frame_by_frame", alone)):
        pipe.scheduler = make_scheduler(pipe.scheduler, kind=SETTINGS.scheduler)
        for k in range(2):
            noise = torch.Generator().manual_seed(film_seed(5, k))  # of both methods
            film = pipe(image_latents=load_latents(prepared)["still"], prompt="ocean waves", num_frames=4, fps=8,
                        num_inference_steps=2, generator=noise).frames[0]
            assert np.array_equal(video.read_frames(tmp_path / method / f"seed_{k}"), to_uint8(film))


def test_layers_from_the_identity_are_sampled_where_the_fine_tune_left_them(tiny, tmp_path):
    checkpoint, prepared, temporal = tiny
    home = tmp_path / "finetune"
    (home / "identity").mkdir(parents=True)
    shutil.copy(temporal, home / "temporal.safetensors")
    finetune(prepared, home / "identity", tmp_path / "store", **tiny_finetune(checkpoint, mask_value=1, steps=1))
    settings = SETTINGS.model_copy(update={"seeds": 1})
    note = sample_films(prepared, home / "temporal.safetensors", tmp_path / "films", settings=settings,
                        checkpoint=str(checkpoint))
    assert note["methods"] == ["ours", "identity", "frame_by_frame"]
    assert note["clusters"] == {"ours": ["fine-tune 1"], "identity": ["fine-tune 1"]}
    sample_films(prepared, home / "identity" / "temporal.safetensors", tmp_path / "alone", settings=settings,
                 checkpoint=str(checkpoint))
    arm = video.read_frames(tmp_path / "films" / "identity" / "seed_0")
    assert np.array_equal(arm, video.read_frames(tmp_path / "alone" / "ours" / "seed_0"))
    assert not np.array_equal(arm, video.read_frames(tmp_path / "films" / "ours" / "seed_0"))


def test_ours_begin_from_the_still_carried_along_and_the_same_layers_from_noise_stand_beside_them(tiny, tmp_path):
    checkpoint, prepared, temporal = tiny
    settings = SETTINGS.model_copy(update={"num_inference_steps": 4, "begin": "flow", "strength": 0.5,
                                           "condition": "video"})
    note = sample_films(prepared, temporal, tmp_path / "flow", settings=settings, checkpoint=str(checkpoint))
    plain = sample_films(prepared, temporal, tmp_path / "noise", checkpoint=str(checkpoint),
                         settings=settings.model_copy(update={"begin": "noise"}))
    bare = sample_films(prepared, temporal, tmp_path / "bare", checkpoint=str(checkpoint),
                        settings=settings.model_copy(update={"restore_detail": False}))
    assert note["methods"] == ["ours", "from_noise", "carried_still", "frame_by_frame"]
    assert [note[k] for k in ("begin", "strength", "condition", "steps_taken")] == ["flow", 0.5, "video", 2]
    assert plain["methods"] == ["ours", "frame_by_frame"] and "begin" not in plain
    assert note["clusters"] == {"ours": ["fine-tune 1"] * 2, "from_noise": ["fine-tune 1"] * 2}
    assert note["films"] == {"ours": 2, "from_noise": 2, "carried_still": 2, "frame_by_frame": 2}
    fewer = sample_films(prepared, temporal, tmp_path / "fewer", checkpoint=str(checkpoint),
                         settings=settings.model_copy(update={"others": 1}))
    assert fewer["films"] == {"ours": 2, "from_noise": 1, "carried_still": 1,
                              "frame_by_frame": 1} and fewer["seeds"] == [0, 1]
    assert fewer["clusters"] == {"ours": ["fine-tune 1"] * 2, "from_noise": ["fine-tune 1"]}
    assert sorted(folder.name for folder in (tmp_path / "fewer").glob("*/seed_1")) == ["seed_1"]

    def film(run, method, k):
        return video.read_frames(tmp_path / run / method / f"seed_{k}")

    pipe = LateNtMoviesPipeline.from_pretrained(checkpoint, temporal=temporal)
    pipe.scheduler = make_scheduler(pipe.scheduler, kind=settings.scheduler)
    picture, clip = video.read_image(prepared / "still.png"), video.read_frames(prepared / "train")
    assert np.array_equal(film("fewer", "from_noise", 0), film("flow", "from_noise", 0))
    for k in range(2):
        assert np.array_equal(film("flow", "from_noise", k), film("noise", "ours", k))
        moved = np.stack(list(carried(picture, *played(picture, clip, 4, k))))
        want = pipe(image_latents=load_latents(prepared)["still"], prompt="ocean waves", fps=8.0,
                    video_latents=encode(pipe.vae, moved).movedim(0, 1)[None],
                    generator=torch.Generator().manual_seed(film_seed(0, k)), output_type="uint8",
                    **settings.film(begun=True))
        through = decode(pipe.vae, encode(pipe.vae, moved))
        assert np.array_equal(film("flow/decoded", "carried_still", k), through)
        assert np.array_equal(film("flow", "carried_still", k), moved)
        assert np.array_equal(film("flow/decoded", "ours", k), want.frames[0]) and not np.array_equal(
            want.frames[0], film("flow", "from_noise", k))
        assert np.array_equal(film("flow", "ours", k), added(want.frames[0], moved, through))
        assert np.array_equal(film("bare", "ours", k), want.frames[0])
        assert np.array_equal(film("bare", "carried_still", k), through)
    assert note["decoded"] == ["ours", "carried_still"] and plain["decoded"] == bare["decoded"] == []
    assert not (tmp_path / "bare" / "decoded").exists() and not bare["restore_detail"]


def test_layers_told_of_the_still_make_the_films_begun_from_noise_and_no_other(tiny, tmp_path):
    checkpoint, prepared, temporal = tiny
    home, noise = tmp_path / "finetune", tmp_path / "finetune" / "noise" / "temporal.safetensors"
    (home / "seeds" / "1").mkdir(parents=True)
    shutil.copy(temporal, home / "temporal.safetensors")
    for folder, steps in ((home / "seeds" / "1", 1), (home / "noise", 2)):
        finetune(prepared, folder, tmp_path / f"store_{steps}", **tiny_finetune(
            checkpoint, mask_value=1, steps=steps, learning_rate=3e-3))
    save_decoder(wake_decoder(open_checkpoint(str(checkpoint)).vae, size=0.2), tmp_path / "decoder.safetensors")
    flow = SETTINGS.model_copy(update={"num_inference_steps": 4, "begin": "flow", "strength": 0.5,
                                       "temporal_decoder": str(tmp_path / "decoder.safetensors")})

    def sampled(file, name, settings=flow):
        return sample_films(prepared, file, tmp_path / name, settings=settings, checkpoint=str(checkpoint))

    def same(one, other):
        return [np.array_equal(*(video.read_frames(tmp_path / place / f"seed_{k}") for place in (one, other)))
                for k in range(2)]

    own = sampled(home / "temporal.safetensors", "own")
    alone = sampled(shutil.copy(noise, tmp_path / "alone.safetensors"), "alone",
                    flow.model_copy(update={"begin": "noise"}))
    shutil.rmtree(home / "noise")
    shared = sampled(home / "temporal.safetensors", "shared")
    assert own["methods"] == shared["methods"] == ["ours", "from_noise", "carried_still", "frame_by_frame"]
    in_turn = ["fine-tune 1", "fine-tune 2"]
    assert own["clusters"] == {"ours": in_turn, "from_noise": ["fine-tune 1"] * 2}
    assert shared["clusters"] == {"ours": in_turn, "from_noise": in_turn}
    assert own["decoded_in_time"] == shared["decoded_in_time"] == ["from_noise"]
    assert alone["decoded_in_time"] == ["ours"]
    assert same("own/from_noise", "alone/ours") == [True, True]
    assert same("own/from_noise", "shared/from_noise") == [False, False]
    for method in ("ours", "carried_still", "frame_by_frame"):
        assert same(f"own/{method}", f"shared/{method}") == [True, True], method


def test_the_last_frame_of_a_film_that_ends_on_a_still_has_that_still_s_detail(tiny, tmp_path):
    checkpoint, prepared, temporal = tiny
    settings = SETTINGS.model_copy(update={"num_inference_steps": 4, "begin": "flow", "strength": 0.5, "seeds": 1})
    last = np.random.default_rng(3).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(last).save(tmp_path / "last.png")
    sample_films(prepared, temporal, tmp_path / "films", settings=settings, checkpoint=str(checkpoint),
                 methods=("ours",), last_still=tmp_path / "last.png")
    film, decoded = (video.read_frames(tmp_path / "films" / part / "seed_0") for part in ("ours", "decoded/ours"))
    vae = open_checkpoint(str(checkpoint)).vae
    through = decode(vae, encode(vae, last[None]))
    assert np.array_equal(film[-1:], added(decoded[-1:], last[None], through))
    assert psnr(film[-1], last) > psnr(decoded[-1], last) + 1


def test_films_are_shared_out_among_the_fine_tunes_in_turn(tiny, tmp_path):
    checkpoint, prepared, temporal = tiny
    home = tmp_path / "finetune"
    (home / "seeds" / "1").mkdir(parents=True)
    shutil.copy(temporal, home / "temporal.safetensors")
    finetune(prepared, home / "seeds" / "1", tmp_path / "store", **tiny_finetune(checkpoint, mask_value=1, steps=1))
    note = sample_films(prepared, home / "temporal.safetensors", tmp_path / "films", checkpoint=str(checkpoint),
                        settings=SETTINGS, methods=("ours",))
    assert note["clusters"] == {"ours": ["fine-tune 1", "fine-tune 2"]}
    for k, file in enumerate((home / "temporal.safetensors", home / "seeds" / "1" / "temporal.safetensors")):
        sample_films(prepared, shutil.copy(file, tmp_path / "one.safetensors"), tmp_path / "alone",
                     checkpoint=str(checkpoint), settings=SETTINGS, methods=("ours",))
        film = video.read_frames(tmp_path / "films" / "ours" / f"seed_{k}")
        assert np.array_equal(film, video.read_frames(tmp_path / "alone" / "ours" / f"seed_{k}"))
        other = video.read_frames(tmp_path / "alone" / "ours" / f"seed_{1 - k}")
        assert not np.array_equal(film, other)


def test_a_decoder_in_time_decodes_ours_alone_and_those_begun_from_noise(tiny, tmp_path):
    """The paper's own arm and the frozen checkpoint keep the checkpoint's decoder."""
    checkpoint, prepared, temporal = tiny
    home, file = tmp_path / "finetune", tmp_path / "decoder.safetensors"
    (home / "identity").mkdir(parents=True)
    for place in (home, home / "identity"):
        shutil.copy(temporal, place / "temporal.safetensors")
    save_decoder(wake_decoder(open_checkpoint(str(checkpoint)).vae, size=0.2), file)
    settings = SETTINGS.model_copy(update={"seeds": 1})
    for name, decoder in (("plain", None), ("time", str(file))):
        note = sample_films(prepared, home / "temporal.safetensors", tmp_path / name, checkpoint=str(checkpoint),
                            settings=settings.model_copy(update={"temporal_decoder": decoder}),
                            about={"temporal_decoder": "mine"} if decoder else None)
        assert note["methods"] == ["ours", "identity", "frame_by_frame"]
        assert note["decoded_in_time"] == (["ours"] if decoder else [])
        assert note["temporal_decoder"] == ("mine" if decoder else None)
        assert note["decoder_sha256"] == (sha256(file) if decoder else None)
    for method, alike in (("ours", False), ("identity", True), ("frame_by_frame", True)):
        films = [video.read_frames(tmp_path / name / method / "seed_0") for name in ("plain", "time")]
        assert np.array_equal(*films) == alike, method
    flow = settings.model_copy(update={"begin": "flow", "strength": 0.5, "num_frames": 3})
    for name, decoder in (("flow", None), ("flow in time", str(file))):  # begun from a film: steady without
        note = sample_films(prepared, home / "temporal.safetensors", tmp_path / name, checkpoint=str(checkpoint),
                            settings=flow.model_copy(update={"temporal_decoder": decoder}))
        assert note["decoded_in_time"] == (["from_noise"] if decoder else [])
        assert note["decoder_sha256"] == (sha256(file) if decoder else None)
    for method, alike in (("ours", True), ("from_noise", False), ("carried_still", True), ("identity", True),
                          ("frame_by_frame", True)):
        films = [video.read_frames(tmp_path / name / method / "seed_0") for name in ("flow", "flow in time")]
        assert np.array_equal(*films) == alike, method
    pipe = LateNtMoviesPipeline.from_pretrained(checkpoint, temporal=temporal, temporal_decoder=file)
    pipe.scheduler = make_scheduler(pipe.scheduler, kind=SETTINGS.scheduler)
    film = pipe(image_latents=load_latents(prepared)["still"], prompt="ocean waves", num_frames=4, fps=8,
                num_inference_steps=2, generator=torch.Generator().manual_seed(film_seed(0, 0))).frames[0]
    assert np.array_equal(video.read_frames(tmp_path / "time" / "ours" / "seed_0"), to_uint8(film))


def test_a_decoder_that_is_not_there_is_one_line(tiny, tmp_path, monkeypatch):
    checkpoint, prepared, temporal = tiny
    monkeypatch.setattr("lnm.hub.builtin", lambda name: None)
    with pytest.raises(UserError, match="lnm-mini-decoder: no such decoder file; `dvc pull lnm-mini-decoder` brings"):
        sample_films(prepared, temporal, tmp_path / "out", checkpoint=str(checkpoint),
                     settings=SETTINGS.model_copy(update={"temporal_decoder": "lnm-mini-decoder"}))
    assert not (tmp_path / "out").exists()


def test_no_film_of_one_seed_is_a_film_of_another(tiny, tmp_path):
    drawn = {film_seed(seed, k) for seed in range(20) for k in range(20)}
    assert len(drawn) == 400 and film_seed(3, 4) == film_seed(3, 4)
    checkpoint, prepared, temporal = tiny
    films = []
    for seed in (0, 1):
        sample_films(prepared, temporal, tmp_path / str(seed), settings=SETTINGS, checkpoint=str(checkpoint), seed=seed,
                     methods=("ours",))
        films += [sha256(tmp_path / str(seed) / "ours" / f"seed_{k}" / "film.mp4") for k in range(2)]
        assert not (tmp_path / str(seed) / "frame_by_frame").exists()
    assert len(set(films)) == 4


def test_a_temporal_file_of_another_checkpoint_is_one_line(tiny, tmp_path):
    other = write_tiny_checkpoint(tmp_path / "other", block_out_channels=(16, 24))
    with pytest.raises(UserError):
        sample_films(tiny[1], tiny[2], tmp_path / "out", settings=SETTINGS, checkpoint=str(other), methods=("ours",))
    with pytest.raises(UserError, match="no such file; run the fine-tune again"):
        sample_films(tiny[1], tmp_path / "none.safetensors", tmp_path / "out", settings=SETTINGS,
                     checkpoint=str(tiny[0]))
    assert not (tmp_path / "out").exists()


def test_there_is_one_u_net_whatever_is_filmed_and_each_film_is_its_layers_own(tiny, tmp_path, monkeypatch):
    checkpoint, prepared, temporal = tiny
    home = tmp_path / "finetune"
    (home / "identity").mkdir(parents=True)
    shutil.copy(temporal, home / "temporal.safetensors")
    finetune(prepared, home / "identity", tmp_path / "store",
             **tiny_finetune(checkpoint, mask_value=0, steps=2, learning_rate=3e-3))
    settings = SETTINGS.model_copy(update={"seeds": 1})
    each = {"ours": home / "temporal.safetensors", "identity": home / "identity" / "temporal.safetensors"}
    for method, file in each.items():  # alone
        shutil.copytree(home / "identity" if method == "identity" else home, tmp_path / f"{method}_alone")
        shutil.rmtree(tmp_path / f"{method}_alone" / "identity", ignore_errors=True)
        sample_films(prepared, tmp_path / f"{method}_alone" / file.name, tmp_path / method, settings=settings,
                     checkpoint=str(checkpoint), methods=("ours",))

    inflated, how = UNetPseudo3DConditionModel.from_unet2d, []
    monkeypatch.setattr(UNetPseudo3DConditionModel, "from_unet2d",
                        lambda unet, **given: how.append(given["in_place"]) or inflated(unet, **given))
    note = sample_films(prepared, each["ours"], tmp_path / "films", settings=settings, checkpoint=str(checkpoint))
    assert note["methods"] == ["ours", "identity", "frame_by_frame"] and "dtype" not in note
    assert how == [True], "inflated once, in place"
    for method in each:
        film = video.read_frames(tmp_path / "films" / method / "seed_0")
        assert np.array_equal(film, video.read_frames(tmp_path / method / "ours" / "seed_0"))


def test_films_in_half_precision_are_much_the_same_and_say_so(tiny, tmp_path, monkeypatch):
    checkpoint, prepared, temporal = tiny
    monkeypatch.setattr(devices, "half_precision", lambda device: "bf16")
    films = []
    for dtype in ("float32", "auto"):
        settings = SETTINGS.model_copy(update={"seeds": 1, "dtype": dtype})
        note = sample_films(prepared, temporal, tmp_path / dtype, settings=settings, checkpoint=str(checkpoint),
                            methods=("ours",))
        films.append(video.read_frames(tmp_path / dtype / "ours" / "seed_0").astype(float))
    assert note["dtype"] == "bfloat16"
    difference = np.abs(films[0] - films[1])
    assert 0 < difference.mean() < 3


def test_a_film_longer_than_a_window_says_how_it_was_made(tiny, tmp_path):
    checkpoint, prepared, temporal = tiny
    frames = {}
    for long in ("windows", "continue"):
        settings = Sample(num_frames=6, window=4, window_stride=2, long=long, num_inference_steps=2, seeds=1)
        note = sample_films(prepared, temporal, tmp_path / long, settings=settings, checkpoint=str(checkpoint),
                            methods=("ours",))
        assert (note["num_frames"], note["long"], note["window"], note["window_stride"]) == (6, long, 4, 2)
        frames[long] = video.read_frames(tmp_path / long / "ours" / "seed_0")
        assert len(frames[long]) == 6
    assert not np.array_equal(*frames.values())
    note = sample_films(prepared, temporal, tmp_path / "short", settings=SETTINGS.model_copy(update={"window": 4}),
                        checkpoint=str(checkpoint), methods=("ours",))
    assert not {"long", "window", "window_stride", "noise", "last_still"} & set(note), "a film of one window"
