"""The ablations' table: each arm beside its base, sentences made of the numbers, and what is said of a part of them."""

import json

import numpy as np
import pytest
from PIL import Image

from eval.publish.figures.ablations import ablations
from eval.records import ablations as records
from eval.records.ablations import differs, markdown, measured
from lnm.errors import UserError

ARMS = {"base": ("base", "-", "", "base"), "cosine": ("beta schedule", "cosine", "the checkpoint's", "base"),
        "mask_0": ("mask", "0", "1", "base"), "no_fps": ("fps conditioning", "off", "on", "base"),
        "scaled": ("beta schedule", "scaled", "the checkpoint's", "base"),
        "long": ("steps", "1800", "", "long"), "longer": ("steps", "3600", "1800", "long")}
ABOUT = {"video": "drift", "checkpoint": "tiny", "steps": 4}


def drift(shift, seed=0, frames=6):
    """A film uint8 (F, 32, 32, 3) of a smooth pattern that moves by `shift` pixels a step."""
    rows, columns = np.mgrid[:32, :32]
    angle = np.random.default_rng(seed).uniform(0, 6)
    film = [np.sin((columns - shift * t) / 2.5 + angle) + np.sin(rows / 3) for t in range(frames)]
    return np.repeat((60 * (np.stack(film) + 2)).astype(np.uint8)[..., None], 3, axis=3)


def leave(folder, arm, seed, loss, shift=1.0, video="drift", same_as=None, **more):
    """A run as `lnm ablation` leaves it. more: of its note."""
    choice, value, against, beside = ARMS[arm]
    run = folder / arm / f"seed_{seed}"
    (run / "film").mkdir(parents=True)
    note = {"arm": arm, "seed": seed, "video": video, "steps": 4, "choice": choice, "value": value, "against": against,
            "beside": beside, "fps": 8.0} | more
    if same_as:
        (run / "run.json").write_text(json.dumps(note | {"same_as": same_as}))
        return
    (run / "run.json").write_text(json.dumps(note | {"loss": {"5": loss, "8": 2 * loss}}))
    for k, frame in enumerate(drift(shift, seed)):
        Image.fromarray(frame).save(run / "film" / f"{k:04}.png")


@pytest.fixture
def runs(tmp_path):
    """Cosine is worse by far in the loss, mask 0 is not told from the base, the frame rate off moves twice as fast."""
    for seed in (0, 1):
        leave(tmp_path, "base", seed, 0.100 + 0.001 * seed)
        leave(tmp_path, "cosine", seed, 0.200 + 0.001 * seed)
        leave(tmp_path, "mask_0", seed, 0.1005 + 0.001 * seed)
        leave(tmp_path, "no_fps", seed, 0.0995 + 0.001 * seed, shift=2.0)
        leave(tmp_path, "scaled", seed, 0, same_as="base")
    return tmp_path


def table_of(runs, arms=("base", "cosine", "mask_0", "no_fps", "scaled"), seeds=(0, 1)):
    return measured(runs, drift(1.0, frames=9), [(arm, seed) for arm in arms for seed in seeds], ABOUT)


def test_the_sentences_say_what_the_numbers_say(runs):
    table = table_of(runs)
    said = table["sentences"]
    assert said["cosine"].startswith("Beta schedule, cosine in place of the checkpoint's: held-out loss 0.2005 against "
                                     "0.1005, 100% more (p < 0.001); held-out loss of 8 frames 0.4010 against 0.2010")
    assert "no difference larger than between seeds in flow-warp error" in said["cosine"]
    assert said["mask_0"].startswith("Mask, 0 in place of 1: no difference larger than between seeds in held-out loss "
                                     "(0.1010 against 0.1005), held-out loss of 8 frames")
    assert "speed" in said["no_fps"].split("no difference")[0] and "further from the clip's" in said["no_fps"]
    assert "held-out loss" in said["no_fps"].split("no difference")[1]
    assert said["scaled"] == ("Beta schedule, scaled in place of the checkpoint's: the same here, as the checkpoint's "
                              "own is that already.")
    assert set(said) == {"cosine", "mask_0", "no_fps", "scaled"}, "the base is no choice"


def test_films_are_measured_as_multiples_of_the_clip_of_as_many_frames(runs):
    arms = table_of(runs)["arms"]
    assert arms["base"]["values"]["speed"] == pytest.approx([1.0, 1.0], abs=0.25)
    assert np.mean(arms["no_fps"]["values"]["speed"]) == pytest.approx(2.0, abs=0.4)
    assert arms["base"]["values"]["loss"] == [0.100, 0.101] and arms["base"]["values"]["loss_8"] == [0.200, 0.202]
    assert differs(arms["cosine"], "loss") and not differs(arms["mask_0"], "loss")
    assert not differs(arms["base"], "loss"), "it stands beside itself"


