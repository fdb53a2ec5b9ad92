"""
Slimming for trial: what the numbers in a network's code can do without.

A reshape to `(-1, 512)` and one to `x.shape[1] * 49` are the same in the graph. So the network is slimmed by any
channels, compiled, and every shape compared with the one that the labels say. Where they differ, another reading of the
numbers is tried, and if none holds, the channels stay.
"""
import os
import sys
from collections import Counter
from contextlib import contextmanager
from typing import Any, Iterator, List, Mapping, Set, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn

from golden_stick.base.errors import ArgumentError, SlimError, TraceError, VerifyError, first_line
from golden_stick.base.inputs import describe_with_types
from golden_stick.cells.slim import slim, verify
from golden_stick.cells.trace import located, trace_for
from golden_stick.cells.wrappers import ScatteredOutput, evaluate, find_cell, masked_network, own_fault
from golden_stick.graph.flow import WIDTH
from golden_stick.graph.groups import Grouping, groups_without
from golden_stick.graph.ir import Constant, Graph, Parameter, Result, flatten
from golden_stick.graph.plan import PruningPlan, removed_channels, shrunk_shapes
from golden_stick.graph.rules import RULES
from golden_stick.graph.rules.arithmetic import elementwise, residual_sum
from golden_stick.prune.budget import trial_of

__all__ = ["refuse_random", "surviving_groups", "trace_slim"]


# Every attempt refutes at least one reading; a network that needs more of them is refused.
_ATTEMPTS = 40


def surviving_groups(name: str, network: nn.Cell, graph: Graph, tensors: Tuple[ms.Tensor, ...],
                     config: Mapping[str, Any]) -> Grouping:
    """The channel groups of a network that survives losing them, for the caller `name` with this configuration."""
    rejected_readings: Counter = Counter()
    policies = {key: config[key] for key in ("residual", "normalization", "heads")}
    for _ in range(_ATTEMPTS):
        grouping = _freest(graph, rejected_readings, policies)
        plan = trial_of(name, grouping, config)
        wrong = _attempt(name, network, graph, grouping, plan, tensors) if plan.axes else set()
        if not wrong:
            return _with_lines(network, graph, tensors, grouping, rejected_readings, policies)
        if any(rejected_readings[number] for number in wrong - set(grouping.read_numbers)):
            nodes = located(graph, network, tensors).nodes
            places = ", ".join(str(nodes[number]) for number in sorted(wrong))
            raise SlimError(f"For '{name}', what the network computes must not depend on its widths, but a number that "
                            f"is computed from one enters {places}.")
        rejected_readings.update(wrong)
    raise SlimError(f"For '{name}', the slim network must compile, but {_ATTEMPTS} ways to read the numbers in the "
                    f"network's code have failed. Take them from the inputs' shapes instead.")


# What a reason says that a line of the user's code is to blame for.
_OF_CODE = ("written in the code", WIDTH)


def _with_lines(network: nn.Cell, graph: Graph, tensors: Tuple[ms.Tensor, ...], grouping: Grouping,
                rejected_readings: Counter, policies: Mapping[str, Any]) -> Grouping:
    """The same grouping, whose reasons name lines of the user's code where numbers in it are to blame."""
    reasons = {reason for reasons in (*grouping.kept.values(), *(layer.reasons for layer in grouping.fixed))
               for reason in reasons}
    if not grouping.other_heads and not any(words in reason for words in _OF_CODE for reason in reasons):
        return grouping
    return groups_without(located(graph, network, tensors), rejected_readings, **policies)


