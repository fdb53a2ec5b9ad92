"""The scales of a knockoff phase, and when they mix: which layers together, in which order, and for how long."""
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.graph.ir import Graph
from golden_stick.graph.segments import segments_of

__all__ = ["Mixing", "SCALE_INIT", "plan_mixing"]


SCALE_INIT = 0.5


class BlockSchedule(nn.Cell):
    """
    Counts the training steps, and says which block's turn it is, and which draw's.

    The blocks take turns of `turn_steps` steps. When all had theirs, the next draw begins with the first block; when
    all draws are done, all over again. It happens inside the graph, so that it does in sink mode and in any loop.
    Each call gives the number of the step, from 0.
    """

    def __init__(self, blocks: int, turn_steps: int, draws: int):
        super().__init__(auto_prefix=False)
        self.blocks, self.draws = blocks, draws
        # The length of a turn is a parameter, so that a checkpoint tells whether the phase it comes from was complete.
        self.step, self.turn, self.draw, self.turn_steps = (
            Parameter(Tensor(value, ms.int32), name=f"mixing.{name}", requires_grad=False)
            for name, value in (("step", 0), ("turn", 0), ("draw", 0), ("turn_steps", turn_steps)))
        self.assign = ops.Assign()

    def construct(self):
        now = self.step + 0
        done = now // self.turn_steps
        self.assign(self.turn, done % self.blocks)
        self.assign(self.draw, (done // self.blocks) % self.draws)
        self.assign(self.step, now + 1)
        return now


class RealScale(nn.Cell):
    """
    The scales of the layer at `path`, all of which mix in every step: the published, joint form.

    Gives float32, shape (size,), in [0, 1]. Checkpoints hold the scales as ``'<path>.real_scale'``.
    """

    def __init__(self, path: str, size: int, draws: int = 1):
        super().__init__(auto_prefix=False)
        initial = np.full(size if draws == 1 else (draws, size), SCALE_INIT)
        self.real_scale = Parameter(Tensor(initial, ms.float32), name=f"{path}.real_scale")
        self.assign = ops.Assign()

    def construct(self):
        self.assign(self.real_scale, ops.clip_by_value(self.real_scale, 0.0, 1.0))
        return self.real_scale

    def parameters(self) -> Tuple[Parameter, ...]:
        """The parameters that hold scales."""
        return (self.real_scale,)

    def corrected(self) -> np.ndarray:
        """The scales, without what the last step's optimizer did that may not be: float, shape of the parameter."""
        return np.clip(self.real_scale.asnumpy(), 0.0, 1.0)


class ScheduledScale(RealScale):
    """
    The scales of one layer, which mix while it is their block's turn, and are 1 otherwise: real features only.

    An optimizer's momentum goes on moving scales whose gradient is zero. So they are frozen: what they were at the end
    of their turn stands beside them, and is put back in every step.
    """

    def __init__(self, path: str, size: int, block: int, schedule: BlockSchedule):
        super().__init__(path, size, schedule.draws)
        self.frozen_scale = Parameter(self.real_scale.value().copy(), name=f"{path}.frozen_scale", requires_grad=False)
        self.block, self.many = block, schedule.draws > 1
        self.turn, self.draw = schedule.turn, schedule.draw
        self.rows = Tensor(np.arange(schedule.draws).reshape((-1, 1) if self.many else -1), ms.int32)

    def construct(self):
        mine = (self.turn == self.block).astype(ms.float32)
        moving = mine * (self.rows == self.draw).astype(ms.float32)
        value = self.frozen_scale + moving * (ops.clip_by_value(self.real_scale, 0.0, 1.0) - self.frozen_scale)
        self.assign(self.real_scale, value)
        self.assign(self.frozen_scale, value)
        mixing = (moving * (self.real_scale - 1.0)).sum(0) if self.many else moving * (self.real_scale - 1.0)
        return 1.0 + mixing

    def parameters(self) -> Tuple[Parameter, ...]:
        """The parameters that hold scales: those that train, and what they are frozen at."""
        return self.real_scale, self.frozen_scale

    def corrected(self) -> np.ndarray:
        """The scales: what the last step did to those whose turn it is, and what the others are frozen at."""
        scales = self.frozen_scale.asnumpy().copy()
        if int(self.turn.asnumpy()) == self.block:
            moving = (int(self.draw.asnumpy()),) if self.many else ()
            scales[moving] = np.clip(self.real_scale.asnumpy()[moving], 0.0, 1.0)
        return scales


@dataclass(frozen=True)
class Mixing:
    """Which layers mix together in a knockoff phase, and for how long."""

    unit: str  # what mixes at a time, as the option `mixing` says
    block_of: Mapping[str, int]  # path of a layer -> number of its block
    turn_steps: int
    draws: int

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(set(self.block_of.values()))

    @property
    def takes_turns(self) -> bool:
        """Whether there is anything to take turns."""
        return self.blocks > 1 or self.draws > 1

    def steps(self, turn_steps: Optional[int] = None) -> int:
        """How many steps give every block of every draw one turn, of the planned length or another; 0 without turns."""
        return self.blocks * self.draws * (turn_steps or self.turn_steps) if self.takes_turns else 0

    def schedule(self) -> Optional[BlockSchedule]:
        """What counts the turns, if there are any."""
        return BlockSchedule(self.blocks, self.turn_steps, self.draws) if self.takes_turns else None

    def scale(self, path: str, size: int, schedule: Optional[BlockSchedule]) -> RealScale:
        """The scales of the layer at `path`, which has `size` filters."""
        return RealScale(path, size) if schedule is None else ScheduledScale(path, size, self.block_of[path], schedule)

    def final(self, path: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The trained scales of the layer at `path`, shape (draws, filters), from the phase's parameters by name."""
        name = "frozen_scale" if self.takes_turns else "real_scale"
        return values[f"{path}.{name}"].reshape(self.draws, -1)

    def __str__(self) -> str:
        if not self.takes_turns:
            return "mixing: all layers at once" if self.unit == "joint" else "mixing: of the only block"
        draws = f", {self.draws} draws" if self.draws > 1 else ""
        return (f"mixing: {self.unit}, {self.blocks} in turns of {self.turn_steps} steps{draws}: at least "
                f"{self.steps():,} steps of training")


def plan_mixing(graph: Graph, weights: Mapping[str, str], config: Mapping) -> Mixing:
    """The mixing that a configuration asks for, of layers whose scales are trained: path -> name of a weight."""
    segments = segments_of(graph)
    segment = {path: segments.get(weight, -1) for path, weight in weights.items()}
    blocks: Dict[str, Dict[str, Any]] = {"joint": dict.fromkeys(weights, 0), "blocks": segment,
                                         "layers": dict(zip(weights, weights))}
    block = blocks[config["mixing"]]
    # Numbered as they come in the network.
    ordered = dict.fromkeys(block[path] for path in sorted(weights, key=segment.__getitem__))
    numbers = {key: number for number, key in enumerate(ordered)}
    return Mixing(config["mixing"], {path: numbers[block[path]] for path in weights}, config["turn_steps"],
                  config["draws"])
