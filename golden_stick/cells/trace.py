"""What a network takes, where the user did not say."""
import glob
import itertools
import os
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.train.mind_ir_pb2 import AttributeProto, ModelProto

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, TraceError, first_line, line_of_user
from golden_stick.base.inputs import as_tensors, describe, progress
from golden_stick.cells.wrappers import (
    ScatteredOutput,
    TemporaryCell,
    copy_network,
    evaluation,
    find_cell,
    kind_of,
    names_read,
    opened,
    scratch_directory,
)
from golden_stick.graph.ir import (
    CONTROL_FLOW,
    Constant,
    Graph,
    Input,
    Node,
    Owner,
    Parameter,
    Result,
    Value,
    flatten,
    joined,
    usual,
)
from golden_stick.graph.layers import EMBEDDING, LAYERS, NORMALIZATIONS, OPERATORS
from golden_stick.graph.rules import RULES
from golden_stick.graph.rules.shapes import moved

__all__ = ["find_inputs", "half_steps", "half_steps_in", "located", "owners", "trace", "trace_for", "trace_hidden"]


try:
    from mindspore.graph.api import _cell_graph_executor as _executor
except ImportError:  # before MindSpore 2.9 it lived here
    from mindspore.common.api import _cell_graph_executor as _executor


_TYPE = AttributeProto.AttributeType
_NUMPY_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64,
                9: np.bool_, 10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64}
# What these put out is what they read first.
_TRANSPARENT = frozenset({"Load", "Depend", "TensorMove", "Identity", "StopGradient", "Contiguous", "Clone"})
_TUPLES = frozenset({"MakeTuple", "make_tuple", "MakeList", "make_list"})
_MONAD = object()
_fresh = itertools.count()
# The environment's word for which steps of a compilation are dumped.
_DUMPED = "MS_DEV_DUMP_IR_PASSES"


def trace(network: nn.Cell, inputs: Any) -> Graph:
    """
    The graph that a network computes in evaluation.

    Nothing of the network is changed, and no weight is written anywhere.

    Args:
        network (nn.Cell): Any network that MindSpore can compile in graph mode.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only argument.

    Returns:
        Graph, with the nodes in an order of execution and every parameter under its own name.

    Raises:
        ArgumentTypeError: If `network` is not a Cell or `inputs` is neither Tensors nor a shape.
        TraceError: If the network cannot be compiled for these inputs.

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> graph = gs.trace(net, (1, 3, 16, 16))
        >>> print([node.operator for node in graph.nodes])
        ['Conv2D', 'ReLU']
    """
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For 'trace', 'network' must be a Cell, but got {type(network).__name__}.")
    return trace_for("trace", network, as_tensors("trace", inputs))


def trace_for(owner: str, network: nn.Cell, tensors: Tuple[ms.Tensor, ...]) -> Graph:
    """`trace`, where the user has called `owner`."""
    return _trace(owner, network, tensors)


@progress("tracing the network")
def _trace(owner: str, network: nn.Cell, tensors: Tuple[ms.Tensor, ...], training: Tuple[str, ...] = (),
           copied: Optional[nn.Cell] = None) -> Graph:
    """`trace_for`, with the Cells at these paths in training; if given, a copy of the network is compiled for it."""
    try:
        model = _compile(copied or network, tensors, training)
    except (RuntimeError, TypeError, ValueError, AttributeError, NameError, KeyError, IndexError, SyntaxError) as error:
        raise TraceError(f"For '{owner}', '{type(network).__name__}' could not be compiled for inputs of shape "
                         f"{describe(tensors)}: {first_line(error)}") from error
    known = owners(network)
    graph = _Reader(model, network, known).read()
    _refuse_float_indices(owner, graph)
    foreign = _foreign(network, graph)
    return _Reader(model, network, {**known, **foreign}).read() if foreign else graph


def _refuse_float_indices(owner: str, graph: Graph) -> None:
    """MindSpore compiles a table that is read by numbers that are not whole, and fails where it is run."""
    for node in graph.nodes:
        operator = OPERATORS.get(node.operator)
        read = node.inputs[1 - operator.weight] if operator and operator.form is EMBEDDING else None
        kind = read.type if isinstance(read, Input) else (
            graph.nodes[read.node].types[read.index] if isinstance(read, Result) else "")
        if kind.startswith("float"):
            raise TraceError(f"For '{owner}', what {node} reads as indices must be whole numbers, but got {kind}: if "
                             f"'inputs' are indices, give Tensors of int32 (on the command line: --inputs 1,32:int32).")