def _attempt(name: str, network: nn.Cell, graph: Graph, grouping: Grouping, plan: PruningPlan,
             tensors: Tuple[ms.Tensor, ...]) -> Set[int]:
    """Slim for trial; returns the nodes that were read wrongly, none if all is well."""
    smaller = slim(network, plan)
    try:
        with _silence():
            traced = trace_slim(name, smaller, tensors)
    except SlimError:
        with _silence():
            wrong = _suspects(graph, grouping, smaller, tensors)
        if wrong:
            return wrong
        raise
    if len(traced.nodes) == len(graph.nodes):
        return _misfits(name, graph, traced, grouping, plan)
    # A scatter adds operators, so that shapes cannot be compared one by one, but outputs can.
    if not grouping.inexact:
        try:
            verify(masked_network(network, plan), smaller, tensors)
        except VerifyError as error:
            _refuse_inputs(name, network, tensors)
            raise SlimError(f"For '{name}', the network slimmed for trial must give what the masked one gives, but a "
                            f"number in its code depends on a width. {error}") from error
    return set()


_DRAWING = ("Dropout", "Rand", "Normal", "Uniform", "Bernoulli", "Multinomial", "Poisson", "Gamma")


def refuse_random(name: str, network: nn.Cell, graph: Graph, tensors: Tuple[ms.Tensor, ...]) -> None:
    """Refuse a network that is random in evaluation, before anything is trained: no check of it could pass."""
    # What may draw, by name or by what MindSpore says of it: whether it does, two runs tell.
    drawing = [str(node) for node in graph.nodes if node.attributes.get("side_effect_hidden")
               or any(word in node.operator for word in _DRAWING)]
    fault = own_fault(network, tensors) if drawing else ""
    if fault:
        raise ArgumentError(f"For '{name}', 'network' must give the same for the same inputs, but {fault} "
                            f"({', '.join(drawing[:3])}).")


def trace_slim(name: str, smaller: nn.Cell, tensors: Tuple[ms.Tensor, ...]) -> Graph:
    """The trace of a slim network, which need not compile."""
    try:
        return trace_for(name, smaller, tensors)
    except TraceError as error:
        raise SlimError(f"For '{name}', the slim network must compile, but a number in the network's code does not fit "
                        f"its new widths. Take it from the input's shape, or write -1 for it. MindSpore says: "
                        f"{first_line(error.__cause__ or error)}") from error


def _refuse_inputs(name: str, network: nn.Cell, tensors: Tuple[ms.Tensor, ...]) -> None:
    """Where the network itself does not run on the inputs, they are to blame, and no number in its code."""
    try:
        evaluate(network, tensors)
    except Exception as error:  # pylint: disable=broad-except
        raise TraceError(f"For '{name}', '{type(network).__name__}' must run on 'inputs' of "
                         f"{describe_with_types(tensors)}, but it does not: {first_line(error)}. If it reads "
                         f"indices, give it Tensors of int32 (on the command line: --inputs 1,32:int32).") from error


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


@contextmanager
def _silence() -> Iterator[None]:
    """Hide what MindSpore's compiler prints where it fails: here a failure is a finding, and no error of the user's."""
    sys.stderr.flush()
    kept, silent = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)


def _misfits(name: str, graph: Graph, smaller: Graph, grouping: Grouping, plan: PruningPlan) -> Set[int]:
    """Nodes whose output has another shape than the labels say, although their inputs have not."""
    gone = removed_channels(grouping, plan)
    expected = [shrunk_shapes(node, found, gone) for node, found in zip(graph.nodes, grouping.outputs)]
    # Outputs that nobody reads, such as the statistics that a normalization also gives, carry no labels.
    wrong = {result.node for result in graph.consumers()
             if smaller.nodes[result.node].shapes[result.index] != expected[result.node][result.index]}
    origins = {number for number in wrong if not wrong & {
        value.node for value in flatten(graph.nodes[number].inputs) if isinstance(value, Result)}}
    blamed = origins & set(grouping.read_numbers)
    if not origins:
        return _computed(graph, smaller)
    if not blamed:
        node = graph.nodes[min(origins)]
        raise SlimError(f"For '{name}', the output of {node} must have shape {expected[node.number][0]}, as its rule "
                        f"says, but got {smaller.nodes[node.number].shapes[0]}.")
    return blamed


