"""
Slimming for trial: what the numbers in a network's code can do without.

A reshape to `(-1, 512)` and one to `x.shape[1] * 49` are the same in the graph. So the network is slimmed by any
channels, compiled, and every shape compared with the one that the labels say. Where they differ, another reading of the
numbers is tried, and if none holds, the channels stay.
"""
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import chain, combinations, islice
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn

from golden_stick.base.errors import SlimError, TraceError, VerifyError, first_line
from golden_stick.base.inputs import progress
from golden_stick.cells.replay import run_until_failure
from golden_stick.cells.slim import carry_out, cut_parameter, verify
from golden_stick.cells.trace import located, trace_for, trace_hidden
from golden_stick.cells.wrappers import (
    copy_network,
    masked_network,
    names_read,
    record_of,
    silence,
    unchanging,
)
from golden_stick.graph.flow import BESIDE, FAILS, WIDTH, Place
from golden_stick.graph.groups import ChannelGroup, Grouping, WidthAttribute, groups_without
from golden_stick.graph.ir import Constant, Graph, Parameter, Result, flatten
from golden_stick.graph.layers import Layer
from golden_stick.graph.plan import KeptAxis, PruningPlan, removed_channels, shrunk_shapes
from golden_stick.graph.rules import RULES
from golden_stick.graph.rules.arithmetic import elementwise, residual_sum
from golden_stick.prune.budget import trial_of
from golden_stick.prune.report import refuse_inputs

__all__ = ["surviving_groups", "trace_slim", "with_hidden"]


# Every attempt refutes at least one reading; a network that needs more of them is refused.
_ATTEMPTS = 40


def with_hidden(name: str, network: nn.Cell, tensors: Tuple[ms.Tensor, ...], graph: Graph) -> Graph:
    """`trace_hidden`, or the graph as it is where that cannot be compiled: the report then names its parameters."""
    try:
        return trace_hidden(name, network, tensors, graph)
    except TraceError:
        return graph


@progress("slimming for trial")
def surviving_groups(name: str, network: nn.Cell, graph: Graph, tensors: Tuple[ms.Tensor, ...],
                     config: Mapping[str, Any]) -> Tuple[Grouping, Optional[Graph]]:
    """The channel groups of a network that survives losing them, for the caller `name` with this configuration; and the
    graph of the network that was slimmed for trial, None if nothing was."""
    subject = _Subject(name, network, graph, tensors)
    try:
        return _survivors(subject, config)
    finally:
        subject.put_names_back()


def _survivors(subject: "_Subject", config: Mapping[str, Any]) -> Tuple[Grouping, Optional[Graph]]:
    """`surviving_groups` of a subject."""
    name, network, graph, tensors = subject.name, subject.network, subject.graph, subject.tensors
    rejected_readings: Counter = Counter()
    policies: Dict[str, Any] = {key: config[key] for key in ("residual", "normalization", "heads")}
    left_out: FrozenSet[_Key] = frozenset()  # attributes that are not taken for widths
    others: Optional[Iterator[FrozenSet[_Key]]] = None  # what else may be left out before a reading is given up
    free = None
    for _ in range(_ATTEMPTS):
        free = grouping = free or _freest(graph, rejected_readings, policies)
        tied = partial(groups_without, graph, Counter(rejected_readings), **policies)
        grouping, keys, ties = _with_attributes(subject, grouping, left_out, tied)
        named = partial(_with_lines, network, graph, tensors, rejected_readings, policies)
        plan = trial_of(name, grouping, config)
        if not plan.axes:
            return named(grouping, ties), None
        wrong, failure, compiled = _tried(subject, grouping, plan)
        if not wrong and not failure:
            if _hidden_fits(subject, grouping, plan):
                return named(grouping, ties), compiled
            policies["hidden_stays"], free = True, None
            continue
        others = _choices(subject, keys, grouping, wrong) if others is None else others
        left_out = next(others, frozenset())
        if left_out:
            continue
        others = free = None
        if failure:
            # Zeros that are joined are made elsewhere: where they break the network does not lead to them.
            zeros = {number for number in grouping.read_numbers if graph.nodes[number].operator == "Concat"}
            if zeros - set(rejected_readings):
                rejected_readings.update(zeros)
            else:
                _hold_more(policies, subject, grouping, config, failure)
            continue
        otherwise = _read_otherwise(graph, grouping, wrong)
        if otherwise:
            rejected_readings.update(otherwise)
            continue
        again = any(rejected_readings[number] for number in wrong - set(grouping.read_numbers))
        if not again or not _hold(policies, subject, grouping, config, _entered(subject, wrong)):
            rejected_readings.update(wrong)
    raise SlimError(f"For '{name}', the slim network must compile, but {_ATTEMPTS} ways to read the numbers in the "
                    f"network's code have failed. Take them from the inputs' shapes instead.")


