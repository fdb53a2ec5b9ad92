"""
Seconds to trace, plan and slim a network, beside Torch-Pruning's.

    python benchmarks/trace_plan_slim.py [--torch-python PATH] [--networks resnet50 ...] [--rounds 5] [--quick]

The networks of benchmarks/deployment.py, pruned by 45 % to widths of a multiple of 16. Ours: `trace` compiles and reads
the graph, `plan` finds the groups, scores and chooses, `slim` makes the smaller network; `prove` is what Torch-Pruning
has no counterpart of, everything else in `apply` and `convert`: the rehearsal before, the comparison after.
Torch-Pruning's: `trace` is what its pruner does when it is made, `step` scores, chooses and cuts. A fresh network each
time, ours and theirs in turn; wall and CPU seconds, medians. The first round warms up. Writes docs/trace_plan_slim.md,
but for --quick. Run it on a quiet machine.
"""
from contextlib import ExitStack

from common import command_line, machine_text, medians, not_quiet, table, timed, write_json, write_page

# isort: split
import mindspore as ms
import numpy as np
from deployment_parts.networks import build
from deployment_parts.tables import IMAGE
from sides.client import Torch

import golden_stick as gs
from golden_stick.bench.clock import ForeignLoad, machine_facts
from golden_stick.prune.plan import group_importance, make_plan

RATE, ROUND_TO, QUICK_IMAGE = 0.45, 16, 64
OURS, THEIRS = ("trace", "plan", "slim"), ("Torch-Pruning trace", "Torch-Pruning step")


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
    graph, *found["trace"] = timed(gs.trace, network, shape)
    plan, *found["plan"] = timed(planned, graph, values)
    _, *found["slim"] = timed(gs.slim, network, plan)
    fresh = build(name, size)
    algorithm = gs.OneShot({"criterion": "l1", "prune_rate": RATE, "round_to": ROUND_TO})
    _, *whole = timed(lambda: algorithm.convert(algorithm.apply(fresh, shape)))
    found["apply and convert"] = whole
    # Before summing up, so that no step counts twice: the rest of apply and convert proves.
    found["prove"] = [max(0.0, whole[index] - sum(found[step][index] for step in OURS))
                      for index in (0, 1)]
    return found


def their_steps(torch, name, size):
    found = torch.ask("analysis", name=name, size=size)
    return dict(zip(THEIRS, ([found["trace"], found["trace_cpu"]], [found["step"], found["step_cpu"]]))), \
        found["versions"]


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


def cells_of(steps, clock):
    """Seconds in the order of the page's columns; clock 0 is wall, 1 is CPU."""
    ours, theirs = ([steps[step][clock] for step in group if step in steps] for group in (OURS, THEIRS))
    found = [*ours, sum(ours), *(steps[step][clock] for step in ("prove", "apply and convert"))]
    found += [*theirs, sum(theirs), sum(ours) / sum(theirs)] if theirs else [None] * 4
    return ["-" if value is None else f"{value:.2f}" for value in found]


def page(found):
    """The text of docs/trace_plan_slim.md."""
    head = ["network", *OURS, "together", "prove", "apply and convert", *THEIRS, "together", "ours / Torch-Pruning"]
    parts = ["# Seconds to trace, plan and slim", "",
             f"Written by `python benchmarks/trace_plan_slim.py`. {machine_text(found['machine'])}.", "",
             f"Each network is pruned by {RATE:.0%} to widths of a multiple of {ROUND_TO}. Ours: `trace` compiles and "
             f"reads the graph, `plan` finds the groups, scores and chooses, `slim` makes the smaller network; `prove` "
             f"is the rest of `apply` and `convert`, which Torch-Pruning has no counterpart of: the rehearsal before, "
             f"the comparison after. Torch-Pruning's `trace` is what its pruner does when it is made, its `step` "
             f"scores, chooses and cuts. A fresh network each time, ours and theirs in turn, medians of "
             f"{found['rounds']} after one that does not count.", ""]
    parts += not_quiet(found["foreign_load"])
    for clock, name in enumerate(("Wall", "CPU")):
        rows = [[f"{network}, {found['sizes'][network]} x {found['sizes'][network]}", *cells_of(steps, clock)]
                for network, steps in found["seconds"].items()]
        parts += [f"{name} seconds:", "", table(head, rows), ""]
    return "\n".join(parts).rstrip() + "\n"


def measure_all(options):
    """All networks, and what the page needs besides."""
    rows, versions, sizes = {}, {}, {}
    # PyTorch's process starts and ends within, so that what it uses does not count as foreign.
    with ForeignLoad() as load, ExitStack() as stack:
        torch = Torch(options.torch_python) if options.torch_python else None
        if torch:
            stack.callback(torch.close)
        for name in options.networks:
            sizes[name] = min(IMAGE[name], QUICK_IMAGE) if options.quick else IMAGE[name]
            rows[name], versions = measure(name, sizes[name], options.rounds, torch)
            print(f"{name}, {sizes[name]} x {sizes[name]}: wall (CPU) seconds: " + ", ".join(
                f"{step} {wall:.2f} ({cpu:.2f})" for step, (wall, cpu) in rows[name].items()), flush=True)
    return {"machine": machine_facts({"mindspore": ms.__version__, **versions}), "foreign_load": load.processors,
            "rounds": options.rounds, "sizes": sizes, "seconds": rows}


def main() -> None:
    parser = command_line(__doc__, "outputs/trace_plan_slim.json", "docs/trace_plan_slim.md")
    parser.add_argument("--networks", nargs="+", choices=tuple(IMAGE), default=list(IMAGE))
    parser.add_argument("--torch-python", help="Python of an environment with torch and torch-pruning")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="images of 64 x 64 at most, one round, no page")
    options = parser.parse_args()
    options.rounds = 1 if options.quick else options.rounds
    ms.set_context(mode=ms.GRAPH_MODE)
    found = measure_all(options)
    load = found["foreign_load"]
    print(f"{machine_text(found['machine'])}; processors kept busy by other processes: "
          f"{'not known' if load is None else f'{load:.2f}'}")
    write_json(options.output, found)
    if not options.quick:
        write_page(options.page, page(found))


if __name__ == "__main__":
    main()
