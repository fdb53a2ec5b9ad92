"""Train a network.   python train.py --config configs/resnet20_digits.yaml [options]"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

from batches import training_data  # noqa: E402
from distributed import average_statistics, start_workers  # noqa: E402
from mindspore import nn  # noqa: E402
from options import parse_options  # noqa: E402
from training import accuracy, build_network, fit, load_network, prepare, save_checkpoint, sgd, write_result  # noqa: E402


def main(arguments=None) -> float:
    """Train for a fixed number of epochs; returns the validation accuracy at the last of them."""
    options = parse_options("train", arguments, __doc__)
    rank, ranks = start_workers() if options.distributed else (0, 1)
    splits = prepare(options)
    data = training_data(splits, options.batch_size, options.seed, options.train_limit, (rank, ranks))
    if options.checkpoint:
        network = load_network(options.network, splits.classes, options.checkpoint)
    else:
        network = build_network(options.network, splits.classes)
    optimizer = sgd(network, options, options.epochs * data.get_dataset_size())
    loss = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
    losses, seconds = fit(network, loss, optimizer, data, options.epochs, f"training {options.network}")
    if options.distributed:
        average_statistics(network)
    found = accuracy(network, splits.validation, splits)
    if rank == 0:
        path = os.path.join(options.output, "network.ckpt")
        save_checkpoint(network, path)
        write_result(options, "train", {"validation_accuracy": found, "losses": losses, "seconds": seconds})
        print(f"{options.network}: validation accuracy {found:.4f} after {options.epochs} epochs in {seconds:.0f} s "
              f"-> {path}")
    return found


if __name__ == "__main__":
    main()
