"""
Graphs that are traced once a process, however many tests ask for them.

Compiling is most of what a test of `apply` or `convert` does: three times in each, half a second of work altogether.
Of networks that are alike in all that a compiler sees, all but the first are spared. What is alike is not guessed:
Cells are gone through attribute by attribute, and one that holds anything unknown is compiled.
"""
import dataclasses
import functools
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
from mindspore import Parameter, Tensor, nn
from mindspore.common.initializer import Initializer
from mindspore.ops.primitive import Primitive

import golden_stick as gs
from golden_stick.cells import trace as tracing
from golden_stick.graph.ir import Graph
from tests import networks

__all__ = ["traced", "shared_compilations"]

# What a Cell remembers of itself, and no compiler reads.
_OWN = {"_create_time", "_compile_cache", "_phase_cache", "compile_cache", "_id", "arguments_key", "_compiled",
        "_init_flag", "_exist_objs", "_exist_names", "_phase", "_compile_phase", "_lazy_construct_sig",
        "_jit_graph_name", "_is_check_and_refresh", "_attr_synced", "_lazy_user_parameters", "_params_list"}
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis), slice, np.generic, np.dtype)
_BY_IDENTITY = (type, FunctionType, BuiltinFunctionType, ModuleType)


class _Unknown(Exception):
    """Something that may matter and cannot be compared."""


class _Likeness:
    """What a compiler sees of a network, as a nested tuple; `held` are the objects that it knows by their identity."""

    def __init__(self) -> None:
        self.held: List[Any] = []
        self._walked: List[Any] = []
        self._numbers: Dict[int, int] = {}

    def of(self, thing: Any) -> Any:
        """Equal for two things that are alike."""
        if isinstance(thing, _PLAIN):
            return type(thing), repr(thing)
        if isinstance(thing, _BY_IDENTITY) or type(thing).__module__.startswith("mindspore._c_expression"):
            self.held.append(thing)
            return "is", id(thing)
        if isinstance(thing, MethodType):
            return "method", id(thing.__func__), self.of(thing.__self__)
        if id(thing) in self._numbers:
            return "again", self._numbers[id(thing)]
        self._numbers[id(thing)] = len(self._walked)
        self._walked.append(thing)
        return (type(thing), *self._inside(thing))

    def _inside(self, thing: Any) -> Tuple[Any, ...]:
        if isinstance(thing, Parameter):
            return thing.name, tuple(thing.shape), str(thing.dtype)
        if isinstance(thing, Tensor):
            return tuple(thing.shape), str(thing.dtype), thing.asnumpy().tobytes()
        if isinstance(thing, np.ndarray):
            return thing.shape, str(thing.dtype), thing.tobytes()
        if isinstance(thing, dict):
            return tuple((self.of(key), self.of(value)) for key, value in thing.items())
        if isinstance(thing, (list, tuple)):
            return tuple(map(self.of, thing))
        if isinstance(thing, (set, frozenset)):
            return tuple(sorted(map(repr, map(self.of, thing))))
        if isinstance(thing, (nn.Cell, Primitive, Initializer)) or dataclasses.is_dataclass(thing):
            code = id(type(thing).construct) if isinstance(thing, nn.Cell) else None
            return code, *((name, self.of(value)) for name, value in sorted(vars(thing).items()) if name not in _OWN)
        raise _Unknown(type(thing))


@functools.lru_cache(maxsize=None)
def traced(build: Callable[..., nn.Cell], shape: Tuple[int, ...] = networks.SMALL_INPUT,
           *arguments: Any) -> Tuple[nn.Cell, Graph]:
    """
    `build(*arguments)` with random weights, and its graph for an input of `shape`.

    The same two objects for all who ask: `gs.slim`, `apply` and `fold` copy what they are given, so a test may hand the
    network to them; who sets a weight, trains it or replaces a Cell builds its own.
    """
    network = networks.randomize(build(*arguments))
    return network, gs.trace(network, shape)


def shared_compilations(limit: int = 500) -> Callable[..., Any]:
    """The tracer's compilation, with a memory of so many networks."""
    compile_anew, known = tracing._compile, {}

    def compile_once(network: nn.Cell, tensors: Tuple[Tensor, ...], training: Tuple[str, ...] = ()) -> Any:
        likeness = _Likeness()
        try:
            key = likeness.of(network), training, tuple((item.shape, item.dtype) for item in tensors)
        except _Unknown:
            return compile_anew(network, tensors, training)
        if key not in known:
            # What is known by its identity lives as long as the key: another might be given its place in memory.
            if len(known) >= limit:
                known.pop(next(iter(known)))
            known[key] = compile_anew(network, tensors, training), likeness.held
        return known[key][0]

    return compile_once
