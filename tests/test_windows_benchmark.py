"""benchmarks.windows: a seam is found where there is one, and nowhere else; and what memory is taken of."""

import re
from pathlib import Path

import numpy as np
import pytest
from tiny import write_tiny_checkpoint
from tiny_decoder import wake_decoder
from tiny_pipeline import make

from benchmarks import windows
from benchmarks.windows import borders, figures, place, ratio, seam
from lnm.meter import Live
from lnm.stages.sample import carried_latents


def drifting(frames=40, jumps=()):
    """A picture that moves by one pixel a frame, and by 16 at the steps into `jumps`."""
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    shifts = np.cumsum([16 if f in jumps else 1 for f in range(frames)])
    return np.stack([np.roll(picture, shift, 1) for shift in shifts])


def test_where_windows_meet():
    assert borders(32, "windows", 16, 8) == [8, 16, 24]
    assert borders(40, "windows", 16, 12) == [12, 16, 24, 28]
    assert borders(40, "continue", 16, 12) == [16, 28]
    assert borders(16, "windows", 16, 8) == borders(16, "continue", 16, 8) == []


def test_a_jump_at_the_borders_is_a_seam_and_steady_motion_is_none():
    at = borders(40, "continue", 16, 12)
    assert ratio(np.array([1.0, 1, 4, 1]), [3]) == 4
    steady, jumping = seam(drifting(), at), seam(drifting(jumps=at), at)
    assert steady["seam"] == pytest.approx(1, abs=0.05) and jumping["seam"] > 1.5
    assert jumping["seam of flow"] > 3 * steady["seam of flow"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process its highest mark")
def test_memory_is_of_films_as_they_are_made(tmp_path, monkeypatch, capsys):
    from lnm.checkpoint import open_checkpoint
    from lnm.decoder import has_temporal_decoder

    pipe = make(open_checkpoint(str(write_tiny_checkpoint(tmp_path))))
    wake_decoder(pipe.vae)
    films, call = [], type(pipe).__call__
    monkeypatch.setattr(windows, "open_pipeline", lambda bf16: pipe)
    monkeypatch.setattr(type(pipe), "__call__", lambda self, *a, **k: (
        films.append((k["num_frames"], k["long"], k["video_latents"] is not None, has_temporal_decoder(self.vae)))
        or call(self, *a, **k)))
    windows.memory([18], ["continue"], ["noise", "flow"])
    assert films == [(16, "windows", False, True), (18, "continue", False, True),
                     (16, "windows", True, False), (18, "continue", True, False)]
    lines = capsys.readouterr().out.splitlines()
    for line, (frames, long, begun, _) in zip(lines, films, strict=True):
        most, before = map(int, re.fullmatch(
            rf"from {'flow' if begun else 'noise'}, {long}, {frames} frames: (\d+) MiB at most, (\d+) before the film",
            line).groups())
        assert most >= before > 50


def test_memory_of_a_long_film_does_not_grow_with_its_frames():
    """Bytes of all tensors that are alive at once, weights included: 240 frames within 15% of 48. All at once, 96
    would not be."""
    pipe = windows.open_pipeline(False)
    pipe.set_progress_bar_config(disable=True)
    pipe.unload_temporal_decoder()
    weights = sum(p.numel() * p.element_size() for part in (pipe.vae, pipe.unet, pipe.text_encoder)
                  for p in part.parameters())
    clip = drifting(24)

    def most(frames, long, flow):
        with Live() as live:
            begun = carried_latents(pipe, clip[0], clip, frames) if flow else None
            pipe(clip[0], prompt="waves", num_frames=frames, fps=8, num_inference_steps=1, long=long, window_stride=15,
                 guidance_scale=1, output_type="uint8", video_latents=begun, strength=1.0)
        return weights + live.most

    for long, flow in (("windows", False), ("continue", True)):
        assert most(240, long, flow) <= 1.15 * most(48, long, flow), (long, flow)
    assert most(96, "whole", False) > 1.15 * most(48, "whole", False)


def test_a_film_that_dies_out_and_leaves_its_place_is_told():
    film = drifting(48)
    still = film[0]
    alive = figures(film, still, [24])
    film[32:] = film[32]
    dead = figures(film, still, [24])
    assert alive["motion, late / early"] == pytest.approx(1, abs=0.05) and dead["motion, late / early"] == 0
    assert place(film[:1], still) > 60 > place(255 - film[:1], still)
