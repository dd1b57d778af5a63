"""A decoder in time: the identity at the start, frames in order and together, its file, and what a pipeline does."""

import copy
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from cached import cached
from diffusers import AutoencoderKL, DiffusionPipeline
from safetensors.torch import load_file, save_file
from tiny_decoder import tiny_dc, tiny_kl, wake_decoder
from tiny_pipeline import film, make

from lnm import decoder as D
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.hub import locate_decoder
from lnm.latents import decode, encode_pixels
from lnm.pipeline import LateNtMoviesPipeline
from lnm.runs import weights_of
from lnm.tensors import SUM, checksum

BOTH = pytest.mark.parametrize("new", [tiny_kl, tiny_dc])


def latents(frames=6, seed=0, side=8):
    return torch.randn(frames, 4, side, side, generator=torch.Generator().manual_seed(seed))


def temporal_layers(vae):
    return {name: module for name, module in vae.decoder.named_modules() if name.endswith(".temporal")}


@torch.no_grad()
def films(vae, z, **kwargs):
    return D.decode_film(vae, z, **kwargs)


# ---------------------------------------------------------------- what it is


@BOTH
def test_it_starts_as_the_identity(new):
    vae, z, seen = new(), latents(), []
    plain = films(vae, z)
    frames = D.add_temporal_decoder(vae)
    layers = temporal_layers(vae)
    convolutions = [m for m in vae.decoder.modules() if getattr(m, "kernel_size", None) == (3, 3)]
    assert len(layers) == len(convolutions) > D.CONTEXT and D.add_temporal_decoder(vae) is frames, "added once"
    for layer in layers.values():
        layer.register_forward_hook(lambda _, given, made: seen.append(torch.equal(given[0], made)))
    made = films(vae, z)
    assert seen == [True] * len(layers), "each layer gives back what it is given, to the last bit"
    # the decoder's own layers sum in another order where a tensor lies otherwise in memory
    torch.testing.assert_close(made, plain, atol=1e-5, rtol=0)


@BOTH
def test_the_encoder_is_left_alone(new):
    vae, pixels = new(), torch.rand(2, 3, 16, 16)
    kinds = [type(m) for m in vae.encoder.modules()]
    with torch.no_grad():
        want = encode_pixels(vae, pixels)
        assert torch.equal(encode_pixels(wake_decoder(vae), pixels), want)
    assert [type(m) for m in vae.encoder.modules()] == kinds


@BOTH
def test_each_temporal_layer_matters(new):
    """Moved by one frame in a single layer, every film comes out otherwise."""
    vae, z = new(), latents()
    D.add_temporal_decoder(vae)
    plain = films(vae, z)
    for name, layer in temporal_layers(vae).items():
        own = layer.weight.detach().clone()
        with torch.no_grad():
            layer.weight[:, :, 0], layer.weight[:, :, 1] = own[:, :, 1], own[:, :, 0]  # the frame before
        assert (films(vae, z) - plain).abs().max() > 1e-4, name
        with torch.no_grad():
            layer.weight.copy_(own)


@BOTH
def test_a_frame_sees_those_beside_it_and_time_has_a_direction(new):
    vae, z = wake_decoder(new()), latents()
    made = films(vae, z)
    other = z.clone()
    other[3] += 1
    changed = (films(vae, other) - made).abs().amax((1, 2, 3))
    assert (changed > 1e-6).all() and changed.argmax() == 3
    assert not torch.allclose(films(vae, z.flip(0)).flip(0), made, atol=1e-4)


# ---------------------------------------------------------------- frames in order, in chunks


@BOTH
def test_frames_are_decoded_in_order(new):
    vae, z = new(), latents(7)
    alone = torch.cat([vae.decode(z[i:i + 1]).sample for i in range(7)]).detach()
    for chunk_size in (1, 3, 7, 8):
        torch.testing.assert_close(films(vae, z, chunk_size=chunk_size), alone, atol=1e-5, rtol=0)
    D.add_temporal_decoder(vae)
    for chunk_size in (1, 3, 7, 8):
        assert [len(part) for part in D.decode_chunks(vae, z, chunk_size)] == [len(p) for p in z.split(chunk_size)]
        torch.testing.assert_close(films(vae, z, chunk_size=chunk_size), alone, atol=1e-5, rtol=0)


