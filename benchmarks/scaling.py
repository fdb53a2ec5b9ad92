"""
What the analysis of a network costs, in CPU seconds: beside MindSpore's own compilation, and as networks grow.

    python benchmarks/scaling.py [--rounds 5] [--output outputs/scaling.json] [--figure docs/scaling.svg]

Compares trace, find_groups and slim of a ResNet-50 with what MindSpore takes to compile it, in turn in one run. Then
measures chains, networks of dense blocks as a DenseNet has them, and networks in which each layer reads the concat of
all before it, which are a single dense block and hold as many tensors read as the square of their layers: as MindSpore
traces them, and as graphs built by hand, which cost no compilation. The figure needs matplotlib.
"""
import os
import platform
import statistics
from pathlib import Path

from common import ROOT, command_line, medians, timed, write_json

# isort: split
import mindspore as ms
import numpy as np
from mindspore import nn, ops

import golden_stick as gs
from golden_stick.base.errors import TraceError
from golden_stick.graph.ir import Constant, flatten
from golden_stick.prune.plan import make_plan
from tests import networks
from tests.graph.build import Builder

SIZES = (50, 100, 200, 400, 700, 1000)
BLOCK = 25  # layers of a dense block; DenseNet-121 has blocks of 6 to 24
RESNET_INPUT, IMAGE, GROWTH, RATE = (1, 3, 224, 224), (1, 3, 8, 8), 4, 0.4
# Trace, grouping and slimming together may take this many times what MindSpore takes to compile.
ALLOWED = 1.3
# A network that takes MindSpore longer than the first of these is traced once, and after the second no larger one is.
LONG, TOO_LONG = 15.0, 60.0


class Chain(nn.Cell):
    """Convolution, normalization and activation, again and again."""

    def __init__(self, layers):
        super().__init__()
        widths = [IMAGE[1]] + [GROWTH] * (layers - 1)
        self.convolutions = nn.CellList([nn.Conv2d(width, GROWTH, 1) for width in widths])
        self.norms = nn.CellList([nn.BatchNorm2d(GROWTH) for _ in range(layers)])

    def construct(self, x):
        for convolution, norm in zip(self.convolutions, self.norms):
            x = ops.relu(norm(convolution(x)))
        return x


class DenseBlocks(nn.Cell):
    """Dense blocks of so many layers: each layer reads all before it in its block, and the last of the block before."""

    def __init__(self, layers, block):
        super().__init__()
        self.block = block
        widths = [IMAGE[1] + GROWTH * index if index < block else GROWTH + GROWTH * (index % block)
                  for index in range(layers)]
        self.convolutions = nn.CellList([nn.Conv2d(width, GROWTH, 1) for width in widths])
        self.norms = nn.CellList([nn.BatchNorm2d(GROWTH) for _ in range(layers)])

    def construct(self, x):
        made, inside = (x,), 0
        for convolution, norm in zip(self.convolutions, self.norms):
            if inside == self.block:
                made, inside = made[-1:], 0
            made = made + (ops.relu(norm(convolution(ops.concat(made, 1)))),)
            inside += 1
        return made[-1]


KINDS = {"chain": Chain, "blocks": lambda layers: DenseBlocks(layers, BLOCK),
         "dense": lambda layers: DenseBlocks(layers, layers)}


def by_hand(kind, layers):
    """The graph that a trace of one of `KINDS` would give, without MindSpore."""
    builder = Builder()
    made = [builder.input(*IMAGE)]
    for index in range(layers):
        if kind == "blocks" and index and index % BLOCK == 0:
            made = made[-1:]
        source = made[-1] if kind == "chain" else builder.concat(made)
        layer = builder.convolution(f"convolutions.{index}", source, GROWTH)
        made.append(builder.relu(builder.normalization(f"norms.{index}", layer)))
    return builder.graph(made[-1])


def any_plan(groups):
    generator = np.random.default_rng(0)
    return make_plan(groups, {group.name: generator.random(len(group.channels)) for group in groups}, RATE)


def analysis(network, shape):
    """CPU seconds of trace, find_groups and slim, and the graph."""
    graph, _, trace = timed(gs.trace, network, shape)
    groups, _, group = timed(gs.find_groups, graph)
    _, _, slim = timed(gs.slim, network, any_plan(groups))
    return {"trace": trace, "find_groups": group, "slim": slim}, graph


def compilation(network, shape):
    tensor = ms.Tensor(np.zeros(shape, np.float32))
    return timed(network.set_train(False).compile, tensor)[2]


def beside_mindspore(rounds):
    """ResNet-50, a fresh Cell each time; the first round warms up, and the order changes from round to round."""
    found = []
    for number in range(rounds + 1):
        ours, theirs = networks.ResNet50(), networks.ResNet50()
        calls = {"ours": lambda ours=ours: analysis(ours, RESNET_INPUT)[0],
                 "compile": lambda theirs=theirs: compilation(theirs, RESNET_INPUT)}
        order = list(calls) if number % 2 == 0 else list(calls)[::-1]
        done = {name: calls[name]() for name in order}
        seconds, compiled = done["ours"], done["compile"]
        found.append({**seconds, "compile": compiled, "ratio": sum(seconds.values()) / compiled})
    return {"rounds": found[1:], **medians(found[1:])}


