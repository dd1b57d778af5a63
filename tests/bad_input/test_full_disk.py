"""A disk that is full while something is written: one line that names the file and the fix, nothing half-written, and
the same command goes on once there is room."""

from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from small_disk import ROOM, contents, fill, mounted, read_only
from small_notebook import write_notebook
from tiny import tiny_finetune, write_tiny_checkpoint, write_tiny_prepared

from eval.features.cache import Features
from eval.publish import report, table1
from eval.publish.figures.style import new_figure, save
from eval.records import kept, score_page
from eval.study import page as study_page
from lnm import tensors, training, video
from lnm.cli import main
from lnm.errors import UserError
from lnm.files import write_json
from lnm.stages import finetune as stage
from lnm.stages.prepare import prepare

FILM = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk", 512) as folder:
        yield folder


def figure(path):
    made, axes = new_figure(4, 3, 1, 1)
    axes[0, 0].plot(range(9))
    save(made, path, ("png",))


def page(path):
    score_page.write_page(path, {"read_at": {"fps": 8, "size": None}, "reference": None}, {}, None)


def paper_report(path):
    """The whole of `report.write` but what it puts together."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("Cells", "report_first", "report_tables", "report_provenance", "video", "votes_of", "encoded"):
            patch.setattr(report, name, MagicMock())
        patch.setattr(report.table1, "table1", lambda *_: ([], []))
        patch.setattr(report.table1, "notes", lambda *_: [])
        patch.setattr(report, "read_tables", lambda *_: {"ocean": {"backend": {"checkpoint": {}}}})
        patch.setattr(report, "_render", lambda **_: "<p>" * 10000)
        report.write(path.parent, ["ocean"], path.parent, commit="c0ffee", figures=[])


def tables(path):
    """Its Markdown finds room, and the CSV after it does not."""
    with pytest.MonkeyPatch.context() as patch:
        texts = {"_markdown": "| a |", "_csv": "a,b" * 9000, "_tex": "a & b", "_csv_differences": "a"}
        for name, text in texts.items():
            patch.setattr(table1, name, lambda *_, text=text: text)
        patch.setattr(table1, "read_tables", lambda *_: {})
        patch.setattr(table1, "votes_of", lambda *_: {})
        table1.write(path.parent, ["ocean"], path.parent)


def study(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_page, "broken", lambda film, seed: film + bytes([seed]))
        study_page.write_page({"ocean": {"ours": b"o" * 9000, "theirs": b"t" * 9000}}, path)


WRITERS = {
    "latents.safetensors": lambda path: tensors.write(path, {"train": torch.ones(20, 4, 16, 16)}),
    "kept.safetensors": lambda path: kept.keep(path, np.ones((64, 64)), "0" * 64, "1", (8, 8)),
    "film.mp4": lambda path: video.write_mp4(path, FILM, 8),
    "film.gif": lambda path: video.write_gif(path, FILM, 8),
    "00011.png": lambda path: video.write_frames(path.parent, FILM),
    "sheet.png": lambda path: video.contact_sheet([("a", FILM)], path=path),
    "motion.png": figure,
    "metrics.json": lambda path: write_json(path, {"a": list(range(20000))}),
    "score.html": page,
    "report.html": paper_report,
    "table1.csv": tables,
    "study.html": study,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_to_a_full_disk_is_one_line_and_nothing_half(disk, tmp_path, monkeypatch, name):
    """Of a film's frames some find room before the one that does not; those are whole."""
    monkeypatch.setattr(score_page, "page", lambda *_: "<p>" * 10000)
    fill(disk, leave=48 if name == "00011.png" else 4)
    with pytest.raises(UserError, match=ROOM) as error:
        WRITERS[name](disk / "out" / name)
    said = str(error.value)
    assert "\n" not in said and f"{disk / 'out'}/" in said and "cannot be written" in said
    assert f"{disk / 'out' / name}: " in said or name == "00011.png"
    WRITERS[name](tmp_path / "elsewhere" / name)
    whole = contents(tmp_path / "elsewhere")
    assert contents(disk / "out").items() < whole.items(), "what is there is whole, and not all is"
    (disk / "full").unlink()
    WRITERS[name](disk / "out" / name)
    assert contents(disk / "out") == whole