def _foreign(network: nn.Cell, graph: Graph) -> Dict[str, Tuple[Owner, ...]]:
    """
    The weights of Cells of known kinds that other code reads than the Cell's own, by name, with owners of no kind:
    whatever is put around such a Cell does not reach what is computed with them.
    """
    cells, known = dict(network.cells_and_names()), {*LAYERS, *NORMALIZATIONS}
    found: Dict[str, Tuple[Owner, ...]] = {}
    for node in graph.nodes:
        for value in flatten(node.inputs):
            if isinstance(value, Parameter) and len(value.owners) == 1 and value.owners[0].kind in known:
                owner, reader = value.owners[0], cells.get(node.scope)
                # Where Cells are alike, MindSpore may take one's name for another's, or the name that it had inside
                # another network; what is wrapped has its wrapper's.
                if not (reader is None or owner.path == node.scope or type(reader) is type(cells[owner.path])
                        or isinstance(reader, (ScatteredOutput, TemporaryCell))):
                    found[value.name] = (replace(owner, kind=""),)
    return found


def half_steps(network: nn.Cell, tensors: Tuple[Tensor, ...]) -> int:
    """How many operators in a row compute in float16 at most, where Cells, weights or inputs ask for it."""
    cells = [cell for _, cell in network.cells_and_names()]
    if not any(getattr(cell, "_amp_level", None) or cell.get_flags().get("fp16") for cell in cells) and not any(
            item.dtype == ms.float16 for item in (*network.get_parameters(), *tensors)):
        return 0
    return half_steps_in(trace(network, tensors))


def half_steps_in(graph: Graph) -> int:
    """The same of a network that is traced."""
    steps: Dict[int, int] = {}
    for node in graph.nodes:
        rounds = node.types[:1] == ("float16",) and getattr(RULES.get(node.operator), "weights", None) is not moved
        steps[node.number] = rounds + max((steps[value.node] for value in flatten(node.inputs)
                                           if isinstance(value, Result)), default=0)
    return max(steps.values(), default=0)


def trace_hidden(owner: str, network: nn.Cell, tensors: Tuple[ms.Tensor, ...], graph: Graph) -> Graph:
    """
    The graph of a network, and after it what evaluation does not need: layers whose result nobody reads, which the
    compiler checks and drops, and what Cells run only in training. The caller is `owner`, as in `trace_for`.
    """
    read = {value.name for node in graph.nodes for value in flatten(node.inputs) if isinstance(value, Parameter)}
    unread = {parameter.name for parameter in network.get_parameters()} - read
    training = tuple(path for path, cell in network.cells_and_names() if _asks(cell) and (
        not path or unread & {parameter.name for parameter in cell.get_parameters()}))
    if not unread and not training:
        return graph
    copied = copy_network(network, owner)
    for path, cell in copied.cells_and_names():
        # A Cell of which only a part is read may return what nobody reads, such as a sum in the last round of a loop.
        if path and not isinstance(cell, (nn.CellList, nn.CellDict)) and unread & {
                parameter.name for parameter in cell.get_parameters()}:
            kind = type(cell)
            # Not by a hook: the compiler leaves out those of Cells in a CellList.
            cell.__class__ = type(kind.__name__, (kind,), {"construct": _shown, "not_shown": kind.construct,
                                                           "__module__": kind.__module__})
    return joined(graph, _trace(owner, network, tensors, training, copied))


def _asks(cell: nn.Cell) -> bool:
    """Whether a Cell of the user's does something else in training."""
    return not type(cell).__module__.startswith("mindspore.") and "training" in names_read(cell)


def _shown(self: Any, *inputs: Any, **named: Any) -> Any:
    """In the place of a Cell's `construct`: what is printed is computed."""
    output = self.not_shown(*inputs, **named)
    ops.Print()(output)
    return output


def owners(network: nn.Cell) -> Dict[str, Tuple[Owner, ...]]:
    """Parameter name -> the Cells that hold it; several when it is shared."""
    found: Dict[str, Tuple[Owner, ...]] = {}
    for path, cell in network.cells_and_names():
        for attribute, parameter in cell._params.items():
            if parameter is not None:
                found[parameter.name] = found.get(parameter.name, ()) + (Owner(path, kind_of(cell), attribute),)
    return found


