"""Graphs that nobody thought of: random layers joined at random, masked and slim, under each residual policy."""
import numpy as np
import pytest

from tests.graph.build import Builder
from tests.graph.interpreter import assert_masked_equals_slim

SIZE = 3


class Grower:
    """Adds one random piece after another; every feature map is 2 x channels x 3 x 3."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.b = Builder()
        self.maps = [self.b.input(2, 3, SIZE, SIZE)]
        self.layers = 0

    def pick(self):
        # Mostly the newest, so that graphs grow deep.
        back = min(int(self.random.geometric(0.6)), len(self.maps))
        return self.maps[-back]

    def channels(self, value):
        return self.b.shape(value)[1]

    def path(self):
        self.layers += 1
        return f"layer{self.layers}"

    def layer(self, source, filters):
        divisors = [group for group in (1, 1, 2, 3) if self.channels(source) % group == 0 and filters % group == 0]
        made = self.b.convolution(self.path(), source, filters, int(self.random.choice(divisors)))
        return self.b.normalization(f"{self.path()}", made) if self.random.random() < 0.5 else made

    def convolution(self):
        return self.layer(self.pick(), int(self.random.integers(1, 7)))

    def depthwise(self):
        source = self.pick()
        count = self.channels(source)
        return self.b.convolution(self.path(), source, count * int(self.random.integers(1, 3)), count)

    def activation(self):
        return self.b.relu(self.pick())

    def bias(self):
        return self.b.bias(self.path(), self.pick())

    def residual(self):
        source = self.pick()
        return self.b.add(source, self.layer(self.b.relu(source), self.channels(source)))

    def meeting(self):
        one = self.pick()
        same = [value for value in self.maps if self.channels(value) == self.channels(one)]
        return self.b.add(one, same[int(self.random.integers(len(same)))], str(self.random.choice(["Add", "Maximum"])))

    def sum_of_three(self):
        one = self.pick()
        parts = (one, self.layer(one, self.channels(one)), self.layer(one, self.channels(one)))
        return self.b.node("AddN", [parts], self.b.shape(one))

    def concat(self):
        return self.b.concat((self.pick(), self.pick()))

    def gate(self):
        source = self.pick()
        shape = self.b.shape(source)
        pooled = self.b.node("ReduceMean", [source, (2, 3), True], shape[:2] + (1, 1))
        squeezed = self.b.relu(self.b.convolution(self.path(), pooled, 2))
        scale = self.b.pointwise("Sigmoid", self.b.convolution(self.path(), squeezed, shape[1]))
        return self.b.node("Mul", [source, scale], shape)

    def spatial_mask(self):
        source = self.pick()
        shape = self.b.shape(source)
        mask = self.b.node("ReduceMax", [source, 1, True], (2, 1, SIZE, SIZE))
        return self.b.node("Mul", [source, mask], shape)

    def channel_padding(self):
        source = self.pick()
        batch, count, *space = self.b.shape(source)
        before, after = self.random.integers(0, 3, 2).tolist()
        return self.b.node("PadV3", [source, (0, 0, 0, 0, before, after), 0.0], (batch, count + before + after, *space))

    def channels_last(self):
        source = self.pick()
        batch, count, *space = self.b.shape(source)
        turned = self.b.node("Transpose", [source, (0, 2, 3, 1)], (batch, *space, count))
        return self.b.node("Transpose", [self.b.relu(turned), (0, 3, 1, 2)], (batch, count, *space))

    def unknown(self):
        return self.b.pointwise("Mystery", self.pick())

    def shuffle(self):
        source = self.pick()
        batch, count, *space = self.b.shape(source)
        split = self.b.reshape(source, batch, count, 1, *space)
        return self.b.reshape(self.b.relu(split), batch, count, *space)

    def grow(self, pieces):
        kinds = [self.convolution] * 4 + [self.residual] * 3 + [
            self.depthwise, self.activation, self.bias, self.meeting, self.sum_of_three, self.concat, self.gate,
            self.spatial_mask, self.channel_padding, self.channels_last, self.unknown, self.shuffle,
        ]
        self.maps.append(self.layer(self.maps[0], 5))
        for _ in range(pieces):
            self.maps.append(kinds[int(self.random.integers(len(kinds)))]())
        last = self.maps[-1]
        flat = self.b.reshape(last, 2, self.channels(last) * SIZE * SIZE)
        return self.b.graph(self.b.dense("head", flat, 2), self.convolution())


@pytest.mark.parametrize("residual", ["group", "scatter", "keep"])
def test_masked_equals_slim_on_random_graphs(residual):
    removable, scattered = 0, 0
    for seed in range(120):
        graph = Grower(seed).grow(int(seed % 12) + 1)
        grouping = assert_masked_equals_slim(graph, residual, seed)
        removable += sum(len(group.channels) for group in grouping)
        scattered += len(grouping.scatters)
    # The oracle is worth something only if there was something to remove.
    assert removable > 300
    assert (scattered > 10) == (residual == "scatter")
