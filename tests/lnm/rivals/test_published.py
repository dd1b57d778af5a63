"""Published models by diffusers, with tiny random weights of their true classes: films, what they see, errors."""

import numpy as np
import pytest
import tiny_published as tiny
from PIL import Image

from lnm.cli import main
from lnm.cli.rivals import NAMES
from lnm.errors import UserError
from lnm.rivals import published
from lnm.video import read

SIZE, FRAMES = 32, 5


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """name -> its parts, written once."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = tiny.write(name, tmp_path_factory.mktemp(name))
        return made[name]

    return of


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (40, 64, 3), dtype=np.uint8)


def made(name, weights, still=None, prompt="ocean waves", fps=8, seed=0):
    return getattr(published, name)(picture() if still is None else still, prompt, FRAMES, fps, seed,
                                    size=(SIZE, SIZE), steps=2, **weights(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_films_by_a_seed_and_sees_what_it_is_said_to_see(name, weights):
    film = made(name, weights)
    assert film.shape == (FRAMES, SIZE, SIZE, 3) and film.dtype == np.uint8
    assert np.array_equal(film, made(name, weights)) and not np.array_equal(film, made(name, weights, seed=1))
    sees = published.PUBLISHED[name].sees
    assert np.array_equal(film, made(name, weights, picture(1))) == ("the still" not in sees)
    assert np.array_equal(film, made(name, weights, fps=30)) == ("frames a second" not in sees)


def test_every_name_has_a_function_and_the_command_knows_it():
    assert tuple(published.PUBLISHED) == NAMES and all(callable(getattr(published, name)) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_not_to_be_had_are_one_line_that_names_them(name, tmp_path):
    nowhere = {part: str(tmp_path / f"no_{part}") for part in published.PUBLISHED[name].weights}
    with pytest.raises(UserError, match=f"{name}: its weights are not to be had") as error:
        published.film(name, picture(), "x", 5, 8, 0, **nowhere)
    assert "\n" not in str(error.value) and "no_checkpoint" in str(error.value)


def test_a_part_that_a_model_has_not_is_named():
    with pytest.raises(UserError, match="svd: it has no part adapter; there is checkpoint"):
        published.film("svd", picture(), "x", 5, 8, 0, adapter="x")


def test_what_a_model_cannot_film_is_one_line(weights):
    with pytest.raises(UserError, match="animatediff_sparsectrl: it cannot film this") as error:
        published.film("animatediff_sparsectrl", picture(), "waves", 40, 8, 0, size=(SIZE, SIZE), steps=1,
                       **weights("animatediff_sparsectrl"))
    assert "\n" not in str(error.value) and "16 frames of 512x512 pixels" in str(error.value)


def test_the_command_writes_a_film_and_says_what_is_unfair(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture()).save("still.png")
    given = ["--still", "still.png", "--prompt", "ocean waves", "--out", "film.mp4", "--frames", "5", "--size", "32",
             "--inference-steps", "1", "--device", "cpu"]
    assert main(["rival", "cogvideox", *given, "--fps", "4", "--checkpoint", weights("cogvideox")["checkpoint"]]) == 0
    out, err = capsys.readouterr()
    assert "film: " in out and read("film.mp4").frames.shape == (5, 32, 32, 3)
    assert "it never sees the still" in out + err and "trained at 8 frames a second" in out + err
    for wrong, said in ((["rival", "sdv", *given], "NAME: sdv is none; there is cogvideox, "),
                        (["rival", "svd", "--still", "no.png", "--out", "x.mp4"], "--still: no.png does not exist"),
                        (["rival", "svd", "--still", "still.png", "--out", "x.txt"], "must end in .mp4 or .gif"),
                        (["rival", "svd", *given, "--checkpoint", str(tmp_path / "nowhere")],
                         "svd: its weights are not to be had")):
        assert main(wrong) == 2
        err = capsys.readouterr().err
        assert said in err and "Traceback" not in err
