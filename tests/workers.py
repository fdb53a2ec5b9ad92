"""
Work that several processes share, each with its part of the data, and that one does alone.

msrun --worker_num=2 --local_worker_num=2 --join=True tests/workers.py FOLDER phase|rest [DIES_AT]: what came out is in
FOLDER/rank_0.npz and FOLDER/rank_1.npz. At the step of a phase that is named, the second process kills itself.
"""
import os
import signal
import sys

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import Tensor, nn, ops  # noqa: E402
from mindspore.communication import get_group_size, get_rank, init  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.base import devices  # noqa: E402
from golden_stick.recover.statistics import calibrate  # noqa: E402
from golden_stick.scop import FeatureSampler, GaussianSampler, NoiseSampler, Sampler  # noqa: E402
from tests.networks import SmallNet, randomize  # noqa: E402

INPUTS, BATCH, EPOCHS, SHARES = (2, 3, 8, 8), 8, 4, 2


def images(count=48, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count).astype(np.int32)
    return (generator.normal(size=(count, 3, 8, 8)) + 0.3 * labels[:, None, None, None]).astype(np.float32), labels


class InShares(Sampler):
    """The sample that follows in its process's part of the batch, where one process has all of it."""

    name = "permutation"

    def construct(self, x):
        parts = ops.split(x, x.shape[0] // SHARES)
        return ops.concat([ops.concat((part[1:], part[:1])) for part in parts])


def values(network):
    return {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}


def scales(network):
    return {name: array for name, array in values(network).items() if name.endswith("_scale")}


def own_batches(rank, ranks, count=4):
    """Whole batches of images and labels, those of one process."""
    whole, labels = images(16 * count, 7)
    return [(whole[start:start + 16], labels[start:start + 16]) for start in range(0, 16 * count, 16)][rank::ranks]


class Dies(ms.train.Callback):
    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_step_begin(self, run_context):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def phase(folder, rank, ranks, dies_at=0):
    """A knockoff phase by Model.train, and the slim network, its layers solved anew."""
    path = os.path.join(folder, "phase.ckpt")
    algorithm = gs.SCOP({"prune_rate": 0.4, "turn_steps": 5, "sampler": "permutation" if ranks > 1 else InShares()})
    trained = algorithm.apply(randomize(SmallNet()), INPUTS)
    optimizer = nn.Adam(trained.trainable_params(), 0.01)
    # Each batch of the whole is cut into as many parts as there are processes.
    whole, labels = (part.reshape(-1, ranks, BATCH // ranks, *part.shape[1:])[:, rank].reshape(-1, *part.shape[1:])
                     for part in images())
    data = ms.dataset.NumpySlicesDataset((whole, labels), shuffle=False).batch(BATCH // ranks)
    step = gs.load_state(path, trained, optimizer)
    data.set_init_step(step)
    ms.Model(trained, algorithm.loss(nn.CrossEntropyLoss()), optimizer).train(
        EPOCHS, data, callbacks=[Dies(dies_at if rank == 1 else 0), *algorithm.callbacks(checkpoint=path, every=5)],
        initial_epoch=step // data.get_dataset_size(), dataset_sink_mode=False)
    slim = algorithm.convert(trained, calibration_data=own_batches(rank, ranks))
    gs.save_slim(slim, os.path.join(folder, "slim.safetensors"), {"rank": rank})
    return {"begun at": np.array(step), **scales(trained),
            **{f"slim.{name}": array for name, array in values(slim).items()}}


def loop(rank, ranks):
    """A loop of one's own in PyNative mode."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    algorithm = gs.SCOP({"prune_rate": 0.4, "mixing": "joint", "sampler": "permutation" if ranks > 1 else InShares()})
    trained, loss = algorithm.apply(randomize(SmallNet()), INPUTS).set_train(), nn.CrossEntropyLoss()
    optimizer = nn.Momentum(trained.trainable_params(), 0.05, 0.9)
    mean = nn.DistributedGradReducer(optimizer.parameters, mean=True, degree=ranks) if ranks > 1 else tuple

    def forward(x, y):
        return loss(trained(x), y)

    step, (whole, labels) = ms.value_and_grad(forward, None, optimizer.parameters), images()
    for start in range(0, 48, BATCH):
        part = slice(start + rank * BATCH // ranks, start + (rank + 1) * BATCH // ranks)
        optimizer(mean(step(Tensor(whole[part]), Tensor(labels[part]))[1]))
        algorithm.after_step()
    ms.set_context(mode=ms.GRAPH_MODE)
    return {f"loop.{name}": array for name, array in scales(trained).items()}


def statistics(rank, ranks):
    """What is summed up over data: scores of criteria, statistics of normalizations, moments."""
    found, batches = {}, own_batches(rank, ranks)
    for criterion in ("taylor", "hessian", "activation", "reconstruction"):
        algorithm = gs.OneShot({"prune_rate": 0.4, "criterion": criterion})
        algorithm.apply(randomize(SmallNet()), INPUTS, batches, nn.CrossEntropyLoss())
        found.update({f"{criterion}.{name}": array for name, array in algorithm.filter_scores().items()})
    network = randomize(SmallNet())
    found["batches"] = np.array(calibrate(network, [part for part, _ in batches]))
    found.update({f"calibrated.{name}": array for name, array in values(network).items() if "moving" in name})
    change = GaussianSampler(grid=2).fit(batches).change
    found.update({f"gaussian.{name}": getattr(change, name).asnumpy() for name in ("mean", "deviation", "shift")})
    return found


def draws():
    """What is drawn in this process: noise, and the positions of a feature sampler."""
    sampler = FeatureSampler(own_batches(0, 1), positions=2)
    trained = gs.SCOP({"sampler": sampler}).apply(randomize(SmallNet()), INPUTS)
    return {"noise": NoiseSampler(5)(Tensor(images()[0])).asnumpy(),
            **{f"law.{name}": array for name, array in values(trained).items() if "knockoff_mean" in name}}


def refusals(rank):
    """What several processes are told that differ."""
    def message(function, *arguments, **named):
        try:
            function(*arguments, **named)
        except gs.errors.StateError as error:
            return str(error)
        return ""

    network = randomize(SmallNet())
    algorithm = gs.SCOP({"mixing": "joint"})
    trained = algorithm.apply(network, INPUTS)
    for parameter in trained.trainable_params():
        parameter.set_data(Tensor(np.full(parameter.shape, 0.4 + 0.1 * rank), parameter.dtype))
    masked = gs.OneShot({"prune_rate": 0.2 + 0.2 * rank})
    empty = gs.OneShot({"criterion": "reconstruction"})
    told = [message(gs.OneShot().apply, randomize(SmallNet(), rank), INPUTS), message(algorithm.convert, trained),
            message(masked.apply, network, INPUTS),
            message(empty.apply, network, INPUTS, own_batches(0, 1)[:1 - rank]),
            message(gs.compare, network, INPUTS, "l1", {"prune_rate": 0.5}, [], []),
            message(gs.sensitivity, network, INPUTS, len)]
    return {"told": np.array(told), "first": np.array(devices.from_first(f"of rank {rank}"))}


def main(folder, kind, dies_at="0"):
    ms.set_context(mode=ms.GRAPH_MODE)
    init()
    ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True)
    rank, ranks = get_rank(), get_group_size()
    if kind == "phase":
        made = phase(folder, rank, ranks, int(dies_at))
    else:
        made = {**loop(rank, ranks), **statistics(rank, ranks), **draws(), **refusals(rank)}
    np.savez(os.path.join(folder, f"rank_{rank}.npz"), **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
