"""Planted redundancy: the planting keeps the network's function, the measures are right, the command runs."""
import importlib
import itertools
import json
from dataclasses import asdict

import mindspore as ms
import numpy as np
import pytest

import golden_stick as gs
from benchmarks import planted_redundancy as command
from benchmarks.planted import measures, page
from benchmarks.planted.images import SHARES, batches, draw_gratings, load, split
from benchmarks.planted.network import LAYERS, WIDTHS, SmallNet, conv_of, read, train, write
from benchmarks.planted.planting import KINDS, SAFE, WEAK_FORMS, consumer_of, plant
from benchmarks.planted.scores import INPUTS, by_criterion, by_scop
from golden_stick.prune.plan import make_plan
from golden_stick.recover.statistics import calibrate


@pytest.fixture(autouse=True, scope="module")
def graph_mode():
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=before)


@pytest.fixture(scope="module")
def gratings():
    return draw_gratings(512, np.random.default_rng(0))


@pytest.fixture(scope="module")
def base(gratings):
    ms.set_seed(0)
    network = SmallNet()
    train(network, gratings, 2, 0)
    return network


@pytest.fixture(scope="module", params=WEAK_FORMS)
def planted(request, base, gratings):
    return plant(base, gratings, 3, request.param)


def logits(network, values, pixels):
    twin = SmallNet([len(values[conv_of(layer)]) for layer in range(LAYERS)]).set_train(False)
    write(twin, values)
    return twin(ms.Tensor(pixels)).asnumpy()


def test_planting_keeps_the_function_but_for_weak_random_filters(base, planted, gratings):
    pixels = gratings.pixels[:64]
    wanted = logits(base, read(base), pixels)
    values = read(planted.network)
    exact = planted.weak_difference == pytest.approx(planted.difference)
    if not exact:
        for layer, kinds in enumerate(planted.kinds):
            values[consumer_of(layer)][:, kinds == "weak"] = 0.0
    found, scale = logits(planted.network, values, pixels), np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * scale)
    assert 1e-5 < planted.weak_difference < 0.1 or exact


@pytest.mark.long
def test_planting_changes_neither_the_base_nor_what_it_is_drawn_from(base, gratings):
    before = read(base)
    first, second = plant(base, gratings, 5), plant(base, gratings, 5)
    assert all(np.array_equal(before[name], value) for name, value in read(base).items())
    assert all(np.array_equal(value, read(second.network)[name]) for name, value in read(first.network).items())


