"""The networks of mindcv, built so that nothing hides a mistake, and how far outputs lie apart."""
import csv
import re
from pathlib import Path

import mindcv
import mindspore as ms
import numpy as np
from mindcv.models.registry import get_pretrained_cfg

from golden_stick.recover.statistics import calibrate

# How the networks are pruned, where they are.
CONFIG = {"criterion": "l1", "prune_rate": 0.4}
MODELS = Path(__file__).resolve().parents[1] / "mindcv_models.csv"
# Networks that take any size are given this one, for speed.
SMALL, USUAL = 64, 224
# How many batches of images normalizations are fitted to.
BATCHES = 2


def table():
    """Network -> (family, size of its input), for one network of every kind."""
    with MODELS.open() as file:
        return {row["model"]: (row["family"], int(row["input"])) for row in csv.DictReader(file)}


def all_variants():
    """The same for every name of mindcv, with sizes from the names' families."""
    known = table()
    sizes = dict(known.values())
    found = {}
    for family in mindcv.list_modules():
        for name in mindcv.list_models(module=family):
            found[name] = known.get(name, (family, _size(name, sizes.get(family, USUAL))))
    return dict(sorted(found.items()))


def _size(name, size):
    if size == SMALL:
        return size
    written = re.search(r"(?:_|[a-z])(224|256|384|448)$", name)
    return int(written.group(1)) if written else get_pretrained_cfg(name).get("input_size", (3, size, size))[-1]


def build(name, size, seed=0):
    """
    A network of mindcv, without what hides mistakes: normalizations of ones and zeros, layer scales near zero.

    Its normalizations fit its features, as in a trained network: with statistics drawn at random, numbers grow from
    layer to layer, and so do their roundings.
    """
    ms.set_seed(seed)
    network, generator = mindcv.create_model(name, pretrained=False), np.random.default_rng(seed)
    norms = [cell for _, cell in network.cells_and_names() if hasattr(cell, "moving_mean")]
    statistics = {item.name for cell in norms for item in (cell.moving_mean, cell.moving_variance)}
    for cell in norms:
        assign(cell.gamma, generator.uniform(0.5, 1.5, cell.num_features))
        assign(cell.beta, generator.normal(0.0, 0.3, cell.num_features))
    for parameter in network.get_parameters():
        values = parameter.asnumpy()
        if parameter.name not in statistics and values.dtype == np.float32 and np.ptp(values) == 0:
            assign(parameter, generator.uniform(0.5, 1.5, values.shape) if values.flat[0] != 0 else
                   generator.normal(0.0, 0.1, values.shape))
    if norms:
        fit(network, norms, size, generator)
    return network


def fit(network, norms, size, generator):
    """Statistics of random images, and a little away from them."""
    mode = ms.get_context("mode")
    # A few runs are not worth a compilation.
    ms.set_context(mode=ms.PYNATIVE_MODE)
    calibrate(network, generator.normal(size=(BATCHES, 4, 3, size, size)).astype(np.float32))
    ms.set_context(mode=mode)
    for cell in norms:
        mean, variance = cell.moving_mean.asnumpy(), cell.moving_variance.asnumpy()
        # A channel that never varies would be multiplied by a huge number once it does.
        variance = variance + 0.1 * variance.mean()
        assign(cell.moving_mean, mean + np.sqrt(variance) * generator.normal(0.0, 0.1, mean.shape))
        assign(cell.moving_variance, variance * generator.uniform(0.8, 1.25, variance.shape))


def assign(parameter, values):
    parameter.set_data(ms.Tensor(np.asarray(values, np.float32)))


def run(network, data):
    """The outputs, as arrays."""
    outputs = network.set_train(False)(data)
    return [item.asnumpy() for item in (outputs if isinstance(outputs, (tuple, list)) else (outputs,))]


def distance(wanted, got):
    """Largest difference, as a fraction of the largest number in `wanted`; infinite where shapes differ."""
    if [item.shape for item in wanted] != [item.shape for item in got]:
        return float("inf")
    scale = max(np.abs(item).max() for item in wanted)
    return float(max(np.abs(one - other).max() for one, other in zip(wanted, got)) / scale)
