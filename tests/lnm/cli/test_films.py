"""`lnm animate`, `finetune`, `sample`, `check`: in any folder, and with a project's settings inside one."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny import SIZE, write_tiny_checkpoint

from lnm import video
from lnm.cli import main, options
from lnm.settings import Finetune, Sample
from lnm.temporal_file import read_temporal

QUICK = ["--set", "frames=3", "--device", "cpu"]
BLACK = np.zeros((2, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """No project: a clip that drifts at 16 frames a second, two stills like it, one unlike it."""
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    frames = np.stack([np.roll(picture, i, 1) for i in range(64)])
    video.write_mp4(tmp_path / "clip.mp4", frames, 16)
    for i in range(2):
        Image.fromarray(np.roll(picture, 3 * i, 0)).save(tmp_path / f"still{i}.png")
    Image.fromarray(np.full_like(picture, 255)).save(tmp_path / "white.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def project(folder, base, **sections):
    text = f"size: {SIZE}\nseed: 5\ndevice: cpu\ncheckpoint: {{name: {base}, clip: null}}\n"
    text += "".join(f"{name}: {values}\n" for name, values in sections.items())
    (folder / "params.yaml").write_text(text + "videos: {other: {path: nowhere.mp4, fps: 8, prompts: [x]}}\n")


def test_a_clip_is_learned_into_a_file_and_given_to_a_still(folder, base, capsys):
    size = ["--size", str(SIZE), "--checkpoint", base]
    assert main(["finetune", "clip.mp4", "--prompt", "waves", "--out", "waves.safetensors", "--steps", "3", *size,
                 *QUICK]) == 0
    out, err = capsys.readouterr()
    assert out == f"temporal file: {folder / 'waves.safetensors'}\n" and "fps: 8, as none is given" in err
    notes = read_temporal("waves.safetensors").notes
    assert (notes.prompt, notes.fps, notes.steps, notes.video, notes.checkpoint) == ("waves", 8, 3, "clip", "tiny")
    film = ["sample", "still0.png", "--temporal", "waves.safetensors", "--frames", "4", "--inference-steps", "2",
            "--size", f"{SIZE}x{2 * SIZE}", "--out", "film.gif"]
    assert main(film) == 2, "a folder is recorded by its name, not by where it lies"
    assert capsys.readouterr().err == ("error: --temporal waves.safetensors: the model that it was trained on, tiny, "
                                       "is not here; give --checkpoint\n")
    assert main([*film, "--checkpoint", base]) == 0
    assert capsys.readouterr().out == f"film: {folder / 'film.gif'}\n"
    plain = video.read_frames(folder / "film.gif")
    assert plain.shape == (4, 2 * SIZE, SIZE, 3)
    film += ["--checkpoint", base, "--set", "begin=flow", "--set", "strength=0.5"]
    assert main(film) == 0
    assert "begun from noise: --like CLIP" in capsys.readouterr().err
    assert np.array_equal(video.read_frames(folder / "film.gif"), plain)
    assert main([*film, "--like", "clip.mp4"]) == 0
    assert "begun" not in capsys.readouterr().err
    assert not np.array_equal(video.read_frames(folder / "film.gif"), plain)
    assert sorted(p.name for p in folder.iterdir() if p.name[0] == ".") == [], "nothing to resume is left"


def test_a_fine_tune_that_stops_goes_on_to_the_same_bytes(folder, base, monkeypatch, capsys):
    from lnm import training

    words = ["finetune", "clip.mp4", "--prompt", "waves", "--steps", "4", "--size", str(SIZE), "--checkpoint", base,
             "--set", "checkpoint_every=1", "--fps", "8", *QUICK, "--out"]
    assert main([*words, "whole.safetensors"]) == 0
    real, steps = training.Trainer.step, []

    def step(self, latents, fps, seed, number):
        if number == 2 and not steps:
            steps.append(number)
            raise KeyboardInterrupt
        return real(self, latents, fps, seed, number)

    monkeypatch.setattr(training.Trainer, "step", step)
    assert main([*words, "again.safetensors"]) == 130
    assert "goes on from the last checkpoint" in capsys.readouterr().err and steps == [2]
    monkeypatch.setattr(training.Trainer, "step", lambda *a: steps.append(a[-1]) or real(*a))
    assert main([*words, "again.safetensors"]) == 0
    assert steps == [2, 2, 3], "the first two steps are not done again"
    assert (folder / "again.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()


def test_animate_in_a_folder_and_again_without_training(folder, base, monkeypatch, capsys):
    words = ["--like", "clip.mp4", "--prompt", "waves", "--fps", "8", "--size", str(SIZE), "--checkpoint", base,
             "--steps", "3", "--frames", "4", "--inference-steps", "2", *QUICK]
    assert main(["animate", "still0.png", *words]) == 0
    assert capsys.readouterr().out == f"film: {folder / 'still0_like_clip.mp4'}\n"
    assert video.read(folder / "still0_like_clip.mp4").frames.shape == (4, SIZE, SIZE, 3)
    monkeypatch.setattr("lnm.stages.animate.finetune", lambda *a, **k: pytest.fail("trained again"))
    assert main(["animate", "white.png", *words, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert "warning: The still does not look like the clip" in err and "fps" not in out + err


def test_sample_finds_the_project_s_model_by_the_name_that_is_recorded(folder, base, monkeypatch):
    given = []
    monkeypatch.setattr("lnm.cli.films._sample", lambda *a: given.append(a[5].checkpoint) or BLACK)
    sample = ["sample", "still0.png", "--temporal", "waves.safetensors"]
    shutil.copytree(base, folder / "models" / "tiny")
    for name, recorded, opened in ((base, "tiny", base), ("models/tiny", "models/tiny", str(folder / "models/tiny"))):
        project(folder, name)
        assert main(["finetune", "clip.mp4", "--prompt", "waves", "--out", "waves.safetensors", "--steps", "1",
                     "--set", "frames=3", "--fps", "8"]) == 0
        assert read_temporal("waves.safetensors").notes.checkpoint == recorded
        assert main(sample) == 0 and given.pop() == opened


def stand_in(monkeypatch):
    """What `lnm.animate` would be called with."""
    given = {}

    def animate(still, **words):
        given.update(words)
        return SimpleNamespace(frames=BLACK, fps=8, temporal="temporal.safetensors")

    monkeypatch.setattr("lnm.stages.animate.animate", animate)
    return given


def test_inside_a_project_its_settings_hold_and_options_override_them(folder, base, monkeypatch):
    project(folder, base, finetune="{steps: 7, learning_rate: 1.0e-3}", sample="{num_frames: 9}")
    given = stand_in(monkeypatch)
    words = ["animate", "still0.png", "--like", "clip.mp4", "--prompt", "waves"]
    assert main(words) == 0
    assert (given["settings"].steps, given["settings"].learning_rate, given["sample"].num_frames) == (7, 1e-3, 9)
    assert (given["checkpoint"], given["size"], given["seed"], given["device"]) == (base, SIZE, 5, "cpu")
    assert given["store"] == folder / "store" / "animate"
    assert (given["camera"], given["segment"]) == ("warn", None)
    assert main([*words, "--steps", "8", "--set", "learning_rate=2e-3", "--seed", "6", "--size", "64",
                 "--frames", "3"]) == 0
    assert (given["settings"].steps, given["settings"].learning_rate, given["seed"]) == (8, 2e-3, 6)
    assert (given["size"], given["num_frames"]) == (64, 3)
    assert main([*words, "--set", "ema=0.9", "--set", "guidance_scale=2"]) == 0, "of fine-tuning and of sampling"
    assert (given["settings"].ema, given["sample"].guidance_scale, given["sample"].num_frames) == (0.9, 2.0, 9)


def test_no_film_is_written_over_one_that_another_command_made(folder, base, monkeypatch, capsys):
    stand_in(monkeypatch)
    monkeypatch.setattr("lnm.cli.films._sample", lambda *a: BLACK)
    monkeypatch.setattr("lnm.hub.locate_temporal", lambda name: name)
    monkeypatch.setattr("lnm.temporal_file.read_temporal", lambda path: SimpleNamespace(
        notes=SimpleNamespace(checkpoint=base, prompt="waves", fps=8)))
    (folder / "below").mkdir()
    shutil.copytree(folder / "below", folder / "more.like")
    animate, sample = ["animate", "--prompt", "waves", "--like"], ["sample", "--temporal"]
    for words, name in (([*animate, "clip.mp4", "still0.png"], "still0_like_clip"),
                        ([*animate, "clip.mp4", "still1.png"], "still1_like_clip"),
                        ([*animate, "more.like", "still0.png"], "still0_like_more"),
                        ([*animate, "below/..", "still0.png"], f"still0_like_{folder.name}"),
                        ([*animate, "clip.mp4", "still0.png"], "still0_like_clip_2"),
                        ([*sample, "clip.safetensors", "still0.png"], "still0_by_clip"),
                        ([*sample, "a/waves", "still0.png"], "still0_by_waves"),
                        ([*animate, "clip.mp4", "still0.png"], "still0_like_clip_3")):
        before = set(folder.glob("*.mp4"))
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert set(folder.glob("*.mp4")) - before == {folder / f"{name}.mp4"} and out == f"film: {folder / name}.mp4\n"
        assert "replace" not in err
    for words in ([*animate, "clip.mp4", "still0.png"], [*sample, "clip.safetensors", "still0.png"]):
        (folder / "film.mp4").write_text("another one")
        assert main([*words, "--out", "film.mp4"]) == 0
        out, err = capsys.readouterr()
        assert "--out film.mp4: is there already; the film will replace it" in err
        assert out == f"film: {folder / 'film.mp4'}\n" and (folder / "film.mp4").stat().st_size > 500


def test_a_name_that_another_command_takes_meanwhile_is_left_to_it(folder, monkeypatch, capsys):
    def animate(still, **words):
        (folder / "still0_like_clip.mp4").write_text("another one")
        return SimpleNamespace(frames=BLACK, fps=8, temporal="temporal.safetensors")

    monkeypatch.setattr("lnm.stages.animate.animate", animate)
    assert main(["animate", "still0.png", "--like", "clip.mp4", "--prompt", "waves"]) == 0
    assert capsys.readouterr().out == f"film: {folder / 'still0_like_clip_2.mp4'}\n"
    assert (folder / "still0_like_clip.mp4").read_text() == "another one"


def test_a_moving_camera_is_dealt_with_as_the_project_says_or_as_is_asked(folder, base, monkeypatch):
    given = stand_in(monkeypatch)
    words = ["animate", "still0.png", "--like", "clip.mp4", "--prompt", "waves"]
    assert main(words) == 0 and (given["camera"], given["segment"]) == ("warn", None)
    project(folder, base, prepare="{camera: segment, segment: 30}")
    assert main(words) == 0 and (given["camera"], given["segment"]) == ("segment", 30)
    assert main([*words, "--camera", "warn"]) == 0 and given["camera"] == "warn"


def test_a_still_takes_the_clips_colours_where_the_project_says_so_or_it_is_asked_for(folder, base, monkeypatch):
    given = stand_in(monkeypatch)
    words = ["animate", "still0.png", "--like", "clip.mp4", "--prompt", "waves"]
    assert main(words) == 0 and given["match_colours"] is False
    assert main([*words, "--match-colours"]) == 0 and given["match_colours"] is True
    project(folder, base, prepare="{match_colours: true}")
    assert main(words) == 0 and given["match_colours"] is True
    assert main([*words, "--no-match-colours"]) == 0 and given["match_colours"] is False


def test_what_is_set_goes_to_the_step_whose_setting_it_is():
    given = ["num_frames=3", "ema=0.9", "sample.seeds=1", "finetune.frames=2", "guidence_scale=2", "zzz=1", "steps"]
    assert options.by_section(given, Finetune(), Sample()) == [
        ["ema=0.9", "finetune.frames=2", "zzz=1", "steps"], ["num_frames=3", "sample.seeds=1", "guidence_scale=2"]]
    assert options.by_section(None, Finetune(), Sample()) == [[], []]


@pytest.mark.parametrize("words, size", [([], 128), (["--checkpoint", "a/b"], 512), (["--size", "64"], 64),
                                         (["--size", "192x128"], (192, 128))])
def test_outside_a_project_the_size_is_the_checkpoint_s(folder, monkeypatch, words, size):
    given = stand_in(monkeypatch)
    assert main(["animate", "still0.png", "--like", "clip.mp4", "--prompt", "waves", *words]) == 0
    assert given["size"] == size and given["store"] is None


def test_a_project_s_built_in_checkpoint_is_written_into_files_by_its_own_name(tmp_path, monkeypatch):
    built = tmp_path / "checkpoints" / "lnm-mini"
    built.mkdir(parents=True)
    monkeypatch.setattr(options, "builtin", lambda name: built if name == "lnm-mini" else None)
    assert options.local_model("checkpoints/lnm-mini", tmp_path) == "lnm-mini"
    assert options.local_model("checkpoints/lnm-mini", tmp_path / "other") == "checkpoints/lnm-mini"
    assert options.local_model("someone/else", tmp_path) == "someone/else"


def test_check_says_what_is_amiss_and_its_status_tells(folder, capsys):
    # a drifting picture is a moving camera
    assert main(["check", "clip.mp4", "still0.png", "--size", "64", "--no-forecast"]) in (0, 1)
    first = capsys.readouterr().out
    assert [line.split()[1] for line in first.splitlines() if line[:4].strip() in ("ok", "WARN")] == [
        "length", "motion", "cuts", "camera", "still", "path", "offer"]
    assert main(["check", "clip.mp4", "white.png", "--end", "1", "--no-forecast"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "WARN length 8 frames" in said and "WARN still The still does not look like the clip" in said


def test_check_of_a_good_clip_is_0(folder, monkeypatch, capsys):
    monkeypatch.setattr("lnm.preflight.check", lambda *a: {"ok": True, "findings": [
        {"name": "length", "ok": True, "say": "Long."}]})
    monkeypatch.setattr("lnm.camera.findings", lambda *a: [{"name": "path", "ok": True, "say": "None."}])
    assert main(["check", "clip.mp4", "--no-forecast"]) == 0
    assert capsys.readouterr().out.split() == ["ok", "length", "Long.", "ok", "path", "None."]


def test_check_says_what_memory_and_time_it_will_take(folder, base, monkeypatch, capsys):
    monkeypatch.setattr("lnm.preflight.check", lambda *a: {"ok": True, "findings": []})
    monkeypatch.setattr("lnm.camera.findings", lambda *a: [])
    words = ["check", "clip.mp4", "--checkpoint", base, "--size", str(SIZE), "--device", "cpu", "--set", "steps=70"]
    assert main(words) == 0
    memory, spent = " ".join(capsys.readouterr().out.split()).split(" ok time ")
    assert memory.startswith("ok memory 0.0") and "GB at most on cpu (prepare 0.0" in memory
    assert "for a fine-tune of 70 steps and about" in spent
    monkeypatch.setattr("lnm.forecast.free_memory", lambda device: 1)
    assert main(words) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("WARN memory") and said.endswith("try --memory low.") and "time" not in said
    assert main([*words, "--checkpoint", "someone/model"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Not forecast: checkpoint.name: someone/model is not in the cache" in said
    assert main([*words, "--memory", "lower"]) == 2 and "--memory lower: choose auto or low" in capsys.readouterr().err


def test_a_fine_tune_begins_from_many_clips_for_the_built_in_checkpoint_alone(project, monkeypatch, tmp_path):
    from lnm import files, settings
    from lnm.cli import options

    found = options.defaults()
    mini, other = (options.Model(name, None, "cpu", 128) for name in ("lnm-mini", "stable-diffusion"))
    assert found.checkpoint == "checkpoints/lnm-mini" or found.checkpoint.endswith("lnm-mini")
    own = options.Model(found.checkpoint, None, "cpu", 128)
    assert options.finetune_choices(found, own) is found.finetune
    weights = tmp_path / "lnm-mini-motion"
    monkeypatch.setattr(settings, "builtin", lambda name: weights)
    assert options.finetune_choices(options.Defaults(), mini).init == "lnm-mini-motion"
    assert options.finetune_choices(options.Defaults(), mini).carried == 1
    assert options.finetune_choices(options.Defaults(), mini, known=False).carried == 0.5, "they may begin from noise"
    assert options.finetune_choices(options.Defaults(), other) == settings.Finetune()
    assert options.finetune_choices(found, other) == settings.Finetune()
    alone = options.sample_choices(options.Defaults(), mini)  # outside of a project: as inside of the default one
    assert alone == settings.sample_of("lnm-mini") and (alone.begin, alone.condition) == ("flow", "video")
    assert (alone.decoder(), alone.decoder(begun=False)) == (None, "lnm-mini-decoder")
    assert options.sample_choices(options.Defaults(), other) == options.sample_choices(found, other) == Sample()
    assert options.sample_choices(found, own) is found.sample
    monkeypatch.setattr(settings, "builtin", files.builtin if files.builtin("none") else lambda name: None)
    assert settings.finetune_of("lnm-mini") == settings.Finetune(), "a checkout without the weights"
    assert settings.sample_of("lnm-mini") == Sample()


def test_a_still_is_filmed_by_a_decoder_in_time(folder, base, capsys):
    size = ["--size", str(SIZE), "--checkpoint", base]
    video.write_mp4(folder / "clips" / "0.mp4", video.read("clip.mp4").frames, 16)
    assert main(["motion", "decoder", "--clips", "clips", "--out", "decoder.safetensors", "--steps", "3", *size,
                 "--set", "holdout=0.0", "--set", "learning_rate=0.05"]) == 0
    assert main(["finetune", "clip.mp4", "--prompt", "waves", "--out", "waves.safetensors", "--steps", "1", *size,
                 *QUICK]) == 0
    films = []
    for name, given in (("plain.gif", "null"), ("time.gif", "decoder.safetensors")):
        assert main(["sample", "still0.png", "--temporal", "waves.safetensors", "--frames", "4", *size,
                     "--inference-steps", "2", "--out", name, "--set", f"temporal_decoder={given}"]) == 0
        films.append(video.read_frames(folder / name))
    assert films[0].shape == films[1].shape and not np.array_equal(*films)
    capsys.readouterr()
    assert main(["sample", "still0.png", "--temporal", "waves.safetensors", *size, "--set",
                 "temporal_decoder=none.safetensors"]) == 2
    assert "error: none.safetensors: no such decoder file; give one" in capsys.readouterr().err


def test_in_a_project_a_decoder_is_named_from_its_root(folder, base, monkeypatch):
    project(folder, base, sample="{temporal_decoder: mine.safetensors}")
    (folder / "mine.safetensors").touch()
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert options.defaults().sample.temporal_decoder == str(folder / "mine.safetensors")


def test_a_longer_film_and_one_that_ends_on_a_second_still(folder, base, monkeypatch, capsys):
    size = ["--size", str(SIZE), "--checkpoint", base]
    assert main(["finetune", "clip.mp4", "--prompt", "waves", "--out", "waves.safetensors", "--steps", "1", *size,
                 *QUICK]) == 0
    words = ["sample", "still0.png", "--temporal", "waves.safetensors", "--frames", "6", "--inference-steps", "1",
             *size, "--set", "window=3"]
    films = []
    for given in ([], ["--set", "long=continue"], ["--set", "noise=shared"], ["--last-still", "white.png"]):
        assert main([*words, "--out", "film.gif", *given]) == 0
        films.append(video.read_frames(folder / "film.gif"))
    assert len({film.tobytes() for film in films}) == 4 and all(len(film) == 6 for film in films)
    capsys.readouterr()
    for given, said in ((["--last-still", "none.png"], "--last-still: none.png does not exist"),
                        (["--last-still", "."], "--last-still: . is a folder; give one image"),
                        (["--set", "window_stride=4"], "window_stride 4: must be a whole number from 1 to 3"),
                        (["--last-still", "white.png", "--frames", "1"], "last_image: frame 0 has a still already")):
        assert main([*words, *given]) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert err.startswith("error: ") and said in err, err
    given = stand_in(monkeypatch)
    assert main(["animate", "still0.png", "--like", "clip.mp4", "--prompt", "waves", "--frames", "96", "--last-still",
                 "still1.png", "--set", "long=continue"]) == 0
    assert (given["num_frames"], str(given["last_still"]), given["sample"].long) == (96, "still1.png", "continue")


def test_a_crop_that_follows_its_subject_is_said_and_drawn(folder, base, monkeypatch, capsys):
    frames = np.random.default_rng(0).integers(60, 100, (1, 96, 192, 1), np.uint8).repeat(32, 0).repeat(3, -1)
    for t in range(32):
        frames[t, 36 + t % 5:60 + t % 5, 16:40] = np.random.default_rng(1).integers(150, 256, (24, 24, 3))
    video.write_frames(folder / "sheep", frames)
    check = ["check", "sheep", "--fps", "8", "--size", "64", "--checkpoint", base, "--device", "cpu", "--no-forecast"]
    monkeypatch.setenv("COLUMNS", "400")
    main([*check, "--crop", "subject", "--sheet", "sheet.png"])
    out, err = capsys.readouterr()
    assert "The subject stays: crop [0, 0, 96, 96]" in out and "sheet.png\n" in err, out
    sheet = video.read_image("sheet.png")
    assert sheet.shape[0] > 96 and sheet.shape[1] > 4 * 192
    assert (sheet == (255, 208, 0)).all(-1).sum() > 4 * 200, "the window in yellow"
    main([*check, "--crop", "96,0,96,96", "--sheet", "sheet.png"])
    assert "subject" not in capsys.readouterr().out
    assert not np.array_equal(video.read_image("sheet.png"), sheet)
    main([*check, "--sheet", "sheet.png"])
    assert "subject" not in capsys.readouterr().out, "nothing was looked for, and the centre is drawn"


def test_animate_hands_on_what_is_to_be_cut(folder, base, monkeypatch):
    project(folder, base)
    given = stand_in(monkeypatch)
    words = ["animate", "still0.png", "--like", "clip.mp4", "--prompt", "waves"]
    for text, crop in (("subject", "subject"), ("subject,40,40", ["subject", 40, 40]), ("0,8,40,40", [0, 8, 40, 40])):
        assert main([*words, "--crop", text]) == 0 and given["crop"] == crop
    assert main(words) == 0 and given["crop"] is None
