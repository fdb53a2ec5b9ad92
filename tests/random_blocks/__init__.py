"""
The blocks of the random networks. Each `construct` is what users write; only the sizes and layers inside are drawn.

Every block is made by `Block(draw, channels, height, width)` for an input of that shape, and says by `fits` whether it
can be. `NASTY` are those with a number in their code, or with an operator that cannot be followed exactly.
"""
# isort: off
# In this order: the networks that the seeds stand for depend on it.
from tests.random_blocks import convolutions, sums, splits, gates, space, nasty  # noqa: F401
from tests.random_blocks.base import BLOCKS, NASTY, Draw, block

__all__ = ["BLOCKS", "NASTY", "Draw", "block"]