@BOTH
def test_chunks_are_the_whole_where_the_context_covers_what_a_frame_sees(new):
    """CONTEXT temporal convolutions in a row reach CONTEXT frames; all others are left the identity."""
    vae, z = wake_decoder(new(), size=0.2), latents(20)
    identity = copy.deepcopy(vae)
    for layer in list(temporal_layers(identity).values())[D.CONTEXT:]:
        torch.nn.init.dirac_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.testing.assert_close(films(identity, z, chunk_size=8), films(identity, z, chunk_size=20), atol=2e-5, rtol=0)
    # one frame less would not do
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(D, "CONTEXT", D.CONTEXT - 1)
        assert (films(identity, z, chunk_size=8) - films(identity, z, chunk_size=20)).abs().max() > 1e-4


@BOTH
def test_chunks_of_a_deeper_decoder_differ_from_the_whole_a_little(new):
    """All its temporal convolutions at work reach further than CONTEXT: not equal, and far nearer than without."""
    vae, z = wake_decoder(new()), latents(20)
    whole = films(vae, z, chunk_size=20)
    error = (films(vae, z, chunk_size=8) - whole).abs().max()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(D, "CONTEXT", 0)
        without = (films(vae, z, chunk_size=8) - whole).abs().max()
    assert 0 < error < 0.02 * without and without > 0.01 * whole.abs().max()


@BOTH
def test_other_calls_of_the_autoencoder_see_single_pictures(new):
    """`vae.decode` after a film, with another number of latents: each is a film of one frame."""
    vae, z = wake_decoder(new()), latents(5)
    films(vae, z)
    alone = torch.cat([films(vae, z[i:i + 1]) for i in range(5)])
    with torch.no_grad():
        torch.testing.assert_close(vae.decode(z[:3]).sample, alone[:3], atol=1e-5, rtol=0)
    pixels = decode(vae, z * vae.config.scaling_factor)
    assert np.abs(pixels / 127.5 - 1 - alone.clamp(-1, 1).permute(0, 2, 3, 1).numpy()).max() < 0.01


@BOTH
def test_slices_of_diffusers_do_not_part_the_frames(new):
    vae, z = wake_decoder(new()), latents()
    want = films(vae, z)
    vae.enable_slicing()
    torch.testing.assert_close(films(vae, z), want, atol=1e-5, rtol=0)
    assert vae.use_slicing, "it stays on for all else"


def test_an_error_while_decoding_leaves_the_autoencoder_usable():
    vae = wake_decoder(tiny_kl())
    with pytest.raises(RuntimeError):
        films(vae, torch.zeros(3, 5, 8, 8))
    assert vae.decoder.frames.value == 1 and not vae.use_slicing


# ---------------------------------------------------------------- its file


@BOTH
def test_what_is_saved_is_loaded_again(new, tmp_path):
    vae, z = wake_decoder(new()), latents()
    D.save_decoder(vae, tmp_path / "decoder.safetensors", {"steps": 3})
    again = new()
    assert D.load_decoder(again, tmp_path / "decoder.safetensors") == {"steps": 3}
    assert torch.equal(films(again, z), films(vae, z))
    assert not any(p.requires_grad for p in D.decoder_parameters(again).values())
    D.save_decoder(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "decoder.safetensors").read_bytes()
    tensors = load_file(tmp_path / "decoder.safetensors")
    assert tensors and all(".temporal." in name for name in tensors), "nothing of the autoencoder's own"
    assert not list(tmp_path.glob("*.part"))


