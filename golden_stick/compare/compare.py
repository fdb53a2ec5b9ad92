"""`compare`: several criteria on one network, at one budget, with equal fine-tuning."""
import itertools
import warnings
from dataclasses import replace
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.compare.result import CriteriaComparison, Trial
from golden_stick.compare.settings import SCOP_NAME, ComparisonData, ComparisonSettings
from golden_stick.errors import ArgumentError, ArgumentTypeError
from golden_stick.prune.calibration import calibrate
from golden_stick.prune.copying import copy_network
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.pruner import Pruner
from golden_stick.scop.pruner import SCOP

__all__ = ["compare"]

# Makes the slim network for a budget: keys of the configuration.
Maker = Callable[[Mapping[str, Any]], Tuple[nn.Cell, Pruner]]


def compare(network: nn.Cell, inputs: Any, data: ComparisonData, settings: ComparisonSettings,
            loss: Optional[nn.Cell] = None, done: Iterable[Trial] = (),
            on_trial: Callable[[Trial], None] = lambda trial: None) -> CriteriaComparison:
    """
    Prune a network by several criteria, to one budget, and fine-tune each alike.

    Everybody meets the same batches in the same order, has the same optimizer, and is measured at the end of the last
    epoch. The validation images are all that anything is read from until all trials are done; then, once, the test
    images.

    Args:
        network (nn.Cell): The trained network, which gives an output of shape :math:`(N, classes)`. It is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What it takes, or the shape, for tracing.
        data (ComparisonData): Training, validation and test images.
        settings (ComparisonSettings): Criteria, budget, seeds and the rest.
        loss (nn.Cell): Takes outputs and labels. Default: ``None``, `nn.CrossEntropyLoss()`.
        done (Iterable[Trial]): Trials of an earlier run with the same settings, which are not run again. They must have
            been made without test images, since their networks are gone. Default: none.
        on_trial (Callable): Told of each trial as it ends. Default: nobody is.

    Returns:
        CriteriaComparison.

    Raises:
        ArgumentTypeError: If `network` is not a Cell, or `data` or `settings` of another class.
        ArgumentError: If there are no validation images, or trials are given besides test images.

    Supported Platforms:
        ``CPU``
    """
    for name, value, kind in (("network", network, nn.Cell), ("data", data, ComparisonData),
                              ("settings", settings, ComparisonSettings)):
        if not isinstance(value, kind):
            raise ArgumentTypeError(f"For 'compare', '{name}' must be a {kind.__name__}, but got "
                                    f"{type(value).__name__}.")
    known = {(trial.criterion, trial.seed): trial for trial in done}
    if known and data.test is not None:
        raise ArgumentError("For 'compare', 'data' must come without test images where 'done' has trials, whose "
                            "networks are gone, but got both.")
    run = _Run(network, inputs, data, settings, loss or nn.CrossEntropyLoss())
    original, trials, tuned = _accuracy(network, data.validation()), [], []
    for criterion, seed in itertools.product(settings.criteria, settings.seeds):
        trial, slim = known.get((criterion, seed)), None
        if trial is None:
            trial, slim = run.trial(criterion, seed)
            on_trial(trial)
        trials.append(trial)
        tuned.append(slim)
    if data.test is None:
        return CriteriaComparison(settings.to_dict(), original, tuple(trials))
    images = list(data.test())
    found = [replace(trial, test=_accuracy(slim, images)) for trial, slim in zip(trials, tuned)]
    return CriteriaComparison(settings.to_dict(), original, tuple(found), _accuracy(network, images))


