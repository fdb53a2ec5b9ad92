"""The knockoff phase of SCOP, and the slim network.   python prune.py --config CONFIG --checkpoint network.ckpt"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import itertools  # noqa: E402

from batches import training_data  # noqa: E402
from distributed import start_workers  # noqa: E402
from mindspore import nn  # noqa: E402
from options import parse_options  # noqa: E402
from training import accuracy, cosine, fit, load_network, prepare, save_checkpoint, write_result  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.scop import GaussianSampler  # noqa: E402


def sampler_of(name, data):
    """What SCOP's configuration takes as a sampler: its name, or the object where it must be fitted."""
    return GaussianSampler().fit(data) if name == "gaussian" else name


def schedule_of(options, steps):
    """The learning rate of the scales: a number, or one for each step."""
    if options.schedule not in ("cosine", "constant"):
        raise SystemExit(f"prune.py: error: --schedule must be cosine or constant, but got {options.schedule!r}")
    return cosine(options.learning_rate, steps) if options.schedule == "cosine" else options.learning_rate


def main(arguments=None) -> float:
    """Train the scales, convert, re-estimate statistics; returns the slim network's validation accuracy."""
    options = parse_options("prune", arguments, __doc__)
    if not options.checkpoint:
        raise SystemExit("prune.py: error: --checkpoint must name the trained network")
    rank, ranks = start_workers() if options.distributed else (0, 1)
    splits = prepare(options)
    network = load_network(options.network, splits.classes, options.checkpoint)
    before = accuracy(network, splits.validation, splits)
    data = training_data(splits, options.batch_size, options.seed, options.train_limit, (rank, ranks))
    keys = ("prune_rate", "residual", "score", "mixing", "turn_steps", "draws")
    algorithm = gs.SCOP({**{key: getattr(options, key) for key in keys}, "sampler": sampler_of(options.sampler, data)})
    phase = algorithm.apply(network, inputs=(1, 3, 32, 32))
    rates = schedule_of(options, options.epochs * data.get_dataset_size())
    optimizer = nn.Adam(phase.trainable_params(), rates, options.beta1, options.beta2)
    state = os.path.join(options.output, "knockoff_state.ckpt") if options.resume else None
    seen = gs.load_state(state, phase, optimizer) if state else 0
    losses, seconds = fit(phase, algorithm.loss(nn.CrossEntropyLoss()), optimizer, data, options.epochs,
                          "knockoff phase", algorithm.callbacks(checkpoint=state), seen)
    if rank == 0:
        save_checkpoint(phase, os.path.join(options.output, "knockoff.ckpt"))
    calibration = None
    if options.calibration_batches:
        fresh = training_data(splits, options.batch_size, options.seed, options.train_limit, (rank, ranks))
        calibration = itertools.islice(fresh.create_tuple_iterator(num_epochs=1), options.calibration_batches)
    slim = algorithm.convert(phase, calibration_data=calibration)
    path = gs.save_slim(slim, os.path.join(options.output, "slim.ckpt"))
    found = accuracy(slim, splits.validation, splits)
    if rank == 0:
        print(algorithm.report)
        write_result(options, "prune", {
            "validation_accuracy_before": before, "validation_accuracy": found, "losses": losses, "seconds": seconds,
            "report": algorithm.report.to_dict(),
        })
        print(f"{options.network}: validation accuracy {before:.4f} before, {found:.4f} after pruning -> {path}")
    return found


if __name__ == "__main__":
    main()
