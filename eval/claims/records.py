"""What a run had, by the files that it left in its results: nothing is read of the project's present choices."""

from __future__ import annotations

import csv
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

from lnm.errors import UserError

# Stable Diffusion's inpainting checkpoints, by the names they have or had on the hub
SD_INPAINTING = ("stable-diffusion-v1-5/stable-diffusion-inpainting", "runwayml/stable-diffusion-inpainting",
                 "sd-legacy/stable-diffusion-inpainting", "stabilityai/stable-diffusion-2-inpainting")
# What Stable Diffusion's own configuration files hold: (file, key, value)
SD_CONFIGURATION = (("unet", "in_channels", 9), ("unet", "block_out_channels", [320, 640, 1280, 1280]),
                    ("vae", "latent_channels", 4), ("vae", "block_out_channels", [128, 256, 512, 512]))
CELL = "choices"  # of notebooks/2_finetune.ipynb: the table of what the fine-tune was told


def read_json(path: Path) -> dict | None:
    """A json file's content, None where there is no such file. Raises UserError for one that is not json."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as json ({error}); delete it and run `make repro`") from None


def settings(folder: Path) -> dict[str, Any]:
    """What the run that left results/<video> had, keys as in params.yaml; what its files do not say is not there.

    The steps and the schedule stand in the temporal layers' file, the learning rate in the log (its largest), the
    optimiser in the executed notebook alone; frames and size of the films are counted on the films.
    """
    clip, prompts = (read_json(folder / "prepare" / name) or {} for name in ("clip.json", "prompts.json"))
    films, layers = read_json(folder / "sample" / "films.json") or {}, temporal(folder / "finetune")
    notes, told = layers.get("notes", {}), choices(folder / "notebooks" / "2_finetune.ipynb")
    found = {
        "size": clip.get("size"), "checkpoint.name": notes.get("checkpoint"), "checkpoint.clip": prompts.get("clip"),
        "source": clip and {"frames": clip.get("frames_train"), "size": clip.get("source_size")},
        "finetune.steps": notes.get("steps"), "finetune.frames": notes.get("frames"),
        "finetune.strides": notes.get("strides"), "finetune.mask_value": notes.get("mask_value"),
        "finetune.conv_placement": layers.get("conv_placement"), "schedule": notes.get("schedule"),
        "finetune.optimizer": told.get("optimizer"), "finetune.learning_rate": largest_rate(folder / "finetune"),
    }
    shape = film_shape(folder / "sample" / "ours")
    if shape:
        found |= {"sample.num_frames": shape[0], "film": shape[1:],
                  "sample.num_inference_steps": films.get("steps_taken", films.get("num_inference_steps"))}
    return {key: value for key, value in found.items() if value is not None and value != {}}


def temporal(folder: Path) -> dict:
    """What the file of a fine-tune's temporal layers says of itself; {} where there is none."""
    from safetensors import SafetensorError, safe_open

    path = folder / "temporal.safetensors"
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "numpy") as file:
            return json.loads((file.metadata() or {}).get("lnm", "{}"))
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not readable as temporal layers ({error}); delete it and run `make repro`") from None


def largest_rate(folder: Path) -> float | None:
    """The largest learning rate of a fine-tune's log: the one that was set, once any warm-up is over."""
    path = folder / "log.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as stream:
        rates = [float(row["lr"]) for row in csv.DictReader(stream) if row.get("lr")]
    return max(rates, default=None)


def film_shape(folder: Path) -> tuple[int, int, int] | None:
    """(frames, width, height) of the first film in a folder of seed_* folders of images; None without a film."""
    from PIL import Image

    for film in sorted(folder.glob("seed_*")):
        frames = sorted(film.glob("*.png"))
        if frames:
            with Image.open(frames[0]) as image:
                return len(frames), *image.size
    return None


def choices(notebook: Path) -> dict[str, str]:
    """The table of choices that an executed notebook shows, as texts; {} without the notebook or its table."""
    cells = (read_json(notebook) or {}).get("cells", [])
    html = "".join("".join(output.get("data", {}).get("text/html", "")) for cell in cells if cell.get("id") == CELL
                   for output in cell.get("outputs", []))
    rows = re.findall(r"<th>([^<]*)</th>\s*<td>([^<]*)</td>", html)
    return {name: unescape(value) for name, value in rows}


def is_sd(name: str | None, home: Path) -> bool:
    """Whether a checkpoint is Stable Diffusion's for inpainting: by its exact name on the hub, or, of a folder, by what
    its U-Net's and VAE's configurations say. A name that only holds the words is not."""
    if name is None:
        return False
    folder = home / Path(name).expanduser()
    if not folder.is_dir():
        return name in SD_INPAINTING
    held = {part: read_json(folder / part / "config.json") or {} for part in ("unet", "vae")}
    return all(held[part].get(key) == value for part, key, value in SD_CONFIGURATION)
