"""What a run leaves that the ledger reads, made up; and what tests/conformance/ would have found."""

import json

import numpy as np
from conftest import REPOSITORY

from eval.claims import conformance, ledger
from lnm.files import write_json

LEDGER = ledger.read_ledger(REPOSITORY / "claims.yaml")


def of(name, **changes):
    """A claim of the ledger, its keys changed."""
    return next(one for one in LEDGER if one.id == name).model_copy(update=changes)


def entry(value, *more):
    """An entry of metrics.json: a mean over too few films for an interval."""
    values = [value, *more]
    return {"value": sum(values) / len(values), "low": None, "high": None, "least": min(values), "most": max(values),
            "n": len(values), "values": values}


RESCALED = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
STABLE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
          "prediction_type": "epsilon", "rescale_betas_zero_snr": False}
MINE, SD = "checkpoints/lnm-mini", "stable-diffusion-v1-5/stable-diffusion-inpainting"


def fabricate(project, video="ocean", checkpoint=MINE, size=128, film=(16, 128, 128), methods=None, clip=None,
              schedule=RESCALED, source=(72, [128, 128]), lr=1e-4, optimizer="lion", fid=(16, 72), **notes):
    """What a run leaves that the ledger reads: metrics.json, its films, its temporal layers' file, log and notebook."""
    from PIL import Image
    from safetensors.numpy import save_file

    folder, clip = project / "results" / video, clip or "checkpoints/lnm-mini-clip"
    own = {"clipscore": entry(0.7, 0.8), "fid_train": entry(90.0, 110.0), "detail_kept": entry(0.9)}
    methods = {"ours": own} | (methods or {})
    write_json(folder / "evaluate" / "metrics.json", {
        "size": [size, size], "methods": methods, "interval": {"resamples": 50, "seed": 0},
        "backend": {"checkpoint": checkpoint, "clip": {"name": clip}},
        "reference": {"frames_train": source[0], "fid": {"train": {"n": fid[0], "n_reference": fid[1]}}}})
    write_json(folder / "prepare" / "prompts.json", {
        "prompt": "waves", "clip": clip,
        "candidates": [{"prompt": "waves", "distance": 0.6}, {"prompt": "rain", "distance": 0.8}]})
    write_json(folder / "prepare" / "clip.json", {"size": size, "frames_train": source[0], "source_size": source[1]})
    write_json(folder / "sample" / "films.json", {"num_inference_steps": 15, "num_frames": film[0]})
    frames = folder / "sample" / "ours" / "seed_0"
    frames.mkdir(parents=True, exist_ok=True)
    for k in range(film[0]):
        Image.new("RGB", film[1:]).save(frames / f"{k:03}.png")
    notes = {"steps": 600, "frames": 5, "strides": [1, 2], "mask_value": 0} | notes
    (folder / "finetune").mkdir(exist_ok=True)
    held = {"conv_placement": "all", "notes": notes | {"checkpoint": checkpoint, "schedule": schedule}}
    save_file({"x": np.zeros(1, np.float32)}, folder / "finetune" / "temporal.safetensors", {"lnm": json.dumps(held)})
    (folder / "finetune" / "log.csv").write_text(f"step,loss,lr\n0,1,{lr / 2}\n1,1,{lr}\n2,1,{lr / 3}\n")
    shown = f"<table><tr>\n<th>optimizer</th>\n <td>{optimizer}</td></tr></table>"
    write_json(folder / "notebooks" / "2_finetune.ipynb", {
        "cells": [{"id": "choices", "outputs": [{"data": {"text/html": [shown]}}]}]})
    vae = {"block_out_channels": [1, 2, 3, 4], "latent_channels": 16}
    if checkpoint == MINE:
        write_json(project / checkpoint / "vae" / "config.json", vae)


def checked(project, **changed):
    """Outcomes of the checks as if all had passed, with the numbers that other claims read."""
    names = {one.arguments["check"]: one.published for one in LEDGER if one.function == ledger.CHECKED}
    kept = {name: {"value": getattr(value, "low", value), "text": "", "reason": "", "numbers": {}, "passed": True,
                   "test": "t"} for name, value in names.items()}
    counted = {"convs": 98, "convs_1d": 98, "blocks": 16, "blocks_1d": 16}
    kept["layers"] = kept["eq3"] | {"numbers": {"all": counted, "3x3": counted | {"convs_1d": 49}}}
    kept["untrained_motion"] = kept["eq3"] | {"value": 0.0, "text": "0 before a fine-tune"}
    for name, value in changed.items():
        kept[name] = kept[name] | {"value": value}
    write_json(project / conformance.FILE, {"code": conformance.code(), "checks": kept})


def row(project, name, **options):
    """One row of the project's ledger."""
    return ledger.rows(project / "results", ids=[name], **options)[0]
