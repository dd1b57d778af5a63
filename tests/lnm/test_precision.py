"""Frozen weights held in half precision give the bits that autocast gives, and come back as they were."""

import platform

import pytest
import torch
from tiny_unet import inputs, tiny_unet2d, wake

from lnm import devices
from lnm.devices import half_precision, sampling_dtype, sampling_dtypes
from lnm.errors import UserError
from lnm.precision import HalfFrozen
from lnm.unet import UNetPseudo3DConditionModel


def model():
    unet = wake(UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d()))
    unet.freeze_spatial()
    return unet


def learned(unet):
    """The prediction and the gradients of what trains, under autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        predicted = unet(*inputs(), fps=8.0).sample
    predicted.float().square().mean().backward()
    gradients = {k: p.grad for k, p in unet.temporal_parameters().items()}
    for p in unet.temporal_parameters().values():
        p.grad = None
    return predicted, gradients


def test_prediction_and_gradients_keep_their_bits_and_the_weights_come_back():
    unet = model()
    before = {k: p.detach().clone() for k, p in unet.named_parameters()}
    predicted, gradients = learned(unet)
    half = HalfFrozen(unet, torch.bfloat16)
    held = {k for k, p in unet.named_parameters() if p.dtype == torch.bfloat16}
    assert {"conv_in.weight", "conv_in.bias", "time_embedding.linear_1.weight"} <= held
    assert not any(".temporal." in k or "fps_embedding" in k or "norm" in k for k in held)
    of_all = sum(p.numel() for k, p in unet.named_parameters() if k in held) / sum(
        p.numel() for p in unet.parameters() if not p.requires_grad)
    assert of_all > 0.95, "nearly all that is frozen"
    again, same = learned(unet)
    assert torch.equal(again, predicted)
    assert same.keys() == gradients.keys() and all(torch.equal(same[k], gradients[k]) for k in gradients)
    half.restore()
    assert all(p.dtype == torch.float32 and torch.equal(p, before[k]) for k, p in unet.named_parameters())


@pytest.mark.parametrize(("library", "processor", "machine", "found"), [
    (True, True, "x86_64", torch.bfloat16), (True, False, "x86_64", torch.float32),
    (True, False, "AMD64", torch.float32), (False, False, "x86_64", torch.float32),
    (True, False, "aarch64", torch.bfloat16), (False, False, "arm64", torch.float32)])
def test_auto_is_half_precision_where_the_processor_computes_in_it(monkeypatch, library, processor, machine, found):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: library)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: processor)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(devices, "half_precision", half_precision)
    assert sampling_dtype("auto", "cpu") == found
    assert half_precision("cpu") == ("bf16" if found == torch.bfloat16 else "no")


def test_the_precision_of_films():
    assert sampling_dtype("bf16", "cpu") == torch.bfloat16 and sampling_dtype("fp16", "cuda") == torch.float16
    assert sampling_dtype("float32", "cuda") == torch.float32
    assert sampling_dtypes("bf16", "cpu") == {"dtype": torch.bfloat16, "vae_dtype": torch.float32}
    assert sampling_dtypes("bf16", "cuda") == {"dtype": torch.bfloat16, "vae_dtype": torch.bfloat16}
    with pytest.raises(UserError, match="sample.dtype: fp16 needs a GPU"):
        sampling_dtype("fp16", torch.device("cpu"))
