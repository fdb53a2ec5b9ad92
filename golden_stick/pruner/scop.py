"""
SCOP in two algorithms, as scripts of MindSpore Golden Stick have it, a knockoff phase and fine-tuning; and what its
checkpoints of both hold.
"""
import warnings
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np
from mindspore import nn

from golden_stick.base.config import Interval, Option, Switch, check_value, level_of_user, with_options
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, StateError
from golden_stick.cells.slim import recipe_of
from golden_stick.comp_algo import Applied, CompAlgo, unwarned_of_optimizers
from golden_stick.graph.plan import PruningPlan
from golden_stick.prune.budget import BUDGETS, PruningTask, Selection
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.plan import Widths, caps_of, group_importance, plan_of_counts
from golden_stick.prune.pruner import Pruner
from golden_stick.scop.pruner import SCOP
from golden_stick.scop.scales import SCALE_INIT

__all__ = ["Migrated", "PrunerFtCompressAlgo", "PrunerKfCompressAlgo"]


class PrunerKfCompressAlgo(SCOP):
    """
    The first phase: :class:`golden_stick.SCOP` whose budget the second phase names.

    Its keys are those of `SCOP`. By default all layers mix at once (``"mixing": "joint"``), as in scripts that were
    written for MindSpore Golden Stick, so that a phase may be as short as it likes, and the score is theirs (``"score":
    "gamma"``); ``"blocks"`` and ``"fisher"`` are better where there are steps enough. `apply` returns a new network,
    and leaves its argument as it is.

    Args:
        config (dict): Keys of :class:`golden_stick.SCOP`. Default: ``None``, all defaults.

    Raises:
        ArgumentTypeError: If `config` is not a dict, or a value is of another type.
        ArgumentError: If a key is unknown, or a value out of range.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import mindspore as ms
        >>> import numpy as np
        >>> from golden_stick.pruner import PrunerFtCompressAlgo, PrunerKfCompressAlgo
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(),
        ...                         nn.Dense(4096, 2))
        >>> images = np.random.rand(8, 3, 32, 32).astype(np.float32)
        >>> data = ms.dataset.NumpySlicesDataset((images, np.arange(8, dtype=np.int32) % 2)).batch(4)
        >>> knockoff = PrunerKfCompressAlgo({})
        >>> net = knockoff.apply(net)
        >>> optimizer = nn.Momentum(filter(lambda p: p.requires_grad, net.get_parameters()), 0.1, 0.9)
        >>> ms.Model(net, nn.CrossEntropyLoss(), optimizer).train(2, data, callbacks=knockoff.callbacks())
        >>> net = PrunerFtCompressAlgo({"prune_rate": 0.5}).apply(net)
        >>> print(net[0].weight.shape)
        (4, 3, 3, 3)
    """

    options = {**SCOP.options, "prune_rate": replace(SCOP.options["prune_rate"], default=0.0),
               "mixing": replace(SCOP.options["mixing"], default="joint"),
               "score": replace(SCOP.options["score"], default="gamma")}

    def apply(self, network: nn.Cell, inputs: Any = None) -> nn.Cell:
        """The network of the knockoff phase; all else as :meth:`golden_stick.SCOP.apply`."""
        applied = super().apply(network, inputs)
        self.inputs = inputs  # as they were given
        applied.knockoff_phase = self  # for the second phase: scripts hand on nothing but the network
        return applied

    def __deepcopy__(self, memo: Any) -> "PrunerKfCompressAlgo":
        """Copies of the network are of the same phase."""
        return self

    def slim_network(self, network: nn.Cell, prune_rate: float) -> nn.Cell:
        """
        What is left of the network at a rate, by the scales as they are.

        Raises:
            ArgumentError: If there is another budget in the configuration.
        """
        target = next((key for key in BUDGETS[1:] if self.settings[key] is not None), None)
        if target and prune_rate:
            raise ArgumentError(f"For 'PrunerFtCompressAlgo', 'prune_rate' must stand without '{target}' of the first "
                                f"phase, but got {prune_rate}.")
        if not target:
            budget = {"prune_rate": prune_rate or self.settings["prune_rate"]}
            self.settings = {**self.settings, **budget}
            task = self.applied.task
            self._applied = replace(self.applied, task=replace(task, config={**task.config, **budget}))
        return self.convert(network)

    def _check_trained(self, values: Mapping[str, np.ndarray]) -> None:
        if any((scale != SCALE_INIT).any() for scale in self._scales(values).values()):
            super()._check_trained(values)
        else:
            warnings.warn("For 'PrunerFtCompressAlgo', the scales of the network must be trained to say which filters "
                          "go, but all of them are as they began: the last ones of each layer go. That is right only "
                          "for a network that a checkpoint of the second phase is going to fill.",
                          stacklevel=level_of_user())


