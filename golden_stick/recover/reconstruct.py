"""`reconstruct`: the layers of a slim network solved anew, so that they give what they gave in the original."""
import json
import os
from dataclasses import asdict
from typing import Any, Optional, Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn
from safetensors.numpy import save_file

from golden_stick.base.config import in_own_name
from golden_stick.base.devices import gathered, refuse_differing, summed, total_of
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, StateError, first_line
from golden_stick.base.files import PathLike, digest_of, make_folder, network_digest, path_of, whole_file
from golden_stick.base.inputs import leading_inputs
from golden_stick.cells.replay import Replay
from golden_stick.cells.slim import recipe_of, remember
from golden_stick.cells.trace import trace_for
from golden_stick.deploy.slim_file import (
    KEY,
    SAFETENSORS,
    Reconstruction,
    SolvedLayer,
    kept_positions,
    read_tensors,
)
from golden_stick.graph.ir import Graph
from golden_stick.graph.plan import PruningPlan
from golden_stick.recover.products import Meeting, meetings_of, products_of
from golden_stick.recover.readers import readers_of
from golden_stick.recover.solver import Rows, Solver, kept_aside
from golden_stick.recover.statistics import named_batch

__all__ = ["reconstruct", "reconstruction_report", "solved"]

_GIGABYTE = 1e9
_FILE = f"reconstruction{SAFETENSORS}"


@in_own_name
def reconstruct(slim: nn.Cell, original: nn.Cell, data: Any, inputs: int = 1, memory: float = 1.0,
                folder: Optional[PathLike] = None) -> nn.Cell:
    """
    A copy of a slim network whose layers give again what they gave in the original, as nearly as they can.

    Every layer that lost inputs, or reads what such a layer makes, is solved anew by least squares, in the network's
    order: from what it reads in the slim network by then, towards what it gave in the original. Nothing is trained, and
    no labels are read. The weights are held near those that they had, by a damping that is chosen on every eighth
    sample, which is kept aside; a layer whose error there does not fall stays as it is. Normalizations and depthwise
    convolutions, which work channel by channel, are shifted alone. Queries of an attention that lost channels are
    solved towards what gives the old products with the keys that are left. Re-estimating statistics afterwards would
    undo a part of it.

    Source: He et al., `Channel Pruning for Accelerating Very Deep Neural Networks <https://arxiv.org/abs/1707.06168>`_,
    ICCV 2017, without its selection of channels.

    Args:
        slim (nn.Cell): What `convert`, `slim` or `load_slim` returned. It is not changed.
        original (nn.Cell): The network that it was made from, with its trained weights. It is not changed.
        data (Iterable): Batches: a Tensor or array each, or a tuple, list or dict that begins with the inputs, or a
            `mindspore.dataset` object. Training data, not test data: 1,000 images are enough for a network of
            CIFAR-10. All of them are held in memory.
        inputs (int): How many items at the beginning of a batch the networks take. Default: 1.
        memory (float): How many gigabytes of what layers give may be held besides. With less, it takes longer, and
            layers are solved with fewer rows. Default: 1.0.
        folder (Union[str, os.PathLike]): Where layers are kept once they are solved. The same call goes on where the
            last one was interrupted. Default: ``None``, nothing is written.

    Returns:
        nn.Cell, of the class of `slim`. It saves, loads, folds, exports and trains as `slim` does.
        :func:`golden_stick.reconstruction_report` says what was done, layer by layer.

    Raises:
        ArgumentTypeError: If a network is not a Cell, or a batch is none of these.
        ArgumentError: If `original` is not what `slim` was made from, `slim` lost no channels or was folded since,
            `memory` is not positive, or there are fewer than two samples, or a batch is not what the networks take.
        StateError: If `folder` holds a reconstruction of other networks or from other data.
        CheckpointError: If `folder` cannot be read or written.
        TraceError: If MindSpore cannot compile the slim network for the data.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import numpy as np
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Dense(4, 16), nn.ReLU(), nn.Dense(16, 3))
        >>> algo = gs.OneShot({"prune_rate": 0.5})
        >>> slim = algo.convert(algo.apply(net, inputs=(1, 4)))
        >>> data = np.random.default_rng(0).normal(size=(4, 64, 4)).astype(np.float32)
        >>> again = gs.reconstruct(slim, net, data)
        >>> print(gs.reconstruction_report(again).layers[0].change)
        weights
    """
    if not isinstance(memory, (int, float)) or isinstance(memory, bool) or not memory > 0:
        raise ArgumentError(f"For 'reconstruct', 'memory' must be a positive number of gigabytes, but got {memory!r}.")
    for name, network in (("slim", slim), ("original", original)):
        if not isinstance(network, nn.Cell):
            raise ArgumentTypeError(f"For 'reconstruct', both networks must be Cells, but '{name}' is a "
                                    f"{type(network).__name__}.")
    kept = None if folder is None else path_of("reconstruct", folder)
    return solved("reconstruct", "data", slim, original, leading_inputs("reconstruct", data, inputs), memory, kept)


