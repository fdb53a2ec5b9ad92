"""The writer: what the rules speak to, and the only one that makes an ONNX model."""
import itertools
from dataclasses import replace
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from golden_stick.base.errors import ExportError
from golden_stick.base.files import digest_of
from golden_stick.graph.ir import CONTROL_FLOW, Constant, Graph, Input, Node, Parameter, Result, Value, flatten

__all__ = ["Expression", "Writer", "is_none"]


def is_none(value: Value) -> bool:
    """Whether an input is left out."""
    return isinstance(value, Constant) and value.value is None


def _opened(value: Value) -> Value:
    """Several arrays in one constant, as MindSpore folds a tuple of tensors, are several constants."""
    several = isinstance(value, Constant) and isinstance(value.value, tuple) and any(
        isinstance(item, np.ndarray) for item in value.value)
    return tuple(map(Constant, value.value)) if several else value  # type: ignore[union-attr]


def _tensor_info(name: str, kind: str, shape: Sequence[Any]) -> Any:
    """What an ONNX file says of an input or output; a size that is free has a name, one that is not known has none."""
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)),
                                         [None if size == -1 else size for size in shape])


def _read_nodes(nodes: Sequence[tuple], outputs: Iterable[str]) -> List[tuple]:
    """The nodes that an output depends on, in their order."""
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node[2]):
            wanted.update(node[1])
            found.append(node)
    return found[::-1]


def _named_nodes(nodes: Sequence[tuple], sources: Mapping[str, str]) -> List[tuple]:
    """The nodes, such that the outputs have their names: that of the node which makes them, or an Identity's."""
    read = [name for _, inputs, _, _ in nodes for name in inputs] + list(sources.values())
    makers = {name for _, _, names, _ in nodes for name in names}
    new = {source: name for name, source in sources.items() if source in makers and read.count(source) == 1}
    named = [(operator, inputs, tuple(new.get(name, name) for name in names), attributes)
             for operator, inputs, names, attributes in nodes]
    return named + [("Identity", [source], (name,), {}) for name, source in sources.items() if source not in new]


def _assembled(nodes: Sequence[tuple], inputs: Sequence[Any], outputs: Sequence[Any], arrays: Mapping[str, np.ndarray],
               opset: int, notes: Mapping[str, str]) -> Any:
    """The model, as onnx's protobuf."""
    from onnx import helper, numpy_helper

    made = [helper.make_node(operator, read, names, name=names[0], **attributes)
            for operator, read, names, attributes in nodes]
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    model = helper.make_model(helper.make_graph(made, "golden_stick", inputs, outputs, tensors),
                              opset_imports=[helper.make_opsetid("", opset)], producer_name="golden_stick")
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    helper.set_model_props(model, dict(notes))
    return model


# A protobuf message cannot be larger; room is left for the nodes.
LARGEST = 2 ** 31 - 2 ** 24


class Expression:
    """A value of an ONNX file that formulas can be written with: ``x * 2``, ``x("Tanh")``, ``x("Max", 0)``."""

    def __init__(self, writer: "Writer", node: Node, name: str):
        self.name, self.writer, self.node = name, writer, node

    def __call__(self, operator: str, *others: Any, **attributes: Any) -> "Expression":
        names = [self.name, *(self._name(other) for other in others)]
        return Expression(self.writer, self.node, self.writer.emit(operator, names, **attributes))

    def reduced(self, operator: str, axes: Optional[Sequence[int]], keep: bool = True) -> "Expression":
        """As of :meth:`Writer.reduce`."""
        return Expression(self.writer, self.node, self.writer.reduce(operator, self.name, axes, keep))

    def _name(self, other: Any) -> str:
        return other.name if isinstance(other, Expression) else self.writer.scalar(self.node, other)

    def __add__(self, other: Any) -> "Expression":
        return self("Add", other)

    def __sub__(self, other: Any) -> "Expression":
        return self("Sub", other)

    def __rsub__(self, other: Any) -> "Expression":
        return Expression(self.writer, self.node, self._name(other))("Sub", self)

    def __mul__(self, other: Any) -> "Expression":
        return self("Mul", other)

    def __truediv__(self, other: Any) -> "Expression":
        return self("Div", other)


