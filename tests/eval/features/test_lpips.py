"""LPIPS against the published package."""

import numpy as np
import pytest
from conftest import REPOSITORY
from textures import texture

from eval.features.lpips import ALEXNET_FILE, Lpips
from lnm.errors import UserError

WEIGHTS = REPOSITORY / "weights"
needs_alexnet = pytest.mark.skipif(not (WEIGHTS / ALEXNET_FILE).is_file(),
                                   reason=f"no weights/{ALEXNET_FILE}: set-up fetches it")


@needs_alexnet
def test_lpips_equals_the_published_package():
    import lpips
    import torch
    from safetensors.torch import load_file

    state = load_file(WEIGHTS / ALEXNET_FILE)
    published = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    backbone = {f"net.{name}": state["features." + name.split(".", 1)[1]] for name in published.net.state_dict()}
    assert not published.load_state_dict(backbone, strict=False).unexpected_keys
    own = Lpips(WEIGHTS)
    a, b = texture(0, 64), texture(1, 64)
    tensors = (torch.from_numpy(image.transpose(2, 0, 1)[None].copy()).float() / 255 for image in (a, b))
    with torch.no_grad():
        expected = float(published(*tensors, normalize=True))
    assert own(a, b) == pytest.approx(expected, abs=1e-6) and expected > 0.1
    assert own(a, a) == 0


@needs_alexnet
def test_the_tensors_are_torchvisions():
    """The first row of features.0.weight as PyTorch's users have printed it for years."""
    from safetensors.numpy import load_file

    row = load_file(WEIGHTS / ALEXNET_FILE)["features.0.weight"][0, 0, 0]
    np.testing.assert_allclose(row[[0, 1, 2, -3, -2, -1]],
                               [0.11864, 0.094069, 0.095435, 0.055822, 0.021575, 0.049963], rtol=2e-5)


def test_lpips_without_its_tensors_is_one_line(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(UserError, match="lnm footage --networks"):
        Lpips(tmp_path)
    save_file({"features.0.weight": np.zeros(3)}, tmp_path / ALEXNET_FILE)
    with pytest.raises(UserError, match="not AlexNet's tensors"):
        Lpips(tmp_path)
    (tmp_path / ALEXNET_FILE).write_bytes(b"text")
    with pytest.raises(UserError, match="not AlexNet's tensors"):
        Lpips(tmp_path)


def test_nothing_outside_weights_is_looked_at(tmp_path, monkeypatch):
    import torch

    def asked(*_, **__):
        raise AssertionError("the user's cache or the network was asked for an AlexNet")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", asked)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", asked)
    with pytest.raises(UserError, match="lnm footage --networks"):
        Lpips(tmp_path)
    if (WEIGHTS / ALEXNET_FILE).is_file():
        assert Lpips(WEIGHTS).name == "LPIPS, AlexNet"


@needs_alexnet
def test_images_that_cannot_be_compared_are_said():
    own = Lpips(WEIGHTS)
    with pytest.raises(UserError, match="one size"):
        own(texture(0, 64), texture(0, 65))
    with pytest.raises(UserError, match="32 pixels a side, got 20x20"):
        own(texture(0, 20), texture(1, 20))