def test_a_file_in_half_precision_is_half_as_large_and_serves_every_precision(tmp_path):
    vae, z = wake_decoder(tiny_dc()), latents()
    want = films(vae, z)
    D.save_decoder(vae, tmp_path / "whole.safetensors")
    D.save_decoder(vae, tmp_path / "half.safetensors", dtype=torch.float16)
    sizes = [sum(t.nbytes for t in load_file(tmp_path / f"{name}.safetensors").values()) for name in ("whole", "half")]
    assert sizes[0] == 2 * sizes[1]
    for dtype in (torch.float32, torch.bfloat16):  # the same autoencoder, rounded
        again = tiny_dc().to(dtype)
        D.load_decoder(again, tmp_path / "half.safetensors")
        assert {p.dtype for p in again.parameters()} == {dtype}
        found = films(again, z.to(dtype)).float()
        assert ((found - want).norm() / want.norm()).item() < (0.002 if dtype == torch.float32 else 0.05)


def spoilt(path, **changes):
    """The file with other metadata."""
    from safetensors import safe_open

    with safe_open(path, "pt") as f:
        metadata = json.loads(f.metadata()["lnm"])
    tensors = changes.pop("tensors", load_file(path))
    save_file(tensors, path, {"lnm": json.dumps({**metadata, SUM: checksum(tensors), **changes})})


@pytest.mark.parametrize("spoil, says", [
    (lambda path: path.unlink(), "no such file; give one that `lnm motion decoder` wrote"),
    (lambda path: path.write_bytes(b"nothing"), "not a readable safetensors file"),
    (lambda path: save_file({"a": torch.zeros(1)}, path), "not a file of a decoder in time"),
    (lambda path: spoilt(path, format="latentmovies-temporal-2"), "not a file of a decoder in time"),
    (lambda path: spoilt(path, tensors={"conv_in.temporal.weight": torch.zeros(1)}), "layers have other shapes"),
    (lambda path: spoilt(path, base=D.decoder_identity(tiny_dc(1))), "trained on another autoencoder"),
    (lambda path: spoilt(path, base=D.decoder_identity(tiny_kl())), "trained on another autoencoder")])
def test_a_file_that_does_not_fit_is_one_line_and_changes_nothing(tmp_path, spoil, says):
    path = tmp_path / "decoder.safetensors"
    D.save_decoder(wake_decoder(tiny_dc()), path)
    spoil(path)
    for vae in (tiny_dc(), wake_decoder(tiny_dc(), seed=1)):
        before = {k: v.clone() for k, v in vae.state_dict().items()}
        with pytest.raises(UserError, match=says) as error:
            D.load_decoder(vae, path)
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
        after = vae.state_dict()
        assert after.keys() == before.keys() and all(torch.equal(after[k], v) for k, v in before.items())


@BOTH
def test_taken_out_the_autoencoder_is_what_it_was_to_the_last_byte(new):
    vae, z = new(), latents()
    before, kinds, shown = vae.state_dict(), [type(m) for m in vae.modules()], films(vae, z)
    before = {k: v.clone() for k, v in before.items()}
    wake_decoder(vae)
    assert D.has_temporal_decoder(vae) and not torch.equal(films(vae, z), shown)
    with D.plain_decoder(vae):
        assert not D.has_temporal_decoder(vae) and torch.equal(films(vae, z), shown)
        assert vae.state_dict().keys() == before.keys()
    assert D.has_temporal_decoder(vae) and not torch.equal(films(vae, z), shown)
    D.remove_temporal_decoder(vae)
    after = vae.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[k], v) for k, v in before.items())
    assert [type(m) for m in vae.modules()] == kinds and torch.equal(films(vae, z), shown)
    D.remove_temporal_decoder(vae)  # of one that has none, nothing


# ---------------------------------------------------------------- in a pipeline


@pytest.fixture(scope="module")
def file(folder, tmp_path_factory):
    """A decoder in time for the tiny checkpoint, in a folder of its own."""
    path = tmp_path_factory.mktemp("decoder") / "decoder.safetensors"
    D.save_decoder(wake_decoder(open_checkpoint(str(folder)).vae, size=0.2), path, {"steps": 3})
    return path


