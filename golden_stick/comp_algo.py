"""`CompAlgo`: what every compression algorithm looks like from a training script."""
import inspect
import os
import sys
import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Callable, Iterable, Iterator, List, Mapping, Optional, Tuple, Type

import numpy as np
from mindspore import Parameter, Tensor, nn
from mindspore.communication import GlobalComm
from mindspore.experimental.optim import Optimizer
from mindspore.train import Callback

from golden_stick.base.config import Option, Path, Registry, Switch, Whole, check_config, check_value, level_of_user
from golden_stick.base.devices import refuse_differing
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.base.files import PathLike, path_of
from golden_stick.base.inputs import leading_inputs
from golden_stick.cells.wrappers import TemporaryCell, nan_parameters, numbers_in
from golden_stick.deploy.checkpoints import difference_of_state, read_checkpoint, save_state
from golden_stick.deploy.exporters import export
from golden_stick.graph.plan import parameters_in

__all__ = ["ALGORITHMS", "AlgorithmCallback", "Applied", "CompAlgo", "ExportMindIRCallBack", "add_algorithm",
           "check_network", "refuse_apart", "refuse_trained_apart", "unwarned_of_optimizers", "warn_of_optimizers"]


@dataclass(frozen=True, eq=False)
class Applied:
    """What `apply` leaves for the steps that follow. A subclass may have a record of its own with more in it."""

    network: nn.Cell  # what `apply` returned
    inputs: Any  # what `construct` of the network takes, as `apply` got it


# Of every algorithm; not among its `settings`, which say what it does to a network.
_SAVING: Mapping[str, Option] = {"save_mindir": Option(False, Switch()),
                                 "save_mindir_path": Option("./network", Path())}