def located(graph: Graph, network: nn.Cell, tensors: Tuple[ms.Tensor, ...]) -> Graph:
    """
    A network's graph, with the file and line of the user's code in every node. Only what MindSpore dumps while it
    compiles tells them, so it compiles once more: for those who have something to say about a line.
    """
    with tempfile.TemporaryDirectory() as folder:
        with _dumps(folder):
            reader = _Reader(_model_of(network, tensors), network, owners(network))
        again, sources = reader.read(), _sources(folder)
    evaluated = graph.nodes[:graph.evaluated]
    if [node.operator for node in again.nodes] != [node.operator for node in evaluated]:
        return graph
    return replace(graph, nodes=tuple(replace(node, source=sources.get(name, ""))
                                      for node, name in zip(evaluated, reader.names)) + graph.hidden)


@contextmanager
def _dumps(folder: str) -> Iterator[None]:
    """Let MindSpore write into a folder what it has compiled, and none of the steps on the way there."""
    before, passes = ms.get_context("save_graphs_path"), os.environ.get(_DUMPED)
    os.environ[_DUMPED] = "validate"
    ms.set_context(save_graphs=1, save_graphs_path=folder)
    try:
        yield
    finally:
        ms.set_context(save_graphs=0, save_graphs_path=before or ".")
        os.environ.pop(_DUMPED)
        if passes is not None:
            os.environ[_DUMPED] = passes


def _sources(folder: str) -> Dict[str, str]:
    """Full name of a node -> the innermost line of the user's code that it comes from."""
    found: Dict[str, str] = {}
    for path in sorted(glob.glob(os.path.join(folder, "**", "*validate*.ir"), recursive=True)):
        name = ""
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                full = re.search(r"# Fullname with scope: \((.+)\)", line)
                name = full[1] if full else name
                place = line_of_user(line) if name else ""
                if place:
                    found[name] = place
    return found


def _compile(network: nn.Cell, tensors: Tuple[ms.Tensor, ...], training: Tuple[str, ...] = ()) -> ModelProto:
    return _model_of(network, tensors, training)


def _model_of(network: nn.Cell, tensors: Tuple[ms.Tensor, ...], training: Tuple[str, ...] = ()) -> ModelProto:
    phase, level = None, ms.get_context("jit_syntax_level")
    # The conditions of an export.
    ms.set_context(jit_syntax_level=ms.STRICT)
    try:
        with scratch_directory(), evaluation(network), opened(network):
            for path in training:
                find_cell(network, path).add_flags(training=True)
            # A fresh phase each time: MindSpore's cache knows nothing of changed shapes, attributes or flags.
            phase, _ = _executor.compile(
                network, *tensors, phase=f"export.mindir.golden_stick{next(_fresh)}", do_convert=False
            )
            proto = ModelProto()
            proto.ParseFromString(_executor._get_func_graph_proto(network, phase, "mind_ir"))
            return proto
    finally:
        ms.set_context(jit_syntax_level=level)
        if phase is not None:
            _executor.del_net_res(network, {phase})
            network.compile_cache.discard(phase)


def _attribute_value(attribute: AttributeProto) -> Any:
    """Python value of an attribute. Scalars stand in i/f/d/s alone, but in ints/floats/... inside a tuple."""
    kind = _TYPE.Name(attribute.type)
    if kind in ("FLOAT", "FLOAT16", "BFLOAT16"):
        return attribute.floats[0] if attribute.floats else attribute.f
    if kind == "DOUBLE":
        return attribute.doubles[0] if attribute.doubles else attribute.d
    if kind == "BOOL":
        return bool(attribute.ints[0] if attribute.ints else attribute.i)
    if kind.startswith(("INT", "UINT")):
        return attribute.ints[0] if attribute.ints else attribute.i
    if kind == "STRING":
        return (attribute.strings[0] if attribute.strings else attribute.s).decode()
    if kind in ("TUPLE", "LIST"):
        return tuple(_attribute_value(value) for value in attribute.values)
    if kind in ("TENSOR", "TENSORS"):
        tensors = [_tensor_value(tensor) for tensor in attribute.tensors] or [_tensor_value(attribute.t)]
        return tensors[0] if len(tensors) == 1 else tuple(tensors)
    return _MONAD if kind in ("UMONAD", "IOMONAD") else None


