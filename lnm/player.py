"""Films side by side in a notebook: play, pause, step, slow motion, one frame of all of them at a time.

What is returned is one piece of HTML with all frames in it, so that it works in JupyterLab, in an executed copy and in
a page made of that, offline. The same films give the same bytes. Where scripts are not allowed (a notebook that is not
trusted), the first frames are seen.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lnm.errors import UserError
from lnm.video import read_frames

TEMPLATE = "player.html"
LONGEST_SIDE = 16383  # of a WebP picture, in pixels


def player(films: Mapping[str, np.ndarray | Path | str], fps: float = 8, width: int = 192, quality: int = 90) -> Any:
    """An IPython HTML object that plays films side by side, frame by frame together.

    films: label -> uint8 (F, H, W, 3), or the path of a folder of images or of a video. A film with fewer frames than
    the longest stays at its last. fps: frames a second at full speed. width: of each film on the page, in pixels.
    quality: of the frames, 1 to 100 of lossy WebP.
    Keys, once it has been clicked on: space plays and pauses, left and right step, home and end, s for slow motion.
    Raises UserError for no film at all, a film that is not uint8 (F, H, W, 3) with at least one frame, one that is too
    large, and a frame rate that is not above 0.
    """
    from IPython.display import HTML

    if not films:
        raise UserError("player: no film was given; give at least one")
    if not 0 < fps < float("inf"):
        raise UserError(f"player: {fps:g} fps asked: must be a number above 0")
    loaded = {name: read_frames(film) if isinstance(film, str | Path) else np.asarray(film)
              for name, film in films.items()}
    figures = "\n".join(_figure(name, frames, width, quality) for name, frames in loaded.items())
    page = (Path(__file__).parent / TEMPLATE).read_text(encoding="utf-8")
    for mark, text in (("$FPS", f"{fps:g}"), ("$LAST", str(max(map(len, loaded.values())) - 1)), ("$FILMS", figures)):
        page = page.replace(mark, text)  # the films last: a label may say $FPS
    return HTML(page)


def _figure(name: str, frames: np.ndarray, width: int, quality: int) -> str:
    """One film as a figure whose background is a sheet of all its frames, row by row."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise UserError(f"player: {name}: {frames.dtype} {frames.shape} is no film; give uint8 (frames, height, "
                        "width, 3)")
    count, h, w = frames.shape[:3]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    if max(columns * w, rows * h) > LONGEST_SIDE:
        raise UserError(f"player: {name}: {count} frames of {w} x {h} are too many to show at once; give fewer, or "
                        "smaller ones")
    sheet = np.zeros((rows * columns, h, w, 3), np.uint8)
    sheet[:count] = frames
    sheet = sheet.reshape(rows, columns, h, w, 3).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    data = io.BytesIO()
    Image.fromarray(sheet).save(data, format="WEBP", quality=quality, method=4)
    text = base64.b64encode(data.getvalue()).decode()
    label = html.escape(name)
    return (f'<figure style="width:min({width}px,calc(50% - 4px))">'
            f'<div class="lnm-film" role="img" aria-label="{label}" data-count="{count}" '
            f'data-columns="{columns}" data-rows="{rows}" style="aspect-ratio:{w}/{h};'
            f'background-size:{columns * 100}% {rows * 100}%;background-image:url(data:image/webp;base64,{text})">'
            f"</div><figcaption>{label}</figcaption></figure>")
