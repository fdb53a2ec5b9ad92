"""Data that were used before: what a ledger and the caller tell is found, without them every run stands by itself."""
import json

import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, CheckpointError, StateError
from golden_stick.certify import Certificate, fingerprint
from golden_stick.certify.prior_use import fingerprint_of, known_uses, read_ledger
from tests.certify.networks import Reader, labelled

BASE, BEST = Reader(0, 9), Reader(2, 5)
LOSS = nn.CrossEntropyLoss(reduction="none")
UNKNOWN = "No ledger was kept: of earlier uses of these images, only those declared are known."


def images(seed=0, count=40):
    """With what the network answers as labels."""
    values = np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)
    return values, network()(Tensor(values)).asnumpy().argmax(1).astype(np.int32)


def network():
    """Hidden units 1 and 2 enter nothing."""
    net, generator = nn.SequentialCell(nn.Dense(4, 6), nn.ReLU(), nn.Dense(6, 3)), np.random.default_rng(0)
    for parameter in net.get_parameters():
        parameter.set_data(Tensor(generator.standard_normal(parameter.shape).astype(np.float32)))
    net[2].weight[:, 1:3] = 0.0
    return net


def safe(data, **options):
    return gs.safe_filters(network(), (1, 4), data, LOSS, eps=1e-4, **options)


def certify(data, **options):
    return gs.certify(BASE, {"small": BEST}, data, 0.05, **options)


def test_a_cell_of_a_notebook_can_be_run_twice():
    """No process keeps a record of its own: without a ledger, the second run says what the first said."""
    assert certify(labelled(), date="today") == certify(labelled(), date="today")
    first, second = safe([images()]), safe([images()])
    assert first.holds and second.holds and first.statement == second.statement


def test_without_a_ledger_the_statement_says_what_is_not_known(tmp_path):
    for found in (certify(labelled()), safe([images()]), gs.safe_together(network(), safe([images(1)]), [images(2)],
                                                                          LOSS)):
        assert found.statement.endswith(UNKNOWN) and UNKNOWN in str(found)
    kept = certify(labelled(seed=1), path=str(tmp_path / "certificate"))
    assert UNKNOWN not in kept.statement and kept.ledger == "golden_stick_ledger.json"
    assert Certificate.load(str(tmp_path / "certificate.json")) == kept


def test_one_ledger_serves_certificates_and_searches_for_filters(tmp_path):
    ledger = str(tmp_path / "ledger.json")
    found = safe([images()], ledger=ledger)
    assert found.ledger == "ledger.json" and found.holds
    with pytest.raises(StateError, match="For 'certify', .* has 40 images that were used before, for a search for safe "
                                         "filters on .*: take others"):
        gs.certify(network(), [network()], [images()], ledger=ledger)
    gs.certify(network(), [network()], [images(1)], ledger=ledger)
    with pytest.raises(StateError, match="For 'safe_filters', 'data' must be images that nothing has used before"):
        safe([images(1)], ledger=ledger)
    with pytest.raises(StateError, match="For 'safe_together', 'data' must be images that nothing has used before"):
        gs.safe_together(network(), found, [images(1)], LOSS, ledger=ledger)
    assert [use["used_for"] for use in read_ledger(ledger)] == ["a search for safe filters", "a certificate"]


def test_what_is_declared_to_be_used_before_stands_in_the_result(tmp_path):
    ledger = str(tmp_path / "ledger.json")
    found, used = safe([images()]), {"used": [fingerprint([images(1)])], "reuse": "declare"}
    told = safe([images(1)], **used)
    assert not told.holds and told.statement.startswith("THIS DATA WAS USED BEFORE: THE RATE OF WRONG CLAIMS DOES NOT")
    assert told.to_dict()["used_before"] == list(told.used_before)
    assert f"used before: {told.used_before[0]}" in str(told)
    together = gs.safe_together(network(), found, [images(1)], LOSS, ledger=ledger, **used)
    assert together.statement.startswith("THIS DATA WAS USED BEFORE: THE CONFIDENCE DOES NOT HOLD. ")
    assert together.ledger == "ledger.json" and UNKNOWN not in together.statement
    record = json.loads(open(together.save(str(tmp_path / "set.json"))).read())
    assert (record["holds"], record["used_before"]) == (False, list(together.used_before))
    # The images that found the filters are no evidence of what they cost, whatever is declared.
    with pytest.raises(ArgumentError, match="no image of 'data' must have been used to find the filters, but 40 of 40"):
        gs.safe_together(network(), found, [images()], LOSS, reuse="declare")


def test_a_use_that_another_process_wrote_down_meanwhile_is_seen_before_a_result_is(tmp_path):
    ledger, data = str(tmp_path / "ledger.json"), fingerprint_of(["a", "b"])
    ours, theirs = (known_uses("certify", (), ledger, "refuse") for _ in range(2))
    ours.check(["a", "b"])
    assert theirs.record(data, "their certificate", "today") == ()
    with pytest.raises(StateError, match="has 2 images that were used before, for their certificate on today"):
        ours.record(data, "our certificate", "today")
    assert len(read_ledger(ledger)) == 1


def test_searches_for_filters_refuse_other_files_and_words(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(CheckpointError, match="must be a golden_stick ledger"):
        safe([images()], ledger=str(tmp_path / "other.json"))
    with pytest.raises(ArgumentError, match="For 'safe_filters', 'reuse' must be one of 'refuse', 'declare'"):
        safe([images()], reuse="hide")
