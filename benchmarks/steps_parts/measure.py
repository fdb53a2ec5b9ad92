"""One row of the benchmark of training steps: one network, all its steps in turn."""
import itertools

import mindspore as ms
import numpy as np
from deployment_parts.measure import make
from mindspore import Tensor, nn
from sides.client import MindSporeGs

import golden_stick as gs
from golden_stick.bench.clock import ForeignLoad, interleave, machine_facts, turn_of
from golden_stick.graph.plan import count_macs
from steps_parts.tables import MIXINGS, THEIRS

# Of the labels, and of the batches that come round again.
LABELS, BATCHES = 10, 4


class Step:
    """
    A training step, and the batches that it is given one after the other.

    Args:
        network (nn.Cell): What is trained.
        loss (Callable): Of its outputs and the labels.
        batches (list): Pairs of images and labels.
        afterwards (Callable): What a training loop calls after each step.
    """

    def __init__(self, network, loss, batches, afterwards=lambda: None):
        # All have the same optimizer, so that they differ in nothing else.
        optimizer = nn.Momentum(network.trainable_params(), 0.01, 0.9)
        self._step = nn.TrainOneStepCell(nn.WithLossCell(network, loss), optimizer).set_train()
        self._batches, self._afterwards = itertools.cycle(batches), afterwards
        self.loss = None

    def __call__(self):
        self.loss = self._step(*next(self._batches)).asnumpy()
        self._afterwards()


def batches_of(shape):
    generator = np.random.default_rng(0)
    return [(Tensor(generator.standard_normal(shape, np.float32)),
             Tensor(generator.integers(0, LABELS, shape[0]).astype(np.int32))) for _ in range(BATCHES)]


def steps_of(name, batch, size, rate):
    """Our steps by name, and the MACs of original and slim."""
    networks, _ = make(name, size, {"prune_rate": rate})
    shape, loss = (batch, 3, size, size), nn.CrossEntropyLoss()
    original, batches = networks["original"], batches_of((batch, 3, size, size))
    macs = {which: count_macs(gs.trace(networks[which], shape)) for which in ("original", "slim")}
    steps = {}
    # Before the original is trained: these are copies of it.
    for step, mixing in MIXINGS.items():
        algorithm = gs.SCOP({"mixing": mixing})
        phase = algorithm.apply(original, shape)
        steps[step] = Step(phase, algorithm.loss(loss), batches, algorithm.after_step)
    masked = gs.OneShot({"criterion": "l1", "prune_rate": rate}).apply(original, shape)
    for step, network in (("masked", masked), ("slim", networks["slim"]), ("twin", networks["twin"]),
                          ("plain", original)):
        steps[step] = Step(network, loss, batches)
    return steps, macs


def measure(settings, rate, gs_python):
    """The row of one network."""
    ms.set_context(mode=ms.GRAPH_MODE)
    steps, macs = steps_of(settings["network"], settings["batch"], settings["size"], rate)
    turns, row = {name: turn_of(step) for name, step in steps.items()}, {"settings": settings, "macs": macs}
    theirs = {}
    client = MindSporeGs(gs_python) if gs_python else None
    try:
        if client:
            theirs, row["gs"] = client.turns("training", THEIRS, settings, rate)
            turns.update(theirs)
        before = client.used() if theirs else 0.0
        with ForeignLoad() as load:
            found = interleave(turns, settings["rounds"], 1)
        row["gs_cpu"] = client.used() - before if theirs else 0.0
    finally:
        if client:
            client.close()
    if not all(np.isfinite(step.loss) for step in steps.values()):
        raise RuntimeError(f"the losses are {({name: float(step.loss) for name, step in steps.items()})}: "
                           f"steps that compute no numbers say nothing of those that do")
    row.update(machine=machine_facts({"mindspore": ms.__version__}), foreign_load=load.processors, wall=load.wall,
               seconds={name: list(timing.seconds) for name, timing in found.items()},
               cpu_seconds={name: list(timing.cpu_seconds) for name, timing in found.items()})
    return row
