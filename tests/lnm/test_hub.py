"""Temporal files on the model hub: from its cache without a network, and pushed with a card."""

import huggingface_hub
import pytest
import yaml
from cached import cached
from tiny_unet import tiny_unet2d, wake

from lnm import hub
from lnm.errors import UserError
from lnm.temporal_file import TemporalNotes, read_temporal, save_temporal
from lnm.unet import UNetPseudo3DConditionModel

NOTES = TemporalNotes(schedule={"beta_schedule": "scaled_linear", "prediction_type": "epsilon"}, mask_value=0.0,
                      fps=8.0, frames=5, strides=[1, 2], prompt="ocean waves", steps=420,
                      checkpoint="somebody/inpainting")


@pytest.fixture
def temporal(tmp_path):
    path = tmp_path / "made" / "temporal.safetensors"
    path.parent.mkdir()
    save_temporal(wake(UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d())), path, NOTES)
    return path


def test_a_path_a_folder_and_a_hub_name_in_the_cache_are_found(temporal, tmp_path, monkeypatch):
    assert hub.locate_temporal(temporal) == temporal
    assert hub.locate_temporal(str(temporal.parent)) == temporal
    cached(tmp_path / "cache", "somebody/waves", temporal.parent, monkeypatch)
    found = hub.locate_temporal("somebody/waves")
    assert found != temporal and read_temporal(found).notes == NOTES


@pytest.mark.parametrize("name, words", [("none.safetensors", "no such temporal file"), ("a/b/c", "no such temporal"),
                                         ("somebody/nothing", "neither a file here nor")])
def test_what_is_nowhere_is_one_line(tmp_path, monkeypatch, name, words):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=words) as error:
        hub.locate_temporal(name)
    assert name in str(error.value) and "\n" not in str(error.value)


class StandIn:
    """What HfApi is asked for."""

    calls = []

    def __init__(self, token=None):
        self.token = token

    def create_repo(self, repo_id, private=None, exist_ok=None):
        self.calls.append(("create", repo_id, private, exist_ok, self.token))
        return f"https://hub/{repo_id}"

    def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id):
        with open(path_or_fileobj, "rb") as f:
            self.calls.append(("upload", repo_id, path_in_repo, f.read()))


def test_push_uploads_the_file_and_a_card_that_says_what_it_is(temporal, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", StandIn)
    monkeypatch.setattr(StandIn, "calls", [])
    assert hub.push_temporal(temporal, "somebody/waves", private=True, token="t", title="Waves") == "https://hub/somebody/waves"
    created, card, file = StandIn.calls
    assert created == ("create", "somebody/waves", True, True, "t")
    assert file == ("upload", "somebody/waves", "temporal.safetensors", temporal.read_bytes())
    assert card[:3] == ("upload", "somebody/waves", "README.md")
    _, head, body = card[3].decode().split("---\n", 2)
    assert yaml.safe_load(head) == {"library_name": "latentmovies", "pipeline_tag": "image-to-video",
                                    "base_model": "somebody/inpainting",
                                    "tags": ["image-to-video", "temporal-layers", "diffusers"]}
    assert body.startswith("# Waves\n")
    for words in ("| prompt | ocean waves |", "| frames a second | 8.0 |", "| mask value | 0.0 |", "| steps | 420 |",
                  "| noise schedule | scaled_linear |", "| predicts | epsilon |", "| strides | [1, 2] |"):
        assert words in body
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert 'from_pretrained("somebody/inpainting", temporal="somebody/waves")' in code and "fps=8)" in code


def test_a_card_quotes_what_would_break_its_code_and_leaves_out_what_is_not_known():
    card = hub.model_card(TemporalNotes(prompt='a "calm"\n| sea\\', checkpoint="lnm-mini"), "somebody/sea")
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert "base_model" not in card and "| steps |" not in card and card.count("None") == 0
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "latentmovies"


def test_a_hub_out_of_reach_is_one_line_and_only_temporal_files_are_pushed(temporal, tmp_path, monkeypatch):
    class Refusing(StandIn):
        def create_repo(self, *args, **kwargs):
            raise OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "HfApi", Refusing)
    with pytest.raises(UserError, match="somebody/waves: not pushed.*no route.*hf auth login") as error:
        hub.push_temporal(temporal, "somebody/waves")
    assert "\n" not in str(error.value)
    (tmp_path / "bad.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="not a readable"):
        hub.push_temporal(tmp_path / "bad.safetensors", "somebody/waves")
