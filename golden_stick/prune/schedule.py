"""`prune_in_steps`: a little at a time, with training between."""
import inspect
import json
import os
import warnings
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Tuple

from mindspore import Tensor, nn

from golden_stick.base.config import OneOf, Whole, check_value, in_own_name, level_of_user
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.base.files import PathLike, digest_of, make_folder, network_digest, path_of
from golden_stick.cells.slim import recipe_of
from golden_stick.comp_algo import unwarned_of_optimizers
from golden_stick.deploy.slim_file import SAFETENSORS, kept_positions, read_slim
from golden_stick.deploy.slim_network import save_slim
from golden_stick.prune.budget import COUNTED, TARGETS, BudgetBaseline, PruningTask, least_left, refuse_unreachable
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.report import Report

__all__ = ["PruningStep", "SCHEDULES", "prune_in_steps"]


# What is removed after a fraction of the steps, as a fraction of all that is removed.
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: done,
    "cubic": lambda done: 1.0 - (1.0 - done) ** 3,
}


@dataclass(frozen=True, eq=False)
class PruningStep:
    """
    What one step of :func:`golden_stick.prune_in_steps` did.

    Args:
        network (nn.Cell): The network before it: ``gs.slim_optimizer(optimizer, step.network, slim)``.
        report (Report): Of the step, as `OneShot` gives it.
    """

    network: nn.Cell
    report: Report

    @property
    def removed(self) -> Dict[str, int]:
        """Path of a layer -> how many filters it lost in this step; layers that lost none are left out."""
        return {layer.path: layer.before - layer.after for layer in self.report.layers if layer.after < layer.before}


@in_own_name
def prune_in_steps(network: nn.Cell, inputs: Any, config: Mapping[str, Any], steps: int,
                   train: Callable[..., None], schedule: str = "linear",
                   data: Optional[Callable[[], Iterable]] = None, loss: Optional[Callable] = None,
                   folder: Optional[PathLike] = None) -> Tuple[nn.Cell, Tuple[Report, ...]]:
    """
    Prune a network by a criterion in several steps, each of which scores the filters anew.

    The budget is that of the whole: after the last step, as much is left of the original as `config` says, caps
    included. Every step makes a slim network, checked against its masked one, so that training between them gets
    cheaper and cheaper. A step that can remove nothing, as where widths are rounded, is no step: the network is not
    trained after it. With `round_to`, every width goes to the multiple that is nearest to the schedule, so that layers
    take their turns, and in the last step to the one that `round` says.

    Note:
        With ``"residual": "scatter"``, a branch loses channels in the first step only: what scatters them into the sum
        is written into the network. The last report then says that the budget was missed.

    Args:
        network (nn.Cell): The trained network. It is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only argument.
        config (Mapping): Of :class:`golden_stick.OneShot`, with a `prune_rate` that is a number, or a target.
        steps (int): How many.
        train (Callable): Takes the slim network and the number of the step, from 0, and trains it in place. If it has a
            third argument without a default, that is a `golden_stick.prune.PruningStep`: what the step removed, and the
            network from before it, which :func:`golden_stick.slim_optimizer` asks for. If it changes no weight, a
            warning says so.
        schedule (str): ``'linear'``, or ``'cubic'``, which removes most at first (`Zhu and Gupta, 2017
            <https://arxiv.org/abs/1710.01878>`_). Default: ``'linear'``.
        data (Callable): For criteria that look at data: gives batches, in every step anew. Default: ``None``.
        loss (Callable): For criteria that look at gradients. Default: ``None``.
        folder (Union[str, os.PathLike]): Where the slim network of each step is kept once it is trained. The same call
            goes on where the last one was interrupted: `train` is called for the steps that it has not finished. What
            `train` keeps besides from step to step, such as an optimizer, it must keep itself
            (:func:`golden_stick.save_state`). Default: ``None``, nothing is written.

    Returns:
        tuple, the slim network after the last training, and the report of each step, of empty ones too. A report's
        `targets` are of the original network, whose share is to be met by then: those of the last one say whether the
        whole budget was. All else in it is of the step.

    Raises:
        ArgumentTypeError: If `config` is not a dict, `train` or `data` not a function, `train` takes other arguments,
            or a value is of another type.
        ArgumentError: If `steps` is less than 1, `schedule` unknown, or the budget is one by patterns or out of reach.
        StateError: If `folder` holds steps of another network or of another call.
        CheckpointError: If `folder` cannot be read or written.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> state = {"optimizer": nn.Momentum(net.trainable_params(), 0.1, 0.9)}
        >>> def train(slim, number, step):
        ...     state["optimizer"] = gs.slim_optimizer(state["optimizer"], step.network, slim)
        ...     print(number, step.removed, slim[0].out_channels)  # and train with it
        >>> slim, reports = gs.prune_in_steps(net, (1, 3, 16, 16), {"prune_rate": 0.5}, 2, train)
        0 {'0': 2} 6
        1 {'0': 2} 4
    """
    check_value("prune_in_steps", "steps", steps, Whole(1))
    check_value("prune_in_steps", "schedule", schedule, OneOf(tuple(SCHEDULES)))
    if not callable(train):
        raise ArgumentTypeError(f"For 'prune_in_steps', 'train' must be a function of a network and a step, but got "
                                f"{type(train).__name__}.")
    trained = _Training(train, _arguments_of(train))
    key, whole = _budget_of(config)
    if data is not None and not callable(data):
        raise ArgumentTypeError(f"For 'prune_in_steps', 'data' must be a function that gives batches, in every step "
                                f"anew, but got {type(data).__name__}.")
    kept = _Kept(folder, network, {"config": whole, "steps": steps, "schedule": schedule})
    slim, reports = network, []
    baseline: Optional[BudgetBaseline] = None
    found: Optional[PruningTask] = None
    # Nearer to the schedule than `round` says, but never beyond what it leaves in the end. Nothing is measured twice.
    rounded = whole["round_to"] != 1 and key != "target_latency"
    for step in range(steps):
        early = {"round": "nearest"} if rounded and step < steps - 1 else {}
        algorithm = OneShot({**config, **early, key: _so_far(key, whole[key], SCHEDULES[schedule]((step + 1) / steps))})
        # What an empty step has found out of the network holds for the next.
        if found is None or found.network is not slim:
            found = algorithm.find_task(slim, inputs)
        task = replace(found, config={**algorithm.settings, "round_to": found.config["round_to"]},
                       data=data and data(), loss=loss, baseline=baseline or found.baseline,
                       goal={key: whole[key], "round": whole["round"]} if early else None)
        if step == 0 and key in COUNTED:
            # Before anything is trained: the last step would refuse it.
            refuse_unreachable("prune_in_steps", key, whole[key], least_left(task, key))
        applied, before = algorithm.apply_task(task), slim
        plan = algorithm.applied.selection.plan
        if plan.axes:
            # `train` may well know how to go on with an optimizer; if it does not, that shows when it has run.
            with unwarned_of_optimizers():
                slim = algorithm.convert(applied)
            if not kept.restore(slim, step):
                trained(slim, step, PruningStep(before, algorithm.report))
                kept.write(slim, step)
        reports.append(algorithm.report)
        baseline = task.baseline.after(task.grouping, plan)
    return slim, tuple(reports)


