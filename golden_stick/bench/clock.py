"""
Measuring on a machine that others use too: contenders run in turn, so that whatever slows it down hits all alike, and
what other processes took is told; peak memory, and what machine it was.
"""
import ctypes
import gc
import os
import platform
import statistics
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Set, Tuple, TypeVar

import numpy as np

from golden_stick.base.errors import ArgumentError
from golden_stick.base.inputs import shown

__all__ = ["ForeignLoad", "Timing", "Turn", "interleave", "is_quiet", "limited_threads", "machine_facts", "peak_growth",
           "turn_of"]

_TASKS = "/proc/self/task"
_SEED = 0
# From this many processors kept busy by others on, times say little.
_QUIET = 0.2

# Takes one turn, and says how long it took: wall seconds, and CPU seconds of all threads of the process.
Turn = Callable[[], Tuple[float, float]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """What one contender took, a number per round."""

    seconds: Tuple[float, ...]  # wall time
    cpu_seconds: Tuple[float, ...]  # of all threads of its process

    @property
    def median(self) -> float:
        """Median of the wall seconds."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> Tuple[float, float]:
        """Lower and upper quartile of the wall seconds."""
        lower, upper = np.quantile(self.seconds, (0.25, 0.75))
        return float(lower), float(upper)

    @property
    def cpu_median(self) -> float:
        """Median of the CPU seconds."""
        return float(np.median(self.cpu_seconds))

    def times_faster_than(self, other: "Timing") -> float:
        """The other's seconds over these: the median over the rounds of what both took in the same round."""
        return float(np.median(np.divide(other.seconds, self.seconds)))


def turn_of(run: Callable[[], object], prepare: Callable[[], object] = lambda: None, warm: float = 0.0) -> Turn:
    """
    A turn of a function in this process: `prepare` once, `run` for `warm` seconds and once at least, and once timed.

    The calls before wake its threads, and wait for those of whoever ran before, which may still be spinning.
    """
    def turn() -> Tuple[float, float]:
        prepare()
        start = time.perf_counter()
        run()
        while time.perf_counter() - start < warm:
            run()
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        return time.perf_counter() - wall, time.process_time() - cpu
    return turn


def interleave(turns: Mapping[Any, Turn], rounds: int, warm_up: int = 2,
               on_round: Optional[Callable[[int, int], None]] = None) -> Dict[Any, Timing]:
    """Run contenders in turn, in every round in another order; `on_round` is told how many of how many are done."""
    generator, names = np.random.default_rng(_SEED), list(turns)
    taken: Dict[Any, List[Tuple[float, float]]] = {name: [] for name in names}
    for number in shown(range(warm_up + rounds), "rounds", warm_up + rounds):
        for index in generator.permutation(len(names)):
            one = turns[names[index]]()
            if number >= warm_up:
                taken[names[index]].append(one)
        if on_round is not None:
            on_round(number + 1, warm_up + rounds)
    return {name: Timing(*(tuple(column) for column in zip(*pairs))) for name, pairs in taken.items()}


@contextmanager
def limited_threads(owner: str, threads: Optional[int]) -> Iterator[None]:
    """Let all threads of this process, and those that it starts, run on so many processors only; None is no limit."""
    if threads is None:
        yield
        return
    if not (hasattr(os, "sched_setaffinity") and os.path.isdir(_TASKS)):
        raise ArgumentError(f"For '{owner}', 'threads' must be left out on this system, which cannot limit the threads "
                            f"of a running process, but got {threads}.")
    before = os.sched_getaffinity(0)
    if not 1 <= threads <= len(before):
        raise ArgumentError(f"For '{owner}', 'threads' must be in [1, {len(before)}], the processors that this process "
                            f"may run on, but got {threads}.")
    _bind(set(sorted(before)[:threads]))
    try:
        yield
    finally:
        _bind(before)


def _bind(processors: Set[int]) -> None:
    for task in os.listdir(_TASKS):
        with suppress(ProcessLookupError):  # a thread that has ended since it was listed
            os.sched_setaffinity(int(task), processors)


class ForeignLoad:
    """A context that measures how many processors other processes kept busy meanwhile."""

    def __init__(self) -> None:
        self.processors: Optional[float] = None  # that many; None where there is no /proc/stat
        self.wall = 0.0  # seconds
        self._before: Optional[Tuple[float, float, float]] = None

    def __enter__(self) -> "ForeignLoad":
        self._before = self._now()
        return self

    def __exit__(self, *error: object) -> None:
        now = self._now()
        if self._before is not None and now is not None and now[0] > self._before[0]:
            wall, busy, own = (late - early for late, early in zip(now, self._before))
            self.processors, self.wall = max(0.0, (busy - own) / wall), wall

    @staticmethod
    def _now() -> Optional[Tuple[float, float, float]]:
        try:
            user, nice, system, _, _, interrupts, soft, steal = map(int, _lines("/proc/stat")[0].split()[1:9])
        except (IndexError, ValueError):
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        own = os.times()
        # Children count once they have ended; those that are alive count as foreign.
        mine = own.user + own.system + own.children_user + own.children_system
        return time.perf_counter(), (user + nice + system + interrupts + soft + steal) / ticks, mine


def is_quiet(foreign_load: Optional[float]) -> bool:
    """Whether so many processors kept busy by others leave measurements as they are; not known counts as yes."""
    return foreign_load is None or foreign_load < _QUIET


def peak_growth(function: Callable[[], Result]) -> Tuple[Result, Optional[int]]:
    """
    What a function returns, and by how many bytes the resident memory of this process grew at its highest meanwhile;
    None where the system cannot tell (Linux can).
    """
    gc.collect()
    # Freed memory goes back to the system: what a contender takes from what another left would not be seen.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    before = _memory("VmRSS") if _reset_peak() else None
    result = function()
    peak = _memory("VmHWM")
    if before is None or peak is None:
        return result, None
    return result, max(0, peak - before)


def _reset_peak() -> bool:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def _memory(key: str) -> Optional[int]:
    values = [line.split() for line in _lines("/proc/self/status") if line.startswith(f"{key}:")]
    return 1024 * int(values[0][1]) if values else None


def machine_facts(versions: Mapping[str, str]) -> Dict[str, Any]:
    """Processor, number of processors and system, and the versions given."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = statistics.mode(names) if names else platform.processor() or platform.machine()
    return {"processor": processor, "processors": os.cpu_count(), "system": platform.system(),
            "python": platform.python_version(), **versions}


def _lines(path: str) -> List[str]:
    """What the system tells in a file, or nothing."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readlines()
    except OSError:
        return []
