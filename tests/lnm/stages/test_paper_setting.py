"""params.paper.yaml from end to end, on random weights of Stable Diffusion 1.5 inpainting's layout made tiny: every
choice is the file's but the size, the number of steps and where clip and weights lie."""

import json

import numpy as np
import pytest
from conftest import REPOSITORY
from faults import STAGES, finish, start, write_project
from layouts import write_layout
from ruamel.yaml import YAML
from safetensors.torch import load_file

from lnm import video
from lnm.stages.finetune import finetune
from lnm.stages.prepare import prepare
from lnm.stages.sample import sample_films
from lnm.temporal_file import read_temporal
from lnm.workflow.resolve import resolve, settings

SIDE, STEPS = 64, 3


def paper_in(folder):
    """That file, small, as the params.yaml of a folder, with weights and one clip that drifts in the place of three."""
    yaml = YAML()
    params = yaml.load((REPOSITORY / "params.paper.yaml").read_text(encoding="utf-8"))
    params["size"], params["device"] = SIDE, "cpu"
    params["checkpoint"].update(name="inputs/sd", revision=None, clip=None)
    params["finetune"].update(steps=STEPS, preview_every=STEPS, checkpoint_every=1)
    params["sample"].update(num_inference_steps=2, seeds=1)
    entry = params["videos"]["rapids"]
    entry.update(path="inputs/clip.mp4", crop=[0, 0, SIDE, SIDE])
    params["videos"] = {"rapids": entry}
    with (folder / "params.yaml").open("w") as stream:
        yaml.dump(params, stream)
    write_layout(folder / "inputs/sd", "sd15-inpainting")
    picture = np.random.default_rng(0).integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    picture = picture.repeat(8, 0).repeat(8, 1)
    video.write_mp4(folder / "inputs/clip.mp4", np.stack([np.roll(picture, i, 1) for i in range(32)]), 12.5)
    return folder


@pytest.fixture
def paper(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return paper_in(tmp_path)


def test_the_paper_s_setting_runs_from_clip_to_film(paper, monkeypatch):
    resolve("rapids")
    monkeypatch.setenv("LNM_RESOLVED", "1")  # as the pipeline's notebooks read it
    out = paper / "results/rapids"
    clip = prepare(out=out / "prepare", **settings("prepare", "rapids").arguments())
    assert (clip["frames_train"], clip["frames_heldout"], clip["prompt"]) == (24, 8, "white water rapids of a river")
    told = settings("finetune", "rapids").arguments()
    chosen = told["settings"]
    assert (chosen.optimizer, chosen.learning_rate, chosen.frames, chosen.mixed_precision,
            chosen.gradient_checkpointing, chosen.mask_value) == ("lion", 3e-5, 5, "bf16", True, 1)
    learned = finetune(out / "prepare", out / "finetune", paper / "store", **told)
    assert learned["steps"] == STEPS and np.isfinite(learned["loss_last_tenth"])
    file = read_temporal(out / "finetune/temporal.safetensors")
    assert file.notes.schedule["beta_schedule"] == "scaled_linear" and file.notes.mask_value == 1
    assert file.notes.checkpoint == "inputs/sd" and file.notes.steps == STEPS
    base = load_file(paper / "inputs/sd/unet/diffusion_pytorch_model.safetensors")
    assert learned["frozen_parameters"] == sum(v.numel() for v in base.values())
    assert (out / f"finetune/previews/step_{STEPS:05d}.gif").is_file()
    note = sample_films(out / "prepare", out / "finetune/temporal.safetensors", out / "sample",
                        **settings("sample", "rapids").arguments())
    assert (note["num_frames"], note["guidance_scale"], note["methods"]) == (5, 7.5, ["ours", "frame_by_frame"])
    for method in note["methods"]:
        assert video.read_frames(out / "sample" / method / "seed_0").shape == (5, SIDE, SIDE, 3)
    assert json.loads((out / "sample/films.json").read_text())["mask_value"] == 1


def test_every_notebook_runs_by_the_paper_s_setting_to_the_report(tmp_path):
    """By dvc, a stage after the other; of what needs fetched weights or another video, the report says why it lacks."""
    project = paper_in(write_project(tmp_path / "project"))
    for stage in STAGES:
        finish(start(project, stage.replace("drift", "rapids")))
    table = json.loads((project / "results/rapids/evaluate/metrics.json").read_text())
    ours = table["methods"]["ours"]
    assert np.isfinite(ours["motion_energy"]["value"]) and "Inception" in ours["fid_heldout"]["refused"]
    assert table["reference"]["frames_film"] == 5 and table["size"] == [SIDE, SIDE]
    for name in ("rapids/notebooks/1_prepare", "rapids/notebooks/2_finetune", "rapids/notebooks/3_sample",
                 "rapids/notebooks/rivals", "rapids/notebooks/4_evaluate", "human_study/5_human_study", "audit"):
        assert (project / "results" / f"{name}.ipynb").is_file(), name
    report = (project / "results/paper/report.html").read_text(encoding="utf-8")
    assert table["prompt"] == "white water rapids of a river" and "data:video/mp4" in report
