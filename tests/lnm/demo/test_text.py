"""The small tokenizer keeps CLIP's conventions and reads any text; captions of photographs say what is seen."""

from lnm.demo.mini.images import photo_caption
from lnm.demo.mini.text import tokenize, train_tokenizer


def test_long_prompts_keep_their_end_token_and_the_end_has_the_highest_id(tmp_path):
    tokenizer = train_tokenizer(tmp_path, ["ocean waves at sunset"] * 3)
    ids = tokenize(tokenizer, ["waves " * 200, "waves", ""])
    assert ids.shape == (3, 77) and ids.max() == tokenizer.eos_token_id == len(tokenizer) - 1
    assert (ids[:, 0] == tokenizer.bos_token_id).all() and ids[0, -1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[1], skip_special_tokens=True).strip() == "waves"


def test_the_tokenizer_reads_any_text(tmp_path):
    tokenizer = train_tokenizer(tmp_path, ["ocean waves"])
    for text in ("Ægir's wild 3-metre SURF!", "海の波", "🌊"):
        assert tokenizer.unk_token_id not in tokenizer(text).input_ids[1:-1]


def test_photograph_captions_say_only_what_is_seen():
    assert photo_caption("ferry Linge - Eidsdal") == "a photo of a ferry on the sea"
    assert photo_caption("Værøy") == ""