def size_of(graph):
    """Nodes, and the tensors that they read."""
    reads = sum(not isinstance(value, Constant) for node in graph.nodes for value in flatten(node.inputs))
    return {"nodes": len(graph.nodes), "reads": reads}


def grow_by_hand(kind, rounds):
    """find_groups alone, on graphs that are built without MindSpore."""
    found = []
    for layers in SIZES:
        graph = by_hand(kind, layers)
        seconds = statistics.median(timed(gs.find_groups, graph)[2] for _ in range(rounds))
        found.append({"layers": layers, **size_of(graph), "find_groups": seconds})
        show(kind, "built by hand", found[-1])
    return found


def grow_traced(kind, rounds):
    """All of the analysis, on networks that MindSpore compiles; up to the size that takes it too long."""
    found = []
    for layers in SIZES:
        taken = []
        for _ in range(rounds):
            try:
                seconds, graph = analysis(KINDS[kind](layers), IMAGE)
            except TraceError as error:
                print(f"{kind:<6} traced, {layers} layers: {error}", flush=True)
                return found
            taken.append(seconds)
            if seconds["trace"] > LONG:
                break
        found.append({"layers": layers, "measured": len(taken), **size_of(graph), **medians(taken)})
        show(kind, "traced", found[-1])
        if found[-1]["trace"] > TOO_LONG:
            print(f"{kind:<6} traced: no larger ones, MindSpore's compilation takes too long", flush=True)
            break
    return found


def show(kind, origin, row):
    seconds = ", ".join(f"{key} {row[key]:.3f}" for key in ("trace", "find_groups", "slim") if key in row)
    print(f"{kind:<6} {origin:<13} {row['layers']:>5} layers {row['nodes']:>6} nodes {row['reads']:>7} tensors read: "
          f"{seconds} s", flush=True)


def exponent(rows, key):
    """Of seconds in find_groups against `key`, by least squares of the logarithms; None from fewer than three sizes."""
    if len(rows) < 3:
        return None
    return float(np.polyfit(np.log([row[key] for row in rows]), np.log([row["find_groups"] for row in rows]), 1)[0])


def draw(path, growth):
    """Seconds against nodes, a line per kind and origin."""
    try:
        import matplotlib
    except ImportError:
        print("no figure: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), constrained_layout=True)
    for name, rows in growth.items():
        if rows:
            axes.loglog([row["nodes"] for row in rows], [row["find_groups"] for row in rows], marker="o",
                        linestyle="-" if "hand" in name else "--", label=f"find_groups, {name}")
        if rows and "trace" in rows[0]:
            axes.loglog([row["nodes"] for row in rows], [row["trace"] for row in rows], marker="s", linestyle=":",
                        label=f"trace, {name}")
    axes.set(xlabel="operators in the graph", ylabel="CPU seconds", title="50 to 1000 layers")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    # Without a date and with fixed names, the same numbers give the same file; letters as text make it small.
    matplotlib.rcParams.update({"svg.hashsalt": "golden_stick", "svg.fonttype": "none"})
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = command_line(__doc__, "outputs/scaling.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "scaling.svg")
    options = parser.parse_args()
    ms.set_context(mode=ms.GRAPH_MODE)
    # A loop over Cells nests as deep as it is long; MindSpore's own limit is reached before 700 layers.
    ms.set_recursion_limit(10000)
    machine = (f"{platform.machine()}, {os.cpu_count()} cores, no GPU used, MindSpore {ms.__version__}, CPU seconds of "
               f"all threads, medians of {options.rounds}")
    print(machine)
    resnet = beside_mindspore(options.rounds)
    print(f"ResNet-50 {RESNET_INPUT}: trace {resnet['trace']:.3f} + find_groups {resnet['find_groups']:.3f} + slim "
          f"{resnet['slim']:.3f} s; MindSpore's compilation {resnet['compile']:.3f} s; ratio {resnet['ratio']:.2f} "
          f"({'within' if resnet['ratio'] <= ALLOWED else 'NOT within'} {ALLOWED})", flush=True)
    growth = {}
    for kind in KINDS:
        growth[f"{kind}, built by hand"] = grow_by_hand(kind, options.rounds)
        growth[f"{kind}, traced"] = grow_traced(kind, min(options.rounds, 3))
    exponents = {name: {key: exponent(rows, key) for key in ("nodes", "reads")} for name, rows in growth.items()}
    for name, fitted in exponents.items():
        if None not in fitted.values():
            print(f"find_groups, {name}: seconds grow as nodes to the {fitted['nodes']:.2f}, as tensors read to the "
                  f"{fitted['reads']:.2f}", flush=True)
    write_json(options.output, {"machine": machine, "resnet50": resnet, "growth": growth, "exponents": exponents})
    draw(options.figure, growth)


if __name__ == "__main__":
    main()