class CompAlgo(ABC):
    """
    Base of the compression algorithms: `apply` to a network, train with `callbacks`, `convert`.

    A subclass says which configuration keys it has (`options`; their values are in `settings`), and what `apply` does.
    `apply` ends with ``self.applied = Applied(network, inputs)``, and what was done is given to ``self.report``, if
    anything is to be said. The other methods it has only where it needs them: `convert`, `loss`, `main_callback`,
    `before_training`, `after_step`, `finish_training`, `summary`. examples/custom_algorithm.py is one.

    Three attributes tell :func:`golden_stick.compare` and the command line how to run it: `trains_phase`, whether the
    network that `apply` returns is to be trained before `convert`; `tunes_applied`, whether it is that network, without
    such a phase, which is fine-tuned, and not what `convert` gives; and `takes_data`, whether `apply` takes batches and
    a loss as `data` and `loss`. :func:`add_algorithm` makes it known to them.

    Args:
        config (dict): Configuration. Of every algorithm: `save_mindir` (bool, default ``False``), whether training with
            `callbacks` ends with a MindIR, and `save_mindir_path` (str, default ``'./network'``). The subclass
            documents its own keys. Default: ``None``, all defaults.

    Raises:
        ArgumentTypeError: If `config` is not a dict, or a value is of another type.
        ArgumentError: If a key is unknown, or a value out of range.

    Supported Platforms:
        ``CPU``
    """

    options: Mapping[str, Option] = {}
    trains_phase: bool = False
    tunes_applied: bool = False

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        given = check_config(type(self).__name__, config, {**self.options, **_SAVING})
        #: The value of every key in `options`.
        self.settings: Mapping[str, Any] = {key: given[key] for key in self.options}
        self.set_save_mindir(given["save_mindir"])
        self.set_save_mindir_path(given["save_mindir_path"])
        self._applied: Optional[Applied] = None
        self._report: Optional[object] = None

    @property
    def takes_data(self) -> bool:
        """Whether `apply` takes `data` and `loss`, as configured."""
        return False

    @abstractmethod
    def apply(self, network: nn.Cell, *args: Any, **kwargs: Any) -> nn.Cell:
        """
        The network to train. A subclass may take more: those of golden_stick take `inputs`, what `construct` takes, or
        the shape of its only argument.

        Args:
            network (nn.Cell): The network to compress. It is not changed.

        Returns:
            nn.Cell, a new network.
        """

    def convert(self, net_opt: nn.Cell, ckpt_path: str = "") -> nn.Cell:
        """
        The compressed network. Unless a subclass says otherwise, it is `net_opt` itself: what `apply` returned needs
        nothing of the algorithm.

        Args:
            net_opt (nn.Cell): The network that `apply` returned, trained.
            ckpt_path (str): A checkpoint of it to load first. Default: ``""``, none.

        Returns:
            nn.Cell, a network that needs nothing of golden_stick to train, save and export.

        Raises:
            ArgumentTypeError: If `net_opt` is not a Cell or `ckpt_path` not a str.
            CheckpointError: If the checkpoint cannot be read or belongs to another network.
        """
        name = type(self).__name__
        self._refuse_no_cell(net_opt)
        if not isinstance(ckpt_path, str):
            raise ArgumentTypeError(f"For '{name}', 'ckpt_path' must be a str, but got {type(ckpt_path).__name__}.")
        if ckpt_path:
            parameters = {parameter.name: parameter for parameter in net_opt.get_parameters()}
            values = read_checkpoint(name, parameters, ckpt_path)
            for key, parameter in parameters.items():
                parameter.set_data(Tensor(values[key], parameter.dtype))
        return net_opt

    def callbacks(self, *args: Any, checkpoint: Optional[PathLike] = None, every: int = 100, **kwargs: Any
                  ) -> List[Callback]:
        """
        Callbacks for `Model.train`: they refuse to train another network than the one that `apply` returned, call
        `after_step`, and export a MindIR at the end where that is set. Other arguments are a subclass's.

        Args:
            checkpoint (Union[str, os.PathLike]): Where the state of the training is kept while it goes on, a file
                ending in ``.ckpt`` or ``.safetensors``. A script that calls :func:`golden_stick.load_state` for it
                before it trains goes on where it was interrupted. Default: ``None``, nothing is written.
            every (int): After how many batches it is written anew; at the end it always is. Default: 100.

        Returns:
            list[Callback].

        Raises:
            ArgumentTypeError: If `checkpoint` is no path, or `every` no whole number.
            ArgumentError: If `every` is less than 1.
        """
        return [self.main_callback(), *([] if checkpoint is None else [_StateCallback(self, checkpoint, every)])]

    def main_callback(self) -> Callback:
        """What ties the algorithm to a training; for a subclass that has another one."""
        if self._save_mindir:
            return ExportMindIRCallBack(self, self._save_mindir_path)
        return AlgorithmCallback(self)

    def after_step(self) -> None:  # noqa: B027, most algorithms need nothing here
        """What must follow an optimizer step. `callbacks` sees to it; a loop of one's own calls it after each step."""

    def before_training(self, steps: int) -> None:  # noqa: B027, most algorithms need nothing here
        """Told by `callbacks` how many steps a training is going to have."""

    def loss(self, loss_fn: Callable) -> Callable:
        """The loss to train the applied network with: the user's own, unless a subclass says otherwise."""
        return loss_fn

    def summary(self, network: nn.Cell) -> str:
        """
        A text about a network and what was done to it.

        Args:
            network (nn.Cell): The network before or after any step.

        Returns:
            str, several lines.

        Raises:
            ArgumentTypeError: If `network` is not a Cell.
        """
        if not isinstance(network, nn.Cell):
            raise ArgumentTypeError(f"For '{type(self).__name__}', 'network' must be a Cell, but got "
                                    f"{type(network).__name__}.")
        total, trained = (parameters_in({item.name: item.shape for item in items})
                          for items in (network.get_parameters(), network.trainable_params()))
        head = f"{type(network).__name__}: {total:,} parameters, {trained:,} of them trained"
        return head if self._report is None else f"{head}\n{self._report}"

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration, defaults included, as reports write it down."""
        return dict(self.settings)

    @property
    def report(self) -> object:
        """
        What was done, after `apply` and after `convert`. A subclass sets it to anything whose `str` says so.

        Raises:
            StateError: Before `apply`.
        """
        if self._report is None:
            raise StateError(f"For '{type(self).__name__}', 'apply' must be called before 'report', but it was not.")
        return self._report

    @report.setter
    def report(self, report: object) -> None:
        """Set it."""
        self._report = report

    @property
    def is_applied(self) -> bool:
        """Whether `apply` was called."""
        return self._applied is not None

    @property
    def applied(self) -> Applied:
        """
        The network that `apply` returned, and its inputs. A subclass sets it, once.

        Raises:
            StateError: Before `apply`.
        """
        if self._applied is None:
            raise StateError(f"For '{type(self).__name__}', 'apply' must be called first, but it was not.")
        return self._applied

    @applied.setter
    def applied(self, applied: Applied) -> None:
        """Set it."""
        self.refuse_second_apply()
        self._applied = applied

    def refuse_second_apply(self) -> None:
        """
        For a subclass's `apply` that has long to work: refuse at its beginning what `applied` would refuse at its end.

        Raises:
            StateError: If `apply` was called before.
        """
        if self._applied is not None:
            name = type(self).__name__
            raise StateError(f"For '{name}', 'apply' must be called once, but it was called before: make a new {name}.")

    def refuse_other_network(self, net_opt: nn.Cell) -> None:
        """
        For a subclass's `convert`: refuse what is not the network that `apply` returned.

        Raises:
            ArgumentTypeError: If `net_opt` is not a Cell.
            StateError: If `apply` was not called, or returned another one.
        """
        name = type(self).__name__
        self._refuse_no_cell(net_opt)
        if self._applied is None:
            raise StateError(f"For '{name}', 'apply' must be called before 'convert', but it was not.")
        if net_opt is not self._applied.network:
            raise StateError(f"For '{name}', 'net_opt' must be the network that 'apply' returned, but got another one.")

    def _refuse_no_cell(self, net_opt: Any) -> None:
        if not isinstance(net_opt, nn.Cell):
            raise ArgumentTypeError(f"For '{type(self).__name__}', 'net_opt' must be a Cell, but got "
                                    f"{type(net_opt).__name__}.")

    def set_save_mindir(self, save_mindir: bool) -> None:
        """
        Whether training with `callbacks` ends with the converted network exported to MindIR.

        Raises:
            ArgumentTypeError: If `save_mindir` is not a bool.
        """
        check_value(type(self).__name__, "save_mindir", save_mindir, Switch())
        self._save_mindir = save_mindir

    def set_save_mindir_path(self, save_mindir_path: str) -> None:
        """
        Where that MindIR is written; the ending ``.mindir`` is added if it is missing.

        Raises:
            ArgumentError: If `save_mindir_path` is not a path.
        """
        check_value(type(self).__name__, "save_mindir_path", save_mindir_path, Path())
        self._save_mindir_path = os.path.realpath(save_mindir_path)

    def finish_training(self, network: Optional[nn.Cell] = None, data: Any = None) -> Optional[str]:
        """
        What must follow the last step: convert and export, where `set_save_mindir` asked for it.

        Args:
            network (nn.Cell): What was trained, for an algorithm whose `apply` leaves no record. Default: ``None``.
            data (Iterable): Batches, the network's inputs first, for one that was not told of inputs.
                Default: ``None``.

        Returns:
            str, the path of the MindIR, or None.

        Raises:
            StateError: If `apply` was not called.
        """
        if not self._save_mindir:
            return None
        applied = self.applied if self.is_applied or network is None else Applied(network, None)
        with unwarned_of_optimizers():
            made = self.convert(applied.network)
        inputs = applied.inputs
        if inputs is None and data is not None:
            wanted = inspect.signature(made.construct).parameters.values()
            count = sum(item.default is item.empty and item.kind is item.POSITIONAL_OR_KEYWORD for item in wanted)
            inputs = next(leading_inputs(type(self).__name__, data, max(count, 1)))
        return export(made, inputs, self._save_mindir_path, file_format="MINDIR")


def _accepted(kind: Any) -> Type[CompAlgo]:
    if not (isinstance(kind, type) and issubclass(kind, CompAlgo)):
        raise ArgumentTypeError(f"For 'add_algorithm', 'kind' must be a subclass of CompAlgo, but got {kind!r}.")
    return kind


#: The algorithms that the command line and `compare` know by name.
ALGORITHMS: Registry[Type[CompAlgo]] = Registry("algorithm", "golden_stick.algorithms", {}, _accepted)


def add_algorithm(name: str, kind: Type[CompAlgo]) -> None:
    """
    Make an algorithm known under a name to the command line and :func:`golden_stick.compare`.

    An installed package does so by an entry point in the group ``golden_stick.algorithms`` as well.

    Args:
        name (str): Its name; one that is taken is refused.
        kind (type): A subclass of :class:`golden_stick.CompAlgo`.

    Raises:
        ArgumentTypeError: If `name` is not a str, or `kind` no such class.
        ArgumentError: If `name` is taken.
    """
    ALGORITHMS.add("add_algorithm", name, kind)


class AlgorithmCallback(Callback):
    """Ties an algorithm to `Model.train` and `Model.fit`."""

    def __init__(self, algorithm: CompAlgo):
        super().__init__()
        self._algorithm = algorithm

    def on_train_begin(self, run_context: Any) -> None:
        told = run_context.original_args()
        if self._algorithm.is_applied:
            _refuse_others(type(self._algorithm).__name__, self._algorithm.applied.network, told)
        self._algorithm.before_training(told.epoch_num * told.batch_num - _seen(told) % told.batch_num)

    def on_train_step_end(self, run_context: Any) -> None:
        self._algorithm.after_step()

    def on_train_end(self, run_context: Any) -> None:
        self._algorithm.after_step()
        told = run_context.original_args()
        self._algorithm.finish_training(told.get("network"), told.get("train_dataset"))


def _seen(told: Mapping[str, Any]) -> int:
    """How many batches a training that goes on leaves out, by what its data set was told."""
    return getattr(told.get("train_dataset"), "get_init_step", int)()


class _StateCallback(Callback):
    """Keeps the state of a training in a file; one that is there must be where the training begins."""

    def __init__(self, algorithm: CompAlgo, path: PathLike, every: int):
        super().__init__()
        self._owner = type(algorithm).__name__
        check_value(self._owner, "every", every, Whole(1))
        self._path, self._every, self._begun, self._written = path_of(self._owner, path), every, 0, 0

    def on_train_begin(self, run_context: Any) -> None:
        told = run_context.original_args()
        self._begun = self._written = _seen(told)
        if os.path.exists(self._path):
            why = difference_of_state(self._owner, self._path, told.network, told.train_network, self._begun)
            if why:
                raise StateError(f"For '{self._owner}', a training must go on where '{self._path}' stands, but {why}: "
                                 f"call step = gs.load_state(path, network, optimizer) and data.set_init_step(step) "
                                 f"before, or delete the file to begin anew.")

    def on_train_step_end(self, run_context: Any) -> None:
        told = run_context.original_args()
        if (self._begun + told.cur_step_num) // self._every > self._written // self._every:
            self._write(told)

    def on_train_end(self, run_context: Any) -> None:
        self._write(run_context.original_args())

    def _write(self, told: Any) -> None:
        self._written = self._begun + told.cur_step_num
        save_state(self._path, told.network, told.train_network, self._written)


class ExportMindIRCallBack(AlgorithmCallback):
    """
    As `callbacks` of an algorithm, and exports a MindIR at the end of training.

    Args:
        algo (CompAlgo): The algorithm, applied to the network that is trained.
        save_mindir_path (str): Where the MindIR is written; the ending ``.mindir`` is added if it is missing.

    Raises:
        ArgumentError: If `save_mindir_path` is not a path.
    """

    def __init__(self, algo: CompAlgo, save_mindir_path: str):
        super().__init__(algo)
        algo.set_save_mindir(True)
        algo.set_save_mindir_path(save_mindir_path)


def _refuse_others(owner: str, network: nn.Cell, told: Mapping[str, Any]) -> None:
    """Refuse to train another network, or with an optimizer of another one: `apply` does not change its argument."""
    own = {id(parameter) for parameter in network.get_parameters()}
    parts = {"network": told.get("train_network"), "optimizer": told.get("optimizer")}
    for name, part in parts.items():
        held = part.get_parameters() if name == "network" and part else getattr(part, "parameters", ())
        if part is not None and own and own.isdisjoint(map(id, held)):
            raise StateError(f"For '{owner}', the {name} in training must be of the network that 'apply' returned, but "
                             f"is of another: 'apply' leaves its argument as it is. Write network = algorithm.apply("
                             f"network), and after that make the optimizer, of network.trainable_params().")


def check_network(owner: str, network: Any) -> None:
    """Refuse, for the caller `owner`, what no algorithm can be applied to: the result of an `apply`, NaN, and networks
    that differ from one process to the next."""
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For '{owner}', 'network' must be a Cell, but got {type(network).__name__}.")
    if any(isinstance(cell, TemporaryCell) for _, cell in network.cells_and_names()):
        raise StateError(f"For '{owner}', 'network' must be a plain network, but got one that 'apply' returned: train "
                         f"it, if its algorithm asks for that, and prune on from what 'convert' gives.")
    refuse_apart(owner, "'network'", ((item.name, numbers_in(item)) for item in network.get_parameters()),
                 "load the same checkpoint in each")
    for name in nan_parameters(network):
        raise ArgumentError(f"For '{owner}', the parameters of 'network' must be numbers, but '{name}' holds NaN: load "
                            f"a checkpoint from before the training diverged.")


def refuse_apart(owner: str, name: str, parts: Iterable[Tuple[str, np.ndarray]], remedy: str) -> None:
    """`refuse_differing`, where processes have met: what one does alone leads through nothing of several."""
    if GlobalComm.INITED:
        refuse_differing(owner, name, parts, remedy)


def refuse_trained_apart(owner: str, values: Mapping[str, np.ndarray]) -> None:
    """Refuse what was trained, its values by name, where processes have come to different ones."""
    refuse_apart(owner, "'net_opt'", values.items(), "have gradients averaged in training, by "
                 "ParallelMode.DATA_PARALLEL or nn.DistributedGradReducer, and after it the statistics of "
                 "normalizations that learn")


def warn_of_optimizers(owner: str, parameters: Iterable[Parameter]) -> None:
    """
    Warn of optimizers at hand where `owner` was called that were made for these parameters of a network that has just
    been made slim. Nothing else would tell: gradients of parameters that a network does not have are zeros.
    """
    wanted = {id(parameter) for parameter in parameters}
    for name in sorted({type(one).__name__ for one in _optimizers_at_hand(sys._getframe(1))
                        if wanted & set(map(id, getattr(one, "parameters", ())))}):
        warnings.warn(f"For '{owner}', the slim network must be trained by an optimizer of its own: the '{name}' that "
                      f"was made before trains the larger one still, and would run on without an error. Make a new one "
                      f"of slim.trainable_params(), or go on with gs.slim_optimizer(optimizer, network, slim).",
                      stacklevel=level_of_user())


def _optimizers_at_hand(frame: Optional[FrameType]) -> Iterator[object]:
    """
    Those in variables of the calling functions and one attribute deep, as a `Model` or a trainer has its own. Being
    alive says nothing: MindSpore keeps the optimizer of every training step that it has compiled.
    """
    while frame is not None:
        for value in list(frame.f_locals.values()):
            parts = value.cells() if isinstance(value, nn.Cell) else getattr(value, "__dict__", {}).values()
            yield from (item for item in (value, *parts) if isinstance(item, (nn.Optimizer, Optimizer)))
        frame = frame.f_back


@contextmanager
def unwarned_of_optimizers() -> Iterator[None]:
    """Where what `convert` gives is not trained, or whoever trains it is told otherwise."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*must be trained by an optimizer of its own")
        yield
