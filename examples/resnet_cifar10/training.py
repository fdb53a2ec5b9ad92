"""What the scripts share: networks and weights, training, evaluation, results."""
import json
import os
import time
from typing import Any, Dict, Iterable, List, Tuple

import mindspore as ms
import numpy as np
import resnet
from batches import evaluation_batches
from data import Split, Splits, load_splits
from mindspore import nn
from mindspore.train import Callback
from tqdm import tqdm
from weights import load_npz

import golden_stick as gs

__all__ = ["prepare", "build_network", "load_network", "right_answers", "accuracy", "cosine", "sgd", "fit",
           "save_checkpoint", "write_result"]


def prepare(options) -> Splits:
    """Set seeds and mode, make the output folder, load the data."""
    if options.mode not in ("graph", "pynative"):
        raise ValueError(f"For 'prepare', 'mode' must be 'graph' or 'pynative', but got {options.mode!r}.")
    # In PyNative mode, queues between MindSpore's threads spin while they wait: on a CPU, they take it from the work.
    ms.set_context(mode=ms.GRAPH_MODE if options.mode == "graph" else ms.PYNATIVE_MODE,
                   pynative_synchronize=ms.get_context("device_target") == "CPU")
    ms.set_seed(options.seed)
    os.makedirs(options.output, exist_ok=True)
    return load_splits(options.source, options.path, options.validation_size, options.seed)


def build_network(name: str, classes: int) -> nn.Cell:
    """
    A new network by the name of its factory in resnet.py.

    Raises:
        ValueError: If there is no such factory.
    """
    if not name.startswith("resnet") or name not in resnet.__all__:
        names = [item for item in resnet.__all__ if item.startswith("resnet")]
        raise ValueError(f"For 'build_network', 'network' must be one of {names}, but got {name!r}.")
    return getattr(resnet, name)(num_classes=classes)


def load_network(name: str, classes: int, checkpoint: str) -> nn.Cell:
    """
    A network with the weights of a file: .npz under PyTorch's names, a slim file, or a checkpoint of the network.

    Raises:
        ValueError: If the file is missing or lacks a weight.
        CheckpointError: If a slim file does not fit the network.
    """
    network = build_network(name, classes)
    if not os.path.isfile(checkpoint):
        raise ValueError(f"For 'load_network', 'checkpoint' must be a file, but got {checkpoint!r}.")
    if checkpoint.endswith(".npz"):
        load_npz(network, checkpoint)
        return network
    values = ms.load_checkpoint(checkpoint)
    if not all(isinstance(value, ms.Parameter) for value in values.values()):
        return gs.load_slim(network, checkpoint)  # besides weights it holds a recipe, which is a text
    missing, _ = ms.load_param_into_net(network, values)
    if missing:
        raise ValueError(
            f"For 'load_network', {checkpoint} must hold every weight of {name}, but lacks {missing[0]!r}."
        )
    return network


def right_answers(network: nn.Cell, split: Split, splits: Splits) -> np.ndarray:
    """Of each image of a split, whether its largest logit is that of its class: bool, shape (images,)."""
    network.set_train(False)
    return np.concatenate([network(ms.Tensor(images)).asnumpy().argmax(1) == labels
                           for images, labels in evaluation_batches(split, splits)])


def accuracy(network: nn.Cell, split: Split, splits: Splits) -> float:
    """Fraction of a split's images whose largest logit is that of their class."""
    return float(right_answers(network, split, splits).mean())


def cosine(first: float, steps: int, rising: int = 0) -> List[float]:
    """A learning rate per step, from `first` down to nearly zero along half a cosine; the first `rising` steps start
    low and come up to it."""
    rates = first * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / steps))
    return (rates * np.minimum(1, (np.arange(steps) + 1) / (rising + 1))).astype(np.float32).tolist()


def sgd(network: nn.Cell, options, steps: int, rising: int = 0) -> nn.Optimizer:
    """SGD with Nesterov momentum; no weight decay on biases and normalizations, which it would only disturb."""
    decayed = [parameter for parameter in network.trainable_params() if parameter.ndim > 1]
    others = [parameter for parameter in network.trainable_params() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return nn.Momentum(groups, cosine(options.learning_rate, steps, rising), options.momentum, use_nesterov=True)


class _Progress(Callback):
    """A bar over all steps, on a terminal, with the mean loss of the last ones; keeps each epoch's mean loss."""

    def __init__(self, title: str, steps: int):
        super().__init__()
        self._bar = tqdm(total=steps, desc=title, unit="step", mininterval=1.0, disable=None)
        self._losses: List[float] = []
        self.epochs: List[float] = []

    def on_train_step_end(self, run_context):
        self._losses.append(float(run_context.original_args().net_outputs))
        self._bar.update()
        self._bar.set_postfix(loss=f"{np.mean(self._losses[-20:]):.3f}", refresh=False)

    def on_train_epoch_end(self, run_context):
        self.epochs.append(float(np.mean(self._losses)))
        self._losses.clear()

    def on_train_end(self, run_context):
        self._bar.close()


def fit(network: nn.Cell, loss, optimizer: nn.Optimizer, data, epochs: int, title: str,
        callbacks: Iterable[Callback] = (), seen: int = 0) -> Tuple[List[float], float]:
    """Train with `Model.train`; `loss` is None for a network that gives it itself. So many batches were `seen` before.
    Returns the mean loss of each epoch, and the seconds it took."""
    steps = data.get_dataset_size()
    progress, start = _Progress(title, epochs * steps - seen), time.perf_counter()
    if seen < epochs * steps:
        ms.dataset.config.set_fast_recovery(False)  # images are augmented as if all batches had been made
        data.set_init_step(seen)
        ms.Model(network, loss, optimizer).train(epochs, data, callbacks=[progress, *callbacks],
                                                 dataset_sink_mode=False, initial_epoch=seen // steps)
    return progress.epochs, time.perf_counter() - start


def save_checkpoint(network: nn.Cell, path: str) -> None:
    """Write a checkpoint beside `path`, then put it in its place: there is never half a file."""
    temporary = f"{path[:-len('.ckpt')]}.part.ckpt"
    try:
        ms.save_checkpoint(network, temporary)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def write_result(options, step: str, result: Dict[str, Any]) -> str:
    """Write a result, with the options that led to it, as JSON into the output folder; returns the path."""
    path = os.path.join(options.output, f"{step}.json")
    record = {"step": step, **result, "options": vars(options), "cores": os.cpu_count()}
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(record, file, indent=2)
    os.replace(path + ".part", path)
    return path
