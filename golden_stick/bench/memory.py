"""Peak memory of this process, where the system tells."""
import ctypes
import ctypes.util
import gc
from typing import Callable, Optional, Tuple, TypeVar

__all__ = ["peak_growth"]

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
