"""Films in and films out: decode, sample at a frame rate, crop, resize, encode, lay out as a sheet.

A film in memory is always uint8 (F, H, W, 3), RGB. Decoding is PyAV (FFmpeg's libraries), stills are
Pillow. A source is a video file (mp4, webm, mov, avi, gif ...) or a folder of images in natural order.
Every frame is cropped and resized while decoding, so that memory is that of the result, not of the source.
"""

from __future__ import annotations

import base64
import platform
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from lnm.colours import flatten, to_srgb
from lnm.errors import UserError, shortened
from lnm.files import given_path, made, whole

PALETTE = 2**15  # pixels that a GIF's colours are chosen by: more take longer and give hardly other colours
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
Size = int | Sequence[int] | None  # the side of a square, or (width, height)
Crop = Sequence[int] | None  # [x, y, width, height]


@dataclass
class Clip:
    """A decoded film.

    frames: uint8 (F, H, W, 3); fps: of these frames; source_fps: of the file; source_size: (width, height) of
    the file's picture as it is meant to be seen, rotation applied.
    """

    frames: np.ndarray
    fps: float
    source_fps: float
    source_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.frames)

    def require(self, count: int, name: str) -> None:
        """Raise UserError unless the clip has at least `count` frames; `name` is the clip's, for the message."""
        if len(self) < count:
            raise UserError(
                f"{name}: too short: {len(self)} frames at {self.fps:g} fps ({len(self) / self.fps:.1f} s), "
                f"{count} are needed: give a longer clip" +
                (f" or a higher fps (its own is {self.source_fps:g})" if self.fps < 0.99 * self.source_fps else ""))


# ---------------------------------------------------------------- reading


def read(path: Path | str, fps: float | None = None, size: Size = None, crop: Crop = None, start: float = 0,
         end: float | None = None, max_frames: int | None = None) -> Clip:
    """Read a video file or a folder of images.

    fps: frames a second wanted; the nearest frame in time is taken and none is invented, so more than the
    source has is an error. None keeps every frame. In a folder of images fps is the images' own rate.
    size: of the result in pixels, the side of a square or (width, height); without a crop the largest piece of that
    shape around the centre is taken. None keeps the size.
    crop: [x, y, width, height] in pixels of the picture as it is seen (after rotation).
    start, end: seconds of the source; max_frames: stop after so many.
    Raises UserError, one line, for whatever is wrong with the file or with what is asked of it.
    """
    path = _there(path, folder=True)
    if fps is not None and not 0 < fps < float("inf"):
        raise UserError(f"{path}: {fps:g} fps asked: must be a number above 0")
    reader = _read_folder if path.is_dir() else _read_file
    frames, fps, source_fps, source_size = reader(path, fps, size, crop, start, end, max_frames)
    if not frames and start == 0 and end is None:
        raise UserError(f"{path}: not one frame could be read: is it whole? Convert it to mp4 and try again")
    if not frames:
        raise UserError(f"{path}: no frames between {start:g} s and {'its end' if end is None else f'{end:g} s'}")
    return Clip(np.stack(frames), float(fps), float(source_fps), source_size)


def read_frames(path: Path | str) -> np.ndarray:
    """All frames of a folder of images or of a video file: uint8 (F, H, W, 3)."""
    return read(path, fps=1 if Path(path).is_dir() else None).frames


def read_image(path: Path | str, size: Size = None, crop: Crop = None) -> np.ndarray:
    """Read a still: uint8 (H, W, 3).

    EXIF rotation is honoured, transparency is laid on white, 16-bit and grey pictures become 8-bit RGB, colours of
    another space (a camera's Display P3, a printer's CMYK) become sRGB by the profile in the file.
    size and crop as in `read`.
    """
    path = _there(path)
    try:
        picture = flatten(to_srgb(ImageOps.exif_transpose(Image.open(path))))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise a dozen kinds for damaged files
        raise UserError(f"{path}: not a readable image ({_first_line(error)}): save it anew as PNG or JPEG") from None
    return _fit(picture, size, crop, path)


def _there(path: Path | str, folder: bool = False) -> Path:
    """A path of a regular file or, if `folder`, of a folder. Raises UserError for others: a pipe may give nothing."""
    path = given_path(path)
    if not path.exists():
        raise UserError(f"{shortened(path)}: no such file{' or folder' if folder else ''}")
    if not path.is_file() and not (folder and path.is_dir()):
        raise UserError(f"{path}: {'a folder; give one image' if path.is_dir() else 'not a regular file'}")
    return path


