"""What a benchmark found: frozen data, a table for people and a dict for programs."""
import statistics
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from golden_stick.bench.clock import Timing

__all__ = ["Measurement", "Benchmark", "is_quiet", "machine_facts"]


# From this many processors kept busy by others on, times say little.
_QUIET = 0.2


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
        record: Dict[str, Any] = {
            "name": self.name, "runtime": self.runtime, "batch_size": self.batch_size, "threads": self.threads,
            "latency": self.latency, "throughput": self.throughput, "memory": self.memory, "macs": self.macs,
            "baseline": self.baseline, "speed_up": self.speed_up, "macs_ratio": self.macs_ratio,
            "efficiency": self.efficiency, "reason": self.reason,
        }
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
        return {"machine": dict(self.machine), "rounds": self.rounds, "foreign_load": self.foreign_load,
                "measurements": [measurement.to_dict() for measurement in self.measurements]}

    def __str__(self) -> str:
        facts = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        rows = [_HEAD] + [_row(measurement) for measurement in self.measurements]
        widths = [max(len(row[index]) for row in rows) for index in range(len(_HEAD))]
        lines = [facts, f"medians of {self.rounds} rounds, in turn; quartiles in brackets; CPU: of all threads"]
        lines += ["  ".join(cell.ljust(width) if index < 2 else cell.rjust(width)
                            for index, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]
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


def is_quiet(foreign_load: Optional[float]) -> bool:
    """Whether so many processors kept busy by others leave measurements as they are; not known counts as yes."""
    return foreign_load is None or foreign_load < _QUIET


def machine_facts(versions: Mapping[str, str]) -> Dict[str, Any]:
    """Processor, number of processors and system, and the versions given."""
    import os
    import platform
    return {"processor": _processor(), "processors": os.cpu_count(), "system": platform.system(),
            "python": platform.python_version(), **versions}


def _processor() -> str:
    import platform
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return statistics.mode(names) if names else platform.processor() or platform.machine()
