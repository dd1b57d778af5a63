"""Files are written whole, known by their content, and found where they are kept."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from lnm import files
from lnm.errors import UserError


def test_json_is_written_whole_readable_and_in_folders_that_are_not_there_yet(tmp_path):
    path = tmp_path / "a" / "b.json"
    files.write_json(path, {"still": "Öresund", "n": [1, 2.5, None]})
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == {"still": "Öresund", "n": [1, 2.5, None]} and "Öresund" in text and text.endswith("}\n")
    with pytest.raises(TypeError):
        files.write_json(path, {"no json": object()})
    assert path.read_text(encoding="utf-8") == text and [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_a_file_s_hash_is_sha256_and_a_folder_s_knows_names_and_contents_but_not_what_is_hidden(tmp_path):
    (tmp_path / "x" / "sub").mkdir(parents=True)
    (tmp_path / "x" / "a.txt").write_bytes(b"abc")
    (tmp_path / "x" / "sub" / "b.txt").write_bytes(b"")
    assert files.sha256(tmp_path / "x" / "a.txt") == hashlib.sha256(b"abc").hexdigest()
    first = files.sha256(tmp_path / "x")
    (tmp_path / "x" / ".DS_Store").write_text("x")
    (tmp_path / "x" / ".cache").mkdir()
    (tmp_path / "x" / ".cache" / "y").write_text("x")
    assert files.sha256(tmp_path / "x") == first
    (tmp_path / "x" / "sub" / "b.txt").write_bytes(b"z")
    changed = files.sha256(tmp_path / "x")
    (tmp_path / "x" / "sub" / "b.txt").rename(tmp_path / "x" / "sub" / "c.txt")
    assert len({first, changed, files.sha256(tmp_path / "x")}) == 3


def test_a_pipe_in_a_folder_is_passed_by(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").write_text("x")
    files.sha256(tmp_path)


def test_the_cache_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "latentmovies"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(files.cache_folder()) == "/home/somebody/.cache/latentmovies"


def test_built_in_models_are_found_in_the_project_or_in_the_installed_package(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "__file__", str(tmp_path / "lnm" / "files.py"))
    assert files.builtin("lnm-mini") is None
    for folder in (tmp_path / "checkpoints" / "lnm-mini", tmp_path / "lnm" / "demo" / "weights" / "lnm-mini"):
        folder.mkdir(parents=True)
        assert files.builtin("lnm-mini") == folder
    (tmp_path / "checkpoints" / "mine").mkdir()
    assert files.builtin("mine") is None, "only what is built in"


def test_a_path_that_cannot_be_written_is_named_as_it_was_given(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    for ask in (files.writable, lambda path, option: files.writable(tmp_path / path, option)):
        given = "" if ask is files.writable else f"{tmp_path}/"
        for path, wrong in (("nowhere/a.json", f"there is no folder {given}nowhere; make it first"),
                            ("file/a.json", "a part of this path is a file, no folder; choose another place")):
            with pytest.raises(UserError) as error:
                ask(Path(path), "--json")
            assert str(error.value) == f"--json {given}{path}: {wrong}"
    with pytest.raises(UserError) as error:
        files.writable_folder(Path("file/x"), "--out")
    assert str(error.value) == "--out file/x: file is a file, not a folder; choose another place"
    assert files.writable(Path("new.json"), "--json") == tmp_path / "new.json"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for path in (Path("a/b.json"), tmp_path / "a" / "b.json"):  # commands write to absolute paths
        with pytest.raises(UserError, match="^a/b.json: cannot be written"):
            files.write_json(path, [])
