"""The checks on a real checkpoint find what is sound and what is not."""

from tiny import SIZE, write_tiny_checkpoint

from lnm.verify import main, verify_sd


def test_a_sound_checkpoint_passes_but_for_its_random_autoencoder(tmp_path, capsys):
    tiny = str(write_tiny_checkpoint(tmp_path / "tiny"))
    assert verify_sd(tiny, None, SIZE) is False  # random weights: no picture comes back
    said = capsys.readouterr().out
    assert said.count("pass ") == 4 and said.count("FAIL ") == 1 and "FAIL  the VAE" in said
    assert main(["--checkpoint", tiny, "--size", str(SIZE)]) == 1


def test_a_checkpoint_that_is_not_there_is_one_line(capsys):
    assert main(["--checkpoint", "inputs/nothing"]) == 2
    assert capsys.readouterr().err.startswith("error: checkpoint.name: there is no folder inputs/nothing")
