"""Which layers mix together, and for how long: the schedule of a knockoff phase."""
from dataclasses import dataclass
from typing import Dict, Iterable, Mapping, Optional

import numpy as np

from golden_stick.graph.ir import Graph
from golden_stick.graph.segments import segments_of
from golden_stick.scop.scales import Clock, RealScale, TurnScale

__all__ = ["MIXINGS", "Schedule", "make_schedule"]

MIXINGS = ("blocks", "layers", "joint")


@dataclass(frozen=True)
class Schedule:
    """
    The turns of a knockoff phase.

    Args:
        mixing (str): ``'blocks'``, ``'layers'`` or ``'joint'``.
        block_of (Mapping): Path of a layer -> number of its block.
        turn_steps (int): Steps of training in a turn.
        draws (int): How many sets of scales there are, each trained for itself.
    """

    mixing: str
    block_of: Mapping[str, int]
    turn_steps: int
    draws: int

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(set(self.block_of.values()))

    @property
    def steps(self) -> int:
        """How many steps give every block of every draw one turn; 0 where no turns are taken."""
        return self.blocks * self.turn_steps * self.draws if self.takes_turns else 0

    @property
    def takes_turns(self) -> bool:
        """Whether there is anything to take turns."""
        return self.blocks > 1 or self.draws > 1

    def steps_of(self, values: Mapping[str, np.ndarray]) -> int:
        """As `steps`, of the phase that left these parameters, by name: its turns may have had another length."""
        return self.blocks * self.draws * int(values["mixing.turn_steps"]) if self.takes_turns else 0

    def clock(self) -> Optional[Clock]:
        """A clock for the phase, if there are turns."""
        return Clock(self.blocks, self.turn_steps, self.draws) if self.takes_turns else None

    def scale(self, path: str, size: int, clock: Optional[Clock]) -> RealScale:
        """The scales of the layer at `path`, which has `size` filters."""
        return RealScale(path, size) if clock is None else TurnScale(path, size, self.block_of[path], clock)

    def final(self, path: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The trained scales of the layer at `path`, shape (draws, filters), from the phase's parameters by name."""
        name = "held_scale" if self.takes_turns else "real_scale"
        return values[f"{path}.{name}"].reshape(self.draws, -1)

    def __str__(self) -> str:
        if not self.takes_turns:
            return "mixing: all layers at once" if self.mixing == "joint" else "mixing: of the only block"
        draws = f", {self.draws} draws" if self.draws > 1 else ""
        return (f"mixing: {self.mixing}, {self.blocks} in turns of {self.turn_steps} steps{draws}: at least "
                f"{self.steps:,} steps of training")


def make_schedule(graph: Graph, weights: Mapping[str, str], config: Mapping) -> Schedule:
    """
    The schedule that a configuration asks for.

    Args:
        graph (Graph): The traced network.
        weights (Mapping): Name of a weight -> path of the layer whose scales are trained.
        config (Mapping): With `mixing`, `turn_steps` and `draws`.

    Returns:
        Schedule.
    """
    stretch = segments_of(graph)
    if config["mixing"] == "joint":
        blocks: Dict[str, int] = dict.fromkeys(weights.values(), 0)
    elif config["mixing"] == "layers":
        ordered = sorted(weights, key=lambda name: stretch.get(name, -1))
        blocks = _numbered(weights[name] for name in ordered)
    else:
        numbers = _numbered(sorted(stretch.get(name, -1) for name in weights))
        blocks = {path: numbers[stretch.get(name, -1)] for name, path in weights.items()}
    return Schedule(config["mixing"], blocks, config["turn_steps"], config["draws"])


def _numbered(items: Iterable) -> Dict:
    return {item: number for number, item in enumerate(dict.fromkeys(items))}