def _fit(picture: Image.Image, size: Size, crop: Crop, path: Path) -> np.ndarray:
    """Crop and resize an RGB picture: uint8 (H, W, 3), the caller's own to write to."""
    box = crop_box(picture.size, size, crop, path)
    if size is None:
        return np.array(picture if box == (0, 0, *picture.size) else picture.crop(box))
    # Pillow's Lanczos widens with the scale: it averages over the area when making smaller
    return np.array(picture.resize(sides(size), Image.Resampling.LANCZOS, box=box))


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """(width, height) in pixels of a size: the side of a square, or the two themselves."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def centre_box(source_size: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """What to cut from a picture of source_size (width, height) to get the proportions of shape (width, height): the
    largest such piece around its centre, (left, top, right, bottom) in whole pixels."""
    width, height = source_size
    scale = min(width / shape[0], height / shape[1])
    w, h = max(1, min(width, round(shape[0] * scale))), max(1, min(height, round(shape[1] * scale)))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def crop_box(source_size: tuple[int, int], size: Size, crop: Crop, path: Path) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) to cut from a picture of source_size (width, height), in pixels."""
    width, height = source_size
    if crop is None:
        return (0, 0, width, height) if size is None else centre_box(source_size, sides(size))
    x, y, w, h = (int(v) for v in crop)
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise UserError(f"{path}: crop [{x}, {y}, {w}, {h}] ([x, y, width, height] in pixels) does not lie inside "
                        f"the picture, which is {width} x {height}")
    if size is not None:
        wide, high = sides(size)
        left, top, right, bottom = centre_box((w, h), (wide, high))
        if w - (right - left) > 1 or h - (bottom - top) > 1:
            fitting = [x, y, right - left, bottom - top]
            shape = "square" if wide == high else f"of the shape {wide} x {high}"
            raise UserError(f"{path}: crop [{x}, {y}, {w}, {h}] is not {shape} and would be distorted: give one that "
                            f"is, for example {fitting}")
    return x, y, x + w, y + h


