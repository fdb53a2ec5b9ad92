"""Which layers mix together, and for how long: the schedule of a knockoff phase."""
from dataclasses import dataclass
from typing import Dict, Iterable, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.graph.ir import Graph
from golden_stick.graph.segments import segments_of

__all__ = ["SCALE_INIT", "BlockSchedule", "RealScale", "ScheduledScale", "MIXINGS", "Schedule", "make_schedule"]


SCALE_INIT = 0.5


class BlockSchedule(nn.Cell):
    """
    Counts the training steps, and says which block's turn it is, and which draw's.

    The blocks take turns of `turn_steps` steps. When all had theirs, the next draw begins with the first block; when
    all draws are done, all over again. It happens inside the graph, so that it does in sink mode and in any loop.

    Args:
        blocks (int): How many there are.
        turn_steps (int): How many steps a turn has.
        draws (int): How many sets of scales there are.

    Inputs:
        None.

    Outputs:
        Tensor, int32: the number of the step, from 0.

    Supported Platforms:
        ``CPU``
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
    The scales of one layer, all of which mix in every step: the published, joint form.

    Args:
        path (str): Of the layer in its network; checkpoints hold the scales as ``'<path>.real_scale'``.
        size (int): How many filters there are.
        draws (int): How many sets of scales there are. Default: 1.

    Inputs:
        None.

    Outputs:
        Tensor, float32, shape (size,), in [0, 1].

    Supported Platforms:
        ``CPU``
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

    def settled(self) -> np.ndarray:
        """The scales, without what the last step's optimizer did to those that were not to move: float, shape of the
        parameter."""
        return np.clip(self.real_scale.asnumpy(), 0.0, 1.0)


class ScheduledScale(RealScale):
    """
    The scales of one layer, which mix while it is their block's turn, and are 1 otherwise: real features only.

    An optimizer's momentum goes on moving scales whose gradient is zero. So they are held: what they were at the end of
    their turn stands beside them, and is put back in every step.

    Args:
        path (str): Of the layer in its network; checkpoints hold the scales as ``'<path>.real_scale'``.
        size (int): How many filters there are.
        block (int): The number of the layer's block.
        clock (BlockSchedule): Says whose turn it is.

    Inputs:
        None.

    Outputs:
        Tensor, float32, shape (size,), in [0, 1].

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, path: str, size: int, block: int, clock: BlockSchedule):
        super().__init__(path, size, clock.draws)
        self.frozen_scale = Parameter(self.real_scale.value().copy(), name=f"{path}.frozen_scale", requires_grad=False)
        self.block = block
        self.turn, self.draw = clock.turn, clock.draw
        self.many = clock.draws > 1
        self.rows = Tensor(np.arange(clock.draws).reshape((-1, 1) if self.many else -1), ms.int32)

    def construct(self):
        mine = (self.turn == self.block).astype(ms.float32)
        moving = mine * (self.rows == self.draw).astype(ms.float32)
        value = self.frozen_scale + moving * (ops.clip_by_value(self.real_scale, 0.0, 1.0) - self.frozen_scale)
        self.assign(self.real_scale, value)
        self.assign(self.frozen_scale, value)
        mixing = (moving * (self.real_scale - 1.0)).sum(0) if self.many else moving * (self.real_scale - 1.0)
        return 1.0 + mixing

    def parameters(self) -> Tuple[Parameter, ...]:
        """The parameters that hold scales: those that train, and what they are held at."""
        return self.real_scale, self.frozen_scale

    def settled(self) -> np.ndarray:
        """The scales: what the last step did to those whose turn it is, and what the others are held at."""
        held = self.frozen_scale.asnumpy().copy()
        if int(self.turn.asnumpy()) == self.block:
            moving = (int(self.draw.asnumpy()),) if self.many else ()
            held[moving] = np.clip(self.real_scale.asnumpy()[moving], 0.0, 1.0)
        return held


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

    def clock(self) -> Optional[BlockSchedule]:
        """A clock for the phase, if there are turns."""
        return BlockSchedule(self.blocks, self.turn_steps, self.draws) if self.takes_turns else None

    def scale(self, path: str, size: int, clock: Optional[BlockSchedule]) -> RealScale:
        """The scales of the layer at `path`, which has `size` filters."""
        return RealScale(path, size) if clock is None else ScheduledScale(path, size, self.block_of[path], clock)

    def final(self, path: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The trained scales of the layer at `path`, shape (draws, filters), from the phase's parameters by name."""
        name = "frozen_scale" if self.takes_turns else "real_scale"
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