@dataclass(frozen=True)
class _Float(Interval):
    """As an `Interval`, of floats alone: 1 for a rate is refused as a mistake for 100 %."""

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        return super().check(value) if isinstance(value, float) else "type"

    def __str__(self) -> str:
        return super().__str__().replace("number", "float")


@with_options
class PrunerFtCompressAlgo(CompAlgo):
    """
    The second phase: `apply` takes the network of the first, and returns the one to fine-tune.

    That is the slim network, smaller and checked against the masked one; `convert` has nothing left to do. With
    ``"masked": True`` it is the masked one, of the original's size, and `convert` makes the slim one of it.

    Args:
        config (dict): Keys, besides `save_mindir` and `save_mindir_path`:

            {options}

    Raises:
        ArgumentTypeError: If `config` is not a dict, or a value is of another type: the rate is a float.
        ArgumentError: If a key is unknown, or a value out of range.

    Supported Platforms:
        ``CPU``
    """

    options = {"prune_rate": Option(0.0, _Float(0.0, 1.0), "fraction of each group's removable channels to remove, a "
                                    "float in [0, 1); 0.0: what the configuration of the first phase says"),
               "masked": Option(False, Switch(), "whether the masked network is fine-tuned instead of the slim one")}

    def set_prune_rate(self, prune_rate: float) -> None:
        """Another rate, before `apply`: a float in [0, 1)."""
        check_value(type(self).__name__, "prune_rate", prune_rate, self.options["prune_rate"].constraint)
        self.settings = {**self.settings, "prune_rate": prune_rate}

    @property
    def _config(self) -> SimpleNamespace:
        """Under the name that scripts of MindSpore Golden Stick read."""
        return SimpleNamespace(**self.settings)

    def apply(self, network: nn.Cell) -> nn.Cell:
        """
        The network to fine-tune, in place of the knockoff phase's.

        Args:
            network (nn.Cell): What `apply` of :class:`golden_stick.pruner.PrunerKfCompressAlgo` returned, trained. Its
                weights are those of the network that it was made from.

        Returns:
            nn.Cell, slim or masked.

        Raises:
            ArgumentTypeError: If `network` is not a Cell.
            StateError: If it is not the network of a knockoff phase, or `apply` was called before.
        """
        name = type(self).__name__
        self.refuse_second_apply()
        if not isinstance(network, nn.Cell):
            raise ArgumentTypeError(f"For '{name}', 'network' must be a Cell, but got {type(network).__name__}.")
        phase = getattr(network, "knockoff_phase", None)
        if not isinstance(phase, PrunerKfCompressAlgo):
            raise StateError(f"For '{name}', 'network' must be what 'apply' of PrunerKfCompressAlgo returned, but got "
                             f"another {type(network).__name__}: write network = algorithm.apply(network) in the first "
                             f"phase, which leaves its argument as it is.")
        with unwarned_of_optimizers():
            made = phase.slim_network(network, self.settings["prune_rate"])
        self.report = phase.report
        if self.settings["masked"]:
            self._masked = OneShot({key: value for key, value in phase.settings.items()
                                    if value is not None and key in OneShot.options and key not in BUDGETS})
            made = self._masked.apply(phase.applied.task.network, phase.applied.inputs, plan=recipe_of(made).steps[-1])
        network.over = (f"For '{name}', the network in training must be the one that 'apply' returned, but it is the "
                        f"knockoff phase's, which is over: write network = algorithm.apply(network).")
        self.applied = Applied(made, phase.inputs)
        return made

    def convert(self, net_opt: nn.Cell, ckpt_path: str = "") -> nn.Cell:
        """
        The slim network: `net_opt`, or made of it where that is masked; of a checkpoint of it, if there is one.

        Raises:
            StateError: If the masked network is to be converted, and `apply` was not called.
        """
        if not self.settings["masked"]:
            return super().convert(net_opt, ckpt_path)
        if not self.is_applied:
            raise StateError(f"For '{type(self).__name__}', 'apply' must be called before 'convert', but it was not.")
        slim = self._masked.convert(net_opt, ckpt_path)
        self.report = self._masked.report
        return slim


_SCALE, _KEPT = ".kfscale", ".out_index"


