"""MindSpore's own attention and transformers: pruned as attention that is written out, equal in both modes."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.cells.attention import OpenAttention
from golden_stick.cells.wrappers import opened
from tests.marks import both_modes

WIDTH, HEADS = 16, 4


def rand(*shape, seed=1):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def randomize(network):
    """Every parameter, so that a bias in the wrong place shows."""
    generator = np.random.default_rng(0)
    for item in network.get_parameters():
        values = generator.normal(item.name.endswith("gamma"), 0.4, item.shape)
        item.set_data(Tensor(values.astype(np.float32)))
    return network


def arrays(output):
    return [item.asnumpy() for item in (output if isinstance(output, (tuple, list)) else (output,))]


def assert_close(one, other, tolerance=1e-5):
    for first, second in zip(arrays(one), arrays(other)):
        np.testing.assert_allclose(first, second, rtol=0, atol=tolerance * max(np.abs(first).max(), 1e-3))


QUERY, KEY = rand(2, 5, WIDTH), rand(2, 6, WIDTH, seed=2)
HIDDEN = Tensor(np.random.default_rng(0).random((5, 6)) < 0.3)
PADDED = Tensor(np.array([[False] * 5 + [True], [False] * 4 + [True] * 2]))

CALLS = {
    "plain": ({}, {}),
    "no bias": ({"has_bias": False}, {"need_weights": False}),
    "rows added": ({"add_bias_kv": True, "add_zero_attn": True}, {"attn_mask": HIDDEN, "key_padding_mask": PADDED}),
    "hidden": ({}, {"attn_mask": HIDDEN}),
    "hidden by numbers": ({}, {"attn_mask": rand(2 * HEADS, 5, 6, seed=3)}),
    "padded": ({}, {"key_padding_mask": PADDED, "average_attn_weights": False}),
    "other widths": ({"kdim": 6, "vdim": 7}, {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_open_attention_gives_what_mindspores_own_gives(name):
    options, call = CALLS[name]
    for batch_first in (True, False):
        cell = randomize(nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first, **options))
        key, value = (rand(2, 6, options.get(width, WIDTH), seed=2) for width in ("kdim", "vdim"))
        data = [QUERY, key, key if not options.get("vdim") else value]
        data = data if batch_first else [item.swapaxes(0, 1) for item in data]
        wanted = cell.set_train(False)(*data, **call)
        with opened(cell):
            assert type(cell) is OpenAttention
            assert_close(wanted, cell(*data, **call))
        assert type(cell) is nn.MultiheadAttention and not hasattr(cell, "root")


def test_a_single_sample_has_no_batch():
    cell = randomize(nn.MultiheadAttention(WIDTH, HEADS))
    wanted = cell.set_train(False)(QUERY[0], KEY[0], KEY[0])
    with opened(cell):
        assert_close(wanted, cell(QUERY[0], KEY[0], KEY[0]))


class Encoder(nn.Cell):
    def __init__(self, layers=2):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, dropout=0.0, batch_first=True)
        self.embed, self.body, self.head = nn.Dense(8, WIDTH), nn.TransformerEncoder(layer, layers), nn.Dense(WIDTH, 3)

    def construct(self, x):
        return self.head(self.body(self.embed(x)).mean(1))


class Decoder(nn.Cell):
    def __init__(self):
        super().__init__()
        self.body = nn.TransformerDecoderLayer(WIDTH, HEADS, 32, dropout=0.0, batch_first=True)
        self.head = nn.Dense(WIDTH, 3)

    def construct(self, x, memory):
        return self.head(self.body(x, memory))


class Both(nn.Cell):
    def __init__(self):
        super().__init__()
        self.body = nn.Transformer(WIDTH, HEADS, 1, 1, 32, dropout=0.0)

    def construct(self, source, target):
        return self.body(source, target)


class Crossed(nn.Cell):
    """Queries, keys and values of three widths, and the scores as an output."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, kdim=6, vdim=7, batch_first=True)
        self.head = nn.Dense(WIDTH, 3)

    def construct(self, query, key, value):
        made, scores = self.attention(query, key, value)
        return self.head(made), scores


