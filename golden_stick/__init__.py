"""golden_stick: structured pruning for MindSpore that proves what it did."""
from golden_stick import errors
from golden_stick.bench.benchmark import benchmark
from golden_stick.certify import certify, pruning_card, safe_filters, safe_together
from golden_stick.comp_algo import CompAlgo
from golden_stick.compare import compare
from golden_stick.deploy.checkpoint import load_slim, save_slim
from golden_stick.deploy.export import export
from golden_stick.deploy.fold import fold, fold_report
from golden_stick.graph.groups import find_groups
from golden_stick.knockoffs.exchangeability import exchangeability
from golden_stick.prune.iterative import prune_in_steps
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.slimmer import slim
from golden_stick.prune.trace import trace
from golden_stick.prune.verify import verify
from golden_stick.scop.pruner import SCOP

__version__ = "0.1.0"

__all__ = [
    "CompAlgo",
    "OneShot",
    "SCOP",
    "benchmark",
    "certify",
    "compare",
    "errors",
    "exchangeability",
    "export",
    "find_groups",
    "fold",
    "fold_report",
    "load_slim",
    "prune_in_steps",
    "pruning_card",
    "safe_filters",
    "safe_together",
    "save_slim",
    "slim",
    "trace",
    "verify",
]
