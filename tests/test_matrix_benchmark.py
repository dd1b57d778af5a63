"""benchmarks.matrix: every cell's film is the pipeline's own, kept, and read by its bounds; the warning is counted."""

import json

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image
from tiny import SIZE, tiny_finetune, write_tiny_checkpoint, write_tiny_prepared

from benchmarks import matrix
from lnm import video
from lnm.latents import decode, load_latents
from lnm.settings import Sample
from lnm.stages.finetune import finetune
from lnm.stages.sample import sample_films


def row(clip, still, distance, broken=0, origin=matrix.OWN):
    """A cell that breaks so many bounds, the last of FIGURES first."""
    good = {"motion": 1.0, "flow speed": 1.0, "flow-warp": 1.0, "detail": 1.0, "frame 0, dB": 0.1}
    bad = {name: 9.0 for name in matrix.FIGURES[len(matrix.FIGURES) - broken:]}
    return {"clip": clip, "still": still, "origin": origin, "distance": distance, **good, **bad}


ROWS = [row("sea", "sea", 1.0), row("sky", "sky", 2.0), row("sea", "sky", 30.0, 4), row("sky", "sea", 14.0, 1),
        row("sea", "pond scene", 11.0, 3, matrix.RENDERED), row("sky", "pond scene", 40.0, 5, matrix.RENDERED)]


def test_how_well_a_distance_parts_good_from_bad():
    assert matrix.separation([1, 2, 3, 4], [False, False, True, True]) == 1
    assert matrix.separation([1, 2, 3, 4], [True, True, False, False]) == 0
    assert matrix.separation([2, 2], [True, False]) == 0.5 and matrix.separation([1, 2], [True, True]) is None
    assert matrix.threshold([1, 2, 5, 9], [False, False, True, True]) == (3.5, 1.0)
    assert matrix.threshold([1, 2, 5, 9], [False, True, False, True])[1] == 0.75
    assert matrix.balanced([True, True, False, False], [True, False, False, False]) == pytest.approx((1 + 2 / 3) / 2)


