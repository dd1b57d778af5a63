"""Files written whole or not at all, their content hashes, and cells of CSV."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lnm.errors import UserError, shortened, system_reason

BUILT_IN = ("lnm-mini", "lnm-mini-clip", "lnm-mini-motion", "lnm-mini-decoder")
SUMS = "SHA256SUMS"  # beside built-in folders: a line `HASH  FOLDER/FILE` for each file, as `sha256sum -c` reads it

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet's formula begins with


@contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place once all is written: whole or not at all.

    Where anything fails, nothing is left and what was there before stays. The folder is made. Raises UserError, one
    line with the remedy, for a full disk, a place where nothing may be written, a name that is none.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    with named(path):
        try:
            if path.is_dir():  # before anything is computed into the part
                raise UserError(f"{shortened(path)}: this is a folder; name a file")
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):  # it was never made, or the disk is gone
                part.unlink(missing_ok=True)
            raise


@contextmanager
def named(path: Path | str) -> Iterator[None]:
    """What the system refuses while `path` is written becomes one line that names it, with the remedy: its own errors
    often name no file. Raises UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (reason := system_reason(error)) is None:
            raise
        raise UserError(f"{shortened(_from_here(Path(path)))}: cannot be written ({reason})") from error


def _from_here(path: Path) -> Path:
    """A path as somebody in the working folder knows it, where it lies inside."""
    return path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path


def made(folder: Path) -> Path:
    """A folder, made with those above it where they are not there. Raises UserError where it cannot be."""
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_json(path: Path, data: Any) -> None:
    """Write JSON whole or not at all."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def for_spreadsheet(text: object) -> str:
    """A cell of a CSV that a spreadsheet shows and does not run: one that begins as a formula does gets a ' before it.
    A number, with its sign, stays as it is."""
    text = str(text)
    if text.startswith(FORMULA) and not re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text):
        return f"'{text}"
    return text


def from_spreadsheet(text: str) -> str:
    """The text of a cell, without the ' that `for_spreadsheet` has put before it."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA) else text


def still_files(prepared: Path) -> list[tuple[Path, Path]]:
    """The stills that a prepare stage left in its folder, in order, each beside its picture through the autoencoder,
    which is there where the still is none of the frames held out: still.png and still_vae.png, then still_2.png ..."""
    found: list[tuple[Path, Path]] = []
    while (still := prepared / f"still{f'_{len(found) + 1}' * bool(found)}.png").is_file():
        found.append((still, still.with_name(f"{still.stem}_vae.png")))
    return found


def given_path(path: Path | str, what: str = "") -> Path:
    """A path as a user wrote it, ~ made whole. Raises UserError for one that no file can have: of a user that is not
    there, too long, with a NUL, a ring of links. A link is followed: it stands for what it leads to.

    what: the option or key, for the message.
    """
    name = f"{what}: {shortened(path)}" if what else shortened(path)
    try:
        full = Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{name}: there is no such user; write the path without ~") from None
    try:
        full.stat()
    except (FileNotFoundError, NotADirectoryError):
        if full.is_symlink():
            raise UserError(f"{name}: a link to {shortened(os.readlink(full))}, which is not there; mend the link or "
                            "give the file itself") from None
    except ValueError:
        raise UserError(f"{name}: a path cannot hold a NUL; write it anew") from None
    except OSError as error:
        raise UserError(f"{name}: {system_reason(error) or error.strerror}") from None
    return full


def regular_file(path: Path | str, what: str = "", fix: str = "give a file") -> Path:
    """A path as `given_path` has it, of a file that is there. Raises UserError for a folder, for a pipe or a device,
    which may give nothing for ever, and for what is not there. what: the option or key; fix: what to give instead."""
    full = given_path(path, what)
    if not full.is_file():
        wrong = "a folder" if full.is_dir() else "not a regular file" if full.exists() else "no such file"
        raise UserError(f"{f'{what}: ' if what else ''}{shortened(path)}: {wrong}; {fix}")
    return full


