"""What is measured: how well scores separate, agree, and what a network is worth without some filters."""
from typing import Dict, Optional, Sequence, Tuple

import numpy as np
from mindspore import Tensor
from scipy import stats

from benchmarks.planted.images import Images, batches
from benchmarks.planted.network import BATCH, LAYERS, SmallNet, accuracy, conv_of, read, write
from benchmarks.planted.planting import KINDS, consumer_of
from golden_stick.cells.wrappers import copy_network
from golden_stick.recover.statistics import calibrate

__all__ = ["Without", "auroc", "auroc_of_kinds", "lowest", "spearman"]

Scores = Sequence[np.ndarray]


def auroc(low: np.ndarray, high: np.ndarray) -> float:
    """How often one of `low` scores below one of `high`; ties count half."""
    difference = np.asarray(high, np.float64)[:, None] - np.asarray(low, np.float64)[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def auroc_of_kinds(scores: Scores, kinds: Scores) -> Dict[str, float]:
    """
    Of each kind, how often a planted filter scores below an original of its layer, mean over all such pairs' layers.

    Duplicates are compared with the originals that have none; all other kinds with all originals.
    """
    found: Dict[str, float] = {}
    for kind in KINDS:
        others = ("original",) if kind == "duplicate" else ("original", "duplicated")
        found[kind] = float(np.mean([auroc(score[truth == kind], score[np.isin(truth, others)])
                                     for score, truth in zip(scores, kinds)]))
    return found


def spearman(scores: Scores, others: Scores) -> float:
    """Rank correlation within a layer, mean over the layers; a layer whose scores are all the same counts 0."""
    varied = [np.ptp(one) > 0 and np.ptp(other) > 0 for one, other in zip(scores, others)]
    return float(np.mean([stats.spearmanr(one, other).statistic if differs else 0.0
                          for one, other, differs in zip(scores, others, varied)]))


def lowest(scores: Scores, rate: float) -> Tuple[np.ndarray, ...]:
    """Of each layer, which filters are among the fraction `rate`, rounded down, with the lowest scores: bool."""
    found = []
    for score in scores:
        gone = np.zeros(len(score), bool)
        gone[np.argsort(score, kind="stable")[:int(rate * len(score))]] = True
        found.append(gone)
    return tuple(found)


class Without:
    """
    A network without some of its filters: the weights that read them are zero, which is what removing them does. It is
    compiled once, whatever goes.

    Args:
        network (SmallNet): The network; it is not changed.
        statistics (Images): Training images, to re-estimate normalization statistics on.
        test (Images): To take the accuracy on.
    """

    def __init__(self, network: SmallNet, statistics: Images, test: Images):
        self._values = read(network)
        # Compiled graphs know nothing of training flags, so that each of the two has a network of its own.
        self._judged, self._calibrated = copy_network(network), copy_network(network)
        self._judged.set_train(False)
        self._statistics = [pixels for pixels, _ in batches(statistics, min(BATCH, len(statistics)))]
        self._test = test
        self._whole: Optional[float] = None
        self._costs: Dict[Tuple[int, int], float] = {}

    def accuracies(self, gone: Sequence[np.ndarray]) -> Tuple[float, float]:
        """Accuracy without the filters, as they are and after re-estimating normalization statistics."""
        values = self._consumers(gone)
        write(self._judged, values)
        before = accuracy(self._judged, self._test)
        write(self._calibrated, {**self._values, **values})
        calibrate(self._calibrated, self._statistics)
        write(self._judged, read(self._calibrated))
        after = accuracy(self._judged, self._test)
        write(self._judged, self._values)
        return before, after

    def cost(self, layer: int, index: int) -> float:
        """Rise of the test images' mean cross entropy without one filter."""
        if (layer, index) not in self._costs:
            gone = [np.zeros(self._values[conv_of(other)].shape[0], bool) for other in range(LAYERS)]
            whole = self._loss(gone) if self._whole is None else self._whole
            gone[layer][index] = True
            self._whole, self._costs[layer, index] = whole, self._loss(gone) - whole
        return self._costs[layer, index]

    def _loss(self, gone: Sequence[np.ndarray]) -> float:
        write(self._judged, self._consumers(gone))
        found = []
        for pixels, labels in batches(self._test, min(500, len(self._test))):
            logits = self._judged(Tensor(pixels)).asnumpy().astype(np.float64)
            logits -= logits.max(1, keepdims=True)
            found.append(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels])
        return float(np.mean(found))

    def _consumers(self, gone: Sequence[np.ndarray]) -> Dict[str, np.ndarray]:
        """The weights that read the layers, with zeros for what is gone."""
        values = {consumer_of(layer): self._values[consumer_of(layer)].copy() for layer in range(LAYERS)}
        for layer in range(LAYERS):
            values[consumer_of(layer)][:, gone[layer]] = 0.0
        return values