def test_every_layer_has_its_share_of_every_kind(planted):
    for width, kinds, pairs in zip(WIDTHS, planted.kinds, planted.pairs):
        k = max(2, width // 8)
        assert [int((kinds == kind).sum()) for kind in KINDS] == [k] * 4
        assert int(np.isin(kinds, ("original", "duplicated")).sum()) == width
        assert list(kinds[pairs[:, 0]]) == ["duplicated"] * k and list(kinds[pairs[:, 1]]) == ["duplicate"] * k


def test_dead_filters_never_fire_and_random_ones_do(planted, gratings):
    signal = ms.Tensor(gratings.pixels[:256])
    for layer, kinds in enumerate(planted.kinds):
        for cell in list(planted.network.features)[3 * layer:3 * layer + 3]:
            signal = cell(signal)
        fires = (signal.asnumpy() > 0).mean((0, 2, 3))
        assert fires[kinds == "dead"].max() == 0
        if planted.weak_difference > 1e-5:
            assert fires[np.isin(kinds, ("irrelevant", "weak"))].min() > 0.05


def test_nobody_reads_irrelevant_filters_and_pairs_are_the_same(planted):
    values = read(planted.network)
    for layer, (kinds, pairs) in enumerate(zip(planted.kinds, planted.pairs)):
        outgoing = np.abs(values[consumer_of(layer)])
        readers = outgoing.reshape(len(outgoing), len(kinds), -1).sum((0, 2))
        assert readers[kinds == "irrelevant"].max() == 0
        assert readers[kinds == "weak"].max() < 0.1 * np.median(readers[kinds == "original"])
        assert readers[kinds == "dead"].min() > 0
        np.testing.assert_array_equal(values[conv_of(layer)][pairs[:, 0]], values[conv_of(layer)][pairs[:, 1]])
        np.testing.assert_array_equal(readers[pairs[:, 0]], readers[pairs[:, 1]])


def test_a_network_whose_function_changed_is_refused(base, gratings, monkeypatch):
    monkeypatch.setattr("benchmarks.planted.planting._TOLERANCE", 1e-12)
    with pytest.raises(RuntimeError, match="the network's function must stay, but it changed by"):
        plant(base, gratings, 3)


@pytest.mark.long
def test_the_squared_gradients_of_scop_find_what_does_nothing(planted, gratings):
    config = {"turn_steps": 10, "held_out": True}
    found = by_scop(config, planted.network, gratings, 10 * LAYERS, 0, 0.02)
    assert found.algorithm.config["score"] == "fisher"
    kinds = measures.auroc_of_kinds(found.scores, planted.kinds)
    assert kinds["dead"] > 0.99 and kinds["irrelevant"] > 0.99 and kinds["weak"] > 0.9
    # Each of two that do the same has half of the effect of one.
    assert kinds["duplicate"] > 0.9


def test_auroc_by_hand():
    # Of the six pairs, four are in order, one is tied and one is not.
    assert measures.auroc([1.0, 3.0], [2.0, 3.0, 4.0]) == pytest.approx((4 + 0.5) / 6)
    assert measures.auroc([0.0], [1.0]) == 1 and measures.auroc([1.0], [0.0]) == 0


def test_auroc_stays_within_layers_and_duplicates_meet_originals_without_one():
    kinds = [np.array(["dead", "original", "duplicated", "duplicate", "irrelevant", "weak"])] * 2
    # The second layer's scores stand far above the first one's, which says nothing.
    scores = [np.array([1.0, 2.0, 0.0, 3.0, -1.0, 2.0]), 100 + np.array([1.0, 2.0, 0.0, 3.0, -1.0, 2.0])]
    found = measures.auroc_of_kinds(scores, kinds)
    assert found == {"dead": 0.5, "irrelevant": 1.0, "weak": 0.25, "duplicate": 0.0}


def test_rank_correlation_is_the_mean_over_layers_and_nothing_where_scores_do_not_differ():
    falling, rising, same = np.arange(4)[::-1], np.arange(4), np.zeros(4)
    assert measures.spearman([rising, rising, falling, same], [falling, 10 * rising, falling, rising]) == 0.25


@pytest.mark.long
def test_a_network_without_filters_is_the_slim_network(base, gratings):
    planted = plant(base, gratings, 3)
    scores = by_criterion("l1", planted.network, gratings, 0)
    grouping = gs.find_groups(gs.trace(planted.network, INPUTS))
    plan = make_plan(grouping, {group.name: scores[layer] for layer, group in enumerate(grouping)}, 0.35)
    gone = measures.lowest(scores, 0.35)
    for axis in plan.axes:
        if axis.axis == 0 and axis.parameter.startswith("features") and axis.parameter.endswith("weight"):
            layer = next(layer for layer in range(LAYERS) if conv_of(layer) == axis.parameter)
            np.testing.assert_array_equal(np.flatnonzero(~gone[layer]), axis.kept)
    without = measures.Without(planted.network, gratings, gratings)
    before, after = without.accuracies(gone)
    slim, again = gs.slim(planted.network, plan).set_train(False), gs.slim(planted.network, plan)
    assert before == pytest.approx(float(np.mean(slim(ms.Tensor(gratings.pixels[:500])).asnumpy().argmax(1)
                                                 == gratings.labels[:500])), abs=0.005)
    calibrate(again, [pixels for pixels, _ in batches(gratings, 128)])
    twin = gs.slim(planted.network, plan).set_train(False)
    write(twin, read(again))
    assert after == pytest.approx(float(np.mean(twin(ms.Tensor(gratings.pixels[:500])).asnumpy().argmax(1)
                                                == gratings.labels[:500])), abs=0.005)


def test_parts_of_the_images_are_disjoint():
    known, _ = load(None, 400)
    parts = split(known, 1)
    seen = [{pixels.tobytes() for pixels in part.pixels} for part in parts.values()]
    assert [len(part) for part in seen] == [round(share * 400) for share in SHARES.values()]
    assert all(not one & other for one, other in itertools.combinations(seen, 2))
    assert not np.array_equal(parts["control"].labels, split(known, 2)["control"].labels)


def row(auroc, originals, accuracy):
    kinds = dict.fromkeys(KINDS, auroc)
    return {"accuracy": 0.6, "criteria": {"scop": {"auroc": kinds}, "random": {"auroc": dict.fromkeys(KINDS, 0.5)}},
            "sets": {"safe_filters, eps = 0.001": {"original": originals, "power": 0.9, "accuracy": [accuracy, 0.6]}}}


def test_a_missed_threshold_is_missed():
    good = dict((what, held) for what, _, held in page.check([row(1.0, 0, 0.6), row(0.99, 0, 0.595)]))
    assert [what for what, held in good.items() if not held] == ["SCOP, duplicate: blind, AUROC 0.35 to 0.65"]
    bad = page.check([row(1.0, 0, 0.6), row(0.5, 1, 0.5)])
    assert {what.split(":")[0] + what.split(":")[1][:9] for what, _, held in bad if not held} == {
        "SCOP, dead AUROC at", "SCOP, irrelevant AUROC at", "SCOP, weak AUROC at", "SCOP, duplicate blind, A",
        "safe_filters, eps = 0.001 original", "safe_filters, eps = 0.001 accuracy"}


@pytest.mark.long
def test_the_whole_command_at_a_tiny_size(tmp_path, capsys, monkeypatch):
    # One epoch on 240 images teaches too little for a test of single filters that counts.
    monkeypatch.setattr(importlib.import_module("golden_stick.certify.ablation"), "refuse_chance", lambda *told: None)
    output = tmp_path / "planted.md"
    words = ["--epochs", "1", "--images", "400", "--steps", "40", "--output", str(output), "--criteria", "random",
             "taylor", "--scop", "scop", "--rates", "0.2"]
    with pytest.raises(SystemExit, match="needs seeds with these settings"):
        command.main([*words, "--page-only"])
    code = command.main([*words, "--seeds", "1"])
    printed = capsys.readouterr().out
    assert code == int("MISSED" in printed)
    rows = json.loads(output.with_suffix(".json").read_text())
    assert set(rows[0]["criteria"]) == {"random", "taylor", "scop", "hiding one at a time"}
    # What has no effect at all is found, however little the network was trained.
    safe = rows[0]["sets"]["safe_together, eps = 0.005"]
    assert safe["dead"] == safe["irrelevant"] == sum(max(2, width // 8) for width in WIDTHS)
    assert rows[0]["criteria"]["taylor"]["auroc"]["dead"] == rows[0]["criteria"]["taylor"]["auroc"]["irrelevant"] == 1
    text = output.read_text()
    assert "planted.svg" in text and output.with_suffix(".svg").is_file()
    assert text.count("**missed**") == printed.count("MISSED")
    assert all(kind in text for kind in SAFE)
    assert command.main([*words, "--page-only"]) == code and json.loads(output.with_suffix(".json").read_text()) == rows
    assert "1 of" not in text and "4 of 5 seeds have not been run" in output.read_text()


def test_seeds_that_were_run_are_not_run_again_unless_something_differs(tmp_path):
    settings, file = command.Settings(steps=7), tmp_path / "rows.json"
    made = {"seed": 0, "settings": json.loads(json.dumps(asdict(settings))), "data": "x.zip", "known": 10,
            "images": dict.fromkeys([*SHARES, "test"], 1)}
    fewer = {**made, "seed": 2, "images": {"weights": 1, "test": 1}}
    file.write_text(json.dumps([made, {**made, "seed": 1, "known": 9}, fewer]))
    assert [row["seed"] for row in command.earlier(file, settings, "x.zip", 10)] == [0]
    assert command.earlier(file, command.Settings(steps=8), "x.zip", 10) == []
    assert command.earlier(file, settings, "y.zip", 10) == command.earlier(tmp_path / "no.json", settings, "y", 1) == []
