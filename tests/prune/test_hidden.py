"""What evaluation does not need: layers whose result nobody reads, and branches that only training takes."""
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

import golden_stick as gs
from tests.prune.test_field import filled
from tests.prune.test_widths import slim_of


class LeftOver(nn.Cell):
    """A classifier that nobody reads; or one with code of its own around it."""

    def __init__(self, kind="layer"):
        super().__init__()
        self.kind = kind
        self.a, self.norm, self.head = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 4, 1)
        self.fc = nn.Dense(16, 10) if kind == "layer" else nn.SequentialCell(nn.Conv2d(16, 6, 1), nn.BatchNorm2d(6),
                                                                          nn.ReLU(), nn.Conv2d(6, 16, 1))

    def construct(self, x):
        x = ops.relu(self.norm(self.a(x)))
        if self.kind == "layer":
            _ = self.fc(x.mean((2, 3)))
        elif self.kind == "block":
            _ = self.fc(x)
        else:
            _ = self.fc(x).mean((2, 3)) * 2
        return self.head(x)


class Written(nn.Cell):
    """What nobody reads holds a number."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head, self.fc = nn.Dense(4, 16), nn.Dense(16, 12), nn.Dense(12, 3), nn.Dense(8, 3)

    def construct(self, x):
        x = ops.relu(self.a(x))
        _ = self.fc(x.reshape((-1, 8)))
        return self.head(ops.relu(self.b(x)))


@pytest.mark.parametrize("kind, reads", [("layer", (10, 8)), ("block", (6, 8, 1, 1)), ("more", (6, 8, 1, 1))])
def test_a_layer_whose_result_nobody_reads_shrinks_with_what_it_reads(kind, reads):
    slim, report = slim_of(LeftOver(kind), (2, 3, 8, 8))
    weight = slim.fc.weight if kind == "layer" else slim.fc[0].weight
    assert weight.shape == reads and slim.a.weight.shape == (8, 3, 3, 3)
    path = "fc" if kind == "layer" else "fc.0"
    named = next(layer for layer in report.layers if layer.path == path)
    assert named.after == named.before and named.reasons == ("evaluation does not read what it makes",)


class Inline(nn.Cell):
    """What nobody reads meets the channels that others read."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.a, self.b, self.head = kind, nn.Dense(4, 16), nn.Dense(16, 16), nn.Dense(16, 3)
        self.fc = nn.Dense(16, 16)

    def construct(self, x):
        x = ops.relu(self.b(ops.relu(self.a(x))))
        if self.kind == "sum":
            _ = self.fc(x) + x
        elif self.kind == "product":
            _ = ops.relu(self.fc(x)) * x
        else:
            _ = ops.concat((self.fc(x), x), 1).reshape((-1, 2, 16))
        return self.head(x)


@pytest.mark.parametrize("kind", ["sum", "product", "concat"])
def test_what_meets_the_result_that_nobody_reads_stays_and_the_rest_shrinks(kind):
    slim, report = slim_of(Inline(kind), (2, 4))
    assert slim.a.weight.shape == (8, 4) and slim.b.weight.shape == (16, 8) and slim.fc.weight.shape == (16, 16)
    reasons = next(layer for layer in report.layers if layer.path == "b").reasons
    assert any("read by a branch that fits these widths only" in reason for reason in reasons)


def test_a_number_in_what_nobody_reads_keeps_the_layer_before_it_alone():
    slim, _ = slim_of(Written(), (2, 4))
    assert slim.a.weight.shape == (16, 4) and slim.b.weight.shape == (6, 16)


class Threshold(nn.Cell):
    """A second head in training."""

    def __init__(self):
        super().__init__()
        self.neck = nn.SequentialCell(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        self.main = nn.Conv2d(16, 2, 3)
        self.second = nn.SequentialCell(nn.Conv2d(16, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 1, 3))

    def construct(self, x):
        x = self.neck(x)
        return (self.main(x), self.second(x)) if self.training else self.main(x)


class Inside(nn.Cell):
    """A branch in a part of the network, which is added to what evaluation makes."""

    def __init__(self):
        super().__init__()
        self.enter, self.part, self.leave = nn.Conv2d(3, 8, 3), Noisy(), nn.Conv2d(16, 2, 1)

    def construct(self, x):
        return self.leave(ops.relu(self.part(ops.relu(self.enter(x)))))


class Noisy(nn.Cell):
    def __init__(self):
        super().__init__()
        self.main, self.extra = nn.Conv2d(8, 16, 3), nn.Conv2d(8, 16, 1)

    def construct(self, x):
        made = self.main(x)
        if self.training:
            made = made + self.extra(x)
        return made


class Fixed(nn.Cell):
    """The branch of training holds a number of what it reads."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.main, self.extra = nn.Dense(4, 16), nn.Dense(16, 12), nn.Dense(12, 3), nn.Dense(8, 3)

    def construct(self, x):
        x = ops.relu(self.a(x))
        made = self.main(ops.relu(self.b(x)))
        return (made, self.extra(x.reshape((-1, 8)))) if self.training else made


@pytest.mark.parametrize("build, shape, outputs", [
    (Threshold, (2, 3, 8, 8), [(2, 2, 8, 8), (2, 1, 8, 8)]), (Inside, (2, 3, 8, 8), [(2, 2, 8, 8)]),
    (Fixed, (2, 4), [(2, 3), (4, 3)])])
def test_a_slim_network_trains_with_a_branch_for_training_alone(build, shape, outputs):
    slim, report = slim_of(build(), shape)
    made = slim.set_train()(Tensor(np.ones(shape, np.float32)))
    assert [item.shape for item in (made if isinstance(made, tuple) else [made])] == outputs
    assert not [note for note in report.notes if "does not reach" in note]


def test_what_a_branch_for_training_reads_shrinks():
    slim, _ = slim_of(Threshold(), (2, 3, 8, 8))
    assert slim.second[0].weight.shape == (6, 8, 3, 3)
    slim, _ = slim_of(Inside(), (2, 3, 8, 8))
    # Its filters are added to those of evaluation, and go with them.
    assert slim.part.extra.weight.shape == slim.part.main.weight.shape[:1] + (4, 1, 1)


def test_a_branch_that_fits_one_width_keeps_it():
    slim, report = slim_of(Fixed(), (2, 4))
    assert slim.a.weight.shape == (16, 4) and slim.b.weight.shape == (6, 16)


def test_slim_in_training_is_masked_in_training():
    """Both heads, without the library's own check, which runs in evaluation."""
    algorithm = gs.OneShot({"criterion": "l1", "prune_rate": 0.5})
    masked = algorithm.apply(filled(Threshold()), inputs=(2, 3, 8, 8))
    slim = algorithm.convert(masked)
    x = Tensor(np.random.default_rng(3).normal(size=(2, 3, 8, 8)), dtype=slim.main.weight.dtype)
    for one, other in zip(masked.set_train()(x), slim.set_train()(x)):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-4, atol=1e-5)
