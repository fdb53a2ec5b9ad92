"""The picture of a report."""
import re
import sys

import pytest

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, CheckpointError, DependencyError
from golden_stick.prune.report import LayerReport, _colours, draw
from tests import networks


@pytest.fixture(scope="module")
def report():
    algorithm = gs.OneShot({"prune_rate": 0.5})
    algorithm.apply(networks.randomize(networks.SmallNet()), inputs=networks.SMALL_INPUT)
    return algorithm.report


@pytest.mark.parametrize("kind, begin", [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_every_format(report, tmp_path, kind, begin):
    path = tmp_path / f"groups.{kind}"
    draw(report, str(path))
    assert path.read_bytes().startswith(begin)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_the_picture_names_every_layer_and_what_it_lost(report, tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(report, str(tmp_path / "groups.svg"))
    text = re.sub(r"<[^>]+>", "\n", (tmp_path / "groups.svg").read_text())
    for layer in report.layers:
        assert re.search(rf"^{re.escape(layer.path)}$", text, re.MULTILINE)
        assert f"{layer.before} → {layer.after}" in text


def test_layers_that_share_channels_have_one_colour():
    def layer(path, *others):
        return LayerReport(path, 8, 4, 0, (), others)

    layers = (layer("a", "c"), layer("b"), layer("c", "a"), layer("d"))
    assert _colours(layers) == {"a": 0, "b": 1, "c": 0, "d": 2}


def test_another_format_is_refused(report, tmp_path):
    with pytest.raises(ArgumentError, match="For 'draw', 'path' must end in one of svg, png, pdf, but got"):
        draw(report, str(tmp_path / "groups.gif"))


def test_a_folder_that_is_missing_is_named(report, tmp_path):
    with pytest.raises(CheckpointError, match="For 'draw', the folder of 'path' must exist"):
        draw(report, str(tmp_path / "nowhere" / "groups.svg"))


def test_without_matplotlib_the_remedy_is_named(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match=r"matplotlib must be installed.*pip install 'golden-stick\[reports\]'"):
        draw(report, str(tmp_path / "groups.svg"))