def _tensor_value(tensor: Any) -> Any:
    """An array where the file holds the data, else the shape."""
    if tensor.raw_data and tensor.data_type in _NUMPY_TYPES:
        return np.frombuffer(tensor.raw_data, _NUMPY_TYPES[tensor.data_type]).reshape(tuple(tensor.dims))
    return tuple(tensor.dims)


def _records(proto_node: Any) -> Tuple[bool, list]:
    """Whether the output is a tuple, and one tensor record per output: the attribute 'shape' holds them."""
    for attribute in proto_node.attribute:
        if attribute.name == "shape":
            several = _TYPE.Name(attribute.type) in ("TUPLE", "LIST")
            return several, [(list(part.tensors) or [part.t])[0] for part in
                             (attribute.values if several else [attribute])]
    return False, []


def _type_name(record: Any) -> str:
    kind = _NUMPY_TYPES.get(record.data_type)
    return np.dtype(kind).name if kind else ""


@dataclass(frozen=True)
class _Closure:
    """A function that is called later, or one of several: the values that it holds, and its name if there is one."""

    name: str
    values: Tuple[Value, ...]


class _Reader:
    """Turns one ModelProto into a Graph."""

    def __init__(self, proto: ModelProto, network: nn.Cell, known: Dict[str, Tuple[Owner, ...]]):
        self._graph = proto.graph
        self._primitives = {f"REF::{primitive.name}": primitive for primitive in proto.primitives}
        self._functions = {function.name: function for function in proto.functions}
        self._nodes: List[Node] = []
        self.names: List[str] = []  # MindSpore's full name of each node
        self._owners = known
        self._shapes = {item.name: tuple(item.shape) for item in network.get_parameters()}

    def read(self) -> Graph:
        values: Dict[str, Any] = {}
        parameters = []
        for item in self._graph.parameter:
            name = item.ref_key or item.name.split(":", 1)[1]
            parameters.append(Parameter(name, tuple(item.dims), self._owners.get(name, ())))
            values[item.name] = parameters[-1]
        inputs = []
        for item in self._graph.input:
            inputs.append(_input(item))
            values[item.name] = inputs[-1]
        outputs = flatten(self._run(self._graph, values))
        read = {parameter.name for parameter in parameters}
        unread = tuple(Parameter(name, shape, self._owners.get(name, ()))
                       for name, shape in self._shapes.items() if name not in read)
        return Graph(tuple(self._nodes), tuple(inputs), tuple(parameters), outputs, unread=unread)

    def _run(self, graph: Any, values: Dict[str, Any]) -> Tuple[Value, ...]:
        for proto_node in graph.node:
            values[proto_node.output[0]] = self._value_of(proto_node, values)
        return tuple(values[output.name] for output in graph.output)

    def _value_of(self, proto_node: Any, values: Mapping[str, Any]) -> Any:
        if proto_node.op_type == "Constant":
            return Constant(_attribute_value(proto_node.attribute[0]) if proto_node.attribute else None)
        primitive = self._primitives.get(proto_node.op_type)
        if primitive is None:
            return self._call(proto_node, values)
        operator = primitive.op_type
        if operator == "Partial":
            return _Closure(proto_node.input[0], tuple(values[name] for name in proto_node.input[1:]))
        inputs = [values[name] for name in proto_node.input if name not in self._functions]
        if operator in ("Switch", "switch"):
            return _Closure("", _opened(inputs))
        if operator in _TRANSPARENT:
            return inputs[0]
        if operator == "UpdateState":
            return Constant(_MONAD)
        if operator in _TUPLES:
            return tuple(inputs)
        if operator == "TupleGetItem":
            source, index = inputs[0], inputs[1].value
            return source[index] if isinstance(source, tuple) else Result(source.node, index)
        kind = _type_name(_records(proto_node)[1][0]) if operator == "Cast" else ""
        if kind and isinstance(inputs[0], Parameter) and not inputs[0].type:
            return replace(inputs[0], type=kind)
        attributes = {attribute.name: _attribute_value(attribute) for attribute in primitive.attribute}
        return self._node(proto_node, operator, inputs, attributes)

    def _node(self, proto_node: Any, operator: str, inputs: Iterable[Any], attributes: Mapping[str, Any]) -> Any:
        inputs = tuple(value for value in inputs if not (isinstance(value, Constant) and value.value is _MONAD))
        several, records = _records(proto_node)
        made = Node(len(self._nodes), operator, inputs, attributes,
                    tuple(tuple(record.dims) for record in records) or ((),), _scope(proto_node.domain),
                    tuple(map(_type_name, records)))
        results: List[Result] = []
        for node in usual(made, self._shape(inputs)):
            self._nodes.append(replace(node, number=len(self._nodes)))
            self.names.append(proto_node.domain)
            results += (Result(len(self._nodes) - 1, index) for index in range(len(node.shapes)))
        return tuple(results) if several else results[0]

    def _shape(self, values: Tuple[Any, ...]) -> Tuple[int, ...]:
        """Of the first value."""
        first = values[0] if values else None
        return self._nodes[first.node].shapes[first.index] if isinstance(first, Result) else getattr(first, "shape", ())

    def _call(self, proto_node: Any, values: Mapping[str, Any]) -> Any:
        """A call of a function is read in its place; where values decide what is called, it is one operator."""
        target = proto_node.op_type[len("REF::"):]
        inputs = [values[name] for name in proto_node.input]
        called = values.get(target) if target not in self._functions else _Closure(target, ())
        if not isinstance(called, _Closure):
            raise TraceError(f"For 'trace', a node must be an operator, but got a call of '{target}'.")
        inputs = [*called.values, *inputs]
        if not self._is_flat(called.name, ()):
            return self._node(proto_node, CONTROL_FLOW, _opened(inputs), {})
        function = self._functions[called.name]
        # Beside its arguments, a function may read values of the graph around it.
        local = {**values, **{item.name: value for item, value in zip(function.input, inputs)}}
        outputs = self._run(function, local)
        return outputs[0] if len(outputs) == 1 else outputs

    def _is_flat(self, name: str, around: Tuple[str, ...]) -> bool:
        """Whether a function decides nothing by values and does not call itself."""
        function = self._functions.get(name)
        if function is None or name in around:
            return False
        kinds = [self._primitives[node.op_type].op_type if node.op_type in self._primitives else node.op_type
                 for node in function.node]
        called = [kind[len("REF::"):] for kind in kinds if kind.startswith("REF::")]
        return not {"Switch", "switch", "Partial"} & set(kinds) and all(
            self._is_flat(other, (*around, name)) for other in called)


