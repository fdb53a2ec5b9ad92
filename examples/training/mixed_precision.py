"""
Fine-tuning in float16, by MindSpore's levels O1 to O3.   python examples/training/mixed_precision.py --level O2

Prune first, and lower the slim network then: `convert` compares in the precision that the network has.
"""
import mindspore as ms
from digits import SHAPE, Network, accuracy, digits, parse, tensors, train
from mindspore import amp, nn

import golden_stick as gs


def main(arguments=None):
    options = parse(__doc__, arguments, level="O2")
    training, test = digits(options.images)
    network = Network()
    train(network, training, options.epochs)

    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, SHAPE), calibration_data=[training[0]])
    lowered, loss = amp.auto_mixed_precision(slim, options.level), nn.CrossEntropyLoss()
    optimizer, scaler = nn.Momentum(slim.trainable_params(), 0.01, 0.9), amp.DynamicLossScaler(1024, 2, 100)

    def forward(images, labels):
        return scaler.scale(loss(lowered(images).astype(ms.float32), labels))

    step = ms.value_and_grad(forward, None, optimizer.parameters)
    lowered.set_train()
    for batch in tensors(training, options.epochs):
        _, gradients = step(*batch)
        finite = amp.all_finite(gradients)
        if finite:
            optimizer(scaler.unscale(gradients))
        scaler.adjust(finite)
    # `slim` holds the weights, in float32, whichever level computed with them.
    print(f"{options.level}: test accuracy {accuracy(network, test):.4f} before, {accuracy(slim, test):.4f} after")
    return slim


if __name__ == "__main__":
    main()