def _entered(subject: "_Subject", wrong: Set[int]) -> str:
    """Why channels stay that a number is computed from which enters the results at these nodes."""
    nodes = located(subject.graph, subject.network, subject.tensors).nodes
    return f"{WIDTH} ({', '.join(str(nodes[number]) for number in sorted(wrong))})"


def _hold_more(policies: Dict[str, Any], subject: "_Subject", grouping: Grouping, config: Mapping[str, Any],
               failure: SlimError) -> None:
    """Let what the graph's hidden nodes read stay; then the groups without which the code fails."""
    if subject.graph.hidden and not policies.get("hidden_stays"):
        policies["hidden_stays"] = True
        return
    said = str(failure)
    reason = f"{FAILS} ({said.partition('MindSpore says: ')[2] or said.partition(', but ')[2]})"
    if subject.graph.hidden:  # what nobody reads may meet channels in code that the graph does not show
        path = run_until_failure(subject.smaller(trial_of(subject.name, grouping, config)), subject.tensors)[0]
        reason = f"{BESIDE} ({f'in {path!r}' if path else 'in the outermost Cell'})"
    # No rule of an operator is wrong, but the user's code.
    if not isinstance(failure.__cause__, (TraceError, VerifyError)) or not _hold(policies, subject, grouping, config,
                                                                                 reason):
        raise failure


def _hold(policies: Dict[str, Any], subject: "_Subject", grouping: Grouping, config: Mapping[str, Any], reason: str
          ) -> bool:
    """Let the groups stay that the network cannot lose channels of, for a reason; whether there are any."""
    plan_of = partial(trial_of, subject.name, config={**config, "prune_rate": None, "max_rate": 1.0})  # no pattern
    found = _breaking(subject, grouping, plan_of)
    policies["stays"] = (*policies.get("stays", ()), *(
        (item.parameter, item.axis, np.isin(item.channels, group.channels), reason)
        for group in found for item in group.filters))
    return bool(found)


def _breaking(subject: "_Subject", grouping: Grouping, plan_of: Callable[[Grouping], PruningPlan]
              ) -> Tuple[ChannelGroup, ...]:
    """The groups that the network cannot lose channels of, found by halves: a failure does not tell them."""
    plan = plan_of(grouping)
    wrong, failure, _ = _tried(subject, grouping, plan) if plan.axes else (set(), None, None)
    if not wrong and not failure:
        return ()
    half = len(grouping) // 2
    parts = (grouping.groups[:half], grouping.groups[half:]) if half else ()
    # Two may break it together, and neither alone.
    return tuple(group for part in parts for group in _breaking(subject, replace(grouping, groups=part), plan_of)
                 ) or grouping.groups


# An attribute of a class, and keys of tuples and dicts in it.
_Key = Tuple[type, str, Tuple[Any, ...]]
# So many sets of attributes are tried before all of them are left out.
_CHOICES = 7


def _choices(subject: "_Subject", keys: Mapping[_Key, Set[str]], grouping: Grouping, wrong: Set[int]
             ) -> Iterator[FrozenSet[_Key]]:
    """What to leave out of attributes where the slim network failed at these nodes: one, two and more of them, then
    all. An attribute that is no width may hold the same number as one that is."""
    around = {path for number in wrong for path in subject.around(number, grouping.read_numbers.get(number, ""))}
    blamed = frozenset(key for key, paths in keys.items() if paths & around)
    sets = (combinations(sorted(blamed, key=str), size) for size in range(1, len(blamed)))
    yield from map(frozenset, islice(chain.from_iterable(sets), _CHOICES))
    # Where all shapes fit, attributes hold widths: with none of them taken for one, shapes would not.
    if blamed and wrong & set(grouping.read_numbers):
        yield blamed