def test_features_that_find_no_room_are_computed_again(disk):
    class Own:
        sha256, version = "0", "1"

        def __call__(self, frames):
            return frames.reshape(len(frames), -1).astype(np.float32)

    fill(disk)
    with pytest.raises(UserError, match=ROOM) as error:
        Features(Own(), disk / "store")(FILM)
    assert ".safetensors: cannot be written" in str(error.value) and contents(disk) == {}
    (disk / "full").unlink()
    assert np.array_equal(Features(Own(), disk / "store")(FILM[:4]), FILM[:4].reshape(4, -1))


@pytest.mark.parametrize("moment, file, goes_on", [("a line of the log", "log.csv", [4, 5]),
                                                   ("a checkpoint", "checkpoint.safetensors", [4, 5]),
                                                   ("the temporal file", "temporal.safetensors", [])])
def test_a_fine_tune_goes_on_where_the_room_ended(tmp_path, monkeypatch, moment, file, goes_on):
    """The disk fills in the last of 6 steps, or when all are done; checkpoints are kept every 2."""
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint")
    prepared = write_tiny_prepared(tmp_path / "prepared", checkpoint)
    begun, step_of, export = [], training.make_batch, stage._export

    def steps(*given, **told):
        begun.append(given[5])
        if filling and given[5] == 5 and moment != "the temporal file":
            if moment == "a line of the log":  # its page is full, so that a line more needs a new one
                log = next((disk / "store").rglob("log.csv"))
                log.write_bytes(log.read_bytes().ljust(4096, b"x"))
            fill(disk)
        return step_of(*given, **told)

    def exports(*given):
        export(*given)
        if filling and moment == "the temporal file":
            fill(disk)

    def run(folder):
        begun.clear()
        stage.finetune(prepared, folder / "out", folder / "store", **tiny_finetune(checkpoint))
        return contents(folder / "out")

    monkeypatch.setattr(training, "make_batch", steps)
    monkeypatch.setattr(stage, "_export", exports)
    with mounted(tmp_path / "disk", 16384) as disk:
        filling = False
        whole = run(tmp_path / "whole")
        filling = True
        with pytest.raises(UserError, match=ROOM) as error:
            run(disk)
        assert f"{file}: cannot be written" in str(error.value) and "\n" not in str(error.value)
        assert "temporal.safetensors" not in contents(disk / "out")
        (disk / "full").unlink()
        filling = False
        assert run(disk) == whole and begun == goes_on, "it went on from the checkpoint"


def test_a_notebook_on_a_full_disk_is_one_line_and_runs_again(project, monkeypatch, capsys):
    """papermill writes a copy after every cell, in build/."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    with mounted(project / "build", 64) as disk:
        path = write_notebook(project / "notebooks" / "n.ipynb",
                              "import os\nif not os.path.exists('../freed'):\n"
                              "    with open('../build/full', 'wb', 0) as f:\n"
                              "        while True:\n            try:\n                f.write(bytes(512))\n"
                              "            except OSError:\n                break\n", "print('x' * 40000)")
        command = ["notebook", "run", str(path), "-o", str(project / "out" / "n.ipynb"), "--quiet"]
        assert main(command) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and said.startswith("error: build/running/n-") and ROOM in said
        assert contents(project / "out") == {} and not list((disk / "running").iterdir())
        (disk / "full").unlink()
        (project / "freed").touch()
        assert main(command) == 0 and "n.ipynb" in contents(project / "out")


def test_inputs_that_cannot_be_written_to_serve_as_well_and_nothing_is_written_beside_them(tmp_path):
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint")
    film = FILM[:, :32, :32]

    def prepared(clip, out):
        prepare(clip, out, fps=8, prompts=["waves"], size=32, checkpoint=str(checkpoint), device="cpu",
                about={"source": "clip"})
        return contents(out)

    video.write_frames(tmp_path / "own", film)
    whole = prepared(tmp_path / "own", tmp_path / "whole")
    with mounted(tmp_path / "inputs", 1024) as disk:
        video.write_frames(disk, film)
        read_only(disk)
        assert prepared(disk, tmp_path / "out") == whole
        with pytest.raises(UserError, match="read-only file system: nothing can be written there; choose another"):
            prepared(disk, disk / "out")
        assert [main(["check", str(disk), "--fps", "8", "--quiet"]) in (0, 1), len(list(disk.iterdir()))] == [True, 12]
