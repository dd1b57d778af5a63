"""Prompt choice: the suggested prompt whose CLIP embedding lies nearest to the clip."""

import os
import re
import shutil

import numpy as np
import open_clip
import pytest
import torch
from unusual import UNUSUAL

from eval.features.clip import Clip
from lnm.demo.mini.clip import new_clip, save_clip
from lnm.demo.mini.text import train_tokenizer
from lnm.errors import UserError
from lnm.prompts import CLIP_FRAMES, choose_prompt


def frames(n=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    from open_clip.model import CLIP

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = train_tokenizer(folder / "tokenizer", ["ocean waves", "clouds"])
    torch.manual_seed(0)
    save_clip(folder / "clip", CLIP(**new_clip(tokenizer)), tokenizer, folder / "tokenizer")
    return folder / "clip"


def test_the_prompt_nearest_to_the_clip_is_chosen_and_all_distances_kept(clip_folder):
    from PIL import Image

    prompts = ["ocean waves", "clouds", "waves and clouds"]
    film = frames(3)
    got = choose_prompt(prompts, film, str(clip_folder))
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    model.eval()
    with torch.no_grad():
        text = model.encode_text(open_clip.get_tokenizer(f"local-dir:{clip_folder}")(prompts))
        image = model.encode_image(torch.stack([preprocess(Image.fromarray(f)) for f in film]))
        want = (1 - torch.nn.functional.cosine_similarity(text[:, None], image[None], dim=-1)).mean(1)
    np.testing.assert_allclose([c["distance"] for c in got["candidates"]], want, atol=1e-5)
    assert got["prompt"] == prompts[int(want.argmin())]
    assert want.max() - want.min() > 1e-4  # the weights are there: random, but they tell prompts apart


def test_a_prompt_that_is_cut_is_said_and_the_others_are_not(clip_folder):
    film = frames(2)
    short, long = "ocean waves", "ocean waves and clouds " * 450
    with pytest.warns(UserWarning, match=r"^prompt: ocean .* compares its first \d+ tokens with the clip") as warned:
        got = choose_prompt([short, long], film, str(clip_folder))
    assert len(warned) == 1 and len(str(warned[0].message)) < 300
    assert got["candidates"][1]["prompt"] == long, "what is kept in prompts.json is what was written"
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    kept = int(re.search(r"first (\d+) tokens", str(warned[0].message))[1])
    assert kept == tokens.context_length - 2 == int((tokens([long])[0] != tokens([""])[0]).sum())


@pytest.mark.parametrize("prompt", UNUSUAL)
@pytest.mark.filterwarnings("ignore:prompt")
def test_a_prompt_of_any_writing_is_compared(clip_folder, prompt):
    got = choose_prompt(["ocean waves", prompt], frames(2), str(clip_folder))
    assert np.isfinite(got["candidates"][1]["distance"]) and got["candidates"][1]["prompt"] == prompt
    assert got["candidates"][0]["distance"] != got["candidates"][1]["distance"]


def test_without_a_clip_the_first_prompt_is_taken_and_it_is_said():
    got = choose_prompt(["a", "b"], frames(2), None)
    assert got["prompt"] == "a" and got["candidates"][1]["distance"] is None and "first prompt" in got["note"]


def test_a_clip_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(UserError, match="checkpoint.clip") as error:
        choose_prompt(["a"], frames(2), str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_long_clip_is_seen_from_its_first_frame_to_its_last(clip_folder):
    long = np.concatenate([frames(1, seed=i) for i in range(31)])  # every other one is looked at
    seen = choose_prompt(["ocean waves"], long, str(clip_folder))
    assert seen["note"] == f"least cosine distance to {CLIP_FRAMES} frames" and seen["clip"] == str(clip_folder)
    changed = long.copy()
    changed[1::2] = 0
    assert choose_prompt(["ocean waves"], changed, str(clip_folder))["candidates"] == seen["candidates"]
    for k in (0, 30):
        changed = long.copy()
        changed[k] = 0
        assert choose_prompt(["ocean waves"], changed, str(clip_folder))["candidates"] != seen["candidates"]


class Mischief:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_openais_weights_are_opened_with_their_activation_and_as_weights_only(monkeypatch, tmp_path):
    asked = []

    def opened(name, **arguments):
        asked.append((name, arguments))
        raise RuntimeError("no weights here")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", opened)
    for clip in ("ViT-B-32/openai", "ViT-B-32/laion2b_s34b_b79k"):
        with pytest.raises(UserError, match="checkpoint.clip.*no weights here"):
            choose_prompt(["a"], frames(2), clip)
        with pytest.raises(UserError, match="could not be had: no weights here"):
            Clip(clip, tmp_path)
    both = {"device": "cpu", "weights_only": True}  # said, not left to a default: a .pt or .bin runs no code
    openai = ("ViT-B-32", both | {"pretrained": "openai", "force_quick_gelu": True})
    laion = ("ViT-B-32", both | {"pretrained": "laion2b_s34b_b79k", "force_quick_gelu": False})
    assert asked == [openai, openai, laion, laion]


def test_a_clip_whose_weights_are_a_pickle_runs_no_code(clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": Mischief(tmp_path / "ran")}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(UserError, match="checkpoint.clip: .* cannot be opened"):
        choose_prompt(["a"], frames(2), str(folder))
    assert not (tmp_path / "ran").exists()
