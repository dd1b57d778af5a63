"""Inception and CLIP features against the networks run by hand."""

import warnings

import numpy as np
import pytest
from conftest import REPOSITORY
from networks import WEIGHTS, needs_inception, tiny_clip

from eval.features.cache import Features
from eval.features.clip import Clip
from eval.features.inception import Inception, inception_state
from eval.metrics.clip import clipscore, clipsim, cosines
from lnm.errors import UserError


def frames(count=3, height=48, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def inception():
    return Inception(WEIGHTS)


@needs_inception
def test_inception_equals_the_torchscript_file_itself(inception):
    import torch
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        script = torch.jit.load(str(WEIGHTS)).eval()
    images = frames(2)
    resized = interpolate_bilinear_2d_like_tensorflow1x(
        torch.from_numpy(images).permute(0, 3, 1, 2).float(), size=(299, 299), align_corners=False
    )
    with torch.no_grad():
        expected = script((resized - 128) / 128).flatten(1).numpy()
    np.testing.assert_allclose(inception(images), expected, atol=2e-5)


@needs_inception
def test_every_inception_tensor_is_used_once_and_only_the_logits_are_missing(inception):
    state = inception_state(WEIGHTS)
    weights = {name for name in state if name.endswith("conv.weight")}
    assert {name for name in inception.network.state_dict() if name.endswith("weight")} == weights | {"fc.weight"}
    for name in weights:  # its batch norm is in it: no scale, so what divides is the deviation of the channel alone
        folded, deviation = inception.network.get_parameter(name), (state[name.replace(
            "conv.weight", "bn.running_var")] + 0.001).sqrt()
        np.testing.assert_allclose(folded * deviation[:, None, None, None], state[name], rtol=1e-4, atol=1e-6)
    assert len({tensor.data_ptr() for name, tensor in state.items() if name.endswith("conv.weight")}) == 94


def test_missing_and_foreign_inception_weights_are_one_line(tmp_path):
    with pytest.raises(UserError, match="lnm footage --inception"):
        inception_state(tmp_path / "no.pt")
    (tmp_path / "bad.pt").write_bytes(b"not a file of torch")
    with pytest.raises(UserError, match="bad.pt: not a TorchScript"):
        inception_state(tmp_path / "bad.pt")


class Counting:
    """An extractor that counts what it is asked: the mean colour of each frame."""

    sha256, version = "0", "torch 1"

    def __init__(self):
        self.seen, self.batches = 0, []

    def __call__(self, images):
        self.seen += len(images)
        self.batches.append(len(images))
        return images.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)


def test_each_distinct_frame_is_computed_once_and_kept_on_disk(tmp_path):
    film, counter = frames(20), Counting()
    features = Features(counter, tmp_path)
    values = features(film)
    np.testing.assert_allclose(values, film.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(features(film[::-1]), values[::-1])  # shuffled: nothing new
    assert features(np.repeat(film[:1], 9, axis=0)).shape == (9, 3)
    assert counter.seen == 20
    again = Counting()
    np.testing.assert_array_equal(Features(again, tmp_path)(film), values)
    assert again.seen == 0 and [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
    other = Counting()
    other.sha256 = "1"  # other weights: nothing is taken from the store
    Features(other, tmp_path)(film)
    assert other.seen == 20
    newer = Counting()
    newer.version = "torch 2"  # nor of another library or preprocessing
    Features(newer, tmp_path)(film)
    assert newer.seen == 20


def test_features_come_in_batches_with_progress_and_a_broken_run_leaves_nothing(tmp_path, capsys):
    features = Features(Counting(), tmp_path)
    features(frames(40), "of a film")
    assert features.extractor.batches == [16, 16, 8]
    assert "Counting of a film" in capsys.readouterr().err
    features(frames(40), "of a film")
    assert not capsys.readouterr().err  # nothing left to do

    class Failing(Counting):
        def __call__(self, images):
            raise KeyboardInterrupt

    before = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        Features(Failing(), tmp_path)(frames(3, seed=1))
    assert set(tmp_path.iterdir()) == before


def test_frames_of_another_shape_with_the_same_bytes_are_other_frames(tmp_path):
    features = Features(Counting(), tmp_path)
    film = frames(1, 4, 8)
    features(film)
    features(film.reshape(1, 8, 4, 3))
    assert features.extractor.seen == 2


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return Clip(tiny_clip(folder / "tiny").name, folder)


def test_an_extractor_s_version_names_its_libraries_and_its_preprocessing(clip, tmp_path):
    import open_clip
    import torch

    assert f"torch {torch.__version__}" in clip.version and f"open_clip {open_clip.__version__}" in clip.version
    assert "size=32" in clip.version and "0.46" in clip.version  # the size and the means it prepares frames with


def test_clipsim_equals_open_clip_by_hand_and_needs_normalised_frames(clip):
    import torch

    film, prompt = frames(4, 32, 32), "waves on a beach"
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.48, 0.46, 0.41], [0.27, 0.26, 0.28]))
    raw = torch.from_numpy(film).permute(0, 3, 1, 2).float()

    def by_hand(images):
        with torch.no_grad():
            image = clip.model.encode_image(images)
            text = clip.model.encode_text(clip.tokenizer([prompt]))
        return torch.nn.functional.cosine_similarity(image, text).mean().item()

    value = clipsim(clip.text(prompt), clip(film))
    assert value == pytest.approx(by_hand((raw / 255 - mean) / std), abs=1e-5)
    assert abs(value - by_hand(raw)) > 1e-3  # frames fed as 0 to 255, a public harness's bug


def test_clipscore_is_two_and_a_half_cosines_none_below_zero():
    text, images = np.array([1.0, 0.0]), np.array([[3.0, 4.0], [-1.0, 0.0]])
    np.testing.assert_allclose(cosines(text, images), [0.6, -1])
    assert clipsim(text, 7 * images) == pytest.approx(-0.2)
    assert clipscore(text, images) == pytest.approx(2.5 * 0.3)


def test_a_long_prompt_keeps_its_end_token(clip):
    tokens = clip.tokenizer(["wave " * 200])[0]
    assert len(tokens) == 77 and tokens[-1] == tokens.max()
    assert np.isfinite(clip.text("wave " * 200)).all()


def test_a_prompt_past_the_context_is_known_to_be_cut(clip):
    assert not clip.truncated("waves on a beach") and not clip.truncated("wave " * 75)  # 75 words and two ends: 77
    assert clip.truncated("wave " * 76) and clip.truncated("wave " * 200)


def test_the_built_in_clip_keeps_the_end_of_a_long_prompt_too():
    root = REPOSITORY
    if not (root / "checkpoints" / "lnm-mini-clip").is_dir():
        pytest.skip("no checkpoints/lnm-mini-clip: `dvc pull lnm-mini` brings it")
    model = Clip("checkpoints/lnm-mini-clip", root)
    tokens = model.tokenizer(["ocean waves " * 100])[0]
    assert tokens[-1] == tokens.max() and model.truncated("ocean waves " * 100)
    assert not model.truncated("ocean waves under an open sky at sunset")


@pytest.mark.parametrize("name", ["nowhere/at-all", "checkpoints/missing", "weights-only"])
def test_a_clip_that_is_not_there_is_refused_by_name(name, tmp_path):
    (tmp_path / "weights-only").mkdir()
    with pytest.raises(UserError, match=name):
        Clip(name, tmp_path)
