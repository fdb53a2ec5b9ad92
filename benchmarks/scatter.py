"""
What it costs to keep the paper's form of residual sums, in which every branch has channels of its own.

    python benchmarks/scatter.py [--rounds 30] [--output outputs/scatter.json] [--page docs/scatter.md]

First the operation by itself: ways to put n channels into their places among a stream's and add them, measured in
turn beside a sum that needs none of it. Then whole networks at one rate under the three policies for residual sums.
Run it on a quiet machine.
"""
from common import command_line, machine_text, table, write_json, write_page

# isort: split
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

import golden_stick as gs
from golden_stick.bench.clock import ForeignLoad, interleave, is_quiet, machine_facts, turn_of
from golden_stick.cells.wrappers import ScatteredOutput
from golden_stick.graph.plan import KeptChannels
from tests import networks

RATE, KEPT = 0.45, 0.55
# (samples, channels, height and width) of the stream.
STREAMS = ((1, 256, 56), (1, 1024, 14), (1, 64, 32), (16, 64, 32))
POLICIES = ("group", "scatter", "keep")


class NoScatter(nn.Cell):
    """The sum alone, of two streams of full width: what all others are compared with."""

    def __init__(self, kept, size):
        super().__init__()

    def construct(self, narrow, stream):
        return stream + stream


class ConcatAndGather(nn.Cell):
    """What golden_stick does: append a channel of zeros, and gather."""

    def __init__(self, kept, size):
        super().__init__()
        self.scatter = ScatteredOutput(nn.Identity(), KeptChannels("", size, tuple(kept), 2))

    def construct(self, narrow, stream):
        return self.scatter(narrow) + stream


class PadAndGather(nn.Cell):
    def __init__(self, kept, size):
        super().__init__()
        source = np.full(size, len(kept), np.int32)
        source[kept] = np.arange(len(kept))
        self.source = Tensor(source)

    def construct(self, narrow, stream):
        return ops.gather(ops.pad(narrow, (0, 0, 0, 0, 0, 1)), self.source, 1) + stream


class GatherAndMask(nn.Cell):
    """Places without a channel read any, and are multiplied by zero."""

    def __init__(self, kept, size):
        super().__init__()
        source, mask = np.zeros(size, np.int32), np.zeros((1, size, 1, 1), np.float32)
        source[kept], mask[0, kept] = np.arange(len(kept)), 1
        self.source, self.mask = Tensor(source), Tensor(mask)

    def construct(self, narrow, stream):
        return ops.gather(narrow, self.source, 1) * self.mask + stream


class PointwiseConvolution(nn.Cell):
    """A convolution whose weight is the matrix of zeros and ones."""

    def __init__(self, kept, size):
        super().__init__()
        weight = np.zeros((size, len(kept), 1, 1), np.float32)
        weight[kept, np.arange(len(kept))] = 1
        self.weight, self.convolution = Tensor(weight), ops.Conv2D(size, 1)

    def construct(self, narrow, stream):
        return self.convolution(narrow, self.weight) + stream


class MatrixProduct(nn.Cell):
    """The same matrix, multiplied with the pixels."""

    def __init__(self, kept, size):
        super().__init__()
        matrix = np.zeros((1, size, len(kept)), np.float32)
        matrix[0, kept, np.arange(len(kept))] = 1
        self.matrix = Tensor(matrix)

    def construct(self, narrow, stream):
        pixels = narrow.reshape(narrow.shape[0], narrow.shape[1], -1)
        return ops.matmul(self.matrix, pixels).reshape(stream.shape) + stream


FORMS = (NoScatter, ConcatAndGather, PadAndGather, GatherAndMask, PointwiseConvolution, MatrixProduct)


def operation(samples, size, pixels, rounds):
    """Form -> median and least milliseconds."""
    generator = np.random.default_rng(0)
    kept = sorted(generator.choice(size, int(KEPT * size), replace=False).tolist())
    narrow, stream = (Tensor(generator.standard_normal((samples, width, pixels, pixels)).astype(np.float32))
                      for width in (len(kept), size))
    cells = {form.__name__: form(kept, size).set_train(False) for form in FORMS}
    expected = stream.asnumpy().copy()
    expected[:, kept] += narrow.asnumpy()
    for name, cell in cells.items():
        if name != "NoScatter":
            np.testing.assert_allclose(cell(narrow, stream).asnumpy(), expected, rtol=1e-5, atol=1e-5)
    found = interleave({name: turn_of(lambda cell=cell: cell(narrow, stream).asnumpy())
                        for name, cell in cells.items()}, rounds)
    return {name: {"median_ms": 1e3 * timing.median, "least_ms": 1e3 * min(timing.seconds)}
            for name, timing in found.items()}