def natural(path: Path) -> list:
    """Sort key by which frame2 comes before frame10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower())
            for part in re.split(r"(\d+)", path.name) if part]


def _read_folder(path: Path, fps: Any, size: Size, crop: Crop, start: float, end: Any, max_frames: Any) -> tuple:
    files = sorted((f for f in path.iterdir() if f.suffix.lower() in IMAGES), key=natural)
    if not files:
        raise UserError(f"{path}: no images ({', '.join(IMAGES)}) in this folder")
    if fps is None:
        raise UserError(f"{path}: a folder of images has no frame rate of its own: give fps")
    last = len(files) if end is None else int(np.ceil(end * fps - 1e-6))
    files = files[int(np.ceil(start * fps - 1e-6)):last][:max_frames]
    frames, source_size = list[np.ndarray](), (0, 0)
    for file in files:
        picture = read_image(file)
        here = picture.shape[1], picture.shape[0]
        if frames and here != source_size:
            raise UserError(f"{file}: {here[0]} x {here[1]}, but {files[0].name} is {source_size[0]} x "
                            f"{source_size[1]}: all images of a folder must have one size")
        source_size = here
        frames.append(_fit(Image.fromarray(picture), size, crop, path))
    return frames, fps, fps, source_size


def _read_file(path: Path, fps: Any, size: Size, crop: Crop, start: float, end: Any, max_frames: Any) -> tuple:
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:  # a title may be in any encoding
            if not container.streams.video:
                raise UserError(f"{path}: no video stream in this file: give one with pictures, not sound alone")
            stream = container.streams.video[0]
            source_fps = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
            if not source_fps:
                raise UserError(f"{path}: this file states no frame rate: convert it to mp4 first")
            if fps is None or source_fps < fps <= source_fps * 1.01:  # 30 asked of 29.97: every frame
                fps, wanted = source_fps, None
            elif fps > source_fps:
                raise UserError(f"{path}: {fps:g} fps asked, but the source has {source_fps:g}, and frames are "
                                f"never invented: set fps to {source_fps:g} or less")
            else:
                wanted = fps
            frames, source_size = [], (0, 0)
            for frame in _nearest(_timed(container, stream, source_fps, start), wanted, source_fps, start, end):
                picture = _upright(frame, stream.sample_aspect_ratio or 1)
                source_size = picture.size
                frames.append(_fit(picture, size, crop, path))
                if len(frames) == max_frames:
                    break
            return frames, fps, source_fps, source_size
    except av.FFmpegError as error:
        raise UserError(f"{path}: not a readable video ({_first_line(error)}): is it whole? "
                        f"Convert it to mp4 and try again") from None


def _timed(container: Any, stream: Any, source_fps: float, start: float) -> Iterator[tuple[float, Any]]:
    """Decoded frames with their time in seconds from the first frame of the film."""
    origin = float(stream.start_time * stream.time_base) if stream.start_time is not None else None
    if start > 2 and origin is not None and stream.index_entries and len(stream.index_entries) > 1:
        # one second early, because streams with reordered frames may land late
        container.seek(int((start - 1 + origin) / stream.time_base), stream=stream)
    for i, frame in enumerate(container.decode(stream)):
        time = frame.time if frame.time is not None else i / source_fps
        if origin is None:
            origin = time
        yield time - origin, frame


def _nearest(timed: Iterable, fps: float | None, source_fps: float, start: float, end: float | None) -> Iterator:
    """The frames nearest in time to start, start + 1 / fps, ... before end; all frames if fps is None."""
    slack = 0.5 / source_fps
    stop = np.inf if end is None else end - 1e-6
    count, before = 0, None
    for time, frame in timed:
        if time >= stop:
            break
        if fps is None:
            if time >= start - 1e-6:
                yield frame
            continue
        while (target := start + count / fps) <= time and target < stop:
            closer = frame if before is None or time - target < target - before[0] else before[1]
            if before is not None or time - target <= slack:  # a file that starts late has no earlier frame
                yield closer
            count += 1
        before = time, frame
    if fps is not None and before is not None:
        while (target := start + count / fps) <= before[0] + slack and target < stop:
            if target > before[0]:
                yield before[1]
            count += 1


def _upright(frame: Any, pixel_aspect: Fraction | int) -> Image.Image:
    """A decoded frame as it is meant to be seen: RGB, transparency on white, square pixels, display matrix."""
    if any(c.is_alpha for c in frame.format.components) or frame.format.has_palette:
        picture = np.asarray(flatten(Image.fromarray(frame.to_ndarray(format="rgba"), "RGBA")))
    else:
        picture = frame.to_ndarray(format="rgb24")
    if pixel_aspect != 1:
        picture = np.asarray(Image.fromarray(picture).resize((round(frame.width * pixel_aspect), frame.height)))
    matrix = frame.side_data.get("DISPLAYMATRIX") if frame.side_data else None
    if matrix is not None:
        # x' = a x + c y, y' = b x + d y, by right angles and mirrors only
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].astype(np.int64)
        if abs(b) > abs(a):
            picture = picture.swapaxes(0, 1)
            flip_x, flip_y = c < 0, b < 0
        else:
            flip_x, flip_y = a < 0, d < 0
        picture = picture[::-1 if flip_y else 1, ::-1 if flip_x else 1]
    return Image.fromarray(np.ascontiguousarray(picture))


def _first_line(error: Exception) -> str:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"^\[Errno -?\d+\] ", "", said).split(": '")[0]


# ---------------------------------------------------------------- writing


def write_mp4(path: Path | str, frames: np.ndarray, fps: float, crf: int = 16) -> Path:
    """Write H.264 (yuv420p, BT.709, index first) that a browser plays; the same frames give the same bytes.

    frames: uint8 (F, H, W, 3). An odd width or height is padded by its last column or row, with a warning.
    crf: x264's quality, 0 (lossless) to 51.
    """
    import av
    from av.video.reformatter import ColorRange, Colorspace

    path, frames = Path(path), np.asarray(frames)
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        warnings.warn(f"{path}: {width} x {height} padded to even sides, which H.264 needs", stacklevel=2)
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        height, width = frames.shape[1:3]
    kind: Any = {"format": "mp4", "options": {"movflags": "+faststart", "fflags": "+bitexact"}}
    with whole(path) as part, av.open(str(part), "w", **kind) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = width, height, "yuv420p", 1
        # other bytes come of more threads and, for a film in a hundred beside other programs, of x264's AVX-512 code
        steady = {"x264-params": "asm=avx2"} if platform.machine().lower() in ("x86_64", "amd64") else {}
        stream.options = {"crf": str(crf), "preset": "slow", "threads": "1", **steady}
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1  # BT.709, tv
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_gif(path: Path | str, frames: np.ndarray, fps: float) -> Path:
    """Write an endlessly looping GIF; one palette of 256 colours for the whole film, so that nothing flickers."""
    path, frames = Path(path), np.asarray(frames)
    chosen = frames[np.linspace(0, len(frames) - 1, min(len(frames), 8)).round().astype(int)]
    every = max(1, round((chosen[..., 0].size / PALETTE) ** 0.5))
    mosaic = Image.fromarray(np.concatenate(list(chosen[:, ::every, ::every])))
    palette = mosaic.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=2)
    pictures = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for f in frames]
    # a GIF counts in hundredths of a second: rounding the moments, not the durations, keeps the tempo
    moments = np.round(np.arange(len(frames) + 1) * 100 / fps).astype(int)
    durations = [int(d) * 10 for d in np.diff(moments)]
    with whole(path) as part:
        pictures[0].save(part, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0,
                         optimize=False)
    return path


def write_frames(folder: Path | str, frames: np.ndarray) -> list[Path]:
    """Write frames as 00000.png, 00001.png, ...; frames of an earlier, longer film are removed from the folder."""
    folder = made(Path(folder))
    files = [folder / f"{i:05d}.png" for i in range(len(frames))]
    for old in set(folder.glob("[0-9][0-9][0-9][0-9][0-9].png")) - set(files):
        old.unlink()
    for file, frame in zip(files, frames, strict=True):
        with whole(file) as part:
            Image.fromarray(np.asarray(frame)).save(part, format="PNG")
    return files


def contact_sheet(rows: Iterable[tuple[str, np.ndarray]], columns: int = 8, path: Any = None) -> Image.Image:
    """A sheet with one labelled row a film: `columns` frames evenly spread from its first to its last.

    rows: (label, uint8 (F, H, W, 3)). A film of fewer frames fills fewer cells. Saved to `path` if given.
    """
    rows = [(label, np.asarray(frames)) for label, frames in rows]
    gap, text = 4, 22 if any(label for label, _ in rows) else 0
    font = ImageFont.load_default(size=14)
    height = sum(frames.shape[1] + text + gap for _, frames in rows) + gap
    width = max(min(columns, len(frames)) * (frames.shape[2] + gap) for _, frames in rows) + gap
    width = max(width, *(int(font.getlength(label)) + 2 * gap for label, _ in rows))
    sheet = Image.new("RGB", (width, height), (236, 236, 236))
    draw = ImageDraw.Draw(sheet)
    y = gap
    for label, frames in rows:
        draw.text((gap, y + 1), label, fill=(40, 40, 40), font=font)
        y += text
        count = min(columns, len(frames))
        for i, k in enumerate(np.linspace(0, len(frames) - 1, count).round().astype(int)):
            sheet.paste(Image.fromarray(frames[k]), (gap + i * (frames.shape[2] + gap), y))
        y += frames.shape[1] + gap
    if path is not None:
        with whole(path) as part:
            sheet.save(part, format=Image.registered_extensions()[Path(path).suffix.lower()])
    return sheet


def show(frames_or_path: Any, fps: float = 8, width: int = 384) -> Any:
    """A film for a notebook: an IPython HTML object with the film inside it, looping.

    frames_or_path: uint8 (F, H, W, 3), or the path of an mp4, webm or gif, shown as it is; fps is for frames.
    width: on the page, in pixels.
    """
    from IPython.display import HTML

    if isinstance(frames_or_path, str | Path):
        path = _there(frames_or_path)
        data, kind = path.read_bytes(), path.suffix.lower().lstrip(".")
    else:
        with tempfile.TemporaryDirectory() as folder:
            data, kind = write_mp4(Path(folder) / "film.mp4", frames_or_path, fps).read_bytes(), "mp4"
    text = base64.b64encode(data).decode()
    if kind == "gif":
        return HTML(f'<img width="{width}" src="data:image/gif;base64,{text}">')
    return HTML(f'<video width="{width}" loop autoplay muted playsinline controls '
                f'src="data:video/{kind};base64,{text}"></video>')
