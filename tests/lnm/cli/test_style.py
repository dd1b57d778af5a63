"""What every command has in common: its help, errors of one line, --quiet, what Ctrl-C leaves, quick help."""

import subprocess
import sys

import pytest
import typer
from tqdm.auto import tqdm
from typer.testing import CliRunner

import lnm
from lnm.cli import app, films, main, style


def commands(command=None, path=("lnm",)):
    """{words: command} of every command, those of groups included."""
    command = command or typer.main.get_command(app.build())
    inner = getattr(command, "commands", {})
    if not inner:
        return {path: command}
    return {words: found for name, one in inner.items() for words, found in commands(one, (*path, name)).items()}


def test_there_are_these_commands_and_no_other():
    assert {" ".join(words[1:]) for words in commands()} == {
        "animate", "finetune", "sample", "check", "doctor", "footage", "scenes", "repro", "fan-out", "rival",
        "score", "claims", "ablation", "ablations",
        "checkpoint show", "checkpoint verify", "checkpoint train", "motion train",
        "motion clips", "motion decoder", "params show", "params check",
        "params videos", "params resolve", "params seal", "notebook run", "notebook code", "notebook lab",
        "study build",
        "study aggregate", "study simulate"}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_help_is_a_sentence_and_an_example_of_the_command(words):
    result = CliRunner().invoke(app.build(), [*words[1:], "--help"], env={"COLUMNS": "250"})
    assert result.exit_code == 0
    assert f"Example:  {' '.join(words)}" in result.output
    about = (commands()[words].help or "").split("\n\n")[0]
    assert about[0].isupper() and about.endswith(".") and "\n" not in about


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_option_says_what_it_is_for(words):
    for option in commands()[words].params:
        assert option.help, option.name


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_can_be_quiet(words):
    assert [option.opts for option in commands()[words].params if option.name == "quiet"] == [["--quiet", "-q"]]


def test_help_needs_nothing_that_takes_seconds_to_load():
    heavy = "{'torch', 'diffusers', 'transformers', 'pandas', 'papermill', 'cv2', 'matplotlib', 'numpy'}"
    code = f"import sys; from lnm.cli import main; main(['--help']); print('loaded', {heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded set()"


def test_python_m_lnm_is_the_same_command():
    run = subprocess.run([sys.executable, "-m", "lnm", "--version"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, f"lnm {lnm.__version__}\n")


def test_the_shell_completes_a_command(monkeypatch, capsys):
    monkeypatch.setenv("_LNM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "lnm ani")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out.split() == ["animate"]


@pytest.mark.parametrize("words, said", [
    (["anmate"], "no such command 'anmate'"),
    (["animate", "--like", "x"], "missing"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--steps", "0"], "--steps"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--steps", "many"], "--steps"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--size", "99"], "--size 99"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--size", "64x64x64"], "--size 64x64x64"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--out", "x.txt"], "must end in .mp4 or .gif"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--out", "no/x.mp4"], "there is no folder"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--set", "stepps=3"], "stepps: unknown setting; did you mean "
                                                                                       "steps?; got 3"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--set", "num_framess=3"], "did you mean num_frames?"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--set", "zzz=3"], "zzz: unknown setting; got 3"),
    (["sample", "x.png", "--temporal", "y", "--set", "guidence_scale=3"], "did you mean guidance_scale?"),
    (["motion", "train", "--clips", "x", "--out", "y.safetensors", "--set", "learnin_rate=1"], "mean learning_rate?"),
    (["finetune", "x.mp4", "--prompt", "z", "--out", "y.safetensors", "--set", "learnin_rate=1"], "learning_rate?"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--set", "steps"], "give KEY=VALUE"),
    (["animate", "x.png", "--like", "y", "--prompt", "z", "--set", "frames=few"], "frames: should be a valid integer"),
    (["animate", "x.png", "--like", "footage:nothing", "--prompt", "z"], "nothing: no such footage"),
    (["check", "nowhere.mp4"], "CLIP: nowhere.mp4 does not exist"),
    (["finetune", "nowhere.mp4", "--prompt", "z", "--out", "x.pt"], "must end in .safetensors"),
    (["sample", "nowhere.png", "--temporal", "x"], "STILL: nowhere.png does not exist"),
    (["footage", "lava"], "lava: no such footage"),
    (["params", "videos"], "params.yaml: not in"),
    (["params", "resolve"], "VIDEO: missing"),
    (["repro"], "params.yaml: not in"),
    (["checkpoint", "show", "nowhere"], "there is no folder nowhere"),
    (["notebook", "run", "x.ipynb", "-o", "y.ipynb", "-p", "video"], "give NAME=VALUE"),
    (["notebook", "run", "x.ipynb", "-o", "y.ipynb"], "there is no such notebook"),
    (["score", "--frames", "x", "--method", "a b"], "--method 'a b'"),
    (["study", "simulate", "--preference", "ours"], "'ours' is not METHOD=NUMBER"),
])
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert not list(tmp_path.iterdir())


def test_a_usage_error_names_the_help_that_explains(capsys):
    main(["params", "show"])
    assert capsys.readouterr().err.endswith("(see lnm params show --help)\n")


def test_a_group_s_name_alone_shows_its_commands(capsys):
    assert main(["study"]) == 2
    assert "aggregate" in capsys.readouterr().out


def test_a_package_that_an_extra_brings_is_named_and_a_module_of_ours_is_a_mistake(monkeypatch, capsys):
    def lacks(name):
        def build():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return build

    assert style.run(lacks("scipy.stats"), []) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: scipy.stats is not installed") and "latentmovies[all]" in said
    with pytest.raises(ModuleNotFoundError):
        style.run(lacks("lnm.nowhere"), [])


def test_an_interruption_is_130_and_says_from_where_it_goes_on(monkeypatch, capsys):
    def stop(*_args, **_kwargs):
        style.if_interrupted("stopped; the same command goes on from X")
        raise KeyboardInterrupt

    monkeypatch.setattr(films, "defaults", stop)
    assert main(["check", "clip.mp4"]) == 130
    assert capsys.readouterr().err == "\nstopped; the same command goes on from X\n"


def test_quiet_leaves_results_and_warnings(capsys):
    one = style.App()

    @one.add("lnm one")
    def command(quiet: style.Quiet = False) -> None:
        """Say things."""
        style.say("on the way")
        style.say("warning: beware")
        list(tqdm(range(2), desc="a bar", disable=False))  # as diffusers and ourselves do
        print("result")

    assert style.run(lambda: typer.main.get_command(one), []) == 0
    said = capsys.readouterr()
    assert said.out == "result\n" and said.err.startswith("on the way\nwarning: beware\n") and "a bar: 100%" in said.err
    assert style.run(lambda: typer.main.get_command(one), ["--quiet"]) == 0
    assert capsys.readouterr() == ("result\n", "warning: beware\n")
    list(tqdm(range(2), desc="a bar"))
    style.say("after it")
    said = capsys.readouterr().err
    assert "a bar" in said and said.endswith("after it\n"), "nothing is left behind"


def test_warnings_of_ours_are_one_line_and_those_of_libraries_are_not_shown(capsys):
    one = style.App()

    @one.add("lnm one")
    def command() -> None:
        """Warn twice."""
        import warnings

        warnings.warn_explicit("ours,\n in two lines", UserWarning, "a.py", 1, module="lnm.latents")
        warnings.warn_explicit("theirs", UserWarning, "b.py", 1, module="torch.nn")

    assert style.run(lambda: typer.main.get_command(one), []) == 0
    assert capsys.readouterr().err == "warning: ours, in two lines\n"
