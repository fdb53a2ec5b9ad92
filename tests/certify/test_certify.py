"""`certify`: what is tested on what, in which order; what is written; and images that were used before."""
import hashlib
import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, StateError
from golden_stick.base.files import digest_of, network_digest
from golden_stick.certify import Certificate, DataFingerprint, drop_p_value, fingerprint
from golden_stick.certify.prior_use import read_ledger
from tests.certify.networks import Reader, labelled

BASE, LOSES, BEST = Reader(0, 9), Reader(1, 3), Reader(2, 5)


def test_a_certificate_says_what_was_counted(mode, tmp_path):
    data = labelled(lost=12, gained=10)
    certificate = gs.certify(BASE, {"small": LOSES}, data, 0.05, 0.9, date="today", command="run it")
    (row,) = certificate.candidates
    assert (row.lost, row.gained, row.parameters, row.certified) == (12, 10, 4, True)
    assert row.accuracy == 388 / 400 and certificate.base.accuracy == 390 / 400
    assert row.p_value == drop_p_value(12, 10, 400, 0.05, (1 - 0.9) / 100)
    assert certificate.certified == "small" and certificate.holds
    assert (certificate.date, certificate.command, certificate.ledger) == ("today", "run it", None)
    assert "no ledger" in str(certificate) and "'small' loses less than 5 percentage points" in str(certificate)
    assert certificate.data == fingerprint(data).digest


def test_the_smallest_that_passes_is_certified():
    networks = {"fails": LOSES, "large": Reader(2, 8), "larger": Reader(0, 9)}
    certificate = gs.certify(BASE, networks, labelled(lost=60), 0.05)
    assert [item.name for item in certificate.candidates] == ["larger", "large", "fails"]
    assert [item.certified for item in certificate.candidates] == [True, True, False]
    assert certificate.certified == "large" and "most first" in certificate.order
    declared = gs.certify(BASE, networks, labelled(lost=60), 0.05, order=["fails", "large", "larger"])
    assert declared.certified is None and "declared" in declared.order
    assert [item.p_value for item in declared.candidates] == [1.0, None, None]
    assert "No candidate is certified" in declared.statement and "not tested" in str(declared)
    upwards = gs.certify(BASE, networks, labelled(lost=60), 0.05, order=["large", "larger", "fails"])
    assert upwards.certified == "large", "the smallest, not the last that passed"


def test_networks_without_names_and_left_as_they_were():
    LOSES.set_train(True)
    labels = np.arange(300, dtype=np.int32) % 2
    images = np.repeat(2 * labels[:, None] - 1, 4, axis=1).astype(np.float32)
    certificate = gs.certify(BASE, [LOSES, BEST], ms.dataset.NumpySlicesDataset(
        (images, labels), shuffle=False).batch(100), 0.05)
    assert [item.name for item in certificate.candidates] == ["candidate 2", "candidate 1"]
    assert certificate.repeated == 298
    assert LOSES.training and not BEST.training


def test_files_and_the_way_back(tmp_path):
    path = str(tmp_path / "certificate")
    certificate = gs.certify(BASE, {"small": LOSES}, labelled(), 0.05, path=path)
    assert {item.name for item in tmp_path.iterdir()} == \
        {"certificate.json", "certificate.md", "golden_stick_ledger.json"}
    assert Certificate.load(f"{path}.json") == certificate
    assert (tmp_path / "certificate.md").read_text() == str(certificate)
    (use,) = read_ledger(str(tmp_path / "golden_stick_ledger.json"))
    assert use["images"] == 400 and len(use["samples"]) == 400 and "certificate.json" in use["used_for"]
    with pytest.raises(ArgumentError, match="'path' must be a new file, but a certificate or page stands at"):
        gs.certify(BASE, {"small": LOSES}, labelled(seed=1), 0.05, path=path)