def test_the_report_is_made_of_the_cells():
    text = matrix.report(ROWS, {"begin": "flow", "strength": 0.4})
    assert "Sampled with begin flow, strength 0.4; in brackets" in text
    assert "| its own clip | 2 | 5.0 | 1.00 (2) | 1.00 (2) | 1.00 (2) | 1.00 (2) | 0.10 (2) |" in text
    assert "| another run | 2 | 2.5 | 1.00 (2) | 5.00 (1) | 5.00 (1) | 5.00 (1) | 9.00 (0) |" in text
    assert "- Stills of its own clip: 0 of 2 films keep fewer bounds than those of own stills do on average (5.0). " \
           "None is broken." in text
    assert "- Stills of a rendered scene: 2 of 2 films keep fewer bounds than those of own stills do on average" in text
    assert "(5.0). Broken most is flow-warp (2), least motion (1)." in text and "other footage" not in text
    assert "warns of 3 of 6 pairs. 3 of their films keep fewer, and 1 of the 3 that it does not warn of." in text
    assert "in 100 of 100 draws (50 is chance). A warning from 6.5 on would be right most often, on 100 %" in text
    assert "from 12.5 on, as it is, it is on 88 %" in text and "motion 100, flow speed 100, flow-warp" in text
    mixed = matrix.report([*ROWS, row("sea", "sky scene", 35.0, 0, matrix.RENDERED)], {})
    assert "and in 25 among stills that are not the clip's own" in mixed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on a tiny checkpoint whose temporal layers differ, in results/sea and results/sky."""
    folder = tmp_path_factory.mktemp("matrix")
    checkpoint = write_tiny_checkpoint(folder / "checkpoint")
    for seed, name in enumerate(("sea", "sky")):
        prepared = write_tiny_prepared(folder / "results" / name / "prepare", checkpoint)
        picture = np.roll(video.read_image(prepared / "still.png"), 5 * seed, 0)
        Image.fromarray(picture).save(prepared / "still.png")
        video.write_frames(prepared / "heldout_vae", video.read_frames(prepared / "heldout"))
        finetune(prepared, prepared.parent / "finetune", folder / "store" / name,
                 **tiny_finetune(checkpoint, seed=seed, learning_rate=3e-3, steps=3))
    return checkpoint, folder / "results"


SAMPLE = Sample(num_frames=3, num_inference_steps=2, begin="flow", strength=0.5, seeds=1)


def grid(runs, store):
    checkpoint, results = runs
    films = matrix.clips(["sea", "sky"], results, SAMPLE.num_frames)
    stills = [matrix.Still(name, video.read_image(results / name / "prepare" / "still.png"), matrix.OWN)
              for name in ("sea", "sky")]
    return films, stills, matrix.Studio(SAMPLE, 5, str(checkpoint), "cpu"), store


def test_a_cell_of_a_clip_and_its_own_still_is_the_film_of_its_run(runs, tmp_path):
    checkpoint, results = runs
    made = {place: (film, row) for place, film, row in matrix.filmed(*grid(runs, tmp_path / "store"))}
    assert list(made) == [("sea", "sea"), ("sky", "sea"), ("sea", "sky"), ("sky", "sky")]
    sample_films(results / "sea" / "prepare", results / "sea" / "finetune" / "temporal.safetensors", tmp_path / "run",
                 settings=SAMPLE, checkpoint=str(checkpoint), seed=5, device="cpu", methods=("ours",))
    film, row = made["sea", "sea"]
    assert np.array_equal(film, video.read_frames(tmp_path / "run" / "decoded" / "ours" / "seed_0")), "as decoded"
    assert not np.array_equal(made["sky", "sea"][0], film), "by other layers"
    assert row["distance"] < made["sky", "sea"][1]["distance"] + 1 and set(matrix.FIGURES) < set(row)


def test_figures_are_beside_the_clip_and_the_still_s_own_ceiling(runs, tmp_path):
    (sea, _), (still, _), studio, _ = grid(runs, tmp_path)
    latents = load_latents(runs[1] / "sea" / "prepare")["still"]
    film, through = studio.film(sea, still.picture)
    assert np.array_equal(through, decode(studio.pipe.vae, latents)[0])
    itself = matrix.figures(sea.real, still.picture, through, sea)
    assert itself["motion"] == itself["flow speed"] == itself["flow-warp"] == 1
    same = matrix.figures(np.stack([through] * 3), still.picture, through, sea)
    assert (same["motion"], same["detail"], same["frame 0, dB"]) == (0, 1, 0)


def test_a_cell_is_made_once_and_anew_where_anything_behind_it_changed(runs, tmp_path, monkeypatch):
    list(matrix.filmed(*grid(runs, tmp_path)))
    films = []
    real = matrix.Studio.film
    monkeypatch.setattr(matrix.Studio, "film", lambda self, clip, still: films.append(clip.name) or real(self, clip,
                                                                                                        still))
    again = list(matrix.filmed(*grid(runs, tmp_path)))
    assert films == [] and again[0][2]["clip"] == "sea"
    (tmp_path / "sky" / "sea" / "cell.json").unlink()  # interrupted before its row
    clips, stills, studio, store = grid(runs, tmp_path)
    stills[1].picture[0, 0] ^= 1
    list(matrix.filmed(clips, stills, studio, store))
    assert films == ["sky", "sea", "sky"]


def test_the_figure_frames_each_film_by_the_bounds_that_it_breaks():
    pictures = [matrix.Still(n, np.full((64, 64, 3), 90, np.uint8), matrix.OWN) for n in ("sea", "sky", "pond scene")]
    runs = [matrix.Clip(n, *[np.zeros((3, 64, 64, 3), np.uint8)] * 2, None, "", 8.0) for n in ("sea", "sky")]
    films = {(r["clip"], r["still"]): np.full((3, 64, 64, 3), 200, np.uint8) for r in ROWS}
    sheet = np.asarray(matrix.figure(films, ROWS, pictures, runs))
    step, colours = matrix.CELL + matrix.GAP, [tuple(bytes.fromhex(c[1:])) for c in matrix.HEAT]
    for line, clip in enumerate(("sea", "sky"), 1):
        for column, still in enumerate(("sea", "sky", "pond scene"), 1):
            broken = next(len(matrix.broken(r)) for r in ROWS if (r["clip"], r["still"]) == (clip, still))
            corner = sheet[18 + step * line + 1, matrix.LEFT + step * column + 1]
            assert tuple(corner) == colours[broken], (clip, still)
    assert (sheet == 200).all(-1).sum() >= 6 * 60 * 60


def test_stills_of_runs_scenes_and_footage_are_of_one_size(runs, tmp_path):
    found = matrix.stills(["sea", "sky"], runs[1], tmp_path)
    assert [s.name for s in found][:3] == ["sea", "sky", "ocean scene"] and len(found) == 8, "no footage is there"
    assert {s.picture.shape for s in found} == {(SIZE, SIZE, 3)}


def test_the_docs_have_the_report_of_the_committed_cells():
    name = "benchmarks/results/matrix.json"
    kept = json.loads((REPOSITORY / name).read_text(encoding="utf-8"))
    page = (REPOSITORY / "docs" / "own-video.md").read_text(encoding="utf-8")
    said = page.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0]
    wanted = matrix.report(kept["cells"], kept["sample"])
    assert said == wanted, f"python -m benchmarks.matrix --report {name} prints it"
    assert (REPOSITORY / "docs" / "matrix.webp").stat().st_size < 60_000
