"""The machine's faults: a full disk, a place that cannot be written, memory that runs out. One line, nothing left."""

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from eval.records.run import read_metrics, read_tables
from eval.study.form import write_text
from lnm import errors, tensors, video
from lnm.cli import style
from lnm.errors import UserError
from lnm.files import given_path, sha256, whole, write_json
from lnm.resume import ResumeStore

FRAMES = np.zeros((3, 16, 16, 3), np.uint8)
WRITERS = {
    "a json": lambda path: write_json(path, {"a": 1}),
    "a page": lambda path: write_text(path, "text"),
    "a film": lambda path: video.write_mp4(path, FRAMES, 8),
    "a gif": lambda path: video.write_gif(path, FRAMES, 8),
    "a cache": lambda path: tensors.write(path, {"a": torch.zeros(3)}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("code, part", [(errno.ENOSPC, "no space left on device: make room"),
                                        (errno.EROFS, "read-only"), (errno.EDQUOT, "quota"),
                                        (errno.EACCES, "not allowed")])
def test_a_disk_that_refuses_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch, write, code, part):
    path = tmp_path / "file"
    path.write_text("of before")

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=part) as error:
        write(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert path.read_text() == "of before" and [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_that_grows_past_what_the_system_allows_is_one_line(tmp_path, write):
    """The same in a process of its own, whose files may hold 8 bytes: a real refusal in the middle of writing."""
    import resource
    import signal

    pid = os.fork()
    if pid == 0:  # the child: its limit is its own
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (3, 3))
            write(tmp_path / "file")
        except UserError as error:
            code = 0 if "file too large" in str(error) and "\n" not in str(error) else 2
        except BaseException:
            code = 3
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path, monkeypatch):
    store, layers = ResumeStore(tmp_path, {}), {"a": torch.nn.Parameter(torch.ones(3))}
    optimizer = torch.optim.AdamW(layers.values())
    store.save(2, {"temporal": layers}, optimizer)
    store.log.write_text(store.header + "0,1,1,1\n1,1,1,1\n")

    def full(tensors, path, **_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lnm.resume.save_file", full)
    with pytest.raises(UserError, match="make room on the disk and run the same command again"):
        store.save(3, {"temporal": layers}, optimizer)
    assert not list(store.folder.glob("*.part"))
    assert store.resume({"temporal": layers}, optimizer)[0] == 2


def test_rust_s_words_for_a_full_disk_are_known():
    assert errors.system_reason(Exception("I/O error: No space left on device (os error 28)")).endswith("run the same "
                                                                                                        "command again")
    assert errors.system_reason(ValueError("no code")) is None


@pytest.mark.parametrize("error, part", [
    (MemoryError(), "memory ran out"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "finetune.gradient_checkpointing: true"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"), "JOBS=1"),
    (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "/x/y: permission denied: not allowed"),
    (OSError(errno.ENOSPC, "No space left on device"), "make room"),
])
def test_a_command_that_meets_it_says_one_line(capsys, error, part):
    def app():
        def command(*_, **__):
            raise error

        return command

    assert style.run(app, []) == 2
    said = capsys.readouterr().err
    assert part in said and said.count("\n") == 1 and said.startswith("error: ")


def test_a_bug_is_no_bad_input():
    def app():
        def command(*_, **__):
            raise RuntimeError("a bug")

        return command

    with pytest.raises(RuntimeError, match="a bug"):
        style.run(app, [])


def test_numpy_s_and_torch_s_own_memory_errors_are_known():
    with pytest.raises(MemoryError) as error:
        np.zeros(2**60, np.uint8)
    assert errors.out_of_memory(error.value)
    with pytest.raises(RuntimeError) as error:
        torch.zeros(2**60, dtype=torch.uint8)
    assert errors.out_of_memory(error.value)


def test_what_fails_in_the_middle_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), whole(tmp_path / "a" / "file") as part:
        part.write_text("half")
        raise KeyError("a bug of the writer's")
    assert not list((tmp_path / "a").iterdir())


def test_a_link_is_followed_and_hashed_by_what_it_leads_to(tmp_path):
    (tmp_path / "outside").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "outside" / "a.png")
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "still.png").symlink_to(tmp_path / "outside" / "a.png")
    (tmp_path / "inputs" / "clip").symlink_to(tmp_path / "outside")
    assert sha256(tmp_path / "inputs" / "still.png") == sha256(tmp_path / "outside" / "a.png")
    assert sha256(tmp_path / "inputs" / "clip") == sha256(tmp_path / "outside")
    assert video.read_image(tmp_path / "inputs" / "still.png")[0, 0].tolist() == [255, 0, 0]
    assert len(video.read(tmp_path / "inputs" / "clip", fps=8)) == 1
    (tmp_path / "inputs" / "gone.png").symlink_to("nowhere")
    with pytest.raises(UserError, match="a link to nowhere, which is not there; mend the link"):
        given_path(tmp_path / "inputs" / "gone.png")
    (tmp_path / "inputs" / "device").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="not a regular file"):
        sha256(tmp_path / "inputs" / "device")


def test_a_written_file_takes_a_link_s_place_and_leaves_what_it_led_to(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "link").symlink_to("theirs")
    write_json(tmp_path / "link", [])
    assert (tmp_path / "theirs").read_text() == "theirs" and not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b""])
def test_a_damaged_record_of_the_evaluation_is_one_line(tmp_path, text):
    """What tables, figures and report are made of."""
    path = tmp_path / "ocean" / "evaluate" / "metrics.json"
    write_json(path, {"methods": {"heldout": {}}})
    assert read_metrics(tmp_path, "ocean") == {"methods": {"heldout": {}}}
    said = "damaged, or of another version; `dvc checkout --force` brings what was evaluated"
    if text != b"{}":
        path.with_name("clip.json").write_bytes(text)
        with pytest.raises(UserError, match=f"clip.json: {said}"):
            read_tables(tmp_path, ["ocean"])
    path.write_bytes(text)
    with pytest.raises(UserError, match=f"metrics.json: {said}"):
        read_tables(tmp_path, ["ocean"])
