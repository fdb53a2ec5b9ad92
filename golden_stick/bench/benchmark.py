"""`benchmark`: latency, throughput, memory and MACs of networks and exported files, measured in turn."""
import ctypes
import ctypes.util
import gc
import os
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

import mindspore as ms
import numpy as np
from mindspore import Tensor

from golden_stick.base.config import OneOf, Whole, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, GoldenStickError, first_line
from golden_stick.base.inputs import as_tensors, describe
from golden_stick.bench.clock import ForeignLoad, Timing, interleave, limited_threads, turn_of
from golden_stick.bench.contenders import GRAPH, ONNX, PYNATIVE, Contender, contenders_of
from golden_stick.bench.onnx_files import onnx_runtime
from golden_stick.bench.result import Benchmark, Measurement, machine_facts
from golden_stick.cells.networks import scratch_directory

__all__ = ["peak_growth", "benchmark"]


Result = TypeVar("Result")


def peak_growth(function: Callable[[], Result]) -> Tuple[Result, Optional[int]]:
    """
    Call a function, and see by how much the resident memory of this process grew at its highest.

    Args:
        function (Callable): Takes nothing.

    Returns:
        tuple: What the function returned, and a number of bytes; None where the system cannot tell (Linux can).
    """
    gc.collect()
    _give_back()
    before = _status("VmRSS") if _reset_peak() else None
    result = function()
    peak = _status("VmHWM")
    if before is None or peak is None:
        return result, None
    return result, max(0, peak - before)


def _give_back() -> None:
    """Return freed memory to the system: what a contender takes from what another left would not be seen."""
    library = ctypes.util.find_library("c")
    trim = getattr(ctypes.CDLL(library), "malloc_trim", None) if library else None
    if trim is not None:
        trim(0)


def _reset_peak() -> bool:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def _status(key: str) -> Optional[int]:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = [line.split() for line in file if line.startswith(f"{key}:")]
    except OSError:
        return None
    return 1024 * int(found[0][1]) if found else None


_OWNER = "benchmark"


def benchmark(contenders: Any, inputs: Any, batch_sizes: Sequence[int] = (1,),
              threads: Sequence[Optional[int]] = (None,), modes: Sequence[str] = (GRAPH,),
              baseline: Optional[str] = None, rounds: int = 20, warm_up: int = 2,
              on_round: Optional[Callable[[int, int], None]] = None) -> Benchmark:
    """
    Latency and throughput of networks and exported files on this machine.

    All contenders run in turn, each once a round and in another order every round, so that whatever slows the machine
    down hits all alike. CPU time stands beside wall time, and what other processes used of the processors meanwhile
    is said: on a machine that is not quiet, no time means much.

    Args:
        contenders (Union[Mapping, nn.Cell, str]): Name -> what is to be measured: a Cell, or the path of a ``.mindir``
            or ``.onnx`` file. One of these alone stands under its own name. Cells run in evaluation.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What they take, or the shape of their only input. The first
            axis of each is the samples, and is set to the batch size.
        batch_sizes (Sequence[int]): Samples a call. A file that was written for another number is not run, and the
            result says so. Default: ``(1,)``.
        threads (Sequence[int]): How many processors may be used; None for all. MindSpore has no setting for it on the
            CPU, so the process is bound to so many processors meanwhile (Linux only). Default: ``(None,)``.
        modes (Sequence[str]): How a Cell runs: ``'graph'``, ``'pynative'`` or both. Default: ``('graph',)``.
        baseline (str): The contender that speed-ups refer to. Default: ``None``, for each runtime the first one.
        rounds (int): How often each is measured. Default: 20.
        warm_up (int): Rounds before, which do not count. Default: 2.
        on_round (Callable): Is told after each round how many are done, and how many there are, for each batch size
            and number of threads. Default: ``None``.

    Returns:
        Benchmark, with one measurement for each contender, batch size and number of threads. Printed, it is a table.

    Raises:
        ArgumentTypeError: If a contender is neither a Cell nor a path, `inputs` neither Tensors nor a shape, or a
            number of another type.
        ArgumentError: If there is no contender, a number is out of range, a mode or the baseline unknown, a file has
            another ending, no contender is of these inputs' shapes, one fails on these inputs, or the system cannot
            limit threads.
        CheckpointError: If a file is missing or cannot be read.
        DependencyError: If there is an ONNX file, and onnxruntime is not installed.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> wide, narrow = nn.Dense(64, 64), nn.Dense(64, 32)
        >>> result = gs.benchmark({"wide": wide, "narrow": narrow}, (1, 64), rounds=3)
        >>> print(result.measurements[1].macs_ratio)
        2.0
    """
    entered = _contenders(contenders, modes)
    _check_numbers(batch_sizes, threads, rounds, warm_up)
    if baseline is not None:
        check_value(_OWNER, "baseline", baseline, OneOf(tuple(dict.fromkeys(one.name for one in entered))))
    tensors = as_tensors(_OWNER, inputs)
    _refuse_misfits(entered, [tuple(_batch(tensor, size) for tensor in tensors) for size in batch_sizes])
    mode, found = ms.get_context("mode"), []
    try:
        with ForeignLoad() as load:
            for batch_size in batch_sizes:
                batch = tuple(_batch(tensor, batch_size) for tensor in tensors)
                macs = [contender.macs(batch) for contender in entered]
                for count in threads:
                    with limited_threads(_OWNER, count):
                        runs = _measure(entered, batch, count, rounds, warm_up, on_round)
                    measured = _compare(entered, batch_size, count, macs, runs, baseline)
                    # What comes later takes memory that the first have freed, and seems to need less.
                    found += [replace(one, memory=None) for one in measured] if found else measured
    finally:
        ms.set_context(mode=mode)
    versions = {"mindspore": ms.__version__}
    if any(contender.runtime == ONNX for contender in entered):
        versions["onnxruntime"] = onnx_runtime().__version__
    return Benchmark(machine_facts(versions), rounds, tuple(found), load.processors)


