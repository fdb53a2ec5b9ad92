"""`Unstructured`: single weights become zero, and no shape changes. Smaller files, the same MACs."""
import fnmatch
import math
from dataclasses import asdict, dataclass
from typing import Any, Callable, Collection, Dict, Hashable, List, Mapping, Optional, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.config import in_own_name, with_options
from golden_stick.base.display import table
from golden_stick.base.errors import ArgumentError, CheckpointError, NothingToPruneError, VerifyError
from golden_stick.base.inputs import as_tensors, describe
from golden_stick.cells.slim import Verification, refuse_faulty, remember, verify
from golden_stick.cells.trace import find_inputs
from golden_stick.cells.wrappers import (
    OriginalNames,
    copy_network,
    evaluate,
    mask_weights,
    numbers_in,
    record_of,
    set_zeros,
    unmask_weights,
)
from golden_stick.comp_algo import Applied, CompAlgo, add_algorithm, check_network, refuse_trained_apart
from golden_stick.criteria.statistics import mean_gradients
from golden_stick.deploy.slim_file import SparseWeight, Sparsity
from golden_stick.graph.layers import GROUPS, TRANSPOSED, Layer
from golden_stick.graph.plan import first_three
from golden_stick.prune.options import UNSTRUCTURED_OPTIONS
from golden_stick.prune.plan import refuse_unfitting, rounded_down

__all__ = ["Unstructured", "UnstructuredReport"]


@dataclass(frozen=True)
class _Weight:
    """A weight that may become sparse, in the Cell at `path`."""

    path: str
    values: np.ndarray
    axis: int  # of the inputs
    inputs: int  # that a filter reads


@dataclass(frozen=True, eq=False)
class _AppliedMasks(Applied):
    """What `apply` leaves for `convert`."""

    original: nn.Cell
    names: OriginalNames  # of the parameters of `network`
    masks: Mapping[str, np.ndarray]  # by the names of weights; False where a number is zero


@dataclass(frozen=True)
class UnstructuredReport:
    """
    What `Unstructured` did.

    Args:
        algorithm (str): Its name.
        config (Mapping): Its configuration, defaults included.
        step (str): ``'apply'`` or ``'convert'``.
        inputs (str): Shapes of the inputs.
        sparsity (Sparsity): The weights that were to become sparse, in their order.
        dense (Mapping): Name of any other parameter of two or more dimensions -> why none of its numbers became zero.
        largest_difference (float): Between the outputs of the masked network and the converted one; None before
            `convert`.
        output_scale (float): Largest output of the masked network; None before `convert`.
    """

    algorithm: str
    config: Mapping[str, Any]
    step: str
    inputs: str
    sparsity: Sparsity
    dense: Mapping[str, str]
    largest_difference: Optional[float] = None
    output_scale: Optional[float] = None

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {**asdict(self), "config": dict(self.config), "dense": dict(self.dense), "sparsity": {
            **self.sparsity.to_dict(), "size": self.sparsity.size, "zeros": self.sparsity.zeros}}

    def __str__(self) -> str:
        whole = self.sparsity
        lines = [f"{self.algorithm} after '{self.step}': {whole.zeros:,} of {whole.size:,} weights are zero "
                 f"({whole.zeros / whole.size:.4f})",
                 "shapes and MACs are as they were: files shrink, and what does not skip zeros takes as long as before"]
        if self.largest_difference is not None:
            lines.append(f"largest difference between masked and converted outputs: {self.largest_difference:.3g} "
                         f"(largest output {self.output_scale:.3g})")
        chosen = {key: value for key, value in self.config.items()
                  if value is not None and value != UNSTRUCTURED_OPTIONS[key].default}
        lines.append(f"inputs {self.inputs}, config {chosen}" + ("" if chosen else ", all defaults"))
        lines.append(table(("parameter", "zeros", "of", "", ""), (
            (item.parameter, f"{item.zeros:,}", f"{item.size:,}", f"{item.zeros / item.size:.4f}",
             "NOTHING is left" if item.zeros == item.size else "") for item in whole.weights), words=(0, 4)))
        return "\n".join(lines + [f"stays as it is: {name}: {reason}" for name, reason in self.dense.items()])