def sha256(path: Path) -> str:
    """Content hash of a file, or of a folder's files by their relative names (hidden ones left out). Links count by
    what they lead to. Raises UserError for a pipe or a device, which may never end."""
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            name = file.relative_to(path)
            if not any(part.startswith(".") for part in name.parts):
                digest.update(f"{name.as_posix()} {sha256(file)}\n".encode())
        return digest.hexdigest()
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file; give a file or a folder")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where what can be made or fetched again is kept between runs of a user: $XDG_CACHE_HOME/latentmovies, or
    ~/.cache/latentmovies."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "latentmovies"


def builtin(name: str) -> Path | None:
    """The folder of one of BUILT_IN: inside the installed package, or in the project it is run from."""
    if name not in BUILT_IN:
        return None
    here = Path(__file__).resolve().parent
    return next((f for f in (here / "demo" / "weights" / name, here.parent / "checkpoints" / name) if f.is_dir()), None)


def brought_again(folder: Path) -> str | None:
    """How a built-in's folder comes anew, for the end of a message; None for any other folder."""
    folder = folder.resolve()
    if folder.name not in BUILT_IN or folder.parent.name not in ("checkpoints", "weights"):
        return None
    if folder.parent.name == "weights":
        return "install latentmovies again, which brings it"
    return f"`rm -r checkpoints/{folder.name}; make data` brings it again"


def as_carried(folder: Path, what: str) -> None:
    """Raise UserError unless a built-in's files are those that SHA256SUMS beside its folder names: a bit that turns in
    weights is seen by nothing else. Any other folder, and one without SHA256SUMS beside it, is taken as it is.

    what: the key, for the message.
    """
    folder = folder.resolve()
    sums = folder.parent / SUMS
    if folder.name not in BUILT_IN or not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8").splitlines():
        wanted, _, name = line.partition("  ")
        file = folder.parent / name
        if name.startswith(f"{folder.name}/") and not (file.is_file() and sha256(file) == wanted):
            raise UserError(f"{what}: {name} is not the file that {SUMS} beside it names (by its SHA-256); "
                            f"{brought_again(folder) or 'fetch it again'}")


def write_sums(parent: Path, folders: tuple[str, ...]) -> None:
    """Write SHA256SUMS of all files of `folders` of `parent`, whole or not at all."""
    files = sorted(file for name in folders for file in (parent / name).rglob("*") if file.is_file())
    with whole(parent / SUMS) as part:
        part.write_text("".join(f"{sha256(file)}  {file.relative_to(parent).as_posix()}\n" for file in files),
                        encoding="utf-8")


def writable(path: Path, option: str) -> Path:
    """The absolute path of a file to write, whose folder must be there: asked before the long work, and nothing is left
    by the asking. Raises UserError, which names it as it was given, where it cannot be written."""
    said, path = f"{option} {shortened(path)}", given_path(path, option)
    if path.parent.exists() and not path.parent.is_dir():
        raise UserError(f"{said}: a part of this path is a file, no folder; choose another place")
    if not path.parent.is_dir():
        raise UserError(f"{said}: there is no folder {shortened(path.parent)}; make it first")
    if path.is_dir():
        raise UserError(f"{said}: this is a folder; name a file")
    if path.exists() and not path.is_file():
        raise UserError(f"{said}: not a regular file; name another")
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"{said}: not allowed to write there; choose another place")
    _try(path.parent, said)
    return path.absolute()


def _try(folder: Path, said: str) -> None:
    """Raise UserError, which begins with `said`, where no file can be made in a folder. What the permissions say is not
    enough: not of root's, nor where a disk is read-only."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = system_reason(error) or error.strerror
        raise UserError(f"{said}: not allowed to write there ({reason}); choose another place") from None


def folder_there(path: Path, option: str) -> Path:
    """The path of a folder to read. Raises UserError for what is none."""
    path = given_path(path, option)
    if not path.is_dir():
        wrong = "is a file; give the folder" if path.exists() else "no such folder; check the name"
        raise UserError(f"{option} {shortened(path)}: {wrong}")
    return path


def writable_folder(path: Path, option: str) -> Path:
    """The absolute path of a folder to write into, made where it is not there yet. Raises UserError, as `writable`
    does, where it cannot be."""
    said, path = f"{option} {shortened(path)}", given_path(path, option)
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not there.is_dir():
        raise UserError(f"{said}: {shortened(there)} is a file, not a folder; choose another place")
    _try(there, said)
    return path.absolute()
