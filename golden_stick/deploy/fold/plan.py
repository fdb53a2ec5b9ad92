"""What a folding did, as plain data: the step of a recipe, and the report."""
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, Tuple

__all__ = ["FoldedNormalization", "KeptNormalization", "Folding"]


@dataclass(frozen=True)
class FoldedNormalization:
    """The normalization at the path `normalization` is now part of `layers`: those before it, or all that read it."""

    normalization: str
    layers: Tuple[str, ...]


@dataclass(frozen=True)
class KeptNormalization:
    """The normalization at the path `normalization` stays, and why."""

    normalization: str
    reason: str


@dataclass(frozen=True)
class Folding:
    """
    What `fold` did.

    Args:
        folded (tuple[FoldedNormalization]): The normalizations that are gone, in the order in which they went.
        kept (tuple[KeptNormalization]): Those that stay.
    """

    folded: Tuple[FoldedNormalization, ...]
    kept: Tuple[KeptNormalization, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.folded)} of {len(self.folded) + len(self.kept)} batch normalizations folded"]
        lines += [f"  {item.normalization} -> {', '.join(item.layers)}" for item in self.folded]
        return "\n".join(lines + [f"  {item.normalization} stays: {item.reason}" for item in self.kept])

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Folding":
        """The folding that `to_dict` wrote."""
        return cls(
            tuple(FoldedNormalization(item["normalization"], tuple(item["layers"])) for item in values["folded"]),
            tuple(KeptNormalization(**item) for item in values["kept"]),
        )