def whole_networks(rounds):
    """A ResNet-56 under each policy, beside the original."""
    shape, network = (1, 3, 32, 32), networks.randomize(networks.CifarResNet(9))
    contenders = {"original": network}
    for policy in POLICIES:
        algorithm = gs.OneShot({"prune_rate": RATE, "residual": policy})
        contenders[policy] = algorithm.convert(algorithm.apply(network, shape))
    return gs.benchmark(contenders, shape, batch_sizes=(1, 16), rounds=rounds)


def forms_table(forms):
    """Streams x ways: median milliseconds, and how often the sum alone."""
    alone = FORMS[0].__name__
    rows = [[stream] + [f"{found[form.__name__]['median_ms']:.3f}" + (
        "" if form.__name__ == alone else f" ({found[form.__name__]['median_ms'] / found[alone]['median_ms']:.1f})")
        for form in FORMS] for stream, found in forms.items()]
    return table(["stream"] + [form.__name__ for form in FORMS], rows)


def networks_table(measurements):
    rows = [[one["name"], str(one["batch_size"]), f"{1e3 * one['latency']:.2f}",
             "{:.2f}, {:.2f}".format(*(1e3 * second for second in one["quartiles"])), f"{1e3 * one['cpu']:.2f}",
             f"{one['speed_up']:.2f}", f"{one['macs_ratio']:.2f}"] for one in measurements]
    return table(["policy", "batch", "ms", "quartiles", "CPU ms", "speed-up", "MACs ratio"], rows)


def page(found):
    """The text of docs/scatter.md."""
    parts = ["# What the paper's residual sums cost", "",
             f"Written by `python benchmarks/scatter.py`. {machine_text(found['machine'])}.", "",
             f"Under the policy `\"scatter\"` every branch of a residual sum keeps channels of its own, as in the "
             f"paper, and they are put back into their places among the stream's before the sum. Medians of "
             f"{found['rounds']} rounds, in turn in one run, GRAPH mode.", ""]
    loads = [load for load in (found["foreign_load"], found["networks"]["foreign_load"]) if load is not None]
    if loads and not is_quiet(max(loads)):
        parts += [f"**The machine was not quiet**: other processes kept up to {max(loads):.2f} processors busy "
                  f"meanwhile. Do not quote these.", ""]
    parts += ["## The operation by itself", "",
              f"{KEPT:.0%} of a stream's channels put into their places and added, in milliseconds; in brackets, how "
              f"many times as long as the sum alone (`NoScatter`). `ConcatAndGather` is what golden_stick does.", "",
              forms_table(found["forms"]), "", "## Whole networks", "",
              f"ResNet-56, pruned by {RATE:.0%} under each policy for residual sums:", "",
              networks_table(found["networks"]["measurements"])]
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = command_line(__doc__, "outputs/scatter.json", "docs/scatter.md")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    ms.set_context(mode=ms.GRAPH_MODE)
    forms = {}
    with ForeignLoad() as load:
        for samples, size, pixels in STREAMS:
            name = f"{samples} x {size} x {pixels} x {pixels}"
            forms[name] = operation(samples, size, pixels, options.rounds)
            print(f"{name}: " + ", ".join(f"{form} {found['median_ms']:.3f}" for form, found in forms[name].items()) +
                  " ms", flush=True)
    result = whole_networks(options.rounds)
    print(f"\nResNet-56 at {RATE:.0%}, by policy for residual sums\n{result}")
    found = {"machine": machine_facts({"mindspore": ms.__version__}), "rounds": options.rounds,
             "foreign_load": load.processors, "forms": forms, "networks": result.to_dict()}
    write_json(options.output, found)
    write_page(options.page, page(found))


if __name__ == "__main__":
    main()
