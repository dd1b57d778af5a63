"""Films collected for the page, and the one that is broken."""

import json
from itertools import pairwise

import numpy as np

from eval.study import films
from lnm import video
from lnm.cli import main as command


def film(seed, frames=4, height=32, width=32):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def fabricate(root, name, methods=("ours", "frame_by_frame"), seeds=2):
    """results/<name>/sample as the sample stage leaves it, and the held-out frames."""
    folder = root / "results" / name
    for method in methods:
        for k in range(seeds):
            video.write_mp4(folder / "sample" / method / f"seed_{k}" / "film.mp4", film(k), 8)
    (folder / "sample" / "films.json").write_text(json.dumps({"fps": 8, "num_frames": 4, "methods": list(methods)}))
    video.write_frames(folder / "prepare" / "heldout", film(9, 7))


def test_films_of_the_run_and_of_others_come_together(project):
    fabricate(project, "ocean")
    fabricate(project, "rain")
    video.write_mp4(project / "inputs" / "baselines" / "cogvideo" / "ocean.mp4", film(1, 30, 48, 97)[:, :, :96], 16)
    results, videos = project / "results", ["ocean", "rain"]
    scenes = films.collect(results, videos)
    assert {scene: list(films) for scene, films in scenes.items()} == {"ocean": ["ours", "frame_by_frame", "cogvideo"],
                                                                      "rain": ["ours", "frame_by_frame"]}
    assert scenes["ocean"]["ours"] == (results / "ocean" / "sample" / "ours" / "seed_0" / "film.mp4").read_bytes()
    (project / "c.mp4").write_bytes(scenes["ocean"]["cogvideo"])
    clip = video.read(project / "c.mp4")
    assert (clip.frames.shape, clip.fps) == ((4, 48, 48, 3), 8)  # the run's frame rate and number, its own square
    named = films.collect(results, ["ocean"], ["heldout", "ours"], films=2)
    assert {scene: list(films) for scene, films in named.items()} == {"ocean/seed_0": ["heldout", "ours"],
                                                                     "ocean/seed_1": ["ours"]}


def test_films_that_are_missing_or_misnamed_are_one_clear_line(project, capsys):
    fabricate(project, "ocean", methods=("ours",))

    def error(*arguments):
        assert command(["study", "build", *arguments]) == 2
        said = capsys.readouterr().err.splitlines()
        assert not (project / "results" / "human_study").exists() and said[-1].startswith("error: ")
        return said[-1]

    assert "rain: no films" in error() and "dvc repro sample@rain" in error()
    assert "no video has films of two methods" in error("--videos", "ocean")
    wanted = error("--videos", "ocean", "--methods", "ours,sora")
    assert wanted.endswith("sora: no films of this method for ocean; there are films of heldout, ours")
    video.write_frames(project / "inputs" / "baselines" / "mine" / "ocean", film(0))
    for asked in ("sora,ours", "heldout,sora", "mine,sora"):
        said = error("--videos", "ocean", "--methods", asked)
        assert said.endswith("there are films of heldout, mine, ours"), "all of them, whatever is asked"
    for name in ("catch-me", "a vs b", "a|b", "SIMULATED-x"):
        folder = project / "inputs" / "baselines" / name
        video.write_frames(folder / "ocean", film(0))
        assert f"{name}: a method's name may not" in error("--videos", "ocean")
        folder.rename(project / "inputs" / name.replace("|", ""))
    video.write_frames(project / "inputs" / "baselines" / "ours" / "ocean", film(0))
    assert "the name ours is taken by this run" in error("--videos", "ocean")
    video.write_frames(project / "inputs" / "baselines" / "a" / "lake", film(0))
    assert "its frame rate is unknown; give --fps" in error("--videos", "lake")
    (project / "c.txt").write_bytes(b"\xff")
    assert "c.txt: not UTF-8" in error("--videos", "ocean", "--consent", "c.txt")
    assert "no such file" in error("--consent", "none.txt")
    for fps in ("-1", "0", "nan", "inf", "1e9"):  # -1 made films without end
        assert "must be above 0 and at most 240" in error("--videos", "lake", f"--fps={fps}")
    assert "give 6 or more for at most 0.02" in error("--videos", "lake", "--fps", "8", "--catch", "5")


def test_the_command_builds_one_file_of_every_pair_question_and_catch_trial(project, capsys):
    fabricate(project, "ocean")
    fabricate(project, "rain", methods=("ours",))
    for name in ("cogvideo", "sora"):
        video.write_frames(project / "inputs" / "baselines" / name / "lake", film(3))
    assert command(["study", "build", "--videos", "ocean,rain,lake", "--fps", "8", "--catch", "7"]) == 0
    said = capsys.readouterr()
    assert "11 trials, 7 of them catch trials: who presses at random passes these with probability 0.0078" in said.out
    assert "rain: films of ours only; not asked about" in said.err
    page = project / "results" / "human_study" / "study.html"
    first = page.read_bytes()
    study = json.loads(page.read_text().partition('id="study">')[2].partition("</script>")[0])
    asked = {(t["scene"], t["question"], *t["conditions"]) for t in study["trials"] if not t["is_catch"]}
    pairs = (("ocean", "ours", "frame_by_frame"), ("lake", "cogvideo", "sora"))
    assert asked == {(scene, q, a, b) for scene, a, b in pairs for q in ("preference", "realism")}
    assert all(text.startswith("data:video/mp4;base64,") for text in study["films"]) and len(study["films"]) == 11
    assert command(["study", "build", "--videos", "ocean,rain,lake", "--fps", "8", "--catch", "7"]) == 0
    assert page.read_bytes() == first
    assert command(["study", "build", "--videos", "ocean", "--catch", "6", "--ties"]) == 0
    assert page.read_bytes() != first and b"catch-7" not in page.read_bytes()


def test_a_broken_film_is_plainly_worse_and_does_not_flash(project):
    smooth = np.ones((4, 32, 32, 3), np.uint8) * np.linspace(40, 200, 32, dtype=np.uint8)[:, None, None]
    good = films.mp4(smooth, 8)
    (project / "b.mp4").write_bytes(films.broken(good, 0))
    frames = video.read(project / "b.mp4").frames.astype(float)
    assert frames.shape == smooth.shape
    assert np.abs(np.diff(frames, axis=2)).mean() > 30  # neighbours differ: grain
    assert all(np.abs(a - b).mean() < 5 for a, b in pairwise(frames))
