"""
What the user calls `inputs`: a Tensor, a tuple of Tensors, or a shape, some of whose axes may take any length; and
batches of data, read and counted. MindSpore is imported where Tensors are made, since files of other runtimes are
measured without it.
"""
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, List, Optional, Sequence, Tuple, TypeVar

import numpy as np

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, ExportError, TraceError

if TYPE_CHECKING:
    from mindspore import Tensor

__all__ = ["CHECKED", "FreeAxes", "TRACED", "as_arrays", "as_tensors", "batches_of", "describe", "describe_with_types",
           "first_inputs", "hidden_progress", "labelled_batches", "leading_inputs", "length_of", "lengthened",
           "opened_inputs", "progress", "resized", "shown", "with_lengths"]


_SEED = 20201022  # the day the SCOP paper entered arXiv; any number does, as long as it stays


def as_tensors(owner: str, inputs: Any) -> Tuple["Tensor", ...]:
    """
    A Tensor, a tuple of Tensors, or a shape such as ``(1, 3, 32, 32)``, as Tensors: for a shape, standard normal
    float32 numbers are drawn, always the same ones. `owner` is the caller, for messages.
    """
    from mindspore import Tensor

    if isinstance(inputs, Tensor):
        return (inputs,)
    if isinstance(inputs, (tuple, list)) and inputs and all(isinstance(item, Tensor) for item in inputs):
        return tuple(inputs)
    return (Tensor(_drawn(owner, inputs)),)


def as_arrays(owner: str, inputs: Any) -> Tuple[np.ndarray, ...]:
    """As `as_tensors`, but as arrays, which are taken as well; MindSpore is not needed."""
    items = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    arrays = [item.asnumpy() if hasattr(item, "asnumpy") else item for item in items]
    if arrays and all(isinstance(array, np.ndarray) for array in arrays):
        return tuple(arrays)
    return (_drawn(owner, inputs),)


def _drawn(owner: str, shape: Any) -> np.ndarray:
    """Standard normal float32 numbers, always the same ones of a shape."""
    if not (isinstance(shape, (tuple, list)) and shape
            and all(isinstance(size, (int, np.integer)) and not isinstance(size, bool) for size in shape)):
        raise ArgumentTypeError(f"For '{owner}', 'inputs' must be a Tensor, a tuple of Tensors or a shape such as "
                                f"(1, 3, 32, 32), but got {shape!r}.")
    shape = tuple(int(size) for size in shape)
    if min(shape) < 1:
        raise ArgumentError(f"For '{owner}', every number in the shape 'inputs' must be at least 1, but got {shape}.")
    try:
        return np.random.default_rng(_SEED).standard_normal(shape).astype(np.float32)
    except (MemoryError, ValueError) as error:
        raise ArgumentError(f"For '{owner}', 'inputs' must be a shape that there is memory for, but got {shape}: "
                            f"{error}") from error


def describe(tensors: Tuple[Any, ...]) -> str:
    """Shapes of Tensors or arrays in words, such as ``(1, 3, 32, 32)`` or ``(1, 8), (1, 4)``."""
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors)


def describe_with_types(tensors: Tuple[Any, ...]) -> str:
    """As `describe`, with the types of the numbers, such as ``shape (1, 32) of Float32``."""
    return ", ".join(f"shape {tuple(tensor.shape)} of {tensor.dtype}" for tensor in tensors)


