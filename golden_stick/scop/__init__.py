"""SCOP: Scientific Control for Reliable Neural Network Pruning (Tang et al., NeurIPS 2020)."""
from golden_stick.scop.cells import KnockoffConv, KnockoffInput
from golden_stick.scop.pruner import SCOP

__all__ = ["KnockoffConv", "KnockoffInput", "SCOP"]