class _Kept:
    """The slim networks of finished steps, each in a file of a folder; without a folder, none is kept."""

    def __init__(self, folder: Optional[PathLike], network: nn.Cell, asked: Mapping[str, Any]):
        self._folder = None if folder is None else path_of("prune_in_steps", folder)
        if self._folder is None:
            return
        self._asked = json.loads(json.dumps({**asked, "network": network_digest(network)}, default=str))
        make_folder("prune_in_steps", self._folder)

    def restore(self, slim: nn.Cell, step: int) -> bool:
        """Give a network the weights that it had after a step; whether they are known."""
        path = self._path(step)
        if not os.path.exists(path):
            return False
        file, parameters = read_slim(path), recipe_of(slim).names.parameters(slim)
        if file.metadata != {**self._asked, "step": step} or file.kept != kept_positions(recipe_of(slim).steps):
            raise StateError(f"For 'prune_in_steps', 'folder' must be new or hold the same steps, but '{path}' is of "
                             f"another network or call: take another folder.")
        for name, parameter in parameters.items():
            parameter.set_data(Tensor(file.values[name], parameter.dtype))
        return True

    def write(self, slim: nn.Cell, step: int) -> None:
        """Keep a network as it is after a step."""
        if self._folder is not None:
            save_slim(slim, self._path(step), {**self._asked, "step": step})

    def _path(self, step: int) -> str:
        return "" if self._folder is None else os.path.join(self._folder, f"step_{step}{SAFETENSORS}")


def _budget_of(config: Mapping[str, Any]) -> Tuple[str, Mapping[str, Any]]:
    """The key of the budget, and all settings."""
    if not isinstance(config, Mapping):
        raise ArgumentTypeError(f"For 'prune_in_steps', 'config' must be a dict, but got {type(config).__name__}.")
    whole = OneShot(config).config
    key = next((key for key in TARGETS if whole[key] is not None), "prune_rate")
    if not isinstance(whole[key], (int, float)):
        got = "one by patterns" if whole["max_drop"] is None else "'max_drop'"
        raise ArgumentError(f"For 'prune_in_steps', 'prune_rate' must be a number, which is spread over the steps, but "
                            f"got {got}.")
    return key, whole


def _arguments_of(train: Callable[..., None]) -> int:
    """How many arguments `train` is to be given, 2 or 3; refused if it does not take them."""
    try:
        signature = inspect.signature(train)
    except (TypeError, ValueError):  # built-in functions need not tell
        return 2
    needed = [one for one in signature.parameters.values() if one.default is one.empty
              and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    count = 3 if len(needed) > 2 else 2
    try:
        signature.bind(*range(count))
    except TypeError as error:
        raise ArgumentTypeError(f"For 'prune_in_steps', 'train' must take the slim network, the number of the step and "
                                f"perhaps what the step removed, but it is train{signature}: {error}.") from error
    return count


class _Training:
    """The user's training, which takes so many of the arguments; one that changes no weight is told of once."""

    def __init__(self, train: Callable[..., None], arguments: int):
        self._train, self._arguments, self._told = train, arguments, False

    def __call__(self, slim: nn.Cell, *others: Any) -> None:
        parameters = slim.trainable_params()
        before = digest_of(parameter.asnumpy() for parameter in parameters)
        self._train(*(slim, *others)[:self._arguments])
        if not self._told and before == digest_of(parameter.asnumpy() for parameter in parameters):
            self._told = True
            warnings.warn("For 'prune_in_steps', 'train' must train the network that it is given, but no weight of it "
                          "changed: an optimizer that was made before trains another network. Make one of "
                          "slim.trainable_params(), or go on with gs.slim_optimizer.", stacklevel=level_of_user())


def _so_far(key: str, whole: float, done: float) -> float:
    """The budget up to a step, of the first network: as much is removed, or left."""
    return whole * done if key == "prune_rate" else whole + (1.0 - whole) * (1.0 - done)
