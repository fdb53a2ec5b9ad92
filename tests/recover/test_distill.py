"""`gs.distill` against numpy by hand, in both modes; a teacher that stays as it is."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.files import network_digest
from golden_stick.deploy.slim_file import read_tensors
from tests import networks

IMAGES = np.random.default_rng(0).normal(size=(6, 3, 5, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)


def built(width=8):
    """A network with what training would change in a teacher: moving statistics, and dropout."""
    return networks.randomize(nn.SequentialCell(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(p=0.5), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Dense(width, 3)))


def halved(network):
    algorithm = gs.OneShot({"prune_rate": 0.5})
    return algorithm.convert(algorithm.apply(network, inputs=(1, 3, 5, 5)))


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def soft(student, teacher, temperature):
    got, wanted = log_softmax(student / temperature), log_softmax(teacher / temperature)
    return temperature ** 2 * (np.exp(wanted) * (wanted - got)).sum(1).mean()


def outputs(network):
    network.set_train(False)
    return network(Tensor(IMAGES)).asnumpy()


def test_the_loss_by_hand(mode):
    teacher, slim = built(), built(4)
    student, wanted = outputs(slim), outputs(teacher)
    cell = gs.distill(slim, teacher, nn.CrossEntropyLoss(), temperature=3, weight=0.25).set_train(False)
    hard = -log_softmax(student)[np.arange(6), LABELS].mean()
    found = float(cell(Tensor(IMAGES), Tensor(LABELS)))
    assert found == pytest.approx(0.25 * soft(student, wanted, 3) + 0.75 * hard, rel=1e-5)
    # Without labels; and nothing is to be learnt from oneself.
    alone = gs.distill(slim, teacher, temperature=2, weight=1).set_train(False)
    assert float(alone(Tensor(IMAGES))) == pytest.approx(soft(student, wanted, 2), rel=1e-4)
    assert float(gs.distill(slim, slim, weight=1).set_train(False)(Tensor(IMAGES))) == pytest.approx(0, abs=1e-6)


class Two(nn.Cell):
    """Takes two inputs, and gives a class for every position besides something else."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def construct(self, x, y):
        return self.layer(x + y), y


def first(given):
    return given[0]


def scaled(given, factor):
    return given[1].sum() * factor


def test_several_inputs_and_outputs(mode):
    slim, teacher = networks.randomize(Two(), 1), networks.randomize(Two(), 2)
    x, y = Tensor(IMAGES), Tensor(IMAGES[::-1].copy())
    cell = gs.distill(slim, teacher, scaled, weight=0.5, inputs=2, logits=first)
    wanted = 0.5 * soft(slim(x, y)[0].asnumpy(), teacher(x, y)[0].asnumpy(), 4) + 0.5 * 7 * IMAGES.sum(dtype=float)
    assert float(cell(x, y, Tensor(7.0))) == pytest.approx(wanted, rel=1e-4)


def test_the_slim_network_learns_and_the_teacher_does_not(mode, tmp_path):
    teacher = built()
    slim = halved(teacher)
    before, digest = network_digest(slim), network_digest(teacher)
    names, flags = [item.name for item in slim.get_parameters()], [item.requires_grad for item in
                                                                    teacher.get_parameters()]
    cell = gs.distill(slim, teacher, nn.CrossEntropyLoss())
    assert [item.name for item in cell.trainable_params()] == [item.name for item in slim.trainable_params()]
    inner = network_digest(cell.teacher)
    data = ms.dataset.NumpySlicesDataset((IMAGES, LABELS), shuffle=False).batch(3)
    optimizer = nn.Momentum(cell.trainable_params(), 0.05, 0.9)
    begun = float(cell.set_train(False)(Tensor(IMAGES), Tensor(LABELS)))
    ms.Model(cell, optimizer=optimizer).train(10, data, dataset_sink_mode=False)
    assert slim.training and cell.teacher.network[1].training is False
    assert float(cell.set_train(False)(Tensor(IMAGES), Tensor(LABELS))) < 0.9 * begun
    # Weights and moving statistics, of the network that was given and of the copy that was learnt from.
    assert network_digest(teacher) == digest and network_digest(cell.teacher) == inner
    assert [item.requires_grad for item in teacher.get_parameters()] == flags
    assert network_digest(slim) != before and [item.name for item in slim.get_parameters()] == names
    if mode == "GRAPH":
        return
    path = gs.save_slim(slim, str(tmp_path / "slim.safetensors"))
    np.testing.assert_allclose(outputs(gs.load_slim(built(), path)), outputs(slim), atol=1e-6)
    assert not any(name.startswith("teacher") for name in read_tensors("load_slim", path)[0])


def test_the_gradient_is_that_of_the_loss(mode):
    """Of one dense layer: (softmax(s / T) - softmax(t / T)) * T, and nothing of the teacher's."""
    slim, teacher = (networks.randomize(nn.SequentialCell(nn.Dense(5, 3))) for _ in range(2))
    teacher[0].weight.set_data(teacher[0].weight * -2)
    x = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    cell = gs.distill(slim, teacher, weight=1, temperature=2)
    gradient = ms.grad(cell, None, cell.trainable_params())(Tensor(x))
    got, wanted = (np.exp(log_softmax(network(Tensor(x)).asnumpy() / 2)) for network in (slim, teacher))
    np.testing.assert_allclose(gradient[0].asnumpy(), 2 * (got - wanted).T @ x / 4, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode, classes, wanted", [("GRAPH", 1, 1), ("PYNATIVE", 3, 2)], indirect=["mode"])
def test_logits_that_say_nothing(mode, classes, wanted):
    slim, teacher = nn.SequentialCell(nn.Dense(5, classes)), nn.SequentialCell(nn.Dense(5, wanted))
    with pytest.raises(ValueError, match="the logits of slim network and teacher must have one shape"):
        gs.distill(slim, teacher, weight=1)(Tensor(np.ones((2, 5), np.float32)))


def test_refusals():
    net = nn.Dense(5, 3)
    with pytest.raises(ArgumentTypeError, match="slim network and teacher must be Cells, but 'teacher' is a int"):
        gs.distill(net, 5, nn.CrossEntropyLoss())
    with pytest.raises(ArgumentTypeError, match="'loss' must be something that takes outputs, but got str"):
        gs.distill(net, net, "mse")
    with pytest.raises(ArgumentError, match=r"For 'distill', 'temperature' must be in \(0, inf\), but got 0"):
        gs.distill(net, net, nn.CrossEntropyLoss(), temperature=0)
    with pytest.raises(ArgumentError, match=r"For 'distill', 'weight' must be in \[0, 1\], but got 1.5"):
        gs.distill(net, net, nn.CrossEntropyLoss(), weight=1.5)
    with pytest.raises(ArgumentError, match="'weight' must be 1 where there is no 'loss' for the labels, but got 0.9"):
        gs.distill(net, net)
