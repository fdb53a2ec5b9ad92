"""Planting: filters that add nothing, or next to nothing, put into a trained network, and remembered."""
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from mindspore import Tensor

from benchmarks.planted.images import Images, batches
from benchmarks.planted.network import BATCH, LAYERS, WIDTHS, SmallNet, conv_of, read, write
from golden_stick.recover.statistics import calibrate

__all__ = ["KINDS", "SAFE", "WEAK_FORMS", "Planted", "consumer_of", "plant"]

KINDS = ("dead", "irrelevant", "weak", "duplicate")
# What can be removed together; of duplicates, one of a pair can.
SAFE = ("dead", "irrelevant", "weak")
WEAK_FORMS = ("random", "copy")
_WEAK_SHARE = 0.02
_TOLERANCE = 1e-5
_VECTORS = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True, eq=False)
class Planted:
    """
    A widened network and the truth about its filters.

    Args:
        network (SmallNet): The network, in evaluation.
        kinds (tuple[numpy.ndarray]): Of each layer, each filter's kind: one of `KINDS`, ``'original'``, or
            ``'duplicated'``, an original that a duplicate shares its outgoing weights with.
        pairs (tuple[numpy.ndarray]): Of each layer, int, shape (pairs, 2): an original and its duplicate.
        difference (float): Largest change of a logit by all that is planted but the weak filters, over the largest
            logit.
        weak_difference (float): The same with the weak ones, which do add a little.
    """

    network: SmallNet
    kinds: Tuple[np.ndarray, ...]
    pairs: Tuple[np.ndarray, ...]
    difference: float
    weak_difference: float


def consumer_of(layer: int) -> str:
    """Name of the weight that reads a layer's channels, along its axis 1."""
    return conv_of(layer + 1) if layer + 1 < LAYERS else "dense.weight"


def plant(base: SmallNet, images: Images, seed: int, weak: str = "random") -> Planted:
    """
    Widen every layer by ``max(2, filters / 8)`` filters of each kind, at random positions.

    Dead: scale 0.2 and bias -3 times the layer's median scale, so that the ReLU never fires; outgoing weights as an
    original has them. Irrelevant: random weights, the layer's median scale and bias, outgoing weights zero. Weak: the
    same with small outgoing weights. Duplicate: a copy of an original, which keeps half of its outgoing weights.

    Args:
        base (SmallNet): The trained network, which is not changed.
        images (Images): Training images, at least one batch: for the statistics of random filters' normalizations.
        seed (int): Of all that is drawn.
        weak (str): ``'random'``: random filters with random outgoing weights of 2 % of the layer's deviation, which
            change the network's function a little; ``'copy'``: copies of originals with 2 % of their outgoing weights,
            98 % staying, which change nothing. Default: ``'random'``.

    Raises:
        RuntimeError: If the network's function changed by more than rounding.
    """
    generator = np.random.default_rng(seed)
    values, kinds, pairs = read(base), [], []
    for layer in range(LAYERS):
        found, pair = _widen(values, layer, generator, weak, (kinds[-1], pairs[-1]) if layer else None)
        kinds.append(found)
        pairs.append(pair)
    network = SmallNet([len(found) for found in kinds]).set_train(False)
    _settle_statistics(network, values, kinds, images)
    inputs = Tensor(images.pixels[:BATCH])
    wanted = base.set_train(False)(inputs).asnumpy()
    scale = np.abs(wanted).max()
    without = dict(values)
    for layer in range(LAYERS):
        without[consumer_of(layer)] = without[consumer_of(layer)].copy()
        if weak == "random":
            without[consumer_of(layer)][:, kinds[layer] == "weak"] = 0.0
    changes = []
    for state in (without, values):
        write(network, state)
        changes.append(float(np.abs(network(inputs).asnumpy() - wanted).max() / scale))
    if not changes[0] <= _TOLERANCE:
        raise RuntimeError(f"For 'plant', the network's function must stay, but it changed by {changes[0]:.2g}.")
    return Planted(network, tuple(kinds), tuple(pairs), *changes)


