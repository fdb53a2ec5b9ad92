"""
`Model.fit` with validation, early stopping and the best network kept.   python examples/training/early_stopping.py

The slim network is a Cell like any other: MindSpore's own callbacks do the rest.
"""
import mindspore as ms
from digits import SHAPE, Network, accuracy, digits, parse, train
from mindspore import nn
from mindspore.train import Callback, EarlyStopping

import golden_stick as gs


class SaveBest(Callback):
    """Writes the slim file anew whenever the validation images have never been told so well."""

    def __init__(self, slim: nn.Cell, path: str):
        super().__init__()
        self.slim, self.path, self.best = slim, path, -1.0

    def on_train_epoch_end(self, run_context):
        found = run_context.original_args().eval_results["accuracy"]
        if found > self.best:
            self.best = found
            gs.save_slim(self.slim, self.path, {"validation accuracy": found})


def served(images, labels):
    return ms.dataset.NumpySlicesDataset((images, labels), shuffle=True).batch(64)


def main(arguments=None):
    options = parse(__doc__, arguments, epochs=8, output="best.safetensors")
    (images, labels), test = digits(options.images)
    cut = len(labels) * 4 // 5  # the last fifth of the training images validates
    network = Network()
    train(network, (images[:cut], labels[:cut]), options.epochs)

    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, SHAPE), calibration_data=[images[:cut]])
    model = ms.Model(slim, nn.CrossEntropyLoss(), nn.Adam(slim.trainable_params(), 0.002), metrics={"accuracy"})
    best = SaveBest(slim, options.output)
    model.fit(options.epochs, served(images[:cut], labels[:cut]), served(images[cut:], labels[cut:]),
              callbacks=[best, EarlyStopping(monitor="accuracy", patience=2)],
              dataset_sink_mode=False, valid_dataset_sink_mode=False)
    kept = gs.load_slim(Network(), options.output)
    print(f"test accuracy {accuracy(network, test):.4f} before, {accuracy(kept, test):.4f} of the best slim network, "
          f"chosen by {len(labels) - cut} other images at {best.best:.4f}")
    return kept


if __name__ == "__main__":
    main()
