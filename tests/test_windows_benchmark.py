"""benchmarks.windows: a seam is found where there is one, and nowhere else; which films are made, how, and once; and
what memory is taken of."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from tiny import write_tiny_checkpoint
from tiny_decoder import wake_decoder
from tiny_pipeline import make

from benchmarks import windows
from benchmarks.windows import borders, figures, place, ratio, seam
from lnm import video
from lnm.meter import Live
from lnm.settings import Sample
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


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A tiny pipeline in the place of lnm-mini, a clip of 20 frames, and a function that runs the benchmark on it and
    returns (its record, what each film was made of)."""
    from lnm.checkpoint import open_checkpoint
    from lnm.decoder import has_temporal_decoder, save_decoder

    pipe = make(open_checkpoint(str(write_tiny_checkpoint(tmp_path / "tiny"))))
    wake_decoder(pipe.vae)
    save_decoder(pipe.vae, tmp_path / "decoder.safetensors", {})
    pipe.save_temporal(tmp_path / "own.safetensors")
    video.write_mp4(tmp_path / "drift.mp4", drifting(20), 8)
    monkeypatch.setattr(windows, "open_pipeline", lambda bf16: pipe)
    monkeypatch.setattr(windows, "sample_of", lambda name: Sample(
        temporal_decoder=str(tmp_path / "decoder.safetensors"), begin="flow", strength=0.5, condition="video"))
    made, call = [], type(pipe).__call__
    monkeypatch.setattr(type(pipe), "__call__", lambda self, *a, **k: (made.append(
        (k["video_latents"] is not None, k["condition"], k["long"], k["window_stride"], k["noise"],
         has_temporal_decoder(self.vae))) or call(self, *a, **k)))

    def run(*words, clip=str(tmp_path / "drift.mp4")):
        made.clear()
        path = tmp_path / "films.json"
        ends = windows.main([clip, "--frames", "20", "--size", "32", "--steps", "2", "--out", str(tmp_path / "out"),
                             "--json", str(path), *words])
        return (ends, list(made)) if ends else (json.loads(path.read_text()), list(made))

    run.folder = tmp_path
    return run


def test_every_way_is_a_film_and_a_row_and_none_is_made_twice(tiny, capsys):
    words = ["--begin", "noise", "flow", "--long", "windows", "whole", "--stride", "8", "12", "--noise", "independent",
             "shared"]
    found, made = tiny(*words)
    assert made == [(flow, "video" if flow else "still", "windows", stride, noise, not flow) if long == "windows" else
                    (flow, "video" if flow else "still", "whole", None, "independent", not flow)
                    for flow in (False, True) for long, noise, stride in (
                        ("windows", "independent", 8), ("windows", "independent", 12), ("windows", "shared", 8),
                        ("windows", "shared", 12), ("whole", None, None))]
    rows = [(row["begin"], row["long"], row["noise"], row["stride"]) for row in found["rows"]]
    assert len(set(rows)) == len(rows) == 8 + 4 + 2 + 2, "windows; whole, carried and the clip at each stride"
    assert {row[1] for row in rows} == {"windows", "whole", "carried", "clip"}
    assert found["machine"]["cpu"] and found["layers"] == {"drift": "of many clips"}
    table = windows.markdown(found)
    assert capsys.readouterr().out.endswith(table + "\n") and len(table.splitlines()) == 2 + len(rows)
    assert len(list((tiny.folder / "out").glob("*.mp4"))) == 12 and (tiny.folder / "out" / "drift.png").is_file()

    again, made = tiny(*words, "--long", "windows", "continue", "--begin", "flow", "--stride", "8", "--noise", "shared",
                       "--temporal", str(tiny.folder / "own.safetensors"))
    assert made == [(True, "video", "continue", 8, "shared", False)] and len(again["rows"]) == len(rows) + 1
    assert again["rows"][:len(rows)] == found["rows"] and again["layers"] == {"drift": "fine-tuned"}


def test_rows_of_other_options_are_not_mixed(tiny, capsys):
    tiny("--long", "whole")
    ends, made = tiny("--long", "whole", "--seed", "1")
    assert ends == 2 and not made and "other options" in capsys.readouterr().err


def test_of_a_video_its_training_part_is_taken(tmp_path, monkeypatch):
    from lnm.workflow.choices import PrepareChoices

    video.write_frames(tmp_path / "frames", drifting(20))
    told = PrepareChoices.model_construct(path=str(tmp_path / "frames"), fps=8.0, crop=None, start=0.0, end=None,
                                          holdout=0.25, prompts=["clouds", "waves"])
    monkeypatch.setattr(windows, "settings", lambda stage, name: told)
    of = windows.source("sky", None, 64)
    assert (of.name, of.fps, of.prompt) == ("sky", 8, "clouds") and np.array_equal(of.frames, drifting(20)[:15])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process its highest mark")
def test_memory_is_taken_of_each_length_in_a_process_of_its_own(tmp_path, monkeypatch):
    asked = []

    class Alone:
        def __init__(self, count):
            assert count == 1
            asked.append([])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def apply(self, function, words):
            assert function is windows.memory
            asked[-1].append(words)
            ((frames,), (long,), (begin,)) = words
            return [{}, {"begin": begin, "long": long, "frames": frames, "most": 100.0 + frames + 2 * len(asked),
                         "before": 90.0}]

    spawning = type(windows.multiprocessing.get_context("spawn"))
    monkeypatch.setattr(spawning, "Pool", lambda self, count: Alone(count))
    path = tmp_path / "memory.json"
    words = ["--memory", "48", "240", "--begin", "noise", "flow", "--rounds", "3", "--json", str(path)]
    assert windows.main(words) == 0
    assert len(asked) == 2 * 2 * 2 * 3 and all(len(one) == 1 for one in asked)
    found = json.loads(path.read_text())
    assert windows.main(words) == 0 and len(asked) == 2 * 2 * 2 * 3, "what is there is not taken again"
    first = found["memory"][0]
    assert (first["begin"], first["long"], first["frames"]) == ("noise", "windows", 48) and found["machine"]["cpu"]
    assert (first["least"], first["most"], first["greatest"]) == (150, 152, 154)
    table = windows.markdown(found).splitlines()
    assert len(table) == 2 + 4 and table[2].endswith(f"| {350 / 152:.2f} |") and table[4].startswith("| the carried ")


def test_a_film_in_a_process_of_its_own_is_measured():
    """The true one, small: what is sent to the process and what comes back."""
    args = windows.argparse.Namespace(memory=[17], begin=["noise"], long=["whole"], rounds=1, json=None)
    (row,) = windows.memories(args)["memory"]
    assert (row["begin"], row["long"], row["frames"]) == ("noise", "whole", 17)
    assert row["most"] == row["least"] == row["greatest"] >= row["before"] > 50


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


@pytest.mark.parametrize("name", ["benchmarks/results/windows.json", "benchmarks/results/memory.json"])
def test_the_page_shows_the_record(name):
    page = (REPOSITORY / "docs" / "choices.md").read_text(encoding="utf-8")
    table = page.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0]
    assert table == windows.markdown(json.loads((REPOSITORY / name).read_text(encoding="utf-8"))), (
        f"python -m benchmarks.windows --table {name} prints it")