def resized(tensors: Tuple["Tensor", ...], size: int) -> Tuple["Tensor", ...]:
    """
    Inputs of the batch size `size`: the samples again, each time rolled by one position more. Those with as many rows
    as the first have the samples along axis 0.
    """
    from mindspore import Tensor

    given = tensors[0].shape[0]
    made = []
    for tensor in tensors:
        if size == given or not tensor.shape or tensor.shape[0] != given:
            made.append(tensor)
            continue
        array = tensor.asnumpy()
        rows = [np.roll(array[at % given], at // given, -1) if array.ndim > 1 else array[at % given]
                for at in range(size)]
        made.append(Tensor(np.stack(rows), tensor.dtype))
    return tuple(made)


# For each input, the axes behind the first that take any length. The first is the batch's.
FreeAxes = Tuple[Tuple[int, ...], ...]
Made = TypeVar("Made")

# Lengths are a step times these, a row for each axis, a column for each turn: none follows another by chance.
_TIMES = ((3, 5, 4, 7, 6, 2), (4, 7, 6, 3, 2, 5), (5, 3, 7, 4, 2, 6), (7, 4, 5, 3, 6, 2))
_BATCHES = (2, 3, 5, 4, 1, 6)
TRACED, CHECKED = (0, 1, 2, 3), (4, 5)
# Odd lengths show which way halves are rounded. A network that joins what it halved and doubled takes multiples only.
_STEPS = (13, 32, 64, 4)


def opened_inputs(owner: str, inputs: Any) -> Tuple[Tuple["Tensor", ...], FreeAxes]:
    """What a network takes, as Tensors, and which axes take any length: those of length None or -1."""
    from mindspore import Tensor

    items = [inputs] if isinstance(inputs, Tensor) else list(inputs) if isinstance(inputs, (tuple, list)) else []
    if items and all(isinstance(item, Tensor) for item in items):
        given = [(list(item.shape), item) for item in items]
    elif any(item is None or type(item) is int and item == -1 for item in items):
        given = [(items, None)]
    else:
        return as_tensors(owner, inputs), ()
    tensors, free = [], []
    for shape, tensor in given:
        opened = [axis for axis, size in enumerate(shape) if size in (None, -1)]
        sizes = tuple((_STEPS[0] if axis else 1) if axis in opened else size for axis, size in enumerate(shape))
        drawn = tensor if tensor is not None and not opened else as_tensors(owner, sizes)[0]
        if tensor is not None and opened:
            # Indices that any table has.
            array = drawn.asnumpy() if "Float" in str(tensor.dtype) else np.int32(drawn.asnumpy() > 0)
            drawn = Tensor(array, tensor.dtype)
        tensors.append(drawn)
        free.append(tuple(axis for axis in opened if axis))
    if len(set(sum(free, ()))) > len(_TIMES):
        raise ArgumentError(f"For '{owner}', 'inputs' must have at most {len(_TIMES)} free axes besides the batch, but "
                            f"got {sorted(set(sum(free, ())))}.")
    return tuple(tensors), tuple(free) if any(free) else ()


def lengthened(tensors: Tuple["Tensor", ...], free: FreeAxes, step: int, turn: int, any_batch: bool
               ) -> Tuple["Tensor", ...]:
    """Inputs of the lengths and of the batch size of a turn. Axes of the same place in two inputs are of one length."""
    from mindspore import Tensor

    lengths = dict(zip(sorted(set(sum(free, ()))), (step * times[turn] for times in _TIMES)))
    made = []
    for tensor, axes in zip(resized(tensors, _BATCHES[turn]) if any_batch else tensors, free):
        shape = [lengths[axis] if axis in axes else size for axis, size in enumerate(tensor.shape)]
        made.append(Tensor(np.resize(tensor.asnumpy(), shape), tensor.dtype) if axes else tensor)
    return tuple(made)


def with_lengths(tensors: Tuple["Tensor", ...], free: FreeAxes, any_batch: bool, turns: Sequence[int],
                 work: Callable[[Tuple["Tensor", ...]], Made]) -> Tuple[List[Made], int]:
    """What `work` makes of each turn's inputs, with the first step whose lengths the network takes, and that step."""
    reason = None
    for step in _STEPS:
        try:
            return [work(lengthened(tensors, free, step, turn, any_batch)) for turn in turns], step
        except (ExportError, TraceError) as error:
            reason = reason or error
    raise ExportError(f"For 'export', the network must take other lengths of the axes of 'inputs' that are free, but "
                      f"takes none that were tried: {reason}") from reason


def batches_of(data: Any) -> Iterator[Tuple[Any, ...]]:
    """The items of each batch in order: of a `mindspore.dataset` object, or of tuples, lists, dicts or single items."""
    if hasattr(data, "create_tuple_iterator"):
        data = data.create_tuple_iterator(num_epochs=1)
    for batch in data:
        items = tuple(batch.values()) if isinstance(batch, dict) else batch
        yield tuple(items) if isinstance(items, (tuple, list)) else (items,)


def length_of(data: Any) -> Optional[int]:
    """How many batches there are, where the data tell."""
    count = getattr(data, "get_dataset_size", getattr(data, "__len__", None))
    return count() if count else None


def first_inputs(owner: str, data: Any) -> Iterator["Tensor"]:
    """The first item of each batch, which is what a network takes."""
    return (taken for taken, in leading_inputs(owner, data, 1))


def leading_inputs(owner: str, data: Any, count: Optional[int] = None) -> Iterator[Tuple["Tensor", ...]]:
    """
    The first items of each batch, as many as a network takes; all of them if `count` is None. Arrays become Tensors.
    """
    from mindspore import Tensor

    for items in batches_of(data):
        if items and len(items) < (count or 0):
            raise ArgumentError(f"For '{owner}', a batch must hold the {count} inputs of the network, but got "
                                f"{len(items)}.")
        for item in items[:count] or (items,) * bool(count):
            if not isinstance(item, (Tensor, np.ndarray)):
                if count is None:
                    raise ArgumentTypeError(f"For '{owner}', a batch in 'data' must hold Tensors or arrays, but got "
                                            f"{type(item).__name__}.")
                raise ArgumentTypeError(f"For '{owner}', a batch must be a Tensor or start with one, but got "
                                        f"{type(item).__name__}.")
        yield tuple(item if isinstance(item, Tensor) else Tensor(item) for item in items[:count])


def labelled_batches(owner: str, data: Any) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """
    Images and labels of each batch, as arrays, labels in shape (N,): of a `mindspore.dataset` object whose first
    columns they are, or of an iterable of batched ``(images, labels)``.
    """
    if isinstance(data, (str, bytes)) or not any(hasattr(data, way) for way in ("__iter__", "create_tuple_iterator")):
        raise ArgumentTypeError(f"For '{owner}', 'data' must be a data set or an iterable of (images, labels), "
                                f"but got {type(data).__name__}.")
    for items in batches_of(data):
        pair = [item.asnumpy() if hasattr(item, "asnumpy") else item for item in items[:2]]
        if len(pair) < 2 or not all(isinstance(item, np.ndarray) for item in pair):
            raise ArgumentTypeError(f"For '{owner}', a batch of 'data' must be images and labels, Tensors or arrays, "
                                    f"but got {', '.join(type(item).__name__ for item in items) or 'nothing'}.")
        images, labels = pair
        labels = labels.reshape(len(labels), -1)[:, 0] if labels.ndim and labels.size == len(labels) else labels
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ArgumentError(f"For '{owner}', a batch of 'data' must have one whole number as label for each image, "
                                f"but got {labels.dtype} labels of shape {labels.shape} for images of shape "
                                f"{images.shape}.")
        yield images, labels


Item = TypeVar("Item")
# The display that is open, if any; and whether none is to be.
_open: List[Any] = []
_PAUSE = 0.1  # seconds from one look of it to the next
_hidden: ContextVar[bool] = ContextVar("hidden", default=False)


def shown(items: Iterable[Item], what: str, total: Optional[int] = None) -> Iterator[Item]:
    """The same items; a terminal counts them as `what`, such as ``'batches'``, with rate and time left: `progress`."""
    with progress(what, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def hidden_progress() -> Iterator[None]:
    """No counts in the block."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)


@contextmanager
def progress(what: str, total: Optional[int] = None) -> Iterator[Callable[[], None]]:
    """
    A line on a terminal's error stream during the block, under those that are there: what is going on, and, where the
    function that the block gets is called after each of `total` steps, how far it is, how fast, and the time left.
    """
    if _hidden.get() or not sys.stderr.isatty():
        yield lambda: None
        return
    begun, last, number = time.perf_counter(), 0.0, 0
    with _line(what, total) as show:
        def advance() -> None:
            nonlocal last, number
            number, seconds = number + 1, time.perf_counter() - begun
            if seconds - last > _PAUSE or number == total:
                last = seconds
                left = f" of {total:,}, {seconds * (total - number) / number:,.0f} s left" if total else ""
                show(number, f"{number:,}{left}, {number / seconds:.3g}/s")

        yield advance


@contextmanager
def _line(what: str, total: Optional[int]) -> Iterator[Callable[[int, str], None]]:
    """What shows how many are done, and words about it."""
    try:
        import rich.progress  # not at the top: a terminal alone needs it
    except ImportError:
        # Each line in the place of the one before, and nothing in the end.
        print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)
        try:
            yield lambda number, words: print(f"\r\x1b[K{what}: {words}", end="", file=sys.stderr, flush=True)
        finally:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return
    if not _open:
        columns = (rich.progress.TextColumn("{task.description}", markup=False), rich.progress.BarColumn(),
                   rich.progress.TextColumn("{task.fields[words]}", markup=False))
        # Refreshed by hand: a thread that did so would take time from what is timed.
        _open.append(rich.progress.Progress(
            *columns, console=rich.console.Console(file=sys.stderr), transient=True, auto_refresh=False,
            redirect_stdout=sys.stdout.isatty()))
        _open[0].start()
    display = _open[0]
    task = display.add_task(what, total=total, words="")
    display.refresh()
    try:
        yield lambda number, words: display.update(task, completed=number, words=words, refresh=True)
    finally:
        display.remove_task(task)
        if not display.tasks:
            _open.pop().stop()
