"""What a reconstruction did, as plain data: the step of a recipe, and the report."""
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

__all__ = ["Reconstruction", "SolvedLayer"]


@dataclass(frozen=True)
class SolvedLayer:
    """
    One layer of a reconstruction.

    Args:
        path (str): The path of its Cell.
        change (str): ``'weights'``, ``'shift'`` (its bias alone, or that of the normalization behind it) or
            ``'nothing'``, where nothing lowered the error.
        before, after (float): The part of what the layer gave in the original that is left unexplained, on the samples
            kept aside: the sum of squared differences over the sum of squares about the mean.
        damping (float): How strongly it was held near the weights it had, as a fraction of the mean square of what it
            reads. None where the weights did not change.
        reason (str): Why nothing could be solved; empty where something could.
    """

    path: str
    change: str
    before: Optional[float] = None
    after: Optional[float] = None
    damping: Optional[float] = None
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.path} as it was: {self.reason}"
        how = {"weights": f"weights, damping {self.damping:g}" if self.damping else "weights", "shift": "shift alone",
               "nothing": "as it was: nothing lowered the error"}[self.change]
        return f"{self.path} {self.before:.4f} -> {self.after:.4f}  {how}"


@dataclass(frozen=True)
class Reconstruction:
    """
    What `reconstruct` did.

    Args:
        layers (tuple[SolvedLayer]): The layers that lost inputs, or read what such layers make, in their order.
        samples, kept_aside (int): How many samples it was solved with, and how many the errors were measured on.
    """

    layers: Tuple[SolvedLayer, ...]
    samples: int
    kept_aside: int

    def __str__(self) -> str:
        changed = sum(layer.change != "nothing" for layer in self.layers)
        head = (f"reconstruction: {changed} of {len(self.layers)} layers changed, with {self.samples:,} samples; "
                f"what is left unexplained of what they gave in the original, on {self.kept_aside:,} others")
        return "\n".join([head, *(f"  {layer}" for layer in self.layers)])

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Reconstruction":
        """The reconstruction that `to_dict` wrote."""
        return cls(tuple(SolvedLayer(**item) for item in values["layers"]), values["samples"], values["kept_aside"])