def _widen(values: Dict[str, np.ndarray], layer: int, generator: np.random.Generator, weak: str,
           inputs: Optional[Tuple[np.ndarray, np.ndarray]]) -> Tuple[np.ndarray, np.ndarray]:
    """Write the wider layer into `values`; returns the kinds of its filters and the pairs of duplicates, which `inputs`
    are of the layer before."""
    count = WIDTHS[layer]
    k = max(2, count // 8)
    weight, outgoing = values[conv_of(layer)], values[consumer_of(layer)]
    drawn = generator.permutation(count)
    doubled, lent = drawn[:k], drawn[k:2 * k]
    columns = outgoing.copy()
    columns[:, doubled] *= 0.5
    small = _WEAK_SHARE * outgoing.std() * generator.normal(size=columns[:, lent].shape)
    if weak == "copy":
        small = _WEAK_SHARE * outgoing[:, lent]
        columns[:, lent] *= 1 - _WEAK_SHARE
    # He's deviation, for as many inputs as the layer now has.
    deviation = np.sqrt(2 / np.prod(weight.shape[1:]))
    random = generator.normal(0, deviation, (3 * k, *weight.shape[1:]))
    if inputs is not None:
        _obey(random, *inputs)
    rows = [weight, random[:2 * k], weight[lent] if weak == "copy" else random[2 * k:], weight[doubled]]
    new = [columns, outgoing[:, generator.choice(count, k)], np.zeros_like(small), small, columns[:, doubled]]
    kinds = np.array(["original"] * count + [kind for kind in KINDS for _ in range(k)], dtype="<U10")
    kinds[doubled] = "duplicated"
    # Anywhere among the others, so that no criterion gains by how it breaks ties.
    order = generator.permutation(len(kinds))
    place = np.argsort(order)
    values[conv_of(layer)] = np.concatenate(rows)[order].astype(np.float32)
    values[consumer_of(layer)] = np.concatenate(new, axis=1)[:, order].astype(np.float32)
    for name, vector in _vectors(values, layer, doubled, lent, k, weak).items():
        values[name] = vector[order].astype(np.float32)
    return kinds[order], np.stack([place[doubled], place[count + 3 * k:]], axis=1)


def _obey(random: np.ndarray, kinds: np.ndarray, pairs: np.ndarray) -> None:
    """Random filters, too, read what was planted before them as its kind says: outgoing weights are those to them."""
    random[:, kinds == "irrelevant"] = 0.0
    random[:, kinds == "weak"] *= _WEAK_SHARE
    random[:, pairs[:, 0]] *= 0.5
    random[:, pairs[:, 1]] = random[:, pairs[:, 0]]


def _vectors(values: Dict[str, np.ndarray], layer: int, doubled: np.ndarray, lent: np.ndarray, k: int, weak: str
             ) -> Dict[str, np.ndarray]:
    """The normalization's vectors, in the order original, dead, irrelevant, weak, duplicate."""
    name = f"features.{3 * layer + 1}."
    scale = float(np.median(np.abs(values[f"{name}gamma"])))
    typical = {"gamma": scale, "beta": float(np.median(values[f"{name}beta"])), "moving_mean": 0.0,
               "moving_variance": 1.0}
    dead = {**typical, "gamma": 0.2 * scale, "beta": -3.0 * scale}
    found = {}
    for kind in _VECTORS:
        vector = values[name + kind]
        middle = vector[lent] if weak == "copy" else np.full(k, typical[kind])
        found[name + kind] = np.concatenate([vector, np.full(k, dead[kind]), np.full(k, typical[kind]), middle,
                                             vector[doubled]])
    return found


def _settle_statistics(network: SmallNet, values: Dict[str, np.ndarray], kinds: Sequence[np.ndarray],
                       images: Images) -> None:
    """Give random filters the normalization statistics that their channels have."""
    scout = SmallNet([len(found) for found in kinds])
    write(scout, values)
    size = min(BATCH, len(images))
    shown: List[np.ndarray] = [pixels for pixels, _ in batches(images.take(slice(16 * size)), size)]
    calibrate(scout, shown)
    seen = read(scout)
    for layer, found in enumerate(kinds):
        # Copies have what their originals have, to the last bit.
        random = np.isin(found, SAFE) & (values[f"features.{3 * layer + 1}.moving_variance"] == 1.0)
        for kind in _VECTORS[2:]:
            name = f"features.{3 * layer + 1}.{kind}"
            values[name] = np.where(random, seen[name], values[name])
