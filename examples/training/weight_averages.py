"""
An exponential moving average (EMA) of the slim network's weights.   python examples/training/weight_averages.py

The average is a copy of the slim network, and is saved as one: the recipe is copied along.
"""
import copy

from digits import SHAPE, Network, accuracy, digits, parse, tensors, train
from mindspore import nn, ops

import golden_stick as gs

DECAY = 0.98


def main(arguments=None):
    options = parse(__doc__, arguments, output="average.safetensors")
    training, test = digits(options.images)
    network = Network()
    train(network, training, options.epochs)

    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, SHAPE), calibration_data=[training[0]])
    average = copy.deepcopy(slim)
    pairs = list(zip(average.get_parameters(), slim.get_parameters()))  # moving statistics too
    step = nn.TrainOneStepCell(nn.WithLossCell(slim, nn.CrossEntropyLoss()),
                               nn.Momentum(slim.trainable_params(), 0.02, 0.9)).set_train()
    for batch in tensors(training, options.epochs):
        step(*batch)
        for mean, now in pairs:
            ops.assign(mean, DECAY * mean + (1 - DECAY) * now)
    gs.save_slim(average, options.output)
    kept = gs.load_slim(Network(), options.output)
    print(f"test accuracy {accuracy(network, test):.4f} before, {accuracy(slim, test):.4f} after the last step, "
          f"{accuracy(kept, test):.4f} of the average")
    return kept


if __name__ == "__main__":
    main()