def test_equal_runs_are_no_difference(tmp_path):
    for seed in (0, 1):
        for arm in ("base", "mask_0"):
            leave(tmp_path, arm, seed, 0.1)
    (said,) = table_of(tmp_path, ("base", "mask_0"))["sentences"].values()
    assert said.startswith("Mask, 0 in place of 1: no difference larger than between seeds in held-out loss (0.1000 ag")
    assert "p =" not in said and "p <" not in said


def test_a_part_of_the_runs_is_shown_and_said_to_be_one(runs):
    table = table_of(runs, ("base", "cosine", "mask_0", "no_fps", "scaled", "long", "longer"))
    assert (table["done"], table["wanted"]) == (10, 14)
    assert table["missing"] == [["long", 0], ["long", 1], ["longer", 0], ["longer", 1]]
    text = markdown(table)
    assert text.startswith("10 of 14 runs, of drift, 4 steps each. Not trained yet: long and longer.\n")
    leave(runs, "long", 1, 0.09)
    assert "Not trained yet: long (seed 0)." in markdown(table_of(runs, ("base", "long")))
    assert "| mask " in text and "0.2005 * (0.2000, 0.2010)" in text and text.count("\n- ") == 4


def test_an_arm_without_its_base_or_of_one_seed_says_nothing(tmp_path):
    leave(tmp_path, "cosine", 0, 0.2)
    (said,) = table_of(tmp_path, ("base", "cosine"))["sentences"].values()
    assert said.endswith("nothing to compare with, for base has not been trained.")
    leave(tmp_path, "base", 0, 0.1)
    (said,) = table_of(tmp_path, ("base", "cosine"))["sentences"].values()
    assert said.endswith("nothing can be said of one seed each.")


def test_arms_about_steps_stand_beside_each_other_and_not_beside_the_base(runs):
    for seed in (0, 1):
        leave(runs, "long", seed, 0.09 + 0.001 * seed)
        leave(runs, "longer", seed, 0.05 + 0.001 * seed)
    said = table_of(runs, ("base", "mask_0", "long", "longer"))["sentences"]
    assert set(said) == {"mask_0", "longer"}
    assert said["longer"].startswith("Steps, 3600 in place of 1800: held-out loss 0.0505 against 0.0905, 44% less")


def test_arms_of_other_noise_have_a_second_table_beside_the_one_that_they_stand_beside(runs):
    assert "independent, mixed or progressive" not in markdown(table_of(runs)), "all are of independent noise"
    for seed in (0, 1):
        leave(runs, "long", seed, 0.09, loss_by_noise={"independent": 0.09, "mixed": 0.14 + 0.01 * seed})
        leave(runs, "longer", seed, 0.12, noise="mixed", loss_by_noise={"independent": 0.12, "mixed": 0.08})
    table = table_of(runs, ("base", "mask_0", "long", "longer"))
    assert table["arms"]["long"]["by_noise"]["mixed"] == pytest.approx([0.14, 0.15])
    text = markdown(table).split("independent, mixed or progressive:\n\n")[1]
    cells = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in text.splitlines()]
    assert cells[0] == ["arm", "independent", "mixed"] and cells[2:] == [
        ["long", "0.0900 (0.0900, 0.0900)", "0.1450 (0.1400, 0.1500)"],
        ["longer", "0.1200 (0.1200, 0.1200)", "0.0800 (0.0800, 0.0800)"]]


def test_no_run_and_runs_of_two_clips_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no arm has been trained yet; run `lnm ablations`"):
        table_of(tmp_path)
    leave(tmp_path, "base", 0, 0.1)
    leave(tmp_path, "base", 1, 0.1, video="other")
    with pytest.raises(UserError, match="runs of 2 clips"):
        table_of(tmp_path, ("base",))


def test_the_figure_has_a_row_an_arm_and_is_the_same_again(runs, tmp_path):
    table = table_of(runs)
    (path,) = ablations(table, tmp_path / "a.png")
    (again,) = ablations(json.loads(json.dumps(table)), tmp_path / "b.png")
    assert path.read_bytes() == again.read_bytes() and Image.open(path).width > 1000
    assert records.VERSION == table["version"] == 1