def test_a_pipeline_films_with_it_and_without_it_again(folder, file):
    pipe = make(open_checkpoint(str(folder)))
    plain, z = film(pipe), film(pipe, output_type="latent")
    assert pipe.load_temporal_decoder(file) == {"steps": 3}
    assert torch.equal(film(pipe, output_type="latent"), z), "latents are what they were"
    made = film(pipe)
    with torch.no_grad():
        want = D.decode_film(pipe.vae, z[0].movedim(1, 0) / pipe.vae.config.scaling_factor)
    np.testing.assert_allclose(made[0], (want / 2 + 0.5).clamp(0, 1).movedim(1, -1).numpy(), atol=1e-5)
    assert np.abs(made - plain).max() > 0.01
    pipe.unload_temporal_decoder()
    assert np.array_equal(film(pipe), plain)


def test_films_of_a_batch_do_not_see_each_other(folder, file):
    pipe = make(open_checkpoint(str(folder)))
    pipe.load_temporal_decoder(file)
    z = torch.randn(3, 4, 5, 8, 8)
    together = pipe.decode_latents(z)
    alone = torch.cat([pipe.decode_latents(z[i:i + 1]) for i in range(3)])
    assert together.shape == (3, 5, 3, 16, 16) and torch.equal(together, alone)


def test_from_pretrained_takes_it_by_file_folder_and_hub_name(folder, file, tmp_path, monkeypatch):
    want = film(LateNtMoviesPipeline.from_pretrained(folder, temporal_decoder=file))
    cached(tmp_path, "somebody/decoder", file.parent, monkeypatch)
    for name in (str(file), file.parent, "somebody/decoder"):
        assert np.array_equal(film(LateNtMoviesPipeline.from_pretrained(folder, temporal_decoder=name)), want)
    pipe = LateNtMoviesPipeline.from_pretrained(folder)
    pipe.load_temporal_decoder("somebody/decoder", cache_dir=tmp_path, local_files_only=True)
    assert np.array_equal(film(pipe), want)
    with pytest.raises(UserError, match="somebody/none: .*local_files_only forbids a download"):
        pipe.load_temporal_decoder("somebody/none", cache_dir=tmp_path, local_files_only=True)
    assert np.array_equal(film(pipe), want), "nothing is changed"


def test_the_built_in_one_is_found_by_its_name_and_missed_in_one_line(folder, file, monkeypatch):
    found = {"lnm-mini-decoder": file.parent}
    monkeypatch.setattr("lnm.hub.builtin", found.get)
    assert locate_decoder("lnm-mini-decoder") == file
    LateNtMoviesPipeline.from_pretrained(folder, temporal_decoder="lnm-mini-decoder")
    found.clear()
    with pytest.raises(UserError) as error:
        LateNtMoviesPipeline.from_pretrained(folder, temporal_decoder="lnm-mini-decoder")
    assert str(error.value) == ("lnm-mini-decoder: no such decoder file; `dvc pull lnm-mini-decoder` brings the "
                                "built-in one")
    with pytest.raises(UserError, match="nowhere.safetensors: no such decoder file; give one that a training wrote"):
        locate_decoder("nowhere.safetensors")


@pytest.fixture
def saved(folder, file, tmp_path):
    """(a pipeline with a decoder in time, the folder it was saved into)."""
    pipe = LateNtMoviesPipeline.from_pretrained(folder, temporal_decoder=file)
    pipe.save_pretrained(tmp_path / "saved")
    return pipe, tmp_path / "saved"


