"""Fine-tune a slim network.   python finetune.py --config CONFIG --checkpoint slim.ckpt [options]"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

from batches import training_data  # noqa: E402
from distributed import average_statistics, start_workers  # noqa: E402
from mindspore import nn  # noqa: E402
from options import parse_options  # noqa: E402
from training import accuracy, build_network, fit, load_network, prepare, sgd, write_result  # noqa: E402

import golden_stick as gs  # noqa: E402


def was_reconstructed(network) -> bool:
    """Whether layers of a slim network were solved anew: large first steps would undo that."""
    try:
        return bool(gs.reconstruction_report(network).layers)
    except gs.errors.StateError:
        return False


def main(arguments=None) -> float:
    """Train the slim network for a fixed number of epochs; returns the validation accuracy at the last of them."""
    options = parse_options("finetune", arguments, __doc__)
    if not options.checkpoint:
        raise SystemExit("finetune.py: error: --checkpoint must name the slim file")
    if not 0 <= options.warmup < 1:
        raise SystemExit(f"finetune.py: error: --warmup must be in [0, 1), but got {options.warmup}")
    rank, ranks = start_workers() if options.distributed else (0, 1)
    splits = prepare(options)
    slim = gs.load_slim(build_network(options.network, splits.classes), options.checkpoint)
    before = accuracy(slim, splits.validation, splits)
    data = training_data(splits, options.batch_size, options.seed, options.train_limit, (rank, ranks))
    steps = options.epochs * data.get_dataset_size()
    optimizer = sgd(slim, options, steps, int(options.warmup * steps) if was_reconstructed(slim) else 0)
    loss = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
    trained = slim
    if options.teacher:
        teacher = load_network(options.network, splits.classes, options.teacher)
        trained = gs.distill(slim, teacher, loss, options.temperature, options.teacher_weight)
        loss = None  # the Cell gives it
    losses, seconds = fit(trained, loss, optimizer, data, options.epochs, f"fine-tuning slim {options.network}")
    if options.distributed:
        average_statistics(slim)
    found = accuracy(slim, splits.validation, splits)
    if rank == 0:
        path = gs.save_slim(slim, os.path.join(options.output, "finetuned.ckpt"))
        write_result(options, "finetune", {"validation_accuracy_before": before, "validation_accuracy": found,
                                           "losses": losses, "seconds": seconds})
        print(f"slim {options.network}: validation accuracy {before:.4f} before, {found:.4f} after {options.epochs} "
              f"epochs in {seconds:.0f} s -> {path}")
    return found


if __name__ == "__main__":
    main()
