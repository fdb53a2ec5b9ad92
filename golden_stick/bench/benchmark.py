"""`benchmark`: latency, throughput, memory and MACs of networks and exported files, measured in turn."""
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from golden_stick.base.config import OneOf, Whole, check_value, in_own_name
from golden_stick.base.display import table
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, GoldenStickError, first_line
from golden_stick.base.files import versions
from golden_stick.base.inputs import as_arrays, describe, progress
from golden_stick.bench.clock import (
    ForeignLoad,
    Timing,
    Turn,
    interleave,
    is_quiet,
    limited_threads,
    machine_facts,
    peak_growth,
    turn_of,
)
from golden_stick.bench.contenders import (
    GRAPH,
    PROVIDERS,
    PYNATIVE,
    Contender,
    OnnxFile,
    onnx_contender,
    onnx_runtime,
)

__all__ = ["Benchmark", "Measurement", "benchmark", "contenders_of"]

_OWNER = "benchmark"


@dataclass(frozen=True)
class Measurement:
    """
    One contender at one batch size and number of threads.

    Args:
        name (str): Of the contender.
        runtime (str): ``'graph'``, ``'pynative'``, ``'MindIR'`` or ``'ONNX Runtime'``.
        batch_size (int): Samples a call.
        threads (int): Processors that it could use; None for no limit.
        timing (Timing): Seconds of every call that counted; None if it was not run.
        memory (int): Bytes by which the process grew at its highest while the contender was loaded and first run,
            weights included. None where the system does not tell, and but for the first batch size and number of
            threads: later ones take memory that is there already.
        macs (int): Multiply-accumulates for one sample; None if they could not be counted.
        baseline (str): Name of the contender that `speed_up` and `macs_ratio` refer to; None if that was not run.
        speed_up (float): The baseline's time over this one's: the median of the ratios within each round.
        macs_ratio (float): The baseline's MACs over these.
        reason (str): Why it was not run, or an empty str.
    """

    name: str
    runtime: str
    batch_size: int
    threads: Optional[int]
    timing: Optional[Timing] = None
    memory: Optional[int] = None
    macs: Optional[int] = None
    baseline: Optional[str] = None
    speed_up: Optional[float] = None
    macs_ratio: Optional[float] = None
    reason: str = ""

    @property
    def latency(self) -> Optional[float]:
        """Median seconds of a call."""
        return self.timing.median if self.timing else None

    @property
    def throughput(self) -> Optional[float]:
        """Samples a second."""
        return self.batch_size / self.timing.median if self.timing else None

    @property
    def efficiency(self) -> Optional[float]:
        """The speed-up as a fraction of the MACs ratio: 1 where all the arithmetic saved is time saved."""
        return self.speed_up / self.macs_ratio if self.speed_up and self.macs_ratio else None

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON. Times are in seconds."""
        record: Dict[str, Any] = {key: getattr(self, key) for key in (
            "name", "runtime", "batch_size", "threads", "latency", "throughput", "memory", "macs", "baseline",
            "speed_up", "macs_ratio", "efficiency", "reason")}
        if self.timing:
            record.update(quartiles=list(self.timing.quartiles), cpu=self.timing.cpu_median,
                          seconds=list(self.timing.seconds), cpu_seconds=list(self.timing.cpu_seconds))
        return record


@dataclass(frozen=True)
class Benchmark:
    """
    What `golden_stick.benchmark` returns: printed, it is a table.

    Args:
        machine (Mapping): Processor, system and versions.
        rounds (int): How often each contender was measured.
        measurements (tuple[Measurement]): One per contender, batch size and number of threads.
        foreign_load (float): Processors that other processes kept busy meanwhile; None where the system does not tell.
    """

    machine: Mapping[str, Any]
    rounds: int
    measurements: Tuple[Measurement, ...]
    foreign_load: Optional[float] = None

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON. Times are in seconds, memory is in bytes."""
        return {"kind": "golden_stick benchmark", "machine": dict(self.machine), "rounds": self.rounds,
                "foreign_load": self.foreign_load,
                "measurements": [measurement.to_dict() for measurement in self.measurements]}

    def __str__(self) -> str:
        facts = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        lines = [facts, f"medians of {self.rounds} rounds, in turn; quartiles in brackets; CPU: of all threads",
                 table(_HEAD, map(_row, self.measurements), words=(0, 1))]
        lines += [f"not run: {one.name} ({one.runtime}), batch {one.batch_size}: {one.reason}"
                  for one in self.measurements if one.reason]
        if self.foreign_load is None:
            lines.append("whether other processes used the processors meanwhile is not known on this system")
        elif not is_quiet(self.foreign_load):
            lines.append(f"NOT QUIET: other processes kept {self.foreign_load:.1f} processors busy meanwhile")
        return "\n".join(lines)


