"""Data that were used before in this process: every part that looks at images tells, and every certificate listens."""
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.digests import UsedData, earlier_uses, image_digests
from golden_stick.base.errors import ArgumentError, CheckpointError, StateError
from golden_stick.certify import Certificate, fingerprint, forget_used_data
from golden_stick.certify.prior_use import read_ledger
from golden_stick.recover.statistics import calibrate
from golden_stick.scop import FeatureSampler, GaussianSampler
from tests.certify.networks import Reader, labelled

BASE, LOSES, BEST = Reader(0, 9), Reader(1, 3), Reader(2, 5)
LOSS = nn.CrossEntropyLoss(reduction="none")
ELSEWHERE = "of earlier uses of these images, only those by golden_stick in this process and those declared are known"


def images(seed=0, count=40):
    generator = np.random.default_rng(seed)
    return generator.random((count, 4)).astype(np.float32), generator.integers(0, 3, count, np.int32)


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


def test_a_second_certificate_in_one_process_is_refused_or_says_so():
    first = gs.certify(BASE, {"small": LOSES}, labelled(lost=100), 0.05)
    assert first.holds and first.certified is None, "what failed has used its images as well"
    with pytest.raises(StateError, match="For 'certify', 'data' must be images that nothing has used before, but of "
                                         "150 looked at it has 150 images .* for a certificate on .*, in this process"):
        certify(labelled(lost=100))
    again = certify(labelled(lost=100)[1:], reuse="declare")
    assert not again.holds and again.statement.startswith("THIS DATA WAS USED BEFORE: THE CONFIDENCE DOES NOT HOLD")
    assert len(again.used_before) == 1 and again.used_before[0].startswith("250 images that were used before, for a ")
    assert certify(labelled(seed=1)).holds


def test_it_says_the_same_as_with_a_ledger(tmp_path):
    data, day = labelled(), {"date": "today", "reuse": "declare"}
    certify(data, **day, ledger=str(tmp_path / "ledger.json"))
    here = asdict(certify(data, **day))
    forget_used_data()
    listed = asdict(certify(data, **day, ledger=str(tmp_path / "ledger.json")))
    assert here["used_before"] == (f"{listed['used_before'][0]}, in this process",)
    assert {key for key in here if here[key] != listed[key]} == {"used_before", "ledger"}
    # What both know of is told once: the first is in the ledger, the second in this process alone.
    certify(data, date="tomorrow", reuse="declare")
    third = certify(data, **day, ledger=str(tmp_path / "ledger.json")).used_before
    assert sorted(third) == ["400 images that were used before, for a certificate on today",
                             "400 images that were used before, for a certificate on today",
                             "400 images that were used before, for a certificate on tomorrow, in this process"]


def test_without_a_ledger_the_statement_says_what_is_not_known(tmp_path):
    for found in (certify(labelled()), safe([images()]), gs.safe_together(network(), safe([images(1)]), [images(2)],
                                                                          LOSS)):
        assert ELSEWHERE in found.statement and ELSEWHERE in str(found)
    kept = certify(labelled(seed=1), path=str(tmp_path / "certificate"))
    assert ELSEWHERE not in kept.statement and kept.ledger == "golden_stick_ledger.json"
    assert Certificate.load(str(tmp_path / "certificate.json")) == kept


def test_images_of_safe_filters_cannot_certify_and_the_other_way_round():
    safe([images()])
    with pytest.raises(StateError, match="for a search for safe filters on .*, in this process: take others"):
        gs.certify(network(), [network()], [images()])
    gs.certify(network(), [network()], [images(1)])
    with pytest.raises(StateError, match="For 'safe_filters', 'data' must be images that nothing has used before"):
        safe([images(1)])
    told = safe([images(1)], reuse="declare")
    assert not told.holds and told.statement.startswith("THIS DATA WAS USED BEFORE: THE RATE OF WRONG CLAIMS DOES NOT")
    assert told.to_dict()["used_before"] == list(told.used_before)
    assert f"used before: {told.used_before[0]}" in str(told)


def test_safe_filters_together_say_so_too(tmp_path):
    found, ledger = safe([images()]), str(tmp_path / "ledger.json")
    assert found.holds
    gs.certify(network(), [network()], [images(1)])
    with pytest.raises(StateError, match="For 'safe_together', 'data' must be images that nothing has used before"):
        gs.safe_together(network(), found, [images(1)], LOSS)
    told = gs.safe_together(network(), found, [images(1)], LOSS, reuse="declare", ledger=ledger)
    assert not told.holds and told.statement.startswith("THIS DATA WAS USED BEFORE: THE CONFIDENCE DOES NOT HOLD. ")
    assert told.ledger == "ledger.json" and ELSEWHERE not in told.statement
    record = json.loads(open(told.save(str(tmp_path / "set.json"))).read())
    assert (record["holds"], record["used_before"], record["ledger"]) == (False, list(told.used_before), "ledger.json")
    # The images that found the filters are no evidence of what they cost, whatever is declared.
    with pytest.raises(ArgumentError, match="no image of 'data' must have been used to find the filters, but 40 of 40"):
        gs.safe_together(network(), found, [images()], LOSS, reuse="declare")