def reconstruction_report(network: nn.Cell) -> Reconstruction:
    """
    What the last reconstruction of a network did.

    Args:
        network (nn.Cell): What `reconstruct` or `convert` returned, also after fine-tuning, or loaded by `load_slim`.

    Returns:
        Reconstruction, which prints as a list.

    Raises:
        ArgumentTypeError: If `network` is not a Cell.
        StateError: If it was never reconstructed.
    """
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For 'reconstruction_report', 'network' must be a Cell, but got "
                                f"{type(network).__name__}.")
    steps = [step for step in recipe_of(network).steps if isinstance(step, Reconstruction)]
    if not steps:
        raise StateError("For 'reconstruction_report', 'network' must be one that 'reconstruct' returned, but it was "
                         "never reconstructed.")
    return steps[-1]


def solved(owner: str, name: str, slim: nn.Cell, original: nn.Cell, data: Any, memory: float = 1.0,
           folder: Optional[str] = None) -> nn.Cell:
    """`reconstruct`, for the caller `owner`, who calls the batches `name`; each is the inputs of the networks."""
    kept = kept_positions(_prunings(owner, slim, original))
    batches = list(data)
    own = sum(batch[0].shape[0] for batch in batches)
    samples = total_of(owner, name, own)
    if samples < 2:
        raise ArgumentError(f"For '{owner}', '{name}' must hold at least two samples, one of them to be kept aside, "
                            f"but got {samples}.")
    work = recipe_of(slim).names.copy(slim)
    with named_batch(owner, batches[0]):
        graph = trace_for(owner, work, batches[0])
        met = _met(owner, graph, original, batches[0])
    shapes = {key: item.shape for key, item in recipe_of(original).names.parameters(original).items()}
    replay = Replay(work, batches, memory * _GIGABYTE / 2)
    with replay.entered():
        with named_batch(owner, batches[0]):
            counts = replay.calls()[-1].counts
        readers = readers_of(graph, kept, shapes, counts, met)
        rows = Rows(readers, batches, samples, memory * _GIGABYTE / 2)
        rows.watch(owner, original)
        store = _Store(owner, folder, work, original, batches, memory)
        layers: Tuple[SolvedLayer, ...] = ()
        for layer in Solver(work, replay, rows).layers(readers, store.restore()):
            layers += (layer,)
            store.write(layers)
    refuse_differing(owner, "the solved layers", ((item.name, item.asnumpy()) for item in work.get_parameters()),
                     "their processors round differently, so call it in one process")
    aside = int(summed(kept_aside(np.arange(own)).sum()))
    done = Reconstruction(layers, samples - aside, aside)
    for (_, parameter), (_, named) in zip(work.parameters_and_names(), slim.parameters_and_names()):
        parameter.name = named.name
    remember(work, slim, done)
    return work


