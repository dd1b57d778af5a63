"""A run as the stages before the evaluation leave it, without any of them."""

import json
import shutil

import numpy as np

from lnm import video

SIZE, FPS, COUNT, HELDOUT = 32, 8, 6, 9
PROMPT = 'waves <script>alert("x")</script> & foam'


def clip_frames(seed, count):
    """A picture that slides by one pixel a frame."""
    import cv2

    noise = np.random.default_rng(seed).standard_normal((SIZE, 2 * SIZE, 3)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 1.5)
    picture = np.uint8(np.clip(128 + 40 * picture / picture.std(), 0, 255))
    return np.stack([picture[:, t:t + SIZE] for t in range(count)])


def fabricate(results, name, seed, **films):
    """results/<name>/ as the stages before leave it: ours repeats the real clip exactly, the checkpoint flickers."""
    import cv2

    real = clip_frames(seed, 12 + HELDOUT)
    train, heldout = real[:12], real[12:]
    vae = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.8) for frame in heldout])
    folder = results / name
    for part, frames in (("train", train), ("heldout", heldout), ("heldout_vae", vae)):
        video.write_frames(folder / "prepare" / part, frames)
    shutil.copy(folder / "prepare" / "heldout" / "00000.png", folder / "prepare" / "still.png")
    (folder / "prepare" / "clip.json").write_text(json.dumps({
        "video": name, "fps": FPS, "size": SIZE, "frames_train": 12, "frames_heldout": HELDOUT,
        "source": f"data/{name}.mp4", "credit": "A. Author, CC BY 4.0",
    }))
    rng = np.random.default_rng(seed)
    for k in range(2):
        video.write_frames(folder / "sample" / "ours" / f"seed_{k}", vae[:COUNT] if k else heldout[:COUNT])
        flicker = np.clip(heldout[:COUNT] + rng.normal(0, 60, (COUNT, 1, 1, 3)), 0, 255).astype(np.uint8)
        video.write_frames(folder / "sample" / "frame_by_frame" / f"seed_{k}", flicker)
    (folder / "sample" / "films.json").write_text(json.dumps({
        "video": name, "prompt": PROMPT, "fps": FPS, "num_frames": COUNT, "num_inference_steps": 15,
        "guidance_scale": 1.0, "mask_value": 1, "first_frame": "free", "seeds": [0, 1],
        "methods": ["ours", "frame_by_frame"],
        "checkpoint": "checkpoints/lnm-mini", "temporal_sha256": "ab" * 32,
    } | films))
    for number, stage in enumerate(("prepare", "finetune", "sample", "evaluate"), 1):
        book = folder / "notebooks" / f"{number}_{stage}.ipynb"
        book.parent.mkdir(exist_ok=True)
        book.write_text("{}")
    log = folder / "finetune" / "log.csv"
    log.parent.mkdir()
    log.write_text("step,loss,lr,grad_norm\n" + "".join(f"{s},{1 / (s + 1)},0.0001,1\n" for s in range(60)))


def settings(name, **changes):
    return {"video": name, "seed": 0, "clip": None, "fid": False, "device": "cpu"} | changes
