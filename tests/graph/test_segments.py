"""Stretches between the points that all data must pass."""
import golden_stick as gs
from golden_stick.graph.ir import segments_of
from tests import networks
from tests.graph.build import Builder


def stretches(graph):
    """The weights of each stretch, in order."""
    found = {}
    for name, number in segments_of(graph).items():
        if name.endswith("weight"):
            found.setdefault(number, []).append(name.removesuffix(".weight"))
    return [found[number] for number in sorted(found)]


def test_each_layer_of_a_chain_is_one():
    b = Builder()
    value = b.input(2, 3, 4, 4)
    for name in "abc":
        value = b.relu(b.convolution(name, value, 4))
    assert stretches(b.graph(value)) == [["a"], ["b"], ["c"]]


def test_branches_between_a_split_and_its_sum_are_one():
    b = Builder()
    stem = b.relu(b.convolution("stem", b.input(2, 3, 4, 4), 4))
    branch = b.convolution("b2", b.relu(b.convolution("b1", stem, 6)), 4)
    total = b.add(branch, b.convolution("shortcut", stem, 4))
    assert stretches(b.graph(b.convolution("last", total, 2))) == [["stem"], ["b1", "b2", "shortcut"], ["last"]]


def test_a_value_that_is_read_late_keeps_all_in_one_stretch():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 4)
    last = b.convolution("c", b.relu(b.convolution("b", first, 4)), 4)
    assert stretches(b.graph(b.add(last, first))) == [["a"], ["b", "c"]]


def test_an_input_that_is_read_late_too():
    b = Builder()
    x = b.input(2, 4, 4, 4)
    out = b.convolution("b", b.relu(b.convolution("a", x, 4)), 4)
    assert stretches(b.graph(b.convolution("c", b.add(out, x), 2))) == [["a", "b"], ["c"]]


def test_two_outputs():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 4)
    second = b.convolution("b", first, 4)
    assert stretches(b.graph(b.convolution("c", second, 2), second)) == [["a"], ["b"], ["c"]]
    assert stretches(b.graph(b.convolution("d", b.convolution("c", second, 2), 2), first)) == [["a"], ["b", "c", "d"]]


def test_a_residual_network_has_one_per_block():
    found = stretches(gs.trace(networks.CifarResNet(2), (2, 3, 16, 16)))
    assert found == [["stem"]] + [[f"blocks.{i}.first", f"blocks.{i}.second"] for i in range(6)] + [["head"]]
