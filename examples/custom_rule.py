"""
An operator and a Cell of your own, taught to golden_stick in a few lines.   python examples/custom_rule.py

Without its rule, an operator is a barrier: nothing that it reads is pruned, and the report names it. Widths in
attributes, and in tuples of them, are found without help; a Cell that holds its width elsewhere, here in a dict, keeps
it without a resizer.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import Parameter, Tensor, nn, ops  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.cells.slim import add_resizer  # noqa: E402
from golden_stick.graph.rules import add_rule  # noqa: E402


class Scale(nn.Cell):
    """One factor per channel. Beside them it keeps half their number, which is no width of any layer."""

    def __init__(self, channels: int):
        super().__init__()
        self.half = channels // 2
        self.factor = Parameter(Tensor(np.linspace(0.5, 1.5, channels).astype(np.float32)), name="factor")

    def construct(self, x):
        # lgamma stands for an operator that golden_stick does not know.
        return ops.lgamma(ops.abs(x) + 1.0) * self.factor.reshape(1, 2 * self.half, 1, 1)


def prune() -> None:
    """Prune two convolutions with the Cell between them, and say what became of the first."""
    network = nn.SequentialCell(nn.Conv2d(3, 16, 3), Scale(16), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3))
    algorithm = gs.OneShot({"criterion": "l2", "prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, inputs=(1, 3, 12, 12)))
    reasons = next(layer.reasons for layer in algorithm.report.layers if layer.path == "0")
    print(f"first convolution: 16 -> {slim[0].out_channels} filters {'; '.join(reasons)}".rstrip())


def main() -> None:
    """Before the lines that teach, and after."""
    ms.set_seed(0)
    prune()
    # It works number by number: the channels behind it are those before it. It maps 0 to something else.
    add_rule("Lgamma", lambda flow, node: flow.of(node.inputs[0]).labels)
    prune()
    add_resizer(Scale, lambda cell: setattr(cell, "half", cell.factor.shape[0] // 2))
    prune()


if __name__ == "__main__":
    main()
