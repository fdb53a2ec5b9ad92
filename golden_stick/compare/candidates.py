"""Slim networks by each criterion, all from the same batches."""
import itertools
import os
import tempfile
import warnings
from typing import Any, List, Optional, Tuple

import mindspore as ms
from mindspore import nn

from golden_stick.compare.batches import Batch
from golden_stick.compare.fitting import train
from golden_stick.compare.settings import SCOP_NAME, Settings
from golden_stick.criteria.table import CRITERIA
from golden_stick.errors import ArgumentError
from golden_stick.prune.one_shot import OneShot
from golden_stick.report import Report
from golden_stick.scop.pruner import SCOP

__all__ = ["slim_networks"]

Made = Tuple[Optional[float], nn.Cell, Report]


def slim_networks(network: nn.Cell, inputs: Any, criterion: str, seed: int, settings: Settings,
                  calibration: List[Batch], scales: List[Batch]) -> List[Made]:
    """
    The slim networks of one criterion and seed: at every rate of the curve, and at the budget.

    Args:
        network (nn.Cell): The trained network; it is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): As of every pruner's `apply`.
        criterion (str): Its name.
        seed (int): Of criteria that draw.
        settings (Settings): What is asked for.
        calibration (list): What criteria look at.
        scales (list): What SCOP's scales are trained on, in turn.

    Returns:
        list of (rate or None for the budget, slim network, report).

    Raises:
        ArgumentError: If SCOP's scales would not all be trained in so many steps.
    """
    if criterion == SCOP_NAME:
        return _by_scop(network, inputs, settings, scales)
    found = []
    for rate in (*settings.rates, None):
        algorithm = OneShot({**settings.config_at(rate), "criterion": criterion, "seed": seed})
        seen = {} if CRITERIA[criterion].needs == "nothing" else {"data": calibration, "loss": settings.loss}
        slim = algorithm.convert(algorithm.apply(network, inputs, **seen))
        found.append((rate, slim, algorithm.report))
    return found


def _by_scop(network: nn.Cell, inputs: Any, settings: Settings, scales: List[Batch]) -> List[Made]:
    """One knockoff phase; its scales are scored at every rate."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        trained = os.path.join(folder, "scales.ckpt")
        _train_scales(network, inputs, settings, scales, trained)
        for rate in (*settings.rates, None):
            algorithm = SCOP({**settings.config_at(rate), **settings.scop})
            slim = algorithm.convert(algorithm.apply(network, inputs), ckpt_path=trained)
            found.append((rate, slim, algorithm.report))
    return found


def _train_scales(network: nn.Cell, inputs: Any, settings: Settings, scales: List[Batch], path: str) -> None:
    algorithm = SCOP({**settings.config_at(None), **settings.scop})
    phase = algorithm.apply(network, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            algorithm.before_training(settings.knockoff_steps)
        except UserWarning as warning:
            raise ArgumentError(f"For 'compare', 'knockoff_steps' must be enough for SCOP, but it warns: {warning}"
                                ) from warning
    batches = itertools.islice(itertools.cycle(scales), settings.knockoff_steps)
    optimizer = nn.Adam(phase.trainable_params(), settings.knockoff_learning_rate)
    train(phase, batches, algorithm.loss(settings.loss), optimizer, algorithm.after_step)
    ms.save_checkpoint(phase, path)
