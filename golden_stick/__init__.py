"""golden_stick: structured pruning for MindSpore that checks what it did."""
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from golden_stick.base import errors

if TYPE_CHECKING:
    from golden_stick.bench.benchmark import benchmark as benchmark
    from golden_stick.cells.slim import slim as slim
    from golden_stick.cells.slim import verify as verify
    from golden_stick.cells.trace import trace as trace
    from golden_stick.certify.card import pruning_card as pruning_card
    from golden_stick.certify.certify import certify as certify
    from golden_stick.certify.safe_filters import safe_filters as safe_filters
    from golden_stick.certify.safe_filters import safe_together as safe_together
    from golden_stick.comp_algo import CompAlgo as CompAlgo
    from golden_stick.comp_algo import add_algorithm as add_algorithm
    from golden_stick.compare.compare import compare as compare
    from golden_stick.compare.sensitivity import sensitivity as sensitivity
    from golden_stick.criteria.table import add_criterion as add_criterion
    from golden_stick.deploy.checkpoints import load_state as load_state
    from golden_stick.deploy.checkpoints import save_state as save_state
    from golden_stick.deploy.exporters import export as export
    from golden_stick.deploy.fold.network import fold as fold
    from golden_stick.deploy.fold.network import fold_report as fold_report
    from golden_stick.deploy.slim_network import load_slim as load_slim
    from golden_stick.deploy.slim_network import save_slim as save_slim
    from golden_stick.graph.groups import find_groups as find_groups
    from golden_stick.graph.layers import add_layer as add_layer
    from golden_stick.knockoffs.exchangeability import exchangeability as exchangeability
    from golden_stick.prune.one_shot import OneShot as OneShot
    from golden_stick.prune.schedule import prune_in_steps as prune_in_steps
    from golden_stick.prune.unstructured import Unstructured as Unstructured
    from golden_stick.pruner.scop import PrunerFtCompressAlgo as PrunerFtCompressAlgo
    from golden_stick.pruner.scop import PrunerKfCompressAlgo as PrunerKfCompressAlgo
    from golden_stick.pruner.uni_pruning import UniPruner as UniPruner
    from golden_stick.recover.distill import distill as distill
    from golden_stick.recover.optimizer import slim_optimizer as slim_optimizer
    from golden_stick.recover.reconstruct import reconstruct as reconstruct
    from golden_stick.recover.reconstruct import reconstruction_report as reconstruction_report
    from golden_stick.scop.pruner import SCOP as SCOP

__version__ = "0.2.0"

# Where each public name lives. They are loaded when first used: MindSpore takes seconds to import.
_HOME = {
    "CompAlgo": "comp_algo",
    "OneShot": "prune.one_shot",
    "PrunerFtCompressAlgo": "pruner.scop",
    "PrunerKfCompressAlgo": "pruner.scop",
    "SCOP": "scop.pruner",
    "UniPruner": "pruner.uni_pruning",
    "Unstructured": "prune.unstructured",
    "add_algorithm": "comp_algo",
    "add_criterion": "criteria.table",
    "add_layer": "graph.layers",
    "benchmark": "bench.benchmark",
    "certify": "certify.certify",
    "compare": "compare.compare",
    "distill": "recover.distill",
    "exchangeability": "knockoffs.exchangeability",
    "export": "deploy.exporters",
    "find_groups": "graph.groups",
    "fold": "deploy.fold.network",
    "fold_report": "deploy.fold.network",
    "load_slim": "deploy.slim_network",
    "load_state": "deploy.checkpoints",
    "prune_in_steps": "prune.schedule",
    "pruning_card": "certify.card",
    "reconstruct": "recover.reconstruct",
    "reconstruction_report": "recover.reconstruct",
    "safe_filters": "certify.safe_filters",
    "safe_together": "certify.safe_filters",
    "save_slim": "deploy.slim_network",
    "save_state": "deploy.checkpoints",
    "sensitivity": "compare.sensitivity",
    "slim": "cells.slim",
    "slim_optimizer": "recover.optimizer",
    "trace": "cells.trace",
    "verify": "cells.slim",
}
# What `gs.scop.GaussianSampler` and the like go through.
_FOLDERS = frozenset({"criteria", "graph", "knockoffs", "prune", "pruner", "scop"})
__all__ = ["errors", *_HOME]


class _Package(ModuleType):
    """`certify` and `compare` are functions here; the folders of these names are reached by import statements alone."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"golden_stick.{_HOME[name]}"), name)
    if name in _FOLDERS:
        return importlib.import_module(f"golden_stick.{name}")
    raise AttributeError(f"module 'golden_stick' has no attribute {name!r}")


def __dir__() -> list:
    return sorted([*globals(), *_HOME])
