"""slim == masked for networks that nobody wrote: `tests.random_networks` draws them, a number names each."""
import mindspore as ms
import numpy as np
import pytest

import golden_stick as gs
from golden_stick.base.errors import NothingToPruneError, SlimError
from golden_stick.cells.wrappers import PLAN
from tests.prune.test_accounting import check_names, check_report, half
from tests.random_networks import describe, draw, settings

TOLERANCE = 1e-4
# So many networks of a run must really lose parameters: otherwise, refusing all of them would pass.
PRUNED = 0.8

CHUNKS = [range(2)]
LONG = [pytest.param(range(start, start + 50), marks=pytest.mark.long) for start in (2, *range(1000, 2000, 50))]


def arrays(output):
    """All tensors of an output, in order."""
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        return [array for item in output for array in arrays(item)]
    return [output.asnumpy()]


def run(network, inputs, mode=ms.PYNATIVE_MODE):
    before = ms.get_context("mode")
    ms.set_context(mode=mode)
    try:
        return arrays(network.set_train(False)(*inputs))
    finally:
        ms.set_context(mode=before)


def fresh(inputs, seed):
    """Other inputs than those that the network was traced with."""
    generator = np.random.default_rng([seed, 1])
    return tuple(ms.Tensor(generator.normal(size=item.shape).astype(np.float32)) for item in inputs)


def distance(wanted, got):
    """Largest difference of any output, as a fraction of that output's scale."""
    assert [item.shape for item in wanted] == [item.shape for item in got]
    return max(np.abs(one - other).max() / max(np.abs(one).max(), 1e-9) for one, other in zip(wanted, got))


def size(network):
    """Numbers in a network's own parameters; a masked one also holds its plan."""
    return sum(parameter.size for parameter in network.get_parameters() if parameter.name != PLAN)


def check_refusal(error, network):
    """A refusal names a layer of the network, or a reason why there is none."""
    names = [path for path, _ in network.cells_and_names() if path]
    said = str(error)
    assert any(name in said for name in names) or "in the network's code" in said, said


def prune(seed, network, inputs):
    """Whether a network was pruned: fewer parameters, and outputs that differ from the original's. Or an error."""
    data = fresh(inputs, seed)
    before = run(network, data)
    algorithm = gs.OneShot(settings(seed))
    try:
        masked = algorithm.apply(network, inputs=inputs)
        check_report(algorithm, network)
        slim = algorithm.convert(masked)
    except (NothingToPruneError, SlimError) as error:
        check_refusal(error, network)
        graph = gs.trace(network, inputs)
        check_names(network, graph, half(graph))
        assert distance(before, run(network, data)) == 0, "the original has changed"
        return False
    mode = ms.PYNATIVE_MODE if seed % 2 else ms.GRAPH_MODE
    wanted, got = run(masked, data, mode), run(slim, data, mode)
    assert all(np.isfinite(item).all() for item in wanted)
    assert distance(wanted, got) <= TOLERANCE, f"slim differs from masked by {distance(wanted, got):.2g}"
    assert distance(before, run(network, data)) == 0, "the original has changed"
    assert size(slim) <= size(network) == size(masked)
    return size(slim) < size(network) and distance(before, wanted) > 10 * TOLERANCE


@pytest.mark.parametrize("seeds", CHUNKS + LONG, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_slim_equals_masked(seeds):
    failures, pruned = [], 0
    for seed in seeds:
        network, inputs = draw(seed)
        try:
            pruned += prune(seed, network, inputs)
        # Whatever a random network provokes: the seed is what must be known.
        except Exception as error:  # noqa: BLE001
            failures.append(f"seed {seed}, {settings(seed)}: {describe(network)}\n    {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)
    assert pruned >= PRUNED * len(seeds), f"only {pruned} of {len(seeds)} networks were pruned"
