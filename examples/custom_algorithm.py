"""
A criterion, a pruning algorithm and a compression algorithm of one's own.

    python examples/custom_algorithm.py

Each is registered under a name, which `golden_stick.compare` and the command line then know. A package that others
install registers its own by entry points in the groups ``golden_stick.criteria`` and ``golden_stick.algorithms``.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import numpy as np  # noqa: E402
from mindspore import Tensor, nn, ops  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.base.config import Option, Whole  # noqa: E402
from golden_stick.cells.wrappers import copy_network  # noqa: E402
from golden_stick.comp_algo import Applied  # noqa: E402
from golden_stick.prune import Pruner  # noqa: E402


def largest_weight(layer):
    """A criterion, for `OneShot`: the largest weight of a filter, of a `golden_stick.criteria.FilterStatistics`."""
    return np.abs(layer.weight).max(axis=1)


class MiddleOut(Pruner):
    """A pruning algorithm: filters stay whose weights add up to much more, or much less, than those of the others."""

    def score_filters(self, task):
        """Weight name -> a score for each filter. All else is done: the budget, the masks, slimming, the report."""
        sums = {name: weight.sum(axis=1) for name, weight in task.filter_weights().items()}
        return {name: np.abs(total - np.median(total)) for name, total in sums.items()}


class Rounding(gs.CompAlgo):
    """Any compression algorithm: weights are kept at so few bits all through the training."""

    options = {"bits": Option(8, Whole(2), "of a weight")}
    trains_phase = True  # what `apply` returns is to be trained before `convert`

    def apply(self, network, inputs=None):
        """A copy of the network, whose weights `after_step` rounds."""
        self.applied = Applied(copy_network(network), inputs)
        self.report = f"weights are rounded to {self.settings['bits']} bits"
        self.after_step()
        return self.applied.network

    def after_step(self):
        """Called by `callbacks()` after each step of the optimizer."""
        for parameter in self.applied.network.trainable_params():
            values = parameter.asnumpy()
            step = np.abs(values).max() / 2 ** (self.settings["bits"] - 1) or 1.0
            ops.assign(parameter, Tensor(np.round(values / step) * step, parameter.dtype))

    def convert(self, net_opt, ckpt_path=""):
        """The network, with nothing of this class in it."""
        return copy_network(net_opt)


if __name__ == "__main__":
    gs.add_criterion("largest_weight", largest_weight)
    gs.add_algorithm("middle_out", MiddleOut)
    gs.add_algorithm("rounding", Rounding)
    network = nn.SequentialCell(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3))
    for algorithm in (gs.OneShot({"criterion": "largest_weight", "prune_rate": 0.5}), MiddleOut({"target_macs": 0.5}),
                      Rounding({"bits": 4})):
        slim = algorithm.convert(algorithm.apply(network, (1, 3, 32, 32)))
        print(algorithm.summary(slim), "\n")
