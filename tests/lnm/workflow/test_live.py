"""The sliders of the sampling notebook, on tiny weights: a press samples the film that they say."""

import base64
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_finetune, write_tiny_checkpoint, write_tiny_prepared

from lnm import video
from lnm.latents import load_latents
from lnm.player import player
from lnm.settings import Sample
from lnm.stages.finetune import finetune
from lnm.stages.sample import sample_films
from lnm.workflow import live

SETTINGS = Sample(num_frames=4, num_inference_steps=2, seeds=1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = write_tiny_checkpoint(folder / "checkpoint")
    prepared = write_tiny_prepared(folder / "prepared", checkpoint)
    finetune(prepared, folder / "out", folder / "store",
             **tiny_finetune(checkpoint, beta_schedule="linear", mask_value=1, learning_rate=3e-3))
    return prepared, folder / "out" / "temporal.safetensors", {"checkpoint": str(checkpoint), "settings": SETTINGS,
                                                               "seed": 5, "name": "sea", "memory": "auto", "about": {}}


def parts(box):
    frames, fps, seed, guidance, row, shown = box.children
    return {"frames": frames, "fps": fps, "seed": seed, "guidance": guidance}, *row.children, shown


def test_the_first_press_gives_the_first_film_of_ours_and_sliders_change_it(tiny, tmp_path):
    prepared, temporal, arguments = tiny
    sample_films(prepared, temporal, tmp_path, methods=("ours",), **arguments)
    sliders, button, said, shown = parts(live.controls(prepared, temporal, **arguments))
    assert {name: slider.value for name, slider in sliders.items()} == {"frames": 4, "fps": 8, "seed": 5, "guidance": 1}
    button.click()
    film = video.read_frames(tmp_path / "ours" / "seed_0")
    (output,) = shown.outputs
    first = output["data"]["text/html"]
    assert first == player({"seed 5, guidance 1": film}, 8, width=256).data
    assert said.value == "4 frames at 8 fps" and not button.disabled
    seen = {sheet(first)}
    for name, value in (("frames", 6), ("fps", 2), ("seed", 7), ("guidance", 9)):
        sliders[name].value = value
        button.click()
        (output,) = shown.outputs
        seen.add(sheet(output["data"]["text/html"]))
    assert len(seen) == 5 and said.value == "6 frames at 2 fps"


def sheet(page):
    """The bytes of the film in a player."""
    return base64.b64decode(re.search(r"base64,([\w+/=]+)\)", page)[1])


def test_of_several_stills_one_is_chosen_to_begin_from(tiny, tmp_path):
    prepared, temporal, arguments = tiny
    shutil.copytree(prepared, tmp_path / "prepared")
    shutil.copy(prepared / "train" / "00000.png", tmp_path / "prepared" / "still_2.png")
    latents = load_latents(prepared)
    latents["still"] = torch.cat([latents["still"], latents["train"][:1]])
    save_file(latents, tmp_path / "prepared" / "latents.safetensors")
    two = arguments | {"settings": SETTINGS.model_copy(update={"seeds": 2})}
    sample_films(tmp_path / "prepared", temporal, tmp_path / "films", methods=("ours",), **two)
    *_, still, row, shown = live.controls(tmp_path / "prepared", temporal, **two).children
    button, said = row.children
    assert [label for label, _ in still.options] == ["still 1", "still 2"]
    button.click()
    first = sheet(shown.outputs[0]["data"]["text/html"])
    assert first == sheet(player({"a": video.read_frames(tmp_path / "films" / "ours" / "seed_0")}, 8, width=256).data)
    still.value = 1
    button.click()
    page = shown.outputs[0]["data"]["text/html"]
    assert "seed 5, guidance 1, still 2" in page and sheet(page) != first
    from_second = live.Studio(tmp_path / "prepared", temporal, **two).film(4, 8.0, 5, 1.0, 1)
    begun = video.read_image(tmp_path / "prepared" / "still_2.png")
    assert np.abs(from_second[0] - begun.astype(float)).mean() < np.abs(
        video.read_frames(tmp_path / "films" / "ours" / "seed_0")[0] - begun.astype(float)).mean()


def test_an_error_is_said_beside_the_button(tiny, tmp_path):
    prepared, _, arguments = tiny
    _, button, said, shown = parts(live.controls(prepared, tmp_path / "no.safetensors", **arguments))
    button.click()
    assert said.value.startswith("error: ") and "no.safetensors" in said.value
    assert not shown.outputs and not button.disabled


def test_a_run_of_the_pipeline_has_no_controls_and_opens_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("LNM_RESOLVED", "1")
    assert live.controls(tmp_path / "none", tmp_path / "none.safetensors", settings=SETTINGS, checkpoint="none") is None


def test_the_film_is_of_frames_and_bytes(tiny):
    prepared, temporal, arguments = tiny
    film = live.Studio(prepared, temporal, **arguments).film(3, 8.0, 1, 1.0)
    assert film.dtype == np.uint8 and film.shape[0] == 3
