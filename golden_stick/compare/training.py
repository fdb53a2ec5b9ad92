"""The batches of a comparison, the same for every criterion; training on them, and accuracy."""
import itertools
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.base.files import digest_of
from golden_stick.base.inputs import labelled_batches
from golden_stick.certify.certify import right_answers

__all__ = ["Batch", "TrainingBatches", "accuracies", "check_repeatable", "default_optimizer", "digest_of_batches",
           "train"]


_DIGITS = 16  # of a digest, in records

Batch = Tuple[np.ndarray, np.ndarray]


class TrainingBatches:
    """Batches to calibrate and fine-tune on, by seed, of `train_data` and `scales_data` of `golden_stick.compare`."""

    def __init__(self, data: Any, calibration_batches: int, epochs: int, scales_data: Optional[Any] = None):
        for name, given in (("train_data", None if callable(data) else data), ("scales_data", scales_data)):
            if given is not None:
                check_repeatable(name, given)
        self._data, self._epochs, self._count, self._scales_data = data, epochs, calibration_batches, scales_data
        self._digests: Dict[int, Dict[str, str]] = {}

    def calibration(self, seed: int) -> List[Batch]:
        """The first batches of a seed's first epoch."""
        batches = _all_of("train_data", itertools.islice(self._epoch(self._open(seed), seed, 0), self._count))
        self.expect(seed, calibrated_on=digest_of_batches(batches))
        return batches

    def scales(self, seed: int, otherwise: List[Batch]) -> List[Batch]:
        """What SCOP's scales are trained on, in turn: all of `scales_data`, or `otherwise` where there is none."""
        if self._scales_data is None:
            return otherwise
        return _all_of("scales_data", _shuffled(self._scales_data, seed, 0))

    def steps(self, seed: int) -> int:
        """How many batches all epochs of fine-tuning have together."""
        data = self._open(seed)
        length = getattr(data, "get_dataset_size", getattr(data, "__len__", None))
        if length is None:
            raise ArgumentTypeError("For 'compare', 'train_data' must give batches that have a length, but got "
                                    f"{type(data).__name__}: a list, a mindspore.dataset, or an object with __len__.")
        return self._epochs * length()

    def finetuning(self, seed: int) -> Iterator[Batch]:
        """All batches of all epochs."""
        data, digests = self._open(seed), []
        for epoch in range(self._epochs):
            for batch in self._epoch(data, seed, epoch):
                digests.append(digest_of_batches([batch]))
                yield batch
        self.expect(seed, finetuned_on=digest_of(digests)[:_DIGITS])

    def digests(self, seed: int) -> Dict[str, Any]:
        """Digests of what a seed was calibrated and fine-tuned on, as far as it was, by the names of `Trial`."""
        return dict(self._digests.get(seed, {}))

    def expect(self, seed: int, **digests: str) -> None:
        """Remember digests of a seed's batches, by the names of `Trial`, or compare them; empty ones say nothing."""
        known = self._digests.setdefault(seed, {})
        for use, digest in digests.items():
            if digest and known.setdefault(use, digest) != digest:
                raise StateError(f"For 'compare', 'train_data' must give the same batches each time for seed {seed}, "
                                 f"but they differ: let order and augmentation follow from the seed, and a callable "
                                 f"return new batches each time.")

    def _open(self, seed: int) -> Any:
        if not callable(self._data):
            return self._data
        data = self._data(seed)
        check_repeatable("train_data", data)
        return data

    def _epoch(self, data: Any, seed: int, epoch: int) -> Iterator[Batch]:
        return _taken(data) if callable(self._data) else _shuffled(data, seed, epoch)


def check_repeatable(name: str, data: Any) -> None:
    """Raise unless data can be gone through more than once."""
    if not (hasattr(data, "__iter__") or hasattr(data, "create_tuple_iterator")) or isinstance(data, (str, bytes)):
        raise ArgumentTypeError(f"For 'compare', '{name}' must be batches of images and labels, but got "
                                f"{type(data).__name__}.")
    if hasattr(data, "__next__"):
        raise ArgumentTypeError(f"For 'compare', '{name}' must be batches that can be gone through several times, but "
                                f"got {type(data).__name__}, which is spent after the first: make it a list.")


def _shuffled(data: Any, seed: int, epoch: int) -> Iterator[Batch]:
    """Batches, those of a list in an order drawn from seed and epoch."""
    if isinstance(data, (list, tuple)):
        order = np.random.default_rng((seed, epoch)).permutation(len(data))
        data = [data[index] for index in order]
    return _taken(data)


def _taken(data: Any) -> Iterator[Batch]:
    for images, labels in labelled_batches("compare", data):
        yield images, labels.astype(np.int32)


def _all_of(name: str, batches: Iterable[Batch]) -> List[Batch]:
    taken = list(batches)
    if not taken:
        raise ArgumentError(f"For 'compare', '{name}' must not be empty, but it gave no batch.")
    return taken


def digest_of_batches(batches: Iterable[Batch]) -> str:
    """A digest of batches, in their order."""
    return digest_of(part for images, labels in batches
                     for part in (f"{images.dtype.str} {images.shape} ", images, labels))[:_DIGITS]


def default_optimizer(learning_rate: float) -> Callable[[nn.Cell, int], nn.Optimizer]:
    """SGD with Nesterov momentum 0.9, the rate falling along half a cosine, and a weight decay of 5e-4 on weights of
    more than one axis: on scales and biases it would only disturb."""
    def build(network: nn.Cell, steps: int) -> nn.Optimizer:
        rates = learning_rate * 0.5 * (1 + np.cos(np.pi * np.arange(max(steps, 1)) / max(steps, 1)))
        parameters = network.trainable_params()
        weights, others = ([item for item in parameters if (item.ndim > 1) == decayed] for decayed in (True, False))
        groups = [{"params": params, "weight_decay": decay} for params, decay in ((weights, 5e-4), (others, 0.0))
                  if params]
        return nn.Momentum(groups, rates.astype(np.float32).tolist(), 0.9, use_nesterov=True)

    # What a comparison writes down.
    build.__qualname__ = (f"Momentum 0.9 (Nesterov), rate from {learning_rate:g} along half a cosine, weight decay "
                          f"0.0005")
    return build


def train(network: nn.Cell, batches: Iterable[Batch], loss: Callable, optimizer: nn.Optimizer,
          after_step: Optional[Callable[[], None]] = None) -> None:
    """One step for each batch; afterwards the network is in evaluation. The last loss must be finite."""
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


def accuracies(networks: Mapping[str, nn.Cell], name: str, data: Any) -> Tuple[Dict[str, float], Dict[str, Any]]:
    """The accuracy of each network, in one pass over the data of this name, and their number of images and digest."""
    right, seen, _ = right_answers("compare", networks, data, data_name=name)
    return {name: float(answers.mean()) for name, answers in right.items()}, {"images": seen.images,
                                                                              "digest": seen.digest}
