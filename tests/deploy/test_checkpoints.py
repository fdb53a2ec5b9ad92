"""Checkpoints of several ranks: whole, by stages, in parts. The oracle is the array that was cut up."""
import json
from pathlib import Path

import mindspore as ms
import mindspore.train.node_strategy_pb2 as layouts
import numpy as np
import pytest
from mindspore import Tensor

from golden_stick.base.errors import ArgumentError, CheckpointError
from golden_stick.deploy.checkpoints import read_source

OWNER = "golden-stick"
WEIGHT = np.arange(24, dtype=np.float32).reshape(4, 6)
BIAS = np.arange(4, dtype=np.float32)
# A strategy says of each axis which of the devices' axes, counted from the last, cuts it; -1: none.
BY_COLUMNS = {"w": ([2], [-1, 0]), "b": ([2], [-1])}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save(path, **arrays):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    ms.save_checkpoint([{"name": name, "data": Tensor(array.copy())} for name, array in arrays.items()], path,
                       format=path.rpartition(".")[2])


def strategy(path, layout, **more):
    """As MindSpore writes it, in JSON or as protobuf."""
    if path.endswith(".json"):
        Path(path).write_text(json.dumps({"parallel_layout_item": {
            name: {"dev_matrix": devices, "tensor_map": axes, "field": 0, "opt_weight_shard_size": 0,
                   "opt_weight_shard_step": 0, **more} for name, (devices, axes) in layout.items()}}))
        return path
    written = layouts.ParallelStrategyMap(current_stage=0)
    for name, (devices, axes) in layout.items():
        item = written.parallel_layout_item.add(param_name=name).parallel_layouts
        item.dev_matrix.add(dim=devices)
        item.tensor_map.add(dim=axes)
        item.param_split_shape.add(dim=[1])
        item.field = item.opt_weight_shard_step = item.opt_weight_shard_size = 0
    Path(path).write_bytes(written.SerializeToString())
    return path


def by_columns(ending="ckpt"):
    for rank in range(2):
        save(f"parts/rank_{rank}/net.{ending}", w=WEIGHT[:, 3 * rank:3 * rank + 3], b=BIAS,
             **{"moments.b": BIAS + rank})


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
@pytest.mark.parametrize("path", ["strategy.json", "strategy.ckpt", "parts/strategy.ckpt"])
def test_parts_of_parameters_are_put_together_as_the_strategy_says(ending, path):
    by_columns(ending)
    source = read_source(OWNER, ["parts"], strategy(path, BY_COLUMNS))
    np.testing.assert_array_equal(source.values["w"], WEIGHT)
    np.testing.assert_array_equal(source.values["b"], BIAS)
    assert source.kind == "original" and len(source.files) == 2
    # Whole in each rank, and not the same there: fine for an optimizer, not for a network.
    assert set(source.differing) == {"moments.b"}
    source.refuse_differing(OWNER, ["w", "b"])


def test_stages_of_a_pipeline_and_parts_of_an_optimizers_making():
    for rank in range(4):
        part = {"w": WEIGHT[:, 3 * rank:3 * rank + 3]} if rank < 2 else {"b": BIAS[2 * rank - 4:2 * rank - 2]}
        save(f"stages/rank_{rank}/net.ckpt", **part)
    source = read_source(OWNER, ["stages/rank_*/*.ckpt"],
                         strategy("stages.json", {"0-w": ([2], [-1, 0]), "1-b": ([2], [0])}))
    np.testing.assert_array_equal(source.values["w"], WEIGHT)
    np.testing.assert_array_equal(source.values["b"], BIAS)
    for rank in range(2):
        save(f"sharded/net-rank{rank}.ckpt", w=WEIGHT[2 * rank:2 * rank + 2])
    found = strategy("sharded.json", {"w": ([2], [-1, -1])}, opt_weight_shard_size=2, opt_weight_shard_step=1)
    np.testing.assert_array_equal(read_source(OWNER, ["sharded"], found).values["w"], WEIGHT)


def test_a_strategy_that_does_not_fit():
    by_columns()
    good = strategy("good.json", BY_COLUMNS)
    Path("text.json").write_text('{"layers": 3}')
    Path("binary.ckpt").write_bytes(b"no protobuf " * 9)
    for wrong, message in (("text.json", "'strategy' must be a file in which MindSpore saved a parallel strategy, but "
                            "got 'text.json'"), ("binary.ckpt", "but got 'binary.ckpt': "),
                           ("missing.json", "but got 'missing.json': "),
                           (strategy("other.json", {"v": ([2], [0])}), "the files must be of the training that saved "
                            "'other.json', but they could not be merged by it: ")):
        with pytest.raises(CheckpointError, match=message):
            read_source(OWNER, ["parts"], wrong)
    with pytest.raises(CheckpointError, match="the files of all ranks that 'good.json' speaks of must be given, but "
                                              "these are missing: 1"):
        read_source(OWNER, ["parts/rank_0"], good)
    save("net.ckpt", w=WEIGHT)
    with pytest.raises(ArgumentError, match="the path of each file must name its rank, as .* 'net.ckpt'"):
        read_source(OWNER, ["net.ckpt"], good)
    save("parts/rank_0/net-2.ckpt", w=WEIGHT)
    with pytest.raises(ArgumentError, match="with a strategy there must be one file of each rank, but got "
                                            "'parts/rank_0/net-2.ckpt' and 'parts/rank_0/net.ckpt'"):
        read_source(OWNER, ["parts"], good)


def test_ranks_that_hold_the_same_or_different_parameters():
    save("rank_0.ckpt", w=WEIGHT, nan=np.full(2, np.nan, np.float32))
    save("rank_1.ckpt", w=WEIGHT, nan=np.full(2, np.nan, np.float32), b=BIAS)
    for paths in (["rank_*.ckpt"], ["rank_1.ckpt", "rank_0.ckpt"], ["."], ["rank_*.ckpt", "rank_0.ckpt"]):
        source = read_source(OWNER, paths)
        assert set(source.values) == {"w", "b", "nan"} and source.differing == {} and len(source.files) == 2


def test_ranks_that_differ():
    by_columns()
    source = read_source(OWNER, ["parts"])
    with pytest.raises(CheckpointError, match=r"files of several ranks must hold the same values of a parameter, but "
                                              r"'parts/rank_0/net.ckpt' and 'parts/rank_1/net.ckpt' differ in 'w', of "
                                              r"shapes \(4, 3\) and \(4, 3\). If each holds a part of it, give the"):
        source.refuse_differing(OWNER, ["w", "b"])
    with pytest.raises(CheckpointError, match=r"shapes \(4, 3\) and \(4, 3\) \(and in 1 more\)"):
        source.refuse_differing(OWNER, ["w", "moments.b"])


def test_kinds_that_do_not_belong_together():
    save("plain.ckpt", **{"conv.weight": WEIGHT})
    save("scales.ckpt", **{"conv.weight": WEIGHT, "conv.real_scale": BIAS})
    with pytest.raises(CheckpointError, match="files that are read together must be of one kind, but 'plain.ckpt' is "
                                              "of kind 'original' and 'scales.ckpt' of kind 'knockoff'"):
        read_source(OWNER, ["scales.ckpt", "plain.ckpt"])
    # A stage of a pipeline that has no convolution.
    save("head.ckpt", **{"head.weight": WEIGHT})
    assert read_source(OWNER, ["scales.ckpt", "head.ckpt"]).kind == "knockoff"