def _read_otherwise(graph: Graph, grouping: Grouping, wrong: Set[int]) -> Set[int]:
    """Nodes that split channels for heads in the Cells where a number that is computed from a width entered: the heads
    can go, and leave that width as it is."""
    if wrong & set(grouping.read_numbers):
        return set()
    split = grouping.readable & set(grouping.read_numbers)
    before, waiting = set(wrong), list(wrong)
    while waiting:
        node = graph.nodes[waiting.pop()]
        read = {value.node for value in flatten(node.inputs) if isinstance(value, Result)} - before
        if node.number not in split and not any(isinstance(value, Parameter) for value in node.inputs):
            before |= read
            waiting.extend(read)
    scopes = {graph.nodes[number].scope for number in before & split}
    return {number for number in split if graph.nodes[number].scope in scopes}


def _with_attributes(subject: "_Subject", grouping: Grouping, left_out: FrozenSet[_Key], tied: Callable[..., Grouping]
                     ) -> Tuple[Grouping, Dict[_Key, Set[str]], List[Tuple[Place, Place]]]:
    """The grouping with the numbers in Cells that shrink with its channels; which attributes these are, where; and what
    they tie together."""
    graph, held, cells = subject.graph, subject.numbers, dict(subject.network.cells_and_names())
    found: Dict[Tuple[str, str, Tuple[Any, ...]], List[Place]] = {}
    for number, rows in grouping.widths.items():
        for row, channels in enumerate(rows):
            if (channels >= 0).any() and not _passes(cells, graph, grouping, number, len(channels)):
                around = subject.around(number, grouping.read_numbers[number])
                for path in [path for path in around if len(channels) in held.get(path, {}).values()][:1]:
                    for (name, item), value in held[path].items():
                        if value == len(channels) and (type(cells[path]), name, item) not in left_out:
                            found.setdefault((path, name, item), []).append((number, row))
    ties = [(places[0], other) for places in found.values() for other in places[1:]]
    grouping = tied(ties=ties) if ties else grouping
    own = tuple(WidthAttribute(*key, grouping.widths[number][row]) for key, ((number, row), *_) in found.items())
    keys: Dict[_Key, Set[str]] = {}
    for path, name, item in found:
        keys.setdefault((type(cells[path]), name, item), set()).add(path)
    return replace(grouping, attributes=grouping.attributes + own), keys, ties


def _around(*paths: str) -> List[str]:
    """Paths of Cells, each followed by those around it, innermost first; last the network's."""
    return [".".join(path.split(".")[:count]) for path in paths if path
            for count in range(path.count(".") + 1, 0, -1)] + [""]


def _passes(cells: Mapping[str, nn.Cell], graph: Graph, grouping: Grouping, number: int, width: int) -> bool:
    """Whether a node only brings what a layer of MindSpore's reads into rows, which takes no number of the user's."""
    node, made = graph.nodes[number], grouping.outputs[number][0]
    return (isinstance(record_of(cells.get(node.scope, nn.Cell())), Layer)
            and [len(channels) for _, channels in made] == [width] and width in graph.shape(node.inputs[0]))


def _numbers_held(cell: nn.Cell, names: FrozenSet[str]) -> Dict[Tuple[str, Tuple[Any, ...]], int]:
    """The whole numbers above 1 that code reads of a Cell by these names: attribute, and keys of tuples and dicts in
    it -> number."""
    own = names & set(vars(cell)) if record_of(cell) is None else ()  # of the others, the slimmer knows its attributes
    return {(name, place): value for name in own for place, value in _whole_numbers(vars(cell)[name]) if value > 1}


def _whole_numbers(held: Any) -> Iterator[Tuple[Tuple[Any, ...], int]]:
    """The whole numbers in tuples, lists and dicts of such, and by which keys they are reached."""
    if isinstance(held, int) and not isinstance(held, bool):
        yield (), held
    items = held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, (tuple, list)) else ()
    yield from (((key, *place), value) for key, item in items if isinstance(key, (int, str))
                for place, value in _whole_numbers(item))


