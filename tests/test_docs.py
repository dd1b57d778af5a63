"""The README and docs/: snippets run, commands run small or are parsed, links and quoted errors are there.

In a project of its own with a tiny checkpoint in the place of lnm-mini; no network, no GPU.
"""

from __future__ import annotations

import argparse
import importlib
import re
import runpy
import shlex
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image
from tiny import SIZE, write_tiny_checkpoint

from lnm.pipeline import LateNtMoviesPipeline

PAGES = ["README.md", "CONTRIBUTING.md", "inputs/README.md", "checkpoints/README.md",
         *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
# what makes a snippet or a command small: fewer steps, the tiny checkpoint's size
SMALLER = [(r"\bsteps=\d+", "steps=2"), (r"\b(height|width)=\d+", rf"\1={SIZE}"),
           (r'"(height|width)": \d+', rf'"\1": {SIZE}'),
           (r'(out="film.mp4")', rf"\1, size={SIZE}, num_frames=3, steps=2"),
           (r'(finetune\(pipe, "clip.mp4"[^)]*)\)', r"\1, steps=2)")]
TINY = ["--steps", "2", "--frames", "3", "--inference-steps", "2", "--size", str(SIZE)]
# Commands that are run, with what makes them small. All others of `lnm` are in PARSED.
RUN = {
    "lnm animate": TINY,
    "lnm finetune": ["--steps", "2", "--size", str(SIZE), "--checkpoint", "lnm-mini"],
    "lnm sample": TINY[2:],
    "lnm motion train": ["--steps", "2", "--size", str(SIZE), "--checkpoint", "lnm-mini"],
    "lnm motion decoder": ["--steps", "2", "--size", str(SIZE), "--checkpoint", "lnm-mini", "--set", "crop=16"],
    "lnm check": ["--size", str(SIZE)],
    "lnm footage --list": [],
    "lnm scenes --stills": [],
    "lnm checkpoint show": [],
    "lnm params check": [],
    "lnm params videos": [],
}
# Commands whose words are checked and that are not run, and why.
PARSED = {
    "lnm footage": "needs a network",
    "lnm scenes": "renders for minutes",
    "lnm motion clips": "renders for minutes: tests/lnm/demo/test_motion_clips.py",
    "lnm checkpoint train": "takes hours",
    "lnm checkpoint verify": "needs Stable Diffusion's weights",
    "lnm doctor": "looks at the machine it runs on",
    "lnm repro": "runs the pipeline",
    "lnm fan-out": "runs the pipeline: tests/lnm/workflow/test_fan_out.py",
    "lnm rival": "needs published weights: tests/lnm/rivals/test_published.py",
    "lnm notebook": "runs a stage of the pipeline",
    "lnm params": "needs the clips of a project: tests/lnm/cli",
    "lnm score": "needs the harness's models: tests/eval",
    "lnm study": "needs the films of a run: tests/eval",
    "lnm claims": "takes a minute: tests/eval",
    "lnm ablation": "trains for minutes: tests/lnm/stages/test_ablation.py",
    "make": "sets up and runs everything",
    "dvc": "runs the pipeline, or fetches",
    "python -m benchmarks": "measures for minutes",
}


def blocks(page: str, *kinds: str) -> list[str]:
    """The fenced blocks of a page that are of these kinds, without the indentation they may have."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) + "\n"
            for indent, kind, body in FENCE.findall(text) if kind in kinds]


def words_of(kind: str = "bash") -> list[tuple[str, list[str]]]:
    """Every command line of every page, as (page, words)."""
    found = []
    for page in PAGES:
        for block in blocks(page, kind):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page, words) for line in lines if (words := shlex.split(line, comments=True))]
    return found


COMMANDS = words_of()


def start(words: list[str]) -> str | None:
    """The key of RUN or PARSED that a command line falls under: the longest that it starts with."""
    return max((key for key in [*RUN, *PARSED] if " ".join(words).startswith(key)), key=len, default=None)


def of(*first: str, among: dict | None = None):
    """A parametrization over the command lines that begin with one of these words, and fall under a key of `among`."""
    chosen = [(page, words) for page, words in COMMANDS
              if words[0] in first and (among is None or start(words) in among)]
    return pytest.mark.parametrize("page, words", chosen, ids=[f"{page}: {' '.join(words)}" for page, words in chosen])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoint = write_tiny_checkpoint(folder / "tiny")
    motion = folder / "motion" / "temporal.safetensors"  # layers for it, as lnm-mini-motion is for lnm-mini
    motion.parent.mkdir()
    LateNtMoviesPipeline.from_pretrained(checkpoint).save_temporal(motion)
    return checkpoint


def tiny_stands_in(monkeypatch, tiny, *modules):
    found = {"lnm-mini": tiny, "lnm-mini-clip": tiny, "lnm-mini-motion": tiny.parent / "motion"}
    for module in modules:
        monkeypatch.setattr(f"{module}.builtin", found.get)


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny):
    """An empty folder that is no project, with photo.jpg and clip.mp4; `lnm-mini` opens a tiny checkpoint."""
    from lnm import video

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny_stands_in(monkeypatch, tiny, "lnm.files", "lnm.checkpoint", "lnm.hub", "lnm.settings")
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    video.write_mp4(tmp_path / "clip.mp4", np.stack([np.roll(picture, i, 1) for i in range(30)]), 8)
    Image.fromarray(picture).save(tmp_path / "photo.jpg")
    for k in range(2):
        video.write_mp4(tmp_path / "timelapses" / f"{k}.mp4", np.stack([np.roll(picture, i + k, 0) for i in range(30)]),
                        8)
    (tmp_path / "captions.csv").write_text("clip,caption\n0,waves\n1,clouds\n")
    return tmp_path


# --- snippets ------------------------------------------------------------------------------------------------------


def test_every_block_says_what_it_is():
    kinds = {kind for page in PAGES for _, kind, _ in FENCE.findall((REPOSITORY / page).read_text(encoding="utf-8"))}
    assert kinds <= {"bash", "python", "yaml", "text"}, "others would not be tested"
    indented = [line for page in PAGES for line in FENCE.sub("", (REPOSITORY / page).read_text("utf-8")).splitlines()
                if line.startswith("    ")]
    assert not indented, "code stands in fences, where tests find it"


def write_lora(tiny: Path, folder: Path) -> None:
    """A LoRA on the spatial attention of the tiny checkpoint, as diffusers saves it."""
    from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet = UNet2DConditionModel.from_pretrained(tiny / "unet")
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    StableDiffusionInpaintPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet))


class Hub:
    """The model hub's client, on a folder."""

    def __init__(self, **options):
        pass

    def create_repo(self, repository, **options):
        Path("hub", repository).mkdir(parents=True, exist_ok=True)
        return f"hub/{repository}"

    def upload_file(self, path_or_fileobj, path_in_repo, repo_id):
        shutil.copy(path_or_fileobj, Path("hub", repo_id, path_in_repo))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_snippets_run_one_after_the_other_in_an_empty_folder(page, folder, tiny, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file, **options: str(Path("hub", name, file)))
    write_lora(tiny, folder / "my_lora")
    for number, source in enumerate(blocks(page, "python")):
        for pattern, small in SMALLER:
            source = re.sub(pattern, small, source)
        exec(compile(source, f"{page}, snippet {number + 1}", "exec"), {"__name__": "__main__"})
    if page == "README.md":
        assert (folder / "film.mp4").stat().st_size > 500
    if page == "docs/paper-setting.md":
        assert "scaled_linear 0.276" in capsys.readouterr().out


@pytest.mark.parametrize("page, text", [(page, text) for page in PAGES for text in blocks(page, "yaml")])
def test_pieces_of_params_yaml_are_read(page, text, tmp_path):
    from lnm.workflow.params import load

    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert load(tmp_path / "params.yaml").videos


# --- commands ------------------------------------------------------------------------------------------------------


def test_every_command_is_of_a_kind_that_is_tested():
    known = {"lnm", "make", "dvc", "python", "cp", "pip", "pip-audit", "source", "git", "torchrun", "accelerate"}
    assert {words[0] for _, words in COMMANDS} <= known
    for page, words in COMMANDS:
        if words[0] in ("lnm", "make", "dvc", "python"):
            assert start(words), f"{page}: {' '.join(words)}"


def lnm_command(words: list[str]):
    """typer's command of these words and what is left for it to parse."""
    import typer

    from lnm.cli.app import build

    command, left = typer.main.get_command(build()), words[1:]
    while hasattr(command, "commands"):
        assert left and left[0] in command.commands, f"lnm has no command {' '.join(words[1:])}"
        command, left = command.commands[left[0]], left[1:]
    return command, left


@of("lnm")
def test_lnm_takes_these_words(page, words, folder):
    command, left = lnm_command(words)
    assert command.make_context(words[-1], list(left)).params is not None


@of("lnm", among=RUN)
def test_lnm_runs_small(page, words, folder, tiny, monkeypatch, capfd):
    from lnm.cli import main

    tiny_stands_in(monkeypatch, tiny, "lnm.cli.options")
    if start(words) == "lnm sample":
        first = ["finetune", "clip.mp4", "--prompt", "waves", "--out", "waves.safetensors", *RUN["lnm finetune"]]
        assert main(first) == 0
    if "init=motion.safetensors" in words:
        first = ["motion", "train", "--clips", "timelapses", "--prompt", "waves", "--out", "motion.safetensors"]
        assert main([*first, *RUN["lnm motion train"]]) == 0
    if "temporal_decoder=decoder.safetensors" in words:
        first = ["motion", "decoder", "--clips", "timelapses", "--out", "decoder.safetensors"]
        assert main([*first, *RUN["lnm motion decoder"]]) == 0
    if start(words).startswith("lnm params"):
        for name in ("params.yaml", "params.paper.yaml"):
            shutil.copy(REPOSITORY / name, folder)
    status = main([*words[1:], *RUN[start(words)]])
    # what is drawn here is noise that drifts, which `check` finds wanting
    assert status == (1 if start(words) == "lnm check" else 0), capfd.readouterr().err
    if start(words) in ("lnm animate", "lnm sample"):
        film = Path(capfd.readouterr().out.rpartition("film: ")[2].strip())
        assert film.parent == folder and film.stat().st_size > 500


@of("make")
def test_make_has_this_target(page, words):
    targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)
    assert {word for word in words[1:] if "=" not in word} <= set(targets)


