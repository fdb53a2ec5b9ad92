"""`golden-stick inspect`: which positions of the original a slim file's parameters kept."""
import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick import cli
from golden_stick.cli.show import as_ranges, inspection
from golden_stick.graph.plan import KeptAxis, LayerWidth, PruningPlan
from tests import networks

FIRST = tuple(index for index in range(200) if index % 3)
SECOND = (0, 1, 2, 5, 130)


def network():
    return nn.SequentialCell(nn.Conv2d(3, 200, 3), nn.BatchNorm2d(200), nn.ReLU(), nn.Conv2d(200, 4, 3))


def narrowed(one, size, kept):
    axes = [KeptAxis("0.weight", 0, size, kept), KeptAxis("3.weight", 1, size, kept)]
    axes += [KeptAxis(f"1.{name}", 0, size, kept) for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    return gs.slim(one, PruningPlan(tuple(axes), (), (), ()))


@pytest.fixture(scope="module", name="files")
def fixture_files(tmp_path_factory):
    """A folder with slim files of an original, pruned once and twice, and the original's values."""
    folder, built = tmp_path_factory.mktemp("files"), network()
    gs.save_slim(narrowed(narrowed(built, 200, FIRST), len(FIRST), SECOND), folder / "twice")
    gs.save_slim(narrowed(built, 200, FIRST), folder / "once.ckpt")
    ms.save_checkpoint(built, str(folder / "plain.ckpt"))
    return folder, {item.name: item.asnumpy() for item in built.get_parameters()}


@pytest.fixture(autouse=True)
def original(files, monkeypatch):
    monkeypatch.chdir(files[0])
    return files[1]


def shown(line, capsys):
    assert cli.main(["inspect", *line.split()]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_ranges():
    assert as_ranges([]) == []
    assert as_ranges([0, 1, 2, 5, 7, 8]) == ["0-2", "5", "7-8"]


@pytest.mark.parametrize("path", ["twice.safetensors", "once.ckpt"])
def test_the_positions_are_those_where_the_weights_stood(path, original, capsys):
    record = json.loads(shown(f"{path} --json", capsys))
    assert list(record["kept"]) == list(original)
    assert record["original_shapes"] == {name: list(array.shape) for name, array in original.items()}
    values = {item.name: item.asnumpy() for item in gs.load_slim(network(), path).get_parameters()}
    for name, array in original.items():
        for axis, found in record["kept"][name].items():
            assert found["of"] == array.shape[int(axis)]
            array = array.take(found["positions"], int(axis))
        np.testing.assert_array_equal(values[name], array)


def test_in_words_for_each_parameter(capsys):
    text = shown("twice.safetensors --kept", capsys)
    # Of the first pruning's, those in places 0, 1, 2, 5 and 130.
    for words in ("0.weight axis 0 5 of 200: 1-2, 4, 8, 196", "1.moving_variance axis 0 5 of 200: 1-2, 4, 8, 196",
                  "3.weight axis 1 5 of 200: 1-2, 4, 8, 196", "as counted in the original:"):
        assert words in text, text
    gs.save_slim(gs.slim(network(), PruningPlan((), (), (), ())), "whole")
    assert "0.weight whole" in shown("whole.safetensors --kept", capsys)


def test_a_large_network_fits_on_a_screen(capsys):
    """Forty layers of as many widths: the first changes are named, the others counted."""
    cells = [nn.Dense(width, width) for width in range(40, 80)]
    axes = [KeptAxis(f"{at}.weight", 0, width, tuple(range(width - 1))) for at, width in enumerate(range(40, 80))]
    layers = [LayerWidth(f"{at}", width, width - 1 - at % 2) for at, width in enumerate([40] * 10 + [*range(50, 80)])]
    plan = PruningPlan(tuple(axes), (), (), tuple(layers))
    assert cells
    gs.save_slim(gs.slim(nn.SequentialCell(*cells), plan), "large", {"accuracy": 0.5})
    assert cli.main(["inspect", "large.safetensors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 120
    assert "  40 -> 39  0, 2, 4 and 2 more" in lines and "  and 22 more changes of widths" in lines


def test_long_lists_in_full(capsys):
    everything = ", ".join(as_ranges(FIRST))
    text = shown("once.ckpt --kept", capsys)
    assert text.count(everything) == 6 and "..." not in text and "format version" in text
    text = shown("once.ckpt --parameter 3.weight --parameter 1.beta", capsys)
    assert text == f"3.weight axis 1 133 of 200: {everything} 1.beta axis 0 133 of 200: {everything}"


@pytest.mark.parametrize("line, message", [
    ("once.ckpt --parameter 1.gama", "'--parameter' must be a parameter of 'once.ckpt', but got '1.gama': the nearest "
     "name there is '1.gamma'"),
    ("plain.ckpt --kept", "'--kept' must stand with a slim file, but 'plain.ckpt' is a checkpoint."),
    ("plain.ckpt --parameter 1.gamma", "'--parameter' must stand with a slim file, but 'plain.ckpt' is a checkpoint."),
    ("once.ckpt --kept --parameter 1.gamma", "not allowed with argument"),
])
def test_what_is_refused(line, message, capsys):
    assert cli.main(["inspect", *line.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("golden-stick: error: ") and error.count("\n") == 1 and message in error, error


def test_one_number_of_parameters_wherever_one_is_told(tmp_path, monkeypatch):
    """Weights, biases, scales and shifts, and no moving statistics, by hand."""
    monkeypatch.chdir(tmp_path)
    net = networks.randomize(nn.SequentialCell(nn.Dense(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dense(8, 3)))
    before, after = (4 * width + width + 2 * width + 3 * width + 3 for width in (8, 5))
    algorithm = gs.OneShot({"prune_rate": 0.4})
    slim = algorithm.convert(algorithm.apply(net, (2, 4)))
    report, record = algorithm.report, inspection(gs.save_slim(slim, "slim"))
    card = gs.pruning_card(report, net, slim).record["parameters"]
    images = ms.Tensor(np.random.default_rng(0).standard_normal((200, 4)), ms.float32)
    certificate = gs.certify(net, {"same": net}, [(images, net.set_train(False)(images).argmax(1))])
    assert (report.parameters_before, report.parameters_after) == (before, after)
    assert (record["original_parameters"], record["parameters"]) == (before, after)
    assert (card["before"], card["after"]) == (before, after) and certificate.base.parameters == before
    assert algorithm.summary(net).startswith(f"SequentialCell: {before:,} parameters, {before:,} of them trained")
