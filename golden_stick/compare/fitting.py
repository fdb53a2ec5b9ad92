"""Fine-tuning and accuracy."""
from contextlib import ExitStack
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.certify.fingerprints import digest_of_samples, labelled_batches, sample_digests
from golden_stick.errors import ArgumentError
from golden_stick.evaluation import evaluation
from golden_stick.uses import note

__all__ = ["accuracies", "default_optimizer", "train"]

_MOMENTUM, _WEIGHT_DECAY = 0.9, 5e-4


def default_optimizer(learning_rate: float) -> Callable[[nn.Cell, int], nn.Optimizer]:
    """SGD with Nesterov momentum 0.9, the rate falling along half a cosine, and a weight decay of 5e-4 on weights of
    more than one axis: on scales and biases it would only disturb."""
    def build(network: nn.Cell, steps: int) -> nn.Optimizer:
        rates = learning_rate * 0.5 * (1 + np.cos(np.pi * np.arange(max(steps, 1)) / max(steps, 1)))
        decayed = [item for item in network.trainable_params() if item.ndim > 1]
        others = [item for item in network.trainable_params() if item.ndim <= 1]
        groups = [{"params": items, "weight_decay": decay} for items, decay in ((decayed, _WEIGHT_DECAY), (others, 0.0))
                  if items]
        return nn.Momentum(groups, rates.astype(np.float32).tolist(), _MOMENTUM, use_nesterov=True)
    return build


def train(network: nn.Cell, batches: Iterable[Tuple[np.ndarray, np.ndarray]], loss: Callable,
          optimizer: nn.Optimizer, after_step: Optional[Callable[[], None]] = None) -> None:
    """
    One step for each batch; afterwards the network is in evaluation.

    Raises:
        ArgumentError: If the loss is not finite at the end.
    """
    step = nn.TrainOneStepCell(nn.WithLossCell(network, loss), optimizer)
    step.set_train()
    last = Tensor(0.0, ms.float32)
    for images, labels in batches:
        last = step(Tensor(images), Tensor(labels))
        if after_step is not None:
            after_step()
    network.set_train(False)
    if not np.isfinite(last.asnumpy()).all():
        raise ArgumentError("For 'compare', the loss must stay finite, but it did not at the end of a training: lower "
                            "the learning rate.")


def accuracies(networks: Mapping[str, nn.Cell], data: Any) -> Tuple[Dict[str, float], Dict[str, Any]]:
    """
    The accuracy of each network, in one pass over data, and the data's number of images and digest.

    Raises:
        ArgumentError: If there is no image, or an output is not finite or not of shape (images, classes).
    """
    right, samples = dict.fromkeys(networks, 0), []
    with ExitStack() as stack:
        for network in networks.values():
            stack.enter_context(evaluation(network))
        for images, labels in labelled_batches("compare", data):
            samples.extend(sample_digests(images, labels))
            note(images, "accuracies of 'compare'")
            tensor = Tensor(images)
            for name, network in networks.items():
                right[name] += int((_classes(name, network(tensor), len(labels)) == labels).sum())
    if not samples:
        raise ArgumentError("For 'compare', validation and test data must hold at least one image, but got none.")
    facts = {"images": len(samples), "digest": digest_of_samples(samples)}
    return {name: count / len(samples) for name, count in right.items()}, facts


def _classes(name: str, output: Any, images: int) -> np.ndarray:
    values = (output[0] if isinstance(output, (tuple, list)) else output).asnumpy()
    if values.ndim != 2 or len(values) != images:
        raise ArgumentError(f"For 'compare', what the network '{name}' puts out must be of shape (images, classes), "
                            f"but got {values.shape} for {images} images.")
    if not np.isfinite(values).all():
        raise ArgumentError(f"For 'compare', what the network '{name}' puts out must be numbers, but got NaN or "
                            f"infinity: lower the learning rate.")
    return values.argmax(1)