@of("dvc")
def test_dvc_takes_these_words_and_has_these_stages(page, words, tmp_path):
    from dvc.cli import parse_args
    from dvc.utils.hydra import apply_overrides
    from ruamel.yaml import YAML

    parsed = parse_args(words[1:])
    stages = set(YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    videos = set(YAML(typ="safe").load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))["videos"])
    targets = getattr(parsed, "targets", None) or []
    for name, _, video in (target.partition("@") for target in targets if isinstance(target, str)):
        assert name in stages and (not video or video in videos)
    overrides = getattr(parsed, "set_param", None) or []
    shutil.copy(REPOSITORY / "params.yaml", tmp_path / "params.yaml")
    apply_overrides(tmp_path / "params.yaml", overrides)


@of("torchrun", "accelerate")
def test_launchers_take_these_words_and_start_lnm(page, words, folder):
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    launcher = get_args_parser() if words[0] == "torchrun" else launch_command_parser()
    given = launcher.parse_args(words[1:] if words[0] == "torchrun" else words[2:])
    assert given.module and given.training_script == "lnm"
    assert int(given.nproc_per_node if words[0] == "torchrun" else given.num_processes) == 2
    command, left = lnm_command(["lnm", *given.training_script_args])
    assert command.make_context("finetune", list(left)).params is not None