@with_options
class Unstructured(CompAlgo):
    """
    Pruning of single weights: those that matter least become zero, and every shape stays.

    `apply` returns a masked copy. Train it as any network, with any optimizer: what is zero stays zero, as the weight
    is multiplied by its mask before it is read, and needs no callback. `convert` gives a plain Cell of the original's
    class with zeros in its weights, and :func:`golden_stick.save_slim` stores what is not zero. Trained on without
    the masks, zeros would fill: fine-tune before `convert`.

    Files become smaller, but a processor that multiplies by zeros takes as long: see docs/granularities.md.

    The weights are those of convolutions and dense layers, of `nn`, `mint.nn` and :func:`golden_stick.add_layer`. The
    report names what else stays as it is.

    Args:
        config (dict): Keys:

            {options}

    Raises:
        ArgumentTypeError: If `config` is not a dict, or a value is of another type.
        ArgumentError: If a key is unknown, a value out of range, or both a rate and a pattern N:M are given.

    Supported Platforms:
        ``CPU``

    Note:
        Automatic mixed precision of the level O1 writes the code of a network anew, and fails on a masked one. Levels
        O2 and O3 may follow `apply`.

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> algo = gs.Unstructured({"prune_rate": 0.75})
        >>> masked = algo.apply(net, inputs=(1, 4, 16, 16))
        >>> sparse = algo.convert(masked)
        >>> print(type(sparse[0]).__name__, int((sparse[0].weight.asnumpy() == 0).sum()), sparse[0].weight.size)
        Conv2d 216 288
    """

    options = UNSTRUCTURED_OPTIONS
    tunes_applied = True
    applied: _AppliedMasks
    report: UnstructuredReport

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        super().__init__(config)
        given, name = config or {}, type(self).__name__
        if self.settings["n_of_m"] is None:
            return
        if given.get("prune_rate") is not None or self.settings["ranking"] != "local":
            raise ArgumentError(f"For '{name}', 'n_of_m' must stand without 'prune_rate' and with the ranking 'local', "
                                f"as it says itself how many weights stay, and of which, but got {dict(given)}.")
        self.settings = {**self.settings, "prune_rate": None}

    @property
    def takes_data(self) -> bool:
        """Whether weights matter by gradients, so that `apply` takes `data` and `loss`."""
        return self.settings["saliency"] == "gradient"

    @in_own_name
    def apply(self, network: nn.Cell, inputs: Any = None, data: Any = None, loss: Optional[Callable] = None) -> nn.Cell:
        """
        The masked network, made from a copy: `network` itself is not changed.

        Args:
            network (nn.Cell): The trained network.
            inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only
                argument. Default: ``None``, it is found out where possible.
            data (Iterable): For the saliency ``'gradient'``: batches of the network's inputs and then what `loss` takes
                besides. Training data, not test data. Default: ``None``.
            loss (Callable): For ``'gradient'``: takes the network's output and the rest of a batch. Default: ``None``.

        Returns:
            nn.Cell.

        Raises:
            ArgumentTypeError: If `network` is not a Cell, or `inputs` neither Tensors nor a shape.
            ArgumentError: If `inputs` is left out and cannot be found out, data or loss are needed and not given, a
                pattern fits no layer, or a parameter holds NaN.
            NothingToPruneError: If no weight can become sparse.
            StateError: If `apply` was called before, or `network` is itself the result of an `apply`.
            VerifyError: If masks do not hold, as a weight is read past them, or the network is random.
        """
        self.refuse_second_apply()
        name = type(self).__name__
        check_network(name, network)
        tensors = find_inputs(name, network) if inputs is None else as_tensors(name, inputs)
        weights, dense = self._weights(network)
        if not weights:
            raise NothingToPruneError(f"For '{name}', the network must have a weight of a convolution or a dense layer "
                                      f"that fits the configuration, but a '{type(network).__name__}' has none: "
                                      f"{'; '.join(f'{key}: {why}' for key, why in dense.items()) or 'no weights'}.")
        scores = {key: np.abs(item.values.astype(np.float64)) for key, item in weights.items()}
        if self.takes_data:
            slopes = mean_gradients(name, network, len(tensors), scores, data, loss)
            scores = {key: score * np.abs(slopes[key]) for key, score in scores.items()}
        masks = self._masks(weights, scores)
        masked = copy_network(network, name)
        mask_weights(masked, masks)
        _check_masks(name, masked, masks, tensors)
        done = Sparsity(tuple(SparseWeight(key, mask.size, int(mask.size - np.count_nonzero(mask)))
                              for key, mask in masks.items()))
        self.report = UnstructuredReport(name, self.config, "apply", describe(tensors), done, dense)
        self.applied = _AppliedMasks(masked, tensors, network, OriginalNames.of(masked), masks)
        return masked

    @in_own_name
    def convert(self, net_opt: nn.Cell, ckpt_path: str = "") -> nn.Cell:
        """
        The network without masks, checked against the masked one: of the original's class, with zeros in its weights.

        Args:
            net_opt (nn.Cell): The network that `apply` returned, trained or not. It is not changed.
            ckpt_path (str): A checkpoint of it, whose values are used. Default: ``""``, those `net_opt` has.

        Returns:
            nn.Cell.

        Raises:
            ArgumentTypeError: If `net_opt` is not a Cell or `ckpt_path` not a str.
            StateError: If `apply` was not called, `net_opt` is not what it returned, or processes trained it apart.
            CheckpointError: If the checkpoint cannot be read, belongs to another network, or to one that was masked
                otherwise.
            VerifyError: If the two networks give other outputs.
        """
        self.refuse_other_network(net_opt)
        masked = super().convert(self.applied.names.copy(net_opt), ckpt_path)
        refuse_trained_apart(type(self).__name__, {item.name: numbers_in(item) for item in masked.get_parameters()})
        for parameter in masked.get_parameters() if ckpt_path else ():
            mask = self.applied.masks.get(parameter.name)
            if mask is not None and numbers_in(parameter)[~mask].any():
                raise CheckpointError(f"For '{type(self).__name__}', the checkpoint must be of a network that was "
                                      f"masked as this one, but '{ckpt_path}' has numbers where '{parameter.name}' has "
                                      f"zeros.")
        plain = copy_network(masked)
        unmask_weights(plain)
        set_zeros(plain, self.applied.masks)
        checked: Verification = verify(masked, plain, self.applied.inputs)
        remember(plain, self.applied.original, self.report.sparsity)
        plain.set_train(False)
        told = self.report
        self.report = UnstructuredReport(told.algorithm, told.config, "convert", told.inputs, told.sparsity, told.dense,
                                         checked.largest_difference, checked.output_scale)
        return plain

    def _weights(self, network: nn.Cell) -> Tuple[Dict[str, _Weight], Dict[str, str]]:
        """The weights that may become sparse, by name; and why other parameters of two dimensions or more do not."""
        found: Dict[str, _Weight] = {}
        for path, cell in network.cells_and_names():
            record = record_of(cell)
            parameter = cell._params.get(record.weight) if isinstance(record, Layer) else None
            axis = record.form.input_axis if isinstance(record, Layer) else None
            if parameter is not None and axis is not None and isinstance(record, Layer):
                # A transposed convolution has the inputs of all groups along its axis, others those of one.
                groups = getattr(cell, record.attribute(GROUPS), 1) if record.form is TRANSPOSED else 1
                found.setdefault(parameter.name, _Weight(path, numbers_in(parameter), axis,
                                                         parameter.shape[axis] // groups))
        dense = {item.name: "it is no weight of a convolution or a dense layer" for item in network.get_parameters()
                 if item.ndim > 1 and item.name not in found}
        for name, reason in ((name, self._misfit(item)) for name, item in list(found.items())):
            if reason:
                dense[name] = reason
                del found[name]
        return found, dense

    def _misfit(self, weight: _Weight) -> str:
        """Why a weight cannot have the pattern N:M that is asked for, or an empty str."""
        if self.settings["n_of_m"] is None:
            return ""
        _, of = map(int, self.settings["n_of_m"].split(":"))
        return f"its {weight.inputs} inputs are no multiple of {of}" if weight.inputs % of else ""

    def _masks(self, weights: Mapping[str, _Weight], scores: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Weight name -> True where a number stays."""
        if self.settings["n_of_m"] is not None:
            stay, of = map(int, self.settings["n_of_m"].split(":"))
            return {name: _n_of_m(scores[name], weight.axis, stay, of)
                    for name, weight in weights.items()}
        rates = self._rates(weights)
        pools: Dict[Hashable, List[str]] = {}
        for name in weights:
            pools.setdefault(name if self.settings["ranking"] == "local" else rates[name], []).append(name)
        masks: Dict[str, np.ndarray] = {}
        for names in pools.values():
            pooled = np.concatenate([scores[name].ravel() for name in names])
            stays = np.ones(len(pooled), bool)
            stays[np.argsort(pooled, kind="stable")[:rounded_down(rates[names[0]][1] * len(pooled))]] = False
            parts = np.split(stays, np.cumsum([scores[name].size for name in names])[:-1])
            masks.update({name: part.reshape(scores[name].shape) for name, part in zip(names, parts)})
        return {name: masks[name] for name in weights}

    def _rates(self, weights: Mapping[str, _Weight]) -> Dict[str, Tuple[str, float]]:
        """Weight name -> the first pattern that fits its layer, and the rate of that; 0 where none does."""
        rate = self.settings["prune_rate"]
        if not isinstance(rate, Mapping):
            return dict.fromkeys(weights, ("", rate))
        paths = [item.path for item in weights.values()]
        refuse_unfitting(type(self).__name__, "prune_rate", paths, rate)
        return {name: next(((pattern, value) for pattern, value in rate.items()
                            if fnmatch.fnmatchcase(item.path, pattern)), ("", 0.0)) for name, item in weights.items()}


def _check_masks(owner: str, masked: nn.Cell, masks: Mapping[str, np.ndarray], tensors: Tuple[Tensor, ...]) -> None:
    """With other numbers where there are zeros, the masked network must give the same; it has its zeros again then."""
    def given(names: Collection[str]) -> List[np.ndarray]:
        for item in masked.get_parameters():
            if item.name in names:
                item.set_data(Tensor(np.where(masks[item.name], numbers_in(item), 1), item.dtype))
        try:
            return evaluate(masked, tensors)
        finally:
            set_zeros(masked, masks)

    def alike(names: Collection[str]) -> bool:
        return all(np.array_equal(*pair, equal_nan=True) for pair in zip(wanted, given(names)))

    wanted = given(())
    if not alike(masks):
        refuse_faulty(owner, {"network": masked}, tensors)
        names = [name for name in masks if not alike((name,))]
        raise VerifyError(f"For '{owner}', the layers of 'network' must read their weights as attributes, so that "
                          f"masks hold, but {first_three(names)} are read otherwise: of what automatic mixed precision "
                          f"of the level O1 has written anew, prune the network from before.")


def _n_of_m(scores: np.ndarray, axis: int, stay: int, of: int) -> np.ndarray:
    """True for the `stay` highest of every `of` scores in a row along an axis; of equal ones, for the first."""
    rows = np.moveaxis(scores, axis, -1)
    groups = rows.reshape(math.prod(rows.shape) // of, of)
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, np.argsort(-groups, axis=1, kind="stable")[:, :stay], True, axis=1)
    return np.moveaxis(mask.reshape(rows.shape), -1, axis)


add_algorithm("unstructured", Unstructured)