CASES = {
    "encoder": (lambda: Encoder(1), (rand(2, 5, 8),)),
    "decoder": (Decoder, (QUERY, KEY)),
    "transformer": (Both, (rand(6, 2, WIDTH), rand(5, 2, WIDTH))),
    "crossed": (Crossed, (QUERY, rand(2, 6, 6), rand(2, 6, 7))),
}


@pytest.mark.parametrize("mode, name, heads", both_modes(
    [("encoder", "width"), ("encoder", "whole"), ("decoder", "width"), ("crossed", "width"), ("transformer", "width")],
    [("decoder", "width")], [("encoder", "whole")]), indirect=["mode"])
def test_attention_shrinks_inside_and_stays_equal(name, heads, mode, tmp_path):
    build, inputs = CASES[name]
    network = randomize(build())
    algorithm = gs.OneShot({"prune_rate": 0.5, "heads": heads})
    masked = algorithm.apply(network, inputs=inputs)
    slim = algorithm.convert(masked)
    attentions = [cell for _, cell in slim.cells_and_names() if isinstance(cell, nn.MultiheadAttention)]
    assert attentions and {cell.out_proj.weight.shape[1] for cell in attentions} == {WIDTH // 2}
    assert {(cell.num_heads, cell.head_dim) for cell in attentions} == {
        (HEADS, WIDTH // HEADS // 2) if heads == "width" else (HEADS // 2, WIDTH // HEADS)}
    assert_close(masked.set_train(False)(*inputs), slim.set_train(False)(*inputs))
    path = gs.save_slim(slim, tmp_path / "slim.safetensors")
    assert_close(slim(*inputs), gs.load_slim(build(), path).set_train(False)(*inputs))
    if mode == "PYNATIVE":
        gs.export(slim, inputs, tmp_path / "slim", "ONNX")


def test_a_slim_attention_is_pruned_again_and_trained():
    network, algorithm = randomize(Encoder(1)), gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, inputs=(2, 5, 8)))
    again = gs.OneShot({"prune_rate": 0.5})
    slimmer = again.convert(again.apply(slim, inputs=(2, 5, 8)))
    assert slimmer.body.layers[0].self_attn.in_proj_weight.shape == (3 * WIDTH // 4, WIDTH)
    step = nn.TrainOneStepCell(nn.WithLossCell(slimmer, nn.MSELoss()), nn.SGD(slimmer.trainable_params(), 1e-3))
    losses = [float(step(rand(2, 5, 8), rand(2, 3))) for _ in range(3)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("criterion", ["taylor", "bn_scale"])
def test_criteria_score_what_the_packed_weight_makes(criterion):
    algorithm = gs.OneShot({"criterion": criterion, "prune_rate": 0.5})
    data = {} if not algorithm.takes_data else {"data": [(rand(4, 5, 8), rand(4, 3))], "loss": nn.MSELoss()}
    algorithm.apply(randomize(Encoder(1)), inputs=(2, 5, 8), **data)
    scores = algorithm.filter_scores()["body.layers.0.self_attn.in_proj_weight"]
    assert scores.shape == (3 * WIDTH,) and (scores > 0).all()


def test_scop_says_why_an_attention_stays():
    algorithm = gs.SCOP({"prune_rate": 0.5, "sampler": "permutation"})
    algorithm.apply(randomize(Encoder(1)), inputs=(2, 5, 8))
    layers = {layer.path: layer for layer in algorithm.report.layers}
    assert layers["body.layers.0.self_attn"].reasons[0].startswith("stays: SCOP mixes what layers make, and its weight")


def test_the_network_itself_keeps_its_class():
    network = Encoder(1)
    gs.trace(network, (2, 5, 8))
    assert [type(cell) for _, cell in network.cells_and_names() if "Attention" in type(cell).__name__] == [
        nn.MultiheadAttention]
    assert ms.get_context("mode") in (ms.GRAPH_MODE, ms.PYNATIVE_MODE)
