"""The README and docs/: snippets run, commands run small or are parsed, links and quoted errors are there.

In a project of its own with a tiny checkpoint in the place of lnm-mini; no network, no GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
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
SMALLER = [(r"\bsteps=\d+", "steps=2"), (r"\b(height|width|size)=\d+", rf"\1={SIZE}"),
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
    "lnm scenes --stills": [],
    "lnm checkpoint show": [],
    "lnm params check": [],
    "lnm params videos": [],
    "lnm params show": [],
    "lnm params resolve": [],
    "lnm doctor": [],
    "lnm checkpoint verify lnm-mini": ["--size", str(SIZE)],
    "lnm notebook code": [],
    "lnm score": ["--clip", "none", "--quiet"],
    "lnm study build": [],
    "lnm study aggregate": ["--bootstrap", "100"],
    "lnm study simulate": [],
    "lnm claims": [],
}
# In a small project (`small_project`); the others of RUN in a folder that is none.
IN_PROJECT = ("lnm params show", "lnm params resolve", "lnm notebook code", "lnm study", "lnm claims")
ENDS = {"lnm check": 1, "lnm checkpoint verify lnm-mini": 1}  # what is drawn is noise that drifts; weights are random
# Commands whose words are checked here, and the test below tests/ that runs them; "": none does, see UNTRIED.
PARSED = {
    "lnm footage": "lnm/cli/test_project.py::test_footage_lists_and_fetches",
    "lnm motion clips": "lnm/demo/test_motion_clips.py::test_every_clip_has_a_caption_and_validation_is_apart",
    "lnm checkpoint train": "lnm/cli/test_project.py::test_checkpoint_train_runs_the_recipe",
    "lnm checkpoint verify": "lnm/cli/test_project.py::test_checkpoint_verify_tells_by_its_status",
    "lnm repro": "lnm/workflow/test_interrupted.py::test_ctrl_c_leaves_no_process_and_the_same_command_goes_on",
    "lnm fan-out": "lnm/workflow/test_fan_out.py::test_a_grid_ends_in_a_table_and_changes_nothing_here",
    "lnm rival": "lnm/rivals/test_published.py::test_the_command_writes_a_film_and_says_what_is_unfair",
    "lnm notebook run": "lnm/workflow/test_runner.py::test_the_same_run_gives_the_same_bytes_and_shows_its_progress",
    "lnm notebook lab": "lnm/workflow/test_jupyterlab.py::"
                        "test_every_notebook_runs_from_top_to_bottom_and_shows_what_it_says",
    "lnm params seal": "lnm/workflow/test_resolve.py::test_a_seal_changes_when_any_result_does",
    "lnm claims --check": "",
    "lnm ablation": "lnm/stages/test_ablation.py::test_an_arm_leaves_its_losses_its_log_and_its_film",
    "lnm ablations": "lnm/workflow/test_ablations.py::test_arms_are_shared_out_among_workers_and_the_table_comes_last",
    "make": "test_docs.py::test_make_has_this_target_and_knows_what_to_do",
    "dvc": "lnm/workflow/test_experiments.py::"
           "test_experiments_are_shown_beside_each_other_and_what_was_fetched_stays",
    "dvc pull": "",
    "dvc queue": "",
    "dvc exp run --queue": "",
    "python -m benchmarks.bars": "test_bars.py::test_what_is_outside_its_bounds_or_missing_is_marked",
    "python -m benchmarks.choosing": "test_choosing_benchmark.py::"
                                     "test_each_way_of_each_number_of_steps_is_a_row_and_what_was_tuned_is_found_again",
    "python -m benchmarks.conditioning": "",
    "python -m benchmarks.fan_out": "test_fan_out_benchmark.py::test_two_kills_and_what_was_done_again_after_each",
    "python -m benchmarks.fid": "",
    "python -m benchmarks.gains": "test_gains_benchmark.py::"
                                  "test_every_gain_runs_and_what_this_machine_cannot_tell_is_owed",
    "python -m benchmarks.matrix": "test_matrix_benchmark.py::"
                                   "test_a_cell_of_a_clip_and_its_own_still_is_the_film_of_its_run",
    "python -m benchmarks.rivals_seconds": "test_rivals_seconds.py::"
                                           "test_each_way_has_films_of_its_own_by_its_own_number_of_steps",
    "python -m benchmarks.speed": "test_speed_benchmark.py::test_every_arm_runs_and_every_figure_has_its_goal",
    "python -m benchmarks.stills": "test_stills_benchmark.py::test_all_of_it_on_tiny_clips",
    "python -m benchmarks.windows": "test_windows_benchmark.py::test_memory_is_of_films_as_they_are_made",
}
UNTRIED = {
    "lnm claims --check": "the stage `conformance` runs it, nine minutes of tests that stand in tests/conformance/",
    "dvc pull": "`make data` runs it, before any test",
    "dvc queue": "its workers outlive the command that starts them",
    "dvc exp run --queue": "the same",
    "python -m benchmarks.conditioning": "trains for minutes on a run's own results",
    "python -m benchmarks.fid": "measures for a minute; what it measures is tests/eval/metrics/test_frechet.py",
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


def small_project(folder: Path) -> None:
    """The folder made a project: params.yaml, the ledger, notebooks, films of a run, and answers about them."""
    from lnm import video
    from lnm.cli import main

    (folder / "params.yaml").write_text("videos:\n  ocean: {path: clip.mp4, fps: 8, prompts: [waves]}\n")
    for name in ("claims.yaml", "params.paper.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks")
    for name in ("checkpoints/lnm-mini/unet/x", "checkpoints/lnm-mini-clip/x", "checkpoints/lnm-mini-motion/x"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(name)
    film, run = video.read(folder / "clip.mp4").frames[:12], folder / "results" / "ocean"
    video.write_mp4(run / "sample" / "ours" / "seed_0" / "film.mp4", film[::-1], 8)
    (run / "sample" / "films.json").write_text(json.dumps({"fps": 8, "num_frames": 12, "methods": ["ours"]}))
    video.write_frames(run / "prepare" / "heldout", film)
    assert main(["study", "build", "--methods", "ours,heldout", "--out", "study.html", "--quiet"]) == 0
    study = json.loads((folder / "study.json").read_text())
    asked = [trial for trial in study["trials"] if not trial["is_catch"]]
    rows = [["ann", "s1", study["id"], trial["scene"], trial["question"], *trial["conditions"],
             *(study["hashes"][k] for k in trial["films"]), "A", 1, 900, "", 0] for trial in asked]
    assert len(rows) == 2
    for place in (folder / "answers", folder / "inputs" / "human_study"):
        place.mkdir(parents=True)
        (place / "ann.csv").write_text("\n".join(",".join(map(str, row)) for row in [study["columns"], *rows]) + "\n")


def films_to_score(folder: Path) -> None:
    """film/, my_film/ and their_films/ of 12 frames each; real.mp4 and clip_decoded.mp4 as long as clip.mp4."""
    from lnm import video

    real = video.read(folder / "clip.mp4").frames
    frames = real[:12]
    for name in ("film", "my_film", "their_films/one", "their_films/other"):
        video.write_frames(folder / name, frames if name != "their_films/other" else frames[::-1])
    for name in ("real.mp4", "clip_decoded.mp4"):
        video.write_mp4(folder / name, real, 8)


@of("lnm", among=RUN)
def test_lnm_runs_small(page, words, folder, tiny, monkeypatch, capfd):
    from lnm.cli import main

    tiny_stands_in(monkeypatch, tiny, "lnm.cli.options")
    monkeypatch.setattr("lnm.workflow.health.builtin", lambda name: tiny)  # all that an installation brings
    if start(words).startswith(IN_PROJECT):
        small_project(folder)
    elif start(words) == "lnm score":
        films_to_score(folder)
    if start(words) == "lnm sample":
        first = ["finetune", "clip.mp4", "--prompt", "waves", "--out", "waves.safetensors", *RUN["lnm finetune"]]
        assert main(first) == 0
    if "init=motion.safetensors" in words:
        first = ["motion", "train", "--clips", "timelapses", "--prompt", "waves", "--out", "motion.safetensors"]
        assert main([*first, *RUN["lnm motion train"]]) == 0
    if "temporal_decoder=decoder.safetensors" in words:
        first = ["motion", "decoder", "--clips", "timelapses", "--out", "decoder.safetensors"]
        assert main([*first, *RUN["lnm motion decoder"]]) == 0
    if start(words) in ("lnm params check", "lnm params videos"):
        for name in ("params.yaml", "params.paper.yaml"):
            shutil.copy(REPOSITORY / name, folder)
    given = [name for word in words[1:] for name in (sorted(map(str, folder.glob(word))) if "*" in word else [word])]
    status = main([*given, *RUN[start(words)]])
    assert status == ENDS.get(start(words), 0), "".join(capfd.readouterr())
    if start(words) in ("lnm animate", "lnm sample"):
        film = Path(capfd.readouterr().out.rpartition("film: ")[2].strip())
        assert film.parent == folder and film.stat().st_size > 500


def test_what_is_not_run_here_is_run_by_the_test_that_is_named():
    for kind, where in PARSED.items():
        file, _, name = where.partition("::")
        assert bool(where) != (kind in UNTRIED), kind
        assert not where or f"def {name}(" in (REPOSITORY / "tests" / file).read_text(encoding="utf-8"), kind
    assert set(UNTRIED) <= set(PARSED)
    used = {start(words) for _, words in COMMANDS}
    assert set(RUN) | set(PARSED) <= used, "a kind that no page has any more"


@of("make")
def test_make_has_this_target_and_knows_what_to_do(page, words):
    targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)
    assert {word for word in words[1:] if "=" not in word} <= set(targets)
    found = subprocess.run([*words, "--dry-run"], cwd=REPOSITORY, capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout.strip(), found.stderr


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
