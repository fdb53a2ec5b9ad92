"""The scales of a knockoff phase, and when they mix: which layers together, in which order, and for how long."""
from dataclasses import dataclass, replace
from typing import Any, Dict, Mapping, Optional, Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.graph.ir import Graph, segments_of

__all__ = ["Mixing", "SCALE_INIT", "SCHEDULE", "WHOLE", "plan_mixing"]


SCALE_INIT = 0.5
WHOLE = slice(None)  # of the two halves of the passes, both
# The parameters that tell of a schedule: the block of each layer, and the length of a turn.
SCHEDULE = ("mixing.blocks", "mixing.turn_steps")


class FullPrecision(nn.Cell):
    """
    Base of the Cells that compute in float32, whatever `to_float` and automatic mixed precision ask of the network
    around them: an optimizer's steps are smaller than the roundings of float16.
    """

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.add_flags(fp16=False, bf16=False, fp32=True)

    def add_flags_recursive(self, **flags):
        """Pass flags on, but for those of precision."""
        return super().add_flags_recursive(**{key: value for key, value in flags.items()
                                              if key not in ("fp16", "fp32", "bf16")})


class RealScale(FullPrecision):
    """
    The scales of the layer at `path`, all of which mix in every step: the published, joint form.

    Gives float32, shape (size,), in [0, 1]. Checkpoints hold the scales as ``'<path>.real_scale'``.

    Beside them stands what passes of training leave in ``'<path>.squared_gradients'``, float32, shape (2, 2, draws,
    size), in two halves, one pass to the one, the next to the other: sums over passes of the mean, over a batch, of the
    squared derivative of a sample's loss by each scale, in its turn or not; and how many passes that were. What stands
    along axis 0 of what is mixed counts as a sample.
    """

    def __init__(self, path: str, size: int, draws: int = 1):
        super().__init__()
        initial = np.full(size if draws == 1 else (draws, size), SCALE_INIT)
        self.real_scale = Parameter(Tensor(initial, ms.float32), name=f"{path}.real_scale")
        self.squared_gradients = Parameter(Tensor(np.zeros((2, 2, draws, size)), ms.float32),
                                           name=f"{path}.squared_gradients", requires_grad=False)
        self.always = Tensor([1.0], ms.float32)
        self.assign = ops.Assign()

    def drawn(self):
        """1 for the scales of the draw that mixes, 0 for the others: shape (1,), or (draws, 1)."""
        return self.always

    def construct(self):
        self.assign(self.real_scale, ops.clip_by_value(self.real_scale, 0.0, 1.0))
        return self.real_scale


class ScheduledScale(RealScale):
    """
    The scales of one layer, which mix while it is their block's turn, and are 1 otherwise: real features only.

    An optimizer's momentum goes on moving scales whose gradient is zero. So they are frozen: what they were before the
    optimizer's last step stands beside them. A `BlockSchedule` has them `settle` before each pass.
    """

    def __init__(self, path: str, size: int, schedule: "BlockSchedule"):
        super().__init__(path, size, schedule.draws)
        self.frozen_scale = Parameter(self.real_scale.value().copy(), name=f"{path}.frozen_scale", requires_grad=False)
        self.number, self.many = len(schedule.scales), schedule.draws > 1
        self.block_of, self.turn, self.draw = schedule.block_of, schedule.turn, schedule.draw
        self.rows = Tensor(np.arange(schedule.draws).reshape((-1, 1) if self.many else -1), ms.int32)
        schedule.scales.append(self)

    def drawn(self):
        return (self.rows == self.draw).astype(ms.float32)

    def moving(self):
        """1 for the scales whose turn it is, 0 for the others."""
        return (self.turn == self.block_of[self.number]).astype(ms.float32) * self.drawn()

    def settle(self):
        """Keep what an optimizer did to scales in turn, within [0, 1], and undo the rest. Whether it did anything."""
        real, frozen = self.real_scale + 0.0, self.frozen_scale + 0.0
        value = frozen + self.moving() * (ops.clip_by_value(real, 0.0, 1.0) - frozen)
        self.assign(self.real_scale, value)
        self.assign(self.frozen_scale, value)
        return (real != frozen).any()

    def construct(self):
        mixing = self.moving() * (self.real_scale - 1.0)
        return 1.0 + (mixing.sum(0) if self.many else mixing)


