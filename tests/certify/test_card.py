"""The pruning card: all that must be reported stands on it, and what is absent says how to measure it."""
import importlib
import json
import re
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.files import network_digest
from golden_stick.certify import Accuracy, DataUse, compare_predictions, fingerprint
from golden_stick.compare import Comparison, Trial
from tests import networks

SHAPE = networks.SMALL_INPUT
# What must be reported, item by item -> where it stands on the card.
REQUIRED = {
    "1 base: source": ("base", "source"), "1 base: hash": ("base", "digest"),
    "1 base: accuracy, measured here": ("base", "accuracy, measured here"),
    "2 data: hash": ("data", "test", "digest"), "2 data: split": ("data", "test"),
    "2 data: preprocessing": ("data", "test", "preprocessing"), "2 data: lossless": ("data", "test", "lossless"),
    "3 widths": ("widths",), "3 convention": ("convention",), "3 residual sums": ("config", "residual"),
    "3 parameters kept": ("parameters", "kept"), "3 parameters removed": ("parameters", "removed"),
    "3 MACs kept": ("macs", "kept"), "3 MACs removed": ("macs", "removed"), "3 peak memory": ("peak_memory",),
    "4 latency": ("latency",), "4 hardware": ("latency", "machine", "processor"),
    "4 batch and threads": ("latency", "measurements"),
    "5 before pruning": ("accuracy", "original"), "5 before fine-tuning": ("accuracy", "pruned"),
    "5 after re-estimation": ("accuracy", "recovered"), "5 after fine-tuning": ("accuracy", "fine-tuned"),
    "5 last epoch, no selection": ("accuracy", "fine-tuned", "chosen by these images"),
    "5 mean": ("accuracy", "fine-tuned", "mean"), "5 deviation": ("accuracy", "fine-tuned", "deviation"),
    "5 n": ("accuracy", "fine-tuned", "seeds"), "5 discordance": ("discordance",),
    "5 b": ("discordance", "only slim is wrong (b)"), "5 c": ("discordance", "only the original is wrong (c)"),
    "6 random": ("controls", "random"), "6 L1": ("controls", "l1"), "6 Taylor": ("controls", "taylor"),
    "6 from scratch": ("controls", "from scratch"), "6 the same widths": ("controls", "l1", "widths"),
    "7 epochs": ("fine_tuning", "epochs"), "7 learning rate": ("fine_tuning", "learning rate"),
    "7 epochs × images": ("fine_tuning", "epochs × images"), "7 equal for all": ("fine_tuning", "equal for all"),
    "8 type": ("control", "kind"), "8 diagnostics": ("control", "exchangeability"),
    "8 g1": ("control", "exchangeability", "gap of covariances (g1)"),
    "8 g2": ("control", "exchangeability", "gap of covariances across (g2)"),
    "8 two-sample test": ("control", "exchangeability", "two-sample test"),
    "8 self-correlation": ("control", "exchangeability", "self-correlation"),
    "8 data split": ("control", "data of the scales"), "8 draws": ("control", "draws"),
    "9 rate": ("selector", "budget"), "9 statement": ("selector", "statement"),
    "9 eps, delta": ("selector", "eps, delta"),
    "10 histogram": ("scales", "histogram, ten bins from 0 to 1"), "10 above .99": ("scales", "share above 0.99"),
    "10 below .5": ("scales", "share below 0.5"), "10 Spearman": ("scales", "rank correlation with |gamma|"),
    "11 seeds": ("run", "seeds", "training"), "11 versions": ("machine", "mindspore"), "11 command": ("command",),
    "11 wall time": ("run", "wall time, seconds"), "12 not tested": ("not_tested",),
}
# Found on every card: the report and the networks tell them.
ALWAYS = ("1 base: hash", "3 widths", "3 convention", "3 residual sums", "3 parameters kept", "3 parameters removed",
          "3 MACs kept", "3 MACs removed", "8 type", "8 data split", "8 draws", "9 rate", "9 statement", "10 histogram",
          "10 above .99", "10 below .5", "10 Spearman", "11 versions", "11 command", "12 not tested")


