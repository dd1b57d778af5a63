"""The sample stage: films by the fine-tuned model, by one tuned from the identity, by the frozen checkpoint, and what
films are begun from."""

from __future__ import annotations

import json
import math
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lnm import video
from lnm.checkpoint import Checkpoint, open_checkpoint
from lnm.detail import with_detail
from lnm.devices import pick_device, sampling_dtypes
from lnm.files import sha256, still_files, write_json
from lnm.flow import carried, played
from lnm.hub import locate_decoder
from lnm.latents import decode, encode, load_latents, spare
from lnm.lora import fuse_lora
from lnm.pipeline import LateNtMoviesPipeline
from lnm.schedulers import make_scheduler
from lnm.settings import Sample
from lnm.stages.kept import KeptFilms, weights
from lnm.temporal_file import read_temporal

METHODS = ("ours", "from_noise", "carried_still", "identity", "frame_by_frame")
LEARNED = ("ours", "from_noise")  # which a decoder in time may decode
UNTUNED = ("carried_still", "frame_by_frame")
CARRIED = ("ours", "carried_still")  # whose pixels come from the carried still, where films are begun from it


def film_seed(seed: int, k: int) -> int:
    """The seed of film k: drawn from (seed, k), so that no film of one seed is a film of another."""
    return int(np.random.default_rng([seed, k]).integers(2**62))


