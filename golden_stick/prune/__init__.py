"""What any pruner needs: trace, importance, plan, slim, verify."""
from golden_stick.prune.calibration import calibrate
from golden_stick.prune.cells import masked_network
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.plan import PruningPlan, make_plan, plan_without
from golden_stick.prune.pruner import Pruner
from golden_stick.prune.resizers import add_resizer
from golden_stick.prune.slimmer import slim
from golden_stick.prune.trace import trace
from golden_stick.prune.verify import Verification, verify

__all__ = ["OneShot", "Pruner", "PruningPlan", "Verification", "add_resizer", "calibrate", "make_plan",
           "masked_network", "plan_without", "slim", "trace", "verify"]
