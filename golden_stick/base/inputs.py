"""
What the user calls `inputs`: a Tensor, a tuple of Tensors, or a shape; and batches of data, read and counted. MindSpore
is imported where Tensors are made, since files of other runtimes are measured without it.
"""
import sys
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Optional, Tuple, TypeVar

import numpy as np

from golden_stick.base.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from mindspore import Tensor

__all__ = ["as_arrays", "as_tensors", "batches_of", "describe", "describe_with_types", "first_inputs",
           "labelled_batches", "leading_inputs", "resized", "shown"]


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


def batches_of(data: Any) -> Iterator[Tuple[Any, ...]]:
    """The items of each batch in order: of a `mindspore.dataset` object, or of tuples, lists, dicts or single items."""
    if hasattr(data, "create_tuple_iterator"):
        data = data.create_tuple_iterator(num_epochs=1)
    for batch in data:
        items = tuple(batch.values()) if isinstance(batch, dict) else batch
        yield tuple(items) if isinstance(items, (tuple, list)) else (items,)


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


def shown(items: Iterable[Item], what: str, total: Optional[int] = None) -> Iterator[Item]:
    """The same items; a terminal's error stream counts them as `what`, such as ``'batches'``."""
    stream = sys.stderr if sys.stderr.isatty() else None
    for number, item in enumerate(items, 1):
        yield item
        if stream:
            stream.write(f"\r{number:,}{f' of {total:,}' if total else ''} {what} ")
            stream.flush()
    if stream:
        stream.write("\n")