def test_it_is_saved_beside_an_autoencoder_that_diffusers_opens_and_is_opened_again(saved, file, tmp_path, monkeypatch):
    pipe, place = saved
    shown = film(pipe)
    assert D.has_temporal_decoder(pipe.vae), "saving takes nothing out"
    assert (place / "decoder.safetensors").read_bytes() == file.read_bytes()
    _, said = AutoencoderKL.from_pretrained(place / "vae", output_loading_info=True)
    assert not any(said[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    cached(tmp_path / "cache", "somebody/film", place, monkeypatch)
    for name in (place, str(place), "somebody/film"):
        again = LateNtMoviesPipeline.from_pretrained(name)
        assert np.array_equal(film(again), shown)
    again.save_pretrained(tmp_path / "third")
    assert np.array_equal(film(LateNtMoviesPipeline.from_pretrained(tmp_path / "third")), shown)


def test_diffusers_own_name_opens_it_too(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    for name in [m for m in sys.modules if m.startswith("diffusers_modules")]:
        monkeypatch.delitem(sys.modules, name)
    pipe, place = saved
    again = DiffusionPipeline.from_pretrained(str(place), custom_pipeline=str(place), trust_remote_code=True)
    assert np.array_equal(film(again), film(pipe))


def test_saved_again_without_it_nothing_of_it_is_left(saved):
    pipe, place = saved
    pipe.unload_temporal_decoder()
    pipe.save_pretrained(place)
    assert not (place / "decoder.safetensors").exists()
    assert not D.has_temporal_decoder(LateNtMoviesPipeline.from_pretrained(place).vae)


def test_of_a_saved_pipeline_another_decoder_or_autoencoder_may_be_taken(saved, folder, tmp_path):
    pipe, place = saved
    other = LateNtMoviesPipeline.from_pretrained(place, vae=open_checkpoint(str(folder)).vae)
    assert not D.has_temporal_decoder(other.vae)
    D.save_decoder(wake_decoder(open_checkpoint(str(folder)).vae, seed=1), tmp_path / "other.safetensors")
    changed = LateNtMoviesPipeline.from_pretrained(place, temporal_decoder=tmp_path / "other.safetensors")
    want = LateNtMoviesPipeline.from_pretrained(folder, temporal_decoder=tmp_path / "other.safetensors")
    assert np.array_equal(film(changed), film(want)) and not np.array_equal(film(changed), film(pipe))


def test_a_saved_pipeline_that_lost_its_decoder_says_so(saved, tmp_path):
    _, place = saved
    (place / "decoder.safetensors").unlink()
    with pytest.raises(UserError, match="decoder.safetensors: no such file"):
        LateNtMoviesPipeline.from_pretrained(place)


def test_one_that_was_saved_before_there_were_any_opens(folder, tmp_path):
    LateNtMoviesPipeline.from_pretrained(folder).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    del index["temporal_decoder"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert not D.has_temporal_decoder(LateNtMoviesPipeline.from_pretrained(tmp_path).vae)


def test_pipelines_that_share_an_autoencoder_share_its_decoder(folder, file):
    pipe = LateNtMoviesPipeline.from_pretrained(folder, temporal_decoder=file)
    twin = LateNtMoviesPipeline.from_pipe(pipe)
    assert np.array_equal(film(twin), film(pipe))
    half = LateNtMoviesPipeline.from_pretrained(folder, temporal_decoder=file, torch_dtype=torch.bfloat16)
    assert {p.dtype for p in half.vae.parameters()} == {torch.bfloat16} and np.isfinite(film(half)).all()


def test_a_fine_tune_is_the_same_run_with_and_without_it(folder, file):
    pipe = LateNtMoviesPipeline.from_pretrained(folder)
    before = weights_of(pipe)
    pipe.load_temporal_decoder(file)
    assert weights_of(pipe) == before
    with torch.no_grad():
        pipe.vae.decoder.conv_in.weight += 1
    assert weights_of(pipe) != before


def test_a_copy_of_the_file_serves_where_the_first_is_gone(folder, file, tmp_path):
    shutil.copy(file, tmp_path / "copy.safetensors")
    pipe = LateNtMoviesPipeline.from_pretrained(folder, temporal_decoder=tmp_path / "copy.safetensors")
    (tmp_path / "copy.safetensors").unlink()
    assert np.isfinite(film(pipe)).all()