def _contenders(given: Any, modes: Sequence[str]) -> List[Contender]:
    for mode in modes:
        check_value(_OWNER, "modes", mode, OneOf((GRAPH, PYNATIVE)))
    if not isinstance(given, Mapping):
        name = os.path.basename(given) if isinstance(given, (str, os.PathLike)) else type(given).__name__
        given = {name: given}
    found = [one for name, source in given.items() for one in contenders_of(_OWNER, str(name), source, tuple(modes))]
    if not found:
        raise ArgumentError("For 'benchmark', there must be at least one contender and one mode, but got none.")
    return found


def _check_numbers(batch_sizes: Sequence[int], threads: Sequence[Optional[int]], rounds: int, warm_up: int) -> None:
    for name, values in (("batch_sizes", batch_sizes), ("threads", threads)):
        if not isinstance(values, (tuple, list)) or not values:
            raise ArgumentTypeError(f"For 'benchmark', '{name}' must be a sequence of at least one number, but got "
                                    f"{values!r}.")
    for name, value in (*(("batch_sizes", size) for size in batch_sizes),
                        *(("threads", count) for count in threads if count is not None), ("rounds", rounds)):
        check_value(_OWNER, name, value, Whole(1))
    check_value(_OWNER, "warm_up", warm_up, Whole(0))


def _refuse_misfits(contenders: List[Contender], batches: List[Tuple[Tensor, ...]]) -> None:
    """Some file may be of another batch size; if all are, at every size, there is nothing to measure."""
    reasons = [[contender.misfit(batch) for batch in batches] for contender in contenders]
    if all(reason for found in reasons for reason in found):
        raise ArgumentError(f"For 'benchmark', 'inputs' must be what some contender takes, but of "
                            f"'{contenders[0].name}' {reasons[0][0]}.")


def _batch(tensor: Tensor, batch_size: int) -> Tensor:
    """The first samples of a tensor, over and over if it has too few."""
    if not tensor.shape:
        return tensor
    values = tensor.asnumpy()
    return Tensor(np.take(values, np.arange(batch_size) % len(values), 0), tensor.dtype)


Runs = Dict[int, Union[str, Tuple[Timing, Optional[int]]]]


def _measure(contenders: List[Contender], batch: Tuple[Tensor, ...], threads: Optional[int], rounds: int,
             warm_up: int, on_round: Optional[Callable[[int, int], None]]) -> Runs:
    """Number of a contender -> its timing and memory, or why it was not run."""
    found: Runs = {}
    turns, memory = {}, {}
    with ExitStack() as stack:
        for number, contender in enumerate(contenders):
            reason = contender.misfit(batch)
            if reason:
                found[number] = reason
                continue
            turns[number], memory[number] = _prepare(contender, batch, threads, stack)
        for number, timing in interleave(turns, rounds, warm_up, on_round).items():
            found[number] = (timing, memory[number])
    return found


def _prepare(contender: Contender, batch: Tuple[Tensor, ...], threads: Optional[int], stack: ExitStack):
    def first_run():
        ready = contender.ready(batch, threads)
        stack.enter_context(ready.context)
        ready.prepare()
        ready.run()
        return ready

    try:
        with scratch_directory():
            ready, growth = peak_growth(first_run)
    except GoldenStickError:
        raise
    except Exception as error:  # what runtimes and users' code raise has no base of its own
        raise ArgumentError(f"For 'benchmark', '{contender.name}' must take the inputs {describe(batch)}, but fails in "
                            f"{contender.runtime}: {first_line(error)}") from error
    return turn_of(ready.run, ready.prepare), None if growth is None else growth + ready.held


def _compare(contenders: List[Contender], batch_size: int, threads: Optional[int], macs: List[Optional[int]],
             runs: Runs, baseline: Optional[str]) -> List[Measurement]:
    found = []
    for number, one in enumerate(contenders):
        if isinstance(runs[number], str):
            found.append(Measurement(one.name, one.runtime, batch_size, threads, macs=macs[number],
                                     reason=runs[number]))
            continue
        timing, memory = runs[number]
        first = _baseline_of(one, contenders, runs, baseline)
        speed_up = timing.times_faster_than(runs[first][0]) if first is not None else None
        counted = first is not None and macs[first] and macs[number]
        found.append(Measurement(
            one.name, one.runtime, batch_size, threads, timing, memory, macs[number],
            contenders[first].name if first is not None else None, speed_up,
            macs[first] / macs[number] if counted else None))
    return found


def _baseline_of(one: Contender, contenders: List[Contender], runs: Runs, baseline: Optional[str]) -> Optional[int]:
    """The first contender of that name, of the same runtime if it can be; or of the same runtime, whatever its name."""
    ran = [number for number in range(len(contenders)) if not isinstance(runs[number], str)]
    alike = [number for number in ran if contenders[number].runtime == one.runtime]
    if baseline is None:
        return next(iter(alike), None)
    named = [number for number in (*alike, *ran) if contenders[number].name == baseline]
    return next(iter(named), None)
