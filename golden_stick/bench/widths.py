"""
Widths that a machine likes, found by measuring it.

A layer of 63 filters can take longer than one of 64: runtimes work on blocks of 8 or 16 channels. So it may pay to
remove fewer filters. Whether it does, and for which multiple, depends on the processor and on the runtime.
"""
import json
import os
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.config import OneOf, check_value
from golden_stick.base.errors import CheckpointError
from golden_stick.base.files import write_json
from golden_stick.base.inputs import progress
from golden_stick.bench.clock import ForeignLoad, Turn, interleave, is_quiet, limited_threads, machine_facts, turn_of
from golden_stick.bench.contenders import onnx_runtime, onnx_session

__all__ = ["CACHE_VARIABLE", "WidthAdvice", "best_multiple", "cache_folder", "choose_multiple"]

CACHE_VARIABLE = "GOLDEN_STICK_CACHE"


def cache_folder() -> Path:
    """The folder: what the environment variable `GOLDEN_STICK_CACHE` says, or that of the system for such files."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "golden_stick"
    if os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "golden_stick" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "golden_stick"


MULTIPLES = (1, 8, 16, 32)
# Widths as pruning leaves them, between 16 and 128 and none of them a multiple of 8.
_WANTED = (19, 27, 30, 37, 43, 51, 59, 62, 69, 75, 85, 94, 101, 109, 117, 126)
_KERNELS, _LAYERS, _PIXELS = (1, 3), 3, 28
_ROUNDS = 15
# Of multiples that cost about the same the largest is taken: more filters for the same time.
_ALIKE = 1.03
_FILE = "widths.json"


@dataclass(frozen=True)
class WidthAdvice:
    """What `best_multiple` found; printed, it explains itself."""

    multiple: int  # widths should be multiples of it: 1, 8, 16 or 32
    runtime: str
    machine: str  # processor, system and version of the runtime
    costs: Mapping[int, float]  # multiple -> mean time of widths rounded up to it, as a fraction of that as they come
    quiet: bool  # whether other processes left the machine alone meanwhile
    kept_in: Optional[str]  # the file that remembers it

    def __str__(self) -> str:
        costs = ", ".join(f"{multiple}: {cost:.2f}" for multiple, cost in sorted(self.costs.items()))
        text = (f"widths of a multiple of {self.multiple}: rounded up to a multiple, layers take this fraction of the "
                f"time they take as they come: {costs} (measured on {self.machine}, one thread)")
        if not self.quiet:
            text += "; other processes were busy meanwhile, measure again on a quiet machine"
        return text + (f"; kept in {self.kept_in}" if self.kept_in else "")


def best_multiple(runtime: Optional[str] = None, refresh: bool = False) -> WidthAdvice:
    """
    The multiple that widths should be rounded up to on this machine, for ``'onnx'`` (ONNX Runtime; the default where it
    is installed with the package onnx) or ``'mindspore'``.

    Chains of convolutions of many widths are measured in turn, which takes some seconds; the result is kept in a file
    of `cache_folder` and served from there the next time, unless `refresh` asks for a new one.
    """
    if runtime is None:
        runtime = "onnx" if find_spec("onnx") and find_spec("onnxruntime") else "mindspore"
    check_value("best_multiple", "runtime", runtime, OneOf(tuple(_BUILD)))
    version = onnx_runtime().__version__ if runtime == "onnx" else ms.__version__
    facts, path = machine_facts({}), cache_folder() / _FILE
    machine = f"{facts['processor']}, {facts['system']}, {runtime} {version}"
    kept = None if refresh else _kept(_read(path).get(machine), runtime, machine, str(path))
    # What other processes disturbed is measured anew until it is not.
    if kept is not None and kept.quiet:
        return kept
    with ForeignLoad() as load:
        costs = _costs(_sweep(runtime))
    advice = WidthAdvice(choose_multiple(costs), runtime, machine, costs, is_quiet(load.processors), str(path))
    record = {"multiple": advice.multiple, "costs": costs, "quiet": advice.quiet}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json("best_multiple", str(path), {**_read(path), machine: record})
    except (OSError, CheckpointError):
        return replace(advice, kept_in=None)
    return advice


def choose_multiple(costs: Mapping[int, float]) -> int:
    """The largest multiple whose cost is within 3 % of the least."""
    return max(multiple for multiple, cost in costs.items() if cost <= _ALIKE * min(costs.values()))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def _kept(record: Any, runtime: str, machine: str, path: str) -> Optional[WidthAdvice]:
    """What the file says of this machine, or None if it says nothing of use."""
    try:
        costs = {int(multiple): float(cost) for multiple, cost in record["costs"].items()}
        advice = WidthAdvice(int(record["multiple"]), runtime, machine, costs, bool(record["quiet"]), path)
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return advice if advice.multiple in MULTIPLES else None


def _rounded_up(width: int, multiple: int) -> int:
    return -(-width // multiple) * multiple


def _costs(seconds: Mapping[Tuple[int, int], float]) -> Dict[int, float]:
    """Multiple -> mean of the time of the rounded width over that of the width, from (kernel, width) -> seconds."""
    return {multiple: fmean(seconds[kernel, _rounded_up(width, multiple)] / seconds[kernel, width]
                            for kernel in _KERNELS for width in _WANTED) for multiple in MULTIPLES}


@progress("measuring widths")
def _sweep(runtime: str) -> Dict[Tuple[int, int], float]:
    """(kernel, width) -> seconds; the least of all rounds, since what disturbs only adds."""
    widths = sorted({_rounded_up(width, multiple) for width in _WANTED for multiple in MULTIPLES})
    mode = ms.get_context("mode")
    try:
        # One thread: a chain is too short for more, and the preference is that of a core.
        with limited_threads("best_multiple", 1 if hasattr(os, "sched_setaffinity") else None):
            timings = interleave({(kernel, width): _BUILD[runtime](width, kernel)
                                  for kernel in _KERNELS for width in widths}, _ROUNDS)
    finally:
        ms.set_context(mode=mode)
    return {layer: min(timing.seconds) for layer, timing in timings.items()}


def _values(width: int) -> np.ndarray:
    return np.random.default_rng(width).standard_normal((1, width, _PIXELS, _PIXELS)).astype(np.float32)


def _mindspore_turn(width: int, kernel: int) -> Turn:
    ms.set_context(mode=ms.GRAPH_MODE)
    layers = [cell for _ in range(_LAYERS) for cell in (nn.Conv2d(width, width, kernel), nn.ReLU())]
    network, x = nn.SequentialCell(layers).set_train(False), Tensor(_values(width))
    return turn_of(lambda: network(x).asnumpy())


def _onnx_turn(width: int, kernel: int) -> Turn:
    import onnx
    helper, float32, shape = onnx.helper, onnx.TensorProto.FLOAT, (1, width, _PIXELS, _PIXELS)
    weight = np.full((width, width, kernel, kernel), 0.5 / (width * kernel**2), np.float32)
    nodes, name = [], "x"
    for index in range(_LAYERS):
        nodes += [helper.make_node("Conv", [name, "weight"], [f"made{index}"], pads=[kernel // 2] * 4),
                  helper.make_node("Relu", [f"made{index}"], [f"kept{index}"])]
        name = f"kept{index}"
    graph = helper.make_graph(nodes, "chain", [helper.make_tensor_value_info("x", float32, shape)],
                              [helper.make_tensor_value_info(name, float32, shape)],
                              [onnx.numpy_helper.from_array(weight, "weight")])
    # An old version of the format, which every ONNX Runtime reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session, feeds = onnx_session(model.SerializeToString(), 1), {"x": _values(width)}
    return turn_of(lambda: session.run(None, feeds))


_BUILD: Mapping[str, Callable[[int, int], Turn]] = {"onnx": _onnx_turn, "mindspore": _mindspore_turn}
