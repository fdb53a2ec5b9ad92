"""
CPU seconds of `apply` and `convert`, beside one compilation of the original by MindSpore.

    python benchmarks/cost.py [--rounds 3] [--models hrnet_w32 vit_b_32_224 resnet50] [--output outputs/cost.json]

Networks of mindcv, built as benchmarks/mindcv_coverage.py builds them, pruned by 40 % in PyNative mode; user and system
time of all threads. Each round of each network is a process of its own, in which a first compilation warms up; medians
of the rounds. Run it on a quiet machine. The table stands in docs/how_it_works.md.
"""
import json
import platform

from common import command_line, machine_text, medians, not_quiet, table, timed, write_json

# isort: split
import mindspore as ms
import numpy as np
from mindcv_parts.networks import CONFIG, all_variants, build
from mindcv_parts.rows import run_apart

import golden_stick as gs
from golden_stick.bench.clock import ForeignLoad, machine_facts
from golden_stick.cells import trace as tracing
from golden_stick.cells.wrappers import evaluation

MODELS = ("hrnet_w32", "vit_b_32_224", "resnet50")
# How many compilations `apply` and `convert` may take.
ALLOWED = {"apply": 2.2, "convert": 1.6}
HEAD = ("network", "compilation, s", "trace, s", *(f"{step}, {unit}" for step in ALLOWED for unit in (
    "s", "in compilations", "networks compiled")))


def measure(name, size):
    """CPU seconds of each step, and how many networks it compiled."""
    network, compiled = build(name, size), []
    compile_ = tracing._executor.compile

    def counted(*arguments, **named):
        compiled.append(named["phase"])
        return compile_(*arguments, **named)

    image = ms.Tensor(np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32))
    gs.trace(network, image)
    with evaluation(network):
        found = {"compile": timed(lambda: compile_(network, image, phase="export.mindir.cost", do_convert=False))[2]}
    tracing._executor.compile = counted
    algorithm = gs.OneShot(CONFIG)
    _, _, found["trace"] = timed(gs.trace, network, image)
    for step, work in (("apply", lambda: algorithm.apply(network, image)),
                       ("convert", lambda: algorithm.convert(algorithm.applied.network))):
        compiled.clear()
        _, _, found[step] = timed(work)
        found |= {f"{step} ratio": found[step] / found["compile"], f"{step} compiled": len(compiled)}
    return found


def row(name, found):
    """A network's row of the table."""
    return [name, f"{found['compile']:.1f}", f"{found['trace']:.1f}", *(text for step in ALLOWED for text in (
        f"{found[step]:.1f}", f"{found[f'{step} ratio']:.2f}", f"{found[f'{step} compiled']:.0f}"))]


def main():
    parser = command_line(__doc__, "outputs/cost.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--single", nargs=2, metavar=("NAME", "SIZE"), help="one row to stdout, in this process")
    options = parser.parse_args()
    if options.single:
        ms.set_context(mode=ms.PYNATIVE_MODE)
        print(json.dumps(measure(options.single[0], int(options.single[1]))))
        return
    rounds = {name: [] for name in options.models}
    with ForeignLoad() as load:
        for number in range(options.rounds):
            for name in options.models:
                found = run_apart(__file__, name, all_variants()[name][1], 1800)
                if "failure" in found:
                    raise SystemExit(f"{name}: {found['failure']}")
                rounds[name].append(found)
                print(f"round {number + 1} of {options.rounds}: {', '.join(row(name, found))}", flush=True)
    rows = {name: medians(found) for name, found in rounds.items()}
    facts = machine_facts({"mindspore": ms.__version__, "python": platform.python_version()})
    write_json(options.output, {"machine": facts, "foreign_load": load.processors, "rounds": rounds, "medians": rows})
    print(*not_quiet(load.processors), table(HEAD, [row(name, found) for name, found in rows.items()]), sep="\n")
    for step, allowed in ALLOWED.items():
        worst = max(found[f"{step} ratio"] for found in rows.values())
        print(f"{step}: at most {worst:.2f} compilations ({'within' if worst <= allowed else 'NOT within'} {allowed})")
    print(f"Medians of {options.rounds} rounds; {machine_text(facts)}.")


if __name__ == "__main__":
    main()
