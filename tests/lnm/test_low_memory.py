"""`memory: low`: what is held is less, what comes out is the same."""

import numpy as np
import pytest
import torch
from tiny import SIZE, tiny_finetune, write_tiny_checkpoint, write_tiny_prepared
from tiny_decoder import wake_decoder

from lnm import latents, video
from lnm.checkpoint import open_checkpoint
from lnm.decoder import decode_film
from lnm.errors import UserError
from lnm.files import sha256
from lnm.pipeline import LateNtMoviesPipeline
from lnm.settings import Sample
from lnm.stages.finetune import finetune
from lnm.stages.sample import sample_films


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def counted(vae, monkeypatch):
    """How many frames each call of the autoencoder's two halves is given."""
    given = []
    for name in ("encoder", "decoder"):
        half = getattr(vae, name)
        monkeypatch.setattr(half, "forward", lambda x, own=half.forward: given.append(len(x)) or own(x))
    return given


def test_frames_go_through_the_autoencoder_one_by_one(base, monkeypatch):
    vae = open_checkpoint(str(base)).vae
    frames = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    whole = latents.encode(vae, frames)
    pictures = latents.decode(vae, whole)
    latents.spare(vae)
    assert vae.use_tiling
    given = counted(vae, monkeypatch)
    torch.testing.assert_close(latents.encode(vae, frames), whole)
    assert np.abs(latents.decode(vae, whole).astype(int) - pictures).max() <= 1
    film = whole / vae.config.scaling_factor
    with torch.no_grad():
        assert decode_film(vae, film, 8).shape == (5, 3, SIZE, SIZE)
    assert given == [1] * 15
    wake_decoder(vae)  # frames that are decoded together stay together
    with torch.no_grad():
        decode_film(vae, film, 8)
    assert given[15:] == [5]


def test_prompts_that_were_encoded_stay_known_without_a_text_encoder(base):
    pipe = LateNtMoviesPipeline.from_pretrained(base)
    before = pipe.encode_prompt(["ocean waves", ""])
    pipe.drop_text_encoder(["ocean waves", ""])
    assert pipe.text_encoder is None and torch.equal(pipe.encode_prompt(["ocean waves", ""]), before)
    again = LateNtMoviesPipeline.from_pipe(pipe)
    assert torch.equal(again.encode_prompt(["", "ocean waves"]), before.flip(0))
    with pytest.raises(UserError, match="'clouds' was not encoded before the text encoder was dropped"):
        again.encode_prompt(["ocean waves", "clouds"])


def test_a_fine_tune_with_little_memory_gives_the_same_bytes_and_films_the_same_pictures(base, tmp_path):
    prepared = write_tiny_prepared(tmp_path / "prepared", base)
    settings = tiny_finetune(base, preview_every=3, learning_rate=3e-3)
    files = {}
    for memory in ("auto", "low"):
        finetune(prepared, tmp_path / memory, tmp_path / "store", memory=memory, **settings)
        files[memory] = tmp_path / memory / "temporal.safetensors"
        assert (tmp_path / memory / "previews" / "step_00003.gif").is_file()
    assert sha256(files["auto"]) == sha256(files["low"])
    films = []
    for memory in ("auto", "low"):
        sample_films(prepared, files["auto"], tmp_path / memory / "films", checkpoint=str(base), memory=memory,
                     settings=Sample(num_frames=4, num_inference_steps=2, seeds=1, guidance_scale=2.0))
        films.append([video.read_frames(tmp_path / memory / "films" / method / "seed_0").astype(int)
                      for method in ("ours", "frame_by_frame")])
    for ours, low in zip(*films, strict=True):
        assert np.abs(ours - low).max() <= 1
