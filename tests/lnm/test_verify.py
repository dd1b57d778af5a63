"""The checks on a real checkpoint find what is sound and what is not."""

import pytest
from tiny import SIZE, write_tiny_checkpoint

from lnm.errors import UserError
from lnm.unet import UNetPseudo3DConditionModel
from lnm.verify import verify_sd


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def failures(said):
    assert said.count("pass ") + said.count("FAIL ") == 5
    return [line.removeprefix("FAIL  ").split(":")[0] for line in said.splitlines() if line.startswith("FAIL")]


def test_a_sound_checkpoint_passes_but_for_its_random_autoencoder(tiny, capsys):
    assert verify_sd(tiny, None, SIZE) is False  # random weights: no picture comes back
    said = capsys.readouterr().out
    assert [line[:7] for line in failures(said)] == ["the VAE"] and "1 checks failed" in said


def test_an_inflation_that_is_not_the_identity_is_found(tiny, capsys, monkeypatch):
    real = UNetPseudo3DConditionModel.from_unet2d.__func__

    def awake(cls, unet, **kwargs):
        model = real(cls, unet, **kwargs)
        for name, p in model.temporal_parameters().items():
            if name.endswith("temporal.weight"):
                p.data += 0.01
        return model

    monkeypatch.setattr(UNetPseudo3DConditionModel, "from_unet2d", classmethod(awake))
    verify_sd(tiny, None, SIZE)
    assert any(line.startswith("inflated equals") for line in failures(capsys.readouterr().out))


def test_a_step_that_reaches_the_frozen_layers_is_found(tiny, capsys, monkeypatch):
    monkeypatch.setattr(UNetPseudo3DConditionModel, "freeze_spatial", lambda self: self.requires_grad_(True))
    verify_sd(tiny, None, SIZE)
    assert any(line.startswith("a training step") for line in failures(capsys.readouterr().out))


def test_a_checkpoint_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match="checkpoint.name: there is no folder inputs/nothing"):
        verify_sd("inputs/nothing")
