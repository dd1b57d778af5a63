"""Films of a sampling that was interrupted: none is made twice, and the bytes are those of one that was left alone."""

import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny import tiny_finetune, write_tiny_finetuned

from lnm.settings import Sample
from lnm.stages import kept, sample
from lnm.stages.finetune import finetune

SETTINGS = Sample(num_frames=3, num_inference_steps=3, seeds=2, begin="flow")
MADE = [(method, k) for method in ("frame_by_frame", "from_noise", "ours") for k in range(2)]  # in this order


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_finetuned(tmp_path_factory.mktemp("tiny"), seeds=2)


def films(tiny, folder, **changes):
    """Every file that the stage leaves in `folder`/out, of a store beside it."""
    checkpoint, prepared, temporal = tiny
    sample.sample_films(prepared, temporal, folder / "out", store=folder / "store",
                        **{"settings": SETTINGS, "checkpoint": str(checkpoint), "device": "cpu"} | changes)
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted((folder / "out").rglob("*")) if path.is_file()}


def watched(monkeypatch, stop=None):
    """Films as they are begun from now on, by the noise of each; number `stop`, from 0, is interrupted."""
    begun, real = [], sample.film_of

    def film_of(*given):
        if len(begun) == stop:
            raise KeyboardInterrupt
        begun.append(given[5])
        return real(*given)

    monkeypatch.setattr(sample, "film_of", film_of)
    return begun


def cut(tiny, folder, monkeypatch, stop, **changes):
    """A sampling that is interrupted before its film number `stop`, from 0."""
    with monkeypatch.context() as patch:
        watched(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            films(tiny, folder, **changes)


def left(folder):
    return sorted(path.stem for path in (folder / "store").rglob("*.safetensors"))


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_sampling_makes_the_other_films_alone_and_gives_the_same_bytes(tiny, tmp_path, monkeypatch,
                                                                                      stop):
    whole = films(tiny, tmp_path / "whole")
    cut(tiny, tmp_path / "cut", monkeypatch, stop)
    assert left(tmp_path / "cut") == sorted(f"{method}_{k}" for method, k in MADE[:stop])
    begun = watched(monkeypatch)
    assert films(tiny, tmp_path / "cut") == whole
    assert begun == [sample.film_seed(0, k) for _, k in MADE[stop:]], "those alone that were not there"
    assert not left(tmp_path / "cut"), "nothing is left to go on from"


def test_a_kept_film_that_is_damaged_is_made_again(tiny, tmp_path, monkeypatch):
    whole = films(tiny, tmp_path / "whole")
    cut(tiny, tmp_path / "cut", monkeypatch, 2)
    one, other = sorted((tmp_path / "cut" / "store").rglob("*.safetensors"))
    data = bytearray(one.read_bytes())
    data[-3] ^= 4
    one.write_bytes(data)
    other.write_bytes(other.read_bytes()[:-5])
    begun = watched(monkeypatch)
    assert films(tiny, tmp_path / "cut") == whole and len(begun) == len(MADE)


def other_prompt(tiny, patch):
    (tiny[1] / "prompts.json").write_text('{"prompt": "clouds"}')


def other_fine_tune(tiny, patch):
    finetune(tiny[1], tiny[2].parent, tiny[2].parents[1] / "again", **tiny_finetune(tiny[0], seeds=2, steps=7))


def layers_for_noise(tiny, patch):
    finetune(tiny[1], tiny[2].parent / "noise", tiny[2].parents[1] / "again", **tiny_finetune(tiny[0], steps=1))


def other_weights(tiny, patch):
    path = tiny[0] / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"conv_in.bias": tensors["conv_in.bias"] + 1}, path, {"format": "pt"})


def other_code(tiny, patch):
    patch.setattr(kept, "_code", lambda: "other")


@pytest.mark.parametrize("change", [{"seed": 1}, {"settings": SETTINGS.model_copy(update={"num_inference_steps": 4})},
                                    {"memory": "low"}, other_prompt, other_fine_tune, layers_for_noise, other_weights,
                                    other_code])
def test_a_film_of_other_choices_files_or_code_is_not_taken(tiny, tmp_path, monkeypatch, change):
    tiny = [shutil.copytree(folder, tmp_path / folder.name) for folder in (*tiny[:2], tiny[2].parent)]
    tiny[2] /= "temporal.safetensors"
    cut(tiny, tmp_path / "cut", monkeypatch, 5)
    if not isinstance(change, dict):
        change(tiny, monkeypatch)
    cut(tiny, tmp_path / "cut", monkeypatch, 1, **change if isinstance(change, dict) else {})
    assert left(tmp_path / "cut") == ["frame_by_frame_0"], "made anew, and what was kept of the others is gone"


def test_without_a_store_nothing_is_kept(tmp_path):
    films = kept.KeptFilms(None)
    films.keep("ours", 0, np.zeros((1, 2, 2, 3), np.uint8))
    assert films.film("ours", 0) is None and not list(tmp_path.iterdir())
    films.done()
