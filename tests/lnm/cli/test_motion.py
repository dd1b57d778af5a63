"""`lnm motion train` and `decoder`: a folder of clips becomes a temporal file, or a decoder in time."""

import numpy as np
import pytest
from safetensors.torch import load_file
from tiny import SIZE, write_tiny_checkpoint

from lnm import decoder_training, motion, video
from lnm.checkpoint import open_checkpoint
from lnm.cli import main
from lnm.decoder import load_decoder
from lnm.temporal_file import read_temporal


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for k in range(3):
        picture = np.random.default_rng(k).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        video.write_mp4(tmp_path / "clips" / f"{k}.mp4", np.stack([np.roll(picture, i, 1) for i in range(9)]), 8)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def words(base, *more):
    return ["motion", "train", "--clips", "clips", "--out", "motion.safetensors", "--checkpoint", base, "--size",
            str(SIZE), "--steps", "4", "--device", "cpu", "--set", "frames=3", "--set", "checkpoint_every=1", *more]


def test_many_clips_become_a_file_that_a_fine_tune_begins_from(folder, base, capsys):
    assert main(words(base, "--prompt", "waves", "--half")) == 0
    out, err = capsys.readouterr()
    assert out == f"temporal file: {folder / 'motion.safetensors'}\n"
    assert "clips: 2 trained on, 1 held out" in err and "after 4 steps" in err
    notes = read_temporal("motion.safetensors").notes
    assert (notes.checkpoint, notes.steps, notes.extra["clips"]) == ("tiny", 4, 2)
    assert {str(p.dtype) for p in load_file("motion.safetensors").values()} == {"torch.float16"}
    log = (folder / "motion.csv").read_text().splitlines()
    assert log[0] == "step,loss,lr,grad_norm,validation" and len(log) == 5 and float(log[4].split(",")[4]) > 0
    assert len(list((folder / "cache" / "latentmovies" / "motion").iterdir())) == 3
    assert not [p for p in folder.iterdir() if p.name[0] == "."], "nothing to resume is left"
    assert main(["finetune", "clips/0.mp4", "--prompt", "waves", "--out", "waves.safetensors", "--steps", "2", "--size",
                 str(SIZE), "--checkpoint", base, "--set", "frames=3", "--set", "init=motion.safetensors"]) == 0


def test_an_interrupted_training_goes_on_to_the_same_bytes(folder, base, monkeypatch, capsys):
    assert main(words(base, "--prompt", "waves")) == 0
    whole, log = (folder / "motion.safetensors").read_bytes(), (folder / "motion.csv").read_text()
    (folder / "motion.safetensors").unlink()
    real, steps = motion.MotionTrainer.take, []

    def take(self, seed, step):
        steps.append(step)
        if steps == [0, 1, 2]:
            raise KeyboardInterrupt
        return real(self, seed, step)

    monkeypatch.setattr(motion.MotionTrainer, "take", take)
    assert main(words(base, "--prompt", "waves")) == 130
    assert "goes on from the last checkpoint" in capsys.readouterr().err
    assert main(words(base, "--prompt", "waves")) == 0
    assert steps == [0, 1, 2, 2, 3]
    assert (folder / "motion.safetensors").read_bytes() == whole and (folder / "motion.csv").read_text() == log


@pytest.mark.parametrize("more, message", [
    ([], "error: captions: 0.mp4 has none; add it to the file, or give a prompt"),
    (["--captions", "none.csv"], "error: captions: none.csv: no such file"),
    (["--prompt", "x", "--clips", "nowhere"], "error: --clips nowhere: no such folder"),
    (["--prompt", "x", "--out", "motion.mp4"], "error: --out motion.mp4: the name must end in .safetensors"),
    (["--prompt", "x", "--set", "stpes=3"], "error: stpes: unknown setting"),
    (["--prompt", "x", "--set", "holdout=0.99"], "error: holdout 0.99: of 3 clips none is left to train on")])
def test_errors_are_one_line(folder, base, capsys, more, message):
    assert main(words(base, *more)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith(message)


def test_the_help_has_an_example(capsys):
    assert main(["motion", "train", "--help"]) == 0
    assert "lnm motion train --clips timelapses" in " ".join(capsys.readouterr().out.split())


# ---------------------------------------------------------------- a decoder in time


def decoder(base, *more):
    return ["motion", "decoder", "--clips", "clips", "--out", "decoder.safetensors", "--checkpoint", base, "--size",
            str(SIZE), "--steps", "4", "--device", "cpu", "--set", "frames=3", "--set", "crop=16", "--set",
            "checkpoint_every=1", *more]


def test_many_clips_become_a_decoder_in_time(folder, base, capsys):
    assert main(decoder(base, "--half")) == 0
    out, err = capsys.readouterr()
    assert out == f"decoder file: {folder / 'decoder.safetensors'}\n"
    assert "clips: 2 trained on, 1 held out" in err and "held out, after 0 steps: mse_0 " in err
    assert "held out, after 4 steps: mse_0 " in err and "change_0.07 " in err
    notes = load_decoder(open_checkpoint(base).vae, "decoder.safetensors")
    assert (notes["steps"], notes["frames"], notes["size"], notes["clips"], notes["held_out"]) == (4, 3, SIZE, 2, 1)
    assert {str(p.dtype) for p in load_file("decoder.safetensors").values()} == {"torch.float16"}
    log = (folder / "decoder.csv").read_text().splitlines()
    assert log[0] == "step,loss,lr,grad_norm,mse_0,change_0,mse_0.07,change_0.07" and len(log) == 5
    assert not [p for p in folder.iterdir() if p.name[0] == "."], "nothing to resume is left"


def test_an_interrupted_training_of_it_goes_on_to_the_same_bytes(folder, base, monkeypatch, capsys):
    assert main(decoder(base)) == 0
    whole, log = (folder / "decoder.safetensors").read_bytes(), (folder / "decoder.csv").read_text()
    (folder / "decoder.safetensors").unlink()
    real, steps = decoder_training._step, []

    def step(*args):
        steps.append(args[-1])
        if steps == [0, 1, 2]:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(decoder_training, "_step", step)
    assert main(decoder(base)) == 130
    assert "goes on from the last checkpoint" in capsys.readouterr().err
    assert main(decoder(base)) == 0
    assert steps == [0, 1, 2, 2, 3]
    assert (folder / "decoder.safetensors").read_bytes() == whole and (folder / "decoder.csv").read_text() == log


@pytest.mark.parametrize("more, message", [
    (["--clips", "nowhere"], "error: --clips nowhere: no such folder"),
    (["--out", "decoder.mp4"], "error: --out decoder.mp4: the name must end in .safetensors"),
    (["--size", "64x32"], "error: --size 64x32: a step sees a square; give its side, such as 128"),
    (["--set", "nosie=3"], "error: nosie: unknown setting"),
    (["--set", "holdout=0.99"], "error: holdout 0.99: of 3 clips none is left to train on")])
def test_its_errors_are_one_line(folder, base, capsys, more, message):
    assert main(decoder(base, *more)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith(message)


def test_its_help_has_an_example(capsys):
    assert main(["motion", "decoder", "--help"]) == 0
    assert "lnm motion decoder --clips timelapses" in " ".join(capsys.readouterr().out.split())