def sample_films(prepared: Path, temporal: Path, out: Path, *, settings: Sample, checkpoint: str,
                 revision: str | None = None, widen: bool = False, lora: str | None = None, lora_scale: float = 1.0,
                 seed: int = 0, device: str = "auto", memory: str = "auto", name: str = "clip",
                 about: dict | None = None, methods: tuple[str, ...] = METHODS,
                 last_still: Path | None = None, store: Path | None = None) -> dict:
    """Films of a prepared clip's still: `ours`; `from_noise`, begun from noise, where ours are begun from a film
    (`settings.begin: flow`: the still carried along by the training part's optical flow), by layers told of the still
    alone, if they lie beside `temporal`, else by the same layers; `carried_still`, that film itself, which says what
    the layers add to it; `identity` (layers tuned from the identity alone, if they lie beside `temporal`) and the
    frozen checkpoint; as many as `settings.films` says. With `settings.restores` ours are given back what the
    autoencoder takes from the carried still (`lnm.detail`), and `carried_still` is that still as it is; as decoded, so
    in the autoencoder's own bounds, both are in `decoded` too. Else both are as decoded, and there is no `decoded`.

    prepared: the prepare stage's folder. widen, lora, lora_scale: as the fine-tune was told. temporal: the fine-tune's
    temporal.safetensors, which says with which noise schedule and mask value films are made. Further fine-tunes, in
    `seeds` beside it, take turns with it, and so do stills where there are several (`made_from`); films of `identity`,
    and of `from_noise` where it has layers of its own (in `noise` beside `temporal`), are by one fine-tune, and
    films.json says so under "clusters" and "stills". Film k of all methods starts from the same noise and the same
    still. `ours` is decoded by `settings.decoder`, `from_noise` by `settings.temporal_decoder`, the others, the paper's
    own arm and the frozen checkpoint, by the checkpoint's own decoder.
    memory: "low" drops the text encoder once the prompts are encoded, and decodes one frame at a time where no decoder
    in time does it. name: of the clip, in bars. about: names as the user wrote them (checkpoint, temporal_decoder), for
    the record. last_still: an image that each film ends on. store: where films are kept until all are made, so that the
    next run after an interruption makes the others alone. Writes <out>/<method>/seed_<k>/ (frames, film.mp4, film.gif),
    a contact sheet of each, <out>/decoded/<method>/seed_<k>/ (frames) and, last, <out>/films.json, whose content is
    returned.
    Raises UserError for a checkpoint, temporal file or decoder that cannot be opened, or does not fit the others.
    """
    prepared, out = Path(prepared), Path(out)
    device = pick_device(device)
    base = open_checkpoint(checkpoint, revision, device, widen=widen, **sampling_dtypes(settings.dtype, device))
    if lora:
        fuse_lora(base, lora, lora_scale)
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    stills, last = load_latents(prepared)["still"].split(1), _last(last_still, prepared)
    tuned, mask_value = _tuned(Path(temporal)), read_temporal(temporal).notes.mask_value
    methods = _those(methods, dict.fromkeys(("from_noise", "carried_still"), settings.begin == "flow")
                     | {"identity": "identity" in tuned})
    tunes = {method: len(tuned.get(method, [temporal])) for method in methods}  # that take turns
    films = {method: settings.films(method) for method in methods}
    decoders, detailed = _decoders(methods, settings), [m for m in methods if settings.restores and m in CARRIED]
    shutil.rmtree(out / "decoded", ignore_errors=True)
    files = [prepared, *chain(*tuned.values()), *decoders.values(), last_still, weights(checkpoint), lora]
    kept = KeptFilms(store, files, settings.model_dump(), checkpoint, revision, widen, lora_scale, seed, str(device),
                     memory, tunes)
    encoded = inflated = None  # one U-Net: the checkpoint's own, inflated once the frozen checkpoint has had its turn
    for method in reversed(methods):
        if method != "carried_still":
            layers = read_temporal(tuned[method][0]) if method in tuned else None
            pipe = _with_layers(base, layers, inflated, mask_value)
            inflated = inflated or (pipe if layers else None)
            if memory == "low":
                encoded = _sparing(pipe, base, list(dict.fromkeys([prompt, settings.negative_prompt])), encoded)
            if method in LEARNED:
                _decode_by(pipe, decoders.get(method))
            # the untouched checkpoint keeps the noise levels that it was trained with
            pipe.scheduler = make_scheduler(pipe.scheduler, kind=settings.scheduler)
        for k in range(films[method]):
            tune, begins = made_from(k, tunes[method], len(stills))
            pictures = pictures_of(prepared, settings, k) if method in CARRIED else None
            if pictures is not None and method == "carried_still":
                film = decode(base.vae, encode(base.vae, pictures))
            elif (film := kept.film(method, k)) is None:
                if tunes[method] > 1:
                    pipe.load_temporal(tuned[method][tune])
                pipe.set_progress_bar_config(desc=_bar(name, method if len(methods) > 1 else None, k, films[method]))
                begun = None if pictures is None else latents_of(pipe, pictures)
                film = film_of(pipe, stills[begins], prompt, fps, settings, film_seed(seed, k), last, begun)
                kept.keep(method, k, film)
            if pictures is not None and method in detailed:
                video.write_frames(out / "decoded" / method / f"seed_{k}", film)
                film = with_detail(base.vae, film, ended(pictures, last)) if method == "ours" else pictures
            _written(out, method, k, film, fps)
    note = {"video": name, "prompt": prompt, "fps": fps, "mask_value": mask_value, "seed": seed,
            **settings.model_dump(include={"num_frames", "num_inference_steps", "guidance_scale", "first_frame"}),
            **_base(base, checkpoint, settings, about), "seeds": list(range(settings.seeds)), "methods": list(methods),
            **origins(tunes, films, len(stills)), "films": films, "temporal_sha256": sha256(Path(temporal)),
            "decoder_sha256": sha256(next(iter(decoders.values()))) if decoders else None, "decoded": detailed,
            **_length(settings, last_still), **_begun(settings), "decoded_in_time": list(decoders)}
    write_json(out / "films.json", note)
    kept.done()
    return note


def _base(base: Checkpoint, checkpoint: str, settings: Sample, about: dict | None) -> dict[str, Any]:
    """For the record: what films are made on, by the names that the user wrote."""
    written = {"checkpoint": checkpoint, "temporal_decoder": settings.temporal_decoder} | (about or {})
    written |= {"lora": base.lora} if base.lora else {}
    if base.unet.dtype != torch.float32:
        written["dtype"] = str(base.unet.dtype).removeprefix("torch.")
    return written


