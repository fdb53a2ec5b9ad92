"""
A loop of one's own that sums gradients up over several batches.   python examples/training/gradient_accumulation.py

SCOP counts steps of the optimizer, not passes of the network: `after_step` follows the optimizer, wherever that is.
"""
import mindspore as ms
from digits import SHAPE, Network, accuracy, digits, parse, tensors, train
from mindspore import nn, ops

import golden_stick as gs

BATCHES = 4  # to a step


def accumulate(network, optimizer, loss, data, after_step=lambda: None):
    """Steps by the mean gradient of every four batches; what is left over at the end is not used."""
    def forward(images, labels):
        return loss(network(images), labels) / BATCHES

    step, sums = ms.value_and_grad(forward, None, optimizer.parameters), None
    network.set_train()
    for number, batch in enumerate(data, 1):
        _, gradients = step(*batch)
        sums = gradients if sums is None else tuple(map(ops.add, sums, gradients))
        if number % BATCHES == 0:
            optimizer(sums)
            after_step()
            sums = None


def main(arguments=None):
    options = parse(__doc__, arguments)
    training, test = digits(options.images)
    network = Network()
    train(network, training, options.epochs)

    algorithm = gs.SCOP({"prune_rate": 0.5, "turn_steps": 1})
    phase = algorithm.apply(network, SHAPE)
    optimizer = nn.Adam(phase.trainable_params(), 0.05)
    accumulate(phase, optimizer, algorithm.loss(nn.CrossEntropyLoss()), tensors(training, options.epochs),
               algorithm.after_step)
    slim = algorithm.convert(phase, calibration_data=[training[0]])

    optimizer = nn.Adam(slim.trainable_params(), 0.005)
    accumulate(slim, optimizer, nn.CrossEntropyLoss(), tensors(training, options.epochs))
    print(f"test accuracy {accuracy(network, test):.4f} before, {accuracy(slim, test):.4f} after")
    return slim


if __name__ == "__main__":
    main()
