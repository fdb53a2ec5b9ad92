"""`CompAlgo`: what every compression algorithm looks like from a training script."""
import os
from abc import ABC, abstractmethod
from typing import Any, Callable, List, Mapping, Optional

from mindspore import nn
from mindspore.train import Callback

from golden_stick.base.config import Option, check_config
from golden_stick.base.errors import ArgumentTypeError, StateError
from golden_stick.deploy.exporters import export

__all__ = ["CompAlgo"]


class CompAlgo(ABC):
    """
    Base of the compression algorithms: `apply` to a network, train with `callbacks`, `convert`.

    A subclass says which configuration keys it has (`options`), and what `apply` and `convert` do; `after_step` and
    `loss` only if it needs them.

    Args:
        config (dict): Configuration; the subclass documents the keys. Default: ``None``, all defaults.

    Raises:
        ArgumentTypeError: If `config` is not a dict, or a value is of another type.
        ArgumentError: If a key is unknown, or a value out of range.

    Supported Platforms:
        ``CPU``
    """

    options: Mapping[str, Option] = {}

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        self._config = check_config(type(self).__name__, config, self.options)
        self._save_mindir = False
        self._save_mindir_path = f"./{type(self).__name__.lower()}"
        self._report: Any = None

    @abstractmethod
    def apply(self, network: nn.Cell, inputs: Any = None) -> nn.Cell:
        """
        The network to train.

        Args:
            network (nn.Cell): The network to compress. It is not changed.
            inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only
                argument. Default: ``None``, it is found out where possible.

        Returns:
            nn.Cell, a new network.
        """

    @abstractmethod
    def convert(self, net_opt: nn.Cell, ckpt_path: str = "") -> nn.Cell:
        """
        The compressed network.

        Args:
            net_opt (nn.Cell): The network that `apply` returned, trained.
            ckpt_path (str): A checkpoint of it to load first. Default: ``""``, none.

        Returns:
            nn.Cell, a new network that needs nothing of golden_stick to train, save and export.
        """

    def callbacks(self) -> List[Callback]:
        """Callbacks for `Model.train`: they call `after_step`, and export a MindIR at the end where that is set."""
        return [_AlgorithmCallback(self)]

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
            raise ArgumentTypeError(
                f"For '{type(self).__name__}', 'network' must be a Cell, but got {type(network).__name__}."
            )
        total = sum(parameter.size for parameter in network.get_parameters())
        trainable = sum(parameter.size for parameter in network.trainable_params())
        head = f"{type(network).__name__}: {total:,} numbers in parameters, {trainable:,} of them trained"
        return head if self._report is None else f"{head}\n{self._report}"

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration, defaults included."""
        return dict(self._config)

    @property
    def report(self) -> Any:
        """
        What was done, after `apply` and after `convert`.

        Raises:
            StateError: Before `apply`.
        """
        if self._report is None:
            raise StateError(f"For '{type(self).__name__}', 'apply' must be called before 'report', but it was not.")
        return self._report

    def set_save_mindir(self, save_mindir: bool) -> None:
        """
        Whether training with `callbacks` ends with the converted network exported to MindIR.

        Raises:
            ArgumentTypeError: If `save_mindir` is not a bool.
        """
        if not isinstance(save_mindir, bool):
            raise ArgumentTypeError(
                f"For '{type(self).__name__}', 'save_mindir' must be a bool, but got {type(save_mindir).__name__}."
            )
        self._save_mindir = save_mindir

    def set_save_mindir_path(self, save_mindir_path: str) -> None:
        """
        Where that MindIR is written; the ending ``.mindir`` is added if it is missing.

        Raises:
            ArgumentTypeError: If `save_mindir_path` is not a str.
        """
        if not isinstance(save_mindir_path, str) or not save_mindir_path:
            raise ArgumentTypeError(
                f"For '{type(self).__name__}', 'save_mindir_path' must be a non-empty str, "
                f"but got {save_mindir_path!r}."
            )
        self._save_mindir_path = os.path.realpath(save_mindir_path)

    def finish_training(self) -> Optional[str]:
        """
        What must follow the last step: convert and export, where `set_save_mindir` asked for it.

        Returns:
            str, the path of the MindIR, or None.

        Raises:
            StateError: If `apply` was not called.
        """
        if not self._save_mindir:
            return None
        network, inputs = self._applied()
        return export(self.convert(network), inputs, self._save_mindir_path, file_format="MINDIR")

    def _control(self) -> Mapping[str, Any]:
        """What the report says of a scientific control; empty where there was none."""
        return {}

    @abstractmethod
    def _applied(self) -> Any:
        """The network that `apply` returned and the inputs it was traced with; StateError before `apply`."""


class _AlgorithmCallback(Callback):
    """Ties an algorithm to `Model.train` and `Model.fit`."""

    def __init__(self, algorithm: CompAlgo):
        super().__init__()
        self._algorithm = algorithm

    def on_train_begin(self, run_context):
        told = run_context.original_args()
        self._algorithm.before_training(told.epoch_num * told.batch_num)

    def on_train_step_end(self, run_context):
        self._algorithm.after_step()

    def on_train_end(self, run_context):
        self._algorithm.after_step()
        self._algorithm.finish_training()
