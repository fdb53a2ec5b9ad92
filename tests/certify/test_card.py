"""The pruning card: what stands on it, and what it says was not tested."""
import json

import numpy as np
import pytest

import golden_stick as gs
from golden_stick.certify import Accuracy
from golden_stick.certify.fingerprints import fingerprint, network_digest
from golden_stick.errors import ArgumentError, ArgumentTypeError
from tests import networks

SHAPE = networks.SMALL_INPUT


@pytest.fixture(scope="module")
def pruned():
    network = networks.randomize(networks.SmallNet())
    algorithm = gs.OneShot({"prune_rate": 0.5})
    return network, algorithm.convert(algorithm.apply(network, SHAPE)), algorithm.report


class Controls:
    """Stands for a comparison of criteria."""

    @staticmethod
    def to_dict():
        return {"random": 0.3}


def test_an_empty_card_says_what_is_missing(pruned):
    network, slim, report = pruned
    card = gs.pruning_card(report, network, slim, command="prune", date="today")
    assert card.record["networks"] == {"original": network_digest(network), "slim": network_digest(slim)}
    assert card.record["macs"]["before"] == report.macs_before
    assert card.record["macs"]["kept"] + card.record["macs"]["removed"] == 1
    assert len(card.record["not_tested"]) == 8
    text = str(card)
    for words in ("Made today by `prune`.", "Nothing is guaranteed of its accuracy", "| c | 6 | 3 |",
                  "* what other criteria do at the same widths", "FLOPs twice as many", "feature maps: `group`"):
        assert words in text


def test_a_full_card(pruned, tmp_path):
    network, slim, report = pruned
    data = [(np.zeros((4, *SHAPE[1:]), np.float32), np.arange(4))]
    controls = Controls()
    card = gs.pruning_card(
        report, network, slim, base={"source": "here"}, data={"train": fingerprint(data), "test": "none"},
        accuracy=[Accuracy("original", (0.9,), "test"), Accuracy("fine-tuned", (0.8, 0.9), "test")],
        fine_tuning={"epochs": 3}, controls=controls, latency=gs.benchmark({"slim": slim}, SHAPE, rounds=2))
    assert card.record["not_tested"] == ["a certified bound on the drop in accuracy",
                                         "other data than those named here"]
    assert {"golden_stick", "mindspore", "numpy", "python"} <= set(card.record["machine"])
    assert card.record["data"]["train"] == {"digest": fingerprint(data).digest, "images": 4}
    assert card.record["controls"] == {"random": 0.3}
    assert "* fine-tuned: 0.8500 ± 0.0707 (n = 2, test)" in str(card)
    paths = card.save(str(tmp_path / "card"))
    assert json.loads(open(paths[0]).read()) == card.record
    assert open(paths[1]).read() == f"{card}\n"


def certificate(base, candidates, seed=0):
    images = np.random.default_rng(seed).random((60, *SHAPE[1:])).astype(np.float32)
    return gs.certify(base, candidates, [(images, np.zeros(60, np.int32))], max_drop=0.9, confidence=0.5)


def test_a_certificate_is_one_sentence_of_the_guarantee(pruned):
    network, slim, report = pruned
    found = certificate(network, {"slim": slim})
    card = gs.pruning_card(report, network, slim, certificate=found)
    assert card.record["guarantee"].endswith(f". {found.statement}")
    assert f"**Guaranteed:** {card.record['guarantee']}" in str(card)
    assert "'slim' loses less than 90 percentage points" in found.statement


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
    with pytest.raises(ArgumentTypeError, match="For 'pruning_card', what stands as 'slim' must be a Cell"):
        gs.pruning_card(report, network, None)
    with pytest.raises(ArgumentTypeError, match="what stands as 'report' must be a Report, but got str"):
        gs.pruning_card("x", network, slim)