class _Run:
    """One network, and what all trials share."""

    def __init__(self, network: nn.Cell, inputs: Any, data: ComparisonData, settings: ComparisonSettings,
                 loss: nn.Cell):
        self._network, self._inputs, self._data = network, inputs, data
        self._settings, self._loss = settings, loss

    def trial(self, criterion: str, seed: int) -> Tuple[Trial, nn.Cell]:
        """One criterion with one seed, and the fine-tuned network."""
        settings = self._settings
        make = self._scop(seed) if criterion == SCOP_NAME else self._one_shot(criterion, seed)
        curve = []
        for rate in settings.rates:
            slim, _ = make({"prune_rate": rate})
            curve.append((self._validate(slim), self._calibrated(slim, seed)))
        slim, algorithm = make(settings.budget)
        report, one_shot = algorithm.report, self._validate(slim)
        calibrated = self._calibrated(slim, seed)
        self._finetune(slim, seed)
        return Trial(criterion, seed, report.macs_after / report.macs_before,
                     report.parameters_after / report.parameters_before, one_shot, calibrated, self._validate(slim),
                     tuple(curve)), slim

    def _one_shot(self, criterion: str, seed: int) -> Maker:
        def make(budget: Mapping[str, Any]) -> Tuple[nn.Cell, Pruner]:
            algorithm = OneShot({**budget, "criterion": criterion, "seed": seed})
            masked = algorithm.apply(self._network, self._inputs, data=self._first(seed, self._settings.look),
                                     loss=self._loss)
            return algorithm.convert(masked), algorithm
        return make

    def _scop(self, seed: int) -> Maker:
        ms.set_seed(seed)
        config = dict(self._settings.scop)
        algorithm = SCOP(config)
        phase = algorithm.apply(self._network, self._inputs)
        optimizer = nn.Adam(phase.trainable_params(), self._settings.scop_learning_rate)
        self._train(phase, optimizer, itertools.islice(self._endless(seed), self._settings.scop_steps),
                    algorithm.after_step)
        values: Dict[str, np.ndarray] = {item.name: item.asnumpy().copy() for item in phase.get_parameters()}

        def make(budget: Mapping[str, Any]) -> Tuple[nn.Cell, Pruner]:
            again = SCOP({**config, **budget})
            other = again.apply(self._network, self._inputs)
            for parameter in other.get_parameters():
                parameter.set_data(Tensor(values[parameter.name]))
            with warnings.catch_warnings():
                # Said once by the report; here it would come at every rate.
                warnings.filterwarnings("ignore", message="For 'SCOP', scores must tell more")
                return again.convert(other), again
        return make

    def _finetune(self, slim: nn.Cell, seed: int) -> None:
        settings = self._settings
        batches = [batch for epoch in range(settings.epochs) for batch in self._data.train(_order(seed, epoch))]
        rates = [float(settings.learning_rate * (1 + np.cos(np.pi * step / len(batches))) / 2)
                 for step in range(len(batches))]
        optimizer = nn.Momentum(slim.trainable_params(), rates, 0.9, settings.weight_decay)
        self._train(slim, optimizer, batches, lambda: None)

    def _train(self, network: nn.Cell, optimizer: nn.Optimizer, batches: Iterable, after_step: Callable) -> None:
        step = nn.TrainOneStepCell(nn.WithLossCell(network, self._loss), optimizer).set_train()
        for images, labels in batches:
            step(_tensor(images), _tensor(labels))
            after_step()
        network.set_train(False)

    def _calibrated(self, slim: nn.Cell, seed: int) -> float:
        """Accuracy of a copy with statistics re-estimated; fine-tuning begins where pruning ends."""
        copy = copy_network(slim)
        calibrate(copy, (_tensor(images) for images, _ in self._first(seed, self._settings.calibration)))
        return self._validate(copy)

    def _validate(self, network: nn.Cell) -> float:
        return _accuracy(network, self._data.validation())

    def _first(self, seed: int, count: int) -> List[Any]:
        return list(itertools.islice(self._data.train(_order(seed, 0)), count))

    def _endless(self, seed: int) -> Iterable:
        for epoch in itertools.count():
            yield from self._data.train(_order(seed, epoch))


def _order(seed: int, epoch: int) -> int:
    """The seed of an epoch's order: no two epochs of any seeds below a thousand share one."""
    return 1000 * epoch + seed


def _tensor(array: Any) -> Tensor:
    return array if isinstance(array, Tensor) else Tensor(array)


def _accuracy(network: nn.Cell, batches: Iterable) -> float:
    network.set_train(False)
    right = [network(_tensor(images)).asnumpy().argmax(1) == np.asarray(
        labels.asnumpy() if isinstance(labels, Tensor) else labels) for images, labels in batches]
    if not right:
        raise ArgumentError("For 'compare', every set of 'data' must hold images, but one gives no batch.")
    return float(np.concatenate(right).mean())
