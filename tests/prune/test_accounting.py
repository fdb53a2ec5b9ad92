"""Of real networks, every parameter is accounted for by the plan, the report and `golden-stick trace`."""
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

import golden_stick as gs
from golden_stick.cli.show import inspection, inspection_text, overview, overview_text
from golden_stick.graph.plan import plan_without
from tests import networks
from tests.graph.test_accounting import check_accounts
from tests.traced import traced

POLICIES = {"residual": "group", "heads": "width", "normalization": "exact"}


def check_names(network, graph, plan):
    """As of a graph, and what the graph knows is what the network has."""
    check_accounts(graph, plan)
    assert {item.name for item in (*graph.parameters, *graph.unread)} == {
        item.name for item in network.get_parameters()}


def half(graph):
    grouping = gs.find_groups(graph)
    return plan_without(grouping, np.concatenate([group.channels[::2][:len(group.channels) // 2] for group in grouping]
                                                 or [np.zeros(0, int)]))


BUILT = [(networks.SmallNet, networks.SMALL_INPUT), (networks.Wide, networks.SMALL_INPUT),
         (networks.SENet, networks.SMALL_INPUT)]
LARGE = [(networks.MobileNetV2Like, (1, 3, 32, 32)), (networks.ResNet50, (1, 3, 64, 64)),
         (networks.VGG16BN, (1, 3, 64, 64)), (networks.CifarResNet, (1, 3, 32, 32), 2)]


@pytest.mark.parametrize("built", [*BUILT, *(pytest.param(item, marks=pytest.mark.long) for item in LARGE)], ids=str)
def test_networks_of_the_suite(built):
    network, graph = traced(*built)
    check_names(network, graph, half(graph))


def check_report(algorithm, network):
    """After `apply`: the plan adds up, and the text names every parameter of two or more dimensions or its layer."""
    plan, graph = algorithm.applied.selection.plan, algorithm.applied.task.graph
    check_names(network, graph, plan)
    report, text = algorithm.report, str(algorithm.report)
    assert (report.shapes, report.untouched) == (plan.shapes(graph), plan.untouched)
    paths = {layer.weight: layer.path for layer in report.layers}
    rows = {row.split()[0] for row in text.splitlines() if row.strip()}
    assert {paths.get(item.name, item.name) for item in network.get_parameters() if item.ndim > 1} <= rows


class Net(nn.Cell):
    """A convolution, what a subclass does with it, and a head."""

    def __init__(self, read=16):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(read, 12, 3), nn.Dense(12, 4)

    def construct(self, x):
        return self.head(ops.relu(self.b(self.middle(ops.relu(self.a(x))))).mean((2, 3)))


class BothImages(Net):
    def construct(self, x):
        x = ops.cat((x, ops.flip(x, (3,))), 0)
        return self.head(ops.relu(self.b(ops.relu(self.a(x)))).mean((2, 3)))


class Crops(BothImages):
    """(batch, crops, channels, height, width), as for evaluation on ten crops."""

    def construct(self, x):
        x = ops.stack((x, x * 2), 1).reshape(-1, 3, 8, 8)
        return self.head(ops.relu(self.b(ops.relu(self.a(x)))).mean((2, 3)))


class Windows(BothImages):
    def construct(self, x):
        x = ops.cat(ops.split(x, 4, 2), 0)
        return self.head(ops.relu(self.b(ops.relu(self.a(x)))).mean((2, 3)))


@pytest.mark.parametrize("kind", [BothImages, Crops, Windows])
def test_one_encoder_for_images_side_by_side(kind, tmp_path):
    network = networks.randomize(kind())
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, (2, 3, 8, 8)))
    assert (slim.a.out_channels, slim.b.out_channels) == (8, 6)
    # Its file still knows why the rest stays.
    path = gs.save_slim(slim, str(tmp_path / "slim.safetensors"))
    text = " ".join(inspection_text(inspection(path), True).split())
    assert "head.bias whole, output of the network: nothing to do" in text and "a.weight axis 0 8 of 16" in text


class Tokens(nn.Cell):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.a, self.head = kind, nn.Dense(8, 16), nn.Dense(16, 4)
        self.time, self.lookup = nn.Conv1d(5, 5, 3), Parameter(Tensor(np.ones((5, 16), np.float32)), name="lookup")
        self.packed = Parameter(Tensor(np.ones((3, 16), np.float32)), name="packed")

    def construct(self, x):
        x = ops.relu(self.a(x))
        if self.kind == "time":
            return self.head((x + self.time(x)).mean(1))
        if self.kind == "lookup":
            return self.head(ops.layer_norm(x + self.lookup, (16,), ops.ones(16), ops.zeros(16)).mean(1))
        return self.head(x.mean(1)), ops.cumsum(self.packed, 0) * x[:1, :3]


@pytest.mark.parametrize("kind, name", [("time", "time.weight"), ("lookup", "lookup"), ("packed", "packed")])
def test_what_stays_is_named_in_plan_and_report_and_trace(kind, name):
    network = networks.randomize(Tokens(kind))
    inputs = (Tensor(np.ones((2, 5, 8), np.float32)),)
    graph = gs.trace(network, inputs)
    check_names(network, graph, half(graph))
    record = overview(network, inputs, graph, POLICIES)
    named = [item for stays in record["untouched"] for item in stays["parameters"]]
    assert sorted(named + record["shrinking"]) == sorted(item.name for item in network.get_parameters())
    assert name in named and name in overview_text(record)
    unread = {item for stays in record["untouched"] if not stays["reached"] for item in stays["parameters"]}
    assert unread == {other for other in ("time.weight", "lookup", "packed") if other != name}


class FixedByNumber(Net):
    def __init__(self):
        super().__init__()
        self.b = nn.Conv2d(16, 12, 1)

    def middle(self, x):
        return ops.relu(x.reshape(-1, 16, 64)).reshape(x.shape)


def test_trace_promises_what_apply_takes():
    network = networks.randomize(FixedByNumber())
    inputs = (Tensor(np.ones((2, 3, 8, 8), np.float32)),)
    record = overview(network, inputs, gs.trace(network, inputs), POLICIES)
    algorithm = gs.OneShot({"prune_rate": 0.5})
    algorithm.apply(network, inputs)
    assert {name for group in record["groups"] for name in group["layers"]} == {"b"} == {
        layer.path for layer in algorithm.report.layers if layer.after < layer.before}
