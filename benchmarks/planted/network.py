"""A small network, and filters planted into it of which one knows that they are not needed."""
from typing import Dict, List, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from golden_stick.prune import calibrate

__all__ = ["KINDS", "WIDTHS", "PlantedNet", "plant"]

WIDTHS, STRIDES = (16, 32, 32, 64), (1, 2, 1, 2)
KINDS = ("dead", "irrelevant", "weak", "duplicate")
# What a weak filter passes on, as a fraction of what others do.
_WEAK = 0.02


class PlantedNet(nn.Cell):
    """Four convolutions with normalization, a mean over the pixels, a dense layer."""

    def __init__(self, widths: Sequence[int] = WIDTHS, classes: int = 10):
        super().__init__()
        inputs, convs, norms = 3, [], []
        for outputs, stride in zip(widths, STRIDES):
            convs.append(nn.Conv2d(inputs, outputs, 3, stride, pad_mode="pad", padding=1))
            norms.append(nn.BatchNorm2d(outputs))
            inputs = outputs
        self.convs, self.norms = nn.CellList(convs), nn.CellList(norms)
        self.head = nn.Dense(inputs, classes)

    def construct(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = ops.relu(norm(conv(x)))
        return self.head(ops.mean(x, (2, 3)))


def plant(network: PlantedNet, images: Tensor, seed: int) -> Tuple[PlantedNet, Dict[str, np.ndarray]]:
    """
    A wider network that computes the same, but for what weak filters add.

    Every layer of C filters gets ``max(2, C / 8)`` of each kind behind its own: dead, whose ReLU never fires;
    irrelevant, random filters that nothing reads; weak, random filters that are read by 2 % of usual weights; and
    duplicates of filters, both of which are read by half.

    Args:
        network (PlantedNet): The trained network. It is not changed.
        images (Tensor): On which the random filters' statistics are taken.
        seed (int): Of all draws.

    Returns:
        tuple, the network, and path of a layer -> kind of each filter: ``''`` for an original one, ``'copied'`` for one
        that has a duplicate.
    """
    generator = np.random.default_rng(seed)
    values = {parameter.name: parameter.asnumpy().astype(np.float64) for parameter in network.get_parameters()}
    kinds = {f"convs.{layer}": _rows(values, layer, generator) for layer in range(len(WIDTHS))}
    for layer in range(len(WIDTHS)):
        _columns(values, layer, kinds[f"convs.{layer}"], generator)
    wide = PlantedNet([len(kind) for kind in kinds.values()], values["head.weight"].shape[0])
    for parameter in wide.get_parameters():
        parameter.set_data(Tensor(values[parameter.name].astype(np.float32)))
    _settle(wide, images, kinds)
    return wide, kinds


def _rows(values: Dict[str, np.ndarray], layer: int, generator: np.random.Generator) -> np.ndarray:
    """New filters of a layer, behind the old ones; their kinds."""
    weight = values[f"convs.{layer}.weight"]
    count, each = len(weight), max(2, len(weight) // 8)
    copied = generator.choice(count, each, replace=False)
    random = generator.normal(0.0, weight.std(), (3 * each, *weight.shape[1:]))
    values[f"convs.{layer}.weight"] = np.concatenate((weight, random, weight[copied]))
    typical = float(np.median(np.abs(values[f"norms.{layer}.gamma"])))
    for name, dead in (("gamma", 0.2 * typical), ("beta", -3.0 * typical), ("moving_mean", 0.0),
                       ("moving_variance", 1.0)):
        old = values[f"norms.{layer}.{name}"]
        sampled = generator.choice(old, 2 * each)
        values[f"norms.{layer}.{name}"] = np.concatenate((old, np.full(each, dead), sampled, old[copied]))
    kinds: List[str] = [""] * count
    for index in copied:
        kinds[index] = "copied"
    # Where the copies come from is kept beside their kind.
    return np.array(kinds + [kind for kind in KINDS[:3] for _ in range(each)] + [f"duplicate of {i}" for i in copied])


def _columns(values: Dict[str, np.ndarray], layer: int, kinds: np.ndarray, generator: np.random.Generator) -> None:
    """How the next layer reads the new filters."""
    name = f"convs.{layer + 1}.weight" if layer + 1 < len(WIDTHS) else "head.weight"
    weight = values[name]
    read = np.zeros((weight.shape[0], len(kinds), *weight.shape[2:]))
    read[:, :weight.shape[1]] = weight
    for position, kind in enumerate(kinds):
        if kind == "dead":
            read[:, position] = generator.normal(0.0, weight.std(), read[:, position].shape)
        elif kind == "weak":
            read[:, position] = _WEAK * weight[:, generator.integers(weight.shape[1])]
        elif kind.startswith("duplicate of "):
            original = int(kind.rpartition(" ")[2])
            read[:, original] *= 0.5
            read[:, position] = read[:, original]
    values[name] = read


def _settle(wide: PlantedNet, images: Tensor, kinds: Dict[str, np.ndarray]) -> None:
    """Statistics of the random filters, as they are on images; those of all others stay."""
    before = {parameter.name: parameter.asnumpy().copy() for parameter in wide.get_parameters()}
    calibrate(wide, [images])
    for layer, kind in enumerate(kinds.values()):
        random = np.isin(kind, KINDS[:3])
        for name in ("moving_mean", "moving_variance"):
            parameter = getattr(wide.norms[layer], name)
            parameter.set_data(Tensor(np.where(random, parameter.asnumpy(), before[parameter.name])))
    ms.ms_memory_recycle()
