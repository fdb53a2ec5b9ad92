"""
Seconds to trace, plan and slim a network, beside Torch-Pruning's.

    python benchmarks/trace_plan_slim.py [--torch-python PATH] [--networks resnet50 ...] [--rounds 5] [--quick]

The networks of benchmarks/deployment.py, pruned by 45 % to widths of a multiple of 16. Ours: `trace` compiles and reads
the graph, `plan` finds the groups, scores and chooses, `slim` makes the smaller network; `prove` is what Torch-Pruning
has no counterpart of, everything else in `apply` and `convert`: the rehearsal before, the comparison after.
Torch-Pruning's: `trace` is what its pruner does when it is made, `step` scores, chooses and cuts. A fresh network each
time, ours and theirs in turn; wall and CPU seconds, medians. The first round warms up. Run it on a quiet machine.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import argparse  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from deployment_parts.networks import build  # noqa: E402
from deployment_parts.tables import IMAGE  # noqa: E402
from sides.client import Torch  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.bench.clock import ForeignLoad  # noqa: E402
from golden_stick.bench.result import machine_facts  # noqa: E402
from golden_stick.prune import make_plan  # noqa: E402
from golden_stick.prune.importance import group_importance  # noqa: E402

RATE, ROUND_TO, QUICK_IMAGE = 0.45, 16, 64


def timed(function):
    """What a function returned, and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def planned(graph, values):
    """Groups, the l1 norms of their filters, and the plan: what OneShot does."""
    groups = gs.find_groups(graph)
    norms = {}
    for item in (item for group in groups for item in group.filters):
        weight = np.moveaxis(values[item.parameter], item.axis, 0)
        norms[item.parameter] = np.abs(weight.reshape(len(weight), -1)).sum(1)
    return make_plan(groups, {group.name: group_importance(group, norms) for group in groups}, RATE, ROUND_TO)


def our_steps(name, size):
    """Step -> (wall, CPU) seconds."""
    network, shape, found = build(name, size), (1, 3, size, size), {}
    values = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    graph, *found["trace"] = timed(lambda: gs.trace(network, shape))
    plan, *found["plan"] = timed(lambda: planned(graph, values))
    _, *found["slim"] = timed(lambda: gs.slim(network, plan))
    fresh = build(name, size)
    algorithm = gs.OneShot({"criterion": "l1", "prune_rate": RATE, "round_to": ROUND_TO})
    _, *whole = timed(lambda: algorithm.convert(algorithm.apply(fresh, shape)))
    found["apply and convert"] = whole
    # Before summing up, so that no step counts twice: the rest of apply and convert proves.
    found["prove"] = [max(0.0, whole[index] - sum(found[step][index] for step in ("trace", "plan", "slim")))
                      for index in (0, 1)]
    return found


def their_steps(torch, name, size):
    found = torch.ask("analysis", name=name, size=size)
    return {"Torch-Pruning trace": [found["trace"], found["trace_cpu"]],
            "Torch-Pruning step": [found["step"], found["step_cpu"]]}, found["versions"]


def medians(rounds):
    return {step: [statistics.median(found[step][index] for found in rounds) for index in (0, 1)]
            for step in rounds[0]}


def measure(name, size, rounds, torch):
    """Medians of one network, ours and theirs in turn."""
    found, versions = [], {}
    for number in range(rounds + 1):
        steps = our_steps(name, size)
        if torch:
            theirs, versions = their_steps(torch, name, size)
            steps.update(theirs)
        if number:
            found.append(steps)
    return medians(found), versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=tuple(IMAGE), default=list(IMAGE))
    parser.add_argument("--torch-python", help="Python of an environment with torch and torch-pruning")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="images of 64 x 64 at most, one round")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "trace_plan_slim.json")
    options = parser.parse_args()
    ms.set_context(mode=ms.GRAPH_MODE)
    torch, rows, versions = Torch(options.torch_python) if options.torch_python else None, {}, {}
    with ForeignLoad() as load:
        for name in options.networks:
            size = min(IMAGE[name], QUICK_IMAGE) if options.quick else IMAGE[name]
            rows[name], versions = measure(name, size, 1 if options.quick else options.rounds, torch)
            print(f"{name}, {size} x {size}: wall (CPU) seconds: " + ", ".join(
                f"{step} {wall:.2f} ({cpu:.2f})" for step, (wall, cpu) in rows[name].items()), flush=True)
    if torch:
        torch.close()
    machine = machine_facts({"mindspore": ms.__version__, **versions})
    # Where there is PyTorch's process, what it used counts as foreign.
    print(f"{machine}, processors kept busy by other processes{', PyTorch among them' if torch else ''}: "
          f"{'not known' if load.processors is None else f'{load.processors:.2f}'}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine, "foreign_load": load.processors, "seconds": rows},
                                         indent=1) + "\n")


if __name__ == "__main__":
    main()
