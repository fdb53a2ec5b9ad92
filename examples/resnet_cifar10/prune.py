"""The knockoff phase of SCOP, and the slim network.   python prune.py --config CONFIG --checkpoint network.ckpt"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import itertools  # noqa: E402

from batches import training_data  # noqa: E402
from mindspore import nn  # noqa: E402
from options import parse_options  # noqa: E402
from training import accuracy, cosine, fit, load_network, prepare, save_checkpoint, write_result  # noqa: E402

import golden_stick as gs  # noqa: E402


def main(arguments=None) -> float:
    """Train the scales, convert, re-estimate statistics; returns the slim network's validation accuracy."""
    options = parse_options("prune", arguments, __doc__)
    if not options.checkpoint:
        raise SystemExit("prune.py: error: --checkpoint must name the trained network")
    splits = prepare(options)
    network = load_network(options.network, splits.classes, options.checkpoint)
    before = accuracy(network, splits.validation, splits)
    algorithm = gs.SCOP({key: getattr(options, key) for key in ("prune_rate", "residual", "mixing", "turn_steps")})
    phase = algorithm.apply(network, inputs=(1, 3, 32, 32))
    data = training_data(splits, options.batch_size, options.seed, options.train_limit)
    rates = cosine(options.learning_rate, options.epochs * data.get_dataset_size())
    optimizer = nn.Adam(phase.trainable_params(), rates)
    losses, seconds = fit(phase, algorithm.loss(nn.CrossEntropyLoss()), optimizer, data, options.epochs,
                          "knockoff phase", algorithm.callbacks())
    save_checkpoint(phase, os.path.join(options.output, "knockoff.ckpt"))
    calibration = None
    if options.calibration_batches:
        fresh = training_data(splits, options.batch_size, options.seed, options.train_limit)
        calibration = itertools.islice(fresh.create_tuple_iterator(num_epochs=1), options.calibration_batches)
    slim = algorithm.convert(phase, calibration_data=calibration)
    path = gs.save_slim(slim, os.path.join(options.output, "slim.ckpt"))
    found = accuracy(slim, splits.validation, splits)
    print(algorithm.report)
    write_result(options, "prune", {
        "validation_accuracy_before": before, "validation_accuracy": found, "losses": losses, "seconds": seconds,
        "report": algorithm.report.to_dict(),
    })
    print(f"{options.network}: validation accuracy {before:.4f} before, {found:.4f} after pruning -> {path}")
    return found


if __name__ == "__main__":
    main()
