"""Networks on which Torch-Pruning was seen to fail, and some on which it works: pruned exactly, or kept and said."""
import re

import numpy as np
import pytest

import golden_stick as gs
from golden_stick.base.errors import NothingToPruneError, SlimError
from tests.prune.test_accounting import check_report
from tests.rival_cases import CASES

# Other tests of the default run fail where these would: of recurrent layers, heads, moved weights, whole networks.
ELSEWHERE = {"GRU", "LSTM", "YOLOv8 C2f: chunk, and concat of a list", "squeeze and excitation", "residual sum",
             "grouped convolution", "module used twice", "attention, separate q, k, v", "Conv1d and flatten",
             "convolution, sigmoid, convolution", "convolution by a bare Parameter", "concat, then BatchNorm",
             "attention, head width hard-coded", "view with a hard-coded width"}
CONFIG = {"criterion": "l1", "prune_rate": 0.4}
TOLERANCE = 1e-5


def state_of(network):
    """Everything that pruning a copy must leave alone."""
    return {item.name: (item.requires_grad, item.asnumpy().tolist()) for item in network.get_parameters()}


def run(network, data):
    return network.set_train(False)(data).asnumpy()


def filters(network, layer):
    """Filters of a layer, or of a bare parameter of that name."""
    shapes = {item.name: item.shape for item in network.get_parameters()}
    return shapes.get(f"{layer}.weight", shapes.get(layer, (None,)))[0]


def check_reasons(case, report):
    """Every layer that must stay did and has a reason, and among their reasons is the one at the root."""
    layers = {layer.path: layer for layer in report.layers}
    for name in case.keeps:
        assert layers[name].after == layers[name].before == layers[name].fixed
        assert layers[name].reasons
    reasons = [reason for name in case.keeps for reason in layers[name].reasons]
    assert not reasons or any(re.search(case.why, reason) for reason in reasons), reasons


def cases(expected):
    return [pytest.param(case, marks=pytest.mark.long if case.name in ELSEWHERE else (), id=case.name)
            for case in CASES if case.expected == expected and not case.traced_only]


@pytest.mark.parametrize("case", cases("pruned"))
def test_pruned_exactly(case):
    network = case.build()
    state, data = state_of(network), [case.data(seed) for seed in (1, 2)]
    original = [run(network, item) for item in data]
    algorithm = gs.OneShot(CONFIG)
    masked = algorithm.apply(network, inputs=case.shape)
    check_report(algorithm, network)
    slim = algorithm.convert(masked)
    for item, before in zip(data, original):
        wanted, got = run(masked, item), run(slim, item)
        scale = np.abs(wanted).max()
        assert wanted.shape == got.shape and np.abs(wanted - got).max() <= TOLERANCE * scale
        # Were nothing masked, slim could equal it only by being as large.
        assert np.abs(wanted - before).max() > 100 * TOLERANCE * scale
        np.testing.assert_array_equal(run(network, item), before)
    for name in case.shrinks:
        assert filters(slim, name) < filters(network, name), name
    assert state_of(network) == state
    assert [item.requires_grad for item in slim.get_parameters()] == [flag for flag, _ in state.values()]
    check_reasons(case, algorithm.report)


@pytest.mark.parametrize("case", cases("kept"))
def test_kept_with_a_reason(case):
    network = case.build()
    state, data = state_of(network), case.data(1)
    algorithm = gs.OneShot(CONFIG)
    try:
        masked = algorithm.apply(network, inputs=case.shape)
    except (NothingToPruneError, SlimError) as refusal:
        assert re.search(case.why, str(refusal))
    else:
        wanted, got = run(masked, data), run(algorithm.convert(masked), data)
        assert np.abs(wanted - got).max() <= TOLERANCE * np.abs(wanted).max()
        check_reasons(case, algorithm.report)
    assert state_of(network) == state


@pytest.mark.parametrize("case", [case for case in CASES if case.traced_only], ids=lambda case: case.name)
def test_pruned_and_compiled_but_not_run(case):
    network = case.build()
    state = state_of(network)
    algorithm = gs.OneShot(CONFIG)
    # `apply` slims a copy for trial and compiles it.
    algorithm.apply(network, inputs=case.shape)
    widths = {layer.path: (layer.before, layer.after) for layer in algorithm.report.layers}
    for name in case.shrinks:
        assert widths[name][1] < widths[name][0]
    assert state_of(network) == state


def test_names_are_unique_and_every_case_expects_something():
    assert len({case.name for case in CASES}) == len(CASES)
    assert ELSEWHERE < {case.name for case in CASES}
    assert all(case.shrinks or (case.keeps and case.why) for case in CASES)
