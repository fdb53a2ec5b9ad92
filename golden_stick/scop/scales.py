"""One scale per filter, kept in [0, 1] inside the graph, and the clock that says whose turn it is to mix."""
from typing import Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

__all__ = ["SCALE_INIT", "Clock", "RealScale", "TurnScale"]

SCALE_INIT = 0.5


class Clock(nn.Cell):
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


class TurnScale(RealScale):
    """
    The scales of one layer, which mix while it is their block's turn, and are 1 otherwise: real features only.

    An optimizer's momentum goes on moving scales whose gradient is zero. So they are held: what they were at the end of
    their turn stands beside them, and is put back in every step.

    Args:
        path (str): Of the layer in its network; checkpoints hold the scales as ``'<path>.real_scale'``.
        size (int): How many filters there are.
        block (int): The number of the layer's block.
        clock (Clock): Says whose turn it is.

    Inputs:
        None.

    Outputs:
        Tensor, float32, shape (size,), in [0, 1].

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, path: str, size: int, block: int, clock: Clock):
        super().__init__(path, size, clock.draws)
        self.held_scale = Parameter(self.real_scale.value().copy(), name=f"{path}.held_scale", requires_grad=False)
        self.block = block
        self.turn, self.draw = clock.turn, clock.draw
        self.many = clock.draws > 1
        self.rows = Tensor(np.arange(clock.draws).reshape((-1, 1) if self.many else -1), ms.int32)

    def construct(self):
        mine = (self.turn == self.block).astype(ms.float32)
        moving = mine * (self.rows == self.draw).astype(ms.float32)
        value = self.held_scale + moving * (ops.clip_by_value(self.real_scale, 0.0, 1.0) - self.held_scale)
        self.assign(self.real_scale, value)
        self.assign(self.held_scale, value)
        mixing = (moving * (self.real_scale - 1.0)).sum(0) if self.many else moving * (self.real_scale - 1.0)
        return 1.0 + mixing

    def parameters(self) -> Tuple[Parameter, ...]:
        """The parameters that hold scales: those that train, and what they are held at."""
        return self.real_scale, self.held_scale

    def settled(self) -> np.ndarray:
        """The scales: what the last step did to those whose turn it is, and what the others are held at."""
        held = self.held_scale.asnumpy().copy()
        if int(self.turn.asnumpy()) == self.block:
            moving = (int(self.draw.asnumpy()),) if self.many else ()
            held[moving] = np.clip(self.real_scale.asnumpy()[moving], 0.0, 1.0)
        return held