class Migrated(Pruner):
    """
    A pruner by a checkpoint of MindSpore Golden Stick's SCOP. Of a knockoff phase, ``|gamma| * (2 * scale - 1)`` scores
    the filters, and the configuration says how many go; of fine-tuning, just those go that its masks took out, so that
    a sum keeps its width (``"residual": "scatter"``). Layers of which it says nothing stay, unless they share channels
    with others.
    """

    def __init__(self, config: Optional[Mapping[str, Any]], values: Mapping[str, np.ndarray]):
        #: Whether it is of fine-tuning, and not of a knockoff phase.
        self.tuned = any(name.endswith(_KEPT) for name in values)
        super().__init__({**({"residual": "scatter"} if self.tuned else {}), **(config or {})})
        self._values = dict(values)
        self._marks: Dict[str, np.ndarray] = {}  # weight of a convolution -> its scales, or the filters that it keeps
        self._gammas: Dict[str, np.ndarray] = {}

    def translate(self, network: nn.Cell) -> Mapping[str, np.ndarray]:
        """
        The values by the names of the network that the algorithm was applied to.

        Raises:
            CheckpointError: If there are scales or masks of layers that the network has not.
        """
        for conv, normalization, prefixes in _wrapped(network):
            mark, prefix = next((pair for pair in zip((_SCALE, _KEPT), prefixes)
                                 if pair[1] + pair[0] in self._values), ("", ""))
            if mark:
                self._marks[conv.weight.name] = self._values.pop(prefix + mark).reshape(-1)
                for part, cell in (("conv.", conv), ("bn.", normalization)):
                    for name, parameter in cell.parameters_and_names():
                        if prefix + part + name in self._values:
                            self._values[parameter.name] = self._values.pop(prefix + part + name)
                self._gammas[conv.weight.name] = self._values[normalization.gamma.name]
        left = [name for name in self._values if name.endswith((_SCALE, _KEPT))]
        if left:
            raise CheckpointError(f"For '{type(self).__name__}', the checkpoint must be of a phase of the network, but "
                                  f"holds '{left[0]}', for which the network has no convolution with a batch "
                                  f"normalization as its next child.")
        return self._values

    def score_filters(self, task: PruningTask) -> Dict[str, np.ndarray]:
        """By weights of convolutions: scores by their scales; or 1 for what is kept, and 0 for the rest."""
        scores = {}
        for name in task.filters.keys() & self._marks.keys():
            gamma, mark = np.abs(self._gammas[name].astype(np.float64)), self._marks[name]
            scores[name] = (np.isin(np.arange(len(gamma)), mark).astype(np.float64) if self.tuned
                            else gamma * (2.0 * mark - 1.0))
        return scores

    def prepare(self, task: PruningTask) -> Tuple[nn.Cell, Selection]:
        """As every pruner; where filters are known, by the plan that takes them out."""
        return super().prepare(replace(task, plan=self._plan(task)) if self.tuned else task)

    def _plan(self, task: PruningTask) -> PruningPlan:
        scores = self.score_filters(task)
        votes = {group.name: group_importance(group, scores, "max", "none") for group in task.grouping}
        importance = {name: vote for name, vote in votes.items() if vote is not None}
        plan = plan_of_counts(task.grouping, importance, {name: int((vote <= 0).sum()) for name, vote in
                                                          importance.items()}, caps_of(task.grouping, 1.0), Widths())
        kept = {(axis.parameter, axis.axis): axis.kept for axis in plan.axes}
        for name, item in task.filters.items():
            every = np.arange(len(item.channels))
            if kept.get((name, item.axis), tuple(every)) != tuple(np.intersect1d(every, self._marks.get(name, every))):
                raise CheckpointError(f"For '{type(self).__name__}', just the filters must go that the masks took out, "
                                      f"but those of '{name}' share channels with others that stay: set 'residual' to "
                                      f"'scatter', or take the checkpoint of the first phase.")
        return plan


def _wrapped(network: nn.Cell) -> Iterator[Tuple[nn.Conv2d, nn.Cell, Tuple[str, str]]]:
    """
    Each convolution whose next child is a normalization, and the prefixes that its parameters have in both phases: made
    by `str.strip` with the name of a parameter, which takes its letters off both ends.
    """
    for _, parent in network.cells_and_names():
        children = list(parent._cells.values())
        for conv, after in zip(children, children[1:]):
            if isinstance(conv, nn.Conv2d) and isinstance(after, (nn.BatchNorm2d, nn.SyncBatchNorm)):
                last = "weight" if conv.bias is None else "bias"
                first = conv.weight.name[:-len("weight")]
                first = f"{first}{last}".strip(last)
                yield conv, after, (first, f"{first}bn.beta".strip("beta"))
