"""The prepare stage: latents cached, prompts chosen by CLIP distance."""

import numpy as np
import pytest
import torch
from tiny import SIZE, write_tiny_checkpoint

from lnm import latents
from lnm.checkpoint import open_checkpoint
from lnm.demo.mini.clip import new_clip, save_clip
from lnm.demo.mini.text import train_tokenizer
from lnm.errors import UserError
from lnm.prompts import choose_prompt


def frames(n=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)


def test_encode_scales_and_chunks_alike(tmp_path):
    vae = open_checkpoint(str(write_tiny_checkpoint(tmp_path))).vae
    clip = frames()
    whole = latents.encode(vae, clip, chunk_size=8)
    torch.testing.assert_close(whole, latents.encode(vae, clip, chunk_size=2), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        plain = vae.encode(latents.to_tensor(clip)).latent_dist.mode()
    torch.testing.assert_close(whole, plain * vae.config.scaling_factor, atol=1e-5, rtol=1e-5)
    assert latents.decode(vae, whole).shape == clip.shape


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    from open_clip.model import CLIP

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = train_tokenizer(folder / "tokenizer", ["ocean waves", "clouds"])
    torch.manual_seed(0)
    save_clip(folder / "clip", CLIP(**new_clip(tokenizer)), tokenizer, folder / "tokenizer")
    return folder / "clip"


def test_the_prompt_nearest_to_the_clip_is_chosen_and_all_distances_kept(clip_folder):
    import open_clip
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


def test_without_a_clip_the_first_prompt_is_taken_and_it_is_said():
    got = choose_prompt(["a", "b"], frames(2), None)
    assert got["prompt"] == "a" and got["candidates"][1]["distance"] is None and "first prompt" in got["note"]


def test_a_clip_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(UserError, match="checkpoint.clip") as error:
        choose_prompt(["a"], frames(2), str(tmp_path))
    assert "\n" not in str(error.value)
