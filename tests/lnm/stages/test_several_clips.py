"""Several clips of one video: each is cut, held out and learned from by itself."""

import json

import numpy as np
import pytest
import torch
from tiny import SIZE, tiny_finetune, write_tiny_checkpoint

from eval.metrics import copying
from eval.records.video import evaluate_video
from lnm import batches, latents, video
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.latents import load_latents, training_clips
from lnm.settings import Finetune, Sample
from lnm.stages.finetune import finetune
from lnm.stages.prepare import prepare
from lnm.stages.sample import sample_films
from lnm.validation import samples, split


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips of other sizes and lengths: a of 16 frames of 64 x 48 pixels, b of 12 of 40 x 60."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, (name, count, shape) in enumerate((("a", 16, (48, 64, 3)), ("b", 12, (60, 40, 3)))):
        picture = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        video.write_frames(folder / name, np.stack([np.roll(picture, i, axis=1) for i in range(count)]))
    return folder


def prepared(tiny, folder, out, **changes):
    return prepare(folder / "a", out, **{"fps": 8, "prompts": ["waves"], "checkpoint": str(tiny), "size": SIZE, "name":
                                         "sea", "device": "cpu", "clips": [{"path": folder / "b"}]} | changes)


def test_each_clip_is_held_out_and_encoded_by_itself(tiny, folder, tmp_path):
    facts = prepared(tiny, folder, tmp_path)
    a, b = (video.read(folder / name, 8, SIZE).frames for name in "ab")
    assert (facts["frames_train"], facts["frames_heldout"]) == (12, 4)
    (other,) = facts["clips"]
    assert (other["frames_train"], other["frames_heldout"], other["source_size"]) == (9, 3, [40, 60])
    for part, frames in (("train", a[:12]), ("heldout", a[12:]), ("clips/2/train", b[:9]), ("clips/2/heldout", b[9:])):
        assert np.array_equal(video.read_frames(tmp_path / part), frames), part
    vae, cached = open_checkpoint(str(tiny)).vae, load_latents(tmp_path)
    one, two = training_clips(cached)
    torch.testing.assert_close(one, latents.encode(vae, a[:12]))
    torch.testing.assert_close(two, latents.encode(vae, b[:9]))
    findings = [found["name"] for found in json.loads((tmp_path / "preflight.json").read_text())["findings"]]
    assert "still" in findings and "clip 2: motion" in findings
    prepared(tiny, folder, tmp_path, clips=())  # once more, with one
    assert not (tmp_path / "clips").exists() and len(training_clips(load_latents(tmp_path))) == 1


def test_a_clip_that_is_too_short_is_named(tiny, folder, tmp_path):
    with pytest.raises(UserError, match=r"videos.sea: clip 2: .*b gives 6 frames at 8 fps, at least 7 are needed"):
        prepared(tiny, folder, tmp_path / "out", clips=[{"path": folder / "b", "end": 0.75}])
    with pytest.raises(UserError, match=r"videos.sea: clip 2: .*does not lie inside the picture, which is 40 x 60"):
        prepared(tiny, folder, tmp_path / "out", clips=[{"path": folder / "b", "crop": [0, 0, 48, 48]}])
    assert not (tmp_path / "out").exists()
    settings = Finetune(frames=5, strides=[2], steps=3)
    with pytest.raises(UserError, match="sea: clip 2: 8 training frames, .* need 9"):
        batches.check_lengths([torch.zeros(9, 1, 1, 1), torch.zeros(8, 1, 1, 1)], settings, "sea")


def numbered(count, first=0):
    return torch.arange(first, first + count, dtype=torch.float32).reshape(count, 1, 1, 1)


def test_no_sample_reaches_over_two_clips_and_every_place_is_drawn_as_often():
    clips, settings = [numbered(6), numbered(3, 100), numbered(12, 200)], Finetune(frames=3, strides=[1, 2])
    drawn = [batches.draw_clips(clips, settings, 8.0, np.random.default_rng(k)) for k in range(3000)]
    first = [(int(clip.flatten()[0]), int(8 / rate)) for (clip,), (rate,), _ in drawn]
    for clip, rate, ((which, rows),) in drawn:
        assert torch.equal(clips[which][rows].flatten(), clip.flatten())
        assert clip.flatten().diff().tolist() == [8 / rate.item()] * 2
    for stride, places in ((1, [0, 1, 2, 3, 100, *range(200, 210)]), (2, [0, 1, *range(200, 208)])):
        counts = {place: first.count((place, stride)) for place in places}
        assert sum(counts.values()) == sum(s == stride for _, s in first)
        assert min(counts.values()) > 0.6 * 1500 / len(places)


def test_a_list_of_one_clip_is_that_clip():
    settings = Finetune(frames=3, strides=[1, 2], batch_size=4)
    for k in range(20):
        one, other = (batches.draw_clips(given, settings, 8.0, np.random.default_rng(k))
                      for given in (numbered(9), [numbered(9)]))
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) and one[2] == other[2]


def test_a_step_is_chosen_by_the_last_part_of_each_clip():
    settings = Finetune(frames=3, strides=[1], validation=0.25)
    train, held = split([numbered(20), numbered(4, 100)], settings)
    assert [part.flatten().tolist()[-1] for part in train] == [14, 100]
    assert [part.flatten().tolist() for part in held] == [[15, 16, 17, 18, 19], [101, 102, 103]]
    assert [sample.flatten().tolist() for sample in samples(held, settings)] == [
        [15, 16, 17], [17, 18, 19], [101, 102, 103]]


def test_two_clips_from_the_fine_tune_to_the_numbers(tiny, folder, tmp_path, monkeypatch):
    results = tmp_path / "results" / "sea"
    prepared(tiny, folder, results / "prepare")
    tuned = tiny_finetune(tiny, learning_rate=3e-3)
    files = {}
    for name, of in (("finetune", results / "prepare"), ("alone", tmp_path / "alone")):
        if name == "alone":
            prepared(tiny, folder, of, clips=())
        finetune(of, results / name, tmp_path / "store" / name, **tuned)
        files[name] = (results / name / "temporal.safetensors").read_bytes()
    assert files["finetune"] != files["alone"], "the second clip is learned from"
    sample_films(results / "prepare", results / "finetune" / "temporal.safetensors", results / "sample",
                 settings=Sample(num_frames=4, num_inference_steps=2, seeds=1), checkpoint=str(tiny), device="cpu")
    second = video.read_frames(results / "prepare" / "clips" / "2" / "train")
    film = results / "sample" / "ours" / "seed_0"
    video.write_frames(film, second[:4])  # a copy of what was learned from
    (tmp_path / "params.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    found = evaluate_video({"video": "sea", "seed": 0, "clip": None, "fid": False, "device": "cpu"}, results,
                           results / "evaluate")
    assert found["methods"]["ours"]["nearest_rmse"]["value"] == 0, "copies are looked for in every clip"
    first = video.read_frames(results / "prepare" / "train")
    assert copying.nearest_rmse(second[:4], first).min() > 0.1
    assert found["reference"]["frames_train"] == 12 and found["reference"]["frames_heldout"] == 4
    assert found["interval"]["not_covered"] == "one still, one set of clips and one fine-tune"
