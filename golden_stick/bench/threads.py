"""
Processors to run on.

MindSpore 2.10 takes as many threads as there are processors, whatever `OMP_NUM_THREADS`, `op_tuning.threads_num` and
`dispatch_threads_num` say (measured: no effect). What does limit it is the set of processors that its threads may run
on. So that is how a number of threads is applied here, to every runtime alike; ONNX Runtime is told the number besides.
"""
import os
from contextlib import contextmanager
from typing import Iterator, Optional, Set

from golden_stick.errors import ArgumentError

__all__ = ["available_processors", "limited_threads"]

_TASKS = "/proc/self/task"


def available_processors() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def limited_threads(owner: str, threads: Optional[int]) -> Iterator[None]:
    """
    Let all threads of this process, and those that it starts, run on so many processors only; for a block.

    Args:
        owner (str): Name of the caller, for messages.
        threads (int): How many, or None for no limit.

    Returns:
        A context.

    Raises:
        ArgumentError: If the system cannot do it, or has not so many processors.
    """
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
        try:
            os.sched_setaffinity(int(task), processors)
        except ProcessLookupError:
            # A thread that has ended since it was listed.
            continue