def _with_lines(network: nn.Cell, graph: Graph, tensors: Tuple[ms.Tensor, ...], rejected_readings: Counter,
                policies: Mapping[str, Any], grouping: Grouping, ties: Sequence[Tuple[Place, Place]]) -> Grouping:
    """The same grouping, whose reasons name lines of the user's code where numbers in it are to blame."""
    reasons = {reason for reasons in (*grouping.kept.values(), *(layer.reasons for layer in grouping.fixed))
               for reason in reasons}
    if not grouping.other_heads and not any("written in the code" in reason or WIDTH in reason for reason in reasons):
        return grouping
    again = groups_without(located(graph, network, tensors), rejected_readings, ties=ties, **policies)
    return replace(grouping, fixed=again.fixed, kept=again.kept, other_heads=again.other_heads)


class _Subject:
    """The network that plans are tried on, for the caller `name`, its graph and inputs."""

    def __init__(self, name: str, network: nn.Cell, graph: Graph, tensors: Tuple[ms.Tensor, ...]):
        self.name, self.network, self.graph, self.tensors = name, network, graph, tensors
        self._passed: Dict[str, bool] = {}  # path of a Cell -> whether the network runs until it has returned
        self._names = [(item, item.name) for item in network.get_parameters()]
        self._readers = graph.consumers()
        self._cut: Dict[Any, ms.Parameter] = {}  # parameter and axes -> what is left, for all plans that agree there
        written = {value.name for node in graph.nodes if node.attributes.get("side_effect_mem")
                   for value in flatten(node.inputs) if isinstance(value, Parameter)}
        held = [item for _, cell in network.cells_and_names() if record_of(cell) is not None
                for item in cell._params.values() if item is not None and item.name not in written]
        # What nothing changes that runs, so that copies share it.
        self._shared = {id(item): item for item in unchanging(network) + held}
        # What a Cell holds may be read by the code of one around it.
        names = {path: names_read(cell) for path, cell in network.cells_and_names()}
        self.numbers = {path: _numbers_held(cell, frozenset().union(*(names[around] for around in _around(path))))
                        for path, cell in network.cells_and_names()}

    def around(self, number: int, nearest: str) -> List[str]:
        """
        Paths of the Cells in which a node may stand, innermost first: by its scope, by the nearest Cell, the network.

        MindSpore compiles a slice once for all Cells, so that it may have the scope of another: where nothing that it
        reads, or that reads it, stands in that Cell, first come those around its reader.
        """
        node = self.graph.nodes[number]
        readers = [reader for reader in self._readers.get(Result(number), ()) if reader >= 0]
        beside = {self.graph.nodes[other].scope for other in (*readers, *(
            value.node for value in flatten(node.inputs) if isinstance(value, Result)))}
        strange = bool(readers) and any(path.startswith(f"{node.scope}.") for path in self.numbers) and not any(
            path == node.scope or path.startswith(f"{node.scope}.") for path in beside)
        return _around(*([self.graph.nodes[readers[0]].scope] if strange else ()), node.scope, nearest)

    def put_names_back(self) -> None:
        """What is shared has the names that it had: code that runs may give others, such as a slice of a CellList."""
        for item, name in self._names:
            item.name = name

    def smaller(self, plan: PruningPlan) -> nn.Cell:
        """The network slimmed by a plan."""
        self.put_names_back()
        return carry_out(plan, self.network, self.name, self._shared, self._cut_once)

    def _cut_once(self, parameter: ms.Parameter, axes: Tuple[KeptAxis, ...]) -> ms.Parameter:
        if id(parameter) not in self._shared:
            return cut_parameter(parameter, axes)
        key = (id(parameter), axes)
        if key not in self._cut:
            self._cut[key] = cut_parameter(parameter, axes)
            self._names.append((self._cut[key], parameter.name))
        return self._cut[key]

    def passes(self, path: str) -> bool:
        """Whether the network itself gets through a Cell in PyNative mode: code may be made for GRAPH mode alone."""
        if path not in self._passed:
            self.put_names_back()
            copied = copy_network(self.network, self.name, self._shared)
            self._passed[path] = run_until_failure(copied, self.tensors, path)[0] is None
        return self._passed[path]


def _tried(subject: _Subject, grouping: Grouping, plan: PruningPlan
           ) -> Tuple[Set[int], Optional[SlimError], Optional[Graph]]:
    """`_attempt`; or where nothing says which number is wrong, all that were read, and the error."""
    try:
        wrong, compiled = _attempt(subject, grouping, plan)
        return wrong, None, compiled
    except SlimError as error:
        return set(grouping.read_numbers), error, None


