"""Files are written whole, known by their content, and found where they are kept."""

import hashlib
import json
import os

import pytest

from lnm import files


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