def at(record, path):
    """What stands at a place of the card; where a whole part is absent, what it says instead."""
    for key in path:
        record = record if isinstance(record, str) else record[key]
    return record


@pytest.fixture(scope="module", autouse=True)
def untrained():
    """What is certified here are untrained networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("golden_stick.certify.certify"), "refuse_chance", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def pruned():
    """By SCOP, whose scales are set by hand: one at 0, one at 1, the others between."""
    network = networks.randomize(networks.SmallNet())
    algorithm = gs.SCOP({"prune_rate": 0.5, "mixing": "joint", "score": "gamma"})
    phase = algorithm.apply(network, SHAPE)
    for parameter in phase.trainable_params():
        parameter.set_data(Tensor(np.linspace(0, 1, parameter.size), ms.float32))
    return network, algorithm.convert(phase), algorithm.report


@pytest.fixture(scope="module")
def exchangeable():
    generator = np.random.default_rng(0)
    data = generator.normal(size=(60, 4))
    return gs.exchangeability(data, np.roll(data, 1, 0), generator.integers(0, 2, 60), permutations=800)


def comparison(network, report, **changed):
    """A comparison of criteria at the widths of the report, but for those that are changed."""
    widths = {layer.path: layer.after for layer in report.layers}
    trials = [Trial(name, seed, None, 10, 5, 0.5, 0.6, 0.7 + seed / 10, widths=changed.get(name, widths))
              for name in ("unpruned", "random", "l1", "taylor") for seed in (0, 1)]
    trials.append(Trial("random", 0, 0.3, 10, 5, 0.1, 0.1))  # a point of its curve
    return Comparison({"epochs": 3, "learning_rate": 0.1, "seeds": [0, 1], "rates": [], "criteria": ["l1"]},
                      {"digest": network_digest(network), "macs": 20, "parameters": 10, "validation": 0.9,
                       "test": None}, {"validation": {"images": 9, "digest": "v"}, "test": None}, tuple(trials))


@pytest.fixture(scope="module")
def full(pruned, exchangeable):
    network, slim, report = pruned
    data = fingerprint([(np.zeros((4, *SHAPE[1:]), np.float32), np.arange(4))])
    return gs.pruning_card(
        report, network, slim, base={"source": "here"}, data={"test": DataUse(data, "scaled to [0, 1]", False)},
        accuracy=[Accuracy(what, (0.8, 0.9), "test") for what in (
            "original", "pruned", "recovered", "fine-tuned", "from scratch", "folded")],
        fine_tuning={"epochs": 3, "learning rate": 0.1, "images": 50}, controls=comparison(network, report),
        latency=gs.benchmark({"original": network, "slim": slim}, SHAPE, rounds=2),
        certificate=certificate(network, {"slim": slim}, 9), knockoffs=exchangeable, seeds={"training": 7},
        seconds=12.5, discordance=compare_predictions(np.array([True, True, True]), np.array([True, False, False])))


@pytest.fixture(scope="module")
def empty(pruned):
    network, slim, report = pruned
    return gs.pruning_card(report, network, slim, command="prune", date="today")


def test_what_must_be_reported_stands_on_the_card_or_says_how_to_measure_it(full, empty):
    page = str(empty.in_full())
    for item, place in REQUIRED.items():
        found, absent = at(full.record, place), at(empty.record, place)
        assert found not in (None, "", [], {}) and "not measured" not in str(found), item
        if item in ALWAYS:
            assert absent not in (None, "", [], {}) and not str(absent).startswith("not measured"), item
        else:
            assert absent.startswith("not measured: "), item
            assert "give " in absent and ("=" in absent or "(" in absent), item
            assert any(absent in line for line in empty.record["not_tested"]) and absent in page, item


def test_a_full_card_leaves_out_only_what_nobody_tested(full, tmp_path):
    assert [line.split(":")[0] for line in full.record["not_tested"]] == [
        "other data than those named here", "other measures than accuracy",
        "other hardware and batch sizes than those named here"]
    paths = full.in_full().save(str(tmp_path / "card"))
    assert json.loads(open(paths[0]).read()) == full.record
    text = open(paths[1]).read()
    assert text == f"{full.in_full()}\n"
    for words in ("* fine-tuned: 0.8500 ± 0.0707 (n = 2, test)", "* folded: 0.85", "| c | 6 | 3 |", "* source: here",
                  "* only slim is wrong (b): 2", "FLOPs twice as many", "feature maps: `group`", "* seeds: training: 7",
                  "* wall time, seconds: 12.5", "* slim, graph, batch 1, all threads: ", "## Scales of the control",
                  "* epochs × images: 150"):
        assert words in text, words


def test_an_empty_card_says_so(pruned, empty):
    network, slim, report = pruned
    assert empty.record["networks"] == {"original": network_digest(network), "slim": network_digest(slim)}
    assert empty.record["macs"]["before"] == report.macs_before
    assert empty.record["macs"]["kept"] + empty.record["macs"]["removed"] == 1
    assert "Made today by `prune`." in str(empty) and "Nothing is guaranteed of its accuracy" in str(empty)
    assert "not measured: train the slim architecture from new weights" in str(empty.in_full())


def test_a_card_is_short_unless_all_of_it_is_wanted(full, empty):
    """What was measured of sizes, accuracy and time; the rest is counted, and stands in the record."""
    assert len(str(full).splitlines()) <= 40 < len(str(full.in_full()).splitlines())
    assert "* fine-tuned: 0.8500 ± 0.0707 (n = 2, test)" in str(full) and "| parameters | " in str(full)
    assert "not measured" not in str(empty) and "## Accuracy" not in str(empty) and "## Latency" not in str(empty)
    assert f"{len(empty.record['not_tested'])} things, which the JSON file beside this page names." in str(empty)


def test_a_card_of_no_control_says_that_there_was_none():
    network = networks.randomize(networks.SmallNet())
    algorithm = gs.OneShot({"prune_rate": 0.5, "criterion": "random", "seed": 3})
    slim = algorithm.convert(algorithm.apply(network, SHAPE))
    record = gs.pruning_card(algorithm.report, network, slim, accuracy=[Accuracy("original", (0.5,), "test")]).record
    assert record["control"] == record["scales"] == "none: OneShot compares filters with no control"
    assert record["run"]["seeds"]["criterion"] == 3
    assert record["accuracy"]["original"]["deviation"].startswith("not measured: with one seed")
    assert record["selector"]["statement"] == "the caller chose how much goes: by itself, that guarantees nothing"


def test_words_are_no_fingerprint_and_a_fingerprint_alone_tells_no_preprocessing(pruned):
    network, slim, report = pruned
    data = fingerprint([(np.zeros((4, *SHAPE[1:]), np.float32), np.arange(4))])
    found = gs.pruning_card(report, network, slim, data={"train": data, "test": "CIFAR-10"}).record["data"]
    assert (found["train"]["digest"], found["train"]["images"]) == (data.digest, 4)
    assert found["train"]["preprocessing"].startswith("not measured: give golden_stick.certify.DataUse")
    assert found["test"]["data"] == "CIFAR-10" and found["test"]["digest"].startswith("not measured")


def test_what_the_scales_became(pruned, full):
    report, scales = pruned[2], full.record["scales"]
    pooled = np.concatenate([np.linspace(0, 1, layer.before) for layer in report.layers if layer.path in "abc"])
    assert scales["scales"] == len(pooled) == sum(scales["histogram, ten bins from 0 to 1"])
    assert scales["histogram, ten bins from 0 to 1"] == np.histogram(pooled, 10, (0, 1))[0].tolist()
    assert scales["share above 0.99"] == (pooled > 0.99).mean() and scales["share below 0.5"] == (pooled < 0.5).mean()
    assert report.to_dict()["control"]["rank_correlation"] == scales["rank correlation with |gamma|"]


def test_the_seed_and_the_data_of_a_control_are_told(pruned):
    network, slim, report = pruned
    for seed in (None, 5):
        facts = {**report.control, "seed": seed, "held_out": True, "rank_correlation": None}
        record = gs.pruning_card(replace(report, control=facts), network, slim).record
        assert record["run"]["seeds"].get("control") == seed
        assert record["control"]["data of the scales"] == "held out, as the configuration states"
        assert record["scales"]["rank correlation with |gamma|"].startswith("not defined")


def test_only_tested_knockoffs_are_called_so(pruned, exchangeable):
    network, slim, report = pruned
    for knockoffs, kind in ((None, "control"), (exchangeable, "control"),
                            (replace(exchangeable, verdict="knockoff"), "knockoff")):
        record = gs.pruning_card(report, network, slim, knockoffs=knockoffs).record
        assert record["control"]["kind"] == f"permutation: a {kind}"
        assert record["control"]["data of the scales"].startswith("may have trained the weights")


def test_controls_at_other_widths_are_told_apart(pruned):
    network, slim, report = pruned
    wider = {layer.path: layer.after + (layer.path == "b") for layer in report.layers}
    found = gs.pruning_card(report, network, slim, fine_tuning={"epochs": 4, "learning rate": 0.1, "images": 50},
                            controls=comparison(network, report, l1=wider, taylor={})).record
    controls, count = found["controls"], len(report.layers)
    assert controls["random"]["widths"] == f"the same in all {count} layers"
    assert controls["l1"]["widths"] == f"NOT the same: 1 of {count} layers differ, such as 'b'"
    assert controls["taylor"]["widths"].startswith("not measured: no widths were written down")
    assert controls["random"]["accuracy"] == "0.7500 ± 0.0707 (n = 2, validation)"
    assert "widths" not in controls["unpruned"]
    assert found["fine_tuning"]["equal for all"] == "NO: the criteria had epochs 3, learning rate 0.1"


def automatic(report, broken=(), unknown=("C6",), **config):
    """A report of knockoff+, with what it found of its conditions."""
    conditions = [{"name": f"C{number}", "text": "", "holds": False if f"C{number}" in broken else
                   None if f"C{number}" in unknown else True} for number in range(1, 10)]
    return replace(report, config={**report.config, "prune_rate": "auto", "fdr": 0.2, **config},
                   control={**report.control, "conditions": conditions})


def test_the_guarantee_of_knockoff_plus_is_told_exactly(pruned, exchangeable):
    network, slim, report = pruned

    def statement(of, knockoffs=None):
        card = gs.pruning_card(of, network, slim, knockoffs=knockoffs)
        assert card.record["selector"]["statement"] in card.record["guarantee"]
        assert card.record["selector"]["q"] == 0.2
        return card.record["selector"]["statement"]

    whole = statement(automatic(report))
    assert whole.startswith("Of the filters that knockoff+ selects to stay, the expected share of null ones")
    assert "is at most q = 0.2, if C3, C4, C5, C6 hold. Nobody checked C6: the guarantee rests on them." in whole
    assert whole.endswith("nor of accuracy, nor of filters that stay for other reasons.")
    assert "THEY DO NOT: C4, C5 broken, so nothing is guaranteed here." in statement(automatic(report, ("C4", "C5")))
    assert "THEY DO NOT: C6 broken" in statement(automatic(report), exchangeable)
    tested = statement(automatic(report), replace(exchangeable, verdict="knockoff"))
    assert "Nobody checked C6, but for tests that found C6 not broken" in tested
    assert "checked, as far as they can be." in statement(automatic(report, unknown=()))
    assert "that e-values of knockoff+ in several draws selects" in statement(automatic(report, draws=5))


def certificate(base, candidates, seed=0):
    images = np.random.default_rng(seed).random((60, *SHAPE[1:])).astype(np.float32)
    return gs.certify(base, candidates, [(images, np.zeros(60, np.int32))], max_drop=0.9, confidence=0.5)


def test_a_certificate_is_one_sentence_of_the_guarantee_and_tells_the_discordance(pruned):
    network, slim, report = pruned
    found = certificate(network, {"slim": slim})
    card = gs.pruning_card(report, network, slim, certificate=found)
    assert card.record["guarantee"].endswith(f". {found.statement}")
    assert f"**Guaranteed:** {card.record['guarantee']}" in str(card)
    assert "'slim' loses less than 90 percentage points" in found.statement
    assert card.record["selector"]["eps, delta"] == {"eps": 0.9, "delta": 0.5}
    told = card.record["discordance"]
    assert (told["only slim is wrong (b)"], told["only the original is wrong (c)"], told["images"]) == (
        found.candidates[0].lost, found.candidates[0].gained, 60)


def test_a_certificate_of_other_networks_is_refused(pruned):
    network, slim, report = pruned
    other = networks.randomize(networks.SmallNet(), 5)
    for made, message in (
            (certificate(other, {"slim": slim}, 1), "'certificate' must be of 'original' as its base, but is of"),
            (certificate(network, {"other": other}, 2), "must have 'slim' among its candidates, but has 'other', all"),
            (certificate(network, {"slim": slim, "smaller": smaller(network)}, 3),
             "what 'certificate' certifies must be 'slim', but is 'smaller'")):
        with pytest.raises(ArgumentError, match=message):
            gs.pruning_card(report, network, slim, certificate=made)


def smaller(network):
    algorithm = gs.OneShot({"prune_rate": 0.7})
    return algorithm.convert(algorithm.apply(network, SHAPE))


def test_refusals(pruned):
    network, slim, report = pruned
    with pytest.raises(ArgumentTypeError, match="For 'pruning_card', 'slim' must be a Cell, but got NoneType"):
        gs.pruning_card(report, network, None)
    with pytest.raises(ArgumentTypeError, match="'report' must be the Report of an algorithm, but got str"):
        gs.pruning_card("x", network, slim)
    for given, message in (
            ({"base": "mindcv"}, "'base' must be a dict, but got str"), ({"seeds": 3}, "'seeds' must be a dict, but"),
            ({"fine_tuning": 3}, "'fine_tuning' must be a dict, but got int"),
            ({"data": "cifar"}, "'data' must be a dict of splits, but got str"),
            ({"data": {"train": 3}}, re.escape("'data['train']' must be a DataUse or DataFingerprint of golden_sti")),
            ({"accuracy": 0.9}, "'accuracy' must be a list of golden_stick.certify.Accuracy, but got float"),
            ({"accuracy": [0.9]}, "'accuracy' must be a list of golden_stick.certify.Accuracy, but got float"),
            ({"latency": 3.1}, "'latency' must be what golden_stick.benchmark returned, but got float"),
            ({"certificate": True}, "'certificate' must be what golden_stick.certify returned, but got bool"),
            ({"discordance": 0.1}, "'discordance' must be what golden_stick.certify.compare_predictions returned"),
            ({"knockoffs": "knockoff"}, "'knockoffs' must be what golden_stick.exchangeability returned, but got str"),
            ({"controls": {}}, "'controls' must be what golden_stick.compare returned, but got dict"),
            ({"seconds": "3"}, "'seconds' must be a number, but got str")):
        with pytest.raises(ArgumentTypeError, match=f"For 'pruning_card', {message}"):
            gs.pruning_card(report, network, slim, **given)
    other = comparison(networks.randomize(networks.SmallNet(), 5), report)
    with pytest.raises(ArgumentError, match="'controls' must be a comparison of 'original', but compares another net"):
        gs.pruning_card(report, network, slim, controls=other)