def _met(owner: str, graph: Graph, original: nn.Cell, batch: Any) -> Tuple[Tuple[Meeting, Meeting], ...]:
    """The products that meet in the original, and where in a slim network's graph; none where their number differs."""
    now = meetings_of(graph, products_of(graph))
    if not now:
        return ()
    whole = trace_for(owner, recipe_of(original).names.copy(original), batch)
    before = meetings_of(whole, products_of(whole))
    alike = [(item.first.weight.name, item.second.weight.name) for item in before] == [
        (item.first.weight.name, item.second.weight.name) for item in now]
    return tuple(zip(before, now)) if alike else ()


class _Store:
    """The folder that layers are kept in while they are solved, in one file; without one, nothing is kept."""

    def __init__(self, owner: str, folder: Optional[str], work: nn.Cell, original: nn.Cell,
                 batches: Sequence[Tuple[Tensor, ...]], memory: float):
        self._owner, self._path, self._known = owner, folder and os.path.join(folder, _FILE), 0
        self._parameters = {parameter.name: parameter for parameter in work.get_parameters()}
        if not folder:
            return
        make_folder(owner, folder)
        self._before = {name: parameter.asnumpy().copy() for name, parameter in self._parameters.items()}
        seen = digest_of(part for batch in batches for item in batch for part in (f"{item.dtype} {item.shape} ",
                                                                                  item.asnumpy()))
        everywhere = digest_of(gathered(np.frombuffer(seen.encode(), np.uint8)))
        self._asked = digest_of([network_digest(work), network_digest(original), everywhere, str(memory)])

    def restore(self) -> Tuple[SolvedLayer, ...]:
        """The layers that were solved by now, whose weights the network is given."""
        if not self._path or not os.path.exists(self._path):
            return ()
        values, text = read_tensors(self._owner, self._path, "folder")
        try:
            record = json.loads(text or "")
            layers = tuple(SolvedLayer(**layer) for layer in record["layers"])
            asked = record["asked"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"For '{self._owner}', '{self._path}' must be a reconstruction that was begun here, "
                                  f"but it is damaged or another file: {first_line(error)}") from error
        if asked != self._asked:
            raise StateError(f"For '{self._owner}', 'folder' must be new or hold the same reconstruction, but "
                             f"'{self._path}' is of other networks or from other data: take another folder.")
        for name, array in values.items():
            self._parameters[name].set_data(Tensor(array, self._parameters[name].dtype))
        self._known = len(layers)
        return layers

    def write(self, layers: Tuple[SolvedLayer, ...]) -> None:
        """Keep what was solved by now."""
        if not self._path or len(layers) <= self._known:
            return
        changed = {name: np.ascontiguousarray(parameter.asnumpy()) for name, parameter in self._parameters.items()
                   if not np.array_equal(parameter.asnumpy(), self._before[name], equal_nan=True)}
        record = {"asked": self._asked, "layers": [asdict(layer) for layer in layers]}
        with whole_file(self._owner, self._path) as temporary:
            save_file(changed, temporary, {KEY: json.dumps(record)})


def _prunings(owner: str, slim: nn.Cell, original: nn.Cell) -> Tuple[PruningPlan, ...]:
    """The prunings that lead from the original to the slim network."""
    before, steps = recipe_of(original), recipe_of(slim).steps
    between = steps[len(before.steps):]
    if before.steps != steps[:len(before.steps)] or before.original != recipe_of(slim).original:
        raise ArgumentError(f"For '{owner}', 'original' must be the network that 'slim' was made from, but got a "
                            f"'{type(original).__name__}' of another recipe or other parameters.")
    prunings = tuple(step for step in between if isinstance(step, PruningPlan))
    if not prunings:
        raise ArgumentError(f"For '{owner}', 'slim' must have lost channels since 'original', but it lost none.")
    if any(not isinstance(step, (PruningPlan, Reconstruction)) for step in between):
        raise ArgumentError(f"For '{owner}', normalizations must be folded in both networks or in none, but only "
                            f"'slim' is folded: fold what 'reconstruct' returns.")
    return prunings
