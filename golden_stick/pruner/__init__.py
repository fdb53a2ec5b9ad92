"""
The names and calls of MindSpore Golden Stick's pruners, so that its scripts run with their imports changed: thin, over
what golden_stick has itself. docs/migration.md says what differs.
"""
from golden_stick.pruner.scop import PrunerFtCompressAlgo, PrunerKfCompressAlgo
from golden_stick.pruner.uni_pruning import MaskedCell, MaskedConv2d, MaskedDense, UniPruner

__all__ = ["MaskedCell", "MaskedConv2d", "MaskedDense", "PrunerFtCompressAlgo", "PrunerKfCompressAlgo", "UniPruner"]
