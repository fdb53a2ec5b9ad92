"""
CPU seconds of `apply` and `convert`, beside one compilation of the original by MindSpore.

    python benchmarks/cost.py [--models hrnet_w32 vit_b_32_224]

Networks of mindcv, built as benchmarks/mindcv_coverage.py builds them, pruned by 40 % in PyNative mode, each in a
process of its own: user and system time of all its threads. A first compilation warms up.
"""
import json

from common import command_line, timed

# isort: split
import mindspore as ms
import numpy as np
from mindcv_parts.networks import CONFIG, all_variants, build
from mindcv_parts.rows import run_apart

import golden_stick as gs
from golden_stick.cells import trace as tracing

MODELS = ("hrnet_w32", "vit_b_32_224")


def measure(name, size):
    """CPU seconds of each step, and the compilations that it took."""
    network, seconds = build(name, size), []
    compiled = tracing._executor.compile

    def compile_(*arguments, **named):
        made, _, cpu = timed(lambda: compiled(*arguments, **named))
        seconds.append(cpu)
        return made

    tracing._executor.compile = compile_
    image = ms.Tensor(np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32))
    for _ in range(2):
        seconds.clear()
        _, _, trace = timed(gs.trace, network, image)
    found, algorithm = {"compile": seconds[0], "trace": trace}, gs.OneShot(CONFIG)
    seconds.clear()
    masked, _, found["apply"] = timed(algorithm.apply, network, image)
    found["compiled in apply"] = len(seconds)
    seconds.clear()
    _, _, found["convert"] = timed(algorithm.convert, masked)
    return {**found, "compiled in convert": len(seconds)}


def line(name, found):
    """A network's row."""
    steps = ", ".join(f"{step} {found[step]:.1f} ({found[step] / found['compile']:.2f} times, "
                      f"{found[f'compiled in {step}']} compiled)" for step in ("apply", "convert"))
    return f"{name}: CPU seconds: compile {found['compile']:.1f}, trace {found['trace']:.1f}, {steps}"


def main():
    parser = command_line(__doc__, "outputs/cost.json")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--single", nargs=2, metavar=("NAME", "SIZE"), help="one row to stdout, in this process")
    options = parser.parse_args()
    if options.single:
        ms.set_context(mode=ms.PYNATIVE_MODE)
        print(json.dumps(measure(options.single[0], int(options.single[1]))))
        return
    for name in options.models:
        found = run_apart(__file__, name, all_variants()[name][1], 1800)
        print(line(name, found) if "compile" in found else f"{name}: {found['failure']}", flush=True)


if __name__ == "__main__":
    main()
