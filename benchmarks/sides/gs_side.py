"""
mindspore-gs's side of the benchmarks: its SCOP on ResNets named as it wants them.

Runs in an environment of its own (see README.md beside this file), started by `MindSporeGs` in `client.py`, which
writes one JSON object a line to its standard input and reads one a line from its output:

    {"do": "training", "name": "resnet20", "size": 32, "batch": 64, "rate": 0.45}      steps: plain, knockoff, masked
    {"do": "evaluation", "name": "resnet50", "size": 224, "batch": 1, "rate": 0.45}    calls: original, masked
    {"do": "turn", "which": "masked"}                                                  one for nothing, one timed

The reply to the first two says how many convolutions it wrapped. Where that is none, there are no turns.
"""
from importlib.metadata import version

import mindspore as ms
import numpy as np
from deployment_parts.networks import build, randomize
from deployment_parts.tables import RESNETS
from mindspore import Tensor, nn

from sides.gs_networks import LayeredResNet
from sides.serving import serve, timed_turn

LABELS = 10


def network_of(name, size):
    """Those that are no ResNets are ours as they are: nothing in them has a name that it looks for."""
    return randomize(LayeredResNet(name)) if name in RESNETS else build(name, size)


def knockoff_of(network):
    """mindspore-gs's network of the knockoff phase, and how many convolutions it wrapped."""
    # Here, so that what it prints as it is imported does not stand among the replies.
    from mindspore_gs.pruner import PrunerKfCompressAlgo
    found = PrunerKfCompressAlgo({}).apply(network)
    wrapped = [cell for _, cell in found.cells_and_names() if type(cell).__name__ == "KfConv2d"]
    generator = np.random.default_rng(0)
    for cell in wrapped:
        # As if trained: at one half each, all scores are the same.
        cell.kfscale.set_data(Tensor(generator.uniform(0, 1, cell.kfscale.shape).astype(np.float32)))
    return found, len(wrapped)


def masked_of(network, rate):
    """What mindspore-gs gives back as pruned."""
    from mindspore_gs.pruner import PrunerFtCompressAlgo
    return PrunerFtCompressAlgo({"prune_rate": rate}).apply(knockoff_of(network)[0])


def step_of(network):
    """The step of benchmarks/steps.py."""
    optimizer = nn.Momentum(network.trainable_params(), 0.01, 0.9)
    return nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer).set_train()


def doubled(batch):
    """Every sample once more, in another order: what its callback does, with an operator that no CPU has."""
    order = np.random.default_rng(1).permutation(len(batch[0]))
    return tuple(Tensor(np.concatenate([part.asnumpy(), part.asnumpy()[order]])) for part in batch)


class Side:
    """What was built last, and the turns of it."""

    def __init__(self):
        self._runs = {}

    def training(self, name, size, batch, rate):
        def make(images, generator):
            labels = Tensor(generator.integers(0, LABELS, batch).astype(np.int32))
            knockoff, samples = knockoff_of(network_of(name, size))[0], (images, labels)
            return {"plain": (step_of(network_of(name, size)), samples),
                    "knockoff": (step_of(knockoff), doubled(samples)),
                    "masked": (step_of(masked_of(network_of(name, size), rate)), samples)}
        return self._build(name, size, batch, make)

    def evaluation(self, name, size, batch, rate):
        def make(images, _):
            # A network that ran before it was converted would run on unconverted: so one for each.
            return {"original": (network_of(name, size).set_train(False), (images,)),
                    "masked": (masked_of(network_of(name, size), rate).set_train(False), (images,))}
        return self._build(name, size, batch, make)

    def _build(self, name, size, batch, make):
        ms.set_context(mode=ms.GRAPH_MODE)
        self._runs, (_, wrapped) = {}, knockoff_of(network_of(name, size))
        if wrapped:
            generator = np.random.default_rng(2)
            images = Tensor(generator.standard_normal((batch, 3, size, size), np.float32))
            self._runs = make(images, generator)
            for which in self._runs:
                self._run(which)
        return {"wrapped": wrapped, **versions()}

    def _run(self, which):
        run, arguments = self._runs[which]
        run(*arguments).asnumpy()

    def turn(self, which, warm):
        return timed_turn(lambda: self._run(which), warm)


def versions():
    return {"versions": {"mindspore-gs": version("mindspore-gs"), "mindspore beside it": ms.__version__}}


if __name__ == "__main__":
    serve(Side())