def _input(item: Any) -> Input:
    shape, kind = (tuple(item.tensor[0].dims), _type_name(item.tensor[0])) if item.tensor else ((), "")
    return Input(item.name.split(":", 1)[1], shape, kind)


def _opened(inputs: Iterable[Any]) -> Tuple[Value, ...]:
    """Values, with those that closures hold in their place."""
    return tuple(opened for value in inputs
                 for opened in (value.values if isinstance(value, _Closure) else (value,)))


def _scope(domain: str) -> str:
    """Dotted path of the Cell in a scope such as ``'Default/layer1-SequentialCell/0-BasicBlock/Conv2D-op3'``."""
    return ".".join(part.split("-", 1)[0] for part in domain.split("/")[1:-1] if "-" in part)


# Usual image sizes, smallest first: of those that a network compiles for, the smallest is the quickest to trace.
_SIZES = (32, 28, 64, 96, 112, 128, 160, 192, 224, 240, 256, 299, 384, 512)


def find_inputs(owner: str, network: nn.Cell) -> Tuple[Tensor, ...]:
    """The inputs that `network.set_inputs` was given, or an image of the first usual size that the network takes."""
    known = network.get_inputs()
    if known and all(isinstance(item, Tensor) for item in known):
        # A free dimension (-1) may be anything: one sample is enough to follow channels.
        shapes = [tuple(size if size > 0 else 1 for size in item.shape) for item in known]
        return tuple(as_tensors(owner, shape)[0] if item.dtype == ms.float32 else Tensor(np.zeros(shape), item.dtype)
                     for item, shape in zip(known, shapes))
    channels = next((cell.in_channels for _, cell in network.cells_and_names() if isinstance(cell, nn.Conv2d)), 0)
    for size in _SIZES if channels else ():
        tensors = as_tensors(owner, (1, channels, size, size))
        try:
            trace(network, tensors)
            return tensors
        except TraceError:
            continue
    raise ArgumentError(f"For '{owner}', 'inputs' must be given, as a Tensor, a tuple of Tensors or a shape such as "
                        f"(1, 3, 32, 32): it could not be found out.")
