"""`prune_in_steps`: a little at a time, with training between."""
from dataclasses import replace
from typing import Any, Callable, Iterable, Mapping, Optional, Tuple

from mindspore import nn

from golden_stick.base.config import OneOf, Whole, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.prune.budget import COUNTED, TARGETS, BudgetBaseline, least_left, refuse_unreachable
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.report import Report

__all__ = ["SCHEDULES", "prune_in_steps"]


# What is removed after a fraction of the steps, as a fraction of all that is removed.
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: done,
    "cubic": lambda done: 1.0 - (1.0 - done) ** 3,
}


def prune_in_steps(network: nn.Cell, inputs: Any, config: Mapping[str, Any], steps: int,
                   train: Callable[[nn.Cell, int], None], schedule: str = "linear",
                   data: Optional[Callable[[], Iterable]] = None, loss: Optional[Callable] = None
                   ) -> Tuple[nn.Cell, Tuple[Report, ...]]:
    """
    Prune a network by a criterion in several steps, each of which scores the filters anew.

    The budget is that of the whole: after the last step, as much is left of the original as `config` says, caps
    included. Every step makes a slim network, checked against its masked one, so that training between them gets
    cheaper and cheaper.

    Note:
        With ``"residual": "scatter"``, a branch loses channels in the first step only: what scatters them into the sum
        is written into the network. The last report then says that the budget was missed.

    Args:
        network (nn.Cell): The trained network. It is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only argument.
        config (Mapping): Of :class:`golden_stick.OneShot`, with a `prune_rate` that is a number, or a target.
        steps (int): How many.
        train (Callable): Takes the slim network and the number of the step, from 0, and trains it in place.
        schedule (str): ``'linear'``, or ``'cubic'``, which removes most at first (`Zhu and Gupta, 2017
            <https://arxiv.org/abs/1710.01878>`_). Default: ``'linear'``.
        data (Callable): For criteria that look at data: gives batches, in every step anew. Default: ``None``.
        loss (Callable): For criteria that look at gradients. Default: ``None``.

    Returns:
        tuple, the slim network after the last training, and the report of each step. A report's `targets` are of the
        original network, whose share is to be met by then: those of the last one say whether the whole budget was.
        All else in it is of the step.

    Raises:
        ArgumentTypeError: If `config` is not a dict, `train` or `data` not a function, or a value of another type.
        ArgumentError: If `steps` is less than 1, `schedule` unknown, or the budget is one by patterns or out of reach.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> def train(slim, step):
        ...     print(step, slim[0].out_channels)
        >>> slim, reports = gs.prune_in_steps(net, (1, 3, 16, 16), {"prune_rate": 0.5}, 2, train)
        0 6
        1 4
    """
    check_value("prune_in_steps", "steps", steps, Whole(1))
    check_value("prune_in_steps", "schedule", schedule, OneOf(tuple(SCHEDULES)))
    if not callable(train):
        raise ArgumentTypeError(f"For 'prune_in_steps', 'train' must be a function of a network and a step, but got "
                                f"{type(train).__name__}.")
    if not isinstance(config, Mapping):
        raise ArgumentTypeError(f"For 'prune_in_steps', 'config' must be a dict, but got {type(config).__name__}.")
    if data is not None and not callable(data):
        raise ArgumentTypeError(f"For 'prune_in_steps', 'data' must be a function that gives batches, in every step "
                                f"anew, but got {type(data).__name__}.")
    whole = OneShot(config).config
    key = next((key for key in TARGETS if whole[key] is not None), "prune_rate")
    if not isinstance(whole[key], (int, float)):
        raise ArgumentError("For 'prune_in_steps', 'prune_rate' must be a number, which is spread over the steps, but "
                            "got one by patterns.")
    slim, reports = network, []
    baseline: Optional[BudgetBaseline] = None
    for step in range(steps):
        algorithm = OneShot({**config, key: _so_far(key, whole[key], SCHEDULES[schedule]((step + 1) / steps))})
        task = replace(algorithm.find_task(slim, inputs), data=data and data(), loss=loss)
        if baseline is None and key in COUNTED:
            # Before anything is trained: the last step would refuse it.
            refuse_unreachable("prune_in_steps", key, whole[key], least_left(task, key))
        task = replace(task, baseline=baseline or task.baseline)
        slim = algorithm.convert(algorithm.apply_task(task))
        reports.append(algorithm.report)
        baseline = task.baseline.after(task.grouping, algorithm.applied.selection.plan)
        train(slim, step)
    return slim, tuple(reports)


def _so_far(key: str, whole: float, done: float) -> float:
    """The budget up to a step, of the first network: as much is removed, or left."""
    return whole * done if key == "prune_rate" else whole + (1.0 - whole) * (1.0 - done)
