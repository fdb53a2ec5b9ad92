"""Options: the file gives defaults, the command line wins, and a misspelt key never passes silently."""
import re

import pytest
from options import STEPS, parse_options

from tests.examples.conftest import EXAMPLES

CONFIGS = sorted((EXAMPLES / "resnet_cifar10" / "configs").glob("*.yaml"))


def written(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return str(path)


def error_of(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        parse_options(*arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_the_command_line_wins_over_the_step_which_wins_over_the_top_of_the_file(tmp_path):
    path = written(tmp_path, "batch_size: 16\nseed: 5\ntrain: {batch_size: 32, epochs: 4, learning_rate: 0.3}\n")
    options = parse_options("train", ["--config", path, "--epochs", "2"])
    assert (options.batch_size, options.seed, options.epochs, options.learning_rate) == (32, 5, 2, 0.3)
    assert parse_options("eval", ["--config", path]).batch_size == 16


def test_the_step_wins_wherever_it_stands_in_the_file(tmp_path):
    path = written(tmp_path, "train: {batch_size: 32}\nbatch_size: 16\n")
    assert parse_options("train", ["--config", path]).batch_size == 32


def test_keys_of_other_steps_are_checked_and_left_alone(tmp_path):
    path = written(tmp_path, "train: {epochs: 4}\nprune: {epochs: 1, prune_rate: 0.3}\n")
    options = parse_options("train", ["--config", path])
    assert options.epochs == 4 and not hasattr(options, "prune_rate")


def test_an_empty_file_changes_nothing(tmp_path):
    assert parse_options("eval", ["--config", written(tmp_path, "")]).network == "resnet20"


def test_an_unknown_key_is_named_with_the_nearest_right_one(tmp_path, capsys):
    for text, shown, near in (("networc: resnet20\n", "networc", "network"),
                              ("train: {epoch: 3}\n", "train.epoch", "epochs"),
                              ("prune: {prunerate: 0.5}\n", "prune.prunerate", "prune_rate"),
                              ("epochs: 3\n", "epochs", "")):
        message = error_of(capsys, "train", ["--config", written(tmp_path, text)])
        assert f"unknown key '{shown}' in " in message and f"did you mean '{near}" in message


def test_a_value_of_another_type_is_named(tmp_path, capsys):
    for text, shown in (("train: {epochs: 1.5}\n", "'epochs' in .* must be of type int, but got 1.5"),
                        ("train: {learning_rate: fast}\n", "'learning_rate' in .* must be of type float, but got "),
                        ("network: 20\n", "'network' in .* must be of type str, but got 20"),
                        ("train: {epochs: true}\n", "'epochs' in .* must be of type int, but got True"),
                        ("train: 5\n", "'train' in .* must hold keys with values, but got 5"),
                        ("[train, prune]\n", "must hold keys with values, but got a list")):
        assert re.search(shown, error_of(capsys, "train", ["--config", written(tmp_path, text)]))


@pytest.mark.parametrize("text", [None, "a: [1\n"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, capsys, text):
    path = str(tmp_path / "absent.yaml") if text is None else written(tmp_path, text)
    message = error_of(capsys, "train", ["--config", path])
    assert f"--config must be a readable YAML file, but got {path!r}" in message


def test_every_configuration_that_comes_with_the_example_fits_every_step():
    for path in CONFIGS:
        for step in STEPS:
            assert parse_options(step, ["--config", str(path)]).network.startswith("resnet")
