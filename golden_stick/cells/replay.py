"""
What Cells read and give while a network runs over batches: handed on, and none of it kept (`tapped`), or again and
again, each time from the last point before which nothing changes any more (`Replay`). And where a network fails.
"""
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.cells.wrappers import ScatteredOutput, evaluate, evaluation, find_cell, leaves, opened, silence

__all__ = ["Replay", "run_until_failure", "tapped"]

See = Callable[[int, np.ndarray], Any]  # of the number of a call of a Cell, and what it reads first or gives
Sees = Mapping[str, Sequence[See]]  # by the path of the Cell
Call = Tuple[str, int]  # the path of a Cell, and which of its calls


class _Enough(Exception):
    """All that was to be seen was seen. Never leaves this module."""


@dataclass(frozen=True, eq=False)
class _Finished:
    """
    A call that has returned: what it gave, how many had returned when it began, how often every Cell was called by
    then, and whether it has passed on what the call that returned before it gave.
    """

    call: Call
    output: Any
    began: int
    counts: Mapping[str, int]
    passed_on: bool


class Replay:
    """
    Shows what the Cells of a network read and give, within a block of `entered`.

    `advance` keeps what the network has computed up to a Cell, as far as there is room for so many bytes: what is run
    next starts there. Batches for which there is no room go on from where they were kept last, or from the beginning.
    """

    def __init__(self, network: nn.Cell, batches: Sequence[Tuple[Tensor, ...]], room: float):
        self._network, self._batches, self._room = network, batches, room
        self._logs: Dict[Any, List[_Finished]] = {}  # shapes of a batch -> its calls, as they return
        self._zeros: Dict[Any, Tensor] = {}
        self._kept: Dict[int, Tuple[int, np.ndarray]] = {}  # batch -> place in its log, and what that call gave
        self._clear()

    def _clear(self) -> None:
        self._counts: Counter = Counter()
        self._finished = 0
        self._skipped: Dict[Call, _Finished] = {}
        self._cut: List[Call] = [("", -1)]  # the call whose output is known, and those whose output it passed on
        self._latest: Any = None
        self._enters: Sees = {}
        self._leaves: Sees = {}
        self._until: Tuple[Optional[Call], bool] = (None, False)
        self._log: Optional[List[_Finished]] = None

    @contextmanager
    def entered(self) -> Iterator["Replay"]:
        """A block in which the network is in evaluation and PyNative mode, and every call of a Cell is seen."""
        mode, cells = ms.get_context("mode"), []
        ms.set_context(mode=ms.PYNATIVE_MODE)
        try:
            with evaluation(self._network), opened(self._network):
                cells.extend(self._network.cells_and_names())
                for path, cell in cells:
                    object.__setattr__(cell, "construct", partial(self._called, path, cell.construct))
                yield self
        finally:
            for _, cell in cells:
                vars(cell).pop("construct", None)
            ms.set_context(mode=mode)

    def run(self, number: int, entering: Optional[Sees] = None, leaving: Optional[Sees] = None,
            until: Tuple[Optional[Call], bool] = (None, False)) -> List[np.ndarray]:
        """
        Run a batch, and show what Cells read first, and what they give.

        `until` is a call, and whether it shall return: nothing is run after it. Otherwise the outputs are returned.
        """
        batch = self._batches[number]
        if number in self._kept:
            place, output = self._kept[number]
            self._skipped = self._skip(number, place, Tensor(output))
            self._cut = self._passing_on(number, place)
        self._enters, self._leaves, self._until = entering or {}, leaving or {}, until
        try:
            return [item.asnumpy() for item in leaves(self._network(*batch))]
        except _Enough:
            return []
        finally:
            self._clear()

    def calls(self, number: int = 0) -> List[_Finished]:
        """What a batch calls, as it returns."""
        shapes = tuple(tuple(item.shape) for item in self._batches[number])
        if shapes not in self._logs:
            kept, self._log = self._kept.pop(number, None), []
            log = self._log
            self.run(number)
            self._logs[shapes] = log
            if kept:
                self._kept[number] = kept
        return self._logs[shapes]

    def advance(self, path: str) -> bool:
        """Keep what was computed before the Cell at `path` is called first, if all the rest needs no more than that."""
        first = next(item for item in self.calls() if item.call == (path, 0))
        place = first.began - 1
        if place < 0 or not isinstance(self.calls()[place].output, Tensor) or place <= self._kept.get(0, (-1,))[0]:
            return False
        wanted, before = self.run(0), self._kept.get(0)
        self._kept[0] = place, self._output(0, place)
        try:
            got = self.run(0)
            same = all(np.allclose(one, other, 1e-5, 1e-6, equal_nan=True) for one, other in zip(wanted, got))
        except Exception:  # pylint: disable=broad-except
            same = False  # whatever the user's code says to zeros
        self._kept.pop(0)
        if before:
            self._kept[0] = before
        for number in range(len(self._batches)) if same else ():
            self._keep(number, place)
        return same

    def _keep(self, number: int, place: int) -> None:
        if self.calls(number)[place].call != self.calls()[place].call:
            return  # a batch of another shape, for which the network calls other Cells
        output = self._output(number, place)
        others = sum(array.nbytes for other, (_, array) in self._kept.items() if other != number)
        if others + output.nbytes <= self._room:
            self._kept[number] = place, output

    def _output(self, number: int, place: int) -> np.ndarray:
        """What the call at a place of the log gives."""
        call = self.calls(number)[place].call
        found: List[np.ndarray] = []
        self.run(number, {}, {call[0]: [lambda _, array: found.append(array)]}, (call, True))
        return found[-1]

    def _passing_on(self, number: int, place: int) -> List[Call]:
        log = self.calls(number)
        calls = [log[place].call]
        while log[place].passed_on:
            place -= 1
            calls.append(log[place].call)
        return calls

    def _skip(self, number: int, place: int, output: Tensor) -> Dict[Call, _Finished]:
        """The calls that need not be made, outermost ones alone, where what the one at a place gives is known."""
        log, at = self.calls(number), place
        last = log[place]
        skipped = {last.call: replace(last, output=output)}
        while log[at].began > 0:
            at = log[at].began - 1
            skipped[log[at].call] = log[at]
        return skipped

    def _called(self, path: str, construct: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        call, began = (path, self._counts[path]), self._finished
        self._counts[path] += 1
        if call in self._skipped:
            self._counts = Counter(self._skipped[call].counts)
            output = self._skipped[call].output
            for other in self._cut if call == self._cut[0] else ():
                self._show(self._leaves, other, output)
            return output
        self._show(self._enters, call, *arguments[:1])
        if self._until == (call, False):
            raise _Enough
        output = construct(*arguments, **named)
        self._finished += 1
        if self._log is not None:
            self._log.append(_Finished(call, self._empty(output), began, Counter(self._counts), output is self._latest))
            self._latest = output
        self._show(self._leaves, call, output)
        if self._until == (call, True):
            raise _Enough
        return output

    @staticmethod
    def _show(sees: Sees, call: Call, *values: Any) -> None:
        if call[0] in sees and values and isinstance(values[0], Tensor):
            array = values[0].asnumpy()
            for see in sees[call[0]]:
                see(call[1], array)

    def _empty(self, output: Any) -> Any:
        """Zeros in the place of an output; those of one shape are one Tensor."""
        if isinstance(output, (tuple, list)):
            return type(output)(map(self._empty, output))
        if not isinstance(output, Tensor):
            return output
        key = tuple(output.shape), output.dtype
        if key not in self._zeros:
            self._zeros[key] = Tensor(np.zeros(output.shape), output.dtype)
        return self._zeros[key]


Tap = Callable[[np.ndarray], Any]


@contextmanager
def tapped(network: nn.Cell, enters: Mapping[str, Tap], leaves: Mapping[str, Tap]) -> Iterator[nn.Cell]:
    """
    For a block, a network in evaluation and PyNative mode that shows what its Cells read first and give.

    `enters` and `leaves` are paths of Cells -> what is called with every array that enters or leaves them. What it
    returns for one that leaves, if anything, goes on in its place.
    """
    mode, handles = ms.get_context("mode"), []
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        for path, see in enters.items():
            handles.append(find_cell(network, path).register_forward_pre_hook(_before(see)))
        for path, see in leaves.items():
            handles.append(find_cell(network, path).register_forward_hook(_behind(see)))
        with evaluation(network), opened(network):
            yield network
    finally:
        ms.set_context(mode=mode)
        for handle in handles:
            handle.remove()
        ms.ms_memory_recycle()


def _before(see: Tap) -> Callable[[nn.Cell, Any], None]:
    def hook(_: nn.Cell, inputs: Any) -> None:
        see(inputs[0].asnumpy())
    return hook


def _behind(see: Tap) -> Callable[[nn.Cell, Any, Any], None]:
    def hook(_: nn.Cell, __: Any, output: Any) -> Any:
        instead = see(output.asnumpy()) if isinstance(output, Tensor) else None
        return output if instead is None else Tensor(instead, output.dtype)
    return hook


@silence()
def run_until_failure(network: nn.Cell, tensors: Tuple[ms.Tensor, ...], until: str = ""
                      ) -> Tuple[Optional[str], List[str]]:
    """
    Path of the innermost Cell in which a network fails, and those with parameters that had run before, in order. None
    if it does not fail before the Cell at `until` has returned.
    """
    running: List[str] = []
    finished: List[str] = []
    handles: List[Any] = []

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
        if until and path == until:
            raise _Enough

    for path, cell in network.cells_and_names():
        # A wrapper that the slimmer put around a layer is no Cell of the user's.
        around = path.rpartition(".")[0]
        path = around if isinstance(find_cell(network, around), ScatteredOutput) else path
        owner = any(parameter is not None for parameter in cell._params.values())  # pylint: disable=protected-access
        handles += [cell.register_forward_pre_hook(lambda cell, inputs, path=path: enter(path)),
                    cell.register_forward_hook(lambda cell, inputs, out, path=path, owner=owner: leave(path, owner))]
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        evaluate(network, tensors)
    except _Enough:
        return None, finished
    except Exception:  # pylint: disable=broad-except
        # Whatever the user's code raises: where it did is all that is asked.
        return (running[-1] if running else ""), finished
    finally:
        ms.set_context(mode=mode)
        for handle in handles:  # the compiler would see them
            handle.remove()
        ms.ms_memory_recycle()
    return None, finished