@of("python")
def test_python_takes_these_words(page, words, monkeypatch):
    """The module's own parser takes them; nothing after the parsing is run."""
    parse = argparse.ArgumentParser.parse_args

    class Parsed(Exception):
        pass

    def stop(self, *given):
        parse(self, words[3:])
        raise Parsed

    assert words[1] == "-m"
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(Parsed):
        importlib.import_module(words[2]).main()


@of("cp", "source", "git", "pip", "pip-audit")
def test_files_that_commands_name_are_there(page, words, tmp_path):
    for word in words[1:]:
        if re.fullmatch(r"[\w./]+\.\w+", word) and not word.startswith(".venv/"):
            assert (REPOSITORY / word).exists(), word
        if word.startswith(".["):
            project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            assert set(word[2:-1].split(",")) <= set(project["optional-dependencies"])


def test_commands_md_is_what_the_help_says():
    made = runpy.run_path(str(REPOSITORY / "docs" / "commands.py"))["page"]()
    assert (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8") == made, "run python docs/commands.py"


# --- prose ---------------------------------------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_first_screen_says_what_it_is_for_whom_what_it_costs_and_how():
    first = "\n".join((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()[:30])
    for said in ("docs/films.gif", "For whom", "What it costs", "make repro", "make test", "What you get",
                 "a demonstration, not a reproduction"):
        assert said in first


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_are_there(page):
    text = FENCE.sub("", (REPOSITORY / page).read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            assert ((REPOSITORY / page).parent / target.partition("#")[0]).exists(), target


def test_every_page_of_docs_is_linked_from_the_readme():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert not [page for page in PAGES if page.startswith("docs/") and f"]({page})" not in text]


def test_what_the_readme_says_is_where_is_there():
    trees = [block for block in blocks("README.md", "text") if "lnm/" in block]
    assert trees
    above = []  # (indentation, folder) of the lines that the present one may stand in
    for line in (line for block in trees for line in block.splitlines() if line.strip()):
        indent = len(line) - len(line.lstrip())
        above = [(i, folder) for i, folder in above if i < indent]
        names = re.match(r"((?:[\w.*-]+/?[\w./*-]*\s)*(?:[\w.*-]+/?[\w./*-]*))(?:\s{2,}|$)", line.strip())[1].split()
        for name in names:
            assert list(Path(REPOSITORY, *[folder for _, folder in above]).glob(name)), line
        above.append((indent, names[0]))


def test_the_errors_that_troubleshooting_quotes_are_the_codes_own():
    sources = [re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
               for name in ("lnm", "eval") for path in (REPOSITORY / name).rglob("*.py")]
    text = (REPOSITORY / "docs/troubleshooting.md").read_text(encoding="utf-8")
    first = "\n".join(re.findall(r"^\| (`.*?) \| ", text, re.M))  # the first column
    quoted = [one or other for one, other in re.findall(r"``(.+?)``|`([^`]+)`", first)]
    assert len(quoted) > 20
    assert not [words for words in quoted if not any(words in source for source in sources)]