def _attempt(subject: _Subject, grouping: Grouping, plan: PruningPlan) -> Tuple[Set[int], Optional[Graph]]:
    """Slim for trial; returns the nodes that were read wrongly, none if all is well, and what was compiled."""
    graph, smaller = subject.graph, subject.smaller(plan)
    wrong = _rejected(subject, grouping, smaller)
    if wrong:
        return wrong, None
    try:
        with silence():
            traced = trace_slim(subject.name, smaller, subject.tensors)
    except SlimError:
        wrong = _suspects(subject, grouping, smaller, *run_until_failure(smaller, subject.tensors))
        if wrong:
            return wrong, None
        raise
    if [node.operator for node in traced.nodes] == [node.operator for node in graph.nodes[:graph.evaluated]]:
        return _misfits(subject.name, graph, traced, grouping, plan), traced
    # A scatter adds operators, and the compiler may order them otherwise: shapes cannot be compared one by one, but
    # outputs can.
    if not grouping.inexact:
        try:
            verify(masked_network(subject.network, plan), smaller, subject.tensors)
        except VerifyError as error:
            refuse_inputs(subject.name, subject.network, subject.tensors)
            raise SlimError(f"For '{subject.name}', the network slimmed for trial must give what the masked one gives, "
                            f"but a number in its code depends on a width: {str(error).partition(', ')[2]}") from error
    return set(), traced


def _rejected(subject: _Subject, grouping: Grouping, smaller: nn.Cell) -> Set[int]:
    """Nodes whose numbers break the slim network where it is run, which costs less than to compile it: until the Cells
    that numbers were read in have returned, of those that are alike the first."""
    first: Dict[Any, int] = {}
    for number in grouping.read_numbers:
        first.setdefault(_signature(subject.graph, number), number)
    if not first:
        return set()
    scope = subject.graph.nodes[max(first.values())].scope
    failing, finished = run_until_failure(smaller, subject.tensors, scope.rpartition(".")[0] or scope)
    if failing is None or not subject.passes(failing):
        return set()
    return _suspects(subject, grouping, smaller, failing, finished)


def _hidden_fits(subject: _Subject, grouping: Grouping, plan: PruningPlan) -> bool:
    """Whether what evaluation does not need, such as a branch for training alone, can do without the channels too."""
    graph, name, tensors = subject.graph, subject.name, subject.tensors
    if not graph.hidden:
        return True
    smaller = subject.smaller(plan)
    try:
        with silence():
            traced = trace_hidden(name, smaller, tensors, trace_for(name, smaller, tensors))
    except TraceError:
        return False
    if [node.operator for node in traced.nodes] != [node.operator for node in graph.nodes]:
        return True  # see `_attempt`
    gone = removed_channels(grouping, plan)
    return all(traced.nodes[node.number].shapes[0] == shrunk_shapes(node, grouping.outputs[node.number], gone)[0]
               for node in graph.hidden)


def trace_slim(name: str, smaller: nn.Cell, tensors: Tuple[ms.Tensor, ...]) -> Graph:
    """The trace of a slim network, which need not compile."""
    try:
        return trace_for(name, smaller, tensors)
    except TraceError as error:
        raise SlimError(f"For '{name}', the slim network must compile, but a number in the network's code does not fit "
                        f"its new widths. Take it from the input's shape, or write -1 for it. MindSpore says: "
                        f"{first_line(error.__cause__ or error)}") from error


def _freest(graph: Graph, rejected_readings: Counter, policies: Mapping[str, Any]) -> Grouping:
    """The groups, where splits of channels that leave none to remove are read otherwise if that helps."""
    best = other = groups_without(graph, rejected_readings, **policies)
    tried: Counter = Counter()
    while other.stuck:
        tried.update(other.stuck)
        other = groups_without(graph, rejected_readings + tried, **policies)
        if sum(len(group.channels) for group in other) > sum(len(group.channels) for group in best):
            best = other
            rejected_readings.update(tried)
            tried.clear()
    return best


