"""Cases of which only some are tried by default."""
from itertools import product

import pytest

__all__ = ["both_modes", "quick"]


def quick(every, default):
    """A case for each of `every`; those that are not in `default` are for the long suite."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)),
                         marks=() if case in default else pytest.mark.long) for case in every]


def both_modes(cases, graph, pynative=None):
    """Cases in both modes; by default, those in `graph` in graph mode, and all or those in `pynative` in the other."""
    cases = list(cases)
    wanted = {"GRAPH": list(graph), "PYNATIVE": cases if pynative is None else list(pynative)}
    return [pytest.param(mode, *(case if isinstance(case, tuple) else (case,)),
                         marks=() if case in wanted[mode] else pytest.mark.long)
            for mode, case in product(wanted, cases)]
