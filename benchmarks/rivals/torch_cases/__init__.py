"""The networks of tests/rival_cases.py in PyTorch, under the same names."""
from torch_cases import channels, layers
from torch_cases.table import CASES

__all__ = ["CASES", "channels", "layers"]