def _misfits(name: str, graph: Graph, smaller: Graph, grouping: Grouping, plan: PruningPlan) -> Set[int]:
    """Nodes whose output has another shape than the labels say, although their inputs have not."""
    gone = removed_channels(grouping, plan)
    expected = [shrunk_shapes(node, found, gone) for node, found in zip(graph.nodes, grouping.outputs)]
    # Outputs that nobody reads, such as the statistics that a normalization also gives, carry no labels.
    wrong = {node for node, index in ((result.node, result.index) for result in graph.consumers())
             if node < len(smaller.nodes) and node not in grouping.untold
             and smaller.nodes[node].shapes[index:index + 1] != (expected[node][index],)}
    origins = {number for number in wrong if not wrong & {
        value.node for value in flatten(graph.nodes[number].inputs) if isinstance(value, Result)}}
    blamed = origins & set(grouping.read_numbers)
    if not origins:
        return _computed(graph, smaller) | {
            number for number, (at, axis, channels) in grouping.counts.items()
            if _said(smaller, number, at, axis) != (~np.isin(channels, gone)).sum()}
    if not blamed:
        node = graph.nodes[min(origins)]
        raise SlimError(f"For '{name}', the output of {node} must have shape {expected[node.number][0]}, as its rule "
                        f"says, but got {smaller.nodes[node.number].shapes[0]}.")
    return blamed


def _said(graph: Graph, number: int, at: int, axis: Optional[int]) -> Optional[int]:
    """The number that stands in an argument, or there at an axis, from whose end it may count."""
    node = graph.nodes[number]
    said = getattr(node.inputs[at], "value", None)
    return said if axis is None or said is None else said[axis] % graph.shape(node.inputs[0])[axis]


def _computed(graph: Graph, smaller: Graph) -> Set[int]:
    """Nodes that calculate with a number which depends on a width, such as the root of an attention's."""
    return {node.number for node, other in zip(graph.nodes, smaller.nodes)
            if RULES.get(node.operator) and RULES[node.operator].flow in (elementwise, residual_sum)
            and any(not _same_number(one.value, two.value) for one, two in zip(node.inputs, other.inputs)
                    if isinstance(one, Constant) and isinstance(two, Constant))}


def _same_number(one: Any, two: Any) -> bool:
    """Whether two constants are equal, or one number all over."""
    return np.array_equal(one, two) or (np.ndim(one) == np.ndim(two) > 0 and len({*np.ravel(one), *np.ravel(two)}) == 1)


def _suspects(subject: _Subject, grouping: Grouping, smaller: nn.Cell, failing: Optional[str], finished: Sequence[str]
              ) -> Set[int]:
    """
    Nodes that may hold the number which broke a network, as running it operator by operator has shown.

    They stand in the Cell that failed and read its weight, or follow the last layer that ran before, or else the one
    before that, and so on. What breaks one Cell of a class breaks all of them, so they are taken together.
    """
    cells, graph, failing = dict(smaller.cells_and_names()), subject.graph, failing or ""
    moving = graph.moving()
    owned = {number: path for number, path in grouping.read_numbers.items()
             # Layers of MindSpore's own take their numbers from attributes, which the slimmer sets.
             if not isinstance(cells.get(graph.nodes[number].scope), nn.Dense)}
    # A layer such as a GRU keeps its weights outside the Cell that computes with them.
    inside = _around(failing)[:-1] or [failing]
    for last in [*inside, *reversed(finished)]:
        twins = _twins(cells, failing, last)
        found = {_signature(graph, number) for number, path in owned.items() if path in twins
                 # Of the Cell that failed, what follows its layer has not run yet.
                 and (last not in inside or number not in moving
                      or any(isinstance(item, Parameter) for item in graph.nodes[number].inputs))}
        if found:
            # Queries, keys and values must be read alike, or they do not fit each other.
            return {number for number in owned if _signature(graph, number) in found}
    return set()


def _signature(graph: Graph, number: int) -> Tuple[str, Tuple[int, ...], Tuple[int, ...]]:
    node = graph.nodes[number]
    return node.operator, graph.shape(flatten(node.inputs)[0]), node.shapes[0]


def _twins(cells: Mapping[str, nn.Cell], failing: str, last: str) -> Set[str]:
    """The Cells that stand where `last` does, in every Cell of the class of the one around it and the failing one."""
    names, others = failing.split("."), last.split(".")
    shared = next((index for index, pair in enumerate(zip(names, others)) if pair[0] != pair[1]),
                  min(len(names), len(others)))
    around, rest = ".".join(others[:shared]), others[shared:]
    kind = type(cells[around])
    return {".".join(part for part in (path, *rest) if part) for path, cell in cells.items() if type(cell) is kind}