def _computed(graph: Graph, smaller: Graph) -> Set[int]:
    """Nodes that calculate with a number which depends on a width, such as the root of an attention's."""
    return {node.number for node, other in zip(graph.nodes, smaller.nodes)
            if RULES.get(node.operator) and RULES[node.operator].flow in (elementwise, residual_sum)
            and any(not np.array_equal(one.value, two.value) for one, two in zip(node.inputs, other.inputs)
                    if isinstance(one, Constant) and isinstance(two, Constant))}


def _suspects(graph: Graph, grouping: Grouping, smaller: nn.Cell, tensors: Tuple[ms.Tensor, ...]) -> Set[int]:
    """
    Nodes that may hold the number which broke a network, found by running it operator by operator.

    They stand in the Cell that failed and read its weight, or follow the last layer that ran before, or else the one
    before that, and so on. What breaks one Cell of a class breaks all of them, so they are taken together.
    """
    cells = dict(smaller.cells_and_names())
    owned = {number: path for number, path in grouping.read_numbers.items()
             # Layers of MindSpore's own take their numbers from attributes, which the slimmer sets.
             if not isinstance(cells.get(graph.nodes[number].scope), nn.Dense)}
    failing, finished = _run_until_failure(smaller, tensors)
    for last in [failing, *reversed(finished)]:
        twins = _twins(cells, failing, last)
        found = {_signature(graph, number) for number, path in owned.items() if path in twins
                 # Of the Cell that failed, what follows its layer has not run yet.
                 and (last != failing or any(isinstance(item, Parameter) for item in graph.nodes[number].inputs))}
        if found:
            # Queries, keys and values must be read alike, or they do not fit each other.
            return {number for number in owned if _signature(graph, number) in found}
    return set()


def _signature(graph: Graph, number: int) -> Tuple[str, Tuple[int, ...], Tuple[int, ...]]:
    node = graph.nodes[number]
    return node.operator, graph.shape(node.inputs[0]), node.shapes[0]


def _twins(cells: Mapping[str, nn.Cell], failing: str, last: str) -> Set[str]:
    """The Cells that stand where `last` does, in every Cell of the class of the one around it and the failing one."""
    names, others = failing.split("."), last.split(".")
    shared = next((index for index, pair in enumerate(zip(names, others)) if pair[0] != pair[1]),
                  min(len(names), len(others)))
    around, rest = ".".join(others[:shared]), others[shared:]
    kind = type(cells[around])
    return {".".join(part for part in (path, *rest) if part) for path, cell in cells.items() if type(cell) is kind}


def _run_until_failure(network: nn.Cell, tensors: Tuple[ms.Tensor, ...]) -> Tuple[str, List[str]]:
    """Path of the innermost Cell in which a network fails, and those with parameters that had run before, in order."""
    running: List[str] = []
    finished: List[str] = []

    def enter(path: str) -> None:
        # An operator of the Cell around may be waiting to fail. The context's pynative_synchronize does not help where
        # operators have run without it before.
        ms.runtime.synchronize()
        running.append(path)

    def leave(path: str, owner: bool) -> None:
        ms.runtime.synchronize()
        running.pop()
        if owner:
            finished.append(path)

    for path, cell in network.cells_and_names():
        # A wrapper that the slimmer put around a layer is no Cell of the user's.
        around = path.rpartition(".")[0]
        path = around if isinstance(find_cell(network, around), ScatteredOutput) else path
        owner = any(parameter is not None for parameter in cell._params.values())  # pylint: disable=protected-access
        cell.register_forward_pre_hook(lambda cell, inputs, path=path: enter(path))
        cell.register_forward_hook(lambda cell, inputs, output, path=path, owner=owner: leave(path, owner))
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        evaluate(network, tensors)
    except Exception:  # pylint: disable=broad-except
        # Whatever the user's code raises: where it did is all that is asked.
        return (running[-1] if running else ""), finished
    finally:
        ms.set_context(mode=mode)
        ms.ms_memory_recycle()
    return "", finished
