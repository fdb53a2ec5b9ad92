"""Processes of other environments: what is asked and answered, and mindspore-gs's side of the benchmarks."""
import sys
import types

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

import golden_stick as gs
from golden_stick.graph.plan import count_macs

pytestmark = pytest.mark.usefixtures("benchmarks")

FAKE = """
import os
from sides.serving import serve, timed_turn

class Side:
    def double(self, number):
        print("printed by a library")
        return {"found": 2 * number, "limit": os.environ.get("ONEDNN_MAX_CPU_ISA")}

    def turn(self, which, warm):
        calls = []
        found = timed_turn(lambda: calls.append(which), warm)
        return {**found, "wall": float(len(calls)), "cpu": 0.5}

    def leave(self):
        os._exit(3)

serve(Side())
"""


@pytest.fixture(name="fake")
def fake_side(tmp_path, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    script = tmp_path / "side.py"
    script.write_text(FAKE)
    return script


def test_orders_are_answered_and_errors_are_told(fake):
    from sides.client import Client, Torch
    client = Client(sys.executable, fake, "Fake", "fake-package")
    try:
        assert client.ask("double", number=21) == {"found": 42, "limit": "AVX2"}
        assert client.turn("slim")() == (2.0, 0.5)
        with pytest.raises(RuntimeError, match="Fake's side: TypeError: .*unexpected keyword argument 'wrong'"):
            client.ask("double", wrong=1)
        assert client.ask("double", number=1)["found"] == 2
        with pytest.raises(RuntimeError, match="the process with Fake has ended: is fake-package installed there"):
            client.ask("leave")
        with pytest.raises(RuntimeError, match="has ended"):
            client.ask("double", number=1)
    finally:
        client.close()
    warm = Client(sys.executable, fake, "Fake", "fake-package", 0.2)
    try:
        before = warm.used()
        # Appending to a list takes less than a thousandth of that.
        assert warm.turn("slim")()[0] > 1000 and warm.used() > before + 0.04
    finally:
        warm.close()
    assert Torch.variables({"ONEDNN_MAX_CPU_ISA": "AVX2", "A": "b"}) == {"A": "b"}


class Far:
    """The client's face, without a process."""

    def __init__(self, reply):
        self.reply, self.asked = reply, []

    def ask(self, do, **arguments):
        self.asked.append((do, arguments))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    def turn(self, which):
        return f"turn of {which}"


def test_mindspore_gs_has_turns_where_it_wraps_something():
    from sides.client import MindSporeGs

    def turns(reply):
        far = Far(reply)
        settings = {"network": "resnet20", "size": 32, "batch": 64, "rounds": 3}
        return far, *MindSporeGs.turns(far, "training", ("plain", "masked"), settings, 0.45)

    far, found, said = turns({"wrapped": 18})
    assert found == {"mindspore-gs, plain": "turn of plain", "mindspore-gs, masked": "turn of masked"}
    assert said == {"wrapped": 18}
    assert far.asked == [("training", {"name": "resnet20", "size": 32, "batch": 64, "rate": 0.45})]
    assert turns({"wrapped": 0})[1:] == ({}, {"wrapped": 0})
    assert turns(RuntimeError("it ended"))[1:] == ({}, {"error": "it ended"})


@pytest.mark.parametrize("name, size", [("resnet20", 32), pytest.param("resnet50", 64, marks=pytest.mark.long)])
def test_the_network_with_its_names_is_ours(name, size):
    from deployment_parts.networks import build
    from sides.gs_networks import LayeredResNet
    ours, named = build(name, size), LayeredResNet(name)
    shapes = [sorted(tuple(parameter.shape) for parameter in one.get_parameters()) for one in (ours, named)]
    assert shapes[0] == shapes[1]
    assert len({count_macs(gs.trace(one, (1, 3, size, size))) for one in (ours, named)}) == 1


class KfConv2d(nn.Cell):
    """Of the name and with the scale of the one of mindspore-gs."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv
        self.kfscale = Parameter(Tensor(np.full((1, 16, 1, 1), 0.5, np.float32)), name="kfscale")

    def construct(self, x):
        return self.conv(x) * self.kfscale


class Knockoff:
    def __init__(self, config):
        assert config == {}

    def apply(self, network):
        if hasattr(network, "layer1"):
            network.stem = KfConv2d(network.stem)
        return network


class FineTune(Knockoff):
    def __init__(self, config):
        assert config == {"prune_rate": 0.45}


@pytest.fixture(name="side")
def gs_side(monkeypatch):
    package = types.ModuleType("mindspore_gs.pruner")
    package.PrunerKfCompressAlgo, package.PrunerFtCompressAlgo = Knockoff, FineTune
    monkeypatch.setitem(sys.modules, "mindspore_gs", types.ModuleType("mindspore_gs"))
    monkeypatch.setitem(sys.modules, "mindspore_gs.pruner", package)
    from sides import gs_side as module
    monkeypatch.setattr(module, "versions", lambda: {"versions": {"mindspore-gs": "0"}})
    yield module.Side()
    ms.set_context(mode=ms.PYNATIVE_MODE)


def test_what_it_wraps_has_turns(side):
    found = side.evaluation("resnet20", 32, 2, 0.45)
    assert found == {"wrapped": 1, "versions": {"mindspore-gs": "0"}}
    assert side.turn("masked", 0.0)["wall"] > 0 and side.turn("original", 0.0)["cpu"] >= 0
    with pytest.raises(KeyError):
        side.turn("knockoff", 0.0)


def test_what_it_does_not_wrap_has_none(side):
    assert side.training("mobilenet_v2", 32, 2, 0.45)["wrapped"] == 0
    with pytest.raises(KeyError):
        side.turn("plain", 0.0)


def test_the_doubled_batch_holds_every_sample_twice():
    from sides.gs_side import doubled
    images, labels = Tensor(np.arange(10, dtype=np.float32).reshape(5, 2)), Tensor(np.arange(5, dtype=np.int32))
    twice, their_labels = (part.asnumpy() for part in doubled((images, labels)))
    assert sorted(their_labels[5:]) == list(range(5)) and list(their_labels[5:]) != list(range(5))
    np.testing.assert_array_equal(twice, np.concatenate([images.asnumpy(), images.asnumpy()[their_labels[5:]]]))
