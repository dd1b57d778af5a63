"""What the commands that train have in common: a pipeline to train, and the temporal file that comes out.

`accelerate launch -m lnm ...` and `torchrun -m lnm ...` start the command once a GPU: the first process alone writes.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from lnm.cli.options import Model, recorded_name
from lnm.cli.style import calm, if_interrupted, is_first, say
from lnm.errors import UserError, shortened
from lnm.files import writable


def temporal_path(out: Path) -> Path:
    """--out of a training, looked at before anything is computed. Raises UserError."""
    if out.suffix != ".safetensors":
        raise UserError(f"--out {shortened(out)}: the name must end in .safetensors")
    return writable(out, "--out")


def begin(opened: Model, out: Path, conv_placement: str) -> tuple[Any, Path]:
    """The pipeline that a training changes, and the folder beside `out` from which an interrupted one goes on."""
    from lnm.devices import pick_device
    from lnm.pipeline import LateNtMoviesPipeline

    store = unfinished(out)
    pipe = LateNtMoviesPipeline.from_pretrained(opened.checkpoint, conv_placement=conv_placement,
                                                **opened.keywords("revision", "widen", "lora", "lora_scale"))
    return pipe.to(own_device(pick_device(opened.device))), store


def unfinished(out: Path) -> Path:
    """The folder beside `out` from which an interrupted training goes on; what is said where this one is stopped."""
    calm()
    store = out.with_name(f".{out.stem}.unfinished")
    if_interrupted(f"stopped; the same command goes on from the last checkpoint, in {store}")
    return store


def own_device(device: str) -> str:
    """Of several GPUs the one of this process, as the launcher has numbered it."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


def finish(pipe: Any, out: Path, store: Path, trained: Any, opened: Model, home: Path | None, dtype: Any = None,
           **notes: Any) -> None:
    """Write what was learned into `out`, delete what an interrupted training would have gone on from, and say the loss.

    notes: of the temporal file, beside the checkpoint's name.
    """
    if not is_first():
        return
    pipe.save_temporal(out, dtype, checkpoint=recorded_name(opened.checkpoint, home), **notes)
    shutil.rmtree(store, ignore_errors=True)
    say(f"loss: {trained.loss_first_tenth:.4f} over the first tenth of the steps, {trained.loss_last_tenth:.4f} over "
        "the last")
    print(f"temporal file: {out}")