_HEAD = ("contender", "runtime", "batch", "threads", "ms", "", "CPU ms", "samples/s", "MB", "MMACs", "speed-up",
         "MACs ratio", "efficiency")


def _row(one: Measurement) -> Tuple[str, ...]:
    """The cells of a measurement, in the order of the head."""
    def cell(value: Optional[float], form: str, scale: float = 1.0) -> str:
        return "-" if value is None else format(scale * value, form)

    spread = "[{:.2f}, {:.2f}]".format(*(1e3 * second for second in one.timing.quartiles)) if one.timing else ""
    cells: List[str] = [one.name, one.runtime, str(one.batch_size), "all" if one.threads is None else str(one.threads)]
    cells += [cell(one.latency, ".2f", 1e3), spread, cell(one.timing.cpu_median if one.timing else None, ".2f", 1e3),
              cell(one.throughput, ".1f"), cell(one.memory, ".1f", 1 / 2**20), cell(one.macs, ",.1f", 1e-6)]
    return tuple(cells + [cell(value, ".2f") for value in (one.speed_up, one.macs_ratio, one.efficiency)])


@in_own_name
def benchmark(contenders: Any, inputs: Any, batch_sizes: Sequence[int] = (1,),
              threads: Sequence[Optional[int]] = (None,), modes: Sequence[str] = (GRAPH,),
              baseline: Optional[str] = None, rounds: int = 20, warm_up: int = 2,
              on_round: Optional[Callable[[int, int], None]] = None, provider: str = "cpu") -> Benchmark:
    """
    Latency and throughput of networks and exported files on this machine.

    All contenders run in turn, each once a round and in another order every round, so that whatever slows the machine
    down hits all alike. CPU time stands beside wall time, and what other processes used of the processors meanwhile
    is said: on a machine that is not quiet, no time means much.

    Args:
        contenders (Union[Mapping, nn.Cell, str]): Name -> what is to be measured: a Cell, or the path of a ``.mindir``
            or ``.onnx`` file. One of these alone stands under its own name. Cells run in evaluation.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What they take, Tensors or arrays, or the shape of their only
            input. The first axis of each is the samples, and is set to the batch size.
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
        provider (str): What ONNX Runtime computes on: ``'cpu'``, or ``'cuda'`` where it has that, for ONNX files alone.
            Copies of inputs and outputs are part of a call. Default: ``'cpu'``.

    Returns:
        Benchmark, with one measurement for each contender, batch size and number of threads. Printed, it is a table.

    Raises:
        ArgumentTypeError: If a contender is neither a Cell nor a path, `inputs` neither Tensors nor a shape, or a
            number of another type.
        ArgumentError: If there is no contender, a number is out of range, a mode, the baseline or the provider unknown,
            something else than an ONNX file is to run on ``'cuda'``, a file has another ending, no contender is of
            these inputs' shapes, one fails on these inputs, or the system cannot limit threads.
        CheckpointError: If a file is missing or cannot be read.
        DependencyError: If there is an ONNX file, and onnxruntime is not installed, or has not that provider.

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
    check_value(_OWNER, "provider", provider, OneOf(tuple(PROVIDERS)))
    entered = _contenders(contenders, modes, provider)
    _check_numbers(batch_sizes, threads, rounds, warm_up)
    if baseline is not None:
        check_value(_OWNER, "baseline", baseline, OneOf(tuple(dict.fromkeys(one.name for one in entered))))
    given = as_arrays(_OWNER, inputs)
    # The first samples, over and over if there are too few.
    batches = [tuple(np.take(array, np.arange(size) % len(array), 0) if array.ndim else array for array in given)
               for size in batch_sizes]
    reasons = [contender.misfit(batch) for contender in entered for batch in batches]
    if all(reasons):
        raise ArgumentError(f"For 'benchmark', 'inputs' must be what some contender takes, but of '{entered[0].name}' "
                            f"{reasons[0]}.")
    measurements: List[Measurement] = []
    with ForeignLoad() as load:
        for size, batch in zip(batch_sizes, batches):
            macs = [one.macs(batch) for one in entered]
            for count in threads:
                planned = [Measurement(one.name, one.runtime, size, count, macs=number, reason=one.misfit(batch))
                           for one, number in zip(entered, macs)]
                measured = _measure(entered, planned, batch, rounds, warm_up, on_round)
                # What comes later takes memory that the first have freed, and seems to need less.
                measured = [replace(one, memory=None) for one in measured] if measurements else measured
                measurements += [_compared(one, measured, baseline) for one in measured]
    made_with = {"mindspore": versions()["mindspore"]}
    if any(isinstance(contender, OnnxFile) for contender in entered):
        made_with["onnxruntime"] = onnx_runtime().__version__
    return Benchmark(machine_facts(made_with), rounds, tuple(measurements), load.processors)


def contenders_of(owner: str, name: str, source: Any, modes: Sequence[str], provider: str = "cpu"
                  ) -> Tuple[Contender, ...]:
    """The contenders that a network or file stands for: a Cell is one for each mode."""
    if provider != "cpu" and not str(source).lower().endswith(".onnx"):
        raise ArgumentError(f"For '{owner}', contenders must be ONNX files where the provider is '{provider}', but got "
                            f"'{name}': MindSpore computes on the device of its context.")
    if not isinstance(source, (str, os.PathLike)):
        from mindspore import nn  # slow to import, and not needed where there are ONNX files alone

        from golden_stick.bench.latency import Network
        if isinstance(source, nn.Cell):
            return tuple(Network(name, source, mode) for mode in modes)
        raise ArgumentTypeError(f"For '{owner}', a contender must be a Cell or the path of a file, but got "
                                f"{type(source).__name__} for '{name}'.")
    path = os.fspath(source)
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".mindir", ".onnx"):
        raise ArgumentError(f"For '{owner}', the path of a contender must end in .mindir or .onnx, but got '{path}'.")
    if not os.path.isfile(path):
        raise CheckpointError(f"For '{owner}', a contender must be a file that exists, but got '{path}'.")
    path = os.path.abspath(path)  # it is loaded from another working directory
    # Read now: a file that cannot be is an error before minutes of measuring.
    if ending == ".onnx":
        return (onnx_contender(name, path, provider),)
    from golden_stick.bench.latency import mindir_contender
    return (mindir_contender(name, path),)


def _contenders(given: Any, modes: Sequence[str], provider: str) -> List[Contender]:
    for mode in modes:
        check_value(_OWNER, "modes", mode, OneOf((GRAPH, PYNATIVE)))
    if not isinstance(given, Mapping):
        name = os.path.basename(given) if isinstance(given, (str, os.PathLike)) else type(given).__name__
        given = {name: given}
    entered = [one for name, source in given.items()
               for one in contenders_of(_OWNER, str(name), source, tuple(modes), provider)]
    if not entered:
        raise ArgumentError("For 'benchmark', there must be at least one contender and one mode, but got none.")
    return entered


def _check_numbers(batch_sizes: Sequence[int], threads: Sequence[Optional[int]], rounds: int, warm_up: int) -> None:
    for name, values in (("batch_sizes", batch_sizes), ("threads", threads)):
        if not isinstance(values, (tuple, list)) or not values:
            raise ArgumentTypeError(f"For 'benchmark', '{name}' must be a sequence of at least one number, but got "
                                    f"{values!r}.")
        for value in values:
            if name == "batch_sizes" or value is not None:
                check_value(_OWNER, name, value, Whole(1))
    check_value(_OWNER, "rounds", rounds, Whole(1))
    check_value(_OWNER, "warm_up", warm_up, Whole(0))


def _measure(contenders: Sequence[Contender], planned: Sequence[Measurement], batch: Tuple[np.ndarray, ...],
             rounds: int, warm_up: int, on_round: Optional[Callable[[int, int], None]]) -> List[Measurement]:
    """With times and memory, but for what does not take this batch."""
    measured, threads = list(planned), planned[0].threads
    with limited_threads(_OWNER, threads), ExitStack() as stack:
        ready = {number: _prepare(contenders[number], batch, threads, stack)
                 for number, one in enumerate(measured) if not one.reason}
        timings = interleave({number: turn for number, (turn, _) in ready.items()}, rounds, warm_up, on_round)
    for number, timing in timings.items():
        measured[number] = replace(measured[number], timing=timing, memory=ready[number][1])
    return measured


def _prepare(contender: Contender, batch: Tuple[np.ndarray, ...], threads: Optional[int], stack: ExitStack
             ) -> Tuple[Turn, Optional[int]]:
    try:
        with progress(f"preparing {contender.name}"):
            ready, growth = peak_growth(lambda: stack.enter_context(contender.ready(batch, threads)))
    except GoldenStickError:
        raise
    except Exception as error:  # what runtimes and users' code raise has no base of its own
        raise ArgumentError(f"For 'benchmark', '{contender.name}' must take the inputs {describe(batch)}, but fails in "
                            f"{contender.runtime}: {first_line(error)}") from error
    return turn_of(ready.run, ready.prepare), None if growth is None else growth + ready.held


def _compared(one: Measurement, measured: Sequence[Measurement], baseline: Optional[str]) -> Measurement:
    """With its speed-up: over the baseline, of the same runtime if it can be; or over the first of that runtime."""
    ran = sorted((other for other in measured if other.timing), key=lambda other: other.runtime != one.runtime)
    first = next((other for other in ran if (other.runtime == one.runtime if baseline is None
                                             else other.name == baseline)), None)
    if one.timing is None or first is None or first.timing is None:
        return one
    ratio = first.macs / one.macs if first.macs and one.macs else None
    return replace(one, baseline=first.name, speed_up=one.timing.times_faster_than(first.timing), macs_ratio=ratio)