def test_searches_for_filters_read_and_write_ledgers_and_listen_to_what_is_declared(tmp_path):
    ledger = str(tmp_path / "ledger.json")
    assert safe([images()], ledger=ledger).ledger == "ledger.json"
    forget_used_data()
    assert [use["used_for"] for use in read_ledger(ledger)] == ["a search for safe filters"]
    with pytest.raises(StateError, match="40 images that were used before, for a search for safe filters"):
        safe([images()], ledger=ledger)
    with pytest.raises(StateError, match="for the data given as 'used'"):
        safe([images()], used=[fingerprint([images()])])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(CheckpointError, match="must be a golden_stick ledger"):
        safe([images()], ledger=str(tmp_path / "other.json"))
    with pytest.raises(ArgumentError, match="For 'safe_filters', 'reuse' must be one of 'refuse', 'declare'"):
        safe([images()], reuse="hide")


def convolutions():
    return nn.SequentialCell(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3),
                             nn.AdaptiveAvgPool2d(1), nn.Flatten())


def pictures(seed=0):
    generator = np.random.default_rng(seed)
    return generator.random((24, 1, 8, 8)).astype(np.float32), generator.integers(0, 3, 24, np.int32)


def compared():
    gs.compare(convolutions(), (1, 1, 8, 8), ["l1"], {"prune_rate": 0.25}, [pictures(1)], [pictures()], epochs=0,
               seeds=1)


def scored():
    gs.OneShot({"criterion": "taylor"}).apply(convolutions(), (1, 1, 8, 8), data=[pictures()],
                                              loss=nn.CrossEntropyLoss())


def trained():
    algorithm = gs.SCOP({"mixing": "joint"})
    phase = algorithm.apply(convolutions(), (1, 1, 8, 8))
    batches = ms.dataset.NumpySlicesDataset(pictures(), ["image", "label"], shuffle=False).batch(12)
    model = ms.Model(phase, nn.CrossEntropyLoss(), nn.Adam(phase.trainable_params(), 0.1))
    model.train(1, batches, callbacks=algorithm.callbacks(), dataset_sink_mode=False)


@pytest.mark.parametrize("use, used_for", [
    (lambda: calibrate(convolutions(), [pictures()[0]]), "statistics of normalizations"),
    (lambda: GaussianSampler(grid=2).fit([Tensor(pictures()[0])]), "the moments of a GaussianSampler"),
    (lambda: gs.SCOP({"sampler": FeatureSampler([pictures()])}).apply(convolutions(), (1, 1, 8, 8)),
     "the moments of a FeatureSampler"),
    (scored, "scores of a criterion"),
    (compared, "accuracies of 'compare'"),
    (trained, "training with the callbacks of SCOP"),
], ids=["calibrate", "gaussian", "feature", "criterion", "compare", "callbacks"])
def test_what_golden_stick_looked_at_cannot_certify(use, used_for):
    use()
    with pytest.raises(StateError, match=f"24 images that were used before, for {used_for} on .*, in this process"):
        gs.certify(convolutions(), [convolutions()], [pictures()])
    assert gs.certify(convolutions(), [convolutions()], [pictures(9)]).holds


def test_training_in_a_comparison_is_remembered():
    from golden_stick.compare.training import TrainingBatches
    list(TrainingBatches([pictures(1)], 1, 2).finetuning(0))
    TrainingBatches([pictures(2)], 1, 2, held_out=[pictures(3)]).scales(0, [])
    for seed in (1, 3):
        (use,) = earlier_uses(frozenset(image_digests(pictures(seed)[0])))
        assert (use.images, use.used_for) == (24, "training in 'compare'")
    assert not earlier_uses(frozenset(image_digests(pictures(2)[0])))


def test_uses_for_one_thing_are_one_use_and_forgetting_begins_anew():
    record = UsedData()
    record.add(["a", "b"], "calibration")
    record.add(["b", "c"], "calibration")
    (use,) = record.earlier(frozenset("abcd"))
    assert (use.images, use.used_for) == (3, "calibration") and use.date.endswith("UTC")
    assert record.claim(frozenset("a"), ["x"], "a certificate", "today", "d") == record.earlier(frozenset("a"))
    assert [item.used_for for item in record.earlier(frozenset("ax"))] == ["calibration", "a certificate"]
    record.forget()
    assert record.earlier(frozenset("abcx")) == ()


def test_of_threads_with_the_same_data_one_is_the_first():
    record = UsedData()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: record.claim(frozenset("ab"), "ab", f"certificate {number}", "today", ""),
                              range(64)))
    assert sorted(map(len, found)) == list(range(64))
