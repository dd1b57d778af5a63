"""Networks for tests: FID's own where its weights are, and a CLIP of random weights."""

import json
from pathlib import Path

import pytest
from conftest import REPOSITORY

from eval.features.inception import INCEPTION_FILE

WEIGHTS = REPOSITORY / "weights" / INCEPTION_FILE
needs_inception = pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"no weights/{INCEPTION_FILE}: set-up fetches it")


def tiny_clip(folder: Path) -> Path:
    """A CLIP of random weights in open_clip's folder layout (its own tokenizer)."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()},
              folder / "open_clip_model.safetensors")
    preprocess = {"size": 32, "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return folder
