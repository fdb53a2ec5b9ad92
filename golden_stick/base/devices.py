"""
The processes that MindSpore's `init` has joined, each on a device of its own, and what they tell each other.

With one process, and before `init`, it is as if there were no others. Calls that tell something must be made by all
processes in the same order: a process that leaves one out keeps the others waiting.
"""
import hashlib
import json
import sys
from typing import Any, Dict, Iterable, List, Tuple, TypeVar

import numpy as np

from golden_stick.base.errors import StateError

__all__ = ["from_first", "gathered", "rank", "ranks", "refuse_differing", "refuse_several", "summed",
           "total_of"]


Value = TypeVar("Value")

_WORDS = 1 << 22  # of 4 bytes each: what goes at a time


def ranks() -> int:
    """How many processes there are."""
    return _communication().get_group_size() if _is_joined() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return _communication().get_rank() if _is_joined() else 0


def _communication() -> Any:
    """MindSpore's module; it need not be imported where nothing was joined."""
    return sys.modules.get("mindspore.communication")


def _is_joined() -> bool:
    # Under msrun, MindSpore tells rank and size even of processes that have not met.
    return bool(_communication()) and _communication().GlobalComm.INITED


def gathered(array: np.ndarray) -> List[np.ndarray]:
    """An array of each process, in the order of their ranks; they need not have one shape, nor one type."""
    if ranks() == 1:
        return [array]
    array = np.asarray(array)
    head = json.dumps([array.dtype.str, array.shape]).encode()
    sizes = _all_gather(np.array([len(head), array.nbytes], np.int64))
    longest = int(sizes.sum(1).max())
    words = np.zeros(-(-longest // 4), np.int32)
    words.view(np.uint8)[:len(head) + array.nbytes] = np.frombuffer(head + array.tobytes(), np.uint8)
    parts = [_all_gather(words[start:start + _WORDS]) for start in range(0, len(words), _WORDS)]
    found = []
    for (length, size), raw in zip(sizes.tolist(), np.concatenate(parts, 1)):
        told = raw.tobytes()
        kind, shape = json.loads(told[:length])
        found.append(np.frombuffer(told[length:length + size], kind).reshape(shape).copy())
    return found


def _all_gather(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, all of one shape and type, along a new first axis."""
    from mindspore import Tensor, ops  # MindSpore is imported where there are several processes

    # Of whole numbers: sums are then taken in float64, and alike in all processes, which no AllReduce does everywhere.
    return ops.AllGather()(Tensor(array[None])).asnumpy()


def summed(array: np.ndarray) -> np.ndarray:
    """The sum over all processes, the same to the last bit in each."""
    total, *others = gathered(np.asarray(array))
    for other in others:
        total = total + other
    return total


def total_of(owner: str, name: str, count: int) -> int:
    """How many samples, or batches, of the argument `name` all processes have; none has none if others have some."""
    counts = [int(item) for item in gathered(np.array(count))]
    empty = [number for number, item in enumerate(counts) if not item]
    if empty and any(counts):
        raise StateError(f"For '{owner}', '{name}' must hold data in every process, but got none at {_named(empty)} of "
                         f"{len(counts)}: share it out evenly.")
    return sum(counts)


def from_first(value: Value) -> Value:
    """What the first process has; plain data, fit for JSON."""
    if ranks() == 1:
        return value
    told = json.dumps(value) if rank() == 0 else ""
    return json.loads(gathered(np.frombuffer(told.encode(), np.uint8))[0].tobytes())


def refuse_differing(owner: str, name: str, parts: Iterable[Tuple[str, np.ndarray]], remedy: str) -> None:
    """Refuse what is not the same in all processes: parts with their names, which are not looked at in one process."""
    if ranks() == 1:
        return
    own = {part: hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()
           for part, array in parts}
    all_told = gathered(np.frombuffer(json.dumps(own).encode(), np.uint8))
    first, *others = (json.loads(told.tobytes()) for told in all_told)
    found: Dict[int, List[str]] = {}
    for number, other in enumerate(others, 1):
        differing = [part for part in {**first, **other} if first.get(part) != other.get(part)]
        if differing:
            found[number] = differing
    if found:
        places = list(dict.fromkeys(part for differing in found.values() for part in differing))
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        raise StateError(f"For '{owner}', {name} must be the same in all processes, but {_named(found)} "
                         f"{'differs' if len(found) == 1 else 'differ'} from rank 0 in {', '.join(places[:3])}{more}: "
                         f"{remedy}.")


def _named(numbers: Iterable[int]) -> str:
    texts = [str(number) for number in numbers]
    return f"rank{'s' if len(texts) > 1 else ''} {', '.join(texts)}"


def refuse_several(owner: str) -> None:
    """Refuse more than one process, where each would do the same work and none would wait for what others write."""
    if ranks() > 1:
        raise StateError(f"For '{owner}', there must be one process, but got {ranks()}: run it without msrun.")