def _with_layers(base: Checkpoint, layers: Any, inflated: LateNtMoviesPipeline | None,
                 mask_value: float) -> LateNtMoviesPipeline:
    """A pipeline of a checkpoint with these layers, a temporal file: its U-Net, or that of one that has it already.
    Without any, the frozen checkpoint, which is told of a still by this mask value."""
    if layers is None:
        return LateNtMoviesPipeline.frame_by_frame(base, mask_value)
    if inflated is None:
        return LateNtMoviesPipeline.from_checkpoint(base, layers, in_place=True)
    pipe = LateNtMoviesPipeline.from_pipe(inflated, scheduler=base.scheduler)
    pipe.load_temporal(layers)
    return pipe


def _tuned(temporal: Path) -> dict[str, list[Path]]:
    """The temporal files of each method that has any, which take turns: those that lie beside that of the fine-tune."""
    ours = [temporal, *sorted((temporal.parent / "seeds").glob("*/temporal.safetensors"))]
    noise, identity = (temporal.parent / arm / "temporal.safetensors" for arm in ("noise", "identity"))
    return {"ours": ours, "from_noise": [noise] if noise.is_file() else ours} | (
        {"identity": [identity]} if identity.is_file() else {})


def _those(methods: tuple[str, ...], there: dict[str, bool]) -> tuple[str, ...]:
    """In the order of METHODS, without those that there is nothing for."""
    return tuple(method for method in METHODS if method in methods and there.get(method, True))


def _decoders(methods: tuple[str, ...], settings: Sample) -> dict[str, Path]:
    """The file of the decoder in time, of those of the methods that have one."""
    names = {"ours": settings.decoder(), "from_noise": settings.temporal_decoder}
    return {method: locate_decoder(name) for method in methods if (name := names.get(method))}


def _decode_by(pipe: LateNtMoviesPipeline, decoder: Path | None) -> None:
    """Films of this pipeline, whose autoencoder is another's too, by a decoder in time, or each frame by itself."""
    if decoder is None:
        pipe.unload_temporal_decoder()
    else:
        pipe.load_temporal_decoder(decoder)


def _bar(name: str, method: str | None, k: int, films: int) -> str:
    """What a film's progress bar is called."""
    return f"sampling {name}" + (f", {method}" if method else "") + (f", film {k + 1} of {films}" if films > 1 else "")


