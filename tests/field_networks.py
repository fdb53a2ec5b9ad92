"""Small networks in the style of those that people prune: the parts that make each kind hard, and few channels."""
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

__all__ = ["FIELD"]


class ConvNorm(nn.SequentialCell):
    """A convolution without a bias, its normalization, an activation."""

    def __init__(self, inputs, outputs, kernel=3, stride=1, act=nn.SiLU, group=1, dilation=1):
        padding = dilation * (kernel // 2)
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, "pad", padding, dilation, group),
                         nn.BatchNorm2d(outputs), act() if act else nn.Identity())


class Bottleneck(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = ConvNorm(width, width, 1), ConvNorm(width, width)

    def construct(self, x):
        return x + self.second(self.first(x))


class C3(nn.Cell):
    """YOLOv5's: two branches from one map, side by side."""

    def __init__(self, inputs, outputs):
        super().__init__()
        half = outputs // 2
        self.left, self.right = ConvNorm(inputs, half, 1), ConvNorm(inputs, half, 1)
        self.join = ConvNorm(outputs, outputs, 1)
        self.blocks = nn.SequentialCell(Bottleneck(half))

    def construct(self, x):
        return self.join(ops.concat((self.blocks(self.left(x)), self.right(x)), 1))


class SPPF(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.reduce, self.join = ConvNorm(width, width // 2, 1), ConvNorm(2 * width, width, 1)
        self.pool = nn.MaxPool2d(5, 1, "same")

    def construct(self, x):
        x = self.reduce(x)
        once = self.pool(x)
        twice = self.pool(once)
        return self.join(ops.concat((x, once, twice, self.pool(twice)), 1))


class YOLOv5(nn.Cell):
    """Boxes of three anchors for every place of two maps, on a grid that is made of the map's size."""

    def __init__(self, classes=4, width=20):
        super().__init__()
        self.outputs, self.anchors = classes + 5, 3
        self.stem, self.early = ConvNorm(3, width, 3, 2), C3(width, width)
        self.down = ConvNorm(width, 2 * width, 3, 2)
        self.late = nn.SequentialCell(C3(2 * width, 2 * width), SPPF(2 * width))
        self.lateral, self.up = ConvNorm(2 * width, width, 1), C3(2 * width, width)
        self.heads = nn.CellList([nn.Conv2d(size, 3 * self.outputs, 1, has_bias=True) for size in (width, 2 * width)])

    def decode(self, x, head):
        x = head(x)
        batch, _, height, width = x.shape
        x = x.view(batch, self.anchors, self.outputs, height, width).transpose((0, 1, 3, 4, 2))
        rows, columns = ops.meshgrid(ops.arange(height), ops.arange(width), indexing="ij")
        grid = ops.stack((columns, rows), 2).astype(ms.float32)
        x = ops.sigmoid(x)
        places = (x[..., :2] * 2 - 0.5 + grid) / height
        return ops.concat((places, (x[..., 2:4] * 2) ** 2, x[..., 4:]), 4).view(batch, -1, self.outputs)

    def construct(self, x):
        early = self.early(self.stem(x))
        late = self.late(self.down(early))
        wide = ops.interpolate(self.lateral(late), size=early.shape[2:], mode="nearest")
        early = self.up(ops.concat((wide, early), 1))
        return ops.concat((self.decode(early, self.heads[0]), self.decode(late, self.heads[1])), 1)


class C2f(nn.Cell):
    """YOLOv8's: one map cut in two, and every step kept."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.enter, self.join = ConvNorm(inputs, outputs, 1), ConvNorm(3 * outputs // 2, outputs, 1)
        self.block = Bottleneck(outputs // 2)

    def construct(self, x):
        first, second = ops.chunk(self.enter(x), 2, 1)
        return self.join(ops.concat((first, second, self.block(second)), 1))


class YOLOv8(nn.Cell):
    """Without anchors: a distance to each side of a box is the mean of a distribution."""

    def __init__(self, classes=4, width=20, bins=8):
        super().__init__()
        self.bins, self.classes = bins, classes
        self.body = nn.SequentialCell(ConvNorm(3, width, 3, 2), C2f(width, width), ConvNorm(width, 2 * width, 3, 2),
                                      C2f(2 * width, 2 * width))
        self.box = nn.SequentialCell(ConvNorm(2 * width, width), nn.Conv2d(width, 4 * bins, 1, has_bias=True))
        self.kind = nn.SequentialCell(ConvNorm(2 * width, width), nn.Conv2d(width, classes, 1, has_bias=True))
        self.distances = Tensor(np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1))

    def construct(self, x):
        x = self.body(x)
        batch, _, height, width = x.shape
        sides = self.box(x).view(batch, 4, self.bins, height * width).transpose((0, 2, 1, 3))
        sides = (ops.softmax(sides, 1) * self.distances).sum(1)
        return ops.concat((sides, ops.sigmoid(self.kind(x)).view(batch, self.classes, -1)), 1)


class Depthwise(nn.SequentialCell):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__(ConvNorm(inputs, inputs, 3, stride, nn.LeakyReLU, inputs),
                         ConvNorm(inputs, outputs, 1, 1, nn.LeakyReLU))


class SSH(nn.Cell):
    """RetinaFace's context: three depths of one map side by side."""

    def __init__(self, width):
        super().__init__()
        half, quarter = width // 2, width // 4
        self.near, self.middle = ConvNorm(width, half, act=None), ConvNorm(width, quarter, act=nn.LeakyReLU)
        self.mid = ConvNorm(quarter, quarter, act=None)
        self.far = nn.SequentialCell(ConvNorm(quarter, quarter, act=nn.LeakyReLU), ConvNorm(quarter, quarter, act=None))

    def construct(self, x):
        middle = self.middle(x)
        return ops.relu(ops.concat((self.near(x), self.mid(middle), self.far(middle)), 1))


class RetinaFace(nn.Cell):
    """The backbone still has its classifier, whose result is thrown away."""

    def __init__(self, width=20):
        super().__init__()
        self.early = nn.SequentialCell(ConvNorm(3, width, 3, 2, nn.LeakyReLU), Depthwise(width, 2 * width, 2))
        self.late = nn.SequentialCell(Depthwise(2 * width, 4 * width, 2), Depthwise(4 * width, 4 * width))
        self.fc = nn.Dense(4 * width, 10)
        self.laterals = nn.CellList([ConvNorm(size * width, 2 * width, 1, act=nn.LeakyReLU) for size in (2, 4)])
        self.merge, self.context = ConvNorm(2 * width, 2 * width, act=nn.LeakyReLU), SSH(2 * width)
        self.boxes, self.marks = nn.Conv2d(2 * width, 8, 1, has_bias=True), nn.Conv2d(2 * width, 20, 1, has_bias=True)

    def construct(self, x):
        early = self.early(x)
        late = self.late(early)
        _ = self.fc(late.mean((2, 3)))
        early, late = self.laterals[0](early), self.laterals[1](late)
        early = early + ops.interpolate(late, size=early.shape[2:], mode="nearest")
        x = self.context(self.merge(early))
        boxes, marks = self.boxes(x).transpose((0, 2, 3, 1)), self.marks(x).transpose((0, 2, 3, 1))
        return boxes.reshape((x.shape[0], -1, 4)), marks.reshape((x.shape[0], -1, 10))


class ResidualBlock(nn.Cell):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.body = nn.SequentialCell(ConvNorm(inputs, outputs, 3, stride, nn.ReLU),
                                      ConvNorm(outputs, outputs, act=None))
        self.short = ConvNorm(inputs, outputs, 1, stride, None) if inputs != outputs else nn.Identity()

    def construct(self, x):
        return ops.relu(self.body(x) + self.short(x))


class CenterNet(nn.Cell):
    """Transposed convolutions back to a quarter of the image; peaks are where pooling changes nothing."""

    def __init__(self, classes=3, width=20):
        super().__init__()
        self.body = nn.SequentialCell(ConvNorm(3, width, 3, 2, nn.ReLU), ResidualBlock(width, 2 * width, 2),
                                      ResidualBlock(2 * width, 2 * width))
        self.up = nn.SequentialCell(nn.Conv2dTranspose(2 * width, width, 4, 2, "pad", 1), nn.BatchNorm2d(width),
                                    nn.ReLU())
        self.heat, self.size, self.shift = (nn.SequentialCell(
            nn.Conv2d(width, width, 3, has_bias=True), nn.ReLU(), nn.Conv2d(width, outputs, 1, has_bias=True))
            for outputs in (classes, 2, 2))
        self.left_over = nn.SequentialCell(nn.Conv2d(2 * width, width, 1), nn.ReLU(), nn.Conv2d(width, 5, 1))
        self.pool = nn.MaxPool2d(3, 1, "same")

    def construct(self, x):
        x = self.body(x)
        _ = self.left_over(x)
        x = self.up(x)
        heat = ops.sigmoid(self.heat(x))
        peaks = heat * (self.pool(heat) == heat).astype(heat.dtype)
        return peaks, self.size(x), self.shift(x)


class DBNet(nn.Cell):
    """Text in images: the map of thresholds is made in training alone."""

    def __init__(self, width=20):
        super().__init__()
        self.early, self.late = ConvNorm(3, width, 3, 2, nn.ReLU), ResidualBlock(width, 2 * width, 2)
        self.small, self.large = nn.Conv2d(width, width, 1), nn.Conv2d(2 * width, width, 1)
        self.out = nn.CellList([nn.Conv2d(width, width // 2, 3) for _ in range(2)])
        self.probability, self.threshold = self.head(width), self.head(width)

    @staticmethod
    def head(width):
        return nn.SequentialCell(ConvNorm(width, width // 2, act=nn.ReLU),
                                 nn.Conv2dTranspose(width // 2, 1, 2, 2, has_bias=True), nn.Sigmoid())

    def construct(self, x):
        early = self.early(x)
        late = self.large(self.late(early))
        early = self.small(early) + ops.interpolate(late, size=early.shape[2:], mode="nearest")
        late = ops.interpolate(self.out[1](late), size=early.shape[2:], mode="nearest")
        x = ops.concat((self.out[0](early), late), 1)
        probability = self.probability(x)
        if self.training:
            threshold = self.threshold(x)
            return probability, threshold, 1 / (1 + ops.exp(-50 * (probability - threshold)))
        return probability


class CRNN(nn.Cell):
    """Columns of an image as time steps of recurrent layers."""

    def __init__(self, classes=11, width=20, recurrent=nn.LSTM):
        super().__init__()
        self.body = nn.SequentialCell(
            ConvNorm(1, width, act=nn.ReLU), nn.MaxPool2d(2, 2), ConvNorm(width, 2 * width, act=nn.ReLU),
            nn.MaxPool2d((2, 1), (2, 1)), ConvNorm(2 * width, 2 * width, act=nn.ReLU), nn.MaxPool2d((2, 1), (2, 1)))
        self.rnn = recurrent(2 * width, width, num_layers=2, bidirectional=True)
        self.head = nn.Dense(2 * width, classes)

    def construct(self, x):
        x = self.body(x)
        x = ops.squeeze(x, 2).transpose((2, 0, 1))
        return self.head(self.rnn(x)[0])


class MixingAttention(nn.Cell):
    """SVTR's: the stream's width and the size of the map stand in attributes."""

    def __init__(self, dim, heads, size):
        super().__init__()
        self.num_heads, self.scale = heads, (dim // heads) ** -0.5
        self.size, self.N, self.C = size, size[0] * size[1], dim
        self.qkv, self.proj = nn.Dense(dim, 3 * dim), nn.Dense(dim, dim)
        self.softmax = nn.Softmax(-1)

    def construct(self, x):
        qkv = self.qkv(x).reshape((-1, self.N, 3, self.num_heads, self.C // self.num_heads)).transpose((2, 0, 3, 1, 4))
        q, k, v = qkv[0] * self.scale, qkv[1], qkv[2]
        x = ops.matmul(self.softmax(ops.matmul(q, k.transpose((0, 1, 3, 2)))), v)
        return self.proj(x.transpose((0, 2, 1, 3)).reshape((-1, self.N, self.C)))


class Mlp(nn.Cell):
    def __init__(self, dim, hidden, act):
        super().__init__()
        self.enter, self.leave, self.act = nn.Dense(dim, hidden), nn.Dense(hidden, dim), act()

    def construct(self, x):
        return self.leave(self.act(self.enter(x)))


class TransformerBlock(nn.Cell):
    def __init__(self, dim, attention, act=nn.GELU):
        super().__init__()
        self.norm_a, self.norm_b = nn.LayerNorm((dim,)), nn.LayerNorm((dim,))
        self.attention, self.mlp = attention, Mlp(dim, 4 * dim, act)

    def construct(self, x):
        x = x + self.attention(self.norm_a(x))
        return x + self.mlp(self.norm_b(x))


class SVTR(nn.Cell):
    def __init__(self, classes=11, dim=40, size=(2, 8)):
        super().__init__()
        half = dim // 2
        self.patch = nn.SequentialCell(ConvNorm(3, half, 3, 2, nn.GELU), ConvNorm(half, half, 3, 1, nn.GELU),
                                       ConvNorm(half, dim, 3, 2, nn.GELU))
        self.position = Parameter(Tensor(np.zeros((1, size[0] * size[1], dim)), ms.float32), name="position")
        self.blocks = nn.SequentialCell([TransformerBlock(dim, MixingAttention(dim, 4, size)) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm((dim,)), nn.Dense(dim, classes)
        self.size, self.dim = size, dim

    def construct(self, x):
        x = self.patch(x).flatten(start_dim=2).transpose((0, 2, 1)) + self.position
        x = self.norm(self.blocks(x))
        x = x.transpose((0, 2, 1)).reshape((-1, self.dim, self.size[0], self.size[1])).mean(2)
        return self.head(x.transpose((0, 2, 1)))


class BertAttention(nn.Cell):
    def __init__(self, hidden_size, heads):
        super().__init__()
        self.num_attention_heads, self.attention_head_size = heads, hidden_size // heads
        self.all_head_size = heads * self.attention_head_size
        self.query, self.key, self.value = (nn.Dense(hidden_size, self.all_head_size) for _ in range(3))
        self.dense = nn.Dense(self.all_head_size, hidden_size)

    def transpose_for_scores(self, x):
        x = x.view(x.shape[:-1] + (self.num_attention_heads, self.attention_head_size))
        return x.transpose((0, 2, 1, 3))

    def construct(self, x, mask):
        query, key, value = (self.transpose_for_scores(made) for made in (self.query(x), self.key(x), self.value(x)))
        scores = ops.matmul(query, key.swapaxes(-1, -2)) / self.attention_head_size ** 0.5 + mask
        x = ops.matmul(ops.softmax(scores, -1), value).transpose((0, 2, 1, 3))
        return self.dense(x.view(x.shape[:-2] + (self.all_head_size,)))


class BertLayer(nn.Cell):
    def __init__(self, hidden_size, heads):
        super().__init__()
        self.attention, self.mlp = BertAttention(hidden_size, heads), Mlp(hidden_size, 4 * hidden_size, nn.GELU)
        self.norm_a, self.norm_b = nn.LayerNorm((hidden_size,)), nn.LayerNorm((hidden_size,))

    def construct(self, x, mask):
        x = self.norm_a(x + self.attention(x, mask))
        return self.norm_b(x + self.mlp(x))


class Bert(nn.Cell):
    def __init__(self, words=16, hidden_size=40, places=12):
        super().__init__()
        self.words, self.places = nn.Embedding(words, hidden_size), nn.Embedding(places, hidden_size)
        self.norm = nn.LayerNorm((hidden_size,))
        self.layers = nn.CellList([BertLayer(hidden_size, 5) for _ in range(2)])
        self.pooler, self.head = nn.Dense(hidden_size, hidden_size, activation="tanh"), nn.Dense(hidden_size, 3)

    def construct(self, ids):
        mask = (1.0 - (ids > 0).astype(ms.float32))[:, None, None, :] * -10000.0
        x = self.norm(self.words(ids) + self.places(ops.arange(ids.shape[1])))
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(self.pooler(x[:, 0]))


class QuickGELU(nn.Cell):
    def construct(self, x):
        return x * ops.sigmoid(1.702 * x)


class ClipAttention(nn.Cell):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.in_proj, self.out_proj = nn.Dense(width, 3 * width), nn.Dense(width, width)

    def construct(self, x):
        length, batch, _ = x.shape
        q, k, v = ops.split(self.in_proj(x), self.heads * self.head_dim, axis=-1)
        q, k, v = (part.reshape((length, batch * self.heads, self.head_dim)).transpose((1, 0, 2)) for part in (q, k, v))
        weights = ops.softmax(ops.bmm(q * self.head_dim ** -0.5, k.transpose((0, 2, 1))), -1)
        x = ops.bmm(weights, v).transpose((1, 0, 2)).reshape((length, batch, self.heads * self.head_dim))
        return self.out_proj(x)


class ClipImage(nn.Cell):
    """CLIP's image tower: time before the batch, a class of its own, a projection that is a bare weight."""

    def __init__(self, width=40, outputs=12, size=4):
        super().__init__()
        generator = np.random.default_rng(0)
        self.patch = nn.Conv2d(3, width, 4, 4, "valid")
        self.class_embedding = Parameter(Tensor(generator.normal(size=width), ms.float32), name="class_embedding")
        self.position = Parameter(Tensor(generator.normal(size=(size * size + 1, width)), ms.float32), name="position")
        self.norm_pre, self.norm_post = nn.LayerNorm((width,)), nn.LayerNorm((width,))
        self.blocks = nn.SequentialCell([TransformerBlock(width, ClipAttention(width, 5), QuickGELU) for _ in range(2)])
        self.proj = Parameter(Tensor(generator.normal(size=(width, outputs)), ms.float32), name="proj")

    def construct(self, x):
        x = self.patch(x)
        x = x.reshape((x.shape[0], x.shape[1], -1)).transpose((0, 2, 1))
        first = ops.broadcast_to(self.class_embedding, (x.shape[0], 1, x.shape[2]))
        x = self.norm_pre(ops.concat((first, x), 1) + self.position)
        x = self.blocks(x.transpose((1, 0, 2))).transpose((1, 0, 2))
        return ops.matmul(self.norm_post(x[:, 0]), self.proj)


class TimedBlock(nn.Cell):
    """A residual block of a diffusion network: groups are normalized, the time is added."""

    def __init__(self, inputs, outputs, time, groups=8):
        super().__init__()
        self.norm_a, self.first = nn.GroupNorm(groups, inputs), nn.Conv2d(inputs, outputs, 3, has_bias=True)
        self.norm_b, self.second = nn.GroupNorm(groups, outputs), nn.Conv2d(outputs, outputs, 3, has_bias=True)
        self.time = nn.Dense(time, outputs) if time else None
        self.short = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def construct(self, x, time=None):
        made = self.first(ops.silu(self.norm_a(x)))
        if self.time is not None:
            made = made + self.time(ops.silu(time))[:, :, None, None]
        return self.short(x) + self.second(ops.silu(self.norm_b(made)))


class PlaneAttention(nn.Cell):
    def __init__(self, width, groups=8):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.q, self.k, self.v, self.out = (nn.Conv2d(width, width, 1, has_bias=True) for _ in range(4))

    def construct(self, x):
        batch, _, height, wide = x.shape
        h = self.norm(x)
        q, k, v = (part.reshape((batch, part.shape[1], height * wide)) for part in (self.q(h), self.k(h), self.v(h)))
        weights = ops.softmax(ops.bmm(q.transpose((0, 2, 1)), k) * 0.2, 2)
        made = ops.bmm(v, weights.transpose((0, 2, 1)))
        return x + self.out(made.reshape((batch, made.shape[1], height, wide)))


class DiffusionUNet(nn.Cell):
    def __init__(self, width=32, time=40):
        super().__init__()
        self.frequencies = Tensor(np.exp(-np.arange(8) / 2), ms.float32)
        self.embed = nn.SequentialCell(nn.Dense(16, time), nn.SiLU(), nn.Dense(time, time))
        self.enter = nn.Conv2d(3, width, 3, has_bias=True)
        self.down, self.shrink = TimedBlock(width, width, time), nn.Conv2d(width, width, 3, 2)
        self.middle, self.attend = TimedBlock(width, 2 * width, time), PlaneAttention(2 * width)
        self.grow = nn.Conv2d(2 * width, 2 * width, 3)
        self.up = TimedBlock(3 * width, width, time)
        self.norm, self.leave = nn.GroupNorm(8, width), nn.Conv2d(width, 3, 3, has_bias=True)

    def construct(self, x, steps):
        angles = steps[:, None] * self.frequencies
        time = self.embed(ops.concat((ops.cos(angles), ops.sin(angles)), 1))
        skip = self.down(self.enter(x), time)
        x = self.attend(self.middle(self.shrink(skip), time))
        x = self.grow(ops.interpolate(x, size=skip.shape[2:], mode="nearest"))
        x = self.up(ops.concat((x, skip), 1), time)
        return self.leave(ops.silu(self.norm(x)))


class VAE(nn.Cell):
    """Two halves around a latent map; in evaluation its mean is decoded."""

    def __init__(self, width=32, latent=4):
        super().__init__()
        self.encoder = nn.SequentialCell(
            nn.Conv2d(3, width, 3), TimedBlock(width, width, 0), nn.Conv2d(width, width, 3, 2),
            TimedBlock(width, 2 * width, 0), PlaneAttention(2 * width), nn.GroupNorm(8, 2 * width), nn.SiLU(),
            nn.Conv2d(2 * width, 2 * latent, 3))
        self.decoder = nn.SequentialCell(
            nn.Conv2d(latent, 2 * width, 3), TimedBlock(2 * width, 2 * width, 0), PlaneAttention(2 * width),
            nn.Conv2dTranspose(2 * width, width, 4, 2, "pad", 1), TimedBlock(width, width, 0), nn.GroupNorm(8, width),
            nn.SiLU(), nn.Conv2d(width, 3, 3))

    def construct(self, x):
        mean, _ = ops.chunk(self.encoder(x), 2, 1)
        return self.decoder(mean)


class VNetBlock(nn.Cell):
    def __init__(self, width, count):
        super().__init__()
        self.body = nn.SequentialCell([cell for _ in range(count) for cell in (
            nn.Conv3d(width, width, 3), nn.BatchNorm3d(width), nn.ELU())])

    def construct(self, x):
        return ops.elu(x + self.body(x))


class VNet(nn.Cell):
    """Volumes, down and up again; the first residual adds the image to every channel."""

    def __init__(self, width=10, classes=2):
        super().__init__()
        self.width = width
        self.enter = nn.SequentialCell(nn.Conv3d(1, width, 3), nn.BatchNorm3d(width))
        self.down = nn.SequentialCell(nn.Conv3d(width, 2 * width, 2, 2, "valid"), nn.BatchNorm3d(2 * width), nn.ELU())
        self.low = VNetBlock(2 * width, 2)
        self.up = nn.SequentialCell(nn.Conv3dTranspose(2 * width, width, 2, 2, "valid"), nn.BatchNorm3d(width),
                                    nn.ELU())
        self.high, self.leave = VNetBlock(2 * width, 1), nn.Conv3d(2 * width, classes, 1)

    def construct(self, x):
        skip = ops.elu(self.enter(x) + ops.tile(x, (1, self.width, 1, 1, 1)))
        x = self.up(self.low(self.down(skip)))
        return ops.softmax(self.leave(self.high(ops.concat((x, skip), 1))), 1)


class SRResidual(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.body = nn.SequentialCell(nn.Conv2d(width, width, 3), nn.BatchNorm2d(width), nn.PReLU(width),
                                      nn.Conv2d(width, width, 3), nn.BatchNorm2d(width))

    def construct(self, x):
        return x + self.body(x)


class SRGAN(nn.Cell):
    """The generator: channels become places, by either operator."""

    def __init__(self, width=20):
        super().__init__()
        self.enter = nn.SequentialCell(nn.Conv2d(3, width, 9), nn.PReLU())
        self.body = nn.SequentialCell(SRResidual(width), SRResidual(width), nn.Conv2d(width, width, 3),
                                      nn.BatchNorm2d(width))
        self.grow, self.grow_more = nn.Conv2d(width, 4 * width, 3), nn.Conv2d(width, 4 * width, 3)
        self.shuffle, self.places, self.act = nn.PixelShuffle(2), ops.DepthToSpace(2), nn.PReLU()
        self.leave = nn.Conv2d(width, 3, 9)

    def construct(self, x):
        x = self.enter(x)
        x = x + self.body(x)
        x = self.act(self.shuffle(self.grow(x)))
        x = self.act(self.places(self.grow_more(x)))
        return ops.tanh(self.leave(x))


class TDNN(nn.SequentialCell):
    def __init__(self, inputs, outputs, kernel=1, dilation=1):
        super().__init__(nn.Conv1d(inputs, outputs, kernel, pad_mode="same", dilation=dilation, has_bias=True),
                         nn.ReLU(), NormAlongTime(outputs))


class NormAlongTime(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)

    def construct(self, x):
        return self.norm(x[:, :, :, None])[:, :, :, 0]


class SERes2Block(nn.Cell):
    """ECAPA's: a map cut in parts, each of which reads the one before, and a gate for each channel."""

    def __init__(self, width, scale=4, dilation=2):
        super().__init__()
        self.scale = scale
        self.enter, self.leave = TDNN(width, width), TDNN(width, width)
        self.parts = nn.CellList([TDNN(width // scale, width // scale, 3, dilation) for _ in range(scale - 1)])
        self.squeeze = nn.Conv1d(width, width // 2, 1, has_bias=True)
        self.excite = nn.Conv1d(width // 2, width, 1, has_bias=True)

    def construct(self, x):
        pieces = ops.chunk(self.enter(x), self.scale, 1)
        made = (pieces[0],)
        for index in range(self.scale - 1):
            piece = pieces[index + 1] if index == 0 else pieces[index + 1] + made[-1]
            made += (self.parts[index](piece),)
        out = self.leave(ops.concat(made, 1))
        gate = ops.sigmoid(self.excite(ops.relu(self.squeeze(out.mean(2, keep_dims=True)))))
        return x + out * gate


class ECAPA(nn.Cell):
    """Speakers: blocks one after the other, all of them read at the end, pooled by weights over time."""

    def __init__(self, bands=12, width=40, outputs=8):
        super().__init__()
        self.enter = TDNN(bands, width, 5)
        self.blocks = nn.CellList([SERes2Block(width) for _ in range(2)])
        self.join = nn.Conv1d(2 * width, 2 * width, 1, has_bias=True)
        self.attend = nn.SequentialCell(TDNN(6 * width, width // 2), nn.Tanh(),
                                        nn.Conv1d(width // 2, 2 * width, 1, has_bias=True))
        self.norm, self.head = nn.BatchNorm1d(4 * width), nn.Dense(4 * width, outputs)

    def construct(self, x):
        x = self.enter(x)
        first = self.blocks[0](x)
        x = ops.relu(self.join(ops.concat((first, self.blocks[1](first)), 1)))
        mean = x.mean(2, keep_dims=True)
        deviation = ops.sqrt(((x - mean) ** 2).mean(2, keep_dims=True) + 1e-5)
        wide = ops.concat((x, ops.broadcast_to(mean, x.shape), ops.broadcast_to(deviation, x.shape)), 1)
        weights = ops.softmax(self.attend(wide), 2)
        mean = (x * weights).sum(2)
        deviation = ops.sqrt(((x ** 2) * weights).sum(2) - mean ** 2 + 1.0)
        return self.head(self.norm(ops.concat((mean, deviation), 1)))


# Name -> the network, what it takes, and which fraction of the parameters must be gone at rate 0.4. A stream that a
# layer normalization reads keeps its width, so of a transformer 40 % go of every weight that reads or makes it, and
# nothing of embeddings, patches, positions and normalizations, which here are 4 % of BERT and 9 % of CLIP.
FIELD = {
    "YOLOv5": (YOLOv5, ((1, 3, 32, 32),), 0.5), "YOLOv8": (YOLOv8, ((1, 3, 32, 32),), 0.5),
    "RetinaFace": (RetinaFace, ((1, 3, 32, 32),), 0.5), "CenterNet": (CenterNet, ((1, 3, 32, 32),), 0.5),
    "DBNet": (DBNet, ((1, 3, 32, 32),), 0.5), "CRNN": (CRNN, ((1, 1, 8, 16),), 0.5),
    "CRNN of GRU": (lambda: CRNN(recurrent=nn.GRU), ((1, 1, 8, 8),), 0.5),
    "SVTR": (SVTR, ((1, 3, 8, 32),), 0.4), "BERT": (Bert, ("ids",), 0.38), "CLIP": (ClipImage, ((1, 3, 16, 16),), 0.36),
    "diffusion": (DiffusionUNet, ((1, 3, 8, 8), (1,)), 0.5), "VAE": (VAE, ((1, 3, 8, 8),), 0.5),
    "V-Net": (VNet, ((1, 1, 8, 8, 8),), 0.5), "SRGAN": (SRGAN, ((1, 3, 8, 8),), 0.5),
    "ECAPA": (ECAPA, ((1, 12, 20),), 0.5),
}
