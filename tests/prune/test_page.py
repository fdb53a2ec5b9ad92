"""The page of a report: what stands on it is what the records say, and a browser takes all of it for text."""
import json
from html.parser import HTMLParser

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick import cli
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError
from golden_stick.graph.plan import KeptAxis, PruningPlan
from golden_stick.prune.page import page_of
from golden_stick.prune.report import score_ranges
from tests import networks

SHAPE = networks.SMALL_INPUT
EMPTY = {"meta", "link", "br"}


class Page(HTMLParser):
    """Elements with their attributes, and the text of each heading, caption and cell; refuses what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.rows = [], [], {}, []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.texts[tag][-1] += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, *beginning):
        (found,) = [row for row in self.rows if tuple(row[:len(beginning)]) == beginning]
        return found


@pytest.fixture(scope="module", name="pruned")
def fixture_pruned():
    """A network, its slim form and the report, of a pruning with everything that a report can hold."""
    ms.set_seed(0)
    network, batches = networks.SmallNet(), [np.random.default_rng(0).random((16, *SHAPE[1:])).astype(np.float32)]
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, SHAPE), calibration_data=batches * 4)
    return network, slim, algorithm.report


def test_what_a_report_says_stands_on_its_page(pruned, tmp_path):
    network, slim, report = pruned
    assert report.to_html(tmp_path / "page.html", gs.benchmark({"wide": network, "narrow": slim}, SHAPE, rounds=2)) == \
        str(tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.texts["h2"] == ["Summary", "Widths", "Groups", "What stays, and why", "Scores", "Reconstruction",
                                "Latency", "Notes and settings"]
    for layer in report.layers:
        path, _, before, after, left, fixed, _ = next(row for row in page.rows if row[0] == layer.path)
        assert (int(before), int(after), fixed) == (layer.before, layer.after, str(layer.fixed or ""))
        assert left == f"{100 * layer.after / layer.before:.0f} %"
    facts = dict(zip(page.texts["dt"], page.texts["dd"]))
    assert facts["Parameters"].startswith(f"{report.parameters_before:,} → {report.parameters_after:,} (")
    assert facts["MACs of one sample"].startswith(f"{report.macs_before:,} → {report.macs_after:,} (")
    for item in report.untouched:
        assert any(item.remedy == row[1] for row in page.rows if len(row) == 3)
    for solved in report.reconstruction.layers:
        assert any(row[2:4] == [f"{solved.before:.4f}", f"{solved.after:.4f}"] for row in page.rows if
                   row[0] == solved.path and len(row) == 5)
    assert [row[0] for row in page.rows if row[1:2] == ["graph"]] == ["wide", "narrow"]


def test_layers_of_one_group_have_one_number(pruned):
    _, _, report = pruned
    page = Page(page_of("a page", [report.to_dict()]))
    of_layer = {row[0]: row[6] for row in page.rows if len(row) == 7}
    for layer in report.layers:
        assert bool(of_layer[layer.path]) == bool(layer.shares_with)
        assert {of_layer[other] for other in layer.shares_with} <= {of_layer[layer.path]}


def test_a_page_needs_nothing_else_and_can_be_read_by_all(pruned):
    _, _, report = pruned
    page = Page(page_of("a page", [report.to_dict()]))
    names = [name for name, _ in page.elements]
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert all(value.startswith("#") for _, given in page.elements for key, value in given.items()
               if key in ("href", "src"))
    assert dict(page.elements)["html"] == {"lang": "en"} and names.count("h1") == names.count("main") == 1
    assert names.count("caption") == names.count("table") and all(page.texts["caption"])
    ids = [given["id"] for _, given in page.elements if "id" in given]
    assert len(ids) == len(set(ids)) and {given["href"][1:] for name, given in page.elements if name == "a"} == set(ids)
    # What is drawn is said in words or numbers beside it, or by the figure itself.
    assert all(given.get("aria-hidden") or given.get("aria-label") for name, given in page.elements if name == "svg")


def test_all_text_is_text(pruned):
    """A layer, a note, a file and a value that would be elements, were they not escaped."""
    evil = "<b onclick=\"x()\">'&amp;"
    record = pruned[2].to_dict()
    record["layers"][0].update(path=evil, shares_with=[evil + "2"])
    record.update(notes=[evil], config={evil: evil}, algorithm=evil)
    record["untouched"][0].update(parameters=[evil], reasons=[evil], remedy=evil)
    slim = {"kind": "slim file", "steps": [], "file": evil, "bytes": 1, "network": evil, "format_version": 3,
            "weights_digest": evil, "original_digest": evil, "metadata": {evil: [evil, {evil: evil}]}}
    text = page_of(evil, [record, slim])
    page = Page(text)
    assert "b" not in {name for name, _ in page.elements} and not any("onclick" in given for _, given in page.elements)
    assert page.texts["title"] == page.texts["h1"] == [evil] and evil in page.texts["code"]
    assert page.texts["li"].count(evil) == 2 and page.row(evil, evil)[2].strip() == evil


def test_what_is_not_there_has_no_section():
    slim = gs.slim(nn.SequentialCell(nn.Dense(3, 4), nn.Dense(4, 2)), PruningPlan(
        (KeptAxis("0.weight", 0, 4, (0, 2)), KeptAxis("0.bias", 0, 4, (0, 2)), KeptAxis("1.weight", 1, 4, (0, 2))),
        (), (), ()))
    report = {"kind": "golden_stick sensitivity", "base": 0.5, "rates": [0.1, 0.2], "curves": [
        {"layers": ["conv"], "accuracies": [0.4, 0.25]}]}
    page = Page(page_of("a page", [report]))
    assert page.texts["h2"] == ["Sensitivity"] and page.row("conv")[1:] == ["0.4", "0.25"]
    assert slim is not None


@pytest.mark.parametrize("records, message", [
    ([], "must be a record that has something to show"),
    ([{"kind": "other"}], "at most one record of each kind, .* but got one of kind 'other'"),
    ([{}], "but got one of kind None"),
    ([{"kind": "golden_stick card"}], "but got one of kind"),
    ([{"kind": "slim file"}, {"kind": "slim file"}], "but got another 'slim file'"),
])
def test_other_records_are_refused(records, message):
    with pytest.raises(ArgumentError, match=f"For 'report', .*{message}"):
        page_of("a page", records)


def test_what_is_no_result_is_refused_and_leaves_no_file(pruned, tmp_path):
    with pytest.raises(ArgumentTypeError, match="must be a report, certificate, .* or card, but got int"):
        pruned[2].to_html(tmp_path / "page.html", 3)
    with pytest.raises(CheckpointError, match="For 'to_html', the folder of 'path' must exist"):
        pruned[2].to_html(tmp_path / "absent" / "page.html")
    assert not list(tmp_path.iterdir())


def test_scores_of_those_that_stay_and_go(pruned):
    network, _, report = pruned
    plan = PruningPlan((KeptAxis("weight", 1, 5, (0, 4)),), (), (), ())
    item = type("Slice", (), {"axis": 1})
    found = score_ranges({"weight": np.array([4.0, 1.0, 2.0, 3.0, 8.0]), "other": np.zeros(3)},
                         {"weight": item, "other": item}, plan)
    assert found == {"weight": {"stay": (4.0, 5.0, 6.0, 7.0, 8.0), "go": (1.0, 1.5, 2.0, 2.5, 3.0)}}
    whole = score_ranges({"weight": np.array([1.0, 2.0])}, {"weight": item}, PruningPlan((), (), (), ()))
    assert whole["weight"]["go"] == () and whole["weight"]["stay"][0] == 1.0
    # By l1, what goes of a layer that shares its channels with no other has lower scores than what stays.
    alone = [layer.weight for layer in report.layers if not layer.shares_with and layer.after < layer.before]
    assert alone and all(report.scores[name]["go"][-1] <= report.scores[name]["stay"][0] for name in alone)


def test_the_command_gathers_files(pruned, tmp_path, monkeypatch, capsys):
    network, slim, report = pruned
    monkeypatch.chdir(tmp_path)
    gs.save_slim(slim, "slim.safetensors")
    ms.save_checkpoint(network, "plain.ckpt")
    for name, record in (("report", report.to_dict()), ("kindless", {}), ("other", {**report.to_dict(), "shapes": {
            name: [before, [size + 1 for size in after]] for name, (before, after) in report.shapes.items()}})):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    assert cli.main("report slim.safetensors report.json --output page --title".split() + ["<My> network"]) == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.texts["h1"] == ["<My> network"] and "Scores" in page.texts["h2"]
    assert "wrote page.html" in capsys.readouterr().out
    for line, message in (("plain.ckpt", "must be given slim files, but 'plain.ckpt' is a checkpoint"),
                          ("kindless.json", "must be a file that golden-stick wrote, whole"),
                          ("absent.json", "must be a JSON file that can be read"),
                          ("slim.safetensors other.json", "must be of one network, but the report has another shape"),
                          ("report.json report.json", "but got another 'golden_stick report'")):
        assert cli.main(f"report {line} --output bad.html".split()) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "bad.html").exists()
    # Of the slim file alone: the layers that shrank.
    assert cli.main("report slim.safetensors --output alone.html".split()) == 0
    alone = Page((tmp_path / "alone.html").read_text(encoding="utf-8"))
    assert alone.texts["h1"] == ["What was pruned of SmallNet"]
    assert {row[0]: row[2:4] for row in alone.rows if len(row) == 7 and row[0] != "layer"} == {
        layer.path: [str(layer.before), str(layer.after)] for layer in report.layers if layer.after < layer.before}
