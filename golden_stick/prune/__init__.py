"""What any pruner needs: trace, importance, plan, slim, verify. Loaded when used: the command line reads options."""
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from golden_stick.cells.slim import Verification, add_resizer, slim, verify
    from golden_stick.cells.trace import trace
    from golden_stick.cells.wrappers import masked_network
    from golden_stick.graph.plan import PruningPlan, plan_without
    from golden_stick.prune.one_shot import OneShot
    from golden_stick.prune.plan import make_plan
    from golden_stick.prune.pruner import Pruner
    from golden_stick.prune.schedule import PruningStep
    from golden_stick.prune.unstructured import Unstructured, UnstructuredReport
    from golden_stick.recover.statistics import calibrate

__all__ = ["OneShot", "Pruner", "PruningPlan", "PruningStep", "Unstructured", "UnstructuredReport",
           "Verification", "add_resizer", "calibrate", "make_plan", "masked_network", "plan_without", "slim", "trace",
           "verify"]

_HOME = {"OneShot": "prune.one_shot", "Pruner": "prune.pruner", "PruningPlan": "graph.plan",
         "PruningStep": "prune.schedule", "Unstructured": "prune.unstructured",
         "UnstructuredReport": "prune.unstructured", "Verification": "cells.slim", "add_resizer": "cells.slim",
         "calibrate": "recover.statistics", "make_plan": "prune.plan", "masked_network": "cells.wrappers",
         "plan_without": "graph.plan", "slim": "cells.slim", "trace": "cells.trace", "verify": "cells.slim"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'golden_stick.prune' has no attribute {name!r}")
    return getattr(importlib.import_module(f"golden_stick.{_HOME[name]}"), name)
