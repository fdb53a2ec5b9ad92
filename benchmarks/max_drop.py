"""
How far at all: the smallest ResNet-20 within a drop on training images held aside, certified on the test images.

    python benchmarks/max_drop.py --data cifar10-jpeg.zip --weights resnet20-cifar10.npz

Data, weights, adaptation and the folder in which the adapted network is kept as of recovery.py. The criterion is
`reconstruction`, with channels of all layers ranked together over their MACs and the residual streams whole. The
validation images were cut from the training images; nothing but the certificate looks at the test images.
"""
import sys
import time

from common import command_line

# isort: split
import mindspore as ms
from recovery import BATCH, HOW, INPUTS, Measured, accuracy, parse_network

from batches import evaluation_batches  # isort: skip

import golden_stick as gs


def parse(arguments=None):
    parser = parse_network(command_line(__doc__, "outputs/recovery"))
    parser.add_argument("--max-drop", type=float, default=0.02)
    parser.add_argument("--bound", type=float, help="of the certificate (default: --max-drop)")
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--images", type=int, default=1024, help="how many to recover on")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(0)
    measured = Measured(options)
    splits, network = measured.splits, measured.network
    data = [pixels for pixels, _ in measured.batches(options.images)]
    algorithm = gs.OneShot({"criterion": "reconstruction", "max_drop": options.max_drop, **HOW["shared"][1]})
    begin = time.perf_counter()
    masked = algorithm.apply(network, INPUTS, data=data)
    slim = algorithm.convert(masked, calibration_data=data,
                             evaluate=lambda cell: accuracy(cell, splits.validation, splits))
    print(*algorithm.report.targets, f"found in {time.perf_counter() - begin:.0f} s", sep="\n")
    bound = options.bound or options.max_drop
    certificate = gs.certify(network, {"slim": slim}, evaluation_batches(splits.test, splits, BATCH), bound,
                             options.confidence, used=[evaluation_batches(splits.validation, splits, BATCH)])
    print(certificate)
    return 0 if certificate.certified else 1


if __name__ == "__main__":
    sys.exit(main())