def made_from(k: int, fine_tunes: int, stills: int) -> tuple[int, int]:
    """Which fine-tune and which still, both from 0, film k is made from.

    Stills take turns, so that film k of every method begins from the same. Fine-tunes take turns as well, and are put
    off by one once both would begin anew together: the first fine_tunes x stills films have each pair once.
    """
    pair = k % (fine_tunes * stills)
    return (pair + pair // math.lcm(fine_tunes, stills)) % fine_tunes, k % stills


def origins(fine_tunes: dict[str, int], films: dict[str, int], stills: int) -> dict[str, Any]:
    """For the records: {"clusters": {method: ["fine-tune 1, still 2", ...]}}, what each of a method's films was made
    from, and with several stills {"stills": [1, 2, ...]}, which film k of every method begins from.

    fine_tunes, films: of each method, how many take turns, and how many films there are. Without several stills none
    are named, and what nothing was tuned for has no names at all.
    """
    made: dict[str, list[str]] = {}
    for method, count in fine_tunes.items():
        pairs = [made_from(k, count, stills) for k in range(films[method])]
        parts = [([] if method in UNTUNED else [f"fine-tune {tune + 1}"])
                 + ([f"still {still + 1}"] if stills > 1 else []) for tune, still in pairs]
        if parts[0]:
            made[method] = [", ".join(part) for part in parts]
    return {"clusters": made} | ({"stills": [k % stills + 1 for k in range(max(films.values()))]} if stills > 1 else {})


def _last(last_still: Path | None, prepared: Path) -> np.ndarray | None:
    """The last still, cut to the size of the first one."""
    if last_still is None:
        return None
    height, width = video.read_image(next(iter(still_files(prepared)))[0]).shape[:2]
    return video.read_image(last_still, (width, height))


def _length(settings: Sample, last_still: Path | None) -> dict:
    """For the record: how a film longer than a window was made, else none of it did anything; and what it ends on."""
    ways = {"long", "window", "window_stride", "noise"} if settings.num_frames > settings.window else set()
    ends = {} if last_still is None else {"last_still": last_still.name, "last_still_sha256": sha256(last_still)}
    return settings.model_dump(include=ways) | ends


def _begun(settings: Sample) -> dict[str, Any]:
    """For the record: what films of ours are begun from, where it is not noise."""
    if settings.begin != "flow":
        return {}
    return settings.model_dump(include={"begin", "strength", "condition", "restore_detail"}) | {
        "steps_taken": settings.steps_taken}


def _sparing(pipe: LateNtMoviesPipeline, base: Checkpoint, prompts: list[str],
             encoded: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
    """A pipeline without the checkpoint's text encoder, which the first one has used: the prompts, `encoded`."""
    spare(base.vae)
    if encoded is None:
        pipe.drop_text_encoder(prompts)
        base.text_encoder = None
    else:
        pipe.encoded = encoded
    return pipe.encoded or {}


def film_of(pipe: LateNtMoviesPipeline, still: torch.Tensor, prompt: str, fps: float, settings: Sample, seed: int,
            last: np.ndarray | None = None, begun: torch.Tensor | None = None) -> np.ndarray:
    """A film uint8 (F, H, W, 3) of a still's latents (1, C, h, w), scaled. last: a picture that it ends on. begun:
    latents (1, C, F, h, w) of a film that it is begun from."""
    return pipe(image_latents=still, last_image=last, video_latents=begun, prompt=prompt, fps=fps, output_type="uint8",
                **settings.film(begun is not None), generator=torch.Generator("cpu").manual_seed(seed)).frames[0]


def ended(pictures: np.ndarray, last: np.ndarray | None) -> np.ndarray:
    """Pictures (F, H, W, 3), the last of them this one where there is one."""
    return pictures if last is None else np.concatenate([pictures[:-1], last[None]])


def pictures_of(prepared: Path, settings: Sample, k: int) -> np.ndarray | None:
    """What film k of ours begins from, uint8 (F, H, W, 3): its still, carried along by the flow of what is trained on
    of the first clip; None where it begins from noise (`settings.begin`). prepared: the prepare stage's folder."""
    if settings.begin != "flow":
        return None
    stills = [path for path, _ in still_files(prepared)]
    return carried_frames(video.read_image(stills[k % len(stills)]), video.read_frames(prepared / "train"),
                          settings.num_frames, k // len(stills))


def carried_frames(still: np.ndarray, clip: np.ndarray, num_frames: int, k: int = 0) -> np.ndarray:
    """Still uint8 (H, W, 3), carried along by the flow of clip uint8 (N, H, W, 3) from the k-th nearest of its frames
    on: uint8 (F, H, W, 3)."""
    return np.stack(list(carried(still, *played(still, clip, num_frames, k))))


def carried_latents(pipe: LateNtMoviesPipeline | Checkpoint, still: np.ndarray, clip: np.ndarray, num_frames: int,
                    k: int = 0) -> torch.Tensor:
    """Latents (1, C, F, h, w), scaled, of `carried_frames`."""
    return latents_of(pipe, carried_frames(still, clip, num_frames, k))


def latents_of(pipe: LateNtMoviesPipeline | Checkpoint, pictures: np.ndarray) -> torch.Tensor:
    """Latents (1, C, F, h, w), scaled, of a film uint8 (F, H, W, 3) that another is begun from."""
    return encode(pipe.vae, pictures).movedim(0, 1)[None]


def _written(out: Path, method: str, k: int, film: np.ndarray, fps: float) -> None:
    write_film(out / method / f"seed_{k}", film, fps)
    video.contact_sheet([(f"{method}, film {k}", film)], path=out / f"{method}_seed_{k}.png")


def write_film(folder: Path, frames: np.ndarray, fps: float) -> None:
    """A film as frames, mp4 and GIF."""
    video.write_frames(folder, frames)
    video.write_mp4(folder / "film.mp4", frames, fps)
    video.write_gif(folder / "film.gif", frames, fps)
