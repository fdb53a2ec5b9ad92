"""What any pruner needs: trace, importance, plan, slim, verify."""
from golden_stick.cells.slim import add_resizer, slim
from golden_stick.cells.trace import trace
from golden_stick.cells.verify import Verification, verify
from golden_stick.cells.wrappers import masked_network
from golden_stick.graph.plan import PruningPlan, plan_without
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.plan import make_plan
from golden_stick.prune.pruner import Pruner
from golden_stick.recover.statistics import calibrate

__all__ = ["OneShot", "Pruner", "PruningPlan", "Verification", "add_resizer", "calibrate", "make_plan",
           "masked_network", "plan_without", "slim", "trace", "verify"]
