"""The wheel, installed into an empty environment and used in an empty folder: no checkout, no params.yaml."""

import importlib.metadata
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
CHECKPOINTS = [f"lnm/demo/weights/{name}/" for name in ("lnm-mini", "lnm-mini-clip", "lnm-mini-motion",
                                                        "lnm-mini-decoder")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(REPOSITORY))
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel and links to what it declares to need, of this environment's packages: nothing
    of an extra, no DVC and no Jupyter. Its bin folder."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    pip("--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    (packages,) = folder.glob("lib/python*/site-packages")
    (found,) = importlib.metadata.distributions(name="latentmovies", path=[str(packages)])
    for distribution in needed(found):
        for name in {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}:
            link = packages / name
            if not link.exists():
                link.symlink_to(distribution.locate_file(name))
    return folder / "bin"


def needed(distribution: importlib.metadata.Distribution) -> list[importlib.metadata.Distribution]:
    """What a distribution needs without its extras, and what that needs, extras that are asked for included."""
    found, wanted = {}, [(distribution, "")]
    for parent, extra in wanted:
        for requirement in map(Requirement, parent.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                child = importlib.metadata.distribution(requirement.name)
                for asked in ("", *requirement.extras):
                    if (canonicalize_name(requirement.name), asked) not in found:
                        found[canonicalize_name(requirement.name), asked] = child
                        wanted.append((child, asked))
    return list(found.values())


def pip(*args: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *args], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def run(folder: Path, *command: str | Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LNM_"))}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True,
                          env=environment | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_both_packages_their_pages_types_licence_and_weights(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(archive.read(name).decode() for name in names if name.endswith("METADATA"))
        unet = archive.getinfo(f"{CHECKPOINTS[0]}unet/config.json")
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lnm", "eval"}
    assert {"lnm/py.typed", "eval/py.typed"} <= set(names)
    pages = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "eval").rglob("*")
             if path.suffix in (".html", ".css", ".js")}
    assert pages and pages <= set(names)
    for folder in CHECKPOINTS:
        assert any(name.startswith(folder) and name.endswith(".safetensors") for name in names), folder
    assert "lnm/demo/weights/SHA256SUMS" in names
    assert unet.file_size == (REPOSITORY / "checkpoints/lnm-mini/unet/config.json").stat().st_size
    assert "License-Expression: Apache-2.0" in metadata and "Provides-Extra: pipeline" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_modules_that_are_gone_do_not_travel_along(wheel):
    here = {path.relative_to(REPOSITORY).as_posix() for room in ("lnm", "eval")
            for path in (REPOSITORY / room).rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.endswith(".py")} == here


FILM = """\
import lnm
pipe = lnm.LateNtMoviesPipeline.from_pretrained("lnm-mini")
made = pipe("photo.png", prompt="ocean waves", num_frames=2, num_inference_steps=1, fps=8, width=128,
            height=128, output_type="pil")
made.frames[0][1].save("second.png")
print(lnm.__file__, len(made.frames[0]))
"""


def test_five_lines_in_an_empty_folder_make_a_film_of_lnm_mini(installed, tmp_path):
    Image.new("RGB", (300, 200), "steelblue").save(tmp_path / "photo.png")
    said = run(tmp_path, installed / "python", "-c", FILM).split("\n")[-2]
    assert said.startswith(str(installed.parent)) and said.endswith(" 2"), said
    assert {file.name for file in tmp_path.iterdir()} == {"photo.png", "second.png"}, "nothing else is left behind"
    assert Image.open(tmp_path / "second.png").width == 128


def test_both_packages_can_be_imported_and_nothing_of_the_pipeline_is_there(installed, tmp_path):
    packages = {path.name for path in (installed.parent / "lib").glob("python*/site-packages/*")}
    assert {"torch", "diffusers"} <= packages and not packages & {"dvc", "papermill", "jupyterlab", "playwright"}
    said = run(tmp_path, installed / "python", "-c", "import lnm, eval; print(lnm.__file__, eval.__file__)").split()
    assert all(place.startswith(str(installed.parent)) for place in said)


def test_the_command_says_what_it_can_do(installed, tmp_path):
    said = run(tmp_path, installed / "lnm", "--help")
    assert all(command in said for command in ("animate", "finetune", "sample", "check", "doctor"))