def test_a_second_certificate_on_the_same_images_is_refused(tmp_path):
    gs.certify(BASE, {"small": LOSES}, labelled(lost=100), 0.05, path=str(tmp_path / "first"))
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    # Shuffled and cut, and with another candidate: still the same images.
    images, labels = (np.concatenate([np.asarray(part[column]) for part in labelled(lost=100)]) for column in (0, 1))
    again = [(images[300:200:-1], labels[300:200:-1])]
    with pytest.raises(StateError, match="'data' must be images that nothing has used before, .* has 100 images"):
        gs.certify(BASE, {"small": BEST}, again, 0.05, path=str(tmp_path / "second"))
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before
    told = gs.certify(BASE, {"small": BEST}, again, 0.05, path=str(tmp_path / "second"), reuse="declare")
    assert not told.holds and told.statement.startswith("THIS DATA WAS USED BEFORE: THE CONFIDENCE DOES NOT HOLD")
    assert "on used data" in str(told) and "certificate 'first.json'" in told.used_before[0]
    assert len(read_ledger(str(tmp_path / "golden_stick_ledger.json"))) == 2
    other = gs.certify(BASE, {"small": BEST}, labelled(seed=1), 0.05, path=str(tmp_path / "third"))
    assert other.holds


def test_one_image_of_the_training_data_is_found(tmp_path):
    data, (images, labels) = labelled(seed=2), labelled(seed=1)[0]
    assert gs.certify(BASE, [BEST], data, 0.05, used=[[(images, labels)]]).holds
    images = images.copy()
    images[7] = data[1][0].asnumpy()[3]
    saved = fingerprint([(images, labels)]).save(str(tmp_path / "train.json"))
    assert DataFingerprint.load(saved) == fingerprint([(images, labels)])
    for used in ([[(images, labels)]], [saved], fingerprint([(images, labels)])):
        with pytest.raises(StateError, match="has 1 images that were used before, for the data given as 'used'"):
            gs.certify(BASE, [BEST], data, 0.05, used=used)
    told = gs.certify(BASE, [BEST], data, 0.05, used=saved, reuse="declare")
    assert told.used_before == ("1 images that were used before, for the data given as 'used' (number 1)",)
    other_label = labels.copy()
    other_label[7] = 0
    assert not fingerprint([(images[7:8], other_label[7:8])]).samples & fingerprint(data).samples


def test_a_failed_test_uses_its_images_and_a_failed_run_leaves_no_file(tmp_path):
    class Broken(nn.Cell):
        def construct(self, x):
            return x[:, :2] * float("nan")

    path = str(tmp_path / "certificate.json")
    with pytest.raises(ArgumentError, match="the output of 'broken' must be finite, but some of it is not"):
        gs.certify(BASE, {"broken": Broken()}, labelled(), 0.05, path=path)
    assert not list(tmp_path.iterdir())
    gs.certify(BASE, {"bad": LOSES}, labelled(lost=100), 0.05, path=path)
    with pytest.raises(StateError, match="nothing has used before"):
        gs.certify(BASE, {"good": BEST}, labelled(lost=100), 0.05, path=str(tmp_path / "next.json"))


@pytest.mark.parametrize("changed, named, remedy", [("gained", "base", "load the weights"),
                                                    ("lost", "small", "recover or fine-tune it first, or leave it")])
def test_a_network_near_chance_is_refused_before_images_are_used_up(changed, named, remedy, tmp_path):
    """
    Of 200 images of either label, 112 against 88 are no clear win over one answer for all, 113 against 87 are: the
    probabilities of so many of 200 throws of a coin are 0.0518 and 0.0384.
    """
    path = str(tmp_path / "certificate.json")
    with pytest.raises(StateError, match=f"For 'certify', '{named}' must be right clearly more often than the most "
                                         f"frequent label, given to all 400 images, but may not be: {remedy}.*They "
                                         f"are not used up"):
        gs.certify(BASE, {"small": LOSES}, labelled(**{changed: 176}), 0.05, path=path)
    assert not list(tmp_path.iterdir())
    gs.certify(BASE, {"small": LOSES}, labelled(**{changed: 174}), 0.05, path=path)
    assert (tmp_path / "golden_stick_ledger.json").is_file()