class BlockSchedule(FullPrecision):
    """
    Counts the steps of the optimizer, and says which block's turn it is, and which draw's. `blocks` says of each layer
    of which block it is; their scales are made in this order.

    The blocks take turns of `turn_steps` steps. When all had theirs, the next draw begins with the first block; when
    all draws are done, all over again. A step was made where any scale is not what the last pass left: so several
    passes whose gradients are summed up count once, and one whose gradients overflowed and were thrown away not at all.
    It happens inside the graph, so that it does in sink mode and in any loop. Each call, before a pass of training,
    gives the number of steps made.
    """

    def __init__(self, blocks: Sequence[int], turn_steps: int, draws: int):
        super().__init__()
        self.draws = draws
        # The schedule itself is in parameters: a phase that is loaded goes on by the one that it was begun with.
        self.step, self.turn, self.draw, self.block_of, self.turn_steps = (
            Parameter(Tensor(value, ms.int32), name=name, requires_grad=False) for name, value in zip(
                ("mixing.step", "mixing.turn", "mixing.draw", *SCHEDULE), (0, 0, 0, blocks, turn_steps)))
        self.scales = nn.CellList(auto_prefix=False)
        self.assign = ops.Assign()

    def construct(self):
        moved = self.step < 0
        for scale in self.scales:
            moved = ops.logical_or(moved, scale.settle())
        now, blocks = self.step + moved.astype(ms.int32), self.block_of.max() + 1
        done = now // self.turn_steps
        self.assign(self.turn, done % blocks)
        self.assign(self.draw, (done // blocks) % self.draws)
        self.assign(self.step, now)
        return now


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

    @property
    def steps(self) -> int:
        """How many steps give every block of every draw one turn; 0 without turns."""
        return self.blocks * self.draws * self.turn_steps if self.takes_turns else 0

    def schedule(self) -> Optional[BlockSchedule]:
        """What counts the turns, if there are any."""
        return BlockSchedule(list(self.block_of.values()), self.turn_steps, self.draws) if self.takes_turns else None

    def recorded(self, values: Mapping[str, np.ndarray], unit: str) -> "Mixing":
        """What the phase whose parameters these are was mixed by, which a configuration made later need not know."""
        if not any(name in values for name in SCHEDULE):
            return replace(self, unit=unit, block_of=dict.fromkeys(self.block_of, 0), draws=1)
        blocks, turn_steps = (values[name].tolist() for name in SCHEDULE)
        return replace(self, unit=unit, block_of=dict(zip(self.block_of, blocks)), turn_steps=turn_steps)

    def settled(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """
        The parameters that change, by name, as the next pass of training leaves them: what a `BlockSchedule` does to
        scales and steps, and a `RealScale` to its own, after the optimizer's last step.
        """
        if not self.takes_turns:
            return {name: np.clip(values[name], 0.0, 1.0) for name in (f"{path}.real_scale" for path in self.block_of)}
        found: Dict[str, np.ndarray] = {}
        moved, moving = False, int(values["mixing.draw"]) if self.draws > 1 else ()
        for path, block in self.block_of.items():
            real, scales = values[f"{path}.real_scale"], values[f"{path}.frozen_scale"].copy()
            moved |= not np.array_equal(real, scales)
            if int(values["mixing.turn"]) == block:
                scales[moving] = np.clip(real[moving], 0.0, 1.0)
            found.update({f"{path}.real_scale": scales, f"{path}.frozen_scale": scales})
        return {**found, "mixing.step": values["mixing.step"] + np.int32(moved)}

    def scale(self, path: str, size: int, schedule: Optional[BlockSchedule]) -> RealScale:
        """The scales of the layer at `path`, which has `size` filters; to be made in the order of `block_of`."""
        return RealScale(path, size) if schedule is None else ScheduledScale(path, size, schedule)

    def final(self, path: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The trained scales of the layer at `path`, shape (draws, filters), from the phase's parameters by name."""
        name = "frozen_scale" if self.takes_turns else "real_scale"
        return values[f"{path}.{name}"].reshape(self.draws, -1)

    def squared_gradients(self, path: str, values: Mapping[str, np.ndarray], half: slice = WHOLE) -> np.ndarray:
        """The mean over its passes, or a half of them, of what `RealScale` sums up, shape (draws, filters); 0 where no
        gradient came."""
        squares, passes = values[f"{path}.squared_gradients"].astype(np.float64)[half].sum(0)
        return squares / np.maximum(passes, 1.0)

    def __str__(self) -> str:
        if not self.takes_turns:
            return "mixing: all layers at once" if self.unit == "joint" else "mixing: of the only block"
        draws = f", {self.draws} draws" if self.draws > 1 else ""
        return (f"mixing: {self.unit}, {self.blocks} in turns of {self.turn_steps} steps{draws}: at least "
                f"{self.steps:,} steps of training")


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