class Writer:
    """
    Collects ONNX nodes and weights (name of a parameter -> array) while the rules walk the graph. Writers of one
    network at several sizes share a `store`, digest -> name and array: equal constants have one name and stand once in
    memory. `names` are those of the inputs.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, np.ndarray], opset: int, names: Sequence[str] = (),
                 store: Optional[Dict[str, Tuple[str, np.ndarray]]] = None):
        self.graph, self.opset, self._weights = graph, opset, weights
        self._names: Dict[Any, str] = dict(zip(graph.inputs, names or [item.name for item in graph.inputs]))
        self.inputs, self.outputs = list(self._names.values()), []  # type: List[str], List[str]
        self.nodes: List[tuple] = []
        self.arrays: Dict[str, np.ndarray] = {}
        # Of the values whose shape the trace knows.
        self.shapes: Dict[str, Tuple[int, ...]] = {name: item.shape for item, name in self._names.items()}
        self.lengths: Callable[[str], Sequence[Any]] = self.shapes.__getitem__  # sizes that are free are strings
        self._store = {} if store is None else store
        self._reshaped: Dict[str, Tuple[str, tuple]] = {}  # name -> what it was before its reshapes, and its shape
        self._used = {*self.inputs, *(item.name for item in graph.parameters)}
        self._at = ""

    def run(self, rules: Mapping[str, Any]) -> "Writer":
        """Write every node that an output depends on."""
        needed = {value.node for value in flatten(self.graph.outputs) if isinstance(value, Result)}
        for node in reversed(self.graph.nodes):
            if node.number in needed:
                needed.update(value.node for value in flatten(node.inputs) if isinstance(value, Result))
        nodes = [node for node in self.graph.nodes if node.number in needed]
        self._check(nodes, rules)
        for node in nodes:
            self._at = f"{node.scope}/{node.operator}" if node.scope else node.operator
            self.type(Result(node.number))
            made = rules[node.operator](self, replace(node, inputs=tuple(map(_opened, node.inputs))))
            for at, name in enumerate((made,) if isinstance(made, str) else made):
                if name is not None:
                    self._names[Result(node.number, at)] = name
                    self.shapes.setdefault(name, node.shapes[at] if at < len(node.shapes) else ())
        # ONNX has no None: who runs the file gets the other outputs, in order.
        for value in flatten(self.graph.outputs):
            if not is_none(value):
                self.outputs.append(self.of(value))
                self.shapes.setdefault(self.outputs[-1], self.shape(value))
        return self

    @staticmethod
    def _check(nodes: Sequence[Node], rules: Mapping[str, Any]) -> None:
        """Refuse operators without a rule, all of them at once."""
        branch = next((node for node in nodes if node.operator == CONTROL_FLOW), None)
        if branch:
            raise ExportError(f"For 'export', the network must have no branch or loop that a tensor's values decide, "
                              f"but got one in '{branch.scope}': an ONNX file holds one fixed graph here.")
        missing: Dict[str, List[str]] = {}
        for node in nodes:
            if node.operator not in rules and f"'{node.scope}'" not in missing.setdefault(node.operator, []):
                missing[node.operator].append(f"'{node.scope}'")
        if missing:
            named = "; ".join(f"{operator} in {', '.join(places)}" for operator, places in missing.items())
            raise ExportError(f"For 'export', every operator must have an ONNX rule, but got {len(missing)} without "
                              f"one: {named}. Teach them with 'golden_stick.deploy.onnx.add_onnx_rule'.")

    def of(self, value: Value, like: Optional[str] = None) -> str:
        """The ONNX name of a value. `like` is numpy's name of the type it must have; by default it keeps its own."""
        if isinstance(value, Constant):
            return self.constant(np.asarray(value.value).astype(like or self.type(value)))
        if isinstance(value, Parameter):
            array, name = self._weights[value.name], f"{value.name}:{value.type}" if value.type else value.name
            self.arrays.setdefault(name, array.astype(value.type) if value.type else array)
            self.shapes.setdefault(name, value.shape)
        elif isinstance(value, Result) and value not in self._names:
            raise ExportError(f"For 'export', output {value.index} of {self.graph.nodes[value.node]} must not be read: "
                              f"its ONNX rule writes the others only.")
        else:
            name = self._names[value]
        return name if like is None or self.type(value) == like else self.cast(name, like)

    def type(self, value: Value) -> str:
        """Numpy's name of the type of a value's numbers."""
        if isinstance(value, Constant):
            written = np.asarray(value.value).dtype.name
            return "float32" if written == "float64" and not isinstance(value.value, np.ndarray) else written
        if isinstance(value, Parameter):
            return value.type or self._weights[value.name].dtype.name
        if isinstance(value, Result):
            node = self.graph.nodes[value.node]
            kind, what = node.types[value.index] if value.index < len(node.types) else "", str(node)
        elif isinstance(value, Input):
            kind, what = value.type, f"the input '{value.name}'"
        if not kind:
            raise ExportError(f"For 'export', every tensor must be of a type that numpy has as well, but got {what}, "
                              f"which is not.")
        return kind

    def shape(self, value: Value) -> Tuple[int, ...]:
        """Shape of a value."""
        return self.graph.shape(value)

    def weight(self, value: Value) -> Optional[np.ndarray]:
        """The array of a parameter or a constant; None where it is computed."""
        if isinstance(value, Parameter):
            array = self._weights[value.name]
            return array.astype(value.type) if value.type else array
        return value.value if isinstance(value, Constant) and isinstance(value.value, np.ndarray) else None

    def number(self, node: Node, at: Optional[int], default: Any = None) -> Any:
        """The number, tuple, string or None that is input number `at` of a node, as Python's own type."""
        if at is None or at >= len(node.inputs):
            return default
        value = node.inputs[at]
        numbers = []
        for item in value if isinstance(value, tuple) else (value,):
            if not isinstance(item, Constant):
                raise ExportError(f"For 'export', input {at} of {node} must be written in the code, but is computed.")
            numbers.append(item.value.tolist() if isinstance(item.value, np.ndarray) else item.value)
        return tuple(numbers) if isinstance(value, tuple) else numbers[0]

    def emit(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add an ONNX node, and name its output. An input '' is left out, and so are attributes that are None."""
        return self.emit_several(operator, inputs, 1, **attributes)[0]

    def emit_several(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> Tuple[str, ...]:
        """As `emit`, of a node with several outputs: their names."""
        attributes = {key: value for key, value in attributes.items() if value is not None}
        names = tuple(self._fresh(f"{self._at}/{operator}") for _ in range(outputs))
        self.nodes.append((operator, list(inputs), names, attributes))
        return names

    def maker(self, name: str) -> Optional[str]:
        """The ONNX operator that makes a value; None for inputs and weights."""
        return next((operator for operator, _, names, _ in reversed(self.nodes) if name in names), None)

    def _fresh(self, wanted: str) -> str:
        names = itertools.chain([wanted], (f"{wanted}_{count}" for count in itertools.count(1)))
        name = next(name for name in names if name not in self._used)
        self._used.add(name)
        return name

    def constant(self, array: Any, dtype: Any = None) -> str:
        """The name of an array, written once however often it is read."""
        array = np.ascontiguousarray(array, dtype).reshape(np.shape(array))
        digest = digest_of([f"{array.dtype}{array.shape}", array])
        if digest not in self._store:
            self._store[digest] = self._fresh(f"constant_{len(self._store)}"), array
        name, self.arrays[name] = self._store[digest]
        return name

    def vector(self, numbers: Sequence[int]) -> str:
        """Whole numbers as a tensor of rank 1."""
        return self.constant(np.asarray(tuple(numbers), np.int64))

    def cast(self, name: str, dtype: str) -> str:
        """The tensor of that name in another type."""
        from onnx import helper

        return self.emit("Cast", [name], to=int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))

    def reshape(self, name: str, shape: Sequence[int], old_shape: Optional[Sequence[int]] = None) -> str:
        """The tensor of that name in another shape; with `old_shape`, which it has, a reshape of a reshape is one."""
        # Or none, where it comes back to where it began: one keeps a runtime from handing on a layout of its own.
        name, old_shape = self._reshaped.get(name, (name, old_shape))
        if old_shape is not None and tuple(shape) == tuple(old_shape):
            return name
        made = self.emit("Reshape", [name, self.vector(shape)])
        if -1 not in shape:
            self.shapes[made] = tuple(shape)
        if old_shape is not None:
            self._reshaped[made] = name, tuple(old_shape)
        return made

    def squeeze(self, name: str, axes: Sequence[int]) -> str:
        """Without axes of length 1."""
        return self.emit("Squeeze", [name, self.vector(axes)])

    def unsqueeze(self, name: str, axes: Sequence[int]) -> str:
        """With new axes of length 1, at these places of the result."""
        return self.emit("Unsqueeze", [name, self.vector(axes)])

    def slice(self, name: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """A slice along one axis."""
        return self.emit("Slice", [name, *(self.vector([item]) for item in (start, stop, axis, step))])

    def reduce(self, operator: str, name: str, axes: Optional[Sequence[int]], keep: bool) -> str:
        """ONNX's ``'ReduceMean'`` and its kin over `axes`, all of them where None; axes became an input in opset 18."""
        if axes is None:
            return self.emit(operator, [name], keepdims=int(keep))
        if self.opset >= 18 or operator == "ReduceSum":
            return self.emit(operator, [name, self.vector(axes)], keepdims=int(keep))
        return self.emit(operator, [name], axes=list(axes), keepdims=int(keep))

    def expression(self, node: Node, value: Union[Value, str]) -> Expression:
        """A value, in the type that a node puts out, to write formulas with; or the ONNX value of that name."""
        return Expression(self, node, value if isinstance(value, str) else self.of(value, node.types[0]))

    def scalar(self, node: Node, number: float) -> str:
        """A number of the type that a node puts out."""
        return self.constant(np.asarray(number, node.types[0]))

    def refuse(self, node: Node, reason: str) -> ExportError:
        """The error that a rule raises where ONNX cannot say what a node does."""
        return ExportError(f"For 'export', {node} cannot be written to ONNX: {reason}.")

    def model(self, notes: Mapping[str, str], wanted: Sequence[str] = ()) -> Any:
        """The ONNX model, as onnx's protobuf, with notes for its metadata; `wanted` are names of the outputs."""
        several = len(self.outputs) > 1
        names = [self._fresh(wanted[index] if any(wanted[index:index + 1]) else f"output{index if several else ''}")
                 for index in range(len(self.outputs))]
        sources = dict(zip(names, self.outputs))
        nodes = _named_nodes(_read_nodes(self.nodes, sources.values()), sources)
        values = [value for value in flatten(self.graph.outputs) if not is_none(value)]
        outputs = [_tensor_info(name, self.type(value), self.lengths(source))
                   for value, name, source in zip(values, names, self.outputs)]
        read = {name for _, inputs, _, _ in nodes for name in inputs}
        arrays = {name: array for name, array in self.arrays.items() if name in read}
        size = sum(array.nbytes for array in arrays.values())
        if size > LARGEST:
            raise ExportError(f"For 'export', the weights of an ONNX file must be less than 2 GiB, but got "
                              f"{size / 2 ** 30:.1f} GiB: use file_format='MINDIR'.")
        inputs = [_tensor_info(name, item.type, self.lengths(name))
                  for item, name in zip(self.graph.inputs, self.inputs)]
        return _assembled(nodes, inputs, outputs, arrays, self.opset, notes)
