"""Temporal files and decoders in time: found by name, here or on the model hub; pushed there with a model card."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from lnm.errors import UserError
from lnm.files import BUILT_IN, builtin, given_path
from lnm.temporal_file import TemporalNotes, read_temporal
from lnm.weights import hub_refusal

FILE, DECODER_FILE = "temporal.safetensors", "decoder.safetensors"


def locate_temporal(name: Path | str, revision: str | None = None, **hub: Any) -> Path:
    """A temporal file: a local path, a folder that holds temporal.safetensors, lnm-mini-motion, or a hub name
    (USER/REPOSITORY, from the cache or downloaded; hub: `cache_dir`, `local_files_only`, `token`, `force_download`, as
    diffusers takes them). Raises UserError that says where to put it."""
    return _locate(name, FILE, "temporal file", revision, hub)


def locate_decoder(name: Path | str, revision: str | None = None, **hub: Any) -> Path:
    """A file of a decoder in time (`lnm.decoder`), by what `locate_temporal` takes: a local path, a folder that holds
    decoder.safetensors, lnm-mini-decoder, or a hub name. Raises UserError that says where to put it."""
    return _locate(name, DECODER_FILE, "decoder file", revision, hub)


def _locate(name: Path | str, file: str, kind: str, revision: str | None, hub: dict[str, Any]) -> Path:
    path = builtin(str(name)) or given_path(name)
    if path.is_dir():
        path = path / file
    if path.exists() or path.suffix == ".safetensors" or str(name).count("/") != 1:
        if not path.is_file():
            fix = (f"`dvc pull {name}` brings the built-in one" if str(name) in BUILT_IN else
                   "give one that a training wrote, or a hub name")
            raise UserError(f"{name}: no such {kind}; {fix}")
        return path
    from huggingface_hub import hf_hub_download  # here: only a name that is no file needs it

    try:
        return Path(hf_hub_download(str(name), file, revision=revision, **hub))
    except Exception as error:  # the hub client raises many kinds
        if refusal := hub_refusal(error, str(name), revision):
            raise UserError(refusal) from None
        if hub.get("local_files_only"):
            raise UserError(f"{name}: neither a file here nor in the cache, and local_files_only forbids a download; "
                            "open it once without") from None
        raise UserError(f"{name}: neither a file here nor to be had from the model hub ({type(error).__name__}); fetch "
                        f"its {file} where the hub is in reach and give its path") from None


def push_temporal(path: Path | str, repository: str, *, private: bool = False, token: str | None = None,
                  title: str | None = None) -> str:
    """Upload a temporal file with a generated model card; the repository is made if it is not there. Its address.

    repository: USER/NAME. Raises UserError for a file that is none, or where the hub cannot be reached.
    """
    from huggingface_hub import HfApi  # here: nothing else needs it

    card = model_card(read_temporal(path).notes, repository, title)
    api = HfApi(token=token)
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            readme = Path(folder) / "README.md"
            readme.write_text(card, encoding="utf-8")
            api.upload_file(path_or_fileobj=str(readme), path_in_repo="README.md", repo_id=repository)
        api.upload_file(path_or_fileobj=str(path), path_in_repo=FILE, repo_id=repository)
    except Exception as error:  # the hub client raises many kinds
        reason = (str(error).splitlines() or [""])[0][:120]
        raise UserError(f"{repository}: not pushed ({type(error).__name__}: {reason}); log in with `hf auth login` and "
                        "check the name") from None
    return str(address)


def model_card(notes: TemporalNotes, repository: str, title: str | None = None) -> str:
    """The card of a temporal file: what it was trained on, and the lines that use it."""
    base, prompt = notes.checkpoint or "BASE", " ".join((notes.prompt or "").split())
    facts = {"base model": notes.checkpoint, "prompt": prompt.replace("|", "\\|") or None, "frames a second": notes.fps,
             "frames a training sample": notes.frames, "strides": notes.strides, "steps": notes.steps,
             "mask value": notes.mask_value, "noise schedule": notes.schedule.get("beta_schedule"),
             "predicts": notes.schedule.get("prediction_type")}
    call = f"prompt={json.dumps(prompt, ensure_ascii=False)}, num_frames=16, fps={notes.fps or 8:g}"
    rows = "\n".join(f"| {k} | {v} |" for k, v in facts.items() if v is not None)
    head = f"base_model: {notes.checkpoint}\n" if notes.checkpoint and notes.checkpoint.count("/") == 1 else ""
    return f"""---
library_name: latentmovies
pipeline_tag: image-to-video
{head}tags: [image-to-video, temporal-layers, diffusers]
---
# {title or repository.split("/")[-1]}

Temporal layers for a frozen inpainting diffusion model: a still becomes a short film that moves like the clip they were
trained on. Made with LateNtMovies.

| | |
| --- | --- |
{rows}

```python
from lnm import LateNtMoviesPipeline

pipe = LateNtMoviesPipeline.from_pretrained({json.dumps(base)}, temporal={json.dumps(repository)})
frames = pipe("still.png", {call}).frames[0]
```
"""