def test_a_folder_that_is_missing_uses_no_image(tmp_path):
    with pytest.raises(CheckpointError, match="For 'certify', the folder of 'path' must exist"):
        gs.certify(BASE, {"small": LOSES}, labelled(), 0.05, path=str(tmp_path / "no" / "certificate"),
                   ledger=str(tmp_path / "ledger.json"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "x"}', '{"kind": "golden_stick ledger", "uses": [1]}'])
def test_a_damaged_ledger_is_an_error_and_stays(tmp_path, text):
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(CheckpointError, match="must be a JSON file that can be read|must be a golden_stick ledger, but "
                                              "is another file|every use in the ledger"):
        gs.certify(BASE, [BEST], labelled(), 0.05, ledger=str(tmp_path / "ledger.json"))
    assert (tmp_path / "ledger.json").read_text() == text


def test_a_damaged_certificate_or_fingerprint_is_an_error(tmp_path):
    path = tmp_path / "certificate.json"
    gs.certify(BASE, {"small": LOSES}, labelled(lost=100), 0.05, path=str(path))
    record = json.loads(path.read_text())
    for change, message in (({"certified": "small"}, "'certified' in 'record' must follow from its numbers"),
                            ({"version": 9}, "'record' must be of kind 'golden_stick certificate', version 1"),
                            ({"kind": "other"}, "must be a certificate, but it is damaged")):
        path.write_text(json.dumps({**record, **change}))
        with pytest.raises(CheckpointError, match=message):
            Certificate.load(str(path))
    path.write_text('{"kind": "golden_stick data fingerprint"}')
    with pytest.raises(CheckpointError, match="every field of the fingerprint 'certificate.json' must be whole"):
        DataFingerprint.load(str(path))


@pytest.mark.parametrize("changed, error, message", [
    ({"base": "net"}, ArgumentTypeError, "every network must be a Cell, but 'base' is a str"),
    ({"candidates": BEST}, ArgumentTypeError, "'candidates' must be a dict or a list of networks"),
    ({"candidates": {}}, ArgumentError, "'candidates' must name at least one network, none of them 'base'"),
    ({"candidates": {"base": BEST}}, ArgumentError, "'candidates' must name at least one network"),
    ({"order": ["a", "a"]}, ArgumentError, "'order' must name each candidate once"),
    ({"max_drop": 1}, ArgumentError, "'max_drop' must be in"),
    ({"confidence": 0}, ArgumentError, "'confidence' must be in"),
    ({"reuse": "hide"}, ArgumentError, "'reuse' must be one of 'refuse', 'declare'"),
    ({"data": []}, ArgumentError, "For 'certify', 'data' must hold at least one image"),
    ({"data": 3}, ArgumentTypeError, r"'data' must be a data set or an iterable of \(images, labels\)"),
    ({"data": [np.ones((3, 4))]}, ArgumentTypeError, "a batch of 'data' must be images and labels"),
    ({"data": [(np.ones((3, 4)), np.ones(3))]}, ArgumentError, "must have one whole number as label for each image"),
    ({"candidates": [nn.Flatten()], "data": [(np.ones((3, 1), np.float32), np.ones(3, int))], "base": nn.Flatten()},
     ArgumentError, r"the output of 'base' must be of shape \(images, classes\)"),
    ({"used": [[]]}, ArgumentError, "For 'fingerprint', 'data' must hold at least one image"),
])
def test_wrong_arguments(changed, error, message):
    arguments = {"base": BASE, "candidates": {"a": LOSES}, "data": labelled(), **changed}
    with pytest.raises(error, match=message):
        gs.certify(**arguments)


def test_the_digest_of_data_does_not_depend_on_their_order():
    images, labels = labelled()[0]
    assert fingerprint([(images[::-1], labels[::-1])]).digest == fingerprint([(images, labels)]).digest
    assert fingerprint([(images[1:], labels[1:])]).digest != fingerprint([(images, labels)]).digest


def test_a_digest_is_of_all_parts_in_their_order():
    rows = np.arange(6, dtype=np.int8).reshape(2, 3)
    assert digest_of(iter(["rows ", rows])) == hashlib.sha256(b"rows \x00\x01\x02\x03\x04\x05").hexdigest()
    assert digest_of([rows.T]) == hashlib.sha256(b"\x00\x03\x01\x04\x02\x05").hexdigest()


def test_digests_change_with_what_they_are_of():
    one, other = nn.Dense(3, 2), nn.Dense(3, 2)
    other.weight.set_data(Tensor(one.weight.asnumpy()))
    other.bias.set_data(Tensor(one.bias.asnumpy()))
    assert network_digest(one) == network_digest(other)
    other.bias[1] = 5.0
    assert network_digest(one) != network_digest(other)
